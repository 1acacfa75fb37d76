package server

import (
	"fmt"
	"log/slog"
	"regexp"
	"strings"
	"testing"

	"github.com/okapi-kv/okapi/internal/clock"
	"github.com/okapi-kv/okapi/internal/cluster"
	"github.com/okapi-kv/okapi/internal/vfs"
	"github.com/okapi-kv/okapi/internal/wal"
)

// started is a member that has read its directory and goes no further.
func started(t *testing.T, disk vfs.FS) (*member, error) {
	t.Helper()
	m := &member{
		cfg: load(t, "data-dir=/data"), log: slog.New(slog.DiscardHandler), clock: clock.Real{}, directory: cluster.Directory{FS: disk, Path: "/data"},
	}
	t.Cleanup(m.close)
	for _, step := range []func() error{m.claim, m.meet, m.openDisk} {
		if err := step(); err != nil {
			return m, err
		}
	}
	return m, nil
}

// lived is the disk of a member that was started twice, has voted, and has met another member; another one remembers it. copied is what
// the disk held between the two starts.
func lived(t *testing.T) (disk, copied *vfs.Mem, identity cluster.Identity, other *cluster.Recall) {
	t.Helper()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	other, err := cluster.Directory{FS: vfs.NewMem(2), Path: "/"}.OpenRecall()
	must(err)
	disk = vfs.NewMem(1)
	for start := uint64(1); start <= 2; start++ {
		copied = disk.Clone(vfs.Survival{Percent: 100})
		m, err := started(t, disk)
		must(err)
		if _, err := disk.ReadFile("/data/wal/end"); err != nil {
			t.Errorf("a start does not note the end of the log: %v", err)
		}
		must(m.disk.Log.Append(wal.HardState{Term: start, Vote: 7, Commit: 1}, nil))
		must(m.disk.Log.Sync())
		must(m.disk.Log.NoteEnd())
		must(m.recall.Recognize(2, 9, start<<24))
		must(other.Recognize(m.identity.MemberID, m.identity.Directory, m.starts))
		identity = m.identity
		m.close()
	}
	return disk.Clone(vfs.Survival{Percent: 100}), copied, identity, other
}

// named finds what an operator has to be told of a file.
var named = regexp.MustCompile(`okapi\.(\w+) cannot be trusted from offset \d+ on .*replace this member|has lost its okapi\.identity`)

// TestDamagedDirectory damages the small files of a data directory, in every way: the member is as it was, or it is refused with
// file and offset, or, if it has forgotten how often it was started, by the others.
func TestDamagedDirectory(t *testing.T) {
	counts := make(map[string]int)
	table := make(map[string]string)
	files := []string{"okapi.identity", "okapi.starts", "okapi.peers", "okapi.lock", "okapi.founding"}
	for _, file := range files {
		for _, region := range []string{"begin", "middle", "end"} {
			for _, damage := range []string{"bit flipped", "zeroed", "garbage", "truncated", "removed", "older copy"} {
				whole := damage == "removed" || damage == "older copy"
				if whole && region != "begin" || !whole && (file == "okapi.lock" || file == "okapi.founding") {
					continue // they are empty
				}
				disk, copied, identity, other := lived(t)
				if !spoil(t, disk, copied, "/data/"+file, region, damage) {
					continue
				}
				verdict := "harmless"
				m, err := started(t, disk)
				switch {
				case err != nil:
					verdict = "refused"
					if text := err.Error(); !named.MatchString(text) || !strings.Contains(text, file) || strings.Contains(text, "\n") {
						t.Errorf("%s, %s, %s: refused with %q", file, region, damage, text)
					}
				case m.identity != identity || m.disk.Hard.Term != 2 || m.disk.Hard.Vote != 7:
					t.Errorf("%s, %s, %s: starts as %+v with %+v", file, region, damage, m.identity, m.disk.Hard)
				case other.Recognize(m.identity.MemberID, m.identity.Directory, m.starts) != nil:
					verdict = "refused by the others"
				}
				m.close()
				counts[verdict]++
				table[file] += fmt.Sprintf("  %s of %s: %s", damage, region, verdict)
			}
		}
	}
	for _, file := range files {
		t.Logf("%-16s%s", file, table[file])
	}
	t.Logf("%d harmless, %d refused with file and offset, %d refused by the others", counts["harmless"], counts["refused"], counts["refused by the others"])
	if counts["refused by the others"] != 2 {
		t.Error("a count of starts that is gone or older must be noticed by the others, and nothing else needs them")
	}
}

// spoil damages a file; false if there is none to damage.
func spoil(t *testing.T, disk, copied *vfs.Mem, name, region, damage string) bool {
	t.Helper()
	raw, err := disk.ReadFile(name)
	old, errOld := copied.ReadFile(name)
	switch {
	case damage == "older copy" && strings.HasSuffix(name, ".founding"):
		return disk.WriteFile(name, nil) == nil // it was there once
	case damage == "older copy":
		return errOld == nil && disk.WriteFile(name, old) == nil
	case err != nil:
		return false
	case damage == "removed":
		return disk.Erase(name) == nil
	}
	at := map[string]int{"begin": 0, "middle": len(raw) / 2, "end": len(raw) - 1}[region]
	part := raw[at:min(len(raw), at+vfs.SectorBytes)]
	switch damage {
	case "bit flipped":
		part[0] ^= 4
	case "zeroed":
		clear(part)
	case "garbage":
		for i := range part {
			part[i] ^= byte(i*7 + 3)
		}
	case "truncated":
		raw = raw[:at]
	}
	return disk.WriteFile(name, raw) == nil
}
