package server

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/okapi-kv/okapi/internal/cluster"
	"github.com/okapi-kv/okapi/internal/core/state"
	"github.com/okapi-kv/okapi/internal/replica"
	"github.com/okapi-kv/okapi/internal/transport"
)

// strangersMax bounds the members that are linked though they are not known to belong to the cluster.
const strangersMax = 8

// gatekeeper decides who may have a link with this member.
type gatekeeper struct {
	replica   *replica.Replica
	transport *transport.Transport
	recall    *cluster.Recall // of the data directories of the others
	level     func() uint64
}

// admit decides who may have a link. A member that is not known may be one that was added while this one was away, or all of them
// for a member that has just joined.
func (g *gatekeeper) admit(c transport.Caller) error {
	status := g.replica.Status()
	if err := mayLink(c, &status, g.level(), g.strangers(status.Members)); err != nil {
		return err
	}
	err := g.recall.Recognize(c.ID, c.Directory, c.Starts)
	if errors.Is(err, cluster.ErrForgetful) {
		return transport.ErrDirectory
	}
	if err != nil {
		return err
	}
	if !c.Known {
		g.transport.AddPeer(c.ID, c.URLs)
	}
	return nil
}

// mayLink decides whether a caller may have a link, as far as the membership, the feature level and the number of strangers say.
// One that was removed is sent away for good only when it is needed no more; until then it may be linked as long as raft counts
// on it, and else tries again.
func mayLink(c transport.Caller, s *replica.MemberStatus, level uint64, strangers int) error {
	_, belongs := s.Members.ByID(c.ID)
	belongs = belongs || c.Known || slices.Contains(s.Counted, c.ID)
	removed := !belongs && s.Members.WasRemoved(c.ID)
	switch {
	case removed && s.Dismisses:
		return transport.ErrRemoved
	case removed:
		return errLeaving
	case c.Feature < level:
		return transport.ErrFeature
	case !belongs && strangers >= strangersMax:
		return errStranger
	}
	return nil
}

var errLeaving = errors.New("it was removed, and this member has yet to make sure that it is needed no more")

var errNotServing = errors.New("the member that was asked does not serve yet")

var errStranger = errors.New("not a member that this one knows, and too many of these are linked already")

// strangers counts the peers that are not known to belong to the cluster.
func (g *gatekeeper) strangers(members state.Membership) (n int) {
	for _, p := range g.transport.Status() {
		if _, belongs := members.ByID(p.ID); !belongs {
			n++
		}
	}
	return n
}

// expected finds the member with these peer URLs, which is about to start for the first time.
func (g *gatekeeper) expected(urls []string) (id uint64, err error) {
	select {
	case <-g.replica.Serving():
	default: // it may not know of the last changes
		return 0, errNotServing
	}
	want := slices.Sorted(slices.Values(urls))
	for _, known := range g.replica.Status().Members.Members {
		if slices.Equal(slices.Sorted(slices.Values(known.PeerURLs)), want) {
			return known.ID, nil
		}
	}
	return 0, fmt.Errorf("no member has the peer URLs %s", strings.Join(want, ","))
}
