package replica

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.etcd.io/raft/v3/quorum"
	"go.etcd.io/raft/v3/tracker"
	"go.uber.org/goleak"

	"github.com/okapi-kv/okapi/internal/core/command"
	"github.com/okapi-kv/okapi/internal/vfs"
)

// try proposes through a member until the answer is about the command and not about a change of leaders.
func (c *cluster) try(member uint64, cmd command.Command) error {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(c.t.Context(), time.Minute)
	defer cancel()
	for {
		_, err := c.member(member).Propose(ctx, command.Caller{Protocol: command.Etcd}, cmd)
		if !errors.Is(err, ErrNotDone) && !errors.Is(err, ErrUnknown) {
			return err
		}
	}
}

// limit bounds the disk of a member to what it has and free bytes more; free < 0 is no bound.
func (c *cluster) limit(id uint64, free int64) {
	disk := c.disks[id]
	if free < 0 {
		disk.SetFaults(vfs.Faults{})
		return
	}
	disk.SetFaults(vfs.Faults{LimitBytes: disk.Counts().UsedBytes + free})
}

// A cluster two of whose three disks are low refuses what grows at every door, does all else, and takes it again when
// there is room.
func TestFullDisks(t *testing.T) {
	defer goleak.VerifyNone(t)
	c := &cluster{t: t, disks: map[uint64]*vfs.Mem{}, members: map[uint64]*running{}, founders: 3, reserve: 8 << 20}
	defer c.found()()
	c.put(1, "k", 10)
	c.put(1, "l", 10)
	leader := c.leader()
	low := c.others(leader)[0]
	c.limit(low, 6<<20)
	c.poll("a low disk", func() bool { return c.member(low).Status().DiskLow })
	c.put(low, "one low disk does not matter", 10)
	c.limit(leader, 6<<20)
	c.poll("the office goes to the one that has room", func() bool {
		l := c.leader()
		return l != leader && l != low
	})
	c.poll("all know that the disks are full", func() bool { return c.all(func(s MemberStatus) bool { return s.DiskFull }) })
	heir := c.leader()
	if got := c.member(heir).Status().LowDisks; !slices.Equal(got, slices.Sorted(slices.Values([]uint64{low, leader}))) {
		t.Errorf("low disks %x, want %x and %x", got, low, leader)
	}
	for id := uint64(1); id <= 3; id++ {
		for _, grows := range []command.Command{&command.Put{Key: "x"}, &command.LeaseGrant{ID: 7, TTL: 10}, &command.SetData{Path: "/"}} {
			if err := c.try(id, grows); !errors.Is(err, ErrDiskFull) {
				t.Errorf("member %d, %T: %v, want %v", id, grows, err, ErrDiskFull)
			}
		}
		for _, rest := range []command.Command{&command.DeleteRange{Key: "k"}, &command.Compact{Revision: 2}, &command.OpenSession{ID: int64(id), Timeout: 9000}} {
			if err := c.try(id, rest); err != nil {
				t.Errorf("member %d, %T: %v", id, rest, err)
			}
		}
	}
	c.limit(low, -1)
	c.poll("all know that there is room", func() bool { return c.all(func(s MemberStatus) bool { return !s.DiskFull }) })
	for id := uint64(1); id <= 3; id++ {
		if err := c.try(id, &command.Put{Key: "x"}); err != nil {
			t.Errorf("member %d: %v after there is room", id, err)
		}
	}
}

// all tells whether something holds at every member.
func (c *cluster) all(holds func(MemberStatus) bool) bool {
	return !slices.ContainsFunc(slices.Collect(maps.Keys(c.members)), func(id uint64) bool {
		return !holds(c.member(id).Status())
	})
}

// What a leader that has just become full holds of its own and grows is refused; what it has of others stays.
func TestRefusedWhenFull(t *testing.T) {
	fx := new(Effects)
	leader := &Member{fx: fx, waiters: NewWaiters(0)}
	leader.orders, leader.space = newOrders(leader), newSpace(leader)
	o := leader.orders
	o.enqueue([]Pending{{Number: 1, Encoded: growing, Grows: true}, {Number: 2, Encoded: shrinking}, {Encoded: growing, Grows: true, foreign: true}})
	leader.space.tell(true)
	o.enqueue([]Pending{{Number: 3, Encoded: growing, Grows: true}, {Number: 4, Encoded: shrinking}})
	if !slices.Equal(fx.Refused, []uint64{1, 3}) || len(o.queue.waiting()) != 3 || o.queue.bytes != 2*len(shrinking)+len(growing) {
		t.Errorf("refused %d, %d commands of %d bytes wait", fx.Refused, len(o.queue.waiting()), o.queue.bytes)
	}
}

var (
	growing   = command.AppendProposal(nil, &command.Proposal{Command: &command.Put{Key: "k"}})
	shrinking = command.AppendProposal(nil, &command.Proposal{Command: &command.DeleteRange{Key: "k"}})
)

// What is on its way to a leader that has just become full is refused for what it is, and the rest of its frame goes on in its order,
// whichever answers are lost.
func TestForwardedWhenFull(t *testing.T) {
	leader := &Member{waiters: NewWaiters(0)}
	leader.orders, leader.space = newOrders(leader), newSpace(leader)
	leader.space.full = true
	sender, receiver := forwardSender{}, &forwardReceiver{retired: map[uint64]bool{}}
	sender.address(1)
	var taken [][]byte
	deliver := func(f *forward) *forwardAck {
		commands, leaveOut := leader.orders.foreignCommands(f)
		answer, accepted := receiver.accept(f, true, leaveOut)
		for _, p := range commands {
			if accepted {
				taken = append(taken, p.Encoded)
			}
		}
		return answer
	}
	last := append(slices.Clip(shrinking), 0xff) // It does not parse, and takes a place.
	deliver(sender.send(sentForward{numbers: []uint64{1, 2, 3}}, [][]byte{growing, shrinking, growing}))
	answer := deliver(sender.send(sentForward{numbers: []uint64{4, 5, 6}}, [][]byte{shrinking, last, growing}))
	if want := [][]byte{shrinking, shrinking}; !cmp.Equal(taken, want) {
		t.Errorf("taken %q, want %q", taken, want)
	}
	if notDone, refused := sender.acknowledged(answer); len(notDone) > 0 || !slices.Equal(refused, []uint64{1, 3, 6}) {
		t.Errorf("not done %d, refused %d, want none and 1, 3 and 6", notDone, refused)
	}
	if notDone, refused := sender.acknowledged(answer); len(notDone)+len(refused) > 0 {
		t.Errorf("told again of %d and %d", notDone, refused)
	}
	// Of the next two frames the first is accepted and the second lost, and so is the answer; the one that closes their epoch arrives.
	deliver(sender.send(sentForward{numbers: []uint64{7}}, [][]byte{growing}))
	sender.send(sentForward{numbers: []uint64{8}}, [][]byte{growing})
	var opening *forward
	for opening == nil {
		opening = sender.tick()
	}
	if notDone, refused := sender.acknowledged(deliver(opening)); !slices.Equal(notDone, []uint64{8}) || !slices.Equal(refused, []uint64{7}) {
		t.Errorf("not done %d, refused %d, want 8 and 7", notDone, refused)
	}
}

// In a joint configuration both halves must have a quorum.
func TestQuorumOf(t *testing.T) {
	set := func(ids ...uint64) quorum.MajorityConfig {
		m := quorum.MajorityConfig{}
		for _, id := range ids {
			m[id] = struct{}{}
		}
		return m
	}
	for _, c := range []struct {
		voters quorum.JointConfig
		room   []uint64
		want   bool
	}{
		{quorum.JointConfig{set(1)}, nil, false},
		{quorum.JointConfig{set(1)}, []uint64{1}, true},
		{quorum.JointConfig{set(1, 2, 3)}, []uint64{1}, false},
		{quorum.JointConfig{set(1, 2, 3)}, []uint64{1, 3}, true},
		{quorum.JointConfig{set(1, 2)}, []uint64{1}, false},
		{quorum.JointConfig{set(1, 2, 3), set(3, 4, 5)}, []uint64{1, 2, 3}, false},
		{quorum.JointConfig{set(1, 2, 3), set(3, 4, 5)}, []uint64{1, 3, 5}, true},
	} {
		room := map[uint64]bool{}
		for _, id := range c.room {
			room[id] = true
		}
		if got := quorumOf(tracker.Config{Voters: c.voters}, room); got != c.want {
			t.Errorf("%v with room on %d: %v, want %v", c.voters, c.room, got, c.want)
		}
	}
}

// A disk that is low stays so for a while.
func TestLow(t *testing.T) {
	for _, c := range []struct {
		was           bool
		free, reserve int64
		want          bool
	}{
		{false, 100, 100, false}, {false, 99, 100, true}, {true, 100, 100, true}, {true, 124, 100, true}, {true, 125, 100, false},
		{false, 0, 0, false}, {true, 0, 0, false},
	} {
		if got := Low(c.was, c.free, c.reserve); got != c.want {
			t.Errorf("low %v with %d of %d: %v, want %v", c.was, c.free, c.reserve, got, c.want)
		}
	}
}

// A log that cannot be written stops the member with what to do; others go on and nothing that was acknowledged is lost.
func TestDiskErrorsStopTheMember(t *testing.T) {
	defer goleak.VerifyNone(t)
	logFails := func(kind vfs.OpKind, nth int) vfs.Faults {
		return vfs.Faults{Check: func(op vfs.Op) error {
			if op.Kind != kind || !strings.HasPrefix(op.Name, "data/wal") {
				return nil
			}
			if nth--; nth == 0 {
				return vfs.ErrInjected
			}
			return nil
		}}
	}
	for name, faults := range map[string]vfs.Faults{
		"full": {LimitBytes: 1}, "sync fails": logFails(vfs.OpSync, 1), "write fails": logFails(vfs.OpWrite, 1),
		"second write": logFails(vfs.OpWrite, 2), "second sync": logFails(vfs.OpSync, 2),
	} {
		t.Run(name, func(t *testing.T) {
			c, stop := startThree(t)
			defer stop()
			c.put(1, "k-before", 100)
			victim := c.others(c.leader())[0]
			if name == "sync fails" {
				victim = c.leader()
			}
			c.disks[victim].SetFaults(faults)
			other := victim%3 + 1
			keys := 1
			for ended := false; !ended; keys++ {
				if keys > 1000 {
					t.Fatal("the member goes on with a log that fails")
				}
				c.put(other, fmt.Sprint("k", keys), 30_000)
				select {
				case err := <-c.member(victim).ended:
					checkAdvice(t, name, err)
					ended = true
				default:
				}
			}
			c.mu.Lock()
			delete(c.members, victim)
			c.mu.Unlock()
			c.disks[victim] = c.disks[victim].Crash(vfs.Survival{Percent: 50, Seed: 3})
			c.start(victim)
			c.put(victim, "k-after", 10)
			c.wantKeys(victim, keys+1)
		})
	}
}

func checkAdvice(t *testing.T, name string, err error) {
	t.Helper()
	want := "the disk under data has failed and this member stops without trying again: see to the disk"
	if name == "full" {
		want = "the disk under data is full and this member stops: free space there"
	}
	if err == nil || len(err.Error()) < len(want) || err.Error()[:len(want)] != want {
		t.Errorf("the member ended with %v, want %s", err, want)
	}
}
