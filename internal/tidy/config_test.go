package tidy

import (
	"go/ast"
	"os"
	"reflect"
	"strings"
	"testing"

	"github.com/okapi-kv/okapi/internal/config"
)

// TestEverySettingIsComplete checks the settings of operators: each field of config.Config has a
// doc, and each setting a flag, a name in the environment, a default, a text, and a row in
// docs/operating/config.md.
func TestEverySettingIsComplete(t *testing.T) {
	tree, err := load(os.DirFS("../.."))
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range fieldsWithoutDoc(tree, "internal/config", "Config") {
		t.Errorf("config.Config.%s has no doc that begins with its name and ends with a full stop", name)
	}
	page, err := os.ReadFile("../../docs/operating/config.md")
	if err != nil {
		t.Fatal(err)
	}
	c := config.Default()
	settings := c.Settings()
	fields := 0
	for i := range reflect.TypeFor[config.Config]().NumField() {
		if reflect.TypeFor[config.Config]().Field(i).IsExported() {
			fields++
		}
	}
	if len(settings) != fields {
		t.Errorf("config.Config has %d fields and %d settings", fields, len(settings))
	}
	for _, s := range settings {
		if s.Flag == "" || s.Kind == "" || s.Group == "" || !strings.HasSuffix(s.Doc, ".") {
			t.Errorf("setting %q is incomplete: %+v", s.Flag, s)
		}
		if want := "OKAPI_" + strings.ToUpper(strings.ReplaceAll(s.Flag, "-", "_")); s.Env != want {
			t.Errorf("--%s is %s in the environment, want %s", s.Flag, s.Env, want)
		}
		if !strings.Contains(string(page), "| `--"+s.Flag+"` | `"+s.Env+"` |") {
			t.Errorf("--%s has no row in docs/operating/config.md", s.Flag)
		}
	}
}

// fieldsWithoutDoc returns the exported fields of a struct whose doc is missing or bad.
func fieldsWithoutDoc(t *tree, dir, typ string) []string {
	var out []string
	types(t.product(), func(f *file, spec *ast.TypeSpec, _ *ast.CommentGroup) {
		structure, ok := spec.Type.(*ast.StructType)
		if !ok || f.dir != dir || spec.Name.Name != typ {
			return
		}
		for _, field := range structure.Fields.List {
			var names []string
			for _, name := range field.Names {
				if name.IsExported() {
					names = append(names, name.Name)
				}
			}
			if len(names) > 0 && judgeDoc(names, field.Doc) != "" {
				out = append(out, names...)
			}
		}
	})
	return out
}
