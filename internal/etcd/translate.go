package etcd

import (
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"

	"github.com/okapi-kv/okapi/internal/core/command"
	"github.com/okapi-kv/okapi/internal/invariant"
)

// The functions of this file are pure. They take requests that passed validate.go and keep the
// values of the request, which gRPC has decoded into memory of their own.

// translatePut is the command for a put.
func translatePut(r *pb.PutRequest) *command.Put {
	return &command.Put{
		Key:         string(r.GetKey()),
		Value:       r.GetValue(),
		Lease:       r.GetLease(),
		PrevKV:      r.GetPrevKv(),
		IgnoreValue: r.GetIgnoreValue(),
		IgnoreLease: r.GetIgnoreLease(),
	}
}

// translateRange is the command for a range. Whether the read is serializable is not part of
// it: that decides which view it runs at.
func translateRange(r *pb.RangeRequest) *command.Range {
	return &command.Range{
		Key:               string(r.GetKey()),
		End:               string(r.GetRangeEnd()),
		Limit:             r.GetLimit(),
		Revision:          r.GetRevision(),
		SortOrder:         command.SortOrder(r.GetSortOrder()),
		SortTarget:        command.SortTarget(r.GetSortTarget()),
		KeysOnly:          r.GetKeysOnly(),
		CountOnly:         r.GetCountOnly(),
		MinModRevision:    r.GetMinModRevision(),
		MaxModRevision:    r.GetMaxModRevision(),
		MinCreateRevision: r.GetMinCreateRevision(),
		MaxCreateRevision: r.GetMaxCreateRevision(),
	}
}

// translateDeleteRange is the command for a delete.
func translateDeleteRange(r *pb.DeleteRangeRequest) *command.DeleteRange {
	return &command.DeleteRange{
		Key:    string(r.GetKey()),
		End:    string(r.GetRangeEnd()),
		PrevKV: r.GetPrevKv(),
	}
}

// translateTxn is the command for a txn.
func translateTxn(r *pb.TxnRequest) *command.Txn {
	t := &command.Txn{
		Success: translateOps(r.GetSuccess()),
		Failure: translateOps(r.GetFailure()),
	}
	if len(r.GetCompare()) > 0 {
		t.Compares = make([]command.Compare, len(r.GetCompare()))
		for i, c := range r.GetCompare() {
			t.Compares[i] = translateCompare(c)
		}
	}
	return t
}

// translateOps is the commands for one branch of a txn; nil for an empty one.
func translateOps(ops []*pb.RequestOp) []command.Command {
	if len(ops) == 0 {
		return nil
	}
	cmds := make([]command.Command, len(ops))
	for i, op := range ops {
		cmds[i] = translateOp(op)
	}
	return cmds
}

// translateOp is the command for one operation of a txn.
func translateOp(op *pb.RequestOp) command.Command {
	switch o := op.GetRequest().(type) {
	case *pb.RequestOp_RequestRange:
		return translateRange(o.RequestRange)
	case *pb.RequestOp_RequestPut:
		return translatePut(o.RequestPut)
	case *pb.RequestOp_RequestDeleteRange:
		return translateDeleteRange(o.RequestDeleteRange)
	case *pb.RequestOp_RequestTxn:
		return translateTxn(o.RequestTxn)
	}
	invariant.Assert(false, "an empty operation is refused before translation")
	return nil
}

// translateCompare is one condition of a txn. The operand is read from the field that belongs to
// the target; where another one is set, or none, it is 0 or empty, as in etcd
// (server/etcdserver/txn/txn.go, compareKV). Numbers of targets and results that etcd does not
// know pass as they are.
func translateCompare(c *pb.Compare) command.Compare {
	out := command.Compare{
		Key:    string(c.GetKey()),
		End:    string(c.GetRangeEnd()),
		Target: command.CompareTarget(c.GetTarget()),
		Result: command.CompareResult(c.GetResult()),
	}
	switch out.Target {
	case command.CompareVersion:
		out.Number = c.GetVersion()
	case command.CompareCreate:
		out.Number = c.GetCreateRevision()
	case command.CompareMod:
		out.Number = c.GetModRevision()
	case command.CompareLease:
		out.Number = c.GetLease()
	case command.CompareValue:
		out.Value = c.GetValue()
	}
	return out
}

// translateAlarm is the command that raises or clears an alarm. Types that etcd does not know pass as they are.
func translateAlarm(r *pb.AlarmRequest) *command.Alarm {
	return &command.Alarm{
		Action: command.AlarmAction(r.GetAction()), Member: r.GetMemberID(), Alarm: command.AlarmType(r.GetAlarm()),
	}
}

// translateCompact is the command for a compaction.
//
// The flag physical asks etcd to answer only after the old versions are erased from its database,
// so that its size and hash have settled. Here a compaction is whole once it is applied: history
// below the revision is gone for every reader, size is counted logically, and what is left in
// memory is freed later by each member for itself and shows in nothing that a client can ask for.
// So there is nothing to wait for, and the flag does not enter the command.
func translateCompact(r *pb.CompactionRequest) *command.Compact {
	return &command.Compact{Revision: r.GetRevision()}
}

// translateLeaseGrant is the command for a grant, with the id that the client gave, and a TTL of at least minTTL
// seconds.
func translateLeaseGrant(r *pb.LeaseGrantRequest, minTTL int64) *command.LeaseGrant {
	return &command.LeaseGrant{ID: r.GetID(), TTL: max(r.GetTTL(), minTTL)}
}

// translateLeaseRevoke is the command for a revocation.
func translateLeaseRevoke(r *pb.LeaseRevokeRequest) *command.LeaseRevoke {
	return &command.LeaseRevoke{ID: r.GetID()}
}
