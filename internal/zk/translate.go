package zk

import (
	"bytes"

	"github.com/okapi-kv/okapi/internal/core/command"
	"github.com/okapi-kv/okapi/internal/zk/jute"
)

// translate reads the body of a write and gives the command that does it, and for a multi the
// types of the elements of its response. If the body cannot be decoded the reader's Err says so.
// The command shares no memory with the message.
func translate(op jute.OpCode, r *jute.Reader) (command.Command, []jute.OpCode) {
	switch op {
	case jute.OpMulti:
		return translateMulti(r)
	case jute.OpSetACL:
		return translateSetACL(r), nil
	case jute.OpCloseSession:
		return &command.CloseSession{}, nil
	}
	cmd := translateOne(op, r)
	if create, ok := cmd.(*command.Create); ok {
		settleContainer(op, create)
		settleContainerFlags(op, create)
	}
	return cmd, nil
}

// settleContainer makes the opcode decide whether a create that stands alone makes a container
// (PrepRequestProcessor.pRequest2TxnCreate). In a multi the flags can make one too (Op.Create).
func settleContainer(op jute.OpCode, c *command.Create) {
	if (op == jute.OpCreate || op == jute.OpCreate2) && c.Flags == command.FlagContainer {
		c.Flags = command.FlagPersistent
	}
}

// settleContainerFlags makes createContainer make a container, whatever mode its flags name: ZooKeeper then ignores that the
// mode is ephemeral. It would put a number to the name if the mode is sequential; there are no such containers here, and no
// client asks for one.
func settleContainerFlags(op jute.OpCode, c *command.Create) {
	if op != jute.OpCreateContainer {
		return
	}
	switch c.Flags {
	case command.FlagPersistent, command.FlagEphemeral:
		c.Flags = command.FlagContainer
	case command.FlagSequential, command.FlagEphemeralSequential:
		c.Flags = noMode
	}
}

// noMode are flags that name no create mode.
const noMode int32 = -1

// translateOne translates the writes that may stand alone and in a multi.
func translateOne(op jute.OpCode, r *jute.Reader) command.Command {
	switch op {
	case jute.OpCreateTTL:
		return translateCreateTTL(r)
	case jute.OpDelete:
		return translateDelete(r)
	case jute.OpSetData:
		return translateSetData(r)
	}
	return translateCreate(r)
}

func translateCreate(r *jute.Reader) *command.Create {
	var m jute.CreateRequest
	m.Decode(r)
	return createCommand(&m, command.NoTTL)
}

func translateCreateTTL(r *jute.Reader) *command.Create {
	var m jute.CreateTTLRequest
	m.Decode(r)
	return createCommand(&m.CreateRequest, m.TTL)
}

func createCommand(m *jute.CreateRequest, ttl int64) *command.Create {
	return &command.Create{Path: m.Path, Data: bytes.Clone(m.Data), ACL: commandACL(m.ACL), Flags: m.Flags, TTL: ttl}
}

func translateDelete(r *jute.Reader) *command.Delete {
	var m jute.PathVersionRequest
	m.Decode(r)
	return &command.Delete{Path: m.Path, Version: m.Version}
}

func translateSetData(r *jute.Reader) *command.SetData {
	var m jute.SetDataRequest
	m.Decode(r)
	return &command.SetData{Path: m.Path, Data: bytes.Clone(m.Data), Version: m.Version}
}

func translateSetACL(r *jute.Reader) *command.SetACL {
	var m jute.SetACLRequest
	m.Decode(r)
	return &command.SetACL{Path: m.Path, ACL: commandACL(m.ACL), Version: m.Version}
}

func translateCheck(r *jute.Reader) *command.Check {
	var m jute.PathVersionRequest
	m.Decode(r)
	return &command.Check{Path: m.Path, Version: m.Version}
}

// translateMulti reads the operations of a multi up to its end. Reads do not belong there; if they stand in front, ZooKeeper
// decodes what follows before it finds that (org.apache.zookeeper.MultiOperationRecord).
func translateMulti(r *jute.Reader) (command.Command, []jute.OpCode) {
	multi := &command.Multi{}
	var replies []jute.OpCode
	reads := false
	for {
		var h jute.MultiHeader
		h.Decode(r)
		if h.Done && reads {
			r.Fail(errNotInMulti)
		}
		if r.Err() != nil || h.Done {
			return multi, replies
		}
		if len(multi.Ops) == 0 && (h.Type == jute.OpGetData || h.Type == jute.OpGetChildren) {
			reads = true
			new(jute.PathWatchRequest).Decode(r)
			continue
		}
		op, reply := translateElement(h.Type, r)
		if reads {
			r.Fail(errNotInMulti)
		}
		if r.Err() != nil {
			return nil, nil
		}
		multi.Ops = append(multi.Ops, op)
		replies = append(replies, reply)
	}
}

// translateElement translates one operation of a multi.
func translateElement(op jute.OpCode, r *jute.Reader) (command.Command, jute.OpCode) {
	switch op {
	case jute.OpCreate, jute.OpCreate2, jute.OpCreateContainer, jute.OpCreateTTL:
		create := translateOne(op, r).(*command.Create)
		if create.ACL == nil && op != jute.OpCreateTTL && isCreateMode(create.Flags) {
			r.Fail(errNullACL)
		}
		reply, err := multiCreateReply(op, create.Flags)
		if err != nil {
			r.Fail(err)
		}
		settleContainerFlags(op, create)
		if op == jute.OpCreateTTL && !isTTLMode(create.Flags) {
			create.TTL = command.NoTTL // It makes a create of any other mode (Op.create).
		}
		return create, reply
	case jute.OpDelete, jute.OpSetData:
		return translateOne(op, r), op
	case jute.OpCheck:
		return translateCheck(r), op
	}
	r.Fail(errNotInMulti)
	return nil, 0
}

// commandACL converts an access list; null stays null.
func commandACL(acl []jute.ACL) []command.ACL {
	if acl == nil {
		return nil
	}
	out := make([]command.ACL, len(acl))
	for i, a := range acl {
		out[i] = command.ACL{Perms: command.Permission(a.Perms), Scheme: a.Scheme, ID: a.ID}
	}
	return out
}
