package state

import (
	"fmt"
	"testing"

	"github.com/okapi-kv/okapi/internal/core/command"
)

// hashAt is HashKV, which must succeed.
func hashAt(t *testing.T, v View, revision int64) uint32 {
	t.Helper()
	h, code := HashKV(v, revision)
	if code != OK {
		t.Fatalf("HashKV(%d): %v", revision, code)
	}
	return h.Hash
}

// The numbers are what etcd 3.7.3 answers for these commands, given through etcdctl.
func TestHashKVIsEtcds(t *testing.T) {
	s := newStore(t)
	s.put("a=1", "b=2", "a=3")
	s.delete("b")
	s.ok(&command.Txn{Success: []command.Command{
		&command.Put{Key: "c", Value: []byte("4")}, &command.Put{Key: "d", Value: []byte("5")}, &command.DeleteRange{Key: "a"},
	}})
	s.put("e=")
	s.put("/zk/a/b=a znode is no plain key")
	all := map[int64]uint32{
		-5: 1084519789, 1: 1084519789, 2: 2587454935, 3: 1827592406, 4: 2069675932, 5: 1125682900, 6: 3071562260, 7: 728210106,
	}
	for revision, want := range all {
		if got, code := HashKV(s.m.View(), revision); code != OK || got != (KVHash{want, revision, -1}) {
			t.Errorf("at %d: %+v, %v, want %d", revision, got, code, want)
		}
	}
	if got, _ := HashKV(s.m.View(), 0); got != (KVHash{728210106, 8, -1}) {
		t.Errorf("newest: %+v", got)
	}
	s.ok(&command.Compact{Revision: 4})
	s.m.Reclaim(1<<20, s.m.View().Seq())
	// A key that is alone in its revision survives under the number that it had.
	for revision, want := range map[int64]uint32{5: 1468967122, 7: 4146087978} {
		if got, code := HashKV(s.m.View(), revision); code != OK || got != (KVHash{want, revision, 4}) {
			t.Errorf("after a compaction, at %d: %+v, %v, want %d", revision, got, code, want)
		}
	}
	for revision, want := range map[int64]Code{1: Compacted, 3: Compacted, 4: OK, 8: OK, 9: FutureRevision} {
		if _, code := HashKV(s.m.View(), revision); code != want {
			t.Errorf("at %d: %v, want %v", revision, code, want)
		}
	}
}

// As above: keys with a lease, and a range deleted in one revision.
func TestHashKVOfLeasedKeys(t *testing.T) {
	s := newStore(t)
	const id = 0x123456789abcdef0
	s.ok(&command.LeaseGrant{ID: id, TTL: 1000})
	s.ok(&command.Put{Key: "k", Value: []byte("v"), Lease: id})
	s.ok(&command.Put{Key: "k2", Value: []byte("v"), Lease: id})
	s.put("zz=y")
	s.ok(&command.DeleteRange{Key: "k", End: "l"})
	if got := hashAt(t, s.m.View(), 0); got != 3178497723 {
		t.Errorf("hash %d, want etcd's 3178497723", got)
	}
}

// Two members at one revision and compaction have one hash, though one has freed memory and the other was
// rebuilt from a snapshot.
func TestHashKVIsTheSameEverywhere(t *testing.T) {
	s := newStore(t)
	for i := range 40 {
		s.put(fmt.Sprintf("k%d=%d", i%7, i))
		if i%5 == 0 {
			s.delete(fmt.Sprintf("k%d", i%7))
		}
	}
	for _, floor := range []int64{10, 30} {
		s.ok(&command.Compact{Revision: floor})
		revision := s.m.View().Revision()
		want := map[int64]uint32{}
		for r := floor; r <= revision; r++ {
			want[r] = hashAt(t, s.m.View(), r)
		}
		s.m.Reclaim(1<<20, s.m.View().Seq())
		loaded := reload(t, s.m)
		seen := map[uint32]int64{}
		for r, hash := range want {
			if got := hashAt(t, s.m.View(), r); got != hash {
				t.Errorf("floor %d: after freeing memory %d has the hash %d, want %d", floor, r, got, hash)
			}
			if got := hashAt(t, loaded.View(), r); got != hash {
				t.Errorf("floor %d: loaded, %d has the hash %d, want %d", floor, r, got, hash)
			}
			if other, twice := seen[hash]; twice {
				t.Errorf("floor %d: %d and %d have one hash", floor, r, other)
			}
			seen[hash] = r
		}
	}
}

// A hash shows the view that it began with, though commands go on between its steps.
func TestHashKVWhileApplying(t *testing.T) {
	s := newStore(t)
	for i := range 2 * stepKeys {
		s.put(fmt.Sprintf("k%04d=%d", i, i))
	}
	s.ok(&command.Compact{Revision: stepKeys})
	for i := range 2 * stepKeys {
		s.put(fmt.Sprintf("k%04d=%d", 2*i, i))
	}
	v := s.m.View()
	want := hashAt(t, v, 0)
	yields := 0
	v.Yield = func() {
		yields++
		s.put("k0001=later", fmt.Sprintf("new%d=1", yields))
		s.delete("k0003")
		s.ok(&command.Compact{Revision: s.m.View().Revision() - 1})
		s.m.Reclaim(1<<20, 0) // as the replica's ReadHistory holds it
	}
	if got := hashAt(t, v, 0); got != want {
		t.Errorf("hash %d, want %d", got, want)
	}
	if yields < 3 {
		t.Errorf("only %d yields", yields)
	}
}

// Hash tells states apart, and does not depend on how the machine came to its own.
func TestHash(t *testing.T) {
	s := snapshotStore(t)
	s.ok(&command.Alarm{Action: command.AlarmDeactivate, Member: 4, Alarm: command.AlarmNoSpace})
	before, revision := Hash(s.m)
	if revision != s.m.View().Revision() {
		t.Errorf("revision %d, want %d", revision, s.m.View().Revision())
	}
	if got, _ := Hash(reload(t, s.m)); got != before {
		t.Errorf("loaded from a snapshot, the hash is %d, want %d", got, before)
	}
	s.term++
	s.apply(command.Caller{}, &command.Bootstrap{}) // changes nothing but the term
	if got, _ := Hash(s.m); got != before {
		t.Errorf("in another term, the hash is %d, want %d", got, before)
	}
	seen := map[uint32]string{before: "before"}
	for _, step := range []struct {
		name string
		cmd  command.Command
	}{
		{"put", &command.Put{Key: "x"}},
		{"put in the tree", &command.Put{Key: "/zk/new"}},
		{"grant", &command.LeaseGrant{ID: 99, TTL: 10}},
		{"alarm", &command.Alarm{Action: command.AlarmActivate, Member: 9, Alarm: command.AlarmCorrupt}},
		{"member", judged(command.MemberChange{Action: command.AddMember, ID: 9, PeerURLs: []string{"http://n9:2380"}})},
	} {
		s.must(OK, command.Caller{}, step.cmd)
		got, _ := Hash(s.m)
		if other, twice := seen[got]; twice {
			t.Errorf("%s: the hash is that of %s", step.name, other)
		}
		seen[got] = step.name
	}
}
