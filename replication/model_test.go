package replication

import (
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"github.com/rustmq/rustmq/mq"
	"github.com/rustmq/rustmq/partition"
)

// attempt is one try to append one record.
type attempt struct {
	of  *producing
	seq int32
}

// producing is an idempotent producer to one partition: what failed, or took too long, it sends again, in order.
type producing struct {
	t    testing.TB
	id   mq.ProducerID
	part int
	next int32

	mu     sync.Mutex
	acked  map[int32]mq.Offset
	rewind bool
}

// Complete implements partition.Completion: an acknowledgement is good for ever, whichever leader it is of and whenever it comes.
func (a attempt) Complete(r partition.AppendResult) {
	a.of.mu.Lock()
	defer a.of.mu.Unlock()
	if r.Err != nil {
		a.of.rewind = true
		return
	}
	if was, again := a.of.acked[a.seq]; again && was != r.Base {
		a.of.t.Errorf("partition %d: record %d of producer %d was acknowledged at %d and at %d", a.of.part, a.seq, a.of.id, was, r.Base)
	}
	a.of.acked[a.seq] = r.Base
}

// send sends n more, after all that have to be sent again.
func (p *producing) send(c *cluster, n int32, again bool) {
	l := c.leader(p.part)
	if l == nil || !l.up {
		return
	}
	p.mu.Lock()
	first := p.next
	if p.rewind || again {
		p.rewind = false
		first = 0
		for _, ok := p.acked[first]; ok; _, ok = p.acked[first] {
			first++
		}
	}
	p.mu.Unlock()
	p.next += n
	for seq := first; seq < p.next; seq++ {
		l.send(p.part, batch(p.t, p.id, 0, seq, 200), mq.DurabilityAll, attempt{p, seq})
	}
}

func (p *producing) done() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.acked) == int(p.next)
}

// verify reads the partition at its leader: each record that was sent is there once, in order, at the offset that was told.
func (p *producing) verify(c *cluster) {
	l := c.leader(p.part)
	_, high, _, _ := l.partition(id(p.part)).Offsets()
	next := int32(0)
	for rest := l.stored(p.part, high); len(rest) > 0; {
		b, after, err := mq.NextBatch(rest)
		if err != nil {
			p.t.Fatal(err)
		}
		rest = after
		if b.ProducerID() != p.id {
			continue
		}
		if b.BaseSequence() != next || p.acked[next] != b.BaseOffset() {
			p.t.Fatalf("partition %d: at %d is record %d of producer %d, want %d, which was acknowledged at %d",
				p.part, b.BaseOffset(), b.BaseSequence(), p.id, next, p.acked[next])
		}
		next++
	}
	if next != p.next {
		p.t.Fatalf("partition %d: %d records of producer %d, %d were acknowledged", p.part, next, p.id, p.next)
	}
}

// unfence lets a broker that was declared dead and is not lead and follow again.
func (c *controllers) unfence(node mq.NodeID) {
	c.mu.Lock()
	defer c.mu.Unlock()
	b := c.brokers[node]
	b.fenced = false
	c.brokers[node] = b
	c.index++
	c.elect()
}

// move makes another member of the in-sync set the leader.
func (c *controllers) move(id mq.PartitionID, pick int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	p := c.partitions[id]
	alive := slices.DeleteFunc(slices.Clone(p.isr), func(n mq.NodeID) bool { return c.brokers[n].fenced })
	if len(alive) > 0 {
		c.lead(id, alive[pick%len(alive)])
	}
}

// take makes node the leader, if it may be.
func (c *controllers) take(id mq.PartitionID, node mq.NodeID) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.brokers[node].fenced && slices.Contains(c.partitions[id].isr, node) {
		c.lead(id, node)
	}
}

// TestNothingAcknowledgedIsLost: three brokers, of which any may crash (with or without what was not synced), be cut off, declared dead, hear nothing of
// the controllers, whose answers may be lost; leaders change; in-sync sets shrink and grow. In the end each record that was acknowledged is there,
// once and in order, and all logs are the same.
func TestNothingAcknowledgedIsLost(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		inBubble(t, func(t *testing.T) { life(t, rapidDice{rt}, partition.Planted{}) })
	})
}

// dice decide what happens in a life: rapid's, which it can make shorter when something is found, or those of a seed.
type dice interface {
	number(low, high int, what string) int
	seed() uint64
}

type rapidDice struct{ *rapid.T }

func (d rapidDice) number(low, high int, what string) int {
	return rapid.IntRange(low, high).Draw(d.T, what)
}

func (d rapidDice) seed() uint64 { return rapid.Uint64().Draw(d.T, "seed") }

type seededDice struct{ *rand.Rand }

func (d seededDice) number(low, high int, _ string) int { return low + d.IntN(high-low+1) }
func (d seededDice) seed() uint64                       { return d.Uint64() }

// inBubble runs f in virtual time; rapid's own panics come through.
func inBubble(t *testing.T, f func(t *testing.T)) {
	var caught any
	synctest.Test(t, func(t *testing.T) {
		defer func() { caught = recover() }()
		f(t)
	})
	if caught != nil {
		panic(caught)
	}
}

func life(t testing.TB, d dice, bugs partition.Planted) {
	seed := d.seed()
	// What happens on other goroutines draws from this: how long a disk and a network take, and which answers are lost.
	var mu sync.Mutex
	source := rand.New(rand.NewPCG(seed, 1))
	chance := func(n int) int {
		mu.Lock()
		defer mu.Unlock()
		return source.IntN(n)
	}
	c := newCluster(t, 3, 2, 2, seed)
	c.planted = bugs
	c.cfg.MaxLag, c.cfg.MaxBroken, c.cfg.Interval = 2*time.Second, 500*time.Millisecond, 100*time.Millisecond
	c.cfg.Window = 4 << 10
	lossy := d.number(0, 1, "answers are lost") == 1
	c.ctl.pick = chance
	c.ctl.answer = func(o Outcome) Outcome {
		if lossy && chance(3) == 0 {
			return OutcomeUnknown
		}
		return o
	}
	slow := func() time.Duration { return time.Duration(chance(8)*chance(8)*chance(50)) * time.Microsecond } // up to 2.5 ms, mostly less
	c.net.delay = slow
	c.diskDelay = func() time.Duration { return 2 * slow() }
	c.start()
	defer c.close()
	var producers []*producing
	for i := range 4 {
		producers = append(producers, &producing{t: t, id: mq.ProducerID(1 + i), part: i % 2, acked: make(map[int32]mq.Offset)})
	}
	node := func() mq.NodeID { return mq.NodeID(d.number(1, 3, "node")) }
	steps := map[string]func(){
		"send": func() {
			for _, p := range producers {
				p.send(c, int32(d.number(0, 8, "records")), false)
			}
		},
		"again": func() { producers[d.number(0, 3, "producer")].send(c, 1, true) },
		"wait":  func() { time.Sleep(time.Duration(d.number(1, 3000, "ms")) * time.Millisecond) },
		"moment": func() {
			time.Sleep(time.Duration(d.number(1, 3000, "us")) * time.Microsecond)
		},
		"crash": func() {
			if b := c.brokers[node()]; b.up {
				b.crash(d.number(0, 1, "kill") == 1)
			}
		},
		"blackout": func() { // in the middle of work the power fails everywhere, and comes back to one after the other
			for _, p := range producers {
				p.send(c, 4, true)
			}
			time.Sleep(time.Duration(d.number(1, 5000, "us")) * time.Microsecond)
			for _, b := range c.brokers {
				if b.up {
					b.disk.CutAt(1)
				}
			}
			for n := range 3 {
				if b := c.brokers[mq.NodeID(1+n)]; b.up {
					b.crash(false)
				}
			}
			for i := range 2 {
				c.ctl.move(id(i), d.number(0, 2, "which"))
			}
			if d.number(0, 1, "one is back") == 1 {
				c.brokers[node()].start()
			}
		},
		"forget": func() { // the power of one whose disk is slow fails, with work under way that others may have synced, and it is elected as soon as it is back
			b := c.brokers[node()]
			if !b.up {
				return
			}
			b.slow.Store(true)
			for range d.number(1, 3, "rounds") {
				for _, p := range producers {
					p.send(c, 2, false)
				}
				time.Sleep(time.Duration(d.number(1, 20, "ms")) * time.Millisecond)
			}
			b.crash(false)
			b.slow.Store(false)
			b.start()
			for i := range 2 {
				c.ctl.take(id(i), b.id)
			}
			time.Sleep(time.Duration(d.number(1, 5000, "us")) * time.Microsecond)
		},
		"flip": func() { // before anybody has caught up with the first
			for range 3 {
				c.ctl.move(id(0), d.number(0, 2, "which"))
				time.Sleep(time.Duration(d.number(1, 5000, "us")) * time.Microsecond)
			}
		},
		"start": func() {
			if b := c.brokers[node()]; !b.up {
				b.deaf.Store(false)
				b.start()
			}
		},
		"cut":  func() { a := node(); c.net.cutOff(a, 1+a%3) },
		"heal": func() { c.net.heal() },
		"fence": func() {
			c.ctl.fence(node())
		},
		"unfence": func() {
			if b := c.brokers[node()]; b.up {
				c.ctl.unfence(b.id)
			}
		},
		"deaf": func() { b := c.brokers[node()]; b.deaf.Store(!b.deaf.Load()) },
		"move": func() {
			c.ctl.move(id(d.number(0, 1, "partition")), d.number(0, 2, "which"))
		},
	}
	names := []string{"send", "send", "send", "send", "again", "wait", "moment", "moment", "crash", "blackout", "forget", "forget", "flip", "start", "start", "cut", "heal", "fence", "unfence", "deaf", "move"}
	for range d.number(5, 40, "steps") {
		steps[names[d.number(0, len(names)-1, "step")]]()
	}
	c.recover()
	for round := 0; slices.ContainsFunc(producers, func(p *producing) bool { return !p.done() }); round++ {
		if round > 200 {
			c.agree(0)
			c.agree(1)
			t.Fatal("not everything is acknowledged, and nothing is in the way")
		}
		for _, p := range producers {
			p.send(c, 0, true)
		}
		time.Sleep(300 * time.Millisecond)
	}
	c.agree(0)
	c.agree(1)
	for _, p := range producers {
		p.verify(c)
	}
}

// recover ends all trouble.
func (c *cluster) recover() {
	c.net.heal()
	c.ctl.mu.Lock()
	c.ctl.answer = func(o Outcome) Outcome { return o }
	c.ctl.mu.Unlock()
	for _, b := range c.brokers {
		b.deaf.Store(false)
		if !b.up {
			b.start()
		}
		c.ctl.unfence(b.id)
	}
}
