package zkdifferential

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/okapi-kv/okapi/test/harness"
)

// The traps that ZooKeeper sets to those who write a server for its clients. Each test holds at a real ZooKeeper too.

func (k *kit) path(name string) string { return k.base + name }

// make makes a node that everybody may do everything with.
func (k *kit) make(name string, flags int32) {
	k.Helper()
	k.control.want(request{op: opCreate, path: k.path(name), acl: openACL, flags: flags, data: []byte("x")}, fmt.Sprintf("create 0 %q", k.path(name)))
}

func show(op string, code int, path string) string { return fmt.Sprintf("%s %d %q", op, code, path) }

// TestTrap01: the child version that clients see counts creates and deletes; in a fresh tree it starts below zero.
func TestTrap01(t *testing.T) {
	trap(t, func(k *kit) {
		k.make("/n", 0)
		k.make("/n/a", 0)
		k.make("/n/b", 0)
		k.control.want(request{op: opDelete, path: k.path("/n/a"), version: -1}, "delete 0")
		if s := k.control.stat(k.path("/n")); s["cversion"] != 3 || s["numChildren"] != 1 {
			k.Errorf("after two creates and a delete cversion is %d with %d children, want 3 with 1", s["cversion"], s["numChildren"])
		}
		if s := k.control.stat("/zookeeper"); s["cversion"] != -2 || s["numChildren"] != 2 {
			k.Errorf("/zookeeper has cversion %d with %d children, want -2 with 2", s["cversion"], s["numChildren"])
		}
	})
}

// TestTrap02: a sequence number is how many nodes were ever created below the parent.
func TestTrap02(t *testing.T) {
	trap(t, func(k *kit) {
		k.make("/n", 0)
		k.make("/n/plain", 0)
		k.control.want(request{op: opDelete, path: k.path("/n/plain"), version: -1}, "delete 0")
		k.control.want(request{op: opCreate, path: k.path("/n/s-"), acl: openACL, flags: 2}, show("create", 0, k.path("/n/s-0000000001")))
		k.control.want(request{op: opCreate, path: k.path("/n/"), acl: openACL, flags: 3}, show("create", 0, k.path("/n/0000000002")))
	})
}

// TestTrap03: containers and TTL nodes have no owner to see; ephemeral nodes have their session.
func TestTrap03(t *testing.T) {
	trap(t, func(k *kit) {
		s := k.open()
		s.do(request{op: opCreateContainer, path: k.path("/c"), acl: openACL, flags: 4},
			request{op: opCreateTTL, path: k.path("/t"), acl: openACL, flags: 5, ttl: 100_000},
			request{op: opCreate, path: k.path("/e"), acl: openACL, flags: 1})
		for name, want := range map[string]int64{"/c": 0, "/t": 0, "/e": s.session} {
			if got := k.control.stat(k.path(name))["ephemeralOwner"]; got != want {
				k.Errorf("%s is owned by %#x, want %#x", name, got, want)
			}
		}
	})
}

// TestTrap04: a multi that fails has no error in its header; its list says 0 before the culprit and -2 behind; it uses a zxid.
func TestTrap04(t *testing.T) {
	trap(t, func(k *kit) {
		before := k.control.zxid()
		k.control.want(request{op: opMulti, ops: []request{
			{op: opCreate, path: k.path("/a"), acl: openACL}, {op: opCheck, path: k.path("/none"), version: -1}, {op: opDelete, path: k.path("/a"), version: -1},
		}}, "multi 0 type -1 done 0 err 0 0 type -1 done 0 err -101 -101 type -1 done 0 err -2 -2 type -1 done 1 err -1")
		if after := k.control.zxid(); after != before+1 {
			k.Errorf("it used %d zxids, want 1", after-before)
		}
		k.control.want(request{op: opExists, path: k.path("/a")}, "exists -101")
	})
}

// TestTrap05: in a multi the results of create2, createTTL and createContainer all have the type of create2.
func TestTrap05(t *testing.T) {
	trap(t, func(k *kit) {
		got := k.control.do(request{op: opMulti, ops: []request{
			{op: opCreate, path: k.path("/a"), acl: openACL}, {op: opCreate2, path: k.path("/b"), acl: openACL},
			{op: opCreateContainer, path: k.path("/c"), acl: openACL, flags: 4}, {op: opCreateTTL, path: k.path("/d"), acl: openACL, flags: 5, ttl: 100_000},
		}})
		types := regexp.MustCompile(`type (-?\d+)`).FindAllString(got[0], -1)
		if want := []string{"type 1", "type 15", "type 15", "type 15", "type -1"}; !slices.Equal(types, want) {
			k.Errorf("types are %v, want %v", types, want)
		}
	})
}

// TestTrap06: an opcode that does not exist, and a check that stands alone, are answered with -6 and zxid -1, and the connection ends.
func TestTrap06(t *testing.T) {
	trap(t, func(k *kit) {
		for _, op := range []int32{opCheck, 0, 99} {
			s := k.open()
			r := request{op: op, path: "/", version: -1}
			s.send(s.encode([]request{r}))
			if err := s.collect([]request{r}); err != nil {
				k.Fatal(err)
			}
			got := s.take()
			if len(got) != 2 || replyCode(got[0].frame) != -6 || eventZxid(got[0].frame) != -1 || got[1].kind != messageEnd {
				k.Errorf("opcode %d: got %d messages, the first %s, want -6 with zxid -1 and the end", op, len(got), got[0].show())
			}
		}
	})
}

// TestTrap07: the read-only byte stands in the answer to a connect request exactly if it stood in the request.
func TestTrap07(t *testing.T) {
	trap(t, func(k *kit) {
		for plain, want := range map[bool]string{
			true:  "connect timeout:40000 session:true 16 bytes, zero: false",
			false: "connect timeout:40000 session:true 16 bytes, zero: false readOnly:0",
		} {
			s := &seat{&client{address: k.member.ZooKeeper}, k}
			if got := s.connect(0, make([]byte, 16), &step{timeout: 40_000, plain: plain}); !slices.Equal(got, []string{want}) {
				k.Errorf("plain %v: got %q, want %q", plain, got, want)
			}
			s.drop()
		}
	})
}

// TestTrap08: a client that has seen more than the server is sent away without a word, also for a new session.
func TestTrap08(t *testing.T) {
	trap(t, func(k *kit) {
		s := &seat{&client{address: k.member.ZooKeeper}, k}
		if got := s.connect(0, make([]byte, 16), &step{timeout: 40_000, since: momentAhead}); !slices.Equal(got, []string{"end"}) {
			k.Errorf("got %q, want the end alone", got)
		}
	})
}

// TestTrap09: a session that is gone, or a wrong password, is answered with zeros and then the end.
func TestTrap09(t *testing.T) {
	trap(t, func(k *kit) {
		want := []string{"connect timeout:0 session:false 16 bytes, zero: true readOnly:0", "end"}
		s := k.open()
		s.drop()
		wrong := append([]byte{s.password[0] ^ 1}, s.password[1:]...)
		if got := s.connect(s.session, wrong, &step{timeout: 40_000}); !slices.Equal(got, want) {
			k.Errorf("with a wrong password got %q, want %q", got, want)
		}
		id, password := s.session, s.password
		s.connect(id, password, &step{timeout: 40_000})
		s.do(request{op: opClose})
		if got := s.connect(id, password, &step{timeout: 40_000}); !slices.Equal(got, want) {
			k.Errorf("after its close got %q, want %q", got, want)
		}
	})
}

// TestTrap10: writes that fail, and opening and closing sessions, use zxids; reads, attaching and pings do not. A reply has the zxid
// of the server.
func TestTrap10(t *testing.T) {
	trap(t, func(k *kit) {
		at := k.control.zxid()
		uses := func(what string, n int64) {
			k.Helper()
			if now := k.control.zxid(); now != at+n {
				k.Errorf("%s used %d zxids, want %d", what, now-at, n)
			}
			at = k.control.zxid()
		}
		k.control.do(request{op: opDelete, path: k.path("/none")})
		uses("a delete that fails", 1)
		k.control.do(request{op: opExists, path: "/"}, request{op: opSync, path: "/"}, request{op: opAddWatch, path: "/x", kind: 1})
		uses("reads", 0)
		s := k.open()
		uses("a new session", 1)
		s.drop()
		s.connect(s.session, s.password, &step{timeout: 40_000})
		uses("attaching", 0)
		s.do(request{op: opClose})
		uses("closing", 1)
	})
}

// TestTrap11: an event comes before the writer's own reply, and before any reply that shows the change; what a client has missed
// comes before the answer to setWatches.
func TestTrap11(t *testing.T) {
	trap(t, func(k *kit) {
		k.make("/n", 0)
		s := k.open()
		got := s.do(request{op: opGetData, path: k.path("/n"), watch: true}, request{op: opSetData, path: k.path("/n"), version: -1}, request{op: opSync, path: "/"})
		if want := []string{fmt.Sprintf("event 3 %q", k.path("/n"))}; len(got) != 4 || !slices.Equal(got[1:2], want) || !strings.HasPrefix(got[2], "setData 0") {
			k.Errorf("got %q, want the event before the reply to setData", got)
		}
		k.control.do(request{op: opExists, path: k.path("/n"), watch: true})
		s.do(request{op: opSetData, path: k.path("/n"), version: -1})
		if got := k.control.do(request{op: opGetData, path: k.path("/n")}); len(got) != 2 || !strings.HasPrefix(got[0], "event 3") {
			k.Errorf("got %q, want the event before the read", got)
		}
		s.want(request{op: opSetWatches, since: momentOpened, again: [5][]string{{k.path("/n")}}}, fmt.Sprintf("event 3 %q", k.path("/n")), "setWatches 0")
	})
}

// TestTrap12: the end of a node is told once to each connection, then its parent's children have changed; recursive watches
// never hear of children.
func TestTrap12(t *testing.T) {
	trap(t, func(k *kit) {
		k.make("/n", 0)
		k.make("/n/a", 0)
		plain, recursive := k.open(), k.open()
		plain.do(request{op: opGetData, path: k.path("/n/a"), watch: true}, request{op: opGetChildren, path: k.path("/n/a"), watch: true},
			request{op: opGetChildren, path: k.path("/n"), watch: true})
		recursive.do(request{op: opAddWatch, path: k.path("/n"), kind: 1})
		k.control.do(request{op: opDelete, path: k.path("/n/a"), version: -1})
		k.make("/n/b", 0)
		gone, children := fmt.Sprintf("event 2 %q", k.path("/n/a")), fmt.Sprintf("event 4 %q", k.path("/n"))
		if got := plain.events(); !slices.Equal(got, []string{gone, children}) {
			k.Errorf("plain watches got %q, want %q", got, []string{gone, children})
		}
		if got, want := recursive.events(), []string{gone, fmt.Sprintf("event 1 %q", k.path("/n/b"))}; !slices.Equal(got, want) {
			k.Errorf("a recursive watch got %q, want %q", got, want)
		}
	})
}

// TestTrap13: exists leaves a watch where there is no node; getData and getChildren do not.
func TestTrap13(t *testing.T) {
	trap(t, func(k *kit) {
		s := k.open()
		s.want(request{op: opGetData, path: k.path("/a"), watch: true}, "getData -101")
		s.want(request{op: opGetChildren, path: k.path("/a"), watch: true}, "getChildren -101")
		s.want(request{op: opExists, path: k.path("/b"), watch: true}, "exists -101")
		k.make("/a", 0)
		k.make("/b", 0)
		if got, want := s.events(), []string{fmt.Sprintf("event 1 %q", k.path("/b"))}; !slices.Equal(got, want) {
			k.Errorf("got %q, want %q", got, want)
		}
	})
}

// TestTrap14: setWatches compares the data's zxid, the node's being there, and the children's zxid with the client's; persistent watches
// are told of nothing that they missed.
func TestTrap14(t *testing.T) {
	trap(t, func(k *kit) {
		for _, name := range []string{"/old", "/data", "/kids", "/gone", "/here"} {
			k.make(name, 0)
		}
		s := k.open()
		s.zxid()
		k.control.do(request{op: opSetData, path: k.path("/data"), version: -1}, request{op: opCreate, path: k.path("/kids/k"), acl: openACL},
			request{op: opDelete, path: k.path("/gone"), version: -1})
		lists := [5][]string{
			{k.path("/old"), k.path("/data"), k.path("/kids"), k.path("/gone")},
			{k.path("/here"), k.path("/none")},
			{k.path("/old"), k.path("/kids"), k.path("/gone")},
			{k.path("/data"), k.path("/gone")}, {k.path("/kids")},
		}
		event := func(kind int, name string) string { return fmt.Sprintf("event %d %q", kind, k.path(name)) }
		s.want(request{op: opSetWatches2, since: momentOpened, again: lists},
			event(3, "/data"), event(2, "/gone"), event(1, "/here"), event(4, "/kids"), event(2, "/gone"), "setWatches2 0")
		k.control.do(request{op: opSetData, path: k.path("/old"), version: -1}, request{op: opCreate, path: k.path("/none"), acl: openACL})
		if got, want := s.events(), []string{event(3, "/old"), event(1, "/none")}; !slices.Equal(got, want) {
			k.Errorf("the watches that were left again got %q, want %q", got, want)
		}
	})
}

var (
	onlyOwner = []entry{{31, "digest", digestOf("owner:pw")}}
	asOwner   = request{op: opAuth, scheme: "digest", data: []byte("owner:pw")}
)

// TestTrap15: who may not read a node learns nothing of it, and an ordinary watch is spent all the same.
func TestTrap15(t *testing.T) {
	trap(t, func(k *kit) {
		k.control.want(asOwner, "auth 0")
		k.make("/n", 0)
		s := k.open()
		s.do(request{op: opExists, path: k.path("/n"), watch: true})
		k.control.do(request{op: opSetACL, path: k.path("/n"), acl: onlyOwner, version: -1}, request{op: opSync, path: "/"})
		k.control.do(request{op: opSetData, path: k.path("/n"), version: -1})
		k.control.do(request{op: opSetACL, path: k.path("/n"), acl: openACL, version: -1}, request{op: opSync, path: "/"})
		k.control.do(request{op: opSetData, path: k.path("/n"), version: -1})
		if got := s.events(); len(got) != 0 {
			k.Errorf("got %q, want nothing", got)
		}
	})
}

// TestTrap16: exists wants READ of a node that is there; getACL hides the digests from who has no ADMIN.
func TestTrap16(t *testing.T) {
	trap(t, func(k *kit) {
		k.control.want(asOwner, "auth 0")
		k.control.do(request{op: opCreate, path: k.path("/n"), acl: onlyOwner})
		k.control.do(request{op: opCreate, path: k.path("/m"), acl: append([]entry{{1, "world", "anyone"}}, onlyOwner...)})
		s := k.open()
		s.want(request{op: opExists, path: k.path("/n")}, "exists -102")
		s.want(request{op: opExists, path: k.path("/none")}, "exists -101")
		if got := s.do(request{op: opGetACL, path: k.path("/m")}); !strings.Contains(got[0], `31 "digest" "owner:x"`) {
			k.Errorf("got %q, want the digest as owner:x", got)
		}
		if got := k.control.do(request{op: opGetACL, path: k.path("/m")}); !strings.Contains(got[0], fmt.Sprintf("31 \"digest\" %q", digestOf("owner:pw"))) {
			k.Errorf("got %q, want the whole digest", got)
		}
	})
}

// TestTrap17: which error wins.
func TestTrap17(t *testing.T) {
	trap(t, func(k *kit) {
		k.control.want(asOwner, "auth 0")
		k.control.do(request{op: opCreate, path: k.path("/shut"), acl: onlyOwner}, request{op: opCreate, path: k.path("/e"), acl: openACL, flags: 1})
		s := k.open()
		s.want(request{op: opCreate, path: k.path("/none/x")}, "create -114")
		s.want(request{op: opSetACL, path: k.path("/none"), version: 7}, "setACL -114")
		s.want(request{op: opDelete, path: k.path("/shut/none"), version: 7}, "delete -102")
		s.want(request{op: opDelete, path: k.path("/none"), version: 7}, "delete -101")
		s.want(request{op: opCreate, path: k.path("/e/x"), acl: openACL}, "create -108")
		s.want(request{op: opCreate, path: k.path("/e"), acl: openACL, flags: 9}, "create -8")
		s.want(request{op: opSetData, path: k.path("/shut"), version: 7}, "setData -102")
		s.want(request{op: opCreate, path: "/", acl: openACL}, "create -110")
		k.make("/full", 0)
		k.make("/full/child", 0)
		s.want(request{op: opDelete, path: k.path("/full"), version: 7}, "delete -103")
		s.want(request{op: opDelete, path: k.path("/full"), version: 0}, "delete -111")
	})
}

// TestTrap18 is in internal/core/state: nobody waits for two thousand million writes. Here is what -1 means.
func TestTrap18(t *testing.T) {
	trap(t, func(k *kit) {
		k.make("/n", 0)
		for _, version := range []int32{0, -1, -1, 3} {
			if got := k.control.do(request{op: opSetData, path: k.path("/n"), version: version}); !strings.HasPrefix(got[0], "setData 0") {
				k.Errorf("version %d: got %q", version, got)
			}
		}
		k.control.want(request{op: opSetData, path: k.path("/n"), version: -2}, "setData -103")
		k.control.want(request{op: opSetACL, path: k.path("/n"), acl: openACL, version: 1}, "setACL -103")
	})
}

// TestTrap19: /zookeeper/config can be read by everybody and changed by nobody; four nodes cannot be deleted. Its version is -1 in an
// ensemble, as in okapi, and 0 in a ZooKeeper that stands alone.
func TestTrap19(t *testing.T) {
	trap(t, func(k *kit) {
		version := 0
		if k.okapi {
			version = -1
		}
		k.control.want(request{op: opGetACL, path: "/zookeeper/config"}, fmt.Sprintf(
			`getACL 0 1 1 "world" "anyone" version:%d cversion:0 aversion:-1 ephemeralOwner:false dataLength:0 numChildren:0`, version))
		k.control.want(request{op: opSetData, path: "/zookeeper/config", version: -1}, "setData -102")
		for _, path := range []string{"/", "/zookeeper", "/zookeeper/config", "/zookeeper/quota"} {
			k.control.want(request{op: opDelete, path: path, version: -1}, "delete -8")
		}
	})
}

// TestTrap20: data that is null is not data that is empty, though both have length 0.
func TestTrap20(t *testing.T) {
	trap(t, func(k *kit) {
		stat := " version:0 cversion:0 aversion:0 ephemeralOwner:false dataLength:0 numChildren:0"
		k.control.do(request{op: opCreate, path: k.path("/null"), acl: openACL}, request{op: opCreate, path: k.path("/empty"), acl: openACL, data: []byte{}})
		k.control.want(request{op: opGetData, path: k.path("/null")}, "getData 0 null"+stat)
		k.control.want(request{op: opGetData, path: k.path("/empty")}, `getData 0 ""`+stat)
	})
}

// TestTrap21: timeouts are clamped and asked for again with each connection; all nodes of a session go in one zxid.
func TestTrap21(t *testing.T) {
	trap(t, func(k *kit) {
		k.make("/a", 0)
		k.make("/b", 0)
		s := &seat{&client{address: k.member.ZooKeeper}, k}
		for _, c := range []struct{ ask, get int32 }{{1, 4000}, {1_000_000, 40_000}, {-7, 4000}, {30_000, 30_000}} {
			got := s.connect(s.session, append([]byte(nil), s.password...), &step{timeout: c.ask})
			if len(got) != 1 || !strings.HasPrefix(got[0], fmt.Sprintf("connect timeout:%d ", c.get)) {
				k.Errorf("asked for %d ms and got %q, want %d", c.ask, got, c.get)
			}
			if c.get != 30_000 {
				s.drop()
			}
		}
		s.do(request{op: opCreate, path: k.path("/a/e"), acl: openACL, flags: 1}, request{op: opCreate, path: k.path("/b/e"), acl: openACL, flags: 1})
		before := k.control.zxid()
		s.do(request{op: opClose})
		a, b := k.control.stat(k.path("/a")), k.control.stat(k.path("/b"))
		if a["pzxid"] != before+1 || b["pzxid"] != before+1 || a["numChildren"]+b["numChildren"] != 0 {
			k.Errorf("after the close pzxids are %d and %d, want %d", a["pzxid"], b["pzxid"], before+1)
		}
	})
}

// TestTrap22: an authentication that fails ends the connection; identities add up; auth in a list stands for all of them at that time; a
// SASL token is answered with null.
func TestTrap22(t *testing.T) {
	trap(t, func(k *kit) {
		s := k.open()
		s.want(request{op: opAuth, scheme: "nosuch", data: []byte("x")}, "auth -115", "end")
		s = k.open()
		all := []entry{{31, "auth", ""}}
		s.want(request{op: opCreate, path: k.path("/none"), acl: all}, "create -114")
		for _, who := range []string{"ann:a", "bob:b"} {
			s.want(request{op: opAuth, scheme: "digest", data: []byte(who)}, "auth 0")
		}
		s.want(request{op: opCreate, path: k.path("/both"), acl: all}, show("create", 0, k.path("/both")))
		got := s.do(request{op: opGetACL, path: k.path("/both")})
		for _, who := range []string{"ann:a", "bob:b"} {
			if !strings.Contains(got[0], digestOf(who)) {
				k.Errorf("the list is %q, want %s in it", got, digestOf(who))
			}
		}
		s.want(request{op: opWhoAmI}, `whoAmI 0 3 ["digest":"ann" "digest":"bob" "ip":"127.0.0.1"]`)
		s.want(request{op: opSASL, data: []byte("token")}, "sasl 0 null")
	})
}

// TestTrap23: watches are removed by kind.
func TestTrap23(t *testing.T) {
	trap(t, func(k *kit) {
		k.make("/n", 0)
		const children, data, anyKind, persistent, recursive = 1, 2, 3, 4, 5
		s := k.open()
		check := func(kind int32, code int) {
			k.Helper()
			s.want(request{op: opCheckWatches, path: k.path("/n"), kind: kind}, fmt.Sprintf("checkWatches %d", code))
		}
		remove := func(kind int32, code int) {
			k.Helper()
			s.want(request{op: opRemoveWatches, path: k.path("/n"), kind: kind}, fmt.Sprintf("removeWatches %d", code))
		}
		remove(anyKind, -121)
		s.do(request{op: opGetData, path: k.path("/n"), watch: true}, request{op: opAddWatch, path: k.path("/n"), kind: 0})
		check(children, -121)
		check(data, 0)
		check(persistent, 0)
		remove(recursive, -121)
		remove(data, 0)
		check(data, -121)
		check(persistent, 0)
		s.do(request{op: opAddWatch, path: k.path("/n"), kind: 1}, request{op: opGetChildren, path: k.path("/n"), watch: true})
		remove(anyKind, 0)
		for _, kind := range []int32{children, data, anyKind, persistent, recursive} {
			check(kind, -121)
		}
		check(9, -5)
	})
}

// TestTrap24: words of four letters: no line end behind imok and rw, and the shape of srvr's first line.
func TestTrap24(t *testing.T) {
	trap(t, func(k *kit) {
		ask := func(word string) string {
			k.Helper()
			answer, err := k.member.FourLetters(word)
			if err != nil {
				k.Fatal(err)
			}
			return answer
		}
		for word, want := range map[string]string{"ruok": "imok", "isro": "rw"} {
			if got := ask(word); got != want {
				k.Errorf("%s is answered %q, want %q", word, got, want)
			}
		}
		got := ask("srvr")
		names := regexp.MustCompile(`(?m)^([A-Z][A-Za-z /]*):`).FindAllString(got, -1)
		want := []string{"Zookeeper version:", "Latency min/avg/max:", "Received:", "Sent:", "Connections:", "Outstanding:", "Zxid:", "Mode:", "Node count:"}
		if !slices.Equal(names, want) {
			k.Errorf("srvr has lines %q, want %q", names, want)
		}
		date := `\d{4}-\d\d-\d\d`
		if k.okapi {
			date = `\d\d/\d\d/\d{4}` // As ZooKeeper had it: go-zookeeper takes no other.
		}
		if first := regexp.MustCompile(`^Zookeeper version: 3\.9\.\S+, built on ` + date + ` \d\d:\d\d UTC\n`); !first.MatchString(got) {
			k.Errorf("srvr begins %q", got[:min(len(got), 80)])
		}
	})
}

// TestTrap25: setACL moves nothing but its own version and nobody hears of it.
func TestTrap25(t *testing.T) {
	trap(t, func(k *kit) {
		k.make("/n", 0)
		k.make("/n/child", 0)
		s := k.open()
		s.do(request{op: opGetData, path: k.path("/n/child"), watch: true}, request{op: opGetChildren, path: k.path("/n"), watch: true},
			request{op: opAddWatch, path: k.path("/n"), kind: 1})
		node, parent := k.control.stat(k.path("/n/child")), k.control.stat(k.path("/n"))
		k.control.do(request{op: opSetACL, path: k.path("/n/child"), acl: openACL, version: 0})
		if got := s.events(); len(got) != 0 {
			k.Errorf("got %q, want nothing", got)
		}
		after := k.control.stat(k.path("/n/child"))
		for name, n := range after {
			want := node[name]
			if name == "aversion" {
				want++
			}
			if name != "xid" && name != "zxid" && n != want {
				k.Errorf("%s is %d after setACL, want %d", name, n, want)
			}
		}
		if now := k.control.stat(k.path("/n")); now["pzxid"] != parent["pzxid"] || now["cversion"] != parent["cversion"] {
			k.Errorf("the parent was %v and is %v", parent, now)
		}
	})
}

// TestTrap25Reaping: a container goes when it has had a child and has none, not before it had one; a TTL node goes when its time since the
// last setData is over and it has no child.
func TestTrap25Reaping(t *testing.T) {
	servers := []func() *harness.Member{
		func() *harness.Member {
			return harness.NewZooKeeper(t, harness.RequireJars(t), "-Dznode.container.checkIntervalMs=100")
		},
		func() *harness.Member {
			return harness.NewCluster(t, tools, 1, append(slices.Clone(harness.LikeZooKeeper), "--reap-interval", "100ms")...).Members[0]
		},
	}
	for i, name := range []string{"zookeeper", "okapi"} {
		t.Run(name, func(t *testing.T) {
			k := &kit{T: t, okapi: i == 1, member: started(servers[i]())}
			k.control = k.open()
			container := func(path string) request {
				return request{op: opCreateContainer, path: path, acl: openACL, flags: 4}
			}
			mortal := func(path string, ttl int64) request {
				return request{op: opCreateTTL, path: path, acl: openACL, flags: 5, ttl: ttl}
			}
			s := k.open()
			s.do(container("/new"), container("/used"), container("/full"),
				request{op: opCreate, path: "/used/x", acl: openACL}, request{op: opCreate, path: "/full/x", acl: openACL},
				mortal("/short", 1), mortal("/long", 1_000_000), mortal("/parent", 1), request{op: opCreate, path: "/parent/x", acl: openACL})
			s.do(request{op: opDelete, path: "/used/x", version: -1})
			for _, path := range []string{"/used", "/short"} {
				harness.Eventually(t, path, func() string {
					if got := s.do(request{op: opExists, path: path}); got[0] != "exists -101" {
						return "it is still there"
					}
					return ""
				})
			}
			for _, path := range []string{"/new", "/full", "/long", "/parent"} {
				k.control.stat(path)
			}
		})
	}
}
