// IncrementalAlterConfigs (44), versions 0 to 1.
//
// Sets configs of a topic, deletes them, which has the cluster's settings and the defaults hold again, or appends to and subtracts from those that are lists. It is checked as by CreateTopics, and all of a topic's changes
// are made, or none. With validate_only nothing is changed. A resource or config that comes twice is INVALID_REQUEST, and so is a list's operation on a config that is none.
//
// Appending and subtracting begin with the list as it is when the request comes: of two that do so at the same time one may win. Configs of brokers are read-only (INVALID_CONFIG), but for the deletion of
// replication throttles, of which there are none: kafka-reassign-partitions --verify ends with that.
//
// Not supported: loggers, client metrics and groups as resources (INVALID_REQUEST); more than 10,000 resources (POLICY_VIOLATION for those beyond).

package kafkaproto

import (
	"context"
	"slices"
	"strings"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/rustmq/rustmq/mq"
)

func incrementalAlterConfigsAPI() api {
	return api{key: kmsg.IncrementalAlterConfigs, min: 0, max: 1, start: inTurn(incrementalAlterConfigs)}
}

// maxListText is the longest list that is appended or subtracted, in bytes.
const maxListText = 1 << 10

func incrementalAlterConfigs(ctx context.Context, c *call, q *kmsg.IncrementalAlterConfigsRequest, r *kmsg.IncrementalAlterConfigsResponse) error {
	names := countOf(q.Resources, func(r *kmsg.IncrementalAlterConfigsRequestResource) string {
		return resourceKey(r.ResourceType, r.ResourceName)
	})
	newest(ctx, c, q.Resources, func(r *kmsg.IncrementalAlterConfigsRequestResource) (string, mq.TopicID) {
		return resourceTopic(r.ResourceType, r.ResourceName), mq.TopicID{}
	})
	each := entries{ctx: ctx}
	for i := range q.Resources {
		asked := &q.Resources[i]
		count, first := names.first(resourceKey(asked.ResourceType, asked.ResourceName))
		if !first {
			continue
		}
		out := kmsg.NewIncrementalAlterConfigsResponseResource()
		out.ResourceType, out.ResourceName = asked.ResourceType, asked.ResourceName
		err := each.next()
		switch {
		case err != nil:
		case count == 1 && asked.ResourceType == kmsg.ConfigResourceTypeBroker && onlyUnthrottles(asked.Configs):
			err = c.broker().AuthoriseCluster(c.session, true)
		default:
			if err = alterable(asked.ResourceType, count); err == nil {
				err = c.changeConfigs(ctx, asked, q.ValidateOnly)
			}
		}
		if err != nil {
			out.ErrorCode, out.ErrorMessage = failure(err)
		}
		r.Resources = append(r.Resources, out)
	}
	return nil
}

// onlyUnthrottles says whether the changes take back throttles of replication and nothing else.
func onlyUnthrottles(configs []kmsg.IncrementalAlterConfigsRequestResourceConfig) bool {
	throttles := []string{"leader.replication.throttled.rate", "follower.replication.throttled.rate", "replica.alter.log.dirs.io.max.bytes.per.second"}
	return !slices.ContainsFunc(configs, func(c kmsg.IncrementalAlterConfigsRequestResourceConfig) bool {
		return c.Op != kmsg.IncrementalAlterConfigOpDelete || !slices.Contains(throttles, c.Name)
	})
}

// changeConfigs changes configs of a topic.
func (c *call) changeConfigs(ctx context.Context, q *kmsg.IncrementalAlterConfigsRequestResource, dry bool) error {
	var changes []Change
	seen := make(map[string]bool, len(q.Configs))
	for i := range q.Configs {
		cfg := &q.Configs[i]
		if seen[cfg.Name] {
			return mq.Errorf(mq.InvalidRequest, "topic %q: config %.60q is given twice", q.ResourceName, cfg.Name)
		}
		seen[cfg.Name] = true
		change, err := c.changeOf(q.ResourceName, cfg)
		if err != nil {
			return err
		}
		changes = append(changes, change...)
	}
	return c.broker().AlterTopic(ctx, c.session, q.ResourceName, changes, false, dry)
}

// changeOf is what one change of a config comes to.
func (c *call) changeOf(topic string, q *kmsg.IncrementalAlterConfigsRequestResourceConfig) ([]Change, error) {
	known, err := findTopicConfig(q.Name)
	if err != nil {
		return nil, err
	}
	if q.Op == kmsg.IncrementalAlterConfigOpDelete {
		if known.setting() {
			return []Change{{Name: q.Name, Remove: true}}, nil
		}
		return nil, nil // it has its default, or is not there
	}
	if q.Value == nil {
		return nil, mq.Errorf(mq.InvalidRequest, "topic %q: config %s has no value", topic, q.Name)
	}
	switch q.Op {
	case kmsg.IncrementalAlterConfigOpSet:
		return checkTopicConfig(q.Name, *q.Value)
	case kmsg.IncrementalAlterConfigOpAppend, kmsg.IncrementalAlterConfigOpSubtract:
	default:
		return nil, mq.Errorf(mq.InvalidRequest, "topic %q: there is no operation %d on configs", topic, q.Op)
	}
	switch {
	case known.absent:
		return checkTopicConfig(q.Name, *q.Value)
	case len(*q.Value) > maxListText:
		return nil, mq.Errorf(mq.InvalidConfig, "topic %q: a list of %d bytes for config %s: at most %d are possible", topic, len(*q.Value), q.Name, maxListText)
	case known.typ != kmsg.ConfigTypeList:
		return nil, mq.Errorf(mq.InvalidRequest, "topic %q: config %s is no list, to which something could be appended or subtracted from", topic, q.Name)
	}
	settings, err := c.broker().TopicSettings(c.session, topic)
	if err != nil {
		return nil, err
	}
	var list []string
	if at := slices.IndexFunc(settings, func(s Setting) bool { return s.Name == q.Name }); at >= 0 {
		list = listOf(settings[at].Value)
	}
	for _, element := range listOf(*q.Value) {
		at := slices.Index(list, element)
		switch {
		case q.Op == kmsg.IncrementalAlterConfigOpSubtract && at >= 0:
			list = slices.Delete(list, at, at+1)
		case q.Op == kmsg.IncrementalAlterConfigOpAppend && at < 0:
			list = append(list, element)
		}
	}
	return checkTopicConfig(q.Name, strings.Join(list, ","))
}
