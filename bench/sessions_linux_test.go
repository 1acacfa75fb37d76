package bench

import (
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/okapi-kv/okapi/internal/zk/jute"
)

// session is one ZooKeeper client that does little. It is used by one goroutine at a time.
type session struct {
	id       int64
	password []byte
	timeout  time.Duration // as asked for; the server's answer replaces it
	zxid     int64         // the newest that it was shown
	socket   net.Conn
	xid      int32
}

// patience bounds a call of a session that should be answered at once.
const patience = 30 * time.Second

// open connects to a member: with a new session, or again with the one that there is.
func (s *session) open(address string) error {
	socket, err := net.DialTimeout("tcp", address, patience)
	if err != nil {
		return err
	}
	password := s.password
	if password == nil {
		password = make([]byte, 16)
	}
	m := jute.ConnectRequest{TimeoutMS: int32(s.timeout.Milliseconds()), SessionID: s.id, Password: password, LastZxidSeen: s.zxid}
	answer, err := exchange(socket, m.Append(nil))
	if err != nil {
		socket.Close()
		return fmt.Errorf("open session: %w", err)
	}
	var r jute.Reader
	var got jute.ConnectResponse
	r.Reset(answer)
	if got.Decode(&r); r.Err() != nil {
		socket.Close()
		return fmt.Errorf("open session: %w", r.Err())
	}
	if got.SessionID == 0 {
		socket.Close()
		return errExpired
	}
	s.socket, s.id, s.password = socket, got.SessionID, slices.Clone(got.Password)
	s.timeout = time.Duration(got.TimeoutMS) * time.Millisecond
	return nil
}

// errExpired says that the server has no such session any more.
var errExpired = fmt.Errorf("session has expired")

// exchange sends a message as a frame and returns the next frame.
func exchange(socket net.Conn, message []byte) ([]byte, error) {
	if err := socket.SetDeadline(time.Now().Add(patience)); err != nil {
		return nil, err
	}
	if _, err := socket.Write(jute.EndFrame(append(jute.BeginFrame(nil), message...), 0)); err != nil {
		return nil, err
	}
	return readReply(socket, nil)
}

// call makes a request and returns the body of the reply, which must not be an error.
func (s *session) call(op jute.OpCode, body interface{ Append([]byte) []byte }) ([]byte, error) {
	s.xid++
	message := (&jute.RequestHeader{Xid: s.xid, Op: op}).Append(nil)
	if body != nil {
		message = body.Append(message)
	}
	reply, err := exchange(s.socket, message)
	if err != nil {
		return nil, fmt.Errorf("opcode %d: %w", op, err)
	}
	if code := int32(binary.BigEndian.Uint32(reply[12:])); code != 0 {
		return nil, fmt.Errorf("opcode %d: error %d", op, code)
	}
	s.zxid = max(s.zxid, int64(binary.BigEndian.Uint64(reply[4:])))
	return reply[16:], nil
}

func (s *session) ping() error { _, err := s.call(jute.OpPing, nil); return err }

// end closes the session, and the socket in any case.
func (s *session) end() error {
	defer s.socket.Close()
	_, err := s.call(jute.OpCloseSession, nil)
	return err
}

// createEphemeral makes a node that ends with the session.
func (s *session) createEphemeral(path string) error {
	_, err := s.call(jute.OpCreate, &jute.CreateRequest{Path: path, ACL: openACL(), Flags: 1})
	return err
}

// callers is how many goroutines make the calls of many sessions.
const callers = 200

// each calls fn for every number below n, from several goroutines, and fails the test with the first error.
func each(t testing.TB, n int, fn func(i int) error) {
	t.Helper()
	var wg sync.WaitGroup
	errs := make([]error, callers)
	for c := range callers {
		wg.Go(func() {
			for i := c; i < n && errs[c] == nil; i += callers {
				if err := fn(i); err != nil {
					errs[c] = fmt.Errorf("%d: %w", i, err)
				}
			}
		})
	}
	wg.Wait()
	for _, err := range errs {
		if err != nil {
			t.Fatal(err)
		}
	}
}

// openSessions opens n sessions at a member; they are closed with the test, sockets alone.
func openSessions(t testing.TB, m *member, n int, timeout time.Duration) []*session {
	t.Helper()
	all := make([]*session, n)
	each(t, n, func(i int) error {
		all[i] = &session{timeout: timeout}
		return all[i].open(m.zooKeeper)
	})
	t.Cleanup(func() {
		for _, s := range all {
			_ = s.socket.Close()
		}
	})
	return all
}

// word asks a member with a four-letter word.
func (m *member) word(name string) string {
	m.t.Helper()
	socket, err := net.DialTimeout("tcp", m.zooKeeper, patience)
	if err != nil {
		m.t.Fatalf("%s: %v", name, err)
	}
	defer socket.Close()
	_ = socket.SetDeadline(time.Now().Add(2 * patience)) // An error shows in what follows.
	if _, err := io.WriteString(socket, name); err != nil {
		m.t.Fatalf("%s: %v", name, err)
	}
	answer, err := io.ReadAll(socket)
	if err != nil {
		m.t.Fatalf("%s: %v", name, err)
	}
	return string(answer)
}

// figure is one of those of mntr.
func (m *member) figure(name string) int64 {
	m.t.Helper()
	for line := range strings.Lines(m.word("mntr")) {
		if value, ok := strings.CutPrefix(line, "zk_"+name+"\t"); ok {
			n, err := strconv.ParseInt(strings.TrimSpace(value), 10, 64)
			if err != nil {
				m.t.Fatalf("%s: %v", name, err)
			}
			return n
		}
	}
	m.t.Fatalf("mntr has no %s", name)
	return 0
}

// bystander is a client that others must not hurt: it reads and writes all the time.
type bystander struct {
	t         testing.TB
	session   *session
	stop      chan struct{}
	ended     sync.WaitGroup
	latencies []time.Duration
	err       error
}

// newBystander starts one at a member.
func newBystander(t testing.TB, m *member) *bystander {
	t.Helper()
	b := &bystander{t: t, session: openSessions(t, m, 1, 20*time.Second)[0]}
	if _, err := b.session.call(jute.OpCreate, &jute.CreateRequest{Path: "/bystander", ACL: openACL(), Flags: 2}); err != nil {
		t.Fatal(err)
	}
	return b
}

// watch runs it while something goes on, and returns the median, the 99th percentile and the longest of its latencies.
func (b *bystander) watch(fn func()) string {
	b.t.Helper()
	b.stop, b.latencies = make(chan struct{}), nil
	b.ended.Go(func() {
		for b.err == nil {
			select {
			case <-b.stop:
				return
			case <-time.After(2 * time.Millisecond):
			}
			start := time.Now()
			_, b.err = b.session.call(jute.OpCreate, &jute.CreateRequest{Path: "/bystander-", ACL: openACL(), Flags: 3})
			if b.err == nil {
				_, b.err = b.session.call(jute.OpGetData, &jute.PathWatchRequest{Path: "/zookeeper"})
			}
			b.latencies = append(b.latencies, time.Since(start))
		}
	})
	fn()
	close(b.stop)
	b.ended.Wait()
	if b.err != nil {
		b.t.Fatalf("a bystander was hurt: %v", b.err)
	}
	if len(b.latencies) == 0 {
		return "no bystander"
	}
	slices.Sort(b.latencies)
	at := func(share float64) time.Duration {
		return b.latencies[int(share*float64(len(b.latencies)-1))].Round(10 * time.Microsecond)
	}
	return fmt.Sprintf("a bystander's write and read: p50 %v, p99 %v, longest %v", at(0.5), at(0.99), at(1))
}

// mode is what srvr says of the member's part in its cluster.
func (m *member) mode() string {
	m.t.Helper()
	for line := range strings.Lines(m.word("srvr")) {
		if mode, ok := strings.CutPrefix(line, "Mode: "); ok {
			return strings.TrimSpace(mode)
		}
	}
	return ""
}
