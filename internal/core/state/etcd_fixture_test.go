package state

import (
	"fmt"
	"strings"

	"github.com/google/go-cmp/cmp"

	"github.com/okapi-kv/okapi/internal/core/command"
)

// etcdCaller is an etcd client of a cluster without authentication.
func etcdCaller() command.Caller { return command.Caller{Protocol: command.Etcd} }

// store is a machine that etcd clients talk to, with the tree at /zk.
type store struct{ *world }

func newStore(t failer) *store { return newStoreWith(t, zkSettings()) }

func newStoreWith(t failer, s command.Settings) *store {
	t.Helper()
	return &store{newWorld(t, s)}
}

// etcd applies a command of an etcd client.
func (s *store) etcd(c command.Command) Result { return s.apply(etcdCaller(), c) }

// ok applies a command of an etcd client and insists on its success.
func (s *store) ok(c command.Command) Result {
	s.t.Helper()
	return s.must(OK, etcdCaller(), c)
}

// refused applies a command of an etcd client, insists on the code, and that nothing changed but the zxid.
func (s *store) refused(want Code, c command.Command) Result {
	s.t.Helper()
	before, digest := s.m.View(), s.m.digest
	r := s.must(want, etcdCaller(), c)
	if r.Body != nil {
		s.t.Fatalf("%T: a refused command has a body: %v", c, r.Body)
	}
	v := s.m.View()
	if s.m.digest != digest || v.Revision() != before.Revision() || v.Seq() != before.Seq() {
		s.t.Fatalf("%T: a refused command changed something", c)
	}
	return r
}

// put puts key=value pairs, each by a command of its own.
func (s *store) put(pairs ...string) {
	s.t.Helper()
	for _, p := range pairs {
		k, v, _ := strings.Cut(p, "=")
		s.ok(&command.Put{Key: k, Value: []byte(v)})
	}
}

func (s *store) delete(key string) { s.t.Helper(); s.ok(&command.DeleteRange{Key: key}) }

// get answers a Range from the newest view.
func (s *store) get(r command.Range) (*RangeResult, Code) {
	c := etcdCaller()
	return rangeAt(s.m.View(), &c, &r)
}

// kv reads one key.
func (s *store) kv(key string) (KeyValue, bool) {
	s.t.Helper()
	r, code := s.get(command.Range{Key: key})
	if code != OK {
		s.t.Fatalf("get %q: %v", key, code)
	}
	if len(r.KVs) == 0 {
		return KeyValue{}, false
	}
	return r.KVs[0], true
}

// brief writes key-values as "key=value c2 m3 v1", with " l7" for a lease.
func brief(kvs []KeyValue) []string {
	var out []string
	for _, kv := range kvs {
		s := fmt.Sprintf("%s=%s c%d m%d v%d", kv.Key, kv.Value, kv.CreateRevision, kv.ModRevision, kv.Version)
		if kv.Lease != 0 {
			s += fmt.Sprintf(" l%d", kv.Lease)
		}
		out = append(out, s)
	}
	return out
}

// keys are the keys of key-values.
func keys(kvs []KeyValue) []string {
	var out []string
	for _, kv := range kvs {
		out = append(out, kv.Key)
	}
	return out
}

// all are the keys of a range.
func (s *store) all(from, to string) []string {
	s.t.Helper()
	r, code := s.get(command.Range{Key: from, End: to})
	if code != OK {
		s.t.Fatalf("range %q %q: %v", from, to, code)
	}
	return keys(r.KVs)
}

// same fails the test if got is not want.
func same[T any](t failer, what string, got, want T) {
	t.Helper()
	if d := cmp.Diff(want, got); d != "" {
		t.Fatalf("%s (-want +got):\n%s", what, d)
	}
}

// audit checks what must hold between any two commands.
func (s *store) audit() {
	s.t.Helper()
	auditMachine(s.t, s.m)
}

// auditMachine checks that the running sums equal what the records add up to, that the tree is a tree, and that leases
// know what hangs on them.
func auditMachine(t failer, m *Machine) {
	t.Helper()
	if got, want := m.digest, m.recomputeDigest(); got != want {
		t.Fatalf("digest %x, recomputed %x", got, want)
	}
	children := map[string]int32{}
	owned := map[string]int64{}
	scan(m.tree, span{}, m.seq, nil, func(v *treeVersion) bool {
		path := v.Key()
		if path != rootPath {
			children[parentOf(path)]++
			if m.node(parentOf(path)) == nil {
				t.Fatalf("%s has no parent", path)
			}
		}
		if v.Record.kind == implicit && v.Record.children == 0 {
			t.Fatalf("%s is implicit and has no children", path)
		}
		if (v.Record.kind == ephemeral) != (v.Record.owner != 0) {
			t.Fatalf("%s: kind %d, owner %d", path, v.Record.kind, v.Record.owner)
		}
		if v.Record.owner != 0 {
			owned["node "+path] = v.Record.owner
		}
		return true
	})
	scan(m.tree, span{}, m.seq, nil, func(v *treeVersion) bool {
		if v.Record.children != children[v.Key()] {
			t.Fatalf("%s: children %d, want %d", v.Key(), v.Record.children, children[v.Key()])
		}
		return true
	})
	scan(m.plain, span{}, m.seq, nil, func(v *plainVersion) bool {
		if v.Record.lease != 0 {
			owned["key "+v.Key()] = v.Record.lease
		}
		return true
	})
	known := map[string]int64{}
	for id, l := range m.leases.byID {
		for k := range l.keys {
			known["key "+k] = id
		}
		for p := range l.nodes {
			known["node "+p] = id
		}
	}
	same(t, "what hangs on leases", known, owned)
	if m.out != nil || len(m.do.doomed) > 0 {
		t.Fatalf("a command is still under way")
	}
}

// rangeAt is a Range of its own result; nil if it was refused.
func rangeAt(v View, c *command.Caller, r *command.Range) (*RangeResult, Code) {
	res := &RangeResult{}
	if code := v.Range(c, r, res); code != OK {
		return nil, code
	}
	if len(res.KVs) == 0 {
		res.KVs = nil
	}
	return res, OK
}
