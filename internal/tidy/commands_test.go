package tidy

import (
	"go/ast"
	"go/token"
	"io/fs"
	"path"
	"regexp"
	"strings"
)

const (
	commandDir = "internal/core/command"
	stateDir   = "internal/core/state"
	modelDir   = "internal/model"
)

// checkCommands wants, for each constant Kind… of core/command, golden bytes in its testdata, a
// case in core/state and one in the model. Golden bytes stand in a file with the name of the kind
// (delete_range.txt for KindDeleteRange), or in one that names the kind. A case names the kind
// (command.KindPut) or the type (*command.Put).
func checkCommands(t *tree) []finding {
	kinds := kindsOf(t)
	golden := readGolden(t.fsys)
	inState, inModel := casesIn(t, stateDir), casesIn(t, modelDir)
	var out []finding
	for _, kind := range kinds {
		name := strings.TrimPrefix(kind, "Kind")
		var missing []string
		if !golden.files[snake(name)] && !regexp.MustCompile(`\b`+kind+`\b`).MatchString(golden.text) {
			missing = append(missing, "golden bytes in "+commandDir+"/testdata")
		}
		if !inState[name] {
			missing = append(missing, "case in "+stateDir)
		}
		if !inModel[name] {
			missing = append(missing, "case in "+modelDir)
		}
		if len(missing) > 0 {
			out = append(out, finding{subject: kind, text: "has no " + strings.Join(missing, ", no ")})
		}
	}
	return out
}

// kindsOf returns the constants of type Kind in core/command, in order.
func kindsOf(t *tree) []string {
	var out []string
	for _, f := range t.product() {
		if f.dir != commandDir {
			continue
		}
		for _, decl := range f.syntax.Decls {
			gen, ok := decl.(*ast.GenDecl)
			if !ok || gen.Tok != token.CONST {
				continue
			}
			for _, spec := range gen.Specs {
				for _, name := range spec.(*ast.ValueSpec).Names {
					if rest, ok := strings.CutPrefix(name.Name, "Kind"); ok && token.IsExported(rest) {
						out = append(out, name.Name)
					}
				}
			}
		}
	}
	return out
}

// goldenFiles is what lies in the testdata of core/command: the names of the files without their
// extensions, and all their text.
type goldenFiles struct {
	files map[string]bool
	text  string
}

func readGolden(fsys fs.FS) goldenFiles {
	out := goldenFiles{files: map[string]bool{}}
	// A missing folder means that nothing is fixed yet, which the caller reports kind by kind.
	_ = fs.WalkDir(fsys, commandDir+"/testdata", func(name string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		content, err := fs.ReadFile(fsys, name)
		if err != nil {
			return err
		}
		out.files[strings.TrimSuffix(path.Base(name), path.Ext(name))] = len(content) > 0
		out.text += string(content)
		return nil
	})
	return out
}

// wordStart matches the places between the words of a Go name: SetACL has two.
var wordStart = regexp.MustCompile(`([a-z0-9])([A-Z])`)

func snake(name string) string {
	return strings.ToLower(wordStart.ReplaceAllString(name, "${1}_${2}"))
}

// casesIn returns the commands that a case of a switch in the package names, by type or by kind.
func casesIn(t *tree, dir string) map[string]bool {
	out := map[string]bool{}
	for _, f := range t.files {
		if f.dir != dir || (f.test && dir != modelDir) {
			continue
		}
		ast.Inspect(f.syntax, func(n ast.Node) bool {
			clause, ok := n.(*ast.CaseClause)
			if !ok {
				return true
			}
			for _, expr := range clause.List {
				if star, ok := expr.(*ast.StarExpr); ok {
					expr = star.X
				}
				if sel, ok := expr.(*ast.SelectorExpr); ok {
					if pkg, ok := sel.X.(*ast.Ident); ok && pkg.Name == "command" {
						out[strings.TrimPrefix(sel.Sel.Name, "Kind")] = true
					}
				}
			}
			return true
		})
	}
	return out
}
