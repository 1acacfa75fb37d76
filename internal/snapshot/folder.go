package snapshot

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"slices"
	"strings"

	"github.com/okapi-kv/okapi/internal/vfs"
)

// List returns the snapshots of a folder, oldest first, and removes unfinished ones, so it is for the start, when
// none is being written or received. A folder that does not exist holds none.
func List(fsys vfs.FS, dir string) ([]Info, error) {
	all, unfinished, err := scan(fsys, dir)
	if err != nil {
		return nil, err
	}
	for _, name := range unfinished {
		if err := fsys.Remove(name); err != nil {
			return nil, fmt.Errorf("remove unfinished snapshot: %w", err)
		}
	}
	return all, nil
}

// scan reads a folder and changes nothing.
func scan(fsys vfs.FS, dir string) (all []Info, unfinished []string, err error) {
	names, err := fsys.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil, nil
	}
	if err != nil {
		return nil, nil, fmt.Errorf("list snapshots: %w", err)
	}
	for _, n := range names {
		name := path.Join(dir, n)
		if strings.HasSuffix(n, tempSuffix) && strings.Contains(n, suffix) {
			unfinished = append(unfinished, name)
			continue
		}
		if i, ok := parseName(name); ok {
			all = append(all, i)
		}
	}
	slices.SortFunc(all, func(a, b Info) int { return strings.Compare(a.Name, b.Name) })
	return all, unfinished, nil
}

// parseName tells what the file of a name is a snapshot of, by its name. Whoever keeps a copy beside a snapshot must not have it taken for
// one.
func parseName(name string) (i Info, ok bool) {
	dir, last := path.Split(name)
	if _, err := fmt.Sscanf(last, "%x-%x", &i.Index, &i.Term); err != nil || path.Clean(name) != Name(dir, i.Index, i.Term) {
		return Info{}, false
	}
	i.Name = name
	return i, true
}

// Receive stores the bytes of a snapshot that another member streams, checks all of them, and makes
// the file durable under its name. It returns *CorruptError if they are not a whole snapshot of index and
// term; nothing is left of them then. One stream of an entry may be received at a time.
func Receive(fsys vfs.FS, dir string, index, term uint64, body io.Reader) error {
	if err := vfs.MakeFolder(fsys, dir); err != nil {
		return fmt.Errorf("create snapshot folder: %w", err)
	}
	name := Name(dir, index, term)
	file, err := fsys.Create(name + receiveTemp)
	if err != nil {
		return fmt.Errorf("create snapshot: %w", err)
	}
	w := &Writer{fs: fsys, dir: dir, name: name, temp: name + receiveTemp, file: file}
	if err := w.receive(body, index, term); err != nil {
		w.Abort()
		return err
	}
	if err := w.publish(); err != nil {
		w.Abort()
		return err
	}
	return nil
}

func (w *Writer) receive(body io.Reader, index, term uint64) error {
	b := make([]byte, 256<<10)
	for {
		n, err := io.ReadFull(body, b)
		if n > 0 {
			if err := w.put(b[:n]); err != nil {
				return err
			}
		}
		if err == io.EOF || err == io.ErrUnexpectedEOF {
			break
		}
		if err != nil {
			return fmt.Errorf("receive snapshot: %w", err)
		}
	}
	r, err := Open(w.fs, w.temp)
	if err != nil {
		return err
	}
	err = r.Verify()
	if m := r.Meta(); err == nil && (m.Index != index || m.Term != term) {
		err = r.corrupt(0, fmt.Sprintf("it is of entry %d of term %d, announced was %d of term %d", m.Index, m.Term, index, term))
	}
	if cerr := r.Close(); err == nil {
		err = cerr
	}
	return err
}

// Purge removes all but the newest keep snapshots. The caller knows that those kept read through.
func Purge(fsys vfs.FS, dir string, keep int) error {
	all, _, err := scan(fsys, dir) // another may be being received: its temporary file stays
	if err != nil || len(all) <= keep {
		return err
	}
	for _, i := range all[:len(all)-keep] {
		if err := fsys.Remove(i.Name); err != nil {
			return fmt.Errorf("remove old snapshot: %w", err)
		}
	}
	if err := fsys.SyncDir(dir); err != nil {
		return fmt.Errorf("sync snapshot folder: %w", err)
	}
	return nil
}

// Find returns the name of the snapshot at index and term; ErrNone if there is none.
func Find(fsys vfs.FS, dir string, index, term uint64) (string, error) {
	name := Name(dir, index, term)
	if _, err := fsys.Stat(name); err != nil {
		return "", fmt.Errorf("%w of entry %d in %s: %w", ErrNone, index, dir, err)
	}
	return name, nil
}
