package replica

import "errors"

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
	// ErrNoLeader: there is no leader to ask; nothing was done.
	ErrNoLeader Outcome = "no-leader"
)

// errBusy refuses a snapshot while another one is being stored.
var errBusy = errors.New("another snapshot is being received")

// ErrWiped stops a member that came back without what it had acknowledged.
var ErrWiped = errors.New("the leader remembers entries that this member had stored and that are not in its data directory: " +
	"the directory was lost, exchanged or rolled back; restore it, or replace this member under a new identity")

var outcomeTexts = map[Outcome]string{
	ErrNotDone:    "the leader changed and the command was not done",
	ErrUnknown:    "the outcome of the command is not known",
	ErrStopped:    "the member is stopping",
	ErrTooLarge:   "the command is too large",
	ErrTimeout:    "the time is up",
	ErrOverloaded: "too much is under way",
	ErrNoLeader:   "there is no leader",
}
