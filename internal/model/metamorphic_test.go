package model

import (
	"errors"
	"io"
	"math/rand/v2"
	"testing"

	"github.com/okapi-kv/okapi/internal/core/command"
	"github.com/okapi-kv/okapi/internal/core/state"
)

// records is a snapshot in memory.
type records struct {
	kinds []uint8
	data  [][]byte
}

// Record implements state.Sink.
func (r *records) Record(kind uint8, data []byte) error {
	r.kinds = append(r.kinds, kind)
	r.data = append(r.data, append([]byte(nil), data...))
	return nil
}

// Next implements state.Source.
func (r *records) Next() (uint8, []byte, error) {
	if len(r.kinds) == 0 {
		return 0, nil, io.EOF
	}
	kind, data := r.kinds[0], r.data[0]
	r.kinds, r.data = r.kinds[1:], r.data[1:]
	return kind, data, nil
}

// reload returns a machine that went through a snapshot.
func reload(m *state.Machine) (*state.Machine, error) {
	var r records
	if err := m.Export(m.View(), &r); err != nil {
		return nil, err
	}
	loaded, err := state.Load(&r, 2)
	if err != nil {
		return nil, err
	}
	if loaded.Digest() != m.Digest() {
		return nil, errors.New("the loaded machine has another digest")
	}
	return loaded, nil
}

// TestSnapshotsInBetween plays scripts in which the machine is now and then replaced by one that was loaded
// from its snapshot. Results and reads, those of the past included, must go on as if nothing had been.
func TestSnapshotsInBetween(t *testing.T) {
	for i, mix := range mixes() {
		seed := uint64(100 + i)
		r := rand.New(rand.NewPCG(seed, 4))
		t.Run(mix.name, func(t *testing.T) {
			p := newPlayer()
			g := &generator{r: r, model: p.model, mix: mix}
			e := firstEntry(mix)
			for n := range 600 {
				if diff := p.play(&e); diff != "" {
					t.Fatalf("seed %d, entry %d: %s", seed, n, diff)
				}
				if g.oneIn(15) {
					loaded, err := reload(p.machine)
					if err != nil {
						t.Fatalf("seed %d, entry %d: %v", seed, n, err)
					}
					p.machine, p.pinned = loaded, nil
				}
				e = g.entry(&e, 8)
			}
		})
	}
}

// segment is a run of proposals of one term and time.
type segment struct {
	term      uint64
	timeMS    int64
	proposals []command.Proposal
}

// TestBatchesDoNotMatter applies the same proposals in other batches. Only the time and the term of a
// command tell it to which entry it belongs.
func TestBatchesDoNotMatter(t *testing.T) {
	for i, mix := range mixes() {
		mix.settings.TreeHistory = 1 << 40 // the floor moves by entries
		seed := uint64(200 + i)
		r := rand.New(rand.NewPCG(seed, 5))
		t.Run(mix.name, func(t *testing.T) {
			segments := drawSegments(r, mix, 300)
			digest, results, events := applySegments(segments, func() int { return 1 << 30 })
			for _, size := range []int{1, 2, 3, 7} {
				gotDigest, gotResults, gotEvents := applySegments(segments, func() int { return 1 + r.IntN(size) })
				if gotDigest != digest {
					t.Fatalf("seed %d: digest %x in batches of up to %d, want %x", seed, gotDigest, size, digest)
				}
				if diff := differ(results, gotResults); diff != "" {
					t.Fatalf("seed %d, batches of up to %d: results differ\n%s", seed, size, diff)
				}
				if diff := differ(events, gotEvents); diff != "" {
					t.Fatalf("seed %d, batches of up to %d: events differ\n%s", seed, size, diff)
				}
			}
		})
	}
}

// drawSegments draws proposals, which are complete.
func drawSegments(r *rand.Rand, mix mix, count int) []segment {
	p := newPlayer()
	g := &generator{r: r, model: p.model, mix: mix}
	e := firstEntry(mix)
	var out []segment
	for range count {
		s := segment{term: e.term, timeMS: e.timeMS}
		for range 1 + r.IntN(3) {
			s.proposals = append(s.proposals, p.fill(&e)...)
			p.index++
			p.term = max(p.term, e.term)
			p.model.Apply(p.index, p.term, e.timeMS, p.fill(&e))
			next := g.entry(&e, 8)
			next.term, next.timeMS = e.term, e.timeMS
			e = next
		}
		out = append(out, s)
		next := g.entry(&e, 8)
		e.term, e.timeMS = next.term, max(next.timeMS, e.timeMS)
	}
	return out
}

// applySegments applies proposals in batches of the sizes that it is told.
func applySegments(segments []segment, size func() int) (digest uint64, results []state.Result, events []state.Event) {
	const indexes = 1000 // a segment uses up this many indexes, so that all machines end at the same one
	m := state.Found(1, founders())
	var out state.Output
	for i, s := range segments {
		index, left := uint64(i*indexes), s.proposals
		for more := true; more; {
			n := min(size(), len(left))
			if index++; n == len(left) {
				index, more = uint64((i+1)*indexes), false
			}
			m.Apply(&state.Entry{Index: index, Term: s.term, Batch: command.Batch{Time: s.timeMS, Proposals: left[:n]}}, &out, nil)
			left = left[n:]
			results = append(results, out.Results...)
			events = append(events, out.Events...)
		}
	}
	return m.Digest(), results, events
}
