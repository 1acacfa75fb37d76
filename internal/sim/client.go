package sim

import (
	"fmt"
	"math/rand/v2"

	"github.com/okapi-kv/okapi/internal/core/command"
	"github.com/okapi-kv/okapi/internal/core/state"
	"github.com/okapi-kv/okapi/internal/replica"
)

// client is somebody who uses the cluster, through either door. It has one operation under way at a time and
// gives up on it after a while, as real clients do.
type client struct {
	world *World
	name  int
	op    int // operations begun; an answer to an earlier one is dropped
	dead  bool
	lease int64 // of an etcd client; 0: none

	// A ZooKeeper client has a session and is connected to one member.
	zookeeper  bool
	session    int64
	password   [command.PasswordSize]byte
	timeoutMS  int64
	generation uint64
	sequence   uint64
	at         *node
	atEpoch    int
	seen       uint64 // the highest position this session has been told
	heard      replica.Heard
}

func newClient(w *World, name int) *client {
	c := &client{world: w, name: name, zookeeper: w.chance(0.5), timeoutMS: w.between(2000, 6000)}
	w.after(w.between(0, second), c.next)
	if c.zookeeper {
		w.after(w.between(0, second), c.ping)
		w.after(w.cfg.FaultTime, func() { c.dead = w.chance(0.4) })
	}
	fate := rand.New(rand.NewPCG(w.cfg.Seed, uint64(name))) // of its own, so that all goes as it would have up to then
	if fate.Float64() < w.cfg.Death {
		w.after(2*second+fate.Int64N(w.cfg.FaultTime-2*second), func() { c.dead = true })
	}
	return c
}

// patience is how long a client waits for an answer.
const patience = 4 * second

// next begins another operation after a pause.
func (c *client) next() {
	w := c.world
	if c.dead || w.now > w.cfg.FaultTime+w.cfg.HealTime-8*second {
		return
	}
	c.op++
	op := c.op
	w.after(patience, func() {
		if c.op == op { // the answer is given up on
			c.lostConnection()
			c.next()
		}
	})
	if c.zookeeper {
		c.znodeOp(op)
	} else {
		c.keyOp(op)
	}
}

// answered tells whether an answer is to the operation under way, and goes on to the next one.
func (c *client) answered(op int) bool {
	if c.op != op {
		return false
	}
	c.op++
	c.world.after(c.world.between(0, 100*millisecond), c.next)
	return true
}

// somebody returns a member that is up; nil if the one that was picked is not.
func (c *client) somebody() *node {
	n := c.world.nodes[c.world.rng.IntN(len(c.world.nodes))]
	if !n.up || !n.serving || n.pausedUntil > c.world.now || n.drive.hangs() {
		return nil
	}
	return n
}

// key draws one of a few keys, so that clients meet.
func (c *client) key() string {
	if c.world.chance(0.3) {
		return fmt.Sprintf("/zk/t%d", c.world.rng.IntN(4))
	}
	return fmt.Sprintf("k%d", c.world.rng.IntN(5))
}

func (c *client) value() []byte { return fmt.Appendf(nil, "%d.%d", c.name, c.op) }

// keyOp does what etcd clients do.
func (c *client) keyOp(op int) {
	n := c.somebody()
	if n == nil {
		c.answered(op)
		return
	}
	key := c.key()
	switch c.world.rng.IntN(12) {
	case 0, 1, 2, 3:
		c.get(op, n, key)
	case 10, 11:
		c.leaseOp(op, n)
	case 4:
		c.write(op, n, &command.DeleteRange{Key: key, PrevKV: true}, key, "")
	case 5, 6:
		c.write(op, n, &command.Txn{
			Compares: []command.Compare{{Key: key, Target: command.CompareVersion, Result: command.CompareGreater, Number: 1}},
			Success:  []command.Command{&command.Put{Key: key, Value: c.value()}, &command.Range{Key: "k", End: "l"}},
			Failure:  []command.Command{&command.Put{Key: key, Value: c.value(), PrevKV: true}, &command.Put{Key: "n" + key, Value: c.value()}},
		}, key, string(c.value()))
	default:
		c.write(op, n, &command.Put{Key: key, Value: c.value(), PrevKV: true}, key, string(c.value()))
	}
}

// write proposes a command that, done, leaves value in key; the key is empty if that cannot be said.
func (c *client) write(op int, n *node, cmd command.Command, key, value string) {
	floor := c.world.check.order.began()
	record := c.world.check.registers.access(access{client: c.name, key: key, write: true, value: value, call: c.world.now})
	n.propose(command.Caller{Protocol: command.Etcd}, cmd, func(r state.Result, err error) {
		if err == nil {
			record(value, r.Code == state.OK)
			c.world.check.order.returned(fmt.Sprintf("a write by client %d", c.name), floor, r.Seq)
		}
		c.answered(op)
	})
}

// get is a linearizable read.
func (c *client) get(op int, n *node, key string) {
	floor := c.world.check.order.began()
	record := c.world.check.registers.access(access{client: c.name, key: key, call: c.world.now})
	n.readIndex(func(err error) {
		if err != nil {
			c.answered(op)
			return
		}
		n.store.Read(func(v state.View) {
			var res state.RangeResult
			code := v.Range(&command.Caller{Protocol: command.Etcd}, &command.Range{Key: key}, &res)
			r := readCheck{key: key, revision: v.Revision(), found: code == state.OK && len(res.KVs) == 1}
			if r.found {
				r.value = string(res.KVs[0].Value)
			}
			record(r.value, true)
			c.world.check.order.reads = append(c.world.check.order.reads, r)
			c.world.check.order.returned(fmt.Sprintf("a linearizable read by client %d at member %d", c.name, n.id), floor, v.Seq())
		})
		c.answered(op)
	})
}

// connected tells whether the session's member still runs the process to which it is connected.
func (c *client) connected() bool {
	return c.at != nil && c.at.up && c.at.epoch == c.atEpoch && c.at.pausedUntil <= c.world.now
}

func (c *client) lostConnection() { c.at = nil }

// znodeOp does what ZooKeeper clients do.
func (c *client) znodeOp(op int) {
	if !c.connected() {
		c.connect(op)
		return
	}
	path := fmt.Sprintf("/t%d", c.world.rng.IntN(4))
	switch c.world.rng.IntN(9) {
	case 0, 1:
		c.readLocal(op, path)
	case 2:
		c.syncRead(op, path)
	case 3:
		c.ordered(op, &command.Create{Path: fmt.Sprintf("/e%d-", c.name), Data: c.value(), ACL: openACL(), Flags: command.FlagEphemeralSequential, TTL: command.NoTTL})
	case 4:
		c.ordered(op, &command.Delete{Path: path, Version: command.AnyVersion})
	case 5:
		c.ordered(op, &command.Multi{Ops: []command.Command{
			&command.SetData{Path: path, Data: c.value(), Version: command.AnyVersion},
			&command.Create{Path: path + "/m", ACL: openACL(), TTL: command.NoTTL},
			&command.Delete{Path: path + "/m", Version: 0},
		}})
	case 6:
		c.ordered(op, &command.SetData{Path: path, Data: c.value(), Version: command.AnyVersion})
	default:
		c.ordered(op, &command.Create{Path: path, Data: c.value(), ACL: openACL(), TTL: command.NoTTL})
	}
}

func openACL() []command.ACL {
	return []command.ACL{{Perms: command.PermAll, Scheme: "world", ID: "anyone"}}
}

// connect opens a session or moves it to another member.
func (c *client) connect(op int) {
	n := c.somebody()
	if n == nil {
		c.answered(op)
		return
	}
	w := c.world
	caller := command.Caller{Protocol: command.ZooKeeper, Identities: []command.Identity{{Scheme: "ip", ID: "127.0.0.1"}}}
	var cmd command.Command
	if c.session == 0 {
		id := int64(w.rng.Uint64() >> 1)
		w.check.mortals.sessions[id] = &sessionCheck{timeoutMS: c.timeoutMS, heardAt: w.now}
		cmd = &command.OpenSession{ID: id, Password: [16]byte{byte(c.name)}, Timeout: int32(c.timeoutMS)}
	} else {
		cmd = &command.AttachSession{ID: c.session, Password: c.password, Timeout: int32(c.timeoutMS)}
	}
	epoch, begun := n.epoch, w.now
	n.propose(caller, cmd, func(r state.Result, err error) {
		if c.op != op {
			return
		}
		c.answered(op)
		switch {
		case err != nil:
		case r.Code == state.SessionExpired:
			c.session = 0
		case r.Code != state.OK:
			w.fail("session of client %d: %v", c.name, r.Code)
		case w.now-begun > c.timeoutMS*millisecond/3:
			// The leader counts from when it applied the command: a member that hears of it late closes.
			if c.session == 0 {
				c.adopt(r.Body.(*state.SessionResult))
			}
		default:
			s := r.Body.(*state.SessionResult)
			c.adopt(s)
			c.at, c.atEpoch, c.heard = n, epoch, replica.Heard{}
			n.touch(s.ID, c.timeoutMS, &c.heard)
			w.check.mortals.sessions[s.ID].heardAt = begun
			c.saw(r.Seq)
		}
	})
}

// adopt takes over the session that the cluster gave.
func (c *client) adopt(s *state.SessionResult) {
	c.session, c.password, c.generation, c.sequence = s.ID, s.Password, s.Generation, 0
}

// ordered sends a write of the session and checks that the session never goes back.
func (c *client) ordered(op int, cmd command.Command) {
	c.sequence++
	caller := command.Caller{
		Protocol: command.ZooKeeper, Identities: []command.Identity{{Scheme: "ip", ID: "127.0.0.1"}},
		Session: c.session, Generation: c.generation, Sequence: c.sequence,
	}
	floor := c.world.check.order.began()
	c.at.propose(caller, cmd, func(r state.Result, err error) {
		if err == nil {
			c.world.check.order.returned(fmt.Sprintf("a write by session of client %d", c.name), floor, r.Seq)
		}
		if c.op != op {
			return
		}
		c.answered(op)
		switch {
		case err != nil, r.Code == state.SequenceGap, r.Code == state.SessionMoved:
			c.lostConnection()
		case r.Code == state.SessionExpired:
			c.lostConnection()
			c.session = 0
		default:
			c.saw(r.Seq)
		}
	})
}

// saw checks that the session's position never goes back.
func (c *client) saw(seq uint64) {
	if seq < c.seen {
		c.world.fail("session of client %d went back from position %d to %d", c.name, c.seen, seq)
	}
	c.seen = seq
}

func (c *client) readLocal(op int, path string) {
	n := c.at
	n.store.Read(func(v state.View) {
		if v.Seq() < c.seen {
			return // a real connection is refused at the handshake and tries another member
		}
		c.saw(v.Seq())
		_, _, _ = v.Data(&command.Caller{Protocol: command.ZooKeeper}, path)
	})
	c.answered(op)
}

// syncRead is a sync and a read behind it.
func (c *client) syncRead(op int, path string) {
	n := c.at
	floor := c.world.check.order.began()
	n.readIndex(func(err error) {
		if err == nil {
			n.store.Read(func(v state.View) {
				c.world.check.order.returned(fmt.Sprintf("a read behind a sync by client %d at member %d", c.name, n.id), floor, v.Seq())
				_, _, _ = v.Data(&command.Caller{Protocol: command.ZooKeeper}, path)
			})
		}
		c.answered(op)
	})
}

// ping keeps the session alive while its member vouches for it.
func (c *client) ping() {
	w := c.world
	if c.dead {
		return
	}
	w.after(c.timeoutMS*millisecond/4, c.ping)
	if c.session == 0 || !c.connected() {
		return
	}
	s := w.check.mortals.sessions[c.session]
	if s.endedAt != 0 {
		return
	}
	if c.at.touch(c.session, c.timeoutMS, &c.heard) {
		s.heardAt = w.now
	} else {
		c.lostConnection()
	}
}
