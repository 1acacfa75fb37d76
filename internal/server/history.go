package server

import (
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"

	"github.com/okapi-kv/okapi/internal/cluster"
)

// The folders of a data directory.
const (
	logFolder      = "wal"
	snapshotFolder = "snap"
)

// requireHistory refuses the directory of a member that has had a log and snapshots, and has lost
// all of either. Such a member must not begin anew under its id: it would have forgotten votes and
// entries that the others count on. A directory that was never finished has nothing to lose.
func requireHistory(d cluster.Directory) error {
	if founding, err := d.Founding(); err != nil || founding {
		return err
	}
	for _, part := range []struct{ folder, suffix, what string }{
		{logFolder, ".wal", "log"}, {snapshotFolder, ".snap", "snapshots"},
	} {
		folder := path.Join(d.Path, part.folder)
		names, err := d.FS.ReadDir(folder)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("read data directory: %w: let this user read and write all of it", err)
		}
		if !slices.ContainsFunc(names, func(name string) bool { return strings.HasSuffix(name, part.suffix) }) {
			return fmt.Errorf("data directory %s has lost its %s (no file in %s): restore the whole directory, or replace this member under a new id",
				d.Path, part.what, folder)
		}
	}
	return nil
}
