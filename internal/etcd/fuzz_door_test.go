package etcd

import (
	"bytes"
	"context"
	"io"
	"net"
	"strings"
	"testing"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"
	"google.golang.org/grpc"
	"google.golang.org/grpc/mem"
	"google.golang.org/protobuf/proto"

	"github.com/okapi-kv/okapi/internal/core/state"
)

// FuzzDetection feeds any first bytes of a connection to what tells the protocols apart. Nothing may be lost of them, and
// HTTP/2 is what begins with its preface.
func FuzzDetection(f *testing.F) {
	f.Fuzz(func(t *testing.T, in []byte, step byte) {
		r := &inSteps{bytes.NewReader(in), int(step%32) + 1}
		head, http2, err := sniff(r)
		begins, mayBegin := strings.HasPrefix(string(in), preface), strings.HasPrefix(preface, string(in))
		if failed := mayBegin && !begins; (err != nil) != failed {
			t.Fatalf("%q: %v", in, err)
		}
		if err != nil {
			return
		}
		if http2 != begins {
			t.Fatalf("%q is taken for HTTP/2: %v", in, http2)
		}
		left, _ := io.ReadAll(r)
		again, _ := io.ReadAll(&sniffed{Conn: restConn{r: bytes.NewReader(left)}, head: head})
		if !bytes.Equal(again, in) {
			t.Fatalf("the server reads %q of %q", again, in)
		}
	})
}

// inSteps reads a few bytes at a time.
type inSteps struct {
	r    io.Reader
	step int
}

func (s *inSteps) Read(b []byte) (int, error) { return s.r.Read(b[:min(len(b), s.step)]) }

// scriptedWatch is the server's side of a watch stream whose client sends what it is given and keeps what it is sent.
type scriptedWatch struct {
	grpc.ServerStream
	ctx      context.Context
	requests [][]byte
	codec    codec
	sent     []*pb.WatchResponse
}

func (s *scriptedWatch) Context() context.Context { return s.ctx }

func (s *scriptedWatch) Recv() (*pb.WatchRequest, error) {
	for len(s.requests) > 0 {
		b := s.requests[0]
		s.requests = s.requests[1:]
		r := new(pb.WatchRequest)
		if s.codec.Unmarshal(mem.BufferSlice{mem.SliceBuffer(b)}, r) == nil {
			return r, nil
		}
	}
	return nil, io.EOF
}

func (s *scriptedWatch) Send(r *pb.WatchResponse) error { return s.SendMsg(r) }

func (s *scriptedWatch) SendMsg(m any) error {
	b, err := s.codec.Marshal(m)
	if err != nil {
		return err
	}
	r := new(pb.WatchResponse)
	s.sent = append(s.sent, r)
	return proto.Unmarshal(b.Materialize(), r)
}

// FuzzWatch sends any messages on a watch stream: in, cut into pieces. Every response has to be of a watch that was announced and
// lives, and events have to be in order.
func FuzzWatch(f *testing.F) {
	f.Fuzz(func(t *testing.T, in []byte, cut byte) {
		replica := newFakeReplica()
		for range 3 {
			replica.apply(translatePut(&pb.PutRequest{Key: []byte("k"), Value: []byte("v")}))
		}
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		o := Options{Listeners: []net.Listener{newScripted()}, Replica: replica, Leases: replica, Upkeep: replica}.withDefaults()
		server := newWatchServer(o, make(chan struct{}))
		stream := &scriptedWatch{ctx: ctx, requests: bytes.Split(in, []byte{cut}), codec: newCodec()}
		s := newWatchStream(server, stream)
		for {
			r, err := stream.Recv()
			if err != nil {
				break
			}
			s.take(r)
		}
		replica.set(func() { replica.apply(translatePut(&pb.PutRequest{Key: []byte("k"), Value: []byte("w")})) })
		for server.hub.step() {
		}
		sender := &watchSender{watchStream: s}
		for busy := true; busy; {
			var err error
			if busy, err = sender.sendNext(); err != nil {
				t.Fatal(err)
			}
		}
		server.hub.disband(s)
		checkResponses(t, stream.sent)
	})
}

func checkResponses(t *testing.T, sent []*pb.WatchResponse) {
	living := map[int64]bool{}
	last := map[int64]int64{}
	for _, r := range sent {
		switch {
		case r.Header == nil:
			t.Fatalf("no header in %v", r)
		case r.Created && r.Canceled:
			if r.WatchId != noWatch {
				t.Fatalf("refused under an id: %v", r)
			}
		case r.Created:
			living[r.WatchId] = true
			last[r.WatchId] = 0
		case r.WatchId == noWatch: // progress
		case !living[r.WatchId] && !r.Canceled:
			t.Fatalf("%v is of no watch", r)
		case r.Canceled && r.CompactRevision == 0:
			delete(living, r.WatchId)
		}
		for _, e := range r.Events {
			if e.Kv.ModRevision < last[r.WatchId] {
				t.Fatalf("event %v comes behind revision %d", e, last[r.WatchId])
			}
			last[r.WatchId] = e.Kv.ModRevision
		}
	}
}

// FuzzEvent encodes events with any content, and has protobuf's own code read them.
func FuzzEvent(f *testing.F) {
	f.Fuzz(func(t *testing.T, key, value, before []byte, revision, version, lease int64, flags byte) {
		c := change{Revision: revision, Key: string(key), Deleted: flags&1 != 0, HasBefore: flags&2 != 0}
		if !c.Deleted {
			c.Version = state.KeyValue{Key: c.Key, Value: value, CreateRevision: revision, ModRevision: revision, Version: version, Lease: lease}
		}
		if c.HasBefore {
			c.Before = state.KeyValue{Key: c.Key, Value: before, ModRevision: revision, Version: version}
		}
		b := encodeEvent(&c)
		if len(b) != eventSize(&c) {
			t.Fatalf("%d bytes, eventSize says %d", len(b), eventSize(&c))
		}
		var r pb.WatchResponse
		if err := proto.Unmarshal(b, &r); err != nil || len(r.Events) != 1 {
			t.Fatalf("%x: %v", b, err)
		}
		e := r.Events[0]
		if (e.Type == mvccpb.Event_DELETE) != c.Deleted || string(e.Kv.Key) != c.Key || e.Kv.ModRevision != revision || (e.PrevKv != nil) != c.HasBefore {
			t.Fatalf("%#v became %v", c, e)
		}
		if !c.Deleted && (!bytes.Equal(e.Kv.Value, value) || e.Kv.Version != version || e.Kv.Lease != lease) {
			t.Fatalf("%#v became %v", c, e)
		}
		if c.HasBefore && !bytes.Equal(e.PrevKv.Value, before) {
			t.Fatalf("%#v became %v", c, e)
		}
	})
}

// FuzzOtherRequests feeds any bytes to the checks and translations of leases, alarms and compactions.
func FuzzOtherRequests(f *testing.F) {
	const minTTL = 2
	f.Fuzz(func(t *testing.T, b []byte) {
		var g pb.LeaseGrantRequest
		if proto.Unmarshal(b, &g) == nil && checkLeaseGrant(&g) == nil {
			if c := translateLeaseGrant(&g, minTTL); c.TTL < minTTL || c.TTL < g.TTL || c.ID != g.ID {
				t.Fatalf("grant %v became %#v", &g, c)
			}
		}
		var v pb.LeaseRevokeRequest
		if proto.Unmarshal(b, &v) == nil {
			if c := translateLeaseRevoke(&v); c.ID != v.ID {
				t.Fatalf("revoke %v became %#v", &v, c)
			}
		}
		var k pb.CompactionRequest
		if proto.Unmarshal(b, &k) == nil {
			if c := translateCompact(&k); c.Revision != k.Revision {
				t.Fatalf("compact %v became %#v", &k, c)
			}
		}
		var r pb.RangeRequest
		if proto.Unmarshal(b, &r) == nil && checkRangeStream(&r) == nil && checkRange(&r) != nil {
			t.Fatalf("RangeStream takes %v, which Range refuses", &r)
		}
	})
}
