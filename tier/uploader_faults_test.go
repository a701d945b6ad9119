package tier

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rustmq/rustmq/mq"
	"github.com/rustmq/rustmq/tier/faultstore"
)

// TestSeededFaults lets everything fail in every way, for a while, and then
// looks at what is there.
func TestSeededFaults(t *testing.T) {
	seeds := 60
	if testing.Short() {
		seeds = 10
	}
	for seed := range seeds {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { seededFaults(t, uint64(seed)) })
		})
	}
}

func seededFaults(t *testing.T, seed uint64) {
	r := newRig(t, 6)
	rng := rand.New(rand.NewPCG(seed, 0))
	r.store.NoMD5 = seed%3 == 0
	var mu sync.Mutex
	draw := func(n int) int {
		mu.Lock()
		defer mu.Unlock()
		return rng.IntN(n)
	}
	chance := func(percent int) bool { return draw(100) < percent }
	delay := func() time.Duration { return time.Duration(draw(3000)) * time.Millisecond }
	lost := mq.Errorf(mq.ObjectStoreUnavailable, "lost")
	r.store.SetHook(func(op faultstore.Op) (f faultstore.Fault) {
		if chance(30) {
			f.Delay = delay()
		}
		switch {
		case chance(15):
			f.Before = lost
		case chance(15):
			f.After = lost
			f.Late = op.Kind == faultstore.Write && chance(50)
		case chance(10):
			f.Cut = ptr(int64(delay() / time.Millisecond))
		case chance(10):
			f.Flip = ptr(int64(delay() / time.Microsecond))
		}
		return f
	})
	commitLost := mq.Errorf(mq.NotController, "lost")
	r.catalog.fault = func(op string) (before, after error) {
		switch {
		case chance(15):
			return commitLost, nil
		case chance(15):
			return nil, commitLost
		}
		return nil, nil
	}
	start := func() {
		r.start(func(c *UploaderConfig) {
			c.FlushAge, c.FlushBytes, c.Concurrency = 2*time.Second, 8<<10, 1+int(seed%4)
		})
	}
	start()
	for i := range 400 {
		n := draw(len(r.sources))
		values := make([][]byte, 1+draw(5))
		for j := range values {
			values[j] = value(i + j)
		}
		r.append(n, values...)
		time.Sleep(delay() / 10)
		switch {
		case chance(1): // another leader, then this one again, with a new epoch; the old uploads are fenced
			s := r.sources[n]
			epoch := s.LeaderEpoch() + 1
			r.catalog.setEpoch(s.id, epoch)
			time.Sleep(delay())
			s.setEpoch(epoch)
			r.up.Notify(s)
		case chance(1): // the broker restarts
			r.up.Close()
			for _, s := range r.sources {
				s.tiered = r.catalog.tieredEnd(s.id)
			}
			start()
		}
	}
	r.store.SetHook(nil)
	r.catalog.mu.Lock()
	r.catalog.fault = nil
	r.catalog.mu.Unlock()
	time.Sleep(30 * time.Second) // what is late comes, and holds end
	if err := r.up.Flush(t.Context()); err != nil {
		t.Error(err)
	}
	r.up.Close()
	r.checkAll()
	// Whatever is whole in the store is true, and what was committed is whole.
	committed := map[string]bool{}
	for _, list := range r.catalog.ranges {
		var end mq.Offset
		for _, g := range list {
			if g.First != end {
				t.Errorf("%s: range from %d after %d", g.Partition, g.First, end)
			}
			end = g.End
			committed[g.Key] = true
		}
	}
	for _, key := range r.store.Keys() {
		if !committed[key] {
			if report := must[Report](t)(Check(inMemory(r.store.Content(key)))); len(report.Damage) > 0 {
				r.store.Remove(key) // half an upload that nobody committed
			}
		}
	}
	r.checkObjects()
}

// TestCrashAtEveryStep stops the uploader at each call of the store and the
// catalogue, before it and after it, and starts another.
func TestCrashAtEveryStep(t *testing.T) {
	for _, after := range []bool{false, true} {
		for cut := 1; ; cut++ {
			done := false
			synctest.Test(t, func(t *testing.T) { done = crashAt(t, cut, after) })
			if done || t.Failed() {
				if cut < 8 {
					t.Errorf("only %d steps", cut)
				}
				break
			}
		}
	}
}

func crashAt(t *testing.T, cut int, after bool) (done bool) {
	r := newRig(t, 3)
	gone := errors.New("this process is no more")
	var mu sync.Mutex
	step, dead := 0, false
	next := func() (before, afterwards error) {
		mu.Lock()
		defer mu.Unlock()
		if dead {
			return gone, nil
		}
		if step++; step < cut {
			return nil, nil
		}
		dead = true
		go r.up.cancel()
		if after {
			return nil, gone
		}
		return gone, nil
	}
	r.store.SetHook(func(faultstore.Op) (f faultstore.Fault) {
		f.Before, f.After = next()
		return f
	})
	r.catalog.fault = func(string) (error, error) { return next() }
	first := r.start(nil)
	for i := range 30 {
		r.append(i%3, make([]byte, 2000))
	}
	time.Sleep(11 * time.Second)
	for i := range 6 {
		r.append(i%3, value(i))
	}
	time.Sleep(11 * time.Second)
	first.Close()
	mu.Lock()
	done = !dead
	mu.Unlock()
	r.store.SetHook(nil)
	r.catalog.mu.Lock()
	r.catalog.fault = nil
	r.catalog.mu.Unlock()
	for _, s := range r.sources {
		// Released is only what is committed; a new leader begins at that.
		end := r.catalog.tieredEnd(s.id)
		if s.tiered > end {
			t.Errorf("step %d: %s released up to %d, committed up to %d", cut, s.id, s.tiered, end)
		}
		s.tiered = end
	}
	r.start(nil)
	defer r.up.Close()
	if err := r.up.Flush(t.Context()); err != nil {
		t.Error(err)
	}
	r.checkAll()
	r.checkObjects()
	return done
}
