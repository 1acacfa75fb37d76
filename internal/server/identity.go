package server

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/okapi-kv/okapi/internal/cluster"
	"github.com/okapi-kv/okapi/internal/config"
	"github.com/okapi-kv/okapi/internal/core/state"
	"github.com/okapi-kv/okapi/internal/transport"
)

// claim looks whose the data directory is and locks it, if it exists. Once there is one, it says who this member is, and the
// flags that founded or joined the cluster do not.
func (m *member) claim() error {
	have, err := m.directory.Load()
	switch {
	case errors.Is(err, cluster.ErrNoIdentity):
		return nil
	case err != nil:
		return err
	}
	if err := requireHistory(m.directory); err != nil {
		return err
	}
	m.identity = have
	return m.lockDirectory()
}

// meet finds out who this member is, if it has no data directory yet: from the flags if the cluster is new, from the other
// members if it runs already.
func (m *member) meet() (err error) {
	if m.tls, err = peerTLS(m.cfg); err != nil {
		return err
	}
	joins := m.cfg.InitialClusterState == config.StateExisting
	if !joins {
		founding, err := cluster.Found(foundingFlags(m.cfg))
		if err == nil {
			m.founders = founding.Members
		}
		if m.lock != nil {
			return nil // checkFlags says whether it matters
		}
		if err != nil {
			return err
		}
		m.identity = newIdentity(m.cfg, founding.ClusterID, founding.Self.ID)
		return nil
	}
	if m.lock != nil {
		return nil
	}
	clusterID, memberID, err := askToJoin(m.cfg, m.tls)
	if err != nil {
		return err
	}
	m.identity = newIdentity(m.cfg, clusterID, memberID)
	return nil
}

func newIdentity(cfg config.Config, clusterID, memberID uint64) cluster.Identity {
	return cluster.Identity{
		ClusterID: clusterID, MemberID: memberID, Directory: randomBits() | 1, Name: cfg.Name, MadeBy: Version,
	}
}

const (
	// joinPatience is how long the other members are asked who this one is: the one that is asked may not yet
	// have applied what another one has.
	joinPatience = 10 * time.Second
	joinTimeout  = 3 * time.Second
)

// askToJoin asks the other members of --initial-cluster, one after the other, who this one is.
func askToJoin(cfg config.Config, secure *tls.Config) (clusterID, memberID uint64, err error) {
	var others []string
	for _, other := range cfg.InitialCluster {
		if other.Name != cfg.Name {
			others = append(others, other.PeerURLs...)
		}
	}
	if len(others) == 0 {
		return 0, 0, fmt.Errorf("data directory %s is empty, and --initial-cluster names no other member to join: list the members that run, or use "+
			"--initial-cluster-state new to form a cluster", cfg.DataDir)
	}
	in := transport.Introduction{URLs: cfg.InitialAdvertisePeerURLs, TLS: secure, Timeout: joinTimeout}
	ctx, cancel := context.WithTimeout(context.Background(), joinPatience)
	defer cancel()
	poll := time.NewTicker(10 * pollInterval)
	defer poll.Stop()
	for {
		var refused, unheard error
		for _, address := range others {
			clusterID, memberID, err := transport.AskToJoin(ctx, address, in)
			switch {
			case err == nil:
				return clusterID, memberID, nil
			case errors.Is(err, transport.ErrNotAdded):
				refused = err
			default:
				unheard = fmt.Errorf("ask %s: %w", address, err)
			}
		}
		select {
		case <-poll.C:
			continue
		case <-ctx.Done():
		}
		if refused != nil {
			return 0, 0, fmt.Errorf("%w: first add this member (okapi member add --peer-urls %s), or correct --initial-advertise-peer-urls",
				refused, strings.Join(in.URLs, ","))
		}
		return 0, 0, fmt.Errorf("no member of --initial-cluster tells who this one is (%w): are they running, and are their peer URLs right", unheard)
	}
}

// checkFlags refuses flags that describe another member or cluster than the data directory is of, as long as the cluster is as
// it was founded. After a change of members the flags of the first start are history, as they are for etcd.
func (m *member) checkFlags(members state.Membership) error {
	ids := make([]uint64, len(members.Members))
	for i, known := range members.Members {
		ids[i] = known.ID
	}
	asFounded := len(ids) > 0 && len(members.Removed) == 0 && cluster.ClusterID(ids) == m.identity.ClusterID
	if !asFounded || m.cfg.InitialClusterState == config.StateExisting {
		return nil
	}
	founding, err := cluster.Found(foundingFlags(m.cfg))
	if err != nil {
		return err
	}
	want := cluster.Identity{ClusterID: founding.ClusterID, MemberID: founding.Self.ID, Name: m.cfg.Name}
	return m.directory.Verify(m.identity, want)
}
