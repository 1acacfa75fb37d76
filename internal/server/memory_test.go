package server

import (
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"sync"
	"testing"
)

// TestGCPercent checks that what may gather grows with the square root of the heap, within its bounds.
func TestGCPercent(t *testing.T) {
	for _, c := range []struct {
		live uint64
		want int
	}{
		{0, 200}, {32 << 20, 200}, {128 << 20, 100}, {512 << 20, 50}, {2 << 30, 25}, {8 << 30, 20},
	} {
		if got := gcPercent(c.live); got != c.want {
			t.Errorf("gcPercent(%d MiB) = %d, want %d", c.live>>20, got, c.want)
		}
	}
}

// TestFreeMemoryOnce: who finds memory being given back waits for that, and does not begin anew.
func TestFreeMemoryOnce(t *testing.T) {
	var freeing sync.Mutex
	freeMemory(&freeing)
	if !freeing.TryLock() {
		t.Fatal("the work is over, and still under way")
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		freeMemory(&freeing)
	}()
	select {
	case <-ended:
		t.Error("it did not wait for the work under way")
	default:
	}
	freeing.Unlock()
	<-ended
}

// TestFollowHeap: the collector is set to the heap, whatever was allocated beside the object that gives the signal.
func TestFollowHeap(t *testing.T) {
	gogc := []metrics.Sample{{Name: "/gc/gogc:percent"}}
	percent := func() int {
		metrics.Read(gogc)
		return int(gogc[0].Value.Uint64())
	}
	defer debug.SetGCPercent(debug.SetGCPercent(100))
	var beside []*int32
	for i := range 1000 {
		beside = append(beside, new(int32))
		if i == 500 {
			followHeap()
		}
	}
	ballast := make([]byte, 5*headroomBytes)
	for cycles := 0; percent() > 50; cycles++ {
		if cycles == 1000 {
			t.Fatalf("the setting is %d %% after %d collections with %d MB alive", percent(), cycles, len(ballast)>>20)
		}
		runtime.GC()
	}
	runtime.KeepAlive(beside)
	runtime.KeepAlive(ballast)
}
