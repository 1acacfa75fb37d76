package server

import (
	"context"
	"time"

	"github.com/okapi-kv/okapi/internal/cluster"
	"github.com/okapi-kv/okapi/internal/core/command"
	"github.com/okapi-kv/okapi/internal/core/state"
	"github.com/okapi-kv/okapi/internal/transport"
)

// levelInterval is the time between two looks at what all members understand.
const levelInterval = time.Second

// runLevel raises the feature level of the cluster when every member, by its own word, understands more. The leader does it;
// that two of them try at once does no harm, since a level is never lowered. A member that has not been heard of holds it
// back: it may be older.
func (m *member) runLevel(ctx context.Context) error {
	ticker := time.NewTicker(levelInterval)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
		common := m.understood()
		if !m.replica.Status().Leads || common <= m.level() {
			continue
		}
		limited, stop := context.WithTimeout(ctx, m.requestTimeout())
		_, err := m.replica.Propose(limited, command.Caller{}, &command.SetLevel{Level: common})
		stop()
		if err == nil {
			m.log.Info("feature level raised: all members understand it", "level", common)
		}
	}
}

// level is the feature level of the cluster, as far as it is applied here.
func (m *member) level() (level uint64) {
	m.replica.Store().Read(func(v state.View) { level = state.Level(v) })
	return level
}

// understood is the highest level that all members understand; 0 if one has not been heard of.
func (m *member) understood() uint64 {
	return commonLevel(m.identity.MemberID, uint64(cluster.FeatureNewest), m.replica.Status().Members, m.transport.Status())
}

// commonLevel is the highest level that all members understand, by the word of each and as self understands newest. Who is linked
// and does not belong to the cluster has no say.
func commonLevel(self, newest uint64, members state.Membership, peers []transport.PeerStatus) uint64 {
	said := make(map[uint64]uint64)
	for _, p := range peers {
		said[p.ID] = p.Feature
	}
	for _, other := range members.Members {
		if other.ID != self {
			newest = min(newest, said[other.ID])
		}
	}
	return newest
}
