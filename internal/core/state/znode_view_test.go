package state

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/okapi-kv/okapi/internal/core/command"
)

// TestReadChecks has the checks of every read: which error, and that paths are not validated.
func TestReadChecks(t *testing.T) {
	w := newWorld(t, zkSettings())
	w.want(OK, withACL("/locked", acl(command.PermAll&^command.PermRead, "world", "anyone")))
	w.make("/locked/n", "/n")
	v := w.m.View()
	c := &command.Caller{Protocol: command.ZooKeeper}
	reads := map[string]func(path string) Code{
		"Data":             func(p string) Code { _, _, code := v.Data(c, p); return code },
		"Exists":           func(p string) Code { _, code := v.Exists(c, p); return code },
		"Children":         func(p string) Code { _, _, code := v.Children(c, p); return code },
		"CountDescendants": func(p string) Code { _, code := v.CountDescendants(c, p); return code },
		"ACL":              func(p string) Code { _, _, code := v.ACL(c, p); return code },
	}
	for name, read := range reads {
		for path, want := range map[string]Code{
			"/n": OK, "": OK, "/": OK, "/locked": NoAuth, "/locked/n": OK,
			"/missing": NoNode, "/n/": NoNode, "n": NoNode, "//": NoNode, "/n\x00": NoNode, "/\xff": NoNode,
		} {
			switch {
			case name == "ACL" && path == "/locked":
				want = OK // ADMIN is enough
			case name == "Exists" && path == "/n\x00":
				want = BadArguments
			}
			if got := read(path); got != want {
				t.Errorf("%s(%q): %v, want %v", name, path, got, want)
			}
		}
	}
}

// TestOldView: a view sees what was, whatever happens later.
func TestOldView(t *testing.T) {
	w := newWorld(t, zkSettings())
	w.make("/p", "/p/a", "/p/b")
	w.want(OK, &command.SetData{Path: "/p/a", Data: []byte("old"), Version: 0})
	c := &command.Caller{}
	v := w.m.View()
	stat := w.stat("/p/a")
	w.want(OK, &command.SetData{Path: "/p/a", Data: []byte("new"), Version: 1})
	w.want(OK, &command.SetACL{Path: "/p/b", ACL: []command.ACL{acl(1, "ip", "::1")}, Version: 0})
	w.want(OK, &command.Delete{Path: "/p/a", Version: 2})
	w.want(OK, &command.Delete{Path: "/p/b", Version: 0})
	w.make("/p/c")
	data, st, code := v.Data(c, "/p/a")
	if string(data) != "old" || st != stat || code != OK {
		t.Errorf("%q %+v %v", data, st, code)
	}
	names, _, _ := v.Children(c, "/p")
	if diff := cmp.Diff([]string{"a", "b"}, names); diff != "" {
		t.Error(diff)
	}
	list, _, _ := v.ACL(c, "/p/b")
	if diff := cmp.Diff(openList(), list); diff != "" {
		t.Error(diff)
	}
	if _, code := v.Exists(c, "/p/c"); code != NoNode {
		t.Errorf("%v", code)
	}
	if n := w.m.View().NodeCount(); n != 5+2 {
		t.Errorf("node count %d", n)
	}
}
