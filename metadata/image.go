package metadata

import (
	"iter"
	"slices"

	"github.com/rustmq/rustmq/mq"
	"github.com/rustmq/rustmq/raft"
)

// Image is the cluster as of one applied command, without the object index. It is immutable and shares with the images before
// it all that did not change. Ask it, do not keep what it gave across images.
type Image struct {
	// Index of the last command that it reflects. Its upper part is the generation.
	Index uint64
	// ClusterID is zero before the cluster was formed.
	ClusterID    mq.ClusterID
	FeatureLevel uint32
	// Defaults are the cluster's settings.
	Defaults ClusterConfig

	brokers     []*Broker     // by node id
	controllers []*Controller // by raft id
	topics      trie[mq.TopicID, *Topic]
	names       trie[string, mq.TopicID]
	groups      trie[string, *GroupConfig]
	quotas      trie[QuotaEntity, *Quota]
	partitions  int
}

// Generation is how often the cluster had been recovered from the loss of a majority of its controllers. An image of another generation is of another history.
func (img *Image) Generation() uint64 { return raft.Generation(img.Index) }

// Broker is a registered broker. Immutable.
type Broker struct {
	ID          mq.NodeID
	Incarnation uint64
	// Epoch grows with every registration of any broker.
	Epoch           uint64
	Dir             mq.DirID
	Endpoints       []Endpoint
	Rack            string
	Fenced          bool
	MaxFeatureLevel uint32
	// ShuttingDown brokers asked to stop: they lead only what nobody else can, and join no in-sync set any more.
	ShuttingDown bool
	// Draining brokers give all their replicas to others, and get no new ones, whatever becomes of their processes.
	Draining bool
}

// Controller is a member of the controllers' raft group. Immutable.
type Controller struct {
	// RaftID is the node id of a member that formed the cluster, and else one that nobody had before.
	RaftID uint64
	Node   mq.NodeID
	// Dir is the directory that holds the member's log. With another one the node is another member.
	Dir             mq.DirID
	Endpoint        Endpoint // of its "rpc" listener
	MaxFeatureLevel uint32
}

// Endpoint is where one of a broker's listeners is reached.
type Endpoint struct {
	Listener string // "quic", "kafka", "rpc" or "admin"
	Host     string
	Port     uint16
}

// Endpoint finds a listener's address.
func (b *Broker) Endpoint(listener string) (Endpoint, bool) {
	for _, e := range b.Endpoints {
		if e.Listener == listener {
			return e, true
		}
	}
	return Endpoint{}, false
}

// partitionsPerChunk balances what changing one partition copies (one chunk and the list of chunks) for topics of up to
// 10,000 partitions.
const partitionsPerChunk = 32

type partitionChunk struct {
	owner      *trieOwner
	partitions []*Partition // full but in the last chunk
}

// Topic is a topic. Immutable.
type Topic struct {
	ID   mq.TopicID
	Name string
	// Config is complete: defaults, the cluster's, the topic's.
	Config TopicConfig
	// Overrides is what the topic itself sets, sorted by key.
	Overrides []ConfigEntry
	// Restored is how many replicas its partitions had in the cluster that this one was restored from; 0: it was not. See [ReplicationFactor].
	Restored int32

	owner  *trieOwner
	count  int32
	chunks []*partitionChunk
}

// Partition is what the controller decided about a partition. Immutable. LogStart and TieredEnd are as recent as the image;
// the partition's leader may know more.
type Partition struct {
	Leader         mq.NodeID // mq.NoNode: none
	LeaderEpoch    mq.Epoch
	PartitionEpoch int32 // moves with each change of leader, in-sync set, eligible replicas or replicas
	LogStart       mq.Offset
	TieredEnd      mq.Offset
	Replicas       []mq.NodeID // preferred leader first
	ISR            []mq.NodeID // in the order of Replicas
	// Eligible replicas are out of sync and hold all that was committed: they are elected when nobody in sync is alive. There are
	// some only while the partition has no leader or fewer in-sync replicas than the minimum. In the order of Replicas.
	Eligible []mq.NodeID
	// LostDir is not zero when the last in-sync replica came back with another directory than this one. Nobody leads then, until this
	// directory is back or an unclean election is allowed.
	LostDir mq.DirID
	// UncleanEpoch is the last leader epoch that began with a replica which may have lacked committed records; 0: none ever did. Whoever
	// leads in this epoch says what was lost.
	UncleanEpoch mq.Epoch
	// Reassignment is what is under way, or nil.
	Reassignment *Reassignment
}

// Unclean says that the present leader epoch began with a replica which may have lacked committed records.
func (p *Partition) Unclean() bool { return p.UncleanEpoch != 0 && p.UncleanEpoch == p.LeaderEpoch }

// MinInSync is the number of in-sync replicas below which one of the topic's partitions commits nothing. Replicas that are being added do not
// count until they all are in sync.
func (t *Topic) MinInSync(p *Partition) int { return t.Config.MinInSync(len(p.original())) }

// MostInSync is the largest MinInSync of the topic's partitions: a leader that takes it for all of them commits nothing too early. They differ
// only while some have been reassigned to another number of replicas and others have not.
func (t *Topic) MostInSync() int {
	if t.Config.MinISR > 0 {
		return int(t.Config.MinISR)
	}
	most := 1
	for _, p := range t.All() {
		most = max(most, t.MinInSync(p))
	}
	return most
}

// Partitions is how many partitions the topic has; they are numbered from 0.
func (t *Topic) Partitions() int32 { return t.count }

// Partition is partition i, or nil.
func (t *Topic) Partition(i int32) *Partition {
	if i < 0 || i >= t.count {
		return nil
	}
	return t.chunks[i/partitionsPerChunk].partitions[i%partitionsPerChunk]
}

// All goes over the partitions in order.
func (t *Topic) All() iter.Seq2[int32, *Partition] {
	return func(yield func(int32, *Partition) bool) {
		for i := range t.count {
			if !yield(i, t.Partition(i)) {
				return
			}
		}
	}
}

// Topic is the topic with this id, or nil.
func (img *Image) Topic(id mq.TopicID) *Topic {
	t, _ := img.topics.get(id)
	return t
}

// TopicByName is the topic of this name, or nil.
func (img *Image) TopicByName(name string) *Topic {
	id, ok := img.names.get(name)
	if !ok {
		return nil
	}
	return img.Topic(id)
}

// Partition is the partition with this id, or nil.
func (img *Image) Partition(id mq.PartitionID) *Partition {
	t := img.Topic(id.Topic)
	if t == nil {
		return nil
	}
	return t.Partition(id.Index)
}

// Topics goes over all topics, in no useful order.
func (img *Image) Topics() iter.Seq[*Topic] { return img.topics.values() }

// TopicCount is how many topics there are.
func (img *Image) TopicCount() int { return img.topics.len() }

// PartitionCount is how many partitions there are in all topics.
func (img *Image) PartitionCount() int { return img.partitions }

// Brokers lists the brokers by ascending id. The caller must not change the slice.
func (img *Image) Brokers() []*Broker { return img.brokers }

// Broker is the broker with this id, or nil.
func (img *Image) Broker(id mq.NodeID) *Broker { return img.broker(id) }

func (img *Image) broker(id mq.NodeID) *Broker {
	i, ok := findBroker(img.brokers, id)
	if !ok {
		return nil
	}
	return img.brokers[i]
}

// Controllers lists the members of the raft group by ascending raft id. A node may be there twice, while a member with a new directory
// takes the place of the old. There are none in a cluster of before they were recorded. The caller must not change the slice.
func (img *Image) Controllers() []*Controller { return img.controllers }

// Controller is the member with this raft id, or nil.
func (img *Image) Controller(raftID uint64) *Controller {
	i, ok := findController(img.controllers, raftID)
	if !ok {
		return nil
	}
	return img.controllers[i]
}

func findBroker(brokers []*Broker, id mq.NodeID) (int, bool) {
	return slices.BinarySearchFunc(brokers, id, func(b *Broker, id mq.NodeID) int { return int(b.ID) - int(id) })
}
