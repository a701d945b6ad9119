package crashfs

import (
	"errors"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
)

// Span is a part of a write: bytes [From, To) of it.
type Span struct{ From, To int }

// Fate decides what a power cut leaves of what was not synced.
type Fate struct {
	// Write returns which parts of an unsynced write are on the disk.
	Write func(path string, off int64, data []byte) []Span
	// Resize says whether an unsynced allocation or truncation is.
	Resize func(path string, size int64) bool
	// Names returns how many of n unsynced changes of a directory's names are:
	// the first ones, since file systems keep their order.
	Names func(dir string, n int) int
}

// Keep is the kindest fate: everything is on the disk.
func Keep() Fate {
	return Fate{
		Write:  func(_ string, _ int64, data []byte) []Span { return []Span{{0, len(data)}} },
		Resize: func(string, int64) bool { return true },
		Names:  func(_ string, n int) int { return n },
	}
}

// Lose is the plainest fate: nothing that was not synced is on the disk.
func Lose() Fate {
	return Fate{
		Write:  func(string, int64, []byte) []Span { return nil },
		Resize: func(string, int64) bool { return false },
		Names:  func(string, int) int { return 0 },
	}
}

// random is the fate by the seed.
func (f *FS) random() Fate {
	return Fate{
		Write: func(_ string, _ int64, data []byte) []Span {
			n := len(data)
			at := f.rand.IntN(n + 1)
			switch f.rand.IntN(5) {
			case 0:
				return nil
			case 1:
				return []Span{{0, n}}
			case 2:
				return []Span{{0, at}}
			case 3:
				return []Span{{at, n}}
			}
			var kept []Span
			for i := 0; i < n; i += 512 {
				if f.rand.IntN(2) == 0 {
					kept = append(kept, Span{i, min(i+512, n)})
				}
			}
			return kept
		},
		Resize: func(string, int64) bool { return f.rand.IntN(2) == 0 },
		Names:  func(_ string, n int) int { return f.rand.IntN(n + 1) },
	}
}

// Crash is a power cut, now or at the call that [FS.CutAt] named, and the
// restart after it: the disk is what is left, by chance. Old handles and locks
// are dead, and nothing planned is left over, except the space.
func (f *FS) Crash() { f.crash(f.random()) }

// CrashWith is Crash with a fate of the caller's making. It is called with the
// file system locked.
func (f *FS) CrashWith(fate Fate) { f.crash(fate) }

func (f *FS) crash(fate Fate) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, dir := range slices.Sorted(maps.Keys(f.dirs)) {
		if d := f.dirs[dir]; len(d.pending) > 0 {
			f.settle(d, fate.Names(dir, len(d.pending)))
		}
	}
	f.live = map[string]*inode{}
	for _, path := range slices.Sorted(maps.Keys(f.disk)) {
		n := f.disk[path]
		n.name = path
		n.crash(fate)
		n.live = slices.Clone(n.disk)
		f.live[path] = n
	}
	f.restart()
}

// crash makes the file's durable bytes what the fate leaves of them.
func (n *inode) crash(fate Fate) {
	for _, c := range n.pending {
		if c.resize {
			if fate.Resize(n.name, c.size) {
				n.disk = resize(slices.Clone(n.disk), c.size)
			}
			continue
		}
		for _, s := range fate.Write(n.name, c.off, c.data) {
			if s.From < s.To {
				n.disk = writeAt(n.disk, c.data[s.From:s.To], c.off+int64(s.From))
			}
		}
	}
	n.pending = nil
}

// Kill ends the process and not the machine: what was written is still there,
// durable or not. Old handles and locks are dead.
func (f *FS) Kill() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.restart()
}

func (f *FS) restart() {
	f.life++
	f.locks = map[string]bool{}
	f.cut, f.cutAt, f.hook = false, 0, nil
	f.fails, f.readFails = map[int]error{}, map[int]error{}
}

// Unreadable makes reads of bytes [from, to) of a file fail with EIO from now
// on, as a bad sector does. Writing does not cure it.
func (f *FS) Unreadable(path string, from, to int64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if n := f.live[filepath.Clean(path)]; n != nil {
		n.bad = append(n.bad, Span{int(from), int(to)})
	}
}

// Flip turns over one bit of a file, on the disk and in the cache.
func (f *FS) Flip(path string, bit int64) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	n := f.live[filepath.Clean(path)]
	if n == nil || bit < 0 || bit/8 >= int64(len(n.live)) {
		return &os.PathError{Op: "flip", Path: path, Err: errors.Join(fs.ErrNotExist)}
	}
	n.live[bit/8] ^= 1 << (bit % 8)
	if bit/8 < int64(len(n.disk)) {
		n.disk[bit/8] ^= 1 << (bit % 8)
	}
	return nil
}
