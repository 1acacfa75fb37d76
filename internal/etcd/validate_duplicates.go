package etcd

import (
	"bytes"
	"slices"
	"sort"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
)

// A txn may not write a key twice, because all its writes have one revision. etcd's rule
// (server/etcdserver/api/v3rpc/key.go, checkIntervals) has three peculiarities that clients can
// see, kept here one by one:
//
//   - the two branches of a nested txn exclude each other, so both may put the same key;
//   - the end of a delete is taken literally, so one with the end "\x00", which deletes everything
//     from its key on, covers nothing here;
//   - nested txns of one list are looked at in order, so a put in an earlier one and a delete
//     that covers it in a later one pass, while the reverse is refused.
//
// A hostile request can hold a hundred thousand small operations at any depth, so sets are kept
// sorted: what is nested is merged into its parent in one pass, and the smaller of two sets is
// looked up in the larger.

// writes is what a list of operations writes, nested txns included.
type writes struct {
	puts    keys
	deletes spans
}

// writesOf collects the writes of a list and refuses a duplicate among them.
func writesOf(ops []*pb.RequestOp) (writes, error) {
	if len(ops) == 0 {
		return writes{}, nil
	}
	// All deletes of this level count against every put, wherever they stand in the list.
	w := writes{deletes: deletesOf(ops)}
	for _, op := range ops {
		if nested, ok := op.GetRequest().(*pb.RequestOp_RequestTxn); ok {
			if err := w.addTxn(nested.RequestTxn); err != nil {
				return writes{}, err
			}
		}
	}
	own, twice := putsOf(ops)
	if twice {
		return writes{}, rpctypes.ErrGRPCDuplicateKey
	}
	return w, w.addPuts(own)
}

// addTxn adds what a nested txn may write in either of its branches.
func (w *writes) addTxn(t *pb.TxnRequest) error {
	success, err := writesOf(t.GetSuccess())
	if err != nil {
		return err
	}
	failure, err := writesOf(t.GetFailure())
	if err != nil {
		return err
	}
	either, _ := mergeKeys(success.puts, failure.puts)
	if err := w.addPuts(either); err != nil {
		return err
	}
	w.deletes = mergeSpans(w.deletes, mergeSpans(success.deletes, failure.deletes))
	return nil
}

// addPuts adds puts that must meet neither a put nor a delete that is there already.
func (w *writes) addPuts(puts keys) error {
	if w.deletes.coverAny(puts) {
		return rpctypes.ErrGRPCDuplicateKey
	}
	merged, common := mergeKeys(w.puts, puts)
	if common {
		return rpctypes.ErrGRPCDuplicateKey
	}
	w.puts = merged
	return nil
}

// keys is a set of keys in order.
type keys [][]byte

// putsOf returns the keys of the puts that stand in ops themselves, and whether one is put twice.
func putsOf(ops []*pb.RequestOp) (puts keys, twice bool) {
	for _, op := range ops {
		if put, ok := op.GetRequest().(*pb.RequestOp_RequestPut); ok {
			puts = append(puts, put.RequestPut.GetKey())
		}
	}
	slices.SortFunc(puts, bytes.Compare)
	for i := 1; i < len(puts); i++ {
		twice = twice || bytes.Equal(puts[i-1], puts[i])
	}
	return puts, twice
}

// mergeKeys returns the union of two sets, which may be one of them, and whether they have a key
// in common.
func mergeKeys(a, b keys) (union keys, common bool) {
	if len(a) == 0 {
		return b, false
	}
	if len(b) == 0 {
		return a, false
	}
	union = interleave(a, b, func(key []byte) []byte { return key })
	both := len(union)
	union = slices.CompactFunc(union, bytes.Equal)
	return union, len(union) < both
}

// span is the keys in [begin, end).
type span struct {
	begin, end []byte
}

// spans is a set of keys as spans in order, none empty and no two overlapping.
type spans []span

// deletesOf returns what the deletes that stand in ops themselves cover.
func deletesOf(ops []*pb.RequestOp) spans {
	var all spans
	for _, op := range ops {
		d, ok := op.GetRequest().(*pb.RequestOp_RequestDeleteRange)
		if !ok {
			continue
		}
		s := span{begin: d.RequestDeleteRange.GetKey(), end: d.RequestDeleteRange.GetRangeEnd()}
		if len(s.end) == 0 {
			s.end = append(bytes.Clone(s.begin), 0)
		}
		if bytes.Compare(s.begin, s.end) < 0 {
			all = append(all, s)
		}
	}
	slices.SortFunc(all, func(a, b span) int { return bytes.Compare(a.begin, b.begin) })
	return joined(all)
}

// joined makes sorted spans disjoint, in place.
func joined(sorted spans) spans {
	out := sorted[:0]
	for _, s := range sorted {
		last := len(out) - 1
		if last < 0 || bytes.Compare(out[last].end, s.begin) < 0 {
			out = append(out, s)
		} else if bytes.Compare(out[last].end, s.end) < 0 {
			out[last].end = s.end
		}
	}
	return out
}

// mergeSpans returns the union of two sets of spans; it may return either.
func mergeSpans(a, b spans) spans {
	if len(a) == 0 {
		return b
	}
	if len(b) == 0 {
		return a
	}
	return joined(interleave(a, b, func(s span) []byte { return s.begin }))
}

// interleave merges two lists that are in the order of by into a new one. The elements of the
// shorter are looked up in the longer, what lies between them is copied as a block.
func interleave[E any](a, b []E, by func(E) []byte) []E {
	if len(a) > len(b) {
		a, b = b, a
	}
	out := make([]E, 0, len(a)+len(b))
	for _, e := range a {
		before := sort.Search(len(b), func(i int) bool { return bytes.Compare(by(b[i]), by(e)) > 0 })
		out = append(append(out, b[:before]...), e)
		b = b[before:]
	}
	return append(out, b...)
}

// coverAny reports whether one of puts is in the set.
func (s spans) coverAny(puts keys) bool {
	if len(s) < len(puts) {
		return slices.ContainsFunc(s, puts.anyIn)
	}
	return slices.ContainsFunc(puts, s.cover)
}

// cover reports whether key is in the set.
func (s spans) cover(key []byte) bool {
	after := sort.Search(len(s), func(i int) bool { return bytes.Compare(s[i].begin, key) > 0 })
	return after > 0 && bytes.Compare(key, s[after-1].end) < 0
}

// anyIn reports whether one of the keys is in a span.
func (k keys) anyIn(s span) bool {
	first := sort.Search(len(k), func(i int) bool { return bytes.Compare(k[i], s.begin) >= 0 })
	return first < len(k) && bytes.Compare(k[first], s.end) < 0
}
