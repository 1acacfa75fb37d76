package bench

import (
	"math/rand/v2"
	"runtime"
	"runtime/debug"
	"testing"
	"time"

	"go.etcd.io/raft/v3/raftpb"

	"github.com/okapi-kv/okapi/internal/core/command"
	"github.com/okapi-kv/okapi/internal/core/state"
	"github.com/okapi-kv/okapi/internal/vfs"
	"github.com/okapi-kv/okapi/internal/wal"
	"github.com/okapi-kv/okapi/internal/zk/jute"
)

const (
	million    = 1_000_000
	valueBytes = 100
	entryOps   = 128 // commands in one entry of the log
	parents    = 1000
	// gcPercent is what a server runs with (internal/server, tuneMemory).
	gcPercent = 20
	// historyRevs is how far compaction follows behind the newest revision.
	historyRevs = 10_000
)

// key is the i-th of the keys of 16 bytes. They are in no order: i is scattered over all numbers of 12 digits.
func key(i int) string {
	b := []byte("key-000000000000")
	for p, n := len(b)-1, uint64(i)*618_033_988_751%1_000_000_000_000; n > 0; p, n = p-1, n/10 {
		b[p] = byte('0' + n%10)
	}
	return string(b)
}

// path is the i-th of the znodes: a thousand parents have a thousand children each.
func path(i int) string {
	return "/bench/p" + key(i % parents)[12:] + "/n" + key(i)[8:]
}

// machine is a state machine as a member runs it: commands come encoded in entries, results are not kept, and
// history is reclaimed as fast as it is made.
type machine struct {
	t       testing.TB
	m       *state.Machine
	index   uint64
	random  *rand.Rand
	caller  command.Caller
	pending []state.Entry
	out     state.Output
}

func newMachine(t testing.TB) *machine {
	x := &machine{t: t, m: state.New(1), random: rand.New(rand.NewPCG(1, 2)), caller: command.Caller{Protocol: command.Etcd}}
	x.do(&command.Bootstrap{Settings: command.Settings{TreePrefix: "/zk", TreeHistory: 1000}})
	return x
}

// queue makes entries of n commands, as the applier decodes them from the log.
func (x *machine) queue(n int, next func(i int) command.Command) {
	x.pending = x.pending[:0]
	for i := 0; i < n; i += entryOps {
		batch := command.Batch{Time: int64(x.index) * 10}
		for j := i; j < min(n, i+entryOps); j++ {
			batch.Proposals = append(batch.Proposals, command.Proposal{Caller: x.caller, Command: next(j)})
		}
		x.index++
		e := state.Entry{Index: x.index, Term: 1}
		if err := command.DecodeBatch(command.AppendBatch(nil, &batch), &e.Batch); err != nil {
			x.t.Fatalf("decode batch: %v", err)
		}
		x.pending = append(x.pending, e)
	}
}

// apply applies what is queued and frees what nobody can read any more.
func (x *machine) apply() {
	for i := range x.pending {
		x.m.Apply(&x.pending[i], &x.out, nil)
		for j := range x.out.Results {
			if c := x.out.Results[j].Code; c != state.OK {
				x.t.Fatalf("command %d: %v", j, c)
			}
		}
		x.m.Reclaim(4*entryOps, x.m.View().Seq())
	}
}

func (x *machine) do(c command.Command) {
	x.queue(1, func(int) command.Command { return c })
	x.apply()
}

// fill puts the first n keys.
func (x *machine) fill(n int) {
	for i := 0; i < n; i += blockOps {
		x.queue(min(blockOps, n-i), func(j int) command.Command {
			return &command.Put{Key: key(i + j), Value: make([]byte, valueBytes)}
		})
		x.apply()
	}
}

func heapBytes() uint64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

// coreTest holds the targets of the core, with a million keys in it.
func coreTest(t *testing.T) {
	defer debug.SetGCPercent(debug.SetGCPercent(gcPercent))
	t.Logf("spine-6: %-34s %v", "a random read of memory, here and now", memoryLatency())
	testKeys(t)
	testNodes(t)
	testCodec(t)
	testLog(t)
}

// testKeys measures puts and gets of random keys.
func testKeys(t *testing.T) {
	before := heapBytes()
	x := newMachine(t)
	x.fill(million)
	const own, limit = 16 + valueBytes, 250
	beside := int64(heapBytes()-before)/million - own
	t.Logf("spine-6: %-34s %d B (limit %d B)", "a key beyond its bytes, on the heap", beside, limit)
	if beside > limit {
		t.Errorf("a key takes %d B beyond its bytes, more than %d", beside, limit)
	}
	target{name: "apply of a put", cpu: 1500 * time.Nanosecond}.hold(t, measure(work{
		prepare: func() {
			if rev := x.m.View().Revision() - historyRevs; rev > million {
				x.do(&command.Compact{Revision: rev})
			}
			x.queue(blockOps, func(int) command.Command {
				return &command.Put{Key: key(x.random.IntN(million)), Value: make([]byte, valueBytes)}
			})
		},
		run: x.apply,
	}))
	keys, caller := make([]string, blockOps), x.caller
	target{name: "get", cpu: 500 * time.Nanosecond}.hold(t, measure(work{
		prepare: func() {
			for i := range keys {
				keys[i] = key(x.random.IntN(million))
			}
		},
		run: func() {
			v, r, res := x.m.View(), command.Range{}, state.RangeResult{}
			for _, r.Key = range keys {
				if code := v.Range(&caller, &r, &res); code != state.OK || len(res.KVs) != 1 {
					t.Fatalf("get %s: %v", r.Key, code)
				}
			}
		},
	}))
}

// testNodes measures creates below random ones of a thousand parents, in a tree of a million nodes and more.
func testNodes(t *testing.T) {
	x := newMachine(t)
	x.caller = command.Caller{Protocol: command.ZooKeeper}
	acl := []command.ACL{{Perms: command.PermAll, Scheme: "world", ID: "anyone"}}
	create := func(path string) command.Command {
		return &command.Create{Path: path, Data: make([]byte, valueBytes), ACL: acl, TTL: command.NoTTL}
	}
	x.do(create("/bench"))
	x.queue(parents, func(i int) command.Command { return create("/bench/p" + key(i)[12:]) })
	x.apply()
	made := 0
	next := func() {
		x.queue(blockOps, func(int) command.Command {
			made++
			return create(path(made))
		})
	}
	for made < million {
		next()
		x.apply()
	}
	target{name: "apply of a create, with its parent", cpu: 2500 * time.Nanosecond}.hold(t, measure(work{prepare: next, run: x.apply}))
}

// testCodec measures what the codec does for a getData: request and header are decoded, the reply is encoded.
func testCodec(t *testing.T) {
	var frames [blockOps][]byte
	data, reply := make([]byte, valueBytes), make([]byte, 0, 4096)
	var r jute.Reader
	n := 0
	target{name: "jute: getData, decode and encode", cpu: 500 * time.Nanosecond, allocFree: true}.hold(t, measure(work{
		prepare: func() {
			for i := range frames {
				n++
				header := jute.RequestHeader{Xid: int32(n), Op: jute.OpGetData}
				frames[i] = (&jute.PathWatchRequest{Path: path(n)}).Append(header.Append(frames[i][:0]))
			}
		},
		run: func() {
			for _, frame := range frames {
				var h jute.RequestHeader
				var q jute.PathWatchRequest
				r.Reset(frame)
				h.Decode(&r)
				q.Decode(&r)
				if r.Err() != nil || len(q.Path) == 0 {
					t.Fatalf("decode getData: %v", r.Err())
				}
				b := jute.BeginFrame(reply[:0])
				b = (&jute.ReplyHeader{Xid: h.Xid, Zxid: int64(n)}).Append(b)
				b = (&jute.GetDataResponse{Data: data, Stat: jute.Stat{Czxid: int64(n), DataLength: valueBytes}}).Append(b)
				reply = jute.EndFrame(b, 0)
			}
		},
	}))
}

// testLog measures what a command costs the log when it comes in a batch: an entry of 128 commands at a time is
// appended, and eight entries go into a sync. The files are real, in memory where the system has such a place: what
// counts is the processor's time, not the disk's.
func testLog(t *testing.T) {
	l, _, err := wal.Open(vfs.OS(), t.TempDir()+"/wal", wal.Identity{ClusterID: 1, MemberID: 1}, wal.Options{})
	if err != nil {
		t.Fatalf("open log: %v", err)
	}
	defer l.Close()
	batch := command.Batch{}
	for i := range entryOps {
		batch.Proposals = append(batch.Proposals, command.Proposal{
			ID:      command.ID{Member: 1 << 60, Number: uint64(i)},
			Command: &command.Put{Key: key(i), Value: make([]byte, valueBytes)},
		})
	}
	data := command.AppendBatch(nil, &batch)
	entries := make([]*raftpb.Entry, blockOps/entryOps)
	index, term := uint64(0), uint64(1)
	target{name: "log: a command in a batch", cpu: 500 * time.Nanosecond}.hold(t, measure(work{
		prepare: func() {
			for i := range entries {
				index++
				n := index
				entries[i] = &raftpb.Entry{Index: &n, Term: &term, Type: raftpb.EntryType_EntryNormal.Enum(), Data: data}
			}
		},
		run: func() {
			if err := l.Append(wal.HardState{Term: 1, Commit: index - 1}, entries); err != nil {
				t.Fatalf("append: %v", err)
			}
			if err := l.Sync(); err != nil {
				t.Fatalf("sync: %v", err)
			}
		},
	}))
}
