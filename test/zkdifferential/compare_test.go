package zkdifferential

import (
	"slices"
	"testing"
)

// TestComparisonSeesEverything falsifies what one server has answered, message by message, and wants the comparison to notice.
func TestComparisonSeesEverything(t *testing.T) {
	m := shared[1]()
	sc := generate(7)
	tr, err := (&server{name: m.Name, address: m.ZooKeeper}).do(sc)
	if err != nil {
		t.Fatal(err)
	}
	if d := compare(sc, tr, tr); d != nil {
		t.Fatalf("a server differs from itself: %v", d)
	}
	tried := 0
	for i := range tr.steps {
		for slot := range slots {
			got := tr.steps[i].got[slot]
			for j := range got {
				for what, change := range changes {
					if change(got[j]) == nil {
						continue
					}
					other := *tr
					other.steps = slices.Clone(tr.steps)
					other.steps[i].got[slot] = slices.Concat(got[:j], change(got[j]), got[j+1:])
					if compare(sc, tr, &other) == nil {
						t.Errorf("step %d, session %d, message %d: not noticed: %s\n%s", i, slot, j, what, got[j].show())
					}
					tried++
				}
			}
		}
	}
	if tried < 500 {
		t.Errorf("only %d changes were tried", tried)
	}
}

// changes are ways to falsify a message; each returns what stands in its place, nil if it has nothing to change.
var changes = map[string]func(m message) []message{
	"left out": func(message) []message { return []message{} },
	"twice":    func(m message) []message { return []message{m, m} },
	"its error": func(m message) []message {
		if m.kind != messageReply {
			return nil
		}
		return flipped(m, 15)
	},
	"its xid": func(m message) []message {
		if m.kind != messageReply && m.kind != messageEvent {
			return nil
		}
		return flipped(m, 3)
	},
	"the type of an event": func(m message) []message {
		if m.kind != messageEvent {
			return nil
		}
		return flipped(m, 19)
	},
	"its number of children": func(m message) []message {
		if m.kind != messageReply || replyCode(m.frame) != 0 {
			return nil
		}
		switch m.request.op {
		case opExists, opGetData, opGetChildren2, opGetACL, opSetData, opSetACL, opCreate2, opCreateContainer, opCreateTTL:
			return flipped(m, len(m.frame)-9)
		}
		return nil
	},
	"the end of its path": func(m message) []message {
		if m.kind == messageEvent || m.kind == messageReply && m.request.op == opCreate && replyCode(m.frame) == 0 {
			return flipped(m, len(m.frame)-1)
		}
		return nil
	},
	"a byte more": func(m message) []message {
		if m.kind == messageEnd {
			return nil
		}
		m.frame = append(slices.Clone(m.frame), 0)
		return []message{m}
	},
}

// flipped changes the lowest bit of one byte of a message.
func flipped(m message, at int) []message {
	m.frame = slices.Clone(m.frame)
	m.frame[at] ^= 1
	return []message{m}
}
