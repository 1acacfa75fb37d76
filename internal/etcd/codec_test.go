package etcd

import (
	"bytes"
	"testing"

	"github.com/google/go-cmp/cmp"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"
	"google.golang.org/grpc/mem"
	"google.golang.org/protobuf/encoding/prototext"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
	"google.golang.org/protobuf/testing/protocmp"
	"pgregory.net/rapid"

	"github.com/okapi-kv/okapi/internal/core/state"
)

// fill sets every field of a message, down to a depth, to something that is not its default.
func fill(m protoreflect.Message, depth int) {
	fields := m.Descriptor().Fields()
	for i := range fields.Len() {
		f := fields.Get(i)
		if o := f.ContainingOneof(); o != nil && m.WhichOneof(o) != nil || f.Message() != nil && depth == 0 {
			continue
		}
		switch {
		case f.IsList():
			list := m.Mutable(f).List()
			for range 2 {
				if f.Message() != nil {
					fill(list.AppendMutable().Message(), depth-1)
				} else {
					list.Append(scalar(f))
				}
			}
		case f.IsMap():
			if f.MapValue().Message() == nil {
				m.Mutable(f).Map().Set(scalar(f.MapKey()).MapKey(), scalar(f.MapValue()))
			}
		case f.Message() != nil:
			fill(m.Mutable(f).Message(), depth-1)
		default:
			m.Set(f, scalar(f))
		}
	}
}

func scalar(f protoreflect.FieldDescriptor) protoreflect.Value {
	switch f.Kind() {
	case protoreflect.BoolKind:
		return protoreflect.ValueOfBool(true)
	case protoreflect.EnumKind:
		return protoreflect.ValueOfEnum(1)
	case protoreflect.Int32Kind:
		return protoreflect.ValueOfInt32(-3)
	case protoreflect.Int64Kind:
		return protoreflect.ValueOfInt64(1 << 40)
	case protoreflect.Uint32Kind:
		return protoreflect.ValueOfUint32(300)
	case protoreflect.Uint64Kind:
		return protoreflect.ValueOfUint64(1 << 63)
	case protoreflect.StringKind:
		return protoreflect.ValueOfString("text")
	default:
		return protoreflect.ValueOfBytes([]byte("\x00bytes\xff"))
	}
}

// Every message of etcd's API goes through the codec as through gRPC's own.
func TestCodecLeavesMessagesAlone(t *testing.T) {
	ours, n := newCodec(), 0
	if ours.Name() != "proto" {
		t.Errorf("it is named %q", ours.Name())
	}
	protoregistry.GlobalTypes.RangeMessages(func(mt protoreflect.MessageType) bool {
		switch mt.Descriptor().ParentFile().Package() {
		case "etcdserverpb", "mvccpb", "authpb":
		default:
			return true
		}
		n++
		m := mt.New()
		fill(m, 3)
		want, err := ours.CodecV2.Marshal(m.Interface())
		if err != nil {
			t.Fatal(err)
		}
		got, err := ours.Marshal(m.Interface())
		if err != nil || !bytes.Equal(got.Materialize(), want.Materialize()) {
			t.Errorf("%s: %v, other bytes", mt.Descriptor().FullName(), err)
		}
		back := mt.New().Interface()
		if err := ours.Unmarshal(mem.BufferSlice{mem.SliceBuffer(want.Materialize())}, back); err != nil {
			t.Errorf("%s: %v", mt.Descriptor().FullName(), err)
		}
		if diff := cmp.Diff(m.Interface(), back, protocmp.Transform()); diff != "" {
			t.Errorf("%s (-want +got):\n%s", mt.Descriptor().FullName(), diff)
		}
		return true
	})
	if n < 100 {
		t.Errorf("there are only %d messages: the test does not test", n)
	}
	if _, err := ours.Marshal(struct{}{}); err == nil {
		t.Error("what is no message is encoded")
	}
}

// drawKV draws a key-value with fields that may be anything, 0 and empty included.
func drawKV(t *rapid.T, name string) state.KeyValue {
	number := rapid.OneOf(rapid.Just(int64(0)), rapid.Int64())
	return state.KeyValue{
		Key: rapid.String().Draw(t, name), CreateRevision: number.Draw(t, "create"), ModRevision: number.Draw(t, "mod"),
		Version: number.Draw(t, "version"), Lease: number.Draw(t, "lease"), Value: rapid.SliceOfN(rapid.Byte(), 0, 3000).Draw(t, "value"),
	}
}

// pbOf is a key-value as protobuf has it.
func pbOf(kv state.KeyValue) *mvccpb.KeyValue { return keyValues([]state.KeyValue{kv})[0] }

// A response put together by hand is what protobuf would have sent.
func TestWatchResponsesOnTheWire(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		number := rapid.OneOf(rapid.Just(uint64(0)), rapid.Uint64())
		want := &pb.WatchResponse{
			Header: &pb.ResponseHeader{ClusterId: number.Draw(t, "cluster"), MemberId: number.Draw(t, "member"),
				Revision: int64(number.Draw(t, "revision")), RaftTerm: number.Draw(t, "term")},
			WatchId: int64(number.Draw(t, "watch")), Fragment: rapid.Bool().Draw(t, "fragment"),
		}
		cache := newEventCache(rapid.IntRange(0, 4000).Draw(t, "cache"))
		head := appendWatchHead(nil, want.Header, want.WatchId, want.Fragment)
		var pieces [][]byte
		var changes []change
		for range rapid.IntRange(0, 5).Draw(t, "events") {
			c := change{Key: rapid.String().Draw(t, "key"), Revision: int64(number.Draw(t, "at")), Seq: uint64(len(changes) + 1)}
			c.Deleted, c.HasBefore = rapid.Bool().Draw(t, "deleted"), rapid.Bool().Draw(t, "prev")
			event := &mvccpb.Event{Kv: &mvccpb.KeyValue{Key: []byte(c.Key), ModRevision: c.Revision}, Type: mvccpb.Event_DELETE}
			if !c.Deleted {
				c.Version = drawKV(t, "put")
				event = &mvccpb.Event{Kv: pbOf(c.Version)}
			}
			if c.HasBefore {
				c.Before = drawKV(t, "before")
				event.PrevKv = pbOf(c.Before)
			}
			want.Events = append(want.Events, event)
			changes = append(changes, c)
		}
		for range 2 { // the second time from the cache, or not
			pieces = pieces[:0]
			for i := range changes {
				pieces = append(pieces, cache.encode(&changes[i]))
			}
		}
		var b builder
		b.grow(len(head), pieces)
		for _, p := range append([][]byte{head}, pieces...) {
			b.add(p)
		}
		parts, err := newCodec().Marshal(b.message())
		if err != nil {
			t.Fatal(err)
		}
		raw := parts.Materialize()
		got := new(pb.WatchResponse)
		if err := proto.Unmarshal(raw, got); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, got, protocmp.Transform()); diff != "" {
			t.Fatalf("(-want +got):\n%s", diff)
		}
		if size := proto.Size(want); size != len(raw) {
			t.Fatalf("%d bytes, want %d for %s", len(raw), size, prototext.Format(want))
		}
	})
}

// The cache returns the same bytes again, tells variants apart, and stays within its bound.
func TestEventCache(t *testing.T) {
	const bound = 64 << 10
	cache := newEventCache(bound)
	c := change{Key: "k", Revision: 5, Seq: 7, Version: state.KeyValue{Key: "k", ModRevision: 5, Value: make([]byte, 100)}}
	first := cache.encode(&c)
	if again := cache.encode(&c); &again[0] != &first[0] {
		t.Error("encoded twice")
	}
	if raced := cache.put(eventKey{seq: 7}, []byte("x")); &raced[0] != &first[0] {
		t.Error("who comes second does not get what was there first")
	}
	withPrev, deleted := c, c
	withPrev.HasBefore, deleted.Deleted = true, true
	if bytes.Equal(cache.encode(&withPrev), first) || bytes.Equal(cache.encode(&deleted), first) {
		t.Error("variants are mistaken for each other")
	}
	for seq := uint64(100); seq < 3000; seq++ {
		other := c
		other.Seq = seq
		cache.encode(&other)
		if again := cache.encode(&c); &again[0] != &first[0] {
			t.Fatalf("what is in use was forgotten after %d others", seq-100)
		}
		held := 0
		for _, generation := range []map[eventKey][]byte{cache.young, cache.old} {
			for _, b := range generation {
				held += len(b) + eventOverheadBytes
			}
		}
		if held > bound+2*(len(first)+eventOverheadBytes) {
			t.Fatalf("%d bytes are held, the bound is %d", held, bound)
		}
	}
	if b := cache.get(eventKey{seq: 100}); b != nil {
		t.Error("what was not used for long is still there")
	}
}
