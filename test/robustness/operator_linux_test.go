package robustness

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/okapi-kv/okapi/test/harness"
)

// operator is who runs a cluster under load, by "okapi member".
type operator struct {
	*fleet
	t       *testing.T
	cluster *harness.Cluster
	serving []*harness.Member // that clients know of
	watcher *clientv3.Client
	records []*record
	asked   int // commands so far
	steps   []step
	waits   []wait // under the fleet's lock
}

// step is one thing that was done.
type step struct {
	what     string
	from, to time.Duration
}

// wait is how long a write waited.
type wait struct{ sent, acknowledged time.Duration }

// newOperator makes a cluster of one member, which does not run yet.
func newOperator(t *testing.T, flags ...string) *operator {
	t.Helper()
	cluster := harness.NewCluster(t, tools, 1, flags...)
	return &operator{
		t: t, cluster: cluster, watcher: dialFrom(t, cluster.Members[0]), fleet: newFleet(nil, 1, *membersPause),
	}
}

// step does something, and prints what and how long it took.
func (o *operator) step(what string, do func()) {
	o.t.Helper()
	s := step{what: what, from: o.now()}
	do()
	s.to = o.now()
	o.steps = append(o.steps, s)
	o.generation.Add(1)
	o.t.Logf("cluster-2: %6v for: %s; longest wait of a write %v", ms(s.to-s.from), what, ms(o.longest(s.from, s.to)))
}

// insist sends a write, in whatever it takes, until it is acknowledged.
func (o *operator) insist(attempt func() bool) {
	w := wait{sent: o.now()}
	for !attempt() {
		if o.now()-w.sent > patience {
			o.t.Errorf("a write was not acknowledged within %v", patience)
			return
		}
	}
	w.acknowledged = o.now()
	o.mu.Lock()
	defer o.mu.Unlock()
	o.waits = append(o.waits, w)
}

// longest is the longest wait of a write that waited at some time between two.
func (o *operator) longest(from, to time.Duration) (longest time.Duration) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, w := range o.waits {
		if w.sent <= to && w.acknowledged >= from {
			longest = max(longest, w.acknowledged-w.sent)
		}
	}
	for _, op := range o.operations {
		if op.Write() && op.Call <= to && op.Return >= from {
			longest = max(longest, op.Return-op.Call)
		}
	}
	return longest
}

// report prints how long writes waited, and fails the test where one waited for too long.
func (o *operator) report() {
	o.t.Helper()
	var all []time.Duration
	for _, w := range o.waits {
		all = append(all, w.acknowledged-w.sent)
	}
	slices.Sort(all)
	longest := o.longest(0, o.now())
	o.t.Logf("cluster-2: %d steps in %v; %d writes that were sent until they were acknowledged waited for %v (median), %v (99 of 100), %v (longest)",
		len(o.steps), o.now().Round(time.Second), len(all), median(all).Round(10*time.Microsecond), ms(all[len(all)*99/100]), ms(all[len(all)-1]))
	o.t.Logf("cluster-2: the longest wait of any write: %v", ms(longest))
	if longest > membersWaitMax {
		o.t.Errorf("a write waited for %v, want %v at most", ms(longest), membersWaitMax)
	}
	(&faultRun{fleet: o.fleet, t: o.t}).reportCalls("cluster-2")
}

// welcome tells the clients of a member that serves, and returns its number among them.
func (o *operator) welcome(m *harness.Member) int {
	o.serving = append(o.serving, m)
	o.setEndpoints()
	return o.join(m)
}

// farewell tells the clients that a member has gone.
func (o *operator) farewell(m *harness.Member) {
	o.serving = slices.DeleteFunc(o.serving, func(other *harness.Member) bool { return other == m })
	o.setEndpoints()
	o.leave(m)
}

func (o *operator) setEndpoints() { o.watcher.SetEndpoints(o.endpoints("")...) }

// endpoints are the client addresses of the members that serve, behind a prefix.
func (o *operator) endpoints(prefix string) (list []string) {
	for _, m := range o.serving {
		list = append(list, prefix+m.Client)
	}
	return list
}

// living is the cluster without the members that have gone.
func (o *operator) living() *harness.Cluster { return &harness.Cluster{Members: o.serving} }

// named returns the member of a name.
func (o *operator) named(name string) *harness.Member {
	return o.cluster.Members[slices.IndexFunc(o.cluster.Members, func(m *harness.Member) bool { return m.Name == name })]
}

// command runs "okapi member" with all endpoints, another one first each time, unless the arguments name others.
func (o *operator) command(args ...string) harness.Answer {
	o.t.Helper()
	endpoints := o.endpoints("http://")
	first := o.asked % len(endpoints)
	o.asked++
	endpoints = slices.Concat(endpoints[first:], endpoints[:first])
	return tools.RunOkapi(o.t, slices.Concat([]string{"member", "--endpoints", strings.Join(endpoints, ",")}, args)...)
}

// run runs "okapi member", which must succeed, and returns what it printed.
func (o *operator) run(args ...string) string {
	o.t.Helper()
	answer := o.command(args...)
	if answer.Failed() {
		o.t.Fatalf("okapi member %s: %v", strings.Join(args, " "), answer)
	}
	return answer.Out
}

// refused runs "okapi member", which must refuse with a text and status 1.
func (o *operator) refused(text string, args ...string) {
	o.t.Helper()
	answer := o.command(args...)
	if answer.Status != 1 || !strings.Contains(answer.Messages, "okapi: ") || !strings.Contains(answer.Messages, text) {
		o.t.Errorf("okapi member %s: %v, want status 1 and %q", strings.Join(args, " "), answer, text)
	}
}

// add adds a member, and has it join as the command says.
func (o *operator) add(m *harness.Member, flags ...string) {
	o.t.Helper()
	m.Join(o.startFlags(o.run(append([]string{"add", m.Name, "--peer-urls", "http://" + m.Peer}, flags...)...))...)
}

// startFlags finds the command line that starts a member in what was printed, and returns its flags.
func (o *operator) startFlags(printed string) []string {
	o.t.Helper()
	const program = "okapi serve "
	at := strings.Index(printed, program)
	if at < 0 {
		o.t.Fatalf("the command does not say how to start the member:\n%s", printed)
	}
	line, _, _ := strings.Cut(strings.ReplaceAll(printed[at+len(program):], "\\\n", " "), "\n")
	return strings.Fields(line)
}

// listed is what "okapi member list --json" says of a member, as far as the test needs it.
type listed struct {
	ID       string   `json:"id"`
	Name     string   `json:"name"`
	Role     string   `json:"role"`
	PeerURLs []string `json:"peer_urls"`
	Present  *bool    `json:"present"`
}

// list lists the members.
func (o *operator) list() []listed {
	o.t.Helper()
	var all struct {
		Members []listed `json:"members"`
	}
	if out := o.run("list", "--json"); json.Unmarshal([]byte(out), &all) != nil {
		o.t.Fatalf("okapi member list --json: %s", out)
	}
	return all.Members
}

// described is what the cluster says of a member.
func (o *operator) described(m *harness.Member) listed {
	o.t.Helper()
	all := o.list()
	i := slices.IndexFunc(all, func(one listed) bool { return slices.Contains(one.PeerURLs, "http://"+m.Peer) })
	if i < 0 {
		o.t.Fatalf("no member has the peer URL of %s: %+v", m.Name, all)
	}
	return all[i]
}

// idAt is the id of the member that is expected where m is.
func (o *operator) idAt(m *harness.Member) string { return o.described(m).ID }

// expect checks the role of a member, and how many vote.
func (o *operator) expect(m *harness.Member, role string, voters int) {
	o.t.Helper()
	have := 0
	for _, one := range o.list() {
		if one.Role == "voter" {
			have++
		}
		if one.Name == m.Name && one.Role != role {
			o.t.Errorf("%s is %s, want %s", m.Name, one.Role, role)
		}
	}
	if have != voters {
		o.t.Errorf("%d members vote, want %d: %s", have, voters, fmt.Sprint(o.list()))
	}
}
