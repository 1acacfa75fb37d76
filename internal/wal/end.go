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
	// endName is the file that remembers how far the log once reached.
	endName  = "end"
	endMagic = "okapiend"
)

// endSeeder is for its one sector. Segments count from 1, so nothing else is sealed with it.
func endSeeder(id Identity) seeder { return newSeeder(id, 0) }

// NoteEnd writes down, durably, how far the log reaches, and whether a cut is remembered. The end of a log alone cannot tell
// whether more was there: an older copy of the last segment ends as well as the newest one, and a last batch whose sectors
// the disk has lost looks as if a crash had torn it. A later Open that finds less than was noted
// refuses the log instead, and one whose cut is forgotten.
//
// The caller does it when the log was opened, and before a Close that is meant. It does nothing after a failure:
// what the log then reaches is not known.
func (l *Log) NoteEnd() error {
	if l.err != nil {
		return l.err
	}
	sector := make([]byte, sectorBytes)
	copy(sector, endMagic)
	binary.LittleEndian.PutUint32(sector[8:], formatVersion)
	if l.cut {
		binary.LittleEndian.PutUint32(sector[12:], 1)
	}
	binary.LittleEndian.PutUint64(sector[16:], l.end.sequence)
	endSeeder(l.id).seal(sector, 0, kindHead)
	if err := replaceSector(l.fs, path.Join(l.dir, endName), sector); err != nil {
		return l.poison(fmt.Errorf("note the end of the log: %w", err))
	}
	return nil
}

// noted is what the file says: the sequence number behind the last batch, and whether there was a cut. Zero says nothing.
type noted struct {
	sequence uint64
	cut      bool
}

// readEnd returns what was noted last. A file that is damaged says nothing: what it is for needs a second damage.
func readEnd(fsys vfs.FS, dir string, id Identity) (noted, error) {
	sector, _, err := readSector(fsys, path.Join(dir, endName), "end")
	if err != nil || sector == nil {
		return noted{}, err
	}
	if !endSeeder(id).valid(sector, 0, kindHead) || !bytes.HasPrefix(sector, []byte(endMagic)) {
		return noted{}, nil
	}
	le := binary.LittleEndian
	return noted{sequence: le.Uint64(sector[16:]), cut: le.Uint32(sector[12:]) == 1}, nil
}

// checkNoted refuses a log that ends before a batch which is known to have been synced. What is missing may have
// held a vote, so nothing is known of term and vote.
func (r *recovery) checkNoted() error {
	if r.noted.sequence <= r.end.sequence {
		return nil
	}
	r.short = true
	s := r.segments[len(r.segments)-1]
	if r.torn != nil {
		s = r.torn.segment
	}
	return s.corrupt(r.end.offset, fmt.Sprintf("the log ends behind batch %d, and reached batch %d when the member last "+
		"started or stopped: synced data is gone, or the file is an older copy", r.end.sequence-1, r.noted.sequence-1))
}

// readSector reads a file of one sector that holds the named part of the log. sector is nil if the file has another size, or is not
// there: then its size is -1.
func readSector(fsys vfs.FS, name, part string) (sector []byte, size int64, err error) {
	f, err := fsys.Open(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, -1, nil
	}
	if err != nil {
		return nil, 0, fmt.Errorf("open %s of log: %w", part, err)
	}
	defer f.Close()
	if size, err = f.Size(); err != nil {
		return nil, 0, fmt.Errorf("read %s of log: %w", part, err)
	}
	if size != sectorBytes {
		return nil, size, nil
	}
	sector = make([]byte, sectorBytes)
	if err := readFull(f, sector, 0); err != nil {
		return nil, 0, fmt.Errorf("read %s of log: %w", part, err)
	}
	return sector, size, nil
}

// replaceSector writes a file of one sector, durably and in one step.
func replaceSector(fsys vfs.FS, name string, sector []byte) error {
	f, err := fsys.Create(name + temporarySuffix)
	if err != nil {
		return err
	}
	_, err = f.WriteAt(sector, 0)
	if err == nil {
		err = f.Sync()
	}
	if err := errors.Join(err, f.Close()); err != nil {
		return err
	}
	if err := fsys.Rename(name+temporarySuffix, name); err != nil {
		return err
	}
	return fsys.SyncDir(path.Dir(name))
}
