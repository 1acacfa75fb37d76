// Package sim runs a whole cluster in one goroutine: the members, appliers, logs and snapshots that
// production runs, over a simulated network, disk and clock. It is imported by tests only.
//
// One seed is one run: sizes, timings, faults and what the clients do are drawn from it, and nothing else
// decides anything, so a seed that fails fails again. The election jitter of raft comes from crypto/rand,
// which the test replaces by the seed; that is why the simulator is a test binary and seeds run one
// after the other.
//
// A run has two phases. While faults last, members crash and lose what they had not synced, disks stall and are
// cut off at any operation, frames are lost, repeated, delayed and overtake each other, links are cut one way or both, members
// pause, clocks drift. Then everything heals, and the cluster must come to agree and to serve.
//
// What is checked, always and in every run, stands in checks.go: one function for each promise.
package sim
