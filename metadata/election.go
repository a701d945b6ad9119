package metadata

import (
	"slices"

	"github.com/rustmq/rustmq/mq"
)

// The eligible replicas (KIP-966). A leader commits nothing while its in-sync set is smaller than min.insync.replicas. So whoever
// left when the set fell below that, or later, still holds all that was committed, and may be elected when nobody of the set
// is alive. When the set is full again, commits go on without them, and they are forgotten. What follows holds in every image:
//
//   - The in-sync set is never empty. Its last member keeps the place whatever happens to it.
//   - A partition has eligible replicas only while nothing can be committed: its in-sync set is smaller than the minimum, or it has
//     no leader. So a leader must take its in-sync set and the minimum from one image.
//   - Each replica that is in sync or eligible holds all that was committed, as long as its broker keeps its directory and
//     its recovery finds what it had promised. If not, it is neither when it registers, unless it is the last one.

// standing is how good a leader a replica would be. Larger is better.
type standing int

const (
	unelectable standing = iota
	// empty replicas are known to have lost all, and are elected only if there is nobody else, with the same setting.
	empty
	// unclean replicas may lack committed records, and are elected only with unclean.leader.election.enable.
	unclean
	eligible
	inSync
)

// standingOf says what a replica of a partition would be elected as, if at all.
func (img *Image) standingOf(t *Topic, p *Partition, id mq.NodeID) standing {
	b := img.broker(id)
	switch {
	case b == nil || b.Fenced:
		return unelectable
	case slices.Contains(p.ISR, id) && !p.lost():
		return inSync
	case slices.Contains(p.Eligible, id):
		return eligible
	case !t.Config.UncleanElection:
		return unelectable
	case slices.Contains(p.ISR, id):
		return empty
	}
	return unclean
}

// elect is the first replica of the best standing that any has, or none. Among these, brokers that want to stop come last.
func (img *Image) elect(t *Topic, p *Partition) (leader mq.NodeID, as standing) {
	leader = mq.NoNode
	for _, id := range p.Replicas {
		s := img.standingOf(t, p, id)
		if s > as || s == as && s > unelectable && img.broker(leader).ShuttingDown && !img.broker(id).ShuttingDown {
			leader, as = id, s
		}
	}
	return leader, as
}

// lost says whether the last in-sync replica came back without its directory.
func (p *Partition) lost() bool { return !p.LostDir.IsZero() }

// transition takes one partition from one state to the next. Callers change p, and finish makes the rest follow.
type transition struct {
	m     *machine
	topic *Topic
	old   *Partition
	p     Partition
	// damaged is the replica that does not hold what it had promised, or none.
	damaged mq.NodeID
	// newEpoch wants a new leader epoch, even with the same leader.
	newEpoch bool
	// vacant leaves the partition without a leader.
	vacant bool
	// unclean says that the new leader decides what was committed, whatever others hold.
	unclean bool
}

func (m *machine) transition(t *Topic, old *Partition) *transition {
	return &transition{m: m, topic: t, old: old, p: *old, damaged: mq.NoNode}
}

// leaveISR takes a replica out of the in-sync set, if it is not the last one there.
func (c *transition) leaveISR(node mq.NodeID) {
	if len(c.p.ISR) > 1 {
		c.p.ISR = without(c.p.ISR, node)
	}
}

// finish elects a leader where there is none, and gives the next state; nil when nothing changes.
func (c *transition) finish() *Partition {
	p := &c.p
	c.complete()
	if !slices.Contains(p.ISR, p.Leader) {
		p.Leader = mq.NoNode
	}
	p.Eligible = c.eligible()
	if p.Leader == mq.NoNode && !c.vacant {
		topic := c.topic
		if c.m.planted.UncleanElected {
			anyone := *topic
			anyone.Config.UncleanElection = true
			topic = &anyone
		}
		leader, as := c.m.img.elect(topic, p)
		c.lead(leader, as)
		c.complete()
		p.Eligible = c.eligible()
	}
	// A replica that is given away drops its log. What it acknowledged in an epoch must not count for the one that the same broker may be given later.
	if p.Leader != c.old.Leader || c.newEpoch || len(minus(c.old.Replicas, p.Replicas)) > 0 {
		p.LeaderEpoch = c.old.LeaderEpoch + 1
	}
	if p.equal(c.old) {
		return nil
	}
	p.PartitionEpoch++
	p.shareLists(c.old)
	return p
}

// lead makes a replica, or none, the leader. One that was not in sync is the in-sync set from now on.
func (c *transition) lead(leader mq.NodeID, as standing) {
	p := &c.p
	p.Leader = leader
	switch as {
	case unclean, empty: // others truncate to what it holds
		p.ISR, p.LostDir, p.UncleanEpoch = []mq.NodeID{leader}, mq.DirID{}, c.old.LeaderEpoch+1
		c.unclean = true
	case eligible:
		p.ISR = []mq.NodeID{leader}
	case inSync, unelectable:
	}
	p.Eligible = c.eligible()
}

// eligible lists who holds all that was committed beside the in-sync set, while nothing more can be committed.
func (c *transition) eligible() []mq.NodeID {
	commits := c.p.Leader != mq.NoNode && len(c.p.ISR) >= c.topic.MinInSync(&c.p)
	if c.unclean || c.m.planted.EligibleForgotten || commits && !c.m.planted.EligibleForEver {
		return nil
	}
	var ids []mq.NodeID
	for _, id := range c.p.Replicas {
		held := slices.Contains(c.old.Eligible, id) || slices.Contains(c.old.ISR, id) && !c.old.lost()
		if held && id != c.damaged && !slices.Contains(c.p.ISR, id) {
			ids = append(ids, id)
		}
	}
	return ids
}

// loseReplica is a partition after a node was fenced, nil when nothing changes.
func (m *machine) loseReplica(t *Topic, p *Partition, node mq.NodeID) *Partition {
	if !slices.Contains(p.ISR, node) {
		return nil
	}
	c := m.transition(t, p)
	if c.p.Leader == node {
		c.p.Leader = mq.NoNode
	}
	c.leaveISR(node)
	return c.finish()
}

// returnReplica is a partition after a new incarnation of a node appeared, nil when nothing changes. before is the node's last
// registration, or nil. A replica that does not hold what it had promised is no longer eligible, and leaves the in-sync
// set. If it is the last there, an eligible replica takes its place, alive or not. If nobody is eligible, it keeps the place, and leads
// what is left on the same directory: its broker shows the damage. In another directory nothing is left, and leading would
// hide the loss.
func (m *machine) returnReplica(t *Topic, p *Partition, before, now *Broker, suspect bool) *Partition {
	node := now.ID
	if !slices.Contains(p.Replicas, node) {
		return nil
	}
	c := m.transition(t, p)
	otherDir := before != nil && before.Dir != now.Dir
	member := slices.Contains(p.ISR, node)
	if m.planted.DiskIgnored {
		otherDir = false
	}
	if suspect && !m.planted.DamageIgnored || otherDir {
		c.damaged = node
	}
	switch {
	case !member:
	case p.lost():
		if now.Dir == p.LostDir { // it is back
			c.p.LostDir = mq.DirID{}
		}
	case c.damaged == node:
		c.leaveISR(node)
		if heir := m.heir(p, node); heir != mq.NoNode && len(p.ISR) == 1 {
			c.p.ISR = []mq.NodeID{heir}
		} else if len(p.ISR) == 1 && otherDir {
			c.p.LostDir = before.Dir
		}
	}
	if p.Leader == node && !m.planted.EpochContinued {
		c.p.Leader, c.newEpoch = mq.NoNode, true
	}
	return c.finish()
}

// heir is the eligible replica that takes the place of the last in-sync one: one that is alive, if there is any.
func (m *machine) heir(p *Partition, gone mq.NodeID) mq.NodeID {
	heir := mq.NoNode
	for _, id := range p.Eligible {
		switch alive := !m.img.broker(id).Fenced; {
		case id == gone:
		case alive:
			return id
		case heir == mq.NoNode:
			heir = id
		}
	}
	return heir
}

// settleTopic makes the eligible replicas of a topic follow its settings.
func (m *machine) settleTopic(id mq.TopicID) {
	t := m.topic(id)
	for i, p := range t.All() {
		if len(p.Eligible) == 0 {
			continue
		}
		c := m.transition(t, p)
		c.vacant = p.Leader == mq.NoNode
		if changed := c.finish(); changed != nil {
			m.putPartition(mq.PartitionID{Topic: id, Index: i}, changed)
		}
	}
}

func without(ids []mq.NodeID, gone mq.NodeID) []mq.NodeID {
	return slices.DeleteFunc(slices.Clone(ids), func(id mq.NodeID) bool { return id == gone })
}
