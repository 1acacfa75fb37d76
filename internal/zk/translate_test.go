package zk

import (
	"testing"

	"github.com/okapi-kv/okapi/internal/core/command"
	"github.com/okapi-kv/okapi/internal/zk/jute"
)

// TestSettleContainer checks that the opcode, not the flags, makes a container of a lone create. The flags of createContainer
// count for nothing, but there are no sequential containers.
func TestSettleContainer(t *testing.T) {
	for _, c := range []struct {
		op          jute.OpCode
		flags, want int32
	}{
		{jute.OpCreate, command.FlagContainer, command.FlagPersistent},
		{jute.OpCreate2, command.FlagContainer, command.FlagPersistent},
		{jute.OpCreateContainer, command.FlagPersistent, command.FlagContainer},
		{jute.OpCreateContainer, command.FlagContainer, command.FlagContainer},
		{jute.OpCreateContainer, command.FlagEphemeral, command.FlagContainer},
		{jute.OpCreateContainer, command.FlagSequential, noMode},
		{jute.OpCreateContainer, command.FlagEphemeralSequential, noMode},
		{jute.OpCreateContainer, command.FlagTTL, command.FlagTTL},
		{jute.OpCreate, command.FlagEphemeral, command.FlagEphemeral},
	} {
		create := &command.Create{Flags: c.flags}
		settleContainer(c.op, create)
		settleContainerFlags(c.op, create)
		if create.Flags != c.want {
			t.Errorf("opcode %d with flags %d becomes %d, want %d", c.op, c.flags, create.Flags, c.want)
		}
	}
}
