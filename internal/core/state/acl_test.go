package state

import (
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/okapi-kv/okapi/internal/core/command"
)

func TestFixACL(t *testing.T) {
	ids := []command.Identity{
		{Scheme: "ip", ID: "10.0.0.1"},
		{Scheme: "digest", ID: "ann:h"},
		{Scheme: "sasl", ID: "ann"},
		{Scheme: "x509", ID: "CN=ann"},
		{Scheme: "super"},
	}
	open := acl(31, "world", "anyone")
	var long, repeated []command.ACL
	for i := range 40 {
		e := acl(31, "ip", fmt.Sprintf("10.0.0.%d", i))
		long = append(long, e)
		repeated = append(repeated, e, long[0], e)
	}
	for _, tt := range []struct {
		name string
		ids  []command.Identity
		list []command.ACL
		want []command.ACL // nil: invalid
	}{
		{"empty", ids, []command.ACL{}, nil},
		{"null", ids, nil, nil},
		{"open", nil, []command.ACL{open}, []command.ACL{open}},
		{"repeats", nil, []command.ACL{open, acl(1, "world", "anyone"), open}, []command.ACL{open, acl(1, "world", "anyone")}},
		{"many repeats", nil, repeated, long},
		{"bits are not checked", nil, []command.ACL{acl(-5, "world", "anyone"), acl(1024, "ip", "::1")}, []command.ACL{acl(-5, "world", "anyone"), acl(1024, "ip", "::1")}},
		{"unknown scheme", ids, []command.ACL{open, acl(31, "nope", "x")}, nil},
		{"bad id", ids, []command.ACL{open, acl(31, "digest", "ann")}, nil},
		{"super is no scheme of a list", ids, []command.ACL{acl(31, "super", "")}, nil},
		{
			"auth", ids, []command.ACL{acl(3, "auth", "ignored"), open},
			[]command.ACL{acl(3, "digest", "ann:h"), acl(3, "sasl", "ann"), acl(3, "x509", "CN=ann"), open},
		},
		{"auth of nobody", ids[:1], []command.ACL{open, acl(31, "auth", "")}, nil},
		{"auth of super alone", ids[4:], []command.ACL{acl(31, "auth", "")}, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, ok := fixACL(&command.Caller{Protocol: command.ZooKeeper, Identities: tt.ids}, tt.list)
			if ok != (tt.want != nil) {
				t.Fatalf("valid %v", ok)
			}
			if diff := cmp.Diff(tt.want, got); ok && diff != "" {
				t.Error(diff)
			}
		})
	}
}

// TestAllows goes through callers and entries.
func TestAllows(t *testing.T) {
	zk := func(ids ...command.Identity) command.Caller {
		return command.Caller{Protocol: command.ZooKeeper, Identities: ids}
	}
	ip, ann := command.Identity{Scheme: "ip", ID: "10.1.2.3"}, command.Identity{Scheme: "digest", ID: "ann:h"}
	etcd := func(user string) command.Caller { return command.Caller{Protocol: command.Etcd, User: user} }
	etcdWithIDs := etcd("")
	etcdWithIDs.Identities = []command.Identity{ann, {Scheme: "super"}}
	none := []command.ACL{acl(31, "digest", "nobody:x")}
	for _, tt := range []struct {
		name string
		c    command.Caller
		list []command.ACL
		perm command.Permission
		skip bool
		want bool
	}{
		{"world", zk(), openList(), command.PermRead, false, true},
		{"world without the bit", zk(), []command.ACL{acl(31&^1, "world", "anyone")}, command.PermRead, false, false},
		{"one of two bits", zk(), []command.ACL{acl(16, "world", "anyone")}, command.PermRead | command.PermAdmin, false, true},
		{"digest", zk(ip, ann), []command.ACL{acl(1, "digest", "ann:h")}, command.PermRead, false, true},
		{"digest of another", zk(ip, ann), []command.ACL{acl(1, "digest", "ann:i")}, command.PermRead, false, false},
		{"id in another scheme", zk(ip, ann), []command.ACL{acl(1, "sasl", "ann:h")}, command.PermRead, false, false},
		{"network", zk(ann, ip), []command.ACL{acl(1, "ip", "10.1.0.0/16")}, command.PermRead, false, true},
		{"other network", zk(ann, ip), []command.ACL{acl(1, "ip", "10.2.0.0/16")}, command.PermRead, false, false},
		{"the right bit in another's entry", zk(ann), []command.ACL{acl(1, "digest", "bob:h"), acl(2, "digest", "ann:h")}, command.PermRead, false, false},
		{"second entry", zk(ann), []command.ACL{acl(1, "digest", "bob:h"), acl(1, "digest", "ann:h")}, command.PermRead, false, true},
		{"super", zk(ip, command.Identity{Scheme: "super"}), none, command.PermAdmin, false, true},
		{"skipACL", zk(), none, command.PermAdmin, true, true},
		{"skipACL is not for etcd", etcd("ann"), none, command.PermAdmin, true, false},
		{"internal", command.Caller{}, none, command.PermAdmin, false, true},
		{"etcd without a user", etcd(""), openList(), command.PermWrite, false, true},
		{"etcd without a user, no world", etcd(""), none, command.PermWrite, false, false},
		{"etcd without a user, nameless entry", etcd(""), []command.ACL{acl(31, "etcd", "")}, command.PermWrite, false, false},
		{"etcd user", etcd("ann"), []command.ACL{acl(31, "etcd", "ann")}, command.PermWrite, false, true},
		{"other etcd user", etcd("bob"), []command.ACL{acl(31, "etcd", "ann")}, command.PermWrite, false, false},
		{"etcd user is no digest", etcd("ann:h"), []command.ACL{acl(31, "digest", "ann:h")}, command.PermWrite, false, false},
		{"etcd root", etcd("root"), none, command.PermWrite, false, true},
		{"ZooKeeper identities of an etcd caller", etcdWithIDs, none, command.PermWrite, false, false},
		{"etcd is no identity of ZooKeeper's", zk(ann), []command.ACL{acl(31, "etcd", "ann:h")}, command.PermWrite, false, false},
		{"user root of ZooKeeper", command.Caller{Protocol: command.ZooKeeper, User: "root"}, none, command.PermWrite, false, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := zkSettings()
			s.SkipACL = tt.skip
			w := newWorld(t, s)
			if got := w.m.aclAllows(&tt.c, w.m.acls.intern(tt.list), tt.perm); got != tt.want {
				t.Errorf("got %v", got)
			}
			if got := w.m.View().Allows(&tt.c, tt.list, tt.perm); got != tt.want {
				t.Errorf("view: got %v", got)
			}
		})
	}
}

func TestIntern(t *testing.T) {
	var tab aclTable
	a := tab.intern([]command.ACL{acl(1, "ip", "::1"), acl(2, "digest", "a:b")})
	if b := tab.intern([]command.ACL{acl(1, "ip", "::1"), acl(2, "digest", "a:b")}); a != b {
		t.Error("equal lists are two objects")
	}
	for _, other := range [][]command.ACL{
		{acl(1, "ip", "::1")},
		{acl(2, "digest", "a:b"), acl(1, "ip", "::1")},
		{acl(1, "ip:", ":1"), acl(2, "digest", "a:b")},
		{acl(-1, "ip", "::1"), acl(2, "digest", "a:b")},
	} {
		if b := tab.intern(other); a == b || a.digest == b.digest {
			t.Errorf("%v is taken for %v", other, a.entries)
		}
	}
	for i := range 2 * maxInterned {
		tab.intern([]command.ACL{acl(command.Permission(i), "world", "anyone")})
		if len(tab.byKey) > maxInterned {
			t.Fatalf("%d lists", len(tab.byKey))
		}
	}
	b := tab.intern([]command.ACL{acl(1, "ip", "::1"), acl(2, "digest", "a:b")})
	if diff := cmp.Diff(a.entries, b.entries); diff != "" || a.digest != b.digest {
		t.Errorf("interned again: %s", diff)
	}
}

// TestAuthExpandsAtWriteTime: the list keeps who the writer was.
func TestAuthExpandsAtWriteTime(t *testing.T) {
	w := newWorld(t, zkSettings())
	c := withACL("/n", acl(31, "auth", ""))
	w.want(InvalidACL, c)
	w.ids[1] = []command.Identity{{Scheme: "digest", ID: "ann:h"}}
	w.want(OK, c)
	w.want(OK, newNode("/n/x"))
	w.open(2)
	w.must(NoAuth, w.caller(2), newNode("/n/y"))
	w.ids[2] = w.ids[1]
	w.must(OK, w.caller(2), newNode("/n/y"))
}

func TestGetACL(t *testing.T) {
	w := newWorld(t, zkSettings())
	list := []command.ACL{
		acl(command.PermRead, "digest", "ann:secret"), acl(command.PermAdmin, "digest", "bob:xy"),
		acl(command.PermWrite, "sasl", "a:b"), acl(command.PermCreate, "ip", "::1"),
	}
	w.want(OK, withACL("/n", list...))
	v := w.m.View()
	as := func(ids ...command.Identity) *command.Caller {
		return &command.Caller{Protocol: command.ZooKeeper, Identities: ids}
	}
	ann, bob := command.Identity{Scheme: "digest", ID: "ann:secret"}, command.Identity{Scheme: "digest", ID: "bob:xy"}
	got, st, code := v.ACL(as(bob), "/n")
	if diff := cmp.Diff(list, got); diff != "" || code != OK || st != w.stat("/n") {
		t.Errorf("ADMIN: %v %v %s", code, st, diff)
	}
	masked := append([]command.ACL{}, list...)
	masked[0].ID, masked[1].ID = "ann:x", "bob:x"
	got, _, code = v.ACL(as(ann), "/n")
	if diff := cmp.Diff(masked, got); diff != "" || code != OK {
		t.Errorf("READ: %v %s", code, diff)
	}
	if _, _, code := v.ACL(as(), "/n"); code != NoAuth {
		t.Errorf("nobody: %v", code)
	}
	if _, _, code := v.ACL(as(), "/missing"); code != NoNode {
		t.Errorf("missing: %v", code)
	}
	if got, _, _ := v.ACL(as(bob), "/n"); got[0].ID != "ann:secret" {
		t.Error("masking changed the stored list")
	}
	odd := maskDigests([]command.ACL{acl(1, "digest", "nocolon")})
	if odd[0].ID != "nocolon" {
		t.Errorf("%v", odd)
	}
}
