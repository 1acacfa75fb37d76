package zkdifferential

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/okapi-kv/okapi/test/harness"
)

// kit is one of the two servers, as the tests of single traps use it. What they find is compared with what ZooKeeper's code says,
// at ZooKeeper as well as at okapi.
type kit struct {
	*testing.T
	// okapi says that it is okapi.
	okapi   bool
	member  *harness.Member
	control *seat
	// base is a folder that the test has for itself.
	base string
}

// seat is one session of a test.
type seat struct {
	*client
	k *kit
}

// shared starts a server that all of these tests use.
var shared = [2]func() *harness.Member{
	sync.OnceValue(func() *harness.Member {
		jars, err := harness.Jars()
		if err != nil {
			return nil
		}
		return started(harness.NewZooKeeper(lasting, jars))
	}),
	sync.OnceValue(func() *harness.Member {
		return started(harness.NewCluster(lasting, tools, 1, harness.LikeZooKeeper...).Members[0])
	}),
}

func started(m *harness.Member) *harness.Member {
	m.Start()
	m.WaitReady()
	return m
}

// trap runs a test at both servers.
func trap(t *testing.T, test func(k *kit)) {
	for i, name := range []string{"zookeeper", "okapi"} {
		t.Run(name, func(t *testing.T) {
			if i == 0 {
				harness.RequireJars(t)
			}
			k := &kit{T: t, okapi: i == 1, member: shared[i](), base: "/" + strings.ReplaceAll(t.Name(), "/", "-")}
			k.control = k.open()
			k.control.want(request{op: opCreate, path: k.base, acl: openACL}, fmt.Sprintf("create 0 %q", k.base))
			test(k)
		})
	}
}

// open opens a session.
func (k *kit) open() *seat {
	k.Helper()
	s := &seat{&client{address: k.member.ZooKeeper}, k}
	s.connect(0, make([]byte, 16), &step{timeout: 40_000})
	if !s.live() {
		k.Fatal("no session was opened")
	}
	s.take()
	k.Cleanup(s.drop)
	return s
}

// connect opens (session 0) or attaches a session.
func (s *seat) connect(session int64, password []byte, st *step) []string {
	s.k.Helper()
	if err := s.client.connect(session, password, st); err != nil {
		s.k.Fatal(err)
	}
	return s.shown()
}

// do sends requests at once and returns what came up to the last answer.
func (s *seat) do(batch ...request) []string {
	s.k.Helper()
	s.send(s.encode(batch))
	if err := s.collect(batch); err != nil {
		s.k.Fatal(err)
	}
	return s.shown()
}

// want does one request and compares what came.
func (s *seat) want(r request, want ...string) {
	s.k.Helper()
	if diff := cmp.Diff(want, s.do(r)); diff != "" {
		s.k.Errorf("%s: want (-), got (+):\n%s", r.String(), diff)
	}
}

// events returns what has come without having been asked for.
func (s *seat) events() []string {
	s.k.Helper()
	got := s.do(request{op: opPing})
	return got[:max(0, len(got)-1)]
}

// stat reads the Stat of a node.
func (s *seat) stat(path string) map[string]int64 {
	s.k.Helper()
	s.do(request{op: opPing})
	r := request{op: opExists, path: path}
	s.send(s.encode([]request{r}))
	if err := s.collect([]request{r}); err != nil {
		s.k.Fatal(err)
	}
	got := s.take()
	out := map[string]int64{}
	for _, f := range fieldsOf(&got[len(got)-1], false) {
		out[f.name] = f.n
	}
	if out["err"] != 0 {
		s.k.Fatalf("exists %s: %d", path, out["err"])
	}
	return out
}

// zxid asks the server where it is.
func (s *seat) zxid() int64 {
	s.k.Helper()
	s.do(request{op: opPing})
	return s.seen
}

// shown takes what came and writes it short: without zxids and times.
func (s *seat) shown() []string {
	var out []string
	for _, m := range s.take() {
		out = append(out, m.short())
	}
	return out
}

// short writes a message short.
func (m *message) short() string {
	var parts []string
	switch m.kind {
	case messageEnd:
		return "end"
	case messageConnect:
		parts = append(parts, "connect")
	case messageEvent:
		parts = append(parts, "event")
	case messageReply:
		parts = append(parts, opNames[m.request.op])
	}
	skipped := []string{"kind", "xid", "protocol", "state"}
	for _, f := range fieldsOf(m, false) {
		switch {
		case slices.Contains(skipped, f.name), f.kind == fieldTime, f.kind != fieldPlain && f.kind != fieldSession,
			m.kind == messageEvent && f.name == "err":
		case f.kind == fieldSession:
			parts = append(parts, fmt.Sprintf("%s:%v", f.name, f.n != 0))
		case slices.Contains([]string{"version", "cversion", "aversion", "dataLength", "numChildren", "timeout", "readOnly"}, f.name):
			parts = append(parts, f.name+":"+f.text)
		default:
			parts = append(parts, f.text)
		}
	}
	return strings.Join(parts, " ")
}
