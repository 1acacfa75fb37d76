package cluster

import (
	"crypto/sha1" //nolint:gosec // an identifier that etcd's tools know, not a protection
	"encoding/binary"
	"errors"
	"math"
	"slices"
	"strconv"
	"time"
)

var (
	errReservedID = errors.New("member id is reserved")
	errSameID     = errors.New("two members have the same id")
)

// MemberID derives the id of a founding member from its peer URLs and the cluster token. It
// is the id that etcd gives to a member with the same flags (first 8 bytes, big endian, of the
// SHA-1 of the sorted URLs and the token), so that whoever replaces an etcd cluster finds the
// ids that he knows. The order of peerURLs does not matter.
func MemberID(token string, peerURLs []string) uint64 {
	return hashID(memberText(token, peerURLs))
}

// AddedMemberID derives the id of a member that is added to a running cluster. The time, in
// whole seconds, goes in, so that a machine that was removed comes back under a new id: the old
// one may have promised votes that its new data directory does not know.
func AddedMemberID(token string, peerURLs []string, now time.Time) uint64 {
	return hashID(strconv.AppendInt(memberText(token, peerURLs), now.Unix(), 10))
}

func memberText(token string, peerURLs []string) []byte {
	var text []byte
	for _, u := range slices.Sorted(slices.Values(peerURLs)) {
		text = append(text, u...)
	}
	return append(text, token...)
}

// ClusterID derives the id of a cluster from the ids of its founding members, which carry the
// token, as etcd does. The order does not matter.
func ClusterID(memberIDs []uint64) uint64 {
	var text []byte
	for _, id := range slices.Sorted(slices.Values(memberIDs)) {
		text = binary.BigEndian.AppendUint64(text, id)
	}
	return hashID(text)
}

// hashID hashes text to a valid id. In the one case out of 2^62 in which the hash is none, a
// byte is appended until it is.
func hashID(text []byte) uint64 {
	for {
		sum := sha1.Sum(text) //nolint:gosec // see the import
		if id := binary.BigEndian.Uint64(sum[:8]); validID(id) {
			return id
		}
		text = append(text, 0)
	}
}

// validID leaves out 0, which means nobody, and the two highest numbers, by which raft calls
// a member's own log writer and applier.
func validID(id uint64) bool {
	return id != 0 && id < math.MaxUint64-1
}

// Token is what stands for the token of --initial-cluster-token in the ids of members that are added later, when the flag is
// history: the id of the cluster, which the token is in.
func Token(clusterID uint64) string { return strconv.FormatUint(clusterID, 16) }
