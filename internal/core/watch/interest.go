package watch

import (
	"slices"
	"strings"

	"github.com/okapi-kv/okapi/internal/invariant"
)

// Span is a set of keys as etcd writes it (rpc.proto, WatchCreateRequest): End empty means Key alone, End
// "\x00" means every key from Key on, and otherwise the keys in [Key, End).
type Span struct {
	Key, End string
}

// openEnd is the End that stands for no bound.
const openEnd = "\x00"

// Contains says whether the key is in the span.
func (s Span) Contains(key string) bool {
	switch s.End {
	case "":
		return key == s.Key
	case openEnd:
		return key >= s.Key
	default:
		return key >= s.Key && key < s.End
	}
}

// Empty says whether no key can be in the span.
func (s Span) Empty() bool { return s.End != "" && s.End != openEnd && s.Key >= s.End }

// prefix says whether the span is that of all keys with a prefix, and which.
func (s Span) prefix() (string, bool) {
	if s.End == openEnd {
		return "", s.Key <= "\x00" // a key is not empty, so "\x00" is the least
	}
	n := len(s.End)
	if n == 0 || n > len(s.Key) {
		return "", false
	}
	// End is Key cut behind its last byte that is not 0xff, and this byte raised by one.
	for _, b := range []byte(s.Key[n:]) {
		if b != 0xff {
			return "", false
		}
	}
	ok := s.Key[:n-1] == s.End[:n-1] && s.Key[n-1] != 0xff && s.Key[n-1]+1 == s.End[n-1]
	return s.Key, ok
}

// Interest holds which watches, named by values of W, are interested in which keys of one key space, and finds those that a
// changed key concerns.
//
// # Idea
//
// Watches with equal spans share a group, so ten thousand watches of one prefix are one thing to find.
// Groups are found in three ways. Single keys are looked up in a map. Prefixes, which are nearly all ranges
// in practice, are looked up in a map by the beginnings of the key, of those lengths only that some prefix has: a
// handful of look-ups, whatever the number of prefixes. Other ranges are in an interval tree.
//
// # Why not simpler
//
// An interval tree alone serves all three, but a look-up among many single keys or nested prefixes would
// walk down by comparing strings for what a hash answers at once.
type Interest[W comparable] struct {
	watches  map[W]place[W]
	keys     map[string]*group[W]
	prefixes map[string]*group[W]
	lengths  []prefixLength // of the prefixes, rising
	ranges   intervalTree[W]
}

// prefixLength says how many prefixes have a length.
type prefixLength struct {
	bytes, prefixes int
}

// group is the watches with one span.
type group[W comparable] struct {
	span    Span
	watches []W
}

// place says where a watch stands in its group.
type place[W comparable] struct {
	group *group[W]
	index int
}

// NewInterest returns an Interest without watches.
func NewInterest[W comparable]() *Interest[W] {
	return &Interest[W]{watches: map[W]place[W]{}, keys: map[string]*group[W]{}, prefixes: map[string]*group[W]{}}
}

// Len is the number of watches.
func (n *Interest[W]) Len() int { return len(n.watches) }

// Each calls fn for each watch, in any order. fn must not call the Interest.
func (n *Interest[W]) Each(fn func(W)) {
	for w := range n.watches { // in any order, as promised
		fn(w)
	}
}

// Add registers a watch under an ID that is not in use. The span's strings are cloned if they are kept. A
// watch whose span is empty is never found.
func (n *Interest[W]) Add(id W, s Span) {
	_, taken := n.watches[id]
	invariant.Assert(!taken, "a watch is registered once")
	g := n.group(s)
	n.watches[id] = place[W]{g, len(g.watches)}
	g.watches = append(g.watches, id)
}

// group finds or makes the group of a span.
func (n *Interest[W]) group(s Span) *group[W] {
	prefix, isPrefix := s.prefix()
	var g *group[W]
	switch {
	case s.End == "":
		g = n.keys[s.Key]
	case isPrefix:
		g = n.prefixes[prefix]
	default:
		g = n.ranges.find(s)
	}
	if g != nil {
		return g
	}
	g = &group[W]{span: Span{strings.Clone(s.Key), strings.Clone(s.End)}}
	switch {
	case s.End == "":
		n.keys[g.span.Key] = g
	case isPrefix:
		prefix, _ = g.span.prefix() // of the clone
		n.prefixes[prefix] = g
		n.countLength(len(prefix), 1)
	default:
		n.ranges.insert(g)
	}
	return g
}

// Remove drops a watch; an unknown ID is ignored.
func (n *Interest[W]) Remove(id W) {
	p, ok := n.watches[id]
	if !ok {
		return
	}
	delete(n.watches, id)
	g := p.group
	last := len(g.watches) - 1
	if p.index != last {
		g.watches[p.index] = g.watches[last]
		n.watches[g.watches[p.index]] = p
	}
	g.watches = g.watches[:last]
	if last == 0 {
		n.drop(g)
	}
}

// drop takes a group without watches out.
func (n *Interest[W]) drop(g *group[W]) {
	prefix, isPrefix := g.span.prefix()
	switch {
	case g.span.End == "":
		delete(n.keys, g.span.Key)
	case isPrefix:
		delete(n.prefixes, prefix)
		n.countLength(len(prefix), -1)
	default:
		n.ranges.remove(g)
	}
}

// countLength notes that there is one prefix more (step 1) or less (step -1) of a length.
func (n *Interest[W]) countLength(bytes, step int) {
	i, ok := slices.BinarySearchFunc(n.lengths, bytes, func(l prefixLength, b int) int { return l.bytes - b })
	if !ok {
		n.lengths = slices.Insert(n.lengths, i, prefixLength{bytes: bytes})
	}
	n.lengths[i].prefixes += step
	if n.lengths[i].prefixes == 0 {
		n.lengths = slices.Delete(n.lengths, i, i+1)
	}
}

// Match calls wake for each watch whose span contains the key, in an order that depends on nothing but
// the calls of Add and Remove. wake must not call the Interest.
func (n *Interest[W]) Match(key string, wake func(W)) {
	if g := n.keys[key]; g != nil {
		g.wake(wake)
	}
	for _, l := range n.lengths {
		if l.bytes > len(key) {
			break
		}
		if g := n.prefixes[key[:l.bytes]]; g != nil {
			g.wake(wake)
		}
	}
	n.ranges.match(key, wake)
}

func (g *group[W]) wake(wake func(W)) {
	for _, id := range g.watches {
		wake(id)
	}
}
