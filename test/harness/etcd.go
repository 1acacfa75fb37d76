package harness

import (
	"path/filepath"
	"testing"
)

// NewEtcd makes one member of the real etcd on free ports of the loopback interface and does not start
// it. It is killed when the test ends; if that has failed, the end of its log is printed. flags are
// given after those that make the member.
//
// It does not sync its files: the tests kill processes and not the machine, so that nothing is lost,
// and the disk is left to the server that is tested.
func NewEtcd(t testing.TB, tools Tools, flags ...string) *Member {
	t.Helper()
	ports := freePorts(t, 2)
	dir := t.TempDir()
	m := &Member{
		t: t, Program: tools.Etcd, Name: "etcd", Client: ports[0], Peer: ports[1],
		DataDir: filepath.Join(dir, "etcd"), log: filepath.Join(dir, "etcd.log"),
	}
	m.args = append([]string{
		"--name", m.Name, "--data-dir", m.DataDir, "--unsafe-no-fsync",
		"--listen-client-urls", "http://" + m.Client, "--advertise-client-urls", "http://" + m.Client,
		"--listen-peer-urls", "http://" + m.Peer, "--initial-advertise-peer-urls", "http://" + m.Peer,
		"--initial-cluster", m.Name + "=http://" + m.Peer, "--initial-cluster-token", filepath.Base(dir),
	}, flags...)
	alone := &Cluster{Members: []*Member{m}}
	t.Cleanup(alone.close)
	return m
}
