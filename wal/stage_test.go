package wal_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rustmq/rustmq/wal"
	"github.com/rustmq/rustmq/wal/crashfs"
)

// whileTheDiskIsBusy has f called within the writer's n-th sync from now on,
// from 1: what it appends comes while the disk has a group.
func whileTheDiskIsBusy(fs *crashfs.FS, f func(n int) error) {
	n := 0
	fs.Hook(func(c crashfs.Call) error {
		if c.Op != crashfs.OpSync || !strings.HasSuffix(c.Path, ".wal") {
			return nil
		}
		n++
		return f(n)
	})
}

// put appends without a reservation, which the writer must not wait for.
func put(l *wal.Log, e wal.Entry) result {
	r := make(result, 1)
	l.Append(e, r)
	return r
}

// quiet are options with which the writer syncs for nothing but entries.
func quiet(fs wal.FS) wal.Options {
	o := options(fs)
	o.PromiseDelay = time.Hour
	return o
}

func TestAppendersFrameAheadWhileTheDiskIsBusy(t *testing.T) {
	for _, c := range []struct {
		name    string
		segment int64
		size    int
		least   int // framed ahead
		most    int
	}{
		{"sixteen at a time", wal.MinSegmentBytes, 200, 32, 32},
		{"as many as fit in the segment", wal.MinSegmentBytes, 1500, 5, 15},
		{"64 KiB at a time", 4 << 20, 30 << 10, 24, 26},
		{"as many as fit in the buffer", 4 << 20, 60 << 10, 17, 17},
		{"none that is longer", 4 << 20, 64 << 10, 0, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			fs := crashfs.New(1)
			o := quiet(fs)
			o.SegmentBytes = c.segment
			l := mustOpen(t, o)
			mustAdd(t, l, data(1, 0, 1, 100))
			var results []result
			whileTheDiskIsBusy(fs, func(n int) error {
				if n == 1 {
					for at := range uint64(40) {
						results = append(results, put(l, data(1, 2+at, 3+at, c.size)))
					}
					if got := wal.FramedAhead(l); got < c.least || got > c.most {
						t.Errorf("%d framed ahead, want %d to %d", got, c.least, c.most)
					}
				}
				return nil
			})
			mustAdd(t, l, data(1, 1, 2, 100))
			for _, r := range results {
				if err := r.wait(t); err != nil {
					t.Fatal(err)
				}
			}
			fs.Hook(nil)
			wantStream(t, l, 1, 0, 42)
			again, r := crashed(t, fs, o)
			if len(r.Damage) > 0 {
				t.Error(r.Damage)
			}
			wantStream(t, again, 1, 0, 42)
		})
	}
}

// A frame that was made ahead vouches for the group before it, like any other: it was finished when that was durable.
func TestFrameMadeAheadPromisesTheGroupBefore(t *testing.T) {
	fs := crashfs.New(1)
	l := mustOpen(t, quiet(fs))
	mustAdd(t, l, data(1, 0, 1, 100))
	var last result
	whileTheDiskIsBusy(fs, func(n int) error {
		if n == 1 {
			for at := range uint64(32) {
				last = put(l, data(1, 2+at, 3+at, 200))
			}
			if got := wal.FramedAhead(l); got != 32 {
				t.Errorf("%d framed ahead", got)
			}
		}
		return nil
	})
	mustAdd(t, l, data(1, 1, 2, 100))
	if err := last.wait(t); err != nil {
		t.Fatal(err)
	}
	var end int64 // of the group before
	seen := 0
	if err := wal.Frames(fs, dir, func(f wal.Frame) error {
		switch {
		case !f.Entry:
		case f.First == 1:
			end = f.Position + 64 + (f.Bytes+7)/8*8
		case f.First > 1:
			if seen++; int64(f.Promised) != end {
				t.Errorf("the frame of %d promises %d, want %d", f.First, f.Promised, end)
			}
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	if seen != 32 {
		t.Errorf("%d frames", seen)
	}
}

// What was framed ahead of a group that fails fails with it, and what is framed ahead is not acknowledged before it is
// durable itself.
func TestGroupFramedAheadFailsWithTheOneBefore(t *testing.T) {
	for fails := 1; fails <= 3; fails++ {
		t.Run(fmt.Sprint("sync ", fails), func(t *testing.T) {
			fs := crashfs.New(1)
			o := quiet(fs)
			l := mustOpen(t, o)
			mustAdd(t, l, data(1, 0, 1, 100))
			done := make(result, 41) // in the order of the completions
			some := func(from, to uint64) {
				for at := from; at < to; at++ {
					l.Append(data(1, at, at+1, 100), done)
				}
			}
			whileTheDiskIsBusy(fs, func(n int) error {
				if n <= 2 {
					some(uint64(20*n-18), uint64(20*n+2))
					if wal.FramedAhead(l) == 0 {
						t.Error("none framed ahead")
					}
				}
				if n == fails {
					return syscall.EIO
				}
				return nil
			})
			some(1, 2)
			groups := []int{0, 1, 21, 41} // where they end
			good := groups[fails-1]
			for i := range groups[min(fails+1, 3)] {
				if err := done.wait(t); (err == nil) != (i < good) || err != nil && !errors.Is(err, syscall.EIO) {
					t.Fatalf("entry %d: %v, and %d are durable", i, err, good)
				}
			}
			fs.Hook(nil)
			_ = l.Close()
			fs.CrashWith(crashfs.Lose())
			again, _ := crashed(t, fs, o)
			// Of the group that failed anything may be there, and of the one behind it nothing.
			_, end, _ := again.Bounds(id(1))
			if end < uint64(good)+1 || end > uint64(groups[fails])+1 {
				t.Errorf("the stream ends at %d, groups at %d", end, groups)
			}
			wantStream(t, again, 1, 0, end)
		})
	}
}

// What the writer alone may do, and all that comes behind it, is left to it.
func TestOnlyPlainDataIsFramedAhead(t *testing.T) {
	fs := crashfs.New(1)
	l := mustOpen(t, quiet(fs))
	mustAdd(t, l, data(1, 0, 1, 100))
	lists := [][]wal.Entry{
		{state(1, "vote")},
		{truncate(1, 2), data(1, 2, 3, 10)},
		{reset(1, 50), data(1, 50, 51, 10)},
		{data(7, 0, 1, 10)}, // a stream that the log does not know
		{{Stream: id(1), Type: wal.EntryDrop}},
	}
	var results []result
	end := uint64(2)
	whileTheDiskIsBusy(fs, func(n int) error {
		if n > 1 {
			return nil
		}
		for range 20 {
			results = append(results, put(l, data(1, end, end+1, 10)))
			end++
		}
		before := wal.FramedAhead(l)
		for _, list := range lists {
			for _, e := range list {
				results = append(results, put(l, e))
			}
			for at := range uint64(20) {
				results = append(results, put(l, data(1, 900+at, 901+at, 10))) // refused, except behind the drop
			}
		}
		if got := wal.FramedAhead(l); before == 0 || got > 20 {
			t.Errorf("%d, then %d framed ahead", before, got)
		}
		return nil
	})
	mustAdd(t, l, data(1, 1, 2, 100))
	for i, r := range results {
		refused := r.wait(t) != nil
		if last := len(results) - 20; i >= last && refused {
			t.Errorf("entry %d behind the drop was refused", i-last)
		}
	}
	fs.Hook(nil)
	wantStream(t, l, 1, 900, 920)
	wantStream(t, l, 7, 0, 1)
}

// A truncation makes what goes before it durable in the middle of what the writer took: what comes meanwhile
// belongs behind the rest of that.
func TestNothingIsFramedAheadOfWhatTheWriterHas(t *testing.T) {
	fs := crashfs.New(1)
	l := mustOpen(t, quiet(fs))
	mustAdd(t, l, data(1, 0, 1, 100))
	var results []result
	some := func(from, to uint64) {
		for at := from; at < to; at++ {
			results = append(results, put(l, data(1, at, at+1, 10)))
		}
	}
	behind := make(chan struct{})
	whileTheDiskIsBusy(fs, func(n int) error {
		switch n {
		case 1:
			results = append(results, put(l, state(2, "vote")))
			some(2, 6)
			results = append(results, put(l, truncate(1, 4)))
			some(4, 10)
		case 2: // for the truncation
			some(10, 30)
			if got := wal.FramedAhead(l); got != 0 {
				t.Errorf("%d framed ahead", got)
			}
			close(behind)
		}
		return nil
	})
	mustAdd(t, l, data(1, 1, 2, 100))
	<-behind
	for _, r := range results {
		if err := r.wait(t); err != nil {
			t.Error(err)
		}
	}
	fs.Hook(nil)
	wantStream(t, l, 1, 0, 30)
}

// quarantined is a log in which stream 1 has a damaged entry, and stream 2 none.
func quarantined(t *testing.T) (*crashfs.FS, *wal.Log) {
	t.Helper()
	fs := crashfs.New(1)
	l := mustOpen(t, quiet(fs))
	mustAdd(t, l, data(1, 0, 1, 100))
	mustAdd(t, l, data(2, 0, 1, 100))
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	list := slices.DeleteFunc(frames(t, fs), func(f frameAt) bool { return f.kind != "data" })
	if err := fs.Flip(list[0].path, (list[0].end-1)*8); err != nil {
		t.Fatal(err)
	}
	l, _, err := wal.Open(quiet(fs), nil)
	if err != nil {
		t.Fatal(err)
	}
	if l.Quarantined(id(1)) == nil {
		t.Fatal("nothing is quarantined")
	}
	return fs, l
}

// A reset lifts a quarantine when it is durable. What comes while it is on its way waits for that, and is not refused.
func TestDataBehindTheResetOfAQuarantinedStreamIsNotFramedAhead(t *testing.T) {
	fs, l := quarantined(t)
	defer l.Close()
	var results []result
	mustAdd(t, l, data(2, 1, 2, 100)) // begins a segment, perhaps
	whileTheDiskIsBusy(fs, func(n int) error {
		for at := uint64(50); n == 1 && at < 70; at++ {
			results = append(results, put(l, data(1, at, at+1, 10)))
		}
		return nil
	})
	mustAdd(t, l, reset(1, 50))
	for _, r := range results {
		if err := r.wait(t); err != nil {
			t.Fatal(err)
		}
	}
	fs.Hook(nil)
	wantStream(t, l, 1, 50, 70)
}

// A reset makes a quarantined stream well again when it is durable; what comes behind it in the same group waits for that.
func TestDataInOneGroupWithTheResetOfAQuarantinedStream(t *testing.T) {
	fs, l := quarantined(t)
	defer l.Close()
	var results []result
	mustAdd(t, l, data(2, 1, 2, 100)) // begins a segment, perhaps
	whileTheDiskIsBusy(fs, func(n int) error {
		if n == 1 {
			results = append(results, put(l, reset(1, 50)))
			for at := uint64(50); at < 60; at++ {
				results = append(results, put(l, data(1, at, at+1, 10)))
			}
		}
		return nil
	})
	mustAdd(t, l, data(2, 2, 3, 100))
	for _, r := range results {
		if err := r.wait(t); err != nil {
			t.Fatal(err)
		}
	}
	fs.Hook(nil)
	wantStream(t, l, 1, 50, 60)
}

// lifeAhead is a run in which each group is appended while the disk has the one before: about 25, through several segments.
func lifeAhead(fs *crashfs.FS) func(*workload) {
	return func(w *workload) {
		for n := range 3 {
			w.data(n+1, 1, 100)
		}
		if !w.wait() {
			return
		}
		var mu sync.Mutex
		over := make(chan struct{})
		rounds, ahead := 25, 0
		whileTheDiskIsBusy(fs, func(n int) error {
			mu.Lock()
			defer mu.Unlock()
			if rounds == 0 {
				return nil
			}
			for i := range 18 + n%5 {
				w.data(1+i%3, uint64(1+i%2), 100+n*7%300)
			}
			ahead += wal.FramedAhead(w.log)
			switch n % 6 {
			case 1:
				w.do(state(2, fmt.Sprint("vote ", n)))
			case 3:
				w.do(truncate(3, w.now[id(3)].end))
				w.data(3, 1, 50)
			case 5:
				w.do(reset(1, w.now[id(1)].end+5))
			}
			if rounds--; rounds == 0 {
				close(over)
			}
			return nil
		})
		mu.Lock()
		w.data(1, 1, 10)
		mu.Unlock()
		select {
		case <-over:
		case <-w.log.Failed():
		}
		mu.Lock()
		if rounds == 0 && ahead < 200 {
			w.t.Errorf("only %d were framed ahead", ahead)
		}
		rounds = 0
		mu.Unlock()
		w.wait()
	}
}

func TestPowerCutsOfGroupsFramedAheadKeepWhatWasAcknowledged(t *testing.T) {
	o := options(nil)
	var calls int
	synctest.Test(t, func(t *testing.T) {
		base := crashfs.New(1)
		w := run(t, base, o, lifeAhead(base))
		calls = base.Calls()
		if err := w.survives(base, o); err != nil {
			t.Error(err)
		}
	})
	step := 1
	if testing.Short() {
		step = 5
	}
	for k := 1; k <= calls && !t.Failed(); k += step {
		synctest.Test(t, func(t *testing.T) { cutAtCall(t, o, k, lifeAhead) })
	}
	t.Logf("%d calls", calls)
}
