package model

import (
	"fmt"
	"strings"

	"github.com/okapi-kv/okapi/internal/core/command"
	"github.com/okapi-kv/okapi/internal/core/state"
)

// changed names one key at one revision.
type changed struct {
	revision int64
	key      string
}

// lastChange is the last of several changes of a key at one revision.
type lastChange struct {
	deleted bool
	put     state.KeyValue
}

// compareChanges reads a change log, from a revision on, which etcd watches are fed from: what is last in it for each
// key and revision must be what the model has, and nothing that the model has may be missing.
func (p *player) compareChanges(v state.View, caller *command.Caller, tree bool, from int64) string {
	log := v.Log(tree)
	from = max(from, log.Floor(), 1)
	last := map[changed]lastChange{}
	diff, revision := "", from
	log.Each(from, func(c *state.Change) bool {
		at := changed{c.Revision, c.Key}
		if c.Revision < revision || c.Revision > p.model.revision {
			diff = fmt.Sprintf("change log of %d has %d after %d", from, c.Revision, revision)
			return false
		}
		revision = c.Revision
		if _, again := last[at]; !again && c.Revision > max(log.Floor(), 1) {
			before, ok := c.Before()
			want := p.keyAt(c.Key, c.Revision-1)
			if ok != (want != nil) || ok && differ(*want, before) != "" {
				diff = fmt.Sprintf("%s before %d: %+v %v, want %+v", c.Key, c.Revision, before, ok, want)
				return false
			}
		}
		if diff = p.compareReadable(caller, c); diff != "" {
			return false
		}
		last[at] = lastChange{c.Deleted, c.KeyValue()}
		return diff == ""
	})
	if diff != "" {
		return diff
	}
	for at, c := range last {
		want := p.keyAt(at.key, at.revision)
		switch {
		case c.deleted != (want == nil):
			return fmt.Sprintf("change of %s at %d: deleted %v, want %+v", at.key, at.revision, c.deleted, want)
		case want != nil && differ(*want, c.put) != "":
			return fmt.Sprintf("change of %s at %d: -model +machine\n%s", at.key, at.revision, differ(*want, c.put))
		}
	}
	return p.missingChange(tree, from, last)
}

// compareReadable compares who may learn of a change of a znode: who may read what the change made, or for a
// deletion what it took away, and what is there today.
func (p *player) compareReadable(caller *command.Caller, c *state.Change) string {
	m := p.model
	if !m.isTreeKey(c.Key) {
		if !c.ReadableBy(caller) {
			return fmt.Sprintf("%s at %d may not be learnt", c.Key, c.Revision)
		}
		return ""
	}
	path := strings.TrimPrefix(c.Key, m.settings.TreePrefix)
	var made, before *node
	for _, v := range m.nodes.past[path] {
		if v.revision >= c.Revision {
			made = v.value
			break
		}
		before = v.value
	}
	if c.Deleted {
		made = before
	}
	if made == nil || c.Revision <= m.treeFloor+1 {
		return "" // it came and went within one command, or the model has forgotten
	}
	today := m.nodes.live[path]
	want := m.allowed(caller, made.acl, command.PermRead) && (today == nil || m.allowed(caller, today.acl, command.PermRead))
	if got := c.ReadableBy(caller); got != want {
		return fmt.Sprintf("%+v may learn of %s at %d: %v, want %v", *caller, c.Key, c.Revision, got, want)
	}
	return ""
}

// missingChange looks for a change that is not in the log.
func (p *player) missingChange(tree bool, from int64, last map[changed]lastChange) string {
	missing := func(k string, revision int64, put, was bool) string {
		if _, logged := last[changed{revision, k}]; logged || revision < from || revision <= p.model.treeFloor || revision <= p.model.compacted {
			return ""
		}
		if put || was {
			return fmt.Sprintf("the log of %d misses the change of %s at %d", from, k, revision)
		}
		return ""
	}
	if tree {
		for path, versions := range p.model.nodes.past {
			was := false
			for _, v := range versions {
				put := v.value != nil && v.value.modRevision == v.revision
				if d := missing(p.model.settings.TreePrefix+path, v.revision, put, was && v.value == nil); d != "" && p.model.hasKey(path) {
					return d
				}
				was = v.value != nil
			}
		}
		return ""
	}
	for k, versions := range p.model.keys.past {
		was := false
		for _, v := range versions {
			if d := missing(k, v.revision, v.value != nil, was && v.value == nil); d != "" {
				return d
			}
			was = v.value != nil
		}
	}
	return ""
}

// keyAt returns a key as it was at a revision; nil if it was not there.
func (p *player) keyAt(k string, revision int64) *state.KeyValue {
	m := p.model
	if !m.isTreeKey(k) {
		if v := m.keys.at(k, revision); v != nil {
			return keyValue(k, v)
		}
		return nil
	}
	path := strings.TrimPrefix(k, m.settings.TreePrefix)
	if n := m.nodes.at(path, revision); n != nil {
		return m.nodeValue(path, n)
	}
	return nil
}
