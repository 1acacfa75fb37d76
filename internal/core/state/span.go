package state

import "github.com/okapi-kv/okapi/internal/core/mvcc"

// Short names for what the two spaces hold.
type (
	plainVersion = mvcc.Version[value]
	treeVersion  = mvcc.Version[znode]
)

// plainShape and treeShape are what the two spaces have to know of their records.
func plainShape() mvcc.Shape[value] {
	return mvcc.Shape[value]{Size: sizeValue, Data: func(v *value) *[]byte { return &v.data }}
}

func treeShape() mvcc.Shape[znode] {
	return mvcc.Shape[znode]{Size: sizeNode, Data: func(z *znode) *[]byte { return &z.data }}
}

// span is the set of keys that a request names, of one key or of a range.
type span struct {
	from   string
	to     string // exclusive; empty is no end
	single bool   // from alone
}

// fromKey is the end of a range that goes on to the last key (rpc.proto, RangeRequest.range_end).
const fromKey = "\x00"

// spanOf translates the two fields by which etcd's requests name keys. A range whose end is not after
// its beginning is empty, which is no error.
func spanOf(key, end string) span {
	switch end {
	case "":
		return span{from: key, single: true}
	case fromKey:
		return span{from: key}
	default:
		return span{from: key, to: end}
	}
}

// beyond says whether a key that a walk from the span's beginning meets is behind its end.
func (s span) beyond(key string) bool { return s.to != "" && key >= s.to }

// scan calls fn for each key of a span that lives at seq, in byte order, until fn returns false. yield, if
// not nil, is called every stepKeys keys, dead ones included; the space may change meanwhile.
func scan[R any](sp *mvcc.Space[R], s span, seq uint64, yield func(), fn func(*mvcc.Version[R]) bool) {
	if s.single {
		if v := sp.Get(s.from).At(seq); v != nil {
			fn(v)
		}
		return
	}
	for more := true; more; {
		n := 0
		more = false
		sp.Ascend(s.from, func(newest *mvcc.Version[R]) bool {
			if s.beyond(newest.Key()) {
				return false
			}
			if n == stepKeys && yield != nil {
				s.from, more = newest.Key(), true
				return false
			}
			n++
			v := newest.At(seq)
			return v == nil || fn(v)
		})
		if more {
			yield()
		}
	}
}
