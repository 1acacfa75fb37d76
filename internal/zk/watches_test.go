package zk

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/okapi-kv/okapi/internal/core/command"
	"github.com/okapi-kv/okapi/internal/core/watch"
	"github.com/okapi-kv/okapi/internal/zk/jute"
)

func watched(path string) *jute.PathWatchRequest {
	return &jute.PathWatchRequest{Path: path, Watch: true}
}

// text shows a notification as the letter of its type and its path.
func (r reply) text(t *testing.T) string {
	t.Helper()
	var m jute.WatcherEvent
	r.decode(t, &m)
	if r.Xid != jute.XidNotification || r.Err != 0 || m.State != jute.StateSyncConnected {
		t.Errorf("notification %+v of %+v", m, r.ReplyHeader)
	}
	return string(" CDMH"[m.Type]) + m.Path
}

// events returns the notifications that have come, and insists that nothing else has.
func (c *client) events() string {
	c.t.Helper()
	synctest.Wait()
	var all []string
	for {
		select {
		case frame, ok := <-c.frames:
			if !ok {
				return strings.Join(append(all, "closed"), " ")
			}
			all = append(all, parseReply(c.t, frame).text(c.t))
		default:
			return strings.Join(all, " ")
		}
	}
}

func parseReply(t *testing.T, frame []byte) reply {
	t.Helper()
	var r jute.Reader
	var h jute.ReplyHeader
	r.Reset(frame)
	h.Decode(&r)
	if r.Err() != nil {
		t.Fatalf("reply %x: %v", frame, r.Err())
	}
	return reply{h, frame[16:]}
}

// zkCaller is somebody else, with every right that the world has.
func zkCaller() command.Caller { return command.Caller{Protocol: command.ZooKeeper} }

func (d *door) make(path string, data string) {
	d.t.Helper()
	acl := []command.ACL{{Perms: 31, Scheme: "world", ID: "anyone"}}
	d.must(&command.Create{Path: path, Data: []byte(data), ACL: acl, TTL: command.NoTTL})
}

func (d *door) must(cmd command.Command) {
	d.t.Helper()
	if r := d.replica.do(zkCaller(), cmd); r.Code != 0 {
		d.t.Fatalf("%T: %v", cmd, r.Code)
	}
}

func (d *door) write(path string) {
	d.t.Helper()
	d.must(&command.SetData{Path: path, Version: -1})
}

func (d *door) remove(path string) {
	d.t.Helper()
	d.must(&command.Delete{Path: path, Version: -1})
}

// TestWatchesOfReads: which read leaves which watch, what sets it off, and that it is told once
// (DataTree, FinalRequestProcessor).
func TestWatchesOfReads(t *testing.T) {
	create := func(path string) func(*door) { return func(d *door) { d.make(path, "") } }
	write := func(path string) func(*door) { return func(d *door) { d.write(path) } }
	remove := func(path string) func(*door) { return func(d *door) { d.remove(path) } }
	for _, c := range []struct {
		name string
		op   jute.OpCode
		path string
		code jute.ErrorCode
		do   []func(*door)
		want string
	}{
		{"exists, node there, changed twice", jute.OpExists, "/a", 0, []func(*door){write("/a"), write("/a")}, "M/a"},
		{"exists, node there, deleted", jute.OpExists, "/a/b", 0, []func(*door){remove("/a/b")}, "D/a/b"},
		{"exists, node missing, made and deleted", jute.OpExists, "/n", jute.CodeNoNode, []func(*door){create("/n"), remove("/n")}, "C/n"},
		{"getData, changed", jute.OpGetData, "/a", 0, []func(*door){write("/a")}, "M/a"},
		{"getData, child made", jute.OpGetData, "/a", 0, []func(*door){create("/a/c")}, ""},
		{"getData, node missing", jute.OpGetData, "/n", jute.CodeNoNode, []func(*door){create("/n")}, ""},
		{"getChildren, child made and another", jute.OpGetChildren, "/a", 0, []func(*door){create("/a/c"), create("/a/d")}, "H/a"},
		{"getChildren2, child deleted", jute.OpGetChildren2, "/a", 0, []func(*door){remove("/a/b")}, "H/a"},
		{"getChildren, node deleted", jute.OpGetChildren, "/a/b", 0, []func(*door){remove("/a/b")}, "D/a/b"},
		{"getChildren, data changed", jute.OpGetChildren, "/a", 0, []func(*door){write("/a")}, ""},
		{"getChildren, grandchild made", jute.OpGetChildren, "/a", 0, []func(*door){create("/a/b/c")}, ""},
		{"getChildren, node missing", jute.OpGetChildren, "/n", jute.CodeNoNode, []func(*door){create("/n")}, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			inside(t, Options{}, func(d *door) {
				d.make("/a", "")
				d.make("/a/b", "")
				a, quiet := d.login(), d.login()
				a.want(c.code, c.op, watched(c.path))
				quiet.want(c.code, c.op, get(c.path))
				for _, do := range c.do {
					do(d)
				}
				if got := a.events(); got != c.want {
					t.Errorf("told %q, want %q", got, c.want)
				}
				if got := quiet.events(); got != "" {
					t.Errorf("a client without a watch is told %q", got)
				}
			})
		})
	}
}

// TestOneEventForOneChange: a client that watches a node in several ways is told of a deletion once, and then of the parent.
func TestOneEventForOneChange(t *testing.T) {
	inside(t, Options{}, func(d *door) {
		d.make("/a", "")
		d.make("/a/b", "")
		c := d.login()
		c.want(0, jute.OpGetData, watched("/a/b"))
		c.want(0, jute.OpGetChildren, watched("/a/b"))
		c.want(0, jute.OpGetChildren, watched("/a"))
		c.want(0, jute.OpAddWatch, &jute.WatchRequest{Path: "/a", Kind: modePersistentRecursive})
		d.remove("/a/b")
		if got, want := c.events(), "D/a/b H/a"; got != want {
			t.Errorf("told %q, want %q", got, want)
		}
	})
}

// TestPersistentWatches: addWatch, and what its two modes are told (DataTree; WatchManager.triggerWatch).
func TestPersistentWatches(t *testing.T) {
	for mode, want := range map[int32]string{
		modePersistent:          "M/a H/a H/a M/a H/a H/a D/a C/a",
		modePersistentRecursive: "M/a C/a/b C/a/b/c M/a D/a/b/c D/a/b C/a/b D/a/b D/a C/a",
	} {
		inside(t, Options{}, func(d *door) {
			c := d.login()
			d.make("/a", "")
			if r := c.want(0, jute.OpAddWatch, &jute.WatchRequest{Path: "/a", Kind: mode}); string(r.body) != "\x00\x00\x00\x00" {
				t.Errorf("addWatch answers with the body %x", r.body)
			}
			d.write("/a")
			d.make("/a/b", "")
			d.make("/a/b/c", "")
			if mode == modePersistent {
				d.remove("/a/b/c")
				d.remove("/a/b")
				d.write("/a")
				d.make("/a/b", "")
			} else {
				d.write("/a")
				d.remove("/a/b/c")
				d.remove("/a/b")
				d.make("/a/b", "")
			}
			d.remove("/a/b")
			d.remove("/a")
			d.make("/a", "")
			if got := c.events(); got != want {
				t.Errorf("mode %d is told %q, want %q", mode, got, want)
			}
			c.want(jute.CodeMarshallingError, jute.OpAddWatch, &jute.WatchRequest{Path: "/a", Kind: 2})
		})
	}
}

// TestRemoveAndCheckWatches: each type finds its own kind, any finds all (FinalRequestProcessor, trap 23).
func TestRemoveAndCheckWatches(t *testing.T) {
	inside(t, Options{}, func(d *door) {
		c := d.login()
		leave := map[int32]func(){
			typeData:                func() { c.want(0, jute.OpGetData, watched("/")) },
			typeChildren:            func() { c.want(0, jute.OpGetChildren, watched("/")) },
			typePersistent:          func() { c.want(0, jute.OpAddWatch, &jute.WatchRequest{Path: "/", Kind: modePersistent}) },
			typePersistentRecursive: func() { c.want(0, jute.OpAddWatch, &jute.WatchRequest{Path: "/", Kind: modePersistentRecursive}) },
		}
		types := []int32{typeChildren, typeData, typePersistent, typePersistentRecursive}
		for _, have := range types {
			leave[have]()
			for _, asked := range append(types, typeAny) {
				want := jute.CodeNoWatcher
				if asked == have || asked == typeAny {
					want = 0
				}
				c.want(want, jute.OpCheckWatches, &jute.WatchRequest{Path: "/", Kind: asked})
				c.want(jute.CodeNoWatcher, jute.OpCheckWatches, &jute.WatchRequest{Path: "/other", Kind: asked})
				if want != 0 {
					c.want(want, jute.OpRemoveWatches, &jute.WatchRequest{Path: "/", Kind: asked})
				}
			}
			c.want(0, jute.OpRemoveWatches, &jute.WatchRequest{Path: "/", Kind: have})
			c.want(jute.CodeNoWatcher, jute.OpRemoveWatches, &jute.WatchRequest{Path: "/", Kind: have})
		}
		for _, have := range types {
			leave[have]()
		}
		c.want(0, jute.OpRemoveWatches, &jute.WatchRequest{Path: "/", Kind: typeAny})
		c.want(jute.CodeNoWatcher, jute.OpCheckWatches, &jute.WatchRequest{Path: "/", Kind: typeAny})
		c.want(jute.CodeMarshallingError, jute.OpCheckWatches, &jute.WatchRequest{Path: "/", Kind: 0})
		c.want(jute.CodeMarshallingError, jute.OpRemoveWatches, &jute.WatchRequest{Path: "/", Kind: 6})
		d.make("/a", "")
		if got := c.events(); got != "" {
			t.Errorf("without watches told %q", got)
		}
	})
}

// TestEventPrecedesReply: the writer's own watch is told before its reply, with the zxid of the change; another client is told
// before the reply that shows the change, even if that is a ping (trap 11).
func TestEventPrecedesReply(t *testing.T) {
	inside(t, Options{}, func(d *door) {
		a, b := d.login(), d.login()
		d.make("/n", "")
		a.want(0, jute.OpGetData, watched("/n"))
		b.want(0, jute.OpGetData, watched("/n"))
		xid := a.send(jute.OpSetData, set("/n", "x"))
		event, answer := a.recv(), a.recv()
		if event.text(t) != "M/n" || answer.Xid != xid || event.Zxid != answer.Zxid {
			t.Errorf("writer gets %+v, then %+v", event.ReplyHeader, answer.ReplyHeader)
		}
		b.sendAs(jute.XidPing, jute.OpPing, nil)
		if event, ping := b.recv(), b.recv(); event.text(t) != "M/n" || ping.Xid != jute.XidPing || ping.Zxid < event.Zxid {
			t.Errorf("other client gets %+v, then %+v", event.ReplyHeader, ping.ReplyHeader)
		}
	})
}

// TestEventsOfAMulti come in the order of its operations, all at its zxid.
func TestEventsOfAMulti(t *testing.T) {
	inside(t, Options{}, func(d *door) {
		c := d.login()
		d.make("/a", "")
		c.want(0, jute.OpAddWatch, &jute.WatchRequest{Path: "/", Kind: modePersistentRecursive})
		acl := []command.ACL{{Perms: 31, Scheme: "world", ID: "anyone"}}
		d.must(&command.Multi{Ops: []command.Command{
			&command.Create{Path: "/a/b", ACL: acl, TTL: command.NoTTL},
			&command.SetData{Path: "/a", Version: -1},
			&command.Delete{Path: "/a/b", Version: -1},
		}})
		first := c.recv()
		if first.text(t) != "C/a/b" {
			t.Errorf("first told %q", first.text(t))
		}
		for _, want := range []string{"M/a", "D/a/b"} {
			if r := c.recv(); r.text(t) != want || r.Zxid != first.Zxid {
				t.Errorf("told %q at %#x, want %q at %#x", r.text(t), r.Zxid, want, first.Zxid)
			}
		}
	})
}

// TestEventsAreFilteredByREAD: who may not read a node is not told of it, and the watch is used up all the same (trap 15,
// CVE-2024-23944). Who proves more later is judged by that.
func TestEventsAreFilteredByREAD(t *testing.T) {
	inside(t, Options{}, func(d *door) {
		c := d.login()
		d.make("/p", "")
		c.want(jute.CodeNoNode, jute.OpExists, watched("/p/n"))
		c.want(0, jute.OpAddWatch, &jute.WatchRequest{Path: "/p", Kind: modePersistentRecursive})
		secret := digestIdentity([]byte("me:secret"))
		acl := []command.ACL{{Perms: 31, Scheme: secret.Scheme, ID: secret.ID}}
		d.must(&command.Create{Path: "/p/n", ACL: acl, TTL: command.NoTTL})
		if got := c.events(); got != "" {
			t.Errorf("told %q of a node that it may not read", got)
		}
		c.want(jute.CodeNoWatcher, jute.OpCheckWatches, &jute.WatchRequest{Path: "/p/n", Kind: typeData})
		c.want(jute.CodeNoAuth, jute.OpExists, watched("/p/n"))
		c.want(jute.CodeNoWatcher, jute.OpCheckWatches, &jute.WatchRequest{Path: "/p/n", Kind: typeData})
		c.sendAs(jute.XidAuth, jute.OpAuth, &jute.AuthPacket{Scheme: "digest", Auth: []byte("me:secret")})
		if r := c.recv(); r.Err != 0 {
			t.Fatalf("auth answers %d", r.Err)
		}
		d.replica.do(command.Caller{Protocol: command.Internal}, &command.SetData{Path: "/p/n", Version: -1})
		if got := c.events(); got != "M/p/n" {
			t.Errorf("after auth told %q", got)
		}
	})
}

// TestSetWatches: what a client has missed is told at once, before the reply and without a zxid; the rest is watched again
// (DataTree.setWatches, trap 14).
func TestSetWatches(t *testing.T) {
	inside(t, Options{}, func(d *door) {
		for _, path := range []string{"/same", "/changed", "/gone", "/parent", "/parent/x", "/calm", "/appeared", "/bare"} {
			if path != "/appeared" {
				d.make(path, "")
			}
		}
		c := d.login()
		seen := c.want(0, jute.OpExists, get("/same")).Zxid
		d.write("/changed")
		d.remove("/gone")
		d.make("/parent/y", "")
		d.make("/appeared", "")
		m := &jute.SetWatches{
			RelativeZxid: seen,
			Data:         []string{"/same", "/changed", "/gone"},
			Exist:        []string{"/never", "/appeared"},
			Child:        []string{"/calm", "/parent", "/gone"},
			Persistent:   []string{"/bare", "/gone"}, PersistentRecursive: []string{"/changed"},
		}
		c.sendAs(jute.XidSetWatches, jute.OpSetWatches2, raw(m.Append(nil, jute.OpSetWatches2)))
		for _, want := range []string{"M/changed", "D/gone", "C/appeared", "H/parent", "D/gone"} {
			if r := c.recv(); r.text(t) != want || r.Zxid != -1 {
				t.Errorf("told %q with zxid %d, want %q with -1", r.text(t), r.Zxid, want)
			}
		}
		if r := c.recv(); r.Xid != jute.XidSetWatches || r.Err != 0 || len(r.body) != 0 {
			t.Errorf("setWatches2 answers %+v, body %x", r.ReplyHeader, r.body)
		}
		d.write("/same")
		d.make("/never", "")
		d.make("/calm/x", "")
		d.write("/bare")
		d.make("/changed/x", "")
		d.make("/gone", "")
		d.write("/parent")
		d.make("/appeared/x", "")
		if got, want := c.events(), "M/same C/never H/calm M/bare C/changed/x C/gone"; got != want {
			t.Errorf("told %q, want %q", got, want)
		}
	})
}

// TestManyWatchesSetAgain goes beyond one step, while others write.
func TestManyWatchesSetAgain(t *testing.T) {
	inside(t, Options{}, func(d *door) {
		c := d.login()
		m := &jute.SetWatches{RelativeZxid: 1 << 40}
		for i := range 3*catchUpStep + 1 {
			m.Exist = append(m.Exist, fmt.Sprintf("/n%d", i))
		}
		d.make("/n5", "")
		c.send(jute.OpSetWatches, raw(m.Append(nil, jute.OpSetWatches)))
		if r := c.recv(); r.text(t) != "C/n5" {
			t.Errorf("told %q", r.text(t))
		}
		c.recv()
		d.make("/n0", "")
		d.make(fmt.Sprintf("/n%d", 3*catchUpStep), "")
		if got, want := c.events(), fmt.Sprintf("C/n0 C/n%d", 3*catchUpStep); got != want {
			t.Errorf("told %q, want %q", got, want)
		}
	})
}

// TestEndOfSessionEndsItsConnection: the connection of a session that expires, or is attached elsewhere, is closed though its
// client is silent.
func TestInstalledSnapshotEndsConnections(t *testing.T) {
	inside(t, Options{}, func(d *door) {
		c := d.login()
		c.want(0, jute.OpGetData, watched("/"))
		d.replica.install()
		if got := c.events(); got != "closed" {
			t.Errorf("the client of a member whose state was replaced gets %q", got)
		}
		d.login().want(0, jute.OpGetData, watched("/")) // The door stays open.
	})
}

func TestEndOfSessionEndsItsConnection(t *testing.T) {
	inside(t, Options{}, func(d *door) {
		a, b := d.login(), d.login()
		a.want(0, jute.OpGetData, watched("/"))
		d.must(&command.Expire{ID: a.session, Generation: 1, Term: 1})
		if got := a.events(); got != "closed" { // Before any time has passed.
			t.Errorf("the client of an expired session gets %q", got)
		}
		attach := &command.AttachSession{ID: b.session, Timeout: 10_000}
		copy(attach.Password[:], b.password)
		d.must(attach)
		if got := b.events(); got != "closed" {
			t.Errorf("the client of a session that moved gets %q", got)
		}
		d.make("/n", "")
		synctest.Wait()
		if s := d.server.srv.notifier.registry.Stats(); s.DataWatches != 0 {
			t.Errorf("watches of closed connections are left: %+v", s)
		}
	})
}

// TestClientThatTakesNoEvents loses its connection when its bound is reached, and nobody else notices.
func TestClientThatTakesNoEvents(t *testing.T) {
	inside(t, Options{MaxEventBytes: 2000, MaxReplyBytes: 100}, func(d *door) {
		mute, other := d.dialMute(), d.login()
		mute.sendFrame((&jute.ConnectRequest{TimeoutMS: 40_000, Password: make([]byte, 16)}).Append(nil))
		if _, err := readFrame(mute.socket); err != nil {
			t.Fatal(err)
		}
		mute.send(jute.OpAddWatch, &jute.WatchRequest{Path: "/", Kind: modePersistentRecursive})
		if _, err := readFrame(mute.socket); err != nil {
			t.Fatal(err)
		}
		other.want(0, jute.OpAddWatch, &jute.WatchRequest{Path: "/", Kind: modePersistentRecursive})
		d.make("/n", "")
		for i := range 100 {
			d.write("/n")
			if got := other.events(); !strings.HasSuffix(got, "M/n") {
				t.Fatalf("the other client is told %q of change %d", got, i)
			}
		}
		if _, err := mute.socket.Write([]byte{0}); err == nil {
			t.Error("the connection of a client that takes no events is still open")
		}
		if !strings.Contains(d.log.String(), errEventsWaiting.Error()) {
			t.Errorf("the log does not say why")
		}
	})
}

// seenBy is what a client of TestOrderUnderLoad has been shown of a node.
type seenBy struct {
	mzxid int64
	armed bool // a watch was left when it was at mzxid
}

// TestOrderUnderLoad: clients that pipeline reads, watches and writes of a few nodes find each reply in its place, their own
// writes in their reads and not those sent later, nothing that goes back, and an event before the first
// reply that shows its change.
func TestOrderUnderLoad(t *testing.T) {
	for seed := range uint64(20) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			inside(t, Options{}, func(d *door) {
				nodes := []string{"/a", "/b", "/c"}
				for _, n := range nodes {
					d.make(n, "")
				}
				var done []chan string
				for i := range 6 {
					c, result := d.login(), make(chan string, 1)
					done = append(done, result)
					go func() { result <- orderly(c, nodes, rand.New(rand.NewPCG(seed, uint64(i)))) }()
				}
				for _, result := range done {
					if problem := <-result; problem != "" {
						t.Error(problem)
					}
				}
			})
		})
	}
}

// asked is a request of orderly's.
type asked struct {
	op    jute.OpCode
	path  string
	watch bool
	value string
}

// orderly sends requests in bursts and checks the replies; it returns what is wrong.
func orderly(c *client, nodes []string, r *rand.Rand) string {
	seen, mine := map[string]seenBy{}, map[string]string{}
	for burst := range 20 {
		var all []asked
		for i := range 1 + r.IntN(30) {
			q := asked{op: jute.OpGetData, path: nodes[r.IntN(len(nodes))], watch: r.IntN(3) == 0}
			if r.IntN(3) == 0 {
				q.watch = false
				q.op, q.value = jute.OpSetData, fmt.Sprintf("%x-%d-%d", c.session, burst, i)
				c.send(q.op, set(q.path, q.value))
			} else {
				c.send(q.op, &jute.PathWatchRequest{Path: q.path, Watch: q.watch})
			}
			all = append(all, q)
		}
		for _, q := range all {
			if problem := c.check(q, seen, mine); problem != "" {
				return fmt.Sprintf("session %#x, burst %d, %+v: %s", c.session, burst, q, problem)
			}
		}
		if r.IntN(4) == 0 {
			time.Sleep(time.Millisecond)
		}
	}
	return ""
}

// check reads up to the reply to q.
func (c *client) check(q asked, seen map[string]seenBy, mine map[string]string) string {
	for {
		frame, ok := <-c.frames
		if !ok {
			return "connection closed"
		}
		h := parseReply(c.t, frame)
		if h.Zxid < c.lastZxid {
			return fmt.Sprintf("zxid %#x after %#x", h.Zxid, c.lastZxid)
		}
		c.lastZxid = h.Zxid
		if h.Xid == jute.XidNotification {
			path := h.text(c.t)[1:]
			if !seen[path].armed {
				return "told of " + path + " without a watch"
			}
			seen[path] = seenBy{h.Zxid, false}
			continue
		}
		return check(c.t, h, q, seen, mine)
	}
}

func check(t *testing.T, h reply, q asked, seen map[string]seenBy, mine map[string]string) string {
	if h.Err != 0 {
		return fmt.Sprint("error ", h.Err)
	}
	var m jute.GetDataResponse
	if q.op == jute.OpSetData {
		h.decode(t, &m.Stat)
		mine[q.path] = q.value
	} else {
		h.decode(t, &m)
	}
	before := seen[q.path]
	switch {
	case m.Stat.Mzxid < before.mzxid:
		return fmt.Sprintf("mzxid %#x, was %#x already", m.Stat.Mzxid, before.mzxid)
	case m.Stat.Mzxid > before.mzxid && before.armed:
		return fmt.Sprintf("mzxid %#x is shown before the event", m.Stat.Mzxid)
	case m.Stat.Mzxid > h.Zxid:
		return fmt.Sprintf("mzxid %#x in a reply of %#x", m.Stat.Mzxid, h.Zxid)
	}
	session, _, _ := strings.Cut(mine[q.path], "-")
	if data := string(m.Data); q.op == jute.OpGetData && session != "" && strings.HasPrefix(data, session+"-") && data != mine[q.path] {
		return fmt.Sprintf("reads its own write %q, the last one before it is %q", data, mine[q.path])
	}
	seen[q.path] = seenBy{m.Stat.Mzxid, before.armed || q.watch}
	return ""
}

// TestWatchStats counts pairs of connection and path.
func TestWatchStats(t *testing.T) {
	inside(t, Options{}, func(d *door) {
		a, b := d.login(), d.login()
		for _, c := range []*client{a, b} {
			c.want(0, jute.OpGetData, watched("/"))
			c.want(0, jute.OpGetChildren, watched("/"))
			c.want(jute.CodeNoNode, jute.OpExists, watched("/x"))
		}
		s := d.server.srv.notifier.registry.Stats()
		if diff := cmp.Diff(watch.Stats{DataConnections: 2, DataPaths: 2, DataWatches: 4, ChildWatches: 2}, s); diff != "" {
			t.Error(diff)
		}
	})
}
