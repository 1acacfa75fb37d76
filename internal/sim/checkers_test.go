package sim

import (
	"testing"

	"go.etcd.io/raft/v3/raftpb"
	"google.golang.org/protobuf/proto"

	"github.com/okapi-kv/okapi/internal/core/command"
	"github.com/okapi-kv/okapi/internal/core/state"
	"github.com/okapi-kv/okapi/internal/invariant"
	"github.com/okapi-kv/okapi/internal/replica"
	"github.com/okapi-kv/okapi/internal/wal"
)

// judged runs fn on a world of its own and tells whether it was found to break a promise.
func judged(fn func(*World)) bool {
	w := &World{cfg: Config{Members: 3}}
	w.check = newChecks(w)
	for id := uint64(1); id <= 3; id++ {
		w.nodes = append(w.nodes, newTestNode(w, id))
	}
	fn(w)
	return w.failure != nil
}

func newTestNode(w *World, id uint64) *node {
	return &node{world: w, id: id, log: newWatchedLog(NoBug, nil)}
}

func entryWith(index, term uint64, data string) *raftpb.Entry {
	return &raftpb.Entry{Index: &index, Term: &term, Data: []byte(data)}
}

// TestCheckers shows each checker something that breaks its promise, and something like it that does not.
func TestCheckers(t *testing.T) {
	id := command.ID{Member: 1, Number: 7}
	batch := func(n int) string {
		b := command.Batch{Proposals: make([]command.Proposal, n)}
		for i := range b.Proposals {
			b.Proposals[i] = command.Proposal{ID: id, Command: &command.Put{Key: "k"}}
		}
		return string(command.AppendBatch(nil, &b))
	}
	for name, c := range map[string]struct {
		run    func(*World)
		broken bool
	}{
		"vote kept":                 {func(w *World) { vote(w, 5, 2); find(w, 5, 2) }, false},
		"later term found":          {func(w *World) { vote(w, 5, 2); find(w, 6, 0) }, false},
		"vote forgotten":            {func(w *World) { vote(w, 5, 2); find(w, 5, 0) }, true},
		"term forgotten":            {func(w *World) { vote(w, 5, 2); find(w, 4, 2) }, true},
		"vote given twice":          {func(w *World) { vote(w, 5, 2); vote(w, 5, 3) }, true},
		"vote given later":          {func(w *World) { vote(w, 5, 0); vote(w, 5, 3) }, false},
		"vote stored, told":         {func(w *World) { vote(w, 5, 2); w.check.answers.vote(w.nodes[0], 5, 2) }, false},
		"vote told":                 {func(w *World) { vote(w, 5, 0); w.check.answers.vote(w.nodes[0], 5, 2) }, true},
		"vote in a newer term told": {func(w *World) { vote(w, 5, 2); w.check.answers.vote(w.nodes[0], 6, 2) }, true},
		"entry stored, told": {func(w *World) {
			w.nodes[0].log.settle([]*raftpb.Entry{entryWith(3, 1, "a")})
			w.check.answers.sent(w.nodes[0], appendResponse(3, false))
		}, false},
		"entry told":        {func(w *World) { w.check.answers.sent(w.nodes[0], appendResponse(3, false)) }, true},
		"entry refused":     {func(w *World) { w.check.answers.sent(w.nodes[0], appendResponse(3, true)) }, false},
		"same entry stored": {func(w *World) { store(w, 1, "a"); store(w, 2, "a") }, false},
		"other entry stored": {
			func(w *World) { store(w, 1, "a"); store(w, 2, "b") }, true,
		},
		"command once":  {func(w *World) { w.check.log.apply(w.nodes[0], entryWith(3, 1, batch(1))) }, false},
		"command twice": {func(w *World) { w.check.log.apply(w.nodes[0], entryWith(3, 1, batch(2))) }, true},
		"not done, applied": {func(w *World) {
			w.check.acked.gone[id] = true
			w.check.log.apply(w.nodes[0], entryWith(3, 1, batch(1)))
		}, true},
		"applied, not done": {func(w *World) {
			w.check.log.apply(w.nodes[0], entryWith(3, 1, batch(1)))
			w.check.acked.outcome(w.nodes[0], id, replica.ErrNotDone)
		}, true},
		"same results":  {func(w *World) { came(w, 1, state.OK); came(w, 2, state.OK) }, false},
		"other results": {func(w *World) { came(w, 1, state.OK); came(w, 2, state.NoNode) }, true},
		"shown forward": {func(w *World) { show(w, 4); show(w, 4); show(w, 5) }, false},
		"shown back":    {func(w *World) { show(w, 5); show(w, 4) }, true},
		"one at a time": {func(w *World) { conf(w, 1, 1, 2, 3); conf(w, 2, 1, 2, 3, 4) }, false},
		"two at once":   {func(w *World) { conf(w, 1, 1, 2, 3); conf(w, 2, 1, 4, 5) }, true},
		"position after": {func(w *World) {
			w.check.order.returned("a", 0, 5)
			w.check.order.returned("b", w.check.order.began(), 5)
		}, false},
		"position before": {func(w *World) {
			w.check.order.returned("a", 0, 5)
			w.check.order.returned("b", w.check.order.began(), 4)
		}, true},
	} {
		if broken := judged(c.run); broken != c.broken {
			t.Errorf("%s: broken %v, want %v", name, broken, c.broken)
		}
	}
}

func vote(w *World, term, vote uint64) {
	w.check.leaders.synced(w.nodes[0], wal.HardState{Term: term, Vote: vote})
}

// appendResponse is what a member sends when it has, or refuses, an entry.
func appendResponse(index uint64, reject bool) []replica.Outgoing {
	data, err := proto.Marshal(&raftpb.Message{Type: new(raftpb.MsgAppResp), Index: &index, Reject: &reject})
	invariant.Assert(err == nil, "a message of raft encodes", err)
	return []replica.Outgoing{{To: 2, Data: append([]byte{raftFrame}, data...)}}
}

func find(w *World, term, vote uint64) {
	w.check.leaders.recovered(w.nodes[0], wal.HardState{Term: term, Vote: vote})
}

func store(w *World, member int, data string) {
	w.check.log.synced(w.nodes[member], []*raftpb.Entry{entryWith(3, 1, data)})
}

func came(w *World, member int, code state.Code) {
	w.check.state.came(w.nodes[member], 9, []state.Result{{Code: code}})
}

func show(w *World, seq uint64) {
	w.check.progress.published(w.nodes[0], replica.Publication{Seq: seq})
}

func conf(w *World, index uint64, voters ...uint64) {
	w.check.quorums.configured(index, &raftpb.ConfState{Voters: voters})
}
