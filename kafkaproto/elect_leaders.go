// ElectLeaders (43), versions 0 to 2.
//
// Preferred elections (type 0) have partitions led by the first of their replicas: ELECTION_NOT_NEEDED where it leads, PREFERRED_LEADER_NOT_AVAILABLE where it cannot without loss. Unclean ones (type 1, from version 1 on)
// have a partition that nobody leads, and nobody could without loss, led by a replica that may lack acknowledged records: ELECTION_NOT_NEEDED where somebody leads, ELIGIBLE_LEADERS_NOT_AVAILABLE where it cannot be.
// Without partitions all are looked at, and those told for which an election was held: 1,000 of them at most, so that it takes several requests where there are more.
//
// Not supported: more than 10,000 partitions in a request (POLICY_VIOLATION for the topics beyond).

package kafkaproto

import (
	"context"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/rustmq/rustmq/mq"
)

func electLeadersAPI() api {
	return api{key: kmsg.ElectLeaders, min: 0, max: 2, start: inTurn(electLeaders)}
}

func electLeaders(ctx context.Context, c *call, q *kmsg.ElectLeadersRequest, r *kmsg.ElectLeadersResponse) error {
	ctx, cancel := within(ctx, q.TimeoutMillis)
	defer cancel()
	unclean := q.ElectionType == 1
	if q.ElectionType < 0 || q.ElectionType > 1 {
		r.ErrorCode = int16(mq.InvalidRequest)
		return nil
	}
	denied := c.broker().AuthoriseCluster(c.session, true)
	if denied != nil && q.Version >= 1 {
		r.ErrorCode = codeOf(denied)
		return nil
	}
	asked := q.Topics
	if denied == nil && asked == nil {
		list, err := c.broker().Unelected(c.session, unclean)
		if err != nil {
			r.ErrorCode = codeOf(err)
			return nil
		}
		for _, p := range list {
			if n := len(asked); n == 0 || asked[n-1].Topic != p.Topic {
				asked = append(asked, kmsg.ElectLeadersRequestTopic{Topic: p.Topic})
			}
			t := &asked[len(asked)-1]
			t.Partitions = append(t.Partitions, p.Partition)
		}
	}
	newest(ctx, c, asked, func(t *kmsg.ElectLeadersRequestTopic) (string, mq.TopicID) { return t.Topic, mq.TopicID{} })
	each := entries{ctx: ctx}
	for i := range asked {
		topic := kmsg.NewElectLeadersResponseTopic()
		topic.Topic = asked[i].Topic
		err := denied // version 0 has no place for it but here
		for range asked[i].Partitions {
			if refused := each.next(); refused != nil && denied == nil {
				err = refused
			}
		}
		topic.Partitions = c.elect(ctx, &asked[i], unclean, err)
		r.Topics = append(r.Topics, topic)
	}
	return nil
}

// elect elects leaders of a topic's partitions, unless there is an error already.
func (c *call) elect(ctx context.Context, q *kmsg.ElectLeadersRequestTopic, unclean bool, err error) (out []kmsg.ElectLeadersResponseTopicPartition) {
	var elected []Elected
	if err == nil && len(q.Partitions) > 0 {
		elected = c.broker().ElectLeaders(ctx, c.session, q.Topic, q.Partitions, unclean)
	}
	for i, index := range q.Partitions {
		p := kmsg.NewElectLeadersResponseTopicPartition()
		p.Partition = index
		result := err
		if err == nil {
			result = electionError(elected[i], unclean)
		}
		if result != nil {
			p.ErrorCode, p.ErrorMessage = failure(result)
		}
		out = append(out, p)
	}
	return out
}

// electionError is the outcome of an election as Kafka has it.
func electionError(e Elected, unclean bool) error {
	switch {
	case e.Err == nil && e.Before == e.After && e.After != mq.NoNode:
		return kafkaErrorf(electionNotNeeded, "broker %d leads already", e.After)
	case e.Err != nil && unclean:
		return recoded(e.Err, mq.LeaderNotAvailable, eligibleLeadersNotAvailable)
	}
	return recoded(e.Err, mq.LeaderNotAvailable, preferredLeaderNotAvailable)
}
