package state

import (
	"math"
	"testing"
	"unsafe"

	"github.com/google/go-cmp/cmp"

	"github.com/okapi-kv/okapi/internal/core/command"
)

func TestFreshTree(t *testing.T) {
	w := newWorld(t, zkSettings())
	if s := w.stat("/"); s.Cversion != -1 || s.NumChildren != 1 || s.Czxid != 0 || s.Ctime != 0 {
		t.Errorf("root: %+v", s)
	}
	if s := w.stat("/zookeeper"); s.Cversion != -2 || s.NumChildren != 2 {
		t.Errorf("/zookeeper: %+v", s)
	}
	if s := w.stat("/zookeeper/config"); s.Version != -1 || s.Aversion != -1 {
		t.Errorf("/zookeeper/config: %+v", s)
	}
	if d := w.data("/"); d == nil || len(d) != 0 {
		t.Errorf("root data %v, want empty and not null", d)
	}
	list, _, _ := w.m.View().ACL(&command.Caller{}, "/zookeeper/config")
	if diff := cmp.Diff([]command.ACL{acl(command.PermRead, "world", "anyone")}, list); diff != "" {
		t.Error(diff)
	}
	if n := w.m.View().NodeCount(); n != 5 {
		t.Errorf("node count %d, want 5", n)
	}
}

// TestCreateStat has every rule about the Stat of a create (of the node and of its parent).
func TestCreateStat(t *testing.T) {
	w := newWorld(t, zkSettings())
	w.make("/p")
	w.now = 5000
	parent := w.stat("/p")
	c := newNode("/p/n")
	c.Data = []byte("abc")
	r := w.want(OK, c)
	body := r.Body.(*CreateResult)
	want := Stat{
		Czxid: r.Zxid, Mzxid: r.Zxid, Pzxid: r.Zxid, Ctime: 5000, Mtime: 5000, DataLength: 3,
	}
	if diff := cmp.Diff(&CreateResult{Path: "/p/n", Stat: want}, body); diff != "" {
		t.Errorf("result: %s", diff)
	}
	if diff := cmp.Diff(want, w.stat("/p/n")); diff != "" {
		t.Errorf("node: %s", diff)
	}
	parent.Cversion, parent.NumChildren, parent.Pzxid = 1, 1, r.Zxid
	if diff := cmp.Diff(parent, w.stat("/p")); diff != "" {
		t.Errorf("parent: %s", diff)
	}
	w.now = 6000
	r = w.want(OK, &command.Delete{Path: "/p/n", Version: command.AnyVersion})
	parent.Cversion, parent.NumChildren, parent.Pzxid = 2, 0, r.Zxid
	if diff := cmp.Diff(parent, w.stat("/p")); diff != "" {
		t.Errorf("parent after delete: %s", diff)
	}
}

func TestSetDataStat(t *testing.T) {
	w := newWorld(t, zkSettings())
	w.make("/p", "/p/n")
	parent, node := w.stat("/p"), w.stat("/p/n")
	w.now = 7000
	r := w.want(OK, &command.SetData{Path: "/p/n", Data: []byte("12345"), Version: 0})
	node.Version, node.Mzxid, node.Mtime, node.DataLength = 1, r.Zxid, 7000, 5
	if diff := cmp.Diff(&node, r.Body.(*Stat)); diff != "" {
		t.Errorf("result: %s", diff)
	}
	if diff := cmp.Diff(node, w.stat("/p/n")); diff != "" {
		t.Errorf("node: %s", diff)
	}
	if diff := cmp.Diff(parent, w.stat("/p")); diff != "" {
		t.Errorf("parent: %s", diff)
	}
}

// TestSetACLStat: only aversion tells of it, and there is no event and no revision.
func TestSetACLStat(t *testing.T) {
	w := newWorld(t, zkSettings())
	w.make("/n")
	node, revision := w.stat("/n"), w.m.View().Revision()
	w.now = 7000
	r := w.want(OK, &command.SetACL{Path: "/n", ACL: openList(), Version: 0})
	node.Aversion = 1
	if diff := cmp.Diff(&node, r.Body.(*Stat)); diff != "" {
		t.Errorf("result: %s", diff)
	}
	if diff := cmp.Diff(node, w.stat("/n")); diff != "" {
		t.Errorf("node: %s", diff)
	}
	if len(w.out.Events) != 0 || r.Revision != revision {
		t.Errorf("events %v, revision %d after %d", w.out.Events, r.Revision, revision)
	}
}

// TestNullData: null is not empty, though both have length 0.
func TestNullData(t *testing.T) {
	w := newWorld(t, zkSettings())
	null := newNode("/null")
	null.Data = nil
	w.want(OK, null)
	w.make("/empty")
	if d := w.data("/null"); d != nil {
		t.Errorf("null became %v", d)
	}
	if d := w.data("/empty"); d == nil || len(d) != 0 {
		t.Errorf("empty became %v", d)
	}
	if a, b := w.stat("/null").DataLength, w.stat("/empty").DataLength; a != 0 || b != 0 {
		t.Errorf("lengths %d, %d", a, b)
	}
	w.want(OK, &command.SetData{Path: "/null", Data: []byte{}, Version: 0})
	w.want(OK, &command.SetData{Path: "/empty", Data: nil, Version: 0})
	if d := w.data("/null"); d == nil {
		t.Error("set to empty stayed null")
	}
	if d := w.data("/empty"); d != nil {
		t.Errorf("set to null became %v", d)
	}
}

// TestDataIsCopied checks that the store keeps no part of the log entry alive or shared.
func TestDataIsCopied(t *testing.T) {
	w := newWorld(t, zkSettings())
	c := newNode("/n")
	c.Data = []byte("first")
	w.want(OK, c)
	c.Data[0] = 'X'
	if d := w.data("/n"); string(d) != "first" {
		t.Errorf("data %q", d)
	}
	b := []byte("second")
	w.want(OK, &command.SetData{Path: "/n", Data: b, Version: -1})
	b[0] = 'X'
	if d := w.data("/n"); string(d) != "second" {
		t.Errorf("data %q", d)
	}
}

// TestSequence: the number is the count of creates, sequential or not, and deletes do not
// lower it; clients may compute it from the Stat.
func TestSequence(t *testing.T) {
	w := newWorld(t, zkSettings())
	w.make("/p")
	seq := func(path string, want string) {
		t.Helper()
		r := w.want(OK, withFlags(path, command.FlagSequential))
		if got := r.Body.(*CreateResult).Path; got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
	seq("/p/a", "/p/a0000000000")
	seq("/p/a", "/p/a0000000001")
	w.make("/p/plain")
	seq("/p/", "/p/0000000003")
	w.want(OK, &command.Delete{Path: "/p/plain", Version: -1})
	s := w.stat("/p")
	if n := (s.Cversion + s.NumChildren) / 2; n != 4 {
		t.Errorf("the Stat promises %d", n)
	}
	r := w.want(OK, withFlags("/p/e-", command.FlagEphemeralSequential))
	if got := r.Body.(*CreateResult); got.Path != "/p/e-0000000004" || got.Stat.EphemeralOwner != 1 {
		t.Errorf("got %+v", got)
	}
	seq("/", "/0000000001") // the root's count, which leaves /zookeeper out
}

// TestSequenceAtMaximum: once 2^31-1 children were created the count sticks, and pzxid with it.
func TestSequenceAtMaximum(t *testing.T) {
	w := newWorld(t, zkSettings())
	w.make("/p")
	w.alter("/p", func(z *znode) { z.creates = math.MaxInt32 - 1 })
	w.want(OK, withFlags("/p/s", command.FlagSequential))
	r := w.want(OK, withFlags("/p/s", command.FlagSequential))
	if got := r.Body.(*CreateResult).Path; got != "/p/s2147483647" {
		t.Errorf("path %q", got)
	}
	if p := w.stat("/p").Pzxid; p == r.Zxid {
		t.Error("pzxid moved")
	}
	w.want(NodeExists, withFlags("/p/s", command.FlagSequential))
	if s := w.stat("/p"); s.Cversion != -4 || s.NumChildren != 2 { // 2*(2^31-1) - 2 in 32 bits
		t.Errorf("stat %+v", s)
	}
	if got := sequenceName(-7); got != "00000000-7" {
		t.Errorf("negative: %q", got)
	}
}

// alter changes a node behind the commands' back.
func (w *world) alter(path string, change func(*znode)) {
	m := w.m
	m.out, m.yield = &w.out, func() {}
	m.begin(&command.Proposal{})
	z := *m.node(path)
	change(&z)
	m.putNode(path, z, false)
	m.finish(command.KindSetACL, m.settle())
}

// TestTrap18VersionsWrap: past the maximum to the minimum, and past -1, which means any version.
func TestTrap18VersionsWrap(t *testing.T) {
	for _, tt := range []struct{ have, next int32 }{
		{0, 1}, {math.MaxInt32, math.MinInt32}, {-3, -2}, {-2, 0}, {-1, 0},
	} {
		if got := nextVersion(tt.have); got != tt.next {
			t.Errorf("after %d comes %d, want %d", tt.have, got, tt.next)
		}
	}
	w := newWorld(t, zkSettings())
	w.make("/n")
	w.alter("/n", func(z *znode) { z.version, z.aversion = -2, math.MaxInt32 })
	w.want(OK, &command.SetData{Path: "/n", Version: -2})
	w.want(OK, &command.SetACL{Path: "/n", ACL: openList(), Version: math.MaxInt32})
	if s := w.stat("/n"); s.Version != 0 || s.Aversion != math.MinInt32 {
		t.Errorf("stat %+v", s)
	}
	w.want(BadVersion, &command.SetData{Path: "/n", Version: 1})
	w.want(OK, &command.SetData{Path: "/n", Version: -1})
}

// TestKindsOfNodes: only ephemerals show an owner, and only they may not have children.
func TestKindsOfNodes(t *testing.T) {
	w := newWorld(t, zkSettings())
	ttl := withFlags("/ttl", command.FlagTTL)
	ttl.TTL = 5
	sttl := withFlags("/sttl", command.FlagPersistentSequentialTTL)
	sttl.TTL = maxTTL
	for _, tt := range []struct {
		c     *command.Create
		path  string
		owner int64
		child Code
	}{
		{newNode("/p"), "/p", 0, OK},
		{withFlags("/e", command.FlagEphemeral), "/e", 1, NoChildrenForEphemerals},
		{withFlags("/c", command.FlagContainer), "/c", 0, OK},
		{ttl, "/ttl", 0, OK},
		{sttl, "/sttl0000000004", 0, OK},
	} {
		r := w.want(OK, tt.c)
		got := r.Body.(*CreateResult)
		if got.Path != tt.path || got.Stat.EphemeralOwner != tt.owner {
			t.Errorf("%+v: %+v", tt.c, got)
		}
		w.want(tt.child, newNode(tt.path+"/x"))
	}
	if z := w.m.node("/sttl0000000004"); z.kind != ttlNode || z.ttl != maxTTL {
		t.Errorf("%+v", z)
	}
}

// TestCreatePrecedence goes through the checks of a create. Each request breaks one rule, and with it as
// many later ones as can be broken at the same time.
func TestCreatePrecedence(t *testing.T) {
	s := zkSettings()
	s.ExtendedTypes = false
	w := newWorld(t, s)
	locked := []command.ACL{acl(command.PermAll&^command.PermCreate, "world", "anyone")}
	w.want(OK, withACL("/locked", locked...))
	w.make("/there")
	w.want(OK, withFlags("/eph", command.FlagEphemeral))
	ask := func(want Code, path string, flags int32, ttl int64, list []command.ACL) {
		t.Helper()
		w.want(want, &command.Create{Path: path, Flags: flags, TTL: ttl, ACL: list})
	}
	ask(BadArguments, "x", 7, 5, nil)
	ask(BadArguments, "x", -1, 5, nil)
	ask(Unimplemented, "x", command.FlagTTL, 0, nil)
	ask(Unimplemented, "x", command.FlagPersistentSequentialTTL, maxTTL+1, nil)
	w.m.settings.ExtendedTypes = true
	ask(BadArguments, "/missing/x", command.FlagTTL, 0, nil)
	ask(BadArguments, "/missing/x", command.FlagTTL, -1, nil)
	ask(BadArguments, "/missing/x", command.FlagTTL, 1099511627776, nil)
	ask(InvalidACL, "/missing/x", command.FlagTTL, 1099511627775, nil)
	ask(BadArguments, "/missing/x", command.FlagPersistent, 0, nil)
	ask(BadArguments, "/missing/x", command.FlagContainer, 7, nil)
	ask(BadArguments, "x", 0, -1, nil)
	ask(BadArguments, "", 0, -1, nil)
	ask(BadArguments, "/missing/\x00", 0, -1, nil)
	ask(InvalidACL, "/missing/\x01", 0, -1, nil)
	ask(InvalidACL, "/missing/\x01", 0, -1, []command.ACL{acl(31, "nope", "x")})
	ask(NoNode, "/missing/\x01", 0, -1, openList())
	ask(NoNode, "a/b", 0, -1, openList())
	ask(NoNode, "/a//b", 0, -1, openList())
	ask(NoAuth, "/locked/\x01", 0, -1, openList())
	ask(NoAuth, "/locked/", 0, -1, openList())
	ask(BadArguments, "/eph/\x01", 0, -1, openList())
	ask(BadArguments, "/eph/", 0, -1, openList())
	ask(BadArguments, "//b", 0, -1, openList())
	ask(BadArguments, "/there/..", 0, -1, openList())
	ask(NodeExists, "/there", 0, -1, openList())
	ask(NodeExists, "/", 0, -1, openList())
	w.m.settings.TreeQuotaBytes = 1
	ask(NodeExists, "/there", 0, -1, openList())
	ask(NoChildrenForEphemerals, "/eph/x", 0, -1, openList())
	ask(NoChildrenForEphemerals, "/eph/x", command.FlagSequential, -1, openList())
	ask(QuotaExceeded, "/there/x", 0, -1, openList())
	w.m.settings.TreeQuotaBytes = 0
	ask(OK, "/there/x", 0, -1, openList())
}

func TestDeletePrecedence(t *testing.T) {
	w := newWorld(t, zkSettings())
	w.want(OK, withACL("/locked", acl(command.PermAll&^command.PermDelete, "world", "anyone")))
	w.make("/locked/n", "/p", "/p/n")
	ask := func(want Code, path string, version int32) {
		t.Helper()
		w.want(want, &command.Delete{Path: path, Version: version})
	}
	for _, path := range []string{"/", "/zookeeper", "/zookeeper/quota", "/zookeeper/config", "x", "", "/locked/\x00"} {
		ask(BadArguments, path, 7)
	}
	ask(NoNode, "/missing/n", 7)
	ask(NoAuth, "/locked/missing", 7) // the parent's list comes before the node
	ask(NoAuth, "/locked/n", 7)
	ask(NoNode, "/p/missing", 7)
	ask(NoNode, "/p/n/", 7)
	ask(NoNode, "/..", 7)
	ask(BadVersion, "/p", 7)
	ask(NotEmpty, "/p", 0)
	ask(NotEmpty, "/p", -1)
	ask(OK, "/p/n", 0)
	ask(OK, "/p", -1)
}

func TestSetDataPrecedence(t *testing.T) {
	w := newWorld(t, zkSettings())
	w.want(OK, withACL("/locked", acl(command.PermAll&^command.PermWrite, "world", "anyone")))
	w.make("/n")
	w.m.settings.TreeQuotaBytes = 1
	ask := func(want Code, path string, version int32) {
		t.Helper()
		w.want(want, &command.SetData{Path: path, Data: make([]byte, 9), Version: version})
	}
	for _, path := range []string{"", "n", "/n/", "/missing/../n", "/n\x00", "/\ue000"} {
		ask(BadArguments, path, 7)
	}
	ask(NoNode, "/missing", 7)
	ask(NoAuth, "/locked", 7)
	ask(QuotaExceeded, "/n", 7)
	w.m.settings.TreeQuotaBytes = 0
	ask(BadVersion, "/n", 7)
	ask(OK, "/n", 0)
}

func TestSetACLPrecedence(t *testing.T) {
	w := newWorld(t, zkSettings())
	w.want(OK, withACL("/locked", acl(command.PermAll&^command.PermAdmin, "world", "anyone")))
	w.make("/n")
	ask := func(want Code, path string, list []command.ACL) {
		t.Helper()
		w.want(want, &command.SetACL{Path: path, ACL: list, Version: 7})
	}
	ask(BadArguments, "/n/", nil)
	ask(BadArguments, "", nil)
	ask(InvalidACL, "/missing", nil)
	ask(NoNode, "/missing", openList())
	ask(NoAuth, "/locked", openList())
	ask(BadVersion, "/n", openList())
	w.want(OK, &command.SetACL{Path: "/n", ACL: openList(), Version: 0})
	w.want(OK, &command.SetACL{Path: "/", ACL: openList(), Version: -1})
}

func TestCheckPrecedence(t *testing.T) {
	w := newWorld(t, zkSettings())
	w.want(OK, withACL("/locked", acl(command.PermAll&^command.PermRead, "world", "anyone")))
	w.make("/n")
	ask := func(want Code, path string, version int32) {
		t.Helper()
		w.want(want, &command.Multi{Ops: []command.Command{&command.Check{Path: path, Version: version}}})
	}
	ask(BadArguments, "/n/", 7)
	ask(BadArguments, "", 7)
	ask(NoNode, "/missing", 7)
	ask(NoAuth, "/locked", 7)
	ask(BadVersion, "/n", 7)
	ask(OK, "/n", 0)
	ask(OK, "/n", -1)
	w.want(BadArguments, &command.Check{Path: "/n", Version: 0}) // never alone
}

// TestRefusedChangesNothing: zxid moves, everything else stays.
func TestRefusedChangesNothing(t *testing.T) {
	w := newWorld(t, zkSettings())
	w.make("/n")
	before := w.m.View()
	digest := w.m.digest
	r := w.want(NodeExists, newNode("/n"))
	if r.Zxid != before.Zxid()+1 || r.Revision != before.Revision() || r.Seq != before.Seq() {
		t.Errorf("zxid %d after %d, revision %d after %d", r.Zxid, before.Zxid(), r.Revision, before.Revision())
	}
	if len(w.out.Events) != 0 || r.Body != nil {
		t.Errorf("events %v, body %v", w.out.Events, r.Body)
	}
	w.m.touchLease(w.m.leases.get(1), func(l *lease) { l.sequence-- })
	if w.m.digest != digest {
		t.Error("the records changed")
	}
}

// TestConfigNode: the configuration is readable for all and writable for nobody but the super user.
func TestConfigNode(t *testing.T) {
	w := newWorld(t, zkSettings())
	w.want(NoAuth, &command.SetData{Path: configPath, Version: -1})
	w.ids[1] = []command.Identity{{Scheme: "super"}}
	w.want(OK, &command.SetData{Path: configPath, Version: -1})
	if v := w.stat(configPath).Version; v != 0 {
		t.Errorf("version %d", v)
	}
	w.make("/zookeeper/mine") // ordinary nodes may be made there
	w.want(OK, &command.Delete{Path: "/zookeeper/mine", Version: 0})
}

// TestRevisions: creates, sets and deletes of nodes with a key move the revision by one, others do not.
func TestRevisions(t *testing.T) {
	for _, tt := range []struct {
		prefix, path string
		moves        int64
	}{
		{"/zk", "/n", 1},
		{"/zk", "/zookeeper/n", 0},
		{"", "/n", 0},
	} {
		s := zkSettings()
		s.TreePrefix = tt.prefix
		w := newWorld(t, s)
		rev := w.m.View().Revision()
		for _, cmd := range []command.Command{
			newNode(tt.path),
			&command.SetData{Path: tt.path, Version: -1},
			&command.Delete{Path: tt.path, Version: -1},
		} {
			rev += tt.moves
			if r := w.want(OK, cmd); r.Revision != rev {
				t.Errorf("prefix %q, %T %s: revision %d, want %d", tt.prefix, cmd, tt.path, r.Revision, rev)
			}
		}
	}
}

// TestEvents is what watches are fed from: in the order of the operations, with the lists of the node and its
// parent.
func TestEvents(t *testing.T) {
	w := newWorld(t, zkSettings())
	mine := acl(command.PermAll, "world", "anyone")
	his := acl(command.PermRead|command.PermAdmin, "ip", "10.0.0.1")
	w.want(OK, withACL("/p", mine, his))
	r := w.want(OK, withACL("/p/n", his, mine))
	got := w.out.Events[0]
	want := Event{
		Type: NodeCreated, Path: "/p/n", Zxid: r.Zxid, Seq: r.Seq,
		ACL: []command.ACL{his, mine}, ParentACL: []command.ACL{mine, his},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("create: %s", diff)
	}
	r = w.want(OK, &command.SetData{Path: "/p/n", Version: 0})
	want = Event{Type: NodeDataChanged, Path: "/p/n", Zxid: r.Zxid, Seq: r.Seq, ACL: []command.ACL{his, mine}}
	if diff := cmp.Diff(want, w.out.Events[0]); diff != "" {
		t.Errorf("set: %s", diff)
	}
	if unsafe.StringData(w.out.Events[0].Path) != unsafe.StringData(w.m.tree.Get("/p/n").Key()) {
		t.Error("the event keeps the log entry alive")
	}
	w.want(OK, &command.SetACL{Path: "/p/n", ACL: openList(), Version: 0})
	r = w.want(OK, &command.Delete{Path: "/p/n", Version: 1})
	want = Event{
		Type: NodeDeleted, Path: "/p/n", Zxid: r.Zxid, Seq: r.Seq,
		ACL: openList(), ParentACL: []command.ACL{mine, his},
	}
	if diff := cmp.Diff(want, w.out.Events[0]); diff != "" {
		t.Errorf("delete: %s", diff)
	}
}

// TestImplicitNodes: they are persistent to ZooKeeper clients, and go with their last child unless
// somebody addressed them.
func TestImplicitNodes(t *testing.T) {
	w := newWorld(t, zkSettings())
	plantAll := func() {
		w.plant("/i")
		w.plant("/i/j")
		w.make("/i/j/k", "/i/j/l")
	}
	plantAll()
	if s := w.stat("/i"); s.EphemeralOwner != 0 {
		t.Errorf("owner %d", s.EphemeralOwner)
	}
	w.want(NodeExists, newNode("/i"))
	w.want(OK, &command.Delete{Path: "/i/j/k", Version: 0})
	w.want(OK, &command.Delete{Path: "/i/j/l", Version: 0})
	if diff := cmp.Diff([]string{"deleted /i/j/l", "deleted /i/j", "deleted /i"}, w.events()); diff != "" {
		t.Error(diff)
	}
	if w.exists("/i") {
		t.Error("/i stayed")
	}

	plantAll()
	w.want(OK, &command.SetData{Path: "/i/j", Version: -1})
	w.want(OK, &command.Multi{Ops: []command.Command{
		&command.Delete{Path: "/i/j/k", Version: 0}, &command.Delete{Path: "/i/j/l", Version: 0},
	}})
	if !w.exists("/i/j") {
		t.Error("/i/j was set and must stay")
	}
	w.want(OK, &command.Delete{Path: "/i/j", Version: -1})
	if w.exists("/i") {
		t.Error("/i stayed")
	}

	plantAll()
	w.want(OK, &command.SetACL{Path: "/i/j", ACL: openList(), Version: -1})
	w.want(OK, &command.Delete{Path: "/i/j/k", Version: 0})
	w.want(OK, &command.Delete{Path: "/i/j/l", Version: 0})
	if !w.exists("/i/j") {
		t.Error("/i/j was given a list and must stay")
	}

	w.plant("/m")
	w.make("/m/a")
	w.want(OK, &command.Multi{Ops: []command.Command{
		&command.Delete{Path: "/m/a", Version: 0}, newNode("/m/b"),
	}})
	if !w.exists("/m/b") {
		t.Error("a parent that has a child at the end of the multi must stay")
	}
}
