package replica

import (
	"slices"

	"go.etcd.io/raft/v3"
	"go.etcd.io/raft/v3/tracker"
)

// Disks fill. A member whose disk has less free space than its reserve calls it low, and says so in its reports of touches.
// The leader counts: while a quorum of voters has room, all goes on as ever, and a leader that has none itself hands its
// office to one that has. Else the cluster is full, which the leader says with its confirmations: no member then takes
// commands that grow the state (command.Grows), so that the reserve is there for those that shrink it, for sessions and
// expiry, and for the snapshot that lets the log go. It ends by itself when there is room again.
//
// A command that grows and reaches the leader of a full cluster all the same, from a member that has not heard of it, is
// left out of its frame and named in the answer (forward.go); what came with it goes on.

// space is what a Member knows of the room on disks.
type space struct {
	m   *Member
	low bool // here
	// full says that the cluster takes nothing that grows; as the leader says, or as counted here by the leader.
	full bool

	// At the leader: what voters last said, for how many ticks it has been in office, and when it last tried to hand it on.
	said    map[uint64]saidSpace
	ticks   int
	offered int
	lowIDs  []uint64 // the members whose disk is low, in order
}

// saidSpace is what a member said of its disk, and when, in ticks of the office.
type saidSpace struct {
	low  bool
	tick int
}

func newSpace(m *Member) *space { return &space{m: m, said: make(map[uint64]saidSpace)} }

// officeChanged forgets what was counted. What the leader before said of the whole cluster holds until the next one says
// something else.
func (s *space) officeChanged() {
	clear(s.said)
	s.ticks, s.offered, s.lowIDs = 0, 0, nil
}

// hear takes what a member says of its disk.
func (s *space) hear(from uint64, low bool) {
	s.said[from] = saidSpace{low, s.ticks}
}

// tick lets one tick pass at the leader.
func (s *space) tick() {
	if !s.m.leads() {
		return
	}
	s.ticks++
	if s.full && s.ticks < s.m.opts.ElectionTicks/2 {
		return // not before the others had time to say how they are
	}
	heir := s.count()
	if s.low && heir != 0 && s.ticks >= s.offered {
		s.offered = s.ticks + s.m.opts.ElectionTicks
		s.m.transfer(heir)
	}
}

// count counts the voters whose disks have room. heir is the one with room that has most of the log and takes entries as
// they come; 0 if there is none.
//
// A voter that was not heard of since the office began counts as one with room for an election timeout, and then as one
// without: nothing can be stored there, so what is stored must find room on the others.
func (s *space) count() (heir uint64) {
	room := make(map[uint64]bool)
	s.lowIDs = s.lowIDs[:0]
	match := uint64(0)
	s.m.raft.WithProgress(func(id uint64, typ raft.ProgressType, p tracker.Progress) {
		said, heard := s.said[id]
		switch {
		case id == s.m.id:
			said, heard = saidSpace{low: s.low}, true
		case heard:
			heard = s.ticks-said.tick < s.m.opts.ElectionTicks
		}
		if heard && said.low {
			s.lowIDs = append(s.lowIDs, id)
		}
		if typ == raft.ProgressTypeLearner {
			return
		}
		room[id] = heard && !said.low || !heard && s.ticks < s.m.opts.ElectionTicks
		if id != s.m.id && heard && !said.low && p.State == tracker.StateReplicate && p.Match > match {
			heir, match = id, p.Match
		}
	})
	slices.Sort(s.lowIDs)
	s.tell(len(s.lowIDs) > 0 && !quorumOf(s.m.raft.Status().Config, room))
	return heir
}

// quorumOf tells whether those of a set are a quorum of the configuration.
func quorumOf(c tracker.Config, set map[uint64]bool) bool {
	for _, half := range c.Voters {
		n := 0
		for id := range half { // counted: the order does not show
			if set[id] {
				n++
			}
		}
		if len(half) > 0 && n <= len(half)/2 {
			return false
		}
	}
	return true
}

// tell takes the news whether the cluster is full. What waits here and grows is refused from then on.
func (s *space) tell(full bool) {
	if s.full == full {
		return
	}
	s.full = full
	if full {
		s.m.orders.refuseGrowing()
	}
}
