package kafkaproto

import (
	"context"
	"math/rand/v2"
	"sync"
	"testing"
	"time"
)

// However requests come, wait, go on and give up, all of them end, and what they took comes back.
func TestRoomIsWholeAfterAll(t *testing.T) {
	const total = 100
	r := room{free: total}
	var wg sync.WaitGroup
	for range 32 {
		wg.Go(func() {
			for range 200 {
				ctx, cancel := context.WithCancel(t.Context())
				if rand.N(4) == 0 {
					ctx, cancel = context.WithTimeout(t.Context(), time.Duration(rand.N(100))*time.Microsecond)
				}
				var taken int64
				beyond := false
				for range 4 {
					if beyond {
						break
					}
					n := 1 + rand.Int64N(total/4)
					var err error
					if beyond, err = r.take(ctx, n, taken > 0); err != nil {
						break
					}
					if !beyond {
						taken += n
					}
				}
				r.give(taken, beyond)
				cancel()
			}
		})
	}
	wg.Wait()
	if r.free != total || r.finisher || len(r.begun) > 0 || len(r.fresh) > 0 {
		t.Fatalf("%d of %d are free, finisher %t, %d and %d wait", r.free, total, r.finisher, len(r.begun), len(r.fresh))
	}
}

func TestThoseThatHaveBegunAreFirst(t *testing.T) {
	r := room{free: 10}
	if beyond, err := r.take(t.Context(), 10, false); beyond || err != nil {
		t.Fatal(beyond, err)
	}
	if beyond, err := r.take(t.Context(), 5, true); !beyond || err != nil {
		t.Fatal("nobody goes beyond", err)
	}
	order := make(chan string, 2)
	waits := func(n int) {
		until(t, func() bool { r.mu.Lock(); defer r.mu.Unlock(); return len(r.begun)+len(r.fresh) == n })
	}
	for i, begun := range []bool{false, true} {
		go func() {
			if beyond, err := r.take(t.Context(), 10, begun); beyond || err != nil {
				t.Error(beyond, err)
			}
			order <- map[bool]string{false: "fresh", true: "begun"}[begun]
		}()
		waits(i + 1)
	}
	r.give(10, false)
	if got := <-order; got != "begun" {
		t.Errorf("%s was first", got)
	}
	r.give(10, false)
	<-order
}
