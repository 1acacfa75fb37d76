package server

import (
	"context"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.uber.org/goleak"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
)

// runMember runs a member while fn looks at it, through its client port.
func runMember(t *testing.T, address string, flags []string, fn func(conn *grpc.ClientConn)) {
	t.Helper()
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	ready, ended := make(greeting, 1), make(chan error, 1)
	go func() { ended <- Run(ctx, load(t, flags...), slog.New(slog.DiscardHandler), ready) }()
	select {
	case <-ready:
	case err := <-ended:
		t.Fatalf("it ended instead of serving: %v", err)
	}
	conn, err := grpc.NewClient(address, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	fn(conn)
	conn.Close()
	stop()
	if err := <-ended; err != nil {
		t.Errorf("told to stop, it ended with %v", err)
	}
}

// A member says under which URLs clients reach it before it lets them in, again when they have changed, and not when
// they have not.
func TestMemberIsPublished(t *testing.T) {
	defer goleak.VerifyNone(t)
	address := freeAddress(t)
	flags := []string{
		"data-dir=" + t.TempDir(), "name=n1", "listen-client-urls=http://" + address,
		"listen-zookeeper=" + freeAddress(t), "listen-peer-urls=http://" + freeAddress(t),
	}
	index := uint64(0)
	for _, run := range []struct {
		advertise, want []string
		entries         uint64 // 1 is the new term's
	}{
		{nil, []string{"http://" + address}, 0},
		{nil, []string{"http://" + address}, 1},
		{[]string{"http://b:2379", "http://a:2379"}, []string{"http://a:2379", "http://b:2379"}, 2},
		{[]string{"http://a:2379", "http://b:2379"}, []string{"http://a:2379", "http://b:2379"}, 1},
	} {
		given := flags
		if run.advertise != nil {
			given = append(given, "advertise-client-urls="+strings.Join(run.advertise, ","))
		}
		runMember(t, address, given, func(conn *grpc.ClientConn) {
			list, err := pb.NewClusterClient(conn).MemberList(t.Context(), &pb.MemberListRequest{Linearizable: true})
			if err != nil || len(list.GetMembers()) != 1 {
				t.Fatalf("members %v, %v", list, err)
			}
			if diff := cmp.Diff(run.want, list.GetMembers()[0].GetClientURLs()); diff != "" || list.GetMembers()[0].GetName() != "n1" {
				t.Errorf("advertising %v, the member is %v", run.advertise, list.GetMembers()[0])
			}
			status, err := pb.NewMaintenanceClient(conn).Status(t.Context(), &pb.StatusRequest{})
			if err != nil {
				t.Fatal(err)
			}
			if n := status.GetRaftIndex() - index; run.entries != 0 && n != run.entries {
				t.Errorf("advertising %v, the log grew by %d entries, want %d", run.advertise, n, run.entries)
			}
			index = status.GetRaftIndex()
		})
	}
}

// The metrics of a member in its composition tell how it stands.
func TestMetricsOfAMember(t *testing.T) {
	defer goleak.VerifyNone(t)
	address := freeAddress(t)
	flags := []string{
		"data-dir=" + t.TempDir(), "listen-client-urls=http://" + address, "quota-backend-bytes=-1", "tree-quota-bytes=12345",
		"listen-zookeeper=" + freeAddress(t), "listen-peer-urls=http://" + freeAddress(t),
	}
	runMember(t, address, flags, func(conn *grpc.ClientConn) {
		kv := pb.NewKVClient(conn)
		for _, key := range []string{"a", "b", "/zk/x/y"} {
			if _, err := kv.Put(t.Context(), &pb.PutRequest{Key: []byte(key), Value: []byte("v")}); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := kv.Compact(t.Context(), &pb.CompactionRequest{Revision: 2}); err != nil {
			t.Fatal(err)
		}
		_, err := pb.NewMaintenanceClient(conn).Alarm(t.Context(), &pb.AlarmRequest{
			Action: pb.AlarmRequest_ACTIVATE, MemberID: 0xabc, Alarm: pb.AlarmType_CORRUPT,
		})
		if err != nil {
			t.Fatal(err)
		}
		client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
		resp, err := client.Get("http://" + address + "/metrics")
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		body, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Fatal(err)
		}
		for _, line := range []string{
			"etcd_server_has_leader 1", "etcd_server_is_leader 1", "etcd_server_is_learner 0", "etcd_server_leader_changes_seen_total 1",
			"etcd_server_quota_backend_bytes -1", "okapi_tree_quota_bytes 12345",
			"etcd_debugging_mvcc_keys_total 2", "okapi_tree_nodes 6", "etcd_debugging_mvcc_current_revision 4",
			"etcd_debugging_mvcc_compact_revision 2", "etcd_mvcc_put_total 3", "etcd_server_proposals_pending 0",
			`etcd_debugging_server_alarms{alarm_type="CORRUPT",server_id="abc"} 1`, `etcd_cluster_version{cluster_version="3.7"} 1`,
			`promhttp_metric_handler_requests_in_flight 1`,
		} {
			if !strings.Contains(string(body), "\n"+line+"\n") {
				t.Errorf("/metrics lacks %q", line)
			}
		}
		for _, name := range []string{"process_resident_memory_bytes ", "go_goroutines ", "etcd_disk_wal_fsync_duration_seconds_count "} {
			if !strings.Contains(string(body), "\n"+name) {
				t.Errorf("/metrics lacks %s", name)
			}
		}
	})
}
