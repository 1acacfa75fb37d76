package state

import (
	"slices"

	"github.com/okapi-kv/okapi/internal/core/command"
)

// Alarm is one alarm that is on (rpc.proto, AlarmMember).
type Alarm struct {
	// Member is the member it was raised for; 0 if none could be blamed.
	Member uint64
	Type   command.AlarmType
}

// alarmTable holds the alarms that are on, sorted by member and type. There are at most two for each
// member, so a slice does.
type alarmTable struct {
	list []Alarm
}

// AlarmResult answers an Alarm.
type AlarmResult struct {
	// Alarms is the alarm that was raised, was on already, or was cleared; empty if there was
	// none to clear.
	Alarms []Alarm
}

// find returns where a is or belongs, and whether it is there.
func (t *alarmTable) find(a Alarm) (int, bool) {
	return slices.BinarySearchFunc(t.list, a, func(x, y Alarm) int {
		switch {
		case x.Member != y.Member && x.Member < y.Member, x.Member == y.Member && x.Type < y.Type:
			return -1
		case x == y:
			return 0
		default:
			return 1
		}
	})
}

// active says whether an alarm of the type is on for any member.
func (t *alarmTable) active(typ command.AlarmType) bool {
	for _, a := range t.list {
		if a.Type == typ {
			return true
		}
	}
	return false
}

// raise turns an alarm on. The list is replaced, never changed: views hold it.
func (t *alarmTable) raise(a Alarm) {
	if i, on := t.find(a); !on {
		t.list = slices.Insert(slices.Clone(t.list), i, a)
	}
}

// clear turns an alarm off and says whether it was on.
func (t *alarmTable) clear(a Alarm) bool {
	i, on := t.find(a)
	if on {
		t.list = slices.Delete(slices.Clone(t.list), i, i+1)
	}
	return on
}

// alarm raises or clears one alarm, as etcd does: raising one that is on says so again, clearing one
// that is off says nothing, and the type NONE does nothing when it is raised.
func (m *Machine) alarm(c *command.Alarm) (Code, any) {
	a := Alarm{Member: c.Member, Type: c.Alarm}
	res := &AlarmResult{}
	switch {
	case c.Action == command.AlarmActivate && a.Type != command.AlarmNone:
		m.alarms.raise(a)
		res.Alarms = []Alarm{a}
	case c.Action == command.AlarmDeactivate && m.alarms.clear(a):
		res.Alarms = []Alarm{a}
	}
	return OK, res
}

// corrupt says whether the cluster is marked corrupt; etcd then answers no command but alarms.
func (m *Machine) corrupt() bool { return m.alarms.active(command.AlarmCorrupt) }
