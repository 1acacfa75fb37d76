package etcd

import (
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"

	"github.com/okapi-kv/okapi/internal/core/command"
	"github.com/okapi-kv/okapi/internal/core/state"
	"github.com/okapi-kv/okapi/internal/invariant"
)

// The functions of this file are pure. Values in a response are shared with the store and only
// read; they are encoded after the view they came from was left.

// header is the header of a response of a member that stands as s, at a revision of the store.
func header(s Status, revision int64) *pb.ResponseHeader {
	return &pb.ResponseHeader{
		ClusterId: s.ClusterID,
		MemberId:  s.MemberID,
		Revision:  revision,
		RaftTerm:  s.Term,
	}
}

// opHeader is the header of a response inside a txn: etcd fills nothing but the revision.
func opHeader(revision int64) *pb.ResponseHeader {
	return &pb.ResponseHeader{Revision: revision}
}

// replyPut is the response to a put.
func replyPut(h *pb.ResponseHeader, r *state.PutResult) *pb.PutResponse {
	out := &pb.PutResponse{Header: h}
	if r.Prev != nil {
		out.PrevKv = keyValues([]state.KeyValue{*r.Prev})[0]
	}
	return out
}

// replyRange is the response to a range.
func replyRange(h *pb.ResponseHeader, r *state.RangeResult) *pb.RangeResponse {
	return &pb.RangeResponse{Header: h, Kvs: keyValues(r.KVs), More: r.More, Count: r.Count}
}

// replyDeleteRange is the response to a delete.
func replyDeleteRange(h *pb.ResponseHeader, r *state.DeleteRangeResult) *pb.DeleteRangeResponse {
	return &pb.DeleteRangeResponse{Header: h, Deleted: r.Deleted, PrevKvs: keyValues(r.Prev)}
}

// replyTxn is the response to a txn. That of a nested one has an empty header, revision included,
// which is how etcd leaves it (server/etcdserver/txn/txn.go, newTxnResp).
func replyTxn(h *pb.ResponseHeader, r *state.TxnResult) *pb.TxnResponse {
	invariant.Assert(len(r.Responses) == len(r.Revisions), "every response of a txn has its revision")
	out := &pb.TxnResponse{Header: h, Succeeded: r.Succeeded}
	if len(r.Responses) > 0 {
		out.Responses = make([]*pb.ResponseOp, len(r.Responses))
		for i, response := range r.Responses {
			out.Responses[i] = replyOp(r.Revisions[i], response)
		}
	}
	return out
}

// replyOp is the response to one operation of a txn, after which the store was at revision.
func replyOp(revision int64, response any) *pb.ResponseOp {
	switch r := response.(type) {
	case *state.PutResult:
		return &pb.ResponseOp{Response: &pb.ResponseOp_ResponsePut{ResponsePut: replyPut(opHeader(revision), r)}}
	case *state.RangeResult:
		return &pb.ResponseOp{Response: &pb.ResponseOp_ResponseRange{ResponseRange: replyRange(opHeader(revision), r)}}
	case *state.DeleteRangeResult:
		return &pb.ResponseOp{Response: &pb.ResponseOp_ResponseDeleteRange{
			ResponseDeleteRange: replyDeleteRange(opHeader(revision), r)}}
	case *state.TxnResult:
		return &pb.ResponseOp{Response: &pb.ResponseOp_ResponseTxn{ResponseTxn: replyTxn(&pb.ResponseHeader{}, r)}}
	}
	invariant.Assert(false, "an operation of a txn is answered by the result of its kind", response)
	return nil
}

// replyCompact is the response to a compaction.
func replyCompact(h *pb.ResponseHeader) *pb.CompactionResponse {
	return &pb.CompactionResponse{Header: h}
}

// replyAlarm is the response that names alarms.
func replyAlarm(h *pb.ResponseHeader, alarms []state.Alarm) *pb.AlarmResponse {
	out := &pb.AlarmResponse{Header: h}
	for _, a := range alarms {
		out.Alarms = append(out.Alarms, alarmMember(a))
	}
	return out
}

// alarmMember is an alarm in the form of the wire.
func alarmMember(a state.Alarm) *pb.AlarmMember {
	return &pb.AlarmMember{MemberID: a.Member, Alarm: pb.AlarmType(a.Type)}
}

// replyStatus is the status of a member that stands as s and whose state is v.
//
// The size is what the quota bounds: plain keys with their history, counted logically. Nothing of it could be got back by
// defragmenting, so all of it is in use. It is never 0, because etcdctl divides by it. A quota that is none is -1,
// etcd's flag for that.
func replyStatus(s Status, v state.View) *pb.StatusResponse {
	settings, _ := v.Settings()
	quota := settings.QuotaBytes
	if quota == 0 {
		quota = -1
	}
	size := max(v.Sizes().Plain, 1)
	out := &pb.StatusResponse{
		Header: header(s, v.Revision()), Version: ServerVersion, StorageVersion: StorageVersion,
		Leader: s.LeaderID, RaftTerm: s.Term, RaftIndex: s.CommitIndex, RaftAppliedIndex: s.AppliedIndex,
		DbSize: size, DbSizeInUse: size, DbSizeQuota: quota, DowngradeInfo: &pb.DowngradeInfo{},
	}
	if s.LeaderID == 0 {
		out.Errors = append(out.Errors, rpctypes.ErrorDesc(rpctypes.ErrGRPCNoLeader))
	}
	for _, a := range v.Alarms() {
		out.Errors = append(out.Errors, alarmMember(a).String())
	}
	return out
}

// replyMembers is the members in the form of the wire. Observers, which etcd does not know, are learners there.
func replyMembers(ms state.Membership) []*pb.Member {
	out := make([]*pb.Member, len(ms.Members))
	for i, m := range ms.Members {
		out[i] = &pb.Member{
			ID: m.ID, Name: m.Name, PeerURLs: m.PeerURLs, ClientURLs: m.ClientURLs, IsLearner: m.Role != command.Voter,
		}
	}
	return out
}

// keyValues is key-values in the form of the wire; nil for none. All keys share one allocation and
// all messages another: a response of many keys is mostly these.
func keyValues(kvs []state.KeyValue) []*mvccpb.KeyValue {
	if len(kvs) == 0 {
		return nil
	}
	size := 0
	for i := range kvs {
		size += len(kvs[i].Key)
	}
	keys := make([]byte, 0, size)
	messages := make([]mvccpb.KeyValue, len(kvs))
	out := make([]*mvccpb.KeyValue, len(kvs))
	for i := range kvs {
		kv, m := &kvs[i], &messages[i]
		from := len(keys)
		keys = append(keys, kv.Key...)
		m.Key = keys[from:len(keys):len(keys)]
		m.CreateRevision, m.ModRevision = kv.CreateRevision, kv.ModRevision
		m.Version, m.Lease, m.Value = kv.Version, kv.Lease, kv.Value
		out[i] = m
	}
	return out
}

// replyLeaseGrant is the response to a grant.
func replyLeaseGrant(h *pb.ResponseHeader, r *state.LeaseResult) *pb.LeaseGrantResponse {
	return &pb.LeaseGrantResponse{Header: h, ID: r.ID, TTL: r.TTL}
}

// replyLeaseRevoke is the response to a revocation.
func replyLeaseRevoke(h *pb.ResponseHeader) *pb.LeaseRevokeResponse {
	return &pb.LeaseRevokeResponse{Header: h}
}

// replyKeepAlive is the response to a keep-alive: ttl is in seconds, and 0 says that there is no such lease.
func replyKeepAlive(h *pb.ResponseHeader, id, ttl int64) *pb.LeaseKeepAliveResponse {
	return &pb.LeaseKeepAliveResponse{Header: h, ID: id, TTL: ttl}
}

// replyTimeToLive is the response to the question how long a lease has, of which leftMS are left.
func replyTimeToLive(h *pb.ResponseHeader, l *leaseRead, leftMS int64) *pb.LeaseTimeToLiveResponse {
	out := &pb.LeaseTimeToLiveResponse{Header: h, ID: l.ID, TTL: leftMS / 1000, GrantedTTL: l.TTL}
	for _, key := range l.keys {
		out.Keys = append(out.Keys, []byte(key))
	}
	return out
}

// replyNoLease is the response to the same question when there is no such lease: a TTL of -1, and no error
// (server/etcdserver/api/v3rpc/lease.go).
func replyNoLease(h *pb.ResponseHeader, id int64) *pb.LeaseTimeToLiveResponse {
	return &pb.LeaseTimeToLiveResponse{Header: h, ID: id, TTL: -1}
}

// replyLeases is the list of leases.
func replyLeases(h *pb.ResponseHeader, ids []int64) *pb.LeaseLeasesResponse {
	statuses := make([]pb.LeaseStatus, len(ids))
	out := &pb.LeaseLeasesResponse{Header: h, Leases: make([]*pb.LeaseStatus, len(ids))}
	for i, id := range ids {
		statuses[i].ID = id
		out.Leases[i] = &statuses[i]
	}
	return out
}
