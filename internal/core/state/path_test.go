package state

import (
	"strings"
	"testing"
	"unicode/utf16"
	"unicode/utf8"

	"pgregory.net/rapid"
)

func TestValidPath(t *testing.T) {
	for _, tt := range []struct {
		path  string
		valid bool
	}{
		{"/", true},
		{"/a", true},
		{"/a/b", true},
		{"/...", true},
		{"/.a", true},
		{"/a.", true},
		{"/..a", true},
		{"/a..", true},
		{"/a/.../b", true},
		{"/ ", true},
		{"/é/日本", true},
		{"/\u00a0", true},
		{"/\ud7ff", true},
		{"/\uf900", true},
		{"/\uffef", true},
		{"", false},
		{"a", false},
		{"a/b", false},
		{"/a/", false},
		{"//", false},
		{"//a", false},
		{"/a//b", false},
		{"/.", false},
		{"/..", false},
		{"/./a", false},
		{"/../a", false},
		{"/a/.", false},
		{"/a/..", false},
		{"/a/./b", false},
		{"/a/../b", false},
		{"/a\x00", false},
		{"/\U0001f600", false},
		{"/\xff", false},
		{"/a\xc3", false},
		{"/\xed\xa0\x80", false}, // a surrogate as Java's jute writes it
	} {
		if got := validPath(tt.path); (got == "") != tt.valid {
			t.Errorf("validPath(%q) = %q, want valid %v", tt.path, got, tt.valid)
		}
	}
}

// TestForbiddenCharacters goes through all of Unicode.
func TestForbiddenCharacters(t *testing.T) {
	forbidden := [][2]rune{{0, 0x1f}, {0x7f, 0x9f}, {0xd800, 0xf8ff}, {0xfff0, 0x10ffff}}
	for r := rune(0); r <= utf8.MaxRune; r++ {
		if !utf8.ValidRune(r) || r == '/' || r == '.' {
			continue
		}
		want := true
		for _, f := range forbidden {
			want = want && (r < f[0] || r > f[1])
		}
		if got := validPath("/x" + string(r) + "y"); (got == "") != want {
			t.Fatalf("U+%04X: %q, want valid %v", r, got, want)
		}
	}
}

// slowValidPath follows the rules as ZooKeeper states them, code unit by code unit.
func slowValidPath(path string) bool {
	if !utf8.ValidString(path) {
		return false
	}
	u := utf16.Encode([]rune(path))
	if len(u) == 0 || u[0] != '/' {
		return false
	}
	if len(u) == 1 {
		return true
	}
	for _, c := range u {
		if c < 0x20 || c >= 0x7f && c <= 0x9f || c >= 0xd800 && c <= 0xf8ff || c >= 0xfff0 {
			return false
		}
	}
	for part := range strings.SplitSeq(path[1:], "/") {
		if part == "" || part == "." || part == ".." {
			return false
		}
	}
	return true
}

func TestValidPathAgainstSlow(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		pieces := rapid.SliceOfN(rapid.SampledFrom([]string{
			"/", "/", "/", ".", "..", "a", "b-", "é", "\x00", "\x1f", "\x7f", "\u009f", "\ue000", "\uffff", "😀", "\xff", "\xc3",
		}), 0, 8).Draw(t, "pieces")
		path := strings.Join(pieces, "")
		if got, want := validPath(path) == "", slowValidPath(path); got != want {
			t.Fatalf("validPath(%q): valid %v, want %v", path, got, want)
		}
	})
}

func TestParentAndName(t *testing.T) {
	for _, tt := range []struct{ path, parent, name string }{
		{"/a", "/", "a"},
		{"/a/b", "/a", "b"},
		{"/a/b/c", "/a/b", "c"},
	} {
		if p, n := parentOf(tt.path), nameOf(tt.path); p != tt.parent || n != tt.name {
			t.Errorf("%q: parent %q, name %q; want %q, %q", tt.path, p, n, tt.parent, tt.name)
		}
	}
	if n := nameOf("/"); n != "" {
		t.Errorf("name of the root: %q", n)
	}
}
