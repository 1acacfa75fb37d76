package state

import (
	"cmp"
	"slices"
	"strings"

	"github.com/okapi-kv/okapi/internal/core/command"
)

// Member is what a member says of itself. Who belongs to the cluster, and who votes, is not kept here.
type Member struct {
	ID uint64
	// Name is what people call it.
	Name string
	// ClientURLs is where clients reach it, in the order in which the member gave them.
	ClientURLs []string
}

// memberTable holds what members have said, by id. There are a handful, so a slice does. It is replaced and never
// changed: views hold it.
type memberTable struct {
	list []Member
}

// find returns where a member is or belongs, and whether it is there.
func (t *memberTable) find(id uint64) (int, bool) {
	return slices.BinarySearchFunc(t.list, id, func(m Member, id uint64) int { return cmp.Compare(m.ID, id) })
}

// set puts m in the place of what the member with its id said before.
func (t *memberTable) set(m Member) {
	i, known := t.find(m.ID)
	list := slices.Clone(t.list)
	if known {
		list[i] = m
	} else {
		list = slices.Insert(list, i, m)
	}
	t.list = list
}

// publish keeps what a member says of itself.
func (t *memberTable) publish(c *command.PublishMember) (Code, any) {
	said := Member{ID: c.ID, Name: strings.Clone(c.Name)} // the entry's strings are not ours
	for _, u := range c.ClientURLs {
		said.ClientURLs = append(said.ClientURLs, strings.Clone(u))
	}
	t.set(said)
	return OK, nil
}

// Members returns what members have said of themselves, by id. Neither it nor what it holds may be changed.
func Members(v View) []Member { return v.m.members.list }

// digestMember hashes what a member said of itself.
func digestMember(m *Member) uint64 {
	s := fold(newSum(sumMember).pair(m.ID, uint64(len(m.ClientURLs))), m.Name)
	for _, u := range m.ClientURLs {
		s = fold(s, u)
	}
	return uint64(s)
}

func (e *encoder) members(list []Member) {
	e.uint(uint64(len(list)))
	for i := range list {
		m := &list[i]
		e.uint(m.ID)
		e.string(m.Name)
		e.uint(uint64(len(m.ClientURLs)))
		for _, u := range m.ClientURLs {
			e.string(u)
		}
	}
}

func (d *decoder) members(t *memberTable) {
	for range d.count() {
		m := Member{ID: d.uint(), Name: d.string()}
		for range d.count() {
			m.ClientURLs = append(m.ClientURLs, d.string())
		}
		if _, twice := t.find(m.ID); twice {
			d.fail()
		}
		t.set(m)
	}
}
