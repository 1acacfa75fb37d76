package upgrade

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-zookeeper/zk"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"

	"github.com/okapi-kv/okapi/test/harness"
)

const (
	// callTimeout bounds one attempt of a write, and patience all that a write may take.
	callTimeout = 2 * time.Second
	patience    = time.Minute
	// sessionTimeout is that of the session and of the lease that clients keep throughout.
	sessionTimeout = 10 * time.Second
	// pause is between two writes of a client.
	pause = 5 * time.Millisecond
	// plain and tree are what the clients' keys begin with.
	plain = "upgrade/"
	tree  = "/upgrade"
)

// load is clients of both doors, each the common library for Go, that know all members and write all the time.
type load struct {
	t       *testing.T
	etcd    *clientv3.Client
	zk      *zk.Conn
	session int64
	lease   clientv3.LeaseID
	stop    context.CancelFunc
	running sync.WaitGroup
	// acknowledged counts, for each door, the writes so far: all with lower numbers were acknowledged.
	puts, creates atomic.Int64
}

// silent drops what go-zookeeper prints.
type silent struct{}

// Printf implements zk.Logger.
func (silent) Printf(string, ...any) {}

// startLoad starts clients that write until load.finish.
func startLoad(t *testing.T, cluster *harness.Cluster) *load {
	t.Helper()
	ctx, stop := context.WithCancel(context.Background())
	l := &load{t: t, stop: stop}
	var plainPorts, treePorts []string
	for _, m := range cluster.Members {
		plainPorts, treePorts = append(plainPorts, m.Client), append(treePorts, m.ZooKeeper)
	}
	var err error
	if l.etcd, err = clientv3.New(clientv3.Config{Endpoints: plainPorts, Logger: zap.NewNop()}); err != nil {
		t.Fatal(err)
	}
	if l.zk, _, err = zk.Connect(treePorts, sessionTimeout, zk.WithLogger(silent{})); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		stop()
		l.running.Wait()
		l.zk.Close()
		_ = l.etcd.Close()
	})
	l.open(ctx)
	l.running.Go(func() { l.write(ctx, "put", &l.puts, l.put) })
	l.running.Go(func() { l.write(ctx, "create", &l.creates, l.create) })
	return l
}

// open makes what must outlast the upgrade: the node above all, an ephemeral one, and a key with a lease.
func (l *load) open(ctx context.Context) {
	l.t.Helper()
	for path, flags := range map[string]int32{tree: 0, tree + "-session": zk.FlagEphemeral} {
		if _, err := l.zk.Create(path, nil, flags, zk.WorldACL(zk.PermAll)); err != nil {
			l.t.Fatalf("create %s: %v", path, err)
		}
	}
	l.session = l.zk.SessionID()
	granted, err := l.etcd.Grant(ctx, int64(sessionTimeout/time.Second))
	if err != nil {
		l.t.Fatalf("grant a lease: %v", err)
	}
	l.lease = granted.ID
	if _, err := l.etcd.Put(ctx, plain+"lease", "", clientv3.WithLease(l.lease)); err != nil {
		l.t.Fatalf("put with a lease: %v", err)
	}
	answers, err := l.etcd.KeepAlive(ctx, l.lease)
	if err != nil {
		l.t.Fatalf("keep the lease alive: %v", err)
	}
	l.running.Go(func() {
		for range answers { // its end is seen by the key
		}
	})
}

// write makes one write after the other, each until it is acknowledged. One attempt more than it takes does no harm.
func (l *load) write(ctx context.Context, what string, done *atomic.Int64, attempt func(ctx context.Context, n int64) error) {
	for n := int64(0); ctx.Err() == nil; n++ {
		began := time.Now()
		for {
			limited, cancel := context.WithTimeout(context.Background(), callTimeout)
			err := attempt(limited, n)
			cancel()
			if err == nil {
				break
			}
			if time.Since(began) > patience {
				l.t.Errorf("%s %d was not acknowledged within %v: %v", what, n, patience, err)
				return
			}
			time.Sleep(pause)
		}
		done.Store(n + 1)
		time.Sleep(pause)
	}
}

func value(n int64) string { return fmt.Sprintf("value %d", n) }

func (l *load) put(ctx context.Context, n int64) error {
	_, err := l.etcd.Put(ctx, fmt.Sprintf("%s%08d", plain, n), value(n))
	return err
}

func (l *load) create(_ context.Context, n int64) error {
	_, err := l.zk.Create(fmt.Sprintf("%s/%08d", tree, n), []byte(value(n)), 0, zk.WorldACL(zk.PermAll))
	if errors.Is(err, zk.ErrNodeExists) {
		return nil // by an attempt that was not answered
	}
	return err
}

// progress waits until both doors have acknowledged some more writes.
func (l *load) progress() {
	l.t.Helper()
	puts, creates := l.puts.Load(), l.creates.Load()
	harness.Eventually(l.t, "clients of both protocols go on writing", func() string {
		if now, also := l.puts.Load(), l.creates.Load(); now < puts+20 || also < creates+20 {
			return fmt.Sprintf("%d puts after %d, %d creates after %d", now, puts, also, creates)
		}
		return ""
	})
}

// finish ends the writes and checks that nothing acknowledged is lost, at any member: no write, no session, no lease.
func (l *load) finish(cluster *harness.Cluster) {
	l.t.Helper()
	l.progress()
	// What belongs to the clients is looked at while they live.
	if now := l.zk.SessionID(); now != l.session {
		l.t.Errorf("the session was %#x and is %#x", l.session, now)
	}
	for _, m := range cluster.Members {
		if got := keys(l.t, m, plain+"lease"); len(got) != 1 {
			l.t.Errorf("%s has %d keys of the lease, want 1", m.Name, len(got))
		}
		if got := keys(l.t, m, "/zk"+tree+"-session"); len(got) != 1 {
			l.t.Errorf("%s has %d nodes of the session, want 1", m.Name, len(got))
		}
	}
	l.stop()
	l.running.Wait()
	for _, m := range cluster.Members {
		for prefix, count := range map[string]int64{plain: l.puts.Load(), "/zk" + tree + "/": l.creates.Load()} {
			got := keys(l.t, m, prefix)
			for n := range count {
				if key := fmt.Sprintf("%s%08d", prefix, n); got[key] != value(n) {
					l.t.Errorf("%s: %s was acknowledged as %q and is %q", m.Name, key, value(n), got[key])
				}
			}
		}
	}
	l.t.Logf("upgrade: %d puts and %d creates acknowledged; every member has all of them", l.puts.Load(), l.creates.Load())
}

// keys reads all below a prefix at a member, as the cluster has it.
func keys(t *testing.T, m *harness.Member, prefix string) map[string]string {
	t.Helper()
	c, err := clientv3.New(clientv3.Config{Endpoints: []string{m.Client}, Logger: zap.NewNop()})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	got, err := c.Get(ctx, prefix, clientv3.WithPrefix())
	if err != nil {
		t.Fatalf("read %s at %s: %v", prefix, m.Name, err)
	}
	out := map[string]string{}
	for _, kv := range got.Kvs {
		out[string(kv.Key)] = string(kv.Value)
	}
	return out
}
