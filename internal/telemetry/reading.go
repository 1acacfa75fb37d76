package telemetry

import "github.com/prometheus/client_golang/prometheus"

// Reading is how a member stands at one moment. It is taken when metrics are asked for, not kept up to date.
type Reading struct {
	MemberID uint64
	// LeaderID is 0 if no leader is known.
	LeaderID uint64
	Learner  bool
	// Committed and Applied are indexes of the log.
	Committed, Applied uint64
	// LogBytes is what this run has written to the log, in bytes.
	LogBytes uint64
	// DiskFree is how many bytes are free under the data directory, -1 if that is not known; below DiskReserve the disk is
	// low. DiskFull says that the cluster takes nothing that grows.
	DiskFree, DiskReserve int64
	DiskLow, DiskFull     bool

	// Revision and CompactRevision are etcd's.
	Revision, CompactRevision int64
	// Keys counts plain keys, Nodes znodes, Leases those of etcd clients, Sessions those of ZooKeeper clients.
	Keys, Nodes, Leases, Sessions int
	// KeyBytes and TreeBytes are logical sizes; the quotas bound them, -1 for no bound.
	KeyBytes, KeyQuota, TreeBytes, TreeQuota int64

	Alarms []Alarm
	Peers  []Peer
}

// Alarm is an alarm that is on; Type is NOSPACE or CORRUPT.
type Alarm struct {
	Member uint64
	Type   string
}

// Peer is what is known of the links with one other member. The numbers count since the start.
type Peer struct {
	ID uint64
	// Linked says that frames can be sent now.
	Linked                   bool
	BytesSent, BytesReceived uint64
	// SendFailures counts frames that were dropped, ReceiveFailures links from the member that broke, Losses links to it
	// that did.
	SendFailures, ReceiveFailures, Losses uint64
}

// figure is one metric without labels of its own that comes from a Reading.
type figure struct {
	name, help string
	kind       prometheus.ValueType
	value      func(*Reading) float64
}

// figures is the table of them. What etcd exports as a gauge stays one, although it only grows.
var figures = []figure{
	{"etcd_server_has_leader", "Whether or not a leader exists. 1 is existence, 0 is not.", prometheus.GaugeValue,
		func(r *Reading) float64 { return oneIf(r.LeaderID != 0) }},
	{"etcd_server_is_leader", "Whether or not this member is a leader. 1 if is, 0 otherwise.", prometheus.GaugeValue,
		func(r *Reading) float64 { return oneIf(r.LeaderID == r.MemberID) }},
	{"etcd_server_is_learner", "Whether or not this member is a learner. 1 if is, 0 otherwise.", prometheus.GaugeValue,
		func(r *Reading) float64 { return oneIf(r.Learner) }},
	{"etcd_server_proposals_committed_total", "The total number of consensus proposals committed.", prometheus.GaugeValue,
		func(r *Reading) float64 { return float64(r.Committed) }},
	{"etcd_server_proposals_applied_total", "The total number of consensus proposals applied.", prometheus.GaugeValue,
		func(r *Reading) float64 { return float64(r.Applied) }},
	{"etcd_server_quota_backend_bytes", "Bound on the logical size of the plain keys; -1 for none.", prometheus.GaugeValue,
		func(r *Reading) float64 { return float64(r.KeyQuota) }},
	{"etcd_disk_wal_write_bytes_total", "Total number of bytes written in WAL.", prometheus.GaugeValue,
		func(r *Reading) float64 { return float64(r.LogBytes) }},
	{"etcd_mvcc_db_total_size_in_bytes", "Logical size of the plain keys with their history, which is what the quota bounds.", prometheus.GaugeValue,
		func(r *Reading) float64 { return float64(r.KeyBytes) }},
	{"etcd_mvcc_db_total_size_in_use_in_bytes", "The same as etcd_mvcc_db_total_size_in_bytes: there is nothing to defragment.", prometheus.GaugeValue,
		func(r *Reading) float64 { return float64(r.KeyBytes) }},
	{"etcd_debugging_mvcc_keys_total", "Total number of keys.", prometheus.GaugeValue,
		func(r *Reading) float64 { return float64(r.Keys) }},
	{"etcd_debugging_mvcc_current_revision", "The current revision of store.", prometheus.GaugeValue,
		func(r *Reading) float64 { return float64(r.Revision) }},
	{"etcd_debugging_mvcc_compact_revision", "The revision of the last compaction in store.", prometheus.GaugeValue,
		func(r *Reading) float64 { return float64(r.CompactRevision) }},
	{"okapi_disk_free_bytes", "Bytes that are free on the disk of the data directory; -1 if the system does not tell.", prometheus.GaugeValue,
		func(r *Reading) float64 { return float64(r.DiskFree) }},
	{"okapi_disk_reserve_bytes", "Free bytes below which the disk of this member is low; 0 turns that off.", prometheus.GaugeValue,
		func(r *Reading) float64 { return float64(r.DiskReserve) }},
	{"okapi_disk_low", "1 if the disk of this member is low, 0 otherwise.", prometheus.GaugeValue,
		func(r *Reading) float64 { return oneIf(r.DiskLow) }},
	{"okapi_disk_full", "1 if too few members have room, so that what grows is refused, 0 otherwise.", prometheus.GaugeValue,
		func(r *Reading) float64 { return oneIf(r.DiskFull) }},
	{"okapi_tree_size_bytes", "Logical size of the znodes with their history.", prometheus.GaugeValue,
		func(r *Reading) float64 { return float64(r.TreeBytes) }},
	{"okapi_tree_quota_bytes", "Bound on the logical size of the znodes; -1 for none.", prometheus.GaugeValue,
		func(r *Reading) float64 { return float64(r.TreeQuota) }},
	{"okapi_tree_nodes", "Number of znodes.", prometheus.GaugeValue,
		func(r *Reading) float64 { return float64(r.Nodes) }},
	{"okapi_sessions", "Number of sessions of ZooKeeper clients in the cluster.", prometheus.GaugeValue,
		func(r *Reading) float64 { return float64(r.Sessions) }},
	{"okapi_leases", "Number of leases of etcd clients in the cluster.", prometheus.GaugeValue,
		func(r *Reading) float64 { return float64(r.Leases) }},
}

func oneIf(yes bool) float64 {
	if yes {
		return 1
	}
	return 0
}

// Watch has a member looked at, by read, whenever metrics are asked for. It is called once.
func (m *Metrics) Watch(read func() Reading) {
	w := &watched{read: read, figures: make([]*prometheus.Desc, len(figures))}
	for i, f := range figures {
		w.figures[i] = prometheus.NewDesc(f.name, f.help, nil, nil)
	}
	desc := func(name, help string, labels ...string) *prometheus.Desc {
		return prometheus.NewDesc(name, help, labels, nil)
	}
	w.alarms = desc("etcd_debugging_server_alarms",
		"Alarms for every member in cluster. 1 for 'server_id' label with current ID. 2 for 'alarm_type' label with type of this alarm", "server_id", "alarm_type")
	w.active = desc("etcd_network_active_peers", "The current number of active peer connections.", "Local", "Remote")
	w.known = desc("etcd_network_known_peers", "The current number of known peers.", "Local", "Remote")
	w.lost = desc("etcd_network_disconnected_peers_total", "The total number of disconnected peers.", "Local", "Remote")
	w.sent = desc("etcd_network_peer_sent_bytes_total", "The total number of bytes sent to peers.", "To")
	w.received = desc("etcd_network_peer_received_bytes_total", "The total number of bytes received from peers.", "From")
	w.sendFailures = desc("etcd_network_peer_sent_failures_total", "The total number of send failures from peers.", "To")
	w.receiveFailures = desc("etcd_network_peer_received_failures_total", "The total number of receive failures from peers.", "From")
	m.registry.MustRegister(w)
}

// watched is the collector behind Watch.
type watched struct {
	read    func() Reading
	figures []*prometheus.Desc

	alarms, active, known, lost                   *prometheus.Desc
	sent, received, sendFailures, receiveFailures *prometheus.Desc
}

// Describe implements prometheus.Collector.
func (w *watched) Describe(to chan<- *prometheus.Desc) {
	for _, d := range w.figures {
		to <- d
	}
	for _, d := range []*prometheus.Desc{
		w.alarms, w.active, w.known, w.lost, w.sent, w.received, w.sendFailures, w.receiveFailures,
	} {
		to <- d
	}
}

// Collect implements prometheus.Collector.
func (w *watched) Collect(to chan<- prometheus.Metric) {
	r := w.read()
	for i := range figures {
		to <- prometheus.MustNewConstMetric(w.figures[i], figures[i].kind, figures[i].value(&r))
	}
	for _, a := range r.Alarms {
		to <- prometheus.MustNewConstMetric(w.alarms, prometheus.GaugeValue, 1, memberLabel(a.Member), a.Type)
	}
	local := memberLabel(r.MemberID)
	for i := range r.Peers {
		p := &r.Peers[i]
		id := memberLabel(p.ID)
		to <- prometheus.MustNewConstMetric(w.active, prometheus.GaugeValue, oneIf(p.Linked), local, id)
		to <- prometheus.MustNewConstMetric(w.known, prometheus.GaugeValue, 1, local, id)
		to <- prometheus.MustNewConstMetric(w.lost, prometheus.CounterValue, float64(p.Losses), local, id)
		to <- prometheus.MustNewConstMetric(w.sent, prometheus.CounterValue, float64(p.BytesSent), id)
		to <- prometheus.MustNewConstMetric(w.received, prometheus.CounterValue, float64(p.BytesReceived), id)
		to <- prometheus.MustNewConstMetric(w.sendFailures, prometheus.CounterValue, float64(p.SendFailures), id)
		to <- prometheus.MustNewConstMetric(w.receiveFailures, prometheus.CounterValue, float64(p.ReceiveFailures), id)
	}
}
