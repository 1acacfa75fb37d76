package cluster

// Feature is the level of what all members of a cluster understand: commands, formats, the
// formula of the digest. A new kind of command is proposed only from the level that brought it. The state holds the
// level of the cluster; it is raised when all members, by their own word at the handshake, understand the next one, and never
// lowered. A member that does not understand it is refused by the others.
type Feature uint64

// Feature1 is the level of the first release, and of every new cluster.
const Feature1 Feature = 1
