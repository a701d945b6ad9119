package gateway

import (
	"context"
	"maps"
	"math"
	"slices"

	"connectrpc.com/connect"

	rustmqpb "github.com/rustmq/rustmq/api/rustmq/v1"
	"github.com/rustmq/rustmq/client"
	"github.com/rustmq/rustmq/mq"
)

// topics is rustmq.v1.TopicService.
type topics struct{ g *Gateway }

// CreateTopic implements the service.
func (t topics) CreateTopic(ctx context.Context, req *connect.Request[rustmqpb.CreateTopicRequest]) (*connect.Response[rustmqpb.CreateTopicResponse], error) {
	m := req.Msg
	if m.GetPartitions() < 0 {
		return nil, mq.Errorf(mq.InvalidPartitions, "%d partitions: 0 is the cluster's default", m.GetPartitions())
	}
	if m.GetReplicas() < 0 || m.GetReplicas() > math.MaxInt16 {
		return nil, mq.Errorf(mq.InvalidReplicationFactor, "%d replicas: 0 is the cluster's default", m.GetReplicas())
	}
	made, err := t.g.client.CreateTopic(ctx, client.NewTopic{
		Name: m.GetTopic(), Partitions: m.GetPartitions(), Replicas: int16(m.GetReplicas()), Configs: m.GetConfigs(), DryRun: m.GetDryRun(),
	})
	if err != nil {
		return nil, err
	}
	resp := &rustmqpb.CreateTopicResponse{Partitions: made.Partitions, Replicas: int32(made.Replicas)}
	if made.ID != (mq.TopicID{}) {
		resp.TopicId = made.ID.String()
	}
	return connect.NewResponse(resp), nil
}

// DeleteTopic implements the service.
func (t topics) DeleteTopic(ctx context.Context, req *connect.Request[rustmqpb.DeleteTopicRequest]) (*connect.Response[rustmqpb.DeleteTopicResponse], error) {
	if err := t.g.client.DeleteTopic(ctx, req.Msg.GetTopic()); err != nil {
		return nil, err
	}
	t.g.known.Delete(req.Msg.GetTopic())
	return connect.NewResponse(&rustmqpb.DeleteTopicResponse{}), nil
}

// ListTopics implements the service.
func (t topics) ListTopics(ctx context.Context, _ *connect.Request[rustmqpb.ListTopicsRequest]) (*connect.Response[rustmqpb.ListTopicsResponse], error) {
	list, err := t.g.client.ListTopics(ctx)
	if err != nil {
		return nil, err
	}
	resp := &rustmqpb.ListTopicsResponse{}
	for i := range list {
		one := &list[i]
		resp.Topics = append(resp.Topics, &rustmqpb.TopicListing{Topic: one.Name, TopicId: one.ID.String(), Partitions: int32(len(one.Partitions)), Internal: one.Internal})
	}
	return connect.NewResponse(resp), nil
}

// DescribeTopic implements the service.
func (t topics) DescribeTopic(ctx context.Context, req *connect.Request[rustmqpb.DescribeTopicRequest]) (*connect.Response[rustmqpb.DescribeTopicResponse], error) {
	d, err := t.g.client.DescribeTopic(ctx, req.Msg.GetTopic())
	if err != nil {
		return nil, err
	}
	t.askLeaders(ctx, d)
	resp := &rustmqpb.DescribeTopicResponse{Topic: d.Name, TopicId: d.ID.String()}
	for _, c := range d.Configs {
		resp.Configs = append(resp.Configs, &rustmqpb.TopicConfig{Key: c.Key, Value: text(c.Value), IsDefault: c.Default})
	}
	for i := range d.Partitions {
		resp.Partitions = append(resp.Partitions, described(d.Name, &d.Partitions[i]))
	}
	return connect.NewResponse(resp), nil
}

// askLeaders puts in where logs start and end as their leaders say it: the broker that answered knows it of its own only. What they do not tell stays as it is.
func (t topics) askLeaders(ctx context.Context, d *client.TopicDescription) {
	ctx, cancel := context.WithTimeout(ctx, leadersTime)
	defer cancel()
	starts, _ := t.g.client.ListOffsets(ctx, d.Name, client.Start(), mq.IsolationCommitted)
	ends, _ := t.g.client.ListOffsets(ctx, d.Name, client.End(), mq.IsolationCommitted)
	for i := range d.Partitions {
		p := &d.Partitions[i]
		start, known := starts[p.Partition]
		end, also := ends[p.Partition]
		if known && also && start.Err == nil && end.Err == nil {
			p.LogStart, p.HighWatermark, p.LogEnd = start.Offset, end.Offset, max(p.LogEnd, end.Offset)
		}
	}
}

func described(topic string, p *client.PartitionDescription) *rustmqpb.PartitionDescription {
	out := &rustmqpb.PartitionDescription{
		Partition: p.Partition, Leader: int32(p.Leader), LeaderEpoch: int32(p.LeaderEpoch), Replicas: nodes(p.Replicas), InSyncReplicas: nodes(p.InSync),
		LogStartOffset: int64(p.LogStart), HighWatermark: int64(p.HighWatermark), LogEndOffset: int64(p.LogEnd), ObjectEndOffset: int64(p.ObjectEnd),
	}
	if p.Err != nil {
		out.Error = failure(&client.PartitionError{Topic: topic, Partition: p.Partition, Err: p.Err})
	}
	return out
}

func nodes(list []mq.NodeID) []int32 {
	out := make([]int32, len(list))
	for i, n := range list {
		out[i] = int32(n)
	}
	return out
}

// AlterTopicConfigs implements the service.
func (t topics) AlterTopicConfigs(ctx context.Context, req *connect.Request[rustmqpb.AlterTopicConfigsRequest]) (*connect.Response[rustmqpb.AlterTopicConfigsResponse], error) {
	changes := client.ConfigChanges{Set: req.Msg.GetSet(), Unset: req.Msg.GetUnset(), DryRun: req.Msg.GetDryRun()}
	if len(changes.Set)+len(changes.Unset) == 0 {
		return nil, invalid("alter topic %.60q: nothing to set or to unset", req.Msg.GetTopic())
	}
	if err := t.g.client.AlterTopicConfigs(ctx, req.Msg.GetTopic(), changes); err != nil {
		return nil, err
	}
	return connect.NewResponse(&rustmqpb.AlterTopicConfigsResponse{}), nil
}

// CreatePartitions implements the service.
func (t topics) CreatePartitions(ctx context.Context, req *connect.Request[rustmqpb.CreatePartitionsRequest]) (*connect.Response[rustmqpb.CreatePartitionsResponse], error) {
	if err := t.g.client.CreatePartitions(ctx, req.Msg.GetTopic(), req.Msg.GetTotal()); err != nil {
		return nil, err
	}
	return connect.NewResponse(&rustmqpb.CreatePartitionsResponse{}), nil
}

// ListOffsets implements the service.
func (t topics) ListOffsets(ctx context.Context, req *connect.Request[rustmqpb.ListOffsetsRequest]) (*connect.Response[rustmqpb.ListOffsetsResponse], error) {
	m := req.Msg
	if err := checkPartitions(m.GetTopic(), m.GetPartitions()); err != nil {
		return nil, err
	}
	iso, err := isolation(m.GetIsolation())
	if err != nil {
		return nil, err
	}
	at := client.Start()
	switch p := m.GetPosition().GetAt().(type) {
	case nil:
	case *rustmqpb.Position_Edge:
		if at, err = edge(p.Edge); err != nil {
			return nil, err
		}
	case *rustmqpb.Position_Timestamp:
		if at, err = atTime(p.Timestamp); err != nil {
			return nil, err
		}
	default:
		return nil, invalid("list offsets of %s: a position is an edge or a timestamp here", m.GetTopic())
	}
	found, err := t.g.client.ListOffsets(ctx, m.GetTopic(), at, iso, m.GetPartitions()...)
	if err != nil {
		return nil, err
	}
	resp := &rustmqpb.ListOffsetsResponse{}
	for _, p := range slices.Sorted(maps.Keys(found)) {
		one := &rustmqpb.ListedOffset{Partition: p, Offset: int64(found[p].Offset), LeaderEpoch: int32(found[p].LeaderEpoch)}
		if err := found[p].Err; err != nil {
			one.Error = failure(&client.PartitionError{Topic: m.GetTopic(), Partition: p, Err: err})
		}
		resp.Offsets = append(resp.Offsets, one)
	}
	return connect.NewResponse(resp), nil
}

// DeleteRecords implements the service.
func (t topics) DeleteRecords(ctx context.Context, req *connect.Request[rustmqpb.DeleteRecordsRequest]) (*connect.Response[rustmqpb.DeleteRecordsResponse], error) {
	m := req.Msg
	if err := checkPartition(m.GetTopic(), m.GetPartition()); err != nil {
		return nil, err
	}
	if m.GetBeforeOffset() < -1 {
		return nil, invalid("before_offset %d: -1 is all that is committed", m.GetBeforeOffset())
	}
	start, err := t.g.client.DeleteRecords(ctx, m.GetTopic(), m.GetPartition(), mq.Offset(m.GetBeforeOffset()))
	if err != nil {
		return nil, err
	}
	return connect.NewResponse(&rustmqpb.DeleteRecordsResponse{LogStartOffset: int64(start)}), nil
}
