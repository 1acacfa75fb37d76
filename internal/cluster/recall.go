package cluster

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"path"
	"slices"
	"strings"
	"sync"
)

// The members of a cluster rely on what each of them has promised: votes given, entries stored. A member that comes back with
// an empty directory, or an old copy of its own, has forgotten some of it and would break its word without knowing. It cannot
// find out by itself, but whoever relied on it can: each member remembers, durably and before it takes the first
// frame, with which directory each other one came, and how often that had been started from it.
const (
	startsFile  = "okapi.starts"
	startsTitle = "okapi starts"
	recallFile  = "okapi.peers"
	recallTitle = "okapi peers"
	// recallBytesMax is enough for some ten thousand members.
	recallBytesMax = 1 << 20
)

// ErrForgetful says that a member has come without what it once had.
var ErrForgetful = errors.New("the member comes with another data directory than before, or with an older state of it")

// drawBits are the low bits of a count of starts, which are drawn at random for each.
const drawBits = 24

// plainStartsMax is how many starts of the first release, which counts without drawing, may follow one that was drawn. An older copy
// passes for such a start in 100 of 2^24 cases.
const plainStartsMax = 100

// CountStart counts one more start of a member from this directory, durably, and returns the count: how many there were, this one
// included, and below that some bits of draw, which is random. An older copy of the directory that is started
// comes to the same number as the start that it has forgotten, and is told from it by these bits.
func (d Directory) CountStart(draw uint64) (starts uint64, err error) {
	lines, err := d.readLines(startsFile, startsTitle)
	if err != nil {
		return 0, err
	}
	if len(lines) > 0 {
		if _, err := fmt.Sscanf(lines[0], "starts %d", &starts); err != nil {
			return 0, &CorruptError{Path: path.Join(d.Path, startsFile), Reason: errLines}
		}
	}
	starts = (starts>>drawBits+1)<<drawBits | draw&(1<<drawBits-1)
	return starts, d.writeLines(startsFile, startsTitle, []string{fmt.Sprintf("starts %d", starts)})
}

// sighting is how a member last came.
type sighting struct{ directory, starts uint64 }

// Recall is what a member remembers of the data directories of the others. It is safe for concurrent use.
type Recall struct {
	dir Directory

	mu   sync.Mutex
	seen map[uint64]sighting
}

// OpenRecall reads what the directory's member remembers.
func (d Directory) OpenRecall() (*Recall, error) {
	lines, err := d.readLines(recallFile, recallTitle)
	if err != nil {
		return nil, err
	}
	r := &Recall{dir: d, seen: make(map[uint64]sighting)}
	for _, line := range lines {
		var id uint64
		var s sighting
		if _, err := fmt.Sscanf(line, "member %x directory %x starts %d", &id, &s.directory, &s.starts); err != nil {
			return nil, &CorruptError{Path: path.Join(d.Path, recallFile), Reason: errLines}
		}
		r.seen[id] = s
	}
	return r, nil
}

// forgot tells whether a member that comes with now has forgotten that it came with s: a link that breaks is made again
// with the same count, so the same number of starts is right only with the same draw. The first release, which can be put
// back, adds one to whatever it finds.
func (s sighting) forgot(now sighting) bool {
	before, number := s.starts>>drawBits, now.starts>>drawBits
	switch {
	case now.directory != s.directory || now.starts < s.starts:
		return true
	case before == 0 || number > before:
		return false
	}
	return now.starts-s.starts > plainStartsMax
}

// Recognize returns nil if a member may be relied on that comes with this directory and this count of its starts from
// it; from then on it is remembered. ErrForgetful refuses it. Any other error is of the disk.
func (r *Recall) Recognize(member, directory, starts uint64) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	was, known := r.seen[member]
	now := sighting{directory, starts}
	switch {
	case known && was.forgot(now):
		return ErrForgetful
	case was == now:
		return nil
	}
	next := maps.Clone(r.seen)
	next[member] = now
	return r.keep(next)
}

// Forget drops what is remembered of members that do not belong to the cluster any more.
func (r *Recall) Forget(belongs func(member uint64) bool) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	next := maps.Clone(r.seen)
	maps.DeleteFunc(next, func(id uint64, _ sighting) bool { return !belongs(id) })
	if len(next) == len(r.seen) {
		return nil
	}
	return r.keep(next)
}

// keep writes down what is to be remembered.
func (r *Recall) keep(next map[uint64]sighting) error {
	var lines []string
	for _, id := range slices.Sorted(maps.Keys(next)) {
		lines = append(lines, fmt.Sprintf("member %016x directory %016x starts %d", id, next[id].directory, next[id].starts))
	}
	if err := r.dir.writeLines(recallFile, recallTitle, lines); err != nil {
		return err
	}
	r.seen = next
	return nil
}

// writeLines writes a small file of text with a title and a checksum.
func (d Directory) writeLines(name, title string, lines []string) error {
	text := strings.Join(append([]string{title}, lines...), "\n") + "\n"
	return d.replace(name, fmt.Sprintf("%scrc32c %08x\n", text, checksum(text)))
}

// readLines reads what writeLines wrote; nil if the file is not there.
func (d Directory) readLines(name, title string) ([]string, error) {
	full := path.Join(d.Path, name)
	text, err := d.read(full, recallBytesMax)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, &CorruptError{Path: full, Reason: err}
	}
	covered, sum, found := strings.Cut(text, "crc32c ")
	if !found || sum != fmt.Sprintf("%08x\n", checksum(covered)) {
		return nil, &CorruptError{Path: full, Reason: errChecksum}
	}
	lines := strings.Split(strings.TrimSuffix(covered, "\n"), "\n")
	if lines[0] != title {
		return nil, &CorruptError{Path: full, Reason: errLines}
	}
	return lines[1:], nil
}
