package etcd

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/okapi-kv/okapi/internal/clock"
)

// tally is a counter that can be read.
type tally struct {
	prometheus.Counter
	n int
}

func (t *tally) Inc() { t.n++ }

func newTestAdmission(limit int, log io.Writer) *admission {
	return &admission{
		max: limit, refusals: &tally{}, clock: clock.Real{},
		log: slog.New(slog.NewTextHandler(log, nil)),
	}
}

// What is above the bound is closed at once, half open connections count, one that ends makes room once however often it is closed,
// and the log has a line a minute.
func TestConnectionsAreBounded(t *testing.T) {
	var log bytes.Buffer
	a := newTestAdmission(2, &log)
	bubble(t, 100, func(t *testing.T, f *front, l *scripted) {
		f.admission = a
		dial := func() net.Conn {
			client, server := net.Pipe()
			l.conns <- server
			synctest.Wait()
			return client
		}
		wantRefused := func() {
			t.Helper()
			if _, err := dial().Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
				t.Errorf("a connection too many ends with %v, want EOF", err)
			}
		}
		silent, client := dial(), dial()
		go io.WriteString(client, preface)
		conn, err := f.grpc.Accept()
		if err != nil {
			t.Fatal(err)
		}
		wantRefused()
		wantRefused()
		if n := strings.Count(log.String(), "\n"); n != 1 {
			t.Errorf("%d lines in the log, want 1:\n%s", n, log.String())
		}
		conn.Close()
		conn.Close()
		next := dial()
		go io.WriteString(next, preface)
		if conn, err = f.grpc.Accept(); err != nil {
			t.Fatal(err)
		}
		time.Sleep(refusalPeriod) // of the bubble; the silent one is closed meanwhile
		silent = dial()
		wantRefused()
		if n := strings.Count(log.String(), "\n"); n != 2 || !strings.Contains(log.String(), "connections=2 refused=2 ") {
			t.Errorf("%d lines in the log, want 2, of which the last counts both that were refused since:\n%s", n, log.String())
		}
		if got := a.refusals.(*tally).n; got != 3 {
			t.Errorf("%d are counted, want 3", got)
		}
		conn.Close()
		silent.Close()
	})
	if a.open != 0 {
		t.Errorf("%d connections count after all have ended", a.open)
	}
}

// A gRPC client that is refused hears of a member that cannot be reached, and gets through when there is room.
func TestClientAboveTheBound(t *testing.T) {
	s := serve(t, func(o *Options) { o.MaxConnections = 1 })
	get := &pb.RangeRequest{Key: []byte("k")}
	if _, err := s.kv.Range(context.Background(), get); err != nil {
		t.Fatal(err)
	}
	second := s.dial(t)
	if _, err := pb.NewKVClient(second).Range(context.Background(), get); status.Code(err) != codes.Unavailable {
		t.Errorf("a client too many gets %v, want %v", err, codes.Unavailable)
	}
	if resp, err := s.web().Get("http://okapi/version"); err == nil {
		resp.Body.Close()
		t.Error("HTTP is answered above the bound")
	}
	s.conn.Close()
	if _, err := pb.NewKVClient(second).Range(context.Background(), get, grpc.WaitForReady(true)); err != nil {
		t.Errorf("after the first has gone: %v", err)
	}
}
