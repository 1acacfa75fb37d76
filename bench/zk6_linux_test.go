package bench

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/okapi-kv/okapi/internal/zk/jute"
)

// TestZK6 holds what is promised about hostile clients at the ZooKeeper port: each kind of them costs the member a bounded amount
// of memory and ends with the protocol's own answer or a closed connection, and a client beside them is served.
func TestZK6(t *testing.T) {
	wanted(t)
	binary := build(t)
	for _, attack := range []struct {
		name    string
		limitMB int64
		run     func(*siege)
	}{
		{"10,000 connections that send nothing", 200, func(x *siege) { x.flood(nil) }},
		{"10,000 connections with half a handshake", 200, func(x *siege) { x.flood(hello(4 * time.Second)[:20]) }},
		{"1,000 clients that promise 1 MiB and send 100 bytes", 64, (*siege).promises},
		{"1,000 clients that send 1 MB but for its end", 600, (*siege).unfinished},
		{"300 clients that send a byte now and then", 32, (*siege).dribble},
		{"2,000 connections of garbage", 64, (*siege).garbage},
		{"lengths that are negative or too large", 64, (*siege).lengths},
		// One has up to 2 MB of replies that wait and as much that is being sent, and the collector its share.
		{"50 clients that take nothing of 50 MB each", 450, (*siege).mute},
		{"20 clients with 5 multis of 1 MB, 50,000 checks each", 400, (*siege).multis},
		{"20 clients with 5 times 1 MB of watches", 400, (*siege).watches},
		// Up to 8,000 wait for their turn at a time.
		{"10,000 four-letter words", 300, (*siege).words},
	} {
		// Each attack has a member of its own: what one leaves behind would hide what the next one costs.
		t.Run(strings.ReplaceAll(attack.name, " ", "-"), func(t *testing.T) {
			m := startCluster(t, binary, 1, manyConnections...)[0]
			x := &siege{t: t, m: m, by: newBystander(t, m), random: rand.New(rand.NewPCG(1, 2))}
			x.prepare()
			x.suffer(attack.name, attack.limitMB, func() { attack.run(x) })
			x.awaitFew()
			m.stop()
		})
	}
}

// siege is one member under attack.
type siege struct {
	t      *testing.T
	m      *member
	by     *bystander
	random *rand.Rand
}

const bigBytes = 1_000_000

// prepare makes the node that is read by those who do not read.
func (x *siege) prepare() {
	x.must(x.by.session.call(jute.OpCreate, &jute.CreateRequest{Path: "/big", Data: make([]byte, bigBytes), ACL: openACL()}))
}

func (x *siege) must(_ []byte, err error) {
	x.t.Helper()
	if err != nil {
		x.t.Fatal(err)
	}
}

// suffer runs an attack, prints by how much the member's memory grew at most, and holds it against a bound.
func (x *siege) suffer(name string, limitMB int64, attack func()) {
	x.t.Helper()
	_, before := x.m.memory()
	// The peak is counted anew from here.
	if err := os.WriteFile(fmt.Sprintf("/proc/%d/clear_refs", x.m.cmd.Process.Pid), []byte("5"), 0); err != nil {
		x.t.Fatalf("count the peak anew: %v", err)
	}
	start := time.Now()
	latencies := x.by.watch(attack)
	took := time.Since(start)
	peak, _ := x.m.memory()
	const mb = 1_000_000
	x.t.Logf("zk-6: %-52s +%d MB (limit %d, from %d), %v; %s", name, (peak-before)/mb, limitMB, before/mb, took.Round(time.Millisecond), latencies)
	if (peak-before)/mb > limitMB {
		x.t.Errorf("%s take %d MB, more than %d", name, (peak-before)/mb, limitMB)
	}
}

// hello is the frame of a connect request.
func hello(timeout time.Duration) []byte {
	m := jute.ConnectRequest{TimeoutMS: int32(timeout.Milliseconds()), Password: make([]byte, 16)}
	return jute.EndFrame(m.Append(jute.BeginFrame(nil)), 0)
}

// connect opens n connections, each of which sends something.
func (x *siege) connect(n int, send []byte) []net.Conn {
	x.t.Helper()
	all := make([]net.Conn, n)
	each(x.t, n, func(i int) error {
		socket, err := net.DialTimeout("tcp", x.m.zooKeeper, patience)
		if err != nil {
			return err
		}
		all[i] = socket
		_, err = socket.Write(send)
		return err
	})
	return all
}

// awaitEnd waits until the member has closed all connections, and returns how many bytes it had sent.
func (x *siege) awaitEnd(all []net.Conn) (received int64) {
	x.t.Helper()
	for i, socket := range all {
		if err := socket.SetReadDeadline(time.Now().Add(patience)); err != nil {
			x.t.Fatal(err)
		}
		n, err := io.Copy(io.Discard, socket)
		received += n
		if errors.Is(err, os.ErrDeadlineExceeded) {
			x.t.Fatalf("connection %d is open after %v", i, patience)
		}
		_ = socket.Close()
	}
	return received
}

// awaitFew waits until the member has hardly any connection left.
func (x *siege) awaitFew() {
	x.t.Helper()
	deadline := time.Now().Add(2 * patience)
	for n := x.m.figure("num_alive_connections"); n > 10; n = x.m.figure("num_alive_connections") {
		if time.Now().After(deadline) {
			x.t.Fatalf("%d connections are left after %v", n, 2*patience)
		}
		time.Sleep(100 * time.Millisecond)
	}
}

// flood opens as many connections as a member of this machine can have, and leaves them.
func (x *siege) flood(send []byte) {
	if n := x.awaitEnd(x.connect(10_000, send)); n != 0 {
		x.t.Errorf("the member sent %d bytes to connections without a session", n)
	}
}

// sessions opens n sessions that end soon if nothing is heard of their clients.
func (x *siege) sessions(n int) []*session { return openSessions(x.t, x.m, n, 4*time.Second) }

func sockets(sessions []*session) []net.Conn {
	var all []net.Conn
	for _, s := range sessions {
		all = append(all, s.socket)
	}
	return all
}

func (x *siege) promises() {
	all := x.sessions(1000)
	each(x.t, len(all), func(i int) error {
		_, err := all[i].socket.Write(append(binary.BigEndian.AppendUint32(nil, 1<<20-1), make([]byte, 100)...))
		return err
	})
	x.awaitEnd(sockets(all))
}

// unfinished sends the largest request there is, but for its last byte. Only as many as the member has room for are
// listened to.
func (x *siege) unfinished() {
	all := x.sessions(1000)
	frame := append(binary.BigEndian.AppendUint32(nil, 1<<20-1), make([]byte, 1<<20-2)...)
	each(x.t, len(all), func(i int) error {
		_, _ = all[i].socket.Write(frame) // An error means that it was closed already.
		return nil
	})
	x.awaitEnd(sockets(all))
}

// dribble sends a frame byte by byte, so slowly that it is never complete.
func (x *siege) dribble() {
	all := x.sessions(300)
	frame := message(nil, 1, jute.OpGetData, &jute.PathWatchRequest{Path: "/" + string(make([]byte, 1000))})
	open := true
	for i := 0; open; i++ {
		open = false
		for _, s := range all {
			if _, err := s.socket.Write(frame[i : i+1]); err == nil {
				open = true
			}
		}
		if i > 100 {
			x.t.Fatal("a client that sends a byte at a time is served for ever")
		}
		time.Sleep(200 * time.Millisecond)
	}
	x.awaitEnd(sockets(all))
}

// garbage sends random bytes, before a session and within one. Such bytes are a length that is too large, but for one in
// some thousands.
func (x *siege) garbage() {
	noise := func() []byte {
		b := make([]byte, 4096)
		for i := range b {
			b[i] = byte(x.random.Uint32())
		}
		b[0] |= 1 // A length of 16 MiB or more, or a negative one.
		return b
	}
	x.awaitEnd(x.connect(1000, noise()))
	x.awaitEnd(x.connect(1000, append(hello(4*time.Second), noise()...)))
}

func (x *siege) lengths() {
	for _, n := range []uint32{1 << 31, 1<<32 - 1, 1<<31 - 1, 1 << 20} {
		length := binary.BigEndian.AppendUint32(nil, n)
		x.awaitEnd(x.connect(200, length))
		x.awaitEnd(x.connect(200, append(hello(4*time.Second), length...)))
	}
}

// mute asks for much and takes nothing.
func (x *siege) mute() {
	all := x.sessions(50)
	var requests []byte
	for i := range 50 {
		requests = message(requests, int32(i), jute.OpGetData, &jute.PathWatchRequest{Path: "/big"})
	}
	each(x.t, len(all), func(i int) error {
		_, err := all[i].socket.Write(requests)
		return err
	})
	// Their replies wait until the session timeout is over, and the time that a write may take.
	x.awaitFew()
	if n := x.awaitEnd(sockets(all)); n > 50*50*bigBytes/2 {
		x.t.Errorf("%d bytes were made for clients that take nothing", n)
	}
}

// multis sends as many operations in one request as fit.
func (x *siege) multis() {
	var body many
	check := (&jute.PathVersionRequest{Path: "/", Version: -1}).Append((&jute.MultiHeader{Type: jute.OpCheck, Err: -1}).Append(nil))
	body = slices.Repeat(check, 50_000)
	end := jute.MultiEnd()
	body = end.Append(body)
	x.ask(5, jute.OpMulti, body)
}

// watches leaves as many watches with one request as fit, and then all again.
func (x *siege) watches() {
	m := jute.SetWatches{RelativeZxid: 1 << 62}
	for i := range 20_000 {
		path := fmt.Sprintf("/w%05d", i)
		m.Exist = append(m.Exist, path)
		m.Persistent = append(m.Persistent, path)
		m.PersistentRecursive = append(m.PersistentRecursive, path)
	}
	x.ask(5, jute.OpSetWatches2, many(m.Append(nil, jute.OpSetWatches2)))
}

// many is an encoded body.
type many []byte

// Append adds it to a message.
func (m many) Append(b []byte) []byte { return append(b, m...) }

// ask has 20 clients make a request several times, and insists on the answers.
func (x *siege) ask(times int, op jute.OpCode, body many) {
	all := openSessions(x.t, x.m, 20, 40*time.Second)
	each(x.t, len(all), func(i int) error {
		for range times {
			if _, err := all[i].call(op, body); err != nil {
				return err
			}
		}
		_, err := all[i].call(jute.OpCloseSession, nil)
		return err
	})
	x.awaitEnd(sockets(all))
}

// words asks with four-letter words, without taking the answers.
func (x *siege) words() {
	for _, word := range []string{"cons", "mntr", "wchc", "dump", "ruok"} {
		for _, socket := range x.connect(2000, []byte(word)) {
			_ = socket.Close()
		}
	}
	x.awaitFew()
}
