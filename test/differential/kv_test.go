package differential

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"slices"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/protobuf/encoding/prototext"
	"google.golang.org/protobuf/proto"
)

// alphabet is every key there is: few, so that steps meet; the first ones are drawn more often. The size
// is chosen: etcd sorts up to 12 keys stably and more than that not.
var alphabet = []string{"a", "aa", "b", "ab", "c", "a\x00", "ba", "d", "\x00", "\xff", "e", "f", "g", "h", "\xff\xff"}

// bigKeys hold big values; a stretch of the alphabet.
var bigKeys = []string{"f", "g", "h"}

func drawKey(r *rand.Rand) []byte {
	if oneIn(r, 80) {
		return nil
	}
	if oneIn(r, 3) {
		return []byte(pick(r, alphabet...))
	}
	return []byte(pick(r, alphabet[:6]...))
}

// drawEnd draws the end of a range that begins at key; none for one key alone.
func drawEnd(r *rand.Rand, key []byte) []byte {
	switch r.IntN(12) {
	case 0:
		return []byte{0}
	case 1, 2:
		return prefixEnd(key)
	case 3, 4:
		return []byte(pick(r, alphabet...))
	case 5:
		return append(bytes.Clone(key), 0)
	case 6:
		return []byte("d")
	default:
		return nil
	}
}

// prefixEnd is the end of the keys that begin with a prefix.
func prefixEnd(prefix []byte) []byte {
	end := bytes.Clone(prefix)
	for i := len(end) - 1; i >= 0; i-- {
		if end[i] < 0xff {
			end[i]++
			return end[:i+1]
		}
	}
	return []byte{0}
}

func drawValue(r *rand.Rand) []byte {
	switch r.IntN(20) {
	case 0:
		return nil
	case 1:
		return bytes.Repeat([]byte{byte('a' + r.IntN(3))}, 1+r.IntN(200))
	default:
		return []byte(pick(r, "x", "y", "z", "1", "10", "9"))
	}
}

// drawRevision draws a revision to read at; mostly none.
func (w *world) drawRevision(r *rand.Rand) int64 {
	if r.IntN(100) < 55 {
		return 0
	}
	return w.someRevision(r)
}

// someRevision draws a revision that means something: now, the past, around the compaction, the future,
// and what is not a revision at all.
func (w *world) someRevision(r *rand.Rand) int64 {
	switch r.IntN(20) {
	case 0:
		return w.revision + 1
	case 1:
		return w.revision + int64(r.IntN(5))
	case 2, 3, 4:
		return w.compacted + int64(r.IntN(3)) - 1
	case 5:
		return -int64(r.IntN(3))
	case 6:
		return pick[int64](r, math.MaxInt64, math.MinInt64, math.MaxInt64-1, 1, 2)
	case 7, 8:
		return w.revision
	default:
		return w.compacted + 1 + int64(r.IntN(int(max(1, w.revision-w.compacted))))
	}
}

func drawLimit(r *rand.Rand) int64 {
	if !oneIn(r, 3) {
		return 0
	}
	return pick[int64](r, 1, 2, 3, 5, 12, 100, -1, math.MaxInt64)
}

func (w *world) rangeRequest(r *rand.Rand) *pb.RangeRequest {
	out := &pb.RangeRequest{Key: drawKey(r), Revision: w.drawRevision(r), Limit: drawLimit(r)}
	out.RangeEnd = drawEnd(r, out.Key)
	if oneIn(r, 3) {
		out.Key, out.RangeEnd = []byte{0}, []byte{0}
	}
	if oneIn(r, 3) {
		out.SortOrder = pb.RangeRequest_SortOrder(r.IntN(3))
		out.SortTarget = pb.RangeRequest_SortTarget(r.IntN(5))
	}
	if oneIn(r, 80) {
		out.SortOrder = pb.RangeRequest_SortOrder(pick(r, 3, -1))
	}
	if oneIn(r, 80) {
		out.SortTarget = pb.RangeRequest_SortTarget(pick(r, 5, -1))
	}
	out.Serializable = oneIn(r, 4)
	out.KeysOnly = oneIn(r, 6)
	out.CountOnly = oneIn(r, 8)
	for _, bound := range []*int64{&out.MinModRevision, &out.MaxModRevision, &out.MinCreateRevision, &out.MaxCreateRevision} {
		if oneIn(r, 16) {
			*bound = w.someRevision(r)
		}
	}
	return out
}

// drawLease draws the lease of a put: mostly none.
func (w *world) drawLease(r *rand.Rand) int64 {
	switch {
	case oneIn(r, 30):
		return pick[int64](r, -1, 77, math.MaxInt64, math.MinInt64)
	case len(w.leases) > 0 && oneIn(r, 2):
		return pick(r, w.leases...)
	default:
		return 0
	}
}

func (w *world) putRequest(r *rand.Rand) *pb.PutRequest {
	out := &pb.PutRequest{Key: drawKey(r), Value: drawValue(r), Lease: w.drawLease(r), PrevKv: oneIn(r, 3)}
	if oneIn(r, 8) {
		out.IgnoreValue = true
		if !oneIn(r, 5) {
			out.Value = nil
		}
	}
	if oneIn(r, 8) {
		out.IgnoreLease = true
		if !oneIn(r, 5) {
			out.Lease = 0
		}
	}
	return out
}

func deleteRequest(r *rand.Rand) *pb.DeleteRangeRequest {
	out := &pb.DeleteRangeRequest{Key: drawKey(r), PrevKv: oneIn(r, 2)}
	out.RangeEnd = drawEnd(r, out.Key)
	return out
}

func (w *world) compare(r *rand.Rand) *pb.Compare {
	out := &pb.Compare{
		Key:    drawKey(r),
		Result: pb.Compare_CompareResult(r.IntN(4)),
		Target: pb.Compare_CompareTarget(r.IntN(5)),
	}
	if oneIn(r, 4) {
		out.RangeEnd = drawEnd(r, out.Key)
	}
	if oneIn(r, 60) {
		out.Result = pb.Compare_CompareResult(pick(r, 4, -1))
	}
	operand := out.Target
	if oneIn(r, 20) { // one that belongs to another target
		operand = pb.Compare_CompareTarget(r.IntN(5))
	}
	if oneIn(r, 60) {
		out.Target = pb.Compare_CompareTarget(pick(r, 5, -1))
	}
	if oneIn(r, 30) {
		return out
	}
	switch operand {
	case pb.Compare_VERSION:
		out.TargetUnion = &pb.Compare_Version{Version: int64(r.IntN(4))}
	case pb.Compare_CREATE:
		out.TargetUnion = &pb.Compare_CreateRevision{CreateRevision: pick(r, 0, w.someRevision(r))}
	case pb.Compare_MOD:
		out.TargetUnion = &pb.Compare_ModRevision{ModRevision: pick(r, 0, w.someRevision(r))}
	case pb.Compare_VALUE:
		out.TargetUnion = &pb.Compare_Value{Value: drawValue(r)}
	case pb.Compare_LEASE:
		out.TargetUnion = &pb.Compare_Lease{Lease: w.drawLease(r)}
	}
	return out
}

// ops draws the operations of one branch of a txn; depth is how deep it may nest. The keys of puts mostly
// differ, because otherwise nearly every txn would be refused.
func (w *world) ops(r *rand.Rand, depth int) []*pb.RequestOp {
	var out []*pb.RequestOp
	var put []string
	for range r.IntN(5) {
		switch n := r.IntN(40); {
		case n == 0:
			out = append(out, &pb.RequestOp{})
		case n < 12:
			out = append(out, rangeOp(w.rangeRequest(r)))
		case n < 27:
			request := w.putRequest(r)
			if slices.Contains(put, string(request.Key)) && !oneIn(r, 8) {
				continue
			}
			put = append(put, string(request.Key))
			out = append(out, putOp(request))
		case n < 33:
			out = append(out, deleteOp(deleteRequest(r)))
		case depth > 0:
			out = append(out, txnOp(w.txnRequest(r, depth-1)))
		}
	}
	return out
}

func rangeOp(r *pb.RangeRequest) *pb.RequestOp {
	return &pb.RequestOp{Request: &pb.RequestOp_RequestRange{RequestRange: r}}
}

func putOp(r *pb.PutRequest) *pb.RequestOp {
	return &pb.RequestOp{Request: &pb.RequestOp_RequestPut{RequestPut: r}}
}

func deleteOp(r *pb.DeleteRangeRequest) *pb.RequestOp {
	return &pb.RequestOp{Request: &pb.RequestOp_RequestDeleteRange{RequestDeleteRange: r}}
}

func txnOp(r *pb.TxnRequest) *pb.RequestOp {
	return &pb.RequestOp{Request: &pb.RequestOp_RequestTxn{RequestTxn: r}}
}

func (w *world) txnRequest(r *rand.Rand, depth int) *pb.TxnRequest {
	out := &pb.TxnRequest{}
	for range r.IntN(3) {
		out.Compare = append(out.Compare, w.compare(r))
	}
	out.Success, out.Failure = w.ops(r, depth), w.ops(r, depth)
	if oneIn(r, 6) { // one that only reads
		out.Success, out.Failure = nil, nil
		for range 1 + r.IntN(3) {
			out.Success = append(out.Success, rangeOp(w.rangeRequest(r)))
		}
	}
	return out
}

func drawRange(w *world, r *rand.Rand) []action { return []action{rangeAction(w.rangeRequest(r))} }

func rangeAction(request *pb.RangeRequest) action {
	return unary("Range", request, func(ctx context.Context, s *side) answer { return answered(s.kv.Range(ctx, request)) })
}

// drawRangeStream draws a range that is answered in parts. How etcd cuts it is its own affair, so the parts
// are put together.
func drawRangeStream(w *world, r *rand.Rand) []action {
	request := w.rangeRequest(r)
	if !oneIn(r, 6) {
		request.SortOrder, request.SortTarget = 0, 0
		request.MinModRevision, request.MaxModRevision, request.MinCreateRevision, request.MaxCreateRevision = 0, 0, 0, 0
	}
	return []action{unary("RangeStream", request, func(ctx context.Context, s *side) answer {
		stream, err := s.kv.RangeStream(ctx, request)
		if err != nil {
			return failed(err)
		}
		whole := &pb.RangeResponse{}
		for {
			part, err := stream.Recv()
			if errors.Is(err, io.EOF) {
				return answer{messages: []proto.Message{whole}}
			}
			if err != nil {
				return failed(err)
			}
			proto.Merge(whole, part.RangeResponse)
		}
	})}
}

func drawPut(w *world, r *rand.Rand) []action { return []action{putAction(w.putRequest(r))} }

func putAction(request *pb.PutRequest) action {
	return unary("Put", request, func(ctx context.Context, s *side) answer { return answered(s.kv.Put(ctx, request)) })
}

func drawDeleteRange(_ *world, r *rand.Rand) []action {
	return []action{deleteAction(deleteRequest(r))}
}

func deleteAction(request *pb.DeleteRangeRequest) action {
	return unary("DeleteRange", request, func(ctx context.Context, s *side) answer { return answered(s.kv.DeleteRange(ctx, request)) })
}

func drawTxn(w *world, r *rand.Rand) []action {
	request := w.txnRequest(r, 2)
	for escapes(request) {
		request = w.txnRequest(r, 2)
	}
	return []action{txnAction(request)}
}

// escapes reports whether a txn deletes and puts one key in a way that etcd's check for that does not see
// (server/etcdserver/api/v3rpc/key.go, checkIntervals): a delete of everything from a key on, or one in a nested txn
// after another nested one that puts. No script has such a txn, because etcd does not survive it: it panics if the
// put keeps the value or lease of the key that is gone (server/etcdserver/txn/put.go:55), and a compaction at that
// very revision drops the key that lives, so that the next read of it panics (server/storage/mvcc/key_index.go,
// doCompact). okapi carries such a txn out, or says "key not found".
func escapes(t *pb.TxnRequest) bool {
	for _, branch := range [][]*pb.RequestOp{t.Success, t.Failure} {
		puts, deletes := writesOf(branch)
		for _, d := range deletes {
			if string(d.end) == "\x00" && slices.ContainsFunc(puts, d.covers) {
				return true
			}
		}
		var earlier []string
		for _, op := range branch {
			if nested := op.GetRequestTxn(); nested != nil {
				puts, deletes := writesOf(slices.Concat(nested.Success, nested.Failure))
				if escapes(nested) || slices.ContainsFunc(deletes, func(d keyRange) bool { return slices.ContainsFunc(earlier, d.covers) }) {
					return true
				}
				earlier = append(earlier, puts...)
			}
		}
	}
	return false
}

// keyRange is the keys that a request names.
type keyRange struct{ key, end string }

func (k keyRange) covers(key string) bool {
	switch k.end {
	case "":
		return key == k.key
	case "\x00":
		return key >= k.key
	default:
		return key >= k.key && key < k.end
	}
}

// writesOf returns what operations put and delete, nested ones too.
func writesOf(ops []*pb.RequestOp) (puts []string, deletes []keyRange) {
	for _, op := range ops {
		switch o := op.Request.(type) {
		case *pb.RequestOp_RequestPut:
			puts = append(puts, string(o.RequestPut.Key))
		case *pb.RequestOp_RequestDeleteRange:
			deletes = append(deletes, keyRange{string(o.RequestDeleteRange.Key), string(o.RequestDeleteRange.RangeEnd)})
		case *pb.RequestOp_RequestTxn:
			p, d := writesOf(slices.Concat(o.RequestTxn.Success, o.RequestTxn.Failure))
			puts, deletes = append(puts, p...), append(deletes, d...)
		}
	}
	return puts, deletes
}

func txnAction(request *pb.TxnRequest) action {
	return unary("Txn", request, func(ctx context.Context, s *side) answer { return answered(s.kv.Txn(ctx, request)) })
}

// maxTxnOps is both servers' limit.
const maxTxnOps = 128

// drawHugeTxn draws a txn about as long as the limit, alone or in a nested one.
func drawHugeTxn(w *world, r *rand.Rand) []action {
	n := maxTxnOps - 1 + r.IntN(3)
	request := &pb.TxnRequest{}
	switch r.IntN(3) {
	case 0:
		for range n {
			request.Compare = append(request.Compare, w.compare(r))
		}
		request.Success = w.ops(r, 0)
	case 1:
		for i := range n {
			request.Failure = append(request.Failure, deleteOp(&pb.DeleteRangeRequest{Key: []byte(fmt.Sprint(i))}))
		}
	default:
		inner := &pb.TxnRequest{}
		for range n - 10 {
			inner.Success = append(inner.Success, rangeOp(&pb.RangeRequest{Key: []byte("a"), CountOnly: true}))
		}
		for range 9 + r.IntN(3) {
			request.Success = append(request.Success, txnOp(inner))
		}
	}
	return []action{txnAction(request)}
}

// drawCompact draws a compaction. All events must have arrived: a watch that reads history and a
// compaction race in etcd.
func drawCompact(w *world, r *rand.Rand) []action {
	request := &pb.CompactionRequest{Revision: w.someRevision(r), Physical: oneIn(r, 2)}
	out := unary("Compact", request, func(ctx context.Context, s *side) answer { return answered(s.kv.Compact(ctx, request)) })
	out.settle = true
	out.learn = func(w *world, a answer) {
		if len(a.messages) > 0 {
			w.compacted = max(0, request.Revision)
		}
	}
	return []action{out}
}

const (
	maxRequestBytes = 1536 << 10
	// receiveOverheadBytes is what the receiver of a message allows beyond that.
	receiveOverheadBytes = 512 << 10
	// marginBytes keeps clear of the limits: what etcd adds to a request before it measures it depends on the
	// member.
	marginBytes = 64
)

// drawOversize draws a put about as large as one of the two limits on its size.
func drawOversize(_ *world, r *rand.Rand) []action {
	limit := pick(r, maxRequestBytes, maxRequestBytes+receiveOverheadBytes)
	request := &pb.PutRequest{Key: []byte("f")}
	request.Value = make([]byte, limit+pick(r, -1, 1)*marginBytes)
	if oneIn(r, 4) {
		return []action{txnAction(&pb.TxnRequest{Success: []*pb.RequestOp{putOp(request)}})}
	}
	return []action{putAction(request)}
}

// drawBigValues draws puts of big values and one delete that removes all: a watch of them gets more than one
// message may hold.
func drawBigValues(_ *world, r *rand.Rand) []action {
	var out []action
	for _, key := range bigKeys {
		value := bytes.Repeat([]byte{byte('a' + r.IntN(20))}, 800<<10+r.IntN(200<<10))
		out = append(out, putAction(&pb.PutRequest{Key: []byte(key), Value: value}))
	}
	return append(out, deleteAction(&pb.DeleteRangeRequest{Key: []byte(bigKeys[0]), RangeEnd: []byte("i"), PrevKv: oneIn(r, 2)}))
}

// unary makes the action of a call that is made once and answered once.
func unary(name string, request proto.Message, call func(context.Context, *side) answer) action {
	return action{
		name:    name,
		text:    name + " " + show(request),
		request: request,
		do: func(s *side) answer {
			ctx, cancel := context.WithTimeout(context.Background(), callTimeout)
			defer cancel()
			return call(ctx, s)
		},
	}
}

// shownBytes is how much of a message a reader wants to see.
const shownBytes = 4000

func show(m proto.Message) string {
	text := prototext.MarshalOptions{}.Format(m)
	if len(text) > shownBytes {
		return fmt.Sprintf("%s … (%d bytes)", text[:shownBytes], len(text))
	}
	return "{" + text + "}"
}
