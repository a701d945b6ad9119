package replication

import (
	"fmt"
	"math/rand/v2"
	"runtime"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/rustmq/rustmq/partition"
)

// catcher is a test that notes what it finds and goes on: a planted bug has to be found.
type catcher struct {
	testing.TB

	mu    sync.Mutex
	found string
}

type given struct{} // panicked with, where a test would end

func (c *catcher) note(text string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.found == "" {
		c.found = text
	}
}

func (c *catcher) Error(args ...any)                 { c.note(fmt.Sprint(args...)) }
func (c *catcher) Errorf(format string, args ...any) { c.note(fmt.Sprintf(format, args...)) }
func (c *catcher) Logf(string, ...any)               {}
func (c *catcher) Fatal(args ...any)                 { c.Error(args...); panic(given{}) }
func (c *catcher) Fatalf(format string, args ...any) { c.Errorf(format, args...); panic(given{}) }

// lifeWith is a life by seed with bugs in it, and what was found.
func lifeWith(t *testing.T, seed uint64, bugs partition.Planted) (found string) {
	synctest.Test(t, func(t *testing.T) {
		c := &catcher{TB: t}
		defer func() {
			if p := recover(); p != nil {
				if _, ok := p.(given); !ok {
					stack := make([]byte, 8<<10)
					c.note(fmt.Sprintf("panic: %v\n%s", p, stack[:runtime.Stack(stack, false)]))
				}
			}
			found = c.found
		}()
		life(c, seededDice{rand.New(rand.NewPCG(seed, 3))}, bugs)
	})
	return found
}

// TestPlantedBugsAreFoundInLives puts bugs in and looks for the life that shows them. Goroutines run in an order that no seed decides, so the bounds are several times
// what was seen: 12, 3, 26 and 7 lives.
func TestPlantedBugsAreFoundInLives(t *testing.T) {
	for what, c := range map[string]struct {
		bug  partition.Planted
		most uint64 // lives
	}{
		"acked too early":     {partition.Planted{AckedTooEarly: true}, 200},
		"own sync ignored":    {partition.Planted{OwnSyncIgnored: true}, 200},
		"cut by watermark":    {partition.Planted{CutByWatermark: true}, 200},
		"incarnation ignored": {partition.Planted{IncarnationIgnored: true}, 200},
	} {
		t.Run(what, func(t *testing.T) {
			for seed := range c.most {
				if found := lifeWith(t, seed, c.bug); found != "" {
					t.Logf("life %d: %s", seed, found)
					return
				}
			}
			t.Errorf("it was not found in %d lives", c.most)
		})
	}
}
