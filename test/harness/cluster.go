package harness

import (
	"fmt"
	"net"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// Cluster is a set of members on this machine, each a process with its own folder and ports.
type Cluster struct {
	// Members are all that were made, also those that do not run, or do not belong to the cluster any more.
	Members []*Member

	t       testing.TB
	program string
	dir     string   // of all members
	flags   []string // of every member, after those that make the cluster
}

// startTimeout bounds how long a cluster may take to serve after it was started.
const startTimeout = 60 * time.Second

// NewCluster makes n members on free ports of the loopback interface and starts none. They are
// killed when the test ends; if it has failed, the ends of their logs are printed. flags are given
// to every member, after those that make the cluster.
func NewCluster(t testing.TB, tools Tools, n int, flags ...string) *Cluster {
	t.Helper()
	ports := freePorts(t, 3*n)
	c := &Cluster{}
	for i := range n {
		c.Members = append(c.Members, &Member{Client: ports[3*i], ZooKeeper: ports[3*i+1], Peer: ports[3*i+2]})
	}
	c.form(t, tools, flags)
	return c
}

// form makes a cluster of members that have their addresses and nothing else.
func (c *Cluster) form(t testing.TB, tools Tools, flags []string) {
	t.Helper()
	c.t, c.program, c.dir, c.flags = t, tools.Okapi, t.TempDir(), flags
	var initial []string
	for i, m := range c.Members {
		c.equip(m, i+1)
		initial = append(initial, m.Name+"=http://"+m.Peer)
	}
	for _, m := range c.Members {
		m.found = []string{
			"--initial-advertise-peer-urls", "http://" + m.Peer, "--initial-cluster", strings.Join(initial, ","),
			"--initial-cluster-state", "new", "--initial-cluster-token", filepath.Base(c.dir),
		}
	}
	t.Cleanup(c.close)
}

// equip gives a member that has its addresses its number, and what follows from that.
func (c *Cluster) equip(m *Member, number int) {
	m.t, m.Program, m.Name = c.t, c.program, fmt.Sprintf("n%d", number)
	m.DataDir = filepath.Join(c.dir, m.Name)
	m.log = filepath.Join(c.dir, m.Name+".log")
	m.args = append([]string{
		"serve", "--name", m.Name, "--data-dir", m.DataDir,
		"--listen-client-urls", "http://" + m.Client, "--advertise-client-urls", "http://" + m.Client,
		"--listen-zookeeper", m.ZooKeeper, "--listen-peer-urls", "http://" + m.Peer,
		"--tree-prefix", "/zk", "--log-level", "debug",
	}, c.flags...)
}

// Add makes one more member on free ports of the loopback interface, which belongs to no cluster. It can be started when it
// was told which one to join: see Member.Join.
func (c *Cluster) Add() *Member {
	c.t.Helper()
	ports := freePorts(c.t, 3)
	m := &Member{Client: ports[0], ZooKeeper: ports[1], Peer: ports[2]}
	c.equip(m, len(c.Members)+1)
	c.Members = append(c.Members, m)
	return m
}

// SecurePeers makes the members speak TLS with each other, with one certificate (PEM files) for all. It is
// called before the first start.
func (c *Cluster) SecurePeers(cert, key, authority string) {
	for _, m := range c.Members {
		for _, args := range [][]string{m.args, m.found} {
			for i, arg := range args {
				for _, other := range c.Members {
					arg = strings.ReplaceAll(arg, "http://"+other.Peer, "https://"+other.Peer)
				}
				args[i] = arg
			}
		}
		m.args = append(m.args, "--peer-cert-file", cert, "--peer-key-file", key, "--peer-trusted-ca-file", authority)
	}
}

// freePorts returns addresses that nobody listens on. All are held until all are found, so that
// they differ; somebody else may still take one before it is used.
func freePorts(t testing.TB, n int) []string {
	t.Helper()
	var out []string
	for range n {
		listener, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatalf("find a free port: %v", err)
		}
		defer listener.Close()
		out = append(out, listener.Addr().String())
	}
	return out
}

// Start starts every member that does not run, and waits until all serve.
func (c *Cluster) Start() {
	for _, m := range c.Members {
		if !m.Running() {
			m.Start()
		}
	}
	for _, m := range c.Members {
		m.WaitReady()
	}
}

// Kill kills every member at once, as a power cut would.
func (c *Cluster) Kill() {
	for _, m := range c.Members {
		m.signalKill()
	}
	for _, m := range c.Members {
		m.Kill()
	}
}

// Terminate asks every member that runs to stop, and fails the test unless each exits with status 0.
func (c *Cluster) Terminate() {
	for _, m := range c.Members {
		if m.Running() {
			m.Terminate()
		}
	}
}

// Leader returns the running member that leads, once there is one. A single member leads itself.
func (c *Cluster) Leader() *Member {
	deadline := time.Now().Add(startTimeout)
	for time.Now().Before(deadline) {
		for _, m := range c.Members {
			if mode := m.Mode(); mode == "leader" || mode == "standalone" {
				return m
			}
		}
		time.Sleep(pollInterval)
	}
	c.Members[0].t.Fatalf("no member says that it leads within %v", startTimeout)
	return nil
}

// Others returns the members other than m.
func (c *Cluster) Others(m *Member) []*Member {
	var out []*Member
	for _, other := range c.Members {
		if other != m {
			out = append(out, other)
		}
	}
	return out
}

func (c *Cluster) close() {
	for _, m := range c.Members {
		m.Kill()
		if m.t.Failed() {
			m.t.Logf("end of the log of %s:\n%s", m.Name, m.LogTail())
		}
	}
}
