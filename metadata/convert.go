package metadata

import (
	"slices"

	metadatapb "github.com/rustmq/rustmq/api/metadata/v1"
	"github.com/rustmq/rustmq/mq"
)

// How records of the database become parts of an image, and back.

func brokerFrom(r *metadatapb.Broker) *Broker {
	b := &Broker{
		ID: mq.NodeID(r.GetNodeId()), Incarnation: r.GetIncarnation(), Epoch: r.GetBrokerEpoch(), Rack: r.GetRack(), Fenced: r.GetFenced(),
		MaxFeatureLevel: r.GetMaxFeatureLevel(), ShuttingDown: r.GetShuttingDown(), Draining: r.GetDraining(),
	}
	copy(b.Dir[:], r.GetDirId())
	for _, e := range r.GetEndpoints() {
		b.Endpoints = append(b.Endpoints, Endpoint{e.GetListener(), e.GetHost(), uint16(e.GetPort())})
	}
	return b
}

func brokerRecord(b *Broker) *metadatapb.Broker {
	r := &metadatapb.Broker{
		NodeId: int32(b.ID), Incarnation: b.Incarnation, BrokerEpoch: b.Epoch, DirId: b.Dir[:], Rack: b.Rack, Fenced: b.Fenced,
		MaxFeatureLevel: b.MaxFeatureLevel, ShuttingDown: b.ShuttingDown, Draining: b.Draining,
	}
	for _, e := range b.Endpoints {
		r.Endpoints = append(r.Endpoints, &metadatapb.Endpoint{Listener: e.Listener, Host: e.Host, Port: uint32(e.Port)})
	}
	return r
}

func topicRecord(t *Topic) *metadatapb.Topic {
	return &metadatapb.Topic{Id: t.ID[:], Name: t.Name, Partitions: t.count, Configs: configRecords(t.Overrides), Replicas: t.Restored}
}

func configRecords(entries []ConfigEntry) []*metadatapb.ConfigEntry {
	records := make([]*metadatapb.ConfigEntry, len(entries))
	for i, e := range entries {
		records[i] = &metadatapb.ConfigEntry{Key: e.Key, Value: e.Value}
	}
	return records
}

func configsFrom(records []*metadatapb.ConfigEntry) []ConfigEntry {
	if len(records) == 0 {
		return nil
	}
	entries := make([]ConfigEntry, len(records))
	for i, r := range records {
		entries[i] = ConfigEntry{r.GetKey(), r.GetValue()}
	}
	return entries
}

func configChangesFrom(records []*metadatapb.ConfigChange) []configChange {
	changes := make([]configChange, len(records))
	for i, r := range records {
		changes[i] = configChange{key: r.GetKey(), value: r.GetValue(), remove: r.GetDelete()}
	}
	return changes
}

func partitionRecord(p *Partition) *metadatapb.Partition {
	r := &metadatapb.Partition{
		Leader: int32(p.Leader), LeaderEpoch: int32(p.LeaderEpoch), PartitionEpoch: p.PartitionEpoch,
		Replicas: nodeNumbers(p.Replicas), Isr: nodeNumbers(p.ISR), LogStart: int64(p.LogStart), TieredEnd: int64(p.TieredEnd),
		Eligible: nodeNumbers(p.Eligible), UncleanEpoch: int32(p.UncleanEpoch),
	}
	if p.Reassignment != nil {
		r.Targets, r.Adding = nodeNumbers(p.Reassignment.Targets), nodeNumbers(p.Reassignment.Adding)
	}
	if p.lost() {
		r.LostDir = p.LostDir[:]
	}
	return r
}

// partitionFrom shares node lists with last where they are equal: most partitions of a topic have the lists of a neighbour.
func partitionFrom(r *metadatapb.Partition, last *Partition) *Partition {
	p := &Partition{
		Leader: mq.NodeID(r.GetLeader()), LeaderEpoch: mq.Epoch(r.GetLeaderEpoch()), PartitionEpoch: r.GetPartitionEpoch(),
		LogStart: mq.Offset(r.GetLogStart()), TieredEnd: mq.Offset(r.GetTieredEnd()),
		Replicas: nodeIDs(r.GetReplicas()), ISR: nodeIDs(r.GetIsr()), Eligible: nodeIDs(r.GetEligible()),
		UncleanEpoch: mq.Epoch(r.GetUncleanEpoch()),
	}
	copy(p.LostDir[:], r.GetLostDir())
	if len(r.GetTargets()) > 0 {
		p.Reassignment = &Reassignment{Targets: nodeIDs(r.GetTargets()), Adding: nodeIDs(r.GetAdding())}
	}
	p.shareLists(last)
	return p
}

// shareLists makes equal node lists one: in p, and of p and a neighbour, which may be nil.
func (p *Partition) shareLists(neighbour *Partition) {
	if neighbour != nil && slices.Equal(p.Replicas, neighbour.Replicas) {
		p.Replicas = neighbour.Replicas
	}
	switch {
	case slices.Equal(p.ISR, p.Replicas):
		p.ISR = p.Replicas
	case neighbour != nil && slices.Equal(p.ISR, neighbour.ISR):
		p.ISR = neighbour.ISR
	}
	if neighbour != nil && len(p.Eligible) > 0 && slices.Equal(p.Eligible, neighbour.Eligible) {
		p.Eligible = neighbour.Eligible
	}
}

func nodeNumbers(ids []mq.NodeID) []int32 {
	if len(ids) == 0 {
		return nil
	}
	numbers := make([]int32, len(ids))
	for i, id := range ids {
		numbers[i] = int32(id)
	}
	return numbers
}

func nodeIDs(numbers []int32) []mq.NodeID {
	if len(numbers) == 0 {
		return nil
	}
	ids := make([]mq.NodeID, len(numbers))
	for i, n := range numbers {
		ids[i] = mq.NodeID(n)
	}
	return ids
}

func epochHistoryFrom(records []*metadatapb.EpochStart) mq.EpochHistory {
	history := make(mq.EpochHistory, len(records))
	for i, r := range records {
		history[i] = mq.EpochStart{Epoch: mq.Epoch(r.GetEpoch()), Start: mq.Offset(r.GetStart())}
	}
	return history
}

// EpochRecords is the form in which a command carries an epoch history.
func EpochRecords(history mq.EpochHistory) []*metadatapb.EpochStart {
	records := make([]*metadatapb.EpochStart, len(history))
	for i, e := range history {
		records[i] = &metadatapb.EpochStart{Epoch: int32(e.Epoch), Start: int64(e.Start)}
	}
	return records
}

// PartitionRecord is the form in which a command names a partition.
func PartitionRecord(id mq.PartitionID) *metadatapb.PartitionRef {
	return &metadatapb.PartitionRef{TopicId: id.Topic[:], Partition: id.Index}
}

// topicIDFrom is ok for 16 bytes that are not all zero.
func topicIDFrom(b []byte) (id mq.TopicID, ok bool) {
	if len(b) != len(id) {
		return id, false
	}
	id = mq.TopicID(b)
	return id, !id.IsZero()
}

func partitionIDFrom(ref *metadatapb.PartitionRef) (mq.PartitionID, bool) {
	topic, ok := topicIDFrom(ref.GetTopicId())
	return mq.PartitionID{Topic: topic, Index: ref.GetPartition()}, ok
}
