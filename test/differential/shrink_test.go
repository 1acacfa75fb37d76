package differential

import (
	"slices"
)

// shrink makes a script that shows a difference smaller: it leaves out steps as long as some difference stays.
// try runs a script and returns its difference; it is called at most budget times.
func shrink(s script, first *difference, budget int, try func(script) *difference) (script, *difference) {
	if at := slices.Index(s.steps, first.step); at >= 0 {
		s.steps = s.steps[:at+1]
	}
	for size := (len(s.steps) + 1) / 2; size > 0 && budget > 0; {
		removed := false
		for from := len(s.steps); from > 0 && budget > 0; from -= size {
			begin := max(0, from-size)
			smaller := script{seed: s.seed, steps: slices.Concat(s.steps[:begin], s.steps[min(from, len(s.steps)):])}
			budget--
			if d := try(smaller); d != nil {
				s, first, removed = smaller, d, true
			}
		}
		if !removed {
			size /= 2
		}
	}
	return s, first
}
