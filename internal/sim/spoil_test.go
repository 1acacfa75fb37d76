package sim

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"path"
	"slices"
	"strings"

	"github.com/okapi-kv/okapi/internal/vfs"
	"github.com/okapi-kv/okapi/internal/wal"
)

// damage is what is done to a file.
type damage string

const (
	flipped   damage = "bit flipped"
	zeroed    damage = "512 B zeroed"
	garbage   damage = "512 B garbage"
	truncated damage = "truncated"
	removed   damage = "removed"
	older     damage = "older copy"
)

// damageCase is a kind of file, a region in it, and what is done there.
type damageCase struct {
	kind, region string
	damage       damage
	// killed says that the member did not stop by itself, so that the end of its log was not noted.
	killed bool
	// others says that only other members can tell.
	others bool
	// name is the file that was damaged, once it is known; "" for the whole directory.
	name string
}

func (c damageCase) row() string    { return fmt.Sprintf("%s, %s", c.kind, c.region) }
func (c damageCase) String() string { return c.row() + ", " + string(c.damage) }

// The kinds of files.
const (
	oldestSegment  = "oldest log segment"
	middleSegment  = "sealed log segment"
	activeSegment  = "active log segment"
	aheadSegment   = "segment made ahead"
	newestSnapshot = "newest snapshot"
	olderSnapshot  = "older snapshot"
	cutFile        = "wal/cut"
	endFile        = "wal/end"
	logLock        = "wal/lock"
	startsFile     = "okapi.starts"
	peersFile      = "okapi.peers"
	halfSegment    = "temporary segment"
	halfSnapshot   = "temporary snapshot"
	halfStarts     = "okapi.starts.tmp"
	directory      = "whole directory"
)

// damageCases lists every kind of file, region and damage.
func damageCases() (list []damageCase) {
	add := func(kind string, regions ...string) {
		for _, region := range regions {
			for _, how := range []damage{flipped, zeroed, garbage, truncated} {
				list = append(list, damageCase{kind: kind, region: region, damage: how})
			}
		}
		list = append(list, damageCase{kind: kind, region: "the file", damage: removed})
	}
	segment := []string{"header", "first record", "middle", "last record"}
	add(oldestSegment, segment...)
	add(middleSegment, segment...)
	add(activeSegment, append(segment, "zero-filled rest")...)
	add(aheadSegment, "header", "zero-filled rest")
	add(newestSnapshot, "header", "first frame", "middle", "table", "trailer")
	add(olderSnapshot, "header", "first frame", "middle", "table", "trailer")
	for _, kind := range []string{cutFile, endFile, startsFile, peersFile} {
		add(kind, "begin", "middle", "checksum")
	}
	for _, kind := range []string{halfSegment, halfSnapshot, halfStarts} {
		add(kind, "begin")
	}
	add(logLock)
	for _, kind := range []string{oldestSegment, middleSegment, activeSegment, newestSnapshot, endFile, peersFile} {
		list = append(list, damageCase{kind: kind, region: "the file", damage: older})
	}
	return append(list,
		damageCase{kind: startsFile, region: "the file", damage: older, others: true},
		damageCase{kind: directory, region: "all of it", damage: older, others: true},
		damageCase{kind: activeSegment, region: "unsynced end", damage: zeroed, killed: true},
		damageCase{kind: activeSegment, region: "unsynced end", damage: garbage, killed: true},
		damageCase{kind: activeSegment, region: "unsynced end", damage: flipped, killed: true},
		damageCase{kind: activeSegment, region: "unsynced end", damage: truncated, killed: true})
}

// prepare adds the files that a member has at times only.
func (d *damageRun) prepare() {
	half := make([]byte, 5000)
	fs := d.n.fs
	var err error
	switch d.kind {
	case halfSegment:
		err = fs.WriteFile(dataDir+"/wal/00000000000000ff.wal.tmp", half)
	case halfSnapshot:
		err = fs.WriteFile(dataDir+"/snap/00000000000000ff-0000000000000001.snap.w.tmp", half)
	case halfStarts:
		err = fs.WriteFile(dataDir+"/okapi.starts.tmp", half)
	case cutFile:
		err = d.cutEnd()
	case aheadSegment:
		err = d.rollAndCrash()
	}
	if d.killed {
		err = d.writeMore()
	}
	if err != nil {
		d.world.fail("prepare: %v", err)
	}
}

// open opens the log as the member does.
func (d *damageRun) open() (*wal.Log, wal.HardState, error) {
	id := wal.Identity{ClusterID: 77, MemberID: d.n.id}
	l, found, err := wal.Open(d.n.fs, path.Join(dataDir, "wal"), id, wal.Options{SegmentBytes: d.world.cfg.SegmentBytes})
	if err != nil {
		return nil, wal.HardState{}, err
	}
	return l, found.HardState, nil
}

// writeMore writes one batch more, of which nobody was told: a step to a new term, without a vote.
func (d *damageRun) writeMore() error {
	l, hard, err := d.open()
	if err != nil {
		return err
	}
	hard.Term, hard.Vote = hard.Term+1, 0
	return errors.Join(l.Append(hard, nil), l.Sync(), l.Close())
}

// rollAndCrash leaves what a crash leaves when the next segment is there and the last one is not yet sealed.
func (d *damageRun) rollAndCrash() error {
	had := len(segmentsOf(d.files()))
	before := d.n.fs
	for stop := 1; stop < 200; stop++ {
		d.n.fs = before.Clone(vfs.Survival{Percent: 100})
		d.n.fs.SetFaults(vfs.Faults{StopAt: stop})
		var err error
		for err == nil {
			err = d.writeMore()
		}
		d.n.fs = d.n.fs.Clone(vfs.Survival{Percent: 100})
		if len(segmentsOf(d.files())) > had {
			d.intact, err = d.boot()
			return err
		}
	}
	return errors.New("no segment was made ahead")
}

// cutEnd leaves what a crash leaves in the midst of a write, and a start that has cut it off and then crashed too.
func (d *damageRun) cutEnd() error {
	if err := d.writeMore(); err != nil {
		return err
	}
	name := slices.Max(segmentsOf(d.files()))
	raw, err := d.n.fs.ReadFile(name)
	if err != nil {
		return err
	}
	_, last := batchesOf(raw)
	clear(raw[last+512 : last+1024])
	if err := d.n.fs.WriteFile(name, raw); err != nil {
		return err
	}
	l, _, err := d.open()
	if err != nil {
		return err
	}
	return errors.Join(l.NoteEnd(), l.Close())
}

// spoil does the damage; false if there is no such place.
func (d *damageRun) spoil(files map[string][]byte) bool {
	fs := d.n.fs
	if d.kind == directory {
		for name := range files { // all of them
			_ = fs.Erase(name)
		}
		for name, raw := range d.backup {
			_ = fs.WriteFile(name, raw)
		}
		return len(d.backup) > 0
	}
	name := d.file(files)
	raw, ok := files[name]
	if !ok {
		return false
	}
	d.name = name
	switch d.damage {
	case removed:
		return fs.Erase(name) == nil
	case older:
		copied, ok := d.olderCopy(name, raw, files)
		return ok && fs.WriteFile(name, copied) == nil
	}
	spoiled, ok := d.spoilt(raw)
	return ok && fs.WriteFile(name, spoiled) == nil
}

// spoilt returns the content of a file with a part of it damaged.
func (d *damageRun) spoilt(raw []byte) ([]byte, bool) {
	at := d.offset(raw)
	if at < 0 || at >= len(raw) {
		return nil, false
	}
	raw = slices.Clone(raw)
	part := raw[at:min(at+vfs.SectorBytes, len(raw))]
	switch d.damage {
	case flipped:
		bit := 3 // of the header, or its magic
		if strings.HasSuffix(d.region, "record") || d.kind == activeSegment {
			bit = 150 // of what the record holds
		}
		part[min(bit, len(part)-1)] ^= 0x10
	case zeroed:
		clear(part)
	case garbage:
		rng := rand.New(rand.NewPCG(d.world.cfg.Seed, uint64(at)))
		for i := range part {
			part[i] = byte(rng.Uint32())
		}
	case truncated:
		raw = raw[:at]
	}
	return raw, true
}

// file finds the file of the kind.
func (d *damageRun) file(files map[string][]byte) string {
	segments, snapshots := segmentsOf(files), snapshotsOf(files)
	switch d.kind {
	case oldestSegment:
		return segments[0]
	case middleSegment:
		return segments[len(segments)-2]
	case activeSegment, aheadSegment:
		return segments[len(segments)-1]
	case newestSnapshot:
		return snapshots[len(snapshots)-1]
	case olderSnapshot:
		return snapshots[0]
	case halfSegment:
		return dataDir + "/wal/00000000000000ff.wal.tmp"
	case halfSnapshot:
		return dataDir + "/snap/00000000000000ff-0000000000000001.snap.w.tmp"
	}
	return path.Join(dataDir, d.kind)
}

// olderCopy is the newest earlier content of a file; of a snapshot, which is written once, the snapshot before.
func (d *damageRun) olderCopy(name string, raw []byte, files map[string][]byte) ([]byte, bool) {
	if d.kind == newestSnapshot {
		all := snapshotsOf(files)
		return files[all[len(all)-2]], true
	}
	for _, was := range slices.Backward(d.history[name]) {
		if !bytes.Equal(was, raw) && len(was) > 0 && (d.kind != oldestSegment && d.kind != middleSegment && d.kind != activeSegment || lengthOf(was) < lengthOf(raw)) {
			return was, true
		}
	}
	return nil, false
}

// offset finds the region; -1 if the file has none.
func (d *damageRun) offset(raw []byte) int {
	switch d.kind {
	case aheadSegment:
		return map[string]int{"header": 0, "zero-filled rest": len(raw) / 2 / 512 * 512}[d.region]
	case oldestSegment, middleSegment, activeSegment:
		first, last := batchesOf(raw)
		return map[string]int{
			"header": 0, "first record": first, "middle": (first + last) / 2 / 512 * 512, "last record": last, "unsynced end": last,
			"zero-filled rest": lengthOf(raw) + 4096,
		}[d.region]
	case newestSnapshot, olderSnapshot:
		trailer := len(raw) - 32
		table := int(binary.LittleEndian.Uint64(raw[trailer:]))
		frames := 16 + int(binary.LittleEndian.Uint32(raw[12:])) + 4
		return map[string]int{"header": 0, "first frame": frames, "middle": (frames + table) / 2, "table": table, "trailer": trailer}[d.region]
	}
	return map[string]int{"begin": 0, "middle": len(raw) / 2, "checksum": len(raw) - 5}[d.region]
}

// lengthOf is where the zeros begin behind the last batch of a segment.
func lengthOf(raw []byte) int {
	end := len(bytes.TrimRight(raw, "\x00"))
	return (end + 4095) / 4096 * 4096
}

// batchesOf finds the first and the last batch of a segment: a batch ends with a copy of its header.
func batchesOf(raw []byte) (first, last int) {
	end := lengthOf(raw)
	payload := int(binary.LittleEndian.Uint32(raw[end-512+16:]))
	sectors := (80+payload+507)/508 + 1
	return 4096, end - (sectors+7)/8*4096
}
