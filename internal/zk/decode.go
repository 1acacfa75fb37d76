package zk

import (
	"errors"

	"github.com/okapi-kv/okapi/internal/core/command"
	"github.com/okapi-kv/okapi/internal/core/watch"
	"github.com/okapi-kv/okapi/internal/zk/jute"
)

// class says what has to be done for a request.
type class uint8

const (
	// classUnknown: the opcode does not exist, or not outside a multi.
	classUnknown class = iota
	// classWrite: a command.
	classWrite
	// classRead: looks into the tree.
	classRead
	// classLook: answered from a view too, but without looking into the tree.
	classLook
	// classWatch: about watches.
	classWatch
	// classSync: waits until this member has caught up.
	classSync
	// classAuth and classSASL change who is calling.
	classAuth
	classSASL
)

// classOf sorts the opcodes.
func classOf(op jute.OpCode) class {
	switch op {
	case jute.OpCreate, jute.OpCreate2, jute.OpCreateContainer, jute.OpCreateTTL,
		jute.OpDelete, jute.OpSetData, jute.OpSetACL, jute.OpMulti, jute.OpCloseSession:
		return classWrite
	case jute.OpExists, jute.OpGetData, jute.OpGetACL, jute.OpGetChildren, jute.OpGetChildren2,
		jute.OpMultiRead, jute.OpGetAllChildrenNumber, jute.OpGetEphemerals:
		return classRead
	case jute.OpPing, jute.OpWhoAmI:
		return classLook
	case jute.OpSetWatches, jute.OpSetWatches2, jute.OpAddWatch, jute.OpRemoveWatches, jute.OpCheckWatches:
		return classWatch
	case jute.OpSync:
		return classSync
	case jute.OpAuth:
		return classAuth
	case jute.OpSASL:
		return classSASL
	}
	return classUnknown
}

// request is one request, decoded.
type request struct {
	header jute.RequestHeader
	class  class
	// garbled says that the body could not be decoded; nothing below holds then.
	garbled bool
	// spends says that ZooKeeper spends a zxid on the garbled request.
	spends bool
	// path is that of a read of one node and of a sync; that of a sync may be null.
	path     string
	nullPath bool
	// leaves is the kind of watch that a read leaves; 0 if none.
	leaves watch.Kinds
	// reads are the operations of a multiRead.
	reads []readOp
	// watching is a request about watches.
	watching *watching
	// command is that of a write.
	command command.Command
	// replies are the types that the elements of a multi's response have if it succeeds.
	replies []jute.OpCode
	// auth is the body of an auth request; its bytes are a part of the frame.
	auth jute.AuthPacket
}

// readOp is one operation of a multiRead.
type readOp struct {
	op   jute.OpCode
	path string
}

// decode reads a request from a frame. It reports false if not even the header can be read. Bytes
// behind the body are ignored, as ZooKeeper ignores them.
func decode(r *jute.Reader, frame []byte, req *request) bool {
	*req = request{}
	r.Reset(frame)
	req.header.Decode(r)
	if r.Err() != nil {
		return false
	}
	req.class = classOf(req.header.Op)
	switch req.class {
	case classWrite:
		req.command, req.replies = translate(req.header.Op, r)
	case classRead, classSync:
		decodeRead(r, req)
	case classWatch:
		req.watching = decodeWatching(r, req.header.Op)
	case classAuth:
		req.auth.Decode(r)
	case classSASL:
		var m jute.SASLToken
		if m.Decode(r); m.Token == nil {
			r.Fail(jute.ErrNull)
		}
	}
	req.garbled = r.Err() != nil
	req.spends = req.header.Op == jute.OpMulti && !errors.Is(r.Err(), errNullACL)
	return true
}

// decodeRead reads the body of a read.
func decodeRead(r *jute.Reader, req *request) {
	switch req.header.Op {
	case jute.OpMultiRead:
		req.reads = decodeMultiRead(r)
	case jute.OpExists, jute.OpGetData, jute.OpGetChildren, jute.OpGetChildren2:
		var m jute.PathWatchRequest
		m.Decode(r)
		req.path = m.Path
		if m.Watch {
			req.leaves = leftBy(req.header.Op)
		}
	case jute.OpGetEphemerals:
		req.path = r.NullableString()
	case jute.OpSync:
		req.path, req.nullPath = r.MaybeString()
	default:
		var m jute.PathRequest
		m.Decode(r)
		req.path = m.Path
	}
}

// decodeMultiRead reads the operations of a multiRead; whatever is not one of the two operations
// allowed there makes the whole request garbled.
func decodeMultiRead(r *jute.Reader) []readOp {
	var ops []readOp
	for {
		var h jute.MultiHeader
		h.Decode(r)
		if r.Err() != nil || h.Done {
			return ops
		}
		if h.Type != jute.OpGetData && h.Type != jute.OpGetChildren {
			r.Fail(errNotInMulti)
			return nil
		}
		var m jute.PathWatchRequest
		m.Decode(r)
		ops = append(ops, readOp{op: h.Type, path: m.Path})
	}
}

// leftBy is the kind of watch that a read leaves.
func leftBy(op jute.OpCode) watch.Kinds {
	if op == jute.OpExists || op == jute.OpGetData {
		return watch.Data
	}
	return watch.Child
}
