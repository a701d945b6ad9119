package raft

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rustmq/rustmq/mq"
)

func TestThreeVotersApplyTheSame(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, 3, nil)
		leader := c.leader(0)
		for i := range 10 {
			leader.propose(t, fmt.Sprint(i))
		}
		if got := c.settle(); len(got) != 10 {
			t.Errorf("applied %v", got)
		}
		for _, m := range c.all() {
			if m == leader {
				continue
			}
			if _, err := m.node.Propose(t.Context(), []byte("x")); mq.CodeOf(err) != mq.NotController || Undecided(err) {
				t.Errorf("a follower answers a proposal with %v", err)
			}
		}
		peers, err := leader.node.Peers(t.Context())
		if err != nil || len(peers) != 3 || peers[0].Match != peers[2].Match {
			t.Errorf("peers %+v, %v", peers, err)
		}
	})
}

func TestAnotherLeaderTakesOverAndKeepsWhatWasAcknowledged(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, 3, nil)
		old := c.leader(0)
		old.propose(t, "a")
		c.isolate(old.id, true)
		lost := make(chan error, 1)
		go func() {
			_, err := old.node.Propose(context.Background(), []byte("never"))
			lost <- err
		}()
		next := c.leader(old.id)
		next.propose(t, "b")
		if err := <-lost; mq.CodeOf(err) != mq.NotController || !Undecided(err) {
			t.Errorf("the leader that was cut off answers %v", err)
		}
		c.isolate(old.id, false)
		if got := c.settle(); !slices.Equal(got, []string{"a", "b"}) {
			t.Errorf("applied %v", got)
		}
	})
}

func TestLaggingFollowerGetsASnapshot(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, 3, func(cfg *Config) { cfg.CompactEntries, cfg.KeepEntries = 10, 2 })
		leader := c.leader(0)
		behind := c.all()[leader.id%3]
		c.isolate(behind.id, true)
		for i := range 50 {
			leader.propose(t, fmt.Sprint(i))
		}
		c.isolate(behind.id, false)
		if got := c.settle(); len(got) != 50 {
			t.Errorf("%d applied", len(got))
		}
		if behind.sm.stages == 0 {
			t.Error("it came without a snapshot")
		}
		leader = c.leader(0)
		leader.propose(t, "after")
		c.settle()
		c.crash(behind) // what came by the snapshot is durable
		leader.propose(t, "and on")
		if got := c.settle(); len(got) != 52 {
			t.Errorf("%d applied", len(got))
		}
	})
}

// TestSnapshotSurvivesAPowerCutAnywhere cuts the power of the follower in every call that it makes while a snapshot comes in.
func TestSnapshotSurvivesAPowerCutAnywhere(t *testing.T) {
	for k, done := 1, false; !done; k++ {
		synctest.Test(t, func(t *testing.T) {
			c := newCluster(t, 3, func(cfg *Config) { cfg.CompactEntries, cfg.KeepEntries = 10, 2 })
			leader := c.leader(0)
			behind := c.all()[leader.id%3]
			c.isolate(behind.id, true)
			for i := range 25 {
				leader.propose(t, fmt.Sprint(i))
			}
			behind.fs.CutAt(k)
			c.isolate(behind.id, false)
			for !behind.fs.Cut() && len(behind.sm.applied()) < 25 {
				time.Sleep(time.Millisecond)
			}
			done = !behind.fs.Cut()
			c.crash(behind)
			c.leader(0).propose(t, "after")
			if got := c.settle(); len(got) != 26 {
				t.Errorf("cut at call %d: applied %v", k, got)
			}
		})
	}
}

func TestReadIndexIsNotOlderThanTheCall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, 3, nil)
		leader := c.leader(0)
		for i := range 20 {
			leader.propose(t, fmt.Sprint(i))
			for _, m := range c.all() {
				if _, err := m.node.ReadIndex(t.Context()); err != nil {
					t.Fatal(err)
				}
				if got := len(m.sm.applied()); got != i+1 {
					t.Errorf("node %d read %d of %d", m.id, got, i+1)
				}
			}
		}
		c.isolate(leader.id, true)
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		if _, err := leader.node.ReadIndex(ctx); mq.CodeOf(err) != mq.RequestTimedOut {
			t.Errorf("a leader that was cut off answers a read with %v", err)
		}
	})
}

func TestManyReadsAtOnceAreAllAnswered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, 3, nil)
		c.leader(0)
		var wait sync.WaitGroup
		for i := range 300 {
			wait.Go(func() {
				time.Sleep(time.Duration(i%7) * time.Millisecond / 2)
				if _, err := c.all()[i%3].node.ReadIndex(t.Context()); err != nil {
					t.Error(err)
				}
			})
		}
		wait.Wait()
	})
}

func TestLearnerIsAddedPromotedAndRemoved(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, 3, func(cfg *Config) { cfg.CompactEntries, cfg.KeepEntries = 10, 2 })
		leader := c.leader(0)
		for i := range 30 {
			leader.propose(t, fmt.Sprint(i))
		}
		learner := c.add(4, false)
		ctx := t.Context()
		if err := leader.node.AddLearner(ctx, 4); err != nil {
			t.Fatal(err)
		}
		c.settle()
		if learner.sm.stages == 0 {
			t.Error("the learner came without a snapshot")
		}
		if err := leader.node.Promote(ctx, 4); err != nil {
			t.Fatal(err)
		}
		leader.propose(t, "x")
		c.settle()
		if s := learner.node.Status(); !slices.Contains(s.Voters, 4) || len(s.Voters) != 4 {
			t.Errorf("the new voter sees voters %v", s.Voters)
		}
		for what, err := range map[string]error{
			"add a member":      leader.node.AddLearner(ctx, 4),
			"promote a voter":   leader.node.Promote(ctx, 4),
			"promote a nobody":  leader.node.Promote(ctx, 9),
			"remove a nobody":   leader.node.Remove(ctx, 9),
			"add a member of 0": leader.node.AddLearner(ctx, 0),
		} {
			if mq.CodeOf(err) != mq.InvalidRequest {
				t.Errorf("%s: %v", what, err)
			}
		}
		if err := leader.node.Remove(ctx, 4); err != nil {
			t.Fatal(err)
		}
		if s := leader.node.Status(); slices.Contains(s.Voters, 4) {
			t.Errorf("voters %v after the removal", s.Voters)
		}
	})
}

func TestTheLastVoterCannotBeRemoved(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMachine(t, nil)
		if err := m.node.Remove(t.Context(), 1); mq.CodeOf(err) != mq.InvalidRequest {
			t.Errorf("got %v", err)
		}
	})
}

func TestLeadershipIsTransferred(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, 3, nil)
		leader := c.leader(0)
		to := leader.id%3 + 1
		leader.node.TransferLeadership(to)
		if next := c.leader(leader.id); next.id != to {
			t.Errorf("node %d leads, want %d", next.id, to)
		}
	})
}

func TestDamagedMemberOfAGroupIsRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, 3, nil)
		leader := c.leader(0)
		for i := range 10 {
			leader.propose(t, fmt.Sprint(i))
		}
		c.settle()
		m := c.all()[leader.id%3]
		c.remove(m)
		time.Sleep(time.Second)
		m.halt()
		m.fs.Kill()
		names, err := m.fs.ReadDir("raft")
		if err != nil {
			t.Fatal(err)
		}
		refused := 0
		for bit := int64(2 * 4096 * 8); bit < 6*4096*8; bit += 4001 {
			damaged := &machine{id: m.id, fs: m.fs.Clone(uint64(bit))}
			damaged.sm = m.sm.reborn(damaged.fs.Cut)
			for _, name := range names {
				if damaged.fs.Flip("raft/"+name, bit) == nil {
					break
				}
			}
			err := boot(damaged, func(cfg *Config) { cfg.Transport = port{c.network, m.id} })
			if err == nil && slices.Contains(damaged.rec.Suspect, LogStream()) {
				t.Errorf("bit %d: it came up with a damaged log", bit)
			}
			if mq.CodeOf(err) == mq.Corrupt {
				refused++
			}
			damaged.halt()
		}
		if refused == 0 {
			t.Error("no flip was a damage")
		}
	})
}

// TestThreeVotersWithPowerCutsAndPartitions is a story by seed: whatever happens, what was acknowledged is applied everywhere, once.
func TestThreeVotersWithPowerCutsAndPartitions(t *testing.T) {
	seeds := uint64(10)
	if testing.Short() {
		seeds = 2
	}
	for seed := range seeds {
		synctest.Test(t, func(t *testing.T) {
			random := rand.New(rand.NewPCG(seed, 0))
			c := newCluster(t, 3, func(cfg *Config) { cfg.CompactEntries, cfg.KeepEntries = 20, 4 })
			var mu sync.Mutex
			var acked []string
			stop, cancel := context.WithCancel(t.Context())
			var wait sync.WaitGroup
			for w := range 4 {
				wait.Go(func() {
					for i := 0; stop.Err() == nil; i++ {
						data := fmt.Sprintf("%d-%d", w, i)
						m := c.all()[i%3]
						if node := c.target(0, m.id); node != nil {
							ctx, done := context.WithTimeout(stop, 3*time.Second)
							_, err := node.Propose(ctx, []byte(data))
							done()
							if err == nil {
								mu.Lock()
								acked = append(acked, data)
								mu.Unlock()
							}
						}
						time.Sleep(10 * time.Millisecond)
					}
				})
			}
			for range 12 {
				time.Sleep(time.Duration(random.IntN(2000)) * time.Millisecond)
				m := c.all()[random.IntN(3)]
				switch random.IntN(3) {
				case 0:
					c.crash(m)
				case 1:
					c.isolate(m.id, true)
				case 2:
					c.isolate(m.id, false)
				}
			}
			for _, m := range c.all() {
				c.isolate(m.id, false)
			}
			time.Sleep(5 * time.Second)
			cancel()
			wait.Wait()
			got := c.settle()
			seen := map[string]int{}
			for _, g := range got {
				seen[g]++
			}
			for _, a := range acked {
				if seen[a] != 1 {
					t.Errorf("seed %d: %s was acknowledged and applied %d times", seed, a, seen[a])
				}
			}
			for g, n := range seen {
				if n > 1 {
					t.Errorf("seed %d: %s was applied %d times", seed, g, n)
				}
			}
			if len(acked) < 100 {
				t.Errorf("seed %d: only %d were acknowledged", seed, len(acked))
			}
		})
	}
}
