package conformance

import (
	"os"
	"testing"

	"github.com/okapi-kv/okapi/test/harness"
)

// TestOracle runs what Spine1 and Leases expect of okapi against a real etcd and a real ZooKeeper, both
// fresh, so that the expectations are theirs and not ours. It is skipped unless the environment
// names them: OKAPI_ORACLE_ETCD and OKAPI_ORACLE_ZOOKEEPER, host:port each.
func TestOracle(t *testing.T) {
	harness.RequireClients(t, tools)
	count := 0
	t.Run("etcd", func(t *testing.T) {
		address := os.Getenv("OKAPI_ORACLE_ETCD")
		if address == "" {
			t.Skip("skipped: OKAPI_ORACLE_ETCD names no etcd")
		}
		c := console{t, &harness.Member{Name: "etcd", Client: address}, &count}
		etcdKeys(c)
		etcdLeases(c, c)
	})
	t.Run("zookeeper", func(t *testing.T) {
		address := os.Getenv("OKAPI_ORACLE_ZOOKEEPER")
		if address == "" {
			t.Skip("skipped: OKAPI_ORACLE_ZOOKEEPER names no ZooKeeper")
		}
		znodes(console{t, &harness.Member{Name: "zookeeper", ZooKeeper: address}, &count})
	})
}
