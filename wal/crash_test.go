package wal_test

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"github.com/rustmq/rustmq/wal"
	"github.com/rustmq/rustmq/wal/crashfs"
)

// lifeOfALog is a short run with everything in it: rotation, recycling,
// copying forward, truncation, reset, drop, states, releases.
func lifeOfALog(w *workload) {
	w.do(state(1, "vote 1"))
	w.data(3, 5, 700) // a straggler: it is copied forward, and forward again
	w.data(4, 1, 300)
	w.data(3, 2, 900)
	for i := range 34 {
		for range 3 {
			w.data(1, 1, 1500)
			w.data(2, 3, 1100)
		}
		if !w.wait() {
			return
		}
		switch i {
		case 3:
			w.do(truncate(3, 5))
			w.data(3, 1, 200)
			w.data(3, 1, 300)
		case 5:
			w.do(state(1, "vote 2"))
			w.do(truncate(2, w.now[id(2)].end-3))
		case 12:
			w.do(truncate(3, 6))
			w.do(reset(4, 100))
			w.data(4, 1, 50)
		case 15:
			w.do(wal.Entry{Stream: id(4), Type: wal.EntryDrop})
			w.data(4, 2, 60)
			w.do(state(5, "only a state"))
		case 20:
			w.data(3, 1, 400)
		}
		w.release(1, w.now[id(1)].end-2)
		w.release(2, w.now[id(2)].end-4)
		if w.failed {
			return
		}
	}
	w.wait()
	w.log.Close()
}

// run runs the workload on a file system until it ends or everything fails.
func run(t testing.TB, fs *crashfs.FS, o wal.Options, life func(*workload)) *workload {
	o.FS = fs
	l, _, err := wal.Open(o, nil)
	if err != nil {
		w := newWorkload(t, nil)
		w.failed = true
		return w
	}
	w := newWorkload(t, l)
	life(w)
	w.wait()
	_ = l.Close()
	return w
}

func TestLifeOfALogUsesEverything(t *testing.T) {
	fs := crashfs.New(1)
	o := options(fs)
	l, _, err := wal.Open(o, nil)
	if err != nil {
		t.Fatal(err)
	}
	w := newWorkload(t, l)
	lifeOfALog(w)
	s := l.Stats()
	if s.RotationsTotal < 9 || s.FreedTotal < 5 || s.RecycledTotal < 2 || s.CopiedBytesTotal < 2000 || s.PromisesTotal == 0 {
		t.Errorf("it is too tame: %+v", s)
	}
	t.Logf("%d calls, %d rotations, %d freed, %d recycled, %d bytes copied", fs.Calls(), s.RotationsTotal, s.FreedTotal, s.RecycledTotal, s.CopiedBytesTotal)
	if err := w.survives(fs, o); err != nil {
		t.Error(err)
	}
}

// TestEveryPowerCutKeepsWhatWasAcknowledged cuts the power in every call of a log's life. Time is virtual: what the log waits for costs none.
func TestEveryPowerCutKeepsWhatWasAcknowledged(t *testing.T) {
	o := options(nil)
	var calls int
	synctest.Test(t, func(t *testing.T) {
		base := crashfs.New(1)
		run(t, base, o, lifeOfALog)
		calls = base.Calls()
	})
	cuts, step := 0, 1
	if testing.Short() {
		step = 3
	}
	for k := 1; k <= calls+10 && !t.Failed(); k += step {
		synctest.Test(t, func(t *testing.T) {
			cuts += cutAtCall(t, o, k, func(*crashfs.FS) func(*workload) { return lifeOfALog })
		})
	}
	t.Logf("%d cuts in %d calls", cuts, calls)
}

// cutAtCall is a log's life that ends in its k-th call, with all that may be left of it, and counts that.
func cutAtCall(t *testing.T, o wal.Options, k int, life func(*crashfs.FS) func(*workload)) (cuts int) {
	fs := crashfs.New(uint64(k))
	fs.CutAt(k)
	w := run(t, fs, o, life(fs))
	fs.Hook(nil)
	for fate := range 6 {
		after := fs.Clone(uint64(k*10 + fate))
		var what string
		switch fate {
		case 0:
			after.CrashWith(crashfs.Lose())
			what = "all lost"
		case 1:
			after.CrashWith(crashfs.Keep())
			what = "all kept"
		case 2:
			after.Kill()
			what = "killed"
		default:
			after.Crash()
			what = fmt.Sprintf("by chance %d", fate)
		}
		cuts++
		if err := w.survives(after, o); err != nil {
			t.Fatalf("cut at call %d, %s, %d steps certain: %v", k, what, w.acked(), err)
		}
	}
	return cuts
}

// TestPowerCutsByChance lives through many lives of a log, each of random
// work that a power cut, a kill or a close ends, against a naive model.
func TestPowerCutsByChance(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		fs := crashfs.New(rapid.Uint64().Draw(rt, "seed"))
		o := options(fs)
		o.PromiseDelay = time.Duration(rapid.SampledFrom([]int{1, 1000}).Draw(rt, "promise delay, us")) * time.Microsecond
		var w *workload
		for range rapid.IntRange(1, 6).Draw(rt, "lives") {
			if w == nil {
				l, _, err := wal.Open(o, nil)
				if err != nil {
					rt.Fatal(err)
				}
				w = newWorkload(t, l)
			} else {
				l, n, err := w.reopen(fs, o)
				if err != nil {
					rt.Fatal(err, closeIf(l))
				}
				w.goOn(l, n)
			}
			if rapid.Bool().Draw(rt, "cut") {
				fs.CutAt(rapid.IntRange(1, 60).Draw(rt, "at call"))
			}
			for range rapid.IntRange(0, 60).Draw(rt, "steps") {
				w.random(rt)
			}
			switch rapid.IntRange(0, 2).Draw(rt, "end") {
			case 0:
				w.wait()
				_ = w.log.Close() // the power may be cut
				fs.Crash()
			case 1:
				fs.CutAt(1)
				_ = w.log.Close() // the power is cut
				w.wait()
				fs.Crash()
			case 2:
				fs.CutAt(1)
				_ = w.log.Close() // what it would still do is not done
				w.wait()
				fs.Kill()
			}
		}
		if err := w.survives(fs, o); err != nil {
			rt.Fatal(err)
		}
	})
}

// goOn takes the first n steps as what has happened, and all of it as certain.
func (w *workload) goOn(l *wal.Log, n int) {
	w.log, w.failed, w.steps = l, false, w.steps[:n]
	w.now = map[wal.StreamID]*streamModel{}
	for _, s := range w.steps {
		s.acked = true
		apply(w.now, s.e)
	}
}

// random does something.
func (w *workload) random(rt *rapid.T) {
	n := rapid.IntRange(1, 4).Draw(rt, "stream")
	s := w.now[id(n)]
	switch op := rapid.IntRange(0, 19).Draw(rt, "op"); {
	case op < 11 || s == nil || !s.started:
		w.data(n, uint64(rapid.IntRange(1, 4).Draw(rt, "offsets")), rapid.SampledFrom([]int{1, 60, 700, 3000, 9000}).Draw(rt, "size"))
	case op < 13:
		w.do(state(n, fmt.Sprint("state ", len(w.steps))))
	case op < 15:
		to := s.end
		if len(s.entries) > 0 {
			to = s.entries[rapid.IntRange(0, len(s.entries)-1).Draw(rt, "entry")].first
		}
		w.do(truncate(n, to))
	case op < 16:
		at := s.end + uint64(rapid.IntRange(-2, 50).Draw(rt, "by"))
		if int64(at) < 0 {
			at = 0
		}
		w.do(reset(n, at))
	case op < 17 && n > 2:
		w.do(wal.Entry{Stream: id(n), Type: wal.EntryDrop})
	case op < 19:
		w.release(n, s.end-min(s.end, uint64(rapid.IntRange(0, 3).Draw(rt, "behind"))))
	default:
		w.wait()
	}
}

// A recovery that cuts a torn beginning of a segment may be cut itself, as often as it likes.
func TestTornHeadIsCutAgainAfterAnotherCut(t *testing.T) {
	for seed := range uint64(2000) {
		fs := crashfs.New(seed)
		random := rand.New(rand.NewPCG(seed, 3))
		for life := range 4 {
			if life < 3 {
				fs.CutAt(1 + random.IntN(16))
			}
			l, _, err := wal.Open(options(fs), nil)
			switch {
			case err == nil:
				_ = add(t, l, wal.Entry{Stream: id(1), Type: wal.EntryState, Payload: body(1, 0, 3000)})
				_ = l.Close()
			case !fs.Cut():
				t.Fatalf("seed %d, life %d: %v", seed, life, err)
			}
			fs.Crash()
		}
	}
}
