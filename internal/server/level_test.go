package server

import (
	"testing"

	"github.com/okapi-kv/okapi/internal/core/command"
	"github.com/okapi-kv/okapi/internal/core/state"
	"github.com/okapi-kv/okapi/internal/replica"
	"github.com/okapi-kv/okapi/internal/transport"
)

// TestCommonLevel: the level is that of the oldest member, be it one without a vote, and of nobody else.
func TestCommonLevel(t *testing.T) {
	three := state.NewMembership([]state.Member{{ID: 1}, {ID: 2}, {ID: 3, Role: command.Observer}})
	peers := func(features ...uint64) (list []transport.PeerStatus) {
		for i, f := range features {
			list = append(list, transport.PeerStatus{ID: uint64(i + 2), Feature: f})
		}
		return list
	}
	for _, c := range []struct {
		name    string
		members state.Membership
		peers   []transport.PeerStatus
		want    uint64
	}{
		{"alone", state.NewMembership([]state.Member{{ID: 1}}), nil, 5},
		{"all are new", three, peers(5, 5), 5},
		{"the others are newer", three, peers(7, 6), 5},
		{"a voter is old", three, peers(4, 5), 4},
		{"an observer is old", three, peers(5, 3), 3},
		{"one was not heard of", three, peers(5, 0), 0},
		{"one has no link", three, peers(5), 0},
		{"a stranger is old", three, peers(5, 5, 1), 5},
		{"one that was removed is old", state.NewMembership([]state.Member{{ID: 1}, {ID: 3}}), peers(1, 5), 5},
		{"a member is old, and sees a newer one", state.NewMembership([]state.Member{{ID: 1}, {ID: 2}}), peers(9), 5},
	} {
		if got := commonLevel(1, 5, c.members, c.peers); got != c.want {
			t.Errorf("%s: level %d, want %d", c.name, got, c.want)
		}
	}
}

// TestMayLink: who was removed or is too old is told so, and strangers are few.
func TestMayLink(t *testing.T) {
	status := replica.MemberStatus{Members: state.NewMembership([]state.Member{{ID: 1}, {ID: 2}}), Counted: []uint64{1, 2, 7}, Dismisses: true}
	status.Members.Removed = []uint64{7, 8, 9}
	settling := status
	settling.Dismisses = false
	for _, c := range []struct {
		name      string
		caller    transport.Caller
		strangers int
		want      error
	}{
		{"a member", transport.Caller{ID: 2, Known: true, Feature: 3}, 0, nil},
		{"a newer member", transport.Caller{ID: 2, Known: true, Feature: 4}, 0, nil},
		{"an older member", transport.Caller{ID: 2, Known: true, Feature: 2}, 0, transport.ErrFeature},
		{"a member of before there were levels", transport.Caller{ID: 2, Known: true}, 0, transport.ErrFeature},
		{"a member, and many strangers", transport.Caller{ID: 2, Known: true, Feature: 3}, strangersMax, nil},
		{"one that was removed", transport.Caller{ID: 9, Feature: 3}, 0, transport.ErrRemoved},
		{"one that was removed and is old", transport.Caller{ID: 9, Feature: 1}, 0, transport.ErrRemoved},
		{"one that was removed, as long as raft counts on it", transport.Caller{ID: 9, Known: true, Feature: 3}, 0, nil},
		{"one that was removed, from whom raft wants a vote", transport.Caller{ID: 7, Feature: 3}, 0, nil},
		{"a stranger", transport.Caller{ID: 5, Feature: 3}, strangersMax - 1, nil},
		{"one stranger too many", transport.Caller{ID: 5, Feature: 3}, strangersMax, errStranger},
		{"an old stranger", transport.Caller{ID: 5, Feature: 2}, 0, transport.ErrFeature},
	} {
		if got := mayLink(c.caller, &status, 3, c.strangers); got != c.want {
			t.Errorf("%s: %v, want %v", c.name, got, c.want)
		}
	}
	if got := mayLink(transport.Caller{ID: 9, Feature: 3}, &settling, 3, 0); got != errLeaving {
		t.Errorf("one that was removed and may still be needed: %v, want %v", got, errLeaving)
	}
}
