package client

import (
	"time"

	"github.com/rustmq/rustmq/mq"
	"github.com/rustmq/rustmq/quicproto"
)

// While nothing comes from a fetch stream it is asked elsewhere who leads its partitions: nothing to read looks like a leader that is dead, or cut
// off from the others.
const (
	quietTime = time.Second      // until it is asked for the first time; doubling from there
	maxQuiet  = 60 * time.Second // what an idle consumer costs: one question in this time
)

// quiet is what a fetcher knows of its silence. It is guarded by the consumer's mutex.
type quiet struct {
	timer    *time.Timer // runs look
	patience time.Duration
	looks    int  // in succession that found nothing new
	came     bool // something, since the last look
	ever     bool
	doubted  bool // it is to be asked who leads
}

// heard notes that the server delivers. The mutex is held.
func (f *fetcher) heard() {
	q := &f.quiet
	q.came, q.ever, q.looks = true, true, 0
	if q.patience != quietTime {
		q.patience = quietTime
		q.timer.Reset(quietTime)
	}
}

// look has it asked who leads if nothing has come since the last one. A stream that is still being made is not given as much time.
func (f *fetcher) look() {
	k := f.k
	k.mu.Lock()
	defer k.mu.Unlock()
	q := &f.quiet
	if k.closed || k.fetchers[f.key] != f {
		return
	}
	if !q.came && len(f.parts) > 0 && !k.c.pool.alone(f.key.node) {
		q.doubted = true
		if !k.routing {
			k.routing = k.spawn(k.routeLoop)
		}
	}
	if !q.came && (q.ever || q.looks >= eagerTimes) {
		q.patience = min(2*q.patience, maxQuiet)
	}
	q.looks++
	q.came = false
	q.timer.Reset(q.patience)
}

// doubted lists the partitions of fetchers that have been quiet, and their nodes. The mutex is held.
func (k *Consumer) doubted() (list []*assignment, nodes []mq.NodeID) {
	for _, f := range k.fetchers {
		if !f.quiet.doubted {
			continue
		}
		f.quiet.doubted = false
		nodes = append(nodes, f.key.node)
		for _, a := range f.parts {
			if !a.idle() {
				list = append(list, a)
			}
		}
	}
	return list, nodes
}

// move takes a partition to another node if that leads it in a newer epoch. It goes on behind what has come, and what still comes from where it
// was is dropped. The mutex is held.
func (k *Consumer) move(a *assignment, t *quicproto.Topic) {
	p := &t.Partitions[a.tp.Partition]
	if a.tiered {
		k.outwait(a)
		return
	}
	if a.topic != t.ID || p.LeaderEpoch <= a.epoch || p.Leader == mq.NoNode || p.Leader == a.fetcher.key.node {
		return
	}
	k.c.log.Info("another node leads", "topic", a.tp.Topic, "partition", a.tp.Partition, "from", a.fetcher.key.node, "to", p.Leader, "epoch", int32(p.LeaderEpoch))
	k.detach(a)
	a.epoch, a.leader = p.LeaderEpoch, p.Leader
	k.fetcherTo(p.Leader).adopt(a)
}
