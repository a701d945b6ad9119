package filestore

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"gocloud.dev/blob"
	"gocloud.dev/blob/driver"
	"gocloud.dev/gcerrors"
)

const (
	// tmpDir holds objects that are being written. No key's path begins with a
	// dot.
	tmpDir = ".tmp"

	// DefaultGrace is how old a file in .tmp is before Open takes it for a
	// crashed writer's: longer than any upload takes, since another process may
	// be writing here.
	DefaultGrace = time.Hour

	// maxKnownDirs bounds the directories that are remembered as durable; past
	// it they are forgotten and synced again. One is about 100 bytes.
	maxKnownDirs = 1 << 16
)

// Options change how a store works. The zero value is good.
type Options struct {
	// Grace replaces DefaultGrace.
	Grace time.Duration
	// SkipMD5 leaves out the MD5 of objects whose writer does not give one:
	// computing it is the larger part of the cost of a write.
	SkipMD5 bool
	// ReadBack has the store never vouch: see [Store.Vouches].
	ReadBack bool
	// Untouched opens the directory as it is: it must be there, and what crashed writers left in it stays.
	Untouched bool
	// FS replaces the operating system's file system below the directory.
	FS FS
}

// Store is a directory of objects: a [driver.Bucket]. A *blob.Bucket on one
// gives it out by As(**Store).
type Store struct {
	fs      FS
	skipMD5 bool
	doubted atomic.Bool // it does not vouch

	mu    sync.Mutex
	known map[string]struct{} // directories whose names are durable all the way up
}

var _ driver.Bucket = (*Store)(nil)

// OpenBucket opens the object store in dir, which is made when missing.
func OpenBucket(dir string, opts Options) (*blob.Bucket, error) {
	s, err := Open(dir, opts)
	if err != nil {
		return nil, err
	}
	return blob.NewBucket(s), nil
}

// Open is OpenBucket without the portable type around the driver.
func Open(dir string, opts Options) (*Store, error) {
	if opts.Grace == 0 {
		opts.Grace = DefaultGrace
	}
	if opts.FS == nil {
		var err error
		if opts.FS, err = openOS(dir, !opts.Untouched); err != nil {
			return nil, fmt.Errorf("open the object directory %s: %w", dir, err)
		}
	}
	s := &Store{fs: opts.FS, skipMD5: opts.SkipMD5, known: make(map[string]struct{})}
	s.doubted.Store(opts.ReadBack)
	if opts.Untouched {
		return s, nil
	}
	if err := s.sweep(opts.Grace); err != nil {
		return nil, errors.Join(fmt.Errorf("clean the object directory %s: %w", dir, err), opts.FS.Close())
	}
	return s, nil
}

// Vouches says whether an object needs no look when its writer's Close has returned nil: a device of this machine said that it has all of it, which is as much as a log has that was
// synced. Where one file was written to something else, a network's file system or that of a program, it never does again; nor when [Options].ReadBack says so.
func (s *Store) Vouches() bool { return !s.doubted.Load() }

// sweep removes what crashed writers left. A store that may only be read has
// none that matter.
func (s *Store) sweep(grace time.Duration) error {
	entries, err := s.fs.ReadDir(tmpDir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	for _, e := range entries {
		name := path.Join(tmpDir, e.Name)
		info, err := s.fs.Stat(name)
		if err == nil && !info.IsDir && time.Since(info.ModTime) >= grace {
			err = s.fs.Remove(name)
		}
		if err != nil && !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, fs.ErrPermission) && !errors.Is(err, syscall.EROFS) {
			return err
		}
	}
	return nil
}

// ensureDir makes a directory and all above it, durably: also when they exist,
// unless this store has seen to it before (their maker may not have synced yet).
func (s *Store) ensureDir(dir string) error {
	if dir == "." || s.isKnown(dir) {
		return nil
	}
	parent := path.Dir(dir)
	if err := s.ensureDir(parent); err != nil {
		return err
	}
	if err := s.fs.Mkdir(dir); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	if err := s.fs.SyncDir(parent); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.known) >= maxKnownDirs {
		clear(s.known)
	}
	s.known[dir] = struct{}{}
	return nil
}

func (s *Store) isKnown(dir string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	_, ok := s.known[dir]
	return ok
}

// forgetDirs is for when somebody removed a directory behind our back.
func (s *Store) forgetDirs() {
	s.mu.Lock()
	defer s.mu.Unlock()
	clear(s.known)
}

// errKind carries a gcerrors code.
type errKind struct {
	code gcerrors.ErrorCode
	msg  string
}

func (e *errKind) Error() string { return e.msg }

func notFound(key string) error {
	return &errKind{gcerrors.NotFound, fmt.Sprintf("no object %q", key)}
}

// ErrorCode implements [driver.Bucket].
func (s *Store) ErrorCode(err error) gcerrors.ErrorCode {
	if kind, ok := errors.AsType[*errKind](err); ok {
		return kind.code
	}
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return gcerrors.NotFound
	case errors.Is(err, fs.ErrPermission):
		return gcerrors.PermissionDenied
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT):
		return gcerrors.ResourceExhausted
	}
	return gcerrors.Unknown
}

// As implements [driver.Bucket]: it gives out the *Store.
func (s *Store) As(i any) bool {
	p, ok := i.(**Store)
	if ok {
		*p = s
	}
	return ok
}

// ErrorAs implements [driver.Bucket]: it gives out a *fs.PathError.
func (s *Store) ErrorAs(err error, i any) bool {
	p, ok := i.(**fs.PathError)
	return ok && errors.As(err, p)
}

// SignedURL implements [driver.Bucket]: there are none.
func (s *Store) SignedURL(context.Context, string, *driver.SignedURLOptions) (string, error) {
	return "", &errKind{gcerrors.Unimplemented, "a directory has no signed URLs"}
}

// Delete implements [driver.Bucket]. The object is durably gone on return.
func (s *Store) Delete(_ context.Context, key string, opts *driver.DeleteOptions) error {
	name, ok := pathOf(key)
	if !ok {
		return notFound(key)
	}
	if opts.BeforeDelete != nil {
		if err := opts.BeforeDelete(asNothing); err != nil {
			return err
		}
	}
	info, err := s.fs.Stat(name)
	if isAbsent(err) || err == nil && info.IsDir {
		return notFound(key)
	}
	if err != nil {
		return err
	}
	if err := s.fs.Remove(name); err != nil {
		return err
	}
	return s.fs.SyncDir(path.Dir(name))
}

// Close implements [driver.Bucket].
func (s *Store) Close() error { return s.fs.Close() }

func asNothing(any) bool { return false }

// isAbsent says whether an error means that no such file exists, and nothing
// else.
func isAbsent(err error) bool {
	return errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENOTDIR)
}

// dirKey is the key prefix that a directory stands for.
func dirKey(parent, component string) string {
	return parent + component + "/"
}

// hasEither says whether one string begins with the other.
func hasEither(a, b string) bool { return strings.HasPrefix(a, b) || strings.HasPrefix(b, a) }
