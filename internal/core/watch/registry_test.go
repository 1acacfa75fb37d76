package watch

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/okapi-kv/okapi/internal/core/command"
)

func everybody(ConnID, []command.ACL) bool { return true }

var (
	acl       = []command.ACL{{Perms: command.PermRead, Scheme: "node", ID: ""}}
	parentACL = []command.ACL{{Perms: command.PermRead, Scheme: "parent", ID: ""}}
)

// eventOf makes an event as the state machine does.
func eventOf(typ EventType, path string) *Event {
	e := &Event{Type: typ, Path: path, ACL: acl}
	if typ != NodeDataChanged {
		e.ParentACL = parentACL
	}
	return e
}

var typeNames = map[EventType]string{
	NodeCreated: "Created", NodeDeleted: "Deleted", NodeDataChanged: "DataChanged", ChildrenChanged: "ChildrenChanged",
}

// match returns the notifications of an event as text, in order.
func match(r *Registry, e *Event, allowed func(ConnID, []command.ACL) bool) []string {
	var out []string
	r.Match(e, allowed, func(id ConnID, typ EventType, path string) {
		out = append(out, fmt.Sprintf("%d %s %s", id, typeNames[typ], path))
	})
	return out
}

// TestChangesAgainstKinds is ZooKeeper's table of changes and watches: the node is /a/b, its parent /a.
func TestChangesAgainstKinds(t *testing.T) {
	created, deleted, changed, children := "1 Created /a/b", "1 Deleted /a/b", "1 DataChanged /a/b", "1 ChildrenChanged /a"
	tests := []struct {
		path                       string
		kinds                      Kinds
		onCreate, onDelete, onData string
		after                      [3]bool // is the watch there after the create, delete, data change
	}{
		{"/a/b", Data, created, deleted, changed, [3]bool{false, false, false}},
		{"/a/b", Child, "", deleted, "", [3]bool{true, false, true}},
		{"/a/b", Persistent, created, deleted, changed, [3]bool{true, true, true}},
		{"/a/b", Recursive, created, deleted, changed, [3]bool{true, true, true}},
		{"/a", Data, "", "", "", [3]bool{true, true, true}},
		{"/a", Child, children, children, "", [3]bool{false, false, true}},
		{"/a", Persistent, children, children, "", [3]bool{true, true, true}},
		{"/a", Recursive, created, deleted, changed, [3]bool{true, true, true}},
		{"/", Data, "", "", "", [3]bool{true, true, true}},
		{"/", Child, "", "", "", [3]bool{true, true, true}},
		{"/", Persistent, "", "", "", [3]bool{true, true, true}},
		{"/", Recursive, created, deleted, changed, [3]bool{true, true, true}},
		{"/a/b/c", AnyKind, "", "", "", [3]bool{true, true, true}},
		{"/a/bc", AnyKind, "", "", "", [3]bool{true, true, true}},
		// Kinds side by side: one notification for each path.
		{"/a/b", Data | Child, created, deleted, changed, [3]bool{true, false, true}},
		{"/a/b", AnyKind, created, deleted, changed, [3]bool{true, true, true}},
		{"/a", AnyKind, created + ", " + children, deleted + ", " + children, changed, [3]bool{true, true, true}},
		{"/a", Child | Recursive, created + ", " + children, deleted + ", " + children, changed, [3]bool{true, true, true}},
	}
	for _, tt := range tests {
		for i, want := range []string{tt.onCreate, tt.onDelete, tt.onData} {
			typ := EventType(i + 1)
			t.Run(fmt.Sprintf("%s kinds %04b %s", tt.path, tt.kinds, typeNames[typ]), func(t *testing.T) {
				r := NewRegistry(Limits{})
				r.Add(1, tt.path, tt.kinds)
				if got := strings.Join(match(r, eventOf(typ, "/a/b"), everybody), ", "); got != want {
					t.Errorf("notified of %q, want %q", got, want)
				}
				if got := r.Has(1, tt.path, tt.kinds); got != tt.after[i] {
					t.Errorf("watch left is %v, want %v", got, tt.after[i])
				}
			})
		}
	}
}

// TestOneShotOnly: only the kinds that the change concerns are used up.
func TestOneShotOnly(t *testing.T) {
	r := NewRegistry(Limits{})
	r.Add(1, "/a", AnyKind)
	match(r, eventOf(NodeDataChanged, "/a"), everybody)
	if r.Has(1, "/a", Data) || !r.Has(1, "/a", Child) || !r.Has(1, "/a", Persistent) || !r.Has(1, "/a", Recursive) {
		t.Error("a data change uses up Data and nothing else")
	}
	match(r, eventOf(NodeCreated, "/a/b"), everybody)
	if r.Has(1, "/a", Child) || !r.Has(1, "/a", Persistent|Recursive) {
		t.Error("a new child uses up Child and nothing else")
	}
	r.Add(1, "/a", Data|Child)
	match(r, eventOf(NodeDeleted, "/a"), everybody)
	if r.Has(1, "/a", Data|Child) || !r.Has(1, "/a", Persistent) || !r.Has(1, "/a", Recursive) {
		t.Error("a deletion uses up Data and Child and nothing else")
	}
}

// TestDeleteOrder: Deleted first, once per connection over data and child watches, then the parent's
// ChildrenChanged.
func TestDeleteOrder(t *testing.T) {
	r := NewRegistry(Limits{})
	r.Add(1, "/a", Child)
	r.Add(2, "/a/b", Child)
	r.Add(3, "/a/b", Data|Child)
	r.Add(3, "/a", Child|Recursive)
	r.Add(4, "/", Recursive)
	want := []string{
		"3 Deleted /a/b", "4 Deleted /a/b", "2 Deleted /a/b", "1 ChildrenChanged /a", "3 ChildrenChanged /a",
	}
	if diff := cmp.Diff(want, match(r, eventOf(NodeDeleted, "/a/b"), everybody)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestRootAndTopLevel(t *testing.T) {
	r := NewRegistry(Limits{})
	r.Add(1, "/", AnyKind)
	if diff := cmp.Diff([]string{"1 DataChanged /"}, match(r, eventOf(NodeDataChanged, "/"), everybody)); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]string{"1 Created /a", "1 ChildrenChanged /"}, match(r, eventOf(NodeCreated, "/a"), everybody)); diff != "" {
		t.Error(diff)
	}
}

// TestAccess: a notification needs READ by the node's list, ChildrenChanged by the parent's, and a one-shot
// watch is used up though the notification is withheld.
func TestAccess(t *testing.T) {
	tests := []struct {
		readable string
		want     []string
	}{
		{"node", []string{"1 Deleted /a/b"}},
		{"parent", []string{"1 ChildrenChanged /a"}},
		{"neither", nil},
	}
	for _, tt := range tests {
		r := NewRegistry(Limits{})
		r.Add(1, "/a/b", Data|Child)
		r.Add(1, "/a", Child)
		got := match(r, eventOf(NodeDeleted, "/a/b"), func(id ConnID, list []command.ACL) bool {
			return id == 1 && list[0].Scheme == tt.readable
		})
		if diff := cmp.Diff(tt.want, got); diff != "" {
			t.Errorf("%s readable (-want +got):\n%s", tt.readable, diff)
		}
		if r.Has(1, "/a/b", AnyKind) || r.Has(1, "/a", AnyKind) || len(r.conns)+len(r.paths) != 0 {
			t.Errorf("%s readable: one-shot watches are left", tt.readable)
		}
	}
}

// TestRemove is ZooKeeper's removeWatches and checkWatches by kind.
func TestRemove(t *testing.T) {
	for _, kinds := range []Kinds{Data, Child, Persistent, Recursive, AnyKind} {
		r := NewRegistry(Limits{})
		r.Add(2, "/a", AnyKind) // another connection's watches do not count
		if r.Has(1, "/a", kinds) || r.Remove(1, "/a", kinds) {
			t.Errorf("%04b: found though the connection has none", kinds)
		}
		r.Add(1, "/a", AnyKind&^kinds)
		if r.Has(1, "/a", kinds) || r.Remove(1, "/a", kinds) {
			t.Errorf("%04b: found though there are only others", kinds)
		}
		r.Add(1, "/a", kinds)
		if !r.Has(1, "/a", kinds) || !r.Remove(1, "/a", kinds) {
			t.Errorf("%04b: not found", kinds)
		}
		if r.Has(1, "/a", kinds) || r.Has(1, "/a", AnyKind) != (kinds != AnyKind) || !r.Has(2, "/a", kinds) {
			t.Errorf("%04b: removed too little or too much", kinds)
		}
	}
}

func TestStats(t *testing.T) {
	r := NewRegistry(Limits{})
	r.Add(1, "/a", Data|Child|Recursive)
	r.Add(1, "/b", Child)
	r.Add(2, "/a", Persistent)
	r.Add(2, "/c", Data)
	if diff := cmp.Diff(Stats{DataConnections: 2, DataPaths: 2, DataWatches: 3, ChildWatches: 3}, r.Stats()); diff != "" {
		t.Error(diff)
	}
	for _, list := range []struct{ got, want any }{
		{slices.Sorted(slices.Values(r.DataPaths(nil))), []string{"/a", "/c"}},
		{slices.Sorted(slices.Values(r.DataConnections(nil))), []ConnID{1, 2}},
		{slices.Sorted(slices.Values(r.DataPathsOf(1, nil))), []string{"/a"}},
		{slices.Sorted(slices.Values(r.DataPathsOf(2, nil))), []string{"/a", "/c"}},
		{r.DataPathsOf(3, nil), []string(nil)},
		{slices.Sorted(slices.Values(r.DataConnectionsOf("/a", nil))), []ConnID{1, 2}},
		{r.DataConnectionsOf("/b", nil), []ConnID{}},
		{r.DataConnectionsOf("/d", nil), []ConnID(nil)},
	} {
		if diff := cmp.Diff(list.want, list.got); diff != "" {
			t.Error(diff)
		}
	}
	r.DropConnection(1)
	r.DropConnection(1)
	r.DropConnection(2)
	if diff := cmp.Diff(Stats{}, r.Stats()); diff != "" || len(r.paths)+len(r.conns)+r.recursive != 0 {
		t.Errorf("left after all connections are gone: %s", diff)
	}
}

// TestListsLetOthersIn: lists yield in steps, and what stays while others come and go is in them once.
func TestListsLetOthersIn(t *testing.T) {
	const paths, conns = 3000, 1000
	r := NewRegistry(Limits{})
	path := func(i int) string { return fmt.Sprint("/", i) }
	for i := range paths {
		r.Add(1, path(i), Data)
	}
	for id := ConnID(2); id <= conns; id++ {
		r.Add(id, "/0", Persistent)
	}
	for name, list := range map[string]func(yield func()) int{
		"paths": func(y func()) int { return len(keep(r.DataPaths(y), func(p string) bool { return len(p) > 3 })) },
		"connections": func(y func()) int {
			return len(keep(r.DataConnections(y), func(id ConnID) bool { return id <= conns }))
		},
		"paths of a connection": func(y func()) int {
			return len(keep(r.DataPathsOf(1, y), func(p string) bool { return len(p) > 3 }))
		},
		"connections of a path": func(y func()) int {
			return len(keep(r.DataConnectionsOf("/0", y), func(id ConnID) bool { return id > 500 }))
		},
	} {
		yields := 0
		got := list(func() {
			yields++
			r.Remove(1, path(yields), Data)
			r.Add(1, path(yields), Data)
			r.Add(ConnID(conns+yields), "/0", Data)
			r.DropConnection(ConnID(conns + yields))
			r.DropConnection(ConnID(2 + yields))
			r.Add(ConnID(2+yields), "/0", Data)
		})
		want := map[string]int{"paths": paths - 100, "connections": conns, "paths of a connection": paths - 100, "connections of a path": conns - 500}[name]
		if yields < 3 || got < want-yields*2 || got > want {
			t.Errorf("%s: %d in the list after %d yields, want about %d", name, got, yields, want)
		}
	}
}

// keep returns the different elements of a list for which want holds.
func keep[T interface{ string | ConnID }](list []T, want func(T) bool) []T {
	slices.Sort(list)
	return slices.DeleteFunc(slices.Compact(list), func(x T) bool { return !want(x) })
}

// naive is the registry as a list of watches, each for itself, with ZooKeeper's rules said one by one.
type naive struct {
	list []naiveWatch
}

type naiveWatch struct {
	id   ConnID
	path string
	kind Kinds // one
}

func each(kinds Kinds) (out []Kinds) {
	for _, k := range []Kinds{Data, Child, Persistent, Recursive} {
		if kinds&k != 0 {
			out = append(out, k)
		}
	}
	return out
}

func (n *naive) add(id ConnID, path string, kinds Kinds) {
	for _, k := range each(kinds) {
		if w := (naiveWatch{id, path, k}); !slices.Contains(n.list, w) {
			n.list = append(n.list, w)
		}
	}
}

func (n *naive) remove(is func(naiveWatch) bool) bool {
	before := len(n.list)
	n.list = slices.DeleteFunc(n.list, is)
	return len(n.list) < before
}

// match returns the sorted notifications of the node and those of the parent.
func (n *naive) match(typ EventType, path string, allowed func(ConnID, []command.ACL) bool) (node, above []string) {
	up := path[:strings.LastIndex(path, "/")]
	if up == "" {
		up = "/"
	}
	told := map[string]bool{}
	tell := func(id ConnID, typ EventType, path string, list []command.ACL, to *[]string) {
		text := fmt.Sprintf("%d %s %s", id, typeNames[typ], path)
		if !told[text] && allowed(id, list) {
			*to = append(*to, text)
		}
		told[text] = true
	}
	n.remove(func(w naiveWatch) bool {
		switch {
		case w.path == path && w.kind != Child:
			tell(w.id, typ, path, acl, &node)
			return w.kind == Data
		case w.kind == Recursive && (w.path == "/" || strings.HasPrefix(path, w.path+"/")):
			tell(w.id, typ, path, acl, &node)
		case w.path == path && typ == NodeDeleted:
			tell(w.id, typ, path, acl, &node)
			return true
		}
		return false
	})
	if typ != NodeDataChanged && path != "/" {
		n.remove(func(w naiveWatch) bool {
			if w.path == up && (w.kind == Child || w.kind == Persistent) {
				tell(w.id, ChildrenChanged, up, parentACL, &above)
				return w.kind == Child
			}
			return false
		})
	}
	slices.Sort(node)
	slices.Sort(above)
	return node, above
}

// pairs counts the pairs of connection and path with one of the kinds.
func (n *naive) pairs(kinds Kinds) (pairs, conns, paths int) {
	p, c, q := map[string]bool{}, map[ConnID]bool{}, map[string]bool{}
	for _, w := range n.list {
		if w.kind&kinds != 0 {
			p[fmt.Sprint(w.id, w.path)], c[w.id], q[w.path] = true, true, true
		}
	}
	return len(p), len(c), len(q)
}

// fits says whether the limits allow that a connection watches a path.
func (n *naive) fits(l Limits, id ConnID, path string) bool {
	pairs := map[naiveWatch]bool{{id: id, path: path}: true}
	for _, w := range n.list {
		pairs[naiveWatch{id: w.id, path: w.path}] = true
	}
	own, all := 0, 0
	for w := range pairs {
		if w.id == id {
			own += 1 + len(w.path)/512
		}
		all += 1 + len(w.path)/512
	}
	there := slices.ContainsFunc(n.list, func(w naiveWatch) bool { return w.id == id && w.path == path })
	return there || (l.PerConnection == 0 || own <= l.PerConnection) && (l.All == 0 || all <= l.All)
}

func TestRegistryModel(t *testing.T) {
	long := "/a/" + strings.Repeat("x", 512)
	paths := rapid.SampledFrom([]string{"/", "/a", "/a/b", "/a/b/c", "/a/bb", "/ab", "/b", long})
	conns := rapid.Custom(func(t *rapid.T) ConnID { return ConnID(rapid.IntRange(1, 4).Draw(t, "conn")) })
	someKinds := rapid.Custom(func(t *rapid.T) Kinds { return Kinds(rapid.IntRange(0, 15).Draw(t, "kinds")) })
	rapid.Check(t, func(t *rapid.T) {
		limits := Limits{rapid.IntRange(0, 5).Draw(t, "connection"), rapid.IntRange(0, 12).Draw(t, "all")}
		r, n := NewRegistry(limits), &naive{}
		t.Repeat(map[string]func(*rapid.T){
			"add": func(t *rapid.T) {
				id, path, kinds := conns.Draw(t, "conn"), paths.Draw(t, "path"), someKinds.Draw(t, "kinds")
				fits := kinds == 0 || n.fits(limits, id, path)
				if got := r.Add(id, path, kinds); got != fits {
					t.Fatalf("added is %v, want %v", got, fits)
				}
				if fits {
					n.add(id, path, kinds)
				}
			},
			"remove": func(t *rapid.T) {
				id, path, kinds := conns.Draw(t, "conn"), paths.Draw(t, "path"), someKinds.Draw(t, "kinds")
				want := n.remove(func(w naiveWatch) bool { return w.id == id && w.path == path && w.kind&kinds != 0 })
				if had := r.Has(id, path, kinds); had != want {
					t.Fatalf("has is %v, want %v", had, want)
				}
				if got := r.Remove(id, path, kinds); got != want {
					t.Fatalf("removed is %v, want %v", got, want)
				}
			},
			"drop": func(t *rapid.T) {
				id := conns.Draw(t, "conn")
				r.DropConnection(id)
				n.remove(func(w naiveWatch) bool { return w.id == id })
			},
			"event": func(t *rapid.T) {
				typ := EventType(rapid.IntRange(1, 3).Draw(t, "type"))
				path := paths.Draw(t, "path")
				if path == "/" {
					typ = NodeDataChanged
				}
				blind := conns.Draw(t, "blind") // may read the parent only
				allowed := func(id ConnID, list []command.ACL) bool { return id != blind || list[0].Scheme == "parent" }
				node, above := n.match(typ, path, allowed)
				got := match(r, eventOf(typ, path), allowed)
				if len(got) != len(node)+len(above) {
					t.Fatalf("%s %s: notified of %q, want %q and %q", typeNames[typ], path, got, node, above)
				}
				slices.Sort(got[:len(node)])
				slices.Sort(got[len(node):])
				if diff := cmp.Diff(slices.Concat(node, above), got); diff != "" {
					t.Fatalf("%s %s (-want +got):\n%s", typeNames[typ], path, diff)
				}
			},
			"": func(t *rapid.T) {
				var want Stats
				want.DataWatches, want.DataConnections, want.DataPaths = n.pairs(dataKinds)
				want.ChildWatches, _, _ = n.pairs(childKinds)
				if diff := cmp.Diff(want, r.Stats()); diff != "" {
					t.Fatalf("stats (-want +got):\n%s", diff)
				}
				if _, c, p := n.pairs(AnyKind); c != len(r.conns) || p != len(r.paths) {
					t.Fatalf("%d connections and %d paths are kept, want %d and %d", len(r.conns), len(r.paths), c, p)
				}
			},
		})
	})
}
