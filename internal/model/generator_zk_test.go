package model

import (
	"maps"
	"slices"

	"github.com/okapi-kv/okapi/internal/core/command"
)

func (g *generator) znodeWrite() command.Command {
	n := g.r.IntN(100)
	switch {
	case n < 20:
		return g.multi()
	case n < 27:
		return g.setACL()
	default:
		return g.znodeOp()
	}
}

func (g *generator) multi() *command.Multi {
	m := &command.Multi{}
	for range g.r.IntN(5) {
		if g.oneIn(5) {
			path := g.anyPath()
			m.Ops = append(m.Ops, &command.Check{Path: path, Version: g.version(path)})
			continue
		}
		m.Ops = append(m.Ops, g.znodeOp())
	}
	return m
}

// znodeOp draws an operation that may stand alone or in a multi. The more nodes there are, the more it deletes.
func (g *generator) znodeOp() command.Command {
	n := g.r.IntN(100)
	if len(g.model.nodes.live) > 50 {
		n += 30
	}
	path := g.anyPath()
	switch {
	case n < 50:
		return g.create(path)
	case n < 70:
		return &command.SetData{Path: path, Data: g.data(), Version: g.version(path)}
	default:
		if g.oneIn(2) {
			path = pick(g, slices.Sorted(maps.Keys(g.model.nodes.live)))
		}
		return &command.Delete{Path: path, Version: g.version(path)}
	}
}

func (g *generator) create(path string) *command.Create {
	c := &command.Create{Path: path, Data: g.data(), ACL: g.acl(), TTL: command.NoTTL}
	switch g.r.IntN(12) {
	case 0, 1:
		c.Flags = command.FlagSequential
		if g.oneIn(3) {
			c.Path += "/"
		}
	case 2, 3:
		c.Flags = command.FlagEphemeral
	case 4:
		c.Flags = command.FlagEphemeralSequential
	case 5:
		c.Flags = command.FlagContainer
	case 6:
		c.Flags, c.TTL = command.FlagTTL, int64(g.r.IntN(3000))
	case 7:
		c.Flags, c.TTL = command.FlagPersistentSequentialTTL, pick(g, []int64{-1, 0, 1, 500, maxTTL, maxTTL + 1})
	case 8:
		c.Flags = pick(g, []int32{7, -1, 100, 0, 0, 0})
		c.TTL = pick(g, []int64{-1, -1, -2, 0, 5})
	}
	return c
}

// version draws an expected version of a node.
func (g *generator) version(path string) int32 {
	switch n := g.model.node(path); {
	case n == nil || g.oneIn(2):
		return command.AnyVersion
	case g.oneIn(4):
		return n.version + int32(g.r.IntN(3)) - 1
	default:
		return n.version
	}
}

func (g *generator) setACL() *command.SetACL {
	path := g.anyPath()
	c := &command.SetACL{Path: path, ACL: g.acl(), Version: command.AnyVersion}
	if n := g.model.node(path); n != nil && g.oneIn(2) {
		c.Version = n.aversion + int32(g.r.IntN(2))
	}
	return c
}

var aclUniverse = [][]command.ACL{
	{{Perms: 31, Scheme: "digest", ID: "ann:h"}},
	{{Perms: 31, Scheme: "digest", ID: "ann:h"}, {Perms: 1, Scheme: "world", ID: "anyone"}},
	{{Perms: 31, Scheme: "ip", ID: "10.1.0.0/16"}, {Perms: 16, Scheme: "digest", ID: "bob:h"}},
	{{Perms: 15, Scheme: "world", ID: "anyone"}},
	{{Perms: 30, Scheme: "world", ID: "anyone"}},
	{{Perms: 5, Scheme: "world", ID: "anyone"}, {Perms: 31, Scheme: "sasl", ID: "bob"}},
	{{Perms: 9, Scheme: "world", ID: "anyone"}},
	{{Perms: 31, Scheme: "auth"}},
	{{Perms: 31, Scheme: "auth", ID: "x"}, {Perms: 3, Scheme: "x509", ID: "CN=bob"}},
	{{Perms: 31, Scheme: "world", ID: "anyone"}, {Perms: 31, Scheme: "world", ID: "anyone"}},
	{{Perms: 31, Scheme: "etcd", ID: "bob"}},
	{{Perms: -1, Scheme: "world", ID: "anyone"}},
	{},
	{{Perms: 31, Scheme: "world", ID: "nobody"}},
	{{Perms: 31, Scheme: "digest", ID: "ann"}},
	{{Perms: 31, Scheme: "digest", ID: "a:b:c"}},
	{{Perms: 31, Scheme: "ip", ID: "10.1.2"}},
	{{Perms: 31, Scheme: "ip", ID: "10.1.2.3/33"}},
	{{Perms: 31, Scheme: "ip", ID: "10.1.2.3/-1"}},
	{{Perms: 31, Scheme: "ip", ID: "10.1.2.3/x"}},
	{{Perms: 31, Scheme: "ip", ID: "10.1.128.0/17"}},
	{{Perms: 31, Scheme: "ip", ID: "::1/64"}},
	{{Perms: 31, Scheme: "ip", ID: "::/0"}},
	{{Perms: 31, Scheme: "ip", ID: "0.0.0.0/0"}},
	{{Perms: 31, Scheme: "sasl", ID: "bob/host@REALM"}},
	{{Perms: 31, Scheme: "sasl", ID: "bob@a@b"}},
	{{Perms: 31, Scheme: "sasl", ID: "a/b/c@R"}},
	{{Perms: 31, Scheme: "x509", ID: "bob"}},
	{{Perms: 31, Scheme: "x509", ID: "CN=bob, O=x"}},
	{{Perms: 31, Scheme: "digest", ID: "ann:"}},
	{{Perms: 31, Scheme: "digest", ID: ":h"}},
	{{Perms: 31, Scheme: "what", ID: "x"}},
	{{Perms: 31, Scheme: "super", ID: ""}},
}

func (g *generator) acl() []command.ACL {
	if g.r.IntN(100) >= g.mix.lists {
		return openACL
	}
	return pick(g, aclUniverse)
}

// sessionChange draws an opening, attaching, closing, granting, revoking or expiring.
func (g *generator) sessionChange() scripted {
	internal := func(c command.Command) scripted {
		return scripted{current: true, proposal: command.Proposal{Command: c}}
	}
	id := pick(g, sessionIDs)
	zk := command.Caller{Protocol: command.ZooKeeper}
	password := [command.PasswordSize]byte{byte(id), byte(1 + g.r.IntN(20)/19)}
	timeout := int32(1000 * (4 + g.r.IntN(4)))
	switch g.r.IntN(14) {
	case 0, 1, 2, 3:
		return scripted{proposal: command.Proposal{Caller: zk, Command: &command.OpenSession{ID: id, Password: password, Timeout: timeout}}}
	case 4, 5:
		return scripted{proposal: command.Proposal{Caller: zk, Command: &command.AttachSession{ID: id, Password: password, Timeout: timeout}}}
	case 6, 7:
		return g.fromSession(&command.CloseSession{})
	case 8, 9, 10:
		return scripted{proposal: command.Proposal{
			Caller: g.etcdCaller(), Command: &command.LeaseGrant{ID: pick(g, append([]int64{0}, leaseIDs...)), TTL: int64(2 + g.r.IntN(60))},
		}}
	case 11:
		return scripted{proposal: command.Proposal{
			Caller: g.etcdCaller(), Command: &command.LeaseRevoke{ID: pick(g, append(slices.Clone(leaseIDs), sessionIDs...))},
		}}
	default:
		s := internal(&command.Expire{ID: pick(g, append(slices.Clone(leaseIDs), sessionIDs...)), Generation: uint64(g.r.IntN(3)), Term: g.model.term})
		s.current = !g.oneIn(4)
		return s
	}
}

// upkeepCommand draws a compaction, an alarm, a reaping, what a member says of itself or a repeated bootstrap.
func (g *generator) upkeepCommand() scripted {
	switch g.r.IntN(13) {
	case 12:
		return scripted{proposal: command.Proposal{Command: g.memberChange()}}
	case 11:
		return scripted{proposal: command.Proposal{Command: &command.SetLevel{Level: uint64(g.r.IntN(4))}}}
	case 10:
		urls := []string{"http://a:1", "http://b:2"}[:g.r.IntN(3)]
		return scripted{proposal: command.Proposal{Command: &command.PublishMember{
			ID: uint64(1 + g.r.IntN(4)), Name: pick(g, []string{"", "n1", "n2"}), ClientURLs: slices.Clone(urls),
		}}}
	case 0:
		return scripted{proposal: command.Proposal{
			Caller: command.Caller{Protocol: command.Etcd}, Command: &command.Compact{Revision: g.someRevision() - int64(g.r.IntN(2))},
		}}
	case 1:
		a := &command.Alarm{
			Action: command.AlarmDeactivate, Member: uint64(1 + g.r.IntN(2)), Alarm: command.AlarmType(g.r.IntN(3)),
		}
		if g.oneIn(8) {
			a.Action = command.AlarmActivate
		}
		return scripted{proposal: command.Proposal{Caller: command.Caller{Protocol: command.Etcd}, Command: a}}
	case 2:
		return scripted{proposal: command.Proposal{Command: &command.Bootstrap{Settings: command.Settings{TreePrefix: "/other"}}}}
	default:
		var candidates []string
		for path, n := range g.model.nodes.live {
			if n.kind == container || n.kind == ttl || g.mix.lists%2 == 1 {
				candidates = append(candidates, path)
			}
		}
		candidates = append(candidates, g.anyPath())
		slices.Sort(candidates)
		return scripted{current: !g.oneIn(8), proposal: command.Proposal{Command: &command.Reap{Path: pick(g, candidates), Czxid: 1}}}
	}
}

// memberChange draws a change of one or two members, most of them possible.
func (g *generator) memberChange() *command.ChangeMembers {
	c := &command.ChangeMembers{Verdict: command.Proceed}
	if g.oneIn(6) {
		c.Verdict, c.Behind = command.Verdict(g.r.IntN(5)), uint64(g.r.IntN(3))
	}
	for range 1 + g.r.IntN(2) {
		c.Changes = append(c.Changes, command.MemberChange{
			Action: command.MemberAction(g.r.IntN(5)), ID: uint64(g.r.IntN(12)), Role: command.Role(g.r.IntN(4)),
			PeerURLs: []string{"http://p:1", "http://p:2", "http://p:3", "http://p:4"}[g.r.IntN(4):][:g.r.IntN(2)],
		})
	}
	return c
}
