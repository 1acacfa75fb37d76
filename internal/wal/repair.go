package wal

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"path"

	"github.com/okapi-kv/okapi/internal/vfs"
)

const (
	// cutName is the file that remembers a cut.
	cutName  = "cut"
	cutMagic = "okapicut"
	// cutSeeder is for its one sector.
	cutSeeder seeder = 0x6b637574
)

// Cut says that the end of the log was cut off, because a crash tore the last batch or
// because the disk lost a part of it; the two look the same. So this member may have
// acknowledged entries, or given a vote, that it no longer knows.
type Cut struct {
	// KeptIndex and KeptTerm are of the last entry before the cut. Everything behind it
	// may have been lost.
	KeptIndex, KeptTerm uint64
	// Known says that the header of the batch could be read. If not, Index and Term are
	// zero and the batch may have held anything.
	Known bool
	// Index is the last entry of the batch, 0 if it held none; Term the term of its hard
	// state, at least that of its entries. After several cuts they are the highest.
	Index, Term uint64
}

// ClearCut forgets the cut, durably. The caller does it when a majority has told whether
// it holds the entries and this member has those that exist. Without a cut it does
// nothing.
func (l *Log) ClearCut() error {
	if l.err != nil {
		return l.err
	}
	if l.cut {
		l.cut = false
		if err := l.NoteEnd(); err != nil { // first: a cut without a note of it is only remembered for longer
			return err
		}
	}
	err := l.fs.Remove(path.Join(l.dir, cutName))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err == nil {
		err = l.fs.SyncDir(l.dir)
	}
	if err != nil {
		return l.poison(fmt.Errorf("clear cut of log: %w", err))
	}
	return nil
}

// repair makes the disk agree with what was read. Each step may be interrupted: the next
// Open reads the same and does it again.
func (r *recovery) repair() error {
	if err := r.removeLeftovers(); err != nil {
		return err
	}
	if r.torn != nil {
		// The cut is remembered before the evidence is wiped.
		if err := r.rememberCut(); err != nil {
			return err
		}
		if err := r.wipe(); err != nil {
			return err
		}
	}
	if err := r.rewriteLast(); err != nil {
		return err
	}
	if err := r.segments[len(r.segments)-1].file.Sync(); err != nil {
		return err
	}
	// The names were seen, but perhaps only in memory.
	return r.fs.SyncDir(r.dir)
}

// removeLeftovers deletes files that were never a part of the log.
func (r *recovery) removeLeftovers() error {
	for _, name := range r.leftovers {
		if n := len(r.segments); n > 0 && r.segments[n-1].path == name {
			if err := r.segments[n-1].file.Close(); err != nil {
				return err
			}
			r.segments = r.segments[:n-1]
		}
		if err := r.fs.Remove(name); err != nil {
			return err
		}
	}
	if len(r.leftovers) == 0 {
		return nil
	}
	return r.fs.SyncDir(r.dir)
}

// wipe overwrites a torn batch with zeros, so that the next one finds what it expects.
func (r *recovery) wipe() error {
	t := r.torn
	zeros := make([]byte, min(prepareBytesDefault, t.end-t.offset))
	for at := t.offset; at < t.end; at += int64(len(zeros)) {
		n := min(int64(len(zeros)), t.end-at)
		if _, err := t.segment.file.WriteAt(zeros[:n], at); err != nil {
			return err
		}
	}
	return nil // repair syncs the file
}

// rewriteLast writes the last batch again, as it is. After a sync that failed, the
// system shows the data but need not have it on disk, and a sync now would say that all
// is well; it writes what is written anew.
func (r *recovery) rewriteLast() error {
	if r.last.segment == nil {
		return nil
	}
	s := r.last.segment
	raw := make([]byte, r.last.batchBytes)
	if err := readFull(s.file, raw, r.last.batchOffset); err != nil {
		return err
	}
	if bad := (frame{seeder: s.seeder, offset: r.last.batchOffset}).check(raw); bad >= 0 {
		return s.corrupt(r.last.batchOffset+int64(bad)*sectorBytes, "a sector changed while the log was opened")
	}
	if _, err := s.file.WriteAt(raw, r.last.batchOffset); err != nil {
		return err
	}
	return s.file.Sync()
}

// rememberCut joins this cut with an earlier one that is not resolved, and makes it
// durable. A batch that held nothing new leaves nothing to remember.
func (r *recovery) rememberCut() error {
	c := Cut{KeptIndex: r.index.last, KeptTerm: r.index.lastTerm}
	if h := r.torn.header; h != nil {
		sameVote := h.hardState.Term == r.hardState.Term && h.hardState.Vote == r.hardState.Vote
		if h.lastIndex == 0 && sameVote {
			return nil
		}
		c.Known, c.Index, c.Term = true, h.lastIndex, h.hardState.Term
	}
	if r.cut != nil {
		c = r.cut.join(c)
	}
	if err := c.write(r.fs, r.dir, r.id); err != nil {
		return fmt.Errorf("remember cut: %w", err)
	}
	r.cut = &c
	return nil
}

// join returns what two cuts together may have lost.
func (c Cut) join(d Cut) Cut {
	if d.KeptIndex < c.KeptIndex {
		c.KeptIndex, c.KeptTerm = d.KeptIndex, d.KeptTerm
	}
	c.Known = c.Known && d.Known
	c.Index, c.Term = max(c.Index, d.Index), max(c.Term, d.Term)
	return c
}

// write replaces the cut file in one step.
func (c Cut) write(fsys vfs.FS, dir string, id Identity) error {
	sector := make([]byte, sectorBytes)
	copy(sector, cutMagic)
	le := binary.LittleEndian
	le.PutUint32(sector[8:], formatVersion)
	if c.Known {
		le.PutUint32(sector[12:], 1)
	}
	for i, v := range []uint64{id.ClusterID, id.MemberID, c.KeptIndex, c.KeptTerm, c.Index, c.Term} {
		le.PutUint64(sector[16+8*i:], v)
	}
	cutSeeder.seal(sector, 0, kindHead)

	return replaceSector(fsys, path.Join(dir, cutName), sector)
}

// readCut returns the remembered cut, nil if there is none.
func readCut(fsys vfs.FS, dir string, id Identity) (*Cut, error) {
	name := path.Join(dir, cutName)
	sector, size, err := readSector(fsys, name, "cut")
	switch {
	case err != nil || size < 0:
		return nil, err
	case sector == nil:
		return nil, &CorruptError{File: name, Offset: min(size, sectorBytes), Reason: "the file has a wrong size"}
	}
	if !cutSeeder.valid(sector, 0, kindHead) || !bytes.HasPrefix(sector, []byte(cutMagic)) {
		return nil, &CorruptError{File: name, Reason: "the file does not match its checksum"}
	}
	le := binary.LittleEndian
	word := func(i int) uint64 { return le.Uint64(sector[16+8*i:]) }
	if version := le.Uint32(sector[8:]); version > formatVersion {
		return nil, &VersionError{File: name, Found: version, Known: formatVersion}
	}
	if found := (Identity{ClusterID: word(0), MemberID: word(1)}); found != id {
		return nil, &IdentityError{File: name, Found: found, Want: id}
	}
	return &Cut{
		Known:     le.Uint32(sector[12:]) == 1,
		KeptIndex: word(2), KeptTerm: word(3), Index: word(4), Term: word(5),
	}, nil
}
