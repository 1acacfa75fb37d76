package conformance

import (
	"cmp"
	"context"
	"crypto/sha1"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"

	"github.com/okapi-kv/okapi/test/harness"
)

// TestMaintenance has etcdctl look after one member and after three: every command, in every format that it
// has. What is wanted was written down from etcdctl's printers and from what they print of etcd 3.7.3.
func TestMaintenance(t *testing.T) {
	if tools.Etcdctl == "" {
		if os.Getenv(harness.EnvRequireClients) == "1" {
			t.Fatal("no etcdctl: " + tools.MissingEtcdctl)
		}
		t.Skip("skipped: no etcdctl: " + tools.MissingEtcdctl)
	}
	for _, n := range []int{1, 3} {
		t.Run(fmt.Sprintf("%d members", n), func(t *testing.T) {
			cluster := harness.NewCluster(t, tools, n, "--quota-backend-bytes", "1GiB")
			cluster.Start()
			k := newKeeper(t, cluster)
			k.write()
			k.memberList()
			k.status()
			k.health()
			k.hashes()
			k.alarms()
			k.defragment()
			k.moveLeader()
		})
	}
}

// keeper looks after a cluster.
type keeper struct {
	t       *testing.T
	cluster *harness.Cluster
	id      uint64
	members []keptMember // by id, as etcd lists them
	count   int
}

type keptMember struct {
	*harness.Member
	id uint64
}

// newKeeper derives the ids of a cluster and its members from their flags, as etcd does
// (server/etcdserver/api/membership: computeMemberID, genID).
func newKeeper(t *testing.T, c *harness.Cluster) *keeper {
	k := &keeper{t: t, cluster: c}
	for _, m := range c.Members {
		args := m.Args()
		token := args[slices.Index(args, "--initial-cluster-token")+1]
		sum := sha1.Sum([]byte("http://" + m.Peer + token))
		k.members = append(k.members, keptMember{m, binary.BigEndian.Uint64(sum[:8])})
	}
	slices.SortFunc(k.members, func(a, b keptMember) int { return cmp.Compare(a.id, b.id) })
	var ids []byte
	for _, m := range k.members {
		ids = binary.BigEndian.AppendUint64(ids, m.id)
	}
	sum := sha1.Sum(ids)
	k.id = binary.BigEndian.Uint64(sum[:8])
	return k
}

// at is etcdctl against one member.
func (k *keeper) at(m *harness.Member) console { return console{k.t, m, &k.count} }

// first is the member that is asked about the cluster.
func (k *keeper) first() console { return k.at(k.members[0].Member) }

// revision is what write leaves behind, and the HashKV of etcd for it.
const (
	keptRevision = 7
	keptHash     = 728210106
)

// write puts and deletes some keys.
func (k *keeper) write() {
	c := k.first()
	c.wantEtcd("OK", "put", "a", "1")
	c.wantEtcd("OK", "put", "b", "2")
	c.wantEtcd("OK", "put", "a", "3")
	c.wantEtcd("1", "del", "b")
	c.etcdInput("mod(\"a\") > \"0\"\n\nput c 4\nput d 5\ndel a\n\n\n", "txn")
	c.wantEtcd("OK", "put", "e", "")
}

// memberList: all members know each other's names and URLs, whoever is asked.
func (k *keeper) memberList() {
	var simple, fields, rows []string
	var list []map[string]any
	for _, m := range k.members {
		peer, client := "http://"+m.Peer, "http://"+m.Client
		row := []string{strconv.FormatUint(m.id, 16), "started", m.Name, peer, client, "false"}
		simple, rows = append(simple, strings.Join(row, ", ")), append(rows, strings.Join(row, "|"))
		fields = append(fields, fmt.Sprintf("\"ID\" : %d\n\"Name\" : %q\n\"PeerURL\" : %q\n\"ClientURL\" : %q\n\"IsLearner\" : false\n", m.id, m.Name, peer, client))
		list = append(list, map[string]any{"ID": number(m.id), "name": m.Name, "peerURLs": []any{peer}, "clientURLs": []any{client}})
	}
	for _, m := range k.members {
		c := k.at(m.Member)
		for _, consistency := range []string{"l", "s"} {
			flag := "--consistency=" + consistency
			if consistency == "s" { // the member may lag behind
				k.soon(c, strings.Join(simple, "\n"), "member", "list", flag)
			}
			c.wantEtcd(strings.Join(simple, "\n"), "member", "list", flag)
			k.wantTable(c, "ID|STATUS|NAME|PEER ADDRS|CLIENT ADDRS|IS LEARNER", rows, "member", "list", flag)
			term := k.term(c)
			want := fmt.Sprintf("\"ClusterID\" : %d\n\"MemberID\" : %d\n\"RaftTerm\" : %s\n%s", k.id, m.id, term, strings.Join(fields, "\n"))
			c.wantEtcd(strings.TrimSpace(want), "member", "list", flag, "-w", "fields")
			k.wantJSON(c, map[string]any{
				"header":  map[string]any{"cluster_id": number(k.id), "member_id": number(m.id), "raft_term": json.Number(term)},
				"members": list,
			}, "member", "list", flag)
		}
	}
}

// status asks each member, and all of them through one.
func (k *keeper) status() {
	leader := k.leader()
	all := k.first().etcd("endpoint", "status", "--cluster")
	lines := strings.Split(all, "\n")
	if len(lines) != len(k.members) {
		k.t.Fatalf("endpoint status --cluster printed %q, want %d lines", all, len(k.members))
	}
	const header = "ENDPOINT|ID|VERSION|STORAGE VERSION|DB SIZE|IN USE|PERCENTAGE NOT IN USE|QUOTA|IS LEADER|IS LEARNER|" +
		"RAFT TERM|RAFT INDEX|RAFT APPLIED INDEX|ERRORS|DOWNGRADE TARGET VERSION|DOWNGRADE ENABLED"
	for _, m := range k.members {
		c := k.at(m.Member)
		k.caughtUp(c)
		var answer []struct {
			Endpoint string
			Status   map[string]any
		}
		out := c.etcd("endpoint", "status", "-w", "json")
		decode(k.t, out, &answer)
		s := answer[0].Status
		head := s["header"].(map[string]any)
		term, index, applied := head["raft_term"], s["raftIndex"], s["raftAppliedIndex"]
		// 5 live keys or old versions of 256 bytes and more, and no file around them.
		size, _ := s["dbSize"].(json.Number).Int64()
		if size < 5*256 || size > 10_000 {
			k.t.Errorf("dbSize is %d", size)
		}
		want := map[string]any{
			"header":  map[string]any{"cluster_id": number(k.id), "member_id": number(m.id), "revision": number(keptRevision), "raft_term": term},
			"version": "3.7.3", "dbSize": number(uint64(size)), "leader": number(leader.id), "raftIndex": index, "raftTerm": term,
			"raftAppliedIndex": applied, "dbSizeInUse": number(uint64(size)), "storageVersion": "3.7.0",
			"dbSizeQuota": number(1 << 30), "downgradeInfo": map[string]any{},
		}
		if got, want := text(s), text(want); got != want || len(answer) != 1 || answer[0].Endpoint != "http://"+m.Client {
			k.t.Errorf("endpoint status -w json printed %s, want %s", out, want)
		}
		row := []string{
			"http://" + m.Client, strconv.FormatUint(m.id, 16), "3.7.3", "3.7.0", human(size), human(size), "0%", "1.1 GB",
			fmt.Sprint(m.id == leader.id), "false", fmt.Sprint(term), fmt.Sprint(index), fmt.Sprint(applied), "", "", "false",
		}
		c.wantEtcd(strings.Join(row, ", "), "endpoint", "status")
		if !slices.Contains(lines, strings.Join(row, ", ")) {
			k.t.Errorf("endpoint status --cluster printed %q, want a line %q", all, strings.Join(row, ", "))
		}
		k.wantTable(c, header, []string{strings.Join(row, "|")}, "endpoint", "status")
		c.wantEtcd(fmt.Sprintf("\"ClusterID\" : %d\n\"MemberID\" : %d\n\"Revision\" : %d\n\"RaftTerm\" : %v\n\"Version\" : \"3.7.3\"\n"+
			"\"StorageVersion\" : \"3.7.0\"\n\"DBSize\" : %d\n\"DBSizeInUse\" : %d\n\"DBSizeQuota\" : %d\n\"Leader\" : %d\n\"IsLearner\" : false\n"+
			"\"RaftIndex\" : %v\n\"RaftAppliedIndex\" : %v\n\"Errors\" : []\n\"Endpoint\" : \"http://%s\"\n\"DowngradeTargetVersion\" : \"\"\n"+
			"\"DowngradeEnabled\" : false",
			k.id, m.id, keptRevision, term, size, size, 1<<30, leader.id, index, applied, m.Client), "endpoint", "status", "-w", "fields")
	}
}

// health asks each member in all formats.
func (k *keeper) health() {
	const took = `[0-9.]+(ms|µs|s)`
	for _, m := range k.members {
		c, ep := k.at(m.Member), regexp.QuoteMeta("http://"+m.Client)
		for _, format := range []struct{ name, want string }{
			{"simple", ep + ` is healthy: successfully committed proposal: took = ` + took},
			{"json", `\[\{"endpoint":"` + ep + `","health":true,"took":"` + took + `"\}\]`},
			{"fields", `"Endpoint" : "` + ep + "\"\n\"Health\" : true\n\"Took\" : " + took + "\n\"Error\" :"},
			{"table", `(?s)┌.*ENDPOINT.*HEALTH.*TOOK.*ERROR.*` + ep + ` │   true │ *` + took + ` │ +│.*┘`},
		} {
			if got := c.etcd("endpoint", "health", "-w", format.name); !regexp.MustCompile("^" + format.want + "$").MatchString(got) {
				k.t.Errorf("endpoint health -w %s printed %q, want a match of %s", format.name, got, format.want)
			}
		}
	}
	if got := k.first().etcd("endpoint", "health", "--cluster"); strings.Count(got, " is healthy: ") != len(k.members) {
		k.t.Errorf("endpoint health --cluster printed %q", got)
	}
}

// hashes: every member has etcd's hash for what was written.
func (k *keeper) hashes() {
	for _, m := range k.members {
		c := k.at(m.Member)
		k.caughtUp(c)
		c.wantEtcd(fmt.Sprintf("http://%s, %d, %d", m.Client, keptHash, keptRevision), "endpoint", "hashkv")
		c.wantEtcd(fmt.Sprintf("http://%s, 2069675932, 4", m.Client), "endpoint", "hashkv", "--rev=4")
		k.wantTable(c, "ENDPOINT|HASH|HASH REVISION", []string{fmt.Sprintf("http://%s|%d|%d", m.Client, keptHash, keptRevision)}, "endpoint", "hashkv")
		term := k.term(c)
		c.wantEtcd(fmt.Sprintf("\"ClusterID\" : %d\n\"MemberID\" : %d\n\"Revision\" : %d\n\"RaftTerm\" : %s\n\"Endpoint\" : \"http://%s\"\n\"Hash\" : %d\n\"HashRevision\" : %d",
			k.id, m.id, keptRevision, term, m.Client, keptHash, keptRevision), "endpoint", "hashkv", "-w", "fields")
		k.wantJSON(c, []any{map[string]any{"Endpoint": "http://" + m.Client, "HashKV": map[string]any{
			"header": map[string]any{"cluster_id": number(k.id), "member_id": number(m.id), "revision": number(keptRevision), "raft_term": json.Number(term)},
			"hash":   number(keptHash), "compact_revision": json.Number("-1"), "hash_revision": number(keptRevision),
		}}}, "endpoint", "hashkv")
		c.etcdFails("etcdserver: mvcc: required revision is a future revision", "endpoint", "hashkv", "--rev=8")
	}
	c := k.first()
	c.wantEtcd("compacted revision 5", "compaction", "5")
	c.etcdFails("etcdserver: mvcc: required revision has been compacted", "endpoint", "hashkv", "--rev=4")
	seen := map[string]bool{}
	for _, m := range k.members {
		// A read at the newest revision waits until the compaction has come here too.
		k.at(m.Member).etcd("get", "a")
		_, hash, _ := strings.Cut(k.at(m.Member).etcd("endpoint", "hashkv"), ", ")
		seen[hash] = true
	}
	if len(seen) != 1 {
		k.t.Errorf("after a compaction the members have the hashes %v", seen)
	}
}

// alarms raises an alarm as a member does, which etcdctl cannot.
func (k *keeper) alarms() {
	c, m := k.first(), k.members[0]
	term := k.term(c)
	head := fmt.Sprintf("\"ClusterID\" : %d\n\"MemberID\" : %d\n\"Revision\" : %d\n\"RaftTerm\" : %s", k.id, m.id, keptRevision, term)
	header := map[string]any{"cluster_id": number(k.id), "member_id": number(m.id), "revision": number(keptRevision), "raft_term": json.Number(term)}
	c.wantEtcd("", "alarm", "list")
	c.wantEtcd(head, "alarm", "list", "-w", "fields")
	k.wantJSON(c, map[string]any{"header": header}, "alarm", "list")
	c.etcdFails("table not supported as output format", "alarm", "list", "-w", "table")
	c.wantEtcd("", "alarm", "disarm")
	k.wantJSON(c, map[string]any{}, "alarm", "disarm")

	k.raise(m)
	if got, want := squeeze(c.etcd("alarm", "list")), fmt.Sprintf("memberID:%d alarm:NOSPACE", m.id); got != want {
		k.t.Errorf("alarm list printed %q, want %q", got, want)
	}
	c.wantEtcd(head+fmt.Sprintf("\n\"MemberID\" : %d\n\"AlarmType\" : NOSPACE", m.id), "alarm", "list", "-w", "fields")
	k.wantJSON(c, map[string]any{"header": header, "alarms": []any{map[string]any{"memberID": number(m.id), "alarm": json.Number("1")}}}, "alarm", "list")
	c.etcdFails("etcdserver: mvcc: database space exceeded", "put", "x", "y")
	c.etcdFails("is unhealthy: failed to commit proposal: Active Alarm(s): NOSPACE", "endpoint", "health")
	row := squeeze(c.etcd("endpoint", "status"))
	if want := fmt.Sprintf("memberID:%d alarm:NOSPACE, , false", m.id); !strings.HasSuffix(row, want) {
		k.t.Errorf("endpoint status printed %q, want it to end with %q", row, want)
	}
	if got, want := squeeze(c.etcd("alarm", "disarm")), fmt.Sprintf("memberID:%d alarm:NOSPACE", m.id); got != want {
		k.t.Errorf("alarm disarm printed %q, want %q", got, want)
	}
	c.wantEtcd("", "alarm", "list")
	k.raise(m)
	k.wantJSON(c, map[string]any{"alarms": []any{map[string]any{"memberID": number(m.id), "alarm": json.Number("1")}}}, "alarm", "disarm")
	k.raise(m)
	c.wantEtcd(fmt.Sprintf("\"ClusterID\" : 0\n\"MemberID\" : 0\n\"RaftTerm\" : 0\n\"MemberID\" : %d\n\"AlarmType\" : NOSPACE", m.id), "alarm", "disarm", "-w", "fields")
	c.etcd("endpoint", "health")
}

func (k *keeper) raise(m keptMember) {
	k.t.Helper()
	client, err := clientv3.New(clientv3.Config{Endpoints: []string{"http://" + m.Client}, Logger: zap.NewNop()})
	if err != nil {
		k.t.Fatal(err)
	}
	defer client.Close()
	_, err = pb.NewMaintenanceClient(client.ActiveConnection()).Alarm(context.Background(), &pb.AlarmRequest{
		Action: pb.AlarmRequest_ACTIVATE, MemberID: m.id, Alarm: pb.AlarmType_NOSPACE,
	})
	if err != nil {
		k.t.Fatal(err)
	}
}

func (k *keeper) defragment() {
	got := k.first().etcd("defrag", "--cluster")
	for _, m := range k.members {
		want := regexp.MustCompile(`(?m)^Finished defragmenting etcd member\[http://` + regexp.QuoteMeta(m.Client) + `\]\. took \S+$`)
		if !want.MatchString(got) {
			k.t.Errorf("defrag --cluster printed %q, want a match of %v", got, want)
		}
	}
}

// moveLeader hands the office round once, so that every member has had it.
func (k *keeper) moveLeader() {
	for range k.members {
		from := k.leader()
		c := k.at(from.Member)
		c.etcdFails("etcdserver: bad leader transferee", "move-leader", "1")
		to := k.members[(slices.Index(k.members, from)+1)%len(k.members)]
		c.wantEtcd(fmt.Sprintf("Leadership transferred from %x to %x", from.id, to.id), "move-leader", strconv.FormatUint(to.id, 16))
		if got := k.leader(); got.id != to.id {
			k.t.Fatalf("after move-leader to %x, %x leads", to.id, got.id)
		}
		k.at(to.Member).wantEtcd("OK", "put", "moved", to.Name)
	}
	if len(k.members) == 1 {
		return
	}
	from := k.leader()
	to := k.members[(slices.Index(k.members, from)+1)%len(k.members)]
	k.at(from.Member).etcdFails("fields not supported as output format", "move-leader", strconv.FormatUint(to.id, 16), "-w", "fields")
	k.at(to.Member).wantEtcd("{}", "move-leader", strconv.FormatUint(from.id, 16), "-w", "json")
	k.at(to.Member).etcdFails("no leader endpoint given", "move-leader", strconv.FormatUint(from.id, 16))
}

// leader is the member that says it leads, once one does.
func (k *keeper) leader() (found keptMember) {
	k.t.Helper()
	harness.Eventually(k.t, "a member leads", func() string {
		for _, m := range k.members {
			fields := strings.Split(k.at(m.Member).etcd("endpoint", "status"), ", ")
			if len(fields) > 8 && fields[8] == "true" {
				found = m
				return ""
			}
		}
		return "nobody does"
	})
	return found
}

// term is the raft term of a member.
func (k *keeper) term(c console) string {
	return strings.Split(c.etcd("endpoint", "status"), ", ")[10]
}

// caughtUp returns when a member has applied all that was written, by a linearizable read.
func (k *keeper) caughtUp(c console) { c.etcd("get", "a") }

// soon waits until a member that may lag behind prints what is wanted.
func (k *keeper) soon(c console, want string, args ...string) {
	k.t.Helper()
	harness.Eventually(k.t, strings.Join(args, " "), func() string {
		if got := c.etcd(args...); got != want {
			return fmt.Sprintf("it printed %q, want %q", got, want)
		}
		return ""
	})
}

// wantTable compares the cells of a table; each row is given with bars between its cells.
func (k *keeper) wantTable(c console, header string, rows []string, args ...string) {
	k.t.Helper()
	var got []string
	for line := range strings.SplitSeq(c.etcd(append(args, "-w", "table")...), "\n") {
		if inner, ok := strings.CutPrefix(line, "│"); ok {
			cells := strings.Split(strings.TrimSuffix(inner, "│"), "│")
			for i := range cells {
				cells[i] = strings.TrimSpace(cells[i])
			}
			got = append(got, strings.Join(cells, "|"))
		}
	}
	if want := append([]string{header}, rows...); !slices.Equal(got, want) {
		k.t.Errorf("%s: etcdctl %s -w table has the rows %q, want %q", c.member.Name, strings.Join(args, " "), got, want)
	}
}

// wantJSON compares a whole answer; numbers keep all their digits.
func (k *keeper) wantJSON(c console, want any, args ...string) {
	k.t.Helper()
	var got any
	out := c.etcd(append(args, "-w", "json")...)
	decode(k.t, out, &got)
	if g, w := text(got), text(want); g != w {
		k.t.Errorf("%s: etcdctl %s -w json printed %s, want %s", c.member.Name, strings.Join(args, " "), g, w)
	}
}

func decode(t *testing.T, text string, into any) {
	t.Helper()
	d := json.NewDecoder(strings.NewReader(text))
	d.UseNumber()
	if err := d.Decode(into); err != nil {
		t.Fatalf("etcdctl printed %q: %v", text, err)
	}
}

// text is the JSON of a value, with sorted keys.
func text(v any) string {
	b, err := json.Marshal(v)
	if err != nil {
		return err.Error()
	}
	return string(b)
}

func number(n uint64) json.Number { return json.Number(strconv.FormatUint(n, 10)) }

func squeeze(text string) string { return strings.Join(strings.Fields(text), " ") }

// human is a size as etcdctl prints it (dustin/go-humanize): up to one digit behind the point, units of 1000.
func human(bytes int64) string {
	if bytes < 1000 {
		return fmt.Sprintf("%d B", bytes)
	}
	value := float64(bytes) / 1000
	if value < 10 {
		return fmt.Sprintf("%.1f kB", value)
	}
	return fmt.Sprintf("%.0f kB", value)
}
