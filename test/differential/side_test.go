package differential

import (
	"fmt"
	"math"
	"testing"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/okapi-kv/okapi/test/harness"
)

// callTimeout bounds one call, and every wait for something that a healthy server does at once.
const callTimeout = 10 * time.Second

// answer is what a server said to one request.
type answer struct {
	// messages are its replies, several for a stream.
	messages []proto.Message
	// code and text are its status; codes.OK and "" after a success.
	code codes.Code
	text string
}

// answered makes an answer of what a unary call returned.
func answered[M proto.Message](reply M, err error) answer {
	if err != nil {
		return failed(err)
	}
	return answer{messages: []proto.Message{reply}}
}

func failed(err error) answer {
	s := status.Convert(err)
	return answer{code: s.Code(), text: s.Message()}
}

// side is one of the two servers, and the connection to it.
type side struct {
	name   string
	member *harness.Member

	conn  *grpc.ClientConn
	kv    pb.KVClient
	lease pb.LeaseClient
	watch pb.WatchClient
	// streams are the watch streams that the script has open, by slot; nil where there is none.
	streams [streamSlots]*stream
}

// dial connects to the server, which must run.
func (s *side) dial(t testing.TB) {
	t.Helper()
	conn, err := grpc.NewClient("passthrough:///"+s.member.Client,
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(math.MaxInt32), grpc.MaxCallSendMsgSize(math.MaxInt32)))
	if err != nil {
		t.Fatalf("dial %s: %v", s.name, err)
	}
	s.conn = conn
	s.kv, s.lease, s.watch = pb.NewKVClient(conn), pb.NewLeaseClient(conn), pb.NewWatchClient(conn)
}

// hangUp closes the connection and forgets the streams over it.
func (s *side) hangUp() {
	for slot, stream := range s.streams {
		if stream != nil {
			stream.close()
			s.streams[slot] = nil
		}
	}
	_ = s.conn.Close()
}

// newEtcd makes a side of the real etcd, as yet not started.
func newEtcd(t testing.TB, name string) *side {
	return &side{name: name, member: harness.NewEtcd(t, tools)}
}

// newOkapi makes a side of okapi, as yet not started.
func newOkapi(t testing.TB) *side {
	return &side{name: "okapi", member: harness.NewCluster(t, tools, 1, "--log-level", "info").Members[0]}
}

// start starts the server and connects to it.
func (s *side) start(t testing.TB) {
	t.Helper()
	s.member.Start()
	s.member.WaitReady()
	s.dial(t)
}

// stop kills the server.
func (s *side) stop() {
	if s.conn != nil {
		s.hangUp()
		s.conn = nil
	}
	s.member.Kill()
}

// String names the side.
func (s *side) String() string { return fmt.Sprintf("%s at %s", s.name, s.member.Client) }
