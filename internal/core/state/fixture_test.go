package state

import (
	"github.com/okapi-kv/okapi/internal/core/command"
)

// failer is what a world needs of a *testing.T or a *rapid.T.
type failer interface {
	Helper()
	Fatalf(format string, args ...any)
}

// world is a machine that ZooKeeper clients talk to, as tests see it: it keeps the order of
// commands of each session, the log's positions and the clock.
type world struct {
	t       failer
	m       *Machine
	out     Output
	index   uint64
	term    uint64
	now     int64
	nextSeq map[int64]uint64
	gen     map[int64]uint64
	ids     map[int64][]command.Identity
}

// newWorld bootstraps a machine with settings and opens session 1.
func newWorld(t failer, s command.Settings) *world {
	w := &world{
		t: t, m: New(1), term: 1, now: 1000,
		nextSeq: map[int64]uint64{}, gen: map[int64]uint64{}, ids: map[int64][]command.Identity{},
	}
	w.must(OK, command.Caller{}, &command.Bootstrap{Settings: s})
	w.open(1)
	return w
}

// zkSettings are the settings of most tests.
func zkSettings() command.Settings {
	return command.Settings{TreePrefix: "/zk", TreeHistory: 600_000, ExtendedTypes: true}
}

// apply carries out one command as an entry of its own.
func (w *world) apply(c command.Caller, cmd command.Command) Result {
	w.index++
	e := Entry{Index: w.index, Term: w.term, Batch: command.Batch{
		Time:      w.now,
		Proposals: []command.Proposal{{Caller: c, Command: cmd}},
	}}
	w.m.Apply(&e, &w.out, nil)
	return w.out.Results[0]
}

// must applies and insists on a code.
func (w *world) must(want Code, c command.Caller, cmd command.Command) Result {
	w.t.Helper()
	r := w.apply(c, cmd)
	if r.Code != want {
		w.t.Fatalf("%T%+v: %v, want %v", cmd, cmd, r.Code, want)
	}
	return r
}

// open opens a session; its password is 16 times its id.
func (w *world) open(id int64) {
	w.t.Helper()
	w.must(OK, command.Caller{Protocol: command.ZooKeeper}, &command.OpenSession{ID: id, Password: passwordOf(id), Timeout: 10_000})
	w.gen[id], w.nextSeq[id] = 1, 0
}

func passwordOf(id int64) (p [command.PasswordSize]byte) {
	for i := range p {
		p[i] = byte(id)
	}
	return p
}

// caller makes the caller of the next command of a session.
func (w *world) caller(session int64) command.Caller {
	w.nextSeq[session]++
	return command.Caller{
		Protocol: command.ZooKeeper, Session: session, Generation: w.gen[session],
		Sequence: w.nextSeq[session], Identities: w.ids[session],
	}
}

// do applies the next command of a session.
func (w *world) do(session int64, cmd command.Command) Result {
	return w.apply(w.caller(session), cmd)
}

// want applies the next command of session 1 and insists on its code.
func (w *world) want(code Code, cmd command.Command) Result {
	w.t.Helper()
	return w.must(code, w.caller(1), cmd)
}

// make creates open nodes with flags 0 and no data.
func (w *world) make(paths ...string) {
	w.t.Helper()
	for _, p := range paths {
		w.want(OK, newNode(p))
	}
}

// newNode is a create of a persistent node that everybody may use.
func newNode(path string) *command.Create {
	return &command.Create{Path: path, Data: []byte{}, ACL: openList(), TTL: command.NoTTL}
}

// withFlags is newNode with flags.
func withFlags(path string, flags int32) *command.Create {
	c := newNode(path)
	c.Flags = flags
	return c
}

// withACL is newNode with an access list.
func withACL(path string, list ...command.ACL) *command.Create {
	c := newNode(path)
	c.ACL = list
	return c
}

func acl(perms command.Permission, scheme, id string) command.ACL {
	return command.ACL{Perms: perms, Scheme: scheme, ID: id}
}

// stat reads a node's Stat with every right.
func (w *world) stat(path string) Stat {
	w.t.Helper()
	s, code := w.m.View().Exists(&command.Caller{}, path)
	if code != OK {
		w.t.Fatalf("stat %q: %v", path, code)
	}
	return s
}

// data reads a node's data with every right.
func (w *world) data(path string) []byte {
	w.t.Helper()
	d, _, code := w.m.View().Data(&command.Caller{}, path)
	if code != OK {
		w.t.Fatalf("data %q: %v", path, code)
	}
	return d
}

// exists says whether a node is there.
func (w *world) exists(path string) bool {
	_, code := w.m.View().Exists(&command.Caller{}, path)
	return code == OK
}

// events returns the types and paths of the last entry's events.
func (w *world) events() (ev []string) {
	names := map[EventType]string{NodeCreated: "created", NodeDeleted: "deleted", NodeDataChanged: "changed"}
	for _, e := range w.out.Events {
		ev = append(ev, names[e.Type]+" "+e.Path)
	}
	return ev
}

// plant puts an implicit node into the tree, as an etcd put below it would.
func (w *world) plant(path string) {
	m := w.m
	m.out, m.yield = &w.out, func() {}
	m.begin(&command.Proposal{})
	m.createZnode(path, znode{data: []byte{}, acl: m.acls.intern(openList()), kind: implicit})
	m.finish(command.KindCreate, m.settle())
}
