package telemetry

import "github.com/prometheus/client_golang/prometheus"

// snapshotVecs count the snapshots that go between members. They are rare, so their labels are looked up each time.
type snapshotVecs struct {
	sent, sendFailures, received, receiveFailures *prometheus.CounterVec
}

func newSnapshotVecs(f factory) snapshotVecs {
	return snapshotVecs{
		sent:            f.counterVec("etcd_network_snapshot_send_success", "Total number of successful snapshot sends", "To"),
		sendFailures:    f.counterVec("etcd_network_snapshot_send_failures", "Total number of snapshot send failures", "To"),
		received:        f.counterVec("etcd_network_snapshot_receive_success", "Total number of successful snapshot receives", "From"),
		receiveFailures: f.counterVec("etcd_network_snapshot_receive_failures", "Total number of snapshot receive failures", "From"),
	}
}

// SnapshotSent counts a snapshot that another member has stored, or has not.
func (m *Metrics) SnapshotSent(to uint64, ok bool) {
	if ok {
		m.snapshots.sent.WithLabelValues(memberLabel(to)).Inc()
	} else {
		m.snapshots.sendFailures.WithLabelValues(memberLabel(to)).Inc()
	}
}

// SnapshotReceived counts a snapshot of another member that was stored here, or was not.
func (m *Metrics) SnapshotReceived(from uint64, ok bool) {
	if ok {
		m.snapshots.received.WithLabelValues(memberLabel(from)).Inc()
	} else {
		m.snapshots.receiveFailures.WithLabelValues(memberLabel(from)).Inc()
	}
}

// callVecs count gRPC calls, under the names that every gRPC server in Go uses (go-grpc-middleware).
type callVecs struct {
	started, handled, received, sent *prometheus.CounterVec
}

func newCallVecs(f factory) callVecs {
	labels := []string{"grpc_method", "grpc_service", "grpc_type"}
	return callVecs{
		started:  f.counterVec("grpc_server_started_total", "Total number of RPCs started on the server.", labels...),
		received: f.counterVec("grpc_server_msg_received_total", "Total number of RPC stream messages received on the server.", labels...),
		sent:     f.counterVec("grpc_server_msg_sent_total", "Total number of gRPC stream messages sent by the server.", labels...),
		handled: f.counterVec("grpc_server_handled_total", "Total number of RPCs completed on the server, regardless of success or failure.",
			append([]string{"grpc_code"}, labels...)...),
	}
}

// Call is what is counted of one method.
type Call struct {
	// Started counts calls; Received and Sent count messages, one each for a unary call that succeeds.
	Started, Received, Sent prometheus.Counter
	// Handled counts the calls that ended, by status code.
	Handled []prometheus.Counter
}

// Call resolves the counters of a method. kind is how gRPC servers call it: unary, client_stream, server_stream or
// bidi_stream; codes are the names of the status codes, by number.
func (m *Metrics) Call(service, method, kind string, codes []string) *Call {
	c := &Call{
		Started:  m.calls.started.WithLabelValues(method, service, kind),
		Received: m.calls.received.WithLabelValues(method, service, kind),
		Sent:     m.calls.sent.WithLabelValues(method, service, kind),
	}
	for _, code := range codes {
		c.Handled = append(c.Handled, m.calls.handled.WithLabelValues(code, method, service, kind))
	}
	return c
}

// checkVecs count the checks behind /livez and /readyz.
type checkVecs struct {
	last   *prometheus.GaugeVec
	counts *prometheus.CounterVec
}

func newCheckVecs(f factory) checkVecs {
	return checkVecs{
		last:   f.gaugeVec("etcd_server_healthcheck", "The result of each kind of healthcheck.", "type", "name"),
		counts: f.counterVec("etcd_server_healthchecks_total", "The total number of each kind of healthcheck.", "type", "name", "status"),
	}
}

// Checked counts a check of a kind (livez or readyz) that succeeded, or did not.
func (m *Metrics) Checked(kind, name string, ok bool) {
	status, value := "error", 0.0
	if ok {
		status, value = "success", 1
	}
	m.checks.last.WithLabelValues(kind, name).Set(value)
	m.checks.counts.WithLabelValues(kind, name, status).Inc()
}
