package tidy

import (
	"fmt"
	"go/ast"
	"go/token"
	"io/fs"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// maxGoStatements bounds the go statements of the product: each is a goroutine that somebody has
// to know about.
const maxGoStatements = 20

func checkInit(t *tree) []finding {
	var out []finding
	funcs(t.code(), func(f *file, fn *ast.FuncDecl) {
		if fn.Name.Name == "init" && fn.Recv == nil {
			out = append(out, finding{subject: f.path, where: t.at(fn.Pos()), text: "init function: let the composition call it"})
		}
	})
	return out
}

func checkBlankImports(t *tree) []finding {
	var out []finding
	for _, f := range t.code() {
		for _, imp := range f.syntax.Imports {
			if name := importPath(imp); imp.Name != nil && imp.Name.Name == "_" && name != "embed" {
				out = append(out, finding{subject: f.dir + "->" + name, where: t.at(imp.Pos()), text: "blank import of " + name})
			}
		}
	}
	return out
}

// runner matches the functions that may start goroutines.
var runner = regexp.MustCompile(`^([Rr]un|[Ss]erve)([A-Z].*)?$`)

// checkGoStatements looks for go statements and for the methods Go of sync.WaitGroup and its kin.
func checkGoStatements(t *tree) []finding {
	var out []finding
	total := 0
	funcs(t.code(), func(f *file, fn *ast.FuncDecl) {
		ast.Inspect(fn, func(n ast.Node) bool {
			if !startsGoroutine(n) {
				return true
			}
			if row, ok := findLayer(f.dir); ok && !slices.Contains(expand("test"), row.pkg) {
				total++
			}
			if !runner.MatchString(fn.Name.Name) {
				out = append(out, finding{
					subject: funcName(f, fn), where: t.at(n.Pos()),
					text: fmt.Sprintf("%s starts a goroutine, but is not named Run, run…, Serve… or serve…", fn.Name.Name),
				})
			}
			return true
		})
	})
	if total > maxGoStatements {
		out = append(out, finding{subject: "total", value: total, text: fmt.Sprintf("%d go statements in the product, more than %d", total, maxGoStatements)})
	}
	return out
}

func startsGoroutine(n ast.Node) bool {
	switch n := n.(type) {
	case *ast.GoStmt:
		return true
	case *ast.CallExpr:
		sel, ok := n.Fun.(*ast.SelectorExpr)
		return ok && sel.Sel.Name == "Go" && len(n.Args) == 1
	}
	return false
}

func checkPanic(t *tree) []finding {
	var out []finding
	for _, f := range t.code() {
		if f.dir == "internal/invariant" {
			continue
		}
		ast.Inspect(f.syntax, func(n ast.Node) bool {
			call, ok := n.(*ast.CallExpr)
			if !ok {
				return true
			}
			if fn, ok := call.Fun.(*ast.Ident); ok && fn.Name == "panic" && fn.Obj == nil {
				out = append(out, finding{subject: f.path, where: t.at(n.Pos()), text: "bare panic: use invariant.Assert"})
			}
			return true
		})
	}
	return out
}

// mark matches the words for unfinished work; it is put together so that it does not match itself.
var mark = regexp.MustCompile(`\b(TO` + `DO|FIX` + `ME|X` + `XX|HA` + `CK)\b`)

// checkMarks looks into comments of Go files, tests included, and into scripts.
func checkMarks(t *tree) []finding {
	var out []finding
	for _, f := range t.files {
		for _, group := range f.syntax.Comments {
			for _, c := range group.List {
				if word := mark.FindString(c.Text); word != "" {
					out = append(out, finding{subject: f.path, where: t.at(c.Pos()), text: word + " in a comment"})
				}
			}
		}
	}
	for _, name := range t.texts {
		if path.Ext(name) == ".md" {
			continue
		}
		text, err := fs.ReadFile(t.fsys, name)
		if err != nil {
			continue
		}
		if word := mark.Find(text); word != nil {
			out = append(out, finding{subject: name, text: string(word) + " in the file"})
		}
	}
	return out
}

// globalLoggers are the functions of log/slog that write through the default logger, or replace it.
var globalLoggers = []string{
	"Debug", "DebugContext", "Info", "InfoContext", "Warn", "WarnContext", "Error", "ErrorContext",
	"Log", "LogAttrs", "Default", "SetDefault", "With",
}

// checkGlobalLog looks for the default logger and for output that bypasses logging. The commands
// of the command line print on the writers that they are given.
func checkGlobalLog(t *tree) []finding {
	var out []finding
	for _, f := range t.product() {
		ast.Inspect(f.syntax, func(n ast.Node) bool {
			call, ok := n.(*ast.CallExpr)
			if !ok {
				return true
			}
			if calls(call, "slog", globalLoggers...) || calls(call, "fmt", "Print", "Printf", "Println") {
				sel := call.Fun.(*ast.SelectorExpr)
				out = append(out, finding{subject: f.path, where: t.at(n.Pos()), text: fmt.Sprintf("%s.%s writes to a global", sel.X, sel.Sel.Name)})
			}
			return true
		})
	}
	return out
}

// simulated are the packages that run in the simulator as they run in production.
var simulated = []string{"internal/cluster", "internal/lessor", "internal/replica", "internal/snapshot", "internal/wal"}

// checkSimulatedTime looks for the real clock outside the loops of production, which the
// simulator replaces by its own.
func checkSimulatedTime(t *tree) []finding {
	var out []finding
	for _, f := range t.product() {
		if !slices.Contains(simulated, f.dir) {
			continue
		}
		ast.Inspect(f.syntax, func(n ast.Node) bool {
			if fn, ok := n.(*ast.FuncDecl); ok && runner.MatchString(fn.Name.Name) {
				return false
			}
			call, ok := n.(*ast.CallExpr)
			if ok && calls(call, "time", "Now", "Since", "Until", "Sleep", "After", "AfterFunc", "NewTimer", "NewTicker", "Tick") {
				out = append(out, finding{
					subject: f.path, where: t.at(n.Pos()),
					text: fmt.Sprintf("time.%s reads the real clock", call.Fun.(*ast.SelectorExpr).Sel.Name),
				})
			}
			return true
		})
	}
	return out
}

func checkErrorText(t *tree) []finding {
	var out []finding
	for _, f := range t.code() {
		ast.Inspect(f.syntax, func(n ast.Node) bool {
			call, ok := n.(*ast.CallExpr)
			if !ok || len(call.Args) == 0 || !(calls(call, "fmt", "Errorf") || calls(call, "errors", "New")) {
				return true
			}
			literal, ok := call.Args[0].(*ast.BasicLit)
			if !ok {
				return true
			}
			if text, err := strconv.Unquote(literal.Value); err == nil && strings.Contains(text, "failed to") {
				out = append(out, finding{subject: f.path, where: t.at(n.Pos()), text: "error text " + literal.Value})
			}
			return true
		})
	}
	return out
}

// badNames are package names that say nothing.
var badNames = []string{"util", "utils", "common", "helper", "helpers", "misc", "types", "base", "shared", "lib"}

func checkPackageNames(t *tree) []finding {
	var out []finding
	reported := map[string]bool{}
	for _, f := range t.files {
		name := f.syntax.Name.Name
		if slices.Contains(badNames, name) && !reported[f.dir] {
			reported[f.dir] = true
			out = append(out, finding{subject: f.dir, text: "package is named " + name})
		}
	}
	return out
}

// checkGlobals allows package-level variables that are constants in all but name: error values,
// and tables that have their value from the start and are never assigned to, in code or tests.
func checkGlobals(t *tree) []finding {
	var out []finding
	dirs, order := byDir(t.files)
	for _, dir := range order {
		mutated := mutatedGlobals(dirs[dir])
		for _, f := range dirs[dir] {
			if f.test || f.generated {
				continue
			}
			for _, g := range globalsOf(f) {
				if text := judgeGlobal(g, mutated[g.name.Name]); text != "" {
					out = append(out, finding{subject: dir + "." + g.name.Name, where: t.at(g.name.Pos()), text: text})
				}
			}
		}
	}
	return out
}

// global is one package-level variable.
type global struct {
	name  *ast.Ident
	value ast.Expr
	// embedded says that the compiler fills it (go:embed).
	embedded bool
}

func globalsOf(f *file) []global {
	var out []global
	for _, decl := range f.syntax.Decls {
		gen, ok := decl.(*ast.GenDecl)
		if !ok || gen.Tok != token.VAR {
			continue
		}
		for _, spec := range gen.Specs {
			vars := spec.(*ast.ValueSpec)
			embedded := hasEmbed(gen.Doc) || hasEmbed(vars.Doc)
			for i, name := range vars.Names {
				g := global{name: name, embedded: embedded}
				if len(vars.Values) == len(vars.Names) {
					g.value = vars.Values[i]
				} else if len(vars.Values) == 1 {
					g.value = vars.Values[0]
				}
				out = append(out, g)
			}
		}
	}
	return out
}

func hasEmbed(doc *ast.CommentGroup) bool {
	return doc != nil && slices.ContainsFunc(doc.List, func(c *ast.Comment) bool { return strings.HasPrefix(c.Text, "//go:embed ") })
}

// errorName matches the names of error values.
var errorName = regexp.MustCompile(`^([eE]rr|Err[A-Z].*|err[A-Z].*)$`)

// judgeGlobal says what is wrong with a variable, or "".
func judgeGlobal(g global, mutated bool) string {
	name := g.name.Name
	switch {
	case name == "_" || (g.embedded && !mutated):
		return ""
	case mutated:
		return fmt.Sprintf("global %s is changed at run time, or its address is taken", name)
	case g.value == nil:
		return fmt.Sprintf("global %s has no value from the start", name)
	case !errorName.MatchString(name) && !constantLike(g.value):
		return fmt.Sprintf("global %s is neither an error value nor a table", name)
	}
	return ""
}

// pureCalls are the functions whose results are tables.
var pureCalls = map[string]bool{
	"errors.New": true, "fmt.Errorf": true, "crc32.MakeTable": true, "crc64.MakeTable": true,
	"regexp.MustCompile": true, "strings.NewReplacer": true, "netip.MustParseAddr": true,
	"netip.MustParsePrefix": true, "len": true, "min": true, "max": true,
}

// constantLike reports whether the value can stand for a constant: literals, tables, functions,
// what pureCalls make, and the result of a function "build…" or of a literal one called on the spot.
func constantLike(value ast.Expr) bool {
	switch v := value.(type) {
	case *ast.BasicLit, *ast.Ident, *ast.SelectorExpr, *ast.FuncLit:
		return true
	case *ast.ParenExpr:
		return constantLike(v.X)
	case *ast.UnaryExpr:
		return v.Op != token.AND && v.Op != token.ARROW && constantLike(v.X)
	case *ast.BinaryExpr:
		return constantLike(v.X) && constantLike(v.Y)
	case *ast.CompositeLit:
		return !isSyncType(v.Type)
	case *ast.CallExpr:
		return constantCall(v)
	}
	return false
}

func constantCall(call *ast.CallExpr) bool {
	switch fn := call.Fun.(type) {
	case *ast.ArrayType:
		return true // A conversion such as []byte("PING").
	case *ast.FuncLit:
		return true
	case *ast.Ident:
		return pureCalls[fn.Name] || strings.HasPrefix(fn.Name, "build")
	case *ast.SelectorExpr:
		pkg, ok := fn.X.(*ast.Ident)
		return ok && pureCalls[pkg.Name+"."+fn.Sel.Name]
	}
	return false
}

func isSyncType(typ ast.Expr) bool {
	sel, ok := typ.(*ast.SelectorExpr)
	if !ok {
		return false
	}
	pkg, ok := sel.X.(*ast.Ident)
	return ok && (pkg.Name == "sync" || pkg.Name == "atomic")
}

// mutatedGlobals returns the names of package-level variables that some file of the package
// assigns to, changes an element of, or takes the address of.
func mutatedGlobals(files []*file) map[string]bool {
	out := map[string]bool{}
	for _, f := range files {
		if f.test && strings.HasSuffix(f.syntax.Name.Name, "_test") {
			continue
		}
		mark := func(expr ast.Expr) {
			if id := rootIdent(expr); id != nil && (id.Obj == nil || f.syntax.Scope.Lookup(id.Name) == id.Obj) {
				out[id.Name] = true
			}
		}
		ast.Inspect(f.syntax, func(n ast.Node) bool {
			for _, expr := range changed(n) {
				mark(expr)
			}
			return true
		})
	}
	return out
}

// changed returns the expressions that the node may change.
func changed(n ast.Node) []ast.Expr {
	switch n := n.(type) {
	case *ast.AssignStmt:
		if n.Tok != token.DEFINE {
			return n.Lhs
		}
	case *ast.IncDecStmt:
		return []ast.Expr{n.X}
	case *ast.UnaryExpr:
		if _, literal := n.X.(*ast.CompositeLit); n.Op == token.AND && !literal {
			return []ast.Expr{n.X}
		}
	case *ast.RangeStmt:
		if n.Tok == token.ASSIGN {
			return []ast.Expr{n.Key, n.Value}
		}
	case *ast.CallExpr:
		if fn, ok := n.Fun.(*ast.Ident); ok && fn.Obj == nil && len(n.Args) > 0 && slices.Contains([]string{"delete", "clear", "copy"}, fn.Name) {
			return n.Args[:1]
		}
	}
	return nil
}

// rootIdent returns the variable that an expression is a part of, or nil.
func rootIdent(expr ast.Expr) *ast.Ident {
	for {
		switch e := expr.(type) {
		case *ast.Ident:
			return e
		case *ast.IndexExpr:
			expr = e.X
		case *ast.SelectorExpr:
			expr = e.X
		case *ast.SliceExpr:
			expr = e.X
		case *ast.StarExpr:
			expr = e.X
		case *ast.ParenExpr:
			expr = e.X
		default:
			return nil
		}
	}
}
