package state

import (
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"pgregory.net/rapid"

	"github.com/okapi-kv/okapi/internal/core/command"
)

// draw makes random commands of both protocols over few keys, nodes, leases and sessions, so that they meet.
type draw struct {
	t *rapid.T
	m *Machine // decides the order of sessions' commands
}

func pick[T any](d draw, what string, from ...T) T { return rapid.SampledFrom(from).Draw(d.t, what) }

func (d draw) chance(percent int) bool { return rapid.IntRange(0, 99).Draw(d.t, "chance") < percent }

func (d draw) path() string {
	return pick(d, "path", "/a", "/a/b", "/a/b/c", "/a/d", "/b", "/b-x", "/b/c", "/e", "/zookeeper/quota/a", "/a//b", "/")
}

func (d draw) key() string {
	if d.chance(50) {
		return "/zk" + d.path()
	}
	return pick(d, "key", "a", "b", "c", "/zj", "/zkx", "/zl")
}

func (d draw) end(key string) string {
	return pick(d, "end", "", "", "", "\x00", "/zl", "/zk/b", "d", key+"0", key)
}

func (d draw) data() []byte {
	return pick(d, "data", nil, []byte{}, []byte("1"), []byte("12"), []byte("count=3,bytes=-1"), make([]byte, 200))
}

func (d draw) lease() int64 { return pick[int64](d, "lease", 0, 0, 7, 7, 8, 1, 99) }

func (d draw) list() []command.ACL {
	return pick(d, "acl", openList(), openList(), openList(), nil,
		[]command.ACL{acl(command.PermRead, "world", "anyone")},
		[]command.ACL{acl(command.PermAll, "ip", "10.0.0.1"), acl(command.PermRead|command.PermWrite, "world", "anyone")})
}

func (d draw) put() *command.Put {
	return &command.Put{
		Key: d.key(), Value: d.data(), Lease: d.lease(),
		PrevKV: d.chance(30), IgnoreValue: d.chance(10), IgnoreLease: d.chance(10),
	}
}

func (d draw) deleteRange() *command.DeleteRange {
	key := d.key()
	return &command.DeleteRange{Key: key, End: d.end(key), PrevKV: d.chance(30)}
}

func (d draw) rangeOf() *command.Range {
	key := d.key()
	return &command.Range{Key: key, End: d.end(key), Revision: pick[int64](d, "rev", 0, 0, 0, 2, 5, 9, -1)}
}

func (d draw) txn(depth int) *command.Txn {
	t := &command.Txn{}
	if d.chance(50) {
		key := d.key()
		t.Compares = []command.Compare{{
			Key: key, End: d.end(key), Target: command.CompareTarget(rapid.IntRange(0, 4).Draw(d.t, "target")),
			Result: command.CompareResult(rapid.IntRange(0, 3).Draw(d.t, "result")), Number: pick[int64](d, "number", 0, 1, 2, 7),
		}}
	}
	for range rapid.IntRange(0, 4).Draw(d.t, "ops") {
		t.Success = append(t.Success, d.txnOp(depth))
	}
	for range rapid.IntRange(0, 2).Draw(d.t, "ops") {
		t.Failure = append(t.Failure, d.txnOp(depth))
	}
	return t
}

func (d draw) txnOp(depth int) command.Command {
	switch rapid.IntRange(0, 9).Draw(d.t, "op") {
	case 0, 1, 2, 3:
		return d.put()
	case 4, 5, 6:
		return d.deleteRange()
	case 7:
		if depth > 0 {
			return d.txn(depth - 1)
		}
		fallthrough
	default:
		return d.rangeOf()
	}
}

func (d draw) version() int32 { return pick[int32](d, "version", -1, -1, -1, 0, 1) }

func (d draw) nodeOp() command.Command {
	path := d.path()
	if d.chance(5) {
		path = "/zookeeper/quota/a/" + pick(d, "quota", limitsName, statsName)
	}
	switch rapid.IntRange(0, 7).Draw(d.t, "node op") {
	case 0, 1, 2:
		ttl := command.NoTTL
		flags := pick(d, "flags", 0, 0, 0, 1, 2, 3, 4, command.FlagTTL, command.FlagPersistentSequentialTTL, 9)
		if flags == command.FlagTTL || flags == command.FlagPersistentSequentialTTL {
			ttl = 100
		}
		return &command.Create{Path: path, Data: d.data(), ACL: d.list(), Flags: flags, TTL: ttl}
	case 3, 4:
		return &command.Delete{Path: path, Version: d.version()}
	case 5, 6:
		return &command.SetData{Path: path, Data: d.data(), Version: d.version()}
	default:
		return &command.Check{Path: path, Version: d.version()}
	}
}

func (d draw) zookeeper() command.Command {
	switch rapid.IntRange(0, 9).Draw(d.t, "zookeeper") {
	case 0:
		return &command.SetACL{Path: d.path(), ACL: d.list(), Version: d.version()}
	case 1, 2:
		m := &command.Multi{}
		for range rapid.IntRange(0, 4).Draw(d.t, "ops") {
			m.Ops = append(m.Ops, d.nodeOp())
		}
		return m
	case 3:
		if d.chance(20) {
			return &command.CloseSession{}
		}
		fallthrough
	default:
		return d.nodeOp()
	}
}

// zkCaller is mostly the next caller of a session.
func (d draw) zkCaller() command.Caller {
	id := pick[int64](d, "session", 1, 1, 2)
	c := command.Caller{Protocol: command.ZooKeeper, Session: id, Generation: 1, Sequence: 1}
	if s, ok := d.m.View().Session(id); ok {
		c.Generation, c.Sequence = s.Generation, s.Sequence+1
	}
	if d.chance(3) {
		c.Sequence++
	}
	return c
}

// proposal makes one proposal.
func (d draw) proposal() command.Proposal {
	etcd := func(c command.Command) command.Proposal {
		return command.Proposal{ID: command.ID{Member: 3}, Caller: etcdCaller(), Command: c}
	}
	internal := func(c command.Command) command.Proposal { return command.Proposal{Command: c} }
	id := pick[int64](d, "id", 1, 2, 7, 8)
	switch rapid.IntRange(0, 19).Draw(d.t, "kind") {
	case 0, 1, 2, 3:
		return etcd(d.put())
	case 4, 5:
		return etcd(d.deleteRange())
	case 6, 7, 8, 9:
		return etcd(d.txn(2))
	case 10:
		return etcd(&command.Compact{Revision: d.m.revision - rapid.Int64Range(0, 5).Draw(d.t, "back")})
	case 11:
		return etcd(&command.LeaseGrant{ID: id, TTL: 5})
	case 12:
		return etcd(pick[command.Command](d, "rare", &command.LeaseRevoke{ID: id},
			&command.Alarm{Action: command.AlarmDeactivate, Member: 3, Alarm: command.AlarmNoSpace}))
	case 13:
		open := &command.OpenSession{ID: id, Password: passwordOf(id), Timeout: 1000}
		return pick(d, "session", internal(open), internal(open),
			internal(&command.AttachSession{ID: id, Password: passwordOf(id), Timeout: 2000}),
			internal(&command.Expire{ID: id, Generation: 1, Term: d.m.term}))
	case 14:
		reap := &command.Reap{Path: d.path()}
		if z := d.m.node(reap.Path); z != nil {
			reap.Czxid = z.czxid
		}
		return internal(reap)
	default:
		return command.Proposal{Caller: d.zkCaller(), Command: d.zookeeper()}
	}
}

// settings of random tests: quotas and history small enough to matter.
func randomSettings(d draw) command.Settings {
	return command.Settings{
		TreePrefix:  pick(d, "prefix", "/zk", "/zk", ""),
		TreeHistory: 20_000, QuotaBytes: 12_000, TreeQuotaBytes: 20_000, ExtendedTypes: true, EnforceQuota: true,
	}
}

// entry makes an entry of a few proposals. The first one of a run bootstraps.
func (d draw) entry(index uint64, time *int64, term *uint64) *Entry {
	*time += rapid.Int64Range(-100, 5000).Draw(d.t, "time")
	if d.chance(5) {
		*term++
	}
	e := &Entry{Index: index, Term: *term, Batch: command.Batch{Time: *time}}
	n := rapid.IntRange(0, 3).Draw(d.t, "proposals")
	for range n {
		e.Batch.Proposals = append(e.Batch.Proposals, d.proposal())
	}
	return e
}

// tape keeps the records of a snapshot.
type tape struct {
	kinds []uint8
	data  [][]byte
	next  int
}

func (t *tape) Record(kind uint8, data []byte) error {
	t.kinds = append(t.kinds, kind)
	t.data = append(t.data, append([]byte(nil), data...))
	return nil
}

func (t *tape) Next() (uint8, []byte, error) {
	if t.next == len(t.kinds) {
		return 0, nil, fmt.Errorf("end of tape")
	}
	t.next++
	return t.kinds[t.next-1], t.data[t.next-1], nil
}

// snapshot writes all of a machine to a tape.
func snapshot(t failer, m *Machine) *tape {
	out := &tape{}
	if err := m.Export(m.View(), out); err != nil {
		t.Fatalf("export: %v", err)
	}
	return out
}

// reload is a machine rebuilt from a snapshot of another.
func reload(t failer, m *Machine) *Machine {
	n, err := Load(snapshot(t, m), 2)
	if err != nil {
		t.Fatalf("load: %v", err)
	}
	return n
}

// sameState insists that two machines hold the same, history included.
func sameState(t failer, what string, got, want *Machine) {
	t.Helper()
	if d := cmp.Diff(snapshot(t, want), snapshot(t, got), cmp.AllowUnexported(tape{})); d != "" {
		t.Fatalf("%s (-want +got):\n%s", what, d)
	}
	if g, w := got.View().Sizes(), want.View().Sizes(); g != w {
		t.Fatalf("%s: sizes %+v, want %+v", what, g, w)
	}
}

// sameOutput insists that two machines did the same.
func sameOutput(t failer, got, want *Output) {
	t.Helper()
	if d := cmp.Diff(want, got, cmp.AllowUnexported(accessList{}), cmpopts.EquateEmpty()); d != "" {
		t.Fatalf("outputs differ (-want +got):\n%s", d)
	}
}

// Whatever is applied: the sums add up, the tree is a tree, a refused command leaves nothing, and an old view
// goes on showing what it showed.
func TestRandomCommands(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := New(1)
		d := draw{t, m}
		var out Output
		time, term := int64(1000), uint64(1)
		boot := &command.Bootstrap{Settings: randomSettings(d)}
		m.Apply(&Entry{Index: 1, Term: 1, Batch: command.Batch{Time: time, Proposals: []command.Proposal{{Command: boot}}}}, &out, nil)
		for i := range rapid.IntRange(1, 40).Draw(t, "entries") {
			old := m.View()
			var before []any
			if i%8 == 7 {
				before = readAll(t, old)
			}
			m.Apply(d.entry(uint64(i)+2, &time, &term), &out, nil)
			auditMachine(t, m)
			if before == nil {
				continue
			}
			if d := cmp.Diff(before, readAll(t, old)); d != "" {
				t.Fatalf("a view changed (-before +after):\n%s", d)
			}
		}
	})
}

// readAll reads everything that a view shows, as okapi itself.
func readAll(t failer, v View) []any {
	var all []any
	for _, r := range []command.Range{{Key: "\x00", End: "\x00"}, {Key: "/zk", End: "/zl"}} {
		res, code := rangeAt(v, &command.Caller{}, &r)
		if code != OK {
			t.Fatalf("range: %v", code)
		}
		all = append(all, res)
	}
	v.m.walkBelow(rootPath, v.seq, func(path string, z *znode) bool {
		list, st, _ := v.ACL(&command.Caller{}, path)
		data, _, _ := v.Data(&command.Caller{}, path)
		all = append(all, path, list, st, data)
		return true
	}, nil)
	return all
}

// A command that is rolled back, however far it came, leaves everything as it was.
func TestRollback(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := New(1)
		d := draw{t, m}
		var out Output
		time, term := int64(1000), uint64(1)
		boot := &command.Bootstrap{Settings: randomSettings(d)}
		m.Apply(&Entry{Index: 1, Term: 1, Batch: command.Batch{Time: time, Proposals: []command.Proposal{{Command: boot}}}}, &out, nil)
		for i := range rapid.IntRange(1, 15).Draw(t, "entries") {
			m.Apply(d.entry(uint64(i)+2, &time, &term), &out, nil)
		}
		p := d.proposal()
		switch p.Command.(type) {
		case *command.Put, *command.DeleteRange, *command.Txn,
			*command.Create, *command.Delete, *command.SetData, *command.SetACL, *command.Multi:
		default:
			return // others either succeed or find out before they change anything
		}
		p.Caller.Session = 1
		before, sizes, digest := snapshot(t, m), m.View().Sizes(), m.digest
		out = Output{}
		m.out, m.yield = &out, func() {}
		m.begin(&p)
		if code, _ := m.carryOut(p.Command); code == OK && d.chance(50) {
			m.settleDoomed()
		}
		m.rollback()
		m.out, m.yield = nil, nil
		if diff := cmp.Diff(before, snapshot(t, m), cmp.AllowUnexported(tape{})); diff != "" {
			t.Fatalf("%T%+v left a trace (-before +after):\n%s", p.Command, p.Command, diff)
		}
		if got := m.View().Sizes(); got != sizes || m.digest != digest || len(out.Events)+len(out.Leases) > 0 {
			t.Fatalf("sizes %+v, want %+v; digest %x, want %x; output %+v", got, sizes, m.digest, digest, out)
		}
		auditMachine(t, m)
	})
}

// A machine that was rebuilt from a snapshot does whatever the original does from then on, and it does not matter who
// frees memory when.
func TestSnapshotGoesOn(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := New(1)
		d := draw{t, m}
		var out, twinOut Output
		time, term := int64(1000), uint64(1)
		boot := &command.Bootstrap{Settings: randomSettings(d)}
		m.Apply(&Entry{Index: 1, Term: 1, Batch: command.Batch{Time: time, Proposals: []command.Proposal{{Command: boot}}}}, &out, nil)
		twin := reload(t, m)
		for i := range rapid.IntRange(1, 40).Draw(t, "entries") {
			e := d.entry(uint64(i)+2, &time, &term)
			m.Apply(e, &out, nil)
			twin.Apply(e, &twinOut, nil)
			sameOutput(t, &twinOut, &out)
			if m.Digest() != twin.Digest() {
				t.Fatalf("digests %x and %x", m.Digest(), twin.Digest())
			}
			switch rapid.IntRange(0, 9).Draw(t, "between") {
			case 0:
				m.Reclaim(rapid.IntRange(1, 10).Draw(t, "steps"), m.View().Seq())
			case 1:
				twin.Reclaim(1000, twin.View().Seq())
			case 2:
				sameState(t, "twin", twin, m)
				twin = reload(t, m)
			}
		}
		auditMachine(t, twin)
		sameState(t, "twin", twin, m)
		sameHistory(t, twin, m)
	})
}

// sameHistory insists that two machines show the same past, as far as they show any.
func sameHistory(t failer, got, want *Machine) {
	t.Helper()
	for rev := int64(1); rev <= want.revision; rev++ {
		for _, r := range []command.Range{
			{Key: "\x00", End: "\x00", Revision: rev}, {Key: "/zk", End: "/zl", Revision: rev},
		} {
			g, gotCode := rangeAt(got.View(), &command.Caller{}, &r)
			w, wantCode := rangeAt(want.View(), &command.Caller{}, &r)
			if d := cmp.Diff(w, g); d != "" || gotCode != wantCode {
				t.Fatalf("revision %d: %v, want %v (-want +got):\n%s", rev, gotCode, wantCode, d)
			}
		}
	}
}
