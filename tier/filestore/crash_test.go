package filestore

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"math/rand/v2"
	"path"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"gocloud.dev/blob"
	"gocloud.dev/gcerrors"
)

// crashFS is a file system in memory that keeps for each file and directory
// what is durable beside what can be seen.
type crashFS struct {
	mu      sync.Mutex
	root    *crashDir
	trace   []string
	calls   int
	foreign bool  // files are on no device of this machine
	untold  error // whether they are cannot be told
	cutAt   int   // the call that fails because the power went; all after it fail too
}

type crashDir struct{ seen, durable map[string]any } // of *crashDir and *crashNode

type crashNode struct{ data, attr, durableData, durableAttr []byte }

var errPower = errors.New("the power is gone")

func newCrashDir() *crashDir { return &crashDir{map[string]any{}, map[string]any{}} }

func newCrashFS() *crashFS { return &crashFS{root: newCrashDir(), cutAt: -1} }

// call notes a call that changes something.
func (c *crashFS) call(format string, args ...any) error {
	if c.cutAt >= 0 && c.calls >= c.cutAt {
		return errPower
	}
	c.calls++
	c.trace = append(c.trace, fmt.Sprintf(format, args...))
	return nil
}

// find is the directory that holds name, and what it holds under it.
func (c *crashFS) find(name string) (dir *crashDir, base string, got any) {
	if name == "." {
		return nil, "", c.root
	}
	dir, base = c.root, path.Base(name)
	for _, part := range strings.Split(path.Dir(name), "/") {
		if part == "." {
			continue
		}
		next, ok := dir.seen[part].(*crashDir)
		if !ok {
			return nil, "", nil
		}
		dir = next
	}
	return dir, base, dir.seen[base]
}

func (c *crashFS) Open(name string) (File, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch _, _, got := c.find(name); got := got.(type) {
	case *crashNode:
		return &crashFile{c, name, got}, nil
	case *crashDir:
		return &crashFile{c, name, nil}, nil
	}
	return nil, fs.ErrNotExist
}

func (c *crashFS) Create(name string) (File, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	n := &crashNode{}
	if err := c.enter("create", name, n); err != nil {
		return nil, err
	}
	return &crashFile{c, name, n}, nil
}

func (c *crashFS) Mkdir(name string) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.enter("mkdir", name, newCrashDir())
}

// enter puts something under a free name.
func (c *crashFS) enter(what, name string, thing any) error {
	dir, base, got := c.find(name)
	switch {
	case got != nil:
		return fs.ErrExist
	case dir == nil:
		return fs.ErrNotExist
	}
	if err := c.call("%s %s", what, name); err != nil {
		return err
	}
	dir.seen[base] = thing
	return nil
}

func (c *crashFS) Link(oldname, newname string) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	_, _, got := c.find(oldname)
	return c.enter("link "+oldname+" to", newname, got)
}

func (c *crashFS) Rename(oldname, newname string) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	from, oldbase, got := c.find(oldname)
	to, newbase, _ := c.find(newname)
	if to == nil {
		return fs.ErrNotExist
	}
	if err := c.call("rename %s to %s", oldname, newname); err != nil {
		return err
	}
	delete(from.seen, oldbase)
	to.seen[newbase] = got
	return nil
}

func (c *crashFS) Remove(name string) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	dir, base, got := c.find(name)
	if got == nil {
		return fs.ErrNotExist
	}
	if err := c.call("remove %s", name); err != nil {
		return err
	}
	delete(dir.seen, base)
	return nil
}

func (c *crashFS) SyncDir(name string) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	_, _, got := c.find(name)
	if err := c.call("sync directory %s", name); err != nil {
		return err
	}
	dir := got.(*crashDir)
	dir.durable = maps.Clone(dir.seen)
	return nil
}

func (c *crashFS) ReadDir(name string) (entries []Entry, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	_, _, got := c.find(name)
	dir, ok := got.(*crashDir)
	if !ok {
		return nil, fs.ErrNotExist
	}
	for base, thing := range dir.seen {
		_, isDir := thing.(*crashDir)
		entries = append(entries, Entry{base, isDir})
	}
	return entries, nil
}

func (c *crashFS) Stat(name string) (Info, error) {
	f, err := c.Open(name)
	if err != nil {
		return Info{}, err
	}
	return f.Stat()
}

func (c *crashFS) Close() error { return nil }

// crash loses what is not durable: all of it, none of it, or as rng says.
func (c *crashFS) crash(keep func() bool) {
	c.calls, c.cutAt, c.trace = 0, -1, nil
	seen := map[any]bool{}
	var settle func(d *crashDir)
	settle = func(d *crashDir) {
		after := maps.Clone(d.durable)
		names := slices.Sorted(maps.Keys(d.seen))
		for name := range d.durable {
			names = append(names, name)
		}
		for _, name := range names {
			if d.seen[name] != d.durable[name] && keep() {
				if after[name] = d.seen[name]; d.seen[name] == nil {
					delete(after, name)
				}
			}
		}
		d.seen, d.durable = after, maps.Clone(after)
		for _, thing := range after {
			if seen[thing] {
				continue
			}
			seen[thing] = true
			switch thing := thing.(type) {
			case *crashDir:
				settle(thing)
			case *crashNode:
				if !bytes.Equal(thing.data, thing.durableData) && keep() {
					thing.durableData = thing.data[:len(thing.data)/2] // torn
				}
				thing.data, thing.attr = thing.durableData, thing.durableAttr
			}
		}
	}
	settle(c.root)
}

type crashFile struct {
	fs   *crashFS
	name string
	node *crashNode // nil: a directory
}

func (f *crashFile) Write(p []byte) (int, error) {
	f.fs.mu.Lock()
	defer f.fs.mu.Unlock()
	if err := f.fs.call("write %d to %s", len(p), f.name); err != nil {
		return 0, err
	}
	f.node.data = append(f.node.data, p...)
	return len(p), nil
}

func (f *crashFile) ReadAt(p []byte, off int64) (int, error) {
	f.fs.mu.Lock()
	defer f.fs.mu.Unlock()
	return bytes.NewReader(f.node.data).ReadAt(p, off)
}

func (f *crashFile) Sync() error {
	f.fs.mu.Lock()
	defer f.fs.mu.Unlock()
	if err := f.fs.call("sync %s", f.name); err != nil {
		return err
	}
	f.node.durableData, f.node.durableAttr = bytes.Clone(f.node.data), bytes.Clone(f.node.attr)
	return nil
}

func (f *crashFile) SetAttr(value []byte) error {
	f.fs.mu.Lock()
	defer f.fs.mu.Unlock()
	if err := f.fs.call("set the attribute of %s", f.name); err != nil {
		return err
	}
	f.node.attr = bytes.Clone(value)
	return nil
}

func (f *crashFile) Attr() ([]byte, error) { return f.node.attr, nil }
func (f *crashFile) Local() (bool, error)  { return !f.fs.foreign, f.fs.untold }
func (f *crashFile) Close() error          { return nil }

func (f *crashFile) Stat() (Info, error) {
	if f.node == nil {
		return Info{IsDir: true}, nil
	}
	return Info{Size: int64(len(f.node.data)), ModTime: time.Now()}, nil
}

// TestWriteSyncsInThisOrder pins the calls of a first and a second write: a
// lost sync shows as a difference.
func TestWriteSyncsInThisOrder(t *testing.T) {
	c := newCrashFS()
	b := openTest(t, "", Options{FS: c})
	for _, key := range []string{"a/b/1", "a/b/2"} {
		if err := put(b, key, []byte("data"), true); err != nil {
			t.Fatal(err)
		}
	}
	if err := put(b, "a/b/2", []byte("new data"), false); err != nil {
		t.Fatal(err)
	}
	if err := b.Delete(t.Context(), "a/b/1"); err != nil {
		t.Fatal(err)
	}
	var got []string
	names := map[string]string{}
	for _, line := range c.trace {
		words := strings.Fields(line)
		for i, w := range words {
			if tmp, ok := strings.CutPrefix(w, tmpDir+"/"); ok {
				if names[tmp] == "" {
					names[tmp] = fmt.Sprintf("TMP%d", len(names)+1)
				}
				words[i] = names[tmp]
			}
		}
		got = append(got, strings.Join(words, " "))
	}
	want := `mkdir .tmp
create TMP1
write 4 to TMP1
set the attribute of TMP1
sync TMP1
mkdir a
sync directory .
mkdir a/b
sync directory a
link TMP1 to a/b/1
sync directory a/b
remove TMP1
create TMP2
write 4 to TMP2
set the attribute of TMP2
sync TMP2
link TMP2 to a/b/2
sync directory a/b
remove TMP2
create TMP3
write 8 to TMP3
set the attribute of TMP3
sync TMP3
rename TMP3 to a/b/2
sync directory a/b
remove a/b/1
sync directory a/b`
	if joined := strings.Join(got, "\n"); joined != want {
		t.Errorf("calls:\n%s\nwant:\n%s", joined, want)
	}
}

// TestPowerCutAtEveryCall cuts the power at each call of a run and looks at
// what a new start finds: all that was acknowledged, and nothing half.
func TestPowerCutAtEveryCall(t *testing.T) {
	modes := map[string]func(seed uint64) func() bool{
		"all that is not synced is lost": func(uint64) func() bool { return func() bool { return false } },
		"all names survive, data torn":   func(uint64) func() bool { return func() bool { return true } },
		"any of it survives": func(seed uint64) func() bool {
			rng := rand.New(rand.NewPCG(seed, 1))
			return func() bool { return rng.IntN(2) == 0 }
		},
	}
	for name, mode := range modes {
		t.Run(name, func(t *testing.T) {
			for cut := 0; ; cut++ {
				seeds := uint64(1)
				if strings.HasPrefix(name, "any") {
					seeds = 20
				}
				var done bool
				for seed := range seeds {
					done = powerCut(t, cut, mode(seed))
				}
				if done {
					return
				}
			}
		})
	}
}

// powerCut says whether the run ended before the cut.
func powerCut(t *testing.T, cut int, keep func() bool) bool {
	c := newCrashFS()
	c.cutAt = cut
	acked, gone, sent := map[string][]byte{}, map[string]bool{}, map[string][][]byte{}
	b := openTest(t, "", Options{FS: c})
	step := func(key, data string, ifNotExist bool) {
		sent[key] = append(sent[key], []byte(data))
		if put(b, key, []byte(data), ifNotExist) == nil {
			acked[key] = []byte(data)
		}
	}
	step("x/1", "first in x", true)
	step("x/2", "second in x", true)
	// Another store on the directory knows nothing of what is durable.
	b = openTest(t, "", Options{FS: c})
	step("x/3", "third in x", true)
	step("x/y/1", "deep", false)
	if acked["x/2"] != nil {
		gone["x/2"] = true // from the call on
		if b.Delete(t.Context(), "x/2") == nil {
			delete(acked, "x/2")
		}
	}
	done := c.calls < cut

	c.crash(keep)
	b = openTest(t, "", Options{FS: c})
	for key, data := range acked {
		if gone[key] {
			continue
		}
		if got, err := b.ReadAll(t.Context(), key); err != nil || !bytes.Equal(got, data) {
			t.Errorf("cut at call %d: acknowledged %s reads %q, %v", cut, key, got, err)
		}
	}
	if _, ok := acked["x/2"]; !ok && gone["x/2"] {
		if exists, err := b.Exists(t.Context(), "x/2"); exists || err != nil {
			t.Errorf("cut at call %d: deleted x/2 is back (%v)", cut, err)
		}
	}
	list := b.List(&blob.ListOptions{})
	for {
		o, err := list.Next(t.Context())
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatalf("cut at call %d: list: %v", cut, err)
		}
		got, err := b.ReadAll(t.Context(), o.Key)
		if err != nil || !slices.ContainsFunc(sent[o.Key], func(d []byte) bool { return bytes.Equal(d, got) }) {
			t.Errorf("cut at call %d: %s reads %q, %v, which nobody wrote", cut, o.Key, got, err)
		}
	}
	for i := range 2 {
		key := fmt.Sprintf("x/after/%d", i)
		if err := put(b, key, []byte("x"), true); err != nil && gcerrors.Code(err) != gcerrors.FailedPrecondition {
			t.Errorf("cut at call %d: the store does not go on: %v", cut, err)
		}
	}
	return done
}
