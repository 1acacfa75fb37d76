package tidy

import (
	"fmt"
	"go/ast"
	"go/token"
	"io/fs"
	"net/url"
	"path"
	"regexp"
	"slices"
	"strings"
	"unicode"
)

// thorough are the packages whose doc has to say more than one thing.
var thorough = []string{
	"internal/core/command", "internal/core/mvcc", "internal/core/state", "internal/core/watch",
	"internal/replica", "internal/wal", "internal/zk", "internal/etcd",
}

// minSentences is what the doc of a thorough package has at least.
const minSentences = 3

var sentenceEnd = regexp.MustCompile(`[.!?](\s|$)`)

// checkPackageDocs wants one comment that begins "Package name" in each package, and "Command name"
// in each command. Packages that consist of tests alone are read through their tests.
func checkPackageDocs(t *tree) []finding {
	var out []finding
	dirs, order := byDir(t.code())
	for _, dir := range order {
		var doc string
		for _, f := range dirs[dir] {
			if f.syntax.Doc != nil {
				doc += f.syntax.Doc.Text()
			}
		}
		want := "Package " + dirs[dir][0].syntax.Name.Name + " "
		if dirs[dir][0].syntax.Name.Name == "main" {
			want = "Command " + path.Base(dir) + " "
		}
		switch {
		case doc == "":
			out = append(out, finding{subject: dir, text: "package has no doc"})
		case !strings.HasPrefix(strings.ReplaceAll(doc, "\n", " "), want):
			out = append(out, finding{subject: dir, text: fmt.Sprintf("package doc does not begin with %q, or there are two", want)})
		case slices.Contains(thorough, dir) && len(sentenceEnd.FindAllString(doc, -1)) < minSentences:
			out = append(out, finding{subject: dir, text: fmt.Sprintf("package doc has fewer than %d sentences", minSentences)})
		}
	}
	return out
}

// checkExportedDocs wants a doc on everything exported: beginning with the name, ending with a
// full stop. In a parenthesised group the doc of the group is enough, except for types.
func checkExportedDocs(t *tree) []finding {
	var out []finding
	judge := func(f *file, pos token.Pos, names []string, doc *ast.CommentGroup) {
		if text := judgeDoc(names, doc); text != "" {
			out = append(out, finding{subject: f.dir + "." + names[0], where: t.at(pos), text: text})
		}
	}
	funcs(t.code(), func(f *file, fn *ast.FuncDecl) {
		receiver := receiverType(fn)
		if fn.Name.IsExported() && (fn.Recv == nil || token.IsExported(receiver)) {
			judge(f, fn.Pos(), []string{fn.Name.Name}, fn.Doc)
		}
	})
	types(t.code(), func(f *file, spec *ast.TypeSpec, doc *ast.CommentGroup) {
		if spec.Name.IsExported() {
			judge(f, spec.Pos(), []string{spec.Name.Name}, doc)
		}
	})
	for _, f := range t.code() {
		for _, decl := range f.syntax.Decls {
			gen, ok := decl.(*ast.GenDecl)
			if !ok || (gen.Tok != token.CONST && gen.Tok != token.VAR) {
				continue
			}
			if gen.Lparen.IsValid() && gen.Doc != nil && !endsWell(gen.Doc) {
				out = append(out, finding{subject: f.path, where: t.at(gen.Pos()), text: "doc of the group does not end with a full stop"})
			}
			for _, spec := range gen.Specs {
				values := spec.(*ast.ValueSpec)
				names := exportedNames(values)
				doc, inGroup := values.Doc, gen.Lparen.IsValid()
				if !inGroup {
					doc = gen.Doc
				}
				if len(names) > 0 && (doc != nil || !inGroup || gen.Doc == nil) {
					judge(f, values.Pos(), names, doc)
				}
			}
		}
	}
	return out
}

func exportedNames(spec *ast.ValueSpec) []string {
	var names []string
	for _, name := range spec.Names {
		if name.IsExported() {
			names = append(names, name.Name)
		}
	}
	return names
}

// judgeDoc says what is wrong with the doc of something with one of the names, or "".
func judgeDoc(names []string, doc *ast.CommentGroup) string {
	if doc == nil || strings.TrimSpace(doc.Text()) == "" {
		return names[0] + " has no doc"
	}
	text := doc.Text()
	starts := slices.ContainsFunc(names, func(name string) bool {
		rest, ok := strings.CutPrefix(text, name)
		return ok && (rest == "" || !isWordRune(rune(rest[0])))
	})
	if !starts {
		return fmt.Sprintf("doc of %s does not begin with the name", names[0])
	}
	if !endsWell(doc) {
		return fmt.Sprintf("doc of %s does not end with a full stop", names[0])
	}
	return ""
}

func isWordRune(r rune) bool { return r == '_' || unicode.IsLetter(r) || unicode.IsDigit(r) }

// endsWell reports whether the last line ends with a full stop; an indented example may stand
// last, and lines for the rules ("tidy: …") do not count.
func endsWell(doc *ast.CommentGroup) bool {
	lines := strings.Split(strings.TrimRight(doc.Text(), "\n"), "\n")
	for len(lines) > 1 && strings.HasPrefix(lines[len(lines)-1], "tidy: ") {
		lines = lines[:len(lines)-1]
	}
	last := strings.TrimRight(lines[len(lines)-1], " ")
	return strings.HasSuffix(last, ".") || strings.HasPrefix(last, "\t") || strings.HasPrefix(last, "  ")
}

// link matches an inline link or image of Markdown; the first group is the target.
var link = regexp.MustCompile(`\]\(\s*<?([^)\s>]+)>?(?:\s+"[^"]*")?\s*\)`)

// checkLinks follows the links between the project's own files, anchors included.
func checkLinks(t *tree) []finding {
	var out []finding
	for _, name := range t.texts {
		if path.Ext(name) != ".md" {
			continue
		}
		text, err := fs.ReadFile(t.fsys, name)
		if err != nil {
			continue
		}
		for number, line := range withoutFences(string(text)) {
			for _, match := range link.FindAllStringSubmatch(line, -1) {
				if problem := t.follow(name, match[1]); problem != "" {
					out = append(out, finding{
						subject: name + "->" + match[1], where: fmt.Sprintf("%s:%d", name, number+1),
						text: "link to " + match[1] + ": " + problem,
					})
				}
			}
		}
	}
	return out
}

// withoutFences returns the lines of a Markdown text, those of code blocks emptied and code in
// line taken out.
func withoutFences(text string) []string {
	lines := strings.Split(text, "\n")
	fenced := false
	for i, line := range lines {
		if strings.HasPrefix(strings.TrimSpace(line), "```") {
			fenced = !fenced
			lines[i] = ""
		} else if fenced {
			lines[i] = ""
		} else {
			lines[i] = codeSpan.ReplaceAllString(line, "code")
		}
	}
	return lines
}

var codeSpan = regexp.MustCompile("`[^`]*`")

// follow says why a link in the file from leads nowhere, or "".
func (t *tree) follow(from, target string) string {
	u, err := url.Parse(target)
	if err != nil {
		return err.Error()
	}
	if u.Scheme != "" {
		return ""
	}
	to := from
	if u.Path != "" {
		to = path.Join(path.Dir(from), u.Path)
	}
	info, err := fs.Stat(t.fsys, to)
	if err != nil {
		return "no such file"
	}
	if u.Fragment == "" || info.IsDir() || path.Ext(to) != ".md" {
		return ""
	}
	text, err := fs.ReadFile(t.fsys, to)
	if err != nil {
		return err.Error()
	}
	if !slices.Contains(anchors(string(text)), u.Fragment) {
		return "no heading with this anchor"
	}
	return ""
}

// anchors returns the anchors that the headings of a Markdown text have when it is shown.
func anchors(text string) []string {
	var out []string
	seen := map[string]int{}
	fenced := false
	for _, line := range strings.Split(text, "\n") {
		if strings.HasPrefix(strings.TrimSpace(line), "```") {
			fenced = !fenced
		}
		title := strings.TrimLeft(line, "#")
		if fenced || title == line || !strings.HasPrefix(title, " ") {
			continue
		}
		anchor := strings.Map(func(r rune) rune {
			switch {
			case r == ' ' || r == '-':
				return '-'
			case isWordRune(r):
				return unicode.ToLower(r)
			}
			return -1
		}, strings.TrimSpace(title))
		if n := seen[anchor]; n > 0 {
			out = append(out, fmt.Sprintf("%s-%d", anchor, n))
		} else {
			out = append(out, anchor)
		}
		seen[anchor]++
	}
	return out
}

// strangers are places outside the project that its text must not point at; they are put together
// so that they do not match themselves.
var strangers = []string{".." + "/shared", "/work" + "/main", "/work" + "/shared", "/tmp" + "/brief"}

func checkStandsAlone(t *tree) []finding {
	var out []finding
	judge := func(name string, text string) {
		for _, stranger := range strangers {
			if i := strings.Index(text, stranger); i >= 0 {
				line := 1 + strings.Count(text[:i], "\n")
				out = append(out, finding{subject: name, where: fmt.Sprintf("%s:%d", name, line), text: "mentions " + stranger})
			}
		}
	}
	for _, f := range t.files {
		judge(f.path, string(f.source))
	}
	for _, name := range t.texts {
		if text, err := fs.ReadFile(t.fsys, name); err == nil {
			judge(name, string(text))
		}
	}
	return out
}
