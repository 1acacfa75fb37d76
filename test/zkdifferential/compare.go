package zkdifferential

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// comparison compares what two servers, a and b, answered to one script.
type comparison struct {
	a, b *trace
	// parallel are the zxids of a from which and up to which several sessions were at work: only there a zxid of a may stand for
	// another one of b than the one with the same distance from the beginning.
	parallel [][2]int64
	// aToB and bToA are what is known of such zxids.
	aToB, bToA map[int64]int64
	sessions   map[int64]int64
	sessionsB  map[int64]int64
	// times has the times of zxids, at a and at b.
	times [2]map[int64]int64
}

func newComparison(a, b *trace) *comparison {
	return &comparison{
		a: a, b: b, aToB: map[int64]int64{}, bToA: map[int64]int64{}, sessions: map[int64]int64{0: 0}, sessionsB: map[int64]int64{0: 0},
		times: [2]map[int64]int64{{}, {}},
	}
}

// difference is the first place where two servers did not do the same.
type difference struct {
	step, slot int
	what       string
	a, b       []message
}

// String shows it.
func (d *difference) String() string {
	var out strings.Builder
	fmt.Fprintf(&out, "step %d, session %d: %s\n", d.step, d.slot, d.what)
	for i, side := range [][]message{d.a, d.b} {
		fmt.Fprintf(&out, "  %s:\n", [...]string{"ZooKeeper", "okapi"}[i])
		for j := range side {
			fmt.Fprintf(&out, "    %s\n", side[j].show())
		}
	}
	return out.String()
}

// compare returns the first difference, or nil.
func compare(sc script, a, b *trace) *difference {
	c := newComparison(a, b)
	beginA, beginB := a.begin, b.begin
	for i := range min(len(a.steps), len(b.steps)) {
		stepA, stepB := &a.steps[i], &b.steps[i]
		if sc[i].kind == stepParallel {
			c.parallel = append(c.parallel, [2]int64{beginA, stepA.end})
		}
		for slot := range slots {
			if d := c.connection(&sc[i], slot, stepA, stepB); d != nil {
				d.step, d.slot = i, slot
				return d
			}
		}
		if what := c.messages(stepA.old, stepB.old, false); what != "" {
			return &difference{i, sc[i].slot, "on the old connection " + what, stepA.old, stepB.old}
		}
		if stepA.end-a.begin != stepB.end-b.begin {
			return &difference{step: i, slot: sc[i].slot, a: stepA.got[sc[i].slot], b: stepB.got[sc[i].slot],
				what: fmt.Sprintf("used %d zxids against %d", stepA.end-beginA, stepB.end-beginB)}
		}
		beginA, beginB = stepA.end, stepB.end
	}
	if len(a.steps) != len(b.steps) {
		return &difference{step: min(len(a.steps), len(b.steps)), what: "one server stopped here"}
	}
	return nil
}

// connection compares what came on one connection in one step.
func (c *comparison) connection(st *step, slot int, stepA, stepB *stepTrace) *difference {
	a, b := stepA.got[slot], stepB.got[slot]
	what := ""
	switch {
	case st.kind == stepParallel:
		what = c.parallelMessages(slot, a, b)
	case st.endsSession():
		what = c.messages(ordered(a, stepA.end), ordered(b, stepB.end), false)
	default:
		what = c.messages(a, b, false)
	}
	if what == "" {
		return nil
	}
	return &difference{what: what, a: a, b: b}
}

// parallelMessages compares what came on a connection while several were at work: the order of what happened in one folder, and
// the order of replies and events in the connection's own.
func (c *comparison) parallelMessages(slot int, a, b []message) string {
	groupsA, groupsB := byFolder(slot, a), byFolder(slot, b)
	for folder := range groupsA {
		if _, there := groupsB[folder]; !there {
			groupsB[folder] = nil
		}
	}
	var folders []string
	for folder := range groupsB {
		folders = append(folders, folder)
	}
	slices.Sort(folders)
	for _, folder := range folders {
		if what := c.messages(groupsA[folder], groupsB[folder], true); what != "" {
			return "in " + folder + ": " + what
		}
	}
	return ""
}

// byFolder sorts messages by the folder that they are about; replies are about the connection's own.
func byFolder(slot int, got []message) map[string][]message {
	out := map[string][]message{}
	own := fmt.Sprintf("/p%d", slot)
	for _, m := range got {
		folder := own
		if m.kind == messageEvent {
			path := eventPath(m.frame)
			if next := strings.IndexByte(path[1:], '/'); next >= 0 {
				path = path[:1+next]
			}
			folder = path
		}
		out[folder] = append(out[folder], m)
	}
	return out
}

// eventPath is the path of a notification.
func eventPath(frame []byte) string {
	s := scanner{rest: frame}
	s.take(16 + 8)
	if path := string(s.bytes()); path != "" {
		return path
	}
	return "/"
}

// eventZxid is the zxid in the header of a message.
func eventZxid(frame []byte) int64 {
	s := scanner{rest: frame}
	s.int()
	return s.long()
}

// ordered sorts events that come one after the other and have the given zxid: that of the end of a session.
func ordered(got []message, zxid int64) []message {
	got = slices.Clone(got)
	is := func(m *message) bool { return m.kind == messageEvent && eventZxid(m.frame) == zxid }
	for i := 0; i < len(got); i++ {
		j := i
		for j < len(got) && is(&got[j]) {
			j++
		}
		slices.SortFunc(got[i:j], func(x, y message) int { return strings.Compare(string(x.frame[16:]), string(y.frame[16:])) })
		i = max(i, j-1)
	}
	return got
}

// messages compares two lists of messages and says what differs first.
func (c *comparison) messages(a, b []message, parallel bool) string {
	for i := range min(len(a), len(b)) {
		if what := c.message(&a[i], &b[i], parallel); what != "" {
			return fmt.Sprintf("message %d: %s", i, what)
		}
	}
	if len(a) != len(b) {
		return fmt.Sprintf("%d messages against %d", len(a), len(b))
	}
	return ""
}

func (c *comparison) message(a, b *message, parallel bool) string {
	fa, fb := fieldsOf(a, parallel), fieldsOf(b, parallel)
	for i := range min(len(fa), len(fb)) {
		if configVersion(a.request, &fa[i], &fb[i]) {
			continue
		}
		if fa[i].kind != fb[i].kind || fa[i].name != fb[i].name {
			return fmt.Sprintf("%s against %s", fa[i].name, fb[i].name)
		}
		if !c.field(fa, fb, i) {
			return fmt.Sprintf("%s: %s against %s", fa[i].name, fa[i].text, fb[i].text)
		}
	}
	if len(fa) != len(fb) {
		return fmt.Sprintf("%d fields against %d", len(fa), len(fb))
	}
	return ""
}

// configVersion reports whether two fields are the version of /zookeeper/config, which in a ZooKeeper that stands alone is 0 and in
// an ensemble, as in okapi, -1 (org.apache.zookeeper.server.ZKDatabase.initConfigInZKDatabase).
func configVersion(r *request, a, b *field) bool {
	return r != nil && strings.Contains(r.String(), "/zookeeper/config") && a.name == "version" && a.text == "0" && b.name == "version" && b.text == "-1"
}

func (c *comparison) field(fa, fb []field, i int) bool {
	a, b := &fa[i], &fb[i]
	switch a.kind {
	case fieldZxid:
		return c.zxid(a.n, b.n)
	case fieldPlace:
		return a.n <= 0 && a.n == b.n || a.n > 0 && b.n > 0 && a.n-c.a.begin == b.n-c.b.begin
	case fieldLoose:
		return inside(a.n, c.a) && inside(b.n, c.b)
	case fieldSession:
		return c.session(a.n, b.n)
	case fieldTime:
		return c.time(0, c.a, fa[i-1].n, a.n) && c.time(1, c.b, fb[i-1].n, b.n) && (a.n == 0) == (b.n == 0)
	}
	return a.text == b.text
}

// inside reports whether a zxid may come up in a script.
func inside(zxid int64, t *trace) bool { return zxid >= t.begin }

// zxid compares zxids.
func (c *comparison) zxid(a, b int64) bool {
	if a <= 0 || b <= 0 {
		return a == b
	}
	if a <= c.a.begin || b <= c.b.begin {
		// From before the script, of nodes that every tree has.
		return a <= c.a.begin && b <= c.b.begin
	}
	if !c.shuffled(a) {
		return a-c.a.begin == b-c.b.begin
	}
	if have, ok := c.aToB[a]; ok {
		return have == b
	}
	if _, ok := c.bToA[b]; ok {
		return false
	}
	c.aToB[a], c.bToA[b] = b, a
	return c.shuffled(b - c.b.begin + c.a.begin)
}

// shuffled reports whether several sessions were at work when a came to be.
func (c *comparison) shuffled(a int64) bool {
	return slices.ContainsFunc(c.parallel, func(p [2]int64) bool { return a > p[0] && a <= p[1] })
}

func (c *comparison) session(a, b int64) bool {
	have, known := c.sessions[a]
	_, knownB := c.sessionsB[b]
	if known || knownB {
		return known && have == b
	}
	c.sessions[a], c.sessionsB[b] = b, a
	return true
}

// clockSlack is how far the clock of a server may be from that of the test, in milliseconds.
const clockSlack = 2000

// time checks a time of one server: it is that of its zxid, and one from within the script lies in its time.
func (c *comparison) time(side int, t *trace, zxid, ms int64) bool {
	if zxid <= t.begin {
		return true
	}
	if have, ok := c.times[side][zxid]; ok {
		return have == ms
	}
	c.times[side][zxid] = ms
	to := t.to
	if to.IsZero() {
		to = time.Now()
	}
	return ms >= t.from.UnixMilli()-clockSlack && ms <= to.UnixMilli()+clockSlack
}
