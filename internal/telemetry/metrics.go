package telemetry

import (
	"runtime"
	"strconv"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
)

// Metrics is everything that one member counts, and the registry in which it is found when somebody asks.
//
// Names and meanings are etcd's where etcd has the same thing, so that its dashboards and alerts work; what only
// okapi has begins with okapi_. Who counts gets the counters by this struct, with their labels resolved: counting is
// one atomic addition. What a member knows anyway is not counted but read when it is asked for; see Reading.
type Metrics struct {
	registry *prometheus.Registry

	// LeaderChanges counts the times that this member came to know a leader: the first, another one, or the same after it
	// knew none, as etcd counts.
	LeaderChanges prometheus.Counter
	// ProposalsFailed counts commands of etcd clients that ended here without a result.
	ProposalsFailed prometheus.Counter
	// ProposalsPending is how many commands there are whose outcome is open here.
	ProposalsPending prometheus.Gauge
	// ReadIndexesFailed counts linearizable reads that did not learn the commit index in time.
	ReadIndexesFailed prometheus.Counter

	// Puts, Deletes and Ranges count operations of etcd's API that succeeded here, those inside txns included; Txns counts
	// the requests that had more than one. Every member counts the puts and deletes that it applies, and the ranges
	// that it answers.
	Puts, Deletes, Ranges, Txns prometheus.Counter

	// LogSync takes the seconds that it takes to make a batch durable: one write to the log and its sync.
	LogSync prometheus.Observer
	// LogSyncs sums up what LogSync takes, for those who do not gather metrics.
	LogSyncs *Summary
	// Hash and HashKV take the seconds of etcd's calls of these names.
	Hash, HashKV prometheus.Observer

	// BytesReceived and BytesSent count encoded gRPC messages from and to clients.
	BytesReceived, BytesSent prometheus.Counter
	// ConnectionsRefused counts connections of etcd clients that were too many.
	ConnectionsRefused prometheus.Counter
	// HealthSuccesses and HealthFailures count the answers of /health.
	HealthSuccesses, HealthFailures prometheus.Counter

	snapshots  snapshotVecs
	calls      callVecs
	checks     checkVecs
	roundTrips *prometheus.HistogramVec
}

// About is what identifies a member in its metrics.
type About struct {
	// Version is okapi's release; EtcdVersion is the one that clients are told, and ClusterVersion the minor
	// version ("3.7") of it.
	Version, EtcdVersion, ClusterVersion string
	MemberID                             uint64
}

// NewMetrics makes the metrics of a member. Nothing is global: two members in one process count apart.
func NewMetrics(a About) *Metrics {
	f := factory{prometheus.NewRegistry()}
	logSyncs := &Summary{}
	m := &Metrics{
		registry:          f.registry,
		LeaderChanges:     f.counter("etcd_server_leader_changes_seen_total", "The number of leader changes seen."),
		ProposalsFailed:   f.counter("etcd_server_proposals_failed_total", "The total number of failed proposals seen."),
		ProposalsPending:  f.gauge("etcd_server_proposals_pending", "The current number of pending proposals to commit."),
		ReadIndexesFailed: f.counter("etcd_server_read_indexes_failed_total", "The total number of failed read indexes seen."),
		Puts:              f.counter("etcd_mvcc_put_total", "Total number of puts seen by this member."),
		Deletes:           f.counter("etcd_mvcc_delete_total", "Total number of deletes seen by this member."),
		Ranges:            f.counter("etcd_mvcc_range_total", "Total number of ranges seen by this member."),
		Txns:              f.counter("etcd_mvcc_txn_total", "Total number of txns seen by this member."),
		LogSync: observers{
			f.seconds("etcd_disk_wal_fsync_duration_seconds", "The latency distributions of fsync called by WAL, the write before it included.", 0.001, 14),
			logSyncs,
		},
		LogSyncs:      logSyncs,
		Hash:          f.seconds("etcd_mvcc_hash_duration_seconds", "The latency distribution of storage hash operation.", 0.01, 15),
		HashKV:        f.seconds("etcd_mvcc_hash_rev_duration_seconds", "The latency distribution of storage hash by revision operation.", 0.01, 15),
		BytesReceived: f.counter("etcd_network_client_grpc_received_bytes_total", "The total number of bytes received from grpc clients."),
		BytesSent:     f.counter("etcd_network_client_grpc_sent_bytes_total", "The total number of bytes sent to grpc clients."),
		ConnectionsRefused: f.counter("okapi_client_connections_refused_total",
			"Connections of etcd clients that were closed when accepted, because there were --max-client-connections."),
		HealthSuccesses: f.counter("etcd_server_health_success", "The total number of successful health checks"),
		HealthFailures:  f.counter("etcd_server_health_failures", "The total number of failed health checks"),
		snapshots:       newSnapshotVecs(f),
		calls:           newCallVecs(f),
		checks:          newCheckVecs(f),
		roundTrips: f.secondsVec("etcd_network_peer_round_trip_time_seconds",
			"Round-Trip-Time histogram between peers", 0.0001, 16, "To"),
	}
	for _, fact := range []struct{ name, help, label, value string }{
		{"etcd_server_id", "Server or member ID in hexadecimal format. 1 for 'server_id' label with current ID.", "server_id", memberLabel(a.MemberID)},
		{"etcd_server_version", "Which version is running. 1 for 'server_version' label with current version.", "server_version", a.EtcdVersion},
		{"etcd_server_go_version", "Which Go version server is running with. 1 for 'server_go_version' label with current version.", "server_go_version", runtime.Version()},
		{"etcd_cluster_version", "Which version is running. 1 for 'cluster_version' label with current cluster version", "cluster_version", a.ClusterVersion},
		{"okapi_version", "Which release of okapi is running: 1 for the label 'version'.", "version", a.Version},
	} {
		f.gaugeVec(fact.name, fact.help, fact.label).WithLabelValues(fact.value).Set(1)
	}
	f.registry.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return m
}

// Registry is where all metrics are gathered from; the HTTP handler that shows them registers its own there too.
func (m *Metrics) Registry() *prometheus.Registry { return m.registry }

// RoundTrip takes the seconds between a ping to another member and its answer.
func (m *Metrics) RoundTrip(member uint64) prometheus.Observer {
	return m.roundTrips.WithLabelValues(memberLabel(member))
}

// memberLabel is how etcd writes a member's id in labels.
func memberLabel(id uint64) string { return strconv.FormatUint(id, 16) }

// observers all observe the same.
type observers []prometheus.Observer

// Observe implements prometheus.Observer.
func (o observers) Observe(seconds float64) {
	for _, one := range o {
		one.Observe(seconds)
	}
}

// factory makes metrics and registers them.
type factory struct{ registry *prometheus.Registry }

func (f factory) counter(name, help string) prometheus.Counter {
	c := prometheus.NewCounter(prometheus.CounterOpts{Name: name, Help: help})
	f.registry.MustRegister(c)
	return c
}

func (f factory) gauge(name, help string) prometheus.Gauge {
	g := prometheus.NewGauge(prometheus.GaugeOpts{Name: name, Help: help})
	f.registry.MustRegister(g)
	return g
}

func (f factory) counterVec(name, help string, labels ...string) *prometheus.CounterVec {
	c := prometheus.NewCounterVec(prometheus.CounterOpts{Name: name, Help: help}, labels)
	f.registry.MustRegister(c)
	return c
}

func (f factory) gaugeVec(name, help string, labels ...string) *prometheus.GaugeVec {
	g := prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: name, Help: help}, labels)
	f.registry.MustRegister(g)
	return g
}

// seconds makes a histogram whose buckets double from least on; they are etcd's.
func (f factory) seconds(name, help string, least float64, buckets int) prometheus.Observer {
	h := prometheus.NewHistogram(prometheus.HistogramOpts{
		Name: name, Help: help, Buckets: prometheus.ExponentialBuckets(least, 2, buckets),
	})
	f.registry.MustRegister(h)
	return h
}

func (f factory) secondsVec(name, help string, least float64, buckets int, label string) *prometheus.HistogramVec {
	h := prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Name: name, Help: help, Buckets: prometheus.ExponentialBuckets(least, 2, buckets),
	}, []string{label})
	f.registry.MustRegister(h)
	return h
}
