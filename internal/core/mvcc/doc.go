// Package mvcc keeps the chains of immutable versions of one key space, and their change log.
//
// # Idea
//
// A key is a chain of Versions, newest first. The one writer puts a new
// Version in front of the chain and never touches an old one, so a reader that knows a
// sequence number finds the state of that moment by walking past what is newer: views,
// history at a revision and snapshots are all At(seq), and none of them costs the writer anything.
// A deletion is a Version too, a tombstone, so the past of a deleted key stays readable and a watch
// can tell of its end.
//
// Three structures refer to the same Versions, none owns a copy:
//
//   - a hash table from key to newest Version, the only thing that a read of one key touches;
//   - an ordered index of the keys, touched when one appears or disappears and by ranges. It has a number for each key, with
//     which heads finds the chain;
//   - the change log: the Versions in the order in which they were written. Watches
//     read it, a revision is found in it by bisection, reclaiming drops it from the front and
//     undoing a refused command drops it from the back.
//
// A Version, its key and its data are one allocation (package arena). Versions that differ in other things than their
// data share them, and then keep the one alive in which they stand.
//
// # Invariants
//
//   - Seq rises strictly along the log and along each chain; Rev never falls along either. Several Versions,
//     of one key too, may share a Rev: one command writes with one Rev, and a change that is no
//     revision of its own carries the Rev before it.
//   - The log holds every Version with Rev >= Floor. It may still hold older ones, which nobody may ask for.
//   - A Version whose log entry is there still has its predecessor, unless that is older than everything
//     in the log, or it has none. Dropping an entry cuts its Version's predecessor off.
//   - A key is in the table if and only if it is in the index, and both if and only if it has a Version. The
//     newest may be a tombstone; then either the log still holds it or the floor has not been reclaimed yet.
//   - Sizes are functions of what was written and of the floor alone. How
//     far reclaiming has come, which depends on the member, does not show in them, so replicated
//     decisions may rest on them.
//
// # Reclaiming
//
// The floor is logical and moves at once. Memory is freed later, in bounded steps, by Reclaim, in log order.
// Let v be the Version of the oldest entry. If v is below the floor and no pinned view is older than v,
// every reader stops at v or before it in the chain, so what lies behind v is cut off. If v is a
// tombstone and still the newest, nobody can see the key at all, and it goes. A tombstone at
// the floor stays: a watch that starts there must tell of the deletion.
//
// HistoryBytes has to follow the floor at once, though it may jump over a million entries. Each
// Version has a fixed amount that goes when its own entry goes: the size of its predecessor if that
// held data, and its own size if it is a tombstone. The log remembers the running sum of these
// amounts at the head of each chunk, so the sum at the new floor is found within one chunk.
//
// # Why not simpler
//
// One ordered map from (key, sequence) to record would be a single structure, but every read of
// one key would descend it, at several times the cost of a hash, and every update would insert into
// it. Copy-on-write trees give views without sequence numbers, at kilobytes of garbage an
// update. Reference counts in place of pinned sequence numbers would make readers write.
package mvcc
