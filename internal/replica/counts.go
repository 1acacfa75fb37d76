package replica

import (
	"github.com/okapi-kv/okapi/internal/core/command"
	"github.com/okapi-kv/okapi/internal/core/state"
	"github.com/okapi-kv/okapi/internal/telemetry"
)

// Counts are operations of etcd's API that were applied. A txn counts as its operations, and as a txn if it had several,
// which is how etcd counts (server/storage/mvcc/metrics_txn.go).
type Counts struct{ Puts, Deletes, Ranges, Txns uint64 }

// add counts a command that was applied with a result.
func (c *Counts) add(cmd command.Command, res *state.Result) {
	if res.Code != state.OK {
		return
	}
	switch cmd.(type) {
	case *command.Put:
		c.Puts++
	case *command.DeleteRange:
		c.Deletes++
	case *command.Txn:
		if txn, ok := res.Body.(*state.TxnResult); ok {
			if c.operations(txn) > 1 {
				c.Txns++
			}
		}
	}
}

// operations counts the operations of a txn, nested ones too, and returns how many there were.
func (c *Counts) operations(txn *state.TxnResult) (n int) {
	for _, response := range txn.Responses {
		n++
		switch r := response.(type) {
		case *state.PutResult:
			c.Puts++
		case *state.DeleteRangeResult:
			c.Deletes++
		case *state.RangeResult:
			c.Ranges++
		case *state.TxnResult:
			n += c.operations(r) - 1
		}
	}
	return n
}

// TakeCounts returns what was counted since it was last called.
func (a *Applier) TakeCounts() Counts {
	c := a.counts
	a.counts = Counts{}
	return c
}

// addTo adds what was counted to a member's metrics.
func (c *Counts) addTo(m *telemetry.Metrics) {
	m.Puts.Add(float64(c.Puts))
	m.Deletes.Add(float64(c.Deletes))
	m.Ranges.Add(float64(c.Ranges))
	m.Txns.Add(float64(c.Txns))
}
