package conformance

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/okapi-kv/okapi/test/harness"
)

// console types commands into both clients, against one member, and counts them.
type console struct {
	t      *testing.T
	member *harness.Member
	// count is shared by the consoles of a test.
	count *int
}

// etcd runs etcdctl, which must succeed, and returns what it prints.
func (c console) etcd(args ...string) string {
	c.t.Helper()
	return c.etcdInput("", args...)
}

func (c console) etcdInput(input string, args ...string) string {
	c.t.Helper()
	*c.count++
	answer := tools.RunEtcdctl(c.t, c.member, input, args...)
	if answer.Failed() {
		c.t.Fatalf("%s: etcdctl %s: %v", c.member.Name, strings.Join(args, " "), answer)
	}
	return answer.Out
}

// etcdFails runs etcdctl, which must fail with a message that holds want.
func (c console) etcdFails(want string, args ...string) {
	c.t.Helper()
	*c.count++
	answer := tools.RunEtcdctl(c.t, c.member, "", args...)
	if !answer.Failed() || !strings.Contains(answer.Messages, want) {
		c.t.Fatalf("%s: etcdctl %s: %v, want a failure with %q", c.member.Name, strings.Join(args, " "), answer, want)
	}
}

// zk runs zkCli.sh, which must succeed, and returns its answer.
func (c console) zk(args ...string) string {
	c.t.Helper()
	*c.count++
	answer := tools.RunZKCli(c.t, c.member, args...)
	if answer.Failed() {
		c.t.Fatalf("%s: zkCli.sh %s: %v", c.member.Name, strings.Join(args, " "), answer)
	}
	return answer.Out
}

// zkFails runs zkCli.sh, which must fail with a message that holds want.
func (c console) zkFails(want string, args ...string) {
	c.t.Helper()
	*c.count++
	answer := tools.RunZKCli(c.t, c.member, args...)
	if !answer.Failed() || !strings.Contains(answer.Messages, want) {
		c.t.Fatalf("%s: zkCli.sh %s: %v, want a failure with %q", c.member.Name, strings.Join(args, " "), answer, want)
	}
}

// wantEtcd runs etcdctl and compares what it prints.
func (c console) wantEtcd(want string, args ...string) {
	c.t.Helper()
	if got := c.etcd(args...); got != want {
		c.t.Errorf("%s: etcdctl %s printed %q, want %q", c.member.Name, strings.Join(args, " "), got, want)
	}
}

// wantZK runs zkCli.sh and compares its answer.
func (c console) wantZK(want string, args ...string) {
	c.t.Helper()
	if got := c.zk(args...); got != want {
		c.t.Errorf("%s: zkCli.sh %s printed %q, want %q", c.member.Name, strings.Join(args, " "), got, want)
	}
}

// wantZKSoon is wantZK on a member that may lag behind: a ZooKeeper client that has just
// connected may read the past of what others wrote, but not for long.
func (c console) wantZKSoon(want string, args ...string) {
	c.t.Helper()
	harness.Eventually(c.t, fmt.Sprintf("%s: zkCli.sh %s", c.member.Name, strings.Join(args, " ")), func() string {
		*c.count++
		if answer := tools.RunZKCli(c.t, c.member, args...); answer.Failed() || answer.Out != want {
			return fmt.Sprintf("%v, want %q", answer, want)
		}
		return ""
	})
}

// revision returns the revision of the store.
func (c console) revision() int64 {
	c.t.Helper()
	var answer struct {
		Header struct {
			Revision int64 `json:"revision"`
		} `json:"header"`
	}
	out := c.etcd("get", "no such key", "-w", "json")
	if err := json.Unmarshal([]byte(out), &answer); err != nil {
		c.t.Fatalf("etcdctl get -w json printed %q: %v", out, err)
	}
	return answer.Header.Revision
}

// stat returns the lines "name = value" of zkCli.sh stat.
func (c console) stat(path string) map[string]string {
	c.t.Helper()
	out := map[string]string{}
	for line := range strings.SplitSeq(c.zk("stat", path), "\n") {
		if name, value, ok := strings.Cut(line, " = "); ok {
			out[name] = value
		}
	}
	return out
}
