package cluster

import (
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"
	"path"
	"slices"
	"strconv"
	"strings"

	"github.com/okapi-kv/okapi/internal/vfs"
)

const (
	// FormatNewest is the newest format of a data directory that this binary reads and the one
	// that it makes.
	FormatNewest = 1
	// IdentityFile is the name of the file that says whose a data directory is.
	IdentityFile = "okapi.identity"
	// LockFile is the name under which a running member locks its data directory. A directory
	// that holds nothing else counts as empty.
	LockFile = "okapi.lock"

	// foundingFile exists from before the identity does until the member has a log. Its absence
	// says that a log without content is a log that was lost.
	foundingFile = "okapi.founding"

	temporarySuffix  = ".tmp"
	identityTitle    = "okapi data directory"
	identityBytesMax = 4 << 10
)

// ErrNoIdentity says that a data directory does not exist, or is empty: a member may be made
// in it.
var ErrNoIdentity = errors.New("data directory is empty")

// Identity is what a data directory says about its owner.
//
// The file is text, one fact a line, so that a person can read it:
//
//	okapi data directory
//	format 1
//	made-by 0.1.0
//	cluster cdf818194e3a8c32
//	member 8e9e05c52164694d
//	directory 1f2e3d4c5b6a7988
//	name "n1"
//	crc32c de776f13
//
// The first three lines keep their meaning in every format. The checksum covers all lines
// above it.
type Identity struct {
	// Format is the format of the whole directory.
	Format int
	// MadeBy is the version of okapi that made the directory.
	MadeBy string
	// ClusterID and MemberID say whose it is.
	ClusterID, MemberID uint64
	// Directory tells this directory from any other that the member may once have had. Who creates one draws it at random;
	// never 0.
	Directory uint64
	// Name is the --name under which it was made. It may be another today: ids decide.
	Name string
}

// ForeignError says that a data directory belongs to another cluster or member.
type ForeignError struct {
	Path       string
	Have, Want Identity
}

// Error names both owners and what to do.
func (e *ForeignError) Error() string {
	if e.Have.ClusterID != e.Want.ClusterID {
		return fmt.Sprintf("data directory %s belongs to cluster %x, not to cluster %x: give this member its own --data-dir, or correct --initial-cluster, --initial-advertise-peer-urls and --initial-cluster-token",
			e.Path, e.Have.ClusterID, e.Want.ClusterID)
	}
	return fmt.Sprintf("data directory %s belongs to member %x (%q), not to member %x (%q) of the same cluster: give each member its own --data-dir",
		e.Path, e.Have.MemberID, e.Have.Name, e.Want.MemberID, e.Want.Name)
}

// NewerError says that a data directory was made by a version that this binary is too old for.
type NewerError struct {
	Path   string
	Format int
	MadeBy string
}

// Error names the version to use.
func (e *NewerError) Error() string {
	return fmt.Sprintf("data directory %s was made by a newer okapi (format %d, this binary reads up to %d): use okapi >= %s",
		e.Path, e.Format, FormatNewest, e.MadeBy)
}

// CorruptError says that the identity file, or one of the small files beside it, is damaged or cannot be read.
type CorruptError struct {
	// Path is that of the file.
	Path string
	// Offset is the byte from which on it cannot be trusted.
	Offset int64
	Reason error
}

// Error names file and offset and what is wrong with it.
func (e *CorruptError) Error() string {
	return fmt.Sprintf("%s cannot be trusted from offset %d on (%v): replace this member by a new one (okapi member replace); a server that is alone needs a backup", e.Path, e.Offset, e.Reason)
}

// Unwrap gives the reason.
func (e *CorruptError) Unwrap() error { return e.Reason }

// OccupiedError says that a directory holds something that okapi did not put there.
type OccupiedError struct {
	Path string
	// Found is one name in it.
	Found string
	// Identified says that there is an identity file: a member lives there already.
	Identified bool
}

// Error says what was found and what to do.
func (e *OccupiedError) Error() string {
	switch {
	case e.Identified:
		return fmt.Sprintf("data directory %s already holds a member", e.Path)
	case e.Found == "snap" || e.Found == "wal":
		return fmt.Sprintf("data directory %s holds %q and has lost its %s: restore the whole directory, or choose an empty --data-dir", e.Path, e.Found, IdentityFile)
	case e.Found == "member":
		return fmt.Sprintf("data directory %s is not okapi's: it holds %q, as etcd's does; choose an empty --data-dir", e.Path, e.Found)
	case e.Found == "version-2":
		return fmt.Sprintf("data directory %s is not okapi's: it holds %q, as ZooKeeper's does; choose an empty --data-dir", e.Path, e.Found)
	}
	return fmt.Sprintf("data directory %s is not empty and not okapi's: it holds %q; choose an empty --data-dir", e.Path, e.Found)
}

var (
	errChecksum = errors.New("its checksum does not match")
	errLines    = errors.New("its lines are not as expected")
	errIdentity = errors.New("identity is incomplete")
)

// adviceFolder ends what is said about a folder that cannot be used.
const adviceFolder = "set --data-dir to a folder that this user can read and write"

// Directory is a data directory. Its methods do not lock it: the caller holds LockFile.
type Directory struct {
	// FS is where it is.
	FS vfs.FS
	// Path is its name there.
	Path string
}

// Load reads whose the directory is, and changes nothing. The errors are ErrNoIdentity,
// *OccupiedError, *NewerError, *CorruptError, and those of the file system.
func (d Directory) Load() (Identity, error) {
	names, err := d.FS.ReadDir(d.Path)
	if errors.Is(err, fs.ErrNotExist) {
		return Identity{}, ErrNoIdentity
	}
	if err != nil {
		return Identity{}, fmt.Errorf("read data directory: %w: %s", err, adviceFolder)
	}
	if !slices.Contains(names, IdentityFile) {
		if i := slices.IndexFunc(names, foreignName); i >= 0 {
			return Identity{}, &OccupiedError{Path: d.Path, Found: names[i]}
		}
		return Identity{}, ErrNoIdentity
	}
	name := path.Join(d.Path, IdentityFile)
	text, err := d.read(name, identityBytesMax)
	if errors.Is(err, fs.ErrPermission) {
		return Identity{}, fmt.Errorf("read data directory: %w: %s", err, adviceFolder)
	}
	if err != nil {
		return Identity{}, &CorruptError{Path: name, Reason: err}
	}
	return d.decode(text)
}

// foreignName leaves out what may lie in a directory that was never used: the lock of the
// member that is about to use it, the rest of a creation that a crash cut short, and what mkfs
// puts into the root of a volume.
func foreignName(name string) bool {
	name = strings.TrimSuffix(name, temporarySuffix)
	return name != LockFile && name != foundingFile && name != IdentityFile && name != startsFile && name != recallFile && name != "lost+found"
}

func (d Directory) read(name string, limit int64) (text string, err error) {
	f, err := d.FS.Open(name)
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	size, err := f.Size()
	if err != nil {
		return "", err
	}
	if size > limit {
		return "", fmt.Errorf("it has %d bytes, at most %d are expected", size, limit)
	}
	b := make([]byte, size)
	if n, err := f.ReadAt(b, 0); n < len(b) {
		return "", fmt.Errorf("read at %d: %w", n, err)
	} else if err != nil && !errors.Is(err, io.EOF) {
		return "", err
	}
	return string(b), nil
}

// Verify says whether a directory that holds have may be used by want: cluster and member
// must agree.
func (d Directory) Verify(have, want Identity) error {
	if have.ClusterID != want.ClusterID || have.MemberID != want.MemberID {
		return &ForeignError{Path: d.Path, Have: have, Want: want}
	}
	return nil
}

// Create makes the directory, if need be, and writes the identity, durably and in one step:
// after a crash the directory has it or is still empty. Until Founded is called it counts as
// unfinished, see Founding. Format is set to FormatNewest. A
// directory that is not empty is refused as by Load, one that has an identity with
// *OccupiedError.
func (d Directory) Create(id Identity) error {
	if !validID(id.ClusterID) || !validID(id.MemberID) || id.Directory == 0 || strings.ContainsAny(id.MadeBy, " \n") || id.MadeBy == "" {
		return fmt.Errorf("%w: cluster %x, member %x, made by %q", errIdentity, id.ClusterID, id.MemberID, id.MadeBy)
	}
	id.Format = FormatNewest
	text := id.encode()
	if len(text) > identityBytesMax {
		return fmt.Errorf("%w: the name has %d bytes", errIdentity, len(id.Name))
	}
	switch _, err := d.Load(); {
	case err == nil:
		return &OccupiedError{Path: d.Path, Found: IdentityFile, Identified: true}
	case !errors.Is(err, ErrNoIdentity):
		return err
	}
	if err := vfs.MakeFolder(d.FS, path.Clean(d.Path)); err != nil {
		return fmt.Errorf("make data directory: %w: %s", err, adviceFolder)
	}
	if err := d.write(path.Join(d.Path, foundingFile), ""); err != nil {
		return fmt.Errorf("write data directory: %w: %s", err, adviceFolder)
	}
	if err := d.FS.SyncDir(d.Path); err != nil {
		return fmt.Errorf("sync data directory: %w", err)
	}
	return d.replace(IdentityFile, text)
}

// replace writes a file of the directory, durably and in one step.
func (d Directory) replace(name, text string) error {
	temporary := path.Join(d.Path, name+temporarySuffix)
	if err := d.write(temporary, text); err != nil {
		return fmt.Errorf("write %s: %w", name, err)
	}
	if err := d.FS.Rename(temporary, path.Join(d.Path, name)); err != nil {
		return fmt.Errorf("rename %s: %w", name, err)
	}
	if err := d.FS.SyncDir(d.Path); err != nil {
		return fmt.Errorf("sync data directory: %w", err)
	}
	return nil
}

// Founding tells whether the member of this directory is still being made: Create was called and
// Founded was not. Only then may its log be begun; a member that has lost its log must not come
// back without it, because the others count on its votes and entries.
func (d Directory) Founding() (bool, error) {
	_, err := d.FS.Stat(path.Join(d.Path, foundingFile))
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("look for %s: %w", foundingFile, err)
	}
	return true, nil
}

// Founded says that the log exists durably; it is called before the member first says anything to
// anybody. It may be called again.
func (d Directory) Founded() error {
	if err := d.FS.Remove(path.Join(d.Path, foundingFile)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("remove %s: %w", foundingFile, err)
	}
	if err := d.FS.SyncDir(d.Path); err != nil {
		return fmt.Errorf("sync data directory: %w", err)
	}
	return nil
}

func (d Directory) write(name, text string) (err error) {
	f, err := d.FS.Create(name)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	if _, err := f.WriteAt([]byte(text), 0); err != nil {
		return err
	}
	return f.Sync()
}

func (id *Identity) encode() string {
	text := fmt.Sprintf("%s\nformat %d\nmade-by %s\ncluster %016x\nmember %016x\ndirectory %016x\nname %s\n",
		identityTitle, id.Format, id.MadeBy, id.ClusterID, id.MemberID, id.Directory, strconv.Quote(id.Name))
	return fmt.Sprintf("%scrc32c %08x\n", text, checksum(text))
}

func checksum(text string) uint32 {
	return crc32.Checksum([]byte(text), crc32.MakeTable(crc32.Castagnoli))
}

// decode judges the format before it believes that it knows the rest.
func (d Directory) decode(text string) (Identity, error) {
	name := path.Join(d.Path, IdentityFile)
	lines := strings.Split(text, "\n")
	if len(lines) < 3 || lines[0] != identityTitle {
		return Identity{}, &CorruptError{Path: name, Reason: errLines}
	}
	var id Identity
	format, err := strconv.ParseUint(strings.TrimPrefix(lines[1], "format "), 10, 31)
	if err != nil || format == 0 {
		return Identity{}, &CorruptError{Path: name, Reason: fmt.Errorf("%w: %q", errLines, lines[1])}
	}
	id.Format, id.MadeBy = int(format), strings.TrimPrefix(lines[2], "made-by ")
	if id.Format > FormatNewest {
		return Identity{}, &NewerError{Path: d.Path, Format: id.Format, MadeBy: id.MadeBy}
	}
	if err := id.decodeFirst(text, lines); err != nil {
		return Identity{}, &CorruptError{Path: name, Reason: err}
	}
	return id, nil
}

// decodeFirst reads the lines of format 1. What it accepts is exactly what encode writes.
func (id *Identity) decodeFirst(text string, lines []string) error {
	if len(lines) != 9 {
		return errLines
	}
	if covered := strings.TrimSuffix(text, lines[7]+"\n"); lines[7] != fmt.Sprintf("crc32c %08x", checksum(covered)) {
		return errChecksum
	}
	var errs [4]error
	id.ClusterID, errs[0] = strconv.ParseUint(strings.TrimPrefix(lines[3], "cluster "), 16, 64)
	id.MemberID, errs[1] = strconv.ParseUint(strings.TrimPrefix(lines[4], "member "), 16, 64)
	id.Directory, errs[2] = strconv.ParseUint(strings.TrimPrefix(lines[5], "directory "), 16, 64)
	id.Name, errs[3] = strconv.Unquote(strings.TrimPrefix(lines[6], "name "))
	if errors.Join(errs[:]...) != nil {
		return errLines
	}
	if id.encode() != text || !validID(id.ClusterID) || !validID(id.MemberID) {
		return errLines
	}
	return nil
}
