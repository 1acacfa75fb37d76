package check

import (
	"strconv"
	"strings"
)

// sequenceDigits is how many digits ZooKeeper appends to the name of a sequential node.
const sequenceDigits = 10

// OneNumber checks that no two commands share a revision or a zxid, and that the numbers of sequential nodes below a parent grow and
// never come again, even when a node is gone.
func OneNumber(h *History) []error {
	var wrong complaints
	sources := h.sources()
	byRevision := map[int64]source{}
	sequences := map[string]int64{}
	for i, e := range h.Events {
		s := sources[i]
		if other, taken := byRevision[e.Revision]; taken && other != s {
			wrong.add("revision %d is of two commands: %v and %v", e.Revision, other.operation, s.operation)
		}
		byRevision[e.Revision] = s
		if s.operation != nil && s.operation.sequential(e.Value) {
			nextSequence(sequences, e, &wrong)
		}
	}
	revisions, zxids := map[int64]*Operation{}, map[int64]*Operation{}
	for _, o := range h.Operations {
		if !o.Answered() || !o.Write() {
			continue
		}
		if o.ZooKeeper {
			alone(zxids, "zxid", o.Zxid, o, &wrong)
		} else if o.Outcome == Done {
			alone(revisions, "revision", o.Revision, o, &wrong)
		}
	}
	return wrong.all()
}

func alone(taken map[int64]*Operation, what string, n int64, o *Operation, wrong *complaints) {
	if other := taken[n]; other != nil {
		wrong.add("%s %#x was told to two: %v and %v", what, n, other, o)
	}
	taken[n] = o
}

// sequential tells whether the server was to number the node that gets a value.
func (o *Operation) sequential(value string) bool {
	for _, c := range o.Changes {
		if c.Value == value {
			return c.Sequential && value != ""
		}
	}
	return false
}

// nextSequence takes the number of a sequential node that was made. last has the last number of each parent.
func nextSequence(last map[string]int64, e Event, wrong *complaints) {
	digits := e.Key[max(0, len(e.Key)-sequenceDigits):]
	n, err := strconv.ParseInt(digits, 10, 64)
	if err != nil {
		wrong.add("%s has no number", e.Key)
		return
	}
	parent := e.Key[:strings.LastIndexByte(e.Key, '/')]
	if before, some := last[parent]; some && n <= before {
		wrong.add("%s was numbered %d at revision %d, after %d", e.Key, n, e.Revision, before)
	}
	last[parent] = n
}
