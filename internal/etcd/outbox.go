package etcd

import (
	"context"
	"net"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"

	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/mem"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
)

// outbox bounds what waits for the client of one connection to read it.
//
// # Idea
//
// gRPC takes a message of any size from each call and keeps it until the client has room for it. A client that asks
// for much, again and again, and does not read would fill the memory. So a large message needs room in the
// outbox before it is handed to gRPC, and gives it back when gRPC lets go of its bytes; and a large answer needs a turn while it
// is made, which bounds those that are read from the store and wait for room. Who waits is the call, hence its
// client.
//
// # Invariants
//
//   - What is small never waits and is not counted: a client that leaves large answers unread can still ask for
//     little, and a watch goes on in small responses. It costs what gRPC gives each call anyway.
//   - Calls and streams have rooms of their own: the answer to a call is read by every client library at once, a
//     stream is read when the application likes, and may wait for what it asks by a call.
//   - An empty room takes one message of any size.
type outbox struct {
	calls, streams *room
}

// The bounds of outboxes.
const (
	// smallBytes is the size up to which a message is small: what gRPC takes from a call before it makes it wait.
	smallBytes = 64 << 10
	// roomBytes bounds the large messages in one room, and allRoomsBytes those in all of one kind together: with more
	// connections each has a smaller share.
	roomBytes     = 4 << 20
	allRoomsBytes = 256 << 20
	// turns is how many large answers of a kind are made at one time for one connection.
	turns = 16
)

// outboxes makes the outboxes of a server's connections. As the credentials of the gRPC server it sees each
// connection first; what it says of the client can be found from each of its calls.
type outboxes struct {
	credentials.TransportCredentials
	connections atomic.Int64
}

// ServerHandshake implements credentials.TransportCredentials.
func (o *outboxes) ServerHandshake(conn net.Conn) (net.Conn, credentials.AuthInfo, error) {
	conn, info, err := o.TransportCredentials.ServerHandshake(conn)
	if err != nil {
		return nil, nil, err
	}
	o.connections.Add(1)
	left := sync.OnceFunc(func() { o.connections.Add(-1) })
	return &counted{conn, left}, &withOutbox{info, outbox{newRoom(o.share), newRoom(o.share)}}, nil
}

// share is how many bytes of large messages a room may hold.
func (o *outboxes) share() int {
	return min(roomBytes, allRoomsBytes/int(max(o.connections.Load(), 1)))
}

// counted is a connection that is counted until it is closed.
type counted struct {
	net.Conn
	left func()
}

// Close implements net.Conn.
func (c *counted) Close() error {
	c.left()
	return c.Conn.Close()
}

// withOutbox is what is known of a client, and the outbox of its connection.
type withOutbox struct {
	credentials.AuthInfo
	outbox outbox
}

// outboxOf finds the outbox of the connection on which a call came; nil outside of one.
func outboxOf(ctx context.Context) *outbox {
	p, ok := peer.FromContext(ctx)
	if !ok {
		return nil
	}
	info, ok := p.AuthInfo.(*withOutbox)
	if !ok {
		return nil
	}
	return &info.outbox
}

// ofCalls is the room for the answers of calls; nil without an outbox.
func (o *outbox) ofCalls() *room {
	if o == nil {
		return nil
	}
	return o.calls
}

// ofStreams is the room for the messages of streams; nil without an outbox.
func (o *outbox) ofStreams() *room {
	if o == nil {
		return nil
	}
	return o.streams
}

// room holds large messages.
type room struct {
	share func() int
	turns chan struct{}

	mu      sync.Mutex
	held    int // bytes
	waiting []*guest
}

// guest is a message that waits to be let in.
type guest struct {
	bytes int
	in    chan struct{}
}

func newRoom(share func() int) *room {
	return &room{share: share, turns: make(chan struct{}, turns)}
}

// try takes room for so many bytes if there is some.
func (r *room) try(bytes int) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.waiting) > 0 || !r.fitsLocked(bytes) {
		return false
	}
	r.held += bytes
	return true
}

// take waits until there is room for so many bytes, or ctx is done.
func (r *room) take(ctx context.Context, bytes int) error {
	g := &guest{bytes, make(chan struct{})}
	r.mu.Lock()
	r.waiting = append(r.waiting, g)
	r.admitLocked()
	r.mu.Unlock()
	select {
	case <-g.in:
		return nil
	case <-ctx.Done():
		r.forget(g)
		return status.FromContextError(ctx.Err()).Err()
	}
}

func (r *room) fitsLocked(bytes int) bool { return r.held == 0 || r.held+bytes <= r.share() }

// forget takes back what a guest wanted, which may have been let in meanwhile.
func (r *room) forget(g *guest) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if i := slices.Index(r.waiting, g); i >= 0 {
		r.waiting = slices.Delete(r.waiting, i, i+1)
	} else {
		r.held -= g.bytes
	}
	r.admitLocked()
}

// give gives bytes back.
func (r *room) give(bytes int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.held -= bytes
	r.admitLocked()
}

func (r *room) admitLocked() {
	for len(r.waiting) > 0 && r.fitsLocked(r.waiting[0].bytes) {
		g := r.waiting[0]
		r.waiting = slices.Delete(r.waiting, 0, 1)
		r.held += g.bytes
		close(g.in)
	}
}

// outgoing is what a call has of the room for its messages. It is one goroutine's.
type outgoing struct {
	room     *room // nil outside of a connection: then nothing is bounded
	turn     bool
	reserved int // bytes, for messages that are not yet made
}

// outgoingKey finds it in the context of a call.
type outgoingKey struct{}

// withOutgoing gives a call its part of a room. The call gives it back with done.
func withOutgoing(ctx context.Context, r *room) (context.Context, *outgoing) {
	o := &outgoing{room: r}
	return context.WithValue(ctx, outgoingKey{}, o), o
}

// outgoingOf finds what a call has of the room; what it returns without any bounds nothing.
func outgoingOf(ctx context.Context) *outgoing {
	o, ok := ctx.Value(outgoingKey{}).(*outgoing)
	if !ok {
		return &outgoing{}
	}
	return o
}

// done gives back what the call has.
func (o *outgoing) done() {
	o.release()
	if o.turn {
		o.turn = false
		<-o.room.turns
	}
}

// hasTurn says whether an answer of so many bytes, which was read, may be kept: if it is small, or the call has or gets a
// turn. Otherwise it is to be dropped, and read again when awaitTurn has got one.
func (o *outgoing) hasTurn(bytes int) bool {
	if o.room == nil || o.turn || bytes <= smallBytes {
		return true
	}
	select {
	case o.room.turns <- struct{}{}:
		o.turn = true
	default:
	}
	return o.turn
}

// awaitTurn waits for the turn of a call that has none, as hasTurn has said.
func (o *outgoing) awaitTurn(ctx context.Context) error {
	select {
	case o.room.turns <- struct{}{}:
		o.turn = true
		return nil
	case <-ctx.Done():
		return status.FromContextError(ctx.Err()).Err()
	}
}

// tryReserve takes room for the next messages, of so many bytes together, if that is not small; false if there is none.
func (o *outgoing) tryReserve(bytes int) bool {
	o.release()
	if o.room == nil || bytes <= smallBytes {
		return true
	}
	if !o.room.try(bytes) {
		return false
	}
	o.reserved = bytes
	return true
}

// reserve is tryReserve, and waits for the room.
func (o *outgoing) reserve(ctx context.Context, bytes int) error {
	if o.tryReserve(bytes) {
		return nil
	}
	if err := o.room.take(ctx, bytes); err != nil {
		return err
	}
	o.reserved = bytes
	return nil
}

// release gives back what was reserved and not needed.
func (o *outgoing) release() {
	if o.reserved > 0 {
		o.room.give(o.reserved)
		o.reserved = 0
	}
}

// pack encodes a message, once there is room for it. Whoever makes a wireMessage has reserved the room for it, and releases
// what is left of that.
func (o *outgoing) pack(ctx context.Context, m any) (*wireMessage, error) {
	if p, ok := m.(proto.Message); ok {
		if err := o.reserve(ctx, proto.Size(p)); err != nil {
			return nil, err
		}
	}
	parts, err := newCodec().Marshal(m)
	bytes := min(parts.Len(), o.reserved)
	if err != nil || bytes <= smallBytes {
		return &wireMessage{parts}, err
	}
	o.reserved -= bytes
	return &wireMessage{lend(parts, o.room, bytes)}, nil
}

// loan is the room that a message has until gRPC frees it.
type loan struct {
	room    *room
	bytes   int
	inner   mem.Buffer // the part of the message by which it is known that all of it is free
	dropped runtime.Cleanup
}

// lend makes a message give its room back when gRPC frees it. gRPC forgets the messages of calls that have ended, and of
// connections, without freeing them: then the garbage collector gives the room back.
func lend(parts mem.BufferSlice, r *room, bytes int) mem.BufferSlice {
	watched := slices.IndexFunc(parts, func(b mem.Buffer) bool { return !mem.IsBelowBufferPoolingThreshold(b.Len()) })
	if watched < 0 { // gRPC does not say when it frees parts that are as small as these
		whole := parts.Materialize()
		parts.Free()
		parts, watched = mem.BufferSlice{mem.SliceBuffer(whole)}, 0
	}
	l := &loan{room: r, bytes: bytes, inner: parts[watched]}
	l.dropped = runtime.AddCleanup(l, r.give, bytes)
	data := l.inner.ReadOnlyData()
	parts[watched] = mem.NewBuffer(&data, l)
	return parts
}

// Get implements mem.BufferPool; nothing is got from a loan.
func (l *loan) Get(length int) *[]byte {
	b := make([]byte, length)
	return &b
}

// Put implements mem.BufferPool: gRPC has freed the message.
func (l *loan) Put(*[]byte) {
	l.dropped.Stop()
	l.inner.Free()
	l.room.give(l.bytes)
	runtime.KeepAlive(l)
}
