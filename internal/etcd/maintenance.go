package etcd

import (
	"context"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"google.golang.org/grpc/status"

	"github.com/okapi-kv/okapi/internal/clock"
	"github.com/okapi-kv/okapi/internal/core/command"
	"github.com/okapi-kv/okapi/internal/core/state"
	"github.com/okapi-kv/okapi/internal/telemetry"
)

// Upkeep is what the calls of Maintenance need of the member, beside what all calls need.
type Upkeep interface {
	// ReadHistory is Replica.Read for a long walk through the past: all history that the view has stays until fn
	// returns.
	ReadHistory(fn func(v state.View))
	// Hash is the hash of the whole state between two commands, and the revision there.
	Hash() (hash uint32, revision int64)
	// MoveLeader hands the office of leader to another voter and returns once that one leads, or with the
	// error of ctx.
	MoveLeader(ctx context.Context, to uint64) error
	// FreeMemory gives memory that holds nothing back to the operating system.
	FreeMemory()
}

// maintenanceServer serves etcdserverpb.Maintenance (etcd: server/etcdserver/api/v3rpc/maintenance.go). Snapshot and
// Downgrade are not here and answer Unimplemented.
type maintenanceServer struct {
	pb.UnimplementedMaintenanceServer

	kv      *kvServer
	upkeep  Upkeep
	metrics *telemetry.Metrics
	clock   clock.Clock
	// hashing holds a token while HashKV runs. It walks over everything and holds history back, so there is one
	// at a time, and others wait.
	hashing chan struct{}
}

// Status implements etcdserverpb.MaintenanceServer. It is answered from this member alone, also without a leader.
func (m *maintenanceServer) Status(context.Context, *pb.StatusRequest) (*pb.StatusResponse, error) {
	s := m.kv.replica.Status()
	var out *pb.StatusResponse
	m.kv.replica.Read(func(v state.View) { out = replyStatus(s, v) })
	role, _ := m.kv.role(s.MemberID)
	out.IsLearner = role != command.Voter
	return out, nil
}

// Alarm implements etcdserverpb.MaintenanceServer. etcd sends the question which alarms are on through its log; here
// it is a linearizable read. etcd answers an action that it does not know by a crash; here nothing is done.
func (m *maintenanceServer) Alarm(ctx context.Context, r *pb.AlarmRequest) (*pb.AlarmResponse, error) {
	switch r.GetAction() {
	case pb.AlarmRequest_GET:
		return m.alarms(ctx, r.GetAlarm())
	case pb.AlarmRequest_ACTIVATE, pb.AlarmRequest_DEACTIVATE:
		result, err := m.kv.propose(ctx, r, translateAlarm(r))
		if err != nil {
			return nil, err
		}
		return replyAlarm(m.kv.header(result.Revision), bodyOf[state.AlarmResult](&result).Alarms), nil
	}
	return replyAlarm(m.kv.header(m.revision()), nil), nil
}

// alarms answers which alarms of a type are on, those of all types for NONE. Whose they are is not asked, as in etcd.
func (m *maintenanceServer) alarms(ctx context.Context, of pb.AlarmType) (*pb.AlarmResponse, error) {
	var found []state.Alarm
	revision := int64(0)
	err := m.kv.read(ctx, false, func(v state.View) state.Code {
		revision = v.Revision()
		for _, a := range v.Alarms() {
			if of == pb.AlarmType_NONE || of == pb.AlarmType(a.Type) {
				found = append(found, a)
			}
		}
		return state.OK
	})
	if err != nil {
		return nil, err
	}
	return replyAlarm(m.kv.header(revision), found), nil
}

// revision is the newest revision here.
func (m *maintenanceServer) revision() (revision int64) {
	m.kv.replica.Read(func(v state.View) { revision = v.Revision() })
	return revision
}

// Hash implements etcdserverpb.MaintenanceServer.
func (m *maintenanceServer) Hash(context.Context, *pb.HashRequest) (*pb.HashResponse, error) {
	began := m.clock.Now()
	hash, revision := m.upkeep.Hash()
	m.metrics.Hash.Observe(sinceSeconds(m.clock, began))
	return &pb.HashResponse{Header: m.kv.header(revision), Hash: hash}, nil
}

// HashKV implements etcdserverpb.MaintenanceServer. It reads this member alone: who compares members asks each of them.
func (m *maintenanceServer) HashKV(ctx context.Context, r *pb.HashKVRequest) (*pb.HashKVResponse, error) {
	select {
	case m.hashing <- struct{}{}:
		defer func() { <-m.hashing }()
	case <-ctx.Done():
		return nil, status.FromContextError(ctx.Err()).Err()
	}
	began := m.clock.Now()
	var hash state.KVHash
	revision, code := int64(0), state.OK
	m.upkeep.ReadHistory(func(v state.View) {
		revision = v.Revision()
		hash, code = state.HashKV(v, r.GetRevision())
	})
	if err := refusal(code, ""); err != nil {
		return nil, err
	}
	m.metrics.HashKV.Observe(sinceSeconds(m.clock, began))
	return &pb.HashKVResponse{
		Header: m.kv.header(revision), Hash: hash.Hash, CompactRevision: hash.CompactRevision, HashRevision: hash.Revision,
	}, nil
}

// Defragment implements etcdserverpb.MaintenanceServer.
//
// In etcd it copies the database into a new file without the pages that compactions have emptied. Nothing of the kind
// exists here: the store is in memory, what a compaction lets go of is free memory at once, and the files are a log
// and snapshots that are dropped whole. All that a caller can want, room for others, is to have free memory
// given back to the operating system, which happens by itself after work; this does it now.
func (m *maintenanceServer) Defragment(context.Context, *pb.DefragmentRequest) (*pb.DefragmentResponse, error) {
	m.upkeep.FreeMemory()
	return &pb.DefragmentResponse{}, nil
}

// MoveLeader implements etcdserverpb.MaintenanceServer. etcd waits as long as its client does; here it is the request timeout
// at most, since a transfer that has not come about in an election timeout never will.
func (m *maintenanceServer) MoveLeader(ctx context.Context, r *pb.MoveLeaderRequest) (*pb.MoveLeaderResponse, error) {
	if s := m.kv.replica.Status(); s.MemberID != s.LeaderID {
		return nil, rpctypes.ErrGRPCNotLeader
	}
	if role, known := m.kv.role(r.GetTargetID()); !known || role != command.Voter {
		return nil, rpctypes.ErrGRPCBadLeaderTransferee
	}
	limited, cancel := context.WithTimeout(ctx, m.kv.requestTimeout)
	defer cancel()
	if m.upkeep.MoveLeader(limited, r.GetTargetID()) != nil {
		return nil, errTransferTimeout
	}
	return &pb.MoveLeaderResponse{}, nil
}

// sinceSeconds is for histograms.
func sinceSeconds(c clock.Clock, began time.Time) float64 { return c.Now().Sub(began).Seconds() }
