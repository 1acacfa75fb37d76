package state

import (
	"testing"

	"github.com/okapi-kv/okapi/internal/core/command"
)

// The floor of the tree follows the logged time, whatever etcd compacts.
func TestTreeFloorFollowsTime(t *testing.T) {
	settings := zkSettings()
	settings.TreeHistory = 10_000
	s := newStoreWith(t, settings)
	s.now = 100_000
	s.make("/a") // revision 2
	s.now += 5000
	s.put("/zk/a=2") // revision 3
	s.now += 4999
	s.put("/zk/a=3") // revision 4
	s.ok(&command.Compact{Revision: 4})
	read := func(rev int64, want Code) {
		t.Helper()
		if _, code := s.get(command.Range{Key: "/zk/a", Revision: rev}); code != want {
			t.Errorf("read at %d: %v, want %v", rev, code, want)
		}
	}
	read(1, OK)
	s.now++
	s.put("plain=1") // ten seconds after revision 2
	read(1, Compacted)
	read(2, OK)
	if got := s.m.View().Log(true).Floor(); got != 2 {
		t.Errorf("floor %d, want 2", got)
	}
	s.now += 5000
	s.put("plain=1")
	read(2, Compacted)
	read(3, OK)
	s.m.Reclaim(1000, s.m.View().Seq())
	r, _ := s.get(command.Range{Key: "/zk/a", Revision: 3})
	same(t, "at the floor", brief(r.KVs), []string{"/zk/a=2 c2 m3 v2"})
	s.refused(Compacted, &command.Txn{Success: ops{&command.Range{Key: "/zk/a", Revision: 2}}})
	s.refused(Compacted, &command.Txn{Success: ops{&command.Range{Key: "/zk/a", Revision: -1}}})
	s.now += 60_000
	s.index++
	s.m.Apply(&Entry{Index: s.index, Term: 1, Batch: command.Batch{Time: s.now}}, &s.out, nil)
	if got := s.m.View().Log(true).Floor(); got < 4 {
		t.Errorf("an entry without commands left the floor at %d", got)
	}
}

// In a tree without keys, whose writes do not move the revision, history is forgotten just the same.
func TestTreeFloorWithoutMount(t *testing.T) {
	settings := zkSettings()
	settings.TreePrefix, settings.TreeHistory = "", 10_000
	s := newStoreWith(t, settings)
	s.make("/a")
	for range 100 {
		s.now += 1000
		s.want(OK, &command.SetData{Path: "/a", Data: make([]byte, 1000), Version: -1})
	}
	if got, most := s.m.treeHistory.bytes(), int64(12*(1000+2+recordBytes)); got > most {
		t.Errorf("%d bytes of history, want at most %d", got, most)
	}
	for s.m.Reclaim(10, s.m.View().Seq()) {
	}
	n := 0
	for v := s.m.tree.Get("/a"); v != nil; v = v.Prev() {
		n++
	}
	if n > 13 {
		t.Errorf("%d versions are kept", n)
	}
	if v := s.m.View(); v.Revision() != 1 {
		t.Errorf("revision %d, want 1", v.Revision())
	}
}

func TestHistory(t *testing.T) {
	h := history{floor: -1}
	note := func(time, rev, bytes int64) {
		h.total += bytes
		h.note(time, rev)
	}
	note(1000, 5, 10)
	note(1500, 6, 10) // too soon
	note(1999, 7, markBytes-20)
	same(t, "marks", len(h.marks), 1)
	note(1999, 8, 10) // 1 MiB since the last
	note(2999, 8, 10) // no revision since the last
	note(3100, 9, 10)
	same(t, "marks", len(h.marks), 3)
	h.forget(999, 1<<40)
	if h.floor != -1 || h.bytes() != h.total {
		t.Errorf("floor %d, %d bytes: too early", h.floor, h.bytes())
	}
	h.forget(1000, 1<<40)
	if h.floor != 5 || h.bytes() != h.total-10 {
		t.Errorf("floor %d, %d bytes", h.floor, h.bytes())
	}
	h.forget(0, 20) // too many bytes
	if h.floor != 8 || h.bytes() != 20 {
		t.Errorf("floor %d, %d bytes", h.floor, h.bytes())
	}
	h.forget(1<<40, 0)
	h.forget(1<<40, 0)
	if h.floor != 9 || h.bytes() != 0 || len(h.marks) != 0 {
		t.Errorf("floor %d, %d bytes, %d marks", h.floor, h.bytes(), len(h.marks))
	}
}

// The versions of a parent share its data, so they do not count it again and again.
func TestMetadataIsCheapHistory(t *testing.T) {
	s := newStore(t)
	s.want(OK, &command.Create{Path: "/p", Data: make([]byte, 100_000), ACL: openList(), TTL: command.NoTTL})
	before := s.m.treeHistory.bytes()
	for i := range 10 {
		s.make("/p/" + string(rune('a'+i)))
	}
	if got := s.m.treeHistory.bytes() - before; got != 10*recordBytes {
		t.Errorf("ten children made %d bytes of history, want %d", got, 10*recordBytes)
	}
	before = s.m.treeHistory.bytes()
	s.put("/zk/p=1")
	if got := s.m.treeHistory.bytes() - before; got < 100_000 {
		t.Errorf("new data made %d bytes of history", got)
	}
}
