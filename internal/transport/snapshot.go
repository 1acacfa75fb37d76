package transport

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"log/slog"
	"net"
	"strconv"
	"time"

	"github.com/okapi-kv/okapi/internal/invariant"
)

// SnapshotHeaderBytesMax is the size in bytes of the largest header of a snapshot stream.
const SnapshotHeaderBytesMax = 1 << 20

// A snapshot stream is a sequence of frames: the header, then parts that begin with one of
// these bytes. The end carries the length and the CRC32C of the whole body, so that a stream
// that was cut between two frames is not taken for a short one. The receiver's verdict is one
// frame: a byte, and the text of the refusal.
const (
	partBody  = 0
	partEnd   = 1 // length 8, CRC32C 4
	partAbort = 2 // text

	partBytesMax = 1 + chunkBytes

	verdictStored  = 0
	verdictRefused = 1

	textBytesMax = 512
)

var (
	errSnapshotAborted  = errors.New("sender gave up the snapshot")
	errSnapshotRefused  = errors.New("peer refused the snapshot")
	errSnapshotCut      = errors.New("connection failed before the peer had stored the snapshot")
	errSnapshotDamaged  = errors.New("snapshot stream is damaged")
	errSnapshotUnread   = errors.New("handler accepted a snapshot that it did not read to the end")
	errSnapshotProtocol = errors.New("unexpected frame in a snapshot stream")
)

// snapshotJob is one SendSnapshot.
type snapshotJob struct {
	header []byte
	body   io.ReadCloser
}

// SendSnapshot streams a snapshot to a member, on a connection of its own, and closes body.
// It does not block, except for closing body when it refuses. header has 1 to
// SnapshotHeaderBytesMax bytes and must not be changed. body.Read must wait for nothing but
// the disk. SnapshotSent is called exactly once from another goroutine, with false at once if
// the member is unknown or a snapshot to it is under way already. After Run has returned
// nobody is told.
func (t *Transport) SendSnapshot(to uint64, header []byte, body io.ReadCloser) {
	invariant.Assert(len(header) > 0 && len(header) <= SnapshotHeaderBytesMax, "a snapshot header has 1 to SnapshotHeaderBytesMax bytes")
	p := t.peer(to)
	if p == nil || !p.giveJob(&snapshotJob{header: header, body: body}) {
		_ = body.Close()
		t.reports.snapshotFailed(to)
	}
}

// giveJob takes a snapshot if none is under way.
func (p *peer) giveJob(job *snapshotJob) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed || p.busy {
		return false
	}
	p.job, p.busy = job, true
	signal(p.jobs)
	return true
}

// takeJob gives the snapshot that waits, or nil.
func (p *peer) takeJob() *snapshotJob {
	p.mu.Lock()
	defer p.mu.Unlock()
	job := p.job
	p.job = nil
	return job
}

func (p *peer) endJob() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.busy = false
}

// close lets no snapshot begin any more and gives the one that waits, or nil.
func (p *peer) close() *snapshotJob {
	p.mu.Lock()
	defer p.mu.Unlock()
	job := p.job
	p.job, p.closed = nil, true
	return job
}

// runSnapshots sends the snapshots for p, one after the other.
func (t *Transport) runSnapshots(ctx context.Context, p *peer) {
	for {
		select {
		case <-ctx.Done():
			return // who ended ctx has closed, or closes, p and what waits in it
		case <-p.jobs:
		}
		if job := p.takeJob(); job != nil {
			t.runSnapshot(ctx, p, job)
		}
	}
}

// runSnapshot sends one snapshot and tells how it ended.
func (t *Transport) runSnapshot(ctx context.Context, p *peer, job *snapshotJob) {
	member := slog.String("member", strconv.FormatUint(p.id, 16))
	began := time.Now()
	sent, err := t.sendSnapshot(ctx, p, job)
	_ = job.body.Close()
	if err != nil {
		t.log.Warn("snapshot not sent", member, slog.Int64("bytes", sent), slog.Any("reason", err))
	} else {
		t.log.Info("snapshot sent", member, slog.Int64("bytes", sent), slog.Duration("took", time.Since(began)))
	}
	p.endJob()
	t.options.Handler.SnapshotSent(p.id, err == nil)
}

func (t *Transport) sendSnapshot(ctx context.Context, p *peer, job *snapshotJob) (sent int64, err error) {
	select {
	case t.sendSlots <- struct{}{}:
		defer func() { <-t.sendSlots }()
	case <-ctx.Done():
		return 0, ctx.Err()
	}
	conn, release, err := t.dial(ctx, p, linkSnapshot)
	if err != nil {
		return 0, err
	}
	s := &snapshotSender{
		conn:           &timedConn{Conn: conn, idle: t.options.SnapshotTimeout},
		bytesPerSecond: t.options.SnapshotBytesPerSecond,
		verdict:        make(chan error, 1),
	}
	readerEnded := make(chan struct{})
	t.runGo(ctx, "transport.verdict", func(context.Context) {
		defer close(readerEnded)
		s.verdict <- readVerdict(conn)
	})
	err = s.run(ctx, job, t.options.VerdictTimeout)
	release()
	<-readerEnded
	return s.sent, err
}

// snapshotSender writes one stream. The verdict is read beside it, because a receiver may
// refuse in the middle.
type snapshotSender struct {
	conn           net.Conn
	bytesPerSecond int
	verdict        chan error
	sent           int64
	sum            uint32
}

// run gives nil once the receiver has stored the snapshot.
func (s *snapshotSender) run(ctx context.Context, job *snapshotJob, verdictTimeout time.Duration) error {
	if err := s.write(ctx, job); err != nil {
		return s.reason(ctx, err)
	}
	timeout := time.NewTimer(verdictTimeout)
	defer timeout.Stop()
	select {
	case verdict := <-s.verdict:
		return verdict
	case <-timeout.C:
		return wrap("wait for the peer to store the snapshot", context.DeadlineExceeded)
	case <-ctx.Done():
		return ctx.Err()
	}
}

// reason prefers the receiver's reason, if it gave one, to the broken connection that
// followed from it.
func (s *snapshotSender) reason(ctx context.Context, err error) error {
	if !errors.Is(err, errSnapshotCut) {
		return err
	}
	timeout := time.NewTimer(lingerTime)
	defer timeout.Stop()
	select {
	case verdict := <-s.verdict:
		if errors.Is(verdict, errSnapshotRefused) {
			return verdict
		}
	case <-timeout.C:
	case <-ctx.Done():
	}
	return err
}

func (s *snapshotSender) write(ctx context.Context, job *snapshotJob) error {
	out := bufio.NewWriterSize(s.conn, chunkBytes)
	if err := writeFrame(out, job.header); err != nil {
		return cut(err)
	}
	pace := newPace(s.bytesPerSecond)
	part := make([]byte, partBytesMax)
	for {
		n, readErr := io.ReadFull(job.body, part[1:])
		if readErr != nil && !errors.Is(readErr, io.EOF) && !errors.Is(readErr, io.ErrUnexpectedEOF) {
			s.abort(out, readErr)
			return wrap("read snapshot", readErr)
		}
		if n > 0 {
			part[0] = partBody
			s.sum = crc32.Update(s.sum, castagnoli, part[1:1+n])
			s.sent += int64(n)
			if err := writeFrame(out, part[:1+n]); err != nil {
				return cut(err)
			}
		}
		if readErr != nil {
			break
		}
		if err := s.mayGoOn(ctx, pace, n); err != nil {
			return err
		}
	}
	end := binary.BigEndian.AppendUint64([]byte{partEnd}, uint64(s.sent))
	end = binary.BigEndian.AppendUint32(end, s.sum)
	if err := writeFrame(out, end); err != nil {
		return cut(err)
	}
	if err := out.Flush(); err != nil {
		return cut(err)
	}
	return nil
}

// cut says that the connection failed, and with it the snapshot.
func cut(err error) error {
	return fmt.Errorf("%w: %w", errSnapshotCut, err)
}

// mayGoOn keeps the pace and ends the stream if the receiver has refused meanwhile.
func (s *snapshotSender) mayGoOn(ctx context.Context, pace *pace, n int) error {
	if err := pace.wait(ctx, n); err != nil {
		return err
	}
	select {
	case verdict := <-s.verdict:
		if verdict == nil {
			verdict = errSnapshotProtocol
		}
		return verdict
	default:
		return nil
	}
}

// abort tells the receiver that the body could not be read.
func (s *snapshotSender) abort(out *bufio.Writer, reason error) {
	if writeFrame(out, append([]byte{partAbort}, shorten(reason)...)) == nil {
		_ = out.Flush()
	}
}

// pace spreads a stream over time.
type pace struct {
	bytesPerSecond int
	began          time.Time
	bytes          int64
}

func newPace(bytesPerSecond int) *pace {
	return &pace{bytesPerSecond: bytesPerSecond, began: time.Now()}
}

// wait returns when n more bytes are due.
func (p *pace) wait(ctx context.Context, n int) error {
	if p.bytesPerSecond <= 0 {
		return ctx.Err()
	}
	p.bytes += int64(n)
	seconds := p.bytes / int64(p.bytesPerSecond)
	rest := p.bytes % int64(p.bytesPerSecond)
	due := time.Duration(seconds)*time.Second + time.Duration(rest)*time.Second/time.Duration(p.bytesPerSecond)
	timer := time.NewTimer(time.Until(p.began.Add(due)))
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// readVerdict reads the receiver's answer. There is no deadline: who waits for it closes the
// connection.
func readVerdict(conn net.Conn) error {
	frame, err := readFrame(bufio.NewReaderSize(conn, 1024), 1+textBytesMax)
	switch {
	case err != nil:
		return cut(err)
	case len(frame) == 0:
		return errSnapshotProtocol
	case frame[0] == verdictStored:
		return nil
	}
	return fmt.Errorf("%w: %q", errSnapshotRefused, frame[1:])
}

// serveSnapshot receives one stream.
func (a *acceptor) serveSnapshot(conn net.Conn, from uint64) {
	timed := &timedConn{Conn: conn, idle: a.t.options.SnapshotTimeout}
	member := slog.String("member", strconv.FormatUint(from, 16))
	began := time.Now()
	received, err := a.receiveSnapshot(timed, from)
	verdict := []byte{verdictStored}
	if err != nil {
		verdict = append([]byte{verdictRefused}, shorten(err)...)
		a.t.log.Warn("snapshot not received", member, slog.Int64("bytes", received), slog.Any("reason", err))
	} else {
		a.t.log.Info("snapshot received", member, slog.Int64("bytes", received), slog.Duration("took", time.Since(began)))
	}
	if writeFrameNow(timed, verdict) == nil {
		linger(conn)
	}
}

func (a *acceptor) receiveSnapshot(conn net.Conn, from uint64) (received int64, err error) {
	in := bufio.NewReaderSize(conn, chunkBytes)
	header, err := readFrame(in, SnapshotHeaderBytesMax)
	if err != nil {
		return 0, wrap("read snapshot header", err)
	}
	if header == nil {
		return 0, errSnapshotProtocol
	}
	body := &snapshotBody{in: in, part: make([]byte, partBytesMax)}
	if err := a.t.options.Handler.ReceiveSnapshot(from, header, body); err != nil {
		return body.received, err
	}
	if !errors.Is(body.err, io.EOF) {
		return body.received, errSnapshotUnread
	}
	return body.received, nil
}

// snapshotBody gives the body of a stream to the handler. io.EOF comes only after the end
// mark was found to agree with all that was read; every other end is another error, and each
// is repeated for ever.
type snapshotBody struct {
	in *bufio.Reader
	// part is the memory of the newest part, rest what of it was not read yet.
	part     []byte
	rest     []byte
	received int64
	sum      uint32
	err      error
}

// Read reads from the stream; it blocks until bytes come, the stream ends or is dead.
func (b *snapshotBody) Read(p []byte) (int, error) {
	for len(b.rest) == 0 && b.err == nil && len(p) > 0 {
		b.rest, b.err = b.next()
	}
	n := copy(p, b.rest)
	b.rest = b.rest[n:]
	if n > 0 || len(p) == 0 {
		return n, nil
	}
	return 0, b.err
}

// next reads one part.
func (b *snapshotBody) next() ([]byte, error) {
	part, err := readFrameInto(b.in, partBytesMax, b.part)
	if err != nil {
		return nil, wrap("read snapshot stream", unexpected(err))
	}
	switch {
	case len(part) > 1 && part[0] == partBody:
		b.received += int64(len(part) - 1)
		b.sum = crc32.Update(b.sum, castagnoli, part[1:])
		return part[1:], nil
	case len(part) > 0 && part[0] == partAbort:
		return nil, fmt.Errorf("%w: %q", errSnapshotAborted, part[1:])
	case len(part) == 13 && part[0] == partEnd:
		if binary.BigEndian.Uint64(part[1:]) != uint64(b.received) || binary.BigEndian.Uint32(part[9:]) != b.sum {
			return nil, errSnapshotDamaged
		}
		return nil, io.EOF
	}
	return nil, errSnapshotProtocol
}

// shorten makes the text of an error fit a frame.
func shorten(err error) []byte {
	text := []byte(err.Error())
	return text[:min(len(text), textBytesMax)]
}
