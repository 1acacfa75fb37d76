package bench

import (
	"testing"

	"go.etcd.io/etcd/api/v3/etcdserverpb"
)

// TestSpine6 holds what the core promises in time and in memory.
func TestSpine6(t *testing.T) {
	wanted(t)
	t.Run("core", coreTest)
	t.Run("keys", keysTest)
	t.Run("nodes", nodesTest)
}

const (
	loaded     = 1_000_003 // keys; no multiple of anything that the loader or the store does in batches
	txnPuts    = 128       // what etcd's default allows
	residentMB = 450
)

// keysTest holds the memory of a server with a million keys, with the collector as it is shipped.
func keysTest(t *testing.T) {
	m := startCluster(t, build(t), 1)[0]
	txns := loaded / txnPuts
	grpcLoad{t: t, members: []*member{m}, conns: 4, callers: 8, total: txns}.run(func(kv etcdserverpb.KVClient, i int) error {
		return putMany(kv, i*txnPuts, txnPuts)
	})
	grpcLoad{t: t, members: []*member{m}, conns: 1, callers: 1, total: 1}.run(func(kv etcdserverpb.KVClient, _ int) error {
		return putMany(kv, txns*txnPuts, loaded%txnPuts)
	})
	peak, resident := m.settled(t)
	t.Logf("spine-6: %d keys of 16+%d B: peak %d MB, resident %d MB (limit %d MB)", loaded, valueBytes, peak, resident, residentMB)
	if resident > residentMB {
		t.Errorf("%d keys take %d MB, more than %d", loaded, resident, residentMB)
	}
}

// nodesTest shows the same for znodes. They carry a Stat each, and every create makes a version of its parent too, so
// the history of the last ten minutes is in the figure; nothing is promised.
func nodesTest(t *testing.T) {
	m := startCluster(t, build(t), 1)[0]
	zkLoad{t: t, members: []*member{m}, conns: 1, depth: 100, total: parents + 1}.run(parent)
	zkLoad{t: t, members: []*member{m}, conns: 8, depth: 100, total: loaded}.run(create)
	peak, resident := m.settled(t)
	t.Logf("spine-6: %d znodes of %d+%d B: peak %d MB, resident %d MB", loaded, len(path(0)), valueBytes, peak, resident)
}

// settled returns peak and resident memory in MB (10^6 bytes), once the server is idle.
func (m *member) settled(t *testing.T) (peak, resident int64) {
	t.Helper()
	if t.Failed() {
		t.FailNow() // what was to be loaded is not there
	}
	m.settle()
	peak, resident = m.memory()
	const mb = 1_000_000
	return (peak + mb - 1) / mb, (resident + mb - 1) / mb
}
