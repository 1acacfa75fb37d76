package state

import (
	"errors"
	"testing"

	"github.com/okapi-kv/okapi/internal/core/command"
	"github.com/okapi-kv/okapi/internal/invariant"
)

func TestNotBootstrapped(t *testing.T) {
	m := New(1)
	var out Output
	m.Apply(&Entry{Index: 1, Term: 1, Batch: command.Batch{Time: 7, Proposals: []command.Proposal{
		{Caller: etcdCaller(), Command: put("a", "")},
		{Command: &command.OpenSession{ID: 1}},
		{Command: &command.Expire{ID: 1}},
	}}}, &out, nil)
	for i, r := range out.Results {
		if r.Code != NotBootstrapped || r.Zxid != 1<<32 || r.Revision != 1 {
			t.Errorf("%d: %+v", i, r)
		}
	}
	if _, ok := m.View().Settings(); ok {
		t.Error("a machine without settings has some")
	}
	first := command.Settings{TreePrefix: "/zk", QuotaBytes: 5}
	m.Apply(&Entry{Index: 2, Term: 1, Batch: command.Batch{Proposals: []command.Proposal{
		{Command: &command.Bootstrap{Settings: first}},
		{Command: &command.Bootstrap{Settings: command.Settings{TreePrefix: "/other"}}},
	}}}, &out, nil)
	got, ok := m.View().Settings()
	if !ok || got != first || out.Results[1].Code != OK {
		t.Errorf("settings %+v, %v; want the first ones", got, ok)
	}
}

// The epoch of zxids follows the raft term's changes, entries without proposals included, and a count that
// reached into the next epoch is left behind too.
func TestEpochs(t *testing.T) {
	s := newStore(t)
	at := func(want int64) {
		t.Helper()
		if got := s.m.View().Zxid(); got != want {
			t.Errorf("zxid %#x, want %#x", got, want)
		}
	}
	empty := func(term uint64) {
		s.index++
		s.m.Apply(&Entry{Index: s.index, Term: term}, &s.out, nil)
		s.term = term
	}
	at(1<<32 + 1) // the session of the fixture
	s.put("a=1")
	at(1<<32 + 2)
	empty(1)
	at(1<<32 + 2)
	empty(2)
	at(2 << 32)
	empty(9) // terms may be skipped, epochs are not
	at(3 << 32)
	s.m.zxid = 4<<32 - 1
	s.put("a=1")
	at(4 << 32)
	empty(10)
	at(5 << 32)
	index, term := s.m.Index()
	v := s.m.View()
	if vi, vt := v.Index(); index != s.index || term != 10 || vi != s.index || vt != 10 {
		t.Errorf("index %d, term %d; view %d, %d; want %d, 10", index, term, vi, vt, s.index)
	}
}

func TestTimeNeverRunsBack(t *testing.T) {
	s := newStore(t)
	for _, step := range []struct{ entry, want int64 }{{5000, 5000}, {3000, 5000}, {5001, 5001}} {
		s.now = step.entry
		if r := s.ok(put("a", "")); r.Time != step.want {
			t.Errorf("entry at %d: %d, want %d", step.entry, r.Time, step.want)
		}
	}
}

// Between the commands of a long entry readers see whole commands, and the entry's index only when all
// of it is done.
func TestApplyYieldsBetweenCommands(t *testing.T) {
	s := newStore(t)
	const n = 3 * stepProposals
	e := &Entry{Index: s.index + 1, Term: 1}
	for range n {
		e.Batch.Proposals = append(e.Batch.Proposals, command.Proposal{Caller: etcdCaller(), Command: put("a", "")})
	}
	var seen []int64
	s.m.Apply(e, &s.out, func() {
		v := s.m.View()
		seen = append(seen, v.Revision())
		if index, _ := v.Index(); index != s.index {
			t.Errorf("a view in the midst of entry %d says that it holds it", index)
		}
	})
	same(t, "revisions seen", seen, []int64{1 + stepProposals, 1 + 2*stepProposals})
	if len(s.out.Results) != n || s.out.Results[n-1].Revision != n+1 {
		t.Errorf("%d results, the last at %d", len(s.out.Results), s.out.Results[len(s.out.Results)-1].Revision)
	}
	s.index++
	// The next entry begins with empty lists.
	s.put("b=1")
	if len(s.out.Results) != 1 || len(s.out.Events) != 0 {
		t.Errorf("left over: %+v", s.out)
	}
}

func TestEntriesComeInOrder(t *testing.T) {
	s := newStore(t)
	s.put("a=1")
	for _, e := range []Entry{{Index: s.index, Term: 1}, {Index: s.index + 1, Term: 0}} {
		func() {
			defer func() {
				var v invariant.Violation
				if err, ok := recover().(error); !ok || !errors.As(err, &v) {
					t.Errorf("entry %d of term %d was applied", e.Index, e.Term)
				}
			}()
			s.m.Apply(&e, &s.out, nil)
		}()
	}
}

// Refusals of a ZooKeeper connection's order leave no trace; other refusals use up the place.
func TestOrderRefusalsLeaveNoTrace(t *testing.T) {
	s := newStore(t)
	c := func(session int64, gen, seq uint64) command.Caller {
		return command.Caller{Protocol: command.ZooKeeper, Session: session, Generation: gen, Sequence: seq}
	}
	steps := []struct {
		c    command.Caller
		path string
		want Code
	}{
		{c(1, 1, 1), "/a", OK},
		{c(1, 1, 1), "/b", SequenceGap},
		{c(1, 1, 3), "/b", SequenceGap},
		{c(1, 2, 2), "/b", SessionMoved},
		{c(9, 1, 1), "/b", SessionExpired},
		{c(7, 1, 1), "/b", SessionExpired}, // an etcd lease
		{c(1, 1, 2), "/a", NodeExists},
		{c(1, 1, 2), "/b", SequenceGap},
		{c(1, 1, 3), "/b", OK},
	}
	s.ok(&command.LeaseGrant{ID: 7, TTL: 1})
	for i, st := range steps {
		zxid, digest := s.m.View().Zxid(), s.m.digest
		r := s.must(st.want, st.c, newNode(st.path))
		unnumbered := st.want == SequenceGap || st.want == SessionMoved || st.want == SessionExpired
		if unnumbered && (r.Zxid != zxid || s.m.digest != digest) || !unnumbered && r.Zxid != zxid+1 {
			t.Errorf("step %d: %v at zxid %x after %x", i, r.Code, r.Zxid, zxid)
		}
	}
	s.audit()
}

func TestCodesHaveNames(t *testing.T) {
	seen := map[string]Code{}
	for c := OK; c < codes; c++ {
		name := c.String()
		if other, twice := seen[name]; twice || name == "" {
			t.Errorf("codes %d and %d are both %q", other, c, name)
		}
		seen[name] = c
	}
	if got := codes.String(); got != "unknown code" {
		t.Errorf("the code after the last is %q", got)
	}
}

// Every etcd request of a table is put to the roles; today they allow all, so what is tested is that okapi's own and
// ZooKeeper's callers are not asked, and that access lists speak each protocol's language.
func TestAuthorize(t *testing.T) {
	s := newStore(t)
	closed := s.m.acls.intern([]command.ACL{acl(command.PermRead, "ip", "10.0.0.1")})
	tests := []struct {
		c    command.Caller
		want Code
	}{
		{command.Caller{}, OK},
		{etcdCaller(), PermissionDenied},
		{command.Caller{Protocol: command.Etcd, User: "root"}, OK},
		{command.Caller{Protocol: command.ZooKeeper}, NoAuth},
		{command.Caller{Protocol: command.ZooKeeper, Identities: []command.Identity{{Scheme: "ip", ID: "10.0.0.1"}}}, OK},
		{command.Caller{Protocol: command.ZooKeeper, Identities: []command.Identity{{Scheme: "super"}}}, OK},
	}
	for _, tt := range tests {
		if got := s.m.nodeAllows(&tt.c, closed, command.PermRead); got != tt.want {
			t.Errorf("%+v: %v, want %v", tt.c, got, tt.want)
		}
		for _, req := range (ops{
			get("a"), put("a", ""), &command.Put{Key: "a", PrevKV: true}, del("a"), &command.DeleteRange{Key: "a", PrevKV: true},
			&command.Compact{}, &command.Txn{Compares: []command.Compare{{Key: "a"}}, Success: ops{get("a")}, Failure: ops{put("a", "")}},
		}) {
			if got := s.m.authorize(&tt.c, req); got != OK {
				t.Errorf("%+v, %T: %v", tt.c, req, got)
			}
		}
	}
}
