package sim

import (
	"cmp"
	"context"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/rustmq/rustmq/mq"
)

const (
	// setUp is what clients have to find their topic before any harm is done.
	setUp = 300 * time.Millisecond
	// quietAtMost is the longest time between two faults, and faultAtMost the longest that one lasts. One of longOneIn may last so long: then who is silent is
	// replaced. The others last briefAtMost, so that there is something left to work with.
	quietAtMost = 600 * time.Millisecond
	faultAtMost = 4 * time.Second
	briefAtMost = 1500 * time.Millisecond
	longOneIn   = 4
	// setAtMost is the most by which a wall clock is set at once: several times do not make a producer's time to live, which is by that clock.
	setAtMost = time.Hour
)

// harm is what does harm to a cluster: one fault after the other, each of which is healed some time later, while others may go on.
type harm struct {
	*cluster
	rand  *rand.Rand
	heals []healing // what is yet to be healed, in order
	wipes int       // how many disks may still be lost: one, of a run that loses any
}

type healing struct {
	at time.Time
	do func()
}

// harm does harm until ctx ends, and then heals everything.
func (c *cluster) harm(ctx context.Context) {
	h := &harm{cluster: c, rand: c.rng(5)}
	if h.rand.IntN(3) == 0 {
		h.wipes = 1
	}
	for first := setUp; ; first = 0 {
		next := time.Now().Add(first + h.upTo(quietAtMost))
		for len(h.heals) > 0 && h.heals[0].at.Before(next) {
			if !sleep(ctx, time.Until(h.heals[0].at)) {
				break
			}
			h.heal()
		}
		if !sleep(ctx, time.Until(next)) {
			break
		}
		h.fault()
	}
	for len(h.heals) > 0 {
		h.heal()
	}
	c.event("all is healed")
	if err := c.await(heal); err != nil {
		c.fault("after all was healed: %w", err)
	}
}

// sleep reports whether ctx has not ended meanwhile.
func sleep(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return ctx.Err() == nil
	case <-ctx.Done():
		return false
	}
}

func (h *harm) upTo(d time.Duration) time.Duration { return time.Duration(h.rand.Int64N(int64(d))) }

// lasting is how long a fault lasts.
func (h *harm) lasting() time.Duration {
	if h.rand.IntN(longOneIn) == 0 {
		return h.upTo(faultAtMost)
	}
	return h.upTo(briefAtMost)
}

// later has something healed in a while.
func (h *harm) later(do func()) { h.after(h.lasting(), do) }

// after has something healed then.
func (h *harm) after(d time.Duration, do func()) {
	h.heals = append(h.heals, healing{time.Now().Add(d), do})
	slices.SortStableFunc(h.heals, func(a, b healing) int { return cmp.Compare(a.at.UnixNano(), b.at.UnixNano()) })
}

// heal heals what is next.
func (h *harm) heal() {
	next := h.heals[0]
	h.heals = h.heals[1:]
	next.do()
}

// faults are what may happen, and how often.
var faults = []struct {
	weight int
	do     func(*harm)
}{
	{3, (*harm).kill},
	{3, (*harm).powerCut},
	{2, (*harm).powerCutOfAll},
	{2, (*harm).wipe},
	{3, (*harm).cutPair},
	{3, (*harm).isolate},
	{1, (*harm).cutClients},
	{2, (*harm).reset},
	{2, (*harm).slow},
	{3, (*harm).pause},
	{1, (*harm).skew},
	{1, (*harm).setClock},
	{2, (*harm).bucketTrouble},
	{1, (*harm).lossy},
}

func (h *harm) fault() {
	if h.only != nil {
		h.only(h)
		return
	}
	sum := 0
	for _, f := range faults {
		sum += f.weight
	}
	at := h.rand.IntN(sum)
	for _, f := range faults {
		if at -= f.weight; at < 0 {
			f.do(h)
			return
		}
	}
}

// any is some machine that is on and not paused, nil if the one that chance names is not.
func (h *harm) any() *machine {
	m := h.machines[h.rand.IntN(len(h.machines))]
	if m.life == nil || m.life.stopped() {
		return nil
	}
	return m
}

// kill ends a node's process.
func (h *harm) kill() {
	if m := h.any(); m != nil {
		h.event("kill node %d", m.id)
		m.life.end(true)
		m.life.close()
		m.fs.Kill()
		h.on(m)
	}
}

// on has a machine that is off go on again.
func (h *harm) on(m *machine) {
	h.later(func() {
		h.event("start node %d", m.id)
		m.begin()
	})
}

// powerCut has a machine lose its power.
func (h *harm) powerCut() {
	if m := h.any(); m != nil {
		h.event("power off under node %d", m.id)
		h.off(m)
	}
}

// off takes the power of machines at one moment.
func (h *harm) off(machines ...*machine) {
	for _, m := range machines {
		m.life.end(false)
	}
	for _, m := range machines {
		m.life.close()
		m.fs.Crash()
		h.on(m)
	}
}

func (h *harm) powerCutOfAll() {
	var on []*machine
	for _, m := range h.machines {
		if m.life != nil {
			on = append(on, m)
		}
	}
	h.event("power off under all")
	h.off(on...)
}

// wipe has a machine lose its disk.
func (h *harm) wipe() {
	m := h.any()
	if m == nil || h.wipes == 0 {
		return
	}
	h.wipes--
	h.event("the disk of node %d is lost", m.id)
	h.claims.forget(mq.NodeID(m.id))
	m.life.end(false)
	m.life.close()
	m.wipe()
	h.on(m)
}

// block cuts some ways for a while.
func (h *harm) block(ways ...way) { h.blockFor(h.lasting(), ways...) }

func (h *harm) blockFor(d time.Duration, ways ...way) {
	h.net.change(func() {
		for _, w := range ways {
			h.net.cut[w] = true
		}
	})
	h.after(d, func() {
		h.event("heal the cuts %v", ways)
		h.net.change(func() {
			for _, w := range ways {
				delete(h.net.cut, w)
			}
		})
	})
}

// cutPair cuts two nodes from each other, in one direction or both.
func (h *harm) cutPair() {
	a, b := 1+h.rand.IntN(len(h.machines)), 1+h.rand.IntN(len(h.machines))
	if a == b {
		return
	}
	ways := []way{{a, b}, {b, a}}[:1+h.rand.IntN(2)]
	h.event("cut %v", ways)
	h.block(ways...)
}

// isolate cuts a node from all others, but not from clients.
func (h *harm) isolate() {
	id := 1 + h.rand.IntN(len(h.machines))
	direction := h.rand.IntN(4)
	var ways []way
	for _, m := range h.machines {
		if m.id != id && direction != 0 {
			ways = append(ways, way{id, m.id})
		}
		if m.id != id && direction != 1 {
			ways = append(ways, way{m.id, id})
		}
	}
	h.event("isolate node %d from other nodes: %v", id, ways)
	h.block(ways...)
	if h.rand.IntN(4) == 0 { // what it measures while it hears of nobody must not depend on that
		h.set(h.machines[id-1])
	}
}

// cutClients cuts a node from all clients.
func (h *harm) cutClients() {
	id := 1 + h.rand.IntN(len(h.machines))
	ways := []way{{0, id}, {id, 0}}
	h.event("cut node %d from clients", id)
	h.block(ways...)
}

// reset breaks the connections of two nodes.
func (h *harm) reset() {
	a, b := 1+h.rand.IntN(len(h.machines)), 1+h.rand.IntN(len(h.machines))
	h.event("reset connections of %d and %d", a, b)
	h.net.reset(a, b)
}

// slow makes the network slow.
func (h *harm) slow() {
	jitter := h.upTo(200 * time.Millisecond)
	h.event("packets take up to %v longer", jitter)
	h.net.change(func() { h.net.jitter = jitter })
	h.later(func() {
		h.event("packets are fast again")
		h.net.change(func() { h.net.jitter = usualJitter })
	})
}

func (h *harm) lossy() {
	loss := h.rand.Float64() * 0.2
	h.event("%.0f%% of clients' packets are lost", loss*100)
	h.net.change(func() { h.net.loss = loss })
	h.later(func() {
		h.event("no packets are lost")
		h.net.change(func() { h.net.loss = 0 })
	})
}

// pause stops a node for a while.
func (h *harm) pause() {
	m := h.any()
	if m == nil {
		return
	}
	l := m.life
	h.event("pause node %d", m.id)
	l.pause()
	h.later(func() {
		if m.life == l {
			h.event("node %d goes on", m.id)
			l.goOn()
		}
	})
}

// skew sets a node's lease clock ahead, as a suspended machine's is.
func (h *harm) skew() {
	if m := h.any(); m != nil {
		by := h.upTo(5 * time.Second)
		h.event("the clock of node %d goes %v ahead", m.id, by)
		m.life.skewBy(by)
	}
}

// setClock sets some machine's wall clock, whether it is on or not.
func (h *harm) setClock() { h.set(h.machines[h.rand.IntN(len(h.machines))]) }

// set sets a wall clock ahead or back, for good.
func (h *harm) set(m *machine) {
	by := h.upTo(2*setAtMost) - setAtMost
	h.event("the wall clock of node %d is set by %v", m.id, by)
	m.wall.Add(int64(by))
}

// bucketTrouble has the bucket fail now and then.
func (h *harm) bucketTrouble() {
	h.event("the bucket is in trouble")
	h.inTrouble(true)
	h.later(func() {
		h.event("the bucket is well")
		h.inTrouble(false)
	})
}

func (c *cluster) inTrouble(is bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.trouble = is
}
