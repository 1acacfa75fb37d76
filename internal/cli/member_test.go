package cli

import (
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/okapi-kv/okapi/internal/admin"
)

// fakeMember is a member of which "okapi member" asks things. It keeps the requests.
type fakeMember struct {
	*httptest.Server
	mu       sync.Mutex
	members  admin.Members
	problems []admin.Problem // of the next requests that change something
	requests []string
}

// newMember starts a member that answers under an id.
func newMember(t *testing.T, id admin.ID) *fakeMember {
	t.Helper()
	f := &fakeMember{members: admin.Members{Cluster: 0xc, AnsweredBy: id}}
	f.Server = httptest.NewServer(f)
	t.Cleanup(f.Close)
	return f
}

// threeMembers starts two members, of which the second leads; the third does not run.
func threeMembers(t *testing.T) (follower, leader *fakeMember) {
	t.Helper()
	follower, leader = newMember(t, 0xa), newMember(t, 0xb)
	list := []admin.Member{
		{ID: 0xa, Name: "n1", Role: "voter", PeerURLs: []string{"http://h1:1"}, ClientURLs: []string{follower.URL}},
		{ID: 0xb, Name: "n2", Role: "voter", PeerURLs: []string{"http://h2:1"}, ClientURLs: []string{leader.URL}},
		{ID: 0xcafe, Role: "learner", PeerURLs: []string{"http://h3:1", "http://h3:2"}},
	}
	for _, f := range []*fakeMember{follower, leader} {
		f.members.Leader, f.members.Level, f.members.Members = 0xb, 1, slices.Clone(list)
	}
	for i, missing := range []uint64{0, 7, 9} {
		leader.members.Members[i].Missing, leader.members.Members[i].Present = new(missing), new(i < 2)
	}
	return follower, leader
}

// ServeHTTP answers with the next problem, if there is one, or with the members.
func (f *fakeMember) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	f.mu.Lock()
	defer f.mu.Unlock()
	var body json.RawMessage
	if r.Method == http.MethodPost {
		if err := json.NewDecoder(r.Body).Decode(&body); err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		f.requests = append(f.requests, r.URL.Path+" "+string(body))
		if len(f.problems) > 0 {
			p := f.problems[0]
			f.problems = f.problems[1:]
			w.WriteHeader(http.StatusConflict)
			_ = json.NewEncoder(w).Encode(p)
			return
		}
	}
	_ = json.NewEncoder(w).Encode(f.members)
}

// asked returns what the member was asked to change since the last call.
func (f *fakeMember) asked() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	asked := f.requests
	f.requests = nil
	return asked
}

// member runs "okapi member" against endpoints.
func member(endpoints string, args ...string) (int, string, string) {
	return call(never, slices.Concat([]string{"member"}, args, []string{"--endpoints", endpoints})...)
}

func TestMemberList(t *testing.T) {
	follower, leader := threeMembers(t)
	status, out, errs := member("http://127.0.0.1:1, "+follower.URL+"/", "list")
	var lines []string
	for _, line := range strings.Split(strings.TrimSpace(out), "\n") {
		lines = append(lines, strings.Join(strings.Fields(line), " "))
	}
	want := []string{
		"ID NAME ROLE PEER URLS CLIENT URLS STATE",
		"a n1 voter http://h1:1 " + follower.URL + " has everything",
		"b n2 voter http://h2:1 " + leader.URL + " leads",
		"cafe (not started) learner http://h3:1,http://h3:2 not heard of",
	}
	if status != 0 || errs != "" || !slices.Equal(lines, want) {
		t.Errorf("status %d, errs %q, lines\n%s", status, errs, strings.Join(lines, "\n"))
	}
	leader.Close() // The follower cannot tell who is there.
	if status, out, _ = member(follower.URL, "list"); status != 0 || strings.Count(out, " -\n") != 2 || !strings.Contains(out, "leads") {
		t.Errorf("without the leader: status %d\n%s", status, out)
	}
	status, out, _ = member(follower.URL, "list", "--json")
	var members admin.Members
	if err := json.Unmarshal([]byte(out), &members); err != nil || status != 0 || members.AnsweredBy != 0xa || members.Level != 1 || len(members.Members) != 3 {
		t.Errorf("JSON: status %d, %v\n%s", status, err, out)
	}
}

func TestMemberStates(t *testing.T) {
	for _, c := range []struct {
		missing uint64
		present bool
		want    string
	}{{0, true, "has everything"}, {3, true, "lacks 3 entries"}, {3, false, "not heard of"}} {
		got := stateOf(admin.Members{Leader: 1}, admin.Member{ID: 2, Missing: new(c.missing), Present: new(c.present)})
		if got != c.want {
			t.Errorf("%+v: %q", c, got)
		}
	}
}

// TestMemberChanges: what each command asks for. A member is named by its name or its id.
func TestMemberChanges(t *testing.T) {
	for _, c := range []struct{ args, want string }{
		{"add n3 --peer-urls http://h3:1,http://h3:2", `{"action":"add","role":"learner","peer_urls":["http://h3:1","http://h3:2"]}`},
		{"add n3 --observer --peer-urls http://h3:1", `{"action":"add","role":"observer","peer_urls":["http://h3:1"]}`},
		{"promote cafe", `{"action":"role","id":"cafe","role":"voter"}`},
		{"demote n1", `{"action":"role","id":"a","role":"observer"}`},
		{"remove n2", `{"action":"remove","id":"b"}`},
		{"remove CAFE", `{"action":"remove","id":"cafe"}`},
		{"update n1 --peer-urls http://h1:9", `{"action":"urls","id":"a","peer_urls":["http://h1:9"]}`},
		{"replace n1 n1 --peer-urls http://h1:1", `{"action":"remove","id":"a"},{"action":"add","role":"learner","peer_urls":["http://h1:1"]}`},
		{"replace n1 n4 --peer-urls http://h1:1", `{"action":"remove","id":"a"},{"action":"add","role":"learner","peer_urls":["http://h1:1"]}`},
	} {
		follower, _ := threeMembers(t)
		status, out, errs := member(follower.URL, strings.Fields(c.args)...)
		if status != 0 || errs != "" || !strings.HasPrefix(out, "ID ") {
			t.Errorf("okapi member %s: status %d, out %q, errs %q", c.args, status, out, errs)
		}
		if got, want := follower.asked(), []string{`/okapi/v1/members {"changes":[` + c.want + `]}`}; !slices.Equal(got, want) {
			t.Errorf("okapi member %s asks %q, want %q", c.args, got, want)
		}
	}
}

// TestMemberAddSaysHowToStart: the command line has everybody's addresses, under the name of the new member its own.
func TestMemberAddSaysHowToStart(t *testing.T) {
	follower, _ := threeMembers(t)
	_, out, _ := member(follower.URL, "add", "n3", "--peer-urls", "http://h3:2,http://h3:1")
	for _, want := range []string{
		"Now start it, with an empty --data-dir",
		"  okapi serve --name n3 --initial-cluster-state existing \\\n    --initial-advertise-peer-urls http://h3:2,http://h3:1 \\\n" +
			"    --initial-cluster n1=http://h1:1,n2=http://h2:1,n3=http://h3:1,n3=http://h3:2\n",
		"  okapi member promote n3 --endpoints " + follower.URL + "\n",
	} {
		if !strings.Contains(out, want) {
			t.Errorf("printed\n%s\nwant\n%s", out, want)
		}
	}
	follower.members.Members[2].Role = "observer"
	_, out, _ = member(follower.URL, "add", "n3", "--observer", "--peer-urls", "http://h3:1,http://h3:2")
	if !strings.Contains(out, "okapi serve --name n3") || strings.Contains(out, "promote") {
		t.Errorf("an observer: printed\n%s", out)
	}
	if _, out, _ = member(follower.URL, "add", "n3", "--json", "--peer-urls", "http://h3:1"); !json.Valid([]byte(out)) {
		t.Errorf("with --json: printed\n%s", out)
	}
}

// TestPromoteWaits: a member gets its vote when it has caught up.
func TestPromoteWaits(t *testing.T) {
	follower, _ := threeMembers(t)
	follower.problems = []admin.Problem{{Error: "it lacks some", Code: "not-caught-up", Missing: 2000}}
	status, _, errs := member(follower.URL, "promote", "cafe")
	if want := "waiting: cafe lacks 2000 entries, or has not been heard of for a moment\n"; status != 0 || errs != want {
		t.Errorf("status %d, errs %q, want %q", status, errs, want)
	}
	if got := follower.asked(); len(got) != 2 {
		t.Errorf("it was asked %q, want the same twice", got)
	}
	status, _, errs = member(follower.URL, "promote", "n9", "--timeout", "10ms")
	for _, want := range []string{
		"waiting: n9 is not there, or has not started: give its id, or start it\n",
		`okapi: n9 cannot get a vote within 10ms: no member has the id or the name "n9"`,
	} {
		if status != 1 || !strings.Contains(errs, want) {
			t.Errorf("status %d, errs %q, want %q", status, errs, want)
		}
	}
	follower.problems = []admin.Problem{{Error: "two changes at once", Code: "odd"}}
	if status, _, errs = member(follower.URL, "promote", "cafe"); status != 1 || errs != "okapi: two changes at once\n" {
		t.Errorf("status %d, errs %q", status, errs)
	}
}

// TestMoveLeader asks the leader, at its own address or at an endpoint.
func TestMoveLeader(t *testing.T) {
	follower, leader := threeMembers(t)
	if status, _, errs := member(follower.URL, "move-leader", "n1"); status != 0 || errs != "" {
		t.Errorf("status %d, errs %q", status, errs)
	}
	want := []string{`/okapi/v1/leader {"to":"a"}`}
	if got, also := leader.asked(), follower.asked(); !slices.Equal(got, want) || also != nil {
		t.Errorf("the leader was asked %q, the follower %q", got, also)
	}
	// The address that the leader gives is of no use here.
	for _, f := range []*fakeMember{follower, leader} {
		f.members.Members[1].ClientURLs = []string{"http://127.0.0.1:1"}
	}
	elsewhere := admin.Problem{Error: "this member does not lead: ask n2", Code: "not-leader"}
	follower.problems = []admin.Problem{elsewhere}
	if status, _, errs := member(follower.URL+","+leader.URL, "move-leader", "n1"); status != 0 || errs != "" {
		t.Errorf("by an endpoint: status %d, errs %q", status, errs)
	}
	if got := leader.asked(); !slices.Equal(got, want) {
		t.Errorf("by an endpoint: the leader was asked %q", got)
	}
	follower.problems = []admin.Problem{elsewhere}
	if status, _, errs := member(follower.URL, "move-leader", "n1"); status != 1 || errs != "okapi: this member does not lead: ask n2\n" {
		t.Errorf("nobody leads: status %d, errs %q", status, errs)
	}
	follower.problems = []admin.Problem{{Error: "it has no vote", Code: "timeout"}}
	if status, _, errs := member(follower.URL+","+leader.URL, "move-leader", "n1"); status != 1 || errs != "okapi: it has no vote\n" || len(leader.asked()) > 0 {
		t.Errorf("refused: status %d, errs %q", status, errs)
	}
}

// TestMemberRefusals: what goes wrong is one line, and status 1.
func TestMemberRefusals(t *testing.T) {
	follower, _ := threeMembers(t)
	stranger := httptest.NewServer(http.NotFoundHandler())
	t.Cleanup(stranger.Close)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	nobody := "http://" + l.Addr().String()
	_ = l.Close()
	for _, c := range []struct{ endpoints, args, want string }{
		{follower.URL, "remove n9", `no member has the id or the name "n9": see okapi member list`},
		{follower.URL, "remove", "okapi member remove takes 1 arguments, but got 0: see okapi member remove --help"},
		{follower.URL, "replace n1", "okapi member replace takes 2 arguments, but got 1: see okapi member replace --help"},
		{follower.URL, "list n1", "okapi member list takes 0 arguments, but got 1: see okapi member list --help"},
		{follower.URL, "add n1 --peer-urls http://h9:1", `member a has the name "n1": choose another name`},
		{follower.URL, "replace n2 n1 --peer-urls http://h9:1", `member a has the name "n1": choose another name`},
		{follower.URL, "list --all", "unknown flag: --all"},
		{nobody, "list", "no member answers: is one running at --endpoints " + nobody + "? ask: "},
		{nobody, "move-leader n1", "no member answers: is one running at --endpoints " + nobody + "?"},
		{"", "list", "no member answers"},
		{stranger.URL, "list", "answers 404 Not Found: is it an okapi?"},
	} {
		status, out, errs := member(c.endpoints, strings.Fields(c.args)...)
		if status != 1 || out != "" || strings.Count(errs, "\n") != 1 || !strings.Contains(errs, c.want) {
			t.Errorf("okapi member %s: status %d, out %q, errs %q, want %q", c.args, status, out, errs, c.want)
		}
	}
	follower.problems = []admin.Problem{{Error: "too few voters are heard of", Code: "quorum-at-risk"}}
	if status, out, errs := member(follower.URL, "remove", "n1"); status != 1 || out != "" || errs != "okapi: too few voters are heard of\n" {
		t.Errorf("refused: status %d, out %q, errs %q", status, out, errs)
	}
	_, leader := threeMembers(t)
	leader.members.Members[1].Name = "n1"
	if status, _, errs := member(leader.URL, "remove", "n1"); status != 1 || !strings.Contains(errs, `2 members have the name "n1": use an id`) {
		t.Errorf("an ambiguous name: status %d, errs %q", status, errs)
	}
}

func TestMemberHelp(t *testing.T) {
	status, out, _ := call(never, "member")
	for _, name := range []string{"list", "add", "promote", "demote", "remove", "replace", "update", "move-leader"} {
		if status != 0 || !strings.Contains(out, fmt.Sprintf("\n  %-11s", name)) {
			t.Errorf("help of okapi member: status %d, has no %s\n%s", status, name, out)
		}
	}
}
