package crashfs

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
)

// Op is a kind of call that changes something.
type Op string

// The kinds of calls.
const (
	OpMkdir    Op = "mkdir"
	OpCreate   Op = "create"
	OpRemove   Op = "remove"
	OpRename   Op = "rename"
	OpSyncDir  Op = "syncdir"
	OpWrite    Op = "write"
	OpAllocate Op = "allocate"
	OpSync     Op = "sync"
)

// Call is one call that changes something.
type Call struct {
	N      int // from 1
	Op     Op
	Path   string
	To     string // of a rename
	Offset int64  // of a write
	Bytes  int64  // of a write; of an allocation, the file's length
	Err    error  // what it gave
}

// String is the call without its number, and with the last parts of its
// paths only: a line of a golden script.
func (c Call) String() string {
	s := string(c.Op) + " " + filepath.Base(c.Path)
	switch c.Op {
	case OpRename:
		s += " " + filepath.Base(c.To)
	case OpWrite:
		s += fmt.Sprintf(" %d+%d", c.Offset, c.Bytes)
	case OpAllocate:
		s += fmt.Sprintf(" %d", c.Bytes)
	}
	if c.Err != nil {
		s += " = " + c.Err.Error()
	}
	return s
}

// do makes a call: counted, seen by the hook, and failed if it is to be.
// failing is what it still does when it fails or when the power is cut in it;
// nil is nothing.
func (f *FS) do(c Call, call, failing func() error) error {
	f.mu.Lock()
	if f.cut {
		f.mu.Unlock()
		return &os.PathError{Op: string(c.Op), Path: c.Path, Err: ErrCut}
	}
	f.calls++
	c.N = f.calls
	hook := f.hook
	f.mu.Unlock()

	var err error
	if hook != nil {
		err = hook(c)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.cut {
		return &os.PathError{Op: string(c.Op), Path: c.Path, Err: ErrCut}
	}
	if err == nil {
		err = f.fails[c.N]
	}
	if f.cutAt != 0 && c.N >= f.cutAt {
		f.cut, err = true, ErrCut
	}
	switch {
	case err == nil:
		err = call()
	case failing != nil && (f.cut || c.Op == OpWrite || c.Op == OpSync):
		_ = failing() // the error is the planned one
	}
	if err != nil {
		err = &os.PathError{Op: string(c.Op), Path: c.Path, Err: err}
	}
	c.Err = err
	if f.tracing {
		f.trace = append(f.trace, c)
	}
	return err
}

// Calls is how many calls were made since New. Reads are counted apart.
func (f *FS) Calls() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.calls
}

// Reads is how many reads of files were made since New.
func (f *FS) Reads() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.reads
}

// Trace is all calls since [FS.StartTrace], in order.
func (f *FS) Trace() []Call {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.trace)
}

// StartTrace begins a new trace.
func (f *FS) StartTrace() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.trace, f.tracing = nil, true
}

// CutAt cuts the power in the k-th call from now: whatever it was to change is
// as if it had been going on, and it and all calls after it fail with [ErrCut],
// until [FS.Crash].
func (f *FS) CutAt(k int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.cutAt = f.calls + k
}

// Cut says whether the power is cut.
func (f *FS) Cut() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.cut
}

// FailAt makes the k-th call from now fail with an error (syscall.EIO, say).
// A write has then written a part, and a sync has lost what it did not write.
func (f *FS) FailAt(k int, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.fails[f.calls+k] = err
}

// FailReadAt makes the k-th read of a file from now fail.
func (f *FS) FailReadAt(k int, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.readFails[f.reads+k] = err
}

// Hook is called before each call, without a lock, and may make it fail. Nil
// takes it away. It must not make calls on this file system itself; Clone it.
func (f *FS) Hook(hook func(Call) error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.hook = hook
}

// SetSpace bounds the lengths of all files together: what would go beyond
// fails with ENOSPC. Negative is no bound.
func (f *FS) SetSpace(bytes int64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.space = bytes
}

// Used is the lengths of all files together, in bytes.
func (f *FS) Used() int64 {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.used()
}

func (f *FS) used() (n int64) {
	for _, file := range f.live {
		n += int64(len(file.live))
	}
	return n
}

func (f *FS) room(grow int64) bool { return f.space < 0 || f.used()+grow <= f.space }
