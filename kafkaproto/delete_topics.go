// DeleteTopics (20), versions 1 to 6.
//
// Each topic by itself, on any node, by name or (from version 6 on) by id. A topic that comes twice in a request is INVALID_REQUEST, once; so is one with both a name and an id, or with neither. The topic of the
// groups' state cannot be deleted (INVALID_TOPIC_EXCEPTION). What there is no time left for within the request's timeout is REQUEST_TIMED_OUT; a timeout of 0 is none.
//
// Not supported: version 0; more than 10,000 topics in a request (POLICY_VIOLATION for those beyond).

package kafkaproto

import (
	"context"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/rustmq/rustmq/mq"
)

func deleteTopicsAPI() api {
	return api{key: kmsg.DeleteTopics, min: 1, from: 1, max: 6, start: inTurn(deleteTopics)}
}

func deleteTopics(ctx context.Context, c *call, q *kmsg.DeleteTopicsRequest, r *kmsg.DeleteTopicsResponse) error {
	ctx, cancel := within(ctx, q.TimeoutMillis)
	defer cancel()
	asked := q.Topics
	for _, name := range q.TopicNames { // below version 6
		asked = append(asked, kmsg.DeleteTopicsRequestTopic{Topic: &name})
	}
	key := func(t *kmsg.DeleteTopicsRequestTopic) string {
		if t.Topic != nil {
			return "name " + *t.Topic
		}
		return "id " + string(t.TopicID[:])
	}
	newest(ctx, c, asked, func(t *kmsg.DeleteTopicsRequestTopic) (string, mq.TopicID) { return text(t.Topic), t.TopicID })
	topics, each := countOf(asked, key), entries{ctx: ctx}
	for i := range asked {
		count, first := topics.first(key(&asked[i]))
		if !first {
			continue
		}
		out := kmsg.NewDeleteTopicsResponseTopic()
		out.Topic, out.TopicID = asked[i].Topic, asked[i].TopicID
		err := each.next()
		switch {
		case err != nil:
		case count > 1:
			err = mq.Errorf(mq.InvalidRequest, "the topic is in the request %d times", count)
		default:
			err = c.deleteTopic(ctx, &out)
		}
		if err != nil {
			out.ErrorCode, out.ErrorMessage = failure(err)
		}
		r.Topics = append(r.Topics, out)
	}
	return nil
}

// deleteTopic deletes the topic that the answer names, and says all of its name and id that s may know.
func (c *call) deleteTopic(ctx context.Context, out *kmsg.DeleteTopicsResponseTopic) error {
	id := mq.TopicID(out.TopicID)
	switch named := out.Topic != nil; {
	case named && id != mq.TopicID{}:
		return mq.Errorf(mq.InvalidRequest, "topic %q is named by an id, too: give one of them", *out.Topic)
	case !named && id == mq.TopicID{}:
		return mq.Errorf(mq.InvalidRequest, "the topic is named neither by its name nor by its id")
	case named:
		if t, err := c.broker().Topic(c.session, *out.Topic); err == nil {
			out.TopicID, id = t.ID, t.ID
		}
	default:
		t, err := c.broker().TopicByID(c.session, id)
		if err != nil {
			return err
		}
		out.Topic = &t.Name
	}
	return c.broker().DeleteTopic(ctx, c.session, *out.Topic, id)
}
