package zk

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"log/slog"
	"net"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/okapi-kv/okapi/internal/clock"
	"github.com/okapi-kv/okapi/internal/core/command"
	"github.com/okapi-kv/okapi/internal/core/state"
	"github.com/okapi-kv/okapi/internal/zk/jute"
)

// replica is a member of one: the real state machine behind a queue, applied by one goroutine.
type replica struct {
	order  sync.Mutex // held from applying a batch until everybody has been told
	tell   func(Publication)
	silent bool // see mute

	mu      sync.RWMutex // guards machine
	machine *state.Machine
	out     state.Output
	index   uint64
	last    Publication

	queue sync.Mutex
	more  sync.Cond
	// submitted is everything ever submitted, in order; applied how much of it was taken.
	submitted []submission
	taken     int
	stopped   bool
	// held keeps the applier from taking more. refuse is what Submit returns; lose makes the applier
	// report an unknown outcome for commands of this kind.
	held   bool
	refuse error
	lose   command.Kind

	syncs  chan struct{} // each ReadIndex takes one, if not nil
	rounds int
	deaf   bool // Touch reports false
	role   Role
	hangs  bool // so says Status of the disk
}

type submission struct {
	caller  command.Caller
	command command.Command
	done    func(state.Result, error)
}

var errLost = errors.New("outcome unknown")

func newReplica() *replica {
	r := &replica{machine: state.New(1), role: RoleStandalone}
	r.more.L = &r.queue
	r.carryOut([]submission{{command: &command.Bootstrap{Settings: command.Settings{TreePrefix: "/zk", TreeHistory: 600_000}}}})
	return r
}

func (r *replica) Submit(c command.Caller, cmd command.Command, done func(state.Result, error)) error {
	r.queue.Lock()
	defer r.queue.Unlock()
	if r.refuse != nil {
		return r.refuse
	}
	r.submitted = append(r.submitted, submission{c, cmd, done})
	r.more.Broadcast()
	return nil
}

func (r *replica) ReadIndex(ctx context.Context) error {
	r.queue.Lock()
	r.rounds++
	syncs := r.syncs
	r.queue.Unlock()
	if syncs == nil {
		return nil
	}
	select {
	case <-syncs:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (r *replica) ReadTree(seq uint64, zxid int64, fn func(state.View)) bool {
	r.mu.RLock()
	defer r.mu.RUnlock()
	v, ok := r.machine.View().TreeAt(seq, zxid)
	if ok {
		fn(v)
	}
	return ok
}

func (r *replica) Subscribe(fn func(Publication)) (Publication, func()) {
	r.order.Lock()
	defer r.order.Unlock()
	r.tell = fn
	return r.last, func() {
		r.order.Lock()
		defer r.order.Unlock()
		r.tell = nil
	}
}

func (r *replica) Touch(int64, *Heard) bool { return !r.with(func() bool { return r.deaf }) }

func (r *replica) Status() Status {
	r.queue.Lock()
	defer r.queue.Unlock()
	return Status{
		Member: 1, Leader: 1, Role: r.role, Voters: 3, Learners: 4, SyncedFollowers: 2, SyncedObservers: 1, DiskHangs: r.hangs,
		ProposalBytesLast: 3, ProposalBytesMin: 2, ProposalBytesMax: 9,
	}
}

func (r *replica) with(fn func() bool) bool {
	r.queue.Lock()
	defer r.queue.Unlock()
	return fn()
}

// set changes how the replica behaves.
func (r *replica) set(change func()) {
	r.queue.Lock()
	defer r.queue.Unlock()
	change()
	r.more.Broadcast()
}

// run applies what is submitted, in batches, until the replica is stopped.
func (r *replica) run() {
	for {
		r.queue.Lock()
		for !r.stopped && (r.held || r.taken == len(r.submitted)) {
			r.more.Wait()
		}
		batch := r.submitted[r.taken:]
		r.taken = len(r.submitted)
		lose, stopped := r.lose, r.stopped
		r.queue.Unlock()
		if stopped {
			for _, s := range batch {
				s.done(state.Result{}, errLost)
			}
			return
		}
		for i := range batch {
			if lose != 0 && batch[i].command.Kind() == lose {
				done := batch[i].done
				batch[i].done = func(state.Result, error) { done(state.Result{}, errLost) }
			}
		}
		r.carryOut(batch)
	}
}

// carryOut applies one entry of the batch and tells everybody, as a member does.
func (r *replica) carryOut(batch []submission) []state.Result {
	r.order.Lock()
	defer r.order.Unlock()
	results := r.apply(batch)
	events := r.out.Events
	for i, s := range batch {
		n := 0
		for n < len(events) && events[n].Seq <= results[i].Seq {
			n++
		}
		r.publish(Publication{Events: events[:n], Seq: results[i].Seq, Zxid: results[i].Zxid})
		events = events[n:]
		if s.done != nil {
			s.done(results[i], nil)
		}
	}
	end := Publication{Sessions: r.out.Leases, Seq: r.last.Seq, Zxid: r.last.Zxid}
	if r.silent {
		end.Sessions = nil
	}
	r.publish(end)
	return results
}

// install tells that a snapshot has replaced the state, by an equal one.
func (r *replica) install() {
	r.order.Lock()
	defer r.order.Unlock()
	r.publish(Publication{Seq: r.last.Seq, Zxid: r.last.Zxid, Installed: true})
}

func (r *replica) publish(p Publication) {
	r.last = Publication{Seq: p.Seq, Zxid: p.Zxid}
	if r.tell != nil {
		r.tell(p)
	}
}

// apply makes one entry of the batch.
func (r *replica) apply(batch []submission) []state.Result {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.index++
	e := state.Entry{Index: r.index, Term: 1, Batch: command.Batch{Time: int64(r.index)}}
	for _, s := range batch {
		e.Batch.Proposals = append(e.Batch.Proposals, command.Proposal{Caller: s.caller, Command: s.command})
	}
	r.machine.Apply(&e, &r.out, nil)
	return append([]state.Result(nil), r.out.Results...)
}

// do applies one command of somebody else.
func (r *replica) do(c command.Caller, cmd command.Command) state.Result {
	return r.carryOut([]submission{{caller: c, command: cmd}})[0]
}

// mute keeps what becomes of sessions from the server.
func (r *replica) mute() {
	r.order.Lock()
	defer r.order.Unlock()
	r.silent = true
}

// pending returns the commands that were submitted but not applied.
func (r *replica) pending() []submission {
	r.queue.Lock()
	defer r.queue.Unlock()
	return r.submitted[r.taken:]
}

// pipes is a listener of in-memory connections.
type pipes struct {
	in     chan net.Conn
	closed chan struct{}
	once   sync.Once
}

func newPipes() *pipes { return &pipes{in: make(chan net.Conn), closed: make(chan struct{})} }

func (p *pipes) Accept() (net.Conn, error) {
	select {
	case c := <-p.in:
		return c, nil
	case <-p.closed:
		return nil, net.ErrClosed
	}
}
func (p *pipes) Close() error   { p.once.Do(func() { close(p.closed) }); return nil }
func (p *pipes) Addr() net.Addr { return &net.UnixAddr{Name: "pipes"} }

// door is a server under test with the replica behind it, in a bubble in which time stands still
// while anybody works.
type door struct {
	t       *testing.T
	replica *replica
	server  *Server
	pipes   *pipes
	stop    context.CancelFunc
	stopped chan error
	log     bytes.Buffer
}

// inside runs test with a door in a bubble. The bubble ends only if no goroutine is left.
func inside(t *testing.T, options Options, test func(d *door)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		d := &door{t: t, replica: newReplica(), pipes: newPipes(), stopped: make(chan error, 1)}
		options.Listeners = []net.Listener{d.pipes}
		options.Replica, options.Publisher, options.Clock, options.MemberNumber = d.replica, d.replica, clock.Real{}, 7
		options.Random = bytes.NewReader(bytes.Repeat([]byte("0123456789abcdef"), 100))
		options.Logger = slog.New(slog.NewTextHandler(&d.log, &slog.HandlerOptions{Level: slog.LevelDebug}))
		options.Built = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
		d.server = New(options)
		var ctx context.Context
		ctx, d.stop = context.WithCancel(context.Background())
		go func() { d.stopped <- d.server.Run(ctx) }()
		go d.replica.run()
		test(d)
		d.replica.set(func() { d.replica.held, d.replica.syncs = false, nil })
		d.stop()
		if err := <-d.stopped; err != nil {
			t.Errorf("Run: %v", err)
		}
		d.replica.set(func() { d.replica.stopped = true })
		if t.Failed() {
			t.Logf("log of the server:\n%s", d.log.String())
		}
	})
}

// client speaks raw frames. It reads all the time, so that the server is never held up unless a
// test wants it.
type client struct {
	t      *testing.T
	socket net.Conn
	frames chan []byte
	xid    int32

	session  int64
	password []byte
	lastZxid int64
}

// dial connects without a handshake.
func (d *door) dial() *client {
	c := d.dialMute()
	go func() {
		defer close(c.frames)
		for {
			frame, err := readFrame(c.socket)
			if err != nil {
				return
			}
			c.frames <- frame
		}
	}()
	return c
}

// dialMute connects a client that does not read.
func (d *door) dialMute() *client {
	ours, theirs := net.Pipe()
	d.pipes.in <- theirs
	d.t.Cleanup(func() { _ = ours.Close() })
	return &client{t: d.t, socket: ours, frames: make(chan []byte, 10000)}
}

func readFrame(r io.Reader) ([]byte, error) {
	var head [4]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return nil, err
	}
	frame := make([]byte, binary.BigEndian.Uint32(head[:]))
	_, err := io.ReadFull(r, frame)
	return frame, err
}

// login connects and opens a session.
func (d *door) login() *client {
	d.t.Helper()
	c := d.dial()
	c.login(&jute.ConnectRequest{TimeoutMS: 10_000, Password: make([]byte, 16), HasReadOnly: true})
	return c
}

func (c *client) login(m *jute.ConnectRequest) *jute.ConnectResponse {
	c.t.Helper()
	c.sendFrame(m.Append(nil))
	frame, ok := <-c.frames
	if !ok {
		c.t.Fatal("the connection was closed instead of an answer to the connect request")
	}
	var r jute.Reader
	var answer jute.ConnectResponse
	r.Reset(frame)
	if answer.Decode(&r); r.Err() != nil {
		c.t.Fatalf("connect response %x: %v", frame, r.Err())
	}
	c.session, c.password = answer.SessionID, answer.Password
	return &answer
}

func (c *client) sendFrame(message []byte) {
	c.t.Helper()
	frame := jute.EndFrame(append(jute.BeginFrame(nil), message...), 0)
	if _, err := c.socket.Write(frame); err != nil {
		c.t.Fatalf("write: %v", err)
	}
}

// body is the body of a request; nil for none.
type body interface{ Append([]byte) []byte }

// many is several bodies in a row, as in a multi.
type many []body

func (m many) Append(b []byte) []byte {
	for _, one := range m {
		b = one.Append(b)
	}
	return b
}

// raw is bytes.
type raw []byte

func (m raw) Append(b []byte) []byte { return append(b, m...) }

// send sends a request under the next xid, which it returns.
func (c *client) send(op jute.OpCode, m body) int32 {
	c.t.Helper()
	c.xid++
	c.sendAs(c.xid, op, m)
	return c.xid
}

func (c *client) sendAs(xid int32, op jute.OpCode, m body) {
	c.t.Helper()
	message := (&jute.RequestHeader{Xid: xid, Op: op}).Append(nil)
	if m != nil {
		message = m.Append(message)
	}
	c.sendFrame(message)
}

// reply is one reply.
type reply struct {
	jute.ReplyHeader
	body []byte
}

// recv returns the next reply. It fails if zxids fall.
func (c *client) recv() reply {
	c.t.Helper()
	frame, ok := <-c.frames
	if !ok {
		c.t.Fatal("the connection was closed instead of a reply")
	}
	var r jute.Reader
	var h jute.ReplyHeader
	r.Reset(frame)
	h.Decode(&r)
	if r.Err() != nil {
		c.t.Fatalf("reply %x: %v", frame, r.Err())
	}
	if h.Zxid > 0 {
		if h.Zxid < c.lastZxid {
			c.t.Errorf("zxid of reply %d is %#x, after %#x", h.Xid, h.Zxid, c.lastZxid)
		}
		c.lastZxid = h.Zxid
	}
	return reply{h, frame[16:]}
}

// call sends a request and returns its reply.
func (c *client) call(op jute.OpCode, m body) reply {
	c.t.Helper()
	xid := c.send(op, m)
	r := c.recv()
	if r.Xid != xid {
		c.t.Fatalf("reply to xid %d has xid %d", xid, r.Xid)
	}
	return r
}

// want calls and insists on an error code.
func (c *client) want(code jute.ErrorCode, op jute.OpCode, m body) reply {
	c.t.Helper()
	r := c.call(op, m)
	if r.Err != code {
		c.t.Fatalf("opcode %d answers %d, want %d", op, r.Err, code)
	}
	return r
}

// wantClosed insists that nothing more comes but the end of the connection.
func (c *client) wantClosed() {
	c.t.Helper()
	if frame, ok := <-c.frames; ok {
		c.t.Fatalf("got %x, want the end of the connection", frame)
	}
}

// wantNothing insists that nothing has come, and not the end either.
func (c *client) wantNothing() {
	c.t.Helper()
	synctest.Wait()
	select {
	case frame, ok := <-c.frames:
		c.t.Fatalf("got %x (open: %v), want nothing yet", frame, ok)
	default:
	}
}

// decode decodes a body and insists that nothing is left.
func (r reply) decode(t *testing.T, m interface{ Decode(*jute.Reader) }) {
	t.Helper()
	var reader jute.Reader
	reader.Reset(r.body)
	m.Decode(&reader)
	if reader.Err() != nil || reader.Remaining() != 0 {
		t.Fatalf("body %x: %v, %d bytes left", r.body, reader.Err(), reader.Remaining())
	}
}

// Requests as tests need them most.

var open = []jute.ACL{{Perms: 31, Scheme: "world", ID: "anyone"}}

func create(path, data string) *jute.CreateRequest {
	return &jute.CreateRequest{Path: path, Data: []byte(data), ACL: open}
}

func get(path string) *jute.PathWatchRequest { return &jute.PathWatchRequest{Path: path} }
func set(path, data string) *jute.SetDataRequest {
	return &jute.SetDataRequest{Path: path, Data: []byte(data), Version: -1}
}

func (r reply) data(t *testing.T) string {
	t.Helper()
	var m jute.GetDataResponse
	r.decode(t, &m)
	return string(m.Data)
}
