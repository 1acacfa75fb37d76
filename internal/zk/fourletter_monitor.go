package zk

import (
	"github.com/okapi-kv/okapi/internal/core/state"
	"github.com/okapi-kv/okapi/internal/telemetry"
)

// mntr shows figures for monitoring, one a line: name, tab, value (org.apache.zookeeper.server.command.MonitorCommand). Names
// and meanings are ZooKeeper's; what this server does not measure or does not have is left out.
func (a *answer) mntr() {
	m, status := monitor{a}, a.srv.replica.Status()
	m.text("version", a.srv.version)
	m.text("server_state", status.Role.String())
	if state := status.Role.peerState(); state != "" {
		m.text("peer_state", state)
	}
	m.traffic()
	m.state()
	m.process()
	m.disk(&status)
	m.cluster(&status)
	m.percentiles("readlatency", &a.srv.stats.reads)
	m.percentiles("updatelatency", &a.srv.stats.updates)
	if a.srv.logSyncs != nil {
		m.summary("fsynctime", a.srv.logSyncs)
	}
}

// monitor writes the lines of mntr.
type monitor struct{ *answer }

// traffic shows what clients do.
func (m monitor) traffic() {
	s := &m.srv.stats
	m.text("avg_latency", s.latencyMean())
	m.number("max_latency", s.latencyMax().Milliseconds())
	m.number("min_latency", s.latencyMin().Milliseconds())
	m.number("packets_received", s.received.Load())
	m.number("packets_sent", s.sent.Load())
	m.number("num_alive_connections", s.connections.Load())
	m.number("outstanding_requests", s.outstanding.Load())
	m.number("connection_rejected", s.rejected.Load())
	m.number("auth_failed_count", s.authFailed.Load())
}

// state shows what there is.
func (m monitor) state() {
	var nodes, ephemerals, sessions int
	var bytes int64
	// Nothing is allocated here for each session: many may ask at a time.
	at := m.srv.notifier.position()
	m.srv.replica.ReadTree(at.seq, at.zxid, func(v state.View) {
		nodes, bytes, sessions = v.NodeCount(), v.Sizes().TreeLive, state.Count(v).Sessions
		ephemerals = state.Ephemerals(v)
	})
	watches := m.srv.notifier.stats()
	m.number("znode_count", int64(nodes))
	m.number("watch_count", int64(watches.DataWatches+watches.ChildWatches))
	m.number("ephemerals_count", int64(ephemerals))
	m.number("approximate_data_size", bytes)
	m.number("global_sessions", int64(sessions))
	m.number("local_sessions", 0) // There are none in this system.
}

// process shows the process.
func (m monitor) process() {
	open, most := m.srv.host.Descriptors()
	if open >= 0 {
		m.number("open_file_descriptor_count", open)
	}
	if most >= 0 {
		m.number("max_file_descriptor_count", most)
	}
	m.number("uptime", m.srv.clock.Now().Sub(m.srv.epoch).Milliseconds())
}

// disk shows whether there is room. ZooKeeper has nothing like it.
func (m monitor) disk(s *Status) {
	m.flag("disk_low", s.DiskLow)
	m.flag("disk_full", s.DiskFull)
}

// cluster shows the other members.
func (m monitor) cluster(s *Status) {
	if s.Role == RoleLeader {
		m.number("learners", int64(s.Learners))
		m.number("synced_followers", int64(s.SyncedFollowers))
		m.number("synced_observers", int64(s.SyncedObservers))
	}
	if s.Role != RoleStandalone {
		m.number("quorum_size", int64(s.Voters))
	}
}

// summary shows durations, in milliseconds.
func (m monitor) summary(name string, s *telemetry.Summary) {
	m.text("avg_"+name, meanMS(s.Total(), s.Count()))
	m.number("min_"+name, s.Min().Milliseconds())
	m.number("max_"+name, s.Max().Milliseconds())
	m.number("cnt_"+name, s.Count())
	m.number("sum_"+name, s.Total().Milliseconds())
}

// percentiles shows durations with percentiles.
func (m monitor) percentiles(name string, s *telemetry.Summary) {
	m.summary(name, s)
	for _, p := range []struct {
		name  string
		share float64
	}{{"p50_", 0.5}, {"p95_", 0.95}, {"p99_", 0.99}, {"p999_", 0.999}} {
		m.number(p.name+name, s.Quantile(p.share).Milliseconds())
	}
}

func (m monitor) flag(name string, set bool) {
	value := int64(0)
	if set {
		value = 1
	}
	m.number(name, value)
}

func (m monitor) text(name, value string)         { m.printf("zk_%s\t%s\n", name, value) }
func (m monitor) number(name string, value int64) { m.printf("zk_%s\t%d\n", name, value) }
