package tidy

import (
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path"
	"slices"
	"strings"
)

// modulePath is the path of the product's module; rules speak of packages by their folder.
const modulePath = "github.com/okapi-kv/okapi"

// tree is the source of the project as the rules see it. It is read from a file system, so that
// the rules can be tested on small made-up trees.
type tree struct {
	fsys fs.FS
	fset *token.FileSet
	// files are all Go files, whatever their build constraints, in order of their paths.
	files []*file
	// texts are the paths of the other text files that rules look at, in order.
	texts []string
}

// file is one Go file.
type file struct {
	path string
	// dir is the folder, and so the package, relative to the root of the project.
	dir  string
	test bool
	// nested says that the file belongs to a module of its own below the root.
	nested bool
	// generated files follow their generator's habits, not ours.
	generated bool
	source    []byte
	syntax    *ast.File
}

// finding is one breach of a rule.
type finding struct {
	// subject names what breaks the rule in a way that survives edits elsewhere: a package, a
	// function, a file. It is what the ratchet file refers to.
	subject string
	// where is a file and line for the reader, or empty.
	where string
	// value is what was counted, for rules that count; else 0.
	value int
	text  string
}

// load reads the tree below the root of fsys.
func load(fsys fs.FS) (*tree, error) {
	t := &tree{fsys: fsys, fset: token.NewFileSet()}
	var nested []string
	err := fs.WalkDir(fsys, ".", func(name string, entry fs.DirEntry, err error) error {
		if err != nil {
			// The tree may change while it is read; what has just gone breaks no rule.
			if errors.Is(err, fs.ErrNotExist) {
				return nil
			}
			return err
		}
		if entry.IsDir() {
			if skipDir(entry.Name()) {
				return fs.SkipDir
			}
			if _, err := fs.Stat(fsys, path.Join(name, "go.mod")); err == nil && name != "." {
				nested = append(nested, name+"/")
			}
			return nil
		}
		if !entry.Type().IsRegular() {
			return nil
		}
		return t.add(name, nested)
	})
	return t, err
}

// skipDir leaves out what the go tool leaves out, apart from folders such as .ci.
func skipDir(name string) bool {
	return name == "testdata" || name == ".git" || name == "vendor" || name == "node_modules" ||
		strings.HasSuffix(name, ".data")
}

func (t *tree) add(name string, nested []string) error {
	if path.Ext(name) != ".go" {
		if isText(name) {
			t.texts = append(t.texts, name)
		}
		return nil
	}
	source, err := fs.ReadFile(t.fsys, name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	syntax, err := parser.ParseFile(t.fset, name, source, parser.ParseComments)
	if err != nil {
		return fmt.Errorf("parse: %w", err)
	}
	t.files = append(t.files, &file{
		path: name, dir: path.Dir(name),
		test:      strings.HasSuffix(name, "_test.go"),
		nested:    slices.ContainsFunc(nested, func(dir string) bool { return strings.HasPrefix(name, dir) }),
		generated: ast.IsGenerated(syntax), source: source, syntax: syntax,
	})
	return nil
}

func isText(name string) bool {
	switch path.Ext(name) {
	case ".md", ".sh", ".yml", ".yaml", ".txt":
		return true
	}
	return path.Base(name) == "Makefile" || name == ".ci/run" || name == ".gitignore"
}

// code returns the files that are neither tests nor generated.
func (t *tree) code() []*file {
	var out []*file
	for _, f := range t.files {
		if !f.test && !f.generated {
			out = append(out, f)
		}
	}
	return out
}

// product returns those of code that belong to the product's own module.
func (t *tree) product() []*file {
	return slices.DeleteFunc(t.code(), func(f *file) bool { return f.nested })
}

// byDir groups files by their folder; order holds the folders in order.
func byDir(files []*file) (groups map[string][]*file, order []string) {
	groups = map[string][]*file{}
	for _, f := range files {
		if _, ok := groups[f.dir]; !ok {
			order = append(order, f.dir)
		}
		groups[f.dir] = append(groups[f.dir], f)
	}
	return groups, order
}

// at formats a position for the reader.
func (t *tree) at(pos token.Pos) string {
	p := t.fset.Position(pos)
	return fmt.Sprintf("%s:%d", p.Filename, p.Line)
}

// lines counts the lines from the first to the last position, both included.
func (t *tree) lines(from, to token.Pos) int {
	return t.fset.Position(to).Line - t.fset.Position(from).Line + 1
}

// funcs calls visit for each declared function of the files.
func funcs(files []*file, visit func(f *file, fn *ast.FuncDecl)) {
	for _, f := range files {
		for _, decl := range f.syntax.Decls {
			if fn, ok := decl.(*ast.FuncDecl); ok {
				visit(f, fn)
			}
		}
	}
}

// types calls visit for each type declared at the top level of the files.
func types(files []*file, visit func(f *file, spec *ast.TypeSpec, doc *ast.CommentGroup)) {
	for _, f := range files {
		for _, decl := range f.syntax.Decls {
			gen, ok := decl.(*ast.GenDecl)
			if !ok || gen.Tok != token.TYPE {
				continue
			}
			for _, spec := range gen.Specs {
				typ := spec.(*ast.TypeSpec)
				doc := typ.Doc
				if doc == nil {
					doc = gen.Doc
				}
				visit(f, typ, doc)
			}
		}
	}
}

// funcName names a function the way stack traces do, with its folder.
func funcName(f *file, fn *ast.FuncDecl) string {
	if receiver := receiverType(fn); receiver != "" {
		return f.dir + "." + receiver + "." + fn.Name.Name
	}
	return f.dir + "." + fn.Name.Name
}

// receiverType returns the name of the type that fn is a method of, or "".
func receiverType(fn *ast.FuncDecl) string {
	if fn.Recv == nil || len(fn.Recv.List) == 0 {
		return ""
	}
	expr := fn.Recv.List[0].Type
	for {
		switch e := expr.(type) {
		case *ast.StarExpr:
			expr = e.X
		case *ast.ParenExpr:
			expr = e.X
		case *ast.IndexExpr:
			expr = e.X
		case *ast.IndexListExpr:
			expr = e.X
		case *ast.Ident:
			return e.Name
		default:
			return ""
		}
	}
}
