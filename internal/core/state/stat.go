package state

import "github.com/okapi-kv/okapi/internal/core/command"

// stat returns what ZooKeeper clients see of a znode's metadata
// (org.apache.zookeeper.server.DataNode.copyStat).
//
// Stored is the number of children ever created; what clients call cversion counts creates and
// deletes together, and because every child that is not there any more was deleted once, that
// is twice the creates less the children. It wraps as Java's int does. Only a true ephemeral shows its owner.
func (z *znode) stat() Stat {
	s := Stat{
		Czxid: z.czxid, Mzxid: z.mzxid, Pzxid: z.pzxid,
		Ctime: z.ctime, Mtime: z.mtime,
		Version: z.version, Cversion: 2*z.creates - z.children, Aversion: z.aversion,
		DataLength: int32(len(z.data)), NumChildren: z.children,
	}
	if z.kind == ephemeral {
		s.EphemeralOwner = z.owner
	}
	return s
}

// nextVersion returns the version after v. Versions are 32 bits wide and wrap; -1 is left out, because as
// an expected version it means any (ZOOKEEPER-4743).
func nextVersion(v int32) int32 {
	if v++; v == command.AnyVersion {
		return 0
	}
	return v
}

// versionFits says whether a node at version have may be changed by who expects version want.
func versionFits(have, want int32) bool {
	return want == command.AnyVersion || want == have
}
