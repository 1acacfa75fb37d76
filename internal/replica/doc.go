// Package replica is one member of the cluster: it orders commands with Raft, makes them durable,
// applies them, and answers reads that must not be stale.
//
// # Idea
//
// Logic stands apart from I/O. A Member turns inputs (a tick, a frame from a peer, proposals, a
// finished append) into Effects (frames to send, entries to append, entries to apply, reads that may
// go on); it owns the raft node and knows no goroutine, socket, file or clock. A Persister carries out
// appends on the log, an Applier applies committed entries to the state machine, and Waiters lead
// results back to those who asked. Replica runs the Member in one goroutine, the Persister in a
// second and the Applier in a third; the simulator steps the same objects in one.
//
// # A command
//
//	Submit    propose.go    takes its bytes from the budget, gives it a number, registers the waiter
//	order     propose.go    the leader stamps a batch and proposes it as one entry;
//	          forward.go    any other member forwards the command to the leader
//	persist   persist.go    the log is written and synced; raft hears of it afterwards
//	send      send.go       raft messages leave as frames
//	apply     apply.go      the committed entry is decoded and applied
//	publish   publish.go    the new view becomes readable, then the waiter is told
//
// Beside that line stand the care for sessions and leases (duties.go, dating.go) and what clients ask of the leader about
// them (inquire.go, asker.go), the care for snapshots (archive.go,
// snapshot.go, boot.go), and for a log whose end was torn (cut.go).
//
// # Three outcomes
//
// A command is done (its result is known), not done (it can never take effect) or unknown. It is
// not done if it never left this member, or if the leader it was addressed to said so for good, or if
// an entry of a newer term has been applied here and the command was not seen before: entries are
// applied in order of term, so a command that an older leader accepted would have come first.
// Nothing is ever sent twice: a command may not be done twice.
//
// # Reads
//
// A read index is asked of the leader in rounds: one is under way, those who come later wait for the next,
// each try has an identity of its own. None is asked for before an entry of the current term has
// been applied here: a restarted single member would otherwise answer from before its last
// acknowledged writes.
package replica
