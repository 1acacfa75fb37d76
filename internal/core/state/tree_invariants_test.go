package state

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/okapi-kv/okapi/internal/core/command"
)

// TestTreeInvariants drives the tree through both doors at random and checks after each command what must
// always hold. It keeps a naive count of creates and deletes beside it, for the visible cversion. A
// failure prints the history; rapid replays it from the file that it names.
func TestTreeInvariants(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := zkSettings()
		s.EnforceQuota = rapid.Bool().Draw(t, "enforced quota")
		h := &treeHistoryOf{w: newWorld(t, s), t: t, changes: map[string]int32{}}
		h.w.open(2)
		h.sessions = []int64{1, 2}
		h.next = 3
		for range rapid.IntRange(1, 60).Draw(t, "commands") {
			h.step()
			h.check()
		}
	})
}

// treeHistoryOf is one random history.
type treeHistoryOf struct {
	w        *world
	t        *rapid.T
	sessions []int64 // open ones
	leases   []int64
	next     int64             // a free id
	queue    []*command.Create // to come next
	changes  map[string]int32  // creates and deletes below a node since it was made
}

func (h *treeHistoryOf) path() string {
	part := rapid.SampledFrom([]string{"a", "b", "a-", "q"})
	parts := rapid.SliceOfN(part, 1, 4).Draw(h.t, "path")
	path := "/" + strings.Join(parts, "/")
	if rapid.IntRange(0, 19).Draw(h.t, "quota node") == 0 {
		path = quotaPath + path
		return path + rapid.SampledFrom([]string{"", "/" + limitsName, "/" + statsName}).Draw(h.t, "end")
	}
	return path
}

func (h *treeHistoryOf) data() []byte {
	if rapid.IntRange(0, 5).Draw(h.t, "limit") == 0 {
		return []byte("count=2,bytes=2=;countHardLimit=3;byteHardLimit=8")
	}
	return rapid.SampledFrom([][]byte{nil, {}, []byte("x"), []byte("yyyy")}).Draw(h.t, "data")
}

// op draws an operation that may stand in a multi.
func (h *treeHistoryOf) op() command.Command {
	version := rapid.SampledFrom([]int32{-1, -1, -1, 0, 1}).Draw(h.t, "version")
	switch rapid.IntRange(0, 5).Draw(h.t, "op") {
	case 0, 1, 2:
		c := withFlags(h.path(), rapid.Int32Range(0, 6).Draw(h.t, "flags"))
		c.Data = h.data()
		if c.Flags == command.FlagTTL || c.Flags == command.FlagPersistentSequentialTTL {
			c.TTL = 50
		}
		return c
	case 3:
		return &command.Delete{Path: h.path(), Version: version}
	case 4:
		return &command.SetData{Path: h.path(), Data: h.data(), Version: version}
	default:
		return &command.Check{Path: h.path(), Version: version}
	}
}

// draw returns the next command and its caller.
func (h *treeHistoryOf) draw() (command.Caller, command.Command) {
	w := h.w
	internal, etcd := command.Caller{}, command.Caller{Protocol: command.Etcd}
	if len(h.queue) > 0 && len(h.sessions) > 0 {
		c := h.queue[0]
		h.queue = h.queue[1:]
		return w.caller(h.sessions[0]), c
	}
	kind := rapid.IntRange(0, 16).Draw(h.t, "command")
	if kind < 8 && len(h.sessions) > 0 {
		session := rapid.SampledFrom(h.sessions).Draw(h.t, "session")
		switch kind {
		case 0:
			ops := make([]command.Command, rapid.IntRange(0, 6).Draw(h.t, "ops"))
			for i := range ops {
				ops[i] = h.op()
			}
			return w.caller(session), &command.Multi{Ops: ops}
		case 1:
			return w.caller(session), &command.SetACL{Path: h.path(), ACL: openList(), Version: -1}
		default:
			return w.caller(session), h.op()
		}
	}
	switch kind {
	case 8:
		h.next++
		h.sessions = append(h.sessions, h.next)
		w.gen[h.next] = 1
		return internal, &command.OpenSession{ID: h.next, Timeout: 1000}
	case 9:
		h.next++
		h.leases = append(h.leases, h.next)
		return etcd, &command.LeaseGrant{ID: h.next, TTL: 10}
	case 10:
		if len(h.sessions) > 0 {
			i := rapid.IntRange(0, len(h.sessions)-1).Draw(h.t, "ends")
			id := h.sessions[i]
			h.sessions = slices.Delete(h.sessions, i, i+1)
			if rapid.Bool().Draw(h.t, "expires") {
				return internal, &command.Expire{ID: id, Generation: 1, Term: w.term}
			}
			return w.caller(id), &command.CloseSession{}
		}
	case 11:
		if len(h.leases) > 0 {
			i := rapid.IntRange(0, len(h.leases)-1).Draw(h.t, "ends")
			id := h.leases[i]
			h.leases = slices.Delete(h.leases, i, i+1)
			return etcd, &command.LeaseRevoke{ID: id}
		}
	case 12:
		path := h.path()
		if z := w.m.node(path); z != nil {
			return internal, &command.Reap{Path: path, Czxid: z.czxid}
		}
	case 13:
		return etcd, &command.DeleteRange{Key: "/zk" + h.path(), End: rapid.SampledFrom([]string{"", "/zk/b", "/zl"}).Draw(h.t, "end")}
	case 14:
		home := quotaPath + "/" + rapid.SampledFrom([]string{"a", "b"}).Draw(h.t, "quota of")
		limits := newNode(home + "/" + limitsName)
		limits.Data = h.data()
		h.queue = append(h.queue, newNode(home), limits, newNode(home+"/"+statsName))
	}
	put := &command.Put{Key: "/zk" + h.path(), Value: h.data()}
	if len(h.leases) > 0 && rapid.Bool().Draw(h.t, "leased") {
		put.Lease = rapid.SampledFrom(h.leases).Draw(h.t, "lease")
	}
	return etcd, put
}

// step applies one command and counts what it did.
func (h *treeHistoryOf) step() {
	h.w.now += rapid.Int64Range(0, 60).Draw(h.t, "time")
	c, cmd := h.draw()
	before := dump(h.w.m)
	r := h.w.apply(c, cmd)
	h.t.Logf("%T%+v: %v", cmd, cmd, r.Code)
	if r.Code != OK {
		if diff := cmp.Diff(before, dump(h.w.m), cmp.AllowUnexported(znode{})); diff != "" {
			h.t.Fatalf("a refused command changed the tree: %s", diff)
		}
		if len(h.w.out.Events) > 0 {
			h.t.Fatalf("a refused command has events %v", h.w.out.Events)
		}
		return
	}
	for _, e := range h.w.out.Events {
		switch e.Type {
		case NodeCreated:
			h.changes[e.Path] = 0
			h.changes[parentOf(e.Path)]++
		case NodeDeleted:
			delete(h.changes, e.Path)
			h.changes[parentOf(e.Path)]++
		}
		if e.Zxid != r.Zxid || e.Seq > r.Seq || e.ACL == nil || (e.Type == NodeDataChanged) != (e.ParentACL == nil) {
			h.t.Fatalf("event %+v of zxid %d", e, r.Zxid)
		}
	}
}

// check checks what must hold between any two commands.
func (h *treeHistoryOf) check() {
	m := h.w.m
	nodes := dump(m)
	children := map[string]int32{}
	owned := map[int64][]string{}
	for _, path := range slices.Sorted(maps.Keys(nodes)) {
		z := nodes[path]
		if path != "/" {
			up, ok := nodes[parentOf(path)]
			if !ok || up.kind == ephemeral {
				h.t.Fatalf("%s: parent there %v, %+v", path, ok, up)
			}
			children[parentOf(path)]++
		}
		if (z.kind == ephemeral) != (z.owner != 0) || (z.kind == ttlNode) != (z.ttl != 0) {
			h.t.Fatalf("%s: %+v", path, z)
		}
		if z.owner != 0 {
			owned[z.owner] = append(owned[z.owner], path)
		}
	}
	for path, z := range nodes { // in any order
		if z.children != children[path] {
			h.t.Fatalf("%s: counts %d children, has %d", path, z.children, children[path])
		}
		if z.kind == implicit && z.children == 0 {
			h.t.Fatalf("%s: implicit without children", path)
		}
		start := int32(0)
		switch path {
		case "/":
			start = -1 // of a fresh tree
		case systemPath:
			start = -2
		}
		if got, want := z.stat().Cversion, h.changes[path]+start; got != want {
			h.t.Fatalf("%s: cversion %d, want %d", path, got, want)
		}
	}
	h.checkOwners(owned)
	h.checkQuotas(nodes)
	if m.digest != m.recomputeDigest() {
		h.t.Fatal("the digest is off")
	}
}

// checkOwners compares the sets of the lease table with the nodes.
func (h *treeHistoryOf) checkOwners(owned map[int64][]string) {
	m := h.w.m
	for id := range owned {
		if m.leases.get(id) == nil {
			h.t.Fatalf("%d owns %v and is not there", id, owned[id])
		}
	}
	for id, l := range m.leases.byID {
		if diff := cmp.Diff(owned[id], slices.Sorted(maps.Keys(l.nodes))); diff != "" {
			h.t.Fatalf("nodes of %d: %s", id, diff)
		}
		if diff := cmp.Diff(owned[id], m.View().Ephemerals(id)); diff != "" {
			h.t.Fatalf("ephemerals of %d: %s", id, diff)
		}
	}
}

// checkQuotas counts the subtrees under the topmost quotas that have both nodes and no other quota below,
// which nobody set by hand after they were made.
func (h *treeHistoryOf) checkQuotas(nodes map[string]znode) {
	for path, stats := range nodes { // in any order
		if nameOf(path) != statsName || !strings.HasPrefix(path, quotaPath+"/") || stats.version != 0 {
			continue
		}
		home := parentOf(path)
		limits, limited := nodes[home+"/"+limitsName]
		if !limited || limits.czxid >= stats.czxid || h.nested(nodes, home) {
			continue
		}
		subject := home[len(quotaPath):]
		var count, size int
		for p, z := range nodes { // in any order
			if p == subject || strings.HasPrefix(p, subject+"/") {
				count++
				size += len(z.data)
			}
		}
		if want := fmt.Sprintf("count=%d,bytes=%d", count, size); string(stats.data) != want {
			h.t.Fatalf("%s: %q, want %q", path, stats.data, want)
		}
	}
}

// nested says whether there is or was another quota below that at home. Its own two nodes are its only
// changes then.
func (h *treeHistoryOf) nested(nodes map[string]znode, home string) bool {
	z := nodes[home]
	return z.creates != 2 || z.children != 2
}
