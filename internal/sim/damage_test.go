package sim

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"maps"
	"path"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/okapi-kv/okapi/internal/cluster"
	"github.com/okapi-kv/okapi/internal/core/command"
	"github.com/okapi-kv/okapi/internal/core/state"
	"github.com/okapi-kv/okapi/internal/replica"
	"github.com/okapi-kv/okapi/internal/vfs"
	"github.com/okapi-kv/okapi/internal/wal"
)

// verdict is how a start on a damaged directory ends.
type verdict string

const (
	// harmless: the member finds all that it had, the damage hits what nobody reads or what is there twice.
	harmless verdict = "harmless"
	// recovered: the member finds less, says so, and gets it from the others.
	recovered verdict = "recovered"
	// refused: the start ends with an error that names the file, and the offset if the file is there; or, of a directory that was
	// rolled back, the procedure.
	refused verdict = "refused"
)

var damageFlag = flag.String("sim.damage", "", "do only the damage whose line holds this text, and print the events of failed runs")

// TestDamagedDirectory damages each region of each file of a member that is stopped, in every way, and starts the member
// again while clients go on. Of three members, one that is refused is replaced as docs/operating/damage.md says. A member that is alone must
// hold all that it had acknowledged, or be refused. All that the simulator checks is checked: entries, digests, reads, sessions.
func TestDamagedDirectory(t *testing.T) {
	for _, members := range []int{3, 1} {
		t.Run(fmt.Sprintf("members=%d", members), func(t *testing.T) {
			counts := make(map[verdict]int)
			table := make(map[string]string)
			for i, c := range damageCases() {
				if c.others && members == 1 || !strings.Contains(c.String(), *damageFlag) {
					continue
				}
				seed := uint64(i%5 + 1)
				d := &damageRun{damageCase: c}
				cfg := calm(seed, members, d.script)
				cfg.Clients, cfg.FaultTime, cfg.HealTime, cfg.SnapshotBytes = 4, 16*second, 12*second, 24<<10
				r := runSeed(t, cfg)
				if d.alone {
					r.Err = nil // it was refused, and there is nobody to go on
				}
				switch {
				case r.Err != nil:
					t.Errorf("%v, seed %d: %v", c, seed, r.Err)
					for _, line := range r.Trace {
						if *damageFlag != "" {
							t.Log(line)
						}
					}
				case d.verdict == "":
					t.Errorf("%v, seed %d: the member had no such file", c, seed)
				case d.verdict == refused && !d.alone && !d.repaired:
					t.Errorf("%v, seed %d: the member was not replaced", c, seed)
				}
				counts[d.verdict]++
				table[c.row()] += fmt.Sprintf("  %s: %s", c.damage, d.verdict)
				if d.said != "" && (c.damage == flipped || c.damage == removed || c.damage == older) {
					t.Logf("%v: %s", c, d.said)
				}
			}
			for _, row := range slices.Sorted(maps.Keys(table)) {
				t.Logf("%-42s%s", row, table[row])
			}
			found := "nothing lost, nothing wrong"
			if t.Failed() {
				found = "and some end otherwise"
			}
			t.Logf("%d members: %d harmless, %d recovered, %d refused: %s", members, counts[harmless], counts[recovered], counts[refused], found)
		})
	}
}

// damageRun is one run with a damaged directory.
type damageRun struct {
	damageCase
	world    *World
	n        *node
	counts   uint64
	recalls  map[uint64]*cluster.Recall
	history  map[string][][]byte // what each file has held, the newest last
	backup   map[string][]byte   // the whole directory before the last start
	intact   bootState
	verdict  verdict
	said     string // the error that refused it
	alone    bool   // and refused: the run is over
	repaired bool
}

// damageDirectory tells the member's directory from others, as its identity does.
const damageDirectory = 42

func (d *damageRun) script(w *World) {
	d.world, d.n = w, w.nodes[len(w.nodes)-1]
	d.history = make(map[string][][]byte)
	d.recalls = make(map[uint64]*cluster.Recall)
	for _, other := range w.nodes[:len(w.nodes)-1] {
		d.recalls[other.id], _ = cluster.Directory{FS: other.fs, Path: dataDir}.OpenRecall()
	}
	d.count()
	w.after(2*second, func() {
		d.backup = d.files()
		d.stop()
		d.count()
		d.n.start()
	})
	for at := second; at < 12*second; at += second / 20 {
		w.after(at, d.look)
	}
}

// count counts a start of the member, and has it and the others remember each other, as in production.
func (d *damageRun) count() {
	dir := cluster.Directory{FS: d.n.fs, Path: dataDir}
	starts, err := dir.CountStart(d.world.rng.Uint64())
	if err == nil {
		var own *cluster.Recall
		if own, err = dir.OpenRecall(); err == nil {
			d.counts++
			err = own.Recognize(1, 1, d.counts<<24)
		}
	}
	if err != nil {
		d.refuse(err)
		return
	}
	for _, id := range sortedKeys(d.recalls) {
		if d.recalls[id].Recognize(d.n.id, damageDirectory, starts) != nil {
			d.refuse(replica.ErrForgetful)
			return
		}
	}
}

// files reads the whole directory.
func (d *damageRun) files() map[string][]byte {
	all := make(map[string][]byte)
	for _, name := range d.n.fs.Files() {
		name = "/" + name
		if raw, err := d.n.fs.ReadFile(name); err == nil && strings.HasPrefix(name, dataDir+"/") {
			all[name] = raw
		}
	}
	return all
}

// look remembers what the files hold, and does the damage once there are enough of them.
func (d *damageRun) look() {
	now := d.files()
	for name, raw := range now { // each file for itself
		if h := d.history[name]; len(h) == 0 || !bytes.Equal(h[len(h)-1], raw) {
			d.history[name] = append(h, raw)
		}
	}
	w := d.world
	if w.now < 5*second || d.verdict != "" || !d.n.up || d.n.saving || d.n.writing || len(segmentsOf(now)) < 3 || len(snapshotsOf(now)) < 2 {
		return
	}
	last := slices.Max(segmentsOf(now))
	if len(d.history[last]) < 3 {
		return
	}
	d.verdict = harmless // until more is known
	if d.killed {
		d.n.end()
		_ = d.n.disk.Log.Close()
	} else {
		d.stop()
	}
	var err error
	if d.intact, err = d.boot(); err != nil || d.intact.last < d.n.applied {
		w.fail("the undamaged directory reaches entry %d, applied was %d: %v", d.intact.last, d.n.applied, err)
	}
	if d.prepare(); d.kind == cutFile {
		d.intact.cut = true
	}
	if !d.spoil(d.files()) {
		d.verdict = ""
		w.fail("there is no such file or place")
		return
	}
	w.after(second, d.restart)
}

// stop stops the member as SIGTERM does.
func (d *damageRun) stop() {
	err := errors.Join(d.n.disk.Log.NoteEnd(), d.n.disk.Log.Close())
	if err != nil {
		d.world.fail("stop: %v", err)
	}
	d.n.end()
	d.world.net.spreadEnd(d.n)
}

// bootState is what a start finds.
type bootState struct {
	snapshot, last, term, vote, digest uint64
	cut                                bool
}

// boot tries to open a copy of the directory.
func (d *damageRun) boot() (bootState, error) {
	fs := d.n.fs.Clone(vfs.Survival{Percent: 100})
	disk, err := replica.OpenDisk(replica.DiskOptions{
		FS: fs, Dir: dataDir, Identity: wal.Identity{ClusterID: 77, MemberID: d.n.id}, SegmentBytes: d.world.cfg.SegmentBytes, Seed: d.n.id,
	})
	if err != nil {
		return bootState{}, err
	}
	s := bootState{
		snapshot: disk.Boot.SnapshotIndex, last: disk.Boot.SnapshotIndex + uint64(len(disk.Boot.Entries)),
		term: disk.Hard.Term, vote: disk.Hard.Vote, digest: disk.Machine.Digest(), cut: disk.Cut != nil,
	}
	return s, disk.Log.Close()
}

// restart starts the member, if it is not refused.
func (d *damageRun) restart() {
	w := d.world
	found, err := d.boot()
	if err != nil {
		d.refuse(err)
		return
	}
	if d.count(); d.verdict == refused {
		return
	}
	if found != d.intact {
		d.verdict = recovered
	}
	if len(d.recalls) == 0 && (found.last < d.intact.last || found.term < d.intact.term || found.digest == 0) {
		w.fail("the only member starts with %+v and had %+v: that is a silent loss", found, d.intact)
		return
	}
	if d.verdict == recovered && !found.cut && d.n.id > 1 {
		w.fail("the member starts with %+v, had %+v, and says nothing of it", found, d.intact)
		return
	}
	d.n.start()
}

// place finds the file and the offset in an error.
var place = regexp.MustCompile(`/data/\S+.* at offset \d+:|/data/\S+ cannot be trusted from offset \d+ on|/data/\S+ is missing|/data\S* holds a log but no snapshot`)

// refuse checks what the operator is told, and carries out what the documents say.
func (d *damageRun) refuse(err error) {
	w := d.world
	d.verdict, d.said = refused, err.Error()
	if strings.Contains(d.said, "\n") || !strings.Contains(d.said, "replace this member") {
		w.fail("refused with %q: that does not say what to do in one line", d.said)
	}
	if err != replica.ErrForgetful && !place.MatchString(d.said) {
		w.fail("refused with %q: that does not name file and offset", d.said)
	}
	if err != replica.ErrForgetful && d.name != "" && !strings.Contains(d.said, d.name) {
		w.fail("refused with %q, but the damage is in %s", d.said, d.name)
	}
	if len(d.recalls) == 0 {
		d.alone = w.failure == nil
		w.fail("refused")
		return
	}
	clear(d.n.log.durable)
	d.n.log.last, d.n.log.floor = 0, 0
	w.leave(d.n, "its directory is refused")
	d.replace(nil)
}

// replace replaces the member by a new one, as okapi member replace and promote do; it is called again until that is done.
func (d *damageRun) replace(fresh *node) {
	w := d.world
	var asked *node
	for _, n := range w.nodes {
		if n.up && n.serving && n.id <= uint64(w.cfg.Members) && !n.member.Status().Leads {
			asked = n // it hands it on to the leader
		}
	}
	again := func(fresh *node) { w.after(second/4, func() { d.replace(fresh) }) }
	if asked == nil {
		again(fresh)
		return
	}
	id := uint64(len(w.nodes) + 1)
	changes := []command.MemberChange{
		{Action: command.RemoveMember, ID: d.n.id}, {Action: command.AddMember, ID: id, Role: command.Learner, PeerURLs: []string{peerURL(id)}},
	}
	if fresh != nil {
		changes = []command.MemberChange{{Action: command.SetRole, ID: fresh.id, Role: command.Voter}}
	}
	asked.propose(command.Caller{}, &command.ChangeMembers{Changes: changes}, func(r state.Result, err error) {
		w.note("replacing, %v: %v %v %s", changes, r.Code, err, r.Detail)
		switch done := err == nil && r.Code == state.OK; {
		case !done:
			again(fresh)
		case fresh == nil:
			n := newNode(w, id)
			w.nodes = append(w.nodes, n)
			n.start()
			again(n)
		default:
			d.repaired = true
		}
	})
}

func segmentsOf(files map[string][]byte) []string {
	return named(files, path.Join(dataDir, "wal"), ".wal")
}

func snapshotsOf(files map[string][]byte) []string {
	return named(files, path.Join(dataDir, "snap"), ".snap")
}

// named lists the files of a folder with an ending, in order.
func named(files map[string][]byte, folder, ending string) (list []string) {
	for _, name := range slices.Sorted(maps.Keys(files)) {
		if path.Dir(name) == folder && strings.HasSuffix(name, ending) {
			list = append(list, name)
		}
	}
	return list
}
