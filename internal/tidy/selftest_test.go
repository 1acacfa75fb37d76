package tidy

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
)

// TestRulesBite shows each rule a breach of it, and something close to a breach that is allowed.
// good and bad are made-up trees: the text of files by path.
func TestRulesBite(t *testing.T) {
	for _, r := range rules {
		examples, ok := bites[r.name]
		if !ok {
			t.Errorf("rule %s has no example", r.name)
			continue
		}
		for i, e := range examples {
			found := runOn(t, r, e.tree)
			if e.good != (len(found) == 0) {
				t.Errorf("rule %s, example %d: good is %v, but found %v in %v", r.name, i, e.good, found, e.tree)
			}
		}
		if !slices.ContainsFunc(examples, func(e example) bool { return !e.good }) {
			t.Errorf("rule %s has no example of a breach", r.name)
		}
	}
}

type example struct {
	good bool
	tree map[string]string
}

func bad(name, text string) example  { return example{false, map[string]string{name: text}} }
func good(name, text string) example { return example{true, map[string]string{name: text}} }

func runOn(t *testing.T, r rule, files map[string]string) []finding {
	t.Helper()
	fsys := fstest.MapFS{}
	for name, text := range files {
		fsys[name] = &fstest.MapFile{Data: []byte(text)}
	}
	tree, err := load(fsys)
	if err != nil {
		t.Fatal(err)
	}
	return r.check(tree)
}

func imports(names ...string) string {
	text := "package p\n"
	for _, name := range names {
		text += fmt.Sprintf("import %q\n", name)
	}
	return text
}

func ours(pkg string) string { return modulePath + "/" + pkg }

func body(statement string) string { return "package p\nfunc f() {\n" + statement + "\n}\n" }

const kvFile = "internal/core/state/kv.go"

var bites = map[string][]example{
	"layers": {
		bad("internal/surprise/x.go", imports()),
		bad("internal/zk/x.go", imports(ours("internal/replica"))),
		bad("internal/zk/x.go", imports(ours("internal/etcd"))),
		bad("internal/etcd/x.go", imports(ours("internal/core/mvcc"))),
		bad("internal/etcd/x.go", imports(ours("internal/zk/jute"))),
		bad("internal/core/command/x.go", imports(ours("internal/core/state"))),
		bad("internal/wal/x.go", imports(ours("internal/snapshot"))),
		bad("internal/replica/x.go", imports(ours("internal/config"))),
		bad("internal/server/x.go", imports(ours("internal/model"))),
		bad("internal/server/x.go", imports(ours("internal/cli"))),
		good("internal/core/state/x_test.go", imports(ours("internal/model"))),
		good("internal/zk/x.go", imports(ours("internal/core/state"), ours("internal/zk/jute"), ours("internal/auth"))),
		good("internal/server/x.go", imports(ours("internal/zk"), ours("internal/replica"), ours("internal/config"))),
		{true, map[string]string{"test/go.mod": "module x", "test/conformance/x_test.go": imports()}},
	},
	"dependencies": {
		bad("internal/zk/x.go", imports("google.golang.org/grpc/codes")),
		bad("internal/cluster/x.go", imports("go.etcd.io/raft/v3/raftpb")),
		bad("internal/replica/x.go", imports("net/http")),
		bad("internal/replica/x.go", imports("log")),
		bad("internal/replica/x.go", imports("github.com/stretchr/testify/require")),
		bad("internal/zk/x.go", imports("github.com/google/go-cmp/cmp")),
		good("internal/zk/x_test.go", imports("github.com/google/go-cmp/cmp")),
		good("internal/etcd/x.go", imports("google.golang.org/grpc", "net/http")),
		good("internal/replica/x.go", imports("go.etcd.io/raft/v3", "log/slog")),
	},
	"dependency-record": {
		{false, map[string]string{"go.mod": "module x\n\nrequire a.b/c v1.0.0\n", dependencyRecord: "nothing\n"}},
		{false, map[string]string{"go.mod": "require (\n\ta.b/c v1.0.0\n\tpgregory.net/rapid v1.3.0\n)\n", dependencyRecord: "`a.b/c`\n"}},
		{true, map[string]string{"go.mod": "require (\n\ta.b/c v1.0.0\n\td.e/f v1.0.0 // indirect\n)\n", dependencyRecord: "`a.b/c`\n"}},
	},
	"purity": {
		bad(kvFile, imports("time")),
		bad(kvFile, imports("hash/maphash")),
		bad(kvFile, imports("sync/atomic")),
		bad(kvFile, body("go f()")),
		bad(kvFile, body("select {}")),
		bad(kvFile, body("var x float64")),
		bad(kvFile, body("x := 1.5")),
		bad(kvFile, "package p\nimport \"math\"\nvar x = math.Sqrt(2)\n"),
		bad(kvFile, "package p\ntype t struct { c chan int }\n"),
		good(kvFile, "package p\nimport \"math\"\nvar x = math.MaxInt64\n"),
		good("internal/core/state/kv_test.go", imports("time")),
		good("internal/core/arena/x.go", imports("unsafe", "sync/atomic")),
		good("internal/replica/x.go", imports("time")),
	},
	"map-order": {
		bad(kvFile, body("m := map[int]int{}\nfor k := range m { _ = k }")),
		bad(kvFile, "package p\ntype set map[int]bool\ntype s struct { keys set }\nfunc (x *s) f() {\nfor k := range x.keys { _ = k }\n}\n"),
		bad(kvFile, "package p\nimport \"maps\"\nfunc f(m map[int]int) {\nfor k := range maps.Keys(m) { _ = k }\n}\n"),
		{false, map[string]string{
			"internal/core/command/x.go": "package command\ntype M map[string]int\n",
			kvFile:                       "package p\nimport \"" + ours("internal/core/command") + "\"\nfunc f(m command.M) {\nfor k := range m { _ = k }\n}\n",
		}},
		good(kvFile, "package p\nimport (\"maps\"; \"slices\")\nfunc f(m map[int]int) {\nfor k := range slices.Sorted(maps.Keys(m)) { _ = k }\n}\n"),
		good(kvFile, body("m := map[int]int{}\n// A sum does not depend on the order.\nfor k := range m { _ = k }")),
		good(kvFile, body("m := map[int]int{}\nfor k := range m { _ = k } // sorted below")),
		bad(kvFile, body("m := map[int]int{}\n// Go over all.\nfor k := range m { _ = k }")),
		good(kvFile, body("for i := range []int{1} { _ = i }")),
	},
	"function-length": {
		bad("internal/zk/x.go", body(strings.Repeat("f()\n", 70))),
		bad("internal/zk/x.go", body("switch {\ncase true:\n"+strings.Repeat("f()\n", 70)+"}")),
		good("internal/zk/x.go", body(strings.Repeat("f()\n", 67))),
		good("internal/zk/x.go", body("switch {\n"+strings.Repeat("case true:\nf()\n", 70)+"}")),
		good("internal/zk/x_test.go", body(strings.Repeat("f()\n", 100))),
		good("internal/zk/x.go", "// Code generated by x. DO NOT EDIT.\n\n"+body(strings.Repeat("f()\n", 100))),
	},
	"file-length": {
		bad("internal/zk/x.go", "package p\n"+strings.Repeat("\n", 800)),
		good("internal/zk/x.go", "package p\n"+strings.Repeat("\n", 799)),
	},
	"parameters": {
		bad("internal/zk/x.go", "package p\nfunc f(a, b, c, d int, e, g string) {}\n"),
		bad("internal/zk/x.go", "package p\ntype t interface { f(a, b, c, d int, e, g string) }\n"),
		good("internal/zk/x.go", "package p\nfunc f(a, b, c, d int, e string) {}\n"),
	},
	"interface-size": {
		bad("internal/zk/x.go", "package p\ntype t interface { a(); b(); c(); d(); e(); f() }\n"),
		bad("internal/zk/x.go", "package p\ntype u interface { a(); b(); c() }\ntype t interface { u; d(); e(); f() }\n"),
		bad("internal/zk/x.go", "package p\n// t does.\n// tidy: it mirrors the disk\ntype t interface { a(); b(); c(); d(); e(); f(); g(); h(); i() }\n"),
		good("internal/zk/x.go", "package p\n// t does.\n// tidy: it mirrors the disk\ntype t interface { a(); b(); c(); d(); e(); f() }\n"),
		good("internal/zk/x.go", "package p\ntype t interface { a(); b(); c(); d(); e() }\n"),
	},
	"methods": {
		bad("internal/zk/x.go", "package p\ntype t[K any] struct{}\n"+manyMethods("(*t[K])", 26)),
		good("internal/zk/x.go", "package p\ntype t struct{}\n"+manyMethods("t", 25)),
	},
	"init": {
		bad("internal/zk/x.go", "package p\nfunc init() {}\n"),
		good("internal/zk/x.go", "package p\ntype t int\nfunc (t) init() {}\n"),
	},
	"globals": {
		bad("internal/zk/x.go", "package p\nvar n int\n"),
		bad("internal/zk/x.go", "package p\nvar n = 1\nfunc f() { n++ }\n"),
		bad("internal/zk/x.go", "package p\nvar m = map[int]int{1: 2}\nfunc f() { m[3] = 4 }\n"),
		bad("internal/zk/x.go", "package p\nimport \"sync\"\nvar pool = sync.Pool{}\n"),
		bad("internal/zk/x.go", "package p\nvar t = &struct{ n int }{}\n"),
		bad("internal/zk/x.go", "package p\nvar c = make(chan int)\n"),
		{false, map[string]string{
			"internal/zk/x.go":      "package p\nvar hook = func() {}\n",
			"internal/zk/x_test.go": "package p\nfunc swap() { hook = nil }\n",
		}},
		good("internal/zk/x.go", "package p\nimport \"errors\"\nvar ErrGone = errors.New(\"gone\")\n"),
		good("internal/zk/x.go", "package p\nvar m = map[int]int{1: 2}\nfunc f() { m := map[int]int{}; m[3] = 4 }\n"),
		good("internal/zk/x.go", "package p\nimport \"hash/crc32\"\nvar table = crc32.MakeTable(crc32.Castagnoli)\nvar _ error = (*e)(nil)\n"),
		good("internal/zk/x.go", "package p\nimport _ \"embed\"\n//go:embed x.txt\nvar text string\n"),
		good("internal/zk/x_test.go", "package p\nvar n int\n"),
	},
	"blank-import": {
		bad("internal/zk/x.go", "package p\nimport _ \"net/http/pprof\"\n"),
		good("internal/zk/x.go", "package p\nimport _ \"embed\"\n"),
	},
	"go-statements": {
		bad("internal/zk/x.go", body("go f()")),
		bad("internal/zk/x.go", body("var g group\ng.Go(func() {})")),
		bad("internal/zk/x.go", "package p\nfunc runner() { go f() }\n"),
		bad("internal/zk/x.go", "package p\nfunc Run() {\n"+strings.Repeat("go f()\n", 21)+"}\n"),
		good("internal/zk/x.go", "package p\nfunc Run() { go f() }\nfunc (c *c) serveConn() { go f() }\n"),
		good("internal/zk/x_test.go", body("go f()")),
	},
	"panic": {
		bad("internal/zk/x.go", body(`panic("x")`)),
		good("internal/invariant/x.go", body(`panic("x")`)),
	},
	"marks": {
		bad("internal/zk/x.go", "package p\n// TO"+"DO: later\n"),
		bad("internal/zk/x_test.go", "package p\n/* FIX"+"ME */\n"),
		bad("Makefile", "# TO"+"DO\n"),
		good("internal/zk/x.go", body("_ = context.TO"+"DO()")),
	},
	"global-log": {
		bad("internal/zk/x.go", "package p\nimport \"log/slog\"\nfunc f() { slog.Info(\"x\") }\n"),
		bad("internal/zk/x.go", "package p\nimport \"fmt\"\nfunc f() { fmt.Println(\"x\") }\n"),
		good("internal/zk/x.go", "package p\nimport \"log/slog\"\nfunc f(log *slog.Logger) { log.Info(\"x\", slog.Int(\"n\", 1)) }\n"),
	},
	"simulated-time": {
		bad("internal/lessor/x.go", "package p\nimport \"time\"\nvar x = time.Now()\n"),
		good("internal/zk/x.go", "package p\nimport \"time\"\nvar x = time.Now()\n"),
		good("internal/lessor/x.go", "package p\nimport \"time\"\nvar x = time.Second\n"),
		good("internal/replica/x.go", "package p\nimport \"time\"\nfunc runLoop() { _ = time.NewTicker(1) }\n"),
	},
	"error-text": {
		bad("internal/zk/x.go", "package p\nimport \"fmt\"\nvar err = fmt.Errorf(\"failed to read: %w\", nil)\n"),
		good("internal/zk/x.go", "package p\nimport \"fmt\"\nvar err = fmt.Errorf(\"read frame: %w\", nil)\n"),
	},
	"package-name": {
		bad("internal/zk/x.go", "package util\n"),
		good("internal/zk/x.go", "package zk\n"),
	},
	"format": {
		bad("internal/zk/x.go", "package  zk\n"),
		good("internal/zk/x.go", "package zk\n"),
	},
	"package-doc": {
		bad("internal/admin/x.go", "package admin\n"),
		bad("internal/admin/x.go", "// This is the admin.\npackage admin\n"),
		bad("internal/zk/x.go", "// Package zk is one sentence.\npackage zk\n"),
		good("internal/admin/x.go", "// Package admin is one sentence.\npackage admin\n"),
		good("internal/zk/x.go", "// Package zk is one. It has\n// two. And three.\npackage zk\n"),
		good("cmd/okapi/main.go", "// Command okapi runs.\npackage main\n"),
	},
	"exported-doc": {
		bad("internal/zk/x.go", "package p\nfunc F() {}\n"),
		bad("internal/zk/x.go", "package p\n// Does it.\nfunc F() {}\n"),
		bad("internal/zk/x.go", "package p\n// F does it\nfunc F() {}\n"),
		bad("internal/zk/x.go", "package p\n// Foo does it.\nfunc F() {}\n"),
		bad("internal/zk/x.go", "package p\nconst (\nA = 1\n)\n"),
		bad("internal/zk/x.go", "package p\n// T is.\ntype T int\nfunc (t *T) M() {}\n"),
		good("internal/zk/x.go", "package p\n// F does it.\nfunc F() {}\ntype t int\nfunc (t) M() {}\n"),
		good("internal/zk/x.go", "package p\n// The letters.\nconst (\nA = 1\n// B is two.\nB = 2\n)\n"),
	},
	"links": {
		bad("README.md", "see [this](docs/none.md)\n"),
		bad("README.md", "# One thing\n[x](#another-thing)\n"),
		good("README.md", "# One `thing`, done\n[x](#one-thing-done) [y](https://example.org) `[z](none)`\n```\n[z](none)\n```\n"),
		{true, map[string]string{"docs/a.md": "[b](../README.md#b)\n", "README.md": "## B\n"}},
	},
	"stands-alone": {
		bad("README.md", "see .."+"/shared/x.md\n"),
		bad("internal/zk/x.go", "package p\n// see /work"+"/main\n"),
		good("README.md", "see docs\n"),
	},
	"commands": {
		bad("internal/core/command/x.go", "package command\nconst KindPut Kind = 1\n"),
		{false, map[string]string{
			"internal/core/command/x.go":            "package command\nconst KindPut Kind = 1\n",
			"internal/core/command/testdata/golden": "KindPutMore 01\n",
			kvFile:                                  "package p\nfunc f(x any) {\nswitch x.(type) {\ncase *command.Put:\n}\n}\n",
			"internal/model/x.go":                   "package p\nfunc f(x any) {\nswitch x {\ncase command.KindPut:\n}\n}\n",
		}},
		{true, map[string]string{
			"internal/core/command/x.go":            "package command\nconst KindPut Kind = 1\n",
			"internal/core/command/testdata/golden": "KindPut 01\n",
			kvFile:                                  "package p\nfunc f(x any) {\nswitch x.(type) {\ncase *command.Put:\n}\n}\n",
			"internal/model/x.go":                   "package p\nfunc f(x any) {\nswitch x {\ncase command.KindPut:\n}\n}\n",
		}},
		{true, map[string]string{
			"internal/core/command/x.go":                 "package command\nconst KindSetACL Kind = 1\n",
			"internal/core/command/testdata/set_acl.txt": "01\n",
			kvFile:                "package p\nfunc f(x any) {\nswitch x.(type) {\ncase *command.SetACL:\n}\n}\n",
			"internal/model/x.go": "package p\nfunc f(x any) {\nswitch x {\ncase command.KindSetACL:\n}\n}\n",
		}},
	},
}

func manyMethods(receiver string, n int) string {
	var text strings.Builder
	for i := range n {
		fmt.Fprintf(&text, "func (x %s) m%d() {}\n", strings.Trim(receiver, "()"), i)
	}
	return text.String()
}

// TestRatchet checks what the ratchet lets through and what it says when it allows too much.
func TestRatchet(t *testing.T) {
	name := filepath.Join(t.TempDir(), "ratchet.txt")
	text := "# comment\n\nfile-length big.go 900\nfile-length shrunk.go 1000\nfile-length gone.go 900\nglobals zk.n\n"
	if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	allowed, err := readRatchet(name)
	if err != nil {
		t.Fatal(err)
	}
	found := []finding{
		{subject: "big.go", value: 900, text: "x"},
		{subject: "shrunk.go", value: 850, text: "x"},
		{subject: "new.go", value: 801, text: "x"},
	}
	got := report(rule{name: "file-length"}, found, allowed)
	want := []string{
		"new.go: x",
		"ratchet.txt: file-length gone.go is no longer needed; remove the line",
		"ratchet.txt: file-length shrunk.go has come down to 850; lower the line",
	}
	if !slices.Equal(got, want) {
		t.Errorf("report:\n%s\nwant:\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	found[0].value = 901
	if got := report(rule{name: "file-length"}, found[:1], allowed); !slices.Contains(got, "big.go: x") {
		t.Errorf("a value above the ratchet is not reported: %v", got)
	}
}

// TestGroupsAreInTheTable keeps the two halves of the import table together.
func TestGroupsAreInTheTable(t *testing.T) {
	for group, members := range groups {
		for _, pkg := range members {
			if _, ok := findLayer(pkg); !ok {
				t.Errorf("package %s of group %s has no row", pkg, group)
			}
		}
	}
	for _, row := range layers {
		for _, pkg := range expand(row.may) {
			if _, ok := findLayer(pkg); !ok {
				t.Errorf("%s may import %s, which has no row", row.pkg, pkg)
			}
		}
	}
}
