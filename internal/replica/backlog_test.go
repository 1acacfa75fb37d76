package replica

import (
	"bytes"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// TestBacklog compares with a list that is made anew at each step.
func TestBacklog(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		var b backlog
		var want []Pending
		number := uint64(0)
		t.Repeat(map[string]func(*rapid.T){
			"add": func(t *rapid.T) {
				for range rapid.IntRange(1, 2*batchCommands).Draw(t, "n") {
					number++
					p := Pending{Number: number, Encoded: make([]byte, number%3)}
					b.add(p)
					want = append(want, p)
				}
			},
			"add large": func(t *rapid.T) {
				number++
				p := Pending{Number: number, Encoded: make([]byte, rapid.IntRange(batchBytes/2, 2*batchBytes).Draw(t, "size"))}
				b.add(p)
				want = append(want, p)
			},
			"drop batch": func(*rapid.T) {
				n := len(b.batch())
				b.drop(n)
				want = want[n:]
			},
			"keep": func(t *rapid.T) {
				odd := uint64(rapid.IntRange(0, 1).Draw(t, "odd"))
				b.keep(func(p Pending) bool { return p.Number%2 == odd })
				want = slices.DeleteFunc(slices.Clone(want), func(p Pending) bool { return p.Number%2 != odd })
			},
			"": func(t *rapid.T) {
				checkBacklog(t, &b, want)
			},
		})
	})
}

func checkBacklog(t *rapid.T, b *backlog, want []Pending) {
	same := func(a, b Pending) bool { return a.Number == b.Number && bytes.Equal(a.Encoded, b.Encoded) }
	if !slices.EqualFunc(b.waiting(), want, same) {
		t.Fatalf("%d commands wait, want %d", len(b.waiting()), len(want))
	}
	size := 0
	for _, p := range want {
		size += len(p.Encoded)
	}
	if b.bytes != size {
		t.Fatalf("they have %d bytes, want %d", b.bytes, size)
	}
	batch, size := b.batch(), 0
	for _, p := range batch {
		size += len(p.Encoded)
	}
	switch {
	case len(want) > 0 && len(batch) == 0:
		t.Fatal("the batch is empty, and commands wait")
	case len(batch) > batchCommands || len(batch) > 1 && size > batchBytes:
		t.Fatalf("a batch of %d commands and %d bytes", len(batch), size)
	case len(batch) < min(len(want), batchCommands) && size+len(want[len(batch)].Encoded) <= batchBytes:
		t.Fatalf("a batch of %d commands and %d bytes, and one more would fit", len(batch), size)
	}
	for _, p := range b.all[:b.gone] {
		if p.Encoded != nil {
			t.Fatal("a command that has left is held")
		}
	}
}

// TestBacklogMemory: what comes and goes without end takes no new memory, also if there is always something left.
func TestBacklogMemory(t *testing.T) {
	var b backlog
	encoded := []byte{1}
	b.add(Pending{Encoded: encoded})
	for range 1000 {
		for range 100 {
			b.add(Pending{Encoded: encoded})
		}
		b.drop(100)
	}
	if cap(b.all) > 500 {
		t.Errorf("room for %d commands, where 101 have waited at most", cap(b.all))
	}
}
