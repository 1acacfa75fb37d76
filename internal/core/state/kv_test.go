package state

import (
	"fmt"
	"testing"

	"github.com/okapi-kv/okapi/internal/core/command"
)

func TestRevisionsOfPlainKeys(t *testing.T) {
	s := newStore(t)
	if got := s.m.View().Revision(); got != 1 {
		t.Fatalf("empty store is at revision %d, want 1", got)
	}
	zxid := s.m.View().Zxid()
	steps := []struct {
		name     string
		cmd      command.Command
		code     Code
		rev      int64
		numbered bool
	}{
		{"first put", &command.Put{Key: "a", Value: []byte("1")}, OK, 2, true},
		{"equal value", &command.Put{Key: "a", Value: []byte("1")}, OK, 3, true},
		{"delete", &command.DeleteRange{Key: "a"}, OK, 4, true},
		{"delete of nothing", &command.DeleteRange{Key: "a"}, OK, 4, true},
		{"empty range", &command.DeleteRange{Key: "b", End: "a"}, OK, 4, true},
		{"put of a deleted key", &command.Put{Key: "a"}, OK, 5, true},
		{"grant", &command.LeaseGrant{ID: 7, TTL: 10}, OK, 5, false},
		{"grant again", &command.LeaseGrant{ID: 7, TTL: 10}, LeaseExists, 5, false},
		{"put with unknown lease", &command.Put{Key: "a", Lease: 8}, LeaseNotFound, 5, true},
		{"put with lease", &command.Put{Key: "a", Lease: 7}, OK, 6, true},
		{"txn without operations", &command.Txn{}, OK, 6, true},
		{"txn that writes nothing", &command.Txn{Success: []command.Command{&command.DeleteRange{Key: "x"}}}, OK, 6, true},
		{"txn with two puts", &command.Txn{Success: []command.Command{&command.Put{Key: "x"}, &command.Put{Key: "y"}}}, OK, 7, true},
		{"compact", &command.Compact{Revision: 3}, OK, 7, false},
		{"alarm", &command.Alarm{Action: command.AlarmActivate, Member: 1, Alarm: command.AlarmNone}, OK, 7, false},
		{"revoke with a key", &command.LeaseRevoke{ID: 7}, OK, 8, true},
		{"revoke of nothing", &command.LeaseRevoke{ID: 7}, LeaseNotFound, 8, true},
		{"grant without keys", &command.LeaseGrant{ID: 9, TTL: 1}, OK, 8, false},
		{"revoke without keys", &command.LeaseRevoke{ID: 9}, OK, 8, true},
		{"bootstrap again", &command.Bootstrap{}, OK, 8, false},
		{"range as a command", &command.Range{Key: "a"}, BadArguments, 8, false},
		{"check as a command", &command.Check{Path: "/"}, BadArguments, 8, false},
	}
	for _, st := range steps {
		if st.numbered {
			zxid++
		}
		r := s.etcd(st.cmd)
		if r.Code != st.code || r.Revision != st.rev || r.Zxid != zxid {
			t.Errorf("%s: %v at revision %d, zxid %x; want %v at %d, %x", st.name, r.Code, r.Revision, r.Zxid, st.code, st.rev, zxid)
		}
		if v := s.m.View(); v.Revision() != r.Revision || v.Zxid() != r.Zxid || v.Seq() != r.Seq || v.Time() != r.Time {
			t.Errorf("%s: the view is not at the result's position", st.name)
		}
		s.audit()
	}
}

func TestPutCountsVersions(t *testing.T) {
	s := newStore(t)
	s.put("a=1", "b=2", "a=3")
	s.delete("b")
	s.put("b=4")
	r, _ := s.get(command.Range{Key: "\x00", End: "\x00"})
	same(t, "all keys", brief(r.KVs), []string{"a=3 c2 m4 v2", "b=4 c6 m6 v1"})
}

func TestPutFields(t *testing.T) {
	const lease = 7
	value := func(v string) []byte { return []byte(v) }
	tests := []struct {
		name string
		put  command.Put
		code Code
		want string // of key a afterwards
		prev string
	}{
		{"plain", command.Put{Key: "a", Value: value("n")}, OK, "a=n c2 m4 v3", ""},
		{"empty value", command.Put{Key: "a"}, OK, "a= c2 m4 v3", ""},
		{"prev", command.Put{Key: "a", Value: value("n"), PrevKV: true}, OK, "a=n c2 m4 v3", "a=o c2 m3 v2 l7"},
		{"prev of a new key", command.Put{Key: "b", PrevKV: true}, OK, "a=o c2 m3 v2 l7", ""},
		{"other lease", command.Put{Key: "a", Lease: 8}, OK, "a= c2 m4 v3 l8", ""},
		{"same lease", command.Put{Key: "a", Lease: lease}, OK, "a= c2 m4 v3 l7", ""},
		{"unknown lease", command.Put{Key: "a", Lease: 99}, LeaseNotFound, "a=o c2 m3 v2 l7", ""},
		{"session as lease", command.Put{Key: "a", Lease: 1}, LeaseNotFound, "a=o c2 m3 v2 l7", ""},
		{"ignore value", command.Put{Key: "a", IgnoreValue: true}, OK, "a=o c2 m4 v3", ""},
		{"ignore value with lease", command.Put{Key: "a", IgnoreValue: true, Lease: 8}, OK, "a=o c2 m4 v3 l8", ""},
		{"ignore lease", command.Put{Key: "a", Value: value("n"), IgnoreLease: true}, OK, "a=n c2 m4 v3 l7", ""},
		{"ignore both", command.Put{Key: "a", IgnoreValue: true, IgnoreLease: true, PrevKV: true}, OK, "a=o c2 m4 v3 l7", "a=o c2 m3 v2 l7"},
		{"ignore value of nothing", command.Put{Key: "b", IgnoreValue: true}, KeyNotFound, "a=o c2 m3 v2 l7", ""},
		{"ignore lease of nothing", command.Put{Key: "b", IgnoreLease: true}, KeyNotFound, "a=o c2 m3 v2 l7", ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := newStore(t)
			s.ok(&command.LeaseGrant{ID: lease, TTL: 10})
			s.ok(&command.LeaseGrant{ID: 8, TTL: 10})
			s.put("a=x")
			s.ok(&command.Put{Key: "a", Value: value("o"), Lease: lease})
			r := s.must(tt.code, etcdCaller(), &tt.put)
			kv, _ := s.kv("a")
			same(t, "key", brief([]KeyValue{kv})[0], tt.want)
			if tt.code == OK {
				prev := ""
				if p := r.Body.(*PutResult).Prev; p != nil {
					prev = brief([]KeyValue{*p})[0]
				}
				same(t, "prev", prev, tt.prev)
			}
			s.audit()
		})
	}
}

// A put must not keep the bytes of the entry, which belong to the log.
func TestPutCopies(t *testing.T) {
	s := newStore(t)
	v := []byte("abc")
	s.ok(&command.Put{Key: "k", Value: v})
	s.ok(&command.Put{Key: "/zk/k", Value: v})
	v[0] = 'X'
	for _, key := range []string{"k", "/zk/k"} {
		if kv, _ := s.kv(key); string(kv.Value) != "abc" {
			t.Errorf("%s: value %q follows the entry", key, kv.Value)
		}
	}
	s.audit()
}

func TestDeleteRangeSpans(t *testing.T) {
	tests := []struct {
		name, key, end string
		deleted        []string
	}{
		{"one key", "b", "", []string{"b"}},
		{"no such key", "bb", "", nil},
		{"range", "b", "d", []string{"b", "c"}},
		{"prefix of nothing", "x", "y", nil},
		{"end before key", "c", "b", nil},
		{"end is key", "c", "c", nil},
		{"from key", "c", "\x00", []string{"c", "d"}},
		{"everything", "\x00", "\x00", []string{"a", "b", "c", "d"}},
		{"from the empty key", "", "\x00", []string{"a", "b", "c", "d"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := newStore(t)
			s.put("a=1", "b=2", "c=3", "d=4")
			r := s.ok(&command.DeleteRange{Key: tt.key, End: tt.end, PrevKV: true})
			res := r.Body.(*DeleteRangeResult)
			same(t, "previous keys", keys(res.Prev), tt.deleted)
			if res.Deleted != int64(len(tt.deleted)) {
				t.Errorf("deleted %d, want %d", res.Deleted, len(tt.deleted))
			}
			wantRev := int64(5)
			if len(tt.deleted) > 0 {
				wantRev++
			}
			if r.Revision != wantRev {
				t.Errorf("revision %d, want %d", r.Revision, wantRev)
			}
			if left := s.all("\x00", "\x00"); len(left)+len(tt.deleted) != 4 {
				t.Errorf("left over: %v", left)
			}
			s.audit()
		})
	}
}

// A long delete lets readers in, and they see none of it before it is done.
func TestDeleteRangeYields(t *testing.T) {
	s := newStore(t)
	const n = 3*stepKeys + 10
	s.ok(&command.LeaseGrant{ID: 7, TTL: 10})
	for i := range n {
		s.ok(&command.Put{Key: fmt.Sprintf("k%05d", i), Lease: 7})
	}
	yields := 0
	rev := s.m.View().Revision()
	yield := func() {
		yields++
		v := s.m.View()
		c := etcdCaller()
		r, code := rangeAt(v, &c, &command.Range{Key: "k", End: "l", CountOnly: true})
		if code != OK || r.Count != n || v.Revision() != rev {
			t.Errorf("yield %d: %v, %d keys at revision %d; want %d at %d", yields, code, r.Count, v.Revision(), n, rev)
		}
		if got := len(v.LeaseKeys(7)); got != n {
			t.Errorf("yield %d: %d keys on the lease, want %d", yields, got, n)
		}
	}
	s.index++
	s.m.Apply(&Entry{Index: s.index, Term: s.term, Batch: command.Batch{Proposals: []command.Proposal{
		{Caller: etcdCaller(), Command: &command.DeleteRange{Key: "k", End: "l"}},
	}}}, &s.out, yield)
	if res := s.out.Results[0].Body.(*DeleteRangeResult); res.Deleted != n || yields != 3 {
		t.Errorf("deleted %d with %d yields, want %d with 3", res.Deleted, yields, n)
	}
	if got := s.m.View().LeaseKeys(7); len(got) != 0 {
		t.Errorf("still on the lease: %v", got)
	}
	s.audit()
}
