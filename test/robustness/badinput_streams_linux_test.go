package robustness

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"golang.org/x/net/http2"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"

	"github.com/okapi-kv/okapi/test/harness"
)

const (
	manyStreams     = 10_000
	streamConns     = 4
	manyConnections = 3_000
	streamsPatience = 2 * time.Minute
)

// streams opens more streams and connections than anybody needs; all must be served, and all go at once.
func (a *assault) streams(t *testing.T) {
	files := a.server.OpenFiles()
	lease, err := pb.NewLeaseClient(a.dial(t)).LeaseGrant(t.Context(), &pb.LeaseGrantRequest{TTL: 3600})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), streamsPatience)
	defer cancel()
	var conns []*grpc.ClientConn
	for range streamConns {
		conns = append(conns, a.dial(t))
	}
	each(manyStreams, func(i int) {
		conn := conns[i%streamConns]
		var err error
		if i/streamConns%2 == 0 {
			err = openWatch(ctx, conn, i)
		} else {
			err = openKeepAlive(ctx, conn, lease.ID)
		}
		if err != nil {
			t.Errorf("stream %d: %v", i, err)
		}
	})
	a.bystander.check(t)
	_, resident := a.server.Memory()
	t.Logf("etcd-5: resident with %d streams: %d MiB", manyStreams, resident>>20)
	cancel()
	for _, conn := range conns {
		conn.Close()
	}
	a.connections(t)
	harness.Eventually(t, "the server lets go of the connections", func() string {
		if now := a.server.OpenFiles(); now > files+10 {
			return fmt.Sprintf("%d files are open, were %d", now, files)
		}
		return ""
	})
}

func openWatch(ctx context.Context, conn *grpc.ClientConn, i int) error {
	s, err := pb.NewWatchClient(conn).Watch(ctx)
	if err != nil {
		return err
	}
	if err := s.Send(createWatch(fmt.Sprintf("watched/%d", i), "", 0)); err != nil {
		return err
	}
	r, err := s.Recv()
	if err == nil && (!r.Created || r.Canceled) {
		err = fmt.Errorf("the watch was answered by %v", r)
	}
	return err
}

func openKeepAlive(ctx context.Context, conn *grpc.ClientConn, lease int64) error {
	s, err := pb.NewLeaseClient(conn).LeaseKeepAlive(ctx)
	if err != nil {
		return err
	}
	if err := s.Send(&pb.LeaseKeepAliveRequest{ID: lease}); err != nil {
		return err
	}
	r, err := s.Recv()
	if err == nil && r.TTL != 3600 {
		err = fmt.Errorf("the keep-alive was answered by %v", r)
	}
	return err
}

func createWatch(key, end string, revision int64) *pb.WatchRequest {
	return &pb.WatchRequest{RequestUnion: &pb.WatchRequest_CreateRequest{CreateRequest: &pb.WatchCreateRequest{
		Key: []byte(key), RangeEnd: []byte(end), StartRevision: revision,
	}}}
}

// connections opens many connections, each with a watch, and closes them at once.
func (a *assault) connections(t *testing.T) {
	conns := make([]*raw, manyConnections)
	each(manyConnections, func(i int) {
		c := dialRaw(t, a.server.Client)
		conns[i] = c
		c.greet()
		if _, err := c.call("/etcdserverpb.Watch/Watch", createWatch("k", "", 0), false); err != nil {
			t.Errorf("connection %d: %v", i, err)
		}
	})
	a.bystander.check(t)
	_, resident := a.server.Memory()
	t.Logf("etcd-5: resident with %d connections: %d MiB", manyConnections, resident>>20)
	for _, c := range conns {
		c.vanish()
	}
}

const (
	heapKeys    = 128 // "heap/…" is 4 MiB in these
	heapBytes   = 32 << 10
	writes      = 1280 // of heapBytes each: 40 MiB go by
	deafConns   = 8
	deafRanges  = 100 // a connection: answers of 3 GiB in all
	deafWatches = 25
)

// neverRead makes the receive buffer as small as may be; nobody is going to read it.
func (r *raw) neverRead() {
	if err := r.SetReadBuffer(1 << 10); err != nil {
		r.t.Fatal(err)
	}
}

// neverRead asks for much and does not read: some with sockets that stay full, some with the windows of their
// streams. Then the latter read on, and must be told everything.
func (a *assault) neverRead(t *testing.T) {
	kv := pb.NewKVClient(a.dial(t))
	put := func(i int) int64 {
		r, err := kv.Put(t.Context(), &pb.PutRequest{Key: fmt.Appendf(nil, "heap/%03d", i%heapKeys), Value: make([]byte, heapBytes)})
		if err != nil {
			t.Fatal(err)
		}
		return r.Header.Revision
	}
	first := put(0)
	for i := 1; i < heapKeys; i++ {
		put(i)
	}
	var deaf []*raw
	for range deafConns {
		deaf = append(deaf, a.deaf(t, first))
	}
	polite := a.dial(t)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	answers := askWithoutReading(ctx, t, polite)
	watches := watchWithoutReading(ctx, t, polite, first)
	last := int64(0)
	for i := range writes {
		last = put(i)
	}
	a.bystander.check(t)
	if _, err := pb.NewKVClient(polite).Range(ctx, &pb.RangeRequest{Key: []byte("heap/000"), Serializable: true, CountOnly: true}); err != nil {
		t.Errorf("a small question beside the large ones: %v", err)
	}
	var reading sync.WaitGroup
	for _, s := range answers { // as libraries do: all at once
		reading.Go(func() { readAnswer(t, s) })
	}
	reading.Wait()
	for _, s := range watches {
		readEvents(t, s, last)
	}
	for _, c := range deaf {
		c.vanish()
	}
}

var heap = &pb.RangeRequest{Key: []byte("heap/"), RangeEnd: []byte("heap0")}

// deaf asks for ranges and watches on a connection whose socket is never read.
func (a *assault) deaf(t *testing.T, from int64) *raw {
	c := dialRaw(t, a.server.Client)
	c.neverRead()
	// With such windows nothing but the socket holds the server back.
	c.greet(http2.Setting{ID: http2.SettingInitialWindowSize, Val: 1<<31 - 1})
	err := c.WriteWindowUpdate(0, 1<<31-1-65535)
	ask := func(method string, m proto.Message, end bool) {
		if err == nil {
			_, err = c.call(method, m, end)
		}
	}
	for range deafRanges / 2 {
		ask("/etcdserverpb.KV/Range", heap, true)
		ask("/etcdserverpb.KV/RangeStream", heap, true)
	}
	for range deafWatches {
		ask("/etcdserverpb.Watch/Watch", createWatch("heap/", "heap0", from), false)
	}
	if err != nil {
		t.Errorf("ask: %v", err)
	}
	return c
}

// askWithoutReading asks for large answers as an honest client does that is slow to read them.
func askWithoutReading(ctx context.Context, t *testing.T, conn *grpc.ClientConn) []grpc.ClientStream {
	var out []grpc.ClientStream
	for range deafRanges {
		s, err := conn.NewStream(ctx, &grpc.StreamDesc{ServerStreams: true}, "/etcdserverpb.KV/Range")
		if err == nil {
			err = errors.Join(s.SendMsg(heap), s.CloseSend())
		}
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, s)
	}
	return out
}

func watchWithoutReading(ctx context.Context, t *testing.T, conn *grpc.ClientConn, from int64) []pb.Watch_WatchClient {
	var out []pb.Watch_WatchClient
	for range deafWatches {
		s, err := pb.NewWatchClient(conn).Watch(ctx)
		if err == nil {
			err = s.Send(createWatch("heap/", "heap0", from))
		}
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, s)
	}
	return out
}

func readAnswer(t *testing.T, s grpc.ClientStream) {
	t.Helper()
	var r pb.RangeResponse
	if err := s.RecvMsg(&r); err != nil || len(r.Kvs) != heapKeys {
		t.Errorf("a slow reader got %d keys, want %d (%v)", len(r.Kvs), heapKeys, err)
	}
	if err := s.RecvMsg(&r); !errors.Is(err, io.EOF) {
		t.Errorf("a slow reader's call ended with %v", err)
	}
}

// readEvents reads a watch up to a revision: all events since it began.
func readEvents(t *testing.T, s pb.Watch_WatchClient, last int64) {
	t.Helper()
	events := 0
	for {
		r, err := s.Recv()
		if err != nil || r.Canceled {
			t.Errorf("a slow watch ended after %d events: %v, %v", events, r, err)
			return
		}
		events += len(r.Events)
		if n := len(r.Events); n > 0 && r.Events[n-1].Kv.ModRevision == last {
			break
		}
	}
	if want := heapKeys + writes; events != want {
		t.Errorf("a slow watch was told of %d events, want %d", events, want)
	}
}

const abandoned = 3_000

// abandon begins calls of every kind and vanishes in the middle of them.
func (a *assault) abandon(t *testing.T) {
	files := a.server.OpenFiles()
	value := make([]byte, 256<<10)
	var mu sync.Mutex
	begun := 0
	each(abandoned, func(i int) {
		r := rand.New(rand.NewPCG(seed, uint64(i)))
		c := dialRaw(t, a.server.Client)
		defer c.vanish()
		c.greet()
		var err error
		switch r.IntN(5) {
		case 0:
			_ = c.say([]byte(http2.ClientPreface)[:1+r.IntN(20)])
		case 1: // half a put
			whole := message(&pb.PutRequest{Key: []byte("abandoned"), Value: value})
			var id uint32
			if id, err = c.open("/etcdserverpb.KV/Put"); err == nil {
				err = c.WriteData(id, false, whole[:r.IntN(16<<10)])
			}
		case 2: // a large answer
			_, err = c.call("/etcdserverpb.KV/Range", heap, true)
		case 3:
			_, err = c.call("/etcdserverpb.Watch/Watch", createWatch("", "\x00", 1), false)
		case 4: // many calls, all taken back at once
			for range 20 {
				var id uint32
				if id, err = c.call("/etcdserverpb.KV/Range", heap, true); err == nil {
					err = c.WriteRSTStream(id, http2.ErrCodeCancel)
				}
			}
		}
		if err == nil {
			mu.Lock()
			begun++
			mu.Unlock()
		}
	})
	if begun < abandoned*9/10 {
		t.Errorf("only %d of %d clients came so far as to begin a request", begun, abandoned)
	}
	harness.Eventually(t, "the server lets go of the connections", func() string {
		if now := a.server.OpenFiles(); now > files+10 {
			return fmt.Sprintf("%d files are open, were %d", now, files)
		}
		return ""
	})
}
