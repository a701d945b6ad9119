package wal

import "io"

// FS is the part of a file system that the log needs: the seam at which tests put a disk that fails (package crashfs).
// Paths are slash or OS paths as given in Options.Dir; names in ReadDir are without the directory.
type FS interface {
	// MkdirAll makes the directory and its parents, durably.
	MkdirAll(dir string) error
	// Create makes a new empty file for reading and writing, or empties an old one. Its directory entry is durable after SyncDir.
	Create(path string) (File, error)
	// Open opens an existing file for reading and writing.
	Open(path string) (File, error)
	// OpenRead opens an existing file for reading only.
	OpenRead(path string) (File, error)
	Remove(path string) error
	// Rename moves a file within its directory, replacing the target. Durable after SyncDir.
	Rename(from, to string) error
	// ReadDir returns the names of the files in the directory, sorted.
	ReadDir(dir string) ([]string, error)
	// SyncDir makes the directory's entries durable.
	SyncDir(dir string) error
	// Lock takes an exclusive lock on the file, making it if it is not there, and fails at once when another holder has it. Close gives it back, and so does the end of the process.
	Lock(path string) (io.Closer, error)
}

// File is an open file. ReadAt and WriteAt are as in io.
type File interface {
	io.ReaderAt
	io.WriterAt
	io.Closer
	// Allocate makes the file size bytes long with disk space behind all of it; what is new reads as zeros.
	Allocate(size int64) error
	// Sync makes the file's bytes and length durable (fdatasync). After an error nothing may be assumed of what was written, and it must not be tried again.
	Sync() error
	Size() (int64, error)
}

// OS returns the operating system's file system.
func OS() FS { panic("not yet") }
