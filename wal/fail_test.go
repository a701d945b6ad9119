package wal_test

import (
	"context"
	"errors"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rustmq/rustmq/mq"
	"github.com/rustmq/rustmq/wal"
	"github.com/rustmq/rustmq/wal/crashfs"
)

// TestFirstErrorPoisons makes each call of a run fail in turn: nothing is
// acknowledged after it, Failed says so, and what had been acknowledged is there
// after a restart with or without a power cut.
func TestFirstErrorPoisons(t *testing.T) {
	o := options(nil)
	base := crashfs.New(1)
	run(t, base, o, lifeOfALog)
	calls := base.Calls()
	poisoned := 0
	for k := 1; k <= calls; k++ {
		fs := crashfs.New(uint64(k))
		fs.FailAt(k, syscall.EIO)
		o.FS = fs
		l, _, err := wal.Open(o, nil)
		if err != nil {
			continue
		}
		w := newWorkload(t, l)
		lifeOfALog(w)
		w.wait()
		if err := l.Err(); err != nil {
			poisoned++
			if !errors.Is(err, syscall.EIO) && !strings.Contains(err.Error(), syscall.EIO.Error()) {
				t.Errorf("call %d: poisoned by %v", k, err)
			}
			select {
			case <-l.Failed():
			default:
				t.Errorf("call %d: the log failed and does not say so", k)
			}
			r := make(result, 1)
			l.Append(data(9, 0, 1, 10), r)
			if err := r.wait(t); err == nil {
				t.Errorf("call %d: acknowledged by a log that had failed", k)
			}
			if err := l.Reserve(t.Context(), 1); err == nil {
				t.Errorf("call %d: room in a log that had failed", k)
			}
		}
		_ = l.Close()
		killed := fs.Clone(uint64(k))
		killed.Kill()
		fs.Crash()
		for _, after := range []*crashfs.FS{fs, killed} {
			if err := w.survives(after, o); err != nil {
				t.Fatalf("call %d of %d failed: %v", k, calls, err)
			}
		}
	}
	if poisoned < calls*3/4 {
		t.Errorf("only %d of %d failed calls poisoned", poisoned, calls)
	}
}

// TestPromiseWhoseSyncFailedIsWrittenAgain: the next process sees a promise in the kernel's memory that is not on the disk, and never will
// be unless it is written once more. What is appended behind it promises that it is there.
func TestPromiseWhoseSyncFailedIsWrittenAgain(t *testing.T) {
	for seed := range uint64(20) {
		synctest.Test(t, func(t *testing.T) {
			fs := crashfs.New(seed)
			o := options(fs)
			l := mustOpen(t, o)
			mustAdd(t, l, data(1, 0, 1, 100))
			path := frames(t, fs)[0].path
			fs.Hook(func(c crashfs.Call) error {
				if c.Op == crashfs.OpSync && c.Path == path {
					return syscall.EIO
				}
				return nil
			})
			<-l.Failed()
			fs.Kill()
			_ = l.Close()
			if list := frames(t, fs); list[len(list)-1].kind != "promise" {
				t.Fatalf("the log ends with a %s: what failed was no promise", list[len(list)-1].kind)
			}

			l = mustOpen(t, o)
			mustAdd(t, l, data(1, 1, 2, 100))
			time.Sleep(time.Second)
			fs.CrashWith(crashfs.Lose())
			_ = l.Close()
			l = mustOpen(t, o)
			wantStream(t, l, 1, 0, 2)
			_ = l.Close()
		})
	}
}

func TestFullDiskIsBackPressureAndHeals(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fs := crashfs.New(1)
		fs.SetSpace(4 * wal.MinSegmentBytes)
		o := options(fs)
		l := mustOpen(t, o)
		var end uint64
		var full error
		for end < 1000 {
			r := add(t, l, data(1, end, end+1, 2000))
			if full = r.wait(t); full != nil {
				break
			}
			end++
		}
		if !isCode(full, mq.StorageFull) || !errors.Is(full, syscall.ENOSPC) || !mq.CodeOf(full).Retriable() {
			t.Fatalf("a full disk gives %v after %d entries", full, end)
		}
		if err := l.Err(); err != nil {
			t.Fatalf("a full disk poisoned the log: %v", err)
		}
		if s := l.Stats(); !s.Full || s.FullTotal == 0 {
			t.Errorf("%+v", s)
		}
		// Refused at once, and again, and what was acknowledged is there.
		start := time.Now()
		if err := l.Reserve(t.Context(), 2000); !isCode(err, mq.StorageFull) || time.Since(start) != 0 {
			t.Errorf("%v after %v", err, time.Since(start))
		}
		wantStream(t, l, 1, 0, end)
		mustAdd(t, l, state(1, "small things still fit"))

		fs.SetSpace(-1)
		until(t, "room after the disk was freed", func() bool { return l.Reserve(t.Context(), 2000) == nil })
		l.Unreserve(2000)
		for range 30 {
			mustAdd(t, l, data(1, end, end+1, 2000))
			end++
		}
		wantStream(t, l, 1, 0, end)
	})
}

func TestBoundOfTheLogIsBackPressureAndReleaseHeals(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fs := crashfs.New(1)
		o := options(fs)
		o.MaxBytes = 4 * wal.MinSegmentBytes
		l := mustOpen(t, o)
		mustAdd(t, l, data(2, 0, 1, 100)) // stays, and must not hold up the log for ever
		var end uint64
		for range 5 {
			var err error
			for err == nil {
				if err = add(t, l, data(1, end, end+1, 2000)).wait(t); err == nil {
					end++
				}
			}
			if !isCode(err, mq.StorageFull) {
				t.Fatal(err)
			}
			if used := fs.Used(); used > o.MaxBytes+2*wal.MinSegmentBytes {
				t.Fatalf("%d bytes on the disk, the bound is %d", used, o.MaxBytes)
			}
			l.Release(id(1), end)
			until(t, "room after a release", func() bool { return l.Reserve(t.Context(), 2000) == nil })
			l.Unreserve(2000)
		}
		if end < 50 {
			t.Errorf("only %d entries went through", end)
		}
		wantStream(t, l, 2, 0, 1)
	})
}

func TestFullDiskAtOpenIsNoError(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fs := crashfs.New(1)
		fs.SetSpace(100)
		l := mustOpen(t, options(fs))
		until(t, "refusal", func() bool { return isCode(l.Reserve(t.Context(), 10), mq.StorageFull) })
		fs.SetSpace(-1)
		until(t, "room", func() bool { return l.Reserve(t.Context(), 10) == nil })
	})
}

func TestReserveBoundsWhatWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fs := crashfs.New(1)
		o := options(fs)
		o.QueueBytes = 10_000
		l := mustOpen(t, o)
		mustAdd(t, l, data(1, 0, 1, 10))
		release := make(chan struct{})
		fs.Hook(func(c crashfs.Call) error { // a disk that hangs
			if c.Op == crashfs.OpSync {
				<-release
			}
			return nil
		})
		var results []result
		var end uint64 = 1
		for {
			ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
			err := l.Reserve(ctx, 1000)
			cancel()
			if err != nil {
				if !isCode(err, mq.RequestTimedOut) {
					t.Errorf("waiting for the queue ended with %v", err)
				}
				break
			}
			r := make(result, 1)
			l.Append(data(1, end, end+1, 1000), r)
			results = append(results, r)
			end++
		}
		if n := len(results); n < 5 || n > 9 {
			t.Errorf("%d entries of 1,000 bytes in a queue of 10,000", n)
		}
		if s := l.Stats(); s.QueuedBytes == 0 || s.OldestPending != 20*time.Millisecond {
			t.Errorf("%d bytes queued, the oldest for %v", s.QueuedBytes, s.OldestPending)
		}
		waiting := make(chan error, 1)
		go func() { waiting <- l.Reserve(t.Context(), 1000) }()
		close(release)
		for _, r := range results {
			if err := r.wait(t); err != nil {
				t.Error(err)
			}
		}
		if err := <-waiting; err != nil {
			t.Error(err)
		}
		l.Unreserve(1000)
		if s := l.Stats(); s.QueuedBytes != 0 {
			t.Errorf("%d bytes are still reserved", s.QueuedBytes)
		}
	})
}
