package wal

import (
	"errors"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// plenty is a room where the disk is no bound, and credit is given.
func plenty(limit int64) *room {
	r := newRoom(limit, time.Second, make(chan struct{}, 1))
	r.resume(1<<40, 1<<40, 0)
	r.lock()
	r.unlock()
	return r
}

// TestCreditStaysWithinTheBound: what is reserved with and without the mutex is never more than the limit, and none of it is lost.
func TestCreditStaysWithinTheBound(t *testing.T) {
	const limit = 4 << 20
	r := plenty(limit)
	var inUse atomic.Int64
	var joined sync.WaitGroup
	for g := range uint64(8) {
		joined.Go(func() {
			rng := rand.New(rand.NewPCG(g, 1))
			for range 3000 {
				n := rng.Int64N(creditEach)
				if rng.IntN(10) == 0 {
					n = rng.Int64N(limit / 2)
				}
				if err := r.reserve(t.Context(), n); err != nil {
					t.Error(err)
					return
				}
				if got := inUse.Add(n); got > limit {
					t.Errorf("%d bytes are reserved, the limit is %d", got, limit)
				}
				inUse.Add(-n)
				if rng.IntN(2) == 0 {
					r.giveBack(n)
				} else {
					r.written(n, 1<<40)
				}
			}
		})
	}
	joined.Wait()
	r.lock()
	defer r.unlock()
	if r.queued != 0 || r.claimed != 0 {
		t.Errorf("%d bytes are left in the queue, %d of the disk", r.queued, r.claimed)
	}
}

// TestCreditOvertakesNobody: while a long reservation waits, short ones wait behind it; and after a failure there is none.
func TestCreditOvertakesNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const limit = 4 << 20
		r := plenty(limit)
		if !r.quick(100) {
			t.Fatal("there is no credit")
		}
		if err := r.reserve(t.Context(), 3<<20); err != nil {
			t.Fatal(err)
		}
		var went atomic.Int32
		for _, n := range []int64{2 << 20, 1000} {
			go func() {
				if err := r.reserve(t.Context(), n); err != nil {
					t.Error(err)
				}
				went.Add(1)
			}()
			synctest.Wait()
		}
		if n := went.Load(); n != 0 {
			t.Fatalf("%d did not wait", n)
		}
		r.written(100+(3<<20), 1<<40)
		synctest.Wait()
		if n := went.Load(); n != 2 {
			t.Errorf("only %d went on", n)
		}
		failed := errors.New("the disk is gone")
		r.fail(failed)
		if err := r.reserve(t.Context(), 10); !errors.Is(err, failed) {
			t.Errorf("after a failure: %v", err)
		}
	})
}
