package model

import (
	"cmp"
	"maps"
	"slices"

	"github.com/okapi-kv/okapi/internal/core/command"
	"github.com/okapi-kv/okapi/internal/core/state"
)

func (m *Model) raised(t command.AlarmType) bool {
	for a := range m.alarms {
		if a.Type == t {
			return true
		}
	}
	return false
}

func (m *Model) corrupt() state.Code {
	if m.raised(command.AlarmCorrupt) {
		return state.Corrupt
	}
	return state.OK
}

// alarmed refuses what the alarms that are on forbid (server/etcdserver/apply/corrupt.go, capped.go).
func (m *Model) alarmed(c command.Command) state.Code {
	switch c := c.(type) {
	case *command.Put, *command.LeaseGrant:
		if m.corrupt() == state.OK && m.raised(command.AlarmNoSpace) {
			return state.NoSpace
		}
	case *command.Txn:
		if m.corrupt() == state.OK && m.raised(command.AlarmNoSpace) && puts(c) {
			return state.NoSpace
		}
	case *command.DeleteRange, *command.Compact, *command.LeaseRevoke:
	default:
		return state.OK
	}
	return m.corrupt()
}

// puts says whether a txn has a put in any branch.
func puts(t *command.Txn) bool {
	for _, branch := range [][]command.Command{t.Success, t.Failure} {
		for _, op := range branch {
			switch op := op.(type) {
			case *command.Put:
				return true
			case *command.Txn:
				if puts(op) {
					return true
				}
			}
		}
	}
	return false
}

// alarm raises or clears an alarm.
func (m *Model) alarm(c *command.Alarm) (any, state.Code) {
	a := state.Alarm{Member: c.Member, Type: c.Alarm}
	r := &state.AlarmResult{}
	switch {
	case c.Alarm == command.AlarmNone:
	case c.Action == command.AlarmActivate:
		r.Alarms = []state.Alarm{a}
		m.do.atEnd = append(m.do.atEnd, func() { m.alarms[a] = true })
	case c.Action == command.AlarmDeactivate && m.alarms[a]:
		r.Alarms = []state.Alarm{a}
		m.do.atEnd = append(m.do.atEnd, func() { delete(m.alarms, a) })
	}
	return r, state.OK
}

// Alarms returns the alarms that are on, by member and type.
func (m *Model) Alarms() []state.Alarm {
	return slices.SortedFunc(maps.Keys(m.alarms), func(a, b state.Alarm) int {
		return cmp.Or(cmp.Compare(a.Member, b.Member), cmp.Compare(a.Type, b.Type))
	})
}
