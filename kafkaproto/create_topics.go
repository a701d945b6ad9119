// CreateTopics (19), versions 2 to 7.
//
// Each topic by itself, on any node: the topic can be used there when the response comes. -1 partitions or replicas are the cluster's defaults. Replicas that are given for each partition
// are taken as they are (INVALID_REPLICA_ASSIGNMENT where that cannot be), and then both numbers are -1. With validate_only everything is checked and nothing made. A topic that comes twice in a request is
// INVALID_REQUEST, once. From version 5 on the response has all configs of the topic, as far as there is room in it.
//
// Configs are those of the table at the end; others, and values that we do not keep to, are INVALID_CONFIG. What there is no time left for within the request's timeout is REQUEST_TIMED_OUT and not made, but for
// the topic that it ends in: that may come all the same. A timeout of 0 is none.
//
// Not supported: versions 0 and 1; more than 1,000 topics, or 10,000 partitions, in a request (POLICY_VIOLATION for those beyond).

package kafkaproto

import (
	"context"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/rustmq/rustmq/mq"
)

func createTopicsAPI() api {
	return api{key: kmsg.CreateTopics, min: 2, from: 2, max: 7, start: inTurn(createTopics)}
}

func createTopics(ctx context.Context, c *call, q *kmsg.CreateTopicsRequest, r *kmsg.CreateTopicsResponse) error {
	ctx, cancel := within(ctx, q.TimeoutMillis)
	defer cancel()
	names := countOf(q.Topics, func(t *kmsg.CreateTopicsRequestTopic) string { return t.Topic })
	each, left := entries{ctx: ctx}, c.allowance()
	for i := range q.Topics {
		t := &q.Topics[i]
		count, first := names.first(t.Topic)
		if !first {
			continue
		}
		out := kmsg.NewCreateTopicsResponseTopic()
		out.Topic, out.Configs = t.Topic, []kmsg.CreateTopicsResponseTopicConfig{} // null means that they are kept back
		err := each.nextTopic(max(int(t.NumPartitions), len(t.ReplicaAssignment)))
		var made MadeTopic
		switch {
		case err != nil:
		case count > 1:
			err = mq.Errorf(mq.InvalidRequest, "topic %q is in the request %d times", t.Topic, count)
		default:
			made, err = c.createTopic(ctx, t, q.ValidateOnly)
		}
		if err != nil {
			out.ErrorCode, out.ErrorMessage = failure(err)
		} else {
			out.TopicID, out.NumPartitions, out.ReplicationFactor = made.ID, made.Partitions, made.Replicas
			out.Configs, err = createdConfigs(made.Settings, left)
			out.ConfigErrorCode = codeOf(err)
		}
		r.Topics = append(r.Topics, out)
	}
	return nil
}

// createdConfigs are the configs of a topic that was made, all or none.
func createdConfigs(settings []Setting, left *allowance) ([]kmsg.CreateTopicsResponseTopicConfig, error) {
	configs := []kmsg.CreateTopicsResponseTopicConfig{}
	for _, e := range topicEntries(settings) {
		if err := left.take(e.size()); err != nil {
			return []kmsg.CreateTopicsResponseTopicConfig{}, err
		}
		configs = append(configs, e.created())
	}
	return configs, nil
}

// createTopic makes one topic.
func (c *call) createTopic(ctx context.Context, q *kmsg.CreateTopicsRequestTopic, dry bool) (MadeTopic, error) {
	t := &NewTopic{Name: q.Topic, Partitions: q.NumPartitions, Replicas: q.ReplicationFactor}
	if len(q.ReplicaAssignment) > 0 {
		if q.NumPartitions != -1 || q.ReplicationFactor != -1 {
			return MadeTopic{}, mq.Errorf(mq.InvalidRequest, "topic %q: with replicas for each partition the numbers of partitions and replicas have to be -1, not %d and %d", q.Topic, q.NumPartitions, q.ReplicationFactor)
		}
		var err error
		t.Assignments, err = assignmentOf(len(q.ReplicaAssignment), func(i int) (int32, []int32) {
			return q.ReplicaAssignment[i].Partition, q.ReplicaAssignment[i].Replicas
		})
		if err != nil {
			return MadeTopic{}, err
		}
	}
	for _, cfg := range q.Configs {
		if cfg.Value == nil {
			return MadeTopic{}, mq.Errorf(mq.InvalidConfig, "topic %q: config %.60q has no value", q.Topic, cfg.Name)
		}
		ours, err := checkTopicConfig(cfg.Name, *cfg.Value)
		if err != nil {
			return MadeTopic{}, err
		}
		t.Settings = append(t.Settings, ours...)
	}
	made, err := c.broker().CreateTopic(ctx, c.session, t, dry)
	if t.Assignments != nil {
		err = recoded(err, mq.InvalidReplicationFactor, invalidReplicaAssignment)
	}
	return made, err
}
