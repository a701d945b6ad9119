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

// crash ends a process at its cut-th call of the store and the catalogue, before the call or after it: everything fails from then on.
type crash struct {
	cut   int
	after bool

	mu   sync.Mutex
	step int
	dead bool
	end  func() // ends the process, and need not wait
}

// crashEverywhere lives a life again and again, in a bubble of its own each time, that ends at each of its calls. least is how many there are at least.
func crashEverywhere(t *testing.T, least int, life func(*testing.T, *crash)) {
	for _, after := range []bool{false, true} {
		for cut := 1; ; cut++ {
			c := &crash{cut: cut, after: after}
			synctest.Test(t, func(t *testing.T) { life(t, c) })
			if !c.dead || t.Failed() {
				if cut < least {
					t.Errorf("only %d steps", cut)
				}
				break
			}
		}
	}
}

// begin starts what is to crash: start says how to end it.
func (c *crash) begin(r *rig, start func() (end func())) {
	r.store.SetHook(func(faultstore.Op) (f faultstore.Fault) {
		f.Before, f.After = c.next()
		return f
	})
	r.catalog.fault = func(string) (error, error) { return c.next() }
	c.mu.Lock()
	defer c.mu.Unlock()
	c.end = start()
}

var errGone = errors.New("this process is no more")

func (c *crash) next() (before, after error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.dead {
		return errGone, nil
	}
	if c.step++; c.step < c.cut {
		return nil, nil
	}
	c.dead = true
	go c.end()
	if c.after {
		return nil, errGone
	}
	return errGone, nil
}

// heal ends all faults.
func (r *rig) heal() {
	r.store.SetHook(nil)
	r.catalog.mu.Lock()
	defer r.catalog.mu.Unlock()
	r.catalog.fault = nil
}

// dice are thrown by several goroutines.
type dice struct {
	mu  sync.Mutex
	rng *rand.Rand
}

func (d *dice) draw(n int) int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.rng.IntN(n)
}

func (d *dice) chance(percent int) bool { return d.draw(100) < percent }

// throughSeeds runs a life by each of some seeds, of fewer with -short.
func throughSeeds(t *testing.T, seeds, short int, stream uint64, life func(*testing.T, uint64, *dice)) {
	if testing.Short() {
		seeds = short
	}
	for seed := range uint64(seeds) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { life(t, seed, &dice{rng: rand.New(rand.NewPCG(seed, stream))}) })
		})
	}
}

// fail has everything fail by chance, until heal: lost percent of all requests before they are done and as many after, also when the answer comes late, and damaged percent of
// what is read cut short, and as many with a bit flipped.
func (r *rig) fail(d *dice, lost, damaged int) {
	away := mq.Errorf(mq.ObjectStoreUnavailable, "lost")
	r.store.SetHook(func(op faultstore.Op) (f faultstore.Fault) {
		if d.chance(30) {
			f.Delay = time.Duration(d.draw(3000)) * time.Millisecond
		}
		switch {
		case d.chance(lost):
			f.Before = away
		case d.chance(lost):
			f.After = away
			f.Late = op.Kind == faultstore.Write && d.chance(50)
		case d.chance(damaged):
			f.Cut = ptr(int64(d.draw(3000)))
		case d.chance(damaged):
			f.Flip = ptr(int64(d.draw(3_000_000)))
		}
		return f
	})
	unknown := mq.Errorf(mq.NotController, "lost")
	r.catalog.fault = func(string) (before, after error) {
		switch {
		case d.chance(lost):
			return unknown, nil
		case d.chance(lost):
			return nil, unknown
		}
		return nil, nil
	}
}
