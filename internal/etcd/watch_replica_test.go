package etcd

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"sync"
	"testing"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/grpc/test/bufconn"

	"github.com/okapi-kv/okapi/internal/clock"
	"github.com/okapi-kv/okapi/internal/core/command"
	"github.com/okapi-kv/okapi/internal/core/state"
	"github.com/okapi-kv/okapi/internal/replica"
	"github.com/okapi-kv/okapi/internal/vfs"
	"github.com/okapi-kv/okapi/internal/wal"
)

// alone is a real replica, the only member of its cluster.
type alone struct{ *replica.Replica }

func (a alone) Status() Status {
	s := a.Replica.Status()
	return Status{ClusterID: 7, MemberID: 1, LeaderID: s.Leader, Term: s.Term, AppliedIndex: s.Applied}
}

func (a alone) Subscribe(wake func()) Feed {
	pin := a.Store().Pin()
	_, cancel := a.Store().Subscribe(func(p replica.Publication) {
		if p.Whole {
			wake()
		}
	})
	return aloneFeed{pin, cancel}
}

func (a alone) Read(fn func(v state.View)) { a.Store().Read(fn) }

type aloneFeed struct {
	*replica.Pin
	cancel func()
}

func (f aloneFeed) Cancel() {
	f.cancel()
	f.Release()
}

// nowhere is the transport of who has no peers.
type nowhere struct{}

func (nowhere) SetPeers(map[uint64][]string)               {}
func (nowhere) Send(uint64, []byte)                        {}
func (nowhere) SendSnapshot(uint64, []byte, io.ReadCloser) {}

// runAlone runs a replica until the test ends.
func runAlone(t *testing.T) alone {
	t.Helper()
	disk, err := replica.OpenDisk(replica.DiskOptions{
		FS: vfs.NewMem(1), Dir: "data", Identity: wal.Identity{ClusterID: 7, MemberID: 1}, Founders: []state.Member{{ID: 1, PeerURLs: []string{"http://p1:1"}}}, SegmentBytes: 1 << 20,
	})
	if err != nil {
		t.Fatal(err)
	}
	r, err := replica.New(replica.Options{
		ID: 1, Incarnation: 1, Disk: disk, Clock: clock.Real{}, Logger: slog.New(slog.DiscardHandler),
		TickMS: 10, ElectionTicks: 10, SnapshotBytes: 1 << 20, ReapInterval: time.Minute, BudgetBytes: 1 << 20, MaxCommandBytes: 1 << 20,
		Settings:      command.Settings{TreePrefix: "/zk", TreeHistory: 600_000},
		CheckSettings: func(command.Settings) error { return nil },
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- r.Run(ctx, nowhere{}) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("the replica ended: %v", err)
		}
	})
	select {
	case <-r.Serving():
	case <-time.After(watchPatience):
		t.Fatal("the replica does not serve")
	}
	return alone{r}
}

// TestWatchARealReplica: writers, who also compact, and watches on a replica as it runs in production. Each watch is told
// each revision once and in order.
func TestWatchARealReplica(t *testing.T) {
	a := runAlone(t)
	s := serve(t, func(o *Options) { o.Listeners, o.Replica = []net.Listener{bufconn.Listen(1 << 16)}, a })
	s.listener = s.server.options.Listeners[0].(*bufconn.Listener)
	const writers, writes = 4, 100 // fewer than keptVersions altogether
	var streams []*watching
	for range 3 {
		w := s.watch(t)
		w.created(watchFrom("k", "l", 1))
		w.created(&pb.WatchCreateRequest{Key: []byte("k0"), PrevKv: true})
		streams = append(streams, w)
	}
	var under sync.WaitGroup
	for i := range writers {
		under.Go(func() {
			for n := range writes {
				ctx, cancel := context.WithTimeout(context.Background(), watchPatience)
				res, err := a.Propose(ctx, command.Caller{Protocol: command.Etcd}, put1(fmt.Sprint("k", i), fmt.Sprint(n)))
				if err == nil && n%25 == 24 {
					// Those who were there before are told of what is compacted all the same.
					_, err = a.Propose(ctx, command.Caller{Protocol: command.Etcd}, &command.Compact{Revision: res.Revision})
				}
				cancel()
				if err != nil {
					t.Errorf("writer %d: %v", i, err)
				}
			}
		})
	}
	for _, w := range streams {
		under.Go(func() { watchToTheEnd(t, w, writers*writes, writes) })
	}
	under.Wait()
	var revision int64
	a.Read(func(v state.View) { revision = v.Revision() })
	streams[0].progress()
	if r := streams[0].next(); r.WatchId != noWatch || r.Header.Revision != revision {
		t.Errorf("progress is %v, want revision %d", r, revision)
	}
}

// watchToTheEnd reads n events of watch 0, one for each revision from 2 on, and of watch 1, whose key has them now and
// then, as many as it is put.
func watchToTheEnd(t *testing.T, w *watching, n, puts int) {
	next, version := int64(2), int64(0)
	for next < int64(n)+2 || version < int64(puts) {
		r, err := w.stream.Recv()
		if err != nil || r.Canceled {
			t.Errorf("at revision %d: %v, %v", next, r, err)
			return
		}
		for _, e := range r.Events {
			if r.WatchId == 0 {
				if e.Kv.ModRevision != next {
					t.Errorf("told revision %d, want %d", e.Kv.ModRevision, next)
					return
				}
				next++
				continue
			}
			version++
			if e.Kv.Version != version || e.PrevKv != nil && e.PrevKv.Version != version-1 {
				t.Errorf("told version %d after %v, want %d", e.Kv.Version, e.PrevKv, version)
				return
			}
		}
	}
}
