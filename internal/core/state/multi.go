package state

import "github.com/okapi-kv/okapi/internal/core/command"

// multi does all of its operations or none. Each sees what those before it did; all happen at one zxid
// and one time. If one fails, the result still has a code for each, because ZooKeeper's reply to a
// failed multi is a success whose body lists them: OK before the culprit, and RuntimeInconsistency behind it,
// where nothing was tried. What the first ones did is rolled back, as after every refused command.
func (m *Machine) multi(c *command.Multi) (Code, any) {
	res := &MultiResult{Codes: make([]Code, len(c.Ops)), Bodies: make([]any, len(c.Ops))}
	steps := 0
	for i, op := range c.Ops {
		code, body := m.multiOp(op)
		if code != OK {
			res.fail(i, code)
			return code, res
		}
		res.Bodies[i] = body
		m.step(&steps)
	}
	return OK, res
}

// multiOp does one operation of a multi. The ZooKeeper adapter lets no other kinds through.
func (m *Machine) multiOp(op command.Command) (Code, any) {
	switch op := op.(type) {
	case *command.Create:
		return m.create(op)
	case *command.Delete:
		return m.remove(op)
	case *command.SetData:
		return m.setData(op)
	case *command.Check:
		return m.check(op)
	}
	return BadArguments, nil
}

// fail makes r the result of a multi whose operation i was refused with code.
func (r *MultiResult) fail(i int, code Code) {
	r.Bodies = nil
	r.Codes[i] = code
	for j := i + 1; j < len(r.Codes); j++ {
		r.Codes[j] = RuntimeInconsistency
	}
}
