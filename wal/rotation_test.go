package wal_test

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rustmq/rustmq/wal"
	"github.com/rustmq/rustmq/wal/crashfs"
)

var update = flag.Bool("update", false, "write the golden files")

// golden compares text with a file in testdata.
func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("%s differs; got:\n%s", path, got)
	}
}

// TestRotationCallsTheFileSystemInThisOrder pins the system calls of a log's
// life: a sync that goes missing, of a file or of the directory, is a diff.
func TestRotationCallsTheFileSystemInThisOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fs := crashfs.New(1)
		fs.StartTrace()
		var script strings.Builder
		// The writer and the keeper work at the same time when a segment begins and
		// another is prepared: what is done to the prepared file is shown apart.
		chapter := func(title string) {
			synctest.Wait()
			fmt.Fprintf(&script, "# %s\n", title)
			preparing := false
			var apart []string
			for _, c := range fs.Trace() {
				switch {
				case strings.HasSuffix(c.Path, ".tmp"):
					preparing = c.Op != crashfs.OpRename
					apart = append(apart, c.String())
					continue
				case c.Op == crashfs.OpSyncDir && !preparing && len(apart) > 0 && !strings.HasPrefix(apart[len(apart)-1], "syncdir"):
					apart = append(apart, c.String())
					continue
				}
				fmt.Fprintln(&script, c)
			}
			for _, line := range apart {
				fmt.Fprintln(&script, "  "+line)
			}
			fs.StartTrace()
		}
		l, _, err := wal.Open(options(fs), nil)
		if err != nil {
			t.Fatal(err)
		}
		chapter("open: the first segment is prepared under another name")
		step := func(e wal.Entry) {
			mustAdd(t, l, e)
			synctest.Wait()
		}
		step(data(2, 0, 1, 100))
		chapter("the first entry begins the segment: header synced alone, then head and checkpoint, then the entry; another one is prepared")
		step(data(1, 0, 1, 10_000))
		step(data(1, 1, 2, 10_000))
		chapter("two entries: each one write, one sync")
		time.Sleep(time.Second)
		chapter("nothing more comes: a promise")
		step(data(1, 2, 3, 10_000))
		chapter("the segment is full: its seal is synced before the next one's head is written; another one is prepared")
		step(data(1, 3, 4, 10_000))
		step(data(1, 4, 5, 10_000))
		chapter("rotation again")
		l.Release(id(1), 3)
		chapter("all but a straggler is released from the oldest segment: it is copied and synced; then it is written and synced that the segment is free; then the file gets a new name")
		l.Release(id(1), 5)
		chapter("nothing is left in the oldest segment: it is removed, for enough are prepared")
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
		chapter("close: a promise")
		golden(t, "rotation.golden", script.String())
	})
}

// TestSegmentBytesAreThese pins the format: a change of it is a change of this
// file, and of the version in the segment's header.
func TestSegmentBytesAreThese(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fs := smallLog(t)
		path := filepath.Join(dir, "0000000000000001.wal") // whether the next one is prepared already is up to the scheduler
		b, err := fs.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		var text strings.Builder
		if err := dumpTo(fs, path, &text); err != nil {
			t.Fatal(err)
		}
		// From end to end, lines of zeros left out.
		for at := 0; at < len(b); at += 32 {
			if row := b[at : at+32]; strings.Trim(string(row), "\x00") != "" {
				fmt.Fprintf(&text, "%6d  %x\n", at, row)
			}
		}
		golden(t, "segment.golden", text.String())
	})
}

func TestIdleLogDoesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fs := crashfs.New(1)
		l := mustOpen(t, options(fs))
		mustAdd(t, l, data(1, 0, 1, 10))
		time.Sleep(time.Minute)
		before := fs.Calls()
		time.Sleep(time.Hour)
		if n := fs.Calls() - before; n != 0 {
			t.Errorf("%d calls in an idle hour", n)
		}
		if s := l.Stats(); s.PromisesTotal != 1 {
			t.Errorf("%d promises", s.PromisesTotal)
		}
	})
}

// TestPromiseWaitsForTheQueueToRunDry: a producer that waits for each of its
// records pays for one sync each.
func TestPromiseWaitsForTheQueueToRunDry(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fs := crashfs.New(1)
		o := options(fs)
		o.PromiseDelay = 5 * time.Millisecond
		l := mustOpen(t, o)
		for i := range uint64(20) {
			mustAdd(t, l, data(1, i, i+1, 10))
			time.Sleep(time.Millisecond)
		}
		if s := l.Stats(); s.PromisesTotal != 0 {
			t.Errorf("%d promises between the records", s.PromisesTotal)
		}
		time.Sleep(time.Second)
		if s := l.Stats(); s.PromisesTotal != 1 {
			t.Errorf("%d promises behind them", s.PromisesTotal)
		}
	})
}

// TestRotInTheLastGroupIsNotTakenForATornWrite is rule 2 of the design.
func TestRotInTheLastGroupIsNotTakenForATornWrite(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fs := crashfs.New(1)
		l := mustOpen(t, options(fs))
		mustAdd(t, l, data(1, 0, 1, 100))
		mustAdd(t, l, data(1, 1, 2, 100))
		time.Sleep(time.Second) // idle: the promise is out
		fs.Crash()
		_ = l.Close()
		list := frames(t, fs)
		last := list[len(list)-3]
		if last.kind != "data" || list[len(list)-1].kind != "promise" {
			t.Fatalf("%+v", list)
		}
		if err := fs.Flip(last.path, (last.pos+70)*8); err != nil {
			t.Fatal(err)
		}
		r, err := wal.Check(fs, dir)
		if err != nil || len(r.Damage) != 1 || len(r.Suspect) != 1 {
			t.Errorf("%+v, %v", r, err)
		}
	})
}

// TestLostBlockAtTheEndIsNotTakenForATornWrite: no loss of one block takes the
// last entries and all that vouches for them.
func TestLostBlockAtTheEndIsNotTakenForATornWrite(t *testing.T) {
	const block = 4096
	for size := 100; size < 2*block; size += 500 {
		synctest.Test(t, func(t *testing.T) {
			fs := crashfs.New(1)
			l := mustOpen(t, options(fs))
			mustAdd(t, l, data(1, 0, 1, 100))
			mustAdd(t, l, data(1, 1, 2, size))
			time.Sleep(time.Second) // idle: the promise is out
			fs.Crash()
			_ = l.Close()
			list := frames(t, fs)
			last := list[len(list)-3]
			if last.kind != "data" || list[len(list)-1].kind != "promise" {
				t.Fatalf("%+v", list)
			}
			for at := last.pos &^ (block - 1); at < last.end; at += block {
				lost := spoil(t, fs, last.path, func(b []byte) []byte {
					clear(b[at : at+block])
					return b
				})
				if r, err := wal.Check(lost, dir); err != nil || len(r.Damage) == 0 || len(r.Suspect) != 1 && !r.Doubt {
					t.Errorf("an entry of %d bytes, the block at %d lost: %+v, %v", size, at, r, err)
				}
			}
		})
	}
}
