package model

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/okapi-kv/okapi/internal/core/command"
	"github.com/okapi-kv/okapi/internal/core/state"
)

// entry is one entry of a script. What depends on the state before it is filled in when it is played,
// so that a script from which entries were taken away still makes sense.
type entry struct {
	term     uint64
	timeMS   int64
	commands []scripted
	// reads, if not 0, seeds the reads after the entry.
	reads uint64
}

// scripted is one command of a script.
type scripted struct {
	proposal command.Proposal
	// current fills in the session's generation and next sequence number, an Expire's generation and
	// term, or a Reap's czxid.
	current bool
}

// difference is where machine and model part.
type difference struct {
	entry int
	text  string
}

// player plays a script on both.
type player struct {
	model   *Model
	machine *state.Machine
	index   uint64
	term    uint64
	out     state.Output
	seq     uint64
	pinned  *pinned
}

// founders are the members that every script begins with.
func founders() []state.Member {
	return []state.Member{{ID: 1, Name: "n1", PeerURLs: []string{"http://p:1"}}, {ID: 2, PeerURLs: []string{"http://p:2"}}}
}

func newPlayer() *player {
	return &player{model: New(founders()...), machine: state.Found(1, founders())}
}

// fill returns the proposals of an entry as they stand now.
func (p *player) fill(e *entry) []command.Proposal {
	ps := make([]command.Proposal, len(e.commands))
	sent := map[int64]uint64{}
	for i, s := range e.commands {
		ps[i] = s.proposal
		if !s.current {
			continue
		}
		if id := ps[i].Caller.Session; id != 0 {
			if l := p.model.session(id); l != nil {
				sent[id]++
				ps[i].Caller.Generation, ps[i].Caller.Sequence = l.generation, l.sequence+sent[id]
			}
		}
		switch c := ps[i].Command.(type) {
		case *command.Expire:
			if l := p.model.leases[c.ID]; l != nil {
				ps[i].Command = &command.Expire{ID: c.ID, Generation: l.generation, Term: max(e.term, p.term)}
			}
		case *command.Reap:
			if n := p.model.nodes.live[c.Path]; n != nil {
				ps[i].Command = &command.Reap{Path: c.Path, Czxid: n.czxid}
			}
		}
	}
	return ps
}

// play applies one entry to both and returns how they differ, or "".
func (p *player) play(e *entry) string {
	ps := p.fill(e)
	p.index++
	p.term = max(p.term, e.term)
	want := p.model.Apply(p.index, p.term, e.timeMS, ps)
	p.machine.Apply(&state.Entry{Index: p.index, Term: p.term, Batch: command.Batch{Time: e.timeMS, Proposals: ps}}, &p.out, nil)
	if diff := p.compareOutput(ps, &want); diff != "" {
		return diff
	}
	if e.reads == 0 {
		return ""
	}
	r := rand.New(rand.NewPCG(e.reads, 0))
	if diff := p.compareReads(r); diff != "" {
		return diff
	}
	return p.compareOldView(r)
}

var lenient = []cmp.Option{
	cmpopts.EquateEmpty(),
	cmpopts.IgnoreFields(state.Result{}, "Detail", "Seq"),
	cmpopts.IgnoreFields(state.Event{}, "Seq"),
}

// differ returns how two answers differ, or "".
func differ(want, got any) string {
	if reflect.DeepEqual(want, got) {
		return ""
	}
	return cmp.Diff(want, got, lenient...)
}

func (p *player) compareOutput(ps []command.Proposal, want *state.Output) string {
	got := &p.out
	if len(got.Results) != len(ps) {
		return fmt.Sprintf("%d results for %d commands", len(got.Results), len(ps))
	}
	for i, r := range got.Results {
		if r.Seq < p.seq {
			return fmt.Sprintf("sequence number %d after %d", r.Seq, p.seq)
		}
		p.seq = r.Seq
		r.Seq, r.Detail = 0, ""
		if diff := differ(want.Results[i], r); diff != "" {
			return fmt.Sprintf("command %d of the entry, %s\n-model +machine %s\n%s", i, describe(&ps[i]), got.Results[i].Detail, diff)
		}
	}
	leases := append([]state.LeaseChange(nil), got.Leases...)
	for i, l := range leases {
		if l.Gone {
			leases[i] = state.LeaseChange{ID: l.ID, Gone: true}
		}
	}
	if diff := differ(want.Leases, leases); diff != "" {
		return "lease changes: -model +machine\n" + diff
	}
	events := append([]state.Event(nil), got.Events...)
	for i := range events {
		if events[i].Seq > p.seq || i > 0 && got.Events[i].Seq < got.Events[i-1].Seq {
			return fmt.Sprintf("sequence number of event %d is out of order", i)
		}
		events[i].Seq = 0
	}
	if diff := differ(want.Events, events); diff != "" {
		return "events: -model +machine\n" + diff
	}
	return ""
}

// playAll plays a script on new machines.
func playAll(entries []entry) *difference {
	p := newPlayer()
	for i := range entries {
		if diff := p.play(&entries[i]); diff != "" {
			return &difference{i, diff}
		}
	}
	return nil
}

// shrink takes away what a failing script does not need.
func shrink(entries []entry, d *difference) ([]entry, *difference) {
	entries = entries[:d.entry+1]
	// The last entries are tried first alone: most differences need little.
	budget := 400
	for size := len(entries) / 2; size >= 1 && budget > 0; {
		shrunk := false
		for from := 1; from+size <= len(entries) && budget > 0; {
			budget--
			less := append(append([]entry(nil), entries[:from]...), entries[from+size:]...)
			if found := playAll(less); found != nil {
				entries, d, shrunk = less[:found.entry+1], found, true
				continue
			}
			from += size
		}
		if !shrunk || size > len(entries)/2 {
			size /= 2
		}
	}
	for i := 1; i < len(entries); i++ {
		for j := 0; j < len(entries[i].commands) && len(entries[i].commands) > 1; {
			less := append([]entry(nil), entries...)
			less[i].commands = append(append([]scripted(nil), entries[i].commands[:j]...), entries[i].commands[j+1:]...)
			if found := playAll(less); found != nil && found.entry == len(less)-1 {
				entries, d = less, found
				continue
			}
			j++
		}
	}
	return entries, d
}

// report fails the test with a script that shows the difference.
func report(t *testing.T, name string, seed uint64, entries []entry, d *difference) {
	t.Helper()
	short, d := shrink(entries, d)
	var b strings.Builder
	for i := range short {
		e := &short[i]
		fmt.Fprintf(&b, "entry %d, term %d, time %d\n", i+1, e.term, e.timeMS)
		for j := range e.commands {
			fmt.Fprintf(&b, "    %s\n", describe(&e.commands[j].proposal))
		}
	}
	t.Fatalf("%s, seed %d: entry %d: %s\nscript:\n%s", name, seed, d.entry+1, d.text, b.String())
}

// describe says what a command is, in one line.
func describe(p *command.Proposal) string {
	var who string
	switch c := &p.Caller; c.Protocol {
	case command.Etcd:
		who = "etcd " + c.User
	case command.ZooKeeper:
		who = fmt.Sprintf("zookeeper %v session %d/%d/%d", c.Identities, c.Session, c.Generation, c.Sequence)
	default:
		who = "internal"
	}
	return who + ": " + describeCommand(p.Command)
}

func describeCommand(c command.Command) string {
	var ops []command.Command
	text := ""
	switch c := c.(type) {
	case *command.Multi:
		ops = c.Ops
	case *command.Txn:
		text = fmt.Sprintf("if %+v then", c.Compares)
		for _, op := range c.Success {
			text += " " + describeCommand(op)
		}
		text += " else"
		ops = c.Failure
	default:
		return fmt.Sprintf("%v%+v", c.Kind(), reflect.ValueOf(c).Elem().Interface())
	}
	for _, op := range ops {
		text += " " + describeCommand(op)
	}
	return fmt.Sprintf("%v{%s}", c.Kind(), text)
}

// compareReads asks both the same questions about the present and the past.
func (p *player) compareReads(r *rand.Rand) string {
	m, v := p.model, p.machine.View()
	g := &generator{r: r, model: m}
	if index, term := v.Index(); v.Revision() != m.Revision() || v.Zxid() != m.Zxid() || v.Time() != m.timeMS || index != m.index || term != m.term {
		return fmt.Sprintf("view at revision %d zxid %x time %d index %d term %d, want %d %x %d %d %d",
			v.Revision(), v.Zxid(), v.Time(), index, term, m.revision, m.zxid, m.timeMS, m.index, m.term)
	}
	if members, level := m.Members(); differ(members, state.Members(v)) != "" || level != state.Level(v) {
		return fmt.Sprintf("members %v at level %d, want %v at %d", state.Members(v), state.Level(v), members, level)
	}
	if alarms := m.Alarms(); differ(alarms, v.Alarms()) != "" {
		return fmt.Sprintf("alarms %v, want %v", v.Alarms(), alarms)
	}
	if got, want := v.NodeCount(), len(m.nodes.live)+1; got != want {
		return fmt.Sprintf("%d nodes, want %d", got, want)
	}
	if v.CompactRevision() != m.compacted {
		return fmt.Sprintf("compacted at %d, want %d", v.CompactRevision(), m.compacted)
	}
	if m.settings.TreePrefix != "" && v.Log(true).Floor() != m.treeFloor {
		return fmt.Sprintf("the tree's floor is %d, want %d", v.Log(true).Floor(), m.treeFloor)
	}
	if sizes, plain, tree := v.Sizes(), m.plainBytes(), m.treeBytes(); sizes.PlainLive != plain || sizes.TreeLive != tree {
		return fmt.Sprintf("sizes %+v, want %d plain and %d in the tree", sizes, plain, tree)
	}
	for range 4 {
		caller, read := g.etcdCaller(), g.rangeRead()
		want, code := m.Range(&caller, read)
		got := &state.RangeResult{}
		gotCode := v.Range(&caller, read, got)
		if gotCode != state.OK {
			got = nil
		}
		if code != gotCode || differ(want, got) != "" {
			return fmt.Sprintf("%+v by %+v: %v, want %v\n-model +machine\n%s", *read, caller, gotCode, code, differ(want, got))
		}
	}
	caller, txn := g.etcdCaller(), g.readTxn()
	wantTxn, code := m.Txn(&caller, txn)
	gotTxn, gotCode := v.Txn(&caller, txn)
	if code != gotCode || differ(wantTxn, gotTxn) != "" {
		return fmt.Sprintf("%s: %v, want %v\n-model +machine\n%s", describeCommand(txn), gotCode, code, differ(wantTxn, gotTxn))
	}
	if diff := p.compareZnodes(g, v); diff != "" {
		return diff
	}
	if diff := p.compareChanges(v, &caller, false, m.revision-int64(r.IntN(20))); diff != "" {
		return diff
	}
	if m.settings.TreePrefix != "" {
		if diff := p.compareChanges(v, &caller, true, m.revision-int64(r.IntN(20))); diff != "" {
			return diff
		}
	}
	return p.compareLeases(v)
}

// compareZnodes asks both for a few znodes.
func (p *player) compareZnodes(g *generator, v state.View) string {
	m := p.model
	for range 4 {
		caller, path := g.zookeeperCaller(0), g.anyPath()
		data, st, code := m.Data(&caller, path)
		gotData, gotStat, gotCode := v.Data(&caller, path)
		if code != gotCode || st != gotStat || !bytes.Equal(data, gotData) || (data == nil) != (gotData == nil) {
			return fmt.Sprintf("data of %q: %v %q %+v, want %v %q %+v", path, gotCode, gotData, gotStat, code, data, st)
		}
		st, code = m.Exists(&caller, path)
		if gotStat, gotCode = v.Exists(&caller, path); code != gotCode || st != gotStat {
			return fmt.Sprintf("exists %q: %v %+v, want %v %+v", path, gotCode, gotStat, code, st)
		}
		names, st, code := m.Children(&caller, path)
		gotNames, gotStat, gotCode := v.Children(&caller, path)
		if code != gotCode || st != gotStat || differ(names, gotNames) != "" {
			return fmt.Sprintf("children of %q: %v %q %+v, want %v %q %+v", path, gotCode, gotNames, gotStat, code, names, st)
		}
		acl, st, code := m.ACL(&caller, path)
		gotACL, gotStat, gotCode := v.ACL(&caller, path)
		if code != gotCode || st != gotStat || differ(acl, gotACL) != "" {
			return fmt.Sprintf("acl of %q: %v %v %+v, want %v %v %+v", path, gotCode, gotACL, gotStat, code, acl, st)
		}
		count, code := m.CountDescendants(&caller, path)
		if got, gotCode := v.CountDescendants(&caller, path); code != gotCode || count != got {
			return fmt.Sprintf("descendants of %q: %v %d, want %v %d", path, gotCode, got, code, count)
		}
	}
	return ""
}

// compareLeases compares the tables of leases and sessions.
func (p *player) compareLeases(v state.View) string {
	m := p.model
	want := m.Leases()
	if diff := differ(want, v.Leases()); diff != "" {
		return "leases: -model +machine\n" + diff
	}
	var granted []int64
	for _, l := range want {
		if !l.Session {
			granted = append(granted, l.ID)
		}
	}
	if diff := differ(granted, slices.Sorted(slices.Values(state.GrantedLeases(v)))); diff != "" || len(granted) != state.Count(v).Leases {
		return "etcd leases: -model +machine\n" + diff
	}
	for _, l := range want {
		if diff := differ(m.LeaseKeys(l.ID), slices.Sorted(slices.Values(state.KeysOfLease(v, l.ID)))); diff != "" {
			return fmt.Sprintf("keys of %d, in no order: -model +machine\n%s", l.ID, diff)
		}
		if diff := differ(m.LeaseKeys(l.ID), v.LeaseKeys(l.ID)); diff != "" {
			return fmt.Sprintf("keys of %d: -model +machine\n%s", l.ID, diff)
		}
		if diff := differ(m.Ephemerals(l.ID), v.Ephemerals(l.ID)); diff != "" {
			return fmt.Sprintf("ephemerals of %d: -model +machine\n%s", l.ID, diff)
		}
		s, ok := m.Session(l.ID)
		if got, gotOK := v.Session(l.ID); s != got || ok != gotOK {
			return fmt.Sprintf("session %d: %+v %v, want %+v %v", l.ID, got, gotOK, s, ok)
		}
	}
	return ""
}
