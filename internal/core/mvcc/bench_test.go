package mvcc

import (
	"runtime"
	"testing"
)

// record has the size of what the state machine keeps of a plain key: a slice and three numbers.
type record struct {
	data                   []byte
	create, version, lease int64
}

func recordSize(key string, r *record) int64 { return int64(len(key) + len(r.data)) }

const benchKeys = 1_000_000

// benchKey scatters the keys, so that they are not created in order. It is cheap and the key is warm in the
// cache, as one that was just read from a connection is.
func benchKey(i int) (key [16]byte) {
	copy(key[:], "key-")
	n := uint32(i) * 2654435761
	for p := len(key) - 1; p >= 4; p-- {
		key[p] = byte('0' + n%10)
		n /= 10
	}
	return key
}

// scatter maps a count to an index below benchKeys, in no order.
func scatter(i uint32) int { return int(i * 2654435761 % benchKeys) }

func filled(n int) *Space[record] {
	s := NewSpace(Shape[record]{Size: recordSize, Data: func(r *record) *[]byte { return &r.data }}, 1)
	for i := range n {
		key := benchKey(i)
		s.Write(string(key[:]), uint64(i+1), int64(i+2), record{data: make([]byte, 100), create: int64(i + 2), version: 1})
	}
	return s
}

func heapBytes() uint64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

// BenchmarkMemory prints the bytes of heap that a key of 16 + 100 bytes takes, these included.
func BenchmarkMemory(b *testing.B) {
	for b.Loop() {
		before := heapBytes()
		s := filled(benchKeys)
		after := heapBytes()
		b.ReportMetric(float64(after-before)/benchKeys, "B/key")
		s.SetFloor(benchKeys + 2)
		for s.Reclaim(1000, benchKeys) {
		}
		b.ReportMetric(float64(heapBytes()-before)/benchKeys, "B/key-compacted")
		runtime.KeepAlive(s)
	}
}

func BenchmarkUpdate(b *testing.B) {
	s := filled(benchKeys)
	seq, data := uint64(benchKeys), make([]byte, 100)
	b.ReportAllocs()
	i := uint32(0)
	for b.Loop() {
		seq++
		i++
		key := benchKey(scatter(i))
		s.Write(string(key[:]), seq, int64(seq+1), record{data: data})
		if seq%1024 == 0 { // as the floor of the tree does
			s.SetFloor(int64(seq) - 100_000)
			s.Reclaim(2048, seq)
		}
	}
}

func BenchmarkCreate(b *testing.B) {
	s, data := filled(benchKeys), make([]byte, 100)
	b.ReportAllocs()
	seq := uint64(benchKeys)
	for b.Loop() {
		if seq == 2*benchKeys {
			b.StopTimer()
			s.Rollback(benchKeys)
			seq = benchKeys
			b.StartTimer()
		}
		key := benchKey(int(seq))
		seq++
		s.Write(string(key[:]), seq, int64(seq+1), record{data: data})
	}
}

// BenchmarkCreateInOrder makes keys behind all others, as sequential nodes and leases do.
func BenchmarkCreateInOrder(b *testing.B) {
	s, data := filled(benchKeys), make([]byte, 100)
	b.ReportAllocs()
	seq := uint64(benchKeys)
	for b.Loop() {
		seq++
		key := []byte("n---000000000000")
		for p, n := 15, seq; n > 0; p, n = p-1, n/10 {
			key[p] = byte('0' + n%10)
		}
		s.Write(string(key), seq, int64(seq+1), record{data: data})
	}
}

func BenchmarkGet(b *testing.B) {
	s := filled(benchKeys)
	i := uint32(0)
	for b.Loop() {
		i++
		key := benchKey(scatter(i))
		if s.Get(string(key[:])).At(benchKeys) == nil {
			b.Fatal("key is gone")
		}
	}
}

func BenchmarkScan(b *testing.B) {
	s := filled(benchKeys)
	i := uint32(0)
	for b.Loop() {
		n := 0
		i++
		key := benchKey(scatter(i))
		s.Ascend(string(key[:]), func(v *Version[record]) bool {
			if v.At(benchKeys) != nil {
				n++
			}
			return n < 100
		})
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*100), "ns/item")
}
