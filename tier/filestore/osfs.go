package filestore

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/rustmq/rustmq/directio"
)

// attrName is the extended attribute that holds an object's attributes.
const attrName = "user.rustmq.blob"

// osFS is the operating system's file system below one directory, which no
// name can leave.
type osFS struct{ root *os.Root }

// openOS opens dir, and may make it durably when it is missing.
func openOS(dir string, mayMake bool) (FS, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return nil, err
	}
	if mayMake {
		if err := makeDir(dir); err != nil {
			return nil, err
		}
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, err
	}
	return osFS{root}, nil
}

// makeDir makes an absolute dir and what is missing above it. The parent is
// synced even when dir exists: whoever made it may have crashed before that.
func makeDir(dir string) error {
	parent := filepath.Dir(dir)
	if parent == dir {
		return nil
	}
	if _, err := os.Stat(dir); errors.Is(err, fs.ErrNotExist) {
		if err := makeDir(parent); err != nil {
			return err
		}
		if err := os.Mkdir(dir, 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
			return err
		}
	} else if err != nil {
		return err
	}
	err := syncPath(parent)
	if errors.Is(err, fs.ErrPermission) {
		return nil // not ours to sync: dir was made by somebody who could
	}
	return err
}

func syncPath(dir string) error {
	f, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}

func (s osFS) Open(name string) (File, error) {
	f, err := s.root.Open(name)
	if err != nil {
		return nil, err
	}
	return s.file(f, name, os.O_RDONLY), nil
}

func (s osFS) Create(name string) (File, error) {
	f, err := s.root.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return nil, err
	}
	return s.file(f, name, os.O_WRONLY), nil
}

func (s osFS) file(f *os.File, name string, mode int) File {
	return osFile{&directFile{File: f, open: func() (*os.File, error) { return s.root.OpenFile(name, mode|directio.Flag, 0) }}}
}

func (s osFS) Mkdir(name string) error              { return s.root.Mkdir(name, 0o755) }
func (s osFS) Rename(oldname, newname string) error { return s.root.Rename(oldname, newname) }
func (s osFS) Remove(name string) error             { return s.root.Remove(name) }
func (s osFS) Close() error                         { return s.root.Close() }

func (s osFS) Link(oldname, newname string) error {
	err := s.root.Link(oldname, newname)
	if errors.Is(err, errors.ErrUnsupported) || errors.Is(err, fs.ErrPermission) {
		return fmt.Errorf("create %s exclusively: the file system must support hard links: %w", newname, err)
	}
	return err
}

func (s osFS) SyncDir(name string) error {
	f, err := s.root.Open(name)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}

func (s osFS) ReadDir(name string) ([]Entry, error) {
	f, err := s.root.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	list, err := f.ReadDir(-1)
	if err != nil {
		return nil, err
	}
	entries := make([]Entry, 0, len(list))
	for _, e := range list {
		if e.IsDir() || e.Type().IsRegular() {
			entries = append(entries, Entry{Name: e.Name(), IsDir: e.IsDir()})
		}
	}
	return entries, nil
}

func (s osFS) Stat(name string) (Info, error) {
	st, err := s.root.Lstat(name)
	return infoOf(st, err)
}

func infoOf(st fs.FileInfo, err error) (Info, error) {
	if err != nil {
		return Info{}, err
	}
	return Info{Size: st.Size(), ModTime: st.ModTime(), IsDir: st.IsDir()}, nil
}

// osFile adds the attribute to a file.
type osFile struct{ *directFile }

func (f osFile) Stat() (Info, error) {
	st, err := f.File.Stat()
	return infoOf(st, err)
}
