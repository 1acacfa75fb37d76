package command

import "slices"

// Grows tells whether a command of a client makes the state larger when it does what it can: these are refused where there
// is no room. What only takes away, or keeps those alive who may take away, does not grow, nor does what okapi itself
// proposes.
func Grows(c Command) bool {
	switch c := c.(type) {
	case *Put, *LeaseGrant, *Create, *SetData, *SetACL:
		return true
	case *Txn:
		return slices.ContainsFunc(c.Success, Grows) || slices.ContainsFunc(c.Failure, Grows)
	case *Multi:
		return slices.ContainsFunc(c.Ops, Grows)
	}
	return false
}
