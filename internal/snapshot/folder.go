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

// List returns the snapshots of a folder, oldest first, and removes unfinished ones. A folder that does
// not exist holds none.
func List(fsys vfs.FS, dir string) ([]Info, error) {
	names, err := fsys.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("list snapshots: %w", err)
	}
	var all []Info
	for _, n := range names {
		if strings.HasSuffix(n, suffix+tempSuffix) {
			if err := fsys.Remove(path.Join(dir, n)); err != nil {
				return nil, fmt.Errorf("remove unfinished snapshot: %w", err)
			}
			continue
		}
		var i Info
		if _, err := fmt.Sscanf(n, "%016x-%016x"+suffix, &i.Index, &i.Term); err != nil {
			continue // not ours
		}
		i.Name = path.Join(dir, n)
		all = append(all, i)
	}
	slices.SortFunc(all, func(a, b Info) int { return strings.Compare(a.Name, b.Name) })
	return all, nil
}

// Receive stores the bytes of a snapshot that another member streams, checks all of them, and makes
// the file durable under its name. It returns *CorruptError if they are not a whole snapshot of index and
// term; nothing is left of them then.
func Receive(fsys vfs.FS, dir string, index, term uint64, body io.Reader) error {
	if err := vfs.MakeFolder(fsys, dir); err != nil {
		return fmt.Errorf("create snapshot folder: %w", err)
	}
	name := fileName(dir, index, term)
	file, err := fsys.Create(name + tempSuffix)
	if err != nil {
		return fmt.Errorf("create snapshot: %w", err)
	}
	w := &Writer{fs: fsys, dir: dir, name: name, file: file}
	if err := w.receive(body, index, term); err != nil {
		w.Abort()
		return err
	}
	return w.publish()
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
	r, err := Open(w.fs, w.name+tempSuffix)
	if err != nil {
		return err
	}
	err = r.Verify()
	if m := r.Meta(); err == nil && (m.Index != index || m.Term != term) {
		err = r.corrupt(0, fmt.Sprintf("it is of entry %d, announced was %d", m.Index, index))
	}
	if cerr := r.Close(); err == nil {
		err = cerr
	}
	return err
}

// Purge removes all but the newest keep snapshots. The caller knows that those kept read through.
func Purge(fsys vfs.FS, dir string, keep int) error {
	all, err := List(fsys, dir)
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
	name := fileName(dir, index, term)
	if _, err := fsys.Stat(name); err != nil {
		return "", fmt.Errorf("%w of entry %d in %s: %w", ErrNone, index, dir, err)
	}
	return name, nil
}
