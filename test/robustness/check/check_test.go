package check

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

const second = time.Second

// book writes a history: each operation takes half a second, one begins each second.
type book struct {
	History
	revision, zxid int64
	at             time.Duration
}

func (b *book) begin(kind string, client int) *Operation {
	b.at += second
	o := &Operation{Client: client, Member: client % 3, Kind: kind, Call: b.at, Return: b.at + second/2}
	b.Operations = append(b.Operations, o)
	return o
}

// write writes all changes at one revision, through etcd's door.
func (b *book) write(client int, changes ...Change) *Operation {
	o := b.begin("write", client)
	b.revision, b.zxid = b.revision+1, b.zxid+1
	o.Changes, o.Revision, o.Term = changes, b.revision, 2
	b.happen(changes...)
	return o
}

// set writes through ZooKeeper's door.
func (b *book) set(client int, changes ...Change) *Operation {
	o := b.write(client, changes...)
	o.ZooKeeper, o.Revision, o.Zxid, o.Term = true, 0, b.zxid, 0
	return o
}

func (b *book) happen(changes ...Change) {
	for _, c := range changes {
		b.Events = append(b.Events, Event{Revision: b.revision, Key: c.Key, Value: c.Value, Seen: b.at + second/2})
	}
}

func (b *book) get(client int, key, value string) *Operation {
	o := b.begin("get", client)
	o.Revision, o.Read = b.revision, &Reading{Key: key, Value: value, Fresh: true}
	return o
}

func (b *book) getData(client int, key, value string, mzxid int64) *Operation {
	o := b.begin("sync and getData", client)
	o.ZooKeeper, o.Zxid, o.Read = true, b.zxid, &Reading{Key: key, Value: value, Fresh: true, Mzxid: mzxid}
	return o
}

// own makes a key that goes with its owner.
func (b *book) own(owner *Owner, client int, key, value string) *Operation {
	o := b.set(client, Change{Key: key, Value: value})
	o.Owner, owner.Quit = owner, o.Call
	owner.Meet(o.Call, o.Return, !owner.Session || len(owner.Contacts) == 0)
	return o
}

// expire deletes keys as the end of an owner does, after a time.
func (b *book) expire(after time.Duration, keys ...string) {
	b.at += after
	b.revision, b.zxid = b.revision+1, b.zxid+1
	for _, key := range keys {
		b.happen(Change{Key: key})
	}
}

// good is a history without a fault, and what the tests alter in it.
type good struct {
	book
	put, swap, missed, deletion, multi, made, read, sync, lost, unseen *Operation
	kept, dead, lease, held                                            *Owner
}

func newGood() *good {
	g := &good{}
	g.revision, g.zxid = 1, 100
	g.put = g.write(1, Change{Key: "a", Value: "a1"})
	g.get(2, "a", "a1")
	g.swap = g.write(2, Change{Key: "a", Value: "a2"})
	g.swap.Conditional, g.swap.Expected = true, "a1"
	g.missed = g.begin("swap", 3)
	g.missed.Conditional, g.missed.Expected, g.missed.Outcome = true, "a1", Refused
	g.missed.Revision, g.missed.Changes = g.revision, []Change{{Key: "a", Value: "a3"}}
	g.read = g.get(1, "a", "a2")
	g.deletion = g.write(3, Change{Key: "a"})
	g.get(1, "a", "")
	g.multi = g.set(4, Change{Key: "/n", Value: "n1"}, Change{Key: "/m", Value: "m1"})
	g.set(5, Change{Key: "/n", Value: "n2"})
	g.sync = g.getData(4, "/n", "n2", g.zxid)
	for n := range 3 {
		g.made = g.set(5, Change{Key: fmt.Sprintf("/s/x%010d", n), Value: fmt.Sprint("s", n), Sequential: true})
		g.made.Changes[0].Key = "/s/x"
	}
	g.lost = g.begin("put", 6)
	g.lost.Outcome, g.lost.Changes = NotDone, []Change{{Key: "a", Value: "a4"}}
	g.unseen = g.write(6, Change{Key: "b", Value: "b1"})
	g.unseen.Outcome, g.unseen.Revision = Unknown, 0
	g.kept = &Owner{Name: "kept session", Session: true, Timeout: 9 * second, Fate: Kept}
	g.dead = &Owner{Name: "dead session", Session: true, Timeout: 6 * second, Fate: Abandoned}
	g.lease = &Owner{Name: "lease", Timeout: 5 * second, Fate: Abandoned}
	g.held = &Owner{Name: "kept lease", Timeout: 9 * second, Fate: Kept}
	g.Owners = []*Owner{g.kept, g.dead, g.lease, g.held}
	g.own(g.kept, 7, "/k", "k1")
	g.own(g.dead, 8, "/d1", "d1")
	g.own(g.dead, 8, "/d2", "d2")
	g.expire(5*second, "/d1", "/d2")
	g.own(g.lease, 9, "l", "l1")
	g.expire(6*second, "l")
	g.get(1, "b", "b1")
	g.getData(4, "/n", "n2", g.sync.Read.Mzxid)
	g.kept.Meet(g.at, g.at, true)
	g.held.Meet(g.at, g.at, true)
	end := map[string]string{"/n": "n2", "/m": "m1", "b": "b1", "/k": "k1"}
	for n := range 3 {
		end[fmt.Sprintf("/s/x%010d", n)] = fmt.Sprint("s", n)
	}
	g.Contents = []map[string]string{end, end, end}
	return g
}

// event finds the event that gives a key its value, or deletes it.
func (g *good) event(key, value string) *Event {
	for i := range g.Events {
		if g.Events[i].Key == key && g.Events[i].Value == value {
			return &g.Events[i]
		}
	}
	panic("no such event: " + key)
}

func TestGoodHistory(t *testing.T) {
	for name, check := range Checkers {
		for _, err := range check(&newGood().History) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// bad is a history with one fault, and what the checker says of it.
type bad struct {
	name  string
	alter func(g *good)
	want  string
}

// find checks that a checker finds each fault.
func find(t *testing.T, check func(*History) []error, cases []bad) {
	t.Helper()
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			g := newGood()
			c.alter(g)
			errs := check(&g.History)
			for _, err := range errs {
				if strings.Contains(err.Error(), c.want) {
					return
				}
			}
			t.Errorf("complaints are %v, want one with %q", errs, c.want)
		})
	}
}

func TestNothingLost(t *testing.T) {
	find(t, NothingLost, []bad{
		{"a write is lost", func(g *good) { g.event("/n", "n2").Value = "n3" }, "0 of 1 changes"},
		{"somebody else wrote", func(g *good) { g.event("/n", "n2").Value = "n3" }, "nobody made"},
		{"a multi is torn", func(g *good) { g.event("/m", "m1").Revision++ }, "in two parts"},
		{"another revision was told", func(g *good) { g.put.Revision++ }, "is in the reference at revision 2"},
		{"a refused write is done", func(g *good) { g.event("a", "a2").Value = "a3" }, "was not done and is in the reference"},
		{"what cannot be done is done", func(g *good) { g.event("b", "b1").Value = "a4" }, "was not done and is in the reference"},
		{"a write is done twice", func(g *good) { *g.event("b", "b1") = *g.event("a", "a1") }, "was written twice"},
		{"another key is written", func(g *good) { g.event("b", "b1").Key = "c" }, "instead"},
		{"a deletion by nobody", func(g *good) { g.event("a", "").Key = "/n" }, "nobody made"},
		{"a member has less", func(g *good) { g.Contents[1] = nil }, "member 2 ended with 0 keys"},
		{"a member has more", func(g *good) { g.Contents[0]["x"] = "y" }, `x="y", want nothing`},
	})
}

func TestNeverBack(t *testing.T) {
	find(t, NeverBack, []bad{
		{"a fresh read is old", func(g *good) { g.read.Revision-- }, "revision 0x2 after 0x3"},
		{"a write is placed before one that had returned", func(g *good) { g.event("/n", "n2").Revision = 2 }, "all: revision 0x2 after"},
		{"a write shares its place", func(g *good) { g.event("/n", "n2").Revision-- }, "all: revision 0x5 after 0x5"},
		{"a zxid goes back", func(g *good) { g.sync.Zxid -= 3 }, "zxid"},
		{"a client goes back", func(g *good) { g.read.Read.Fresh, g.read.Revision, g.read.Member = false, 1, 1 }, "one member or client: revision 0x1"},
		{"the orders differ", func(g *good) { g.event("/s/x0000000001", "s1").Revision = 4 }, "has zxid"},
	})
}

func TestOneNumber(t *testing.T) {
	find(t, OneNumber, []bad{
		{"two commands at one revision", func(g *good) { g.event("/n", "n2").Revision-- }, "is of two commands"},
		{"one revision told to two", func(g *good) { g.deletion.Revision = g.put.Revision }, "revision 0x2 was told to two"},
		{"one zxid told to two", func(g *good) { g.made.Zxid = g.multi.Zxid }, "was told to two"},
		{"a sequence number comes again", func(g *good) { g.event("/s/x0000000002", "s2").Key = "/s/x0000000001" }, "was numbered 1"},
		{"a sequential node has no number", func(g *good) { g.event("/s/x0000000002", "s2").Key = "/s/xyz" }, "has no number"},
	})
}

func TestNeverStale(t *testing.T) {
	find(t, NeverStale, []bad{
		{"a get shows the value before", func(g *good) { g.read.Read.Value, g.read.Revision = "a1", 2 }, "stale read"},
		{"a get shows another value than its revision", func(g *good) { g.read.Read.Value = "a1" }, "at a revision at which"},
		{"a get shows what was written later", func(g *good) { g.swap.Call, g.swap.Return = g.at, g.at+second }, "what was written later"},
		{"getData shows the data before", func(g *good) { g.sync.Read.Value, g.sync.Read.Mzxid = "n1", g.multi.Zxid }, "stale read"},
		{"getData hides a change", func(g *good) {
			g.sync.Read.Value, g.sync.Read.Mzxid, g.sync.Read.Fresh = "n1", g.multi.Zxid, false
		}, "hides the change"},
		{"getData shows what nobody wrote", func(g *good) { g.sync.Read.Value = "n9" }, "what nobody wrote"},
		{"getData shows no node", func(g *good) { g.sync.Read.Value = "" }, "stale read"},
		{"one value has two times", func(g *good) { g.sync.Read.Mzxid++ }, "was written at zxid"},
	})
}

func TestLinearizable(t *testing.T) {
	const want = "no order explains"
	find(t, Linearizable, []bad{
		{"a get shows the value before", func(g *good) { g.read.Read.Value = "a1" }, want},
		{"a get shows a deleted value", func(g *good) { g.read.Call, g.read.Return = g.at, g.at+second }, want},
		{"a swap of what was not there", func(g *good) { g.swap.Expected = "" }, want},
		{"a swap is refused in spite of what was there", func(g *good) { g.missed.Expected = "a2" }, want},
		{"a deletion finds nothing", func(g *good) { g.deletion.Outcome = Refused }, want},
	})
}

func TestOwnersLive(t *testing.T) {
	find(t, OwnersLive, []bad{
		{"a session ends before its time", func(g *good) { g.event("/d1", "").Seen = g.dead.alive() - second }, "/d1 is gone"},
		{"a lease ends before its time", func(g *good) { g.event("l", "").Seen = g.lease.alive() - second }, "l is gone"},
		{"a client is told before its time", func(g *good) { g.kept.Told = g.kept.alive() - second }, "has ended at"},
		{"the node of a session that lives goes", func(g *good) {
			g.event("/d1", "").Key = "/k"
		}, "lives, and /k was deleted"},
	})
}

// TestAlive checks which contacts count: for a session those a third of its timeout before the last one, and those of which the leader knows.
func TestAlive(t *testing.T) {
	for _, c := range []struct {
		name     string
		contacts []Contact
		want     time.Duration
	}{
		{"none", nil, 0},
		{"opened", []Contact{{second, 2 * second, true}}, 7 * second},
		{"pinged once", []Contact{{second, 2 * second, true}, {5 * second, 6 * second, false}}, 7 * second},
		{"pinged on", []Contact{{second, 2 * second, true}, {5 * second, 6 * second, false}, {8 * second, 9 * second, false}}, 11 * second},
		{"attached", []Contact{{second, 2 * second, true}, {5 * second, 6 * second, true}}, 11 * second},
	} {
		o := &Owner{Session: true, Timeout: 6 * second, Contacts: c.contacts}
		if got := o.alive(); got != c.want {
			t.Errorf("%s: alive until %v, want %v", c.name, got, c.want)
		}
	}
}

func TestOwnersGo(t *testing.T) {
	find(t, OwnersGo, []bad{
		{"a node stays", func(g *good) { g.event("/d1", "").Key = "/x" }, "/d1 is still there"},
		{"a node goes too late", func(g *good) { g.event("/d1", "").Seen = g.dead.Quit + 9*second }, "at most"},
		{"nobody saw it go", func(g *good) { g.event("l", "").Seen = 0 }, "at most"},
		{"nodes of one session go apart", func(g *good) { g.event("/d2", "").Revision++ }, "at two revisions"},
		{"a node goes twice", func(g *good) { g.event("/d2", "").Key = "/d1" }, "deleted twice"},
		{"a closed session leaves a node", func(g *good) { g.dead.Fate, g.event("/d1", "").Key = Closed, "/x" }, "/d1 is still there"},
	})
}

// TestDeadline checks that a change of leaders gives an owner its time anew, and only when it comes in time; and that so does the end of
// a pause of the member that the client used, if it quit in it.
func TestDeadline(t *testing.T) {
	o := &Owner{Timeout: 5 * second, Quit: 10 * second}
	for _, c := range []struct {
		vacancies []vacancy
		want      time.Duration
	}{
		{nil, 17 * second},
		{[]vacancy{{2 * second, 4 * second}}, 17 * second},
		{[]vacancy{{16 * second, 18 * second}}, 26 * second},
		{[]vacancy{{20 * second, 22 * second}}, 17 * second},
		{[]vacancy{{16 * second, 18 * second}, {25 * second, 30 * second}}, 38 * second},
	} {
		if got := o.deadline(c.vacancies, nil); got != c.want {
			t.Errorf("deadline with %v is %v, want %v", c.vacancies, got, c.want)
		}
	}
	o.Session, o.Asked = true, map[int]bool{1: true}
	for pause, want := range map[Pause]time.Duration{
		{Member: 1, From: 9 * second, To: 13 * second}:  20 * second,
		{Member: 2, From: 9 * second, To: 13 * second}:  17 * second,
		{Member: 1, From: 11 * second, To: 13 * second}: 17 * second,
	} {
		if got := o.deadline(nil, []Pause{pause}); got != want {
			t.Errorf("deadline with %v is %v, want %v", pause, got, want)
		}
	}
}

// TestLies checks that each lie is found, and told to a copy.
func TestLies(t *testing.T) {
	for _, l := range Lies() {
		g := newGood()
		h := l.Tell(&g.History)
		if h == nil {
			t.Errorf("no room for: %s", l.Name)
			continue
		}
		if len(l.Finder(h)) == 0 {
			t.Errorf("not found: %s", l.Name)
		}
		if errs := l.Finder(&g.History); len(errs) > 0 {
			t.Errorf("%s: the history itself was altered: %v", l.Name, errs)
		}
	}
}
