package metadata

import (
	"cmp"
	"slices"

	metadatapb "github.com/rustmq/rustmq/api/metadata/v1"
	"github.com/rustmq/rustmq/mq"
)

func (m *machine) createTopicCommand(c *metadatapb.CreateTopic) (*metadatapb.Result, error) {
	id, there, err := m.newTopicID(c.GetId(), c.GetName())
	if there != nil || err != nil {
		return there, err
	}
	overrides, err := m.newOverrides(c.GetConfigs())
	if err != nil {
		return nil, err
	}
	config, err := ParseTopicConfig(m.img.Defaults, overrides)
	if err != nil {
		return nil, err
	}
	partitions, err := m.newPartitions(c.GetName(), 0, 0, c.GetAssignments())
	if err != nil {
		return nil, err
	}
	m.createTopic(Topic{ID: id, Name: c.GetName(), Config: config, Overrides: overrides})
	m.addPartitions(id, partitions)
	return created(id), nil
}

// newTopicID checks id and name of a topic that is to be made. there is the answer where it needs not be made any more, or the one that goes with the error.
func (m *machine) newTopicID(b []byte, name string) (id mq.TopicID, there *metadatapb.Result, err error) {
	id, ok := topicIDFrom(b)
	if !ok {
		return id, nil, mq.Errorf(mq.InvalidRequest, "create topic %.60q: the id must have 16 bytes that are not all zero", name)
	}
	if err := mq.ValidTopicName(name); err != nil {
		return id, nil, err
	}
	if known, ok := m.names.t.get(name); ok {
		if known == id {
			return id, created(id), nil // the answer to an earlier proposal was lost
		}
		return id, created(known), mq.Errorf(mq.TopicAlreadyExists, "topic %q exists", name)
	}
	if m.topic(id) != nil || m.reclaimPending(id) {
		return id, nil, mq.Errorf(mq.InvalidRequest, "create topic %q: the id %s was used before", name, id)
	}
	return id, nil, nil
}

func created(id mq.TopicID) *metadatapb.Result {
	return &metadatapb.Result{Value: &metadatapb.Result_CreateTopic{CreateTopic: &metadatapb.CreateTopicResult{Id: id[:]}}}
}

// newOverrides sorts a new topic's settings and refuses a key that comes twice.
func (m *machine) newOverrides(records []*metadatapb.ConfigEntry) ([]ConfigEntry, error) {
	overrides := configsFrom(records)
	slices.SortFunc(overrides, func(a, b ConfigEntry) int { return cmp.Compare(a.Key, b.Key) })
	for i := 1; i < len(overrides); i++ {
		if overrides[i].Key == overrides[i-1].Key {
			return nil, mq.Errorf(mq.InvalidConfig, "setting %.60q is given twice", overrides[i].Key)
		}
	}
	return overrides, nil
}

// newPartitions checks assignments for partitions that follow the existing ones and makes them. replicas is the factor that the topic has;
// 0: the first assignment says. A new partition is empty, so each replica that lives has all of it.
func (m *machine) newPartitions(name string, existing int32, replicas int, assignments []*metadatapb.ReplicaAssignment) ([]*Partition, error) {
	nodes := make([][]mq.NodeID, len(assignments))
	for i, a := range assignments {
		nodes[i] = nodeIDs(a.GetReplicas())
	}
	if err := CheckAssignments(&m.img, name, existing, replicas, nodes); err != nil {
		return nil, err
	}
	partitions := make([]*Partition, len(nodes))
	for i := range nodes {
		partitions[i] = m.newPartition(nodes[i])
	}
	return partitions, nil
}

// CheckAssignments says whether replicas can be those of partitions that follow the existing ones of a topic: what CreateTopic and CreatePartitions refuse. replicas is the factor that the topic has; 0: the
// first assignment says. It is a pure function of the image. Errors: InvalidPartitions, InvalidReplicationFactor.
func CheckAssignments(img *Image, name string, existing int32, replicas int, assignments [][]mq.NodeID) error {
	if n := len(assignments); n == 0 || n > mq.MaxPartitionsPerTopic-int(existing) {
		return mq.Errorf(mq.InvalidPartitions, "topic %q: %d partitions and %d more: from 1 to %d are allowed", name, existing, n,
			mq.MaxPartitionsPerTopic)
	}
	if replicas == 0 {
		replicas = len(assignments[0])
	}
	for i, nodes := range assignments {
		if len(nodes) != replicas {
			return mq.Errorf(mq.InvalidReplicationFactor, "topic %q, partition %d: %d replicas, others have %d", name, int(existing)+i,
				len(nodes), replicas)
		}
		if err := img.checkNew(nodes); err != nil {
			return mq.Wrapf(err, "topic %q, partition %d", name, int(existing)+i)
		}
	}
	return nil
}

// checkNew wants replicas that a new partition can have: one of them is alive.
func (img *Image) checkNew(replicas []mq.NodeID) error {
	if err := img.checkReplicas(replicas); err != nil {
		return err
	}
	if !slices.ContainsFunc(replicas, func(id mq.NodeID) bool { return !img.broker(id).Fenced }) {
		return mq.Errorf(mq.InvalidReplicationFactor, "none of the brokers %v is alive", replicas)
	}
	return nil
}

// newPartition makes one of replicas that were checked.
func (m *machine) newPartition(replicas []mq.NodeID) *Partition {
	alive := slices.DeleteFunc(slices.Clone(replicas), func(id mq.NodeID) bool { return m.img.broker(id).Fenced })
	isr := slices.DeleteFunc(slices.Clone(alive), func(id mq.NodeID) bool { return m.img.broker(id).ShuttingDown })
	if len(isr) == 0 {
		isr = alive
	}
	return &Partition{Leader: isr[0], Replicas: replicas, ISR: isr}
}

// checkReplicas wants registered brokers, each once.
func (img *Image) checkReplicas(replicas []mq.NodeID) error {
	if n := len(replicas); n == 0 || n > mq.MaxReplicationFactor {
		return mq.Errorf(mq.InvalidReplicationFactor, "%d replicas: from 1 to %d are allowed", n, mq.MaxReplicationFactor)
	}
	for i, id := range replicas {
		if img.broker(id) == nil {
			return mq.Errorf(mq.InvalidReplicationFactor, "broker %d is not registered", id)
		}
		if slices.Contains(replicas[:i], id) {
			return mq.Errorf(mq.InvalidReplicationFactor, "broker %d is named twice", id)
		}
	}
	return nil
}

func (m *machine) topicOf(id []byte) (*Topic, error) {
	topicID, ok := topicIDFrom(id)
	if !ok {
		return nil, mq.Errorf(mq.InvalidRequest, "a topic id has 16 bytes, not %d", len(id))
	}
	t := m.topic(topicID)
	if t == nil {
		return nil, mq.Errorf(mq.UnknownTopicID, "topic %s does not exist", topicID)
	}
	return t, nil
}

func (m *machine) deleteTopicCommand(c *metadatapb.DeleteTopic) error {
	t, err := m.topicOf(c.GetId())
	if err != nil {
		return err
	}
	for i := range t.count {
		m.reclaimPartition(mq.PartitionID{Topic: t.ID, Index: i})
	}
	m.deleteTopic(t)
	return nil
}

func (m *machine) alterTopicConfigs(c *metadatapb.AlterTopicConfigs) error {
	t, err := m.topicOf(c.GetId())
	if err != nil {
		return err
	}
	overrides, err := changeConfigs(t.Overrides, configChangesFrom(c.GetChanges()))
	if err != nil {
		return err
	}
	config, err := ParseTopicConfig(m.img.Defaults, overrides)
	if err != nil {
		return err
	}
	m.setTopicConfig(t.ID, config, overrides)
	m.settleTopic(t.ID)
	return nil
}

func (m *machine) createPartitions(c *metadatapb.CreatePartitions) error {
	t, err := m.topicOf(c.GetId())
	if err != nil {
		return err
	}
	if c.GetCurrent() != t.count {
		return mq.Errorf(mq.InvalidPartitions, "topic %q has %d partitions, not %d", t.Name, t.count, c.GetCurrent())
	}
	partitions, err := m.newPartitions(t.Name, t.count, len(t.Partition(0).Targets()), c.GetAssignments())
	if err != nil {
		return err
	}
	m.addPartitions(t.ID, partitions)
	return nil
}
