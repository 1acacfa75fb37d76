package state

import (
	"encoding/binary"
	"hash/crc32"

	"github.com/okapi-kv/okapi/internal/invariant"
)

// KVHash answers etcd's HashKV.
type KVHash struct {
	// Hash is the CRC-32C of the plain keys.
	Hash uint32
	// Revision is the revision up to which keys were hashed.
	Revision int64
	// CompactRevision is the revision up to which keys had been compacted, -1 if none ever were.
	CompactRevision int64
}

// HashKV hashes the plain keys up to a revision, 0 for the newest: those versions that a reader could ask for, and of what
// was compacted those that are still in force at the revision. So it is the same on all members that stand at the
// same compaction, however much memory each has freed. It is for a view whose history is held (see the replica's ReadHistory): it
// lets the machine run every stepKeys versions.
//
// The bytes hashed are those that etcd has in its database (server/storage/mvcc/hash.go), so as long as nothing was
// compacted the number is the one that etcd gives for the same history. Afterwards etcd goes on hashing
// what survived in the order of revisions, down to the place of each change in its transaction, which is not
// kept here for versions whose neighbours are gone; survivors come in the order of their keys instead.
//
// The znode tree is no part of it, as it is none of an etcd client's whole key space: its history has a floor of
// its own, which moves with time and not with the revision.
func HashKV(v View, revision int64) (KVHash, Code) {
	floor := v.m.compacted
	switch {
	case revision > 0 && revision < floor:
		return KVHash{}, Compacted
	case revision > v.revision:
		return KVHash{}, FutureRevision
	case revision == 0:
		revision = v.revision
	}
	h := kvHash{sum: crc32.Update(0, castagnoli, []byte("key"))} // etcd's name of its table of keys
	if revision > 0 {
		plain := v.m.plain
		from, to := plain.SeqAt(plain.Floor()), min(plain.SeqAt(max(revision, plain.Floor())), v.seq)
		h.survivors(v, floor, to)
		h.changes(v, from, to)
	}
	return KVHash{Hash: h.sum, Revision: revision, CompactRevision: floor}, OK
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// kvHash is a hash of keys under way.
type kvHash struct {
	sum uint32
	buf []byte
}

// survivors hashes the keys that a compaction at floor left as they were and that are in force at seq.
func (h *kvHash) survivors(v View, floor int64, seq uint64) {
	if floor <= 0 {
		return
	}
	scan(v.m.plain, span{}, seq, v.Yield, func(kv *plainVersion) bool {
		if kv.Rev <= floor {
			h.version(kv, 0)
		}
		return true
	})
}

// changes hashes the changes after sequence number from, up to and with to.
func (h *kvHash) changes(v View, from, to uint64) {
	rev, sub := int64(0), int64(0)
	for more := true; more; {
		more = false
		n := 0
		v.m.plain.ChangesAfter(from, func(kv *plainVersion) bool {
			if kv.Seq() > to {
				return false
			}
			if n == stepKeys && v.Yield != nil {
				more = true
				return false
			}
			n++
			from = kv.Seq()
			sub++
			if kv.Rev != rev {
				rev, sub = kv.Rev, 0
			}
			h.version(kv, sub)
			return true
		})
		if more {
			v.Yield()
		}
	}
}

// version hashes one version as the row of etcd's database: the key is the revision, with the place of the
// change in its transaction and a mark if it deleted the key (server/storage/mvcc/revision.go), the value an
// encoded mvccpb.KeyValue.
func (h *kvHash) version(v *plainVersion, sub int64) {
	b := binary.BigEndian.AppendUint64(h.buf[:0], uint64(v.Rev))
	b = binary.BigEndian.AppendUint64(append(b, '_'), uint64(sub))
	if v.Deleted() {
		b = append(b, 't')
	}
	b = appendField(b, 1, v.Key())
	if !v.Deleted() {
		b = appendNumber(b, 2, v.Record.create)
		b = appendNumber(b, 3, v.Rev)
		b = appendNumber(b, 4, v.Record.version)
		b = appendField(b, 5, v.Record.data)
		b = appendNumber(b, 6, v.Record.lease)
	}
	h.sum = crc32.Update(h.sum, castagnoli, b)
	h.buf = b
}

// appendField and appendNumber append a field of a protobuf message; what is empty or 0 is left out.
func appendField[T string | []byte](b []byte, field byte, x T) []byte {
	if len(x) == 0 {
		return b
	}
	return append(binary.AppendUvarint(append(b, field<<3|2), uint64(len(x))), x...)
}

func appendNumber(b []byte, field byte, x int64) []byte {
	if x == 0 {
		return b
	}
	return binary.AppendUvarint(append(b, field<<3), uint64(x))
}

// Hash answers etcd's Hash: a CRC-32C of everything that commands made, znodes, sessions and leases included, and the
// revision. Position and time of the log are left out, as etcd leaves its own out, so that a restart does not
// change it. It is called between two entries, and costs nothing: it is made from what the digest is made from.
func Hash(m *Machine) (hash uint32, revision int64) {
	invariant.Assert(m.out == nil, "the state is hashed between two entries")
	var b [24]byte
	binary.BigEndian.PutUint64(b[:], digestRecords(m))
	binary.BigEndian.PutUint64(b[8:], uint64(m.revision))
	binary.BigEndian.PutUint64(b[16:], uint64(m.compacted))
	return crc32.Checksum(b[:], castagnoli), m.revision
}
