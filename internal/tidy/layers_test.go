package tidy

import (
	"fmt"
	"go/ast"
	"io/fs"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// groups are the layers by name; a row of the table may name a group or single packages.
var groups = map[string][]string{
	"support": {"internal/invariant", "internal/clock", "internal/vfs", "internal/telemetry"},
	"core":    {"internal/core/command", "internal/core/mvcc", "internal/core/state", "internal/core/watch"},
	// edge-core is what the adapters see of the core: the commands, and views and events, but not
	// the store underneath.
	"edge-core": {"internal/core/command", "internal/core/state", "internal/core/watch"},
	"disk":      {"internal/wal", "internal/snapshot"},
	"consensus": {"internal/cluster", "internal/transport", "internal/lessor", "internal/replica"},
	"edge":      {"internal/auth", "internal/zk", "internal/zk/jute", "internal/etcd", "internal/etcd/rpc", "internal/admin"},
	"test":      {"internal/model", "internal/sim", "internal/mutants", "internal/tidy", "bench"},
}

// layer is a row of the import table: what the non-test files of a package may import from the
// project.
type layer struct {
	pkg string
	may string
	why string
}

const (
	whySupport   = "support packages stand on the standard library alone"
	whyCore      = "the core sees only the core below it"
	whyDisk      = "the log and the snapshots know the core, not who replicates it"
	whyConsensus = "the member stands on core and disk and knows no protocol of clients"
	whyEdge      = "an adapter reaches the member through an interface that it defines itself, and knows no other adapter"
	whyJute      = "a codec knows bytes, not servers"
	whyRPC       = "a protocol knows calls, not what they are about"
	whyTop       = "composition sees what is below it; nothing sees cli but the command"
	whyTests     = "tests may look at everything but the command"
)

// layers is the import table. A package that is not in it fails: a new package is a decision
// that wants an ADR.
var layers = []layer{
	{"internal/invariant", "", whySupport},
	{"internal/clock", "internal/invariant", whySupport},
	{"internal/vfs", "internal/invariant", whySupport},
	{"internal/telemetry", "internal/invariant", whySupport},

	{"internal/core/arena", "internal/invariant", whyCore},
	{"internal/core/command", "internal/invariant internal/core/arena", whyCore},
	{"internal/core/mvcc", "internal/invariant internal/core/command internal/core/arena", whyCore},
	{"internal/core/state", "internal/invariant internal/core/command internal/core/mvcc", whyCore},
	{"internal/core/watch", "internal/invariant internal/core/command internal/core/mvcc internal/core/state", whyCore},

	{"internal/wal", "support core", whyDisk},
	{"internal/snapshot", "support core", whyDisk},

	{"internal/cluster", "support core disk", whyConsensus},
	{"internal/transport", "support core disk internal/cluster", whyConsensus},
	{"internal/lessor", "support core disk internal/cluster", whyConsensus},
	{"internal/replica", "support core disk internal/cluster internal/transport internal/lessor", whyConsensus},

	{"internal/auth", "support edge-core internal/cluster", whyEdge},
	{"internal/zk/jute", "internal/invariant", whyJute},
	{"internal/zk", "support edge-core internal/cluster internal/auth internal/zk/jute", whyEdge},
	{"internal/etcd/rpc", "internal/invariant internal/clock", whyRPC},
	{"internal/etcd", "support edge-core internal/cluster internal/auth internal/etcd/rpc", whyEdge},
	{"internal/admin", "support edge-core internal/cluster internal/auth", whyEdge},

	{"internal/config", "support core disk consensus edge", whyTop},
	{"internal/server", "support core disk consensus edge internal/config", whyTop},
	{"internal/cli", "support core disk consensus edge internal/config internal/server", whyTop},
	{"cmd/okapi", "internal/config internal/server internal/cli", whyTop},

	{"internal/model", "support core disk consensus edge internal/config internal/server internal/cli test", whyTests},
	{"internal/sim", "support core disk consensus edge internal/config internal/server internal/cli test", whyTests},
	{"internal/mutants", "support core disk consensus edge internal/config internal/server internal/cli test", whyTests},
	{"internal/tidy", "support core disk consensus edge internal/config internal/server internal/cli test", whyTests},
	{"bench", "support core disk consensus edge internal/config internal/server internal/cli test", whyTests},
}

// expand turns the words of a row into packages.
func expand(words string) []string {
	var out []string
	for _, word := range strings.Fields(words) {
		if members, ok := groups[word]; ok {
			out = append(out, members...)
		} else {
			out = append(out, word)
		}
	}
	return out
}

// findLayer returns the row of a package.
func findLayer(pkg string) (layer, bool) {
	i := slices.IndexFunc(layers, func(l layer) bool { return l.pkg == pkg })
	if i < 0 {
		return layer{}, false
	}
	return layers[i], true
}

// checkLayers checks imports within the project. Tests may import any package of it: Go itself
// refuses cycles.
func checkLayers(t *tree) []finding {
	var out []finding
	reported := map[string]bool{}
	for _, f := range t.files {
		if f.nested {
			continue
		}
		row, ok := findLayer(f.dir)
		if !ok {
			if !reported[f.dir] {
				reported[f.dir] = true
				out = append(out, finding{subject: f.dir, text: "package is not in the import table (internal/tidy/layers_test.go)"})
			}
			continue
		}
		if f.test {
			continue
		}
		for _, imp := range f.syntax.Imports {
			pkg, ours := strings.CutPrefix(importPath(imp), modulePath+"/")
			if !ours || slices.Contains(expand(row.may), pkg) {
				continue
			}
			out = append(out, finding{
				subject: f.dir + "->" + pkg, where: t.at(imp.Pos()),
				text: fmt.Sprintf("%s may not import %s: %s", f.dir, pkg, row.why),
			})
		}
	}
	return out
}

func importPath(imp *ast.ImportSpec) string {
	name, err := strconv.Unquote(imp.Path.Value)
	if err != nil {
		return imp.Path.Value
	}
	return name
}

// dependency says who may name a library, or a part of the standard library that is confined.
type dependency struct {
	// prefix is the import path; everything below it is meant too.
	prefix string
	// in lists packages and groups.
	in string
	// tests says that any test may import it too.
	tests bool
}

// dependencies is every library that the product may import. A library that is not in it fails:
// a new one wants a line here and in docs/adr/0003-dependencies.md.
var dependencies = []dependency{
	{"go.etcd.io/raft/v3", "internal/replica internal/transport internal/wal internal/sim bench", false},
	{"go.etcd.io/etcd/api/v3", "internal/etcd", true},
	{"google.golang.org/grpc", "internal/etcd internal/etcd/rpc", true},
	{"google.golang.org/genproto", "internal/etcd", true},
	{"google.golang.org/protobuf", "internal/etcd internal/etcd/rpc internal/replica internal/transport internal/wal internal/sim", true},
	{"github.com/prometheus/client_golang", "internal/telemetry internal/etcd", true},
	{"github.com/klauspost/compress", "internal/snapshot", true},
	{"github.com/spf13/cobra", "internal/cli", false},
	{"github.com/spf13/pflag", "internal/cli", false},
	{"sigs.k8s.io/yaml", "internal/config", true},
	{"golang.org/x/sync/semaphore", "internal/replica", true},
	{"golang.org/x/net", "internal/etcd/rpc", true},
	{"golang.org/x/sys", "internal/vfs", true},

	{"github.com/google/go-cmp", "test", true},
	{"pgregory.net/rapid", "test", true},
	{"github.com/anishathalye/porcupine", "test", true},
	{"go.uber.org/goleak", "test", true},

	{"net/http", "internal/admin internal/cli internal/etcd", true},
	{"log", "", false},
	{"expvar", "", false},
}

// checkDependencies checks imports from outside the project.
func checkDependencies(t *tree) []finding {
	var out []finding
	for _, f := range t.files {
		if f.nested {
			continue
		}
		for _, imp := range f.syntax.Imports {
			name := importPath(imp)
			if text := judgeImport(f, name); text != "" {
				out = append(out, finding{subject: f.dir + "->" + name, where: t.at(imp.Pos()), text: text})
			}
		}
	}
	return out
}

// requirement matches a direct requirement of go.mod; the first group is the module.
var requirement = regexp.MustCompile(`(?m)^(?:require )?\s*([a-z0-9.]+\.[a-z]+/\S+|[a-z0-9.]+\.[a-z]+) v\S+$`)

const dependencyRecord = "docs/adr/0003-dependencies.md"

// checkDependencyRecord wants a line in the record of dependencies for each direct requirement of
// the product's go.mod.
func checkDependencyRecord(t *tree) []finding {
	requirements, err := fs.ReadFile(t.fsys, "go.mod")
	if err != nil {
		return []finding{{subject: "go.mod", text: err.Error()}}
	}
	record, err := fs.ReadFile(t.fsys, dependencyRecord)
	if err != nil {
		return []finding{{subject: dependencyRecord, text: err.Error()}}
	}
	var out []finding
	for _, match := range requirement.FindAllStringSubmatch(string(requirements), -1) {
		if !strings.Contains(string(record), "`"+match[1]+"`") {
			out = append(out, finding{subject: match[1], text: "direct dependency has no line in " + dependencyRecord})
		}
	}
	return out
}

// judgeImport says what is wrong with an import, or "".
func judgeImport(f *file, name string) string {
	if strings.HasPrefix(name, modulePath+"/") {
		return ""
	}
	for _, d := range dependencies {
		// log/slog is not the global logger of package log.
		if name != d.prefix && (d.prefix == "log" || !strings.HasPrefix(name, d.prefix+"/")) {
			continue
		}
		if (f.test && d.tests) || slices.Contains(expand(d.in), f.dir) {
			return ""
		}
		if d.in == "" {
			return fmt.Sprintf("%s is not used in this project", name)
		}
		return fmt.Sprintf("%s may not import %s (only: %s)", f.dir, name, d.in)
	}
	if first, _, _ := strings.Cut(name, "/"); strings.Contains(first, ".") {
		return fmt.Sprintf("library %s is in no row of the dependency table (internal/tidy/layers_test.go) and needs a line in docs/adr/0003-dependencies.md", name)
	}
	return ""
}
