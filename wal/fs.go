package wal

import (
	"errors"
	"io"

	"github.com/rustmq/rustmq/directio"
)

// FS is what the log needs of a file system, and the seam at which tests put a
// disk that fails: package crashfs. Errors are as of package os, so that
// errors.Is finds fs.ErrNotExist, syscall.ENOSPC and the like.
type FS interface {
	// MkdirAll makes the directory and its parents, durably.
	MkdirAll(dir string) error
	// Create makes an empty file for reading and writing; an old one is
	// emptied. Its name is durable after SyncDir.
	Create(path string) (File, error)
	// Open opens an existing file for reading and writing.
	Open(path string) (File, error)
	// OpenRead opens an existing file for reading.
	OpenRead(path string) (File, error)
	// Remove removes a file. Durable after SyncDir.
	Remove(path string) error
	// Rename moves a file within its directory, replacing what had the name.
	// Durable after SyncDir.
	Rename(from, to string) error
	// ReadDir returns the names of the directory's files, sorted, without the
	// directory and without subdirectories.
	ReadDir(dir string) ([]string, error)
	// SyncDir makes the directory's entries durable.
	SyncDir(dir string) error
	// Lock takes an exclusive lock by way of a file, made if it is not there.
	// Another holder makes it fail at once with [ErrLocked]. It is given back
	// by Close or by the end of the process.
	Lock(path string) (io.Closer, error)
}

// File is an open file.
type File interface {
	io.ReaderAt
	// ReadPast is ReadAt for what will not be read again soon: past the page
	// cache where p, at and the file system allow it.
	ReadPast(p []byte, at int64) (int, error)
	// ReadEach is ReadPast of several pieces together, each as far as that succeeds.
	// It is false where they have to be read one by one: nothing was read. The queue is the caller's alone.
	ReadEach(q *directio.Queue, pieces []directio.Piece) bool
	io.WriterAt
	io.Closer
	// Allocate makes the file size bytes long, with room on the disk for all
	// of it. What is new reads as zeros.
	Allocate(size int64) error
	// Sync makes the file's bytes and length durable. After an error nothing
	// is known of what had been written, and trying again proves nothing.
	Sync() error
	// Size is the file's length in bytes.
	Size() (int64, error)
}

// ErrLocked is what FS.Lock fails with when another process holds the lock.
var ErrLocked = errors.New("locked by another process")

// OS returns the operating system's file system.
func OS() FS { return osFS{} }
