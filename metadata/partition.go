package metadata

import (
	"slices"

	metadatapb "github.com/rustmq/rustmq/api/metadata/v1"
	"github.com/rustmq/rustmq/mq"
)

func (m *machine) changePartitions(c *metadatapb.ChangePartitions) *metadatapb.Result {
	verdicts := make([]*metadatapb.Verdict, len(c.GetChanges()))
	for i, change := range c.GetChanges() {
		verdicts[i] = verdict(m.changePartition(change))
	}
	return &metadatapb.Result{Value: &metadatapb.Result_ChangePartitions{
		ChangePartitions: &metadatapb.ChangePartitionsResult{Verdicts: verdicts},
	}}
}

// changePartition is the compare-and-set on one partition's membership.
func (m *machine) changePartition(c *metadatapb.PartitionChange) error {
	id, p, err := m.partitionOf(c.GetPartition())
	if err != nil {
		return err
	}
	if err := checkPartitionEpoch(id, p, c.GetPartitionEpoch()); err != nil && !m.planted.CompareIgnored {
		return err
	}
	if epoch := mq.Epoch(c.GetLeaderEpoch()); epoch != mq.NoEpoch {
		if err := checkLeaderEpoch(id, p, epoch); err != nil {
			return err
		}
	}
	next := m.transition(m.topic(id.Topic), p)
	if err := m.applyChange(next, c); err != nil {
		return mq.Wrapf(err, "partition %s", id)
	}
	changed := next.finish()
	if changed == nil { // accepted all the same: whoever waits for it sees a new partition epoch
		changed = &next.p
		changed.PartitionEpoch++
	}
	m.putPartition(id, changed)
	return nil
}

// applyChange brings a change of membership into a transition.
func (m *machine) applyChange(next *transition, c *metadatapb.PartitionChange) (err error) {
	p := &next.p
	if len(c.GetReplicas()) > 0 {
		if p.Reassignment != nil {
			return mq.Errorf(mq.InvalidRequest, "it is being reassigned: cancel that first")
		}
		p.Replicas = nodeIDs(c.GetReplicas())
		if err := m.img.checkReplicas(p.Replicas); err != nil {
			return err
		}
	}
	if len(c.GetIsr()) > 0 {
		if p.ISR, err = m.newISR(p, c.GetIsr()); err != nil {
			return err
		}
	}
	if c.Leader != nil {
		if err := next.choose(mq.NodeID(c.GetLeader())); err != nil {
			return err
		}
	}
	return m.checkMembership(p)
}

// choose makes a replica, or none, the leader, if nobody alive would be a better one.
func (c *transition) choose(leader mq.NodeID) error {
	c.newEpoch = true
	if leader == mq.NoNode {
		c.p.Leader, c.vacant = leader, true
		return nil
	}
	if !slices.Contains(c.p.Replicas, leader) {
		return mq.Errorf(mq.InvalidRequest, "leader %d is no replica", leader)
	}
	c.p.Leader = mq.NoNode
	c.p.Eligible = c.eligible()
	as := c.m.img.standingOf(c.topic, &c.p, leader)
	if best, bestAs := c.m.img.elect(c.topic, &c.p); as == unelectable || as < bestAs {
		return mq.Errorf(mq.InvalidRequest, "leader %d is fenced or out of sync: it could be %d", leader, best)
	}
	c.lead(leader, as)
	return nil
}

// electUnclean is what an operator decides who would rather have a partition with what is left than none.
func (m *machine) electUnclean(c *metadatapb.ElectUnclean) error {
	id, p, err := m.partitionOf(c.GetPartition())
	if err != nil {
		return err
	}
	if err := checkPartitionEpoch(id, p, c.GetPartitionEpoch()); err != nil {
		return err
	}
	t := m.topic(id.Topic)
	switch clean, as := m.img.elect(t, p); {
	case p.Leader != mq.NoNode:
		return mq.Errorf(mq.InvalidRequest, "partition %s: broker %d leads it", id, p.Leader)
	case as >= eligible:
		return mq.Errorf(mq.InvalidRequest, "partition %s: broker %d can lead it without loss", id, clean)
	}
	allowed := *t
	allowed.Config.UncleanElection = true
	leader, as := m.img.elect(&allowed, p)
	if c.Leader != nil {
		leader = mq.NodeID(c.GetLeader())
		as = m.img.standingOf(&allowed, p, leader)
	}
	if as == unelectable || !slices.Contains(p.Replicas, leader) {
		return mq.Errorf(mq.InvalidRequest, "partition %s: no replica that could lead is alive, or broker %d is none", id, leader)
	}
	next := m.transition(t, p)
	next.lead(leader, as)
	m.putPartition(id, next.finish())
	return nil
}

// newISR checks proposed members and gives them in the order of the replicas. Nobody joins who is fenced, or whose incarnation is
// not the one that was seen to be in sync.
func (m *machine) newISR(p *Partition, members []*metadatapb.ISRMember) ([]mq.NodeID, error) {
	if p.lost() {
		return nil, mq.Errorf(mq.InvalidRequest, "broker %d, the last in sync, has lost its directory %s: bring that back, or allow an unclean election",
			p.ISR[0], p.LostDir)
	}
	isr := make([]mq.NodeID, 0, len(p.Replicas))
	for _, replica := range p.Replicas {
		for _, member := range members {
			if mq.NodeID(member.GetNodeId()) == replica {
				isr = append(isr, replica)
			}
		}
	}
	if len(isr) != len(members) {
		return nil, mq.Errorf(mq.InvalidRequest, "the in-sync set must name replicas, each once")
	}
	for i, member := range members {
		id := mq.NodeID(member.GetNodeId())
		b := m.img.broker(id)
		joins := !slices.Contains(p.ISR, id)
		switch {
		case slices.ContainsFunc(members[:i], func(o *metadatapb.ISRMember) bool { return o.GetNodeId() == member.GetNodeId() }):
			return nil, mq.Errorf(mq.InvalidRequest, "the in-sync set must name replicas, each once")
		case b == nil || joins && (b.Fenced || b.ShuttingDown) && !m.planted.FencedJoins:
			return nil, mq.Errorf(mq.InvalidRequest, "broker %d cannot join the in-sync set: it is fenced or shutting down", id)
		case member.GetBrokerEpoch() != 0 && member.GetBrokerEpoch() != b.Epoch && !m.planted.IncarnationIgnored:
			return nil, mq.Errorf(mq.StaleBrokerEpoch, "broker %d of epoch %d cannot be in the in-sync set: its epoch is %d", id,
				member.GetBrokerEpoch(), b.Epoch)
		}
	}
	return isr, nil
}

// checkMembership holds what must be true of every partition.
func (m *machine) checkMembership(p *Partition) error {
	if len(p.ISR) == 0 {
		return mq.Errorf(mq.InvalidRequest, "the in-sync set must not be empty")
	}
	for _, id := range p.ISR {
		if !slices.Contains(p.Replicas, id) {
			return mq.Errorf(mq.InvalidRequest, "broker %d is in the in-sync set and is no replica", id)
		}
	}
	if p.Leader == mq.NoNode {
		return nil
	}
	if !slices.Contains(p.ISR, p.Leader) {
		return mq.Errorf(mq.InvalidRequest, "leader %d is not in the in-sync set", p.Leader)
	}
	if m.img.broker(p.Leader).Fenced {
		return mq.Errorf(mq.InvalidRequest, "leader %d is fenced", p.Leader)
	}
	return nil
}

func (m *machine) setLogStarts(c *metadatapb.SetLogStarts) *metadatapb.Result {
	verdicts := make([]*metadatapb.Verdict, len(c.GetStarts()))
	for i, start := range c.GetStarts() {
		verdicts[i] = verdict(m.setLogStart(start))
	}
	return &metadatapb.Result{Value: &metadatapb.Result_SetLogStarts{SetLogStarts: &metadatapb.SetLogStartsResult{Verdicts: verdicts}}}
}

func (m *machine) setLogStart(c *metadatapb.LogStart) error {
	id, p, err := m.partitionOf(c.GetPartition())
	if err != nil {
		return err
	}
	if epoch := mq.Epoch(c.GetLeaderEpoch()); epoch != mq.NoEpoch {
		if err := checkLeaderEpoch(id, p, epoch); err != nil {
			return err
		}
	}
	start := mq.Offset(c.GetOffset())
	if start < 0 {
		return mq.Errorf(mq.OffsetOutOfRange, "partition %s: log start %d is negative", id, start)
	}
	if start <= p.LogStart {
		return nil
	}
	changed := *p
	changed.LogStart = start
	m.putPartition(id, &changed)
	m.reclaimBelow(id, start)
	return nil
}
