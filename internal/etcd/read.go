package etcd

import (
	"context"
	"slices"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"

	"github.com/okapi-kv/okapi/internal/core/state"
)

// read runs fn once at a view of the local state. Unless the read is serializable, that view
// holds everything that was acknowledged anywhere before the call. fn returns how the read ended.
func (k *kvServer) read(ctx context.Context, serializable bool, fn func(state.View) state.Code) error {
	if !serializable {
		if err := k.readIndex(ctx); err != nil {
			return err
		}
	}
	code := state.OK
	k.replica.Read(func(v state.View) { code = fn(v) })
	return refusal(code, "")
}

// readAnswer runs fn as read does, for an answer whose size on the wire fn estimates. A large one that has no turn is dropped
// and read anew when it has.
func (k *kvServer) readAnswer(ctx context.Context, serializable bool, fn func(state.View) (bytes int, code state.Code)) error {
	bytes := 0
	read := func(v state.View) (code state.Code) {
		bytes, code = fn(v)
		return code
	}
	out := outgoingOf(ctx)
	err := k.read(ctx, serializable, read)
	if err != nil || out.hasTurn(bytes) {
		return err
	}
	if err := out.awaitTurn(ctx); err != nil {
		return err
	}
	return k.read(ctx, true, read)
}

// rangeBytes estimates the size of a range on the wire: it is not less than that.
func rangeBytes(r *state.RangeResult) int {
	size := 0
	for i := range r.KVs {
		size += keyValueBytes(&r.KVs[i])
	}
	return size
}

// txnBytes estimates the size of what a txn has read.
func txnBytes(r *state.TxnResult) int {
	if r == nil {
		return 0
	}
	size := 0
	for _, response := range r.Responses {
		switch response := response.(type) {
		case *state.RangeResult:
			size += rangeBytes(response)
		case *state.TxnResult:
			size += txnBytes(response)
		}
	}
	return size
}

// readIndex waits, at most the request timeout, until the local state has caught up with all that
// was acknowledged before.
func (k *kvServer) readIndex(ctx context.Context) error {
	limited, cancel := context.WithTimeout(ctx, k.requestTimeout)
	defer cancel()
	if err := k.replica.ReadIndex(limited); err != nil {
		return readError(ctx, err)
	}
	return nil
}

// readRange answers a range and says at which revision of the store.
func (k *kvServer) readRange(ctx context.Context, r *pb.RangeRequest) (result *state.RangeResult, revision int64, err error) {
	who, cmd := caller(ctx), translateRange(r)
	one := &struct { // most ranges are of one key
		state.RangeResult
		kvs [1]state.KeyValue
	}{}
	err = k.readAnswer(ctx, r.Serializable, func(v state.View) (int, state.Code) {
		revision, one.RangeResult = v.Revision(), state.RangeResult{KVs: one.kvs[:0]}
		code := v.Range(&who, cmd, &one.RangeResult)
		return rangeBytes(&one.RangeResult), code
	})
	if err == nil {
		k.metrics.Ranges.Inc()
	}
	return &one.RangeResult, revision, err
}

// readTxn answers a txn that only reads and says at which revision of the store.
func (k *kvServer) readTxn(ctx context.Context, r *pb.TxnRequest) (result *state.TxnResult, revision int64, err error) {
	who, cmd := caller(ctx), translateTxn(r)
	err = k.readAnswer(ctx, serializable(r), func(v state.View) (bytes int, code state.Code) {
		revision = v.Revision()
		result, code = v.Txn(&who, cmd)
		return txnBytes(result), code
	})
	if err == nil {
		k.metrics.Ranges.Add(float64(len(result.Responses)))
		if len(result.Responses) > 1 {
			k.metrics.Txns.Inc()
		}
	}
	return result, revision, err
}

// leaseRead is what is read of a lease.
type leaseRead struct {
	state.Lease
	keys []string // in byte order, if they were asked for
}

// readLease reads a lease, or a session taken as one, and says at which revision of the store; nil if there is
// none. If it is known to the leader, the read is linearizable: this member may not have heard of it yet.
func (l *leaseServer) readLease(ctx context.Context, r *pb.LeaseTimeToLiveRequest, known bool) (found *leaseRead, revision int64, err error) {
	err = l.kv.read(ctx, !known, func(v state.View) state.Code {
		revision = v.Revision()
		lease, ok := v.Lease(r.GetID())
		if !ok || !known {
			return state.OK
		}
		found = &leaseRead{Lease: lease}
		if r.GetKeys() {
			found.keys = state.KeysOfLease(v, r.GetID())
		}
		return state.OK
	})
	if found != nil {
		slices.Sort(found.keys)
	}
	return found, revision, err
}

// readLeases lists the leases that this member knows, by id. In etcd the leader's list is in the order of the time
// left, and that of any other member in none (server/lease/lessor.go, Leases and Demote), so a client can rely on no order;
// nor does etcd prove that the list is not old.
func (l *leaseServer) readLeases() (ids []int64, revision int64) {
	l.kv.replica.Read(func(v state.View) {
		revision = v.Revision()
		ids = state.GrantedLeases(v)
	})
	slices.Sort(ids)
	return ids, revision
}

// readTTLs returns the TTL of those ids that are leases here, in seconds, and whether some are not known here.
func (l *leaseServer) readTTLs(ids []int64) (ttls map[int64]int64, missing bool) {
	ttls = make(map[int64]int64, len(ids))
	l.kv.replica.Read(func(v state.View) {
		for _, id := range ids {
			lease, ok := v.Lease(id)
			missing = missing || !ok
			if ok && !lease.Session {
				ttls[id] = lease.TTL
			}
		}
	})
	return ttls, missing
}

// checkRoom refuses another lease if there are as many as may be. It looks at this member's state, so grants that are
// under way may exceed the bound by their number.
func (l *leaseServer) checkRoom() error {
	count := 0
	l.kv.replica.Read(func(v state.View) { count = state.Count(v).Leases })
	if count >= l.max {
		return tooManyLeases(l.max)
	}
	return nil
}

// readOnly reports whether a txn can be answered from a view: all operations of both branches are
// ranges. One with a nested txn is not, even if that only reads, as in etcd
// (server/etcdserver/txn/txn.go, IsTxnReadonly).
func readOnly(r *pb.TxnRequest) bool {
	for _, branch := range [2][]*pb.RequestOp{r.GetSuccess(), r.GetFailure()} {
		for _, op := range branch {
			if op.GetRequestRange() == nil {
				return false
			}
		}
	}
	return true
}

// serializable reports whether a read-only txn may be answered from the local state as it is: all
// its ranges say so. etcd counts a txn without operations among them, for want of a range that
// says otherwise, and then its compares see a state that may be old; here such a txn is
// linearizable, which no client can tell from a lucky etcd.
func serializable(r *pb.TxnRequest) bool {
	if len(r.GetSuccess())+len(r.GetFailure()) == 0 {
		return false
	}
	for _, branch := range [2][]*pb.RequestOp{r.GetSuccess(), r.GetFailure()} {
		for _, op := range branch {
			if !op.GetRequestRange().GetSerializable() {
				return false
			}
		}
	}
	return true
}

// sendChunks sends the answer to a range in messages of about chunkBytes each: key-values as they
// come, and header, count and more with the last, so that merging all of them gives the response
// that Range would have sent.
//
// The whole result was read at one view, as references to what the store keeps anyway. etcd reads
// chunk by chunk at a pinned revision instead and breaks off with "compacted" when a compaction
// passes it; here a stream that began well cannot end so, and the range is walked once.
func sendChunks(stream pb.KV_RangeStreamServer, h *pb.ResponseHeader, r *state.RangeResult, chunkBytes int) error {
	rest := r.KVs
	for {
		n := chunkLen(rest, chunkBytes)
		chunk := &pb.RangeResponse{Kvs: keyValues(rest[:n])}
		rest = rest[n:]
		if len(rest) == 0 {
			chunk.Header, chunk.More, chunk.Count = h, r.More, r.Count
		}
		if err := stream.Send(&pb.RangeStreamResponse{RangeResponse: chunk}); err != nil {
			return err
		}
		if len(rest) == 0 {
			return nil
		}
	}
}

// keyValueOverheadBytes is what a KeyValue takes on the wire beside key and value, at most: tags
// and lengths, and four numbers.
const keyValueOverheadBytes = 64

func keyValueBytes(kv *state.KeyValue) int {
	return len(kv.Key) + len(kv.Value) + keyValueOverheadBytes
}

// chunkLen is how many of kvs go into one message: as many as fit into chunkBytes, but one at least.
func chunkLen(kvs []state.KeyValue, chunkBytes int) int {
	size := 0
	for i := range kvs {
		size += keyValueBytes(&kvs[i])
		if size > chunkBytes && i > 0 {
			return i
		}
	}
	return len(kvs)
}
