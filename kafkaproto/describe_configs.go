// DescribeConfigs (32), versions 1 to 4.
//
// Of a topic: all configs of the table at the end that there are, with their values, where these come from (the topic, the cluster's settings, the default), their types and, where the request wants them, synonyms
// and documentation. Those that always have the same value are read-only. Of a broker, which is the one that is asked, or of all with an empty name: the cluster's settings under the names that they have in Kafka, and of
// the one the settings of its node; all of them read-only. Without names of configs, or with none of them, the answer has all.
//
// Not supported: version 0; loggers, client metrics and groups as resources (INVALID_REQUEST); more than 10,000 resources, or more than a response has room for (POLICY_VIOLATION for those beyond);
// more than all responses together have room for (THROTTLING_QUOTA_EXCEEDED, to be asked for again).

package kafkaproto

import (
	"cmp"
	"context"
	"slices"
	"strconv"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/rustmq/rustmq/mq"
)

func describeConfigsAPI() api {
	return api{key: kmsg.DescribeConfigs, min: 1, from: 1, max: 4, start: inTurn(describeConfigs)}
}

func describeConfigs(ctx context.Context, c *call, q *kmsg.DescribeConfigsRequest, r *kmsg.DescribeConfigsResponse) error {
	newest(ctx, c, q.Resources, func(r *kmsg.DescribeConfigsRequestResource) (string, mq.TopicID) {
		return resourceTopic(r.ResourceType, r.ResourceName), mq.TopicID{}
	})
	each, left := entries{ctx: ctx}, c.allowance()
	for i := range q.Resources {
		asked := &q.Resources[i]
		out := kmsg.NewDescribeConfigsResponseResource()
		out.ResourceType, out.ResourceName = asked.ResourceType, asked.ResourceName
		err := each.next()
		if err == nil {
			out.Configs, err = c.configsOf(q, asked, left)
		}
		if err != nil {
			out.Configs = nil
			out.ErrorCode, out.ErrorMessage = failure(err)
		}
		r.Resources = append(r.Resources, out)
	}
	return nil
}

// configsOf are the configs of one resource.
func (c *call) configsOf(q *kmsg.DescribeConfigsRequest, asked *kmsg.DescribeConfigsRequestResource, left *allowance) (out []kmsg.DescribeConfigsResponseResourceConfig, err error) {
	if left.err != nil {
		return nil, left.err
	}
	all, err := c.entriesOf(asked.ResourceType, asked.ResourceName)
	if err != nil {
		return nil, err
	}
	names := make(map[string]bool, len(asked.ConfigNames))
	for _, name := range asked.ConfigNames {
		names[name] = true
	}
	for i := range all {
		if len(names) > 0 && !names[all[i].name] {
			continue
		}
		described, size := all[i].described(q.IncludeSynonyms, q.IncludeDocumentation)
		if err := left.take(size); err != nil {
			return nil, err
		}
		out = append(out, described)
	}
	return out, nil
}

// entriesOf are all configs of a resource, by name.
func (c *call) entriesOf(kind kmsg.ConfigResourceType, name string) ([]configEntry, error) {
	switch kind {
	case kmsg.ConfigResourceTypeTopic:
		settings, err := c.broker().TopicSettings(c.session, name)
		return topicEntries(settings), err
	case kmsg.ConfigResourceTypeBroker:
		settings, err := c.broker().ClusterSettings(c.session)
		if err != nil {
			return nil, err
		}
		list := clusterEntries(settings)
		if name != "" {
			if err := c.mustBeHere(name); err != nil {
				return nil, err
			}
			list = append(list, c.nodeEntries()...)
		}
		slices.SortFunc(list, func(a, b configEntry) int { return cmp.Compare(a.name, b.name) })
		return list, nil
	}
	return nil, noSuchResource(kind)
}

// mustBeHere wants the broker of this name to be the one that is asked.
func (c *call) mustBeHere(name string) error {
	if _, id := c.broker().Identity(); name != strconv.Itoa(int(id)) {
		return mq.Errorf(mq.InvalidRequest, "broker %.20q: this one is %d, and knows its own configs only", name, id)
	}
	return nil
}

// noSuchResource is the answer for resources without configs.
func noSuchResource(kind kmsg.ConfigResourceType) error {
	return mq.Errorf(mq.InvalidRequest, "there are no configs of resources of type %d (%s): topics (%d) and brokers (%d) have some",
		int8(kind), kind, int8(kmsg.ConfigResourceTypeTopic), int8(kmsg.ConfigResourceTypeBroker))
}
