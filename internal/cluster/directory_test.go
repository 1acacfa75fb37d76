package cluster

import (
	"errors"
	"fmt"
	"path"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/okapi-kv/okapi/internal/vfs"
)

const testDir = "/var/lib/okapi"

var testIdentity = Identity{Format: FormatNewest, MadeBy: "0.1.0", ClusterID: 0xcdf818194e3a8c32, MemberID: 0x8e9e05c52164694d, Directory: 0x1f2e3d4c5b6a7988, Name: "n1"}

const testText = `okapi data directory
format 1
made-by 0.1.0
cluster cdf818194e3a8c32
member 8e9e05c52164694d
directory 1f2e3d4c5b6a7988
name "n1"
`

func newDirectory() (Directory, *vfs.Mem) {
	mem := vfs.NewMem(1)
	return Directory{FS: mem, Path: testDir}, mem
}

// put makes the data directory with one file in it.
func put(t *testing.T, mem *vfs.Mem, name, text string) {
	t.Helper()
	if err := mem.MkdirAll(testDir); err != nil {
		t.Fatal(err)
	}
	if err := mem.WriteFile(path.Join(testDir, name), []byte(text)); err != nil {
		t.Fatal(err)
	}
}

func TestIdentityGolden(t *testing.T) {
	const want = testText + "crc32c de776f13\n"
	if got := testIdentity.encode(); got != want {
		t.Errorf("encode = %s\nwant     %s", got, want)
	}
}

func TestCreateAndLoad(t *testing.T) {
	for name, d := range map[string]Directory{
		"memory":           {FS: vfs.NewMem(1), Path: testDir},
		"operating system": {FS: vfs.OS(), Path: path.Join(t.TempDir(), "a", "b")},
		"existing folder":  {FS: vfs.OS(), Path: t.TempDir()},
	} {
		if _, err := d.Load(); !errors.Is(err, ErrNoIdentity) {
			t.Errorf("%s: Load of nothing = %v", name, err)
		}
		id := testIdentity
		id.Name = "odd \"name\"\nin two lines \xff"
		if err := d.Create(id); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		got, err := d.Load()
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if diff := cmp.Diff(id, got); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
		var occupied *OccupiedError
		if err := d.Create(testIdentity); !errors.As(err, &occupied) || !strings.Contains(err.Error(), "already holds a member") {
			t.Errorf("%s: second Create = %v", name, err)
		}
	}
}

func TestCreateRefusesIncompleteIdentity(t *testing.T) {
	for name, change := range map[string]func(*Identity){
		"no cluster":   func(id *Identity) { id.ClusterID = 0 },
		"reserved id":  func(id *Identity) { id.MemberID = ^uint64(0) },
		"no version":   func(id *Identity) { id.MadeBy = "" },
		"two versions": func(id *Identity) { id.MadeBy = "1 2" },
		"endless name": func(id *Identity) { id.Name = strings.Repeat("n", identityBytesMax) },
	} {
		d, mem := newDirectory()
		id := testIdentity
		change(&id)
		if err := d.Create(id); err == nil || len(mem.Files()) != 0 {
			t.Errorf("%s: %v, files %v", name, err, mem.Files())
		}
	}
}

func TestRestOfAnEmptyDirectoryIsTolerated(t *testing.T) {
	for _, name := range []string{LockFile, IdentityFile + temporarySuffix, "lost+found"} {
		d, mem := newDirectory()
		put(t, mem, name, "half")
		if _, err := d.Load(); !errors.Is(err, ErrNoIdentity) {
			t.Errorf("%s: Load = %v", name, err)
		}
		if err := d.Create(testIdentity); err != nil {
			t.Errorf("%s: Create = %v", name, err)
		}
		if _, err := d.Load(); err != nil {
			t.Errorf("%s: Load = %v", name, err)
		}
	}
}

// withSum completes a file by its checksum.
func withSum(text string) string { return fmt.Sprintf("%scrc32c %08x\n", text, checksum(text)) }

func TestRefusalsTouchNothing(t *testing.T) {
	corrupt := func(err error) bool { var e *CorruptError; return errors.As(err, &e) }
	newer := func(err error) bool { var e *NewerError; return errors.As(err, &e) }
	occupied := func(err error) bool { var e *OccupiedError; return errors.As(err, &e) && !e.Identified }
	for _, c := range []struct {
		name, file, text string
		kind             func(error) bool
		want             string
	}{
		{"newer format", IdentityFile, "okapi data directory\nformat 3\nmade-by 2.1.0\nanything else\n", newer,
			"data directory /var/lib/okapi was made by a newer okapi (format 3, this binary reads up to 1): use okapi >= 2.1.0"},
		{"empty file", IdentityFile, "", corrupt, "/var/lib/okapi/okapi.identity cannot be trusted"},
		{"not the file", IdentityFile, strings.Repeat("x", 100), corrupt, "not as expected"},
		{"endless file", IdentityFile, strings.Repeat("x", identityBytesMax+1), corrupt, "at most 4096"},
		{"checksum", IdentityFile, testText + "crc32c 00000000\n", corrupt, "checksum"},
		{"format 0", IdentityFile, withSum(strings.Replace(testText, "format 1", "format 0", 1)), corrupt, "not as expected"},
		{"no format", IdentityFile, withSum(strings.Replace(testText, "format 1", "forms 1", 1)), corrupt, "not as expected"},
		{"no member", IdentityFile, withSum(strings.Replace(testText, "8e9e05c52164694d", "0000000000000000", 1)), corrupt, "not as expected"},
		{"odd id", IdentityFile, withSum(strings.Replace(testText, "8e9e05c52164694d", "8E9E05C52164694D", 1)), corrupt, "not as expected"},
		{"unquoted name", IdentityFile, withSum(strings.Replace(testText, `"n1"`, `n1`, 1)), corrupt, "not as expected"},
		{"line too many", IdentityFile, withSum(testText + "x y\n"), corrupt, "not as expected"},
		{"etcd", "member", "", occupied, `it holds "member", as etcd's does; choose an empty --data-dir`},
		{"zookeeper", "version-2", "", occupied, "as ZooKeeper's does"},
		{"no identity", "wal", "", occupied, `holds "wal" and has lost its okapi.identity: restore the whole directory`},
		{"something", "notes.txt", "", occupied, `is not empty and not okapi's: it holds "notes.txt"`},
	} {
		d, mem := newDirectory()
		put(t, mem, c.file, c.text)
		before := mem.Counts().Changes
		_, loadErr := d.Load()
		createErr := d.Create(testIdentity)
		for call, err := range map[string]error{"Load": loadErr, "Create": createErr} {
			if err == nil || !c.kind(err) || !strings.Contains(err.Error(), c.want) || strings.Count(err.Error(), "\n") > 0 {
				t.Errorf("%s: %s = %T %v\nwant it to say: %s", c.name, call, err, err, c.want)
			}
		}
		if mem.Counts().Changes != before {
			t.Errorf("%s: the directory was touched", c.name)
		}
	}
}

func TestEveryFlippedBitIsFound(t *testing.T) {
	d, mem := newDirectory()
	if err := d.Create(testIdentity); err != nil {
		t.Fatal(err)
	}
	name := path.Join(testDir, IdentityFile)
	for bit := range int64(8 * len(testIdentity.encode())) {
		if err := mem.FlipBit(name, bit); err != nil {
			t.Fatal(err)
		}
		if got, err := d.Load(); err == nil {
			t.Errorf("bit %d flipped: loaded as %+v", bit, got)
		}
		if err := mem.FlipBit(name, bit); err != nil {
			t.Fatal(err)
		}
	}
}

func TestVerify(t *testing.T) {
	d, _ := newDirectory()
	other, elsewhere, renamed := testIdentity, testIdentity, testIdentity
	other.MemberID, other.Name = 7, "n7"
	elsewhere.ClusterID = 5
	renamed.Name, renamed.MadeBy = "new name", "9.9.9"
	if err := d.Verify(testIdentity, renamed); err != nil {
		t.Errorf("another name: %v", err)
	}
	for _, c := range []struct {
		want Identity
		text string
	}{
		{elsewhere, "data directory /var/lib/okapi belongs to cluster cdf818194e3a8c32, not to cluster 5: give"},
		{other, `belongs to member 8e9e05c52164694d ("n1"), not to member 7 ("n7") of the same cluster: give`},
	} {
		err := d.Verify(testIdentity, c.want)
		var foreign *ForeignError
		if !errors.As(err, &foreign) || !strings.Contains(err.Error(), c.text) || strings.Contains(err.Error(), "\n") {
			t.Errorf("= %v\nwant it to say: %s", err, c.text)
		}
	}
}

// TestFounding walks through the beginning of a member: until it has a log, which it says itself,
// the directory counts as unfinished, and never again afterwards.
func TestFounding(t *testing.T) {
	d, mem := newDirectory()
	is := func(when string, want bool) {
		t.Helper()
		if got, err := d.Founding(); err != nil || got != want {
			t.Errorf("%s: Founding = %v, %v", when, got, err)
		}
	}
	is("nothing", false)
	if err := d.Create(testIdentity); err != nil {
		t.Fatal(err)
	}
	is("created", true)
	d.FS = mem.Clone(vfs.Survival{Seed: 1})
	is("created, after a power cut", true)
	for range 2 {
		if err := d.Founded(); err != nil {
			t.Fatal(err)
		}
		is("founded", false)
	}
	d.FS = d.FS.(*vfs.Mem).Clone(vfs.Survival{Seed: 1})
	is("founded, after a power cut", false)
	if got, err := d.Load(); err != nil || got != testIdentity {
		t.Errorf("Load = %+v, %v", got, err)
	}
}

func TestReadErrorIsNotAnEmptyDirectory(t *testing.T) {
	d, mem := newDirectory()
	if err := d.Create(testIdentity); err != nil {
		t.Fatal(err)
	}
	mem.SetFaults(vfs.Faults{FailRead: 1})
	var corrupt *CorruptError
	if _, err := d.Load(); !errors.As(err, &corrupt) || !errors.Is(err, vfs.ErrInjected) {
		t.Errorf("Load = %v", err)
	}
}

// TestCreateSurvivesACrashAnywhere stops the power at each changing operation and looks at
// what each kind of disk may hold afterwards: the whole identity, or an empty directory in
// which Create works.
func TestCreateSurvivesACrashAnywhere(t *testing.T) {
	var survivals []vfs.Survival
	for seed := range uint64(10) {
		survivals = append(survivals, vfs.Survival{Seed: seed + 1, Percent: 50})
	}
	survivals = append(survivals, vfs.Survival{Seed: 1}, vfs.Survival{Seed: 1, Percent: 100})
	for _, survival := range survivals {
		for stop := 1; ; stop++ {
			d, mem := newDirectory()
			mem.SetFaults(vfs.Faults{StopAt: stop})
			err := d.Create(testIdentity)
			after := Directory{FS: mem.Clone(survival), Path: testDir}
			got, loadErr := after.Load()
			if err == nil && loadErr != nil {
				t.Fatalf("survival %v: created, then lost: %v", survival, loadErr)
			}
			if errors.Is(loadErr, ErrNoIdentity) {
				if err := after.Create(testIdentity); err != nil {
					t.Errorf("survival %v, stop %d: Create after the crash: %v", survival, stop, err)
				}
			} else if loadErr != nil || got != testIdentity {
				t.Errorf("survival %v, stop %d: %+v, %v", survival, stop, got, loadErr)
			}
			if err == nil {
				if founding, err := after.Founding(); err != nil || !founding {
					t.Errorf("survival %v: created, and then Founding = %v, %v", survival, founding, err)
				}
				if stop < 7 {
					t.Errorf("only %d changing operations", stop-1)
				}
				break
			}
		}
	}
}

// TestCreateReportsEveryFailure fails each write and sync.
func TestCreateReportsEveryFailure(t *testing.T) {
	for _, f := range []vfs.Faults{{FailWrite: 1}, {FailWrite: 1, PartialBytes: 10}, {FailSync: 1}, {FailSync: 2}, {FailSync: 3}, {FailSync: 4}, {FailSync: 5}, {LimitBytes: 20}} {
		d, mem := newDirectory()
		mem.SetFaults(f)
		if err := d.Create(testIdentity); err == nil {
			t.Errorf("%+v: no error", f)
		}
	}
}

// FuzzIdentity: whatever is in the file, Load gives an error or exactly what encode wrote.
func FuzzIdentity(f *testing.F) {
	f.Add(testIdentity.encode())
	f.Add("okapi data directory\nformat 3\nmade-by 2.1.0\n")
	f.Fuzz(func(t *testing.T, text string) {
		d := Directory{Path: testDir}
		if id, err := d.decode(text); err == nil && id.encode() != text {
			t.Fatalf("%q loads as %+v", text, id)
		}
	})
}
