package server

import (
	"context"
	"sync"
	"time"

	"github.com/okapi-kv/okapi/internal/core/command"
	"github.com/okapi-kv/okapi/internal/core/state"
	"github.com/okapi-kv/okapi/internal/etcd"
	"github.com/okapi-kv/okapi/internal/replica"
	"github.com/okapi-kv/okapi/internal/zk"
)

// etcdReplica is the replica as the etcd door wants it.
type etcdReplica struct {
	*replica.Replica
	cluster, member uint64
	freeing         *sync.Mutex
}

// Read implements etcd.Replica.
func (r etcdReplica) Read(fn func(v state.View)) { r.Store().Read(fn) }

// Status implements etcd.Replica.
func (r etcdReplica) Status() etcd.Status {
	s := r.Replica.Status()
	return etcd.Status{ClusterID: r.cluster, MemberID: r.member, LeaderID: s.Leader, Term: s.Term, CommitIndex: s.Commit, AppliedIndex: s.Applied, DiskFull: s.DiskFull}
}

// MoveLeader implements etcd.Upkeep. The transfer is asked for once: if it does not come about, the client is told so.
func (r etcdReplica) MoveLeader(ctx context.Context, to uint64) error {
	r.TransferLeadership(to)
	poll := time.NewTicker(pollInterval)
	defer poll.Stop()
	for r.Replica.Status().Leader != to {
		select {
		case <-poll.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

// ReadHistory implements etcd.Upkeep.
func (r etcdReplica) ReadHistory(fn func(v state.View)) { r.Store().ReadHistory(fn) }

// Hash implements etcd.Upkeep.
func (r etcdReplica) Hash() (hash uint32, revision int64) { return r.Store().Hash() }

// FreeMemory implements etcd.Upkeep. Calls that come together share the work of one.
func (r etcdReplica) FreeMemory() { freeMemory(r.freeing) }

// Subscribe implements etcd.Replica.
func (r etcdReplica) Subscribe(wake func()) etcd.Feed {
	pin := r.Store().Pin()
	_, cancel := r.Store().Subscribe(func(p replica.Publication) {
		if p.Whole {
			wake()
		}
	})
	return etcdFeed{pin, cancel}
}

// etcdFeed is a subscription with a pin.
type etcdFeed struct {
	*replica.Pin
	cancel func()
}

// Cancel implements etcd.Feed.
func (f etcdFeed) Cancel() {
	f.cancel()
	f.Release()
}

// zkReplica is the replica as the ZooKeeper door wants it.
type zkReplica struct {
	replica *replica.Replica
}

// Submit implements zk.Replica.
func (r zkReplica) Submit(c command.Caller, cmd command.Command, done func(state.Result, error)) error {
	return r.replica.Submit(c, cmd, done)
}

// ReadIndex implements zk.Replica.
func (r zkReplica) ReadIndex(ctx context.Context) error { return r.replica.ReadIndex(ctx) }

// ReadTree implements zk.Replica.
func (r zkReplica) ReadTree(seq uint64, zxid int64, fn func(v state.View)) bool {
	return r.replica.Store().ReadTree(seq, zxid, fn)
}

// Subscribe implements zk.Publisher.
func (r zkReplica) Subscribe(fn func(zk.Publication)) (now zk.Publication, cancel func()) {
	translate := func(p replica.Publication) zk.Publication {
		return zk.Publication{Events: p.Events, Sessions: p.Leases, Seq: p.Seq, Zxid: p.Zxid, Installed: p.Installed}
	}
	last, cancel := r.replica.Store().Subscribe(func(p replica.Publication) { fn(translate(p)) })
	return translate(last), cancel
}

// Touch implements zk.Replica.
func (r zkReplica) Touch(session int64, heard *zk.Heard) bool {
	return r.replica.Touch(session, (*replica.Heard)(heard))
}

// Status implements zk.Replica.
func (r zkReplica) Status() zk.Status {
	s := r.replica.Status()
	self, _ := s.Members.ByID(s.ID)
	voters, role := len(s.Members.Voters()), zk.RoleFollower
	switch {
	case s.Leader == 0:
		role = zk.RoleNone
	case len(s.Members.Members) == 1:
		role = zk.RoleStandalone
	case s.Leads:
		role = zk.RoleLeader
	case self.Role != command.Voter:
		role = zk.RoleObserver
	}
	return zk.Status{
		Member: s.ID, Leader: s.Leader, Role: role, Voters: voters,
		Learners:        s.Following.Voters + s.Following.Learners + s.Following.Behind,
		SyncedFollowers: s.Following.Voters, SyncedObservers: s.Following.Learners,
		ProposalBytesLast: -1, ProposalBytesMin: -1, ProposalBytesMax: -1,
		DiskLow: s.DiskLow, DiskFull: s.DiskFull, DiskHangs: s.DiskHangs,
	}
}
