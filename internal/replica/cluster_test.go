package replica

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/okapi-kv/okapi/internal/clock"
	"github.com/okapi-kv/okapi/internal/core/command"
	"github.com/okapi-kv/okapi/internal/core/state"
	"github.com/okapi-kv/okapi/internal/transport"
	"github.com/okapi-kv/okapi/internal/vfs"
	"github.com/okapi-kv/okapi/internal/wal"
)

// cluster runs three Replicas in this process over a link that loses nothing.
type cluster struct {
	t *testing.T
	// founders is how many members founded it: those with the lowest ids.
	founders uint64
	disks    map[uint64]*vfs.Mem
	mu       sync.Mutex
	members  map[uint64]*running
	snaps    int          // streamed
	touches  atomic.Int64 // frames that report touches
	streams  sync.WaitGroup
	reserve  int64 // of the disk of each member
}

type running struct {
	*Replica
	stop  context.CancelFunc
	ended chan error
}

// wire is the Transport of one member.
type wire struct {
	c    *cluster
	from uint64
}

func (c *cluster) member(id uint64) *running {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.members[id]
}

// SetPeers implements Transport.
func (w wire) SetPeers(map[uint64][]string) {}

// Send implements Transport.
func (w wire) Send(to uint64, frame []byte) {
	if frameKind(frame[0]) == frameTouch {
		w.c.touches.Add(1)
	}
	if m := w.c.member(to); m != nil {
		if s := m.Status(); s.Members.WasRemoved(w.from) && !slices.Contains(s.Counted, w.from) {
			if me := w.c.member(w.from); me != nil && s.Dismisses {
				me.Expelled(transport.ErrRemoved)
			}
			return
		}
		m.Receive(w.from, bytes.Clone(frame))
	} else if me := w.c.member(w.from); me != nil {
		me.Unreachable(to)
	}
}

// SendSnapshot implements Transport.
func (w wire) SendSnapshot(to uint64, header []byte, body io.ReadCloser) {
	w.c.streams.Go(func() {
		defer body.Close()
		m, me := w.c.member(to), w.c.member(w.from)
		ok := m != nil && m.ReceiveSnapshot(w.from, header, body) == nil
		if ok {
			w.c.mu.Lock()
			w.c.snaps++
			w.c.mu.Unlock()
		}
		if me != nil {
			me.SnapshotSent(to, ok)
		}
	})
}

func (c *cluster) start(id uint64) {
	c.t.Helper()
	var begin []state.Member // nobody, for who joins
	if id <= c.founders {
		begin = founders(c.founders)
	}
	disk, err := OpenDisk(DiskOptions{
		FS: c.disks[id], Dir: "data", Identity: wal.Identity{ClusterID: 9, MemberID: id}, Founders: begin, SegmentBytes: 64 << 10,
	})
	if err != nil {
		c.t.Fatal(err)
	}
	r, err := New(Options{
		ID: id, Incarnation: uint64(time.Now().UnixNano()) >> 24, Disk: disk, Clock: clock.Real{}, Logger: slog.New(slog.DiscardHandler),
		TickMS: 10, ElectionTicks: 10, ReapInterval: 20 * time.Millisecond, SnapshotBytes: 16 << 10, DiskReserve: c.reserve, BudgetBytes: 1 << 20, MaxCommandBytes: 1 << 20,
		Settings:      command.Settings{ExtendedTypes: true},
		CheckSettings: func(command.Settings) error { return nil },
	})
	if err != nil {
		c.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	m := &running{Replica: r, stop: cancel, ended: make(chan error, 1)}
	c.mu.Lock()
	c.members[id] = m
	c.mu.Unlock()
	go func() { m.ended <- r.Run(ctx, wire{c, id}) }()
}

func (c *cluster) stop(id uint64) {
	c.t.Helper()
	m := c.member(id)
	c.mu.Lock()
	delete(c.members, id)
	c.mu.Unlock()
	m.stop()
	if err := <-m.ended; err != nil {
		c.t.Errorf("member %d ended: %v", id, err)
	}
	if err := m.Submit(command.Caller{}, &command.Put{Key: "k"}, func(state.Result, error) {}); err != ErrStopped {
		c.t.Errorf("Submit after the end = %v", err)
	}
}

// put writes through one member until it is done; a change of leaders may make that take several tries.
func (c *cluster) put(id uint64, key string, size int) {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	for {
		_, err := c.member(id).Propose(ctx, command.Caller{}, &command.Put{Key: key, Value: make([]byte, size)})
		if err == nil {
			return
		}
		if err != ErrNotDone && err != ErrUnknown {
			c.t.Fatalf("put %s through %d: %v", key, id, err)
		}
	}
}

// wantKeys reads through a member, after a read index.
func (c *cluster) wantKeys(id uint64, want int) {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if err := c.member(id).ReadIndex(ctx); err != nil {
		c.t.Fatalf("read index at %d: %v", id, err)
	}
	c.member(id).Store().Read(func(v state.View) {
		var r state.RangeResult
		code := v.Range(&command.Caller{}, &command.Range{Key: "k", End: "l"}, &r)
		if code != state.OK || len(r.KVs) != want {
			c.t.Errorf("member %d: %v, %d keys, want %d", id, code, len(r.KVs), want)
		}
	})
}

func (c *cluster) poll(what string, ok func() bool) {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-ctx.Done():
			c.t.Fatalf("%s: not within a minute", what)
		case <-tick.C:
		}
	}
}

// leader waits for one of the running members to lead.
func (c *cluster) leader() (id uint64) {
	c.t.Helper()
	c.poll("a leader", func() bool {
		c.mu.Lock()
		defer c.mu.Unlock()
		for _, m := range c.members {
			if s := m.Status(); s.Leads && s.Serving {
				id = s.ID
				return true
			}
		}
		return false
	})
	return id
}

// TestCluster proposes at each member, kills the leader, brings it back by a snapshot, and restarts everybody.
func TestCluster(t *testing.T) {
	defer goleak.VerifyNone(t)
	ids := []uint64{1, 2, 3}
	c, stop := newCluster(t, 3)
	defer stop()
	keys := 0
	put := func(id uint64, size int) {
		t.Helper()
		keys++
		c.put(id, fmt.Sprintf("k%04d", keys), size)
	}
	for _, id := range ids {
		<-c.member(id).Serving()
		put(id, 10)
	}
	for _, id := range ids {
		c.wantKeys(id, keys)
	}

	old := c.leader()
	c.stop(old)
	rest := slices.DeleteFunc(slices.Clone(ids), func(id uint64) bool { return id == old })
	last := c.member(rest[0]).Status().Last
	submitMany(t, c.member(rest[0]), 3000)
	for i := range 40 {
		put(rest[i%2], 2000)
	}
	// After a restart they read nothing from before their snapshots, so that only one brings the old leader back.
	for _, id := range rest {
		c.poll("a snapshot", func() bool {
			all, err := c.disks[id].ReadDir("data/snap")
			return err == nil && slices.ContainsFunc(all, func(n string) bool { return strings.HasSuffix(n, ".snap") && n > fmt.Sprintf("%016x", last+1) })
		})
		c.stop(id)
	}
	c.streams.Wait()
	for _, id := range rest {
		c.start(id)
	}
	c.start(old)
	for _, id := range ids {
		c.wantKeys(id, keys)
	}
	put(old, 10)
	sameDigest(c, ids)

	for _, id := range ids {
		c.stop(id)
	}
	c.streams.Wait()
	for _, id := range ids {
		c.disks[id] = c.disks[id].Clone(vfs.Survival{Percent: 0})
		c.start(id)
	}
	for _, id := range ids {
		c.wantKeys(id, keys)
	}
	sameDigest(c, ids)
	c.mu.Lock()
	defer c.mu.Unlock()
	t.Logf("replica: %d keys, %d snapshots streamed", keys, c.snaps)
	if c.snaps == 0 {
		t.Error("nobody needed a snapshot: the test does not test")
	}
}

// submitMany carries out small commands, many at once.
func submitMany(t *testing.T, m *running, n int) {
	t.Helper()
	var wg sync.WaitGroup
	wg.Add(n)
	for range n {
		err := m.Submit(command.Caller{}, &command.Put{Key: "other", Value: []byte("x")}, func(state.Result, error) { wg.Done() })
		if err != nil {
			t.Fatal(err)
		}
	}
	wg.Wait()
}

// sameDigest waits until all members have applied the same and compares what they made of it.
func sameDigest(c *cluster, ids []uint64) {
	c.t.Helper()
	c.poll("equal digests at equal indexes", func() bool {
		index, digest := c.member(ids[0]).Store().Digest()
		for _, id := range ids[1:] {
			i, d := c.member(id).Store().Digest()
			if i != index {
				return false
			}
			if d != digest {
				c.t.Fatalf("digests %x and %x at entry %d", digest, d, index)
			}
		}
		return true
	})
}

// TestReaper: an empty container and a TTL node whose time is over go by themselves, others stay.
func TestReaper(t *testing.T) {
	defer goleak.VerifyNone(t)
	c, stop := newCluster(t, 3)
	defer stop()
	m := c.member(c.leader())
	acl := []command.ACL{{Perms: command.PermAll, Scheme: "world", ID: "anyone"}}
	do := func(cmd command.Command) {
		t.Helper()
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		if r, err := m.Propose(ctx, command.Caller{Protocol: command.ZooKeeper}, cmd); err != nil || r.Code != state.OK {
			t.Fatalf("%T: %v, %v", cmd, r.Code, err)
		}
	}
	create := func(path string, flags int32, ttl int64) {
		t.Helper()
		do(&command.Create{Path: path, Flags: flags, TTL: ttl, ACL: acl})
	}
	create("/used", command.FlagContainer, command.NoTTL)
	create("/unused", command.FlagContainer, command.NoTTL)
	create("/full", command.FlagContainer, command.NoTTL)
	create("/full/x", command.FlagPersistent, command.NoTTL)
	create("/short", command.FlagTTL, 1)
	create("/long", command.FlagTTL, 3_600_000)
	create("/used/x", command.FlagPersistent, command.NoTTL)
	do(&command.Delete{Path: "/used/x", Version: -1})
	c.poll("two nodes to vanish", func() bool {
		var names []string
		m.Store().Read(func(v state.View) {
			names, _, _ = v.Children(&command.Caller{Protocol: command.Internal}, "/")
		})
		return slices.Equal(names, []string{"full", "long", "unused", "zookeeper"})
	})
}
