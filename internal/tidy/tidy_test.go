package tidy

import (
	"fmt"
	"os"
	"sort"
	"strconv"
	"strings"
	"testing"
)

// ratchetBudget bounds the number of entries in ratchet.txt. It may only be lowered.
const ratchetBudget = 3

// rule is one habit of the project.
type rule struct {
	name string
	// why is printed when the rule is broken.
	why   string
	check func(t *tree) []finding
}

// rules is every rule, in the order in which they are checked.
var rules = []rule{
	{"layers", "edge -> replica -> disk -> core; server sees all; nobody sees server. A part that can see everything ends up needing everything.", checkLayers},
	{"dependencies", "a library that is named in few places can be replaced; raft, grpc and HTTP types must not leak through the code.", checkDependencies},
	{"dependency-record", "each library is code that somebody else changes; it is written down what it is for.", checkDependencyRecord},
	{"purity", "the core must be a function of its state and its entries, on every member, on every run, on replay.", checkPurity},
	{"map-order", "Go ranges over maps in random order; in the core that makes members differ.", checkMapOrder},
	{"function-length", "what does not fit on a screen is not read as a whole.", checkFunctionLength},
	{"file-length", "one main noun per file.", checkFileLength},
	{"parameters", "more than five parameters are a type that has not been named.", checkParameters},
	{"interface-size", "a large interface has one implementation and many liars.", checkInterfaceSize},
	{"methods", "a type with more methods is several types.", checkMethods},
	{"init", "work at import time has no order, no error and no owner.", checkInit},
	{"globals", "a mutable global is state that no owner stops, resets or guards.", checkGlobals},
	{"blank-import", "what registers itself cannot be found by reading, nor left out.", checkBlankImports},
	{"go-statements", "every goroutine has an owner that starts it in a Run or serve function and waits for it.", checkGoStatements},
	{"panic", "a panic without a named rule tells the operator nothing.", checkPanic},
	{"marks", "an unfinished thought belongs in an issue, where somebody sees it.", checkMarks},
	{"global-log", "a logger that is handed down can be read in a test and silenced in a tool.", checkGlobalLog},
	{"simulated-time", "the simulator steps these packages; time comes to them through internal/clock.", checkSimulatedTime},
	{"error-text", `an error is wrapped as "verb noun: cause"; a chain of "failed to" says nothing more.`, checkErrorText},
	{"package-name", "a name that fits everything collects everything.", checkPackageNames},
	{"format", "the layout of code is not a matter of taste: gofmt decides.", checkFormat},
	{"package-doc", "a reader must learn what a package is for before reading it.", checkPackageDocs},
	{"exported-doc", "what others may call has its contract written down.", checkExportedDocs},
	{"links", "a dead link costs the reader more than no link.", checkLinks},
	{"stands-alone", "the project is read without the machine that it was written on.", checkStandsAlone},
	{"commands", "a command is complete when its bytes are fixed, apply does it and the model agrees.", checkCommands},
}

// TestRules checks the rules on the project itself.
func TestRules(t *testing.T) {
	tree, err := load(os.DirFS("../.."))
	if err != nil {
		t.Fatal(err)
	}
	allowed, err := readRatchet("ratchet.txt")
	if err != nil {
		t.Fatal(err)
	}
	if len(allowed) > ratchetBudget {
		t.Errorf("ratchet.txt has %d entries, more than %d: it may only shrink", len(allowed), ratchetBudget)
	}
	for _, r := range rules {
		t.Run(r.name, func(t *testing.T) {
			for _, line := range report(r, r.check(tree), allowed) {
				t.Error(line)
			}
			if t.Failed() {
				t.Logf("why: %s", r.why)
			}
		})
	}
}

// exception is one line of the ratchet file: the value that a subject may not exceed, by rule
// and subject.
type exception struct{ rule, subject string }

// readRatchet reads the exceptions.
func readRatchet(name string) (map[exception]int, error) {
	text, err := os.ReadFile(name)
	if err != nil {
		return nil, err
	}
	allowed := map[exception]int{}
	for number, line := range strings.Split(string(text), "\n") {
		fields := strings.Fields(line)
		if len(fields) == 0 || strings.HasPrefix(line, "#") {
			continue
		}
		if len(fields) < 2 || len(fields) > 3 {
			return nil, fmt.Errorf("%s:%d: want rule, subject and perhaps a value", name, number+1)
		}
		value := 0
		if len(fields) == 3 {
			if value, err = strconv.Atoi(fields[2]); err != nil {
				return nil, fmt.Errorf("%s:%d: %w", name, number+1, err)
			}
		}
		allowed[exception{fields[0], fields[1]}] = value
	}
	return allowed, nil
}

// report turns the findings of a rule into lines for the reader, after taking out those that the
// ratchet allows; an exception that allows too much is reported too.
func report(r rule, found []finding, allowed map[exception]int) []string {
	var lines []string
	seen := map[string]int{}
	for _, f := range found {
		limit, ok := allowed[exception{r.name, f.subject}]
		if ok {
			seen[f.subject] = max(seen[f.subject], f.value)
		}
		if ok && f.value <= limit {
			continue
		}
		place := f.where
		if place == "" {
			place = f.subject
		}
		lines = append(lines, fmt.Sprintf("%s: %s", place, f.text))
	}
	for e, limit := range allowed {
		if e.rule != r.name {
			continue
		}
		value, ok := seen[e.subject]
		switch {
		case !ok:
			lines = append(lines, fmt.Sprintf("ratchet.txt: %s %s is no longer needed; remove the line", e.rule, e.subject))
		case value < limit:
			lines = append(lines, fmt.Sprintf("ratchet.txt: %s %s has come down to %d; lower the line", e.rule, e.subject, value))
		}
	}
	sort.Strings(lines)
	return lines
}
