// OffsetFetch (9), versions 1 to 10.
//
// What a group has committed: for the partitions that are named, or (from version 2 on) all there is. From version 8 on several groups in one request, each with an error of its own.
// Nothing committed is offset -1 and no error, and so it is for a group that is not there, and for a topic that was made anew since. A member may (from version 9 on) say its epoch, and is refused in another one.
//
// Not supported: version 0. There are no transactions that an offset would wait for, so require_stable has nothing to do. More than a response has room for, as by many groups of which all is asked for (POLICY_VIOLATION
// for those beyond).

package kafkaproto

import (
	"context"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/rustmq/rustmq/mq"
)

func offsetFetchAPI() api {
	return api{key: kmsg.OffsetFetch, min: 1, from: 1, max: 10, start: inTurn(offsetFetch)}
}

func offsetFetch(ctx context.Context, c *call, q *kmsg.OffsetFetchRequest, r *kmsg.OffsetFetchResponse) error {
	if q.Version < 8 {
		c.fetchOneGroup(ctx, q, r)
		return nil
	}
	left := c.memberAllowance()
	r.Groups = make([]kmsg.OffsetFetchResponseGroup, len(q.Groups))
	for i := range q.Groups {
		r.Groups[i] = c.committedOf(ctx, &q.Groups[i], left)
	}
	return nil
}

// fetchOneGroup answers the versions that have one group in a request, in terms of those that have several.
func (c *call) fetchOneGroup(ctx context.Context, q *kmsg.OffsetFetchRequest, r *kmsg.OffsetFetchResponse) {
	one := kmsg.NewOffsetFetchRequestGroup()
	one.Group = q.Group
	if q.Topics != nil || q.Version < 2 {
		one.Topics = make([]kmsg.OffsetFetchRequestGroupTopic, len(q.Topics))
	}
	for i, t := range q.Topics {
		one.Topics[i].Topic, one.Topics[i].Partitions = t.Topic, t.Partitions
	}
	got := c.committedOf(ctx, &one, c.memberAllowance())
	if r.ErrorCode = got.ErrorCode; q.Version < 2 && got.ErrorCode != 0 { // there it has no place but at the partitions
		for _, t := range q.Topics {
			got.Topics = append(got.Topics, withoutOffsets(t.Topic, t.Partitions, got.ErrorCode))
		}
	}
	r.Topics = make([]kmsg.OffsetFetchResponseTopic, len(got.Topics))
	for i, t := range got.Topics {
		out := kmsg.NewOffsetFetchResponseTopic()
		out.Topic, out.Partitions = t.Topic, make([]kmsg.OffsetFetchResponseTopicPartition, len(t.Partitions))
		for j, p := range t.Partitions {
			part := kmsg.NewOffsetFetchResponseTopicPartition()
			part.Partition, part.Offset, part.LeaderEpoch, part.Metadata, part.ErrorCode = p.Partition, p.Offset, p.LeaderEpoch, p.Metadata, p.ErrorCode
			out.Partitions[j] = part
		}
		r.Topics[i] = out
	}
}

// withoutOffsets are partitions that an error is told for.
func withoutOffsets(topic string, partitions []int32, code int16) kmsg.OffsetFetchResponseGroupTopic {
	out := kmsg.NewOffsetFetchResponseGroupTopic()
	out.Topic = topic
	for _, index := range partitions {
		p := kmsg.NewOffsetFetchResponseGroupTopicPartition()
		p.Partition, p.Offset, p.Metadata, p.ErrorCode = index, -1, new(string), code
		out.Partitions = append(out.Partitions, p)
	}
	return out
}

// offsetBytes is what one partition takes in a response in memory, beside its text.
const offsetBytes = 128

// bytesOf is what offsets take in a response in memory, about.
func bytesOf(topics []TopicOffsets) (n int) {
	for _, t := range topics {
		for _, o := range t.Offsets {
			n += offsetBytes + len(o.Metadata)
		}
	}
	return n
}

// committedOf answers for one group, if the response has room for it.
func (c *call) committedOf(ctx context.Context, q *kmsg.OffsetFetchRequestGroup, left *allowance) kmsg.OffsetFetchResponseGroup {
	out := kmsg.NewOffsetFetchResponseGroup()
	out.Group, out.Topics = q.Group, []kmsg.OffsetFetchResponseGroupTopic{}
	m := Membership{Group: q.Group, Member: text(q.MemberID), Epoch: q.MemberEpoch}
	var asked []TopicOffsets
	if q.Topics != nil {
		asked = make([]TopicOffsets, len(q.Topics))
	}
	for i, t := range q.Topics {
		asked[i] = TopicOffsets{Name: t.Topic, ID: t.TopicID, Offsets: make([]CommittedOffset, len(t.Partitions))}
		for j, index := range t.Partitions {
			asked[i].Offsets[j] = CommittedOffset{Partition: index, Offset: -1, LeaderEpoch: mq.NoEpoch}
		}
	}
	var topics []TopicOffsets
	err := left.err
	if err == nil {
		topics, err = c.broker().FetchOffsets(ctx, c.session, m, asked)
	}
	if err == nil {
		err = left.take(bytesOf(topics))
	}
	if err != nil {
		if out.ErrorCode = c.memberCodeOf(err, 9); out.ErrorCode == int16(mq.CoordinatorNotAvailable) { // by which Java's consumers end that are older than 3.9; they look for the coordinator all the same
			out.ErrorCode = int16(mq.NotCoordinator)
		}
		return out
	}
	for _, t := range topics {
		if q.Topics == nil && c.version >= 10 && t.ID == (mq.TopicID{}) {
			continue // it was committed when there was no such topic, or before topics had ids: no name, so nothing to tell
		}
		topic := kmsg.NewOffsetFetchResponseGroupTopic()
		topic.Topic, topic.TopicID, topic.Partitions = t.Name, t.ID, make([]kmsg.OffsetFetchResponseGroupTopicPartition, len(t.Offsets))
		for j, o := range t.Offsets {
			p := kmsg.NewOffsetFetchResponseGroupTopicPartition()
			p.Partition, p.Offset, p.LeaderEpoch, p.Metadata = o.Partition, int64(o.Offset), int32(o.LeaderEpoch), &o.Metadata
			if o.Err != nil {
				p.ErrorCode = coordinatorCodeOf(o.Err)
			}
			topic.Partitions[j] = p
		}
		out.Topics = append(out.Topics, topic)
	}
	return out
}
