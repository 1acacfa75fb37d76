package zk

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/okapi-kv/okapi/internal/core/command"
	"github.com/okapi-kv/okapi/internal/core/state"
	"github.com/okapi-kv/okapi/internal/zk/jute"
)

// Replies come in the order of the requests, whatever each has to wait for.
func TestPipelinedRequestsAreAnsweredInOrder(t *testing.T) {
	inside(t, Options{}, func(d *door) {
		c := d.login()
		c.want(0, jute.OpCreate, create("/n", "0"))
		type expectation struct {
			xid  int32
			data string
		}
		var want []expectation
		for i := 1; i <= 200; i++ {
			value := fmt.Sprint(i)
			want = append(want, expectation{c.send(jute.OpSetData, set("/n", value)), ""})
			if i%3 == 0 {
				want = append(want, expectation{c.send(jute.OpSync, &jute.PathRequest{Path: "/n"}), ""})
			}
			want = append(want, expectation{c.send(jute.OpGetData, get("/n")), value})
			if i%7 == 0 {
				c.sendAs(jute.XidPing, jute.OpPing, nil)
				want = append(want, expectation{jute.XidPing, ""})
			}
		}
		for _, w := range want {
			r := c.recv()
			if r.Xid != w.xid || r.Err != 0 {
				t.Fatalf("got xid %d with error %d, want xid %d", r.Xid, r.Err, w.xid)
			}
			if w.data != "" && r.data(t) != w.data {
				t.Fatalf("read %d sees %q, want the write just before it, %q", r.Xid, r.data(t), w.data)
			}
		}
	})
}

// Writes are submitted as they come, under consecutive sequence numbers, without waiting for the
// ones before.
func TestWritesAreSubmittedAtOnce(t *testing.T) {
	inside(t, Options{}, func(d *door) {
		c := d.login()
		d.replica.set(func() { d.replica.held = true })
		for i := range 10 {
			c.send(jute.OpCreate, create(fmt.Sprintf("/%d", i), ""))
		}
		c.wantNothing()
		pending := d.replica.pending()
		if len(pending) != 10 {
			t.Fatalf("%d commands are under way, want 10", len(pending))
		}
		for i, s := range pending {
			if s.caller.Session != c.session || s.caller.Generation != 1 || s.caller.Sequence != uint64(i+1) {
				t.Errorf("command %d has session %#x, generation %d, sequence %d", i, s.caller.Session, s.caller.Generation, s.caller.Sequence)
			}
		}
		d.replica.set(func() { d.replica.held = false })
		for i := range 10 {
			if r := c.recv(); r.Xid != int32(i+1) || r.Err != 0 {
				t.Errorf("reply %d has xid %d and error %d", i, r.Xid, r.Err)
			}
		}
	})
}

// A read does not see a write that its client sent after it, even if that write is applied together
// with those that the read waits for.
func TestReadDoesNotSeeLaterWrites(t *testing.T) {
	inside(t, Options{}, func(d *door) {
		c := d.login()
		d.replica.set(func() { d.replica.held = true })
		c.send(jute.OpCreate, create("/n", "first"))
		c.send(jute.OpGetData, get("/n"))
		c.send(jute.OpSetData, set("/n", "second"))
		c.send(jute.OpExists, get("/later"))
		c.send(jute.OpCreate, create("/later", ""))
		c.wantNothing()
		d.replica.set(func() { d.replica.held = false })
		c.recv()
		if got := c.recv().data(t); got != "first" {
			t.Errorf("read between two writes sees %q", got)
		}
		if r := c.recv(); r.Err != 0 {
			t.Errorf("set answers %d", r.Err)
		}
		if r := c.recv(); r.Err != jute.CodeNoNode {
			t.Errorf("exists before create answers %d", r.Err)
		}
		if r := c.recv(); r.Err != 0 {
			t.Errorf("create answers %d", r.Err)
		}
	})
}

// A read waits for the syncs before it; syncs of several clients share a round.
func TestReadWaitsForSync(t *testing.T) {
	inside(t, Options{}, func(d *door) {
		a, b := d.login(), d.login()
		release := make(chan struct{})
		d.replica.set(func() { d.replica.syncs = release })
		a.send(jute.OpSync, &jute.PathRequest{Path: "/any thing"})
		a.send(jute.OpExists, get("/n"))
		a.wantNothing()
		for range 5 {
			b.send(jute.OpSync, &jute.PathRequest{Path: ""})
		}
		b.wantNothing()
		d.replica.do(command.Caller{}, &command.Create{Path: "/n", TTL: command.NoTTL, ACL: []command.ACL{{Perms: 31, Scheme: "world", ID: "anyone"}}})
		release <- struct{}{}
		r := a.recv()
		var echo jute.PathRequest
		if r.decode(t, &echo); echo.Path != "/any thing" {
			t.Errorf("sync echoes %q", echo.Path)
		}
		if r := a.recv(); r.Err != 0 {
			t.Errorf("the read behind the sync answers %d", r.Err)
		}
		b.wantNothing()
		release <- struct{}{}
		for range 5 {
			if r := b.recv(); r.Err != 0 {
				t.Errorf("sync answers %d", r.Err)
			}
		}
		if d.replica.rounds != 2 {
			t.Errorf("%d rounds, want 2", d.replica.rounds)
		}
	})
}

// A write behind a sync waits for it: the read between them must see what the sync waited for, and not the write.
func TestWriteWaitsForSync(t *testing.T) {
	inside(t, Options{}, func(d *door) {
		c := d.login()
		c.want(0, jute.OpCreate, create("/n", "old"))
		release := make(chan struct{})
		d.replica.set(func() { d.replica.syncs = release })
		c.send(jute.OpSync, &jute.PathRequest{Path: "/"})
		c.send(jute.OpGetData, get("/n"))
		c.send(jute.OpSetData, set("/n", "new"))
		c.wantNothing()
		d.must(&command.SetData{Path: "/n", Data: []byte("of somebody else"), Version: -1})
		release <- struct{}{}
		c.recv()
		if got := c.recv().data(t); got != "of somebody else" {
			t.Errorf("the read between sync and write sees %q", got)
		}
		if r := c.recv(); r.Err != 0 {
			t.Errorf("the write answers %d", r.Err)
		}
	})
}

func TestFailedSyncEndsTheConnection(t *testing.T) {
	inside(t, Options{}, func(d *door) {
		c := d.login()
		d.replica.set(func() { d.replica.syncs = make(chan struct{}) })
		c.send(jute.OpSync, &jute.PathRequest{Path: "/"})
		c.wantClosed() // After the time that a round may take.
	})
}

// A sync that comes when no more rounds are made fails instead of waiting for ever.
func TestSyncAfterTheLastRound(t *testing.T) {
	c, _ := plainConn(t)
	ctx, stop := context.WithCancel(context.Background())
	stop()
	c.srv.syncs.run(ctx)
	c.receive((&jute.PathRequest{Path: "/"}).Append((&jute.RequestHeader{Xid: 1, Op: jute.OpSync}).Append(nil)), 0)
	c.advance(0)
	if c.phase != phaseFinished || !errors.Is(c.reason, errShutdown) {
		t.Errorf("phase %d, reason %v", c.phase, c.reason)
	}
}

// Every reply carries the position of what it shows; that of a ping too.
func TestReplyZxids(t *testing.T) {
	inside(t, Options{}, func(d *door) {
		c := d.login()
		made := c.want(0, jute.OpCreate, create("/n", ""))
		if r := c.want(jute.CodeNodeExists, jute.OpCreate, create("/n", "")); r.Zxid != made.Zxid+1 {
			t.Errorf("a refused create has zxid %#x after %#x", r.Zxid, made.Zxid)
		}
		other := d.replica.do(command.Caller{}, &command.SetData{Path: "/n", Version: -1})
		c.sendAs(jute.XidPing, jute.OpPing, nil)
		if r := c.recv(); r.Zxid != other.Zxid || r.Xid != jute.XidPing || r.Err != 0 || len(r.body) != 0 {
			t.Errorf("ping answers %+v, want zxid %#x", r, other.Zxid)
		}
	})
}

// What cannot be submitted ends the connection behind the replies to what came before, and nothing
// behind it is done.
func TestRefusedSubmissionEndsTheConnection(t *testing.T) {
	inside(t, Options{}, func(d *door) {
		c := d.login()
		d.replica.set(func() { d.replica.held = true })
		c.send(jute.OpCreate, create("/a", ""))
		synctest.Wait()
		d.replica.set(func() { d.replica.refuse = errors.New("no leader") })
		c.send(jute.OpCreate, create("/b", ""))
		c.wantNothing()
		d.replica.set(func() { d.replica.held, d.replica.refuse = false, nil })
		if r := c.recv(); r.Xid != 1 || r.Err != 0 {
			t.Errorf("the write before answers %d", r.Err)
		}
		c.wantClosed()
		if n := len(d.replica.submitted); n != 2 {
			t.Errorf("%d commands were submitted, want the session's and one", n)
		}
	})
}

// diskFull is what the replica says of a command that would grow full disks.
type diskFull struct{}

func (diskFull) Error() string   { return "the disks are full" }
func (diskFull) Outcome() string { return OutcomeDiskFull }

// A command that full disks do not take is answered in its turn, and the connection goes on as if it had not been sent.
func TestFullDisksAreAnswered(t *testing.T) {
	inside(t, Options{}, func(d *door) {
		c := d.login()
		d.replica.set(func() { d.replica.held = true })
		first := c.send(jute.OpDelete, &jute.PathVersionRequest{Path: "/none", Version: -1})
		synctest.Wait()
		d.replica.set(func() { d.replica.refuse = fmt.Errorf("submit: %w", diskFull{}) })
		full := c.send(jute.OpCreate, create("/b", ""))
		multi := c.send(jute.OpMulti, raw(multiOf(t, "/c")))
		c.wantNothing()
		d.replica.set(func() { d.replica.held, d.replica.refuse = false, nil })
		for _, want := range []struct {
			xid int32
			err jute.ErrorCode
		}{{first, jute.CodeNoNode}, {full, jute.CodeQuotaExceeded}, {multi, jute.CodeQuotaExceeded}} {
			if r := c.recv(); r.Xid != want.xid || r.Err != want.err || len(r.body) != 0 {
				t.Errorf("answer to %d: %+v, want %d to %d", r.Xid, r, want.err, want.xid)
			}
		}
		c.want(jute.CodeNoNode, jute.OpExists, get("/b"))
		c.want(0, jute.OpCreate, create("/b", ""))
		sequences := []uint64{}
		for _, s := range d.replica.submitted[1:] {
			sequences = append(sequences, s.caller.Sequence)
		}
		if !slices.Equal(sequences, []uint64{1, 2}) {
			t.Errorf("commands were submitted as %d", sequences)
		}
	})
}

// A command that the leader finds to be too much for full disks, after it was submitted, is answered like one that was never submitted
// if nothing is under way behind it, and gives its number back; else the connection ends.
func TestFullDisksAreAnsweredLate(t *testing.T) {
	refuse := func(d *door) {
		synctest.Wait()
		first := d.replica.pending()[0]
		d.replica.set(func() { d.replica.taken++ })
		first.done(state.Result{}, diskFull{})
	}
	inside(t, Options{}, func(d *door) {
		c := d.login()
		d.replica.set(func() { d.replica.held = true })
		full := c.send(jute.OpCreate, create("/b", ""))
		refuse(d)
		if r := c.recv(); r.Xid != full || r.Err != jute.CodeQuotaExceeded || len(r.body) != 0 {
			t.Errorf("answer %+v, want %d to %d", r, jute.CodeQuotaExceeded, full)
		}
		d.replica.set(func() { d.replica.held = false })
		c.want(jute.CodeNoNode, jute.OpExists, get("/b"))
		c.want(0, jute.OpCreate, create("/b", ""))
	})
	inside(t, Options{}, func(d *door) {
		c := d.login()
		d.replica.set(func() { d.replica.held = true })
		c.send(jute.OpCreate, create("/b", ""))
		c.send(jute.OpDelete, &jute.PathVersionRequest{Path: "/none", Version: -1})
		refuse(d)
		c.wantClosed()
		d.replica.set(func() { d.replica.held = false })
	})
}

// multiOf is a multi of one create.
func multiOf(t *testing.T, path string) []byte {
	t.Helper()
	h := jute.MultiHeader{Type: jute.OpCreate, Err: -1}
	end := jute.MultiEnd()
	return end.Append(create(path, "").Append(h.Append(nil)))
}

// An outcome that nobody knows is not answered, nor is anything behind it.
func TestUnknownOutcomeEndsTheConnection(t *testing.T) {
	inside(t, Options{}, func(d *door) {
		c := d.login()
		d.replica.set(func() { d.replica.held, d.replica.lose = true, command.KindSetData })
		c.send(jute.OpCreate, create("/n", ""))
		c.send(jute.OpSetData, set("/n", "x"))
		c.send(jute.OpCreate, create("/m", ""))
		c.wantNothing()
		d.replica.set(func() { d.replica.held = false })
		// The first reply may or may not make it: its fate is known, the rest is not.
		for frame := range c.frames {
			if xid := frame[3]; xid != 1 {
				t.Errorf("reply to xid %d", xid)
			}
		}
	})
}

// A client that does not read is not read from, and loses nothing once it reads again.
func TestBackPressure(t *testing.T) {
	inside(t, Options{MaxRequests: 4}, func(d *door) {
		c := d.login()
		d.replica.set(func() { d.replica.held = true })
		sent := make(chan struct{})
		go func() {
			defer close(sent)
			for i := range 100 {
				c.sendAs(int32(i), jute.OpCreate, create(fmt.Sprintf("/%d", i), ""))
			}
		}()
		c.wantNothing()
		if n := len(d.replica.pending()); n != 4 {
			t.Errorf("%d commands under way, want the bound, 4", n)
		}
		if got := d.server.srv.stats.outstanding.Load(); got != 4 {
			t.Errorf("%d outstanding requests, want 4", got)
		}
		d.replica.set(func() { d.replica.held = false })
		for i := range 100 {
			if r := c.recv(); r.Xid != int32(i) || r.Err != 0 {
				t.Fatalf("reply %d has xid %d and error %d", i, r.Xid, r.Err)
			}
		}
		<-sent
		if got := d.server.srv.stats.outstanding.Load(); got != 0 {
			t.Errorf("%d outstanding requests at the end", got)
		}
	})
}

// Replies that nobody takes stop reads too: only a bounded number is made.
func TestUnreadRepliesStopReads(t *testing.T) {
	inside(t, Options{MaxReplyBytes: 4096}, func(d *door) {
		w := d.login()
		w.want(0, jute.OpCreate, create("/big", string(make([]byte, 4000))))
		c := d.dialMute()
		c.sendFrame((&jute.ConnectRequest{TimeoutMS: 10_000}).Append(nil))
		if _, err := readFrame(c.socket); err != nil {
			t.Fatal(err)
		}
		before := d.server.srv.stats.sent.Load()
		sent := make(chan struct{})
		go func() {
			defer close(sent)
			for range 50 {
				c.send(jute.OpGetData, get("/big"))
			}
		}()
		synctest.Wait()
		if made := d.server.srv.stats.sent.Load() - before; made > 6 {
			t.Errorf("%d replies of 4000 bytes were made for a client that takes none", made)
		}
		for i := range 50 {
			frame, err := readFrame(c.socket)
			if err != nil || frame[3] != byte(i+1) {
				t.Fatalf("reply %d: %x, %v", i, frame[:min(len(frame), 16)], err)
			}
		}
		<-sent
	})
}

// The bound for the whole server holds one client back while another one's requests are under way.
func TestServerBudget(t *testing.T) {
	inside(t, Options{MaxServerBytes: 100}, func(d *door) {
		a, b := d.login(), d.login()
		d.replica.set(func() { d.replica.held = true })
		a.send(jute.OpCreate, create("/a", string(make([]byte, 200))))
		a.wantNothing()
		sent := make(chan struct{})
		go func() {
			defer close(sent)
			b.send(jute.OpCreate, create("/b", ""))
		}()
		b.wantNothing()
		if n := len(d.replica.pending()); n != 1 {
			t.Errorf("%d commands under way, want 1", n)
		}
		d.replica.set(func() { d.replica.held = false })
		a.recv()
		b.recv()
		<-sent
		if used := d.server.srv.budget.used.Load(); used != 0 {
			t.Errorf("%d bytes of the budget are used at the end", used)
		}
	})
}

// Reads that have not been answered because more were waiting to be read do not block themselves.
func TestServerBudgetIsNotUsedUpByReads(t *testing.T) {
	inside(t, Options{MaxServerBytes: 30}, func(d *door) {
		c := d.login()
		var stream []byte
		for i := range 50 {
			start := len(stream)
			stream = get("/").Append((&jute.RequestHeader{Xid: int32(i), Op: jute.OpExists}).Append(jute.BeginFrame(stream)))
			stream = jute.EndFrame(stream, start)
		}
		if _, err := c.socket.Write(stream); err != nil {
			t.Fatal(err)
		}
		for i := range 50 {
			if r := c.recv(); r.Xid != int32(i) {
				t.Fatalf("reply %d has xid %d", i, r.Xid)
			}
		}
	})
}

// A client that takes long to read its replies is not taken for silent, whichever of the two
// goroutines is sending: the reader sends the answer to a read, the writer that to a read behind a
// write.
func TestSlowReaderIsNotSilent(t *testing.T) {
	t.Run("reader sends", func(t *testing.T) { testSlowReader(t, false) })
	t.Run("writer sends", func(t *testing.T) { testSlowReader(t, true) })
}

func testSlowReader(t *testing.T, behindWrite bool) {
	inside(t, Options{}, func(d *door) {
		w := d.login()
		w.want(0, jute.OpCreate, create("/big", string(make([]byte, 200_000))))
		w.want(0, jute.OpCloseSession, nil)
		c := d.dialMute()
		c.sendFrame((&jute.ConnectRequest{TimeoutMS: 10_000}).Append(nil))
		if _, err := readFrame(c.socket); err != nil {
			t.Fatal(err)
		}
		synctest.Wait() // The writer has nothing left to do for the handshake.
		d.replica.set(func() { d.replica.held = true })
		last, size := byte(2), 4+16+4+200_000+68
		if behindWrite {
			c.send(jute.OpDelete, &jute.PathVersionRequest{Path: "/none"})
			last, size = 3, size+4+16
		}
		c.send(jute.OpGetData, get("/big"))
		synctest.Wait()
		d.replica.set(func() { d.replica.held = false })
		var part [70_000]byte // More than is given to the socket at once.
		for left := size; left > 0; {
			time.Sleep(8 * time.Second)
			n, err := io.ReadFull(c.socket, part[:min(left, len(part))])
			if left -= n; err != nil {
				t.Fatalf("%d bytes before the end: %v", left, err)
			}
		}
		c.send(jute.OpExists, get("/"))
		if frame, err := readFrame(c.socket); err != nil || frame[3] != last {
			t.Errorf("reply %x, error %v", frame, err)
		}
	})
}

func TestQueueKeepsOrderOverGrowth(t *testing.T) {
	var q queue
	var next, want int32
	for round := range 50 {
		for range round % 13 {
			it, n := q.push()
			it.xid = next
			if !q.has(n) || q.at(n).xid != next {
				t.Fatalf("item %d is not where it was put", n)
			}
			next++
		}
		for range min(q.len(), round%11) {
			if got := q.at(q.head + 1).xid; got != want {
				t.Fatalf("item %d comes out, want %d", got, want)
			}
			q.pop()
			want++
		}
	}
	var rest []int32
	for q.len() > 0 {
		rest = append(rest, q.at(q.head+1).xid)
		q.pop()
	}
	if !slices.IsSorted(rest) || len(rest) != int(next-want) {
		t.Errorf("the rest is %v, want %d to %d", rest, want, next)
	}
	if q.has(q.tail) || q.has(0) {
		t.Error("an empty queue has an item")
	}
}
