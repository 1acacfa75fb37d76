package conformance

import (
	"bytes"
	"context"
	"fmt"
	"os/exec"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/okapi-kv/okapi/test/harness"
)

// TestLeases does what etcdctl's manual does with leases, through every member of one and of three.
func TestLeases(t *testing.T) {
	harness.RequireClients(t, tools)
	for _, n := range []int{1, 3} {
		t.Run(fmt.Sprintf("members=%d", n), func(t *testing.T) {
			cluster := harness.NewCluster(t, tools, n)
			cluster.Start()
			count := 0
			for i, m := range cluster.Members {
				other := cluster.Members[(i+1)%n]
				etcdLeases(console{t, m, &count}, console{t, other, &count})
			}
			cluster.Terminate()
		})
	}
}

// granted is what etcdctl prints of a new lease.
var granted = regexp.MustCompile(`^lease ([0-9a-f]{16}) granted with TTL\((\d+)s\)$`)

// grant makes a lease and returns its id.
func (c console) grant(ttl, want string) string {
	c.t.Helper()
	out := c.etcd("lease", "grant", ttl)
	m := granted.FindStringSubmatch(out)
	if m == nil || m[2] != want {
		c.t.Fatalf("%s: etcdctl lease grant %s printed %q, want a TTL of %s s", c.member.Name, ttl, out, want)
	}
	return m[1]
}

// etcdLeases does what etcdctl's manual does with leases, at one member, and looks from another.
func etcdLeases(c, other console) {
	id := c.grant("300", "300")
	c.wantEtcd("OK", "put", "lk1", "v", "--lease="+id)
	c.wantEtcd("OK", "put", "lk2", "v", "--lease="+id)
	other.wantEtcd("lk1\nv\nlk2\nv", "get", "--prefix", "lk")
	for _, reader := range []console{c, other} {
		reader.wantMatch(`lease `+id+` granted with TTL\(300s\), remaining\(2\d\ds\)`, "lease", "timetolive", id)
		reader.wantMatch(`lease `+id+` granted with TTL\(300s\), remaining\(2\d\ds\), attached keys\(\[lk[12] lk[12]\]\)`, "lease", "timetolive", "--keys", id)
		reader.wantEtcd("lease "+id+" keepalived with TTL(300)", "lease", "keep-alive", "--once", id)
	}
	if out := c.etcd("lease", "list"); !strings.Contains(out, id) || !strings.HasPrefix(out, "found ") {
		c.t.Errorf("%s: etcdctl lease list printed %q", c.member.Name, out)
	}
	other.wantEtcd("lease "+id+" revoked", "lease", "revoke", id)
	other.wantEtcd("", "get", "--prefix", "lk")
	c.etcdFails("requested lease not found", "lease", "revoke", id)
	c.etcdFails("requested lease not found", "lease", "keep-alive", "--once", id)
	c.etcdFails("requested lease not found", "put", "lk1", "v", "--lease="+id)
	c.wantEtcd("lease "+id+" already expired", "lease", "timetolive", id)
	c.etcdFails("too large lease TTL", "lease", "grant", "9000000001")
	c.keepAliveUntilRevoked(other)

	short := c.grant("1", "2")
	c.wantEtcd("OK", "put", "lk3", "v", "--lease="+short)
	harness.Eventually(c.t, "end of a lease that nobody keeps alive", func() string { return other.etcd("get", "lk3") })
	other.wantEtcd("lease "+short+" already expired", "lease", "timetolive", short)
}

// wantMatch runs etcdctl and matches what it prints.
func (c console) wantMatch(pattern string, args ...string) {
	c.t.Helper()
	if got := c.etcd(args...); !regexp.MustCompile("^" + pattern + "$").MatchString(got) {
		c.t.Errorf("%s: etcdctl %s printed %q, want %s", c.member.Name, strings.Join(args, " "), got, pattern)
	}
}

// keepAliveUntilRevoked has etcdctl keep a lease alive at one member until it is revoked at another.
func (c console) keepAliveUntilRevoked(other console) {
	c.t.Helper()
	id := c.grant("3", "3")
	*c.count++
	ctx, cancel := context.WithTimeout(c.t.Context(), time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, tools.Etcdctl, "--endpoints=http://"+c.member.Client, "lease", "keep-alive", id)
	var out following
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Start(); err != nil {
		c.t.Fatal(err)
	}
	alive := "lease " + id + " keepalived with TTL(3)\n"
	harness.Eventually(c.t, "some keep-alives", func() string {
		if text := out.String(); !strings.HasPrefix(text, strings.Repeat(alive, 5)) {
			return fmt.Sprintf("etcdctl printed %q", text)
		}
		return ""
	})
	other.wantEtcd("lease "+id+" revoked", "lease", "revoke", id)
	err := cmd.Wait()
	if got := strings.ReplaceAll(out.String(), alive, ""); err != nil || got != "lease "+id+" expired or revoked.\n" {
		c.t.Errorf("%s: etcdctl lease keep-alive ended with %v and printed %q", c.member.Name, err, out.String())
	}
}

// following collects what a process prints while it is looked at.
type following struct {
	mu  sync.Mutex
	all bytes.Buffer
}

// Write implements io.Writer.
func (o *following) Write(b []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.all.Write(b)
}

// String returns what was printed so far.
func (o *following) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.all.String()
}
