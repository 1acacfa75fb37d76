package differential

import (
	"bytes"
	"cmp"
	"fmt"
	"slices"
	"strings"

	gocmp "github.com/google/go-cmp/cmp"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/encoding/prototext"
	"google.golang.org/protobuf/proto"
)

// explanation is a difference that is none: etcd's behaviour there is an accident, or ours is allowed.
// docs/compat/etcd.md tells users of each, with the same proof. There are at most explanationsMax.
type explanation struct {
	name string
	// file and line of etcd's source show it; why says how.
	proof, why string
	// same reports whether two answers differ in nothing else; nil where scripts keep away from it.
	same func(a *action, want, got answer) bool
}

const explanationsMax = 8

var explanations = []explanation{
	{
		name:  "the order of keys that are equal in what is sorted by",
		proof: "server/etcdserver/txn/range.go",
		why:   "sortRangeResults calls sort.Sort, which is not stable for more than 12 keys",
		same:  sameButForTies,
	},
	{
		name:  "a range stream with a sort target and no sort order",
		proof: "server/etcdserver/v3_server.go:247",
		why:   "rangeStream sorts each part by itself and begins the next after its last key",
		same:  sameButForSortedParts,
	},
	{
		name:  "a txn that deletes a key unnoticed and puts it, keeping its value or lease",
		proof: "server/etcdserver/txn/put.go:55",
		why:   "put takes for granted that the key is there, and panics; see escapes",
	},
	{
		name:  "a compaction at the revision of a txn that deletes a key unnoticed and puts it",
		proof: "server/storage/mvcc/key_index.go",
		why:   "doCompact keeps the tombstone alone, and the next read of the key panics; see escapes",
	},
	{
		name:  "the events of a key that a txn deletes unnoticed and puts",
		proof: "server/etcdserver/api/v3rpc/key.go",
		why:   "checkIntervals is there to refuse such a txn; see escapes",
	},
	{
		name:  "progress of a stream with a watch that was cancelled for compaction",
		proof: "server/storage/mvcc/watchable_store.go",
		why:   "progressIfSync looks for it among the watches that are synced; see drawProgress",
	},
}

// compared says how two answers differ, "" if they do not. explained counts the differences that are explained.
func compared(a *action, want, got answer, explained map[string]int) string {
	mask(want.messages)
	mask(got.messages)
	if equalAnswers(want, got) {
		return ""
	}
	for _, e := range explanations {
		if e.same != nil && e.same(a, want, got) {
			explained[e.name]++
			return ""
		}
	}
	return gocmp.Diff(answerText(want), answerText(got))
}

func equalAnswers(want, got answer) bool {
	return want.code == got.code && want.text == got.text && slices.EqualFunc(want.messages, got.messages, proto.Equal)
}

// answerText is an answer as lines.
func answerText(a answer) []string {
	out := []string{fmt.Sprintf("status %v %q", a.code, a.text)}
	for _, m := range a.messages {
		text := prototext.MarshalOptions{Multiline: true}.Format(m)
		// prototext varies its blanks on purpose.
		text = strings.ReplaceAll(text, ":  ", ": ")
		if len(text) > 20*shownBytes {
			text = text[:20*shownBytes]
		}
		out = append(out, fmt.Sprintf("%s:", m.ProtoReflect().Descriptor().Name()))
		out = append(out, strings.Split(strings.TrimSpace(text), "\n")...)
	}
	return out
}

// mask takes out what may differ between any two etcds: who answered, and what a clock decides.
func mask(messages []proto.Message) {
	for _, m := range messages {
		if withHeader, ok := m.(interface{ GetHeader() *pb.ResponseHeader }); ok {
			if h := withHeader.GetHeader(); h != nil {
				h.ClusterId, h.MemberId, h.RaftTerm = 0, 0, 0
			}
		}
		switch reply := m.(type) {
		case *pb.LeaseTimeToLiveResponse:
			// What is left of a lease's time; that it is left must agree. The keys come from a map (server/lease/lease.go).
			if 0 < reply.TTL && reply.TTL <= reply.GrantedTTL {
				reply.TTL = 1
			}
			slices.SortFunc(reply.Keys, bytes.Compare)
		case *pb.LeaseLeasesResponse:
			// They come in the order of the time that is left.
			slices.SortFunc(reply.Leases, func(a, b *pb.LeaseStatus) int { return cmp.Compare(a.ID, b.ID) })
		}
	}
}

// stableMax is how many elements Go's sort.Sort leaves in their order if they are equal.
const stableMax = 12

// sameButForTies compares answers to ranges, also inside a txn, where keys that are equal in what they are
// sorted by may come in any order, and, where a limit cuts among them, any of them.
func sameButForTies(a *action, want, got answer) bool {
	if want.code != got.code || want.text != got.text || len(want.messages) != 1 || len(got.messages) != 1 {
		return false
	}
	w, g := proto.Clone(want.messages[0]), proto.Clone(got.messages[0])
	switch r := a.request.(type) {
	case *pb.RangeRequest:
		w, okW := w.(*pb.RangeResponse)
		g, okG := g.(*pb.RangeResponse)
		if okW && okG {
			levelTies(r, w, g)
		}
	case *pb.TxnRequest:
		w, okW := w.(*pb.TxnResponse)
		g, okG := g.(*pb.TxnResponse)
		if okW && okG {
			levelTiesOfTxn(r, w, g)
		}
	}
	return proto.Equal(w, g)
}

// sameButForSortedParts lets a range stream repeat keys, leave some out and miscount them, where its parts are
// sorted but not the whole.
func sameButForSortedParts(a *action, want, got answer) bool {
	r, ok := a.request.(*pb.RangeRequest)
	return ok && a.name == "RangeStream" && r.SortOrder == pb.RangeRequest_NONE && r.SortTarget != pb.RangeRequest_KEY &&
		want.code == codes.OK && got.code == codes.OK
}

func levelTiesOfTxn(r *pb.TxnRequest, want, got *pb.TxnResponse) {
	ops := r.Failure
	if want.Succeeded {
		ops = r.Success
	}
	if want.Succeeded != got.Succeeded || len(want.Responses) != len(ops) || len(got.Responses) != len(ops) {
		return
	}
	for i, op := range ops {
		w, g := want.Responses[i], got.Responses[i]
		switch {
		case op.GetRequestRange() != nil && w.GetResponseRange() != nil && g.GetResponseRange() != nil:
			levelTies(op.GetRequestRange(), w.GetResponseRange(), g.GetResponseRange())
		case op.GetRequestTxn() != nil && w.GetResponseTxn() != nil && g.GetResponseTxn() != nil:
			levelTiesOfTxn(op.GetRequestTxn(), w.GetResponseTxn(), g.GetResponseTxn())
		}
	}
}

// levelTies leaves of the key-values what they were sorted by, if there were enough for their order to be open.
func levelTies(r *pb.RangeRequest, want, got *pb.RangeResponse) {
	if want.Count <= stableMax || r.SortTarget == pb.RangeRequest_KEY {
		return
	}
	for _, kvs := range [][]*mvccpb.KeyValue{want.Kvs, got.Kvs} {
		for i, kv := range kvs {
			kvs[i] = sortedBy(r.SortTarget, kv)
		}
	}
}

func sortedBy(target pb.RangeRequest_SortTarget, kv *mvccpb.KeyValue) *mvccpb.KeyValue {
	switch target {
	case pb.RangeRequest_VERSION:
		return &mvccpb.KeyValue{Version: kv.Version}
	case pb.RangeRequest_CREATE:
		return &mvccpb.KeyValue{CreateRevision: kv.CreateRevision}
	case pb.RangeRequest_MOD:
		return &mvccpb.KeyValue{ModRevision: kv.ModRevision}
	case pb.RangeRequest_VALUE:
		return &mvccpb.KeyValue{Value: kv.Value}
	default:
		return kv
	}
}
