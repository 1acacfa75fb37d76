package telemetry

import (
	"net/http/httptest"
	"os"
	"regexp"
	"runtime"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// A member is seen as it stands at the moment of the question.
func TestReading(t *testing.T) {
	m := NewMetrics(About{MemberID: 0xab, Version: "1.2.3", EtcdVersion: "3.7.3", ClusterVersion: "3.7"})
	r := Reading{MemberID: 0xab}
	m.Watch(func() Reading { return r })
	for _, step := range []struct {
		name string
		r    Reading
		want string
	}{
		{"alone", Reading{MemberID: 0xab, CompactRevision: -1, KeyQuota: -1}, `
			etcd_server_has_leader 0
			etcd_server_is_leader 0
			etcd_server_is_learner 0
			etcd_debugging_mvcc_compact_revision -1
			etcd_server_quota_backend_bytes -1
		`},
		{"leader", Reading{MemberID: 0xab, LeaderID: 0xab, Committed: 9, Applied: 8, KeyBytes: 70, KeyQuota: 100}, `
			etcd_server_has_leader 1
			etcd_server_is_leader 1
			etcd_server_proposals_committed_total 9
			etcd_server_proposals_applied_total 8
			etcd_mvcc_db_total_size_in_bytes 70
			etcd_mvcc_db_total_size_in_use_in_bytes 70
			etcd_server_quota_backend_bytes 100
		`},
		{"learner", Reading{MemberID: 0xab, LeaderID: 1, Learner: true, Revision: 5, CompactRevision: 3, Keys: 2, Nodes: 4, Leases: 6, Sessions: 7,
			TreeBytes: 8, TreeQuota: 9, LogBytes: 10,
			DiskFree: 16, DiskReserve: 17, DiskLow: true, DiskFull: true,
			Alarms: []Alarm{{Member: 0xff, Type: "NOSPACE"}},
			Peers:  []Peer{{ID: 0xcd, Linked: true, BytesSent: 11, BytesReceived: 12, SendFailures: 13, ReceiveFailures: 14, Losses: 15}}}, `
			etcd_server_has_leader 1
			etcd_server_is_leader 0
			etcd_server_is_learner 1
			etcd_debugging_mvcc_current_revision 5
			etcd_debugging_mvcc_compact_revision 3
			etcd_debugging_mvcc_keys_total 2
			etcd_disk_wal_write_bytes_total 10
			okapi_tree_nodes 4
			okapi_leases 6
			okapi_disk_free_bytes 16
			okapi_disk_reserve_bytes 17
			okapi_disk_low 1
			okapi_disk_full 1
			okapi_sessions 7
			okapi_tree_size_bytes 8
			okapi_tree_quota_bytes 9
			etcd_debugging_server_alarms{alarm_type="NOSPACE",server_id="ff"} 1
			etcd_network_active_peers{Local="ab",Remote="cd"} 1
			etcd_network_known_peers{Local="ab",Remote="cd"} 1
			etcd_network_disconnected_peers_total{Local="ab",Remote="cd"} 15
			etcd_network_peer_sent_bytes_total{To="cd"} 11
			etcd_network_peer_received_bytes_total{From="cd"} 12
			etcd_network_peer_sent_failures_total{To="cd"} 13
			etcd_network_peer_received_failures_total{From="cd"} 14
			etcd_server_id{server_id="ab"} 1
			etcd_server_version{server_version="3.7.3"} 1
			etcd_cluster_version{cluster_version="3.7"} 1
			okapi_version{version="1.2.3"} 1
		`},
	} {
		r = step.r
		got := lines(t, m)
		for line := range strings.Lines(step.want) {
			if line = strings.TrimSpace(line); line != "" && !got[line] {
				t.Errorf("%s: no line %q", step.name, line)
			}
		}
	}
}

// lines are those that a scraper reads, without comments.
func lines(t *testing.T, m *Metrics) map[string]bool {
	t.Helper()
	w := httptest.NewRecorder()
	promhttp.HandlerFor(m.Registry(), promhttp.HandlerOpts{}).ServeHTTP(w, httptest.NewRequest("GET", "/metrics", nil))
	found := map[string]bool{}
	for line := range strings.Lines(w.Body.String()) {
		found[strings.TrimSpace(line)] = true
	}
	return found
}

// What is counted shows under its labels, and from the start where they are known; another member in the process
// counts for itself.
func TestCounters(t *testing.T) {
	m, other := NewMetrics(About{}), NewMetrics(About{})
	call := m.Call("pkg.S", "M", "unary", []string{"OK", "Canceled"})
	call.Started.Inc()
	call.Handled[1].Inc()
	m.SnapshotSent(0xa, true)
	m.SnapshotSent(0xa, false)
	m.SnapshotReceived(0xb, true)
	m.SnapshotReceived(0xb, false)
	m.Checked("readyz", "x", true)
	m.Checked("readyz", "x", false)
	m.LogSync.Observe(0.003)
	m.RoundTrip(0xc).Observe(0.5)
	m.Puts.Add(3)
	got := lines(t, m)
	for _, want := range []string{
		`grpc_server_started_total{grpc_method="M",grpc_service="pkg.S",grpc_type="unary"} 1`,
		`grpc_server_handled_total{grpc_code="OK",grpc_method="M",grpc_service="pkg.S",grpc_type="unary"} 0`,
		`grpc_server_handled_total{grpc_code="Canceled",grpc_method="M",grpc_service="pkg.S",grpc_type="unary"} 1`,
		`etcd_network_snapshot_send_success{To="a"} 1`,
		`etcd_network_snapshot_send_failures{To="a"} 1`,
		`etcd_network_snapshot_receive_success{From="b"} 1`,
		`etcd_network_snapshot_receive_failures{From="b"} 1`,
		`etcd_server_healthcheck{name="x",type="readyz"} 0`,
		`etcd_server_healthchecks_total{name="x",status="success",type="readyz"} 1`,
		`etcd_server_healthchecks_total{name="x",status="error",type="readyz"} 1`,
		`etcd_disk_wal_fsync_duration_seconds_bucket{le="0.002"} 0`,
		`etcd_disk_wal_fsync_duration_seconds_bucket{le="0.004"} 1`,
		`etcd_disk_wal_fsync_duration_seconds_bucket{le="8.192"} 1`,
		`etcd_network_peer_round_trip_time_seconds_bucket{To="c",le="3.2768"} 1`,
		`etcd_mvcc_put_total 3`,
	} {
		if !got[want] {
			t.Errorf("no line %q", want)
		}
	}
	if !lines(t, other)["etcd_mvcc_put_total 0"] {
		t.Error("another member's puts are counted too")
	}
}

// Everything that is shown says what it is.
func TestEveryMetricHasHelp(t *testing.T) {
	m := NewMetrics(About{})
	m.Watch(func() Reading { return Reading{Peers: []Peer{{ID: 1}}, Alarms: []Alarm{{Type: "NOSPACE"}}} })
	families, err := m.Registry().Gather()
	if err != nil {
		t.Fatal(err)
	}
	memory := false
	for _, f := range families {
		if f.GetHelp() == "" {
			t.Errorf("%s has no help", f.GetName())
		}
		memory = memory || f.GetName() == "process_resident_memory_bytes"
	}
	if !memory && runtime.GOOS == "linux" {
		t.Error("no process_resident_memory_bytes, which etcdctl check reads")
	}
}

// The page for operators lists what there is, and nothing else.
func TestEveryMetricIsDocumented(t *testing.T) {
	page, err := os.ReadFile("../../docs/operating/monitoring.md")
	if err != nil {
		t.Fatal(err)
	}
	written := map[string]bool{}
	for _, name := range regexp.MustCompile("`((?:etcd|okapi|grpc)_[a-z_]+)`").FindAllStringSubmatch(string(page), -1) {
		written[name[1]] = true
	}
	m := NewMetrics(About{})
	m.Watch(func() Reading { return Reading{Peers: []Peer{{ID: 1}}, Alarms: []Alarm{{Type: "NOSPACE"}}} })
	m.Call("S", "M", "unary", []string{"OK"})
	for _, ok := range []bool{true, false} {
		m.SnapshotSent(1, ok)
		m.SnapshotReceived(1, ok)
		m.Checked("livez", "x", ok)
	}
	m.RoundTrip(1).Observe(1)
	families, err := m.Registry().Gather()
	if err != nil {
		t.Fatal(err)
	}
	there := map[string]bool{}
	for _, f := range families {
		there[f.GetName()] = true
		if name := f.GetName(); !written[name] && !strings.HasPrefix(name, "go_") && !strings.HasPrefix(name, "process_") {
			t.Errorf("%s is not in the page", name)
		}
	}
	for name := range written {
		if !there[name] {
			t.Errorf("the page has %s, which there is not", name)
		}
	}
}
