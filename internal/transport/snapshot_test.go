package transport

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"sync/atomic"
	"testing"
	"time"
)

func discardLog() *slog.Logger { return slog.New(slog.DiscardHandler) }

// nopConn is a connection that only takes writes.
type nopConn struct {
	net.Conn
	io.Writer
}

func (c nopConn) Write(b []byte) (int, error) { return c.Writer.Write(b) }

// source is a snapshot body that counts its closing.
type source struct {
	io.Reader
	closed atomic.Int32
}

func (s *source) Close() error {
	s.closed.Add(1)
	return nil
}

func noise(n int) []byte {
	b := make([]byte, n)
	rng := rand.NewChaCha8([32]byte{1})
	_, _ = rng.Read(b)
	return b
}

// endless gives bytes for ever.
type endless struct{}

func (endless) Read(p []byte) (int, error) { return len(p), nil }

// wantSent checks the one report about a snapshot and that the body was closed once.
func wantSent(t *testing.T, n *node, s *source, want sentReport) {
	t.Helper()
	if got := await(t, n.sent, "report about the snapshot"); got != want {
		t.Errorf("report = %+v, want %+v\nlog:\n%s", got, want, n.log)
	}
	if s != nil && s.closed.Load() != 1 {
		t.Errorf("body closed %d times", s.closed.Load())
	}
	n.end()
	if len(n.sent) != 0 {
		t.Errorf("more than one report: %+v", <-n.sent)
	}
}

func TestSnapshotArrivesWhole(t *testing.T) {
	for _, size := range []int{0, 1, chunkBytes - 1, chunkBytes, chunkBytes + 1, 5<<20 + 3} {
		a, b := pair(t, nil)
		want := noise(size)
		got := make(chan []byte, 1)
		b.onSnapshot = func(from uint64, header []byte, body io.Reader) error {
			if from != 1 || string(header) != "header" {
				return errors.New("wrong sender or header")
			}
			all, err := io.ReadAll(body)
			got <- all
			return err
		}
		s := &source{Reader: bytes.NewReader(want)}
		a.SendSnapshot(2, []byte("header"), s)
		wantSent(t, a, s, sentReport{2, true})
		if !bytes.Equal(<-got, want) {
			t.Errorf("snapshot of %d bytes changed on its way", size)
		}
		b.end()
	}
}

func TestSnapshotFailures(t *testing.T) {
	readSome := func(body io.Reader) error {
		_, err := io.CopyN(io.Discard, body, 1<<20)
		return err
	}
	for _, c := range []struct {
		name      string
		body      io.Reader
		receive   func(b *node, body io.Reader) error
		senderLog string
	}{
		{
			name:      "body cannot be read",
			body:      io.MultiReader(bytes.NewReader(noise(1<<20)), errorReader{errors.New("disk is on fire")}),
			receive:   func(_ *node, body io.Reader) error { _, err := io.Copy(io.Discard, body); return err },
			senderLog: "disk is on fire",
		},
		{
			name: "receiver refuses at once",
			body: endless{},
			receive: func(*node, io.Reader) error {
				return errors.New("have a newer one")
			},
			senderLog: "have a newer one",
		},
		{
			name: "receiver fails in the middle",
			body: endless{},
			receive: func(_ *node, body io.Reader) error {
				if err := readSome(body); err != nil {
					return err
				}
				return errors.New("no space left")
			},
			senderLog: "no space left",
		},
		{
			name:      "receiver forgets to read",
			body:      bytes.NewReader(noise(4 << 20)),
			receive:   func(_ *node, body io.Reader) error { return readSome(body) },
			senderLog: errSnapshotUnread.Error(),
		},
		{
			name: "receiver removes the sender in the middle",
			body: endless{},
			receive: func(b *node, body io.Reader) error {
				if err := readSome(body); err != nil {
					return err
				}
				b.RemovePeer(1)
				_, err := io.Copy(io.Discard, body)
				return err
			},
			senderLog: errSnapshotCut.Error(),
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			a, b := pair(t, nil)
			ended := make(chan error, 1)
			b.onSnapshot = func(_ uint64, _ []byte, body io.Reader) error {
				err := c.receive(b, body)
				ended <- err
				return err
			}
			s := &source{Reader: c.body}
			a.SendSnapshot(2, []byte("header"), s)
			wantSent(t, a, s, sentReport{2, false})
			a.waitLog(t, c.senderLog)
			if err := await(t, ended, "end of the handler"); (err == nil) != (c.name == "receiver forgets to read") {
				t.Errorf("handler ended with %v", err)
			}
		})
	}
}

type errorReader struct{ err error }

func (r errorReader) Read([]byte) (int, error) { return 0, r.err }

func TestSnapshotCutStreamIsNeverTakenForWhole(t *testing.T) {
	b := start(t, 2, listen(t, "127.0.0.1:0"), func(o *Options) { o.Peers = map[uint64][]string{1: {"127.0.0.1:1"}} })
	var whole bytes.Buffer
	s := &snapshotSender{conn: nopConn{Writer: &whole}}
	if err := s.write(t.Context(), &snapshotJob{header: []byte("header"), body: io.NopCloser(bytes.NewReader(noise(100)))}); err != nil {
		t.Fatal(err)
	}
	stream := whole.Bytes()
	swapped := bytes.Clone(stream)
	swapped[len(swapped)-1] ^= 1
	results := make(chan error, 1)
	b.onSnapshot = func(_ uint64, _ []byte, body io.Reader) error {
		_, err := io.ReadAll(body)
		results <- err
		return err
	}
	header := len(encodeFrame([]byte("header")))
	end := len(encodeFrame(make([]byte, 13)))
	for i, cutStream := range [][]byte{stream[:header], stream[:header+1], stream[:len(stream)-end], stream[:len(stream)-1], swapped} {
		h := rawHello(1, 2)
		h.kind, h.attempt = linkSnapshot, uint64(i+1)
		conn, a := rawDial(t, b, h)
		if a.verdict != accepted {
			t.Fatalf("verdict = %v", a.verdict)
		}
		if _, err := conn.Write(cutStream); err != nil {
			t.Fatal(err)
		}
		_ = conn.Close()
		if err := await(t, results, "end of the handler"); err == nil {
			t.Errorf("stream %d, %d of %d bytes, was taken for whole", i, len(cutStream), len(stream))
		}
	}
}

func TestSnapshotOneAtATimeForEachPeer(t *testing.T) {
	a, b := pair(t, nil)
	begun, goOn := make(chan struct{}), make(chan struct{})
	b.onSnapshot = func(_ uint64, _ []byte, body io.Reader) error {
		close(begun)
		<-goOn
		_, err := io.Copy(io.Discard, body)
		return err
	}
	first, second := &source{Reader: bytes.NewReader(noise(10))}, &source{Reader: endless{}}
	a.SendSnapshot(2, []byte("first"), first)
	await(t, begun, "begin of the first")
	a.SendSnapshot(2, []byte("second"), second)
	if got := await(t, a.sent, "report about the second"); got.ok || second.closed.Load() != 1 {
		t.Errorf("second: %+v, closed %d times", got, second.closed.Load())
	}
	close(goOn)
	wantSent(t, a, first, sentReport{2, true})
}

func TestSnapshotToNobody(t *testing.T) {
	a := start(t, 1, listen(t, "127.0.0.1:0"), func(o *Options) { o.Peers = map[uint64][]string{2: {"127.0.0.1:1"}} })
	for _, to := range []uint64{2, 42} {
		s := &source{Reader: endless{}}
		a.SendSnapshot(to, []byte("header"), s)
		if got := await(t, a.sent, "report"); got != (sentReport{to, false}) || s.closed.Load() != 1 {
			t.Errorf("report = %+v, closed %d times", got, s.closed.Load())
		}
	}
}

func TestSnapshotEndsOnceAtShutdownAndRemoval(t *testing.T) {
	for name, stop := range map[string]func(a *node){
		"shutdown": func(a *node) { a.end() },
		"removal":  func(a *node) { a.RemovePeer(2) },
	} {
		t.Run(name, func(t *testing.T) {
			a, b := pair(t, nil)
			begun := make(chan struct{})
			b.onSnapshot = func(_ uint64, _ []byte, body io.Reader) error {
				close(begun)
				_, err := io.Copy(io.Discard, body)
				return err
			}
			s := &source{Reader: endless{}}
			a.SendSnapshot(2, []byte("header"), s)
			await(t, begun, "begin")
			stop(a)
			wantSent(t, a, s, sentReport{2, false})
		})
	}
}

// TestSnapshotEndMustAgree feeds streams whose frames are all intact, but of which one is
// missing, doubled or in another's place.
func TestSnapshotEndMustAgree(t *testing.T) {
	part := func(text string) []byte { return encodeFrame(append([]byte{partBody}, text...)) }
	end := func(text string) []byte {
		b := binary.BigEndian.AppendUint64([]byte{partEnd}, uint64(len(text)))
		return encodeFrame(binary.BigEndian.AppendUint32(b, crc32.Checksum([]byte(text), castagnoli)))
	}
	for _, c := range []struct {
		name   string
		frames [][]byte
		want   error
	}{
		{"whole", [][]byte{part("one"), part("two"), end("onetwo")}, nil},
		{"empty", [][]byte{end("")}, nil},
		{"missing", [][]byte{part("one"), end("onetwo")}, errSnapshotDamaged},
		{"doubled", [][]byte{part("one"), part("one"), part("two"), end("onetwo")}, errSnapshotDamaged},
		{"swapped", [][]byte{part("two"), part("one"), end("onetwo")}, errSnapshotDamaged},
		{"no end", [][]byte{part("one"), part("two")}, io.ErrUnexpectedEOF},
		{"aborted", [][]byte{part("one"), encodeFrame([]byte{partAbort, 'x'})}, errSnapshotAborted},
		{"ping", [][]byte{part("one"), encodeFrame(nil)}, errSnapshotProtocol},
		{"empty part", [][]byte{encodeFrame([]byte{partBody})}, errSnapshotProtocol},
		{"unknown part", [][]byte{encodeFrame([]byte{9, 9})}, errSnapshotProtocol},
		{"short end", [][]byte{encodeFrame([]byte{partEnd})}, errSnapshotProtocol},
	} {
		body := &snapshotBody{in: bufio.NewReader(bytes.NewReader(bytes.Join(c.frames, nil)))}
		for range 2 { // the end repeats itself
			if _, err := io.ReadAll(body); !errors.Is(err, c.want) {
				t.Errorf("%s: %v, want %v", c.name, err, c.want)
			}
		}
	}
}

func TestClosedPeerGivesItsJobOnce(t *testing.T) {
	p := newPeer(1, nil)
	if !p.giveJob(&snapshotJob{}) || p.giveJob(&snapshotJob{}) {
		t.Error("a peer takes one job")
	}
	if p.close() == nil || p.takeJob() != nil || p.close() != nil || p.giveJob(&snapshotJob{}) {
		t.Error("the job of a closed peer has one owner")
	}
}

func TestSnapshotThatNeverBeganEndsOnce(t *testing.T) {
	for range 20 { // chance decides which goroutine would deliver the reports
		snapshotThatNeverBegan(t)
	}
}

func snapshotThatNeverBegan(t *testing.T) {
	// Run is entered with a context that is done already, so that the job never begins.
	r := newRecorder()
	tr := New(Options{Identity: Identity{1, 1}, Listener: listen(t, "127.0.0.1:0"), Handler: r, Logger: discardLog(), Peers: map[uint64][]string{2: {"127.0.0.1:1"}, 3: {"127.0.0.1:1"}}})
	s2, s3 := &source{Reader: endless{}}, &source{Reader: endless{}}
	tr.SendSnapshot(2, []byte("header"), s2)
	tr.SendSnapshot(3, []byte("header"), s3)
	tr.RemovePeer(3)
	ctx, cancel := contextDone(t)
	defer cancel()
	if err := tr.Run(ctx); err != nil {
		t.Fatal(err)
	}
	if len(r.sent) != 2 || s2.closed.Load() != 1 || s3.closed.Load() != 1 {
		t.Errorf("%d reports, closed %d and %d times", len(r.sent), s2.closed.Load(), s3.closed.Load())
	}
	late := &source{Reader: endless{}}
	tr.SendSnapshot(2, []byte("header"), late)
	tr.Send(2, []byte("x"))
	tr.AddPeer(4, nil)
	if late.closed.Load() != 1 || len(tr.Status()) != 0 {
		t.Error("a transport that has ended takes up work")
	}
}

func TestPaceSpreadsBytes(t *testing.T) {
	bubble(t, func(t *testing.T) {
		p := newPace(1 << 20)
		began := time.Now()
		for range 32 {
			if err := p.wait(t.Context(), chunkBytes); err != nil {
				t.Fatal(err)
			}
		}
		if took := time.Since(began); took != 2*time.Second {
			t.Errorf("2 MiB at 1 MiB/s took %v", took)
		}
	})
}
