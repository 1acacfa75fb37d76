package state

import (
	"bytes"
	"cmp"

	"github.com/okapi-kv/okapi/internal/core/command"
)

// txn carries out an etcd Txn that writes.
func (m *Machine) txn(t *command.Txn) (Code, any) {
	before := m.now()
	run := txnRun{before: before, machine: m, caller: m.do.caller}
	res, code := run.do(t)
	if code != OK {
		return code, nil
	}
	return OK, res
}

// txnRun is one Txn on its way. It has three passes, as in etcd: all compares, those of the nested
// txns on the taken path included, are decided on the state before the txn; then the operations on
// that path are checked against the same state; and then they are carried out, each seeing what
// those before it did.
type txnRun struct {
	before  View
	machine *Machine // nil if the txn only reads
	caller  *command.Caller
	taken   []bool // which branch each txn on the path takes, in the order of their beginnings
	next    int    // the next one in taken to be used by the pass under way
}

// do makes the three passes.
func (r *txnRun) do(t *command.Txn) (*TxnResult, Code) {
	if code := r.choose(t); code != OK {
		return nil, code
	}
	if code := r.check(t); code != OK {
		return nil, code
	}
	r.next = 0
	return r.carryOut(t)
}

// choose decides which branch a txn takes, and then the txns in that branch. It goes on after a compare that
// does not hold: whether a txn is refused for touching what the caller may not read must not depend on what
// else is in the store.
func (r *txnRun) choose(t *command.Txn) Code {
	success := true
	for i := range t.Compares {
		ok, code := holds(r.before, r.caller, &t.Compares[i])
		if code != OK {
			return code
		}
		success = success && ok
	}
	r.taken = append(r.taken, success)
	for _, op := range branch(t, success) {
		if nested, ok := op.(*command.Txn); ok {
			if code := r.choose(nested); code != OK {
				return code
			}
		}
	}
	return OK
}

// branch returns the operations that a txn carries out.
func branch(t *command.Txn, success bool) []command.Command {
	if success {
		return t.Success
	}
	return t.Failure
}

// turn returns the branch taken by the txn that the pass under way has come to.
func (r *txnRun) turn(t *command.Txn) (ops []command.Command, success bool) {
	success = r.taken[r.next]
	r.next++
	return branch(t, success), success
}

// check refuses the txn if one of the operations on its path cannot be carried out in the state before it.
func (r *txnRun) check(t *command.Txn) Code {
	ops, _ := r.turn(t)
	for _, op := range ops {
		var code Code
		switch op := op.(type) {
		case *command.Range:
			code = checkRevision(r.before, op)
		case *command.Txn:
			code = r.check(op)
		case *command.Put:
			code = BadArguments
			if r.machine != nil {
				code = r.machine.checkPut(op)
			}
		case *command.DeleteRange:
			if r.machine == nil {
				code = BadArguments
			}
		default:
			code = BadArguments
		}
		if code != OK {
			return code
		}
	}
	return OK
}

// checkRevision checks the revision of a Range within a txn. Unlike outside, a negative one does not mean
// now: it is compared with the floor, as in etcd.
func checkRevision(v View, r *command.Range) Code {
	switch {
	case r.Revision == 0:
		return OK
	case r.Revision > v.revision:
		return FutureRevision
	case r.Revision < floorOf(v.m, spanOf(r.Key, r.End)):
		return Compacted
	default:
		return OK
	}
}

// carryOut does the operations of one txn on the path.
func (r *txnRun) carryOut(t *command.Txn) (*TxnResult, Code) {
	ops, success := r.turn(t)
	res := &TxnResult{Succeeded: success, Responses: make([]any, len(ops)), Revisions: make([]int64, len(ops))}
	for i, op := range ops {
		body, code := r.operation(op)
		if code != OK {
			return nil, code
		}
		res.Responses[i] = body
		res.Revisions[i] = r.view().revision
	}
	return res, OK
}

// view returns the state that the next operation sees.
func (r *txnRun) view() View {
	if r.machine == nil {
		return r.before
	}
	return r.machine.now()
}

// operation does one operation. check has passed it.
func (r *txnRun) operation(op command.Command) (body any, code Code) {
	switch op := op.(type) {
	case *command.Range:
		return fetchNew(r.view(), r.caller, op)
	case *command.Put:
		code, body = r.machine.putOne(op)
	case *command.DeleteRange:
		code, body = r.machine.deleteRange(op)
	case *command.Txn:
		return r.carryOut(op)
	}
	return body, code
}

// holds decides one compare. All keys of its range must satisfy it; if there is none, it is as if there
// were one with nothing but zeros, save that no value equals or differs from that of an absent key.
func holds(v View, c *command.Caller, cp *command.Compare) (bool, Code) {
	rd := reading{view: v, caller: c, seq: v.seq, strict: true}
	found, ok := false, true
	code := rd.each(spanOf(cp.Key, cp.End), func(row row) bool {
		found = true
		kv := row.keyValue("", false)
		ok = ok && satisfies(cp, &kv)
		return ok || row.node != nil // there may be nodes behind that may not be read
	})
	if !found {
		ok = cp.Target != command.CompareValue && satisfies(cp, &KeyValue{})
	}
	return ok, code
}

// satisfies compares one key.
func satisfies(cp *command.Compare, kv *KeyValue) bool {
	var sign int
	switch cp.Target {
	case command.CompareVersion:
		sign = cmp.Compare(kv.Version, cp.Number)
	case command.CompareCreate:
		sign = cmp.Compare(kv.CreateRevision, cp.Number)
	case command.CompareMod:
		sign = cmp.Compare(kv.ModRevision, cp.Number)
	case command.CompareValue:
		sign = bytes.Compare(kv.Value, cp.Value)
	case command.CompareLease:
		sign = cmp.Compare(kv.Lease, cp.Number)
	}
	switch cp.Result {
	case command.CompareEqual:
		return sign == 0
	case command.CompareGreater:
		return sign > 0
	case command.CompareLess:
		return sign < 0
	case command.CompareNotEqual:
		return sign != 0
	default:
		return true
	}
}
