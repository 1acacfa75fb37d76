package replica

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/okapi-kv/okapi/internal/vfs"
)

// room watches the free space of this member's disk and tells the Member when it becomes low, or is so no more.
type room struct {
	r    *Replica
	free atomic.Int64 // at the last look, in bytes; -1 if it is not known
	low  bool         // owned by run
}

func newRoom(r *Replica) *room {
	m := &room{r: r}
	m.free.Store(-1)
	return m
}

// lookTime is the time between two looks: so short that no disk writes a reserve meanwhile. A look costs a microsecond.
const lookTime = 100 * time.Millisecond

// run looks until ctx is done, or until the system says that it cannot tell.
func (m *room) run(ctx context.Context) error {
	ticks := time.NewTicker(lookTime)
	defer ticks.Stop()
	for {
		if err := m.look(); errors.Is(err, errors.ErrUnsupported) {
			m.r.opts.Logger.Warn("this system does not tell how much of a disk is free: a disk that fills is noticed when it is full")
			<-ctx.Done()
			return nil
		}
		select {
		case <-ctx.Done():
			return nil
		case <-ticks.C:
		}
	}
}

// look takes one look. Where it fails for once, what was known stays.
func (m *room) look() error {
	dir, reserve := m.r.opts.Disk.Dir, m.r.opts.DiskReserve
	free, err := vfs.Free(m.r.opts.Disk.FS, dir)
	if err != nil {
		return err
	}
	m.free.Store(free)
	low := Low(m.low, free, reserve)
	if low == m.low {
		return nil
	}
	m.low = low
	m.r.inbox.put(DiskSpace{Low: low})
	if low {
		m.r.opts.Logger.Warn("the disk of this member is low: free space on it or give it more; when too few members have room left, what grows is refused",
			"folder", dir, "free_bytes", free, "reserve_bytes", reserve)
	} else {
		m.r.opts.Logger.Info("the disk of this member has room again", "folder", dir, "free_bytes", free, "reserve_bytes", reserve)
	}
	return nil
}

// Low tells whether a disk with so many bytes free is low. One that is stays so until a quarter more than the reserve is free:
// what goes to and fro about the reserve, such as a snapshot that is being written, is not to be told each time.
func Low(low bool, free, reserve int64) bool {
	if low {
		reserve += reserve / 4
	}
	return free < reserve
}

// fullChanged says that the cluster became full, or has room again. It is called by the loop.
func (m *room) fullChanged(s *MemberStatus) {
	if !s.DiskFull {
		m.r.opts.Logger.Info("the disks of the cluster have room again: what grows is taken", "leader", fmt.Sprintf("%x", s.Leader))
		return
	}
	where := "ask the leader's log for them"
	if len(s.LowDisks) > 0 {
		where = fmt.Sprintf("%x", s.LowDisks)
	}
	m.r.opts.Logger.Warn("the disks of the cluster are full: puts, creates, sets and grants are refused, all else goes on; free space on the members that are low, and it ends by itself",
		"low", where, "free_bytes_here", m.free.Load(), "reserve_bytes", m.r.opts.DiskReserve)
}

// hangsChanged says that the disk hangs, or goes on. It is called by the loop.
func (m *room) hangsChanged(s *MemberStatus) {
	if s.DiskHangs {
		m.r.opts.Logger.Warn("the disk of this member does not answer: see to it; its clients are sent to other members until it does", "folder", m.r.opts.Disk.Dir)
	} else {
		m.r.opts.Logger.Info("the disk of this member answers again, or nobody else leads", "folder", m.r.opts.Disk.Dir)
	}
}
