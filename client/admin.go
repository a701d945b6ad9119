package client

import (
	"context"
	"maps"
	"slices"

	"github.com/rustmq/rustmq/mq"
	"github.com/rustmq/rustmq/quicproto"
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

// CreatedTopic is how a new topic became.
type CreatedTopic struct {
	ID         mq.TopicID // zero after a dry run
	Partitions int32
	Replicas   int16
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

// CreateTopic creates a topic and tells how it became, durably. Errors: TOPIC_ALREADY_EXISTS, INVALID_TOPIC_EXCEPTION,
// INVALID_PARTITIONS, INVALID_REPLICATION_FACTOR, INVALID_CONFIG. After a lost connection the request is not repeated, for it may have been carried
// out: the error is then NETWORK_EXCEPTION.
func (c *Client) CreateTopic(ctx context.Context, t NewTopic) (*CreatedTopic, error) {
	req := quicproto.CreateTopicRequest{
		Name: t.Name, Partitions: t.Partitions, Replicas: t.Replicas, Configs: configList(t.Configs), DryRun: t.DryRun,
	}
	if t.Partitions == 0 {
		req.Partitions = -1
	}
	if t.Replicas == 0 {
		req.Replicas = -1
	}
	if err := mq.ValidTopicName(t.Name); err != nil {
		return nil, err
	}
	var resp quicproto.CreateTopicResponse
	if err := c.admin(ctx, &req, &resp, ifHarmless(t.DryRun)); err != nil {
		return nil, mq.Wrapf(err, "create topic %s", t.Name)
	}
	return &CreatedTopic{ID: resp.ID, Partitions: resp.Partitions, Replicas: resp.Replicas}, nil
}

// DeleteTopic deletes a topic with all its records, durably. Errors: UNKNOWN_TOPIC_OR_PARTITION; NETWORK_EXCEPTION as of CreateTopic.
func (c *Client) DeleteTopic(ctx context.Context, name string) error {
	if err := mq.ValidTopicName(name); err != nil {
		return err
	}
	return mq.Wrapf(c.admin(ctx, &quicproto.DeleteTopicRequest{Name: name}, nil, once), "delete topic %s", name)
}

// ListTopics lists all topics that the client may see, by name.
func (c *Client) ListTopics(ctx context.Context) ([]TopicInfo, error) {
	m, err := c.Metadata(ctx)
	if err != nil {
		return nil, err
	}
	return m.Topics, nil
}

// DescribeTopic tells a topic's settings, partitions and offsets. Errors: UNKNOWN_TOPIC_OR_PARTITION.
func (c *Client) DescribeTopic(ctx context.Context, name string) (*TopicDescription, error) {
	if err := mq.ValidTopicName(name); err != nil {
		return nil, err
	}
	var resp quicproto.DescribeTopicResponse
	if err := c.admin(ctx, &quicproto.DescribeTopicRequest{Name: name}, &resp, repeatable); err != nil {
		return nil, mq.Wrapf(err, "describe topic %s", name)
	}
	d := &TopicDescription{Name: resp.Name, ID: resp.ID}
	for _, cfg := range resp.Configs {
		d.Configs = append(d.Configs, TopicConfig(cfg))
	}
	for i := range resp.Partitions {
		p := &resp.Partitions[i]
		d.Partitions = append(d.Partitions, PartitionDescription{
			PartitionInfo: partitionInfo(&p.Partition), LogStart: p.LogStart, HighWatermark: p.HighWatermark,
			LogEnd: p.LogEnd, ObjectEnd: p.ObjectEnd, LocalBytes: p.Bytes,
		})
	}
	return d, nil
}

// AlterTopicConfigs changes settings of a topic, all or none, durably. Errors: UNKNOWN_TOPIC_OR_PARTITION, INVALID_CONFIG;
// NETWORK_EXCEPTION as of CreateTopic.
func (c *Client) AlterTopicConfigs(ctx context.Context, name string, changes ConfigChanges) error {
	if err := mq.ValidTopicName(name); err != nil {
		return err
	}
	req := quicproto.AlterTopicRequest{
		Name: name, Set: configList(changes.Set), Unset: changes.Unset, DryRun: changes.DryRun,
	}
	return mq.Wrapf(c.admin(ctx, &req, nil, ifHarmless(changes.DryRun)), "alter topic %s", name)
}

// CreatePartitions grows a topic to a total of partitions, durably. Records of one key may go elsewhere from then on. Errors:
// UNKNOWN_TOPIC_OR_PARTITION, INVALID_PARTITIONS (not more than there are); NETWORK_EXCEPTION as of CreateTopic.
func (c *Client) CreatePartitions(ctx context.Context, name string, total int32) error {
	if err := mq.ValidTopicName(name); err != nil {
		return err
	}
	if total < 1 {
		return mq.Errorf(mq.InvalidPartitions, "topic %s with %d partitions", name, total)
	}
	req := quicproto.AlterTopicRequest{Name: name, Partitions: total}
	if err := c.admin(ctx, &req, nil, once); err != nil {
		return mq.Wrapf(err, "grow topic %s to %d partitions", name, total)
	}
	if v, ok := c.topics.Load(name); ok {
		c.refresh(v.(*topic))
	}
	return nil
}

// ListOffsets finds the offset of a position (start, end or a time) in partitions of a topic, all of them if none
// are named. A time gives the first record that is not older. The error is for the whole; that of one partition is in its answer.
func (c *Client) ListOffsets(ctx context.Context, topic string, at Position, iso mq.Isolation, partitions ...int32) (map[int32]ListedOffset, error) {
	if at.kind == atOffset {
		return nil, mq.Errorf(mq.InvalidRequest, "list offsets of %s: %v is an offset already", topic, at)
	}
	ctx, cancel := c.bounded(ctx)
	defer cancel()
	found, err := c.listOffsets(ctx, topic, at, iso, partitions)
	return found, mq.Wrapf(err, "list offsets of %s", topic)
}

// Metadata fetches the cluster's view of topics, of all if none are named.
func (c *Client) Metadata(ctx context.Context, topics ...string) (*Metadata, error) {
	for _, name := range topics {
		if err := mq.ValidTopicName(name); err != nil {
			return nil, err
		}
	}
	ctx, cancel := c.bounded(ctx)
	defer cancel()
	resp, err := c.metadata(ctx, &quicproto.MetadataRequest{All: len(topics) == 0, Topics: topics})
	if err != nil {
		return nil, err
	}
	m := &Metadata{ClusterID: resp.ClusterID, Controller: resp.Controller, Brokers: brokers(resp.Brokers)}
	for i := range resp.Topics {
		m.Topics = append(m.Topics, topicInfo(&resp.Topics[i]))
	}
	return m, nil
}

// DescribeCluster tells about the cluster and the node that answers; it is also the way to see that there is one.
func (c *Client) DescribeCluster(ctx context.Context) (*Cluster, error) {
	var resp quicproto.DescribeClusterResponse
	if err := c.admin(ctx, &quicproto.DescribeClusterRequest{}, &resp, repeatable); err != nil {
		return nil, mq.Wrapf(err, "describe cluster")
	}
	return &Cluster{
		ID: resp.ClusterID, Node: resp.NodeID, Controller: resp.Controller, FeatureLevel: resp.FeatureLevel,
		Software: resp.Software, Brokers: brokers(resp.Brokers),
	}, nil
}

// Operate asks the cluster for an operation of operators, which `rustmq ctl` does: message is an encoded rustmq.admin.v1.Request, the answer a
// Response. harmless says that it may be sent again when its answer was lost; otherwise the error is NETWORK_EXCEPTION then, and nobody knows if it
// was done.
func (c *Client) Operate(ctx context.Context, message []byte, harmless bool) ([]byte, error) {
	var resp quicproto.OperateResponse
	if err := c.admin(ctx, &quicproto.OperateRequest{Message: message}, &resp, ifHarmless(harmless)); err != nil {
		return nil, err
	}
	return resp.Message, nil
}

// bounded gives a context without a deadline that of [RequestTimeout].
func (c *Client) bounded(ctx context.Context) (context.Context, context.CancelFunc) {
	if _, ok := ctx.Deadline(); ok {
		return ctx, func() {}
	}
	return context.WithTimeout(ctx, c.cfg.requestTimeout)
}

// ifHarmless is how a request may be repeated that is harmless or not.
func ifHarmless(harmless bool) manner {
	if harmless {
		return repeatable
	}
	return once
}

// admin asks within the request timeout.
func (c *Client) admin(ctx context.Context, req quicproto.RequestBody, resp quicproto.Body, how manner) error {
	ctx, cancel := c.bounded(ctx)
	defer cancel()
	return c.ask(ctx, req, resp, how)
}

// configList is a map of settings by key.
func configList(m map[string]string) []quicproto.Config {
	var list []quicproto.Config
	for _, key := range slices.Sorted(maps.Keys(m)) {
		list = append(list, quicproto.Config{Key: key, Value: m[key]})
	}
	return list
}

func brokers(list []quicproto.Broker) []Broker {
	var out []Broker
	for _, b := range list {
		out = append(out, Broker(b))
	}
	return out
}

func topicInfo(t *quicproto.Topic) TopicInfo {
	info := TopicInfo{Name: t.Name, ID: t.ID, Internal: t.Internal, Err: t.Err()}
	for i := range t.Partitions {
		info.Partitions = append(info.Partitions, partitionInfo(&t.Partitions[i]))
	}
	return info
}

func partitionInfo(p *quicproto.Partition) PartitionInfo {
	info := PartitionInfo{
		Partition: p.Index, Leader: p.Leader, LeaderEpoch: p.LeaderEpoch, Replicas: p.Replicas, InSync: p.InSync,
	}
	if p.Code != mq.None {
		info.Err = mq.Errorf(p.Code, "partition %d", p.Index)
	}
	return info
}
