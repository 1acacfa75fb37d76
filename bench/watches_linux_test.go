package bench

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
)

const (
	watchCount    = 10_000
	watchStreams  = 20 // clients with a connection and a stream each
	watchPutters  = 16
	watchPutsEach = 4000 // puts of keys that nobody watches, or that one watch each is told of
	watchPutsWide = 200  // puts that all watches are told of

	// watchBytes is the promise: what one watch may add to the resident memory of the server, without garbage. What
	// is resident moves by a megabyte by itself, which is 100 B a watch.
	watchBytes = 1000
)

// TestWatches shows what 10,000 watches cost, all on one prefix or each on a key of its own: memory for each, events a second, and
// what a put takes without them, beside them and when they are told of it. Every watch must get each of its events.
func TestWatches(t *testing.T) {
	wanted(t)
	binary := build(t)
	for _, shape := range []struct {
		name  string
		keys  func(i int) (key, end string)
		puts  int
		fires int // watches that one put fires
	}{
		{"one prefix", func(int) (string, string) { return "watch/", "watch0" }, watchPutsWide, watchCount},
		{"distinct keys", func(i int) (string, string) { return watchKey(i), "" }, watchPutsEach, 1},
	} {
		t.Run(shape.name, func(t *testing.T) {
			l := watchLoad{t: t, members: startCluster(t, binary, 1), name: shape.name}
			l.show("puts before", 0, l.puts(watchPutsEach, elsewhere))
			l.open()
			before := l.live()
			l.create(shape.keys)
			after := l.live()
			l.show("puts beside watches", 0, l.puts(watchPutsEach, elsewhere))
			l.told(shape.puts, shape.fires)
			each := (after - before) / watchCount
			t.Logf("watches: %s: %d B a watch (%d)", shape.name, each, watchBytes)
			if each > watchBytes {
				t.Errorf("a watch takes %d B, want %d at most", each, watchBytes)
			}
		})
	}
}

func watchKey(i int) string  { return fmt.Sprintf("watch/%05d", i%watchCount) }
func elsewhere(i int) string { return key(i % 1000) }

// watchLoad is the load of one server.
type watchLoad struct {
	t       *testing.T
	members []*member
	name    string
	streams []grpc.BidiStreamingClient[etcdserverpb.WatchRequest, etcdserverpb.WatchResponse]
}

func (l *watchLoad) show(what string, events int, o outcome) {
	if l.t.Failed() {
		return
	}
	line := fmt.Sprintf("watches: %s: %-20s %v", l.name, what, o)
	if events > 0 {
		line += fmt.Sprintf("; %.0f events/s, %.2f us each", float64(events)/o.elapsed.Seconds(), float64(o.servers)/1e3/float64(events))
	}
	l.t.Log(line)
}

// open opens the streams.
func (l *watchLoad) open() {
	for range watchStreams {
		c, err := grpc.NewClient("passthrough:///"+l.members[0].client, grpc.WithTransportCredentials(insecure.NewCredentials()))
		if err != nil {
			l.t.Fatalf("dial: %v", err)
		}
		l.t.Cleanup(func() { c.Close() })
		stream, err := etcdserverpb.NewWatchClient(c).Watch(context.Background())
		if err != nil {
			l.t.Fatalf("watch: %v", err)
		}
		l.streams = append(l.streams, stream)
	}
}

// live is the resident memory of the server without garbage. A server gives that back by itself only after it has applied
// something, which watches do not make it do; a defragmentation always does.
func (l *watchLoad) live() int64 {
	c, err := grpc.NewClient("passthrough:///"+l.members[0].client, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		l.t.Fatalf("dial: %v", err)
	}
	defer c.Close()
	if _, err := etcdserverpb.NewMaintenanceClient(c).Defragment(context.Background(), &etcdserverpb.DefragmentRequest{}); err != nil {
		l.t.Fatalf("defragment: %v", err)
	}
	_, resident := l.members[0].memory()
	return resident
}

// create makes the watches.
func (l *watchLoad) create(keys func(i int) (key, end string)) {
	for s, stream := range l.streams {
		for i := s; i < watchCount; i += watchStreams {
			key, end := keys(i)
			r := &etcdserverpb.WatchCreateRequest{Key: []byte(key), RangeEnd: []byte(end)}
			if err := stream.Send(&etcdserverpb.WatchRequest{RequestUnion: &etcdserverpb.WatchRequest_CreateRequest{CreateRequest: r}}); err != nil {
				l.t.Fatalf("create watch: %v", err)
			}
		}
	}
	for _, stream := range l.streams {
		for range watchCount / watchStreams {
			if r, err := stream.Recv(); err != nil || !r.Created || r.Canceled {
				l.t.Fatalf("watch was not created: %v, %v", r, err)
			}
		}
	}
}

// puts makes n puts.
func (l *watchLoad) puts(n int, key func(i int) string) outcome {
	return under(l.members, func() []time.Duration { return l.putAll(n, key) })
}

func (l *watchLoad) putAll(n int, key func(i int) string) []time.Duration {
	g := grpcLoad{t: l.t, members: l.members, conns: watchPutters, callers: watchPutters, total: n}
	return g.run(func(kv etcdserverpb.KVClient, i int) error {
		_, err := kv.Put(context.Background(), &etcdserverpb.PutRequest{Key: []byte(key(i)), Value: make([]byte, valueBytes)})
		return err
	})
}

// told makes n puts that each fire so many watches, and ends when all were told.
func (l *watchLoad) told(n, fires int) {
	both := under(l.members, func() []time.Duration {
		var wg sync.WaitGroup
		for _, stream := range l.streams {
			wg.Go(func() {
				if err := readEvents(stream, n*fires/watchStreams); err != nil {
					l.t.Error(err)
				}
			})
		}
		latencies := l.putAll(n, watchKey)
		wg.Wait()
		return latencies
	})
	l.show("puts that are told", n*fires, both)
}

// readEvents reads n events, those of each watch in the order of their revisions.
func readEvents(stream etcdserverpb.Watch_WatchClient, n int) error {
	last := map[int64]int64{}
	for n > 0 {
		r, err := stream.Recv()
		if err != nil || r.Canceled {
			return fmt.Errorf("%d events are missing: %v, %w", n, r, err)
		}
		for _, e := range r.Events {
			if e.Type != mvccpb.Event_PUT || e.Kv.ModRevision <= last[r.WatchId] {
				return fmt.Errorf("watch %d: %v after revision %d", r.WatchId, e, last[r.WatchId])
			}
			last[r.WatchId] = e.Kv.ModRevision
		}
		n -= len(r.Events)
	}
	return nil
}
