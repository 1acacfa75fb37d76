package sim

import (
	"github.com/okapi-kv/okapi/internal/core/command"
	"github.com/okapi-kv/okapi/internal/replica"
)

// acknowledged proves that what a client was told stays true: what is done is durable on a majority and on the member that says so
// before it says so, every later leader has it, and it is there at the end; what is not done never is.
type acknowledged struct {
	world   *World
	highest uint64              // the index of the newest entry with a command that was reported as done
	gone    map[command.ID]bool // told not done

	done, notDone, unknown, refused int
}

func newAcknowledged(w *World) acknowledged {
	return acknowledged{world: w, gone: map[command.ID]bool{}}
}

// outcome checks what a client is told of its command: a result only if the entry is durable on a
// majority and on the member that answers.
func (a *acknowledged) outcome(n *node, id command.ID, err error) {
	switch err {
	case nil:
		a.done++
		if n.drive.hangs() {
			a.world.fail("member %d acknowledges a command while its disk hangs", n.id)
		}
		index := a.world.check.log.where[id]
		a.highest = max(a.highest, index)
		a.durable(n, index)
	case replica.ErrNotDone, replica.ErrDiskFull:
		if err == replica.ErrDiskFull {
			a.refused++
		} else {
			a.notDone++
		}
		a.gone[id] = true
		if index, ok := a.world.check.log.where[id]; ok {
			a.world.fail("command %v is in entry %d, but its client is told that it was not done", id, index)
		}
	default:
		a.unknown++
	}
}

// durable checks that an entry outlives any minority, and this member.
func (a *acknowledged) durable(n *node, index uint64) {
	term := a.world.check.log.applied[index].term
	if !a.world.check.quorums.hold(index, term) {
		a.world.fail("entry %d is acknowledged but not durable on a quorum", index)
	}
	if !n.log.holds(index, term) {
		a.world.fail("entry %d is acknowledged by member %d, where it is not durable", index, n.id)
	}
}

// mustHold checks that the log of a new leader reaches everything that was acknowledged.
func (a *acknowledged) mustHold(leader *node) {
	if last := leader.member.Status().Last; last < a.highest {
		a.world.fail("member %d leads with a log that ends at entry %d, but entry %d was acknowledged", leader.id, last, a.highest)
	}
}

// end checks that all members of the healed cluster hold everything that was acknowledged.
func (a *acknowledged) end() {
	for _, n := range a.world.current() {
		if n.up && n.applied < a.highest {
			a.world.fail("member %d has applied %d entries, but entry %d was acknowledged", n.id, n.applied, a.highest)
		}
	}
}
