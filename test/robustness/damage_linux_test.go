package robustness

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/okapi-kv/okapi/test/harness"
)

// damageCase is one damage to the directory of a member that is stopped, and what its next start must say; it must serve if that is "".
type damageCase struct {
	what, refusal string
	do            func(d *damager)
}

// damager damages the directory of one member of a cluster, and repairs it by "okapi member".
type damager struct {
	*operator
	victim *harness.Member
	// before is where the directory was copied to before the last start.
	before string
	copied []byte // of the last segment, before the last writes
	writes int
}

func damageCases() []damageCase {
	return []damageCase{
		{"log: a bit of the first record flipped", "/wal/SEGMENT is damaged at offset 4096: ", func(d *damager) { d.change("wal/*.wal", func(b []byte) []byte { b[4200] ^= 1; return b }) }},
		{"log: the header overwritten", "/wal/SEGMENT is damaged at offset 0: ", func(d *damager) {
			d.change("wal/*.wal", func(b []byte) []byte { copy(b, bytes.Repeat([]byte("garbage "), 64)); return b })
		}},
		{"log: a sector of the last record lost", "reached batch", func(d *damager) {
			d.change("wal/*.wal", func(b []byte) []byte { clear(b[written(b)-512 : written(b)]); return b })
		}},
		{"log: truncated in the last record", "the file was truncated", func(d *damager) { d.change("wal/*.wal", func(b []byte) []byte { return b[:written(b)-512] }) }},
		{"log: a bit of the zeros behind the end flipped", "/wal/SEGMENT is damaged at offset ", func(d *damager) {
			d.change("wal/*.wal", func(b []byte) []byte { b[len(b)-5000] ^= 1; return b })
		}},
		{"log: removed", "has lost its log (no file in ", func(d *damager) { d.must(os.Remove(d.newest("wal/*.wal"))) }},
		{"log: an older copy", "synced data is gone, or the file is an older copy", func(d *damager) {
			d.change("wal/*.wal", func([]byte) []byte { return d.copied })
		}},
		{"snapshot: a bit in the middle flipped", ".snap is damaged at offset ", func(d *damager) { d.change("snap/*.snap", func(b []byte) []byte { b[len(b)/2] ^= 1; return b }) }},
		{"snapshot: truncated", ".snap is damaged at offset ", func(d *damager) { d.change("snap/*.snap", func(b []byte) []byte { return b[:len(b)/2] }) }},
		{"identity: a bit flipped", "/okapi.identity cannot be trusted from offset 0 on", func(d *damager) {
			d.change("okapi.identity", func(b []byte) []byte { b[90] ^= 1; return b })
		}},
		{"count of starts: removed", "replace this member by a new one (okapi member replace)", func(d *damager) {
			d.must(os.Remove(filepath.Join(d.victim.DataDir, "okapi.starts")))
		}},
		{"directory: as it was before the last start", "replace this member by a new one (okapi member replace)", func(d *damager) {
			d.empty(d.victim)
			d.must(os.CopyFS(d.victim.DataDir, os.DirFS(d.before)))
		}},
		{"memory of the others: removed", "", func(d *damager) { d.must(os.Remove(filepath.Join(d.victim.DataDir, "okapi.peers"))) }},
		{"note of the end of the log: overwritten", "", func(d *damager) { d.change("wal/end", func(b []byte) []byte { clear(b); return b }) }},
	}
}

// TestDamagedDirectory damages the files of a member that is stopped, one after the other, and starts it again: it serves as before, or ends with
// status 1 and a line that names file and offset, or the procedure. Then it is replaced as docs/operating/damage.md says, while the others go on,
// and all members hold the same. A server that is alone refuses too rather than to forget.
func TestDamagedDirectory(t *testing.T) {
	start := time.Now()
	cluster := harness.NewCluster(t, tools, 3, "--snapshot-bytes", "1MiB", "--log-level", "info")
	cluster.Start()
	o := &operator{t: t, cluster: cluster, serving: slices.Clone(cluster.Members)}
	d := &damager{operator: o, victim: cluster.Members[2]}
	d.write(48, 64<<10) // enough for a snapshot
	refused, served := 0, 0
	for _, c := range damageCases() {
		d.rest()
		c.do(d)
		d.victim.Start()
		if c.refusal == "" {
			d.victim.WaitReady()
			served++
			t.Logf("damage: %s: serves, nothing lost", c.what)
		} else {
			d.victim.WaitRefused(strings.ReplaceAll(c.refusal, "SEGMENT", filepath.Base(d.newestOr("wal/*.wal"))))
			refused++
			d.replace()
			t.Logf("damage: %s: refused and replaced", c.what)
		}
		compareMembers(t.Context(), t, "damage", cluster.Members)
	}
	alone := damageAlone(t)
	t.Logf("damage: %d refused with file and offset, or the procedure, and replaced; %d served as before; alone: %d refused; in %v",
		refused, served, alone, time.Since(start).Round(time.Second))
	cluster.Terminate()
}

// damageAlone puts an older copy of the log into the directory of a server that is alone: nobody but itself can notice.
func damageAlone(t *testing.T) (refused int) {
	t.Helper()
	cluster := harness.NewCluster(t, tools, 1, "--log-level", "info")
	cluster.Start()
	d := &damager{operator: &operator{t: t, cluster: cluster, serving: cluster.Members}, victim: cluster.Members[0]}
	d.write(10, 100)
	d.copied = d.read("wal/*.wal")
	d.write(10, 100)
	d.victim.Terminate()
	now := d.read("wal/*.wal")
	d.change("wal/*.wal", func([]byte) []byte { return d.copied })
	d.victim.Start()
	d.victim.WaitRefused("synced data is gone, or the file is an older copy")
	d.change("wal/*.wal", func([]byte) []byte { return now })
	d.victim.Start()
	d.victim.WaitReady()
	d.victim.Terminate()
	return 1
}

// rest starts the member once more, with a copy of its directory from before, writes, and stops it.
func (d *damager) rest() {
	d.t.Helper()
	d.victim.Terminate()
	d.before = filepath.Join(d.t.TempDir(), "before")
	d.must(os.CopyFS(d.before, os.DirFS(d.victim.DataDir)))
	d.victim.Start()
	d.victim.WaitReady()
	d.copied = d.read("wal/*.wal")
	d.write(10, 100)
	d.victim.Terminate()
}

// write puts keys through the victim, so that it has them.
func (d *damager) write(n, bytes int) {
	d.t.Helper()
	ctx, cancel := context.WithTimeout(d.t.Context(), 30*time.Second)
	defer cancel()
	c := dialFrom(d.t, d.victim)
	for range n {
		d.writes++
		if _, err := c.Put(ctx, fmt.Sprintf("key%06d", d.writes), strings.Repeat("v", bytes)); err != nil {
			d.t.Fatalf("put: %v", err)
		}
	}
}

// replace does what docs/operating/damage.md says.
func (d *damager) replace() {
	d.t.Helper()
	m := d.victim
	d.serving = d.cluster.Others(m)
	d.empty(m)
	m.Join(d.startFlags(d.run("replace", m.Name, m.Name, "--peer-urls", "http://"+m.Peer))...)
	m.Start()
	d.run("promote", m.Name)
	m.WaitReady()
}

// newest is the last file of a pattern, newestOr the same or "", if there is none.
func (d *damager) newest(pattern string) string {
	d.t.Helper()
	name := d.newestOr(pattern)
	if name == "" {
		d.t.Fatalf("%s has no %s", d.victim.DataDir, pattern)
	}
	return name
}

func (d *damager) newestOr(pattern string) string {
	d.t.Helper()
	names, err := filepath.Glob(filepath.Join(d.victim.DataDir, pattern))
	d.must(err)
	if len(names) == 0 {
		return ""
	}
	return slices.Max(names)
}

func (d *damager) read(pattern string) []byte {
	d.t.Helper()
	b, err := os.ReadFile(d.newest(pattern))
	d.must(err)
	return b
}

// change changes what the last file of a pattern holds.
func (d *damager) change(pattern string, how func([]byte) []byte) {
	d.t.Helper()
	d.must(os.WriteFile(d.newest(pattern), how(d.read(pattern)), 0o600))
}

func (d *damager) must(err error) {
	d.t.Helper()
	if err != nil {
		d.t.Fatal(err)
	}
}

// written is where the zeros of a segment begin, rounded up to sectors.
func written(segment []byte) int {
	return (len(bytes.TrimRight(segment, "\x00")) + 511) / 512 * 512
}
