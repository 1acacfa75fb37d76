package watch

import (
	"fmt"
	"runtime"
	"testing"
)

const benchWatches = 10_000

func benchPaths() []string {
	paths := make([]string, benchWatches)
	for i := range paths {
		paths[i] = fmt.Sprintf("/services/group-%03d/node-%05d", i%100, i)
	}
	return paths
}

// BenchmarkRegistryDistinct: one-shot watches on distinct nodes; each event uses one up, and it is set again.
func BenchmarkRegistryDistinct(b *testing.B) {
	r, paths, n := NewRegistry(Limits{}), benchPaths(), 0
	for i, p := range paths {
		r.Add(ConnID(i%100), p, Data)
	}
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		p := paths[i%benchWatches]
		r.Match(&Event{Type: NodeDataChanged, Path: p}, everybody, func(id ConnID, _ EventType, path string) { n++ })
		r.Add(ConnID(i%benchWatches%100), p, Data)
	}
	if n != b.N {
		b.Fatalf("%d notifications for %d events", n, b.N)
	}
}

// BenchmarkRegistryHerd: ten thousand connections with a one-shot watch on one node.
func BenchmarkRegistryHerd(b *testing.B) {
	r, n := NewRegistry(Limits{}), 0
	for b.Loop() {
		for i := range benchWatches {
			r.Add(ConnID(i), "/leader", Data)
		}
		r.Match(eventOf(NodeDeleted, "/leader"), everybody, func(ConnID, EventType, string) { n++ })
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(n), "ns/watch")
}

// BenchmarkRegistryRecursive: ten thousand connections watch everything below one node.
func BenchmarkRegistryRecursive(b *testing.B) {
	r, n := NewRegistry(Limits{}), 0
	for i := range benchWatches {
		r.Add(ConnID(i), "/services", Recursive)
	}
	e := eventOf(NodeDataChanged, "/services/group-001/node-00001")
	for b.Loop() {
		r.Match(e, everybody, func(ConnID, EventType, string) { n++ })
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(n), "ns/watch")
}

// BenchmarkRegistryMiss: an event that nobody watches, among many watches, with recursive ones elsewhere.
func BenchmarkRegistryMiss(b *testing.B) {
	r := NewRegistry(Limits{})
	for i, p := range benchPaths() {
		r.Add(ConnID(i%100), p, AnyKind)
	}
	e := eventOf(NodeCreated, "/other/group/node/leaf")
	b.ReportAllocs()
	for b.Loop() {
		r.Match(e, everybody, func(ConnID, EventType, string) { b.Fatal("notified") })
	}
}

func benchmarkInterest(b *testing.B, span func(i int, key string) Span) {
	n, keys, woken := NewInterest[int](), benchPaths(), 0
	for i, k := range keys {
		n.Add(i, span(i, k))
	}
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		n.Match(keys[i%benchWatches], func(int) { woken++ })
	}
	b.ReportMetric(float64(woken)/float64(b.N), "woken/event")
}

func BenchmarkInterestKeys(b *testing.B) {
	benchmarkInterest(b, func(_ int, key string) Span { return Span{key, ""} })
}

func BenchmarkInterestOnePrefix(b *testing.B) {
	benchmarkInterest(b, func(int, string) Span { return Span{"/services/", "/services0"} })
}

func BenchmarkInterestPrefixes(b *testing.B) {
	benchmarkInterest(b, func(_ int, key string) Span { return Span{key, key[:len(key)-1] + string(key[len(key)-1]+1)} })
}

func BenchmarkInterestRanges(b *testing.B) {
	benchmarkInterest(b, func(_ int, key string) Span { return Span{key, key + "\x01"} })
}

// BenchmarkCursor reads revisions of one change each, one of 16 of which is watched.
func BenchmarkCursor(b *testing.B) {
	l := &fakeLog{head: 1}
	for i := range 4096 {
		l.head++
		l.entries = append(l.entries, Entry[version]{Key: fmt.Sprintf("/k/%02d", i%16), Revision: l.head, Seq: uint64(i + 1)})
	}
	var out []Change[version]
	var r Reader[version]
	b.ReportAllocs()
	for b.Loop() {
		c := NewCursor(Span{"/k/03", ""}, 2, 0)
		var err error
		if out, err = r.Read(&c, l, unbounded, out[:0]); err != nil || len(out) != 256 {
			b.Fatal(len(out), err)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*4096), "ns/entry")
}

// BenchmarkRegistryBytes: what a watch takes of the heap, on a path of its own of 36 bytes and on one that a hundred connections
// watch.
func BenchmarkRegistryBytes(b *testing.B) {
	const watches = 1 << 20
	for name, sharers := range map[string]int{"own path": 1, "shared path": 100} {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				r, before := NewRegistry(Limits{}), heapBytes()
				for i := range watches {
					r.Add(ConnID(i%sharers), fmt.Sprintf("/services/group-%03d/node-%014d", i/sharers%100, i/sharers), Data)
				}
				b.ReportMetric(float64(heapBytes()-before)/watches, "B/watch")
				runtime.KeepAlive(r)
			}
		})
	}
}

func heapBytes() uint64 {
	var m runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}
