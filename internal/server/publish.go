package server

import (
	"context"
	"slices"
	"time"

	"github.com/okapi-kv/okapi/internal/core/command"
	"github.com/okapi-kv/okapi/internal/core/state"
)

// publish tells the cluster this member's name and under which URLs clients reach it, unless it knows already. It comes
// before the door opens, so that a client that asks for the members finds at least the one that answers. It tries until it
// succeeds, as etcd does (server/etcdserver/server.go, publishV3), and returns false if the member is to stop
// instead.
func (m *member) publish(ctx, core context.Context) bool {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(core, cancel)()
	urls := slices.Sorted(slices.Values(m.cfg.AdvertiseClientURLs))
	poll := time.NewTicker(pollInterval)
	defer poll.Stop()
	for !m.published(urls) {
		limited, stop := context.WithTimeout(ctx, m.requestTimeout())
		_, err := m.replica.Propose(limited, command.Caller{}, &command.PublishMember{
			ID: m.identity.MemberID, Name: m.cfg.Name, ClientURLs: urls,
		})
		stop()
		if err != nil {
			m.log.Debug("this member's client URLs are not published yet", "error", err)
		}
		select {
		case <-poll.C:
		case <-ctx.Done():
			return false
		}
	}
	return true
}

// published tells whether the state says of this member what it says of itself.
func (m *member) published(urls []string) (same bool) {
	m.replica.Store().Read(func(v state.View) {
		self, _ := state.Members(v).ByID(m.identity.MemberID)
		same = self.Name == m.cfg.Name && slices.Equal(self.ClientURLs, urls)
	})
	return same
}
