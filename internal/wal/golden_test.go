package wal_test

import (
	"encoding/hex"
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.etcd.io/raft/v3/raftpb"

	"github.com/okapi-kv/okapi/internal/vfs"
	"github.com/okapi-kv/okapi/internal/wal"
)

// goldenFile holds two segments and a cut file, as lines of offset and bytes; what is not
// there is zero. Run with OKAPI_UPDATE_GOLDEN=1 to write it anew, which is a change of
// the format: old logs must stay readable.
const goldenFile = "testdata/log.golden"

// goldenLog writes every kind of record.
func goldenLog(t *testing.T) (m *vfs.Mem, held model) {
	m = newMem(t)
	opts := wal.Options{SegmentBytes: 32 << 10, PrepareBytes: 32 << 10}
	l, _ := open(t, m, opts)
	first := []*raftpb.Entry{entry(1, 1, "first"), entry(2, 1, ""), entry(3, 2, "conf"), entry(4, 2, strings.Repeat("0123456789", 60))}
	hs := wal.HardState{Term: 2, Vote: 0xa1, Commit: 2}
	appendSync(t, l, hs, first)
	must(t, l.Mark(wal.Mark{Index: 3, Term: 2}))
	must(t, l.Sync())
	must(t, l.Mark(wal.Mark{Index: 300, Term: 3}))
	hs = wal.HardState{Term: 3, Vote: 0xa2, Commit: 300}
	appendSync(t, l, hs, span(301, 302, 3))
	large := []*raftpb.Entry{entry(303, 3, strings.Repeat("segment", 1000))}
	appendSync(t, l, wal.HardState{}, large)
	held = model{hs: hs, mark: wal.Mark{Index: 300, Term: 3}, entries: append(span(301, 302, 3), large...)}
	appendSync(t, l, wal.HardState{Term: 3, Vote: 0xa2, Commit: 303}, span(304, 304, 3))
	must(t, l.Close())

	tearLast(t, m)
	l, found := open(t, m, opts)
	must(t, l.Close())
	if found.Cut == nil {
		t.Fatal("no cut to put in the golden file")
	}
	return m, held
}

func TestGoldenBytes(t *testing.T) {
	m, held := goldenLog(t)
	if len(segments(m)) != 2 {
		t.Fatalf("files %v, want two segments", m.Files())
	}
	got := dump(t, m)
	if os.Getenv("OKAPI_UPDATE_GOLDEN") != "" {
		must(t, os.MkdirAll("testdata", 0o755))
		must(t, os.WriteFile(goldenFile, []byte(got), 0o644))
	}
	want, err := os.ReadFile(goldenFile)
	must(t, err)
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("the format changed (-golden +got):\n%s", diff)
	}

	old := undump(t, string(want))
	_, found := open(t, old, small())
	if diff := cmp.Diff(held.String(), recovered(found).String()); diff != "" {
		t.Errorf("the golden log reads differently (-want +got):\n%s", diff)
	}
	if found.Cut == nil || *found.Cut != (wal.Cut{KeptIndex: 303, KeptTerm: 3, Known: true, Index: 304, Term: 3}) {
		t.Errorf("the golden log has the cut %+v", found.Cut)
	}
}

// dump renders the files: 32 bytes a line, zeros left out.
func dump(t *testing.T, m *vfs.Mem) string {
	var b strings.Builder
	for _, name := range m.Files() {
		raw, err := m.ReadFile(name)
		must(t, err)
		fmt.Fprintf(&b, "file %s %d\n", name, len(raw))
		for at := 0; at < len(raw); at += 32 {
			line := raw[at:min(at+32, len(raw))]
			if strings.Trim(string(line), "\x00") != "" {
				fmt.Fprintf(&b, "%06x %s\n", at, hex.EncodeToString(line))
			}
		}
	}
	return b.String()
}

// undump makes the disk that dump rendered.
func undump(t *testing.T, text string) *vfs.Mem {
	m := newMem(t)
	must(t, m.MkdirAll(dir))
	must(t, m.SyncDir("data"))
	var name string
	var raw []byte
	for line := range strings.Lines(text) {
		fields := strings.Fields(line)
		if fields[0] == "file" {
			if name != "" {
				must(t, m.WriteFile(name, raw))
			}
			size, err := strconv.Atoi(fields[2])
			must(t, err)
			name, raw = fields[1], make([]byte, size)
			continue
		}
		at, err := strconv.ParseInt(fields[0], 16, 64)
		must(t, err)
		_, err = hex.Decode(raw[at:], []byte(fields[1]))
		must(t, err)
	}
	must(t, m.WriteFile(name, raw))
	return m
}
