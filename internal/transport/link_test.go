package transport

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/okapi-kv/okapi/internal/telemetry"
)

func number(i int) []byte { return binary.BigEndian.AppendUint32(nil, uint32(i)) }

func TestFramesArriveInOrderBothWays(t *testing.T) {
	a, b := pair(t, nil)
	const n = 3000
	for i := range n {
		a.Send(2, number(i))
		b.Send(1, number(i))
	}
	for _, end := range []struct {
		*node
		from uint64
	}{{a, 2}, {b, 1}} {
		for i := range n {
			got := await(t, end.frames, "frame")
			if got.from != end.from || !bytes.Equal(got.frame, number(i)) {
				t.Fatalf("frame %d of %x = %x from %x", i, end.from, got.frame, got.from)
			}
		}
	}
	s, _ := a.statusOf(2)
	if s.FramesSent != n || s.FramesDropped != 0 || !s.Receiving {
		t.Errorf("status = %+v", s)
	}
	eventually(t, "queue is empty", func() bool {
		s, _ := a.statusOf(2)
		return s.QueuedBytes == 0
	})
}

func TestLargestFrameArrives(t *testing.T) {
	a, b := pair(t, func(o *Options) { o.QueueBytes = 1 }) // taken all the same when nothing waits
	frame := bytes.Repeat([]byte("okapi"), FrameBytesMax/5+1)[:FrameBytesMax]
	a.Send(2, frame)
	if got := await(t, b.frames, "frame"); !bytes.Equal(got.frame, frame) {
		t.Error("the frame changed on its way")
	}
}

func TestRoundTripIsMeasured(t *testing.T) {
	a, _ := pair(t, func(o *Options) { o.PingInterval = time.Millisecond })
	eventually(t, "round trip is known", func() bool {
		s, _ := a.statusOf(2)
		return s.RoundTrip > 0
	})
}

func TestRefusalsAreLoggedOnBothSides(t *testing.T) {
	for _, c := range []struct {
		name   string
		caller func(o *Options, callee string)
		reason string
	}{
		{"cluster", func(o *Options, _ string) { o.Identity.ClusterID = 0xbad }, "another cluster"},
		{"target", func(o *Options, callee string) { o.Peers = map[uint64][]string{3: {callee}} }, "another member answers"},
		{"self", func(o *Options, _ string) { o.Identity.MemberID = 2; o.Peers = map[uint64][]string{2: nil} }, "data directory was copied"},
		{"member", func(o *Options, _ string) { o.Identity.MemberID = 9 }, "no longer, a member"},
	} {
		t.Run(c.name, func(t *testing.T) {
			lb := listen(t, "127.0.0.1:0")
			b := start(t, 2, lb, func(o *Options) { o.Peers = map[uint64][]string{1: {"127.0.0.1:1"}} })
			if c.name == "self" { // a Transport does not dial its own id, so a copy is played by hand
				conn, a := rawDial(t, b, rawHello(2, 2))
				_ = conn.Close()
				if a.verdict != refusedSelf {
					t.Errorf("verdict = %v", a.verdict)
				}
				b.waitLog(t, c.reason)
				return
			}
			a := start(t, 1, listen(t, "127.0.0.1:0"), func(o *Options) {
				o.Peers = map[uint64][]string{2: {b.address}}
				c.caller(o, b.address)
			})
			a.waitLog(t, c.reason)
			b.waitLog(t, c.reason)
			// It goes on trying, and says so once.
			before := a.attempts.Load()
			eventually(t, "more attempts", func() bool { return a.attempts.Load() >= before+2 })
			for _, n := range []*node{a, b} {
				if lines := strings.Count(n.log.String(), c.reason); lines != 1 {
					t.Errorf("member %x wrote %d lines:\n%s", n.id, lines, n.log)
				}
			}
		})
	}
}

func TestStrangersAreClosed(t *testing.T) {
	b := start(t, 2, listen(t, "127.0.0.1:0"), nil)
	conn, err := net.Dial("tcp", b.address)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(patience))
	if _, err := conn.Write([]byte("GET /members HTTP/1.1\r\n\r\n")); err != nil {
		t.Fatal(err)
	}
	waitClosed(t, conn)
	b.waitLog(t, "HTTP, as an etcd member")
}

func TestDamagedAndOversizeFramesEndTheLinkOnly(t *testing.T) {
	damaged := encodeFrame([]byte("damaged"))
	damaged[len(damaged)-1] ^= 1
	for name, bad := range map[string][]byte{
		"damaged":  damaged,
		"oversize": binary.BigEndian.AppendUint64(nil, (FrameBytesMax+1)<<32),
	} {
		t.Run(name, func(t *testing.T) {
			b := start(t, 2, listen(t, "127.0.0.1:0"), func(o *Options) { o.Peers = map[uint64][]string{1: {"127.0.0.1:1"}} })
			conn, a := rawDial(t, b, rawHello(1, 2))
			if a.verdict != accepted {
				t.Fatalf("verdict = %v", a.verdict)
			}
			if _, err := conn.Write(append(encodeFrame([]byte("good")), bad...)); err != nil {
				t.Fatal(err)
			}
			if got := await(t, b.frames, "good frame"); string(got.frame) != "good" {
				t.Errorf("got %q", got.frame)
			}
			waitClosed(t, conn)
			b.waitLog(t, "damaged in transit")
			again := rawHello(1, 2)
			again.attempt = 2
			conn, a = rawDial(t, b, again)
			if a.verdict != accepted {
				t.Fatalf("verdict = %v", a.verdict)
			}
			if _, err := conn.Write(encodeFrame([]byte("after"))); err != nil {
				t.Fatal(err)
			}
			if got := await(t, b.frames, "frame on the next link"); string(got.frame) != "after" {
				t.Errorf("got %q, want only the frame after", got.frame)
			}
		})
	}
}

func TestNewLinkSupersedesOldAndStaleIsRefused(t *testing.T) {
	b := start(t, 2, listen(t, "127.0.0.1:0"), func(o *Options) { o.Peers = map[uint64][]string{1: {"127.0.0.1:1"}} })
	h := rawHello(1, 2)
	h.attempt = 5
	first, _ := rawDial(t, b, h)
	h.attempt = 6
	second, a := rawDial(t, b, h)
	if a.verdict != accepted {
		t.Fatalf("newer link: %v", a.verdict)
	}
	waitClosed(t, first)
	h.attempt = 4
	if _, a := rawDial(t, b, h); a.verdict != refusedStale {
		t.Errorf("delayed link: %v, want %v", a.verdict, refusedStale)
	}
	if _, err := second.Write(encodeFrame([]byte("x"))); err != nil {
		t.Fatal(err)
	}
	await(t, b.frames, "frame on the newest link")
	h.attempt, h.incarnation = 1, 78 // a new process counts from one
	if _, a := rawDial(t, b, h); a.verdict != accepted {
		t.Errorf("restarted peer: %v", a.verdict)
	}
	waitClosed(t, second)
	b.waitLog(t, "peer has restarted")
}

func TestReconnectsWhenThePeerRestarts(t *testing.T) {
	a, b := pair(t, nil)
	drain(a.unreachable)
	b.end()
	if to := await(t, a.unreachable, "report about the lost link"); to != 2 {
		t.Errorf("unreachable %x", to)
	}
	if peer := await(t, a.ended, "report that nobody listens any more"); peer != 2 {
		t.Errorf("ended %x", peer)
	}
	eventually(t, "link is down", func() bool {
		s, _ := a.statusOf(2)
		return !s.Linked
	})
	drain(a.unreachable)
	a.Send(2, []byte("lost"))
	await(t, a.unreachable, "report about a frame without a link")
	again := start(t, 2, listen(t, b.address), func(o *Options) { o.Peers = map[uint64][]string{1: {a.address}} })
	a.waitLinked(t, 2)
	again.waitLinked(t, 1)
	a.Send(2, []byte("found"))
	if got := await(t, again.frames, "frame after the restart"); string(got.frame) != "found" {
		t.Errorf("got %q: nothing may be re-sent", got.frame)
	}
}

// deafPeer accepts links as member id, answers them and then never reads.
func deafPeer(t *testing.T, id uint64) (address string) {
	l := listen(t, "127.0.0.1:0")
	done := make(chan struct{})
	t.Cleanup(func() { _ = l.Close(); <-done })
	go func() {
		defer close(done)
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			t.Cleanup(func() { _ = conn.Close() })
			if _, _, err := readHello(conn); err != nil {
				continue
			}
			a := answer{verdict: accepted, version: 1, cluster: testCluster, member: id}
			_, _ = conn.Write(a.encode())
		}
	}()
	return l.Addr().String()
}

func TestFullQueueDropsAndDelaysNobodyElse(t *testing.T) {
	a, b := pair(t, func(o *Options) { o.QueueBytes = 1 << 20; o.LinkTimeout = time.Minute })
	a.AddPeer(3, []string{deafPeer(t, 3)})
	a.waitLinked(t, 3)
	drain(a.unreachable)
	frame := make([]byte, 64<<10)
	dropped := func() uint64 {
		s, _ := a.statusOf(3)
		return s.FramesDropped
	}
	for sent := 0; dropped() == 0; sent++ {
		if sent > 1<<20 {
			t.Fatal("nothing is ever dropped")
		}
		a.Send(3, frame)
	}
	if to := await(t, a.unreachable, "report about a full queue"); to != 3 {
		t.Errorf("unreachable %x", to)
	}
	if s, _ := a.statusOf(3); s.QueuedBytes > 1<<20 || !s.Linked {
		t.Errorf("status = %+v", s)
	}
	a.Send(2, []byte("quick"))
	if got := await(t, b.frames, "frame to another peer"); string(got.frame) != "quick" {
		t.Errorf("got %q", got.frame)
	}
}

func TestSendToStrangerIsReported(t *testing.T) {
	a := start(t, 1, listen(t, "127.0.0.1:0"), nil)
	a.Send(42, []byte("x"))
	if to := await(t, a.unreachable, "report"); to != 42 {
		t.Errorf("unreachable %x", to)
	}
}

func TestPeersComeAndGo(t *testing.T) {
	la, lb := listen(t, "127.0.0.1:0"), listen(t, "127.0.0.1:0")
	a, b := start(t, 1, la, nil), start(t, 2, lb, nil)
	a.AddPeer(2, []string{"127.0.0.1:1"})
	b.AddPeer(1, []string{a.address})
	b.waitLinked(t, 1)
	a.UpdatePeer(2, []string{"127.0.0.1:1", b.address}) // the second works
	a.waitLinked(t, 2)
	a.Send(2, []byte("x"))
	await(t, b.frames, "frame")
	b.RemovePeer(1)
	b.RemovePeer(1)
	eventually(t, "the link from the removed member ends", func() bool {
		s, _ := a.statusOf(2)
		return !s.Linked
	})
	a.waitLog(t, "no longer, a member")
	if _, known := b.statusOf(1); known {
		t.Error("removed member is still there")
	}
	b.AddPeer(1, []string{a.address})
	a.waitLinked(t, 2)
	b.waitLinked(t, 1)
	// An address that is no longer listed is left.
	a.UpdatePeer(2, nil)
	eventually(t, "link to the old address ends", func() bool {
		s, _ := a.statusOf(2)
		return !s.Linked
	})
	a.waitLog(t, errAddressGone.Error())
}

func TestAdmitLetsInAMemberThatIsNotKnownYet(t *testing.T) {
	lb := listen(t, "127.0.0.1:0")
	var b *node
	ready := make(chan struct{})
	b = start(t, 2, lb, func(o *Options) {
		o.Admit = func(c Caller) error {
			<-ready
			if c.ID == 8 {
				return fmt.Errorf("index 1234: %w", ErrRemoved)
			}
			b.AddPeer(c.ID, c.URLs)
			return nil
		}
	})
	close(ready)
	l7 := listen(t, "127.0.0.1:0")
	seven := start(t, 7, l7, func(o *Options) {
		o.Peers = map[uint64][]string{2: {b.address}}
		o.AdvertiseURLs = []string{"http://" + l7.Addr().String()}
	})
	seven.waitLinked(t, 2)
	b.waitLinked(t, 7)
	b.Send(7, []byte("welcome"))
	await(t, seven.frames, "frame to the admitted member")
	conn, a := rawDial(t, b, rawHello(8, 2))
	_ = conn.Close()
	if a.verdict != refusedRemoved {
		t.Errorf("removed member: %v", a.verdict)
	}
	b.waitLog(t, "index 1234")
}

// A member that is refused for good is told so, and why. Who belongs to another cluster has no say.
func TestExpelled(t *testing.T) {
	for _, reason := range []error{ErrRemoved, ErrDirectory, ErrFeature, errors.New("not today")} {
		var asked atomic.Pointer[Caller]
		b := start(t, 2, listen(t, "127.0.0.1:0"), func(o *Options) {
			o.Feature = 9
			o.Admit = func(c Caller) error {
				asked.Store(&c)
				return fmt.Errorf("look: %w", reason)
			}
		})
		a := start(t, 1, listen(t, "127.0.0.1:0"), func(o *Options) {
			o.Peers = map[uint64][]string{2: {b.address}}
			o.Directory, o.Starts, o.Feature = 5, 6, 7
			o.AdvertiseURLs = []string{"http://a:1"}
		})
		a.waitLog(t, verdictOf(reason).String())
		if verdictOf(reason) == refusedMember {
			a.end()
			select {
			case err := <-a.expelled:
				t.Errorf("%v expels: %v", reason, err)
			default:
			}
			continue
		}
		if err := await(t, a.expelled, "expulsion"); !errors.Is(err, reason) {
			t.Errorf("expelled because of %v, want %v", err, reason)
		}
		want := Caller{ID: 1, URLs: []string{"http://a:1"}, Directory: 5, Starts: 6, Feature: 7}
		if d := cmp.Diff(&want, asked.Load()); d != "" {
			t.Error(d)
		}
	}
	foreign := start(t, 2, listen(t, "127.0.0.1:0"), func(o *Options) {
		o.Identity.ClusterID++
		o.Admit = func(Caller) error { return ErrRemoved }
	})
	a := start(t, 1, listen(t, "127.0.0.1:0"), func(o *Options) { o.Peers = map[uint64][]string{2: {foreign.address}} })
	a.waitLog(t, refusedCluster.String())
	a.end()
	select {
	case err := <-a.expelled:
		t.Errorf("another cluster expels: %v", err)
	default:
	}
}

func TestPeersSayWhatTheyUnderstand(t *testing.T) {
	a, b := pair(t, func(o *Options) { o.Feature = 10 + o.Identity.MemberID })
	for _, c := range []struct {
		n    *node
		of   uint64
		want uint64
	}{{a, 2, 12}, {b, 1, 11}} {
		eventually(t, "the feature level is known", func() bool {
			s, _ := c.n.statusOf(c.of)
			return s.Feature == c.want
		})
	}
}

func TestSetPeers(t *testing.T) {
	a, b := pair(t, nil)
	three := deafPeer(t, 3)
	b.SetPeers(map[uint64][]string{2: {"http://itself:1"}, 3: {three}})
	if _, known := b.statusOf(1); known {
		t.Error("member 1 is still a peer")
	}
	if _, known := b.statusOf(3); !known {
		t.Error("member 3 is no peer")
	}
	eventually(t, "member 1 has lost its link", func() bool {
		s, _ := a.statusOf(2)
		return !s.Linked
	})
	b.SetPeers(map[uint64][]string{1: {a.address}})
	b.waitLinked(t, 1)
	a.waitLinked(t, 2)
}

func TestAskToJoin(t *testing.T) {
	b := start(t, 2, listen(t, "127.0.0.1:0"), func(o *Options) {
		o.Join = func(urls []string) (uint64, error) {
			if !slices.Equal(urls, []string{"http://n4:1"}) {
				return 0, fmt.Errorf("no member has %v", urls)
			}
			return 44, nil
		}
	})
	in := Introduction{URLs: []string{"http://n4:1"}, Timeout: patience}
	cluster, member, err := AskToJoin(t.Context(), "http://"+b.address, in)
	if cluster != testCluster || member != 44 || err != nil {
		t.Errorf("answer = %x, %x, %v", cluster, member, err)
	}
	in.URLs = []string{"http://n5:1"}
	if _, _, err := AskToJoin(t.Context(), b.address, in); !errors.Is(err, ErrNotAdded) || !strings.Contains(err.Error(), "no member has [http://n5:1]") {
		t.Errorf("refusal = %v", err)
	}
	silent := start(t, 3, listen(t, "127.0.0.1:0"), nil)
	if _, _, err := AskToJoin(t.Context(), silent.address, in); !errors.Is(err, ErrNotAdded) {
		t.Errorf("of a member that cannot tell: %v", err)
	}
}

func TestMemberRemovedDuringTheHandshakeIsRefused(t *testing.T) {
	var asked atomic.Int32
	b := start(t, 2, listen(t, "127.0.0.1:0"), func(o *Options) {
		o.Admit = func(Caller) error {
			if asked.Add(1) > 1 {
				return errors.New("removed meanwhile")
			}
			return nil
		}
	})
	if _, a := rawDial(t, b, rawHello(8, 2)); a.verdict != refusedMember {
		t.Errorf("verdict = %v", a.verdict)
	}
}

func TestQueueOfABrokenLinkIsDropped(t *testing.T) {
	p := newPeer(1, nil)
	if p.enqueue([]byte("early"), 1<<20) {
		t.Error("queued without a link")
	}
	p.up(nil)
	for range 3 {
		if !p.enqueue([]byte("queued"), 1<<20) {
			t.Error("not queued")
		}
	}
	p.down()
	p.up(nil)
	if left := p.take(nil); len(left) != 0 || p.queuedBytes.Load() != 0 || p.framesDropped.Load() != 4 {
		t.Errorf("%d frames, %d bytes left, %d dropped", len(left), p.queuedBytes.Load(), p.framesDropped.Load())
	}
}

func TestListenerThatFailsEndsRun(t *testing.T) {
	l := listen(t, "127.0.0.1:0")
	r := newRecorder()
	tr := New(Options{Identity: Identity{1, 1}, Listener: l, Handler: r, Logger: discardLog(), Peers: map[uint64][]string{2: {"127.0.0.1:1"}}})
	ended := make(chan error, 1)
	go func() { ended <- tr.Run(t.Context()) }()
	_ = l.Close()
	if err := await(t, ended, "end of Run"); !errors.Is(err, net.ErrClosed) {
		t.Errorf("Run = %v", err)
	}
}

func TestBadAddressesAreSaid(t *testing.T) {
	for address, want := range map[string]error{
		"https://127.0.0.1:1":  errNoTLS,
		"ftp://127.0.0.1:1":    errAddress,
		"127.0.0.1":            errAddress,
		"http://127.0.0.1:1/x": errAddress,
	} {
		a := start(t, 1, listen(t, "127.0.0.1:0"), func(o *Options) { o.Peers = map[uint64][]string{2: {address}} })
		a.waitLog(t, want.Error())
		a.end()
	}
}

func TestAdvertisedURLsStayInBounds(t *testing.T) {
	long := strings.Repeat("u", helloURLBytesMax)
	for _, c := range []struct{ urls, want []string }{
		{nil, []string{""}},
		{[]string{"a", "b"}, []string{"a", "b"}},
		{[]string{"a", long, "b"}, []string{"a", "b"}},
		{[]string{"a\nb", "c"}, []string{"c"}},
	} {
		if got := strings.Split(joinURLs(c.urls), "\n"); !slices.Equal(got, c.want) {
			t.Errorf("joinURLs(%.20q) = %q, want %q", c.urls, got, c.want)
		}
	}
}

func TestLinksAreCounted(t *testing.T) {
	m := telemetry.NewMetrics(telemetry.About{})
	a, b := pair(t, func(o *Options) { o.PingInterval, o.Metrics = time.Millisecond, m })
	a.Send(2, number(7))
	await(t, b.frames, "frame")
	sent, _ := a.statusOf(2)
	got, _ := b.statusOf(1)
	if want := uint64(len(number(7)) + frameHeaderBytes); sent.BytesSent != want || got.BytesReceived != want {
		t.Errorf("%d bytes sent, %d received, want %d", sent.BytesSent, got.BytesReceived, want)
	}
	if sent.LinksLost != 0 || sent.LinksBroken != 0 {
		t.Errorf("a link that is well counts as lost or broken: %+v", sent)
	}
	eventually(t, "round trips are taken", func() bool {
		families, err := m.Registry().Gather()
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range families {
			if f.GetName() == "etcd_network_peer_round_trip_time_seconds" {
				return f.GetMetric()[0].GetHistogram().GetSampleCount() > 0 && f.GetMetric()[1].GetHistogram().GetSampleCount() > 0
			}
		}
		return false
	})
	b.end()
	eventually(t, "the loss of both links is counted", func() bool {
		s, _ := a.statusOf(2)
		return s.LinksLost == 1 && s.LinksBroken == 1
	})
}
