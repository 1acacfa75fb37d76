package replica

import (
	"bytes"
	"errors"
	"log/slog"
	"slices"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.etcd.io/raft/v3"
	"go.etcd.io/raft/v3/raftpb"
	"google.golang.org/protobuf/proto"
	"pgregory.net/rapid"

	"github.com/okapi-kv/okapi/internal/core/state"
)

func TestReadRounds(t *testing.T) {
	r := readRounds{member: 5, try: 7 << 20}
	if r.begin() != nil || r.tick() {
		t.Error("a round begins for nobody")
	}
	r.add(1)
	first := r.begin()
	r.add(2) // the leader may have answered already: it waits for the next
	if first == nil || r.begin() != nil {
		t.Fatal("not one round at a time")
	}
	for i := 1; i < readPatience; i++ {
		if r.tick() {
			t.Fatalf("tried again after %d ticks", i)
		}
	}
	if !r.tick() {
		t.Fatal("not tried again")
	}
	second := r.again()
	other := bytes.Clone(second)
	other[7]++
	for name, identity := range map[string][]byte{"earlier try": first, "other member": other, "nothing": nil, "longer": append(bytes.Clone(second), 0)} {
		if got := r.answered(identity); got != nil {
			t.Errorf("%s: settles %v", name, got)
		}
	}
	if diff := cmp.Diff([]uint64{1}, r.answered(second)); diff != "" {
		t.Error(diff)
	}
	if got := r.answered(second); got != nil {
		t.Errorf("answered twice: %v", got)
	}
	third := r.begin()
	if bytes.Equal(third, second) || third == nil {
		t.Errorf("the next round has the identity %x", third)
	}
	if diff := cmp.Diff([]uint64{2}, r.answered(third)); diff != "" {
		t.Error(diff)
	}
}

func TestWaiters(t *testing.T) {
	w := NewWaiters(100)
	var told []string
	add := func(name string) uint64 {
		return w.Add(func(_ state.Result, err error) { told = append(told, name+": "+err.Error()) })
	}
	a, b, c, d := add("a"), add("b"), add("c"), add("d")
	if a != 101 || d != 104 {
		t.Errorf("numbers %d to %d", a, d)
	}
	w.addressed(3, []uint64{a, c, 999})
	w.addressed(4, []uint64{b})
	if diff := cmp.Diff([]uint64{a, c}, w.lost(4)); diff != "" {
		t.Errorf("lost with term 4:\n%s", diff)
	}
	if diff := cmp.Diff([]uint64{a, b, c}, w.lost(5)); diff != "" {
		t.Errorf("lost with term 5:\n%s", diff)
	}
	w.Fail([]uint64{c, a, c, 999}, ErrNotDone)
	if w.take(b) == nil || w.take(b) != nil {
		t.Error("not taken once")
	}
	w.Fail(w.All(), ErrUnknown)
	want := []string{"c: " + ErrNotDone.Error(), "a: " + ErrNotDone.Error(), "d: " + ErrUnknown.Error()}
	if diff := cmp.Diff(want, told); diff != "" {
		t.Error(diff)
	}
}

// TestMailbox puts from many goroutines: all arrives, once, in order of each sender.
func TestMailbox(t *testing.T) {
	const senders, each = 8, 2000
	b := newMailbox[[2]int]()
	var wg sync.WaitGroup
	for s := range senders {
		wg.Go(func() {
			for i := range each {
				b.put([2]int{s, i})
			}
		})
	}
	var spare [][2]int
	next := make([]int, senders)
	for got := 0; got < senders*each; {
		<-b.signal
		spare = b.take(spare)
		for _, item := range spare {
			if next[item[0]] != item[1] {
				t.Fatalf("sender %d: item %d, want %d", item[0], item[1], next[item[0]])
			}
			next[item[0]]++
			got++
		}
	}
	wg.Wait()
	if rest := b.take(nil); len(rest) != 0 {
		t.Errorf("%d items more", len(rest))
	}
}

func TestMailboxForgets(t *testing.T) {
	b := newMailbox[*int]()
	b.put(make([]*int, 2*spareItems)...)
	if b.take(b.take(nil)); cap(b.items) > spareItems {
		t.Errorf("room for %d items is kept", cap(b.items))
	}
	b.put(new(int))
	spare := b.take(nil)
	b.take(spare)
	if held := b.items[:1]; held[0] != nil {
		t.Error("an item that was taken is held")
	}
}

func TestGate(t *testing.T) {
	g := newGate(10)
	var names []uint64
	done := map[uint64]chan error{}
	for range 6 {
		ch := make(chan error, 1)
		id, err := g.register(ch)
		if err != nil {
			t.Fatal(err)
		}
		names = append(names, id)
		done[id] = ch
	}
	state := func() (through []uint64) {
		for _, id := range names {
			select {
			case err := <-done[id]:
				if err == nil {
					through = append(through, id)
				}
			default:
			}
		}
		return through
	}
	g.ready(ReadReady{IDs: []uint64{1}, Index: 10})
	g.ready(ReadReady{IDs: []uint64{2}, Index: 13})
	g.ready(ReadReady{IDs: []uint64{3, 4}, Index: 11})
	g.forget(5)
	g.ready(ReadReady{IDs: []uint64{5, 99}, Index: 1})
	for _, step := range []struct {
		advance uint64
		want    []uint64
	}{{0, []uint64{1}}, {10, nil}, {11, []uint64{3, 4}}, {5, nil}, {12, nil}, {13, []uint64{2}}} {
		g.advance(step.advance)
		if diff := cmp.Diff(step.want, state()); diff != "" {
			t.Errorf("through at %d:\n%s", step.advance, diff)
		}
	}
	g.close(ErrStopped)
	if err := <-done[6]; !errors.Is(err, ErrStopped) {
		t.Errorf("who waits at the end gets %v", err)
	}
	if _, err := g.register(make(chan error, 1)); !errors.Is(err, ErrStopped) {
		t.Errorf("register after the end = %v", err)
	}
	g.ready(ReadReady{IDs: []uint64{6}, Index: 99})
	g.forget(6)
}

// TestFrames: what is encoded decodes to the same, and nothing shorter or longer does.
func TestFrames(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		u := func(name string) uint64 { return rapid.Uint64().Draw(t, name) }
		f := &forward{term: u("term"), incarnation: u("incarnation"), epoch: u("epoch"), seq: u("seq"), proposals: [][]byte{}}
		f.proposals = append(f.proposals, rapid.SliceOfN(rapid.SliceOf(rapid.Byte()), 0, 5).Draw(t, "proposals")...)
		same(t, f.encode(), frameForward, f, decodeForward)
		a := &forwardAck{term: u("term"), incarnation: u("incarnation"), epoch: u("epoch"), next: u("next"), closed: u("closed")}
		a.refused, a.closedRefused = someRefusals(t, "refused"), someRefusals(t, "refused before")
		same(t, a.encode(), frameForwardAck, a, decodeForwardAck)
		ids := func(name string) []int64 {
			return slices.Clip(append([]int64(nil), rapid.SliceOfN(rapid.Int64(), 0, 4).Draw(t, name)...))
		}
		dates := func(name string) (all []dated) {
			for _, id := range ids(name) {
				all = append(all, dated{id, u("age")})
			}
			return all
		}
		to := &touch{term: u("term"), report: u("report"), tick: rapid.Int64().Draw(t, "tick"), ids: dates("ids"), renew: dates("renew"), look: ids("look")}
		same(t, to.encode(), frameTouch, to, decodeTouch)
		ta := &touchAck{term: u("term"), report: u("report"), heard: rapid.Int64().Draw(t, "heard"), decided: rapid.Bool().Draw(t, "decided"), gone: ids("gone"), open: ids("open")}
		for _, id := range ids("left") {
			ta.left = append(ta.left, timeLeft{id: id, ms: rapid.Int64().Draw(t, "ms")})
		}
		same(t, ta.encode(), frameTouchAck, ta, decodeTouchAck)
	})
}

func someRefusals(t *rapid.T, name string) (all []refusal) {
	for range rapid.IntRange(0, 3).Draw(t, name) {
		all = append(all, refusal{rapid.Uint64().Draw(t, "seq"), append([]uint64(nil), rapid.SliceOfN(rapid.Uint64(), 0, 3).Draw(t, "places")...)})
	}
	return all
}

func same[T any](t *rapid.T, frame []byte, kind frameKind, want *T, decode func([]byte) (*T, error)) {
	t.Helper()
	got, err := decode(frame[1:])
	if err != nil || frameKind(frame[0]) != kind {
		t.Fatalf("kind %d: %v", frame[0], err)
	}
	unexported := cmp.AllowUnexported(forward{}, forwardAck{}, refusal{}, touch{}, touchAck{}, timeLeft{}, dated{})
	if diff := cmp.Diff(want, got, unexported); diff != "" {
		t.Fatal(diff)
	}
	if _, err := decode(append(slices.Clip(frame), 0)[1:]); err == nil {
		t.Fatalf("kind %d: a byte more is accepted", kind)
	}
	for n := 1; n < len(frame); n++ {
		if _, err := decode(frame[1:n]); err == nil {
			t.Fatalf("kind %d: %d of %d bytes are accepted", kind, n, len(frame))
		}
	}
}

// FuzzFrame gives decoders whatever a peer may send.
func FuzzFrame(f *testing.F) {
	f.Add((&forward{term: 1, incarnation: 2, epoch: 3, seq: 4, proposals: [][]byte{{1}, nil}}).encode())
	f.Add((&touch{term: 1, report: 2, tick: 9, ids: []dated{{-1, 300}}, renew: []dated{{3, 0}, {4, 1}}, look: []int64{5}}).encode())
	f.Add((&touchAck{decided: true, gone: []int64{1}, open: []int64{2}, left: []timeLeft{{3, 4}}}).encode())
	f.Add((&forwardAck{}).encode())
	f.Add(encodeConf(&raftpb.ConfState{Voters: []uint64{1, 2}, AutoLeave: proto.Bool(true)}))
	f.Add([]byte{2, 0, 0, 0, 0, 255, 255, 255, 255, 15})
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) == 0 {
			return
		}
		if m, err := decodeRaft(b[1:]); err == nil {
			checkRaft(t, m)
		}
		if fw, err := decodeForward(b[1:]); err == nil && len(fw.proposals) > len(b) {
			t.Errorf("%d proposals of %d bytes", len(fw.proposals), len(b))
		}
		_, _ = decodeForwardAck(b[1:])
		if tc, err := decodeTouch(b[1:]); err == nil && 8*(len(tc.ids)+len(tc.renew)+len(tc.look)) > len(b) {
			t.Errorf("%d ids of %d bytes", len(tc.ids)+len(tc.renew)+len(tc.look), len(b))
		}
		if a, err := decodeTouchAck(b[1:]); err == nil && 8*(len(a.gone)+len(a.open)+2*len(a.left)) > len(b) {
			t.Errorf("%d answers of %d bytes", len(a.gone)+len(a.open)+len(a.left), len(b))
		}
		if conf, err := decodeConf(b); err == nil {
			if again, err := decodeConf(encodeConf(conf)); err != nil || !proto.Equal(conf, again) {
				t.Errorf("%v becomes %v, %v", conf, again, err)
			}
		}
	})
}

// rawConf is what raft itself makes of changes.
func rawConf(t rapid.TB, conf *raftpb.ConfState) *raft.RawNode {
	storage := raft.NewMemoryStorage()
	snap := &raftpb.Snapshot{Metadata: &raftpb.SnapshotMetadata{Index: new(uint64(5)), Term: new(uint64(1)), ConfState: conf}}
	if err := storage.ApplySnapshot(snap); err != nil {
		t.Fatal(err)
	}
	n, err := raft.NewRawNode(&raft.Config{
		ID: 1, ElectionTick: 10, HeartbeatTick: 1, Storage: storage, MaxSizePerMsg: 1 << 20, MaxInflightMsgs: 10,
		Logger: RaftLogger(slog.New(slog.DiscardHandler)), Applied: 5,
	})
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// TestNextConf compares with what raft computes, over simple and joint changes.
func TestNextConf(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		conf := &raftpb.ConfState{Voters: []uint64{1, 2, 3}}
		node := rawConf(t, conf)
		for range rapid.IntRange(1, 6).Draw(t, "changes") {
			cc := new(raftpb.ConfChangeV2)
			if len(conf.GetVotersOutgoing()) == 0 {
				n := rapid.SampledFrom([]int{1, 1, 2, 3}).Draw(t, "n")
				for id := uint64(2); id < uint64(2+n); id++ { // 1 stays
					kind := rapid.SampledFrom([]raftpb.ConfChangeType{
						raftpb.ConfChangeAddNode, raftpb.ConfChangeRemoveNode, raftpb.ConfChangeAddLearnerNode,
					}).Draw(t, "kind")
					cc.Changes = append(cc.Changes, &raftpb.ConfChangeSingle{Type: kind.Enum(), NodeId: new(id + rapid.Uint64Range(0, 1).Draw(t, "id")*10)})
				}
				if n > 1 && rapid.Bool().Draw(t, "explicit") {
					cc.Transition = raftpb.ConfChangeTransitionJointExplicit.Enum()
				}
			}
			next, err := nextConf(conf, cc, 6)
			if err != nil {
				t.Fatalf("%v after %v: %v", cc, conf, err)
			}
			want := node.ApplyConfChange(cc)
			if diff := cmp.Diff(encodeConf(want), encodeConf(next)); diff != "" {
				t.Fatalf("%v after %v: raft has %v, we %v", cc, conf, want, next)
			}
			back, err := decodeConf(encodeConf(next))
			if err != nil || !bytes.Equal(encodeConf(back), encodeConf(next)) {
				t.Fatalf("%v becomes %v in a snapshot, %v", next, back, err)
			}
			conf = next
		}
	})
}

func TestDecodeConfRefuses(t *testing.T) {
	whole := encodeConf(&raftpb.ConfState{Voters: []uint64{1, 2, 3}})
	for n := range whole {
		if _, err := decodeConf(whole[:n]); err == nil {
			t.Errorf("%d of %d bytes are accepted", n, len(whole))
		}
	}
	for _, tail := range [][]byte{{0}, {1}} {
		if _, err := decodeConf(append(slices.Clip(whole), tail...)); err == nil {
			t.Error("more bytes are accepted")
		}
	}
}
