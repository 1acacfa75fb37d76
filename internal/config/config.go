// Package config is everything that an operator can set for a member, in one struct.
//
// A value comes from a flag, else from the environment, else from the configuration file, else
// from the default, and remembers which. All problems are found before anything is started or
// touched, and each is one line that says what is wrong and what to do. The table in settings.go
// is the one place that knows a setting's flag, default and text; the help of the command line,
// the names in the environment and docs/operating/config.md are made from it.
package config

import (
	"math"
	"time"

	"github.com/okapi-kv/okapi/internal/zk"
)

//go:generate go test -run TestDocument . -update

// Config is how one member runs. Load makes one; a Config is not changed after that. Settings
// that apply reads (the tree prefix, its history, the quotas) are written into the replicated
// state at bootstrap; afterwards they only have to agree with it.
type Config struct {
	// ConfigFile is the YAML file that was read; empty if none was.
	ConfigFile string

	// Name is the member's name in InitialCluster, for people.
	Name string
	// DataDir is the folder that holds everything durable; it belongs to this member alone.
	DataDir string
	// SnapshotBytes is how many bytes of log are written between two snapshots at least.
	SnapshotBytes int64
	// SnapshotRate bounds, in bytes a second, a snapshot that is sent to another member; 0 is no bound.
	SnapshotRate int64
	// DiskReserveBytes is below how much free space on the disk of DataDir a member calls it low; 0 never.
	DiskReserveBytes int64

	// ListenClientURLs are where etcd clients are served: http, an IP address and a port each.
	ListenClientURLs []string
	// AdvertiseClientURLs are what etcd clients are told to connect to.
	AdvertiseClientURLs []string
	// ListenZooKeeper are the addresses (host:port) where ZooKeeper clients are served; none
	// closes that door.
	ListenZooKeeper []string

	// ZooKeeperWords are the four-letter words that are answered at the ZooKeeper port; "*" stands for all.
	ZooKeeperWords []string
	// ZooKeeperSuperDigest is user:base64(sha1(user:password)) of the ZooKeeper client that passes every check; empty
	// for none.
	ZooKeeperSuperDigest string
	// ZooKeeperTickTimeMS is ZooKeeper's tickTime, in milliseconds: the unit of the defaults of session timeouts.
	ZooKeeperTickTimeMS int64
	// ZooKeeperSessionTimeoutMinMS is the shortest session timeout that a client can get, in milliseconds; 0 is two ticks.
	ZooKeeperSessionTimeoutMinMS int64
	// ZooKeeperSessionTimeoutMaxMS is the longest session timeout that a client can get, in milliseconds; 0 is twenty ticks.
	ZooKeeperSessionTimeoutMaxMS int64
	// ZooKeeperAddressConnections bounds the ZooKeeper connections from one address; 0 is no bound.
	ZooKeeperAddressConnections int64
	// ZooKeeperConnections bounds all ZooKeeper connections of the member.
	ZooKeeperConnections int64
	// ZooKeeperConnectionWatches bounds the watches of one ZooKeeper connection, ZooKeeperWatches those of all of the member.
	ZooKeeperConnectionWatches, ZooKeeperWatches int64
	// ZooKeeperSessions bounds the sessions that the cluster has when a new one is to be opened.
	ZooKeeperSessions int64
	// ZooKeeperFrameBytes bounds one request of a ZooKeeper client (jute.maxbuffer).
	ZooKeeperFrameBytes int64

	// ListenPeerURLs are where other members connect to.
	ListenPeerURLs []string
	// InitialAdvertisePeerURLs are what other members are told to connect to.
	InitialAdvertisePeerURLs []string
	// InitialCluster is every member of the cluster when it is first started.
	InitialCluster []Member
	// InitialClusterState is StateNew or StateExisting.
	InitialClusterState string
	// InitialClusterToken goes into the identity of the cluster, so that members of two clusters
	// with equal addresses never mix.
	InitialClusterToken string

	// HeartbeatIntervalMS is the time between two heartbeats of the leader, in milliseconds.
	HeartbeatIntervalMS int64
	// ElectionTimeoutMS is how long a member waits for a heartbeat before it stands for election,
	// in milliseconds.
	ElectionTimeoutMS int64

	// TreePrefix is the key under which etcd clients see the znode tree; empty keeps it apart.
	TreePrefix string
	// TreeHistory is how long old versions of znodes stay readable for etcd clients.
	TreeHistory time.Duration
	// ReapInterval is the time between two looks for containers and TTL nodes whose time is over.
	ReapInterval time.Duration
	// QuotaBackendBytes bounds the logical size of plain keys: 0 derives it from the memory of the
	// machine, a negative value is no bound.
	QuotaBackendBytes int64
	// TreeQuotaBytes bounds the logical size of the znode tree, as QuotaBackendBytes does for keys.
	TreeQuotaBytes int64
	// MaxRequestBytes bounds one request of a client.
	MaxRequestBytes int64
	// MaxTxnOps bounds the operations of one etcd transaction.
	MaxTxnOps int64
	// MaxClientConnections bounds the connections of etcd clients of the member.
	MaxClientConnections int64
	// MaxConcurrentStreams bounds the calls under way on one connection of an etcd client.
	MaxConcurrentStreams int64
	// MaxLeases bounds the leases that the cluster has when one is to be granted.
	MaxLeases int64
	// MaxWatchesPerStream bounds the watches of one stream of an etcd client.
	MaxWatchesPerStream int64
	// WatchProgressInterval is the time after which an etcd watch that asked for it, and was told nothing, is told
	// how far it is.
	WatchProgressInterval time.Duration

	// PeerCertFile is the certificate (PEM) that this member shows to others.
	PeerCertFile string
	// PeerKeyFile is the key (PEM) of PeerCertFile.
	PeerKeyFile string
	// PeerTrustedCAFile holds the authorities (PEM) that the certificates of other members must
	// come from.
	PeerTrustedCAFile string

	// LogLevel is the least severity that is logged.
	LogLevel string

	// sources says where values came from, by flag; what is not in it is a default.
	sources map[string]Source
}

// The values of Config.InitialClusterState.
const (
	// StateNew forms a new cluster of the members of InitialCluster, unless the data directory
	// already belongs to one.
	StateNew = "new"
	// StateExisting joins a cluster that runs and has been told of this member.
	StateExisting = "existing"
)

// Member is one member of Config.InitialCluster.
type Member struct {
	Name     string
	PeerURLs []string
}

// Source says where a value came from.
type Source string

// The sources, the strongest first.
const (
	FromFlag    Source = "flag"
	FromEnv     Source = "environment"
	FromFile    Source = "file"
	FromDefault Source = "default"
)

// Default returns the configuration without flags, environment and file: a single member on
// this machine that serves both kinds of clients.
func Default() Config {
	c := Config{
		Name:                "default",
		DataDir:             "./okapi.data",
		SnapshotBytes:       128 << 20,
		SnapshotRate:        64 << 20,
		DiskReserveBytes:    256 << 20,
		ListenClientURLs:    []string{"http://127.0.0.1:2379"},
		ListenZooKeeper:     []string{"127.0.0.1:2181"},
		ListenPeerURLs:      []string{"http://127.0.0.1:2380"},
		InitialClusterState: StateNew,
		InitialClusterToken: "okapi-cluster",
		HeartbeatIntervalMS: 100,
		ElectionTimeoutMS:   1000,
		TreePrefix:          "/zk",
		TreeHistory:         10 * time.Minute,
		ReapInterval:        10 * time.Second,
		MaxRequestBytes:     3 << 19,
		MaxTxnOps:           128,

		MaxClientConnections: 1 << 16,
		MaxConcurrentStreams: math.MaxUint32,
		MaxLeases:            1 << 20,
		MaxWatchesPerStream:  100_000,

		WatchProgressInterval: 10 * time.Minute,

		LogLevel: "info",

		ZooKeeperWords:              zk.DefaultWords(),
		ZooKeeperTickTimeMS:         zk.DefaultTickTimeMS,
		ZooKeeperAddressConnections: zk.DefaultMaxConnectionsPerIP,
		ZooKeeperConnections:        zk.DefaultMaxConnections,
		ZooKeeperConnectionWatches:  zk.DefaultMaxWatchesPerConnection,
		ZooKeeperWatches:            zk.DefaultMaxWatches,
		ZooKeeperSessions:           zk.DefaultMaxSessions,
		ZooKeeperFrameBytes:         zk.DefaultMaxFrameBytes,
	}
	c.derive()
	return c
}

// derive fills the values that follow from others if nobody has set them.
func (c *Config) derive() {
	if len(c.AdvertiseClientURLs) == 0 && c.isDefault("advertise-client-urls") {
		c.AdvertiseClientURLs = c.ListenClientURLs
	}
	if len(c.InitialAdvertisePeerURLs) == 0 && c.isDefault("initial-advertise-peer-urls") {
		c.InitialAdvertisePeerURLs = c.ListenPeerURLs
	}
	if len(c.InitialCluster) == 0 && c.isDefault("initial-cluster") {
		c.InitialCluster = []Member{{Name: c.Name, PeerURLs: c.InitialAdvertisePeerURLs}}
	}
}

func (c *Config) isDefault(flag string) bool {
	_, set := c.sources[flag]
	return !set
}

// Ticks of the default session timeouts, as in ZooKeeper.
const (
	shortestTicks = 2
	longestTicks  = 20
)

// SessionTimeoutsMS returns the shortest and the longest timeout that a ZooKeeper session can have, in milliseconds.
func (c *Config) SessionTimeoutsMS() (shortest, longest int64) {
	shortest, longest = c.ZooKeeperSessionTimeoutMinMS, c.ZooKeeperSessionTimeoutMaxMS
	if shortest == 0 {
		shortest = shortestTicks * c.ZooKeeperTickTimeMS
	}
	if longest == 0 {
		longest = longestTicks * c.ZooKeeperTickTimeMS
	}
	return shortest, longest
}

// PeerTLS reports whether links between members are encrypted.
func (c *Config) PeerTLS() bool { return c.PeerCertFile != "" }
