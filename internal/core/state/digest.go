package state

import (
	"math/bits"

	"github.com/okapi-kv/okapi/internal/core/command"
)

// The digest tells whether two members hold the same state without comparing the states.
//
// Idea: every live record has a 64-bit hash, and the digest is their sum modulo 2^64. A sum does not
// depend on the order, so one record's change costs two hashes, and a member that was rebuilt from a
// snapshot arrives at the same number as one that applied every entry since the beginning.
//
// History is left out: it follows from the live records and the commands, and members
// free it at their own pace. Counters and the small tables are mixed in when the digest is read.
//
// The hash folds 128-bit products of 8-byte words. It is fast rather than safe against somebody who
// constructs collisions: it is there to find broken disks and broken programs. Its formula is part
// of what members agree on, so a change of it needs a new feature level.

// Odd constants with about half of their bits set, drawn at random once.
const (
	foldA uint64 = 0x9e6c63d0876a9a63
	foldB uint64 = 0xd1b54a32d192ed03
	foldC uint64 = 0x8cb92ba72f3d8dd7
)

// What a record is; it is hashed first, so that records of different spaces never cancel out.
const (
	sumValue uint64 = iota + 1
	sumNode
	sumLease
	sumAlarm
	sumSettings
	sumCounters
	sumACL
	sumMember
)

// sum is a hash under way. The zero value must not be used: see newSum.
type sum uint64

// newSum begins the hash of a record of a kind.
func newSum(kind uint64) sum { return sum(0).pair(kind, foldC) }

// pair folds two words in.
func (s sum) pair(a, b uint64) sum {
	hi, lo := bits.Mul64(uint64(s)^a^foldA, bits.RotateLeft64(uint64(s), 32)^b^foldB)
	return sum(hi ^ lo)
}

// ints folds two signed numbers in.
func (s sum) ints(a, b int64) sum { return s.pair(uint64(a), uint64(b)) }

// fold adds a string of bytes, its length included, to s.
func fold[T string | []byte](s sum, b T) sum {
	s = s.pair(uint64(len(b)), foldC)
	i := 0
	for ; i+16 <= len(b); i += 16 {
		s = s.pair(word(b, i), word(b, i+8))
	}
	if i == len(b) {
		return s
	}
	var tail [2]uint64
	for j := 0; i < len(b); i, j = i+1, j+1 {
		tail[j/8] |= uint64(b[i]) << (j % 8 * 8)
	}
	return s.pair(tail[0], tail[1])
}

// word reads eight bytes from position i, lowest first.
func word[T string | []byte](b T, i int) uint64 {
	_ = b[i+7]
	return uint64(b[i]) | uint64(b[i+1])<<8 | uint64(b[i+2])<<16 | uint64(b[i+3])<<24 |
		uint64(b[i+4])<<32 | uint64(b[i+5])<<40 | uint64(b[i+6])<<48 | uint64(b[i+7])<<56
}

// flag is 1 for true.
func flag(b bool) uint64 {
	if b {
		return 1
	}
	return 0
}

// digestValue hashes a live plain key.
func digestValue(key string, rev int64, v *value) uint64 {
	s := newSum(sumValue).ints(rev, v.create).ints(v.version, v.lease)
	return uint64(fold(fold(s, key), v.data))
}

// digestNode hashes a live znode.
func digestNode(path string, z *znode) uint64 {
	s := newSum(sumNode).ints(z.czxid, z.mzxid).ints(z.pzxid, z.ctime).ints(z.mtime, z.create)
	s = s.ints(z.mod, z.owner).ints(z.ttl, int64(z.version)<<32|int64(uint32(z.aversion)))
	s = s.ints(int64(z.creates)<<32|int64(uint32(z.children)), int64(z.kind)<<1|int64(flag(z.data == nil)))
	if z.acl != nil {
		s = s.pair(z.acl.digest, 1)
	}
	return uint64(fold(fold(s, path), z.data))
}

// digestACL hashes an access list.
func digestACL(entries []command.ACL) uint64 {
	s := newSum(sumACL)
	for i := range entries {
		e := &entries[i]
		s = fold(fold(s.ints(int64(e.Perms), 0), e.Scheme), e.ID)
	}
	return uint64(s)
}

// digestLease hashes a session or lease. What hangs on it is hashed with the keys and znodes.
func digestLease(l *lease) uint64 {
	s := newSum(sumLease).ints(l.id, int64(l.kind)).ints(l.ttl, int64(l.timeoutMS))
	s = s.pair(l.generation, l.sequence)
	return uint64(s.pair(word(l.password[:], 0), word(l.password[:], 8)))
}

// digestAlarm hashes an alarm that is on.
func digestAlarm(a Alarm) uint64 {
	return uint64(newSum(sumAlarm).pair(a.Member, uint64(a.Type)))
}

// digestSettings hashes the settings.
func digestSettings(on bool, c *command.Settings) uint64 {
	s := newSum(sumSettings).ints(c.TreeHistory, c.QuotaBytes).ints(c.TreeQuotaBytes, 0)
	s = s.pair(flag(on)|flag(c.ExtendedTypes)<<1|flag(c.EnforceQuota)<<2|flag(c.SkipACL)<<3, 0)
	return uint64(fold(s, c.TreePrefix))
}

// Digest returns a number that is equal on members with equal states. Compare it only between members
// that have applied the same entry: see Index.
func (m *Machine) Digest() uint64 {
	s := newSum(sumCounters).pair(m.index, m.term).ints(m.time, m.revision).pair(uint64(m.zxid), m.seq)
	s = s.ints(m.compacted, m.treeHistory.floor).ints(m.plainBytes(), m.treeBytes()).pair(m.level, 0)
	return digestRecords(m) + uint64(s)
}

// digestRecords is the part of the digest that does not depend on counters.
func digestRecords(m *Machine) uint64 {
	d := m.digest + digestSettings(m.bootstrapped, &m.settings)
	for _, a := range m.alarms.list {
		d += digestAlarm(a)
	}
	return d + digestMembers(m.members)
}

// recomputeDigest sums the records anew. It must equal what the commands kept up step by step.
func (m *Machine) recomputeDigest() uint64 {
	var d uint64
	scan(m.plain, span{}, m.seq, nil, func(v *plainVersion) bool {
		d += digestValue(v.Key(), v.Rev, &v.Record)
		return true
	})
	scan(m.tree, span{}, m.seq, nil, func(v *treeVersion) bool {
		d += digestNode(v.Key(), &v.Record)
		return true
	})
	for _, l := range m.leases.byID { // a sum does not depend on the order
		d += digestLease(l)
	}
	return d
}
