package check

import (
	"math"
	"time"

	"github.com/anishathalye/porcupine"
)

const (
	// searchTimeout bounds the search for one key. A search that ends without a verdict is a failure of the test.
	searchTimeout = 20 * time.Second
	// registerOperationsMax bounds what is searched for one key.
	registerOperationsMax = 2000
)

// Registers says which keys are judged by Linearizable: those that the operations of a Conditional write touch, which no other command
// changes but puts and deletes of that key alone.
func (h *History) registers() map[string][]*Operation {
	out := map[string][]*Operation{}
	for _, o := range h.Operations {
		if o.Conditional && len(o.Changes) == 1 {
			out[o.Changes[0].Key] = nil
		}
	}
	for _, o := range h.Operations {
		key, _ := o.access()
		if _, wanted := out[key]; wanted {
			out[key] = append(out[key], o)
		}
	}
	return out
}

// access returns the one key that an operation concerns, and whether it writes.
func (o *Operation) access() (key string, writes bool) {
	switch {
	case len(o.Changes) == 1:
		return o.Changes[0].Key, true
	case o.Read != nil && o.Read.Fresh:
		return o.Read.Key, false
	}
	return "", false
}

// Linearizable is a second opinion that does not believe any number that the cluster reports: for a few keys it searches for an order of
// all operations that explains what clients saw, from the times at which they began and returned.
func Linearizable(h *History) []error {
	var wrong complaints
	for key, ops := range h.registers() {
		history := searched(ops)
		if len(history) > registerOperationsMax {
			wrong.add("%s has %d operations, too many to search", key, len(history))
			continue
		}
		switch porcupine.CheckOperationsTimeout(registerModel(), history, searchTimeout) {
		case porcupine.Illegal:
			wrong.add("no order explains what clients saw of %s", key)
		case porcupine.Unknown:
			wrong.add("no verdict on %s within %v", key, searchTimeout)
		}
	}
	return wrong.all()
}

// searched is what is searched of the operations of one key. A write that may have happened explains more than a read of its value: a
// comparison that failed, a deletion that found nothing. So it stays, and may happen at any later time or, as it were, never.
func searched(ops []*Operation) []porcupine.Operation {
	var out []porcupine.Operation
	for _, o := range ops {
		_, writes := o.access()
		if o.Outcome == NotDone || o.Outcome == Unknown && !writes {
			continue
		}
		end := int64(o.Return)
		if o.Outcome == Unknown {
			end = math.MaxInt64
		}
		out = append(out, porcupine.Operation{ClientId: len(out), Input: o, Call: int64(o.Call), Return: end})
	}
	return out
}

// registerModel is what porcupine must know about a key: its state is the value, "" for none. Input is the Operation and has the output
// too.
func registerModel() porcupine.Model {
	return porcupine.Model{
		Init: func() any { return "" },
		Step: func(before, input, _ any) (bool, any) {
			o, held := input.(*Operation), before.(string)
			_, writes := o.access()
			switch {
			case !writes:
				return o.Read.Value == held, held
			case o.Outcome == Unknown && o.Conditional && held != o.Expected:
				return true, held
			case o.Outcome == Unknown:
				return true, o.Changes[0].Value
			case o.Conditional && o.Outcome == Done:
				return held == o.Expected, o.Changes[0].Value
			case o.Conditional:
				return held != o.Expected, held
			case o.Outcome == Refused: // a deletion that found nothing
				return held == "", held
			case o.Changes[0].Value == "":
				return held != "", ""
			}
			return true, o.Changes[0].Value
		},
	}
}
