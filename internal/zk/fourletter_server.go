package zk

import (
	"net"
	"strconv"
	"time"

	"github.com/okapi-kv/okapi/internal/core/state"
)

// Host tells what operators ask about the process and its machine.
type Host interface {
	// Folders are where the data is: snapshots and log, as absolute paths.
	Folders() (snapshots, log string)
	// Sizes are the bytes of the files in them.
	Sizes() (snapshots, log int64)
	// Descriptors are how many file descriptors are open and how many may be; -1 if that cannot be found out.
	Descriptors() (open, most int64)
	// Environment returns names and values for envi, in their order.
	Environment() [][2]string
}

// noHost is what a server knows that was told of no host.
type noHost struct{}

// Folders implements Host.
func (noHost) Folders() (snapshots, log string) { return "", "" }

// Sizes implements Host.
func (noHost) Sizes() (snapshots, log int64) { return 0, 0 }

// Descriptors implements Host.
func (noHost) Descriptors() (open, most int64) { return -1, -1 }

// Environment implements Host.
func (noHost) Environment() [][2]string { return nil }

// srvr describes the server; tools parse the lines in this order.
func (a *answer) srvr() {
	a.printf("Zookeeper version: %s\n", a.srv.version)
	a.summary()
}

// summary is the part that srvr and stat share (org.apache.zookeeper.server.ServerStats.toString, StatCommand).
func (a *answer) summary() {
	status, at := a.srv.replica.Status(), a.srv.notifier.position()
	nodes := 0
	a.srv.replica.ReadTree(at.seq, at.zxid, func(v state.View) { nodes = v.NodeCount() })
	a.printf("Latency min/avg/max: %d/%s/%d\n", a.srv.stats.latencyMin().Milliseconds(), a.srv.stats.latencyMean(), a.srv.stats.latencyMax().Milliseconds())
	a.printf("Received: %d\n", a.srv.stats.received.Load())
	a.printf("Sent: %d\n", a.srv.stats.sent.Load())
	a.printf("Connections: %d\n", a.srv.stats.connections.Load())
	a.printf("Outstanding: %d\n", a.srv.stats.outstanding.Load())
	a.printf("Zxid: 0x%x\n", uint64(at.zxid))
	a.printf("Mode: %v\n", status.Role)
	a.printf("Node count: %d\n", nodes)
	if status.Role == RoleLeader {
		a.printf("Proposal sizes last/min/max: %d/%d/%d\n", status.ProposalBytesLast, status.ProposalBytesMin, status.ProposalBytesMax)
	}
}

// srst begins the counters of the server anew.
func (a *answer) srst() {
	a.srv.stats.reset()
	a.printf("Server stats reset.\n")
}

// conf shows the settings, under ZooKeeper's names; those that this server does not have are left out
// (org.apache.zookeeper.server.ZooKeeperServer.dumpConf, QuorumZooKeeperServer.dumpConf).
func (a *answer) conf() {
	dataDir, logDir := a.srv.host.Folders()
	dataBytes, logBytes := a.srv.host.Sizes()
	a.printf("clientPort=%d\nsecureClientPort=-1\n", a.srv.settings.port)
	a.printf("dataDir=%s\ndataDirSize=%d\n", dataDir, dataBytes)
	a.printf("dataLogDir=%s\ndataLogSize=%d\n", logDir, logBytes)
	a.printf("tickTime=%d\n", a.srv.settings.tickTimeMS)
	a.printf("maxClientCnxns=%d\n", max(a.srv.settings.connectionsPerIP, 0))
	a.printf("minSessionTimeout=%d\nmaxSessionTimeout=%d\n", a.srv.limits.timeoutMinMS, a.srv.limits.timeoutMaxMS)
	a.printf("clientPortListenBacklog=-1\n")
	a.printf("serverId=%d\n", a.srv.settings.memberNumber)
	switch a.srv.replica.Status().Role {
	case RoleLeader, RoleFollower:
		a.printf("peerType=0\n")
	case RoleObserver:
		a.printf("peerType=1\n")
	}
}

// settings are what conf shows and nothing else needs.
type settings struct {
	port, connectionsPerIP int
	tickTimeMS             int32
	memberNumber           byte
}

// portOf returns the port of a listener; -1 if it has none.
func portOf(l net.Listener) int {
	_, port, err := net.SplitHostPort(l.Addr().String())
	if err != nil {
		return -1
	}
	n, err := strconv.Atoi(port)
	if err != nil {
		return -1
	}
	return n
}

// envi shows the environment of the process; clients take the server's version from it (org.apache.zookeeper.Environment).
func (a *answer) envi() {
	a.printf("Environment:\nzookeeper.version=%s\n", a.srv.version)
	for _, e := range a.srv.host.Environment() {
		a.printf("%s=%s\n", e[0], e[1])
	}
}

// dirs shows the sizes of the data on disk.
func (a *answer) dirs() {
	snapshots, log := a.srv.host.Sizes()
	a.printf("datadir_size: %d\nlogdir_size: %d\n", snapshots, log)
}

// javaDate formats a time as java.util.Date does.
func javaDate(t time.Time) string { return t.UTC().Format("Mon Jan 02 15:04:05 MST 2006") }
