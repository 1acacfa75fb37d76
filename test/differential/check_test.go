package differential

import (
	"os"
	"strings"
	"testing"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"
	"google.golang.org/protobuf/proto"
)

// TestRecord gives a record what no server may send, and sees it noticed.
func TestRecord(t *testing.T) {
	response := func(id, revision int64, mods ...int64) *pb.WatchResponse {
		r := &pb.WatchResponse{WatchId: id, Header: &pb.ResponseHeader{Revision: revision}}
		for _, mod := range mods {
			r.Events = append(r.Events, &mvccpb.Event{Kv: &mvccpb.KeyValue{Key: []byte("a"), ModRevision: mod}})
		}
		return r
	}
	fragment := func(r *pb.WatchResponse) *pb.WatchResponse {
		r.Fragment = true
		return r
	}
	for _, c := range []struct {
		what string
		came []*pb.WatchResponse
		want string
	}{
		{"what is right", []*pb.WatchResponse{response(0, 5, 3, 3, 4), response(1, 3, 3), response(0, 6, 6)}, ""},
		{"a revision in fragments", []*pb.WatchResponse{fragment(response(0, 5, 5, 5)), response(0, 5, 5)}, ""},
		{"a revision in two responses", []*pb.WatchResponse{response(0, 5, 4, 5), response(0, 5, 5)}, "splits a revision"},
		{"an old event", []*pb.WatchResponse{response(0, 5, 5), response(0, 5, 4)}, "goes back in time"},
		{"an event of the future", []*pb.WatchResponse{response(0, 5, 6)}, "has events of after its header's revision"},
		{"no events", []*pb.WatchResponse{response(0, 5)}, "has no events"},
		{"something amid fragments", []*pb.WatchResponse{fragment(response(0, 5, 5)), response(1, 5, 5)}, "stands between the fragments of another watch"},
	} {
		s := &stream{logs: map[int64]*watchLog{}, seen: map[string]int{}}
		for _, r := range c.came {
			s.record(r)
		}
		got := strings.Join(s.broken, "\n")
		if c.want == "" && got != "" || !strings.Contains(got, c.want) {
			t.Errorf("%s: noticed %q, want %q", c.what, got, c.want)
		}
	}
}

// TestShrink makes a script small whose difference needs three of its steps.
func TestShrink(t *testing.T) {
	needed := []int{3, 57, 90}
	tries := 0
	try := func(s script) *difference {
		tries++
		missing := len(needed)
		for _, step := range s.steps {
			for _, n := range needed {
				if step == n {
					missing--
				}
			}
		}
		if missing > 0 {
			return nil
		}
		return &difference{step: 90}
	}
	const budget = 150
	small, _ := shrink(newScript(1, 100), &difference{step: 90}, budget, try)
	if len(small.steps) != len(needed) || tries > budget {
		t.Errorf("%v is left after %d tries, want %v after at most %d", small.steps, tries, needed, budget)
	}
}

// TestCompared sees that answers which differ are told apart, and those that may differ are not.
func TestCompared(t *testing.T) {
	header := func(member uint64, revision int64) *pb.ResponseHeader {
		return &pb.ResponseHeader{MemberId: member, ClusterId: member, RaftTerm: member, Revision: revision}
	}
	put := func(member uint64, revision int64) answer {
		return answer{messages: []proto.Message{&pb.PutResponse{Header: header(member, revision)}}}
	}
	left := func(ttl int64) answer {
		return answer{messages: []proto.Message{&pb.LeaseTimeToLiveResponse{TTL: ttl, GrantedTTL: 100}}}
	}
	for _, c := range []struct {
		what      string
		want, got answer
		same      bool
	}{
		{"another member", put(1, 5), put(2, 5), true},
		{"another revision", put(1, 5), put(1, 6), false},
		{"an error instead", put(1, 5), answer{code: 3, text: "x"}, false},
		{"another text", answer{code: 3, text: "x"}, answer{code: 3, text: "y"}, false},
		{"another code", answer{code: 3, text: "x"}, answer{code: 2, text: "x"}, false},
		{"less time left", left(99), left(70), true},
		{"no time left", left(99), left(-1), false},
		{"more time left than was granted", left(99), left(101), false},
	} {
		a := &action{request: &pb.PutRequest{}}
		if text := compared(a, c.want, c.got, map[string]int{}); (text == "") != c.same {
			t.Errorf("%s: compared says %q", c.what, text)
		}
	}
}

// TestExplanations sees that users are told of every difference that is explained, and that they stay few.
func TestExplanations(t *testing.T) {
	told, err := os.ReadFile("../../docs/compat/etcd.md")
	if err != nil {
		t.Fatal(err)
	}
	if len(explanations) > explanationsMax {
		t.Errorf("%d differences are explained, more than %d", len(explanations), explanationsMax)
	}
	for _, e := range explanations {
		if e.proof == "" || !strings.Contains(string(told), "`"+e.proof+"`") {
			t.Errorf("docs/compat/etcd.md does not tell of %s, or not why: no %q", e.name, e.proof)
		}
	}
}
