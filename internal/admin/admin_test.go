package admin

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/okapi-kv/okapi/internal/core/command"
	"github.com/okapi-kv/okapi/internal/core/state"
)

// fakeCluster answers as it is told to, and keeps what it was asked.
type fakeCluster struct {
	members Members
	result  state.Result
	err     error
	changes []command.MemberChange
	moved   []uint64
	limited bool // the last call had a deadline
}

func (f *fakeCluster) Describe() Members { return f.members }

func (f *fakeCluster) Change(ctx context.Context, changes []command.MemberChange) (state.Result, error) {
	f.changes = changes
	_, f.limited = ctx.Deadline()
	return f.result, f.err
}

func (f *fakeCluster) MoveLeader(ctx context.Context, to uint64) error {
	f.moved = append(f.moved, to)
	_, f.limited = ctx.Deadline()
	return f.err
}

// someMembers are two members, of which the one that answers leads.
func someMembers() Members {
	return Members{
		Cluster: 0xc1, AnsweredBy: 0xa, Leader: 0xa, Level: 3,
		Members: []Member{
			{ID: 0xa, Name: "n1", Role: "voter", PeerURLs: []string{"http://a:1"}, ClientURLs: []string{"http://a:2"}, Missing: new(uint64), Present: new(true)},
			{ID: 0xb, Role: "learner", PeerURLs: []string{"http://b:1"}},
		},
	}
}

// ask sends a request and returns status and body.
func ask(t *testing.T, c Cluster, method, path, body string) (int, string) {
	t.Helper()
	w := httptest.NewRecorder()
	New(c).ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), method, path, strings.NewReader(body)))
	if w.Code != http.StatusMethodNotAllowed && w.Code != http.StatusNotFound {
		if got := w.Header().Get("Content-Type"); got != "application/json" {
			t.Errorf("%s %s: the content has the type %q", method, path, got)
		}
	}
	return w.Code, w.Body.String()
}

// problem reads a Problem.
func problem(t *testing.T, body string) (p Problem) {
	t.Helper()
	if err := json.Unmarshal([]byte(body), &p); err != nil {
		t.Fatalf("%q is no problem: %v", body, err)
	}
	return p
}

func TestList(t *testing.T) {
	status, body := ask(t, &fakeCluster{members: someMembers()}, "GET", "/okapi/v1/members", "")
	const want = `{"cluster":"c1","answered_by":"a","leader":"a","level":3,"members":[` +
		`{"id":"a","name":"n1","role":"voter","peer_urls":["http://a:1"],"client_urls":["http://a:2"],"missing":0,"present":true},` +
		`{"id":"b","name":"","role":"learner","peer_urls":["http://b:1"],"client_urls":null}]}` + "\n"
	if status != http.StatusOK || body != want {
		t.Errorf("status %d\n%s, want\n%s", status, body, want)
	}
}

func TestOtherPaths(t *testing.T) {
	for _, c := range []struct {
		method, path string
		want         int
	}{
		{"DELETE", "/okapi/v1/members", http.StatusMethodNotAllowed},
		{"GET", "/okapi/v1/leader", http.StatusMethodNotAllowed},
		{"GET", "/okapi/v1/", http.StatusNotFound},
		{"GET", "/okapi/v1/members/a", http.StatusNotFound},
	} {
		f := &fakeCluster{}
		if status, _ := ask(t, f, c.method, c.path, "{}"); status != c.want || f.changes != nil || f.moved != nil {
			t.Errorf("%s %s: status %d, want %d; the cluster was asked for %v, %v", c.method, c.path, status, c.want, f.changes, f.moved)
		}
	}
}

func TestChange(t *testing.T) {
	for _, c := range []struct {
		request string
		want    []command.MemberChange
	}{
		{
			`{"action":"add","role":"learner","peer_urls":["http://b:1","https://a:1","http://b:1"]}`,
			[]command.MemberChange{{Action: command.AddMember, Role: command.Learner, PeerURLs: []string{"http://b:1", "https://a:1"}}},
		},
		{
			`{"action":"add","id":"b","role":"observer","peer_urls":["http://[::1]:1"]}`,
			[]command.MemberChange{{Action: command.AddMember, ID: 0xb, Role: command.Observer, PeerURLs: []string{"http://[::1]:1"}}},
		},
		{`{"action":"role","id":"b","role":"voter"}`, []command.MemberChange{{Action: command.SetRole, ID: 0xb, Role: command.Voter}}},
		{
			`{"action":"urls","id":"b","peer_urls":["http://b:2"]}`,
			[]command.MemberChange{{Action: command.SetPeerURLs, ID: 0xb, PeerURLs: []string{"http://b:2"}}},
		},
		{
			`{"action":"remove","id":"ffffffffffffffff"},{"action":"add","role":"voter","peer_urls":["http://b:1"]}`,
			[]command.MemberChange{
				{Action: command.RemoveMember, ID: 1<<64 - 1},
				{Action: command.AddMember, Role: command.Voter, PeerURLs: []string{"http://b:1"}},
			},
		},
	} {
		f := &fakeCluster{members: someMembers()}
		status, body := ask(t, f, "POST", "/okapi/v1/members", `{"changes":[`+c.request+`]}`)
		if diff := cmp.Diff(c.want, f.changes); status != http.StatusOK || diff != "" || !f.limited {
			t.Errorf("%s: status %d, limited %v, changes (-want +got)\n%s", c.request, status, f.limited, diff)
		}
		var after Members
		if err := json.Unmarshal([]byte(body), &after); err != nil || cmp.Diff(someMembers(), after) != "" {
			t.Errorf("%s: answered with %s (%v), want the members", c.request, body, err)
		}
	}
}

func TestBadRequests(t *testing.T) {
	many := `{"changes":[{"action":"` + strings.Repeat("x", bodyBytesMax) + `"}]}`
	for _, c := range []struct{ path, body, want string }{
		{"members", ``, "the request cannot be read: EOF"},
		{"members", `[]`, "the request cannot be read: json"},
		{"members", `{"changes":[],"more":1}`, `the request cannot be read: json: unknown field "more"`},
		{"members", `{"changes":[]} {}`, "the request cannot be read: something follows the request"},
		{"members", `{"changes":[{"action":"remove","id":"0x1"}]}`, `id "0x1": want a hexadecimal number`},
		{"members", `{"changes":[{"action":"remove","id":12}]}`, "the request cannot be read: json"},
		{"members", many, "the request cannot be read: http: request body too large"},
		{"members", `{}`, "no changes"},
		{"members", `{"changes":[{"action":"kill","id":"a"}]}`, `action "kill": want add, remove, role or urls`},
		{"members", `{"changes":[{"id":"a"}]}`, `action "": want add, remove, role or urls`},
		{"members", `{"changes":[{"action":"role","id":"a","role":"king"}]}`, `role "king": want voter, learner or observer`},
		{"members", `{"changes":[{"action":"add","peer_urls":["http://a:1"]}]}`, `role "": want voter, learner or observer`},
		{"members", `{"changes":[{"action":"add","role":"learner"}]}`, "no peer URLs: others could not reach the member"},
		{"members", `{"changes":[{"action":"urls","id":"a","peer_urls":[]}]}`, "no peer URLs: others could not reach the member"},
		{"leader", `{"to":"n1"}`, `id "n1": want a hexadecimal number`},
		{"leader", `{"to":"a","now":true}`, `unknown field "now"`},
	} {
		f := &fakeCluster{members: someMembers()}
		status, body := ask(t, f, "POST", "/okapi/v1/"+c.path, c.body)
		p := problem(t, body)
		if status != http.StatusBadRequest || p.Code != "bad-request" || !strings.Contains(p.Error, c.want) {
			t.Errorf("%s %.80s: status %d, %+v, want %q", c.path, c.body, status, p, c.want)
		}
		if f.changes != nil || f.moved != nil {
			t.Errorf("%s %.80s: the cluster was asked for %v, %v", c.path, c.body, f.changes, f.moved)
		}
	}
}

func TestBadURLs(t *testing.T) {
	for _, text := range []string{
		"", "a:1", "http://a", "http://:1", "http://a:", "ftp://a:1", "http://a:1/", "http://a:1/x", "http://a:1?x=1", "http://u@a:1", "http://a:1:2", "unix://a:1",
		"http://%zz:1",
	} {
		if _, err := checkURLs([]string{"http://b:1", text}); err == nil || !strings.Contains(err.Error(), fmt.Sprintf("peer URL %q: write http://host:port or https://host:port", text)) {
			t.Errorf("%q: %v", text, err)
		}
	}
}

// TestRefusals: what the cluster refuses is a conflict, whose text says what to do.
func TestRefusals(t *testing.T) {
	for _, c := range []struct {
		result state.Result
		want   Problem
	}{
		{state.Result{Code: state.MemberExists}, Problem{Code: "member-exists", Error: "a member of that id exists, or was removed: ids never come back"}},
		{
			state.Result{Code: state.PeerURLTaken},
			Problem{Code: "peer-URL-is-taken", Error: "another member has one of these peer URLs: remove that member in the same change, or use others"},
		},
		{state.Result{Code: state.MemberNotFound}, Problem{Code: "member-not-found", Error: "no such member, or it was removed: see okapi member list"}},
		{
			state.Result{Code: state.QuorumAtRisk},
			Problem{Code: "quorum-at-risk", Error: "too few voters are heard of: with this change the cluster could not decide anything any more. " +
				"Start the members that are down, or remove those that are lost first"},
		},
		{
			state.Result{Code: state.NotCaughtUp, Detail: "4711"},
			Problem{Code: "not-caught-up", Missing: 4711, Error: "the member lacks 4711 entries of the log, or has not been heard of for a moment: " +
				"start it, and let it catch up first"},
		},
		{
			state.Result{Code: state.BadMemberChange},
			Problem{Code: "bad-change-of-members", Error: "the change makes no sense: at least one voter must stay, and a member cannot get the role that it has"},
		},
		{state.Result{Code: state.NoSpace}, Problem{Code: strings.ReplaceAll(state.NoSpace.String(), " ", "-"), Error: "the cluster refused the change: " + state.NoSpace.String()}},
	} {
		f := &fakeCluster{result: c.result}
		status, body := ask(t, f, "POST", "/okapi/v1/members", `{"changes":[{"action":"remove","id":"a"}]}`)
		if diff := cmp.Diff(c.want, problem(t, body)); status != http.StatusConflict || diff != "" {
			t.Errorf("%v: status %d, (-want +got)\n%s", c.result.Code, status, diff)
		}
	}
}

// ended is an error that says how a command ended.
type ended string

func (e ended) Error() string   { return "it is " + string(e) }
func (e ended) Outcome() string { return string(e) }

// TestUnsettled: without a result the answer says whether the change can still be made.
func TestUnsettled(t *testing.T) {
	for _, c := range []struct {
		err        error
		code, want string
	}{
		{ended("not-done"), "not-done", "nothing was changed: the leader has just changed; try again"},
		{ended("timeout"), "timeout", "The change may still be made: look at okapi member list before you try again"},
		{ended("unknown"), "unknown-outcome", "it is not known whether the change was made (it is unknown): look at okapi member list before you try again"},
		{errors.New("odd"), "unknown-outcome", "it is not known whether the change was made (odd)"},
	} {
		f := &fakeCluster{err: c.err}
		status, body := ask(t, f, "POST", "/okapi/v1/members", `{"changes":[{"action":"remove","id":"a"}]}`)
		if p := problem(t, body); status != http.StatusServiceUnavailable || p.Code != c.code || !strings.Contains(p.Error, c.want) {
			t.Errorf("%v: status %d, %+v, want %s and %q", c.err, status, p, c.code, c.want)
		}
	}
}

func TestTransfer(t *testing.T) {
	f := &fakeCluster{members: someMembers()}
	status, body := ask(t, f, "POST", "/okapi/v1/leader", `{"to":"b"}`)
	var after Members
	if err := json.Unmarshal([]byte(body), &after); err != nil || status != http.StatusOK || cmp.Diff(someMembers(), after) != "" {
		t.Errorf("status %d, %s (%v), want the members", status, body, err)
	}
	if diff := cmp.Diff([]uint64{0xb}, f.moved); diff != "" || !f.limited {
		t.Errorf("limited %v, moved (-want +got)\n%s", f.limited, diff)
	}
	f.err = context.DeadlineExceeded
	status, body = ask(t, f, "POST", "/okapi/v1/leader", `{"to":"b"}`)
	if p := problem(t, body); status != http.StatusServiceUnavailable || p.Code != "timeout" ||
		!strings.HasPrefix(p.Error, "member b does not lead: it has no vote, cannot be reached or has not caught up (") {
		t.Errorf("in vain: status %d, %+v", status, p)
	}
}

// TestTransferElsewhere: a member that does not lead cannot hand the office on, and says who can.
func TestTransferElsewhere(t *testing.T) {
	for _, c := range []struct {
		leader ID
		want   string
	}{
		{0xa, "this member does not lead: ask the leader a (n1) at http://a:2"},
		{0, "this member does not lead, and knows of no leader: try again"},
	} {
		f := &fakeCluster{members: someMembers()}
		f.members.AnsweredBy, f.members.Leader = 0xb, c.leader
		status, body := ask(t, f, "POST", "/okapi/v1/leader", `{"to":"b"}`)
		if p := problem(t, body); status != http.StatusConflict || p != (Problem{Code: "not-leader", Error: c.want}) || f.moved != nil {
			t.Errorf("status %d, %+v, moved %v, want %q", status, p, f.moved, c.want)
		}
	}
}
