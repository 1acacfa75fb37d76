package config

import (
	"fmt"
	"strings"
)

// Setting is one field of a Config as operators see it.
type Setting struct {
	// Flag is the name on the command line, without dashes; it is also the key in the file.
	Flag string
	// Env is the name in the environment.
	Env string
	// Kind says how the value is written, such as "duration".
	Kind string
	// Group is the heading under which the setting is documented.
	Group string
	// Doc says what the setting does, in one or two sentences.
	Doc string
	// Default is the default, written as a value; for a derived one DefaultNote says from what.
	Default, DefaultNote string
	// Value is the present value, and Source says where it came from.
	Value  string
	Source Source
}

// row binds a field of one Config to its texts.
type row struct {
	flag, group, doc, note string
	value                  value
}

// rows is the table of settings, bound to the fields of c, in the order in which they are shown.
func (c *Config) rows() []row {
	rows := c.memberRows()
	rows = append(rows, c.zooKeeperRows()...)
	rows = append(rows, c.clusterRows()...)
	return append(rows, c.limitRows()...)
}

const (
	groupMember  = "Member"
	groupClients = "Clients"
	groupCluster = "Cluster"
	groupZK      = "ZooKeeper clients"
	groupTree    = "Tree and limits"
	groupTLS     = "TLS between members"
)

func (c *Config) memberRows() []row {
	return []row{
		{"config-file", groupMember, "YAML file with settings; its keys are the names of the flags.", "", text{&c.ConfigFile}},
		{"name", groupMember, "Name of this member, one of those in --initial-cluster.", "", text{&c.Name}},
		{"data-dir", groupMember, "Folder for everything durable; it belongs to this member alone.", "", text{&c.DataDir}},
		{"snapshot-bytes", groupMember, "Least bytes of log between two snapshots; half of what there is to store, if that is more.", "", size{&c.SnapshotBytes}},
		{"snapshot-rate", groupMember, "Bound, in bytes a second, on a snapshot that is sent to a member that lags; 0 is no bound.", "", size{&c.SnapshotRate}},
		{"disk-reserve", groupMember, "Free bytes on the disk of --data-dir below which this member calls it low; when too few members have more, what grows is refused until they have. 0 turns that off.", "", size{&c.DiskReserveBytes}},
		{"log-level", groupMember, "Least severity to log: debug, info, warn or error.", "", text{&c.LogLevel}},

		{"listen-client-urls", groupClients, "Where etcd clients are served.", "", list{&c.ListenClientURLs, "URLs"}},
		{"advertise-client-urls", groupClients, "What etcd clients are told to connect to.", "those of --listen-client-urls", list{&c.AdvertiseClientURLs, "URLs"}},
		{"listen-zookeeper", groupClients, "Addresses where ZooKeeper clients are served; empty serves none.", "", list{&c.ListenZooKeeper, "addresses"}},
	}
}

// zooKeeperRows have the names of ZooKeeper's own settings, so that who knows these finds them.
func (c *Config) zooKeeperRows() []row {
	return []row{
		{"zookeeper-4lw-whitelist", groupZK, "Four-letter words that are answered; * is all of them. srvr always is.", "", list{&c.ZooKeeperWords, "words"}},
		{"zookeeper-super-digest", groupZK, "user:base64(sha1(user:password)) of the client that passes every check; empty for none.", "", secret{&c.ZooKeeperSuperDigest}},
		{"zookeeper-tick-time", groupZK, "Milliseconds of a tick, the unit of the defaults of session timeouts.", "", number{&c.ZooKeeperTickTimeMS, "milliseconds"}},
		{"zookeeper-min-session-timeout", groupZK, "Shortest session timeout that a client can get; 0 is two ticks.", "", number{&c.ZooKeeperSessionTimeoutMinMS, "milliseconds"}},
		{"zookeeper-max-session-timeout", groupZK, "Longest session timeout that a client can get; 0 is twenty ticks.", "", number{&c.ZooKeeperSessionTimeoutMaxMS, "milliseconds"}},
		{"zookeeper-max-client-cnxns", groupZK, "Bound on the connections from one address; 0 is no bound.", "", number{&c.ZooKeeperAddressConnections, "connections"}},
		{"zookeeper-max-cnxns", groupZK, "Bound on all connections of the member.", "", number{&c.ZooKeeperConnections, "connections"}},
		{"zookeeper-max-watches-per-connection", groupZK, "Bound on the watches of one connection; one whose path is long counts for more.", "", number{&c.ZooKeeperConnectionWatches, "watches"}},
		{"zookeeper-max-watches", groupZK, "Bound on the watches of all connections of the member; one takes some 200 bytes.", "", number{&c.ZooKeeperWatches, "watches"}},
		{"zookeeper-max-sessions", groupZK, "Bound on the sessions of the cluster: no new ones are opened.", "", number{&c.ZooKeeperSessions, "sessions"}},
		{"zookeeper-jute-maxbuffer", groupZK, "Bound on one request; a larger one ends the connection.", "", size{&c.ZooKeeperFrameBytes}},
	}
}

func (c *Config) clusterRows() []row {
	return []row{
		{"listen-peer-urls", groupCluster, "Where other members connect to.", "", list{&c.ListenPeerURLs, "URLs"}},
		{"initial-advertise-peer-urls", groupCluster, "What other members are told to connect to.", "those of --listen-peer-urls", list{&c.InitialAdvertisePeerURLs, "URLs"}},
		{"initial-cluster", groupCluster, "Every member at the first start, as name=URL; a name with several URLs is repeated.", "this member alone", members{&c.InitialCluster}},
		{"initial-cluster-state", groupCluster, "new forms a cluster, existing joins one that runs.", "", text{&c.InitialClusterState}},
		{"initial-cluster-token", groupCluster, "Keeps clusters with equal addresses apart; equal on all members.", "", text{&c.InitialClusterToken}},
		{"heartbeat-interval", groupCluster, "Milliseconds between two heartbeats of the leader.", "", number{&c.HeartbeatIntervalMS, "milliseconds"}},
		{"election-timeout", groupCluster, "Milliseconds without a heartbeat after which a member stands for election; at least five heartbeats.", "", number{&c.ElectionTimeoutMS, "milliseconds"}},
	}
}

func (c *Config) limitRows() []row {
	return []row{
		{"tree-prefix", groupTree, "Key under which etcd clients see the znodes; empty keeps the tree apart from the keys.", "", text{&c.TreePrefix}},
		{"tree-history", groupTree, "How long old versions of znodes stay readable for etcd clients.", "", duration{&c.TreeHistory}},
		{"reap-interval", groupTree, "Time between two looks for empty containers and for TTL nodes whose time is over.", "", duration{&c.ReapInterval}},
		{"quota-backend-bytes", groupTree, "Bound on the logical size of plain keys; 0 derives it from the memory of the machine, -1 is no bound.", "", size{&c.QuotaBackendBytes}},
		{"tree-quota-bytes", groupTree, "Bound on the logical size of the znodes; 0 derives it from the memory of the machine, -1 is no bound.", "", size{&c.TreeQuotaBytes}},
		{"max-request-bytes", groupTree, "Bound on one request of a client.", "", size{&c.MaxRequestBytes}},
		{"max-txn-ops", groupTree, "Bound on the operations of one etcd transaction.", "", number{&c.MaxTxnOps, "operations"}},
		{"max-client-connections", groupTree, "Bound on the connections of etcd clients of the member; further ones are closed when they are accepted.", "", number{&c.MaxClientConnections, "connections"}},
		{"max-concurrent-streams", groupTree, "Bound on the calls under way on one connection of an etcd client, watches among them; further ones wait at the client.", "", number{&c.MaxConcurrentStreams, "calls"}},
		{"max-leases", groupTree, "Bound on the leases of the cluster: no more are granted.", "", number{&c.MaxLeases, "leases"}},
		{"max-watches-per-stream", groupTree, "Bound on the watches of one stream, of which a client mostly has one; one whose keys are long counts for more.", "", number{&c.MaxWatchesPerStream, "watches"}},
		{"watch-progress-notify-interval", groupTree, "Time after which an etcd watch that asked for it and was told nothing is told how far it is; at least 100ms.", "", duration{&c.WatchProgressInterval}},

		{"peer-cert-file", groupTLS, "Certificate (PEM) that this member shows to other members; turns TLS on.", "", text{&c.PeerCertFile}},
		{"peer-key-file", groupTLS, "Key (PEM) of --peer-cert-file.", "", text{&c.PeerKeyFile}},
		{"peer-trusted-ca-file", groupTLS, "Authorities (PEM) that certificates of other members must come from.", "", text{&c.PeerTrustedCAFile}},
	}
}

// envName returns the name of a flag in the environment: OKAPI_ and upper snake case.
func envName(flag string) string {
	return "OKAPI_" + strings.ToUpper(strings.ReplaceAll(flag, "-", "_"))
}

// Settings lists every setting with its value in c, in the order of the documentation.
func (c *Config) Settings() []Setting {
	standard := Default()
	defaults := standard.rows()
	var out []Setting
	for i, r := range c.rows() {
		source, set := c.sources[r.flag]
		if !set {
			source = FromDefault
		}
		out = append(out, Setting{
			Flag: r.flag, Env: envName(r.flag), Kind: r.value.kind(), Group: r.group, Doc: r.doc,
			Default: defaults[i].value.String(), DefaultNote: r.note,
			Value: r.value.String(), Source: source,
		})
	}
	return out
}

// String prints every setting with its value and where it came from, one a line, for the log at
// start and for support.
func (c *Config) String() string {
	var out strings.Builder
	for _, s := range c.Settings() {
		fmt.Fprintf(&out, "%s=%s (%s)\n", s.Flag, s.Value, s.Source)
	}
	return out.String()
}
