package zkdifferential

import "slices"

// shrinkTriesMax bounds how often a script is run to make it smaller.
const shrinkTriesMax = 150

// shrinker makes a script smaller that shows a difference.
type shrinker struct {
	run   func(script) *difference
	tries int
	best  script
	found *difference
}

// shrink returns a smaller script that shows a difference too, and that difference. run compares both servers.
func shrink(sc script, d *difference, run func(script) *difference) (script, *difference) {
	s := &shrinker{run: run, best: sc, found: d}
	s.try(sc[:min(len(sc), d.step+1)])
	for before := -1; before != s.best.size() && s.tries < shrinkTriesMax; {
		before = s.best.size()
		s.steps()
		s.requests()
	}
	return s.best, s.found
}

// size counts what can be taken out.
func (s script) size() int {
	n := len(s) + s.ops()
	for i := range s {
		for j := range s[i].batch {
			n += len(s[i].batch[j].ops)
		}
	}
	return n
}

// try keeps a candidate that shows a difference.
func (s *shrinker) try(candidate script) bool {
	if s.tries >= shrinkTriesMax || candidate.size() >= s.best.size() {
		return false
	}
	s.tries++
	d := s.run(candidate)
	if d == nil {
		return false
	}
	s.best, s.found = slices.Clone(candidate[:min(len(candidate), d.step+1)]), d
	return true
}

// steps takes runs of steps out, long ones first.
func (s *shrinker) steps() {
	for n := len(s.best) / 2; n > 0; n /= 2 {
		for i := len(s.best) - n; i >= 0; i -= n {
			if i+n <= len(s.best) {
				s.try(slices.Delete(slices.Clone(s.best), i, i+n))
			}
		}
	}
}

// requests takes single requests out of batches, and operations out of multis.
func (s *shrinker) requests() {
	for i := len(s.best) - 1; i >= 0; i-- {
		for slot := range slots {
			if i < len(s.best) && len(s.best[i].parts[slot]) > 0 {
				next := slices.Clone(s.best)
				next[i].parts[slot] = nil
				s.try(next)
			}
		}
		for j := s.batchLen(i) - 1; j >= 0; j-- {
			if j >= s.batchLen(i) {
				continue
			}
			next := slices.Clone(s.best)
			next[i].batch = slices.Delete(slices.Clone(next[i].batch), j, j+1)
			if s.try(next) {
				continue
			}
			for k := len(s.best[i].batch[j].ops) - 1; k >= 0; k-- {
				next := slices.Clone(s.best)
				next[i].batch = slices.Clone(next[i].batch)
				next[i].batch[j].ops = slices.Delete(slices.Clone(next[i].batch[j].ops), k, k+1)
				s.try(next)
				if i >= len(s.best) || j >= s.batchLen(i) {
					break
				}
			}
		}
	}
}

func (s *shrinker) batchLen(i int) int {
	if i >= len(s.best) {
		return 0
	}
	return len(s.best[i].batch)
}
