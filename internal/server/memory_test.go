package server

import "testing"

// TestGCPercent checks that a small heap may gather a fixed amount, a large one a fixed share.
func TestGCPercent(t *testing.T) {
	for _, c := range []struct {
		live uint64
		want int
	}{
		{0, 200}, {4 << 20, 200}, {32 << 20, 200}, {64 << 20, 100}, {128 << 20, 50}, {320 << 20, 20}, {4 << 30, 20},
	} {
		if got := gcPercent(c.live); got != c.want {
			t.Errorf("gcPercent(%d MiB) = %d, want %d", c.live>>20, got, c.want)
		}
	}
}
