package replica

import (
	"log/slog"
	"testing"

	"go.etcd.io/raft/v3/raftpb"

	"github.com/okapi-kv/okapi/internal/core/command"
	"github.com/okapi-kv/okapi/internal/vfs"
	"github.com/okapi-kv/okapi/internal/wal"
)

const missedTicks = 10

// oneOfThree makes member 1 of three, and its disk. change, which may be nil, changes what it finds there.
func oneOfThree(t *testing.T, change func(*Boot)) (*Member, *Disk) {
	t.Helper()
	disk, err := OpenDisk(DiskOptions{FS: vfs.NewMem(1), Dir: "data", Identity: wal.Identity{ClusterID: 9, MemberID: 1}, Founders: founders(3), SegmentBytes: 64 << 10})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = disk.Log.Close() })
	if change != nil {
		change(&disk.Boot)
	}
	m, err := NewMember(MemberOptions{
		ID: 1, Incarnation: 1, Boot: disk.Boot, Log: disk.Log, TickMS: 100, ElectionTicks: missedTicks, TailBytes: 8 << 10,
		Settings: command.Settings{}, Waiters: NewWaiters(1), Logger: RaftLogger(slog.New(slog.DiscardHandler)),
	})
	if err != nil {
		t.Fatal(err)
	}
	return m, disk
}

// follower makes a member of three that has heard of a leader, member 2.
func follower(t *testing.T) *Member {
	t.Helper()
	m, _ := oneOfThree(t, nil)
	var fx Effects
	beat := &raftpb.Message{Type: new(raftpb.MsgHeartbeat), From: new(uint64(2)), To: new(uint64(1)), Term: new(uint64(5))}
	m.Step(Time{}, Frame{From: 2, Data: appendRaft(nil, beat)}, &fx)
	if m.soft.Lead != 2 {
		t.Fatalf("follows %d, want 2", m.soft.Lead)
	}
	return m
}

// sentMessage is the message of raft in what is sent; nil if it is something else.
func sentMessage(t *testing.T, out Outgoing) *raftpb.Message {
	t.Helper()
	if frameKind(out.Data[0]) != frameRaft {
		return nil
	}
	msg, err := decodeRaft(out.Data[1:])
	if err != nil {
		t.Fatal(err)
	}
	return msg
}

// ticksToVote steps the member until it asks for votes, and returns how many ticks that took.
func ticksToVote(t *testing.T, m *Member, news ...Input) int {
	t.Helper()
	var fx Effects
	for _, in := range news {
		m.Step(Time{}, in, &fx)
	}
	for ticks := range 3 * missedTicks {
		for _, out := range fx.Send {
			if msg := sentMessage(t, out); msg.GetType() == raftpb.MsgPreVote {
				return ticks
			}
		}
		fx.reset()
		m.Step(Time{}, Tick{}, &fx)
	}
	t.Fatal("the member never stands for election")
	return 0
}

// A leader whose process has ended is missed at once, and only the part of the timeout that is left to chance is waited for. Other news
// changes nothing, and the same news counts once.
func TestEndedLeaderIsMissedAtOnce(t *testing.T) {
	longest := 0
	for range 50 {
		if n := ticksToVote(t, follower(t)); n < missedTicks {
			t.Fatalf("without news: %d ticks, want %d at least", n, missedTicks)
		}
		if n := ticksToVote(t, follower(t), Ended{ID: 3}); n < missedTicks {
			t.Fatalf("another member has ended: %d ticks, want %d at least", n, missedTicks)
		}
		n := ticksToVote(t, follower(t), Ended{ID: 2}, Ended{ID: 2})
		if n >= missedTicks {
			t.Fatalf("the leader has ended: %d ticks, want less than %d", n, missedTicks)
		}
		longest = max(longest, n)
	}
	if longest == 0 {
		t.Error("chance leaves nothing to wait for: members would stand for election at once")
	}
}
