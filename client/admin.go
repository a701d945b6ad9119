package client

import (
	"context"

	"github.com/rustmq/rustmq/mq"
)

// Broker is one broker of the cluster.
type Broker struct {
	ID   mq.NodeID
	Addr string // host:port of its QUIC listener
	Rack string // may be empty
}

// PartitionInfo is what metadata tells of one partition.
type PartitionInfo struct {
	Partition   int32
	Leader      mq.NodeID // [mq.NoNode] while nobody leads it
	LeaderEpoch mq.Epoch
	Replicas    []mq.NodeID
	InSync      []mq.NodeID
	Err         error // LEADER_NOT_AVAILABLE while nobody leads it
}

// TopicInfo is what metadata tells of one topic.
type TopicInfo struct {
	Name       string
	ID         mq.TopicID
	Internal   bool
	Partitions []PartitionInfo // by number
	Err        error           // UNKNOWN_TOPIC_OR_PARTITION for one that was asked for by name and is not there
}

// Metadata is a view of the cluster.
type Metadata struct {
	ClusterID  mq.ClusterID
	Controller mq.NodeID // [mq.NoNode] while there is none
	Brokers    []Broker
	Topics     []TopicInfo
}

// Cluster is what DescribeCluster tells.
type Cluster struct {
	ID           mq.ClusterID
	Node         mq.NodeID // that answered
	Controller   mq.NodeID // [mq.NoNode] while there is none
	FeatureLevel uint32
	Software     string // of the node that answered
	Brokers      []Broker
}

// TopicConfig is one setting of a topic.
type TopicConfig struct {
	Key     string
	Value   string
	Default bool // nobody set it: Value is what holds in its place
}

// PartitionDescription is a partition with its offsets, which are -1 where the answering node does not know them.
type PartitionDescription struct {
	PartitionInfo
	LogStart      mq.Offset // oldest record that there is
	HighWatermark mq.Offset // end of what consumers see
	LogEnd        mq.Offset
	ObjectEnd     mq.Offset // records below it are in the object store
	LocalBytes    int64     // of the part that is not, on the answering node
}

// TopicDescription is all there is to know about a topic.
type TopicDescription struct {
	Name       string
	ID         mq.TopicID
	Configs    []TopicConfig          // every setting that there is, by key
	Partitions []PartitionDescription // by number
}

// NewTopic says how a topic is to be.
type NewTopic struct {
	Name       string
	Partitions int32             // 0 or -1: the cluster's default
	Replicas   int16             // 0 or -1: the cluster's default
	Configs    map[string]string // such as "retention.ms"
	DryRun     bool              // check, and create nothing
}

// ConfigChanges says what to change of a topic's settings.
type ConfigChanges struct {
	Set    map[string]string
	Unset  []string // back to the default
	DryRun bool     // check, and change nothing
}

// ListedOffset answers ListOffsets for one partition.
type ListedOffset struct {
	Offset      mq.Offset // -1 if no record is that young
	Timestamp   int64     // of the record at Offset in ms since 1970, -1 for Start and End
	LeaderEpoch mq.Epoch
	Err         error // nil, or why this partition's offset is not known
}

// CreateTopic creates a topic and returns it as created, durably. Errors: TOPIC_ALREADY_EXISTS, INVALID_TOPIC_EXCEPTION,
// INVALID_PARTITIONS, INVALID_REPLICATION_FACTOR, INVALID_CONFIG. After a lost connection the request is not repeated, for it may have been carried
// out: the error is then NETWORK_EXCEPTION.
func (c *Client) CreateTopic(ctx context.Context, t NewTopic) (*TopicInfo, error) {
	panic("not yet")
}

// DeleteTopic deletes a topic with all its records, durably. Errors: UNKNOWN_TOPIC_OR_PARTITION; NETWORK_EXCEPTION as of CreateTopic.
func (c *Client) DeleteTopic(ctx context.Context, name string) error { panic("not yet") }

// ListTopics lists all topics that the client may see, by name.
func (c *Client) ListTopics(ctx context.Context) ([]TopicInfo, error) { panic("not yet") }

// DescribeTopic tells a topic's settings, partitions and offsets. Errors: UNKNOWN_TOPIC_OR_PARTITION.
func (c *Client) DescribeTopic(ctx context.Context, name string) (*TopicDescription, error) {
	panic("not yet")
}

// AlterTopicConfigs changes settings of a topic, all or none, durably. Errors: UNKNOWN_TOPIC_OR_PARTITION, INVALID_CONFIG;
// NETWORK_EXCEPTION as of CreateTopic.
func (c *Client) AlterTopicConfigs(ctx context.Context, name string, changes ConfigChanges) error {
	panic("not yet")
}

// CreatePartitions grows a topic to a total of partitions, durably. Records of one key may go elsewhere from then on. Errors:
// UNKNOWN_TOPIC_OR_PARTITION, INVALID_PARTITIONS (not more than there are); NETWORK_EXCEPTION as of CreateTopic.
func (c *Client) CreatePartitions(ctx context.Context, name string, total int32) error {
	panic("not yet")
}

// ListOffsets finds the offset of a position (start, end or a time) in partitions of a topic, all of them if none
// are named. A time gives the first record that is not older. The error is for the whole; that of one partition is in its answer.
func (c *Client) ListOffsets(ctx context.Context, topic string, at Position, iso mq.Isolation, partitions ...int32) (map[int32]ListedOffset, error) {
	panic("not yet")
}

// Metadata fetches the cluster's view of topics, of all if none are named.
func (c *Client) Metadata(ctx context.Context, topics ...string) (*Metadata, error) {
	panic("not yet")
}

// DescribeCluster tells about the cluster and the node that answers; it is also the way to see that there is one.
func (c *Client) DescribeCluster(ctx context.Context) (*Cluster, error) { panic("not yet") }
