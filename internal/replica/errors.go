package replica

import (
	"errors"
	"fmt"

	"github.com/okapi-kv/okapi/internal/vfs"
)

// Outcome is why a command or a read has no result. The doors know the outcomes by name.
type Outcome string

// Error says it in words.
func (o Outcome) Error() string { return outcomeTexts[o] }

// Outcome names it for the doors.
func (o Outcome) Outcome() string { return string(o) }

// The outcomes. ErrUnknown alone leaves open whether the command took or will take effect.
const (
	// ErrNotDone: a change of leader came in between; the command can never take effect.
	ErrNotDone Outcome = "not-done"
	// ErrUnknown: this member cannot tell any more whether the command took effect.
	ErrUnknown Outcome = "unknown"
	// ErrStopped: the member is stopping; nothing was done.
	ErrStopped Outcome = "stopped"
	// ErrTooLarge: the command exceeds the size limit; nothing was done.
	ErrTooLarge Outcome = "too-large"
	// ErrTimeout: the caller's time is up while the outcome is open.
	ErrTimeout Outcome = "timeout"
	// ErrOverloaded: too much is under way; nothing was done.
	ErrOverloaded Outcome = "overloaded"
	// ErrDiskFull: the disks of the cluster are full, and the command would grow what is on them; nothing was done.
	ErrDiskFull Outcome = "disk-full"
	// ErrNoLeader: there is no leader to ask; nothing was done.
	ErrNoLeader Outcome = "no-leader"
)

// errBusy refuses a snapshot while another one is being stored.
var errBusy = errors.New("another snapshot is being received")

// withAdvice says what to do about an error of the disk with the log, which stops the member; nil stays nil.
func withAdvice(dir string, err error) error {
	switch {
	case err == nil:
		return nil
	case vfs.IsNoSpace(err):
		return fmt.Errorf("the disk under %s is full and this member stops: free space there and start it again; nothing that was acknowledged is lost: %w", dir, err)
	default:
		return fmt.Errorf("the disk under %s has failed and this member stops without trying again: see to the disk, then start it again; "+
			"what it finds damaged it will say: %w", dir, err)
	}
}

// ErrWiped stops a member that came back without what it had acknowledged.
var ErrWiped = errors.New("the leader remembers entries that this member had stored and that are not in its data directory: " +
	"the directory was lost, exchanged or rolled back; restore it, or " + adviceReplace)

// adviceReplace is how a member is replaced.
const adviceReplace = "replace this member by a new one (okapi member replace), and start that with an empty --data-dir and " +
	"--initial-cluster-state existing"

// ErrForgetful stops a member that another one refuses because it once came with what it does not have now.
var ErrForgetful = errors.New("another member remembers this one with another data directory, or with this one in a later state: " +
	"it was lost, exchanged or rolled back, and what this member has promised with it; restore the latest state of it, or " + adviceReplace)

// ErrTooOld stops a member that does not understand what the cluster uses.
var ErrTooOld = errors.New("the cluster uses features that this okapi is too old for: start a newer one on the same --data-dir")

// ErrRemoved stops a member that was removed from its cluster.
var ErrRemoved = errors.New("this member was removed from the cluster: its data directory is of no more use; " +
	"to bring the machine back, okapi member add it as a new one, and start it with an empty --data-dir and --initial-cluster-state existing")

var outcomeTexts = map[Outcome]string{
	ErrNotDone:    "the leader changed and the command was not done",
	ErrUnknown:    "the outcome of the command is not known",
	ErrStopped:    "the member is stopping",
	ErrTooLarge:   "the command is too large",
	ErrTimeout:    "the time is up",
	ErrOverloaded: "too much is under way",
	ErrDiskFull:   "the disks of the cluster are full",
	ErrNoLeader:   "there is no leader",
}
