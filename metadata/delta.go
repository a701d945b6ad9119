package metadata

import "github.com/rustmq/rustmq/mq"

// Delta is what differs between two images.
type Delta struct {
	Old, New *Image

	Created []*Topic
	Deleted []*Topic      // as they were
	Changed []TopicChange // other settings, or partitions that were added or changed
	// Brokers that registered, changed or were fenced, as they are now.
	Brokers []*Broker
	// RemovedBrokers as they were.
	RemovedBrokers []*Broker
	// Cluster says that the id, feature level or defaults of the cluster changed.
	Cluster bool
}

// TopicChange is a topic that is in both images.
type TopicChange struct {
	Old, New *Topic
	// ConfigChanged says that effective settings differ.
	ConfigChanged bool
	// Partitions that are new or differ, ascending.
	Partitions []int32
}

// Empty says that nothing differs but the index.
func (d *Delta) Empty() bool {
	return len(d.Created)+len(d.Deleted)+len(d.Changed)+len(d.Brokers)+len(d.RemovedBrokers) == 0 && !d.Cluster
}

// Diff says what changed from one image to a later one. It looks only at what the two do not share.
func Diff(old, new *Image) *Delta { panic("not yet") }

// PartitionIDs lists the partitions of c that are new or differ.
func (c TopicChange) PartitionIDs() []mq.PartitionID {
	ids := make([]mq.PartitionID, len(c.Partitions))
	for i, p := range c.Partitions {
		ids[i] = mq.PartitionID{Topic: c.New.ID, Index: p}
	}
	return ids
}
