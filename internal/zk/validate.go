package zk

import (
	"errors"

	"github.com/okapi-kv/okapi/internal/core/command"
	"github.com/okapi-kv/okapi/internal/zk/jute"
)

// Most of what can be wrong with a request is found by apply, because ZooKeeper spends a zxid on
// it. Here is what ZooKeeper finds while it decodes: it answers with a marshalling error.
var (
	errNotInMulti  = errors.New("operation is not allowed in a multi")
	errCreateFlags = errors.New("create flags are not allowed in a multi")
	errNullACL     = errors.New("the access list of a create in a multi is null")
)

// multiCreateReply gives the type of the response to a create inside a multi, which depends on
// the opcode and on the flags (org.apache.zookeeper.MultiOperationRecord and Op.Create): a
// container comes back as create2, whatever opcode it came in with. Flags that are no create mode,
// and those of a TTL node without a TTL, make the whole request garbled; createTTL takes any
// flags and leaves the judgement to the operation.
func multiCreateReply(op jute.OpCode, flags int32) (jute.OpCode, error) {
	isTTL := isTTLMode(flags)
	switch {
	case op == jute.OpCreateTTL && isTTL, flags == command.FlagContainer:
		return jute.OpCreate2, nil
	case op == jute.OpCreateTTL:
		return jute.OpCreate, nil
	case isTTL, !isCreateMode(flags):
		return 0, errCreateFlags
	case op == jute.OpCreate:
		return jute.OpCreate, nil
	}
	return jute.OpCreate2, nil
}

// isCreateMode reports whether flags are those of a create mode (org.apache.zookeeper.CreateMode.fromFlag).
func isCreateMode(flags int32) bool {
	return flags >= command.FlagPersistent && flags <= command.FlagPersistentSequentialTTL
}

// isTTLMode reports whether flags are those of a node with a TTL.
func isTTLMode(flags int32) bool {
	return flags == command.FlagTTL || flags == command.FlagPersistentSequentialTTL
}
