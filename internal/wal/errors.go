package wal

import (
	"errors"
	"fmt"
)

var (
	// ErrNoLog is returned by Open when Options.MustExist is set and the folder holds no
	// log: its content was removed, or another folder was given.
	ErrNoLog = errors.New("no log found for a member that has one: do not start it with an empty folder, " +
		"restore the folder or replace the member under a new id")
	// ErrClosed is returned by every call after Close.
	ErrClosed = errors.New("log is closed")
	// ErrOrder is returned by Append for entries, terms or a commit index that cannot
	// follow what the log holds. It is a mistake of the caller; nothing was appended.
	ErrOrder = errors.New("append does not follow the log")
)

// CorruptError says that synced data was damaged: the content of the folder cannot have
// come from a crash. The log is not opened and nothing in the folder was changed.
type CorruptError struct {
	// File is the path of the damaged or missing file, Offset the byte in it from which
	// it cannot be trusted.
	File   string
	Offset int64
	// Reason says what was found, in words.
	Reason string
	// HardState is the newest term and vote that the log still proves, if StateKnown. A member that does not know
	// them could vote twice under its id.
	HardState  HardState
	StateKnown bool
}

// Error names file and offset and what to do.
func (e *CorruptError) Error() string {
	return fmt.Sprintf("log %s is damaged at offset %d: %s; replace this member by a new one (okapi member replace); "+
		"a server that is alone needs a backup", e.File, e.Offset, e.Reason)
}

// IdentityError says that the log belongs to another cluster or member.
type IdentityError struct {
	// File is the segment that says so.
	File string
	// Found is the owner of the log, Want the member that was started.
	Found, Want Identity
}

// Error names both identities and what to do.
func (e *IdentityError) Error() string {
	return fmt.Sprintf("log %s belongs to member %x of cluster %x, but member %x of cluster %x was started: "+
		"give each member its own data folder", e.File, e.Found.MemberID, e.Found.ClusterID, e.Want.MemberID, e.Want.ClusterID)
}

// VersionError says that the log was written by a newer release.
type VersionError struct {
	// File is the segment that says so.
	File string
	// Found is its format version, Known the newest that this program reads.
	Found, Known uint32
}

// Error names both versions and what to do.
func (e *VersionError) Error() string {
	return fmt.Sprintf("log %s has format version %d, this release reads up to %d: start the newer release again",
		e.File, e.Found, e.Known)
}
