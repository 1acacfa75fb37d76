// Package cluster knows how a cluster begins and who a member is: how members get their ids, how a new
// cluster is described on the command line, and which member a data directory belongs to.
//
// It is plain logic and two small files. The membership that counts is the one in the
// replicated state; what is here begins it, and refuses a directory that
// belongs to somebody else before anything in it is touched.
package cluster

import (
	"fmt"

	"github.com/okapi-kv/okapi/internal/core/state"
)

// checkMembers refuses a reserved id, and an id or a peer URL that occurs twice.
func checkMembers(members []state.Member) error {
	ids := make(map[uint64]string)
	owner := make(map[string]string)
	for _, m := range members {
		if !validID(m.ID) {
			return fmt.Errorf("check member %q: %w: %x", m.Name, errReservedID, m.ID)
		}
		if other, twice := ids[m.ID]; twice {
			return fmt.Errorf("check members %q and %q: %w: %x", other, m.Name, errSameID, m.ID)
		}
		ids[m.ID] = m.Name
		for _, u := range m.PeerURLs {
			if other, taken := owner[u]; taken {
				return fmt.Errorf("%w: %s belongs to %q and to %q", errDuplicateURL, u, other, m.Name)
			}
			owner[u] = m.Name
		}
	}
	return nil
}
