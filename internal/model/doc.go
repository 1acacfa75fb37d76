// Package model says in the plainest code what the state machine must answer: etcd's keys,
// transactions and leases, ZooKeeper's tree and sessions, and the rules by which the two share one
// tree. It is for tests only: internal/core/state is compared with it command by command, and the
// simulator uses it as the sequential specification of the whole cluster.
//
// # Idea
//
// A model that shares ideas with what it checks shares its mistakes. So this one was written from the
// protocols and their reference servers, not from the machine, and it has none of the machine's means:
// no shared index, no incremental sums, no chains that are cut. Live keys and znodes are two maps. What a
// command changes is remembered beside, by path and key; at its end it is either put back, or each changed
// path gets one entry in its list of past versions. The number of children, the keys of a lease, what a
// range sees and what a floor hides are found by looking at everything. The universes of the tests are small.
//
// # Invariants
//
//   - A *key or *node in a map is never changed, only replaced; so are their lists and data.
//   - Only setKey and setNode change the maps.
//   - Results hold what a client can tell. Result.Detail and the sequence number, which is the machine's
//     own, are left out.
//   - Quotas are not modelled: scripts leave them without bound.
//
// Apply takes what the machine takes, depends on nothing else, and returns what the machine must return; the
// readers (Range, Txn, Data, Exists, Children, ACL and so on) mirror those of state.View.
//
// # Why not simpler
//
// A whole copy of the state at each revision would need no list of versions, but 100,000 copies of a
// hundred keys do not fit.
package model
