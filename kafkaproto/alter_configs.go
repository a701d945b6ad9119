// AlterConfigs (33), versions 0 to 2.
//
// The configs of a topic become those of the request, and what that does not name goes back to its default. It is checked as by CreateTopics, and all of a topic's changes are made, or none. With validate_only nothing is
// changed. A resource or config that comes twice is INVALID_REQUEST. Configs of brokers are read-only (INVALID_CONFIG).
//
// Who changes the same topic at the same time may set a config that this request does not know of: it then stays.
//
// Not supported: loggers, client metrics and groups as resources (INVALID_REQUEST); more than 10,000 resources (POLICY_VIOLATION for those beyond).

package kafkaproto

import (
	"context"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/rustmq/rustmq/mq"
)

func alterConfigsAPI() api {
	return api{key: kmsg.AlterConfigs, min: 0, max: 2, start: inTurn(alterConfigs)}
}

func alterConfigs(ctx context.Context, c *call, q *kmsg.AlterConfigsRequest, r *kmsg.AlterConfigsResponse) error {
	names := countOf(q.Resources, func(r *kmsg.AlterConfigsRequestResource) string { return resourceKey(r.ResourceType, r.ResourceName) })
	newest(ctx, c, q.Resources, func(r *kmsg.AlterConfigsRequestResource) (string, mq.TopicID) {
		return resourceTopic(r.ResourceType, r.ResourceName), mq.TopicID{}
	})
	each := entries{ctx: ctx}
	for i := range q.Resources {
		asked := &q.Resources[i]
		count, first := names.first(resourceKey(asked.ResourceType, asked.ResourceName))
		if !first {
			continue
		}
		out := kmsg.NewAlterConfigsResponseResource()
		out.ResourceType, out.ResourceName = asked.ResourceType, asked.ResourceName
		err := each.next()
		if err == nil {
			err = alterable(asked.ResourceType, count)
		}
		if err == nil {
			err = c.replaceConfigs(ctx, asked, q.ValidateOnly)
		}
		if err != nil {
			out.ErrorCode, out.ErrorMessage = failure(err)
		}
		r.Resources = append(r.Resources, out)
	}
	return nil
}

// replaceConfigs gives a topic the configs of the request, and no others.
func (c *call) replaceConfigs(ctx context.Context, q *kmsg.AlterConfigsRequestResource, dry bool) error {
	var changes []Change
	seen := make(map[string]bool, len(q.Configs))
	for _, cfg := range q.Configs {
		switch {
		case seen[cfg.Name]:
			return mq.Errorf(mq.InvalidRequest, "topic %q: config %.60q is given twice", q.ResourceName, cfg.Name)
		case cfg.Value == nil:
			return mq.Errorf(mq.InvalidRequest, "topic %q: config %.60q has no value", q.ResourceName, cfg.Name)
		}
		seen[cfg.Name] = true
		ours, err := checkTopicConfig(cfg.Name, *cfg.Value)
		if err != nil {
			return err
		}
		changes = append(changes, ours...)
	}
	return c.broker().AlterTopic(ctx, c.session, q.ResourceName, changes, true, dry)
}

// resourceTopic is the topic that a resource is, "" for another kind.
func resourceTopic(kind kmsg.ConfigResourceType, name string) string {
	if kind != kmsg.ConfigResourceTypeTopic {
		return ""
	}
	return name
}

// resourceKey names a resource.
func resourceKey(kind kmsg.ConfigResourceType, name string) string {
	return string([]byte{byte(kind)}) + name
}

// alterable says whether a resource that is so often in a request can have its configs altered.
func alterable(kind kmsg.ConfigResourceType, count int) error {
	switch {
	case count > 1:
		return mq.Errorf(mq.InvalidRequest, "the resource is in the request %d times", count)
	case kind == kmsg.ConfigResourceTypeBroker:
		return mq.Errorf(mq.InvalidConfig, "the configs of brokers are read-only: those of a node are in its configuration, those of the cluster are set by rustmq ctl config set")
	case kind != kmsg.ConfigResourceTypeTopic:
		return noSuchResource(kind)
	}
	return nil
}
