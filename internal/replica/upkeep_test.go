package replica

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.etcd.io/raft/v3/raftpb"
	"go.uber.org/goleak"

	"github.com/okapi-kv/okapi/internal/core/command"
	"github.com/okapi-kv/okapi/internal/core/state"
	"github.com/okapi-kv/okapi/internal/vfs"
)

// While history is read none is dropped, whatever is compacted meanwhile; afterwards it is.
func TestReadHistoryHoldsHistory(t *testing.T) {
	conf := &raftpb.ConfState{Voters: []uint64{1}}
	s := NewStore(state.New(1), conf, 1)
	index := uint64(0)
	apply := func(cmd command.Command) {
		index++
		s.apply(&state.Entry{Index: index, Term: 1, Batch: command.Batch{Proposals: []command.Proposal{{Command: cmd}}}}, conf, new(state.Output))
	}
	apply(&command.Bootstrap{})
	for i := range 600 {
		apply(&command.Put{Key: fmt.Sprint(i % 3), Value: fmt.Append(nil, i)})
	}
	hashOf := func(v state.View) uint32 {
		h, code := state.HashKV(v, 0)
		if code != state.OK {
			t.Fatal(code)
		}
		return h.Hash
	}
	want := uint32(0)
	s.Read(func(v state.View) { want = hashOf(v) })
	read := func(how func(func(state.View)), between func()) (got uint32) {
		how(func(v state.View) {
			step := v.Yield
			first := true
			v.Yield = func() {
				if first {
					first = false
					done := make(chan struct{})
					go func() {
						defer close(done)
						between()
					}()
					for running := true; running; { // let the others have the lock
						step()
						select {
						case <-done:
							running = false
						default:
						}
					}
				}
				step()
			}
			got = hashOf(v)
		})
		return got
	}
	compact := func() {
		apply(&command.Compact{Revision: 590})
		s.reclaim(1 << 20)
	}
	if got := read(s.ReadHistory, compact); got != want {
		t.Errorf("hash %d, want %d: history went while it was read", got, want)
	}
	if s.reclaim(10); s.oldestPin(77) != 77 {
		t.Error("a reader that has gone still holds history")
	}
	if s.reclaim(1 << 20) {
		t.Error("there is still something to free")
	}
}

// The office goes to the member that is named, and metrics tell of it.
func TestTransferLeadershipToAMember(t *testing.T) {
	defer goleak.VerifyNone(t)
	c, stop := newCluster(t, 3)
	defer stop()
	for range 3 {
		from := c.leader()
		to := from%3 + 1
		c.member(from).TransferLeadership(to)
		c.poll("the transfer", func() bool {
			for id := uint64(1); id <= 3; id++ {
				if c.member(id).Status().Leader != to {
					return false
				}
			}
			return true
		})
		c.put(to, "k", 10)
	}
	for id := uint64(1); id <= 3; id++ {
		m := c.member(id)
		c.wantKeys(id, 1)
		if n := metric(t, m, "etcd_server_leader_changes_seen_total"); n < 3 {
			t.Errorf("member %d saw %v changes of leader, want 3 at least", id, n)
		}
		if n := metric(t, m, "etcd_mvcc_put_total"); n != 3 {
			t.Errorf("member %d applied %v puts, want 3", id, n)
		}
		if n := metric(t, m, "etcd_disk_wal_fsync_duration_seconds"); n < 3 {
			t.Errorf("member %d synced its log %v times, want 3 at least", id, n)
		}
		if m.opts.Disk.Log.Written.Load() == 0 {
			t.Errorf("member %d wrote nothing", id)
		}
	}
}

// A command that cannot be carried out is counted, once.
func TestFailuresAreCounted(t *testing.T) {
	defer goleak.VerifyNone(t)
	c := &cluster{t: t, founders: 3, disks: map[uint64]*vfs.Mem{1: vfs.NewMem(1)}, members: map[uint64]*running{}}
	c.start(1) // alone of three: nobody leads
	defer c.stop(1)
	m := c.member(1)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := m.Propose(ctx, command.Caller{}, &command.Put{Key: "k"}); err == nil {
		t.Error("a put succeeded without a leader")
	}
	if err := m.ReadIndex(ctx); err == nil {
		t.Error("a read index was found without a leader")
	}
	for _, name := range []string{"etcd_server_proposals_failed_total", "etcd_server_read_indexes_failed_total"} {
		if n := metric(t, m, name); n != 1 {
			t.Errorf("%s is %v, want 1", name, n)
		}
	}
}

// metric is the value of a metric without labels; of a histogram, how much it has taken.
func metric(t *testing.T, m *running, name string) float64 {
	t.Helper()
	families, err := m.opts.Metrics.Registry().Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() == name {
			one := f.GetMetric()[0]
			return one.GetCounter().GetValue() + one.GetGauge().GetValue() + float64(one.GetHistogram().GetSampleCount())
		}
	}
	t.Fatalf("no metric %s", name)
	return 0
}

func TestCounts(t *testing.T) {
	ok := func(body any) *state.Result { return &state.Result{Body: body} }
	put, del, get := &state.PutResult{}, &state.DeleteRangeResult{}, &state.RangeResult{}
	txn := func(responses ...any) *state.TxnResult { return &state.TxnResult{Responses: responses} }
	for _, c := range []struct {
		name string
		cmd  command.Command
		res  *state.Result
		want Counts
	}{
		{"put", &command.Put{}, ok(put), Counts{Puts: 1}},
		{"refused", &command.Put{}, &state.Result{Code: state.NoSpace}, Counts{}},
		{"delete", &command.DeleteRange{}, ok(del), Counts{Deletes: 1}},
		{"empty txn", &command.Txn{}, ok(txn()), Counts{}},
		{"txn of one", &command.Txn{}, ok(txn(put)), Counts{Puts: 1}},
		{"txn", &command.Txn{}, ok(txn(put, get, get, del)), Counts{Puts: 1, Ranges: 2, Deletes: 1, Txns: 1}},
		{"nested", &command.Txn{}, ok(txn(txn(put, put))), Counts{Puts: 2, Txns: 1}},
		{"nested one", &command.Txn{}, ok(txn(txn(put))), Counts{Puts: 1}},
		{"refused txn", &command.Txn{}, &state.Result{Code: state.Compacted}, Counts{}},
		{"create", &command.Create{}, ok(&state.CreateResult{}), Counts{}},
		{"compact", &command.Compact{}, ok(nil), Counts{}},
	} {
		var got Counts
		got.add(c.cmd, c.res)
		if diff := cmp.Diff(c.want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", c.name, diff)
		}
	}
}

// What a command takes of the byte budget comes back when its outcome is known: many of them may pass, though few fit at a time.
func TestBudgetIsGivenBack(t *testing.T) {
	defer goleak.VerifyNone(t)
	c := &cluster{t: t, founders: 1, disks: map[uint64]*vfs.Mem{1: vfs.NewMem(1)}, members: map[uint64]*running{}}
	c.start(1)
	defer c.stop(1)
	m := c.member(1)
	<-m.Serving()
	put := &command.Put{Key: "k", Value: make([]byte, 300<<10)} // three of them fill it
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	for i := range 10 {
		if _, err := m.Propose(ctx, command.Caller{Protocol: command.Etcd}, put); err != nil {
			t.Fatalf("put %d: %v", i, err)
		}
	}
}
