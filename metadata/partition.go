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
	if c.GetPartitionEpoch() != p.PartitionEpoch {
		return mq.Errorf(mq.FencedLeaderEpoch, "partition %s: partition epoch %d is over, it is %d now", id, c.GetPartitionEpoch(),
			p.PartitionEpoch)
	}
	if epoch := mq.Epoch(c.GetLeaderEpoch()); epoch != mq.NoEpoch {
		if err := checkLeaderEpoch(id, p, epoch); err != nil {
			return err
		}
	}
	changed := *p
	if len(c.GetReplicas()) > 0 {
		changed.Replicas = nodeIDs(c.GetReplicas())
		if err := m.checkReplicas(changed.Replicas); err != nil {
			return mq.Wrapf(err, "partition %s", id)
		}
	}
	if len(c.GetIsr()) > 0 {
		if changed.ISR, err = m.newISR(&changed, c.GetIsr()); err != nil {
			return mq.Wrapf(err, "partition %s", id)
		}
	}
	if c.Leader != nil {
		changed.Leader = mq.NodeID(c.GetLeader())
		changed.LeaderEpoch++
	}
	if err := m.checkMembership(&changed); err != nil {
		return mq.Wrapf(err, "partition %s", id)
	}
	changed.PartitionEpoch++
	changed.shareLists(p)
	m.putPartition(id, &changed)
	return nil
}

// newISR checks proposed members and gives them in the order of the replicas. Nobody joins who is fenced, or whose incarnation is
// not the one that was seen to be in sync.
func (m *machine) newISR(p *Partition, members []*metadatapb.ISRMember) ([]mq.NodeID, error) {
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
		case b == nil || joins && b.Fenced:
			return nil, mq.Errorf(mq.InvalidRequest, "broker %d cannot join the in-sync set: it is fenced", id)
		case member.GetBrokerEpoch() != 0 && member.GetBrokerEpoch() != b.Epoch:
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
