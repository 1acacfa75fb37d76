package etcd

import (
	"fmt"
	"testing"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"

	"github.com/okapi-kv/okapi/internal/core/command"
)

// noted is a stream that keeps what is sent.
type noted struct {
	pb.Watch_WatchServer
	sent []*pb.WatchResponse
}

func (n *noted) Send(r *pb.WatchResponse) error {
	n.sent = append(n.sent, r)
	return nil
}

// A watch that has something to read is not told how far it is until that was sent.
func TestNoProgressBeforeEvents(t *testing.T) {
	f := newHubFixture(t)
	out := &noted{}
	f.stream.grpc, f.stream.server = out, &watchServer{replica: f.replica, hub: f.hub}
	w := f.join("a", false, 2)
	w.progress = true
	s := &watchSender{watchStream: f.stream}
	for _, c := range []struct {
		key  string
		told int
	}{{"b", 1}, {"a", 0}} {
		f.apply(put1(c.key, ""))
		f.steps()
		out.sent = nil
		if err := s.sendOverdue(); err != nil {
			t.Fatal(err)
		}
		if len(out.sent) != c.told {
			t.Errorf("after a put of %q the watch of %q is told %v", c.key, "a", out.sent)
		}
	}
}

// Who asks how far its watches are is answered once the hub has looked at everything that was there by then, and not before.
func TestProgressWaitsForTheHub(t *testing.T) {
	f := newHubFixture(t)
	out := &noted{}
	f.stream.grpc, f.stream.server = out, &watchServer{replica: f.replica, hub: f.hub}
	f.join("b", false, 2)
	f.apply(put1("a", "")) // 2
	f.stream.requestProgress()
	s := &watchSender{watchStream: f.stream}
	for range 2 {
		if busy, err := s.sendNext(); busy || err != nil || len(out.sent) > 0 {
			t.Fatalf("before the hub has looked: %v, %v, sent %v", busy, err, out.sent)
		}
	}
	f.steps()
	if _, err := s.sendNext(); err != nil || len(out.sent) != 1 || out.sent[0].Header.Revision != 2 {
		t.Errorf("after the hub has looked: %v, sent %v; want revision 2", err, out.sent)
	}
}

// Whoever sees how far the hub is finds all watches marked for everything up to there. The watch here has a change in each revision, the
// last of many, so its mark is behind for as long as can be.
func TestHubIsDoneAfterItsMarks(t *testing.T) {
	f := newHubFixture(t)
	w := f.join("z", false, 2)
	var txn command.Txn
	for i := range stepEntries - 1 {
		key := fmt.Sprintf("k%03d", i)
		f.join(key, false, 2)
		txn.Success = append(txn.Success, put1(key, ""))
	}
	txn.Success = append(txn.Success, put1("z", ""))
	const rounds = 200
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for range rounds {
			f.apply(&txn)
			f.steps()
		}
	}()
	for running := true; running; {
		select {
		case <-ended:
			running = false
		default:
		}
		done := f.hub.done.Load()
		f.stream.mu.Lock()
		marked := w.to
		f.stream.mu.Unlock()
		if done > 1 && marked < done {
			t.Errorf("the hub is done up to revision %d, but the watch is marked up to %d", done, marked)
			<-ended
			return
		}
	}
	if done := f.hub.done.Load(); done != rounds+1 {
		t.Errorf("the hub is done up to %d, want %d", done, rounds+1)
	}
}
