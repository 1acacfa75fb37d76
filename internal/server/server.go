// Package server puts a member together from its parts, starts them in order and stops them in
// reverse. It is the only package that knows all of them.
package server

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"path"
	"sync"
	"time"

	"github.com/okapi-kv/okapi/internal/admin"
	"github.com/okapi-kv/okapi/internal/clock"
	"github.com/okapi-kv/okapi/internal/cluster"
	"github.com/okapi-kv/okapi/internal/config"
	"github.com/okapi-kv/okapi/internal/core/state"
	"github.com/okapi-kv/okapi/internal/etcd"
	"github.com/okapi-kv/okapi/internal/replica"
	"github.com/okapi-kv/okapi/internal/telemetry"
	"github.com/okapi-kv/okapi/internal/transport"
	"github.com/okapi-kv/okapi/internal/vfs"
	"github.com/okapi-kv/okapi/internal/wal"
	"github.com/okapi-kv/okapi/internal/zk"
)

// Version is this release of okapi.
const Version = "0.1.0"

// zooKeeperVersion is what okapi says when a ZooKeeper client asks for its version.
const zooKeeperVersion = "3.9.4-okapi-" + Version

// member is one member on its way up, and its parts once it runs.
type member struct {
	cfg   config.Config
	log   *slog.Logger
	out   io.Writer
	clock clock.Clock

	identity  cluster.Identity // whose data directory it is, and so who this member is
	founders  []state.Member   // of a cluster that is new; nobody if this member joins one
	tls       *tls.Config      // for links between members; nil if they go in clear
	directory cluster.Directory
	lock      io.Closer
	starts    uint64          // of this member from its data directory, this one included
	recall    *cluster.Recall // of the data directories of the others
	ports     ports
	disk      *replica.Disk
	metrics   *telemetry.Metrics
	replica   *replica.Replica
	transport *transport.Transport
	freeing   sync.Mutex // held while memory is given back
}

// Run runs one member until ctx ends or it can no longer go on; it implements cli.ServeFunc. It finds
// every reason not to start before it touches the data directory.
func Run(ctx context.Context, cfg config.Config, log *slog.Logger, out io.Writer) error {
	tuneMemory(log)
	m := &member{cfg: cfg, log: log, out: out, clock: clock.Real{}, directory: cluster.Directory{FS: vfs.OS(), Path: cfg.DataDir}}
	defer m.close()
	for _, step := range []func() error{m.claim, m.meet, m.listen, m.openDisk, m.count, m.build} {
		if err := step(); err != nil {
			return err
		}
	}
	return m.run(ctx)
}

func (m *member) lockDirectory() error {
	lock, err := m.directory.FS.Lock(path.Join(m.cfg.DataDir, cluster.LockFile))
	switch {
	case errors.Is(err, vfs.ErrLocked):
		return fmt.Errorf("data directory %s is in use: stop the other okapi or choose another --data-dir: %w", m.cfg.DataDir, err)
	case err != nil:
		return fmt.Errorf("lock data directory: %w: let this user read and write all of it, or set another --data-dir", err)
	}
	m.lock = lock
	return nil
}

// listen opens all ports: one that is in use is found out before anything is written.
func (m *member) listen() (err error) {
	m.ports, err = openPorts(m.cfg)
	return err
}

// openDisk makes the data directory, if it is new, and reads what it holds.
func (m *member) openDisk() error {
	if m.lock == nil {
		if err := m.directory.Create(m.identity); err != nil {
			return err
		}
		if err := m.lockDirectory(); err != nil {
			return err
		}
	}
	disk, err := replica.OpenDisk(replica.DiskOptions{
		FS: m.directory.FS, Dir: m.cfg.DataDir,
		Identity: wal.Identity{ClusterID: m.identity.ClusterID, MemberID: m.identity.MemberID},
		Founders: m.founders, Seed: randomBits(),
	})
	if errors.Is(err, fs.ErrPermission) {
		return fmt.Errorf("%w: let this user read and write all of --data-dir %s", err, m.cfg.DataDir)
	}
	if err != nil {
		return err
	}
	m.disk = disk
	if err := m.checkFlags(disk.Boot.Members); err != nil {
		return err
	}
	if err := m.directory.Founded(); err != nil {
		return err
	}
	if err := disk.Log.NoteEnd(); err != nil {
		return err
	}
	if disk.Cut != nil {
		m.log.Warn("the last write before the stop was not finished and was cut off", "index", disk.Cut.Index, "term", disk.Cut.Term)
	}
	if m.recall, err = m.directory.OpenRecall(); err != nil {
		return err
	}
	m.starts, err = m.directory.CountStart(randomBits())
	return err
}

// build makes replica and transport.
func (m *member) build() (err error) {
	m.replica, err = replica.New(replica.Options{
		ID: m.identity.MemberID, Incarnation: incarnation(), Disk: m.disk, Clock: m.clock, Logger: m.log,
		TickMS:          m.cfg.HeartbeatIntervalMS,
		ElectionTicks:   int(m.cfg.ElectionTimeoutMS / m.cfg.HeartbeatIntervalMS),
		SnapshotBytes:   uint64(m.cfg.SnapshotBytes),
		DiskReserve:     m.cfg.DiskReserveBytes,
		ReapInterval:    m.cfg.ReapInterval,
		BudgetBytes:     budgetBytes,
		MaxCommandBytes: int(max(m.cfg.MaxRequestBytes, m.cfg.ZooKeeperFrameBytes)) + commandSlack,
		Settings:        settings(m.cfg),
		CheckSettings:   checkSettings(m.cfg),
		Metrics:         m.metrics,
	})
	if err != nil {
		return err
	}
	gate := &gatekeeper{replica: m.replica, recall: m.recall, level: m.level}
	m.transport = transport.New(transport.Options{
		Identity: transport.Identity{ClusterID: m.identity.ClusterID, MemberID: m.identity.MemberID},
		Listener: m.ports.peer, Peers: replica.PeerURLs(m.disk.Boot.Members.Members, m.identity.MemberID),
		AdvertiseURLs: m.cfg.InitialAdvertisePeerURLs, TLS: m.tls, Handler: m.replica, Logger: m.log,
		Directory: m.identity.Directory, Starts: m.starts, Feature: uint64(cluster.FeatureNewest),
		Admit: gate.admit, Join: gate.expected, Expelled: m.replica.Expelled, SnapshotBytesPerSecond: int(m.cfg.SnapshotRate),
		Metrics: m.metrics,
	})
	gate.transport = m.transport
	m.metrics.Watch(m.reading)
	return nil
}

const (
	// budgetBytes bounds the etcd commands whose outcome is open at one member.
	budgetBytes = 256 << 20
	// commandSlack is how much larger a command may be than the request it came from.
	commandSlack = 512 << 10
)

// incarnation tells this run of the member from all others. Numbers of commands start from it, so it
// leaves room above.
func incarnation() uint64 { return randomBits()>>24 | 1 }

func randomBits() uint64 {
	var b [8]byte
	_, _ = rand.Read(b[:]) // never fails
	return binary.BigEndian.Uint64(b[:])
}

// run starts everything in order and stops it in reverse: the doors first, so that nobody is let in who
// could not be answered; then the office of leader is handed on; then replica and links end.
func (m *member) run(ctx context.Context) error {
	core, stopCore := context.WithCancelCause(context.WithoutCancel(ctx))
	defer stopCore(nil)
	parts := newGroup(stopCore)
	parts.run(func() error { return m.transport.Run(core) })
	parts.run(func() error { return m.replica.Run(core, m.transport) })
	parts.run(func() error { return m.runLevel(core) })
	parts.run(func() error {
		return runTrimmer(core, func() uint64 { return m.replica.Status().Applied })
	})
	var doors error
	select {
	case <-m.replica.Serving():
		if !m.awaitVouched(ctx, core) || !m.publish(ctx, core) {
			break
		}
		m.greet()
		doors = m.serveDoors(ctx, core)
		m.handOver(core)
	case <-ctx.Done():
	case <-core.Done():
	}
	stopCore(nil)
	return errors.Join(parts.wait(), doors)
}

// pollInterval is the time between two looks at the replica's status.
const pollInterval = 10 * time.Millisecond

// awaitVouched waits until the leader has first confirmed that it hears of this member's sessions: a
// ZooKeeper client that came before would be sent away with its first request. It returns false if the
// member is to stop instead.
func (m *member) awaitVouched(ctx, core context.Context) bool {
	poll := time.NewTicker(pollInterval)
	defer poll.Stop()
	for m.replica.Status().VouchedMS < 0 {
		select {
		case <-poll.C:
		case <-ctx.Done():
			return false
		case <-core.Done():
			return false
		}
	}
	return true
}

// serveDoors lets clients in until ctx ends or the core does, or a port can no longer be served.
func (m *member) serveDoors(ctx, core context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	context.AfterFunc(core, cancel)
	doors := newGroup(func(error) { cancel() })
	election := time.Duration(m.cfg.ElectionTimeoutMS) * time.Millisecond
	if len(m.ports.clients) > 0 {
		doors.run(func() error {
			r := etcdReplica{m.replica, m.identity.ClusterID, m.identity.MemberID, &m.freeing}
			return etcd.New(etcd.Options{
				Listeners: m.ports.clients, Replica: r, Leases: m.replica.Leases, Upkeep: r, Admin: admin.New(m.clusterAdmin()), Metrics: m.metrics,
				MinLeaseTTL:     minLeaseTTL(m.cfg),
				MaxRequestBytes: int(m.cfg.MaxRequestBytes), MaxTxnOps: int(m.cfg.MaxTxnOps),
				MaxConnections:       int(m.cfg.MaxClientConnections),
				MaxConcurrentStreams: uint32(m.cfg.MaxConcurrentStreams), MaxLeases: int(m.cfg.MaxLeases), MaxWatchesPerStream: int(m.cfg.MaxWatchesPerStream),
				Clock: m.clock, Logger: m.log,
				RequestTimeout: m.requestTimeout(), ElectionTimeout: election, WatchProgressInterval: m.cfg.WatchProgressInterval,
			}).Run(ctx)
		})
	}
	if len(m.ports.zooKeeper) > 0 {
		doors.run(func() error {
			return zk.New(m.zooKeeper()).Run(ctx)
		})
	}
	return doors.wait()
}

// zooKeeper says how ZooKeeper clients are served.
func (m *member) zooKeeper() zk.Options {
	r := zkReplica{m.replica}
	shortest, longest := m.cfg.SessionTimeoutsMS()
	perAddress := int(m.cfg.ZooKeeperAddressConnections)
	if perAddress == 0 {
		perAddress = -1 // The door's own default is another.
	}
	return zk.Options{
		Listeners: m.ports.zooKeeper, Replica: r, Publisher: r, MemberNumber: m.number(),
		Clock: m.clock, Random: rand.Reader, Logger: m.log, Version: zooKeeperVersion, Built: buildTime(),
		FourLetterWords: m.cfg.ZooKeeperWords, Host: &host{dataDir: m.cfg.DataDir, clock: m.clock}, LogSyncs: m.metrics.LogSyncs,
		SuperDigest: m.cfg.ZooKeeperSuperDigest,
		TickTimeMS:  int32(m.cfg.ZooKeeperTickTimeMS), SessionTimeoutMinMS: int32(shortest), SessionTimeoutMaxMS: int32(longest),
		MaxWatchesPerConnection: int(m.cfg.ZooKeeperConnectionWatches), MaxWatches: int(m.cfg.ZooKeeperWatches), MaxSessions: int(m.cfg.ZooKeeperSessions),
		MaxConnections: int(m.cfg.ZooKeeperConnections), MaxConnectionsPerIP: perAddress, MaxFrameBytes: int(m.cfg.ZooKeeperFrameBytes),
	}
}

// requestTimeout is how long a request of an etcd client may wait for consensus: what etcd gives it.
func (m *member) requestTimeout() time.Duration {
	return 5*time.Second + 2*time.Duration(m.cfg.ElectionTimeoutMS)*time.Millisecond
}

// number is this member's place among the members, from 1: the high byte of its session ids. That two members have one after a
// change of members does no harm: an id that is taken is refused, and another one drawn.
func (m *member) number() byte {
	for i, other := range m.replica.Status().Members.Members {
		if other.ID == m.identity.MemberID {
			return byte(i + 1)
		}
	}
	return 0
}

// handOver gives the office of leader to another member, if there is one, so that the others need not
// first miss this one.
func (m *member) handOver(core context.Context) {
	s := m.replica.Status()
	if !s.Leads || len(s.Members.Voters()) == 1 {
		return
	}
	m.replica.TransferLeadership(0)
	deadline := time.NewTimer(time.Duration(m.cfg.ElectionTimeoutMS) * time.Millisecond)
	defer deadline.Stop()
	poll := time.NewTicker(pollInterval)
	defer poll.Stop()
	for m.replica.Status().Leads {
		select {
		case <-poll.C:
		case <-deadline.C:
			return
		case <-core.Done():
			return
		}
	}
}

// close releases what run has not taken over.
func (m *member) close() {
	m.ports.close()
	if m.replica == nil && m.disk != nil {
		_ = m.disk.Log.Close() // it only gives the lock back; nothing is unsynced
	}
	if m.lock != nil {
		_ = m.lock.Close() // the end of the process releases it anyway
	}
}

// greet tells the person at the terminal how to connect.
func (m *member) greet() {
	fmt.Fprintf(m.out, "okapi %s is ready: member %s, data in %s\n", Version, m.cfg.Name, m.cfg.DataDir)
	for _, l := range m.ports.clients {
		fmt.Fprintf(m.out, "  etcd clients:       etcdctl --endpoints=http://%s get \"\" --prefix\n", l.Addr())
	}
	for _, l := range m.ports.zooKeeper {
		fmt.Fprintf(m.out, "  ZooKeeper clients:  zkCli.sh -server %s ls /\n", l.Addr())
	}
	if len(m.ports.zooKeeper) > 0 && m.cfg.TreePrefix != "" {
		fmt.Fprintf(m.out, "  the znode /a is the key %s/a\n", m.cfg.TreePrefix)
	}
}

// ports are the open listeners of a member.
type ports struct {
	clients, zooKeeper []net.Listener
	peer               net.Listener
}

// openPorts opens every port of the configuration, or none.
func openPorts(cfg config.Config) (p ports, err error) {
	defer func() {
		if err != nil {
			p.close()
		}
	}()
	for _, u := range cfg.ListenClientURLs {
		l, err := openPort("listen-client-urls", config.HostPort(u))
		if err != nil {
			return p, err
		}
		p.clients = append(p.clients, l)
	}
	for _, a := range cfg.ListenZooKeeper {
		l, err := openPort("listen-zookeeper", a)
		if err != nil {
			return p, err
		}
		p.zooKeeper = append(p.zooKeeper, l)
	}
	for _, u := range cfg.ListenPeerURLs {
		l, err := openPort("listen-peer-urls", config.HostPort(u))
		if err != nil {
			return p, err
		}
		p.peer = joinListeners(p.peer, l)
	}
	return p, nil
}

func openPort(flag, address string) (net.Listener, error) {
	l, err := net.Listen("tcp", address)
	if err != nil {
		return nil, fmt.Errorf("--%s %s cannot be opened: stop what uses the port or choose another one: %w", flag, address, err)
	}
	return l, nil
}

// close closes all ports; those that a part has taken over are closed already.
func (p *ports) close() {
	for _, l := range append(append([]net.Listener{p.peer}, p.clients...), p.zooKeeper...) {
		if l != nil {
			_ = l.Close()
		}
	}
}
