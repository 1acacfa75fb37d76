package bench

import (
	"bufio"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/okapi-kv/okapi/internal/zk/jute"
)

// A load is a number of requests to a cluster, made by as many clients at a time as it says. It is closed: a
// client sends the next request when it has the answer to one before.

// outcome is what a load took.
type outcome struct {
	requests       int
	elapsed        time.Duration
	servers        time.Duration // processor time of all members together
	clients        time.Duration // that of this process and of programs that it has run
	others         float64       // share of the processors that neither used
	p50, p99, most time.Duration // of the time until the answer
}

// under runs the load and adds up what it took.
func under(members []*member, load func() []time.Duration) outcome {
	var latencies []time.Duration
	o := spend(members, func() { latencies = load() })
	slices.Sort(latencies)
	if o.requests = len(latencies); o.requests > 0 {
		at := func(share float64) time.Duration { return latencies[int(share*float64(len(latencies)-1))] }
		o.p50, o.p99, o.most = at(0.5), at(0.99), at(1)
	}
	return o
}

// spend runs fn and returns the time that it took.
func spend(members []*member, fn func()) outcome {
	servers := func() (sum time.Duration) {
		for _, m := range members {
			sum += m.cpu()
		}
		return sum
	}
	start, before, busy := time.Now(), servers(), machineTime()
	o := outcome{clients: -processTime()}
	fn()
	o.clients += processTime()
	o.elapsed, o.servers = time.Since(start), servers()-before
	others := machineTime() - busy - o.servers - o.clients
	o.others = max(0, float64(others)/float64(o.elapsed)/float64(runtime.NumCPU()))
	return o
}

// rate is how many requests were answered in a second.
func (o outcome) rate() float64 { return float64(o.requests) / o.elapsed.Seconds() }

func (o outcome) String() string {
	return fmt.Sprintf("%7.0f/s, p50 %v, p99 %v, servers %.1f us", o.rate(), o.p50.Round(10*time.Microsecond),
		o.p99.Round(10*time.Microsecond), float64(o.servers)/1e3/float64(o.requests))
}

// grpcLoad makes total requests through conns connections, spread over the members, with callers callers.
type grpcLoad struct {
	t                     testing.TB
	members               []*member
	conns, callers, total int
}

// run calls request with every number below total, until one fails.
func (g grpcLoad) run(request func(kv etcdserverpb.KVClient, i int) error) []time.Duration {
	var clients []etcdserverpb.KVClient
	for i := range g.conns {
		c, err := grpc.NewClient("passthrough:///"+g.members[i%len(g.members)].client,
			grpc.WithTransportCredentials(insecure.NewCredentials()))
		if err != nil {
			g.t.Fatalf("dial: %v", err)
		}
		defer c.Close()
		clients = append(clients, etcdserverpb.NewKVClient(c))
	}
	var next atomic.Int64
	var wg sync.WaitGroup
	var failure sync.Once
	latencies := make([][]time.Duration, g.callers)
	for c := range g.callers {
		wg.Go(func() {
			kv := clients[c%len(clients)]
			for i := int(next.Add(1)) - 1; i < g.total; i = int(next.Add(1)) - 1 {
				start := time.Now()
				if err := request(kv, i); err != nil {
					failure.Do(func() { g.t.Errorf("request %d: %v", i, err) })
					next.Store(int64(g.total))
					return
				}
				latencies[c] = append(latencies[c], time.Since(start))
			}
		})
	}
	wg.Wait()
	return slices.Concat(latencies...)
}

func putRequest(i int) *etcdserverpb.PutRequest {
	return &etcdserverpb.PutRequest{Key: []byte(key(i)), Value: make([]byte, valueBytes)}
}

// put and get are requests of a grpcLoad; get reads what put has written, linearizably.
func put(kv etcdserverpb.KVClient, i int) error {
	_, err := kv.Put(context.Background(), putRequest(i))
	return err
}

func get(kv etcdserverpb.KVClient, i int) error {
	return getRange(kv, &etcdserverpb.RangeRequest{Key: []byte(key(i))})
}

// getAnywhere is get from the member that is asked, which may lag.
func getAnywhere(kv etcdserverpb.KVClient, i int) error {
	return getRange(kv, &etcdserverpb.RangeRequest{Key: []byte(key(i)), Serializable: true})
}

func getRange(kv etcdserverpb.KVClient, request *etcdserverpb.RangeRequest) error {
	r, err := kv.Range(context.Background(), request)
	if err == nil && r.Count != 1 {
		err = fmt.Errorf("key %s is not there", request.Key)
	}
	return err
}

// putMany puts n keys, from the one with number from on, in one transaction.
func putMany(kv etcdserverpb.KVClient, from, n int) error {
	txn := &etcdserverpb.TxnRequest{}
	for j := range n {
		txn.Success = append(txn.Success, &etcdserverpb.RequestOp{
			Request: &etcdserverpb.RequestOp_RequestPut{RequestPut: putRequest(from + j)},
		})
	}
	_, err := kv.Txn(context.Background(), txn)
	return err
}

// zkLoad makes total requests through conns connections, spread over the members, each with depth requests under
// way at a time.
type zkLoad struct {
	t                   testing.TB
	members             []*member
	conns, depth, total int
}

// run sends, for every number below total, the frame that request appends to a buffer.
func (z zkLoad) run(request func(b []byte, xid int32, i int) []byte) []time.Duration {
	var wg sync.WaitGroup
	latencies := make([][]time.Duration, z.conns)
	for c := range z.conns {
		wg.Go(func() {
			from, to := c*z.total/z.conns, (c+1)*z.total/z.conns
			var err error
			if latencies[c], err = z.runConn(z.members[c%len(z.members)].zooKeeper, from, to, request); err != nil {
				z.t.Errorf("connection %d: %v", c, err)
			}
		})
	}
	wg.Wait()
	return slices.Concat(latencies...)
}

// runConn opens a session, makes its part of the requests and closes the session.
func (z zkLoad) runConn(address string, from, to int, request func([]byte, int32, int) []byte) ([]time.Duration, error) {
	s := session{timeout: patience}
	if err := s.open(address); err != nil {
		return nil, err
	}
	defer s.socket.Close()
	if err := s.socket.SetDeadline(time.Time{}); err != nil {
		return nil, err
	}
	// A token for each request under way, with the time when it was sent; the sender holds one more, which it has
	// written and waits to put down.
	sent := make(chan time.Time, z.depth-1)
	done := make(chan error, 1)
	go func() { done <- send(s.socket, sent, from, to, request) }()
	replies := bufio.NewReaderSize(s.socket, 64<<10)
	var latencies []time.Duration
	var frame []byte
	var err error
	for range to - from {
		if frame, err = readReply(replies, frame); err != nil {
			return latencies, err
		}
		if code := int32(binary.BigEndian.Uint32(frame[12:])); code != 0 {
			return latencies, fmt.Errorf("request %d: error %d", len(latencies), code)
		}
		latencies = append(latencies, time.Since(<-sent))
	}
	if err := <-done; err != nil {
		return latencies, err
	}
	return latencies, s.end()
}

// send writes the requests from one number to another; what is ready goes out in one write.
func send(socket net.Conn, sent chan<- time.Time, from, to int, request func([]byte, int32, int) []byte) error {
	var b []byte
	for i := from; i < to; i++ {
		b = request(b, int32(i-from+1), i)
		select {
		case sent <- time.Now():
			if len(sent) < cap(sent) && i+1 < to {
				continue
			}
		default: // full: what is encoded goes out first, or nobody would ever answer it
			last := len(b)
			if _, err := socket.Write(b[:last]); err != nil {
				return err
			}
			b = b[:0]
			sent <- time.Now()
			continue
		}
		if _, err := socket.Write(b); err != nil {
			return err
		}
		b = b[:0]
	}
	return nil
}

// readReply reads a frame into memory that it may use again.
func readReply(r io.Reader, b []byte) ([]byte, error) {
	var length [4]byte
	if _, err := io.ReadFull(r, length[:]); err != nil {
		return b, err
	}
	n := int(binary.BigEndian.Uint32(length[:]))
	b = slices.Grow(b[:0], n)[:n]
	_, err := io.ReadFull(r, b)
	return b, err
}

// message appends a frame with a request.
func message(b []byte, xid int32, op jute.OpCode, body interface{ Append([]byte) []byte }) []byte {
	start := len(b)
	header := jute.RequestHeader{Xid: xid, Op: op}
	return jute.EndFrame(body.Append(header.Append(jute.BeginFrame(b))), start)
}

func openACL() []jute.ACL { return []jute.ACL{{Perms: 31, Scheme: "world", ID: "anyone"}} }

func createMessage(path string) func(b []byte, xid int32) []byte {
	return func(b []byte, xid int32) []byte {
		return message(b, xid, jute.OpCreate, &jute.CreateRequest{Path: path, Data: make([]byte, valueBytes), ACL: openACL()})
	}
}

// parent, create, setData and getData are requests of a zkLoad; parents come before create.
func parent(b []byte, xid int32, i int) []byte {
	if i == 0 {
		return createMessage("/bench")(b, xid)
	}
	return createMessage("/bench/p"+key(i - 1)[12:])(b, xid)
}

func create(b []byte, xid int32, i int) []byte { return createMessage(path(i))(b, xid) }

func setData(b []byte, xid int32, i int) []byte {
	return message(b, xid, jute.OpSetData, &jute.SetDataRequest{Path: path(i), Data: make([]byte, valueBytes), Version: -1})
}

func getData(b []byte, xid int32, i int) []byte {
	return message(b, xid, jute.OpGetData, &jute.PathWatchRequest{Path: path(i)})
}
