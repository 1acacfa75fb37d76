package tidy

import (
	"bytes"
	"fmt"
	"go/ast"
	"go/format"
	"slices"
	"strings"
)

// The limits.
const (
	maxFunctionLines    = 70
	maxFileLines        = 800
	maxParameters       = 5
	maxInterface        = 5
	maxInterfaceWithWhy = 8
	maxMethods          = 25
)

// checkFunctionLength counts lines from "func" to the closing brace. A switch whose every case is
// one call, return or assignment is a table and counts as one line.
func checkFunctionLength(t *tree) []finding {
	var out []finding
	funcs(t.code(), func(f *file, fn *ast.FuncDecl) {
		length := t.lines(fn.Pos(), fn.End())
		if length <= maxFunctionLines {
			return
		}
		ast.Inspect(fn, func(n ast.Node) bool {
			if !isTable(n) {
				return true
			}
			length -= t.lines(n.Pos(), n.End()) - 1
			return false
		})
		if length > maxFunctionLines {
			out = append(out, finding{
				subject: funcName(f, fn), where: t.at(fn.Pos()), value: length,
				text: fmt.Sprintf("%s has %d lines, more than %d", fn.Name.Name, length, maxFunctionLines),
			})
		}
	})
	return out
}

// isTable reports whether n is a switch of cases with one call each.
func isTable(n ast.Node) bool {
	var body *ast.BlockStmt
	switch n := n.(type) {
	case *ast.SwitchStmt:
		body = n.Body
	case *ast.TypeSwitchStmt:
		body = n.Body
	default:
		return false
	}
	for _, clause := range body.List {
		statements := clause.(*ast.CaseClause).Body
		if len(statements) > 1 || (len(statements) == 1 && !isSimple(statements[0])) {
			return false
		}
	}
	return true
}

func isSimple(s ast.Stmt) bool {
	switch s.(type) {
	case *ast.ExprStmt, *ast.ReturnStmt, *ast.AssignStmt:
		return true
	}
	return false
}

func checkFileLength(t *tree) []finding {
	var out []finding
	for _, f := range t.files {
		if lines := bytes.Count(f.source, []byte("\n")); !f.generated && lines > maxFileLines {
			out = append(out, finding{subject: f.path, value: lines, text: fmt.Sprintf("%d lines, more than %d", lines, maxFileLines)})
		}
	}
	return out
}

// checkParameters counts the parameters of functions and of the methods of interfaces.
func checkParameters(t *tree) []finding {
	var out []finding
	judge := func(f *file, name string, typ *ast.FuncType) {
		if n := typ.Params.NumFields(); n > maxParameters {
			out = append(out, finding{
				subject: name, where: t.at(typ.Pos()), value: n,
				text: fmt.Sprintf("%s has %d parameters, more than %d", name, n, maxParameters),
			})
		}
	}
	funcs(t.code(), func(f *file, fn *ast.FuncDecl) { judge(f, funcName(f, fn), fn.Type) })
	types(t.code(), func(f *file, spec *ast.TypeSpec, _ *ast.CommentGroup) {
		iface, ok := spec.Type.(*ast.InterfaceType)
		if !ok {
			return
		}
		for _, m := range iface.Methods.List {
			if typ, ok := m.Type.(*ast.FuncType); ok && len(m.Names) > 0 {
				judge(f, f.dir+"."+spec.Name.Name+"."+m.Names[0].Name, typ)
			}
		}
	})
	return out
}

// checkInterfaceSize counts methods; an embedded interface of the same package counts with its
// methods, one from elsewhere as one. A larger interface says why in a line "tidy: …" of its doc.
func checkInterfaceSize(t *tree) []finding {
	var out []finding
	known := map[string]*ast.InterfaceType{}
	types(t.code(), func(f *file, spec *ast.TypeSpec, _ *ast.CommentGroup) {
		if iface, ok := spec.Type.(*ast.InterfaceType); ok {
			known[f.dir+"."+spec.Name.Name] = iface
		}
	})
	types(t.code(), func(f *file, spec *ast.TypeSpec, doc *ast.CommentGroup) {
		iface, ok := spec.Type.(*ast.InterfaceType)
		if !ok {
			return
		}
		limit := maxInterface
		if hasReason(doc) {
			limit = maxInterfaceWithWhy
		}
		if n := methodCount(f.dir, iface, known); n > limit {
			out = append(out, finding{
				subject: f.dir + "." + spec.Name.Name, where: t.at(spec.Pos()), value: n,
				text: fmt.Sprintf("interface %s has %d methods, more than %d (up to %d with a line \"tidy: why\" in its doc)",
					spec.Name.Name, n, limit, maxInterfaceWithWhy),
			})
		}
	})
	return out
}

func methodCount(dir string, iface *ast.InterfaceType, known map[string]*ast.InterfaceType) int {
	n := 0
	for _, m := range iface.Methods.List {
		switch typ := m.Type.(type) {
		case *ast.FuncType:
			n += len(m.Names)
		case *ast.Ident:
			if embedded, ok := known[dir+"."+typ.Name]; ok && embedded != iface {
				n += methodCount(dir, embedded, known)
			}
		case *ast.SelectorExpr:
			n++
		}
	}
	return n
}

func hasReason(doc *ast.CommentGroup) bool {
	if doc == nil {
		return false
	}
	return slices.ContainsFunc(doc.List, func(c *ast.Comment) bool {
		why, ok := strings.CutPrefix(c.Text, "// tidy: ")
		return ok && strings.TrimSpace(why) != ""
	})
}

// checkMethods counts the methods of each type. The sequential model is left out: like the state machine,
// which is in the ratchet file, it has one for each command and read.
func checkMethods(t *tree) []finding {
	count := map[string]int{}
	funcs(t.code(), func(f *file, fn *ast.FuncDecl) {
		if f.dir == "internal/model" {
			return
		}
		if receiver := receiverType(fn); receiver != "" {
			count[f.dir+"."+receiver]++
		}
	})
	var out []finding
	for typ, n := range count {
		if n > maxMethods {
			out = append(out, finding{subject: typ, value: n, text: fmt.Sprintf("%d methods, more than %d", n, maxMethods)})
		}
	}
	return out
}

func checkFormat(t *tree) []finding {
	var out []finding
	for _, f := range t.files {
		if f.generated {
			continue
		}
		formatted, err := format.Source(f.source)
		if err != nil || !bytes.Equal(formatted, f.source) {
			out = append(out, finding{subject: f.path, text: "is not formatted: gofmt -w " + f.path})
		}
	}
	return out
}
