package replica

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/okapi-kv/okapi/internal/core/command"
	"github.com/okapi-kv/okapi/internal/core/state"
	"github.com/okapi-kv/okapi/internal/vfs"
)

// change makes a change through a member, again and again until it ends as wanted: leaders change, and on a busy machine
// one may not have heard of somebody for a moment.
func (c *cluster) change(through uint64, want state.Code, changes ...command.MemberChange) {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	c.poll(fmt.Sprintf("change %v ends with %v", changes, want), func() bool {
		r, err := c.member(through).Propose(ctx, command.Caller{}, &command.ChangeMembers{Changes: changes})
		if err == nil && r.Code == state.OK && want != state.OK {
			c.t.Fatalf("change %v is made, want %v", changes, want)
		}
		return err == nil && r.Code == want
	})
}

// promote gives a member a vote once it has caught up.
func (c *cluster) promote(through, id uint64) {
	c.t.Helper()
	c.poll(fmt.Sprintf("member %d has a vote", id), func() bool {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		r, err := c.member(through).Propose(ctx, command.Caller{}, &command.ChangeMembers{Changes: []command.MemberChange{role(id, command.Voter)}})
		if err == nil && r.Code != state.OK && r.Code != state.NotCaughtUp {
			c.t.Fatalf("promote %d: %v", id, r.Code)
		}
		return err == nil && r.Code == state.OK
	})
}

func add(id uint64, role command.Role) command.MemberChange {
	return command.MemberChange{Action: command.AddMember, ID: id, Role: role, PeerURLs: []string{fmt.Sprintf("http://p%d:1", id)}}
}

func role(id uint64, r command.Role) command.MemberChange {
	return command.MemberChange{Action: command.SetRole, ID: id, Role: r}
}

func removal(id uint64) command.MemberChange {
	return command.MemberChange{Action: command.RemoveMember, ID: id}
}

// left waits until a member has stopped because it was removed.
func (c *cluster) left(id uint64) {
	c.t.Helper()
	m := c.member(id)
	select {
	case err := <-m.ended:
		if !errors.Is(err, ErrRemoved) {
			c.t.Fatalf("member %d ends with %v, want %v", id, err, ErrRemoved)
		}
	case <-time.After(time.Minute):
		c.t.Fatalf("member %d was removed and does not stop", id)
	}
	c.mu.Lock()
	delete(c.members, id)
	c.mu.Unlock()
}

// newCluster starts n founders and stops everybody at the end.
func newCluster(t *testing.T, n uint64) (c *cluster, stop func()) {
	c = &cluster{t: t, founders: n, disks: map[uint64]*vfs.Mem{}, members: map[uint64]*running{}}
	return c, c.found()
}

// found starts the founders, each with a new disk, and returns how to stop everybody.
func (c *cluster) found() (stop func()) {
	for id := uint64(1); id <= c.founders; id++ {
		c.disks[id] = vfs.NewMem(id)
		c.start(id)
	}
	return func() {
		for id := range c.members {
			c.stop(id)
		}
		c.streams.Wait()
	}
}

// TestGrowAndShrink takes a cluster from one member to three, replaces one, removes the leader and ends with one.
func TestGrowAndShrink(t *testing.T) {
	defer goleak.VerifyNone(t)
	c, stop := newCluster(t, 1)
	defer stop()
	<-c.member(1).Serving()
	c.put(1, "k1", 10)
	for _, id := range []uint64{2, 3} {
		c.change(1, state.OK, add(id, command.Learner))
		c.change(1, state.NotCaughtUp, role(id, command.Voter)) // it does not run
		c.disks[id] = vfs.NewMem(id)
		c.start(id)
		c.promote(1, id)
	}
	c.wantKeys(3, 1)
	c.change(2, state.OK, add(4, command.Observer))
	c.disks[4] = vfs.NewMem(4)
	c.start(4)
	<-c.member(4).Serving()
	c.put(4, "k2", 10)

	// Member 3 is lost, and replaced.
	c.stop(3)
	c.change(4, state.OK, removal(3), add(5, command.Learner))
	c.disks[5] = vfs.NewMem(5)
	c.start(5)
	c.promote(4, 5)

	// The leader goes: it hands its office on before.
	old := c.leader()
	c.change(4, state.OK, removal(old))
	c.left(old)
	c.put(5, "k3", 10)
	rest := uint64(1)
	if old == 1 {
		rest = 2
	}
	c.change(4, state.OK, removal(rest))
	c.left(rest)
	c.wantKeys(5, 3)
	c.change(5, state.OK, removal(4))
	c.left(4)
	c.change(5, state.BadMemberChange, removal(5))
	c.put(5, "k4", 10)

	// After a restart all is as it was.
	c.stop(5)
	c.start(5)
	c.wantKeys(5, 4)
	if ms := c.member(5).Status().Members; len(ms.Members) != 1 || ms.Members[0].ID != 5 || len(ms.Removed) != 4 {
		t.Errorf("members after a restart: %+v", ms)
	}
}

// TestSnapshotNewerThanTheChange brings a member in whose cluster has dropped the log before it, and only has a snapshot in which it
// does not occur.
func TestSnapshotNewerThanTheChange(t *testing.T) {
	defer goleak.VerifyNone(t)
	c, stop := newCluster(t, 1)
	defer stop()
	<-c.member(1).Serving()
	for i := range 20 {
		c.put(1, fmt.Sprintf("k%d", i), 4000)
	}
	c.change(1, state.OK, add(2, command.Learner))
	c.disks[2] = vfs.NewMem(2)
	c.start(2)
	c.wantKeys(2, 20)
	c.streams.Wait() // who receives one may be ready before it is counted
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.snaps == 0 {
		t.Error("nobody needed a snapshot: the test does not test")
	}
}

// TestExpelled: a member that another one refuses for good stops, and says what to do.
func TestExpelled(t *testing.T) {
	defer goleak.VerifyNone(t)
	c, stop := newCluster(t, 1)
	defer stop()
	reason := errors.New("look at it")
	m := c.member(1)
	m.Expelled(reason)
	m.Expelled(errors.New("another"))
	if err := <-m.ended; !errors.Is(err, reason) {
		t.Errorf("ended with %v, want %v", err, reason)
	}
	delete(c.members, 1)
}
