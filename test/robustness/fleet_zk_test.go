package robustness

import (
	"context"
	"errors"
	"fmt"
	"net"
	"time"

	"github.com/okapi-kv/okapi/test/robustness/check"
)

// zkCaller is a client of ZooKeeper's door.
type zkCaller struct {
	caller
	session
	owner *check.Owner // of the session's ephemeral nodes; nil without a session
	xid   int32
	own   []string // nodes that the client has made and not deleted
	// silent are connections of sessions whose client is gone without closing them.
	silent []net.Conn
}

func newZKCaller(f *fleet, pinned int) *zkCaller {
	return &zkCaller{caller: newCaller(f, pinned), session: session{patience: callPatience}}
}

// enter sees to a connection, with the session that there is or a new one of that timeout; false if that did not do.
func (c *zkCaller) enter(timeout time.Duration, fate check.Fate) bool {
	if c.conn != nil {
		return true
	}
	ctx, cancel := context.WithTimeout(context.Background(), callPatience)
	defer cancel()
	if c.owner == nil {
		c.id, c.password, c.timeout = 0, nil, timeout
	}
	sent := c.now()
	err := c.connect(ctx)
	switch {
	case errors.Is(err, errExpired) && c.owner != nil:
		c.owner.Told, c.owner = c.now(), nil
	case err == nil:
		if c.owner == nil {
			c.owner = c.fleet.own(&check.Owner{Name: fmt.Sprintf("session %#x", c.id), Session: true, Timeout: c.timeout, Fate: fate})
		}
		c.xid = 0
		c.owner.Ask(c.at, sent)
		c.owner.Meet(sent, c.now(), true)
		return true
	}
	c.leave()
	return false
}

func (c *zkCaller) connect(ctx context.Context) error {
	m := c.member(c.at)
	conn, err := m.Dial(ctx, "tcp", m.ZooKeeper)
	if err != nil {
		return err
	}
	return c.greet(conn)
}

// leave ends a connection that is of no use, and goes to another member if the client may.
func (c *zkCaller) leave() {
	c.drop()
	c.move()
	time.Sleep(retryPause)
}

// ask sends requests at once and returns the reply to the last one.
func (c *zkCaller) ask(requests ...request) (last arrival, err error) {
	var b []byte
	for i, r := range requests {
		b = r.encode(b, c.xid+int32(i)+1)
	}
	if _, err := c.conn.Write(b); err != nil {
		return last, err
	}
	for _, r := range requests {
		c.xid++
		frame, err := c.read()
		if err != nil {
			return last, err
		}
		if last, err = decode(frame, c.xid, r); err != nil {
			return last, err
		}
		c.seen = max(c.seen, last.zxid)
	}
	return last, nil
}

// call makes a call on the connection that there is, and records it. It returns nil without a reply.
func (c *zkCaller) call(o *check.Operation, requests ...request) *arrival {
	o.ZooKeeper = true
	c.owner.Ask(c.at, o.Call)
	last, err := c.ask(requests...)
	o.Return = c.now()
	if err != nil {
		o.Outcome = check.Unknown
		c.record(o)
		c.leave()
		return nil
	}
	c.owner.Meet(o.Call, o.Return, false)
	o.Zxid = last.zxid
	final := requests[len(requests)-1]
	switch {
	case final.op == opGetData:
		o.Read = &check.Reading{Key: zkKey(final.path), Value: last.data, Fresh: len(requests) > 1, Mzxid: last.mzxid}
	case last.code != 0:
		o.Outcome = check.Refused
	}
	c.record(o)
	return &last
}

// load calls until ctx ends.
func (c *zkCaller) load(ctx context.Context) {
	for ctx.Err() == nil {
		if c.enter(c.patienceWithMembers(), check.Kept) {
			c.step()
			c.rest(ctx)
		}
	}
}

// patienceWithMembers is the timeout of the sessions that the client keeps.
func (c *zkCaller) patienceWithMembers() time.Duration {
	if c.pinned == everywhere {
		return lastingTimeout
	}
	return pinnedTimeout
}

// step draws a call and makes it.
func (c *zkCaller) step() {
	switch n := c.random.IntN(100); {
	case n < 15:
		if path := ownTop + "/" + c.value(); c.create(path, 0) {
			c.own = append(c.own, path)
		}
	case n < 25:
		c.create(sequenceTop+"/s-", createSequential)
	case n < 28:
		c.create(ownTop+"/e-"+c.value(), createEphemeral)
	case n < 43:
		c.set(c.shared(), anyVersion)
	case n < 53:
		path := c.shared()
		if last := c.get(path, false); last != nil {
			c.set(path, last.version)
		}
	case n < 63:
		c.remove()
	case n < 73:
		c.multi()
	case n < 88:
		c.get(c.shared(), true)
	default:
		c.get(c.shared(), false)
	}
}

// create makes a node; true if it knows that it was made.
func (c *zkCaller) create(path string, flags int32) bool {
	if c.conn == nil {
		return false
	}
	o := c.begin("create")
	o.Changes = []check.Change{{Key: zkKey(path), Value: c.value(), Sequential: flags&createSequential != 0}}
	if flags&createEphemeral != 0 {
		o.Owner = c.owner
	}
	return c.call(o, request{op: opCreate2, path: path, data: o.Changes[0].Value, flags: flags}) != nil && o.Outcome == check.Done
}

// set sets the data of a node that has the version; true if the client knows that it was set.
func (c *zkCaller) set(path string, version int32) bool {
	o := c.begin("setData")
	o.Changes = []check.Change{{Key: zkKey(path), Value: c.value()}}
	return c.call(o, request{op: opSetData, path: path, data: o.Changes[0].Value, version: version}) != nil && o.Outcome == check.Done
}

// remove deletes one of the client's own nodes. It tries each once.
func (c *zkCaller) remove() {
	if len(c.own) == 0 {
		return
	}
	path := c.own[0]
	c.own = c.own[1:]
	o := c.begin("delete")
	o.Changes = []check.Change{{Key: zkKey(path)}}
	c.call(o, request{op: opDelete, path: path, version: anyVersion})
}

// multi makes a node and sets two, all or none, the latter if a version is not what it is said to be.
func (c *zkCaller) multi() {
	path := ownTop + "/" + c.value()
	first := c.random.IntN(fleetNodes)
	a, b := sharedNode(first), sharedNode((first+1)%fleetNodes)
	o := c.begin("multi")
	o.Changes = []check.Change{{Key: zkKey(path), Value: c.value()}, {Key: zkKey(a), Value: c.value()}, {Key: zkKey(b), Value: c.value()}}
	parts := []request{
		{op: opCreate, path: path, data: o.Changes[0].Value},
		{op: opSetData, path: a, data: o.Changes[1].Value, version: anyVersion},
		{op: opSetData, path: b, data: o.Changes[2].Value, version: anyVersion},
	}
	if c.random.IntN(4) == 0 {
		parts = append(parts, request{op: opCheck, path: b, version: 0}) // It is more, after setData.
	}
	if c.call(o, request{op: opMulti, parts: parts}) != nil && o.Outcome == check.Done {
		c.own = append(c.own, path)
	}
}

// get reads a node, after a sync if the read is to be fresh. It returns nil without a reply.
func (c *zkCaller) get(path string, fresh bool) *arrival {
	if !fresh {
		return c.call(c.begin("getData"), request{op: opGetData, path: path})
	}
	return c.call(c.begin("sync and getData"), request{op: opSync, path: path}, request{op: opGetData, path: path})
}

// keepSession keeps the session alive until ctx ends, without a record of calls.
func (c *zkCaller) keepSession(ctx context.Context) {
	defer c.drop()
	for ctx.Err() == nil && c.owner != nil {
		if c.enter(0, check.Kept) {
			sent := c.now()
			c.owner.Ask(c.at, sent)
			if _, err := c.ask(request{op: opExists, path: treeTop}); err != nil {
				c.leave()
			} else {
				c.owner.Meet(sent, c.now(), false)
			}
		}
		sleep(ctx, lastingTimeout/20)
	}
}

// leaveSessions opens sessions with ephemeral nodes, uses each for a while, and then leaves it: most without a word, until ctx ends.
func (c *zkCaller) leaveSessions(ctx context.Context) {
	defer func() {
		for _, conn := range c.silent {
			_ = conn.Close()
		}
	}()
	for ctx.Err() == nil {
		if !c.enter(time.Duration(4+c.random.IntN(3))*time.Second, check.Abandoned) {
			continue
		}
		for range 1 + c.random.IntN(3) {
			if !c.create(ownTop+"/e-"+c.value(), createEphemeral) {
				break
			}
		}
		if c.conn != nil {
			c.create(sequenceTop+"/e-", createEphemeral|createSequential)
		}
		for until := c.now() + time.Duration(c.random.Int64N(int64(3*time.Second))); c.now() < until && ctx.Err() == nil; {
			if c.conn != nil || c.enter(0, 0) {
				c.get(c.shared(), false)
			}
			if c.owner == nil {
				break
			}
			sleep(ctx, 200*time.Millisecond)
		}
		c.die()
		c.move()
	}
}

// die ends the client of the session: it closes the session, or its connection, or falls silent.
func (c *zkCaller) die() {
	switch end := c.random.IntN(4); {
	case c.owner == nil || c.conn == nil:
	case end == 0:
		c.owner.Fate, c.owner.Quit = check.Left, c.now()
		if _, err := c.ask(request{op: opClose}); err == nil {
			c.owner.Fate = check.Closed
		}
	case end == 1:
		c.silent, c.conn = append(c.silent, c.conn), nil
	}
	c.drop()
	c.owner = nil
}
