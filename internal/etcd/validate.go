package etcd

import (
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// The checks of this file and their order are those of etcd's server/etcdserver/api/v3rpc/key.go, where
// nothing else is named.
// None of them looks at the state.

var (
	errStreamSorted   = status.Error(codes.Unimplemented, "RangeStream does not support custom sort orders")
	errStreamFiltered = status.Error(codes.Unimplemented, "RangeStream does not support revision filters")
)

// checkRange refuses a range without a key or with an unknown way of sorting.
func checkRange(r *pb.RangeRequest) error {
	if len(r.GetKey()) == 0 {
		return rpctypes.ErrGRPCEmptyKey
	}
	if _, known := pb.RangeRequest_SortOrder_name[int32(r.GetSortOrder())]; !known {
		return rpctypes.ErrGRPCInvalidSortOption
	}
	if _, known := pb.RangeRequest_SortTarget_name[int32(r.GetSortTarget())]; !known {
		return rpctypes.ErrGRPCInvalidSortOption
	}
	return nil
}

// checkRangeStream refuses what cannot be answered in the order of the keys, chunk by chunk.
func checkRangeStream(r *pb.RangeRequest) error {
	if err := checkRange(r); err != nil {
		return err
	}
	byKey := r.SortTarget == pb.RangeRequest_KEY && r.SortOrder == pb.RangeRequest_ASCEND
	if r.SortOrder != pb.RangeRequest_NONE && !byKey {
		return errStreamSorted
	}
	if r.MinModRevision != 0 || r.MaxModRevision != 0 || r.MinCreateRevision != 0 || r.MaxCreateRevision != 0 {
		return errStreamFiltered
	}
	return nil
}

// checkPut refuses a put without a key, and one that gives what it asks to leave as it is.
func checkPut(r *pb.PutRequest) error {
	if len(r.GetKey()) == 0 {
		return rpctypes.ErrGRPCEmptyKey
	}
	if r.GetIgnoreValue() && len(r.GetValue()) != 0 {
		return rpctypes.ErrGRPCValueProvided
	}
	if r.GetIgnoreLease() && r.GetLease() != 0 {
		return rpctypes.ErrGRPCLeaseProvided
	}
	return nil
}

// checkDeleteRange refuses a delete without a key.
func checkDeleteRange(r *pb.DeleteRangeRequest) error {
	if len(r.GetKey()) == 0 {
		return rpctypes.ErrGRPCEmptyKey
	}
	return nil
}

// checkTxn refuses a txn that has too many operations, one that is malformed, or the same key
// written twice. The shape is checked first: it bounds the depth of nesting, and with it what the
// search for duplicates costs.
func checkTxn(r *pb.TxnRequest, maxOps int) error {
	if err := checkTxnShape(r, maxOps); err != nil {
		return err
	}
	if _, err := writesOf(r.GetSuccess()); err != nil {
		return err
	}
	_, err := writesOf(r.GetFailure())
	return err
}

// checkTxnShape checks the lists of a txn and all that is nested in them. Only the longest of the
// three lists counts, and a nested txn may have what it leaves of the limit.
func checkTxnShape(r *pb.TxnRequest, maxOps int) error {
	longest := max(len(r.GetCompare()), len(r.GetSuccess()), len(r.GetFailure()))
	if longest > maxOps {
		return rpctypes.ErrGRPCTooManyOps
	}
	for _, c := range r.GetCompare() {
		if len(c.GetKey()) == 0 {
			return rpctypes.ErrGRPCEmptyKey
		}
	}
	for _, branch := range [2][]*pb.RequestOp{r.GetSuccess(), r.GetFailure()} {
		for _, op := range branch {
			if err := checkOp(op, maxOps-longest); err != nil {
				return err
			}
		}
	}
	return nil
}

// checkOp checks one operation of a txn. One that is empty gets the text "key not found", odd as
// that is.
func checkOp(op *pb.RequestOp, maxOps int) error {
	switch o := op.GetRequest().(type) {
	case *pb.RequestOp_RequestRange:
		return checkRange(o.RequestRange)
	case *pb.RequestOp_RequestPut:
		return checkPut(o.RequestPut)
	case *pb.RequestOp_RequestDeleteRange:
		return checkDeleteRange(o.RequestDeleteRange)
	case *pb.RequestOp_RequestTxn:
		return checkTxnShape(o.RequestTxn, maxOps)
	default:
		return rpctypes.ErrGRPCKeyNotFound
	}
}

// leaseTTLMax is the longest TTL of a lease, in seconds (server/lease/lessor.go, MaxLeaseTTL).
const leaseTTLMax = 9_000_000_000

// checkLeaseGrant refuses a TTL that is too long. One that is too short is raised later. etcd checks this when it
// applies the request, with the same effect.
func checkLeaseGrant(r *pb.LeaseGrantRequest) error {
	if r.GetTTL() > leaseTTLMax {
		return rpctypes.ErrGRPCLeaseTTLTooLarge
	}
	return nil
}
