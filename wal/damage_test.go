package wal_test

import (
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/rustmq/rustmq/mq"
	"github.com/rustmq/rustmq/wal"
	"github.com/rustmq/rustmq/wal/crashfs"
)

// spoil makes a copy of a log with one of its files changed.
func spoil(t *testing.T, base *crashfs.FS, path string, change func([]byte) []byte) *crashfs.FS {
	t.Helper()
	b, err := base.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	fs := base.Clone(1)
	fs.WriteFile(path, change(b))
	return fs
}

// TestLostSectorLosesNothingSilently zeroes each sector of a log in turn, of
// disks with small and with large ones: what is not suspect then has all that it had.
func TestLostSectorLosesNothingSilently(t *testing.T) {
	for _, sector := range []int64{512, 4096} {
		t.Run(fmt.Sprint(sector), func(t *testing.T) { loseEachSector(t, sector) })
	}
}

func loseEachSector(t *testing.T, sector int64) {
	base := bigLog(t)
	want := originals(t, base)
	var paths []string
	ends := map[string]int64{}
	for _, f := range frames(t, base) {
		if ends[f.path] == 0 {
			paths = append(paths, f.path)
		}
		ends[f.path] = f.end
	}
	suspects, blamed := 0, 0
	for _, path := range paths {
		for at := int64(0); at < ends[path]; at += sector {
			fs := spoil(t, base, path, func(b []byte) []byte {
				clear(b[at:min(at+sector, int64(len(b)))])
				return b
			})
			l, r, err := wal.Open(options(fs), nil)
			if err != nil {
				t.Fatalf("%s, sector at %d: %v", path, at, err)
			}
			what := fmt.Sprintf("%s, sector at %d", filepath.Base(path), at)
			neverServed(t, what, l, r, want)
			for s := range want {
				if _, _, ok := l.Bounds(s); !ok && len(want[s]) > 0 && want[s][0].Type == wal.EntryData && !r.Doubt {
					t.Errorf("%s: stream %x is gone, and nobody doubts it", what, s)
				}
			}
			suspects += len(r.Suspect)
			blamed += len(r.Damage)
			if err := l.Close(); err != nil {
				t.Fatal(err)
			}
			if t.Failed() {
				return
			}
		}
	}
	if suspects == 0 || blamed == 0 {
		t.Errorf("%d suspects, %d damages", suspects, blamed)
	}
}

// TestCopyLostWithTheFreeBehindItWasNotReleased spoils a copy and the free frame behind it at once, as one lost sector does: what the copy held
// is missing at its stream's front then, and nobody knows any more that it was not released.
func TestCopyLostWithTheFreeBehindItWasNotReleased(t *testing.T) {
	spoilt := 0
	for range 200 {
		base := bigLog(t)
		list := frames(t, base)
		for i := 1; i < len(list); i++ {
			held, free := list[i-1], list[i]
			if held.kind != "data+copy" || free.kind != "free" || held.path != free.path {
				continue
			}
			spoilt++
			fs := spoil(t, base, free.path, func(b []byte) []byte {
				clear(b[held.end-16 : free.pos+16])
				return b
			})
			l, r, err := wal.Open(options(fs), nil)
			if err != nil {
				t.Fatal(err)
			}
			neverServed(t, fmt.Sprintf("%s, copy at %d", filepath.Base(free.path), held.pos), l, r, originals(t, base))
			if err := l.Close(); err != nil {
				t.Fatal(err)
			}
		}
		if spoilt >= 5 {
			return
		}
	}
	t.Errorf("%d copies with a free frame behind them, want some", spoilt)
}

func TestMissingSegmentIsFound(t *testing.T) {
	base := bigLog(t)
	want := originals(t, base)
	paths := base.Files(dir)
	used := map[string]bool{}
	for _, f := range frames(t, base) {
		used[f.path] = true
	}
	for i, path := range paths {
		if !used[path] || i+1 < len(paths) && !used[paths[i+1]] {
			continue // the last one in use: then the log is a shorter one
		}
		fs := base.Clone(1)
		if err := fs.Remove(path); err != nil {
			t.Fatal(err)
		}
		l, r, err := wal.Open(options(fs), nil)
		if err != nil {
			t.Fatal(err)
		}
		neverServed(t, path, l, r, want)
		if len(r.Damage) == 0 {
			t.Errorf("%s is missing and nobody says so", path)
		}
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

func TestQuarantineIsOfOneStreamAndHeals(t *testing.T) {
	heal := map[string]func(l *wal.Log) wal.Entry{
		"reset":    func(*wal.Log) wal.Entry { return reset(1, 90) },
		"truncate": func(*wal.Log) wal.Entry { return truncate(1, 2) },
		"drop":     func(*wal.Log) wal.Entry { return wal.Entry{Stream: id(1), Type: wal.EntryDrop} },
		"release": func(l *wal.Log) wal.Entry {
			l.Release(id(1), 3)
			return state(1, "x")
		},
	}
	for name, how := range heal {
		t.Run(name, func(t *testing.T) {
			fs := crashfs.New(1)
			l := mustOpen(t, options(fs))
			for i := range uint64(5) {
				mustAdd(t, l, data(1, i, i+1, 100))
				mustAdd(t, l, data(2, i, i+1, 100))
			}
			if err := l.Close(); err != nil {
				t.Fatal(err)
			}
			list := slices.DeleteFunc(frames(t, fs), func(f frameAt) bool { return !strings.HasPrefix(f.stream, "00000001") })
			f := list[2]
			if err := fs.Flip(f.path, (f.end-1)*8); err != nil {
				t.Fatal(err)
			}
			l, r, err := wal.Open(options(fs), nil)
			if err != nil {
				t.Fatal(err)
			}
			defer l.Close()
			if !slices.Equal(r.Suspect, []wal.StreamID{id(1)}) {
				t.Fatalf("suspect %x", r.Suspect)
			}
			wantStream(t, l, 2, 0, 5)
			mustAdd(t, l, data(2, 5, 6, 100)) // others go on

			got, next, err := l.Read(id(1), 0, 1<<20, nil)
			if string(got) != string(append(body(1, 0, 100), body(1, 1, 100)...)) || next != 2 || err != nil {
				t.Errorf("before the damage: %q, %d, %v", got, next, err)
			}
			_, _, err = l.Read(id(1), 2, 1<<20, nil)
			place := fmt.Sprintf("%s at %d", f.path, f.pos)
			if !isCode(err, mq.Corrupt) || !strings.Contains(err.Error(), place) {
				t.Errorf("in the damage: %v, want %s", err, place)
			}
			if _, _, err = l.Read(id(1), 4, 1<<20, nil); !isCode(err, mq.Corrupt) {
				t.Errorf("behind the damage: %v", err)
			}
			if err := add(t, l, data(1, 5, 6, 10)).wait(t); !isCode(err, mq.PartitionQuarantined) {
				t.Errorf("append: %v", err)
			}
			mustAdd(t, l, how(l))
			if err := l.Quarantined(id(1)); err != nil {
				t.Errorf("not healed: %v", err)
			}
			_, end, _ := l.Bounds(id(1))
			mustAdd(t, l, data(1, end, end+1, 10))
		})
	}
}

func TestLostStateQuarantinesUntilThereIsANewOne(t *testing.T) {
	fs := crashfs.New(1)
	l := mustOpen(t, options(fs))
	mustAdd(t, l, state(1, "voted for 3"))
	mustAdd(t, l, data(1, 0, 1, 10))
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	list := frames(t, fs)
	f := list[slices.IndexFunc(list, func(f frameAt) bool { return f.kind == "state" })]
	if err := fs.Flip(f.path, (f.end-1)*8); err != nil {
		t.Fatal(err)
	}
	l, _, err := wal.Open(options(fs), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if l.Quarantined(id(1)) == nil {
		t.Error("nobody noticed that the state is lost")
	}
	mustAdd(t, l, state(1, "voted for 4"))
	if err := l.Quarantined(id(1)); err != nil {
		t.Error(err)
	}
	wantStream(t, l, 1, 0, 1)
}

func TestUnreadableSectorIsDamageBelowThePromiseAndAnErrorAboveIt(t *testing.T) {
	base := smallLog(t)
	reads := func() int {
		fs := base.Clone(1)
		if _, err := wal.Check(fs, dir); err != nil {
			t.Fatal(err)
		}
		return fs.Reads()
	}()
	refused := 0
	for k := 1; k <= reads; k++ {
		fs := base.Clone(1)
		fs.FailReadAt(k, syscall.EIO)
		l, r, err := wal.Open(options(fs), nil)
		if err != nil {
			refused++
			if !strings.Contains(err.Error(), ".wal") {
				t.Errorf("read %d: %v: which file?", k, err)
			}
			continue
		}
		if len(r.Damage) > 0 && r.Damage[0].Position != 0 { // one copy of the header will do
			t.Errorf("read %d failed once, and is taken for damage: %v", k, r.Damage)
		}
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if refused == 0 {
		t.Error("no failed read mattered")
	}

	// For good: below the promise it is damage to whose entry it was, and behind the end it is not known whether it is one.
	long := bigLog(t)
	list := frames(t, long)
	f := list[slices.IndexFunc(list, func(f frameAt) bool { return f.kind == "data" && f.pos > 16<<10 })]
	fs := long.Clone(1)
	fs.Unreadable(f.path, f.pos+64, f.end)
	l, r, err := wal.Open(options(fs), nil)
	if err != nil || len(r.Damage) == 0 {
		t.Fatalf("a sector that cannot be read: %v, %v", r, err)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	list = frames(t, base)
	fs = base.Clone(1)
	end := list[len(list)-1].end
	fs.Unreadable(list[0].path, end, end+100)
	if _, _, err := wal.Open(options(fs), nil); !errors.Is(err, syscall.EIO) {
		t.Errorf("the end of the log cannot be read, and it is opened: %v", err)
	}
}

// A disk that cannot read something for a moment, and then can: what it hid at the log's end, and no promise covers yet, is not taken for torn.
func TestReadThatFailsForAWhileCutsNothing(t *testing.T) {
	o := options(crashfs.New(1))
	o.PromiseDelay = time.Hour
	l := mustOpen(t, o)
	const entries = 6
	for i := range uint64(entries) {
		mustAdd(t, l, data(1, i, i+1, 3000))
	}
	base := o.FS.(*crashfs.FS).Clone(1)
	blocks := wal.MinSegmentBytes / 4096
	refused := 0
	for k := 1; k <= 8; k++ { // one of them is the recovery's read of the segment, and it tries again block by block
		for again := 1; again <= blocks; again++ {
			fs := base.Clone(1)
			fs.FailReadAt(k, syscall.EIO)
			fs.FailReadAt(k+again, syscall.EIO)
			l, r, err := wal.Open(options(fs), nil)
			if err != nil {
				refused++
				continue
			}
			// An entry that a later one promised is damaged, and said to be.
			if _, end, _ := l.Bounds(id(1)); end != entries && len(r.Damage) == 0 {
				t.Errorf("reads %d and %d failed, and %d of %d entries are left", k, k+again, end, entries)
			}
			if err := l.Close(); err != nil {
				t.Fatal(err)
			}
		}
	}
	if refused == 0 {
		t.Error("no failed read mattered")
	}
}

func TestSegmentOfAnotherLogIsRefused(t *testing.T) {
	base := bigLog(t)
	other := crashfs.New(2)
	o := options(other)
	o.Rand = seeded(2)
	l := mustOpen(t, o)
	mustAdd(t, l, data(1, 0, 1, 10))
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	foreign, err := other.ReadFile(filepath.Join(dir, "0000000000000001.wal"))
	if err != nil {
		t.Fatal(err)
	}
	fs := base.Clone(1)
	fs.WriteFile(filepath.Join(dir, "0000000000000001.wal"), foreign)
	if _, _, err := wal.Open(options(fs), nil); !isCode(err, mq.WrongDataDir) {
		t.Errorf("a segment of another log: %v", err)
	}
}
