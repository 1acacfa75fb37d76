package robustness

import (
	"context"
	"fmt"
	"net"
	"strings"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"

	"github.com/okapi-kv/okapi/test/robustness/check"
)

// etcdCaller is a client of etcd's door, by bare gRPC: nothing repeats a call behind its back.
type etcdCaller struct {
	caller
	conns map[int]*grpc.ClientConn // by the number of the member
	seen  map[string]string        // what registers held when the client looked last
}

func newEtcdCaller(f *fleet, pinned int) *etcdCaller {
	return &etcdCaller{caller: newCaller(f, pinned), conns: map[int]*grpc.ClientConn{}, seen: map[string]string{}}
}

// conn returns the client's connection with the member in use.
func (c *etcdCaller) conn() *grpc.ClientConn {
	if conn := c.conns[c.at]; conn != nil {
		return conn
	}
	m := c.member(c.at)
	conn, err := grpc.NewClient("passthrough:///"+m.Client, grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(func(ctx context.Context, address string) (net.Conn, error) { return m.Dial(ctx, "tcp", address) }),
		grpc.WithConnectParams(grpc.ConnectParams{
			Backoff:           backoff.Config{BaseDelay: retryPause, Multiplier: 1, MaxDelay: retryPause},
			MinConnectTimeout: callPatience,
		}))
	if err != nil {
		panic(err) // The target is a constant with an address.
	}
	c.conns[c.at] = conn
	return conn
}

func (c *etcdCaller) close() {
	for _, conn := range c.conns {
		_ = conn.Close()
	}
}

func (c *etcdCaller) kv() pb.KVClient { return pb.NewKVClient(c.conn()) }

// load calls until ctx ends.
func (c *etcdCaller) load(ctx context.Context) {
	defer c.close()
	for ctx.Err() == nil {
		c.step(ctx)
		c.rest(ctx)
	}
}

// step draws a call and makes it.
func (c *etcdCaller) step(ctx context.Context) {
	switch n := c.random.IntN(100); {
	case n < 20:
		c.put(c.key(), nil)
	case n < 28:
		c.put(c.register(), nil)
	case n < 44:
		c.compareAndSwap(c.register())
	case n < 47:
		c.remove(c.register())
	case n < 52:
		c.remove(c.key())
	case n < 57:
		c.putTwo(c.key(), c.key())
	case n < 62:
		c.put(zkKey(c.shared()), nil)
	case n < 72:
		c.get(c.register(), true)
	case n < 82:
		c.get(c.key(), true)
	case n < 88:
		c.get(zkKey(c.shared()), true)
	case n < 95:
		c.get(c.key(), false)
	default:
		c.get(zkKey(c.shared()), false)
	}
}

// zkKey is the key of a znode.
func zkKey(path string) string { return "/zk" + path }

// call makes a call and records it. do gives the header of the answer, if there is one, and may say that the call was refused.
func (c *etcdCaller) call(o *check.Operation, do func(ctx context.Context) (*pb.ResponseHeader, error)) bool {
	ctx, cancel := context.WithTimeout(context.Background(), callPatience)
	defer cancel()
	header, err := do(ctx)
	o.Return = c.now()
	if err != nil {
		o.Outcome = outcomeOf(err)
	} else {
		o.Revision, o.Term = header.GetRevision(), header.GetRaftTerm()
	}
	c.record(o)
	if o.Outcome == check.NotDone || o.Outcome == check.Unknown {
		c.move()
		sleep(ctx, retryPause)
		return false
	}
	return true
}

// outcomeOf says what is known of a call that ended with an error.
func outcomeOf(err error) check.Outcome {
	s := status.Convert(err)
	switch s.Message() {
	case rpctypes.ErrorDesc(rpctypes.ErrGRPCLeaderChanged), rpctypes.ErrorDesc(rpctypes.ErrGRPCNoLeader):
		return check.NotDone // okapi says so only of what can never be done
	}
	switch s.Code() {
	case codes.FailedPrecondition, codes.InvalidArgument, codes.NotFound:
		return check.Refused
	case codes.Unavailable:
		if strings.Contains(s.Message(), "Error while dialing") {
			return check.NotDone // There was no connection to send it on.
		}
	}
	return check.Unknown
}

// put puts a key, which goes with its owner if there is one.
func (c *etcdCaller) put(key string, owner *lease) bool {
	o := c.begin("put")
	o.Changes = []check.Change{{Key: key, Value: c.value()}}
	r := &pb.PutRequest{Key: []byte(key), Value: []byte(o.Changes[0].Value)}
	if owner != nil {
		o.Owner, r.Lease = owner.Owner, owner.id
	}
	return c.call(o, func(ctx context.Context) (*pb.ResponseHeader, error) {
		answer, err := c.kv().Put(ctx, r)
		return answer.GetHeader(), err
	}) && o.Outcome == check.Done
}

func putOp(key, value string) *pb.RequestOp {
	return &pb.RequestOp{Request: &pb.RequestOp_RequestPut{RequestPut: &pb.PutRequest{Key: []byte(key), Value: []byte(value)}}}
}

// putTwo puts two keys at once.
func (c *etcdCaller) putTwo(a, b string) {
	if a == b {
		return
	}
	o := c.begin("txn of two puts")
	o.Changes = []check.Change{{Key: a, Value: c.value()}, {Key: b, Value: c.value()}}
	r := &pb.TxnRequest{Success: []*pb.RequestOp{putOp(a, o.Changes[0].Value), putOp(b, o.Changes[1].Value)}}
	c.call(o, func(ctx context.Context) (*pb.ResponseHeader, error) {
		answer, err := c.kv().Txn(ctx, r)
		return answer.GetHeader(), err
	})
}

// compareAndSwap puts a register if it holds what the client saw there last.
func (c *etcdCaller) compareAndSwap(key string) {
	o := c.begin("compare and swap")
	o.Conditional, o.Expected = true, c.seen[key]
	o.Changes = []check.Change{{Key: key, Value: c.value()}}
	holds := &pb.Compare{Key: []byte(key), Target: pb.Compare_VALUE, TargetUnion: &pb.Compare_Value{Value: []byte(o.Expected)}}
	if o.Expected == "" {
		holds = &pb.Compare{Key: []byte(key), Target: pb.Compare_CREATE, TargetUnion: &pb.Compare_CreateRevision{}}
	}
	r := &pb.TxnRequest{
		Compare: []*pb.Compare{holds}, Success: []*pb.RequestOp{putOp(key, o.Changes[0].Value)},
		Failure: []*pb.RequestOp{{Request: &pb.RequestOp_RequestRange{RequestRange: &pb.RangeRequest{Key: []byte(key)}}}},
	}
	c.call(o, func(ctx context.Context) (*pb.ResponseHeader, error) {
		answer, err := c.kv().Txn(ctx, r)
		switch {
		case err != nil:
		case answer.Succeeded:
			c.seen[key] = o.Changes[0].Value
		default:
			o.Outcome = check.Refused
			c.seen[key] = valueOf(answer.Responses[0].GetResponseRange())
		}
		return answer.GetHeader(), err
	})
}

// valueOf is what the answer to a get of one key shows.
func valueOf(r *pb.RangeResponse) string {
	if len(r.GetKvs()) == 0 {
		return ""
	}
	return string(r.Kvs[0].Value)
}

// remove deletes a key.
func (c *etcdCaller) remove(key string) {
	o := c.begin("delete")
	o.Changes = []check.Change{{Key: key}}
	c.call(o, func(ctx context.Context) (*pb.ResponseHeader, error) {
		answer, err := c.kv().DeleteRange(ctx, &pb.DeleteRangeRequest{Key: []byte(key)})
		if err == nil && answer.Deleted == 0 {
			o.Outcome = check.Refused
		}
		return answer.GetHeader(), err
	})
}

// get reads a key, by a linearizable read if it is to be fresh.
func (c *etcdCaller) get(key string, fresh bool) {
	o := c.begin("get")
	if !fresh {
		o.Kind = "serializable get"
	}
	c.call(o, func(ctx context.Context) (*pb.ResponseHeader, error) {
		answer, err := c.kv().Range(ctx, &pb.RangeRequest{Key: []byte(key), Serializable: !fresh})
		if err == nil {
			o.Read = &check.Reading{Key: key, Value: valueOf(answer), Fresh: fresh}
			if fresh {
				c.seen[key] = o.Read.Value
			}
		}
		return answer.GetHeader(), err
	})
}

// lease is one that a client owns.
type lease struct {
	*check.Owner
	id int64
}

// grant asks for a lease until there is one, or ctx ends. A lease of which the client does not hear has no keys.
func (c *etcdCaller) grant(ctx context.Context, ttl time.Duration) *lease {
	for ctx.Err() == nil {
		limited, cancel := context.WithTimeout(context.Background(), callPatience)
		sent := c.now()
		answer, err := pb.NewLeaseClient(c.conn()).LeaseGrant(limited, &pb.LeaseGrantRequest{TTL: int64(ttl / time.Second)})
		cancel()
		if err == nil {
			l := &lease{id: answer.ID, Owner: c.own(&check.Owner{
				Name: fmt.Sprintf("lease %#x", answer.ID), Timeout: time.Duration(answer.TTL) * time.Second, Quit: sent, Fate: check.Left,
			})}
			l.Meet(sent, c.now(), true)
			return l
		}
		c.move()
		sleep(ctx, retryPause)
	}
	return nil
}

// keepAlive asks a member once to keep a lease alive, and notes what it answers.
func (c *etcdCaller) keepAlive(l *lease) {
	ctx, cancel := context.WithTimeout(context.Background(), callPatience)
	defer cancel()
	sent := c.now()
	l.Quit = sent
	answer, err := func() (*pb.LeaseKeepAliveResponse, error) {
		stream, err := pb.NewLeaseClient(c.conn()).LeaseKeepAlive(ctx)
		if err == nil {
			err = stream.Send(&pb.LeaseKeepAliveRequest{ID: l.id})
		}
		if err != nil {
			return nil, err
		}
		return stream.Recv()
	}()
	switch {
	case err != nil:
		c.move()
		sleep(ctx, retryPause)
	case answer.TTL > 0:
		l.Meet(sent, c.now(), true)
	default:
		l.Told = c.now()
	}
}

// keepLease keeps leases with keys alive until ctx ends.
func (c *etcdCaller) keepLease(ctx context.Context) {
	defer c.close()
	for ctx.Err() == nil {
		l := c.grant(ctx, lastingTimeout)
		if l == nil {
			return
		}
		l.Fate = check.Kept
		for n := 0; ctx.Err() == nil && l.Told == 0; n++ {
			if n < 3 && !c.put(plainPrefix+"kept/"+c.value(), l) {
				n--
			}
			c.keepAlive(l)
			sleep(ctx, lastingTimeout/20)
		}
	}
}

// leaveLeases grants leases with keys, keeps each alive for a while, and then forgets or revokes it, until ctx ends.
func (c *etcdCaller) leaveLeases(ctx context.Context) {
	defer c.close()
	for ctx.Err() == nil {
		l := c.grant(ctx, time.Duration(3+c.random.IntN(3))*time.Second)
		if l == nil {
			return
		}
		for range 1 + c.random.IntN(3) {
			l.Quit = c.now()
			c.put(plainPrefix+"left/"+c.value(), l)
		}
		for until := c.now() + time.Duration(c.random.Int64N(int64(3*time.Second))); c.now() < until && l.Told == 0 && ctx.Err() == nil; {
			c.keepAlive(l)
			sleep(ctx, 300*time.Millisecond)
		}
		l.Fate = check.Abandoned
		if c.random.IntN(4) == 0 {
			c.revoke(l)
		}
	}
}

// revoke ends a lease.
func (c *etcdCaller) revoke(l *lease) {
	ctx, cancel := context.WithTimeout(context.Background(), callPatience)
	defer cancel()
	l.Fate, l.Quit = check.Left, c.now()
	if _, err := pb.NewLeaseClient(c.conn()).LeaseRevoke(ctx, &pb.LeaseRevokeRequest{ID: l.id}); err == nil {
		l.Fate = check.Closed
	}
}
