package watch

import (
	"strings"

	"github.com/okapi-kv/okapi/internal/core/command"
	"github.com/okapi-kv/okapi/internal/invariant"
)

// ConnID names a client connection of this member. It is never reused while watches of it are registered.
type ConnID uint64

// Kinds is a set of kinds of ZooKeeper watches. A connection may have any of them on one path side
// by side, each at most once.
type Kinds uint8

// The kinds.
const (
	// Data is the one-shot watch that getData and exists leave, on a missing node too for exists. A
	// creation, a deletion or a change of the data uses it up.
	Data Kinds = 1 << iota
	// Child is the one-shot watch that getChildren leaves. A change of the set of children or the deletion
	// of the node uses it up.
	Child
	// Persistent is what Data and Child would tell if they were never used up.
	Persistent
	// Recursive is what Data tells, of the node and of everything below it, never used up. It is not told that
	// children changed: it is told of each child.
	Recursive

	// AnyKind is the set of all kinds.
	AnyKind = Data | Child | Persistent | Recursive

	dataKinds  = Data | Persistent | Recursive // ZooKeeper's data watch manager
	childKinds = Child | Persistent            // ZooKeeper's child watch manager
)

// Registry holds the ZooKeeper watches of the connections of one member and finds whom an event concerns.
//
// # Idea
//
// A watch is a pair of path and connection with a set of kinds. Paths have a list of their pairs, which
// is what an event looks up; connections have a map to their places in these lists, which is what
// the end of a connection, or of one watch among ten thousand on a path, looks up. Both are O(1) a watch.
// Recursive watches stand at their own path; an event asks at each ancestor, as long as there
// are any at all.
//
// # Invariants
//
//   - A path is in the registry if and only if it has a pair, a connection likewise.
//   - The pair at place i of a path's list is known to its connection as being at i.
//   - No pair has an empty set of kinds.
//
// The semantics are those of org.apache.zookeeper.server.DataTree and
// org.apache.zookeeper.server.watch.WatchManager of ZooKeeper 3.9.
type Registry struct {
	paths map[string]*watched
	conns map[ConnID]*conn

	recursive int // pairs with Recursive
	stats     Stats
	limits    Limits
	weight    int // of all pairs

	trigger uint64 // number of the present round of notifications, see conn.notified
}

// Limits bounds the watches of a registry, by what they weigh; 0 is no bound. A pair of connection and path weighs 1, however
// many kinds it has, and 1 more for each 512 bytes of the path.
type Limits struct {
	PerConnection, All int
}

// Stats counts watches. A pair of connection and path counts once as data and once as child, however many kinds
// it has there. Data watches are Data, Persistent and Recursive; child watches are Child and Persistent.
type Stats struct {
	// DataConnections, DataPaths and DataWatches are what ZooKeeper's wchs tells.
	DataConnections, DataPaths, DataWatches int
	// ChildWatches is the number of child watches.
	ChildWatches int
}

// watched is one path with watches.
type watched struct {
	path  string
	pairs []pair
	data  int // pairs that have one of dataKinds
}

type pair struct {
	conn  *conn
	kinds Kinds
}

// conn is one connection with watches.
type conn struct {
	id     ConnID
	places map[*watched]int // index into pairs
	data   int              // pairs that have one of dataKinds
	weight int              // of the pairs
	// notified is the last trigger in which the connection was notified: it is told once in each.
	notified uint64
}

// NewRegistry returns a registry without watches that takes no more than the limits say.
func NewRegistry(l Limits) *Registry {
	return &Registry{paths: map[string]*watched{}, conns: map[ConnID]*conn{}, limits: l}
}

// Add registers watches of all given kinds; those that are there already stay. The path is cloned if it
// is kept. It returns false, and nothing has changed, if that would be more than the limits allow.
func (r *Registry) Add(id ConnID, path string, kinds Kinds) bool {
	if kinds == 0 {
		return true
	}
	w, c := r.paths[path], r.conns[id]
	i, ok := 0, false
	if w != nil && c != nil {
		i, ok = c.places[w]
	}
	if !ok {
		if !r.fits(c, path) {
			return false
		}
		w, i = r.join(id, path)
	}
	r.set(w, i, w.pairs[i].kinds|kinds)
	return true
}

// weightOf is what a pair with the path weighs.
func weightOf(path string) int { return 1 + len(path)/512 }

// fits says whether the limits allow one more pair, of a connection that is nil if it has none yet.
func (r *Registry) fits(c *conn, path string) bool {
	all, own := r.weight+weightOf(path), weightOf(path)
	if c != nil {
		own += c.weight
	}
	return (r.limits.All == 0 || all <= r.limits.All) && (r.limits.PerConnection == 0 || own <= r.limits.PerConnection)
}

// join makes a pair, which has no kinds yet, and returns where it is.
func (r *Registry) join(id ConnID, path string) (*watched, int) {
	w := r.paths[path]
	if w == nil {
		w = &watched{path: strings.Clone(path)}
		r.paths[w.path] = w
	}
	c := r.conns[id]
	if c == nil {
		c = &conn{id: id, places: map[*watched]int{}}
		r.conns[id] = c
	}
	i := len(w.pairs)
	w.pairs = append(w.pairs, pair{conn: c})
	c.places[w] = i
	r.weigh(c, weightOf(path))
	return w, i
}

// weigh adds to the weight of a connection, and of all.
func (r *Registry) weigh(c *conn, weight int) {
	c.weight += weight
	r.weight += weight
}

// Remove drops the connection's watches of the given kinds on the path and says whether there were any.
func (r *Registry) Remove(id ConnID, path string, kinds Kinds) bool {
	w, i := r.find(id, path)
	if w == nil || w.pairs[i].kinds&kinds == 0 {
		return false
	}
	r.set(w, i, w.pairs[i].kinds&^kinds)
	return true
}

// Has says whether the connection has a watch of one of the given kinds on the path.
func (r *Registry) Has(id ConnID, path string, kinds Kinds) bool {
	w, i := r.find(id, path)
	return w != nil && w.pairs[i].kinds&kinds != 0
}

func (r *Registry) find(id ConnID, path string) (*watched, int) {
	c, w := r.conns[id], r.paths[path]
	if c == nil || w == nil {
		return nil, 0
	}
	i, ok := c.places[w]
	if !ok {
		return nil, 0
	}
	return w, i
}

// DropConnection drops all watches of a connection.
func (r *Registry) DropConnection(id ConnID) {
	c := r.conns[id]
	if c == nil {
		return
	}
	// Each step takes one pair off one path's list, and no step depends on another, so the order
	// of the map does not matter.
	for w, i := range c.places {
		r.set(w, i, 0)
	}
}

// set gives the pair at place i of w a set of kinds, keeps the counts, and drops what becomes empty. It
// moves another pair to place i if the set is empty.
func (r *Registry) set(w *watched, i int, kinds Kinds) {
	c, old := w.pairs[i].conn, w.pairs[i].kinds
	w.pairs[i].kinds = kinds
	r.count(w, c, old, -1)
	r.count(w, c, kinds, 1)
	if kinds != 0 {
		return
	}
	last := len(w.pairs) - 1
	if i != last {
		w.pairs[i] = w.pairs[last]
		w.pairs[i].conn.places[w] = i
	}
	w.pairs[last] = pair{}
	w.pairs = w.pairs[:last]
	delete(c.places, w)
	r.weigh(c, -weightOf(w.path))
	if last == 0 {
		delete(r.paths, w.path)
	}
	if len(c.places) == 0 {
		delete(r.conns, c.id)
	}
}

// count adds a pair with the given kinds to the counts (step 1) or takes it out (step -1).
func (r *Registry) count(w *watched, c *conn, kinds Kinds, step int) {
	if kinds&Recursive != 0 {
		r.recursive += step
	}
	if kinds&childKinds != 0 {
		r.stats.ChildWatches += step
	}
	if kinds&dataKinds == 0 {
		return
	}
	r.stats.DataWatches += step
	r.stats.DataPaths += tally(&w.data, step)
	r.stats.DataConnections += tally(&c.data, step)
}

// tally changes a count and returns by how much the number of counts that are not zero changes.
func tally(n *int, step int) int {
	before := *n
	*n += step
	switch {
	case before == 0:
		return 1
	case *n == 0:
		return -1
	default:
		return 0
	}
}

// Match calls emit for each notification that an event makes, in the order in which connections must get them,
// and uses up the one-shot watches concerned. allowed says whether the connection may read a node with
// that ACL; if not, the notification is withheld, but a one-shot watch is used up all the same. A
// connection gets one notification for each path and event, however many of its watches match.
// Neither function may call the registry. What is emitted for a path may share its memory with e.Path.
//
// For a deletion, Deleted comes before the parent's ChildrenChanged.
func (r *Registry) Match(e *Event, allowed func(ConnID, []command.ACL) bool, emit func(ConnID, EventType, string)) {
	invariant.Assert(e.Type >= NodeCreated && e.Type <= NodeDataChanged, "an event is a change of a node")
	n := notification{e.Type, e.Path, e.ACL, allowed, emit}
	r.trigger++
	r.fire(e.Path, dataKinds, Data, &n)
	r.fireAncestors(e.Path, &n)
	if e.Type == NodeDeleted {
		r.fire(e.Path, childKinds, Child, &n)
	}
	if e.Type == NodeDataChanged || e.Path == "/" {
		return
	}
	above := parent(e.Path)
	r.trigger++
	r.fire(above, childKinds, Child, &notification{ChildrenChanged, above, e.ParentACL, allowed, emit})
}

// notification is what connections are told in one round.
type notification struct {
	typ     EventType
	path    string
	acl     []command.ACL
	allowed func(ConnID, []command.ACL) bool
	emit    func(ConnID, EventType, string)
}

// fire notifies the connections that have a watch of one of the kinds on the path and uses up those of
// the kind once.
func (r *Registry) fire(path string, kinds, once Kinds, n *notification) {
	w := r.paths[path]
	if w == nil {
		return
	}
	for i := 0; i < len(w.pairs); {
		c, has := w.pairs[i].conn, w.pairs[i].kinds
		if has&once != 0 {
			r.set(w, i, has&^once)
		}
		if has&^once != 0 { // else another pair has come to this place
			i++
		}
		if has&kinds != 0 {
			r.notify(c, n)
		}
	}
}

// fireAncestors notifies the connections that have a recursive watch above the path.
func (r *Registry) fireAncestors(path string, n *notification) {
	for r.recursive > 0 && path != "/" {
		path = parent(path)
		if w := r.paths[path]; w != nil {
			for i := range w.pairs {
				if w.pairs[i].kinds&Recursive != 0 {
					r.notify(w.pairs[i].conn, n)
				}
			}
		}
	}
}

func (r *Registry) notify(c *conn, n *notification) {
	if c.notified == r.trigger {
		return
	}
	c.notified = r.trigger
	if n.allowed(c.id, n.acl) {
		n.emit(c.id, n.typ, n.path)
	}
}

// parent is the path of the parent of a node other than the root.
func parent(path string) string {
	i := strings.LastIndexByte(path, '/')
	invariant.Assert(i >= 0, "the path of an event is absolute")
	if i == 0 {
		return "/"
	}
	return path[:i]
}

// Empty says whether there are no watches at all.
func (r *Registry) Empty() bool { return len(r.conns) == 0 }

// Stats returns the counts.
func (r *Registry) Stats() Stats { return r.stats }

// listStep is how many entries a list touches between two calls of yield.
const listStep = 256

// stepper calls a yield, which may be nil, with every listStep-th step.
type stepper struct {
	yield func()
	steps int
}

func (s *stepper) step() {
	if s.steps++; s.steps%listStep == 0 && s.yield != nil {
		s.yield()
	}
}

// The four lists below are what ZooKeeper's wchp and wchc are made of. They are in no order. During a call of yield, which may be
// nil and comes every 256 entries, the registry may be changed: what comes or goes meanwhile may be in the list or not.

// DataPaths returns the paths that have data watches.
func (r *Registry) DataPaths(yield func()) []string {
	list, s := make([]string, 0, r.stats.DataPaths), stepper{yield: yield}
	for _, w := range r.paths { // in any order: the caller sorts
		if w.data > 0 {
			list = append(list, w.path)
		}
		s.step()
	}
	return list
}

// DataConnections returns the connections that have data watches.
func (r *Registry) DataConnections(yield func()) []ConnID {
	list, s := make([]ConnID, 0, r.stats.DataConnections), stepper{yield: yield}
	for _, c := range r.conns { // in any order: the caller sorts
		if c.data > 0 {
			list = append(list, c.id)
		}
		s.step()
	}
	return list
}

// DataPathsOf returns the paths on which a connection has data watches.
func (r *Registry) DataPathsOf(id ConnID, yield func()) []string {
	c := r.conns[id]
	if c == nil {
		return nil
	}
	list, s := make([]string, 0, c.data), stepper{yield: yield}
	for w, i := range c.places { // in any order: the caller sorts
		if w.pairs[i].kinds&dataKinds != 0 {
			list = append(list, w.path)
		}
		s.step()
	}
	return list
}

// DataConnectionsOf returns the connections that have data watches on a path.
func (r *Registry) DataConnectionsOf(path string, yield func()) []ConnID {
	w := r.paths[path]
	if w == nil {
		return nil
	}
	list, s := make([]ConnID, 0, w.data), stepper{yield: yield}
	for i := 0; i < len(w.pairs); i++ {
		if w.pairs[i].kinds&dataKinds != 0 {
			list = append(list, w.pairs[i].conn.id)
		}
		s.step()
	}
	return list
}
