package state

import (
	"testing"

	"github.com/okapi-kv/okapi/internal/core/command"
)

func TestMount(t *testing.T) {
	m := mountAt("/zk")
	tests := []struct {
		key, end string
		in       bool
		paths    span
	}{
		{"/zk", "", true, span{from: "", single: true}},
		{"/zk/a", "", true, span{from: "/a", single: true}},
		{"/zkx", "", true, span{from: "x", single: true}},
		{"/zl", "", false, span{}},
		{"/z", "", false, span{}},
		{"/zk", "/zl", true, span{from: ""}},
		{"/zk/", "/zk0", true, span{from: "/", to: "0"}},
		{"/zk/a", "/zk/b", true, span{from: "/a", to: "/b"}},
		{"/zk/b", "/zk/a", true, span{from: "/b", to: "\x00"}},
		{"/zk/b", "/a", true, span{from: "/b", to: "\x00"}},
		{"/zk/a", "/zl", true, span{from: "/a"}},
		{"/zk", "/zl\x00", false, span{}},
		{"/zk", "\x00", false, span{}},
		{"\x00", "\x00", false, span{}},
		{"/zj", "/zk/a", false, span{}},
		{"/a", "/zz", false, span{}},
	}
	for _, tt := range tests {
		s := spanOf(tt.key, tt.end)
		if got := m.coversSpan(s); got != tt.in {
			t.Errorf("[%q, %q) in the tree: %v, want %v", tt.key, tt.end, got, tt.in)
		} else if got && m.paths(s) != tt.paths {
			t.Errorf("[%q, %q): %+v, want %+v", tt.key, tt.end, m.paths(s), tt.paths)
		}
	}
	for prefix, end := range map[string]string{"/zk": "/zl", "a\xff": "b", "\xff\xff": "", "": ""} {
		if got := mountAt(prefix); got.end != end {
			t.Errorf("mount at %q ends at %q, want %q", prefix, got.end, end)
		}
	}
	if none := mountAt(""); none.covers("") || none.covers("/a") || none.coversSpan(spanOf("\x00", "\x00")) {
		t.Error("no mount covers something")
	}
	if all := mountAt("\xff"); !all.coversSpan(spanOf("\xff", "\x00")) {
		t.Error("a mount without an end does not cover an open range in it")
	}
}

// A znode is a key: the two descriptions of one node.
func TestNodeAsKey(t *testing.T) {
	s := newStore(t)
	s.make("/a")                                                             // revision 2
	s.want(OK, &command.SetData{Path: "/a", Data: []byte("x"), Version: -1}) // 3
	s.make("/a/b")                                                           // 4: the parent changes, but not as a key
	s.want(OK, &command.SetACL{Path: "/a", ACL: openList(), Version: -1})    // no revision
	s.want(OK, withFlags("/e", command.FlagEphemeral))                       // 5
	s.want(OK, &command.SetData{Path: "/a/b", Version: -1})                  // 6: null
	r, code := s.get(command.Range{Key: "/zk/", End: "/zk0"})
	if code != OK || r.Count != 3 {
		t.Fatalf("%v %+v", code, r)
	}
	same(t, "keys", brief(r.KVs), []string{"/zk/a=x c2 m3 v2", "/zk/a/b= c4 m6 v2", "/zk/e= c5 m5 v1 l1"})
	if v := s.m.View(); v.Revision() != 6 {
		t.Errorf("revision %d, want 6", v.Revision())
	}
	r, _ = s.get(command.Range{Key: "/zk/a", End: "/zk/b", Revision: 4})
	same(t, "at revision 4", brief(r.KVs), []string{"/zk/a=x c2 m3 v2", "/zk/a/b= c4 m4 v1"})

	// Three writes to one node in one multi: the version counts them, the revision does not.
	set := &command.SetData{Path: "/a", Data: []byte("y"), Version: -1}
	s.want(OK, &command.Multi{Ops: []command.Command{set, set, set}})
	kv, _ := s.kv("/zk/a")
	same(t, "after a multi", brief([]KeyValue{kv}), []string{"/zk/a=y c2 m7 v5"})

	// Created anew, the key begins again.
	s.want(OK, &command.Multi{Ops: []command.Command{
		&command.Delete{Path: "/a/b", Version: -1}, newNode("/a/b"),
	}})
	kv, _ = s.kv("/zk/a/b")
	same(t, "created anew", brief([]KeyValue{kv}), []string{"/zk/a/b= c8 m8 v1"})
	s.audit()
}

// Who asks for everything meets plain keys only; who asks below the mount meets the tree only.
func TestTreeIsApart(t *testing.T) {
	s := newStore(t)
	s.put("a=1", "z=1", "/zj=1", "/zl=1")
	s.make("/a", "/zookeeper-x", "/zookeeper/quota/q", "/zookeepera")
	plain := []string{"/zj", "/zl", "a", "z"}
	same(t, "everything", s.all("\x00", "\x00"), plain)
	same(t, "around the mount", s.all("/", "0"), []string{"/zj", "/zl"})
	same(t, "the mount", s.all("/zk", "/zl"), []string{"/zk/a", "/zk/zookeeper-x", "/zk/zookeepera"})
	same(t, "behind the system nodes", s.all("/zk/zookeeper/", "/zl"), []string{"/zk/zookeepera"})
	same(t, "among the system nodes", s.all("/zk/zookeeper", "/zk/zookeeper0"), []string{"/zk/zookeeper-x"})
	same(t, "root", s.all("/zk/", ""), nil)
	same(t, "system node", s.all("/zk/zookeeper/quota", ""), nil)
	same(t, "no path", s.all("/zkx", ""), nil)

	r := s.ok(&command.DeleteRange{Key: "\x00", End: "\x00"})
	if res := r.Body.(*DeleteRangeResult); res.Deleted != 4 {
		t.Errorf("deleted %d, want the 4 plain keys", res.Deleted)
	}
	r = s.ok(&command.DeleteRange{Key: "/zk", End: "/zl"})
	if res := r.Body.(*DeleteRangeResult); res.Deleted != 3 || !s.exists("/zookeeper/quota/q") {
		t.Errorf("deleted %d, want 3, and none below /zookeeper", res.Deleted)
	}
	s.audit()
}

// Without a mount the tree has no keys, and its writes do not move the revision.
func TestNoMount(t *testing.T) {
	settings := zkSettings()
	settings.TreePrefix = ""
	s := newStoreWith(t, settings)
	s.make("/a", "/a/b")
	s.want(OK, withFlags("/a/e", command.FlagEphemeral))
	s.put("/zk/a=1", "/a=1")
	same(t, "keys", s.all("\x00", "\x00"), []string{"/a", "/zk/a"})
	if v := s.m.View(); v.Revision() != 3 {
		t.Errorf("revision %d, want 3", v.Revision())
	}
	if got := s.m.View().LeaseKeys(1); len(got) > 0 {
		t.Errorf("the session has keys: %v", got)
	}
	s.audit()
}

// treeStore has /p persistent with child /p/c, /e owned by session 1, /l owned by lease 7, a lease 8 that
// owns nothing, and /closed, which only x may use.
func treeStore(t testing.TB) *store {
	t.Helper()
	s := newStore(t)
	s.ok(&command.LeaseGrant{ID: 7, TTL: 10})
	s.ok(&command.LeaseGrant{ID: 8, TTL: 10})
	s.make("/p", "/p/c")
	s.want(OK, withFlags("/e", command.FlagEphemeral))
	s.ok(&command.Put{Key: "/zk/l", Lease: 7, Value: []byte("v")})
	s.want(OK, withACL("/closed", acl(command.PermAll, "ip", "10.0.0.1")))
	return s
}

func TestPutInTree(t *testing.T) {
	type P = command.Put
	tests := []struct {
		name   string
		put    P
		code   Code
		detail string
		events []string
	}{
		{"set", P{Key: "/zk/p"}, OK, "", []string{"changed /p"}},
		{"create", P{Key: "/zk/n"}, OK, "", []string{"created /n"}},
		{"create below", P{Key: "/zk/p/n"}, OK, "", []string{"created /p/n"}},
		{"create with parents", P{Key: "/zk/x/y/z"}, OK, "", []string{"created /x", "created /x/y", "created /x/y/z"}},
		{"ephemeral", P{Key: "/zk/n", Lease: 7}, OK, "", []string{"created /n"}},
		{"ephemeral with parents", P{Key: "/zk/x/n", Lease: 7}, OK, "", []string{"created /x", "created /x/n"}},
		{"owner again", P{Key: "/zk/l", Lease: 7}, OK, "", []string{"changed /l"}},
		{"owner kept", P{Key: "/zk/l", IgnoreLease: true}, OK, "", []string{"changed /l"}},
		{"the session that owns it", P{Key: "/zk/e", Lease: 1}, OK, "", []string{"changed /e"}},
		{"value kept", P{Key: "/zk/l", Lease: 7, IgnoreValue: true}, OK, "", []string{"changed /l"}},
		{"other owner", P{Key: "/zk/l", Lease: 8}, TreeConflict, "/zk/l: lease is not the owner of the node", nil},
		{"no owner", P{Key: "/zk/l"}, TreeConflict, "/zk/l: lease is not the owner of the node", nil},
		{"owner for a persistent node", P{Key: "/zk/p", Lease: 7}, TreeConflict, "/zk/p: lease is not the owner of the node", nil},
		{"unknown lease", P{Key: "/zk/n", Lease: 99}, LeaseNotFound, "", nil},
		{"session as lease", P{Key: "/zk/n", Lease: 1}, LeaseNotFound, "", nil},
		{"session as lease of a persistent node", P{Key: "/zk/p", Lease: 1}, LeaseNotFound, "", nil},
		{"value of nothing", P{Key: "/zk/n", IgnoreValue: true}, KeyNotFound, "", nil},
		{"lease of nothing", P{Key: "/zk/n", IgnoreLease: true}, KeyNotFound, "", nil},
		{"below an ephemeral", P{Key: "/zk/e/n"}, TreeConflict, "/zk/e/n: parent is ephemeral", nil},
		{"deep below an ephemeral", P{Key: "/zk/l/n/m"}, TreeConflict, "/zk/l/n/m: parent is ephemeral", nil},
		{"not allowed to write", P{Key: "/zk/closed"}, PermissionDenied, "", nil},
		{"not allowed to create", P{Key: "/zk/closed/n"}, PermissionDenied, "", nil},
		{"not allowed to create, deep", P{Key: "/zk/closed/n/m"}, PermissionDenied, "", nil},
		{"the mount itself", P{Key: "/zk"}, InvalidPath, "/zk: path is empty", nil},
		{"no slash", P{Key: "/zkx"}, InvalidPath, "/zkx: path does not start with /", nil},
		{"root", P{Key: "/zk/"}, TreeConflict, "/zk/: node is reserved", nil},
		{"system", P{Key: "/zk/zookeeper"}, TreeConflict, "/zk/zookeeper: node is reserved", nil},
		{"below system", P{Key: "/zk/zookeeper/quota/n"}, TreeConflict, "/zk/zookeeper/quota/n: node is reserved", nil},
		{"empty part", P{Key: "/zk/a//b"}, InvalidPath, "/zk/a//b: path has an empty part", nil},
		{"trailing slash", P{Key: "/zk/a/"}, InvalidPath, "/zk/a/: path ends with /", nil},
		{"dot", P{Key: "/zk/a/."}, InvalidPath, "/zk/a/.: path is relative", nil},
		{"dots", P{Key: "/zk/../a"}, InvalidPath, "/zk/../a: path is relative", nil},
		{"control", P{Key: "/zk/a\n"}, InvalidPath, "/zk/a\n: path has a control character", nil},
		{"not UTF-8", P{Key: "/zk/\xff"}, InvalidPath, "/zk/\uFFFD: path is not UTF-8", nil},
		{"forbidden", P{Key: "/zk/\U0001F600"}, InvalidPath, "/zk/\U0001F600: path has a forbidden character", nil},
	}
	for _, tt := range tests {
		for _, txn := range []bool{false, true} {
			t.Run(tt.name, func(t *testing.T) {
				s := treeStore(t)
				rev := s.m.View().Revision()
				var cmd command.Command = &tt.put
				if txn {
					cmd = &command.Txn{Success: ops{put("plain", ""), cmd}}
				}
				if tt.code != OK {
					r := s.refused(tt.code, cmd)
					same(t, "detail", r.Detail, tt.detail)
				} else if r := s.ok(cmd); r.Revision != rev+1 || r.Detail != "" {
					t.Errorf("revision %d after %d, detail %q", r.Revision, rev, r.Detail)
				}
				same(t, "events", s.events(), tt.events)
				s.audit()
			})
		}
	}
}

// What an etcd put leaves in the tree is what a ZooKeeper client would have left.
func TestPutStat(t *testing.T) {
	s := newStore(t)
	s.want(OK, withACL("/p", acl(31, "world", "anyone"), acl(1, "ip", "10.0.0.1")))
	s.now = 5000
	zxid := s.m.View().Zxid() + 1
	s.ok(&command.Put{Key: "/zk/p/x/y"})
	for path, want := range map[string]Stat{
		"/p/x/y": {Czxid: zxid, Mzxid: zxid, Pzxid: zxid, Ctime: 5000, Mtime: 5000},
		"/p/x":   {Czxid: zxid, Mzxid: zxid, Pzxid: zxid, Ctime: 5000, Mtime: 5000, Cversion: 1, NumChildren: 1},
	} {
		same(t, path, s.stat(path), want)
		list, _, _ := s.m.View().ACL(&command.Caller{}, path)
		same(t, "acl of "+path, list, []command.ACL{acl(31, "world", "anyone"), acl(1, "ip", "10.0.0.1")})
	}
	p := s.stat("/p")
	if p.Cversion != 1 || p.NumChildren != 1 || p.Pzxid != zxid || p.Mzxid == zxid {
		t.Errorf("parent: %+v", p)
	}
	// Empty is not null, and a put that keeps the value keeps null.
	if d := s.data("/p/x/y"); d == nil {
		t.Error("an etcd put of nothing left null")
	}
	s.want(OK, &command.SetData{Path: "/p/x/y", Version: -1})
	s.ok(&command.Put{Key: "/zk/p/x/y", IgnoreValue: true})
	if d := s.data("/p/x/y"); d != nil {
		t.Errorf("ignore_value made %q of null", d)
	}
	s.now = 6000
	s.ok(&command.Put{Key: "/zk/p/x/y", Value: []byte("v")})
	if st := s.stat("/p/x/y"); st.Version != 3 || st.Mtime != 6000 || st.Mzxid != s.m.View().Zxid() || st.Czxid != zxid {
		t.Errorf("after three sets: %+v", st)
	}
	// A sequence name goes on from the creates of either side.
	r := s.want(OK, withFlags("/p/s-", command.FlagSequential))
	same(t, "sequence", r.Body.(*CreateResult).Path, "/p/s-0000000001")
	s.audit()
}

func TestPutPrevInTree(t *testing.T) {
	s := treeStore(t)
	r := s.ok(&command.Put{Key: "/zk/l", Lease: 7, Value: []byte("w"), PrevKV: true})
	same(t, "previous", brief([]KeyValue{*r.Body.(*PutResult).Prev}), []string{"/zk/l=v c5 m5 v1 l7"})
	r = s.ok(&command.Put{Key: "/zk/new", PrevKV: true})
	if p := r.Body.(*PutResult).Prev; p != nil {
		t.Errorf("previous of a new node: %+v", p)
	}
	s.want(OK, withACL("/writeonly", acl(command.PermWrite, "world", "anyone")))
	s.ok(&command.Put{Key: "/zk/writeonly"})
	s.refused(PermissionDenied, &command.Put{Key: "/zk/writeonly", PrevKV: true})
}

func TestImplicitParents(t *testing.T) {
	s := newStore(t)
	has := func(want ...string) {
		t.Helper()
		same(t, "tree", s.all("/zk/", "/zk0"), want)
		s.audit()
	}
	s.put("/zk/a/b/c=1", "/zk/a/d=1")
	has("/zk/a", "/zk/a/b", "/zk/a/b/c", "/zk/a/d")
	s.delete("/zk/a/b/c")
	has("/zk/a", "/zk/a/d")
	s.want(OK, &command.Delete{Path: "/a/d", Version: -1}) // a ZooKeeper client may take the last one as well
	has()

	for name, own := range map[string]func(){
		"put":     func() { s.put("/zk/a=mine") },
		"setData": func() { s.want(OK, &command.SetData{Path: "/a", Version: -1}) },
		"txn":     func() { s.ok(&command.Txn{Success: ops{put("/zk/a", "")}}) },
	} {
		s.put("/zk/a/b=1")
		own()
		s.delete("/zk/a/b")
		if !s.exists("/a") {
			t.Errorf("%s: the parent went although somebody wrote to it", name)
		}
		s.delete("/zk/a")
	}
	has()

	// What counts is the end of the command.
	s.put("/zk/a/b=1")
	s.ok(&command.Txn{Success: ops{del("/zk/a/b"), put("/zk/a/c", "")}})
	has("/zk/a", "/zk/a/c")
	s.want(OK, &command.Multi{Ops: []command.Command{&command.Delete{Path: "/a/c", Version: -1}, newNode("/a/b")}})
	has("/zk/a", "/zk/a/b")
	s.want(NodeExists, newNode("/a"))
	rev := s.m.View().Revision()
	if r := s.ok(&command.DeleteRange{Key: "/zk/a/b"}); r.Revision != rev+1 || r.Body.(*DeleteRangeResult).Deleted != 1 {
		t.Errorf("revision %d after %d, %+v", r.Revision, rev, r.Body)
	}
	same(t, "events", s.events(), []string{"deleted /a/b", "deleted /a"})
	has()

	// Closing a session takes the parents of its nodes along.
	s.put("/zk/a/b/keep=1")
	s.want(OK, withFlags("/a/b/e", command.FlagEphemeral))
	s.delete("/zk/a/b/keep")
	has("/zk/a", "/zk/a/b", "/zk/a/b/e")
	s.want(OK, &command.CloseSession{})
	has()
}

func TestDeleteInTree(t *testing.T) {
	type D = command.DeleteRange
	tests := []struct {
		name    string
		del     D
		code    Code
		deleted []string
		detail  string
	}{
		{"leaf", D{Key: "/zk/p/c"}, OK, []string{"/zk/p/c"}, ""},
		{"ephemeral of a session", D{Key: "/zk/e"}, OK, []string{"/zk/e"}, ""},
		{"nothing", D{Key: "/zk/n"}, OK, nil, ""},
		{"with children", D{Key: "/zk/p"}, TreeConflict, nil, "/zk/p: node has children"},
		{"with all children", D{Key: "/zk/p", End: "/zk/p0"}, OK, []string{"/zk/p", "/zk/p/c"}, ""},
		{"range that leaves a child", D{Key: "/zk/p", End: "/zk/p/c"}, TreeConflict, nil, "/zk/p: node has children"},
		{"children alone", D{Key: "/zk/p/", End: "/zk/p0"}, OK, []string{"/zk/p/c"}, ""},
		{"everything", D{Key: "/zk", End: "/zl"}, OK, []string{"/zk/closed", "/zk/e", "/zk/l", "/zk/p", "/zk/p/c"}, ""},
		{"empty range", D{Key: "/zk/p", End: "/zk/p"}, OK, nil, ""},
		{"root", D{Key: "/zk/"}, TreeConflict, nil, "/zk/: node is reserved"},
		{"system", D{Key: "/zk/zookeeper/config"}, TreeConflict, nil, "/zk/zookeeper/config: node is reserved"},
		{"no path", D{Key: "/zk/p/"}, InvalidPath, nil, "/zk/p/: path ends with /"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := treeStore(t)
			rev := s.m.View().Revision()
			if tt.code != OK {
				same(t, "detail", s.refused(tt.code, &tt.del).Detail, tt.detail)
				s.audit()
				return
			}
			r := s.ok(&tt.del)
			if len(tt.deleted) > 0 {
				rev++
			}
			if n := r.Body.(*DeleteRangeResult).Deleted; n != int64(len(tt.deleted)) || r.Revision != rev {
				t.Errorf("deleted %d at revision %d, want %d at %d", n, r.Revision, len(tt.deleted), rev)
			}
			for _, k := range tt.deleted {
				if _, there := s.kv(k); there && k != "/zk/closed" {
					t.Errorf("%s is still there", k)
				}
			}
			s.audit()
		})
	}
}

func TestDeletePrevInTree(t *testing.T) {
	s := treeStore(t)
	r := s.ok(&command.DeleteRange{Key: "/zk/l", End: "/zk/q", PrevKV: true})
	same(t, "previous", brief(r.Body.(*DeleteRangeResult).Prev),
		[]string{"/zk/l=v c5 m5 v1 l7", "/zk/p= c2 m2 v1", "/zk/p/c= c3 m3 v1"})
	s.refused(PermissionDenied, &command.DeleteRange{Key: "/zk/closed", PrevKV: true})
	s.make("/q")
	s.want(OK, withACL("/q/locked", openList()...))
	s.want(OK, &command.SetACL{Path: "/q", ACL: []command.ACL{acl(command.PermRead, "world", "anyone")}, Version: -1})
	s.refused(PermissionDenied, &command.DeleteRange{Key: "/zk/q/locked"}) // DELETE is asked of the parent
	s.refused(PermissionDenied, &command.DeleteRange{Key: "/zk", End: "/zl"})
}

// Children may be deleted after their parents in one txn; what counts is its end.
func TestDeleteParentsFirst(t *testing.T) {
	absent := func(key string) command.Compare { return command.Compare{Key: key, Target: command.CompareVersion} }
	tests := []struct {
		name   string
		txn    ops
		code   Code
		detail string
	}{
		{"parent, child", ops{del("/zk/p"), del("/zk/p/c")}, OK, ""},
		{"child, parent", ops{del("/zk/p/c"), del("/zk/p")}, OK, ""},
		{"parent twice", ops{del("/zk/p"), del("/zk/p"), del("/zk/p/c")}, OK, ""},
		{"parent alone", ops{del("/zk/p"), put("x", "")}, TreeConflict, "/zk/p: node has children"},
		{"in nested txns", ops{&command.Txn{Success: ops{del("/zk/p")}}, &command.Txn{Success: ops{del("/zk/p/c")}}}, OK, ""},
		{"put on it", ops{delTo("/zk/p", "/zk/p/"), put("/zk/p", "")}, TreeConflict, "/zk/p: node was deleted by the same transaction"},
		{"put below it", ops{del("/zk/p"), put("/zk/p/d", ""), del("/zk/p/c")}, TreeConflict, "/zk/p/d: parent was deleted by the same transaction"},
		{"put deep below it", ops{del("/zk/p"), put("/zk/p/d/e", "")}, TreeConflict, "/zk/p/d/e: parent was deleted by the same transaction"},
		{"all gone, then made again", ops{delTo("/zk/p", "/zk/p0"), put("/zk/p/c", "")}, OK, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := treeStore(t)
			cmd := &command.Txn{Compares: []command.Compare{absent("none")}, Success: tt.txn}
			if tt.code == OK {
				s.ok(cmd)
			} else {
				same(t, "detail", s.refused(tt.code, cmd).Detail, tt.detail)
			}
			s.audit()
		})
	}

	// In between, the txn does not see what waits for its children to go, and does not delete it again.
	s := treeStore(t)
	r := s.ok(&command.Txn{Success: ops{
		del("/zk/p"), get("/zk/p"), delTo("/zk/p", "/zk/p/"), &command.Range{Key: "/zk/p", End: "/zk/p0", KeysOnly: true}, del("/zk/p/c"),
	}})
	res := r.Body.(*TxnResult).Responses
	same(t, "responses", res[:3], []any{&DeleteRangeResult{Deleted: 1}, &RangeResult{}, &DeleteRangeResult{}})
	same(t, "range", keys(res[3].(*RangeResult).KVs), []string{"/zk/p/c"})
	same(t, "events", s.events(), []string{"deleted /p/c", "deleted /p"})
	s.audit()
}

// TestRevisionAfterParent: in a txn, the response of a delete shows the new revision although the node still
// waits for its children to go.
func TestRevisionAfterParent(t *testing.T) {
	s := newStore(t)
	s.put("/zk/p=", "/zk/p/c=")
	before := s.m.View().Revision()
	r := s.ok(&command.Txn{Success: []command.Command{
		&command.Range{Key: "x"}, &command.DeleteRange{Key: "/zk/p"}, &command.DeleteRange{Key: "/zk/p/c"},
	}})
	same(t, "revisions", r.Body.(*TxnResult).Revisions, []int64{before, before + 1, before + 1})
	s.audit()
}

// TestPastOfParent: in a txn, a node that was deleted before its children is gone, but its past is not.
func TestPastOfParent(t *testing.T) {
	s := newStore(t)
	s.put("/zk/p=old", "/zk/p/c=")
	now := s.m.View().Revision()
	r := s.ok(&command.Txn{Success: []command.Command{
		&command.DeleteRange{Key: "/zk/p"},
		&command.Range{Key: "/zk/p"},
		&command.Range{Key: "/zk/p", Revision: now, CountOnly: true},
		&command.Range{Key: "/zk/p", Revision: now - 1, CountOnly: true},
		&command.DeleteRange{Key: "/zk/p/c"},
	}})
	same(t, "responses", r.Body.(*TxnResult).Responses, []any{
		&DeleteRangeResult{Deleted: 1}, &RangeResult{}, &RangeResult{Count: 1}, &RangeResult{Count: 1}, &DeleteRangeResult{Deleted: 1},
	})
	s.audit()
}

// ACLs hold for etcd callers, who are nobody in particular.
func TestAccessListsOnKeys(t *testing.T) {
	s := treeStore(t)
	s.want(OK, withACL("/secret", acl(command.PermAll, "world", "anyone")))
	rev := s.m.View().Revision()
	s.put("plain=1") // so that the change of the list is not part of that revision
	s.want(OK, &command.SetACL{Path: "/secret", ACL: []command.ACL{acl(command.PermAll, "ip", "10.0.0.1")}, Version: -1})
	s.put("/zk/later=1")
	same(t, "range", s.all("/zk/", "/zk0"), []string{"/zk/e", "/zk/l", "/zk/later", "/zk/p", "/zk/p/c"})
	r, _ := s.get(command.Range{Key: "/zk/", End: "/zk0", CountOnly: true})
	if r.Count != 5 {
		t.Errorf("count %d tells of nodes that may not be read", r.Count)
	}
	r, _ = s.get(command.Range{Key: "/zk/", End: "/zk0", Limit: 5})
	if r.More {
		t.Error("more tells of nodes that may not be read")
	}
	r, code := s.get(command.Range{Key: "/zk/", End: "/zk0", Revision: rev})
	same(t, "a past that was open", keys(r.KVs), []string{"/zk/e", "/zk/l", "/zk/p", "/zk/p/c"})
	if code != OK {
		t.Error(code)
	}
	for _, r := range []command.Range{{Key: "/zk/closed"}, {Key: "/zk/secret"}, {Key: "/zk/secret", Revision: rev}, {Key: "/zk/closed", CountOnly: true}} {
		if _, code := s.get(r); code != PermissionDenied {
			t.Errorf("%+v: %v, want permission denied", r, code)
		}
	}
	s.refused(PermissionDenied, &command.Txn{Success: ops{put("x", ""), get("/zk/closed")}})
	s.refused(PermissionDenied, &command.Txn{Compares: []command.Compare{{Key: "/zk/closed", Target: command.CompareMod}}})
	s.refused(PermissionDenied, &command.Txn{Compares: []command.Compare{{Key: "/zk", End: "/zl", Target: command.CompareMod, Result: command.CompareNotEqual}}})
	false1 := command.Compare{Key: "none", Target: command.CompareMod, Number: 1}
	s.refused(PermissionDenied, &command.Txn{Compares: []command.Compare{false1, {Key: "/zk/closed", Target: command.CompareMod}}})
	s.refused(PermissionDenied, &command.Txn{Compares: []command.Compare{{Key: "/zk/later", End: "/zl", Target: command.CompareMod}}})
	s.ok(&command.Txn{Success: ops{&command.Range{Key: "/zk", End: "/zl"}}})

	// Okapi's own commands pass, and so does root.
	s.must(OK, command.Caller{}, put("/zk/closed", "x"))
	s.must(OK, command.Caller{Protocol: command.Etcd, User: "root"}, put("/zk/closed", "y"))
	// After the node is gone its past is read by its last list alone.
	s.must(OK, command.Caller{}, del("/zk/secret"))
	if _, code := s.get(command.Range{Key: "/zk/secret", Revision: rev}); code != OK {
		t.Errorf("past of a deleted node: %v", code)
	}
	s.audit()
}
