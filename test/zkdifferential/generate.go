package zkdifferential

import (
	"crypto/sha1"
	"encoding/base64"
	"fmt"
	"math"
	"math/rand/v2"
	"strings"
)

// generator draws scripts. The same seed gives the same script.
type generator struct {
	rnd *rand.Rand
	// live says which sessions should have a connection, open which are not closed, as far as the script tells.
	live, open [slots]bool
	// folder is where paths are drawn from while a part of a stepParallel is; "" is everywhere.
	folder string
}

const (
	scriptSteps = 60
	batchMax    = 9
)

// cleaner is an identity that every access list of a script names, so that what the script leaves behind can be removed. No
// session of the script has it.
const cleaner = "cleaner:secret"

// generate draws a script.
func generate(seed uint64) script {
	g := &generator{rnd: rand.New(rand.NewPCG(seed, 20261128))}
	s := script{g.opening(0), g.planting(0), g.opening(1), g.planting(1), g.opening(2)}
	for range scriptSteps {
		s = append(s, g.step())
	}
	if g.chance(4) {
		s = g.expiry(s)
	}
	return s
}

// expiry puts the life of a session that expires into a script.
func (g *generator) expiry(s script) script {
	s = append(s, g.opening(expireSlot))
	for range 3 + g.rnd.IntN(4) {
		st := step{kind: stepBatch, slot: expireSlot, batch: g.batch()}
		for i := range st.batch {
			if r := &st.batch[i]; (r.op == opCreate || r.op == opCreate2) && g.chance(60) {
				r.flags = 1 + 2*int32(g.rnd.IntN(2))
			}
		}
		s = append(s, st, g.step())
	}
	s = append(s, step{kind: stepExpire, slot: expireSlot})
	for range 4 {
		s = append(s, g.step())
	}
	return append(s, g.attach(expireSlot))
}

// chance is true in so many of a hundred cases.
func (g *generator) chance(percent int) bool { return g.rnd.IntN(100) < percent }

func pick[T any](g *generator, of ...T) T { return of[g.rnd.IntN(len(of))] }

// step draws a step for one session, the first ones more often, or for all.
func (g *generator) step() step {
	slot := pick(g, 0, 0, 0, 1, 1, 2, 3)
	switch n := g.rnd.IntN(100); {
	case n < 6:
		return g.parallel()
	case !g.live[slot] && n < 90:
		if g.open[slot] || g.chance(10) {
			return g.attach(slot)
		}
		return g.opening(slot)
	case n < 8:
		return g.opening(slot)
	case n < 11:
		return g.attach(slot)
	case n < 14:
		g.live[slot] = false
		return step{kind: stepDrop, slot: slot}
	case n < 18:
		return step{kind: stepBatch, slot: slot, batch: []request{g.direct()}}
	}
	st := step{kind: stepBatch, slot: slot, batch: g.batch()}
	if g.chance(3) {
		st.batch = append(st.batch, request{op: opClose})
		g.live[slot], g.open[slot] = false, false
	}
	return st
}

// planting makes nodes for what follows.
func (g *generator) planting(slot int) step {
	st := step{kind: stepBatch, slot: slot}
	for _, path := range []string{"/a", "/b", "/a/a", "/a/b", "/b/a", "/a/a/a"} {
		r := g.create()
		r.path = path
		st.batch = append(st.batch, r)
	}
	return st
}

func (g *generator) opening(slot int) step {
	g.live[slot], g.open[slot] = true, true
	st := step{kind: stepOpen, slot: slot, plain: g.chance(30), since: momentZero, timeout: pick(g, int32(40_000), 100_000, 30_000, math.MaxInt32)}
	if slot == expireSlot {
		st.timeout = pick(g, int32(1), 0, -5, 4000)
	} else if g.chance(4) {
		st.since = momentAhead
	}
	return st
}

func (g *generator) attach(slot int) step {
	st := g.opening(slot)
	st.kind, st.since, st.wrong = stepAttach, pick(g, momentSeen, momentSeen, momentOpened, momentZero), g.chance(8)
	if g.chance(4) {
		st.since = momentAhead
	}
	return st
}

// parallel draws batches for several sessions, each in a folder of its own.
func (g *generator) parallel() step {
	st := step{kind: stepParallel}
	for slot := range expireSlot {
		g.folder = fmt.Sprintf("/p%d", slot)
		st.parts[slot] = g.batch()
	}
	g.folder = ""
	return st
}

func (g *generator) batch() []request {
	n := 1 + g.rnd.IntN(batchMax)
	if g.chance(30) {
		n = 1
	}
	var batch []request
	for range n {
		batch = append(batch, g.request())
		// ZooKeeper checks what is under way behind a setACL by the old list or by the new one, as it happens.
		if batch[len(batch)-1].op == opSetACL {
			break
		}
	}
	return batch
}

// direct draws a request that ZooKeeper answers without waiting for those before it, and which therefore stands alone.
func (g *generator) direct() request {
	switch n := g.rnd.IntN(100); {
	case n < 60:
		return request{op: opAuth, scheme: "digest", data: []byte(pick(g, "u1:pw", "u2:pw", "u1:pw", "nocolon", "", "u3:a:b", ":", "é:\xff"))}
	case n < 70:
		return request{op: opAuth, scheme: "ip", data: []byte("127.0.0.1")}
	case n < 80:
		return request{op: opSASL, data: pick(g, []byte(nil), []byte{}, []byte("token"))}
	case n < 84:
		return request{op: opAuth, scheme: pick(g, "world", "auth", "nosuch", "", "sasl", "x509"), data: []byte("x")}
	case n < 86:
		return request{op: opAuth, scheme: "digest", data: nil}
	case n < 88:
		return request{op: opAuth, scheme: "digest", data: []byte("u1:pw"), cut: 1 + g.rnd.IntN(12)}
	case n < 95:
		return request{op: pick(g, int32(opCheck), 0, 10, 23, 99, 500, -1, -12), path: "/a"}
	}
	return request{op: opWhoAmI}
}

// request draws a request that may stand anywhere.
func (g *generator) request() request {
	r := g.sound()
	switch {
	case g.chance(1):
		r.cut = 1 + g.rnd.IntN(8)
	case g.chance(1):
		r.junk = []byte{1, 2, 3, 4}
	}
	return r
}

func (g *generator) sound() request {
	switch n := g.rnd.IntN(100); {
	case n < 24:
		return g.create()
	case n < 32:
		return g.delete()
	case n < 40:
		return g.setData()
	case n < 44:
		return request{op: opSetACL, path: g.path(), acl: g.acl(), version: version(g)}
	case n < 54:
		return g.multi()
	case n < 57:
		return g.multiRead()
	case n < 62:
		return g.watching()
	case n < 65:
		return g.setWatches()
	case n < 88:
		return request{op: pick(g, int32(opExists), opGetData, opGetChildren, opGetChildren2), path: g.path(), watch: g.chance(50), nullPath: g.chance(1)}
	case n < 91:
		return request{op: opGetACL, path: g.path(), nullPath: g.chance(1)}
	case n < 93:
		return request{op: opSync, path: g.path(), nullPath: g.chance(3)}
	case n < 95:
		return request{op: opGetEphemerals, path: pick(g, "", "/", "/a", "/a/", " ", g.path()), nullPath: g.chance(3)}
	case n < 97:
		return request{op: opCountAll, path: g.path(), nullPath: g.chance(1)}
	case n < 98:
		return request{op: opWhoAmI}
	}
	return request{op: opPing}
}

func (g *generator) create() request {
	r := request{
		op: pick(g, int32(opCreate), opCreate, opCreate2, opCreateContainer, opCreateTTL), path: g.newPath(), data: g.data(), acl: g.acl(),
	}
	r.flags = pick(g, int32(0), 0, 0, 1, 1, 2, 3)
	switch r.op {
	case opCreateContainer:
		r.flags = pick(g, int32(4), 4, 4, 0)
	case opCreateTTL:
		r.flags = pick(g, int32(5), 6)
		r.ttl = pick(g, int64(1), 100_000, 0, -1, 1099511627775, 1099511627776, math.MaxInt64)
		if g.chance(70) {
			r.ttl = 100_000
		}
	}
	if g.chance(3) {
		r.flags = pick(g, int32(0), 1, 2, 3, 4, 5, 6, 7, -1, math.MaxInt32)
		if r.op == opCreateTTL && r.ttl < 0 {
			r.ttl = 0 // A negative one with another mode than that of a TTL node is the end of a ZooKeeper.
		}
		if r.op == opCreateContainer && r.flags >= 1 && r.flags <= 3 {
			r.flags = 0 // ZooKeeper is of two minds about these: for a while they are ephemeral to it.
		}
	}
	return r
}

func (g *generator) delete() request {
	return request{op: opDelete, path: g.path(), version: version(g)}
}

func (g *generator) setData() request {
	return request{op: opSetData, path: g.path(), data: g.data(), version: version(g)}
}

// multi draws a multi; most succeed if they are short, and many fail.
func (g *generator) multi() request {
	r := request{op: opMulti}
	for range g.rnd.IntN(6) {
		switch n := g.rnd.IntN(100); {
		case n < 50:
			r.ops = append(r.ops, g.create())
		case n < 65:
			r.ops = append(r.ops, g.delete())
		case n < 80:
			r.ops = append(r.ops, g.setData())
		case n < 97:
			r.ops = append(r.ops, g.check())
		case n < 98:
			r.ops = append(r.ops, request{op: opSetACL, path: g.path(), acl: g.acl()})
		case n < 99:
			r.ops = append(r.ops, request{op: opGetData, path: g.path()})
		default:
			r.ops = append(r.ops, request{op: pick(g, int32(0), 99, opMulti, opExists)})
		}
	}
	return r
}

func (g *generator) check() request {
	r := request{op: opCheck, path: g.path(), version: version(g)}
	if r.path == "/zookeeper/config" {
		r.version = -1 // See configVersion.
	}
	return r
}

func (g *generator) multiRead() request {
	r := request{op: opMultiRead}
	for range g.rnd.IntN(5) {
		op := request{op: pick(g, int32(opGetData), opGetChildren), path: g.path(), watch: g.chance(30)}
		if g.chance(2) {
			op = pick(g, g.delete(), request{op: opExists, path: g.path()}, request{op: opGetChildren2, path: g.path()})
		}
		r.ops = append(r.ops, op)
	}
	return r
}

func (g *generator) watching() request {
	r := request{op: pick(g, int32(opAddWatch), opAddWatch, opRemoveWatches, opCheckWatches), path: g.path()}
	if r.op == opAddWatch {
		r.kind = g.rnd.Int32N(2)
	} else {
		r.kind, r.nullPath = 1+g.rnd.Int32N(5), g.chance(1)
	}
	if g.chance(4) {
		r.kind = pick(g, int32(-1), 0, 1, 2, 5, 6, math.MaxInt32)
	}
	return r
}

func (g *generator) setWatches() request {
	r := request{op: pick(g, int32(opSetWatches), opSetWatches2), since: pick(g, momentSeen, momentOpened, momentOpened, momentZero, momentAhead)}
	for i := range r.again {
		for range g.rnd.IntN(3) {
			r.again[i] = append(r.again[i], g.path())
		}
	}
	return r
}

func (g *generator) data() []byte {
	return pick(g, []byte("x"), []byte("some data"), []byte{}, nil, []byte{0, 255})
}

func version(g *generator) int32 {
	return pick(g, int32(-1), -1, -1, -1, 0, 0, 1, 2, -2, math.MaxInt32, math.MinInt32)
}

var (
	names = []string{"a", "a", "b", "b", "c"}
	// special are paths that ZooKeeper treats in ways of their own.
	special = []string{"/", "/zookeeper", "/zookeeper/quota", "/zookeeper/config", "/zookeeper/x", "/zookeeper/quota/x", "/p0", "/p1"}
	// bad are paths that no node can have.
	bad = []string{
		"", "a", "/a/", "//", "//a", "/a//b", "/a/.", "/a/..", "/a/./b", "/a/../b", "/.", "/..", "/a\x00b", "\x00", "/a\x01", "/a\x1fb", "/a\x7f",
		"/a\u0085", "/\u00e9", "/a\ud7ff", "/a\ue000", "/a\uf8ff", "/a\uf900", "/a\ufff0", "/a\uffef", "/\U0001F600", "/a\xff", "/a\xc3", "/a\xed\xa0\x80",
		"/...", "/a/...b", "/ ", "/a/b ", "/zookeeper/", "/a/s-0000000000/",
	}
)

// path draws a path of a node that may be there.
func (g *generator) path() string {
	switch n := g.rnd.IntN(100); {
	case n < 8:
		return g.folder + fmt.Sprintf("%s/s-%010d", g.parent(), g.rnd.IntN(6))
	case n < 15 && g.folder == "":
		return pick(g, special...)
	case n < 18 && g.folder == "":
		return pick(g, bad...)
	}
	return g.folder + g.parent() + "/" + pick(g, names...)
}

// newPath draws a path to create.
func (g *generator) newPath() string {
	switch n := g.rnd.IntN(100); {
	case n < 15:
		return g.folder + g.parent() + "/s-"
	case n < 20:
		return g.folder + g.parent() + "/"
	case n < 24 && g.folder == "":
		return pick(g, special...)
	case n < 30 && g.folder == "":
		return pick(g, bad...)
	}
	return g.folder + g.parent() + "/" + pick(g, names...)
}

func (g *generator) parent() string {
	switch n := g.rnd.IntN(10); {
	case n < 5:
		return ""
	case n < 9:
		return "/" + pick(g, names...)
	}
	return "/" + pick(g, names...) + "/" + pick(g, names...)
}

// digestOf is the id that credentials prove
// (org.apache.zookeeper.server.auth.DigestAuthenticationProvider.generateDigest).
func digestOf(credentials string) string {
	user, _, _ := strings.Cut(credentials, ":")
	sum := sha1.Sum([]byte(credentials))
	return user + ":" + base64.StdEncoding.EncodeToString(sum[:])
}

func (g *generator) acl() []entry {
	clean := entry{31, "digest", digestOf(cleaner)}
	one := func() entry {
		perms := pick(g, int32(31), 31, 1, 2, 4, 8, 16, 3, 15, 30, 0, -1, 63)
		return pick(g,
			entry{perms, "world", "anyone"}, entry{perms, "world", "anyone"}, entry{perms, "auth", ""}, entry{perms, "digest", digestOf("u1:pw")},
			entry{perms, "digest", digestOf("u2:pw")}, entry{perms, "ip", "127.0.0.1"}, entry{perms, "ip", "127.0.0.0/8"},
			entry{perms, "ip", "10.0.0.1"}, entry{perms, "ip", "10.0.0.0/7"})
	}
	switch n := g.rnd.IntN(100); {
	case n < 60:
		return []entry{{31, "world", "anyone"}}
	case n < 85:
		return []entry{one(), clean}
	case n < 93:
		first := one()
		return []entry{first, clean, one(), first}
	case n < 94:
		return nil
	case n < 95:
		return []entry{}
	}
	return []entry{clean, {31, pick(g, "world", "digest", "ip", "nosuch", "", "x509", "sasl", "super", "auth"),
		pick(g, "", "anyone", "someone", "nocolon", "a:b:c", "a:b", "1.2.3", "1.2.3.4/33", "1.2.3.4/-1", "1.2.3.4/x", "::1", "::1/64", "127.0.0.1/0", "300.1.1.1", "127.0.0.1/32/1")}}
}
