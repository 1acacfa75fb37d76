package state

import (
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/okapi-kv/okapi/internal/core/command"
)

func TestWalkChildren(t *testing.T) {
	w := newWorld(t, zkSettings())
	w.make("/a", "/a/b", "/a/b-x", "/a/b-x/1", "/a/b.", "/a/b/1", "/a/b/1/2", "/a/b0", "/a/c", "/a-", "/a0")
	for _, tt := range []struct {
		path     string
		children []string
		below    int32
	}{
		{"/a", []string{"b", "b-x", "b.", "b0", "c"}, 8},
		{"/a/b", []string{"1"}, 2},
		{"/a/c", []string{}, 0},
		{"/", []string{"a", "a-", "a0", "zookeeper"}, 14},
		{"", []string{"a", "a-", "a0", "zookeeper"}, 15},
	} {
		names, st, code := w.m.View().Children(&command.Caller{}, tt.path)
		if diff := cmp.Diff(tt.children, names); diff != "" || code != OK || st != w.stat(tt.path) {
			t.Errorf("%q: %v %s", tt.path, code, diff)
		}
		if n, code := w.m.View().CountDescendants(&command.Caller{}, tt.path); n != tt.below || code != OK {
			t.Errorf("%q: %d descendants, want %d", tt.path, n, tt.below)
		}
	}
}

// TestWalkYields: a long walk yields between its steps, sees nothing of what happens then, and comes to the
// same result.
func TestWalkYields(t *testing.T) {
	w := newWorld(t, zkSettings())
	w.make("/p")
	want := []string{}
	for i := range 1000 {
		name := sequenceName(int32(i))
		w.make("/p/"+name, "/p/"+name+"/x", "/p/"+name+"-")
		want = append(want, name, name+"-")
	}
	slices.Sort(want)
	v := w.m.View()
	yields, changes := 0, int32(0)
	v.Yield = func() {
		yields++
		changes++
		w.make("/p/0" + sequenceName(changes))
		w.want(OK, &command.Delete{Path: "/p/" + sequenceName(999-changes) + "-", Version: -1})
	}
	names, _, _ := v.Children(&command.Caller{}, "/p")
	if diff := cmp.Diff(want, names); diff != "" {
		t.Error(diff)
	}
	if yields < 3000/stepKeys-2 {
		t.Errorf("%d yields", yields)
	}
	yields = 0
	if n, _ := v.CountDescendants(&command.Caller{}, "/p"); n != 3000 {
		t.Errorf("%d descendants", n)
	}
	if n, _ := v.CountDescendants(&command.Caller{}, "/"); n != 3004 {
		t.Errorf("%d descendants of the root in an old view", n)
	}
	if yields < 2*(3000/stepKeys-2) {
		t.Errorf("%d yields", yields)
	}
}

// TestWalkEnds: the visitor may end the walk.
func TestWalkEnds(t *testing.T) {
	w := newWorld(t, zkSettings())
	w.make("/a", "/b", "/b/1", "/c")
	var seen []string
	w.m.walkChildren("/", w.m.seq, func(path string, _ *znode) bool {
		seen = append(seen, path)
		return path != "/b"
	}, nil)
	if diff := cmp.Diff([]string{"/a", "/b"}, seen); diff != "" {
		t.Error(diff)
	}
}

// TestWalkProperty compares with a walk over all keys.
func TestWalkProperty(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := newWorld(t, zkSettings())
		paths := []string{"/"}
		for range rapid.IntRange(0, 40).Draw(t, "nodes") {
			up := rapid.SampledFrom(paths).Draw(t, "parent")
			name := rapid.StringMatching(`[-ab0 ]{1,3}`).Draw(t, "name")
			path := strings.TrimSuffix(up, "/") + "/" + name
			if w.do(1, newNode(path)).Code == OK {
				paths = append(paths, path)
			}
		}
		for _, up := range paths {
			want := []string{}
			var below int32
			prefix := strings.TrimSuffix(up, "/") + "/"
			for _, p := range append(paths, systemPath, quotaPath, configPath) {
				if rest, ok := strings.CutPrefix(p, prefix); ok && rest != "" {
					below++
					if !strings.Contains(rest, "/") {
						want = append(want, rest)
					}
				}
			}
			slices.Sort(want)
			got, _, _ := w.m.View().Children(&command.Caller{}, up)
			if diff := cmp.Diff(want, got); diff != "" {
				t.Fatalf("%q: %s", up, diff)
			}
			if n, _ := w.m.View().CountDescendants(&command.Caller{}, up); n != below {
				t.Fatalf("%q: %d descendants, want %d", up, n, below)
			}
		}
	})
}
