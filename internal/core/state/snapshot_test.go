package state

import (
	"errors"
	"fmt"
	"testing"

	"github.com/okapi-kv/okapi/internal/core/command"
	"github.com/okapi-kv/okapi/internal/core/mvcc"
	"github.com/okapi-kv/okapi/internal/invariant"
)

// snapshotStore has something of everything.
func snapshotStore(t testing.TB) *store {
	t.Helper()
	s := treeStore(t)
	s.put("a=1", "b=2", "a=3", "/zk/x/y=1")
	s.delete("b")
	s.ok(&command.Compact{Revision: s.m.View().Revision() - 1})
	s.want(OK, &command.SetData{Path: "/p", Version: -1})
	s.ok(&command.Put{Key: "k", Lease: 8})
	s.ok(&command.Alarm{Action: command.AlarmActivate, Member: 4, Alarm: command.AlarmNoSpace})
	s.open(5)
	return s
}

// A snapshot of an empty machine, and of one with something of everything, gives the same machine.
func TestLoad(t *testing.T) {
	for _, m := range []*Machine{New(1), snapshotStore(t).m} {
		n := reload(t, m)
		sameState(t, "loaded", n, m)
		sameHistory(t, n, m)
		auditMachine(t, n)
		same(t, "leases", n.View().Leases(), m.View().Leases())
		same(t, "keys of 8", n.View().LeaseKeys(8), m.View().LeaseKeys(8))
		same(t, "alarms", n.View().Alarms(), m.View().Alarms())
	}
}

// Versions that only changed metadata share their data after a load too.
func TestLoadSharesData(t *testing.T) {
	s := newStore(t)
	s.want(OK, &command.Create{Path: "/p", Data: []byte("data"), ACL: openList(), TTL: command.NoTTL})
	s.make("/p/a", "/p/b")
	n := reload(t, s.m)
	v := n.tree.Get("/p")
	if p := v.Prev(); p == nil || &p.Record.data[0] != &v.Record.data[0] || p.Record.acl != v.Record.acl {
		t.Error("two versions do not share what they have in common")
	}
}

// A snapshot shows the view that it was begun with, though commands go on between its steps, and holds
// Reclaim back until it is done.
func TestExportWhileApplying(t *testing.T) {
	s := newStore(t)
	s.ok(&command.LeaseGrant{ID: 7, TTL: 10})
	for i := range 3 * stepKeys {
		s.ok(&command.Put{Key: fmt.Sprintf("k%04d", i), Lease: 7})
		s.put(fmt.Sprintf("/zk/n%04d=1", i))
	}
	s.put("k0767=history") // one of the last to be written
	want := snapshot(t, s.m)
	v := s.m.View()
	yields := 0
	v.Yield = func() {
		yields++
		s.put("k0001=later", "k0700=later", fmt.Sprintf("new%d=1", yields), "/zk/n0001=later", fmt.Sprintf("/zk/n0500/%d=1", yields))
		s.delete(fmt.Sprintf("k%04d", 100*yields))
		if yields == 1 {
			s.ok(&command.LeaseRevoke{ID: 7})
		}
		s.ok(&command.Compact{Revision: s.m.View().Revision()})
		if s.m.Reclaim(1<<20, v.Seq()) {
			t.Error("there is more to reclaim while a snapshot is written")
		}
	}
	got := &tape{}
	if err := s.m.Export(v, got); err != nil {
		t.Fatal(err)
	}
	if yields < 5 {
		t.Errorf("only %d yields", yields)
	}
	same(t, "records", got.data, want.data)
	if _, err := Load(got, 2); err != nil {
		t.Error(err)
	}
	if s.m.Reclaim(1<<20, s.m.View().Seq()); s.m.plain.Get("k0767").Prev() != nil {
		t.Error("nothing was reclaimed after the snapshot")
	}
	s.audit()
}

// Large values make a step shorter.
func TestExportYieldsByBytes(t *testing.T) {
	s := newStore(t)
	for i := range 8 {
		s.ok(&command.Put{Key: fmt.Sprint(i), Value: make([]byte, stepBytes/2)})
	}
	v := s.m.View()
	yields := 0
	v.Yield = func() { yields++ }
	if err := s.m.Export(v, &tape{}); err != nil {
		t.Fatal(err)
	}
	if yields != 3 {
		t.Errorf("%d yields, want 3", yields)
	}
}

func TestExportBeginsAtTheNewestView(t *testing.T) {
	s := newStore(t)
	v := s.m.View()
	s.put("a=1")
	defer func() {
		if _, ok := recover().(invariant.Violation); !ok {
			t.Error("an old view was exported")
		}
	}()
	_ = s.m.Export(v, &tape{})
}

var errSink = errors.New("sink is full")

// fullSink takes a number of records.
type fullSink struct{ left int }

func (f *fullSink) Record(uint8, []byte) error {
	if f.left == 0 {
		return errSink
	}
	f.left--
	return nil
}

func TestExportReportsTheSink(t *testing.T) {
	s := snapshotStore(t)
	for n := range len(snapshot(t, s.m).kinds) {
		if err := s.m.Export(s.m.View(), &fullSink{n}); !errors.Is(err, errSink) {
			t.Errorf("sink for %d records: %v", n, err)
		}
	}
	if s.m.exports != 0 {
		t.Error("a failed export still holds Reclaim back")
	}
}

// Whatever is wrong with the records, Load says so and does not panic.
func TestLoadRefusesDamage(t *testing.T) {
	s := snapshotStore(t)
	s.must(OK, command.Caller{}, judged(command.MemberChange{Action: command.AddMember, ID: 4, PeerURLs: []string{"http://n4:2380"}}))
	s.must(OK, command.Caller{}, &command.PublishMember{ID: 4, Name: "n4", ClientURLs: []string{"http://n4:2379"}})
	good := snapshot(t, s.m)
	load := func(kinds []uint8, data [][]byte) error {
		_, err := Load(&tape{kinds: kinds, data: data}, 2)
		return err
	}
	if err := load(good.kinds, good.data); err != nil {
		t.Fatal(err)
	}
	without := func(i int) ([]uint8, [][]byte) {
		return append(append([]uint8{}, good.kinds[:i]...), good.kinds[i+1:]...),
			append(append([][]byte{}, good.data[:i]...), good.data[i+1:]...)
	}
	for i := range good.kinds {
		if err := load(without(i)); err == nil {
			t.Errorf("record %d is missing, and nobody cares", i)
		}
		twice := func() ([]uint8, [][]byte) {
			return append(append([]uint8{}, good.kinds[:i+1]...), good.kinds[i:]...),
				append(append([][]byte{}, good.data[:i+1]...), good.data[i:]...)
		}
		if err := load(twice()); err == nil && good.kinds[i] != recordEnd {
			t.Errorf("record %d comes twice, and nobody cares", i)
		}
		kinds := append([]uint8{}, good.kinds...)
		kinds[i] = 77
		if err := load(kinds, good.data); !errors.Is(err, ErrSnapshot) {
			t.Errorf("record %d of unknown kind: %v", i, err)
		}
		for n := range good.data[i] {
			data := append([][]byte{}, good.data...)
			data[i] = good.data[i][:n]
			if err := load(good.kinds, data); err == nil {
				t.Errorf("record %d cut to %d bytes is taken", i, n)
			}
			for _, flip := range []byte{1, 0x80, 0xff} {
				data[i] = append([]byte{}, good.data[i]...)
				data[i][n] ^= flip
				// Some bytes, such as those of history, are in no digest; but none may panic.
				if err := load(good.kinds, data); err == nil && good.kinds[i] == recordEnd {
					t.Errorf("byte %d of the last record says nothing", n)
				}
			}
		}
		data := append([][]byte{}, good.data...)
		data[i] = append(append([]byte{}, good.data[i]...), 0)
		if err := load(good.kinds, data); !errors.Is(err, ErrSnapshot) {
			t.Errorf("record %d with a byte more: %v", i, err)
		}
	}
}

// The digest is a sum over records that tells every field apart.
func TestDigestCoversEveryField(t *testing.T) {
	seen := map[uint64]string{}
	note := func(what string, d uint64) {
		t.Helper()
		if other, twice := seen[d]; twice {
			t.Errorf("%s and %s have one digest", what, other)
		}
		seen[d] = what
	}
	v := value{}
	note("value", digestValue("k", 1, &v))
	note("key", digestValue("l", 1, &v))
	note("longer key", digestValue("k\x00", 1, &v))
	note("revision", digestValue("k", 2, &v))
	for name, v := range map[string]value{
		"data": {data: []byte{0}}, "more data": {data: []byte{0, 0}}, "create": {create: 1}, "version": {version: 1}, "lease": {lease: 1},
		"16 bytes": {data: make([]byte, 16)}, "17 bytes": {data: make([]byte, 17)}, "24 bytes": {data: make([]byte, 24)},
	} {
		note("value "+name, digestValue("k", 1, &v))
	}
	list := func(entries ...command.ACL) *accessList {
		return &accessList{entries: entries, digest: digestACL(entries)}
	}
	note("node", digestNode("/k", &znode{}))
	for name, z := range map[string]znode{
		"empty": {data: []byte{}}, "data": {data: []byte{0}}, "czxid": {czxid: 1}, "mzxid": {mzxid: 1}, "pzxid": {pzxid: 1},
		"ctime": {ctime: 1}, "mtime": {mtime: 1}, "create": {create: 1}, "mod": {mod: 1}, "owner": {owner: 1}, "ttl": {ttl: 1},
		"version": {version: 1}, "aversion": {aversion: 1}, "creates": {creates: 1}, "children": {children: 1},
		"negative version": {version: -1}, "negative aversion": {aversion: -1}, "negative both": {version: -1, aversion: -1},
		"kind": {kind: container}, "acl": {acl: list(acl(1, "a", "b"))}, "acl perms": {acl: list(acl(2, "a", "b"))},
		"acl scheme": {acl: list(acl(1, "ab", ""))}, "acl id": {acl: list(acl(1, "a", "c"))}, "acl twice": {acl: list(acl(1, "a", "b"), acl(1, "a", "b"))},
	} {
		note("node "+name, digestNode("/k", &z))
	}
	note("lease", digestLease(&lease{}))
	for name, l := range map[string]lease{
		"id": {id: 1}, "kind": {kind: leaseSession}, "ttl": {ttl: 1}, "timeout": {timeoutMS: 1}, "generation": {generation: 1},
		"sequence": {sequence: 1}, "password": {password: [16]byte{1}}, "password end": {password: [16]byte{15: 1}},
	} {
		note("lease "+name, digestLease(&l))
	}
	note("alarm", digestAlarm(Alarm{}))
	note("alarm member", digestAlarm(Alarm{Member: 1}))
	note("alarm type", digestAlarm(Alarm{Type: 1}))
	note("settings", digestSettings(false, &command.Settings{}))
	note("bootstrapped", digestSettings(true, &command.Settings{}))
	for name, c := range map[string]command.Settings{
		"prefix": {TreePrefix: "/"}, "history": {TreeHistory: 1}, "quota": {QuotaBytes: 1}, "tree quota": {TreeQuotaBytes: 1},
		"types": {ExtendedTypes: true}, "enforce": {EnforceQuota: true}, "skip": {SkipACL: true},
	} {
		note("settings "+name, digestSettings(false, &c))
	}
	base := New(1)
	note("machine", base.Digest())
	for name, change := range map[string]func(*Machine){
		"index": func(m *Machine) { m.index++ }, "term": func(m *Machine) { m.term++ }, "time": func(m *Machine) { m.time++ },
		"revision": func(m *Machine) { m.revision++ }, "zxid": func(m *Machine) { m.zxid++ }, "seq": func(m *Machine) { m.seq++ },
		"compacted": func(m *Machine) { m.compacted++ }, "floor": func(m *Machine) { m.treeHistory.floor++ },
		"history": func(m *Machine) { m.treeHistory.total++ },
	} {
		m := New(1)
		change(m)
		note("machine "+name, m.Digest())
	}
}

// Members must agree on the formula, so a change of it has to be noticed. A new formula needs a new feature level.
func TestDigestFormulaIsFixed(t *testing.T) {
	if got, want := snapshotStore(t).m.Digest(), uint64(0x639165176df57e0f); got != want {
		t.Errorf("digest %#x, want %#x", got, want)
	}
}

// What a snapshot keeps of an item, around the floor.
func TestNeededVersions(t *testing.T) {
	// Revisions 2, 4, 6 (a deletion), 8, each with an equal sequence number.
	sp := mvcc.NewSpace(plainShape(), 1)
	sp.Write("k", 2, 2, value{})
	sp.Write("k", 4, 4, value{})
	sp.Delete("k", 6, 6, value{})
	sp.Write("k", 8, 8, value{})
	for _, tt := range []struct {
		seq   uint64
		floor int64
		want  []int64
	}{
		{8, 0, []int64{8, 6, 4, 2}},
		{8, 3, []int64{8, 6, 4, 2}},
		{8, 4, []int64{8, 6, 4, 2}}, // what the version at the floor replaced counts as history
		{8, 5, []int64{8, 6, 4}},
		{8, 6, []int64{8, 6, 4}},
		{8, 7, []int64{8}}, // a tombstone below the floor is nothing
		{8, 9, []int64{8}},
		{7, 7, nil},
		{7, 6, []int64{6, 4}},
		{5, 5, []int64{4}},
		{1, 0, nil},
	} {
		var got []int64
		for _, v := range needed(sp.Get("k"), tt.seq, tt.floor, nil) {
			got = append(got, v.Rev)
		}
		same(t, fmt.Sprintf("at %d with floor %d", tt.seq, tt.floor), got, tt.want)
	}
}
