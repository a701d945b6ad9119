package filestore

import (
	"io"
	"time"
)

// FS is the file system as the driver uses it. Names are relative to the
// store's directory, separated by slashes; "." is the directory itself. Errors
// are recognised by errors.Is with those of io/fs. Tests put a crashable one
// here.
type FS interface {
	// Open opens a file or directory for reading.
	Open(name string) (File, error)
	// Create makes a new file for writing; fs.ErrExist when there is one.
	Create(name string) (File, error)
	// Mkdir makes a directory; fs.ErrExist when the name is taken.
	Mkdir(name string) error
	// Link gives a file a second name; fs.ErrExist when that is taken. It is
	// atomic among all processes.
	Link(oldname, newname string) error
	// Rename replaces newname atomically.
	Rename(oldname, newname string) error
	// Remove removes a file's name.
	Remove(name string) error
	// SyncDir makes the names in a directory durable.
	SyncDir(name string) error
	// ReadDir lists a directory in any order.
	ReadDir(name string) ([]Entry, error)
	// Stat describes a name without following a symbolic link.
	Stat(name string) (Info, error)
	Close() error
}

// File is an open file.
type File interface {
	io.Writer
	io.ReaderAt
	io.Closer
	// Sync makes content and attribute durable, not the name.
	Sync() error
	Stat() (Info, error)
	// SetAttr stores the one attribute that the driver has; errors.ErrUnsupported
	// when the file system keeps none.
	SetAttr(value []byte) error
	// Attr is the attribute, nil when there is none.
	Attr() ([]byte, error)
	// Local says whether the file is on a device of this machine, which answers for what it was told to sync. One that is not may be another machine's, or some program's.
	Local() (bool, error)
}

// Entry is a name in a directory.
type Entry struct {
	Name  string
	IsDir bool
}

// Info describes a file.
type Info struct {
	Size    int64
	ModTime time.Time
	IsDir   bool
}
