package metadata

import (
	metadatapb "github.com/rustmq/rustmq/api/metadata/v1"
	"github.com/rustmq/rustmq/mq"
)

// Refounding says what a cluster becomes that goes on from a copy of another one's metadata.
type Refounding struct {
	Cluster mq.ClusterID // of the new one
	Node    mq.NodeID    // its only broker
	Dir     mq.DirID     // where that has its data
	Conf    []byte       // the membership of its group of controllers
}

// Refounded says what there is.
type Refounded struct {
	Topics, Partitions int
	// Replicated partitions had more than one replica.
	Replicated int
	// Lowered partitions start again below where they did: what was deleted there, and what followed it, the object store does not have.
	Lowered []mq.PartitionID
}

// refound replaces all that is of the old cluster and not of its data.
func (m *machine) refound(r Refounding) (found Refounded) {
	m.img.ClusterID = r.Cluster
	m.putCluster()
	m.img.controllers = nil
	for _, b := range m.img.brokers {
		m.removeBrokerRecord(b.ID)
	}
	m.putBroker(&Broker{ID: r.Node, Epoch: m.index, Dir: r.Dir, MaxFeatureLevel: m.img.FeatureLevel})
	for _, t := range m.topics.t.all() {
		found.Topics++
		m.setRestored(t.ID, ReplicationFactor(t))
		for i, p := range t.All() {
			found.Partitions++
			if len(p.Replicas) > 1 {
				found.Replicated++
			}
			next := &Partition{
				Leader: r.Node, LeaderEpoch: p.LeaderEpoch + epochLeap, PartitionEpoch: p.PartitionEpoch + epochLeap,
				LogStart: p.LogStart, TieredEnd: p.TieredEnd, Replicas: []mq.NodeID{r.Node}, ISR: []mq.NodeID{r.Node},
			}
			m.putPartition(mq.PartitionID{Topic: t.ID, Index: i}, next)
		}
	}
	m.db.putNumber(keyNextProducerID, m.db.number(keyNextProducerID)+idLeap)
	m.db.putNumber(keyNextObjectID, m.db.number(keyNextObjectID)+idLeap)
	m.db.del(bucketMeta, []byte(keyNextRaftID))
	return found
}

// adopt commits an object as if the new leader of its partitions had written it.
func (m *machine) adopt(node mq.NodeID, c *metadatapb.CommitObject) ([]error, error) {
	c.NodeId = int32(node)
	for _, r := range c.GetRanges() {
		if id, ok := partitionIDFrom(r.GetPartition()); ok {
			if p := m.partition(id); p != nil {
				r.LeaderEpoch = int32(p.LeaderEpoch)
			}
		}
	}
	result, err := m.commitObject(c)
	if err != nil {
		return nil, err
	}
	return VerdictErrors(result.GetCommitObject().GetVerdicts()), nil
}

// lowerLogStarts has no partition start above its tiered end: the log goes on there, and what was deleted behind it is not there either.
func (m *machine) lowerLogStarts() (lowered []mq.PartitionID) {
	for _, t := range m.topics.t.all() {
		for i, p := range t.All() {
			if p.LogStart <= p.TieredEnd {
				continue
			}
			next := *p
			next.LogStart = p.TieredEnd
			id := mq.PartitionID{Topic: t.ID, Index: i}
			m.putPartition(id, &next)
			lowered = append(lowered, id)
		}
	}
	return lowered
}
