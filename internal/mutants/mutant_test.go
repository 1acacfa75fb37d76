package mutants

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// root is the root of the project.
const root = "../.."

// mutant is one defect that is made on purpose, as its file describes it.
type mutant struct {
	name string
	// breaks says what it does, promise what it breaks.
	breaks, promise string
	// pkg is the package whose tests must find it, and tests the pattern of their names; pkg is empty for the simulator.
	pkg, tests string
	changes    []change
}

// change is one text of a file and what stands in its place; both are whole lines.
type change struct{ file, before, after string }

// simulator is how a mutant names the simulator, running seeds, as the one that must find it.
const simulator = "sim"

// checker names who must find the mutant.
func (m *mutant) checker() string {
	if m.pkg == "" {
		return simulator
	}
	return m.pkg + " " + m.tests
}

var errForm = errors.New("not the form of a mutant: see CONTRIBUTING.md")

// The lines that begin a change and divide it.
const (
	beginMark  = "--- "
	divideMark = "+++"
)

// parse reads a mutant: a head of three lines, each with its name, and then the changes.
func parse(name, text string) (*mutant, error) {
	m := &mutant{name: name}
	head, rest, found := strings.Cut(text, "\n"+beginMark)
	if !found {
		return nil, fmt.Errorf("find the first change of %s: %w", name, errForm)
	}
	var checker string
	lines := strings.Split(strings.TrimSpace(head), "\n")
	for i, field := range []struct {
		key string
		to  *string
	}{{"breaks: ", &m.breaks}, {"promise: ", &m.promise}, {"caught by: ", &checker}} {
		value, ok := "", false
		if i < len(lines) {
			value, ok = strings.CutPrefix(lines[i], field.key)
		}
		if *field.to = value; !ok || value == "" || len(lines) != 3 {
			return nil, fmt.Errorf("read %q of %s: %w", field.key, name, errForm)
		}
	}
	if checker != simulator {
		var ok bool
		if m.pkg, m.tests, ok = strings.Cut(checker, " "); !ok || !strings.HasPrefix(m.pkg, "./") {
			return nil, fmt.Errorf("read who catches %s: %w", name, errForm)
		}
	}
	for part := range strings.SplitSeq(rest, "\n"+beginMark) {
		file, body, ok := strings.Cut(part, "\n")
		before, after, divided := strings.Cut("\n"+body, "\n"+divideMark+"\n")
		if !ok || !divided {
			return nil, fmt.Errorf("read the change of %s in %s: %w", file, name, errForm)
		}
		before, after = strings.TrimPrefix(before, "\n")+"\n", strings.TrimRight(after, "\n")+"\n"
		if after == "\n" {
			after = ""
		}
		m.changes = append(m.changes, change{file, before, after})
	}
	return m, nil
}

// readAll reads all mutants, by name.
func readAll() ([]*mutant, error) {
	files, err := filepath.Glob(filepath.Join(root, "test/mutants/*.mutant"))
	if err != nil {
		return nil, fmt.Errorf("list mutants: %w", err)
	}
	slices.Sort(files)
	var all []*mutant
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			return nil, fmt.Errorf("read mutant: %w", err)
		}
		m, err := parse(strings.TrimSuffix(filepath.Base(file), ".mutant"), string(text))
		if err != nil {
			return nil, err
		}
		all = append(all, m)
	}
	return all, nil
}

// apply returns the files that the mutant changes, with their new text.
func (m *mutant) apply() (map[string]string, error) {
	files := make(map[string]string)
	for _, c := range m.changes {
		text, changed := files[c.file]
		if !changed {
			b, err := os.ReadFile(filepath.Join(root, c.file))
			if err != nil {
				return nil, fmt.Errorf("read source: %w", err)
			}
			text = string(b)
		}
		next, err := c.apply(text)
		if err != nil {
			return nil, fmt.Errorf("change %s: %w", c.file, err)
		}
		files[c.file] = next
	}
	return files, nil
}

// apply makes the change in the text of a file.
func (c *change) apply(text string) (string, error) {
	// A line break in front, so that the text is found at the beginning of a line alone.
	text, before := "\n"+text, "\n"+c.before
	n := 0
	for i := range text { // not strings.Count: two of them may share the line break between them
		if strings.HasPrefix(text[i:], before) {
			n++
		}
	}
	switch {
	case c.before == c.after:
		return "", errors.New("the new text is the old one")
	case n != 1:
		return "", fmt.Errorf("the old text is there %d times, not once:\n%s", n, c.before)
	}
	return strings.Replace(text, before, "\n"+c.after, 1)[1:], nil
}
