package etcd

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/okapi-kv/okapi/internal/telemetry"
)

func TestCallsAreCounted(t *testing.T) {
	s := serve(t, nil)
	ctx := context.Background()
	put, empty := &pb.PutRequest{Key: []byte("k"), Value: []byte("v")}, &pb.PutRequest{}
	if _, err := s.kv.Put(ctx, put); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if _, err := s.kv.Put(ctx, empty); err == nil {
			t.Fatal("a put without a key succeeded")
		}
	}
	s.replica.set(func() { s.replica.status.LeaderID = 0 })
	if _, err := s.kv.Put(metadata.AppendToOutgoingContext(ctx, rpctypes.MetadataRequireLeaderKey, rpctypes.MetadataHasLeader), put); err == nil {
		t.Fatal("a put that wants a leader succeeded without one")
	}
	s.replica.set(func() { s.replica.status.LeaderID = 3 })
	r := &pb.RangeRequest{Key: []byte("k")}
	if _, err := readStream(ctx, s.kv, r); err != nil {
		t.Fatal(err)
	}
	get := &pb.RequestOp{Request: &pb.RequestOp_RequestRange{RequestRange: r}}
	if _, err := s.kv.Txn(ctx, &pb.TxnRequest{Success: []*pb.RequestOp{get, get}}); err != nil {
		t.Fatal(err)
	}
	_, _, metrics := s.fetch(t, "GET", "/metrics")
	kv := func(name, method, kind, rest string) string {
		return fmt.Sprintf(`grpc_server_%s{%sgrpc_method="%s",grpc_service="etcdserverpb.KV",grpc_type="%s"}`, name, rest, method, kind)
	}
	for line, want := range map[string]string{
		kv("started_total", "Put", "unary", ""):                                                                         "4",
		kv("msg_received_total", "Put", "unary", ""):                                                                    "4",
		kv("msg_sent_total", "Put", "unary", ""):                                                                        "1",
		kv("handled_total", "Put", "unary", `grpc_code="OK",`):                                                          "1",
		kv("handled_total", "Put", "unary", `grpc_code="InvalidArgument",`):                                             "2",
		kv("handled_total", "Put", "unary", `grpc_code="Unavailable",`):                                                 "1",
		kv("handled_total", "Put", "unary", `grpc_code="DataLoss",`):                                                    "0",
		kv("started_total", "RangeStream", "server_stream", ""):                                                         "1",
		kv("msg_received_total", "RangeStream", "server_stream", ""):                                                    "1",
		kv("msg_sent_total", "RangeStream", "server_stream", ""):                                                        "1",
		kv("handled_total", "RangeStream", "server_stream", `grpc_code="OK",`):                                          "1",
		kv("started_total", "Compact", "unary", ""):                                                                     "0",
		"etcd_mvcc_range_total":                                                                                         "3",
		"etcd_mvcc_txn_total":                                                                                           "1",
		"etcd_server_health_success":                                                                                    "0",
		`grpc_server_started_total{grpc_method="Watch",grpc_service="grpc.health.v1.Health",grpc_type="server_stream"}`: "0",
	} {
		if !strings.Contains(metrics, "\n"+line+" "+want+"\n") {
			t.Errorf("/metrics lacks %s %s", line, want)
		}
	}
	if strings.Contains(metrics, "etcd_network_client_grpc_sent_bytes_total 0\n") {
		t.Error("no bytes were sent")
	}
}

// The codec counts what it encodes and decodes, to the byte.
func TestBytesAreCounted(t *testing.T) {
	m := telemetry.NewMetrics(telemetry.About{})
	c := newCountedCodec(m)
	message := &pb.PutRequest{Key: []byte("key"), Value: []byte("value")}
	data, err := c.Marshal(message)
	if err != nil {
		t.Fatal(err)
	}
	got := &pb.PutRequest{}
	if err := c.Unmarshal(data, got); err != nil || !proto.Equal(got, message) {
		t.Errorf("got %v, %v", got, err)
	}
	data.Free()
	for _, name := range []string{"sent", "received"} {
		if v := gathered(t, m, "etcd_network_client_grpc_"+name+"_bytes_total"); v != float64(proto.Size(message)) {
			t.Errorf("%s %v bytes, want %d", name, v, proto.Size(message))
		}
	}
}

// gathered is the value of a counter without labels.
func gathered(t *testing.T, m *telemetry.Metrics, name string) float64 {
	t.Helper()
	families, err := m.Registry().Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() == name {
			return f.GetMetric()[0].GetCounter().GetValue()
		}
	}
	t.Fatalf("no metric %s", name)
	return 0
}

// Counting a call makes no garbage.
func TestCountingAllocatesNothing(t *testing.T) {
	c := &calls{guard: &gate{replica: newFakeReplica()}}
	c.resolve(map[string]grpc.ServiceInfo{
		"etcdserverpb.KV": {Methods: []grpc.MethodInfo{{Name: "Put"}}},
	}, telemetry.NewMetrics(telemetry.About{}))
	info := &grpc.UnaryServerInfo{FullMethod: pb.KV_Put_FullMethodName}
	next := func(context.Context, any) (any, error) { return nil, nil }
	ctx := context.Background()
	if n := testing.AllocsPerRun(100, func() { _, _ = c.unary(ctx, nil, info, next) }); n != 0 {
		t.Errorf("%v allocations a call", n)
	}
}

func TestCodeOf(t *testing.T) {
	for _, c := range []struct {
		err  error
		want codes.Code
	}{
		{nil, codes.OK}, {errors.New("x"), codes.Unknown}, {context.Canceled, codes.Canceled},
		{context.DeadlineExceeded, codes.DeadlineExceeded}, {errNotBootstrapped, codes.Unavailable},
		{status.Error(999, "no such code"), codes.Unauthenticated},
	} {
		if got := codeOf(c.err); got != c.want {
			t.Errorf("code of %v is %v, want %v", c.err, got, c.want)
		}
	}
}
