package etcd

import (
	"context"
	"fmt"
	"runtime"
	"testing"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"

	"github.com/okapi-kv/okapi/internal/core/command"
)

// sink is a watch stream whose client reads everything at once, to measure what comes before the network.
type sink struct {
	grpc.ServerStream
	ctx      context.Context
	requests chan *pb.WatchRequest
	codec    codec
	sent     chan int // events of each response; nil: nobody counts
}

func (s *sink) Context() context.Context       { return s.ctx }
func (s *sink) SetHeader(metadata.MD) error    { return nil }
func (s *sink) Send(r *pb.WatchResponse) error { return s.SendMsg(r) }
func (s *sink) Recv() (*pb.WatchRequest, error) {
	select {
	case r := <-s.requests:
		return r, nil
	case <-s.ctx.Done():
		return nil, s.ctx.Err()
	}
}

func (s *sink) SendMsg(m any) error {
	parts, err := s.codec.Marshal(m)
	parts.Free()
	s.sent <- 1
	return err
}

// watchBench is a watch server with streams.
type watchBench struct {
	b       *testing.B
	replica *fakeReplica
	server  *watchServer
	sent    chan int
	streams []*sink
	stop    context.CancelFunc
	bytes   float64 // of a watch
}

// report ends the benchmark, in which events were told.
func (w *watchBench) report(events int) {
	w.b.ReportMetric(float64(w.b.Elapsed().Nanoseconds())/float64(events), "ns/event")
	w.b.ReportMetric(w.bytes, "B/watch")
	w.stop()
}

const benchWatches, benchStreams = 10_000, 100

// newWatchBench begins 10,000 watches on 100 streams, and reports what one costs in memory.
func newWatchBench(b *testing.B, ask func(i int) *pb.WatchCreateRequest) *watchBench {
	ctx, cancel := context.WithCancel(context.Background())
	w := &watchBench{b: b, replica: newFakeReplica(), sent: make(chan int, benchWatches), stop: cancel}
	o := Options{Listeners: nil, Replica: w.replica}
	o.Listeners = append(o.Listeners, newScripted())
	w.server = newWatchServer(o.withDefaults(), make(chan struct{}))
	go w.server.hub.runHub(ctx)
	for range benchStreams {
		s := &sink{ctx: ctx, requests: make(chan *pb.WatchRequest), codec: newCodec(), sent: w.sent}
		w.streams = append(w.streams, s)
		go w.server.Watch(s)
	}
	create := func(i int) {
		w.streams[i%benchStreams].requests <- &pb.WatchRequest{RequestUnion: &pb.WatchRequest_CreateRequest{CreateRequest: ask(i)}}
		<-w.sent
	}
	for i := range benchStreams {
		create(i)
	}
	before := heap()
	for i := benchStreams; i < benchWatches; i++ {
		create(i)
	}
	w.bytes = float64(heap()-before) / (benchWatches - benchStreams)
	b.ResetTimer()
	return w
}

func heap() uint64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

// put makes a change and waits until it was told n times.
func (w *watchBench) put(key string, n int) {
	w.replica.set(func() { w.replica.apply(&command.Put{Key: key, Value: make([]byte, 100)}) })
	for range n {
		<-w.sent
	}
}

// BenchmarkWatchOnePrefix: each change is told to ten thousand watches.
func BenchmarkWatchOnePrefix(b *testing.B) {
	w := newWatchBench(b, func(int) *pb.WatchCreateRequest { return watchFrom("/services/", "/services0", 0) })
	for i := range b.N {
		w.put(fmt.Sprintf("/services/%d", i%1000), benchWatches)
	}
	w.report(b.N * benchWatches)
}

// BenchmarkWatchDistinctKeys: each change is told to one of ten thousand watches; a batch of a hundred at a time.
func BenchmarkWatchDistinctKeys(b *testing.B) {
	keys := make([]string, benchWatches)
	for i := range keys {
		keys[i] = fmt.Sprintf("/services/group-%03d/node-%05d", i%100, i)
	}
	w := newWatchBench(b, func(i int) *pb.WatchCreateRequest { return watchKey(keys[i]) })
	const batch = 100
	for i := range b.N {
		w.replica.set(func() {
			for j := range batch {
				w.replica.apply(&command.Put{Key: keys[(i*batch+j)*7919%benchWatches], Value: make([]byte, 100)})
			}
		})
		for range batch {
			<-w.sent
		}
	}
	w.report(b.N * batch)
}
