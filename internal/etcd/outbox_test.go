package etcd

import (
	"bytes"
	"context"
	"runtime"
	"testing"
	"testing/synctest"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/mem"
	"google.golang.org/grpc/status"
	"pgregory.net/rapid"
)

// Whoever takes room in any order and gives it back: no more is held than may be, nobody is forgotten.
func TestRoomIsBounded(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		const share = 100
		r := newRoom(func() int { return share })
		var held []int
		sum := func() (n int) {
			for _, b := range held {
				n += b
			}
			return n
		}
		for range rapid.IntRange(1, 50).Draw(t, "steps") {
			bytes := rapid.IntRange(1, 150).Draw(t, "bytes")
			fits := len(held) == 0 || sum()+bytes <= share
			if rapid.Bool().Draw(t, "take") {
				if got := r.try(bytes); got != fits {
					t.Fatalf("try(%d) beside %v: %v", bytes, held, got)
				}
				if fits {
					held = append(held, bytes)
				}
			} else if len(held) > 0 {
				r.give(held[0])
				held = held[1:]
			}
			if r.held != sum() {
				t.Fatalf("%d are held, want %d", r.held, sum())
			}
		}
	})
}

func TestRoomLetsInInOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRoom(func() int { return 10 })
		in := make(chan int, 4)
		enter := func(ctx context.Context, bytes int) {
			go func() {
				if r.take(ctx, bytes) == nil {
					in <- bytes
				}
			}()
			synctest.Wait()
		}
		impatient, leave := context.WithCancel(t.Context())
		enter(t.Context(), 8)
		enter(impatient, 5)
		enter(t.Context(), 4)
		enter(t.Context(), 1) // would fit, but others were first
		if len(in) != 1 || <-in != 8 {
			t.Fatal("the first is let in, and nobody else")
		}
		if r.try(1) {
			t.Error("somebody came in before those who wait")
		}
		leave()
		synctest.Wait()
		if len(in) != 0 {
			t.Error("somebody was let in because another left")
		}
		r.give(8)
		synctest.Wait()
		if len(in) != 2 || r.held != 5 {
			t.Errorf("%d are let in, %d bytes are held, want 2 and 5", len(in), r.held)
		}
	})
}

// A message gives its room back when gRPC frees it, whatever parts it has, and when gRPC forgets it.
func TestLoanIsGivenBack(t *testing.T) {
	large, small := mem.SliceBuffer(make([]byte, 100<<10)), mem.SliceBuffer(make([]byte, 10))
	for name, parts := range map[string]mem.BufferSlice{"one part": {large}, "several": {small, large, small}, "small ones": {small, small}} {
		r := newRoom(func() int { return 1 })
		r.held = 7
		whole := parts.Materialize()
		lent := lend(parts, r, 7)
		if !bytes.Equal(lent.Materialize(), whole) {
			t.Errorf("%s: the message has changed", name)
		}
		if name == "small ones" { // gRPC says nothing about these
			continue
		}
		lent.Ref()
		lent.Free()
		if r.held != 7 {
			t.Errorf("%s: %d bytes are held while the message is in use", name, r.held)
		}
		lent.Free()
		if r.held != 0 {
			t.Errorf("%s: %d bytes are held behind the message", name, r.held)
		}
	}
	r := newRoom(func() int { return 1 })
	r.held = 7
	lend(mem.BufferSlice{large}, r, 7)
	waited := make(chan error, 1)
	go func() { waited <- r.take(t.Context(), 1) }()
	for len(waited) == 0 { // the collector does what it does in its own time
		runtime.GC()
	}
	if err := <-waited; err != nil {
		t.Error(err)
	}
}

// slowly asks for a range and does not read the answer.
func (r *running) slowly(ctx context.Context, t *testing.T, conn *grpc.ClientConn) grpc.ClientStream {
	t.Helper()
	s, err := conn.NewStream(ctx, &grpc.StreamDesc{ServerStreams: true}, pb.KV_Range_FullMethodName)
	if err == nil {
		err = s.SendMsg(&pb.RangeRequest{Key: []byte("k")})
	}
	if err == nil {
		err = s.CloseSend()
	}
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// The answers that a client does not read are bounded; what is small goes on beside them, on the same connection too, and
// in the end everything is answered.
func TestUnreadAnswersAreBounded(t *testing.T) {
	const asked, valueBytes = 64, 1 << 20
	s := serve(t, nil)
	value := make([]byte, valueBytes)
	for _, key := range []string{"k", "small"} {
		if _, err := s.kv.Put(t.Context(), &pb.PutRequest{Key: []byte(key), Value: value}); err != nil {
			t.Fatal(err)
		}
		value = nil
	}
	conn := s.dial(t, grpc.WithInitialWindowSize(64<<10)) // and not more, however fast the connection is
	ctx, cancel := context.WithTimeout(t.Context(), watchPatience)
	defer cancel()
	var streams []grpc.ClientStream
	for range asked {
		streams = append(streams, s.slowly(ctx, t, conn))
	}
	if _, err := pb.NewKVClient(conn).Range(ctx, &pb.RangeRequest{Key: []byte("small")}); err != nil {
		t.Errorf("a small answer: %v", err)
	}
	if sent := gathered(t, s.server.options.Metrics, "etcd_network_client_grpc_sent_bytes_total"); sent > roomBytes {
		t.Errorf("%v bytes were made for a client that reads nothing, want %d at most", sent, roomBytes)
	}
	answered := make(chan error, asked)
	for _, stream := range streams {
		go func() { answered <- stream.RecvMsg(new(pb.RangeResponse)) }()
	}
	for range asked {
		if err := <-answered; err != nil {
			t.Errorf("a slow reader's answer: %v", err)
		}
	}
}

// A call that waits for room ends when its client takes it back.
func TestWaitingForRoomEndsWithTheCall(t *testing.T) {
	r := newRoom(func() int { return 1 })
	ctx, cancel := context.WithCancel(t.Context())
	ctx, out := withOutgoing(ctx, r)
	if !out.tryReserve(smallBytes+1) || out.tryReserve(0) && r.held != 0 {
		t.Fatal("an empty room takes a message of any size, and a new reservation replaces the old one")
	}
	r.held = 1
	cancel()
	if err := out.reserve(ctx, smallBytes+1); status.Code(err) != codes.Canceled || r.held != 1 || len(r.waiting) != 0 {
		t.Errorf("got %v, %d bytes held, %d wait", err, r.held, len(r.waiting))
	}
	for range turns {
		r.turns <- struct{}{}
	}
	if out.hasTurn(smallBytes+1) || !out.hasTurn(smallBytes) {
		t.Error("only what is small needs no turn")
	}
	if err := out.awaitTurn(ctx); status.Code(err) != codes.Canceled {
		t.Errorf("waiting for a turn ended with %v", err)
	}
}
