package raft

import (
	"flag"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rustmq/rustmq/mq"
)

var simSeeds = flag.Uint64("sim-seeds", 200, "lives of groups in TestLivesOfGroups")

// simulate is one life: the first seeds have three voters, every third five.
func simulate(t *testing.T, seed uint64, bugs planted) (faults []string, acked int) {
	synctest.Test(t, func(t *testing.T) {
		voters := 3
		if seed%3 == 2 {
			voters = 5
		}
		s := newSim(t.Context(), seed, voters, bugs)
		s.live(10)
		faults, acked = s.faults(), len(s.acked)
	})
	return faults, acked
}

// TestLivesOfGroups has groups of three and five live through crashes, cuts, loss, slow disks, and changes of membership: one leader per term, all apply the same, what
// was acknowledged stays, and no read is older than its call.
func TestLivesOfGroups(t *testing.T) {
	seeds := *simSeeds
	if testing.Short() {
		seeds = min(seeds, 20)
	}
	total := 0
	for seed := range seeds {
		faults, acked := simulate(t, seed, planted{})
		for _, f := range faults {
			t.Errorf("seed %d: %s", seed, f)
		}
		if len(faults) > 0 {
			return
		}
		total += acked
	}
	if mean := total / int(seeds); mean < 30 {
		t.Errorf("only %d proposals were acknowledged in a life", mean)
	}
}

// TestPlantedBugsAreFoundInLives puts bugs in and looks for the seed that shows them. Goroutines run in an order that no seed decides, so the bounds are several
// times what was seen.
func TestPlantedBugsAreFoundInLives(t *testing.T) {
	for what, c := range map[string]struct {
		bug  planted
		most uint64 // seeds
	}{
		"state not stored": {planted{stateNotStored: true}, 2000},
		"vote forgotten":   {planted{voteForgotten: true}, 3000},
		"said too early":   {planted{saidTooEarly: true}, 100},
		"reset too early":  {planted{resetTooEarly: true}, 3000},
		"context again":    {planted{contextAgain: true}, 2000},
		"read not asked":   {planted{readNotAsked: true}, 2000},
		"id again":         {planted{idAgain: true}, 2000},
		"blank goes on":    {planted{blankGoesOn: true}, 100},
		"applied not told": {planted{appliedNotTold: true}, 8000},
	} {
		if testing.Short() && !c.bug.saidTooEarly {
			continue // the rarer ones take longer
		}
		t.Run(what, func(t *testing.T) {
			for seed := range c.most {
				if faults, _ := simulate(t, seed, c.bug); len(faults) > 0 {
					t.Logf("seed %d: %s", seed, faults[0])
					return
				}
			}
			t.Errorf("it was not found in %d lives", c.most)
		})
	}
}

// TestNobodyIsElectedWhenNothingFails is a minute of work without trouble.
func TestNobodyIsElectedWhenNothingFails(t *testing.T) {
	for _, voters := range []int{3, 5} {
		synctest.Test(t, func(t *testing.T) {
			s := newSim(t.Context(), 1, voters, planted{})
			s.set(func() { s.peaceful = true })
			for s.leader() == nil {
				time.Sleep(simTick)
			}
			term := s.leader().node.Status().Term
			for range 200 {
				if _, err := s.leader().node.Propose(t.Context(), make([]byte, 1000)); err != nil && mq.CodeOf(err) != mq.None {
					t.Error(err)
				}
				time.Sleep(s.between(time.Millisecond, 300*time.Millisecond))
			}
			for _, m := range s.all() {
				if got := m.node.Status().Term; got != term {
					t.Errorf("member %d is in term %d, they began in %d", m.id, got, term)
				}
			}
			s.close()
		})
	}
}
