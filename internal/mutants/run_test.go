package mutants

import (
	"bufio"
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

// bench builds tests with mutants in them and runs them.
type bench struct {
	t *testing.T
	// clean holds what tests came to without any mutant, by checker: what fails anyway catches nothing.
	clean map[string]error
	dir   string
	// sim is the simulator without any mutant.
	sim string
}

// verdict is what came of one mutant.
type verdict struct {
	caught bool
	// how is what the checker said, or why it said nothing.
	how  string
	took time.Duration
	// seeds is, of the simulator, how many seeds each search took; one more than allowed if it found nothing.
	seeds []int
	// first is the seed by which the first search ended.
	first uint64
	// err says that the mutant proves nothing: it does not build, or its checker fails without it.
	err error
}

// median of the searches.
func (v *verdict) median() int {
	sorted := slices.Sorted(slices.Values(v.seeds))
	return sorted[len(sorted)/2]
}

// by says by what the mutant was caught.
func (v *verdict) by() string {
	switch len(v.seeds) {
	case 0:
		return "by its test"
	case 1:
		return fmt.Sprintf("by seed %d", v.first)
	}
	return fmt.Sprintf("by seed %d, median of %v seeds %d", v.first, v.seeds, v.median())
}

func newBench(t *testing.T) *bench {
	return &bench{t: t, clean: make(map[string]error), dir: t.TempDir()}
}

// simPackage is where the simulator is.
const simPackage = "./internal/sim"

// build builds the tests of a package with a mutant, or without if m is nil.
func (b *bench) build(m *mutant, pkg string) (binary string, err error) {
	binary = filepath.Join(b.dir, "clean")
	args := []string{"test", "-c", "-vet=off"}
	if m != nil {
		binary = filepath.Join(b.dir, "mutant")
		overlay, err := b.overlay(m)
		if err != nil {
			return "", err
		}
		args = append(args, "-overlay", overlay)
	}
	cmd := exec.Command("go", append(args, "-o", binary, pkg)...)
	cmd.Dir = root
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build %s: %w\n%s", pkg, err, out)
	}
	return binary, nil
}

// overlay writes down which files the compiler is to read from elsewhere, and these.
func (b *bench) overlay(m *mutant) (name string, err error) {
	files, err := m.apply()
	if err != nil {
		return "", err
	}
	replace := make(map[string]string)
	for file, text := range files {
		source, err := filepath.Abs(filepath.Join(root, file))
		if err != nil {
			return "", fmt.Errorf("place %s: %w", file, err)
		}
		changed := filepath.Join(b.dir, strings.ReplaceAll(file, "/", "_"))
		if err := os.WriteFile(changed, []byte(text), 0o600); err != nil {
			return "", fmt.Errorf("write mutant: %w", err)
		}
		replace[source] = changed
	}
	list, err := json.Marshal(map[string]any{"Replace": replace})
	if err != nil {
		return "", fmt.Errorf("write overlay: %w", err)
	}
	name = filepath.Join(b.dir, "overlay.json")
	return name, os.WriteFile(name, list, 0o600)
}

// run builds a mutant and looks whether its checker finds it.
func (b *bench) run(m *mutant) verdict {
	if m.pkg == "" {
		binary, err := b.build(m, simPackage)
		if err != nil {
			return verdict{err: err}
		}
		return b.search(func(first uint64) (search, error) { return b.seeds(binary, first, *seedsFlag) })
	}
	if err := b.runClean(m); err != nil {
		return verdict{err: err}
	}
	binary, err := b.build(m, m.pkg)
	if err != nil {
		return verdict{err: err}
	}
	start := time.Now()
	out, err := b.test(binary, m)
	v := verdict{took: since(start)}
	var exit *exec.ExitError
	switch {
	case err == nil:
		v.how = "all passes: " + m.checker()
	case errors.As(err, &exit):
		v.caught, v.how = true, failureIn(out)
	default:
		v.err = err
	}
	return v
}

// runClean runs the tests that must find a mutant on the source as it is.
func (b *bench) runClean(m *mutant) error {
	if err, done := b.clean[m.checker()]; done {
		return err
	}
	binary, err := b.build(nil, m.pkg)
	if err != nil {
		return err
	}
	out, err := b.test(binary, m)
	switch {
	case err != nil:
		err = fmt.Errorf("%s fails without the mutant: %w: %s", m.checker(), err, failureIn(out))
	case !strings.Contains(out, "--- PASS: "):
		err = fmt.Errorf("%s: %w", m.checker(), errNoTest)
	}
	b.clean[m.checker()] = err
	return err
}

var errNoTest = errors.New("no such test")

// testPatience is how long tests may take that end in seconds without a mutant.
const testPatience = 3 * time.Minute

// test runs the tests of a package that must find a mutant.
func (b *bench) test(binary string, m *mutant) (out string, err error) {
	args := []string{"-test.v", "-test.failfast", "-test.run=^(" + m.tests + ")$", fmt.Sprintf("-test.timeout=%v", testPatience)}
	if usesRapid(m.pkg) {
		args = append(args, "-rapid.nofailfile", "-rapid.shrinktime=1s") // what fails here is neither kept nor read
	}
	cmd := exec.Command(binary, args...)
	cmd.Dir = filepath.Join(root, m.pkg)
	all, err := cmd.CombinedOutput()
	return string(all), err
}

// usesRapid tells whether tests of a package are properties, and so know rapid's flags.
func usesRapid(pkg string) bool {
	files, _ := filepath.Glob(filepath.Join(root, pkg, "*_test.go")) // the pattern is a good one
	return slices.ContainsFunc(files, func(file string) bool {
		text, err := os.ReadFile(file)
		return err == nil && bytes.Contains(text, []byte(`"pgregory.net/rapid"`))
	})
}

// firstStep is how far the searches for one mutant begin from each other.
const firstStep = 10_000

// search is what came of looking through seeds.
type search struct {
	seed uint64 // that found it; 0: none did
	how  string
}

// search looks for a mutant as often as asked. It is caught if more than half of the searches find it: if their median lies
// within what one may take.
func (b *bench) search(look func(first uint64) (search, error)) (v verdict) {
	start := time.Now()
	for i := range *repeatFlag {
		first := uint64(i*firstStep + 1)
		s, err := look(first)
		if err == nil && s.seed != 0 {
			err = b.passes(s.seed)
		}
		if err != nil {
			return verdict{err: err}
		}
		took := *seedsFlag + 1
		if s.seed != 0 {
			took = int(s.seed-first) + 1
		}
		if v.seeds = append(v.seeds, took); v.how == "" {
			v.how, v.first = s.how, s.seed
		}
	}
	v.took = since(start)
	if v.caught = v.median() <= *seedsFlag; !v.caught {
		v.how = fmt.Sprintf("not in %d seeds (searches took %v)", *seedsFlag, v.seeds)
	}
	return v
}

// passes checks that a seed that found a mutant finds nothing without it.
func (b *bench) passes(seed uint64) error {
	if b.sim == "" {
		built, err := b.build(nil, simPackage)
		if err != nil {
			return err
		}
		b.sim = filepath.Join(b.dir, "sim")
		if err := os.Rename(built, b.sim); err != nil {
			return fmt.Errorf("keep the simulator: %w", err)
		}
	}
	s, err := b.seeds(b.sim, seed, 1)
	if err == nil && s.seed != 0 {
		err = fmt.Errorf("seed %d: %w: %s", seed, errFailsAnyway, s.how)
	}
	return err
}

var errFailsAnyway = errors.New("it fails without the mutant too")

var (
	seedBegins = regexp.MustCompile(`^=== RUN +TestSeeds/seed(\d+)`)
	seedFails  = regexp.MustCompile(`seed (\d+)(: .*| is not deterministic)$`)
	bugCaught  = regexp.MustCompile(`caught by seed (\d+): (.*)$`)
)

// seeds runs seeds up to the first that breaks a promise, or ends the process.
func (b *bench) seeds(binary string, first uint64, most int) (s search, err error) {
	under := uint64(0)
	seed := func(text string) uint64 {
		n, _ := strconv.ParseUint(text, 10, 64) // digits
		return n
	}
	err = b.watch(binary, []string{
		"-test.run=^TestSeeds$", fmt.Sprintf("-sim.first=%d", first), fmt.Sprintf("-sim.seeds=%d", most),
	}, func(line string) (done bool) {
		if begins := seedBegins.FindStringSubmatch(line); begins != nil {
			under = seed(begins[1])
		}
		if fails := seedFails.FindStringSubmatch(line); fails != nil {
			s = search{seed(fails[1]), strings.TrimPrefix(fails[2], ": ")}
		} else if strings.HasPrefix(line, "panic: ") || strings.HasPrefix(line, "fatal error: ") {
			s = search{under, line}
		}
		return s.seed != 0
	})
	return s, err
}

// planted has the simulator look for a bug that is planted in itself.
func (b *bench) planted(name string) verdict {
	if err := b.passes(1); err != nil {
		return verdict{err: err}
	}
	return b.search(func(first uint64) (s search, err error) {
		err = b.watch(b.sim, []string{
			"-test.run=^TestPlantedBugs$/^" + name + "$", fmt.Sprintf("-sim.first=%d", first),
		}, func(line string) bool {
			if caught := bugCaught.FindStringSubmatch(line); caught != nil {
				s.seed, _ = strconv.ParseUint(caught[1], 10, 64) // digits
				s.how = caught[2]
			}
			return s.seed != 0
		})
		return s, err
	})
}

// watch runs the simulator and shows each line that it prints to look, until that has seen enough.
func (b *bench) watch(binary string, args []string, look func(line string) (done bool)) error {
	cmd := exec.Command(binary, append([]string{"-test.v", "-test.timeout=1h"}, args...)...)
	cmd.Dir = filepath.Join(root, simPackage)
	r, w := io.Pipe()
	cmd.Stdout, cmd.Stderr = w, w
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("run the simulator: %w", err)
	}
	ended := make(chan error, 1)
	b.runWait(cmd, w, ended)
	lines, done := bufio.NewScanner(r), false
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		if !done && look(lines.Text()) {
			done = true
			_ = cmd.Process.Kill() // it has said what it knows
		}
	}
	_, _ = io.Copy(io.Discard, r)
	if err := <-ended; err != nil && !done {
		return fmt.Errorf("run the simulator: %w, and no line of it says why", err)
	}
	return nil
}

// runWait waits for a command, ends what it prints, and says so.
func (b *bench) runWait(cmd *exec.Cmd, w io.Closer, ended chan<- error) {
	go func() {
		err := cmd.Wait()
		_ = w.Close()
		ended <- err
	}()
}

// failureIn finds the first thing that the first test that failed has said.
func failureIn(out string) string {
	why := ""
	for line := range strings.SplitSeq(out, "\n") {
		line = strings.TrimSpace(line)
		switch {
		case strings.HasPrefix(line, "panic: "), strings.HasPrefix(line, "fatal error: "):
			return shortened(line)
		case strings.HasPrefix(line, "=== RUN "), strings.HasPrefix(line, "--- PASS: "):
			why = "" // what was said before was of a test that passed, or of what stands around this one
		case strings.HasPrefix(line, "--- FAIL: "):
			return shortened(cmp.Or(why, line))
		case why == "" && testLine.MatchString(line):
			why = line
		}
	}
	return shortened(why)
}

// testLine is what a test says.
var testLine = regexp.MustCompile(`^[a-z0-9_]+_test\.go:\d+: `)

// shortened cuts a line that is too long to be read.
func shortened(line string) string {
	const most = 200
	if len(line) > most {
		return line[:most] + "…"
	}
	return line
}

// since is the time that has passed, in whole seconds.
func since(start time.Time) time.Duration { return time.Since(start).Round(time.Second) }
