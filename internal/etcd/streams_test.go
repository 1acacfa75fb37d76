package etcd

import (
	"context"
	"testing"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
)

// A call beyond the bound of its connection waits for one before it to end; other connections go on.
func TestMaxConcurrentStreams(t *testing.T) {
	s := serve(t, func(o *Options) { o.MaxConcurrentStreams = 1 })
	get := &pb.RangeRequest{Key: []byte("k")}
	if _, err := s.kv.Range(context.Background(), get); err != nil { // The client has heard of the bound now.
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	stream, err := pb.NewWatchClient(s.conn).Watch(ctx)
	if err != nil {
		t.Fatal(err)
	}
	create := &pb.WatchRequest{RequestUnion: &pb.WatchRequest_CreateRequest{CreateRequest: &pb.WatchCreateRequest{Key: []byte("k")}}}
	if err := stream.Send(create); err != nil {
		t.Fatal(err)
	}
	if _, err := stream.Recv(); err != nil {
		t.Fatal(err)
	}
	second := make(chan error, 1)
	go func() {
		_, err := s.kv.Range(context.Background(), get)
		second <- err
	}()
	other := s.dial(t)
	defer other.Close()
	for range 20 {
		if _, err := pb.NewKVClient(other).Range(context.Background(), get); err != nil {
			t.Fatal(err)
		}
	}
	select {
	case err := <-second:
		t.Fatalf("a second call beside the watch ended: %v", err)
	default:
	}
	cancel()
	if err := <-second; err != nil {
		t.Errorf("the call after the watch has ended: %v", err)
	}
}
