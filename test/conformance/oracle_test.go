package conformance

import (
	"testing"

	"github.com/okapi-kv/okapi/test/harness"
)

// TestOracle runs what Spine1 and Leases expect of okapi against a real etcd and a real ZooKeeper, so that the
// expectations are theirs and not ours.
func TestOracle(t *testing.T) {
	harness.RequireClients(t, tools)
	count := 0
	t.Run("etcd", func(t *testing.T) {
		harness.RequireEtcd(t, tools)
		c := console{t, startEtcd(t), &count}
		etcdKeys(c)
		etcdLeases(c, c)
	})
	t.Run("zookeeper", func(t *testing.T) {
		m := harness.NewZooKeeper(t, harness.RequireJars(t))
		m.Start()
		m.WaitReady()
		znodes(console{t, m, &count})
	})
}
