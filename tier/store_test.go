package tier

import (
	"bytes"
	"context"
	"errors"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rustmq/rustmq/mq"
	"github.com/rustmq/rustmq/tier/faultstore"
)

// TestNotFoundIsNotAlwaysAbsence has a store say "not found" of a bucket that it
// cannot list either, and of an object that it lists.
func TestNotFoundIsNotAlwaysAbsence(t *testing.T) {
	fs := faultstore.New()
	s := NewStore(fs.Bucket(), Limits{})
	if err := s.Put(t.Context(), "there", []byte("v"), checksum([]byte("v"))); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Stat(t.Context(), "gone"); !errors.Is(err, ErrAbsent) || mq.CodeOf(err) != mq.ObjectStoreUnavailable {
		t.Errorf("an object that is not there: %v", err)
	}
	if err := s.Delete(t.Context(), "gone"); err != nil {
		t.Errorf("delete what is not there: %v", err)
	}
	notFound := faultstore.NotFound("there")
	fs.SetHook(func(op faultstore.Op) faultstore.Fault {
		if op.Kind != faultstore.List {
			return faultstore.Fault{Before: notFound}
		}
		return faultstore.Fault{}
	})
	check := func(what string) {
		t.Helper()
		_, statErr := s.Stat(t.Context(), "there")
		_, readErr := s.Open(t.Context(), "there", 0, 1)
		for _, err := range []error{statErr, readErr, s.Delete(t.Context(), "there")} {
			if mq.CodeOf(err) != mq.ObjectStoreUnavailable || errors.Is(err, ErrAbsent) {
				t.Errorf("%s: %v", what, err)
			}
		}
	}
	check("an object that is listed")
	fs.SetHook(func(faultstore.Op) faultstore.Fault { return faultstore.Fault{Before: notFound} })
	check("a bucket that is not there")
	if s.Stats().Failed == 0 {
		t.Error("nothing was counted")
	}
}

// TestRequestsThatGetStuckEnd lets a store not answer, and one that is slow but moves.
func TestRequestsThatGetStuckEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fs := faultstore.New()
		s := NewStore(fs.Bucket(), Limits{Timeout: time.Second})
		hang := faultstore.Fault{Delay: time.Hour}
		fs.SetHook(func(faultstore.Op) faultstore.Fault { return hang })
		start := time.Now()
		_, err := s.Stat(t.Context(), "k")
		if mq.CodeOf(err) != mq.ObjectStoreUnavailable || time.Since(start) != time.Second {
			t.Errorf("after %s: %v", time.Since(start), err)
		}
		start = time.Now()
		if err := s.Put(t.Context(), "k", make([]byte, 10<<20), 0); mq.CodeOf(err) != mq.ObjectStoreUnavailable || time.Since(start) != 11*time.Second {
			t.Errorf("10 MiB after %s: %v", time.Since(start), err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
		defer cancel()
		if _, err := s.Stat(ctx, "k"); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("the caller's own deadline: %v", err)
		}
	})
}

// TestRequestsEnterByClass fills a store with reads and sees who goes first.
func TestRequestsEnterByClass(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGate(8)
		var mu sync.Mutex
		var order []Class
		enter := func(c Class) { // in the background, and for a second
			go func() {
				if g.enter(t.Context(), c) == nil {
					mu.Lock()
					order = append(order, c)
					mu.Unlock()
					time.Sleep(time.Second)
					g.leave(c)
				}
			}()
			synctest.Wait()
		}
		for range 20 {
			enter(ClassBackground)
			enter(ClassCompaction)
			enter(ClassRead)
		}
		// In the beginning one has its share whoever comes; then room is for the first.
		busy, waiting := g.state()
		if busy[ClassBackground] != 2 || busy[ClassCompaction]+busy[ClassBackground] > 4 || busy[ClassRead]+busy[ClassCompaction]+busy[ClassBackground] != 6 {
			t.Errorf("busy %v, waiting %v", busy, waiting)
		}
		enter(ClassUpload)
		enter(ClassUpload)
		if busy, _ := g.state(); busy[ClassUpload] != 2 {
			t.Errorf("uploads wait behind what may wait: %v", busy)
		}
		if g.idle() {
			t.Error("it is idle, and all wait")
		}
		enter(ClassUpload) // one more than there is room
		mu.Lock()
		n := len(order)
		mu.Unlock()
		time.Sleep(time.Second) // all leave at once
		synctest.Wait()
		mu.Lock()
		next := slices.Sorted(slices.Values(order[n:]))
		mu.Unlock()
		if want := append([]Class{ClassUpload}, slices.Repeat([]Class{ClassRead}, 6)...); !slices.Equal(next, want) {
			t.Errorf("then came %v", next)
		}
		time.Sleep(time.Minute)
		busy, waiting = g.state()
		if len(order) != 63 || busy != [classes]int{} || waiting != [classes]int{} {
			t.Errorf("%d entered, busy %v, waiting %v", len(order), busy, waiting)
		}
		if !g.idle() {
			t.Error("it is not idle, and nobody is there")
		}
	})
}

// TestLeavingTheQueueGivesTheRoomBack cancels requests that wait.
func TestLeavingTheQueueGivesTheRoomBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGate(4)
		for range 4 {
			if err := g.enter(t.Context(), ClassUpload); err != nil {
				t.Fatal(err)
			}
		}
		ctx, cancel := context.WithCancel(t.Context())
		for range 3 {
			go func() {
				if err := g.enter(ctx, ClassUpload); err == nil {
					t.Error("it entered")
				}
			}()
		}
		synctest.Wait()
		cancel()
		synctest.Wait()
		for range 4 {
			g.leave(ClassUpload)
		}
		if busy, waiting := g.state(); busy != [classes]int{} || waiting != [classes]int{} {
			t.Errorf("busy %v, waiting %v", busy, waiting)
		}
	})
}

// TestBandwidthIsBoundedAndGoesByClass moves bytes of two classes through one pace.
func TestBandwidthIsBoundedAndGoesByClass(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const rate = 10 << 20
		p := newPace(rate)
		var done atomic.Int64 // of compaction
		ctx, cancel := context.WithCancel(t.Context())
		for range 3 {
			go func() {
				for p.take(ctx, ClassCompaction, 100<<10) == nil {
					done.Add(100 << 10)
				}
			}()
		}
		time.Sleep(10 * time.Second)
		synctest.Wait()
		if got := done.Load(); got < rate*9 || got > rate*11 {
			t.Errorf("compaction alone had %d bytes in 10 s of %d per second", got, rate)
		}
		if p.idle() {
			t.Error("it is idle, and bytes wait")
		}
		before := done.Load()
		start := time.Now()
		for range 5 * rate / (100 << 10) { // five seconds' worth
			if err := p.take(ctx, ClassUpload, 100<<10); err != nil {
				t.Fatal(err)
			}
		}
		if took := time.Since(start); took > 6*time.Second {
			t.Errorf("an upload took %s where alone it takes 5 s", took)
		}
		if meanwhile := done.Load() - before; meanwhile > rate*3/2 {
			t.Errorf("compaction had %d bytes while an upload waited", meanwhile)
		}
		cancel()
		synctest.Wait()
		time.Sleep(time.Second)
		if !p.idle() {
			t.Error("it is not idle, and nobody is there")
		}
	})
}

// TestStoreKeepsItsRate uploads and reads through a store with bounds.
func TestStoreKeepsItsRate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := NewStore(faultstore.New().Bucket(), Limits{UploadRate: 1 << 20, DownloadRate: 2 << 20, PartBytes: 1 << 20, Timeout: time.Second})
		data := bytes.Repeat([]byte("0123456789abcdef"), 10<<16) // 10 MiB: longer than the timeout, in parts
		start := time.Now()
		if err := s.For(ClassUpload).Put(t.Context(), "k", data, checksum(data)); err != nil {
			t.Fatal(err)
		}
		if took := time.Since(start); took < 9*time.Second || took > 11*time.Second {
			t.Errorf("10 MiB went up in %s at 1 MiB/s", took)
		}
		start = time.Now()
		got, err := readObject(t.Context(), s.For(ClassRead), "k")
		if err != nil || !bytes.Equal(got, data) {
			t.Fatalf("%d bytes, %v", len(got), err)
		}
		if took := time.Since(start); took < 4*time.Second || took > 6*time.Second {
			t.Errorf("10 MiB came down in %s at 2 MiB/s", took)
		}
		stats := s.Stats()
		if stats.Classes[ClassUpload].Uploaded != int64(len(data)) || stats.Classes[ClassRead].Downloaded != int64(len(data)) || stats.Classes[ClassUpload].Requests["put"] != 1 {
			t.Errorf("%+v", stats)
		}
	})
}

func TestListGoesByPages(t *testing.T) {
	s := must[*Store](t)(OpenStore(t.Context(), "mem://", Limits{}))
	var want []string
	for i := range 2*listPage + 7 {
		key := objectKey("c/", uint64(i))
		want = append(want, key)
		if err := s.Put(t.Context(), key, nil, 0); err != nil {
			t.Fatal(err)
		}
	}
	var got []string
	if err := s.List(t.Context(), "c/", func(o Info) error { got = append(got, o.Key); return nil }); err != nil || !slices.Equal(got, want) {
		t.Errorf("%d keys of %d, %v", len(got), len(want), err)
	}
	stop := errors.New("enough")
	if err := s.List(t.Context(), "", func(Info) error { return stop }); !errors.Is(err, stop) {
		t.Errorf("stopped with %v", err)
	}
}
