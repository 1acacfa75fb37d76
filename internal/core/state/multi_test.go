package state

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/okapi-kv/okapi/internal/core/command"
)

// TestMulti: all operations at one zxid, one time and one revision; later ones see what earlier ones did.
func TestMulti(t *testing.T) {
	w := newWorld(t, zkSettings())
	rev, zxid := w.m.View().Revision(), w.m.View().Zxid()
	w.now = 4000
	r := w.want(OK, &command.Multi{Ops: []command.Command{
		newNode("/p"),
		withFlags("/p/s", command.FlagSequential),
		withFlags("/p/s", command.FlagSequential),
		&command.Check{Path: "/p", Version: 0},
		&command.SetData{Path: "/p", Data: []byte("x"), Version: 0},
		&command.SetData{Path: "/p", Data: []byte("y"), Version: 1},
		&command.Check{Path: "/p", Version: 2},
		&command.Delete{Path: "/p/s0000000000", Version: 0},
	}})
	if r.Zxid != zxid+1 || r.Revision != rev+1 {
		t.Errorf("zxid %d after %d, revision %d after %d", r.Zxid, zxid, r.Revision, rev)
	}
	res := r.Body.(*MultiResult)
	if diff := cmp.Diff(make([]Code, 8), res.Codes); diff != "" {
		t.Error(diff)
	}
	if got := res.Bodies[2].(*CreateResult).Path; got != "/p/s0000000001" {
		t.Errorf("second sequence name %q", got)
	}
	if got := res.Bodies[5].(*Stat).Version; got != 2 {
		t.Errorf("version %d", got)
	}
	if res.Bodies[3] != nil || res.Bodies[7] != nil {
		t.Errorf("bodies of check and delete: %v, %v", res.Bodies[3], res.Bodies[7])
	}
	want := Stat{
		Czxid: r.Zxid, Mzxid: r.Zxid, Pzxid: r.Zxid, Ctime: 4000, Mtime: 4000,
		Version: 2, Cversion: 3, DataLength: 1, NumChildren: 1,
	}
	if diff := cmp.Diff(want, w.stat("/p")); diff != "" {
		t.Error(diff)
	}
	wantEvents := []string{
		"created /p", "created /p/s0000000000", "created /p/s0000000001",
		"changed /p", "changed /p", "deleted /p/s0000000000",
	}
	if diff := cmp.Diff(wantEvents, w.events()); diff != "" {
		t.Error(diff)
	}
}

// TestMultiFails: codes before the culprit are OK, those behind it say that nothing was tried;
// nothing is done, yet a zxid is used up.
func TestMultiFails(t *testing.T) {
	w := newWorld(t, zkSettings())
	w.make("/p")
	w.want(OK, withFlags("/eph", command.FlagEphemeral))
	before := w.m.View()
	tree := dump(w.m)
	r := w.want(BadVersion, &command.Multi{Ops: []command.Command{
		withFlags("/p/s", command.FlagSequential),
		withFlags("/p/e", command.FlagEphemeral),
		&command.SetData{Path: "/p", Data: []byte("x"), Version: 0},
		&command.Delete{Path: "/eph", Version: 0},
		&command.Check{Path: "/p", Version: 7},
		newNode("/q"),
		newNode("bad"),
	}})
	want := &MultiResult{Codes: []Code{OK, OK, OK, OK, BadVersion, RuntimeInconsistency, RuntimeInconsistency}}
	if diff := cmp.Diff(want, r.Body); diff != "" {
		t.Error(diff)
	}
	if r.Zxid != before.Zxid()+1 || r.Revision != before.Revision() || r.Seq != before.Seq() {
		t.Errorf("counters moved: %+v", r)
	}
	if len(w.out.Events) != 0 {
		t.Errorf("events %v", w.out.Events)
	}
	if diff := cmp.Diff(tree, dump(w.m), cmp.AllowUnexported(znode{})); diff != "" {
		t.Errorf("the tree changed: %s", diff)
	}
	if diff := cmp.Diff([]string{"/eph"}, w.m.View().Ephemerals(1)); diff != "" {
		t.Error(diff)
	}
	if w.m.digest != w.m.recomputeDigest() {
		t.Error("the digest is off")
	}
	r = w.want(OK, withFlags("/p/s", command.FlagSequential))
	if got := r.Body.(*CreateResult).Path; got != "/p/s0000000000" {
		t.Errorf("the failed multi used up a sequence number: %q", got)
	}
}

func TestMultiEmptyAndForeign(t *testing.T) {
	w := newWorld(t, zkSettings())
	zxid := w.m.View().Zxid()
	r := w.want(OK, &command.Multi{})
	if res := r.Body.(*MultiResult); len(res.Codes) != 0 || r.Zxid != zxid+1 {
		t.Errorf("%+v, zxid %d after %d", res, r.Zxid, zxid)
	}
	w.want(BadArguments, &command.Multi{Ops: []command.Command{&command.Put{Key: "k"}}})
}

// dump returns all live nodes.
func dump(m *Machine) map[string]znode {
	root := *m.node("/")
	root.acl = nil
	nodes := map[string]znode{"/": root}
	m.walkBelow("/", m.seq, func(path string, z *znode) bool {
		n := *z
		n.acl = nil // compared by its own tests
		nodes[path] = n
		return true
	}, nil)
	return nodes
}
