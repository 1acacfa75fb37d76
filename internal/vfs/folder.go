package vfs

import (
	"errors"
	"fmt"
	"io/fs"
	"path"
)

// MakeFolder makes a folder and its parents and makes their names durable, so that what is synced
// in the folder later cannot vanish with it.
func MakeFolder(fsys FS, name string) error {
	if _, err := fsys.Stat(name); err == nil {
		return nil
	} else if !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("make folder: %w", err)
	}
	parent := path.Dir(name)
	if parent != name {
		if err := MakeFolder(fsys, parent); err != nil {
			return err
		}
	}
	if err := fsys.MkdirAll(name); err != nil {
		return fmt.Errorf("make folder: %w", err)
	}
	if err := fsys.SyncDir(parent); err != nil {
		return fmt.Errorf("make folder %s durable: %w", name, err)
	}
	return nil
}
