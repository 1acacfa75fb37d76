package model

import (
	"maps"
	"math/rand/v2"
	"slices"
	"strings"

	"github.com/okapi-kv/okapi/internal/core/command"
)

// mix says what a generator makes, by weights.
type mix struct {
	name     string
	settings command.Settings
	etcd     int // writes and txns of etcd
	znode    int // ZooKeeper's writes
	session  int // sessions and leases come and go
	upkeep   int // compaction, alarms, reaping, repeated bootstrap
	// inTree is how many of 100 etcd keys lie in the tree, and lists how many of 100 access lists are not open.
	inTree, lists int
}

var (
	keyUniverse = []string{"a", "a/b", "b", "foo", "foo1", "k\x00", "/zj", "/zl", "\xff", "m"}
	badTreeKeys = []string{"", "/", "x", "/a/", "//", "/a//b", "/a/../b", "/zookeeper", "/zookeeper/quota/x", "/\xff", "/a\x00b", "/\U0001F600", "/ü"}
	badPaths    = []string{
		"", "a", "/", "//", "/a/", "/a//b", "/a/./b", "/a/..", "/a\x00", "/b/\x01", "/\u0085", "/\ue000", "/a/\xff", "/\ufff9", "/\U0001F600", "a/b", "/zookeeper", "/zookeeper/config", "/zookeeper/quota", "/zookeeper/quota/x", "/zookeeper/y", "/ü",
		"/a/\x80", "/a/\x7f", "/a/\x1f", "/a/ ", "/\u009f", "/\u00a0", "/\ud7ff", "/\uf8ff", "/\uf900", "/\uffef", "/\ufff0", "/a/...", "/a/.b", "/..a"}
	sessionIDs   = []int64{0x100, 0x101, 0x102, 0x103, -0x7000000000000000}
	leaseIDs     = []int64{0x200, 0x201, 0x202, 0x100, -5}
	firstPath    = []string{"/a", "/b", "/c"}
	furtherParts = []string{"/a", "/b", "/x.y", "/.z"}
)

// generator draws commands. It looks at the model to hit what is there.
type generator struct {
	r     *rand.Rand
	model *Model
	mix   mix
}

func (g *generator) oneIn(n int) bool { return g.r.IntN(n) == 0 }

func pick[T any](g *generator, list []T) T { return list[g.r.IntN(len(list))] }

// entry draws the next entry of a script.
func (g *generator) entry(last *entry, limit int) entry {
	e := entry{term: last.term, timeMS: last.timeMS}
	if g.oneIn(200) {
		e.term += uint64(1 + g.r.IntN(3))
	}
	switch g.r.IntN(8) {
	case 0:
		e.timeMS -= int64(g.r.IntN(50))
	case 1, 2:
	case 3:
		e.timeMS += int64(g.r.IntN(2000))
	default:
		e.timeMS += int64(g.r.IntN(20))
	}
	if g.oneIn(3) {
		e.reads = g.r.Uint64() | 1
	}
	count := min(1+g.r.IntN(8), limit)
	if g.oneIn(100) {
		count = 0
	}
	for range count {
		e.commands = append(e.commands, g.command())
	}
	return e
}

func (g *generator) command() scripted {
	m := &g.mix
	for a := range g.model.alarms {
		// An alarm that is on refuses so much that it is soon cleared. There is hardly ever more than one.
		if g.oneIn(40) {
			return scripted{proposal: command.Proposal{
				Caller:  command.Caller{Protocol: command.Etcd},
				Command: &command.Alarm{Action: command.AlarmDeactivate, Member: a.Member, Alarm: a.Type},
			}}
		}
		break
	}
	n := g.r.IntN(m.etcd + m.znode + m.session + m.upkeep)
	switch {
	case n < m.etcd:
		return scripted{proposal: command.Proposal{Caller: g.etcdCaller(), Command: g.etcdWrite()}}
	case n < m.etcd+m.znode:
		return g.fromSession(g.znodeWrite())
	case n < m.etcd+m.znode+m.session:
		return g.sessionChange()
	default:
		return g.upkeepCommand()
	}
}

func (g *generator) etcdCaller() command.Caller {
	c := command.Caller{Protocol: command.Etcd}
	switch g.r.IntN(30) {
	case 0:
		c.User = "root"
	case 1, 2:
		c.User = "bob"
	}
	return c
}

func (g *generator) zookeeperCaller(session int64) command.Caller {
	c := command.Caller{Protocol: command.ZooKeeper, Session: session}
	c.Identities = []command.Identity{{Scheme: "ip", ID: pick(g, []string{"10.1.2.3", "10.1.9.9", "::1"})}}
	switch g.r.IntN(8) {
	case 0, 1:
		c.Identities = append(c.Identities, command.Identity{Scheme: "digest", ID: "ann:h"})
	case 2:
		c.Identities = append(c.Identities, command.Identity{Scheme: "digest", ID: "bob:h"}, command.Identity{Scheme: "x509", ID: "CN=bob"})
	case 3:
		c.Identities = append(c.Identities, command.Identity{Scheme: "sasl", ID: pick(g, []string{"bob", "bob", "super"})})
	case 4:
		if g.oneIn(3) {
			c.Identities = append(c.Identities, command.Identity{Scheme: "super", ID: ""})
		}
	}
	return c
}

// fromSession sends a ZooKeeper command through a session, mostly in order.
func (g *generator) fromSession(cmd command.Command) scripted {
	id := pick(g, sessionIDs)
	if live := g.liveSessions(); len(live) > 0 && !g.oneIn(30) {
		id = pick(g, live)
	}
	if g.oneIn(50) {
		id = 0
	}
	s := scripted{current: true, proposal: command.Proposal{Caller: g.zookeeperCaller(id), Command: cmd}}
	if g.oneIn(40) {
		s.current = false
		s.proposal.Caller.Generation, s.proposal.Caller.Sequence = uint64(g.r.IntN(3)), uint64(g.r.IntN(20))
		if l := g.model.session(id); l != nil && g.oneIn(2) {
			s.proposal.Caller.Generation, s.proposal.Caller.Sequence = l.generation, l.sequence+uint64(g.r.IntN(3))
		}
	}
	return s
}

func (g *generator) liveSessions() []int64 {
	var out []int64
	for id, l := range g.model.leases {
		if l.session {
			out = append(out, id)
		}
	}
	slices.Sort(out)
	return out
}

// path draws a path of the universe, or one that is there.
func (g *generator) path() string {
	if len(g.model.nodes.live) > 4 && g.oneIn(3) {
		return pick(g, slices.Sorted(maps.Keys(g.model.nodes.live)))
	}
	p := pick(g, firstPath)
	for !g.oneIn(2) && strings.Count(p, "/") < 4 {
		p += pick(g, furtherParts)
	}
	return p
}

// anyPath draws bad paths too.
func (g *generator) anyPath() string {
	if g.oneIn(12) {
		return pick(g, badPaths)
	}
	return g.path()
}

func (g *generator) key() string {
	if g.model.settings.TreePrefix == "" || g.r.IntN(100) >= g.mix.inTree && !(g.mix.name == "" && g.oneIn(2)) {
		return pick(g, keyUniverse)
	}
	if g.oneIn(25) {
		return g.model.settings.TreePrefix + pick(g, badTreeKeys)
	}
	return g.model.settings.TreePrefix + g.path()
}

// span draws a range.
func (g *generator) span() (from, end string) {
	from = g.key()
	switch g.r.IntN(12) {
	case 0:
		return from, "\x00"
	case 1:
		return "\x00", "\x00"
	case 2:
		return from, g.key()
	case 3, 4:
		return from, from + "0"
	case 5:
		if prefix := g.model.settings.TreePrefix; prefix != "" {
			return pick(g, []string{prefix, prefix + "/", prefix + "/a"}), pick(g, []string{"/zl", prefix + "0", prefix + "/b", "/zl\x00", "\x00"})
		}
	}
	return from, ""
}

func (g *generator) data() []byte {
	switch g.r.IntN(10) {
	case 0:
		return nil
	case 1:
		return []byte{}
	default:
		return []byte{byte('a' + g.r.IntN(4))}
	}
}

func (g *generator) etcdWrite() command.Command {
	n := g.r.IntN(100)
	if len(g.model.nodes.live) > 60 {
		n += 30
	}
	switch {
	case n < 55:
		return g.put()
	case n < 75:
		return g.txn(2)
	default:
		return g.deleteRange()
	}
}

func (g *generator) put() *command.Put {
	p := &command.Put{Key: g.key(), Value: g.data(), PrevKV: g.oneIn(3)}
	switch g.r.IntN(10) {
	case 0:
		p.Lease = pick(g, sessionIDs)
	case 1, 2:
		p.Lease = pick(g, leaseIDs)
	case 3:
		p.IgnoreLease = true
	case 4:
		p.IgnoreValue, p.Value = true, nil
		if g.oneIn(3) {
			p.Lease = pick(g, leaseIDs)
		}
	case 5:
		if prefix := g.model.settings.TreePrefix; prefix != "" {
			if n := g.model.nodes.live[strings.TrimPrefix(p.Key, prefix)]; n != nil {
				p.Lease = n.owner
			}
		}
	}
	return p
}

func (g *generator) deleteRange() *command.DeleteRange {
	from, end := g.span()
	if end == "\x00" && !g.oneIn(4) {
		end = ""
	}
	return &command.DeleteRange{Key: from, End: end, PrevKV: g.oneIn(3)}
}

// deleteSubtree draws the deletion of a key and then of those below it.
func (g *generator) deleteSubtree() []command.Command {
	k := g.key()
	ops := []command.Command{&command.DeleteRange{Key: k, PrevKV: g.oneIn(4)}, &command.DeleteRange{Key: k + "/", End: k + "0"}}
	if g.oneIn(4) {
		ops = append(ops, g.put())
	}
	if g.oneIn(4) {
		ops = append(ops[:1], g.put())
	}
	return ops
}

// txn draws a txn of a shape that the etcd adapter lets through: no branch puts a key twice, or a key
// that it deletes.
func (g *generator) txn(depth int) *command.Txn {
	t := &command.Txn{}
	for range g.r.IntN(3) {
		t.Compares = append(t.Compares, g.compare())
	}
	t.Success, t.Failure = g.branch(depth), g.branch(depth)
	return t
}

func (g *generator) branch(depth int) []command.Command {
	for {
		var ops []command.Command
		for range g.r.IntN(4) {
			switch n := g.r.IntN(10); {
			case n < 4:
				ops = append(ops, g.put())
			case n < 5:
				ops = append(ops, g.deleteRange())
			case n < 6:
				ops = append(ops, g.deleteSubtree()...)
			case n < 9 || depth == 0:
				ops = append(ops, g.rangeRead())
			default:
				ops = append(ops, g.txn(depth-1))
			}
		}
		if !overlaps(ops) {
			return ops
		}
	}
}

// overlaps says whether what the operations may put is put twice or deleted too.
func overlaps(ops []command.Command) bool {
	seen := map[string]bool{}
	var deletes []*command.DeleteRange
	twice := false
	var walk func(ops []command.Command, seen map[string]bool)
	walk = func(ops []command.Command, seen map[string]bool) {
		for _, op := range ops {
			switch op := op.(type) {
			case *command.Put:
				twice = twice || seen[op.Key]
				seen[op.Key] = true
			case *command.DeleteRange:
				deletes = append(deletes, op)
			case *command.Txn:
				a, b := maps.Clone(seen), maps.Clone(seen)
				walk(op.Success, a)
				walk(op.Failure, b)
				maps.Copy(seen, a)
				maps.Copy(seen, b)
			}
		}
	}
	walk(ops, seen)
	for _, d := range deletes {
		for k := range seen {
			twice = twice || inRange(k, d.Key, d.End)
		}
	}
	return twice
}

func (g *generator) compare() command.Compare {
	c := command.Compare{Target: command.CompareTarget(g.r.IntN(5)), Result: command.CompareResult(g.r.IntN(4))}
	c.Key, c.End = g.span()
	if g.oneIn(50) {
		c.Result = 9
	}
	switch c.Target {
	case command.CompareValue:
		c.Value = g.data()
	case command.CompareVersion:
		c.Number = int64(g.r.IntN(4))
	case command.CompareLease:
		c.Number = pick(g, append([]int64{0}, leaseIDs...))
	default:
		c.Number = g.someRevision()
	}
	return c
}

// someRevision draws a revision, mostly of the near past.
func (g *generator) someRevision() int64 {
	switch g.r.IntN(8) {
	case 0:
		return 0
	case 1:
		return g.model.revision + int64(g.r.IntN(3))
	case 2:
		return g.r.Int64N(g.model.revision + 1)
	default:
		return max(g.model.revision-int64(g.r.IntN(40)), 0)
	}
}

func (g *generator) rangeRead() *command.Range {
	r := &command.Range{KeysOnly: g.oneIn(6), CountOnly: g.oneIn(8)}
	r.Key, r.End = g.span()
	if g.oneIn(2) {
		r.Revision = g.someRevision()
	}
	if g.oneIn(40) {
		r.Revision = -1 - int64(g.r.IntN(3))
	}
	if g.oneIn(3) {
		r.Limit = int64(g.r.IntN(5))
	}
	if g.oneIn(3) {
		r.SortTarget, r.SortOrder = command.SortTarget(g.r.IntN(5)), command.SortOrder(g.r.IntN(3))
	}
	if g.oneIn(8) {
		r.MinModRevision = g.someRevision()
	}
	if g.oneIn(8) {
		r.MaxModRevision = g.someRevision()
	}
	if g.oneIn(8) {
		r.MinCreateRevision = g.someRevision()
	}
	if g.oneIn(8) {
		r.MaxCreateRevision = g.someRevision()
	}
	return r
}

// readTxn draws a txn of ranges.
func (g *generator) readTxn() *command.Txn {
	t := &command.Txn{Compares: []command.Compare{g.compare()}, Success: []command.Command{g.rangeRead()}}
	if g.oneIn(2) {
		t.Failure = []command.Command{g.rangeRead(), &command.Txn{Success: []command.Command{g.rangeRead()}}}
	}
	return t
}
