package metadata

import (
	"slices"

	metadatapb "github.com/rustmq/rustmq/api/metadata/v1"
	"github.com/rustmq/rustmq/mq"
)

// draft is the image that a transaction is making. What it made itself it changes in place, what it found it copies first;
// which is which it knows by the owner. Every change goes to the database in the same call, so that the two cannot differ.
type draft struct {
	db     *db
	img    Image
	owner  *trieOwner
	topics trieEditor[mq.TopicID, *Topic]
	names  trieEditor[string, mq.TopicID]
	groups trieEditor[string, *GroupConfig]
	quotas trieEditor[QuotaEntity, *Quota]
}

func newDraft(d *db, base *Image) *draft {
	owner := &trieOwner{}
	return &draft{
		db: d, img: *base, owner: owner, topics: base.topics.edit(owner), names: base.names.edit(owner), groups: base.groups.edit(owner),
		quotas: base.quotas.edit(owner),
	}
}

// finish gives the image at an index. The draft must not be used afterwards.
func (d *draft) finish(index uint64) *Image {
	img := d.img
	img.Index, img.topics, img.names, img.groups, img.quotas = index, d.topics.t, d.names.t, d.groups.t, d.quotas.t
	return &img
}

func (d *draft) topic(id mq.TopicID) *Topic {
	t, _ := d.topics.t.get(id)
	return t
}

func (d *draft) partition(id mq.PartitionID) *Partition {
	t := d.topic(id.Topic)
	if t == nil {
		return nil
	}
	return t.Partition(id.Index)
}

func (d *draft) putCluster() {
	d.db.put(bucketMeta, []byte(keyCluster), &metadatapb.Cluster{ClusterId: d.img.ClusterID[:], FeatureLevel: d.img.FeatureLevel})
}

func (d *draft) putBroker(b *Broker) {
	brokers := slices.Clone(d.img.brokers)
	if at, found := findBroker(brokers, b.ID); found {
		brokers[at] = b
	} else {
		brokers = slices.Insert(brokers, at, b)
	}
	d.img.brokers = brokers
	d.db.put(bucketBrokers, brokerKey(b.ID), brokerRecord(b))
}

func (d *draft) removeBrokerRecord(id mq.NodeID) {
	d.img.brokers = slices.DeleteFunc(slices.Clone(d.img.brokers), func(b *Broker) bool { return b.ID == id })
	d.db.del(bucketBrokers, brokerKey(id))
}

func (d *draft) putController(c *Controller) {
	controllers := slices.Clone(d.img.controllers)
	if at, found := findController(controllers, c.RaftID); found {
		controllers[at] = c
	} else {
		controllers = slices.Insert(controllers, at, c)
	}
	d.img.controllers = controllers
	d.db.put(bucketControllers, controllerKey(c.RaftID), controllerRecord(c))
}

func (d *draft) removeControllerRecord(raftID uint64) {
	d.img.controllers = slices.DeleteFunc(slices.Clone(d.img.controllers), func(c *Controller) bool { return c.RaftID == raftID })
	d.db.del(bucketControllers, controllerKey(raftID))
}

// createTopic adds a topic without partitions.
func (d *draft) createTopic(t Topic) {
	t.owner = d.owner
	d.topics.set(t.ID, &t)
	d.names.set(t.Name, t.ID)
	d.db.put(bucketTopics, t.ID[:], topicRecord(&t))
}

// ownTopic gives a topic that may be changed in place. It must exist.
func (d *draft) ownTopic(id mq.TopicID) *Topic {
	t := d.topic(id)
	if t.owner == d.owner {
		return t
	}
	own := *t
	own.owner = d.owner
	own.chunks = slices.Clone(t.chunks)
	d.topics.set(id, &own)
	return &own
}

func (d *draft) setTopicConfig(id mq.TopicID, config TopicConfig, overrides []ConfigEntry) {
	t := d.ownTopic(id)
	t.Config, t.Overrides = config, overrides
	d.db.put(bucketTopics, id[:], topicRecord(t))
}

// setRestored notes how many replicas a topic had.
func (d *draft) setRestored(id mq.TopicID, replicas int) {
	t := d.ownTopic(id)
	t.Restored = int32(replicas)
	d.db.put(bucketTopics, id[:], topicRecord(t))
}

// addPartitions appends partitions to a topic.
func (d *draft) addPartitions(id mq.TopicID, partitions []*Partition) {
	t := d.ownTopic(id)
	var last *Partition
	for _, p := range partitions {
		p.shareLists(last)
		last = p
		d.db.put(bucketPartitions, partitionKey(mq.PartitionID{Topic: id, Index: t.count}), partitionRecord(p))
		t.append(p)
	}
	d.img.partitions += len(partitions)
	d.db.put(bucketTopics, id[:], topicRecord(t))
}

// append adds one partition to a topic that the caller owns.
func (t *Topic) append(p *Partition) {
	if t.count%partitionsPerChunk == 0 {
		t.chunks = append(t.chunks, &partitionChunk{owner: t.owner})
	}
	chunk := t.ownChunk(t.count / partitionsPerChunk)
	chunk.partitions = append(chunk.partitions, p)
	t.count++
}

// set replaces a partition of a topic that the caller owns.
func (t *Topic) set(i int32, p *Partition) {
	t.ownChunk(i / partitionsPerChunk).partitions[i%partitionsPerChunk] = p
}

// ownChunk gives a chunk that may be changed in place, of a topic that the caller owns.
func (t *Topic) ownChunk(c int32) *partitionChunk {
	chunk := t.chunks[c]
	if chunk.owner != t.owner {
		chunk = &partitionChunk{t.owner, slices.Clone(chunk.partitions)}
		t.chunks[c] = chunk
	}
	return chunk
}

// putPartition replaces a partition that exists.
func (d *draft) putPartition(id mq.PartitionID, p *Partition) {
	d.ownTopic(id.Topic).set(id.Index, p)
	d.db.put(bucketPartitions, partitionKey(id), partitionRecord(p))
}

// deleteTopic removes a topic and its partitions, not what lies in the object store.
func (d *draft) deleteTopic(t *Topic) {
	d.topics.remove(t.ID)
	d.names.remove(t.Name)
	d.img.partitions -= int(t.count)
	d.db.del(bucketTopics, t.ID[:])
	for i := range t.count {
		d.db.del(bucketPartitions, partitionKey(mq.PartitionID{Topic: t.ID, Index: i}))
	}
}
