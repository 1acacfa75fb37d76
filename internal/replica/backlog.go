package replica

// backlog holds commands that are not yet handed to a leader, in order. Its memory is used again: what waits here is new a
// hundred thousand times a second.
type backlog struct {
	all   []Pending
	gone  int // how many of all have left at the front
	bytes int // of the commands that wait
}

func (b *backlog) waiting() []Pending { return b.all[b.gone:] }

// add puts a command at the end. It moves the others only when at least as many have left since they were moved.
func (b *backlog) add(p Pending) {
	if len(b.all) == cap(b.all) && b.gone > len(b.all)/2 {
		n := copy(b.all, b.all[b.gone:])
		clear(b.all[n:])
		b.all, b.gone = b.all[:n], 0
	}
	b.all = append(b.all, p)
	b.bytes += len(p.Encoded)
}

// batch returns the commands of the next batch, which stay. They are good until the backlog changes.
func (b *backlog) batch() []Pending {
	all := b.waiting()
	n, size := 0, 0
	for n < len(all) && n < batchCommands {
		size += len(all[n].Encoded)
		if n > 0 && size > batchBytes {
			break
		}
		n++
	}
	return all[:n:n]
}

// drop takes the first n commands out.
func (b *backlog) drop(n int) {
	for _, p := range b.waiting()[:n] {
		b.bytes -= len(p.Encoded)
	}
	clear(b.waiting()[:n])
	b.gone += n
	if b.gone < len(b.all) {
		return
	}
	b.all, b.gone = b.all[:0], 0
	if cap(b.all) > spareItems {
		b.all = nil
	}
}

// keep takes the commands out for which fn is false.
func (b *backlog) keep(fn func(Pending) bool) {
	kept := b.all[:0]
	b.bytes = 0
	for _, p := range b.waiting() {
		if fn(p) {
			kept = append(kept, p)
			b.bytes += len(p.Encoded)
		}
	}
	clear(b.all[len(kept):])
	b.all, b.gone = kept, 0
}
