package tidy

import (
	"fmt"
	"go/ast"
	"go/build"
	"go/importer"
	"go/token"
	gotypes "go/types"
	"regexp"
	"slices"
	"strings"
)

// coreImports is what the core may import besides itself and internal/invariant: pure functions
// over values. What is not here is banned, with time, os, net, context, sync, rand, log, runtime,
// reflect, unsafe and hash/maphash in mind.
var coreImports = []string{
	"bytes", "cmp", "container/heap", "encoding/binary", "errors", "fmt", "hash", "hash/crc32",
	"hash/crc64", "hash/fnv", "iter", "maps", "math", "math/bits", "slices", "sort", "strconv",
	"strings", "unicode", "unicode/utf8",
}

// arena is the one package of the core that may lay out memory by hand.
const arena = "internal/core/arena"

// arenaImports is what arena may import beyond coreImports.
var arenaImports = []string{"unsafe", "sync/atomic"}

func inCore(f *file) bool { return strings.HasPrefix(f.dir, "internal/core/") }

// checkPurity looks for what could make two members differ. Tests of the core may do anything.
func checkPurity(t *tree) []finding {
	var out []finding
	for _, f := range t.product() {
		if !inCore(f) {
			continue
		}
		for _, imp := range f.syntax.Imports {
			name := importPath(imp)
			if !pureImport(f, name) {
				out = append(out, finding{subject: f.dir + "->" + name, where: t.at(imp.Pos()), text: "the core may not import " + name})
			}
		}
		ast.Inspect(f.syntax, func(n ast.Node) bool {
			if what := impure(n); what != "" {
				out = append(out, finding{subject: f.path + ":" + strings.ReplaceAll(what, " ", "-"), where: t.at(n.Pos()), text: "the core may not use " + what})
			}
			return true
		})
	}
	return out
}

func pureImport(f *file, name string) bool {
	if first, _, _ := strings.Cut(name, "/"); strings.Contains(first, ".") {
		return true // The import tables judge packages outside the standard library.
	}
	return slices.Contains(coreImports, name) || (f.dir == arena && slices.Contains(arenaImports, name))
}

// impure names what the node is, if it has no place in the core.
func impure(n ast.Node) string {
	switch n := n.(type) {
	case *ast.GoStmt:
		return "a go statement"
	case *ast.SelectStmt:
		return "a select statement"
	case *ast.ChanType:
		return "a channel"
	case *ast.SendStmt:
		return "a channel send"
	case *ast.UnaryExpr:
		if n.Op == token.ARROW {
			return "a channel receive"
		}
	case *ast.BasicLit:
		if n.Kind == token.FLOAT || n.Kind == token.IMAG {
			return "a floating point number"
		}
	case *ast.Ident:
		switch n.Name {
		case "float32", "float64", "complex64", "complex128":
			return "floating point"
		}
	case *ast.SelectorExpr:
		if pkg, ok := n.X.(*ast.Ident); ok && pkg.Name == "math" && pkg.Obj == nil && !integerLimit(n.Sel.Name) {
			return "math." + n.Sel.Name + ", which is floating point,"
		}
	}
	return ""
}

func integerLimit(name string) bool {
	for _, prefix := range []string{"MaxInt", "MinInt", "MaxUint"} {
		if strings.HasPrefix(name, prefix) {
			return true
		}
	}
	return false
}

// checkMapOrder finds loops over maps in the core. A loop whose order cannot matter says why in a
// comment that has "order" or "sort" in it, on its line or right above; other loops sort the keys
// first, for example with slices.Sorted(maps.Keys(m)).
func checkMapOrder(t *tree) []finding {
	checker := &coreChecker{tree: t, done: map[string]*gotypes.Package{}, info: &gotypes.Info{
		Types: map[ast.Expr]gotypes.TypeAndValue{},
	}}
	dirs, order := byDir(slices.DeleteFunc(t.product(), func(f *file) bool { return !inCore(f) }))
	checker.dirs = dirs
	for _, dir := range order {
		checker.check(dir)
	}
	var out []finding
	for _, dir := range order {
		for _, f := range dirs[dir] {
			for _, n := range unordered(f.syntax, checker.info) {
				if !t.saysOrder(f, n) {
					out = append(out, finding{
						subject: f.path, where: t.at(n.Pos()),
						text: "goes over a map in random order: sort the keys, or say in a comment why the order cannot matter",
					})
				}
			}
		}
	}
	return out
}

// unordered returns the loops over maps and the calls of maps.Keys, Values and All whose result is
// not sorted at once.
func unordered(syntax *ast.File, info *gotypes.Info) []ast.Node {
	var out []ast.Node
	sorted := map[ast.Node]bool{}
	ast.Inspect(syntax, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.RangeStmt:
			if typ := info.TypeOf(n.X); typ != nil {
				if _, ok := typ.Underlying().(*gotypes.Map); ok {
					out = append(out, n)
				}
			}
		case *ast.CallExpr:
			if calls(n, "slices", "Sorted", "SortedFunc", "SortedStableFunc") && len(n.Args) > 0 {
				sorted[n.Args[0]] = true
			}
			if calls(n, "maps", "Keys", "Values", "All") && !sorted[n] {
				out = append(out, n)
			}
		}
		return true
	})
	return out
}

// calls reports whether n calls one of the named functions of the package that the file knows as pkg.
func calls(n *ast.CallExpr, pkg string, names ...string) bool {
	sel, ok := n.Fun.(*ast.SelectorExpr)
	if !ok {
		return false
	}
	x, ok := sel.X.(*ast.Ident)
	return ok && x.Name == pkg && x.Obj == nil && slices.Contains(names, sel.Sel.Name)
}

// aboutOrder matches a comment that says why the order cannot matter, or that the result is sorted.
var aboutOrder = regexp.MustCompile(`(?i)\b(order|sort)`)

// saysOrder reports whether a comment that ends on the line of n or on the one above it is about
// order.
func (t *tree) saysOrder(f *file, n ast.Node) bool {
	line := t.fset.Position(n.Pos()).Line
	for _, group := range f.syntax.Comments {
		end := t.fset.Position(group.End()).Line
		if (end == line || end == line-1) && aboutOrder.MatchString(group.Text()) {
			return true
		}
	}
	return false
}

// coreChecker finds the types of expressions in the core. It is lenient: where code does not
// compile, or uses a library, the type is unknown and the rule says nothing; the compiler does.
type coreChecker struct {
	tree *tree
	dirs map[string][]*file
	done map[string]*gotypes.Package
	std  gotypes.Importer
	info *gotypes.Info
}

func (c *coreChecker) check(dir string) *gotypes.Package {
	if pkg, ok := c.done[dir]; ok {
		return pkg
	}
	c.done[dir] = nil
	var syntax []*ast.File
	for _, f := range c.dirs[dir] {
		syntax = append(syntax, f.syntax)
	}
	config := gotypes.Config{Importer: c, FakeImportC: true, Error: func(error) {}}
	pkg, _ := config.Check(modulePath+"/"+dir, c.tree.fset, syntax, c.info)
	c.done[dir] = pkg
	return pkg
}

// Import gives the checker the project's own packages and the standard library.
func (c *coreChecker) Import(name string) (*gotypes.Package, error) {
	if dir, ours := strings.CutPrefix(name, modulePath+"/"); ours && len(c.dirs[dir]) > 0 {
		if pkg := c.check(dir); pkg != nil {
			return pkg, nil
		}
		return nil, fmt.Errorf("import cycle through %s", name)
	}
	if first, _, _ := strings.Cut(name, "/"); strings.Contains(first, ".") {
		return nil, fmt.Errorf("library %s is left out", name)
	}
	if c.std == nil {
		build.Default.CgoEnabled = false
		c.std = importer.ForCompiler(token.NewFileSet(), "source", nil)
	}
	return c.std.Import(name)
}
