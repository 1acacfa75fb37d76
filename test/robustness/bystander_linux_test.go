package robustness

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"

	"github.com/okapi-kv/okapi/test/harness"
)

// bystander is a client that behaves well while others do not: it puts and watches all the time, every put must be
// acknowledged and every one must come as an event, once and in order.
type bystander struct {
	client *clientv3.Client
	key    string
	stop   context.CancelFunc
	ended  sync.WaitGroup

	mu        sync.Mutex
	put, seen int // numbers of the last put that was acknowledged and of the last event
	worst     time.Duration
	err       error
}

const (
	bystanderPause = 2 * time.Millisecond
	// bystanderPatience is how long one put may take, at most, before it counts as not answered.
	bystanderPatience = 20 * time.Second
	// checkPuts is how many further puts have to be seen before the bystander counts as unhurt.
	checkPuts = 50
)

func newBystander(t *testing.T, m *harness.Member, key string) *bystander {
	t.Helper()
	client, err := clientv3.New(clientv3.Config{Endpoints: []string{m.Client}, DialTimeout: 10 * time.Second, Logger: zap.NewNop()})
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	b := &bystander{client: client, key: key, stop: stop}
	watching := make(chan struct{})
	b.ended.Go(func() { b.watch(ctx, watching) })
	b.ended.Go(func() {
		<-watching
		b.write(ctx)
	})
	t.Cleanup(func() {
		stop()
		b.ended.Wait()
		client.Close()
	})
	return b
}

func (b *bystander) fail(err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.err == nil {
		b.err = err
	}
}

func (b *bystander) write(ctx context.Context) {
	for n := 1; ctx.Err() == nil; n++ {
		limited, cancel := context.WithTimeout(ctx, bystanderPatience)
		start := time.Now()
		_, err := b.client.Put(limited, b.key, fmt.Sprint(n))
		took := time.Since(start)
		cancel()
		if ctx.Err() != nil {
			return
		}
		if err != nil {
			b.fail(fmt.Errorf("put %d: %w after %v", n, err, took))
			return
		}
		b.mu.Lock()
		b.put, b.worst = n, max(b.worst, took)
		b.mu.Unlock()
		time.Sleep(bystanderPause)
	}
}

func (b *bystander) watch(ctx context.Context, watching chan<- struct{}) {
	events := b.client.Watch(ctx, b.key, clientv3.WithCreatedNotify())
	for r := range events {
		if r.Created {
			close(watching)
		}
		for _, e := range r.Events {
			b.mu.Lock()
			want := fmt.Sprint(b.seen + 1)
			b.seen++
			b.mu.Unlock()
			if got := string(e.Kv.Value); got != want {
				b.fail(fmt.Errorf("event %s, want %s", got, want))
			}
		}
	}
	if ctx.Err() == nil {
		b.fail(fmt.Errorf("the watch has ended"))
	}
}

// check fails the test unless the bystander goes on: further puts are acknowledged, all are told as events, and
// nothing went wrong before.
func (b *bystander) check(t *testing.T) {
	t.Helper()
	b.mu.Lock()
	want := b.put + checkPuts
	b.mu.Unlock()
	harness.Eventually(t, "the bystander goes on", func() string {
		b.mu.Lock()
		defer b.mu.Unlock()
		if b.err != nil {
			t.Fatalf("the bystander was hurt: %v", b.err)
		}
		if b.put < want || b.seen < want {
			return fmt.Sprintf("%d puts and %d events, want %d", b.put, b.seen, want)
		}
		return ""
	})
}

// report returns how many puts were acknowledged so far, and the worst latency since the last report.
func (b *bystander) report() (puts int, worst time.Duration) {
	b.mu.Lock()
	defer b.mu.Unlock()
	worst, b.worst = b.worst, 0
	return b.put, worst
}
