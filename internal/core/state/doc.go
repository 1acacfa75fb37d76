// Package state is the machine that both protocols drive: all keys, znodes, sessions and leases, and the one
// function, Machine.Apply, that changes them.
//
// # Contract
//
// Apply is a function of the state and the entry. It knows no clock, chance, goroutine, lock, file, log
// or setting of its member. So members that apply the same entries hold the same state, and the
// same entries give the same results, the same events and the same digest: live, at replay after a restart, on
// top of a snapshot, in a tool and in a simulator. Time is the entry's, ids and passwords come with the
// commands, and an expiry is a command.
//
// # Idea
//
// There are two spaces of versioned records, plain keys and the tree of znodes. Every write makes a
// version with the next sequence number, and a View is a sequence number: it goes on showing the state
// after one whole command while later commands are applied. Three counters describe a moment:
//
//   - revision, etcd's, moves by one for each command that wrote or deleted a key;
//   - zxid, ZooKeeper's, moves by one for each numbered command, refused ones too, and jumps to
//     the next epoch with each raft term;
//   - the sequence number counts versions, and is ours alone.
//
// The tree is mounted among the keys, so that a znode is a key as well: see tree.go for the rules. Sessions and
// leases are one table, as an ephemeral znode's owner is to etcd clients the key's lease.
//
// # The life of a command
//
//   - admit: commands of a ZooKeeper connection must come in the order in which it sent them. What is refused here
//     leaves no trace.
//   - carry out: one method for each kind. It checks first and writes then; what it writes carries the
//     revision and the zxid that the command will have if it succeeds.
//   - settle: what can only be decided at the end, such as whether a deleted node has left children behind.
//   - roll back, if it was refused: both spaces drop what lies above the sequence number at which the
//     command began, and sums, events and leases return to what they were.
//   - finish: the counters move, and View shows the command.
//
// # Invariants
//
//   - Only putKey, deleteKey, putItem and removeNode change the spaces (write.go). They keep the digest, and whether
//     the revision moves.
//   - A command changes everything or nothing, save that a numbered one uses up its zxid, an ordered
//     one its place in the session, and one that finds the quota full raises the alarm.
//   - Nothing that readers see changes before the command's end. A long command yields to readers, so what
//     has no versions, such as the keys that hang on a lease, is changed at the end too.
//   - Nothing is decided by what a member has freed. Sizes are logical, and floors are part of the state.
//   - Nothing depends on the order in which a map is ranged over.
//   - Digest equals what recomputing it from all records gives.
//
// # Why not simpler
//
// One space for both protocols would make every range and every watch of an etcd client step over znodes
// and their metadata versions, and would tie the tree's history to etcd's compaction. Two machines behind
// one log would need a protocol between them for the keys that are znodes. A copy of the state to undo
// refused commands with, or to check them on beforehand, would cost more than the chains, which can be cut
// anyway.
package state
