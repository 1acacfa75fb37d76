// Package bench measures okapi against the figures that it is built for: what a command costs in the core, what a
// million keys cost in memory, what a request costs a server that runs as it is shipped, and what it costs etcd and
// ZooKeeper.
//
// # Idea
//
// The benchmarks beside the code are for finding out why; the tests here are for holding a promise, so each has
// a target and fails when it is missed. They run when OKAPI_BENCH is 1, as the make targets set it: they take
// minutes, and "go test ./..." should not.
//
// Time is processor time, not the clock's, because the machine has other things to do. What runs in the core is
// measured on its own thread, so that the collector, which works on others, is counted apart and shown
// beside it. A figure is the least of the medians of several rounds: neighbours can make
// code slower, never faster, but one lucky round is not a figure either.
//
// Keys are drawn at random from a million, so that neither the caches nor the branch predictor know what
// comes next: a core of this kind spends its time on reads of memory that wait for each other, and how long one takes is
// printed first.
//
// # Beside etcd and ZooKeeper
//
// TestCompare and TestCluster5 start three members of each server and let okapi and a peer take turns, workload by
// workload, while all other clusters are paused (SIGSTOP): a paused server keeps its memory and what its JVM has compiled, and uses
// no processor. The figures are medians, and the ratios medians of the ratios of each round. docs/performance.md tells how to
// read them.
//
// The comparison is here and not in the module of the other tests with peers, because the generators of load, the members
// and the accounting of processor time are here; all that it needs of them is a build of etcd, from test/etcdserver, and the folder
// of Java libraries, which dev/jars knows for both.
package bench
