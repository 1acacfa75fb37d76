package state

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/okapi-kv/okapi/internal/core/command"
)

func TestQuotaFields(t *testing.T) {
	for _, tt := range []struct{ in, out string }{
		{"", "count=-1,bytes=-1"},
		{"count=4,bytes=5", "count=4,bytes=5"},
		{"count=4,bytes=5=;countHardLimit=10;byteHardLimit=11", "count=4,bytes=5=;byteHardLimit=11;countHardLimit=10"},
		{"bytes=5;count=4;z=1,a=-2", "count=4,bytes=5=;a=-2;z=1"},
		{"count=4,count=5", "count=5,bytes=-1"},
		{";,count=3,;,", "count=3,bytes=-1"},
		{"count=x,bytes=,foo,=", "count=-1,bytes=-1"},
	} {
		if got := string(parseQuota([]byte(tt.in)).format()); got != tt.out {
			t.Errorf("%q: %q, want %q", tt.in, got, tt.out)
		}
	}
}

// quota sets a quota on a subtree as zkCli's setquota does: first the limit, then the statistics.
func (w *world) quota(path, limits string) {
	w.t.Helper()
	for i := range path {
		if i > 0 && path[i] == '/' {
			w.do(1, newNode(quotaPath+path[:i]))
		}
	}
	w.do(1, newNode(quotaPath+path))
	c := newNode(quotaPath + path + "/" + limitsName)
	c.Data = []byte(limits)
	w.want(OK, c)
	c = newNode(quotaPath + path + "/" + statsName)
	c.Data = []byte("count=0,bytes=0")
	w.want(OK, c)
}

func (w *world) wantStats(path, want string) {
	w.t.Helper()
	if got := string(w.data(quotaPath + path + "/" + statsName)); got != want {
		w.t.Fatalf("statistics of %s: %q, want %q", path, got, want)
	}
}

func sized(path string, n int) *command.Create {
	c := newNode(path)
	c.Data = make([]byte, n)
	return c
}

// TestQuotaStats: the statistics follow every change, in place: with no version, zxid or event of their own.
func TestQuotaStats(t *testing.T) {
	w := newWorld(t, zkSettings())
	w.want(OK, sized("/a", 10))
	w.want(OK, sized("/a/b", 5))
	w.make("/ab")
	w.quota("/a", "count=1,bytes=1") // soft limits only
	w.wantStats("/a", "count=2,bytes=15")
	stat := w.stat(quotaPath + "/a/" + statsName)
	w.want(OK, sized("/a/b/c", 7))
	w.wantStats("/a", "count=3,bytes=22")
	if diff := cmp.Diff([]string{"created /a/b/c"}, w.events()); diff != "" {
		t.Error(diff)
	}
	w.want(OK, &command.SetData{Path: "/a", Data: make([]byte, 3), Version: -1})
	w.wantStats("/a", "count=3,bytes=15")
	w.want(OK, &command.SetData{Path: "/a", Data: nil, Version: -1})
	w.wantStats("/a", "count=3,bytes=12")
	w.want(OK, withFlags("/a/e", command.FlagEphemeral))
	w.wantStats("/a", "count=4,bytes=12")
	w.make("/ab/x") // another subtree
	w.want(OK, &command.Delete{Path: "/a/b/c", Version: -1})
	w.wantStats("/a", "count=3,bytes=5")
	got := w.stat(quotaPath + "/a/" + statsName)
	stat.DataLength = int32(len("count=3,bytes=5"))
	if diff := cmp.Diff(stat, got); diff != "" {
		t.Errorf("stat: %s", diff)
	}
	w.want(BadVersion, &command.Multi{Ops: []command.Command{sized("/a/m", 9), &command.Check{Path: "/a", Version: 99}}})
	w.wantStats("/a", "count=3,bytes=5")
	w.want(OK, &command.CloseSession{})
	w.wantStats("/a", "count=2,bytes=5")
	if w.m.digest != w.m.recomputeDigest() {
		t.Error("the digest is off")
	}
}

// TestQuotaDeepest: only the deepest quota keeps count, and the end of a quota ends it.
func TestQuotaDeepest(t *testing.T) {
	w := newWorld(t, zkSettings())
	w.make("/a", "/a/b")
	w.quota("/a", "count=9")
	w.quota("/a/b", "count=9")
	w.wantStats("/a", "count=2,bytes=0")
	w.want(OK, sized("/a/b/c", 1))
	w.want(OK, sized("/a/d", 2))
	w.wantStats("/a/b", "count=2,bytes=1")
	w.wantStats("/a", "count=3,bytes=2")
	w.want(OK, &command.Delete{Path: quotaPath + "/a/b/" + limitsName, Version: -1})
	w.want(OK, sized("/a/b/e", 4))
	w.wantStats("/a/b", "count=2,bytes=1")
	w.wantStats("/a", "count=4,bytes=6")
	w.want(OK, &command.Delete{Path: quotaPath + "/a/" + statsName, Version: -1})
	w.want(OK, sized("/a/f", 4)) // a limit without statistics
	w.want(OK, newNode(quotaPath+"/a/"+statsName))
	w.wantStats("/a", "count=6,bytes=11") // counted anew: /a /a/b /a/b/c /a/b/e /a/d /a/f
	w.want(OK, newNode(quotaPath+"/missing"))
	w.want(OK, newNode(quotaPath+"/missing/"+statsName))
	w.wantStats("/missing", "count=0,bytes=0")
	w.want(OK, newNode(quotaPath+"/"+statsName)) // of the whole tree
	w.wantStats("", "count=18,bytes=64")         // 6 nodes with 11 bytes, 12 of the system with 53
}

// TestHardLimits: a hard limit counts instead of the soft one, and refuses where limits are enforced.
func TestHardLimits(t *testing.T) {
	s := zkSettings()
	s.EnforceQuota = true
	w := newWorld(t, s)
	w.make("/a", "/soft", "/b")
	w.quota("/a", "count=1,bytes=1=;byteHardLimit=10;countHardLimit=3")
	w.quota("/soft", "count=1,bytes=1")
	w.quota("/b", "count=-1,bytes=-1=;byteHardLimit=0")
	w.want(OK, sized("/soft/x", 100))
	w.want(OK, sized("/a/x", 6))
	w.want(QuotaExceeded, sized("/a/y", 5))
	w.want(OK, sized("/a/y", 4))
	w.want(QuotaExceeded, newNode("/a/z"))
	w.want(QuotaExceeded, &command.SetData{Path: "/a/x", Data: make([]byte, 7), Version: 99}) // before the version
	w.want(BadVersion, &command.SetData{Path: "/a/x", Data: make([]byte, 6), Version: 99})
	w.want(OK, &command.SetData{Path: "/a/x", Data: make([]byte, 5), Version: -1})
	w.want(OK, newNode("/b/empty"))
	w.want(QuotaExceeded, sized("/b/x", 1))
	w.want(QuotaExceeded, &command.Multi{Ops: []command.Command{
		&command.SetData{Path: "/a/x", Data: nil, Version: -1}, newNode("/a/z"),
	}})
	w.want(OK, &command.Multi{Ops: []command.Command{
		&command.Delete{Path: "/a/x", Version: -1}, newNode("/a/z"),
	}})
	w.want(OK, &command.SetData{Path: quotaPath + "/a/" + limitsName, Data: []byte("byteHardLimit=1"), Version: -1})
	w.want(QuotaExceeded, &command.SetData{Path: "/a/y", Data: make([]byte, 3), Version: -1}) // shrinks, but stays above
	w.want(OK, &command.SetData{Path: "/a/y", Data: make([]byte, 1), Version: -1})
	w.want(OK, &command.SetData{Path: quotaPath + "/a/" + limitsName, Data: []byte("countHardLimit=1"), Version: -1})
	w.want(OK, &command.SetData{Path: "/a/y", Data: make([]byte, 50), Version: -1}) // adds no node
	w.want(OK, &command.Delete{Path: quotaPath + "/a/" + statsName, Version: -1})
	w.want(OK, sized("/a/big", 100)) // nothing to compare with
	w.m.settings.EnforceQuota = false
	w.want(OK, sized("/b/x", 1))
}
