package state

import (
	"strings"

	"github.com/okapi-kv/okapi/internal/core/command"
)

// bootstrap writes the settings of a new cluster. Two members may both have proposed it, so a repeat
// is no error; the first one holds.
func (m *Machine) bootstrap(c *command.Bootstrap) (Code, any) {
	if m.bootstrapped {
		return OK, nil
	}
	m.settings = c.Settings
	m.settings.TreePrefix = strings.Clone(c.Settings.TreePrefix)
	m.mount = mountAt(m.settings.TreePrefix)
	m.bootstrapped = true
	return OK, nil
}
