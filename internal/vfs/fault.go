package vfs

// OpKind names an operation of a Mem that can be counted, failed or stopped at.
type OpKind uint8

// The kinds of operation. OpRead and OpOpen change nothing; the rest do, and those are
// the points at which a crash can leave different disks behind.
const (
	OpCreate OpKind = iota + 1
	OpRemove
	OpRename
	OpMkdir
	OpSyncDir
	OpWrite
	OpSync
	OpTruncate
	OpRead
	OpOpen
)

// String returns the kind in one word.
func (k OpKind) String() string {
	names := [...]string{"none", "create", "remove", "rename", "mkdir", "syncdir", "write", "sync", "truncate", "read", "open"}
	if int(k) >= len(names) {
		return "unknown"
	}
	return names[k]
}

// Op describes one operation to Faults.Check.
type Op struct {
	Kind OpKind
	// Name is the cleaned path; of a rename, the source.
	Name string
	// Offset and Bytes are the range of a read or write; of a truncate, Offset is the new
	// size.
	Offset int64
	Bytes  int
}

// Faults is what goes wrong on a Mem. Counting starts at 1 with the SetFaults that
// installed it; 0 means never.
type Faults struct {
	// FailWrite is the number of the WriteAt that fails with ErrInjected, after it has
	// written PartialBytes of its data.
	FailWrite    int
	PartialBytes int
	// FailSync is the number of the Sync or SyncDir that fails with ErrInjected. As on
	// Linux, what was dirty in that file is then considered clean: a later Sync that
	// succeeds does not make it durable.
	FailSync int
	// FailRead is the number of the ReadAt that fails with ErrInjected.
	FailRead int
	// StopAt is the number of the changing operation (Counts.Changes) at which the power
	// goes. That operation has happened but is not durable, a sync has not happened, and
	// everything from it on returns ErrStopped. Clone shows the disk afterwards.
	StopAt int
	// LimitBytes bounds the sum of all file sizes; a write or truncate above it fails
	// with ErrNoSpace and writes what fits.
	LimitBytes int64
	// LieAboutSync makes Sync and SyncDir return nil and do nothing, like a drive that
	// ignores the flush of its cache.
	LieAboutSync bool
	// Check, if not nil, is asked before each operation; an error becomes the
	// operation's result and nothing happens. It runs under the lock of the Mem and must
	// not call it.
	Check func(Op) error
}

// Counts tells how many operations a Mem has seen since the last SetFaults, refused
// ones included.
type Counts struct {
	// Changes counts everything that can alter the disk after a crash, syncs included.
	Changes int
	// Writes counts WriteAt; Syncs Sync and SyncDir; Reads ReadAt.
	Writes, Syncs, Reads int
	// WrittenBytes sums the lengths of the writes.
	WrittenBytes int64
	// UsedBytes is the sum of the sizes of all files at present, which is what Faults.LimitBytes bounds.
	UsedBytes int64
}

// SetFaults installs what goes wrong from now on and starts counting at zero. It does
// not bring a stopped disk back; Clone does.
func (m *Mem) SetFaults(f Faults) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.faults = f
	m.counts = Counts{}
}

// Counts returns the operations since the last SetFaults.
func (m *Mem) Counts() Counts {
	m.mu.Lock()
	defer m.mu.Unlock()
	c := m.counts
	c.UsedBytes = m.usedBytes
	return c
}

// beginLocked counts an operation and decides its fate: an error means that it does not
// happen; stop means that it happens and is the last one.
func (m *Mem) beginLocked(op Op) (stop bool, err error) {
	if m.dead {
		return false, ErrStopped
	}
	if op.Kind < OpRead {
		m.counts.Changes++
		stop = m.faults.StopAt == m.counts.Changes
	}
	switch op.Kind {
	case OpRead:
		m.counts.Reads++
		if m.faults.FailRead == m.counts.Reads {
			return false, ErrInjected
		}
	case OpWrite:
		m.counts.Writes++
		m.counts.WrittenBytes += int64(op.Bytes)
	case OpSync, OpSyncDir:
		m.counts.Syncs++
		if stop {
			m.dead = true
			return false, ErrStopped
		}
		if m.faults.FailSync == m.counts.Syncs {
			return false, ErrInjected
		}
	}
	if m.faults.Check != nil {
		if err := m.faults.Check(op); err != nil {
			return false, err
		}
	}
	return stop, nil
}

// endLocked finishes an operation that happened.
func (m *Mem) endLocked(stop bool) error {
	if stop {
		m.dead = true
		return ErrStopped
	}
	return nil
}
