package replication

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"runtime"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/rustmq/rustmq/metadata"
	"github.com/rustmq/rustmq/partition"
)

// catcher is a test that notes what it finds and goes on: a planted bug has to be found.
type catcher struct {
	testing.TB

	mu    sync.Mutex
	log   string
	found string
}

type given struct{} // panicked with, where a test would end

func (c *catcher) note(text string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.found == "" {
		c.found = text + c.log
	}
}

func (c *catcher) Error(args ...any)                 { c.note(fmt.Sprint(args...)) }
func (c *catcher) Errorf(format string, args ...any) { c.note(fmt.Sprintf(format, args...)) }
func (c *catcher) Fatal(args ...any)                 { c.Error(args...); panic(given{}) }
func (c *catcher) Fatalf(format string, args ...any) { c.Errorf(format, args...); panic(given{}) }

// Logf explains what is found next.
func (c *catcher) Logf(format string, args ...any) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.log += "\n" + fmt.Sprintf(format, args...)
}

// lifeWith is a life by seed with bugs in it, and what was found.
func lifeWith(t *testing.T, seed uint64, of []string, planted bugs) (found string) {
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
		life(c, seededDice{rand.New(rand.NewPCG(seed, 3))}, of, planted)
	})
	return found
}

var (
	lives = flag.Uint64("lives", 30, "lives without a bug, in TestLivesWithoutABug")
	first = flag.Uint64("first-life", 0, "the first of them")
)

// TestLivesWithoutABug: nothing is found where nothing is.
func TestLivesWithoutABug(t *testing.T) {
	n := *lives
	if testing.Short() {
		n = min(n, 10)
	}
	kinds := [][]string{anything, comings, losses}
	for seed := *first; seed < *first+n; seed++ {
		if found := lifeWith(t, seed, kinds[seed%3], bugs{}); found != "" {
			t.Fatalf("life %d (go test ./replication -run TestLivesWithoutABug -lives 1 -first-life %d): %s", seed, seed, found)
		}
	}
}

// TestPlantedBugsAreFoundInLives puts bugs in and looks for the life that shows them.
func TestPlantedBugsAreFoundInLives(t *testing.T) {
	for i, c := range []struct {
		what string
		of   []string
		bugs bugs
		// Where to look, in how many lives at most: goroutines run in an order that no seed decides, so the bounds are several times what was seen.
		first, most uint64
	}{
		{"acknowledged before the sync", anything, bugs{partition: partition.Planted{AckedTooEarly: true}}, 13, 1000},
		{"logs not compared", anything, bugs{partition: partition.Planted{NotCompared: true}}, 0, 1000},
		{"cut by the watermark", anything, bugs{partition: partition.Planted{CutByWatermark: true}}, 13, 1000},
		{"own sync ignored", anything, bugs{partition: partition.Planted{OwnSyncIgnored: true}}, 13, 1000},
		{"slowest ignored", anything, bugs{partition: partition.Planted{SlowestIgnored: true}}, 0, 1000},
		{"proposed set ignored", comings, bugs{partition: partition.Planted{ProposedIgnored: true}}, 0, 1000},
		{"doubt ignored", comings, bugs{partition: partition.Planted{DoubtIgnored: true}}, 0, 1000},
		{"minimum ignored", anything, bugs{partition: partition.Planted{MinISRIgnored: true}}, 65, 1000},
		{"incarnation ignored", anything, bugs{partition: partition.Planted{IncarnationIgnored: true}}, 0, 1000},
		{"lease not asked again", anything, bugs{partition: partition.Planted{LeaseNotAsked: true}}, 19, 1000},
		{"repeated too early", anything, bugs{partition: partition.Planted{RepeatTooEarly: true}}, 8, 1000},
		{"sender not kept", anything, bugs{partition: partition.Planted{SenderNotKept: true}}, 0, 1000},
		{"sender not cut", losses, bugs{partition: partition.Planted{SenderNotCut: true}}, 0, 1000},
		{"end too early", anything, bugs{partition: partition.Planted{EndTooEarly: true}}, 11, 1000},
		{"reads uncommitted", anything, bugs{partition: partition.Planted{ReadsUncommitted: true}}, 19, 1000},
		{"read refused", anything, bugs{partition: partition.Planted{ReadRefused: true}}, 11, 1000},
		{"joins unproven", comings, bugs{peers: planted{joinsUnproven: true}}, 0, 1000},
		{"epoch continued", anything, bugs{metadata: metadata.Planted{EpochContinued: true}}, 10, 1000},
		{"damage ignored", losses, bugs{metadata: metadata.Planted{DamageIgnored: true}}, 14, 1000},
		{"other disk ignored", losses, bugs{metadata: metadata.Planted{DiskIgnored: true}}, 0, 1000},
		{"eligible forgotten", losses, bugs{metadata: metadata.Planted{EligibleForgotten: true}}, 21, 1000},
		{"eligible for ever", losses, bugs{metadata: metadata.Planted{EligibleForEver: true}}, 21, 1000},
		{"compare-and-set ignored", comings, bugs{metadata: metadata.Planted{CompareIgnored: true}}, 21, 1000},
		{"incarnation of a proposal ignored", comings, bugs{metadata: metadata.Planted{IncarnationIgnored: true}}, 15, 1000},
		{"declared dead and joins", comings, bugs{metadata: metadata.Planted{FencedJoins: true}}, 55, 1000},
		{"elected unclean", losses, bugs{metadata: metadata.Planted{UncleanElected: true}}, 0, 1000},
	} {
		if testing.Short() && i >= 4 {
			return // all of them take long
		}
		t.Run(c.what, func(t *testing.T) {
			for seed := c.first; seed < c.first+c.most; seed++ {
				if found := lifeWith(t, seed, c.of, c.bugs); found != "" {
					t.Logf("life %d, which is number %d: %s", seed, seed-c.first+1, found)
					return
				}
			}
			t.Errorf("it was not found in %d lives", c.most)
		})
	}
}
