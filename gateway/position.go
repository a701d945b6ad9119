package gateway

import (
	"context"

	rustmqpb "github.com/rustmq/rustmq/api/rustmq/v1"
	"github.com/rustmq/rustmq/client"
	"github.com/rustmq/rustmq/mq"
)

// offsets are the offsets that a position stands for in partitions of a topic, all of them if none are named.
func (g *Gateway) offsets(ctx context.Context, topic string, partitions []int32, at *rustmqpb.Position, iso mq.Isolation) (map[int32]mq.Offset, error) {
	switch at := at.GetAt().(type) {
	case nil:
		return g.listed(ctx, topic, partitions, client.Start(), iso)
	case *rustmqpb.Position_Edge:
		where, err := edge(at.Edge)
		if err != nil {
			return nil, err
		}
		return g.listed(ctx, topic, partitions, where, iso)
	case *rustmqpb.Position_Timestamp:
		where, err := atTime(at.Timestamp)
		if err != nil {
			return nil, err
		}
		return g.since(ctx, topic, partitions, where, iso)
	case *rustmqpb.Position_Group:
		return g.committed(ctx, topic, partitions, at.Group, iso)
	case *rustmqpb.Position_Offset:
		if at.Offset < 0 {
			return nil, invalid("offset %d: it is at least 0", at.Offset)
		}
		found, err := g.listed(ctx, topic, partitions, client.Start(), iso)
		for p := range found {
			found[p] = mq.Offset(at.Offset)
		}
		return found, err
	}
	return nil, invalid("a position of a kind that is not known here")
}

// listed asks the leaders.
func (g *Gateway) listed(ctx context.Context, topic string, partitions []int32, at client.Position, iso mq.Isolation) (map[int32]mq.Offset, error) {
	answers, err := g.client.ListOffsets(ctx, topic, at, iso, partitions...)
	if err != nil {
		return nil, &client.PartitionError{Topic: topic, Partition: -1, Err: err}
	}
	found := make(map[int32]mq.Offset, len(answers))
	for p, a := range answers {
		if a.Err != nil {
			return nil, &client.PartitionError{Topic: topic, Partition: p, Err: a.Err}
		}
		found[p] = a.Offset
	}
	return found, nil
}

// since is where the first records lie that are not older than a time, or the ends.
func (g *Gateway) since(ctx context.Context, topic string, partitions []int32, at client.Position, iso mq.Isolation) (map[int32]mq.Offset, error) {
	ends, err := g.listed(ctx, topic, partitions, client.End(), iso)
	if err != nil {
		return nil, err
	}
	found, err := g.listed(ctx, topic, partitions, at, iso)
	for p, offset := range found {
		if offset < 0 {
			found[p] = ends[p]
		}
	}
	return found, err
}

// committed is where a group goes on, or the log starts.
func (g *Gateway) committed(ctx context.Context, topic string, partitions []int32, group string, iso mq.Isolation) (map[int32]mq.Offset, error) {
	if err := checkGroup(group); err != nil {
		return nil, err
	}
	found, err := g.listed(ctx, topic, partitions, client.Start(), iso)
	if err != nil {
		return nil, err
	}
	offsets, err := g.client.CommittedOffsets(ctx, group, topic, partitions...)
	if err != nil {
		return nil, err
	}
	for p := range found {
		if at, ok := offsets[p]; ok && at >= 0 {
			found[p] = at
		}
	}
	return found, nil
}

// checkPartition refuses what cannot be a partition.
func checkPartition(topic string, partition int32) error {
	if err := mq.ValidTopicName(topic); err != nil {
		return err
	}
	if partition < 0 {
		return invalid("partition %d of topic %s: they are from 0 on", partition, topic)
	}
	return nil
}

// checkPartitions refuses what cannot be partitions of a topic.
func checkPartitions(topic string, partitions []int32) error {
	if err := mq.ValidTopicName(topic); err != nil {
		return err
	}
	if len(partitions) > mq.MaxPartitionsPerTopic {
		return invalid("%d partitions of topic %s: at most %d are allowed", len(partitions), topic, mq.MaxPartitionsPerTopic)
	}
	for _, p := range partitions {
		if err := checkPartition(topic, p); err != nil {
			return err
		}
	}
	return nil
}
