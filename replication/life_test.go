package replication

import (
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/rustmq/rustmq/mq"
	"github.com/rustmq/rustmq/partition"
	"github.com/rustmq/rustmq/wal/crashfs"
)

// living is a cluster of three brokers and two partitions that things happen to, and its clients.
type living struct {
	t         testing.TB
	d         dice
	c         *cluster
	producers []*producing
	readers   []*reading
	harmed    bool // a disk was lost or damaged: min.insync.replicas allows for one
}

// What happens in a life: anything, or above all that in-sync sets change, or that brokers and what they have are lost.
var (
	anything = []string{
		"send", "send", "send", "send", "send", "again", "look", "look", "wait", "moment", "moment", "crash", "blackout", "forget", "forget", "flip",
		"start", "start", "cut", "heal", "fence", "unfence", "deaf", "silence", "move", "harm", "lag", "lag", "split", "last",
	}
	comings = []string{"lag", "lag", "lag", "calm", "calm", "calm", "look", "again", "move"}
	losses  = []string{"send", "send", "harm", "harm", "calm", "calm", "look", "forget", "split", "split", "last"}
)

// life is one, whose dice say what happens. Its bugs have to be found.
func life(t testing.TB, d dice, of []string, planted bugs) {
	l := newLiving(t, d, planted)
	l.c.start()
	defer l.c.close()
	steps := l.steps()
	for range d.number(5, 40, "steps") {
		steps[of[d.number(0, len(of)-1, "step")]]()
		l.judge()
	}
	l.c.recover(true)
	for round := 0; slices.ContainsFunc(l.producers, func(p *producing) bool { return !p.done() }); round++ {
		if round > 200 {
			l.c.agree(0)
			l.c.agree(1)
			t.Fatal("not everything is acknowledged, and nothing is in the way")
		}
		for _, p := range l.producers {
			p.send(l.c, 0, true)
		}
		l.look()
		time.Sleep(300 * time.Millisecond)
	}
	l.verify()
}

func newLiving(t testing.TB, d dice, planted bugs) *living {
	seed := d.seed()
	// What happens on other goroutines draws from this: how long a disk and a network take, and which answers are lost.
	var mu sync.Mutex
	source := rand.New(rand.NewPCG(seed, 1))
	chance := func(n int) int {
		mu.Lock()
		defer mu.Unlock()
		return source.IntN(n)
	}
	c := newClusterWith(t, 3, 2, 2, seed, planted)
	c.leaseTime = 40 * time.Millisecond
	c.cfg.MaxLag, c.cfg.MaxBroken, c.cfg.Interval = time.Second, 200*time.Millisecond, 50*time.Millisecond
	c.cfg.Window, c.cfg.MarksDelay = 4<<10, time.Duration(d.number(0, 1, "watermarks lag"))*time.Second // 0: as usual
	if d.number(0, 1, "answers are lost") == 1 {
		c.ctl.answer = func(o Outcome) Outcome {
			if chance(3) == 0 {
				return OutcomeUnknown
			}
			return o
		}
		c.ctl.late = func() time.Duration {
			if chance(3) > 0 {
				return 0
			}
			return time.Duration(chance(50)*chance(50)) * time.Millisecond // up to 2.5 s, mostly less
		}
	}
	slow := func() time.Duration { return time.Duration(chance(8)*chance(8)*chance(50)) * time.Microsecond } // up to 2.5 ms, mostly less
	c.net.delay = slow
	c.hearing = func() time.Duration {
		if chance(2) == 0 {
			return slow()
		}
		return time.Duration(chance(30)) * time.Millisecond
	}
	c.diskDelay = func() time.Duration { return 2 * slow() }
	l := &living{t: t, d: d, c: c}
	for i := range 4 {
		l.producers = append(l.producers, &producing{t: t, id: mq.ProducerID(1 + i), part: i % 2, acked: make(map[int32]mq.Offset)})
	}
	for i := range 2 {
		l.readers = append(l.readers, &reading{t: t, part: i})
	}
	return l
}

func (l *living) node() mq.NodeID { return mq.NodeID(l.d.number(1, 3, "node")) }
func (l *living) some() *broker   { return l.c.brokers[l.node()] }

// moment is a part of what a disk or a network takes.
func (l *living) moment() { time.Sleep(time.Duration(l.d.number(1, 5000, "us")) * time.Microsecond) }

func (l *living) send(n int32) {
	for _, p := range l.producers {
		p.send(l.c, n, false)
	}
}

func (l *living) look() {
	for _, r := range l.readers {
		r.look(l.c)
	}
}

// steps are what may happen.
func (l *living) steps() map[string]func() {
	c, d := l.c, l.d
	return map[string]func(){
		"send": func() {
			for _, p := range l.producers {
				p.send(c, int32(d.number(0, 8, "records")), false)
			}
			l.sendLoose()
		},
		"again":  func() { l.producers[d.number(0, 3, "producer")].send(c, 1, true) },
		"look":   l.look,
		"wait":   func() { time.Sleep(time.Duration(d.number(1, 3000, "ms")) * time.Millisecond) },
		"moment": l.moment,
		"crash": func() {
			if b := l.some(); b.up {
				b.crash(d.number(0, 1, "kill") == 1)
			}
		},
		"blackout": l.blackout,
		"forget":   l.forget,
		"flip": func() { // before anybody has caught up with the first
			for range 3 {
				c.ctl.move(id(0), d.number(0, 2, "which"))
				l.moment()
			}
		},
		"start": func() {
			if b := l.some(); !b.up {
				b.deaf.Store(false)
				b.start()
			}
		},
		"cut":   func() { a := l.node(); c.net.cutOff(a, 1+a%3) },
		"heal":  func() { c.net.heal() },
		"fence": func() { c.ctl.fence(l.node()) },
		"unfence": func() {
			if b := l.some(); b.up && b.fenced() {
				b.register(nil)
			}
		},
		"deaf":    func() { b := l.some(); b.deaf.Store(!b.deaf.Load()) },
		"silence": l.silence,
		"move":    func() { c.ctl.move(id(d.number(0, 1, "partition")), d.number(0, 2, "which")) },
		"harm":    func() { l.harm(l.some(), l.d.number(0, 1, "rot") == 1) },
		"lag":     l.lag,
		"split":   l.split,
		"last":    l.last,
		"calm": func() {
			c.recover(false)
			time.Sleep(time.Duration(d.number(1, 500, "ms")) * time.Millisecond)
		},
	}
}

// sendLoose sends to any broker that takes it for its own word.
func (l *living) sendLoose() {
	if b := l.some(); b.up {
		b.send(l.d.number(0, 1, "partition"), batch(l.t, mq.NoProducerID, -1, -1, 50), mq.DurabilityLeader, loose{b})
	}
}

// blackout has the power fail everywhere in the middle of work, and come back to one after the other.
func (l *living) blackout() {
	for _, p := range l.producers {
		p.send(l.c, 4, true)
	}
	l.moment()
	for _, b := range l.c.brokers {
		if b.up {
			b.disk.CutAt(1)
		}
	}
	for n := range 3 {
		if b := l.c.brokers[mq.NodeID(1+n)]; b.up {
			b.crash(false)
		}
	}
	for i := range 2 {
		l.c.ctl.move(id(i), l.d.number(0, 2, "which"))
	}
	if l.d.number(0, 1, "one is back") == 1 {
		l.some().start()
	}
}

// forget has the power of one fail whose disk is slow, with work under way that others may have synced; it is elected as soon as it is back.
func (l *living) forget() {
	b := l.some()
	if !b.up {
		return
	}
	b.slow.Store(true)
	for range l.d.number(1, 3, "rounds") {
		l.send(2)
		time.Sleep(time.Duration(l.d.number(1, 20, "ms")) * time.Millisecond)
	}
	b.crash(false)
	b.slow.Store(false)
	b.start()
	for i := range 2 {
		l.c.ctl.take(id(i), b.id)
	}
	l.moment()
}

// silence has one hear nothing any more, whose disk is slow: its lease is over before what it got is synced.
func (l *living) silence() {
	b := l.some()
	b.deaf.Store(true)
	b.slow.Store(true)
	l.send(2)
	if b.up {
		b.send(l.d.number(0, 1, "partition"), batch(l.t, mq.NoProducerID, -1, -1, 50), mq.DurabilityLeader, loose{b})
	}
	time.Sleep(time.Duration(l.d.number(1, 150, "ms")) * time.Millisecond)
	b.slow.Store(false)
}

// harm loses the disk of one, or turns over a bit on it, which is found when it starts. That of another one stays well until all are in sync again.
func (l *living) harm(b *broker, rot bool) {
	if !b.up || l.harmed && !l.allInSync() {
		return
	}
	l.harmed = true
	if rot {
		b.slow.Store(false)
		time.Sleep(300 * time.Millisecond) // what was synced is promised by then: rot in what is not can not be told from a torn write
	}
	b.crash(true)
	if rot {
		l.rot(b)
	} else {
		b.disk = crashfs.New(uint64(l.d.number(1, 1<<30, "disk")))
		b.dir++
	}
	if l.d.number(0, 2, "back") == 0 {
		return
	}
	b.start()
	for i := range 2 {
		l.c.ctl.take(id(i), b.id)
	}
}

// lag has a follower fall out of sync and come back while there is work and its disk is slow, and something happen just then.
func (l *living) lag() {
	part := l.d.number(0, 1, "partition")
	leader, late := l.c.leader(part), l.some()
	if leader == nil || !leader.up || !late.up || late == leader {
		return
	}
	in := func() bool { return slices.Contains(l.c.ctl.partition(id(part)).ISR, late.id) }
	out := func() bool { return !in() }
	near := func() bool { // so that it will be proposed the next time that somebody looks
		p := leader.partition(id(part))
		if p == nil {
			return false
		}
		pr, _ := p.Progress()
		return slices.ContainsFunc(pr.Followers, func(f partition.FollowerProgress) bool { return f.Node == late.id && f.End >= pr.HighWatermark })
	}
	l.c.net.cutOff(leader.id, late.id)
	l.work(part, 500*time.Millisecond, out)
	late.slow.Store(true)
	l.c.net.heal()
	switch l.d.number(0, 5, "then") {
	case 0, 1: // it is elected as soon as it may be
		l.work(part, 3*time.Second, in)
	case 2: // so it is when it lacks what was acknowledged last, and the next leader does not know yet that this was
		l.work(part, 3*time.Second, in)
		l.c.ctl.fence(late.id)
		l.send(2)
		time.Sleep(time.Duration(l.d.number(5, 20, "ms")) * time.Millisecond)
		leader.crash(false)
		late.crash(false)
		late.slow.Store(false)
		late.start()
		late.slow.Store(true)
		l.c.ctl.fence(leader.id)
		l.work(part, 300*time.Millisecond, in)
	case 3: // and when it falls out once more
		l.work(part, 3*time.Second, in)
		l.c.net.cutOff(leader.id, late.id)
		l.work(part, 500*time.Millisecond, out)
		l.work(part, 2*time.Second, in)
	case 4: // or has another disk
		l.work(part, 3*time.Second, near)
		l.harm(late, false)
		l.work(part, 200*time.Millisecond, in)
	case 5: // or is declared dead
		l.work(part, 3*time.Second, near)
		l.c.ctl.fence(late.id)
		l.work(part, 200*time.Millisecond, in)
	}
	l.judge()
	l.send(2)
	time.Sleep(time.Duration(l.d.number(1, 20, "ms")) * time.Millisecond)
	if late.up && l.d.number(0, 3, "forgets") > 0 { // what it has got and not synced
		late.crash(false)
		late.start()
	}
	l.c.ctl.take(id(part), late.id)
	late.slow.Store(false)
}

// split has a leader take what nobody else gets, before another one leads; then it leads again.
func (l *living) split() {
	part := l.d.number(0, 1, "partition")
	leader, next := l.c.leader(part), l.some()
	if leader == nil || !leader.up || !next.up || next == leader {
		return
	}
	for node := range l.c.brokers {
		if node != leader.id {
			l.c.net.cutOff(leader.id, node)
		}
	}
	l.send(2)
	l.moment()
	l.c.ctl.take(id(part), next.id)
	l.moment()
	l.c.net.heal()
	time.Sleep(time.Duration(l.d.number(1, 1500, "ms")) * time.Millisecond)
	l.c.ctl.take(id(part), leader.id)
	l.moment()
	l.producers[part].send(l.c, 1, true)
	l.producers[part+2].send(l.c, 1, true)
}

// last has one fall out of sync, and all the others die before it is back. It may have been the last to leave, and be eligible until commits go on without it.
func (l *living) last() {
	b, back := l.some(), l.some()
	if !b.up {
		return
	}
	if back != b && back.up {
		l.c.ctl.fence(back.id)
	}
	l.c.ctl.fence(b.id)
	if back != b && back.up {
		back.register(nil)
		l.work(l.d.number(0, 1, "partition"), 2*time.Second, func() bool { return l.inSync(back) })
	}
	l.send(2)
	time.Sleep(time.Duration(l.d.number(1, 100, "ms")) * time.Millisecond)
	for node := range mq.NodeID(3) {
		if other := l.c.brokers[1+node]; other != b && other.up {
			other.crash(false)
			l.c.ctl.fence(other.id)
		}
	}
	b.register(nil)
	l.judge()
}

// inSync says whether a broker is so everywhere.
func (l *living) inSync(b *broker) bool {
	for i := range 2 {
		if !slices.Contains(l.c.ctl.partition(id(i)).ISR, b.id) {
			return false
		}
	}
	return true
}

// work has producers send to a partition, now and then, until something is so, but not for longer than a while.
func (l *living) work(part int, most time.Duration, enough func() bool) {
	for began, round := time.Now(), 0; time.Since(began) < most && !enough(); round++ {
		if round%100 < 8 { // then those who are slow have the time to catch up
			for _, p := range l.producers {
				if p.part == part {
					p.send(l.c, 1, false)
				}
			}
		}
		time.Sleep(2 * time.Millisecond)
	}
}

// rot turns over a bit of what b has written.
func (l *living) rot(b *broker) {
	files := b.disk.Files("wal")
	path := files[l.d.number(0, len(files)-1, "file")]
	data, err := b.disk.ReadFile(path)
	if err != nil {
		l.t.Fatal(err)
	}
	for len(data) > 0 && data[len(data)-1] == 0 {
		data = data[:len(data)-1]
	}
	if len(data) == 0 {
		return
	}
	if err := b.disk.Flip(path, int64(l.d.number(0, 8*len(data)-1, "bit"))); err != nil {
		l.t.Fatal(err)
	}
}

// allInSync says whether nobody lacks anything that counts, a disk that was just replaced included.
func (l *living) allInSync() bool {
	for _, b := range l.c.brokers {
		if !b.up {
			return false
		}
	}
	for i := range 2 {
		if len(l.c.ctl.partition(id(i)).ISR) < 3 {
			return false
		}
	}
	return true
}

// judge looks at what the controllers have decided.
func (l *living) judge() {
	img := l.c.ctl.store.Image()
	for i, p := range img.Topic(topicID).All() {
		dead := slices.IndexFunc(p.ISR, func(n mq.NodeID) bool { return img.Broker(n).Fenced })
		if dead >= 0 && len(p.ISR) > 1 {
			l.t.Errorf("partition %d: %v are in sync, and broker %d is declared dead", i, p.ISR, p.ISR[dead])
		}
		if p.UncleanEpoch != 0 {
			l.t.Errorf("partition %d: who was elected for epoch %d may lack something", i, p.UncleanEpoch)
		}
	}
}

// verify waits until all brokers have the same, and compares it with what clients know.
func (l *living) verify() {
	l.judge()
	for i := range 2 {
		l.c.agree(i)
		leader := l.c.leader(i)
		_, high, _, _ := leader.partition(id(i)).Offsets()
		there := records(l.t, leader.stored(i, high))
		for _, p := range l.producers {
			if p.part == i {
				p.verify(there)
			}
		}
		l.readers[i].verify(there)
	}
}

// fenced says whether the broker is declared dead.
func (b *broker) fenced() bool { return b.cluster.ctl.store.Image().Broker(b.id).Fenced }

// recover ends all trouble, but for answers that are lost if it is not for good.
func (c *cluster) recover(forGood bool) {
	c.net.heal()
	if forGood {
		c.ctl.mu.Lock()
		c.ctl.answer, c.ctl.late = func(o Outcome) Outcome { return o }, nil
		c.ctl.mu.Unlock()
	}
	for _, b := range c.brokers {
		b.deaf.Store(false)
		b.slow.Store(false)
		switch {
		case !b.up:
			b.start()
		case b.fenced():
			b.register(nil)
		}
	}
}
