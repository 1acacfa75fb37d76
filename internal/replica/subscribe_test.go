package replica

import (
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.etcd.io/raft/v3/raftpb"
	"google.golang.org/protobuf/proto"

	"github.com/okapi-kv/okapi/internal/core/command"
	"github.com/okapi-kv/okapi/internal/core/state"
	"github.com/okapi-kv/okapi/internal/vfs"
)

// feeder applies entries that it makes itself.
type feeder struct {
	t       *testing.T
	applier *Applier
	index   uint64
}

func newFeeder(t *testing.T) *feeder {
	f := &feeder{t: t, applier: NewApplier(1, NewStore(state.New(1), &raftpb.ConfState{Voters: []uint64{1}}, 1), NewWaiters(0))}
	f.apply(command.Caller{}, &command.Bootstrap{Settings: command.Settings{TreePrefix: "/zk", TreeHistory: 600_000}})
	return f
}

// apply makes one entry of the commands, whose proposals have the numbers from 1 on.
func (f *feeder) apply(c command.Caller, commands ...command.Command) {
	f.t.Helper()
	f.index++
	batch := command.Batch{Time: 1000}
	for i, cmd := range commands {
		batch.Proposals = append(batch.Proposals, command.Proposal{ID: command.ID{Member: 1, Number: uint64(i + 1)}, Caller: c, Command: cmd})
	}
	e := &raftpb.Entry{Index: proto.Uint64(f.index), Term: proto.Uint64(1), Data: command.AppendBatch(nil, &batch)}
	if _, err := f.applier.Apply(&Apply{Entries: []*raftpb.Entry{e}}); err != nil {
		f.t.Fatal(err)
	}
}

// TestSubscribe: a subscriber is told of each command when its view can be read, before its result is known and after those
// of the commands before it, until it cancels.
func TestSubscribe(t *testing.T) {
	f := newFeeder(t)
	store := f.applier.store
	var told []string
	note := func(name string) func(Publication) {
		return func(p Publication) {
			store.Read(func(v state.View) {
				if v.Seq() < p.Seq || p.Whole && (v.Seq() != p.Seq || v.Revision() != p.Revision || v.Zxid() != p.Zxid) {
					t.Errorf("published %+v, the view stands at %d, revision %d, zxid %d", p, v.Seq(), v.Revision(), v.Zxid())
				}
			})
			text := fmt.Sprintf("%s: revision %d", name, p.Revision)
			for _, e := range p.Events {
				text += " event " + e.Path
			}
			for _, l := range p.Leases {
				text += fmt.Sprint(" lease ", l.ID)
			}
			if p.Whole {
				text += ", the end"
			}
			if p.Installed {
				text += " of a snapshot"
			}
			told = append(told, text)
		}
	}
	now, cancelA := store.Subscribe(note("a"))
	_, cancelB := store.Subscribe(note("b"))
	if now.Revision != 1 || now.Seq == 0 {
		t.Errorf("begins at %+v", now)
	}
	for i := range 2 {
		f.applier.waiters.Add(func(state.Result, error) { told = append(told, fmt.Sprint("result ", i+1)) })
	}
	f.apply(command.Caller{Protocol: command.Etcd}, &command.Put{Key: "k"}, &command.Put{Key: "/zk/n"}, &command.LeaseGrant{ID: 7, TTL: 9})
	cancelA()
	f.apply(command.Caller{}, &command.Put{Key: "k"})

	fs := vfs.NewMem(1)
	if err := fs.MkdirAll("snap"); err != nil {
		t.Fatal(err)
	}
	done, err := WriteSnapshot(fs, "snap", store)
	if err != nil {
		t.Fatal(err)
	}
	md := &raftpb.SnapshotMetadata{Index: proto.Uint64(done.Index), Term: proto.Uint64(done.Term), ConfState: done.Conf}
	if _, err := f.applier.Install(fs, "snap", &Append{Snapshot: &raftpb.Snapshot{Metadata: md}}); err != nil {
		t.Fatal(err)
	}
	cancelB()
	f.apply(command.Caller{}, &command.Put{Key: "k"})
	want := []string{
		"a: revision 2", "b: revision 2", "result 1",
		"a: revision 3 event /n", "b: revision 3 event /n", "result 2",
		"a: revision 3", "b: revision 3",
		"a: revision 3 lease 7, the end", "b: revision 3 lease 7, the end",
		"b: revision 4", "b: revision 4, the end", "b: revision 4, the end of a snapshot",
	}
	if diff := cmp.Diff(want, told); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// TestPin: what lies after a pin can be followed, below the floor too, and is freed once the pin has moved on or is gone.
func TestPin(t *testing.T) {
	f := newFeeder(t)
	store := f.applier.store
	pin := store.Pin()
	from := pin.seq
	for range 4 {
		f.apply(command.Caller{}, &command.Put{Key: "k"}) // revisions 2 to 5
	}
	f.apply(command.Caller{}, &command.Compact{Revision: 5})
	want := func(when string, after uint64, revisions ...int64) {
		t.Helper()
		store.reclaim(100)
		var got []int64
		store.Read(func(v state.View) {
			v.Log(false).EachAfter(after, func(c *state.Change, _ uint64) bool {
				got = append(got, c.Revision)
				return true
			})
		})
		if diff := cmp.Diff(revisions, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", when, diff)
		}
	}
	want("pinned", from, 2, 3, 4, 5)
	pin.Keep(from + 2)
	pin.Keep(from + 1) // not back
	want("moved on", from, 4, 5)
	pin.Release()
	want("released", from, 5)
	if n := len(store.pins); n != 0 {
		t.Errorf("%d pins are left", n)
	}
}
