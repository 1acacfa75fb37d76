package sim

import (
	"math"
	"strings"
	"time"

	"github.com/anishathalye/porcupine"
)

// The checks believe the positions that the cluster reports; porcupine does not. It takes only what clients
// saw, when they asked and when they were answered, and searches for an order that explains it. The
// search is exponential in what overlaps, so it is done for some seeds, key by key, and only for the
// plain keys.

// access is one operation of a client on one key.
type access struct {
	client       int
	key          string
	write        bool
	value        string // written or read; empty: none
	call, answer int64
	known        bool // the outcome
	void         bool // refused: nothing happened
}

// register is what porcupine must know about a key: a write sets it, a read shows it.
func register() porcupine.Model {
	return porcupine.Model{
		Init: func() any { return "" },
		Step: func(state, input, output any) (bool, any) {
			if in := input.(access); in.write {
				return true, in.value
			}
			return output.(string) == state.(string), state
		},
	}
}

// registers proves the same as realTime without believing anybody's positions.
type registers struct {
	world    *World
	accesses []access
}

// access notes that a client asks for something, and returns how to note the answer.
func (r *registers) access(a access) (answered func(value string, done bool)) {
	if a.key == "" || strings.HasPrefix(a.key, "/zk/") {
		return func(string, bool) {}
	}
	r.accesses = append(r.accesses, a)
	at := len(r.accesses) - 1
	return func(value string, done bool) {
		a := &r.accesses[at]
		a.known, a.value, a.answer = true, value, r.world.now
		a.void = !done
	}
}

// linearizable searches for an order of all accesses. A search that takes too long proves nothing and
// fails nothing.
func (r *registers) linearizable() {
	byKey := map[string][]access{}
	for _, a := range r.accesses {
		if a.void {
			continue
		}
		byKey[a.key] = append(byKey[a.key], a)
	}
	for key, accesses := range byKey { // each key is judged alone
		res := porcupine.CheckOperationsTimeout(register(), operations(accesses), 3*time.Second)
		if res == porcupine.Illegal {
			r.world.fail("no order explains what clients saw of key %q", key)
		}
	}
}

// operations turns accesses of one key into a history. A write with unknown outcome may take effect at any
// later time; if nobody read what it wrote it explains nothing and is left out.
func operations(accesses []access) []porcupine.Operation {
	read := map[string]bool{}
	for _, a := range accesses {
		if !a.write && a.known {
			read[a.value] = true
		}
	}
	var ops []porcupine.Operation
	for _, a := range accesses {
		if !a.known && (!a.write || !read[a.value] || a.value == "") {
			if a.write && a.value == "" {
				return nil // a deletion that may have happened explains too much
			}
			continue
		}
		end := a.answer
		if !a.known {
			end = math.MaxInt64
		}
		ops = append(ops, porcupine.Operation{ClientId: len(ops), Input: a, Call: a.call, Output: a.value, Return: end})
	}
	return ops
}
