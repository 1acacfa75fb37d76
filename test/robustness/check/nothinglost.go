package check

import "maps"

// NothingLost checks that each acknowledged change is in the reference exactly once, whole, and under the revision that the client was
// told; that nothing else is in it; and that each member ended with what the reference comes to.
func NothingLost(h *History) []error {
	var wrong complaints
	sources := h.sources()
	found := map[*Operation][]Event{}
	values := map[string]int64{}
	for i, e := range h.Events {
		if before, twice := values[e.Value]; twice && e.Value != "" {
			wrong.add("%q was written twice: at revision %d and at %d", e.Value, before, e.Revision)
		}
		values[e.Value] = e.Revision
		switch s := sources[i]; {
		case s.operation != nil:
			found[s.operation] = append(found[s.operation], e)
		case s.owner == nil:
			wrong.add("nobody made the change at revision %d of %s to %q", e.Revision, e.Key, e.Value)
		}
	}
	for _, o := range h.Operations {
		if o.Write() {
			o.checkFound(found[o], &wrong)
		}
	}
	h.checkContents(&wrong)
	return wrong.all()
}

// checkFound checks what the reference has of a write.
func (o *Operation) checkFound(events []Event, wrong *complaints) {
	if o.Outcome == Refused || o.Outcome == NotDone {
		if len(events) > 0 {
			wrong.add("was not done and is in the reference at revision %d: %v", events[0].Revision, o)
		}
		return
	}
	if len(events) == 0 && o.Outcome == Unknown {
		return
	}
	if len(events) != len(o.Changes) {
		wrong.add("%d of %d changes are in the reference: %v", len(events), len(o.Changes), o)
	}
	for _, e := range events {
		if e.Revision != events[0].Revision {
			wrong.add("was done in two parts, at revisions %d and %d: %v", events[0].Revision, e.Revision, o)
		}
		if o.Revision != 0 && o.Revision != e.Revision {
			wrong.add("is in the reference at revision %d: %v", e.Revision, o)
		}
		if !o.has(e) {
			wrong.add("changed %s to %q instead: %v", e.Key, e.Value, o)
		}
	}
}

// has tells whether a write was to make that change.
func (o *Operation) has(e Event) bool {
	for _, c := range o.Changes {
		if c.Value == e.Value && c.names(e.Key) {
			return true
		}
	}
	return false
}

// checkContents compares what members hold with what the reference comes to.
func (h *History) checkContents(wrong *complaints) {
	want := map[string]string{}
	for _, e := range h.Events {
		if want[e.Key] = e.Value; e.Value == "" {
			delete(want, e.Key)
		}
	}
	for member, got := range h.Contents {
		if maps.Equal(got, want) {
			continue
		}
		wrong.add("member %d ended with %d keys, want %d", member+1, len(got), len(want))
		for key, value := range want {
			if got[key] != value {
				wrong.add("member %d ended with %s=%q, want %q", member+1, key, got[key], value)
			}
		}
		for key, value := range got {
			if _, ok := want[key]; !ok {
				wrong.add("member %d ended with %s=%q, want nothing", member+1, key, value)
			}
		}
	}
}
