package crashfs

import (
	"errors"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"

	"github.com/rustmq/rustmq/wal"
)

var (
	// ErrCut is what every call gives from the power cut on, until [FS.Crash].
	ErrCut = errors.New("the power is cut")
	// ErrStale is what a handle gives that was opened before the last Crash or Kill.
	ErrStale = errors.New("the process that opened the file is dead")
)

// FS is a crashable file system. Make one with [New].
type FS struct {
	mu    sync.Mutex
	rand  *rand.Rand
	live  map[string]*inode
	disk  map[string]*inode // names that survive a crash
	dirs  map[string]*directory
	locks map[string]bool

	life  int   // counts crashes and kills: older handles are stale
	space int64 // negative: no bound

	calls     int
	reads     int
	cutAt     int // call; 0: none
	cut       bool
	fails     map[int]error // by call
	readFails map[int]error // by read
	hook      func(Call) error
	tracing   bool
	trace     []Call
}

var _ wal.FS = (*FS)(nil)

// inode is a file's bytes, whatever its names.
type inode struct {
	name    string // the last one, for messages
	live    []byte
	disk    []byte
	pending []change // of disk to live, in order
	bad     []Span   // cannot be read
}

// change is a write, or a new length.
type change struct {
	off    int64
	data   []byte
	size   int64
	resize bool
}

// directory has the changes of names that were not synced.
type directory struct{ pending []naming }

// naming gives name to a file, or takes it away (nil); from is the name that it had before.
type naming struct {
	name, from string
	file       *inode
}

// New makes an empty file system. The seed decides what crashes leave.
func New(seed uint64) *FS {
	return &FS{
		rand: rand.New(rand.NewPCG(seed, 0x6372617368)), live: map[string]*inode{}, disk: map[string]*inode{},
		dirs: map[string]*directory{"/": {}, ".": {}}, locks: map[string]bool{}, space: -1,
		fails: map[int]error{}, readFails: map[int]error{},
	}
}

// Clone is a copy as things are now, with nothing planned and its own seed. Handles stay with the original.
func (f *FS) Clone(seed uint64) *FS {
	f.mu.Lock()
	defer f.mu.Unlock()
	c := New(seed)
	c.space = f.space
	copies := map[*inode]*inode{nil: nil}
	dup := func(n *inode) *inode {
		if _, ok := copies[n]; !ok {
			// Bytes of pending changes are never written to, so they can be shared.
			copies[n] = &inode{name: n.name, live: slices.Clone(n.live), disk: slices.Clone(n.disk), pending: slices.Clone(n.pending), bad: slices.Clone(n.bad)}
		}
		return copies[n]
	}
	for name, n := range f.live {
		c.live[name] = dup(n)
	}
	for name, n := range f.disk {
		c.disk[name] = dup(n)
	}
	for name, d := range f.dirs {
		c.dirs[name] = &directory{}
		for _, op := range d.pending {
			op.file = dup(op.file)
			c.dirs[name].pending = append(c.dirs[name].pending, op)
		}
	}
	return c
}

// MkdirAll implements [wal.FS].
func (f *FS) MkdirAll(dir string) error {
	return f.do(Call{Op: OpMkdir, Path: dir}, func() error {
		for d := filepath.Clean(dir); f.dirs[d] == nil; d = filepath.Dir(d) {
			f.dirs[d] = &directory{}
		}
		return nil
	}, nil)
}

// Create implements [wal.FS].
func (f *FS) Create(path string) (wal.File, error) {
	path = filepath.Clean(path)
	var h *handle
	create := func() error {
		d, err := f.dir(path)
		if err != nil {
			return err
		}
		n := f.live[path]
		if n == nil {
			n = &inode{name: path}
			f.live[path] = n
			d.pending = append(d.pending, naming{name: path, file: n})
		} else {
			n.resize(0)
		}
		h = f.handle(n, true)
		return nil
	}
	if err := f.do(Call{Op: OpCreate, Path: path}, create, create); err != nil {
		return nil, err
	}
	return h, nil
}

// Open implements [wal.FS].
func (f *FS) Open(path string) (wal.File, error) { return f.open(path, true) }

// OpenRead implements [wal.FS].
func (f *FS) OpenRead(path string) (wal.File, error) { return f.open(path, false) }

func (f *FS) open(path string, write bool) (wal.File, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.cut {
		return nil, &os.PathError{Op: "open", Path: path, Err: ErrCut}
	}
	n := f.live[filepath.Clean(path)]
	if n == nil {
		return nil, &os.PathError{Op: "open", Path: path, Err: fs.ErrNotExist}
	}
	return f.handle(n, write), nil
}

func (f *FS) handle(n *inode, write bool) *handle {
	return &handle{fs: f, node: n, life: f.life, write: write}
}

// Remove implements [wal.FS].
func (f *FS) Remove(path string) error {
	path = filepath.Clean(path)
	remove := func() error {
		d, err := f.dir(path)
		if err != nil {
			return err
		}
		if f.live[path] == nil {
			return fs.ErrNotExist
		}
		delete(f.live, path)
		d.pending = append(d.pending, naming{name: path})
		return nil
	}
	return f.do(Call{Op: OpRemove, Path: path}, remove, remove)
}

// Rename implements [wal.FS].
func (f *FS) Rename(from, to string) error {
	from, to = filepath.Clean(from), filepath.Clean(to)
	rename := func() error {
		d, err := f.dir(to)
		if err != nil {
			return err
		}
		n := f.live[from]
		if n == nil {
			return fs.ErrNotExist
		}
		if filepath.Dir(from) != filepath.Dir(to) {
			return syscall.EXDEV // allowed by systems, not by this seam
		}
		delete(f.live, from)
		f.live[to], n.name = n, to
		d.pending = append(d.pending, naming{name: to, from: from, file: n})
		return nil
	}
	return f.do(Call{Op: OpRename, Path: from, To: to}, rename, rename)
}

// ReadDir implements [wal.FS].
func (f *FS) ReadDir(dir string) ([]string, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	dir = filepath.Clean(dir)
	if f.cut {
		return nil, &os.PathError{Op: "readdir", Path: dir, Err: ErrCut}
	}
	if f.dirs[dir] == nil {
		return nil, &os.PathError{Op: "readdir", Path: dir, Err: fs.ErrNotExist}
	}
	var names []string
	for path := range f.live {
		if filepath.Dir(path) == dir {
			names = append(names, filepath.Base(path))
		}
	}
	slices.Sort(names)
	return names, nil
}

// SyncDir implements [wal.FS].
func (f *FS) SyncDir(dir string) error {
	dir = filepath.Clean(dir)
	return f.do(Call{Op: OpSyncDir, Path: dir}, func() error {
		d := f.dirs[dir]
		if d == nil {
			return fs.ErrNotExist
		}
		f.settle(d, len(d.pending))
		return nil
	}, nil)
}

// settle makes the first n changes of names durable and forgets the others.
func (f *FS) settle(d *directory, n int) {
	for _, op := range d.pending[:n] {
		if op.from != "" {
			delete(f.disk, op.from)
		}
		if delete(f.disk, op.name); op.file != nil {
			f.disk[op.name] = op.file
		}
	}
	d.pending = nil
}

// Lock implements [wal.FS].
func (f *FS) Lock(path string) (io.Closer, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	switch {
	case f.cut:
		return nil, &os.PathError{Op: "lock", Path: path, Err: ErrCut}
	case f.locks[path]:
		return nil, &os.PathError{Op: "lock", Path: path, Err: wal.ErrLocked}
	}
	f.locks[path] = true
	return &lock{fs: f, path: path, life: f.life}, nil
}

type lock struct {
	fs   *FS
	path string
	life int
}

func (l *lock) Close() error {
	l.fs.mu.Lock()
	defer l.fs.mu.Unlock()
	if l.life == l.fs.life {
		delete(l.fs.locks, l.path)
	}
	return nil
}

func (f *FS) dir(path string) (*directory, error) {
	if d := f.dirs[filepath.Dir(path)]; d != nil {
		return d, nil
	}
	return nil, fs.ErrNotExist
}

// ReadFile returns the live bytes of a file, for a test to look at.
func (f *FS) ReadFile(path string) ([]byte, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	n := f.live[filepath.Clean(path)]
	if n == nil {
		return nil, &os.PathError{Op: "read", Path: path, Err: fs.ErrNotExist}
	}
	return slices.Clone(n.live), nil
}

// WriteFile makes a file with these bytes, durably and without counting as a
// call, and the directories that it needs.
func (f *FS) WriteFile(path string, data []byte) {
	f.mu.Lock()
	defer f.mu.Unlock()
	path = filepath.Clean(path)
	for d := filepath.Dir(path); f.dirs[d] == nil; d = filepath.Dir(d) {
		f.dirs[d] = &directory{}
	}
	n := &inode{name: path, live: slices.Clone(data), disk: slices.Clone(data)}
	f.live[path], f.disk[path] = n, n
}

// Files returns the paths of all files below a directory, sorted.
func (f *FS) Files(dir string) []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	prefix := strings.TrimSuffix(filepath.Clean(dir), "/") + "/"
	var paths []string
	for path := range f.live {
		if strings.HasPrefix(path, prefix) || dir == "." {
			paths = append(paths, path)
		}
	}
	slices.Sort(paths)
	return paths
}
