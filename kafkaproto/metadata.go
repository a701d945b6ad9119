// Metadata (3), versions 0 to 13.
//
// All topics, or those asked for by name or (from version 10 on) by id. A topic that is not there is made, as the cluster's defaults have it, where the configuration
// (kafka.auto_create_topics) and the request (from version 4 on) allow it. A name against the rules is INVALID_TOPIC_EXCEPTION. A partition that nobody leads is LEADER_NOT_AVAILABLE.
//
// The controller that is told is the node that answers: each takes all requests, whoever leads the controllers. Brokers are those that offer this listener and are in service.
//
// Not supported: authorized operations, which are told as unknown.

package kafkaproto

import (
	"context"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/rustmq/rustmq/mq"
)

func metadataAPI() api {
	return api{key: kmsg.Metadata, min: 0, max: 13, start: inTurn(metadata)}
}

func metadata(ctx context.Context, c *call, q *kmsg.MetadataRequest, r *kmsg.MetadataResponse) error {
	b := c.broker()
	cluster, node := b.Identity()
	id := cluster.String()
	r.ClusterID, r.ControllerID = &id, int32(node)
	for _, n := range b.Nodes() {
		broker := kmsg.NewMetadataResponseBroker()
		broker.NodeID, broker.Host, broker.Port, broker.Rack = int32(n.ID), n.Host, int32(n.Port), rack(n.Rack)
		r.Brokers = append(r.Brokers, broker)
	}
	if q.Topics == nil || q.Version == 0 && len(q.Topics) == 0 {
		for _, t := range b.Topics(c.session) {
			r.Topics = append(r.Topics, metadataTopic(&t))
		}
		return nil
	}
	makes := 0
	if c.conn.srv.cfg.MakeTopics && (q.Version < 4 || q.AllowAutoTopicCreation) {
		makes = c.conn.srv.limits.TopicsMade
	}
	r.Topics = make([]kmsg.MetadataResponseTopic, 0, len(q.Topics))
	for i := range q.Topics {
		r.Topics = append(r.Topics, c.metadataOf(ctx, &q.Topics[i], &makes))
	}
	return nil
}

// metadataOf answers for one topic. makes is how many may still be made.
func (c *call) metadataOf(ctx context.Context, q *kmsg.MetadataRequestTopic, makes *int) kmsg.MetadataResponseTopic {
	b := c.broker()
	var t *Topic
	var err error
	switch {
	case q.Topic == nil:
		t, err = b.TopicByID(c.session, q.TopicID)
	default:
		t, err = b.Topic(c.session, *q.Topic)
		if mq.CodeOf(err) == mq.UnknownTopicOrPartition && *makes > 0 {
			*makes--
			if made := b.MakeTopic(ctx, c.session, *q.Topic); made != nil && mq.CodeOf(made) != mq.TopicAlreadyExists {
				err = made
				break
			}
			t, err = b.Topic(c.session, *q.Topic)
		}
	}
	if err == nil {
		return metadataTopic(t)
	}
	out := kmsg.NewMetadataResponseTopic()
	out.ErrorCode, out.Topic, out.TopicID = codeOf(err), q.Topic, q.TopicID
	return out
}

func metadataTopic(t *Topic) kmsg.MetadataResponseTopic {
	out := kmsg.NewMetadataResponseTopic()
	out.Topic, out.TopicID, out.IsInternal = &t.Name, t.ID, t.Internal
	out.Partitions = make([]kmsg.MetadataResponseTopicPartition, len(t.Partitions))
	for i, p := range t.Partitions {
		part := kmsg.NewMetadataResponseTopicPartition()
		part.Partition, part.Leader, part.LeaderEpoch = int32(i), int32(p.Leader), int32(p.LeaderEpoch)
		part.Replicas, part.ISR, part.OfflineReplicas = numbers(p.Replicas), numbers(p.InSync), numbers(p.Offline)
		if p.Leader == mq.NoNode {
			part.ErrorCode = int16(mq.LeaderNotAvailable)
		}
		out.Partitions[i] = part
	}
	return out
}

// numbers are node ids as messages have them, never null.
func numbers(nodes []mq.NodeID) []int32 {
	out := make([]int32, len(nodes))
	for i, n := range nodes {
		out[i] = int32(n)
	}
	return out
}
