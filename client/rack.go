package client

import (
	"encoding/binary"
	"hash/fnv"
	"slices"
	"time"

	"github.com/rustmq/rustmq/mq"
	"github.com/rustmq/rustmq/quicproto"
)

// A consumer with a rack reads what only the object store has from a broker of that rack. The leader says when it comes to such records; which broker it is
// the consumer chooses. Where these end, or with any trouble at all, the partition goes back to its leader, which alone says what is out of range, gone or damaged.

// For how long a broker of the rack is left alone that was of no use, and for how long the partition for which it was not stays with its leader, whoever else is in the
// rack: at first, and at most, doubling from one time to the next.
const (
	minAbsence = time.Second
	maxAbsence = time.Minute
)

// quietLooks is how many looks in succession may find that nothing came from a broker of the rack, and quietDials from one to which there is no
// connection yet: 3 s and 2 s.
const (
	quietLooks = 2
	quietDials = 20
)

// absence is for how long something is not done.
type absence struct {
	until time.Time
	last  time.Duration
}

// begin begins one, longer than the last. What several find at a time counts once.
func (b *absence) begin(now time.Time) {
	if b.over(now) {
		b.last = min(max(2*b.last, minAbsence), maxAbsence)
		b.until = now.Add(b.last)
	}
}

// over reports whether none is under way.
func (b *absence) over(now time.Time) bool { return b == nil || !now.Before(b.until) }

// useless notes that a was read from a broker of the rack in vain. The mutex is held.
func (k *Consumer) useless(a *assignment, node mq.NodeID) {
	if k.absences[node] == nil {
		k.absences[node] = new(absence)
	}
	now := time.Now()
	k.absences[node].begin(now)
	a.home.begin(now)
}

// near is the broker of the rack that a's tiered records are to be read from, mq.NoNode if there is none but maybe the leader. The mutex is held.
func (k *Consumer) near(a *assignment) mq.NodeID {
	if k.c.cfg.rack == "" {
		return mq.NoNode
	}
	now := time.Now()
	if !a.home.over(now) {
		return mq.NoNode
	}
	return nearest(k.brokers, k.c.cfg.rack, a.tp, func(node mq.NodeID) bool { return node != a.leader && k.absences[node].over(now) })
}

// nearest chooses one of a rack's brokers for a partition: for each partition they have another order, which stays the same as others come and go.
func nearest(brokers []quicproto.Broker, rack string, tp TopicPartition, may func(mq.NodeID) bool) mq.NodeID {
	best, most := mq.NoNode, uint64(0)
	for i := range brokers {
		b := &brokers[i]
		if b.Rack != rack || !may(b.ID) {
			continue
		}
		if w := weight(tp, b.ID); best == mq.NoNode || w > most || w == most && b.ID < best {
			best, most = b.ID, w
		}
	}
	return best
}

func weight(tp TopicPartition, node mq.NodeID) uint64 {
	h := fnv.New64a()
	var n [8]byte
	binary.BigEndian.PutUint32(n[:4], uint32(tp.Partition))
	binary.BigEndian.PutUint32(n[4:], uint32(node))
	_, _ = h.Write(n[:])
	_, _ = h.Write([]byte(tp.Topic))
	w := h.Sum64() // of which the highest bits say little yet: what differs came first
	w ^= w >> 33
	w *= 0xff51afd7ed558ccd
	return w ^ w>>33
}

// origin is where the server is told to read a from. The mutex is held.
func (f *fetcher) origin(a *assignment) quicproto.Origin {
	switch {
	case a.tiered:
		return quicproto.FromTiered
	case f.refers && f.k.near(a) != mq.NoNode:
		a.refers = true
		return quicproto.FromLeaderUntilTiered
	default:
		a.refers = false
		return quicproto.FromLeader
	}
}

// elsewhere follows a server that does not have what comes next: from the leader to a broker of the rack, and from there back. The mutex is held.
func (f *fetcher) elsewhere(a *assignment) {
	k := f.k
	f.heard()
	if a.tiered {
		k.recall(a, !a.delivered)
		return
	}
	node := k.near(a)
	if node == mq.NoNode || a.next < 0 {
		a.generation, a.refers = 0, false // nobody is left there: the leader reads it after all
		f.kick()
		return
	}
	k.detach(a)
	a.tiered, a.delivered = true, false
	k.fetcherTo(node).adopt(a)
}

// recall has a fetched from its leader again; useless says that the broker of the rack was of no use. The mutex is held.
func (k *Consumer) recall(a *assignment, useless bool) {
	node := a.fetcher.key.node
	k.detach(a)
	if useless {
		k.c.log.Debug("back to the leader", "topic", a.tp.Topic, "partition", a.tp.Partition, "offset", int64(a.next), "from", node, "to", a.leader)
		k.useless(a, node)
	}
	k.fetcherTo(a.leader).adopt(a)
}

// outwait takes a back from a broker of the rack that is not there any more, or from which nothing has come for too long. The mutex is held.
func (k *Consumer) outwait(a *assignment) {
	f := a.fetcher
	lives := slices.ContainsFunc(k.brokers, func(b quicproto.Broker) bool { return b.ID == f.key.node })
	patience := quietLooks
	if !f.quiet.ever {
		patience = quietDials
	}
	if f.full || lives && f.quiet.looks < patience {
		return
	}
	k.recall(a, true)
}

// came notes what a frame of records tells. The mutex is held.
func (f *fetcher) came(a *assignment, m *quicproto.Records) {
	k := f.k
	if a.tiered {
		m.HighWatermark = max(m.HighWatermark, a.high) // all that is known there is that it is not below the tiered end
		a.delivered, a.home = true, absence{}
		if k.absences[f.key.node].over(time.Now()) {
			delete(k.absences, f.key.node)
		}
		return
	}
	a.high = m.HighWatermark
	if f.refers && !a.refers && !m.End && k.near(a) != mq.NoNode {
		a.generation = 0 // a broker of the rack is there again, and there is much to read
		f.kick()
	}
}
