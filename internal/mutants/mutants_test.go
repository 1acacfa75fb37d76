package mutants

import (
	"flag"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/okapi-kv/okapi/internal/sim"
)

var (
	update     = flag.Bool("update", false, "write docs/internals/mutants.md anew")
	runFlag    = flag.Bool("mutants.run", false, "build every mutant and see it caught")
	onlyFlag   = flag.String("mutants.only", "", "a pattern of the names of the mutants to run, of those planted in the simulator too")
	seedsFlag  = flag.Int("mutants.seeds", 400, "how many seeds the simulator may take to catch a mutant")
	repeatFlag = flag.Int("mutants.repeat", 1, "from how many first seeds each is looked for")
)

// TestApply checks that every mutant still is a change of the present source.
func TestApply(t *testing.T) {
	all, err := readAll()
	if err != nil {
		t.Fatal(err)
	}
	if len(all) < 20 {
		t.Errorf("only %d mutants in test/mutants", len(all))
	}
	for _, m := range all {
		if _, err := m.apply(); err != nil {
			t.Errorf("test/mutants/%s.mutant: %v\nThe source has changed under this mutant. Write the same defect into the new source, "+
				"or, if the defect is not possible any more, remove the file. Then: make mutants ONLY=%s", m.name, err, m.name)
		}
	}
}

// TestParse checks what is a mutant and what is not.
func TestParse(t *testing.T) {
	const head = "breaks: it\npromise: that\n"
	m, err := parse("m", head+"caught by: ./internal/wal TestModel|TestEvery.*\n\n--- a.go\n\told()\n+++\n\tnew()\n\n--- b.go\nx\ny\n+++\n")
	if err != nil {
		t.Fatal(err)
	}
	want := &mutant{
		name: "m", breaks: "it", promise: "that", pkg: "./internal/wal", tests: "TestModel|TestEvery.*",
		changes: []change{{"a.go", "\told()\n", "\tnew()\n"}, {"b.go", "x\ny\n", ""}},
	}
	if diff := cmp.Diff(want, m, cmp.AllowUnexported(mutant{}, change{})); diff != "" {
		t.Error(diff)
	}
	for _, bad := range []string{
		"", head, head + "caught by: sim\n", head + "caught by: sim\n\n--- a.go\nold\n", head + "caught by: luck\n\n--- a.go\nold\n+++\n",
		"promise: that\nbreaks: it\ncaught by: sim\n\n--- a.go\nold\n+++\n", head + "caught by: sim\nmore: x\n\n--- a.go\nold\n+++\n",
	} {
		if _, err := parse("m", bad); err == nil {
			t.Errorf("this passes for a mutant:\n%s", bad)
		}
	}
}

// TestChange checks that a change is made only where its text stands once, in whole lines.
func TestChange(t *testing.T) {
	for _, c := range []struct{ text, before, after, want string }{
		{"a\nb\nc\n", "b\n", "x\ny\n", "a\nx\ny\nc\n"},
		{"a\nb\nc\n", "a\nb\n", "", "c\n"},
		{"a\nb\nb\n", "b\n", "x\n", ""},
		{"a\nxb\n", "b\n", "x\n", ""},
		{"a\nbx\n", "b\n", "x\n", ""},
		{"a\nb\n", "b\n", "b\n", ""},
	} {
		got, err := (&change{before: c.before, after: c.after}).apply(c.text)
		if got != c.want || (err != nil) != (c.want == "") {
			t.Errorf("%q with %q for %q: %q, %v; want %q", c.text, c.after, c.before, got, err, c.want)
		}
	}
}

const tableFile = "docs/internals/mutants.md"

// TestTable keeps the table in the documentation equal to the mutants; with -update it writes it.
func TestTable(t *testing.T) {
	all, err := readAll()
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(root, tableFile)
	if *update {
		if err := os.WriteFile(file, []byte(table(all)), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	have, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(table(all), string(have)); diff != "" {
		t.Errorf("%s does not match test/mutants: go generate ./internal/mutants (-want +got):\n%s", tableFile, diff)
	}
}

// table is the page of the documentation.
func table(all []*mutant) string {
	var b strings.Builder
	fmt.Fprintf(&b, `# Mutants

<!-- Made by go generate ./internal/mutants from test/mutants. Changes here are lost. -->

A checker that finds no defect proves something only if it finds one that is there. So there are %d defects that are made on
purpose, each in the code that runs in production, and %d more that are planted in the simulator itself (`+"`internal/sim/config.go`"+`).
`+"`make mutants`"+` builds each and sees it caught; `+"`make show-proof-2`"+` also prints how many seeds that takes. A defect that the simulator
must find breaks a rule of the member, its log, its snapshots or its state; one that a test of a single package must find lies where the
simulator does not go, or never matters there. How to add one: [CONTRIBUTING.md](../../CONTRIBUTING.md#adding-a-mutant).

| mutant | what it does | what it breaks | caught by |
|---|---|---|---|
`, len(all), len(sim.Bugs))
	for _, m := range all {
		by := "the simulator"
		if m.pkg != "" {
			by = fmt.Sprintf("`%s`: %s", m.pkg, strings.ReplaceAll(m.tests, "|", ", "))
		}
		fmt.Fprintf(&b, "| [%s](../../test/mutants/%s.mutant) | %s | %s | %s |\n", m.name, m.name, m.breaks, m.promise, by)
	}
	return b.String()
}

// TestMutants builds every mutant and sees it caught by the checker that it names.
func TestMutants(t *testing.T) {
	if !*runFlag {
		t.Skip("make mutants")
	}
	all, err := readAll()
	if err != nil {
		t.Fatal(err)
	}
	only, err := regexp.Compile("^(" + *onlyFlag + ")$")
	if err != nil {
		t.Fatal(err)
	}
	b := newBench(t)
	var found []verdict
	for _, name := range slices.Sorted(maps.Keys(sim.Bugs)) {
		if *onlyFlag == "" || only.MatchString(name) {
			found = append(found, report(t, name, b.planted(name)))
		}
	}
	for _, m := range all {
		if *onlyFlag == "" || only.MatchString(m.name) {
			found = append(found, report(t, m.name, b.run(m)))
		}
	}
	if len(found) == 0 {
		t.Fatalf("there is no mutant %q", *onlyFlag)
	}
	caught := len(slices.DeleteFunc(slices.Clone(found), func(v verdict) bool { return !v.caught }))
	t.Logf("caught %d of %d", caught, len(found))
	if seeds := mediansOf(found); len(seeds) > 0 {
		t.Logf("the simulator caught %d of them: in the median by seed %d, the rarest by seed %d (medians of %d searches each, from different first seeds)",
			len(seeds), seeds[len(seeds)/2], seeds[len(seeds)-1], *repeatFlag)
	}
}

// report prints what came of one mutant. It fails the test unless the mutant was caught.
func report(t *testing.T, name string, v verdict) verdict {
	t.Helper()
	switch {
	case v.err != nil:
		t.Errorf("BROKEN  %s: %v", name, v.err)
	case !v.caught:
		t.Errorf("MISSED  %s after %s: %s", name, v.took, v.how)
	default:
		t.Logf("caught  %-36s %s (%s): %s", name, v.by(), v.took, v.how)
	}
	return v
}

// mediansOf are the medians of what the simulator caught, sorted.
func mediansOf(all []verdict) (seeds []int) {
	for _, v := range all {
		if v.caught && len(v.seeds) > 0 {
			seeds = append(seeds, v.median())
		}
	}
	slices.Sort(seeds)
	return seeds
}
