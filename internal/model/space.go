package model

import "slices"

// space is one of the two maps with its past.
type space[T any] struct {
	live map[string]*T
	// past has for each path what it was after each command that changed it. Nil stands for absent.
	past map[string][]version[T]
	// before is what the command under way has changed so far, as it was before the command.
	before map[string]*T
}

// version is what stood at a path from a revision on. Of several with one revision the last one counts.
type version[T any] struct {
	revision int64
	value    *T
}

func newSpace[T any]() space[T] {
	return space[T]{live: map[string]*T{}, past: map[string][]version[T]{}, before: map[string]*T{}}
}

// set replaces what stands at a path; nil deletes it.
func (s *space[T]) set(path string, v *T) {
	if _, changed := s.before[path]; !changed {
		s.before[path] = s.live[path]
	}
	s.put(path, v)
}

func (s *space[T]) put(path string, v *T) {
	if v == nil {
		delete(s.live, path)
		return
	}
	s.live[path] = v
}

// putBack undoes the command under way.
func (s *space[T]) putBack() {
	for path, v := range s.before {
		s.put(path, v)
	}
	clear(s.before)
}

// keep ends the command under way at a revision.
func (s *space[T]) keep(revision int64) {
	for path := range s.before {
		s.past[path] = append(s.past[path], version[T]{revision, s.live[path]})
	}
	clear(s.before)
}

// at returns what stood at a path at a revision, after every command that left the store at it.
func (s *space[T]) at(path string, revision int64) *T {
	versions := s.past[path]
	for i := len(versions) - 1; i >= 0; i-- {
		if versions[i].revision <= revision {
			return versions[i].value
		}
	}
	return nil
}

// paths returns the live paths that pass, in byte order.
func (s *space[T]) paths(pass func(path string, v *T) bool) []string {
	var out []string
	for path, v := range s.live {
		if pass(path, v) {
			out = append(out, path)
		}
	}
	slices.Sort(out)
	return out
}

// pathsAt does so for a revision; what the command under way has done is not in it.
func (s *space[T]) pathsAt(revision int64, pass func(path string, v *T) bool) []string {
	var out []string
	for path := range s.past {
		if v := s.at(path, revision); v != nil && pass(path, v) {
			out = append(out, path)
		}
	}
	slices.Sort(out)
	return out
}

// forget drops what no revision from floor on shows. It spares memory and changes no answer.
func (s *space[T]) forget(floor int64) {
	for path, versions := range s.past {
		first := 0
		for i, v := range versions {
			if v.revision <= floor {
				first = i
			}
		}
		versions = slices.Clone(versions[first:])
		if len(versions) == 1 && versions[0].value == nil {
			delete(s.past, path)
			continue
		}
		s.past[path] = versions
	}
}
