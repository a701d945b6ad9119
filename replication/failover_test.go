package replication

import (
	"slices"
	"sync/atomic"
	"testing"
	"time"

	metadatapb "github.com/rustmq/rustmq/api/metadata/v1"
	"github.com/rustmq/rustmq/mq"
	"github.com/rustmq/rustmq/partition"
)

// acked produces records until n are acknowledged with `all`, one after another, wherever the partition is led.
func (c *cluster) acked(i int, producer mq.ProducerID, first, n int32) {
	c.t.Helper()
	for seq := first; seq < first+n; seq++ {
		data := batch(c.t, producer, 0, seq, 100)
		for try := 0; ; try++ {
			if l := c.leader(i); l != nil && l.up {
				r := make(future, 1)
				l.send(i, slices.Clone(data), mq.DurabilityAll, r)
				select {
				case got := <-r:
					if got.Err == nil {
						if got.Base != mq.Offset(seq) {
							c.t.Fatalf("sequence %d is at %d", seq, got.Base)
						}
						try = -1
					} else if !mq.CodeOf(got.Err).Retriable() {
						c.t.Fatalf("sequence %d: %v", seq, got.Err)
					}
				case <-time.After(5 * time.Second):
				}
				if try < 0 {
					break
				}
			}
			if try > 1000 {
				c.t.Fatalf("sequence %d is not acknowledged: %+v", seq, *c.ctl.partition(id(i)))
			}
			time.Sleep(20 * time.Millisecond)
		}
	}
}

// settle gives brokers the time to hear of what was decided.
func settle() { time.Sleep(20 * time.Millisecond) }

func TestNewLeaderHasAllThatWasAcknowledgedWhoeverItIs(t *testing.T) {
	for _, successor := range []mq.NodeID{2, 3} {
		for _, kill := range []bool{true, false} {
			bubble(t, func(t *testing.T) {
				c := newCluster(t, 3, 1, 2, uint64(successor)).start()
				defer c.close()
				c.acked(0, 5, 0, 30)
				old := c.leader(0)
				for seq := range int32(5) { // under way when the power fails
					old.send(0, batch(t, 5, 0, 30+seq, 100), mq.DurabilityAll, make(future, 1))
				}
				old.crash(kill)
				c.ctl.change(id(0), func(p *metadatapb.PartitionChange) {
					p.Replicas = numbers([]mq.NodeID{successor, 5 - successor, old.id}) // in this order
				})
				c.ctl.fence(old.id)
				settle()
				if l := c.leader(0); l.id != successor {
					t.Fatalf("node %d leads", l.id)
				}
				c.acked(0, 5, 25, 30) // from the middle of what was acknowledged: those are duplicates, at their offsets
				old.start()
				c.agree(0)
			})
		}
	}
}

func TestFollowerThatLostItsUnsyncedTailComesBackIntoSync(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c := newCluster(t, 3, 1, 2, 4).start()
		defer c.close()
		c.acked(0, 5, 0, 10)
		f := c.brokers[3]
		for round := range int32(5) {
			for seq := range int32(5) {
				c.leader(0).send(0, batch(t, 5, 0, 10+10*round+seq, 100), mq.DurabilityAll, make(future, 1))
			}
			f.crash(false)
			c.ctl.fence(f.id)
			c.acked(0, 5, 10+10*round, 10)
			f.start()
			c.agree(0)
		}
	})
}

// KIP-101, scenario 1: a follower that restarts truncates to its watermark, which lags behind; then it is elected and what was acknowledged is gone. Here it
// asks the leader, or keeps what it has if there is none.
func TestKIP101RestartedFollowerKeepsWhatWasAcknowledged(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c := newCluster(t, 2, 1, 1, 5)
		c.cfg.MarksDelay = time.Hour // the follower's watermark lags by the last batch
		c.start()
		defer c.close()
		c.acked(0, 5, 0, 20)
		l, f := c.brokers[1], c.brokers[2]
		if _, high, end, _ := f.partition(id(0)).Offsets(); high == end || end != 20 {
			t.Fatalf("watermark %d, end %d: the test shows nothing", high, end)
		}
		f.crash(false)
		f.start()
		l.crash(false)
		c.ctl.fence(l.id)
		settle()
		if got := c.leader(0); got != f {
			t.Fatalf("%+v", *c.ctl.partition(id(0)))
		}
		if _, _, end, _ := f.partition(id(0)).Offsets(); end != 20 {
			t.Fatalf("the log ends at %d, 20 records were acknowledged", end)
		}
		c.acked(0, 5, 15, 10)
	})
}

// KIP-101, scenario 2: both lose what they had not synced, the one that had less leads first and writes other records at the same offsets. The
// other one must notice by the epoch, for the offsets are the same.
func TestKIP101OtherRecordsAtTheSameOffsetsAreNotKept(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c := newCluster(t, 2, 1, 1, 6)
		c.cfg.MaxBroken = 100 * time.Millisecond
		c.start()
		defer c.close()
		c.acked(0, 5, 0, 10)
		l, f := c.brokers[1], c.brokers[2]
		c.net.cutOff(1, 2)
		for seq := range int32(3) { // synced here, and nowhere else
			if r := l.produce(0, batch(t, 5, 0, 10+seq, 100), mq.DurabilityLeader); r.Err != nil {
				t.Fatal(r.Err)
			}
		}
		l.crash(true)
		c.ctl.fence(l.id)
		settle()
		for seq := range int32(3) {
			if r := f.produce(0, batch(t, 6, 0, seq, 100), mq.DurabilityAll); r.Err != nil || r.Base != 10+mq.Offset(seq) {
				t.Fatalf("%+v", r)
			}
		}
		c.net.heal()
		l.start()
		c.agree(0)
		if e := l.partition(id(0)).LastEpoch(); e != f.partition(id(0)).LeaderEpoch() {
			t.Fatalf("the last batch is of epoch %d", e)
		}
	})
}

// KIP-279: leaders that change quickly leave epochs that interleave; one answer is not enough to find where the logs part.
func TestKIP279InterleavedEpochsAreTruncatedInSeveralSteps(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c := newCluster(t, 2, 1, 1, 7)
		c.cfg.MaxBroken = time.Hour
		c.start()
		defer c.close()
		c.acked(0, 5, 0, 4)
		c.net.cutOff(1, 2)
		// By hand, as an unclean election would: each leads in turn and writes something that the other one never sees.
		seqs := map[mq.NodeID]int32{}
		for turn := range 6 {
			node := mq.NodeID(1 + turn%2)
			c.ctl.change(id(0), func(p *metadatapb.PartitionChange) {
				p.Isr, p.Leader = []*metadatapb.ISRMember{{NodeId: 1}, {NodeId: 2}}, new(int32(node))
			})
			settle()
			for range 1 + turn%3 {
				r := c.brokers[node].produce(0, batch(t, 10+mq.ProducerID(node), 0, seqs[node], 50), mq.DurabilityLeader)
				if r.Err != nil {
					t.Fatal(r.Err)
				}
				seqs[node]++
			}
		}
		c.net.heal()
		c.agree(0)
	})
}

// Rule 4: what an earlier incarnation acknowledged says nothing of what the next one holds.
func TestAcknowledgementsOfAnEarlierIncarnationEndTheStream(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c := newCluster(t, 2, 1, 2, 8).start()
		defer c.close()
		c.acked(0, 5, 0, 5)
		c.brokers[2].deaf.Store(true)
		c.ctl.register(2, c.ctl.run(), 0, nil) // another process speaks for node 2 now
		settle()
		r := make(future, 1)
		c.leader(0).send(0, batch(t, 5, 0, 5, 100), mq.DurabilityAll, r)
		time.Sleep(10 * time.Second)
		if len(r) != 0 {
			t.Fatalf("acknowledged by an incarnation that is over: %+v", <-r)
		}
		if s := c.brokers[1].peers.Status(); len(s) != 1 || s[0].Connected {
			t.Fatalf("%+v", s)
		}
	})
}

// A leader that hears nothing of the controllers and is cut off from its followers acknowledges nothing with `all`; when it is back, what it wrote is gone.
func TestZombieAcknowledgesNothingThatIsNotReplicated(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c := newCluster(t, 3, 1, 2, 9).start()
		defer c.close()
		c.acked(0, 5, 0, 10)
		zombie := c.leader(0)
		zombie.deaf.Store(true)
		c.net.cutOff(1, 2)
		c.net.cutOff(1, 3)
		c.ctl.fence(zombie.id)
		settle()
		r := make(future, 100)
		for seq := range int32(20) {
			zombie.send(0, batch(t, 6, 0, seq, 100), mq.DurabilityAll, r)
		}
		c.acked(0, 5, 10, 10)
		time.Sleep(time.Minute)
		for len(r) > 0 {
			if got := <-r; got.Err == nil {
				t.Fatalf("acknowledged %+v", got)
			}
		}
		c.net.heal() // it still does not know, and may speak to its followers again: they refuse it
		time.Sleep(10 * time.Second)
		if len(r) > 0 {
			t.Fatalf("%+v", <-r)
		}
		zombie.register(nil) // its session is back
		zombie.deaf.Store(false)
		c.agree(0)
		if len(r) != 20 {
			t.Fatalf("%d of 20 are told", len(r))
		}
	})
}

// Rule 5, with controllers whose answers are lost: whoever leads next has all that was acknowledged, and the set settles.
func TestInSyncSetSettlesThoughAnswersAreLost(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c := newCluster(t, 3, 1, 2, 10)
		c.cfg.MaxBroken, c.cfg.Interval = 200*time.Millisecond, 100*time.Millisecond
		var lost atomic.Int64
		c.ctl.answer = func(o Outcome) Outcome {
			if lost.Add(1)%3 != 0 {
				return OutcomeUnknown
			}
			return o
		}
		c.start()
		defer c.close()
		for round := range int32(6) {
			c.net.cutOff(1, 3)
			c.acked(0, 5, 20*round, 10) // until node 3 is out, and after
			if isr := c.ctl.partition(id(0)).ISR; len(isr) != 2 {
				t.Fatalf("in sync are %v", isr)
			}
			c.net.heal()
			c.acked(0, 5, 20*round+10, 10)
			c.agree(0)
		}
		if lost.Load() < 10 {
			t.Fatalf("%d answers: the test shows nothing", lost.Load())
		}
	})
}

// What is acknowledged with a set below min.insync.replicas could be lost with one disk: nothing is.
func TestNothingIsAcknowledgedBelowMinISR(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c := newCluster(t, 2, 1, 2, 11)
		c.cfg.MaxBroken = 200 * time.Millisecond
		c.start()
		defer c.close()
		c.acked(0, 5, 0, 5)
		c.net.cutOff(1, 2)
		r := make(future, 1)
		c.leader(0).send(0, batch(t, 5, 0, 5, 100), mq.DurabilityAll, r)
		time.Sleep(time.Minute)
		if a := c.ctl.partition(id(0)); len(a.ISR) != 1 || len(r) != 0 {
			t.Fatalf("in sync are %v, %d answers", a.ISR, len(r))
		}
		if got := c.leader(0).produce(0, batch(t, 5, 0, 6, 100), mq.DurabilityAll); mq.CodeOf(got.Err) != mq.NotEnoughReplicas {
			t.Fatalf("%+v", got)
		}
		c.net.heal()
		if got := <-r; got.Err != nil {
			t.Fatal(got.Err)
		}
		c.agree(0)
	})
}

// Nobody but the leader may push, and only to whom it means: node 7 says that it is node 1.
func TestHelloIsChecked(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c := newCluster(t, 2, 1, 1, 12).start()
		defer c.close()
		c.acked(0, 5, 0, 1)
		liar := Open(Config{
			Self: partition.Replica{Node: 1, Incarnation: 99}, Propose: c.ctl.propose, Logger: c.logger,
		})
		defer liar.Close()
		p := c.brokers[1].partition(id(0))
		liar.Set(Peer{Node: 2, Dial: c.net.dialer(7, 2)}, []Assignment{{p, p.LeaderEpoch()}})
		time.Sleep(10 * time.Second)
		if s := liar.Status(); len(s) != 1 || s[0].Streams != 0 {
			t.Fatalf("%+v", s)
		}
		liar.Set(Peer{Node: 2}, nil)
		c.agree(0)
	})
}
