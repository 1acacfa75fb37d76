// Package invariant states what must be true of the program itself.
//
// A failed assertion is a defect in okapi, never a mistake of a client or of the
// environment: those are results and errors. An assertion stops this member, so that
// it cannot go on with a state that nobody reasoned about; the other members keep
// serving. Assertions are always on.
package invariant

import "fmt"

// Violation is the value with which Assert panics.
type Violation struct {
	// Rule says what must hold, in words.
	Rule string
	// Values are the operands, printed for the person who reads the report.
	Values []any
}

// Error says which rule was broken and with what.
func (v Violation) Error() string {
	if len(v.Values) == 0 {
		return "invariant violated: " + v.Rule
	}
	return fmt.Sprintf("invariant violated: %s: %v", v.Rule, v.Values)
}

// Assert panics with a Violation if ok is false. rule says what must hold; values are
// the operands. Callers on a hot path pass no values, so that nothing is boxed.
func Assert(ok bool, rule string, values ...any) {
	if !ok {
		panic(Violation{Rule: rule, Values: values})
	}
}
