package robustness

import (
	"fmt"
	"slices"
	"testing"
)

// history is what all sessions together know of the znodes.
type history struct {
	// changes are the zxids of the writes of each znode, in order.
	changes map[string][]int64
	// writes is what is known of each write, by its data, which no two have in common.
	writes map[string]write
	// data is what was written, by path and version.
	data map[string]string
}

type write struct {
	path    string
	version int32
	mzxid   int64
}

// checkOrder checks the traffic of all sessions.
func checkOrder(t *testing.T, users []*user) {
	t.Helper()
	h := &history{changes: map[string][]int64{}, writes: map[string]write{}, data: map[string]string{}}
	replies, events, moves := 0, 0, 0
	for _, u := range users {
		if u.err != nil {
			t.Errorf("session %d: %v", u.name, u.err)
		}
		moves += u.moves
		for _, a := range u.traffic {
			if err := h.learn(a); err != nil {
				t.Errorf("session %d: %v", u.name, err)
			}
		}
	}
	for path, zxids := range h.changes {
		slices.Sort(zxids)
		h.changes[path] = slices.Compact(zxids)
	}
	for _, u := range users {
		if err := h.checkWrites(u); err != nil {
			t.Errorf("session %d: %v", u.name, err)
		}
		v := &viewer{history: h, since: map[string]int64{}, shown: map[string]int64{}}
		for i, a := range u.traffic {
			if err := v.see(a); err != nil {
				t.Errorf("session %d, arrival %d, %+v: %v", u.name, i, a, err)
				break
			}
		}
		replies, events = replies+v.replies, events+v.events
	}
	t.Logf("zk-3: %d sessions, %d replies, %d events, %d writes known, %d moves, %d members killed: in order, "+
		"own writes seen, nothing goes back, events before what they tell of", len(users), replies, events, len(h.writes), moves, *orderKills)
}

// learn gathers what a reply shows of a write.
func (h *history) learn(a arrival) error {
	if a.event || a.code != 0 || a.mzxid == 0 {
		return nil
	}
	data := a.data
	if a.request.op == opSetData {
		data = a.request.data
	}
	h.changes[a.request.path] = append(h.changes[a.request.path], a.mzxid)
	if data == "" || a.request.op == opExists {
		return nil
	}
	w := write{a.request.path, a.version, a.mzxid}
	if known, ok := h.writes[data]; ok && known != w {
		return fmt.Errorf("%q was written as %v and as %v", data, known, w)
	}
	h.writes[data] = w
	at := fmt.Sprint(w.path, " ", w.version)
	if other, ok := h.data[at]; ok && other != data {
		return fmt.Errorf("version %s is %q and %q", at, other, data)
	}
	h.data[at] = data
	return nil
}

// checkWrites checks that a session's writes were done in the order in which it sent them.
func (h *history) checkWrites(u *user) error {
	last := int64(0)
	for n := 1; n <= u.written; n++ {
		w, known := h.writes[fmt.Sprintf("%d/%d", u.name, n)]
		if !known {
			continue // nobody saw it
		}
		if w.mzxid <= last {
			return fmt.Errorf("write %d has zxid %#x, one before it %#x", n, w.mzxid, last)
		}
		last = w.mzxid
	}
	return nil
}

// viewer goes through the traffic of one session and says when it shows what it must not.
type viewer struct {
	*history
	now             int64            // the newest zxid of a reply
	floor           int64            // from the last sync
	since           map[string]int64 // the znodes that are watched, and the change that the session knew then
	shown           map[string]int64 // the newest change of each znode that the session was shown
	replies, events int
}

func (v *viewer) see(a arrival) error {
	if a.event {
		v.events++
		return v.event(a)
	}
	v.replies++
	if a.zxid < v.now {
		return fmt.Errorf("the zxid goes back from %#x", v.now)
	}
	v.now = a.zxid
	if a.code != 0 {
		return fmt.Errorf("refused")
	}
	for path, since := range v.since {
		if c := v.next(path, since); c != 0 && c <= a.zxid {
			return fmt.Errorf("shows zxid %#x before the event of change %#x of %s, watched since %#x", a.zxid, c, path, since)
		}
	}
	if a.request.op == opSync {
		v.floor = max(v.floor, a.floor)
	}
	if a.mzxid == 0 {
		return nil
	}
	return v.node(a)
}

// event checks an event, and that what comes after it shows the change.
func (v *viewer) event(a arrival) error {
	since, watched := v.since[a.path]
	if !watched || a.kind != eventDataChanged {
		return fmt.Errorf("nothing was watched")
	}
	delete(v.since, a.path)
	v.shown[a.path] = max(v.shown[a.path], since+1)
	return nil
}

// node checks what a reply shows of its node.
func (v *viewer) node(a arrival) error {
	path := a.request.path
	if a.mzxid > a.zxid {
		return fmt.Errorf("shows a change after its own zxid")
	}
	if a.mzxid < v.shown[path] {
		return fmt.Errorf("goes back behind change %#x", v.shown[path])
	}
	if c := v.next(path, a.mzxid); c != 0 && c <= a.zxid {
		return fmt.Errorf("hides change %#x", c)
	}
	if a.request.op != opSetData && a.zxid < v.floor {
		return fmt.Errorf("is older than write %#x, which was acknowledged before the last sync", v.floor)
	}
	v.shown[path] = a.mzxid
	if a.request.watch {
		if _, watched := v.since[path]; !watched {
			v.since[path] = a.mzxid
		}
	}
	return nil
}

// next returns the first change of a znode after a zxid that anybody knows of, or 0.
func (v *viewer) next(path string, after int64) int64 {
	changes := v.changes[path]
	i, _ := slices.BinarySearch(changes, after+1)
	if i == len(changes) {
		return 0
	}
	return changes[i]
}
