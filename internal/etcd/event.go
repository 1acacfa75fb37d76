package etcd

import (
	"sync"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/protobuf/encoding/protowire"

	"github.com/okapi-kv/okapi/internal/core/state"
	"github.com/okapi-kv/okapi/internal/core/watch"
)

// change is what a watch tells of one key at one revision.
type change = watch.Change[state.KeyValue]

// The numbers of fields (api/mvccpb/kv.proto, api/etcdserverpb/rpc.proto).
const (
	fieldEventType = 1
	fieldEventKV   = 2
	fieldEventPrev = 3

	fieldKVKey     = 1
	fieldKVCreate  = 2
	fieldKVMod     = 3
	fieldKVVersion = 4
	fieldKVValue   = 5
	fieldKVLease   = 6

	fieldHeader      = 1
	fieldWatchID     = 2
	fieldFragment    = 7
	fieldEvents      = 11
	fieldClusterID   = 1
	fieldMemberID    = 2
	fieldRevision    = 3
	fieldRaftTerm    = 4
	eventTypeDeleted = 1
)

// encodeEvent returns a change as a field "events" of a WatchResponse, tag and length included. A deletion
// has the key and its revision alone.
func encodeEvent(c *change) []byte {
	kv := told(c)
	size, kvSize, prevSize := eventBodySizes(c)
	b := make([]byte, 0, eventSize(c))
	b = protowire.AppendTag(b, fieldEvents, protowire.BytesType)
	b = protowire.AppendVarint(b, uint64(size))
	if c.Deleted {
		b = appendNumber(b, fieldEventType, eventTypeDeleted)
	}
	b = protowire.AppendTag(b, fieldEventKV, protowire.BytesType)
	b = appendKeyValue(protowire.AppendVarint(b, uint64(kvSize)), kv)
	if c.HasBefore {
		b = protowire.AppendTag(b, fieldEventPrev, protowire.BytesType)
		b = appendKeyValue(protowire.AppendVarint(b, uint64(prevSize)), &c.Before)
	}
	return b
}

// eventSize is the size of what encodeEvent returns.
func eventSize(c *change) int {
	size, _, _ := eventBodySizes(c)
	return protowire.SizeTag(fieldEvents) + protowire.SizeBytes(size)
}

// eventBodySizes returns the size of an event, and of the key-values in it.
func eventBodySizes(c *change) (size, kvSize, prevSize int) {
	if c.Deleted {
		size += protowire.SizeTag(fieldEventType) + protowire.SizeVarint(eventTypeDeleted)
	}
	kvSize = keyValueSize(told(c))
	size += protowire.SizeTag(fieldEventKV) + protowire.SizeBytes(kvSize)
	if c.HasBefore {
		prevSize = keyValueSize(&c.Before)
		size += protowire.SizeTag(fieldEventPrev) + protowire.SizeBytes(prevSize)
	}
	return size, kvSize, prevSize
}

// told is what an event says of its key.
func told(c *change) *state.KeyValue {
	if c.Deleted {
		return &state.KeyValue{Key: c.Key, ModRevision: c.Revision}
	}
	return &c.Version
}

// keyValueSize is the size of what appendKeyValue appends. All fields of a KeyValue have tags of one byte.
func keyValueSize(kv *state.KeyValue) int {
	size := 0
	for _, n := range [...]int64{kv.CreateRevision, kv.ModRevision, kv.Version, kv.Lease} {
		if n != 0 {
			size += 1 + protowire.SizeVarint(uint64(n))
		}
	}
	for _, n := range [...]int{len(kv.Key), len(kv.Value)} {
		if n != 0 {
			size += 1 + protowire.SizeBytes(n)
		}
	}
	return size
}

// appendKeyValue appends an mvccpb.KeyValue.
func appendKeyValue(b []byte, kv *state.KeyValue) []byte {
	if len(kv.Key) > 0 {
		b = protowire.AppendTag(b, fieldKVKey, protowire.BytesType)
		b = protowire.AppendString(b, kv.Key)
	}
	b = appendNumber(b, fieldKVCreate, uint64(kv.CreateRevision))
	b = appendNumber(b, fieldKVMod, uint64(kv.ModRevision))
	b = appendNumber(b, fieldKVVersion, uint64(kv.Version))
	if len(kv.Value) > 0 {
		b = protowire.AppendTag(b, fieldKVValue, protowire.BytesType)
		b = protowire.AppendBytes(b, kv.Value)
	}
	return appendNumber(b, fieldKVLease, uint64(kv.Lease))
}

// appendNumber appends a number, unless it is 0, which is what a missing one means.
func appendNumber(b []byte, field protowire.Number, n uint64) []byte {
	if n == 0 {
		return b
	}
	return protowire.AppendVarint(protowire.AppendTag(b, field, protowire.VarintType), n)
}

// appendWatchHead appends what stands before the events of a WatchResponse.
func appendWatchHead(b []byte, h *pb.ResponseHeader, id int64, fragment bool) []byte {
	size := 0
	fields := [...]struct {
		number protowire.Number
		value  uint64
	}{{fieldClusterID, h.ClusterId}, {fieldMemberID, h.MemberId}, {fieldRevision, uint64(h.Revision)}, {fieldRaftTerm, h.RaftTerm}}
	for _, f := range fields {
		if f.value != 0 {
			size += 1 + protowire.SizeVarint(f.value)
		}
	}
	b = protowire.AppendVarint(protowire.AppendTag(b, fieldHeader, protowire.BytesType), uint64(size))
	for _, f := range fields {
		b = appendNumber(b, f.number, f.value)
	}
	b = appendNumber(b, fieldWatchID, uint64(id))
	if fragment {
		b = appendNumber(b, fieldFragment, 1)
	}
	return b
}

// eventKey names an encoded event: sequence numbers are never used twice, in neither key space.
type eventKey struct {
	seq           uint64
	deleted, prev bool
}

// eventCache holds encoded events that were wanted lately, so that one that concerns many watches is encoded
// once. It is safe for concurrent use.
//
// There are two generations: what is found in the old one moves into the young one, and when that is full, it
// becomes the old one and the other is forgotten. That is nearly as good as forgetting what was not used for
// longest, and needs no list.
type eventCache struct {
	bytesMax int // of one generation

	mu         sync.Mutex
	young, old map[eventKey][]byte
	bytes      int // of young
}

// eventOverheadBytes is what an event costs the cache beside its bytes.
const eventOverheadBytes = 64

// newEventCache makes a cache of at most about bytesMax.
func newEventCache(bytesMax int) *eventCache {
	return &eventCache{bytesMax: bytesMax / 2, young: map[eventKey][]byte{}}
}

// encode returns what encodeEvent returns. The bytes are shared: they are only read.
func (e *eventCache) encode(c *change) []byte {
	key := eventKey{c.Seq, c.Deleted, c.HasBefore}
	if b := e.get(key); b != nil {
		return b
	}
	return e.put(key, encodeEvent(c))
}

// get returns an event; nil if it is not there.
func (e *eventCache) get(key eventKey) []byte {
	e.mu.Lock()
	defer e.mu.Unlock()
	if b := e.young[key]; b != nil {
		return b
	}
	b := e.old[key]
	if b != nil {
		e.putLocked(key, b)
	}
	return b
}

// put adds an event and returns it, or what somebody else has put there meanwhile.
func (e *eventCache) put(key eventKey, b []byte) []byte {
	e.mu.Lock()
	defer e.mu.Unlock()
	if other := e.young[key]; other != nil {
		return other
	}
	e.putLocked(key, b)
	return b
}

func (e *eventCache) putLocked(key eventKey, b []byte) {
	if e.bytes >= e.bytesMax {
		e.old, e.young, e.bytes = e.young, map[eventKey][]byte{}, 0
	}
	e.young[key] = b
	e.bytes += len(b) + eventOverheadBytes
}
