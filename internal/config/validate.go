package config

import (
	"fmt"
	"math"
	"net"
	"net/url"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/okapi-kv/okapi/internal/invariant"
	"github.com/okapi-kv/okapi/internal/telemetry"
	"github.com/okapi-kv/okapi/internal/zk"
)

// Bounds of the timing, in milliseconds. Below a few milliseconds a busy machine holds elections
// for nothing; above 50 s (etcd's bound) nobody notices a dead leader.
const (
	minHeartbeatMS  = 5
	maxElectionMS   = 50_000
	minHeartbeats   = 5
	minRequestBytes = 1 << 10
	maxRequestBytes = 64 << 20
	minSnapshot     = 1 << 20
	reapIntervalMin = 100 * time.Millisecond
	maxTxnOps       = 100_000
	maxMany         = 1 << 30
	minProgress     = 100 * time.Millisecond

	// A tick below some tens of milliseconds makes sessions that the least hiccup ends, and one above a minute
	// sessions that never end; a session timeout must fit into the protocol's 32 bits.
	minTickMS      = 10
	maxTickMS      = 60_000
	minSessionMS   = 20
	maxSessionMS   = 1<<31 - 1
	maxConnections = 1 << 20
)

// Validate returns nil or Problems: everything that is wrong, at once. It reads the files of the
// TLS settings and changes nothing.
func (c *Config) Validate() error {
	if problems := c.validate(nil); len(problems) > 0 {
		return problems
	}
	return nil
}

// validate returns the problems of all settings but those in unread, whose text made no sense and
// which therefore hold defaults.
func (c *Config) validate(unread map[string]bool) Problems {
	v := &validator{config: c, unread: unread}
	v.member()
	v.clients()
	v.zooKeeper()
	v.cluster()
	v.limits()
	v.tls()
	return v.problems
}

// validator collects the problems of one Config.
type validator struct {
	config   *Config
	problems Problems
	// unread holds the flags that have been reported already; nothing is said about them, nor about
	// others compared with them.
	unread map[string]bool
	// listeners holds what already listens on an address, by address.
	listeners map[string]string
}

// problem notes that the setting is wrong unless ok; the text says what is wrong and what to do.
func (v *validator) problem(ok bool, flag, format string, args ...any) {
	if ok || v.unread[flag] {
		return
	}
	source, set := v.config.sources[flag]
	if !set {
		source = FromFlag
	}
	v.problems = append(v.problems, origin(flag, source)+": "+fmt.Sprintf(format, args...))
}

func (v *validator) member() {
	c := v.config
	v.problem(c.Name != "" && !strings.ContainsAny(c.Name, "=, \t\n"), "name", "%q: want a name without blanks, commas and equal signs", c.Name)
	v.problem(c.DataDir != "", "data-dir", "is empty: name a folder")
	v.problem(c.SnapshotRate >= 0, "snapshot-rate", "%d: want 0 or more", c.SnapshotRate)
	v.problem(c.SnapshotBytes >= minSnapshot, "snapshot-bytes", "%d: want at least %d", c.SnapshotBytes, minSnapshot)
	v.problem(c.DiskReserveBytes >= 0, "disk-reserve", "%d: want a size, or 0 to turn it off", c.DiskReserveBytes)
	_, err := telemetry.ParseLevel(c.LogLevel)
	v.problem(err == nil, "log-level", "%q: want one of %s", c.LogLevel, telemetry.Levels)
}

func (v *validator) clients() {
	c := v.config
	v.problem(len(c.ListenClientURLs)+len(c.ListenZooKeeper) > 0, "listen-client-urls", "neither kind of clients is served: set this or --listen-zookeeper")
	for _, raw := range c.ListenClientURLs {
		u := v.listen("listen-client-urls", raw)
		v.problem(u == nil || u.Scheme == "http", "listen-client-urls", "%s: TLS for clients is not available: use http", raw)
	}
	for _, raw := range c.AdvertiseClientURLs {
		v.advertise("advertise-client-urls", raw)
	}
	for _, address := range c.ListenZooKeeper {
		host, port, err := net.SplitHostPort(address)
		v.problem(err == nil && validPort(port) && bindable(host), "listen-zookeeper", "%q: want an IP address or localhost, and a port, such as 127.0.0.1:2181", address)
		v.listener("listen-zookeeper", address)
	}
}

func (v *validator) zooKeeper() {
	c := v.config
	for _, word := range c.ZooKeeperWords {
		v.problem(zk.KnowsWord(word), "zookeeper-4lw-whitelist", "%q: want ZooKeeper's words of four letters, such as ruok,mntr, or *", word)
	}
	// The digest itself stays out of messages.
	v.problem(c.ZooKeeperSuperDigest == "" || zk.ValidSuperDigest(c.ZooKeeperSuperDigest), "zookeeper-super-digest",
		"want user:base64(sha1(user:password)); this prints it: printf user:password | openssl dgst -sha1 -binary | base64")
	v.sessionTimeouts()
	v.problem(c.ZooKeeperAddressConnections >= 0 && c.ZooKeeperAddressConnections <= maxConnections, "zookeeper-max-client-cnxns", "%d: want 0 (no bound) to %d", c.ZooKeeperAddressConnections, maxConnections)
	v.problem(c.ZooKeeperConnections >= 1 && c.ZooKeeperConnections <= maxConnections, "zookeeper-max-cnxns", "%d: want 1 to %d", c.ZooKeeperConnections, maxConnections)
	v.problem(c.ZooKeeperConnectionWatches >= 1 && c.ZooKeeperConnectionWatches <= maxMany, "zookeeper-max-watches-per-connection", "%d: want 1 to %d", c.ZooKeeperConnectionWatches, maxMany)
	v.problem(c.ZooKeeperWatches >= 1 && c.ZooKeeperWatches <= maxMany, "zookeeper-max-watches", "%d: want 1 to %d", c.ZooKeeperWatches, maxMany)
	v.problem(c.ZooKeeperSessions >= 1 && c.ZooKeeperSessions <= maxMany, "zookeeper-max-sessions", "%d: want 1 to %d", c.ZooKeeperSessions, maxMany)
	v.problem(c.ZooKeeperFrameBytes >= minRequestBytes && c.ZooKeeperFrameBytes <= maxRequestBytes, "zookeeper-jute-maxbuffer", "%d: want %d to %d", c.ZooKeeperFrameBytes, minRequestBytes, maxRequestBytes)
}

// sessionTimeouts checks the tick and what follows from it.
func (v *validator) sessionTimeouts() {
	c := v.config
	if c.ZooKeeperTickTimeMS < minTickMS || c.ZooKeeperTickTimeMS > maxTickMS {
		v.problem(false, "zookeeper-tick-time", "%d ms: want %d to %d", c.ZooKeeperTickTimeMS, minTickMS, maxTickMS)
		return
	}
	shortest, longest := c.SessionTimeoutsMS()
	v.problem(shortest >= minSessionMS && shortest <= maxSessionMS, "zookeeper-min-session-timeout", "%d ms: want %d to %d, or 0 for two ticks", shortest, minSessionMS, maxSessionMS)
	v.problem(longest >= shortest && longest <= maxSessionMS, "zookeeper-max-session-timeout", "%d ms: want at least the shortest timeout (%d) and at most %d, or 0 for twenty ticks", longest, shortest, maxSessionMS)
}

func (v *validator) cluster() {
	c := v.config
	v.problem(len(c.ListenPeerURLs) > 0, "listen-peer-urls", "is empty: give a URL such as http://127.0.0.1:2380")
	for _, raw := range c.ListenPeerURLs {
		v.peerScheme("listen-peer-urls", v.listen("listen-peer-urls", raw))
	}
	v.problem(len(c.InitialAdvertisePeerURLs) > 0, "initial-advertise-peer-urls", "is empty: give a URL that other members reach")
	for _, raw := range c.InitialAdvertisePeerURLs {
		v.advertise("initial-advertise-peer-urls", raw)
	}
	v.initialCluster()
	v.problem(c.InitialClusterState == StateNew || c.InitialClusterState == StateExisting, "initial-cluster-state", "%q: want %s or %s", c.InitialClusterState, StateNew, StateExisting)
	v.problem(c.InitialClusterToken != "", "initial-cluster-token", "is empty: give all members the same text")
	v.problem(c.HeartbeatIntervalMS >= minHeartbeatMS, "heartbeat-interval", "%d ms: want at least %d", c.HeartbeatIntervalMS, minHeartbeatMS)
	v.problem(c.ElectionTimeoutMS >= minHeartbeats*c.HeartbeatIntervalMS || v.unread["heartbeat-interval"], "election-timeout", "%d ms: want at least %d times --heartbeat-interval (%d ms)", c.ElectionTimeoutMS, minHeartbeats, c.HeartbeatIntervalMS)
	v.problem(c.ElectionTimeoutMS <= maxElectionMS, "election-timeout", "%d ms: want at most %d", c.ElectionTimeoutMS, maxElectionMS)
}

// initialCluster checks that the members are apart from each other and that this one is among
// them, under the addresses that it announces.
func (v *validator) initialCluster() {
	const flag = "initial-cluster"
	c := v.config
	if c.isDefault(flag) {
		return // It was made of --name and --initial-advertise-peer-urls.
	}
	owner := map[string]string{}
	for _, m := range c.InitialCluster {
		for _, raw := range m.PeerURLs {
			v.peerScheme(flag, v.advertise(flag, raw))
			other, taken := owner[raw]
			v.problem(!taken, flag, "%s stands for both %s and %s: give each member its own", raw, other, m.Name)
			owner[raw] = m.Name
		}
	}
	i := slices.IndexFunc(c.InitialCluster, func(m Member) bool { return m.Name == c.Name })
	if v.unread["initial-advertise-peer-urls"] {
		return
	}
	if i < 0 {
		v.problem(false, flag, "does not name this member, %q: add %s=%s or correct --name", c.Name, c.Name, strings.Join(c.InitialAdvertisePeerURLs, ","))
		return
	}
	v.problem(sameSet(c.InitialCluster[i].PeerURLs, c.InitialAdvertisePeerURLs), flag, "has %s for this member, but --initial-advertise-peer-urls has %s: make them equal",
		strings.Join(c.InitialCluster[i].PeerURLs, ","), strings.Join(c.InitialAdvertisePeerURLs, ","))
}

func sameSet(a, b []string) bool {
	a, b = slices.Sorted(slices.Values(a)), slices.Sorted(slices.Values(b))
	return slices.Equal(slices.Compact(a), slices.Compact(b))
}

func (v *validator) limits() {
	c := v.config
	v.problem(validPrefix(c.TreePrefix), "tree-prefix", "%q: want a path such as /zk, without empty parts or a slash at the end, or nothing", c.TreePrefix)
	v.problem(c.TreeHistory >= 0, "tree-history", "%v: want no negative duration", c.TreeHistory)
	v.problem(c.ReapInterval >= reapIntervalMin, "reap-interval", "%v: want %v at least", c.ReapInterval, reapIntervalMin)
	v.problem(c.MaxRequestBytes >= minRequestBytes && c.MaxRequestBytes <= maxRequestBytes, "max-request-bytes", "%d: want %d to %d", c.MaxRequestBytes, minRequestBytes, maxRequestBytes)
	v.problem(c.MaxTxnOps >= 1 && c.MaxTxnOps <= maxTxnOps, "max-txn-ops", "%d: want 1 to %d", c.MaxTxnOps, maxTxnOps)
	v.problem(c.MaxClientConnections >= 1 && c.MaxClientConnections <= maxConnections, "max-client-connections", "%d: want 1 to %d", c.MaxClientConnections, maxConnections)
	v.problem(c.MaxConcurrentStreams >= 1 && c.MaxConcurrentStreams <= math.MaxUint32, "max-concurrent-streams", "%d: want 1 to %d", c.MaxConcurrentStreams, uint32(math.MaxUint32))
	v.problem(c.MaxLeases >= 1 && c.MaxLeases <= maxMany, "max-leases", "%d: want 1 to %d", c.MaxLeases, maxMany)
	v.problem(c.MaxWatchesPerStream >= 1 && c.MaxWatchesPerStream <= maxMany, "max-watches-per-stream", "%d: want 1 to %d", c.MaxWatchesPerStream, maxMany)
	v.problem(c.WatchProgressInterval >= minProgress, "watch-progress-notify-interval", "%v: want at least %v", c.WatchProgressInterval, minProgress)
	v.problem(c.QuotaBackendBytes >= -1, "quota-backend-bytes", "%d: want a size, 0 to derive it, or -1 for no bound", c.QuotaBackendBytes)
	v.problem(c.TreeQuotaBytes >= -1, "tree-quota-bytes", "%d: want a size, 0 to derive it, or -1 for no bound", c.TreeQuotaBytes)
}

// validPrefix accepts nothing, or a path that could be a znode's.
func validPrefix(prefix string) bool {
	if prefix == "" {
		return true
	}
	if !strings.HasPrefix(prefix, "/") || !utf8.ValidString(prefix) || strings.ContainsRune(prefix, 0) {
		return false
	}
	for _, part := range strings.Split(prefix[1:], "/") {
		if part == "" || part == "." || part == ".." {
			return false
		}
	}
	return true
}

func (v *validator) tls() {
	c := v.config
	v.problem((c.PeerCertFile == "") == (c.PeerKeyFile == ""), "peer-cert-file", "needs --peer-key-file, and the other way round: set both or none")
	v.problem(c.PeerCertFile == "" || c.PeerTrustedCAFile != "", "peer-cert-file", "needs --peer-trusted-ca-file: members let in only those whose certificate comes from it")
	v.problem(c.PeerTrustedCAFile == "" || c.PeerCertFile != "", "peer-trusted-ca-file", "needs --peer-cert-file and --peer-key-file: set them too")
	for _, f := range []struct{ flag, name string }{
		{"peer-cert-file", c.PeerCertFile}, {"peer-key-file", c.PeerKeyFile}, {"peer-trusted-ca-file", c.PeerTrustedCAFile},
	} {
		if f.name == "" {
			continue
		}
		_, err := os.ReadFile(f.name)
		v.problem(err == nil, f.flag, "%v: name a file that this user can read", err)
	}
}

// peerScheme checks that a URL of the links between members agrees with the TLS settings.
func (v *validator) peerScheme(flag string, u *url.URL) {
	if u == nil {
		return
	}
	v.problem(u.Scheme != "https" || v.config.PeerTLS(), flag, "%s: https needs --peer-cert-file and --peer-key-file", u)
	v.problem(u.Scheme != "http" || !v.config.PeerTLS(), flag, "%s: --peer-cert-file is set: use https", u)
}

// listen checks a URL to listen on; nil if it is none.
func (v *validator) listen(flag, raw string) *url.URL {
	u := v.url(flag, raw)
	if u == nil {
		return nil
	}
	v.problem(bindable(u.Hostname()), flag, "%s: to listen, give an IP address or localhost, not a name", raw)
	v.listener(flag, u.Host)
	return u
}

// advertise checks a URL that others are told; nil if it is none.
func (v *validator) advertise(flag, raw string) *url.URL {
	if v.config.isDefault(flag) && !isURL(raw) {
		return nil // It was taken from another setting, which has been reported.
	}
	u := v.url(flag, raw)
	if u == nil {
		return nil
	}
	ip := net.ParseIP(u.Hostname())
	v.problem(ip == nil || !ip.IsUnspecified(), flag, "%s: others cannot connect to %s: set --%s to an address of this machine", raw, ip, flag)
	return u
}

func (v *validator) url(flag, raw string) *url.URL {
	if !isURL(raw) {
		v.problem(false, flag, "%q: want a URL of scheme, host and port, such as http://127.0.0.1:2379", raw)
		return nil
	}
	u, err := url.Parse(raw)
	invariant.Assert(err == nil, "isURL accepts only what can be parsed", raw)
	return u
}

// isURL accepts scheme, host and port, and nothing more.
func isURL(raw string) bool {
	u, err := url.Parse(raw)
	return err == nil && (u.Scheme == "http" || u.Scheme == "https") && u.Hostname() != "" && validPort(u.Port()) &&
		(u.Path == "" || u.Path == "/") && u.RawQuery == "" && u.User == nil && u.Fragment == ""
}

// listener notes that the setting listens on the address, which nothing else may do. Port 0 asks
// the system for a free one and clashes with nothing.
func (v *validator) listener(flag, address string) {
	if strings.HasSuffix(address, ":0") {
		return
	}
	if v.listeners == nil {
		v.listeners = map[string]string{}
	}
	other, taken := v.listeners[address]
	v.problem(!taken, flag, "%s is taken by --%s: give each its own port", address, other)
	v.listeners[address] = flag
}

// bindable reports whether a listener accepts the host: an address, localhost, or all interfaces.
func bindable(host string) bool {
	return host == "" || host == "localhost" || net.ParseIP(host) != nil
}

func validPort(port string) bool {
	n, err := strconv.ParseUint(port, 10, 16)
	return err == nil && (n > 0 || port == "0")
}

// HostPort returns the host and port of a URL that Validate has accepted, as package net wants
// them.
func HostPort(raw string) string {
	u, err := url.Parse(raw)
	if err != nil {
		return raw
	}
	return u.Host
}
