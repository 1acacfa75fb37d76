package sim

import "math/rand/v2"

// Bug is a defect planted on purpose: a checker that does not notice it proves nothing.
type Bug int

// The planted bugs.
const (
	NoBug Bug = iota
	// SendBeforeSync answers an append before it is synced.
	SendBeforeSync
	// VoteNotStored drops the vote on its way to the log.
	VoteNotStored
	// LocalRead passes a local read off as linearizable.
	LocalRead
	// ForwardTwice sends a forwarded command again.
	ForwardTwice
	// SnapshotWithoutSession leaves the sessions out of snapshots.
	SnapshotWithoutSession
	// LocalKeepAlive passes the word of the client's member off as the leader's.
	LocalKeepAlive
	// RefuseAndDo tells clients that full disks refuse a command that is then carried out.
	RefuseAndDo
	// WatchFromHead resumes watches at the newest revision of the member.
	WatchFromHead
	// WipedReturns lets a member come back under its id with an empty disk.
	WipedReturns
	// StaleTouch reports whom a member has heard of as heard of just now, until a report is confirmed.
	StaleTouch
)

// Bugs names the planted bugs.
var Bugs = map[string]Bug{
	"send-before-sync":         SendBeforeSync,
	"vote-not-stored":          VoteNotStored,
	"local-read":               LocalRead,
	"forward-twice":            ForwardTwice,
	"snapshot-without-session": SnapshotWithoutSession,
	"local-keep-alive":         LocalKeepAlive,
	"refuse-and-do":            RefuseAndDo,
	"watch-from-head":          WatchFromHead,
	"wiped-returns":            WipedReturns,
	"stale-touch":              StaleTouch,
}

// Config is what a seed decides.
type Config struct {
	Seed                uint64
	Bug                 Bug
	Members, Clients    int
	FaultTime, HealTime int64
	SnapshotBytes       uint64
	SegmentBytes        int64
	// Probabilities for each frame.
	Loss, Duplicate float64
	DelayLo, DelayHi,
	SyncLo, SyncHi int64
	// Probabilities for each step of the nemesis, which acts every 100 to 700 ms.
	Crash, CrashAll, Partition, OneWay, Pause, Stall, CrashPoint, Transfer float64
	// Fill is the chance that a disk is filled, up to its reserve or its last byte, or freed again.
	Fill float64
	// VoteCrash is the chance that a member crashes just after it stored a vote, and is back at once.
	VoteCrash float64
	// Changes is the chance of a change of members.
	Changes float64
	// Death is the chance that a client dies before the faults end.
	Death float64
	// FailIO is the chance that a disk fails an operation soon, and Jump that a wall clock jumps; see trouble.
	FailIO, Jump float64
	// ClockDrift is how much the rates of two clocks may differ.
	ClockDrift float64
	// Survive is the share of unsynced sectors that a crash leaves.
	Survive float64
	// script, if not nil, arranges what a test wants to see, before anything has happened.
	script func(*World)
}

// FromSeed draws a configuration. Each kind of fault is in about half of the runs, so that some runs see one
// kind alone.
func FromSeed(seed uint64) Config {
	rng := rand.New(rand.NewPCG(seed, 0x736565640a))
	some := func(p float64) float64 {
		if rng.IntN(2) == 0 {
			return 0
		}
		return p * rng.Float64()
	}
	delay := 40 * millisecond
	if rng.IntN(4) == 0 {
		delay = 300 * millisecond // slow links: messages of one election meet those of the next
	}
	cfg := Config{
		Seed: seed, Members: []int{1, 3, 3, 3, 5}[rng.IntN(5)], Clients: 2 + rng.IntN(7),
		FaultTime: 15 * second, HealTime: 25 * second,
		SnapshotBytes: uint64(2000 + rng.IntN(60000)), SegmentBytes: 64 << 10,
		Loss: some(0.2), Duplicate: some(0.2),
		DelayLo: 100, DelayHi: 200 + rng.Int64N(delay),
		SyncLo: 50, SyncHi: 100 + rng.Int64N(20*millisecond),
		Crash: some(0.4), CrashAll: some(0.1), Partition: some(0.4), OneWay: some(0.3), Pause: some(0.3), Stall: some(0.2),
		CrashPoint: some(0.3), VoteCrash: some(0.6), Transfer: some(0.3), ClockDrift: 0.05 * rng.Float64(), Survive: rng.Float64(),
		Fill: some(0.4),
	}
	cfg.Changes = some(0.9)
	cfg.Death = some(1)
	// What came later is drawn from another source, so that seeds go on doing what they did.
	rng = rand.New(rand.NewPCG(seed, 0x6c61746572))
	cfg.FailIO, cfg.Jump = some(0.3), some(0.5)
	if cfg.Members == 5 && rng.IntN(3) == 0 {
		cfg.Members = 7
	}
	return cfg
}
