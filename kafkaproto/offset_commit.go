// OffsetCommit (8), versions 2 to 10.
//
// Commits offsets, with a text each, for a member of a group in its generation or epoch, or for a group without members by who names no generation (-1). They are durable, on as many replicas as the
// topic __consumer_offsets wants, when they are answered. What a topic had under another id (from version 10 on clients say which they mean) does not count for it.
//
// A member in another epoch gets STALE_MEMBER_EPOCH, or UNSUPPORTED_VERSION before version 9, where that is not known. A partition that is not there is UNKNOWN_TOPIC_OR_PARTITION, from version 10 on
// UNKNOWN_TOPIC_ID.
//
// Not supported: version 1; a retention time of the request's own (versions 2 to 4): INVALID_REQUEST if it names one. How long offsets are kept is the cluster's setting.

package kafkaproto

import (
	"context"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/rustmq/rustmq/mq"
)

func offsetCommitAPI() api {
	return api{key: kmsg.OffsetCommit, min: 2, from: 2, max: 10, start: inTurn(offsetCommit)}
}

func offsetCommit(ctx context.Context, c *call, q *kmsg.OffsetCommitRequest, r *kmsg.OffsetCommitResponse) error {
	topics := make([]TopicOffsets, len(q.Topics))
	for i, t := range q.Topics {
		topics[i] = TopicOffsets{Name: t.Topic, ID: t.TopicID, Offsets: make([]CommittedOffset, len(t.Partitions))}
		for j, p := range t.Partitions {
			topics[i].Offsets[j] = CommittedOffset{Partition: p.Partition, Offset: mq.Offset(p.Offset), LeaderEpoch: mq.Epoch(p.LeaderEpoch), Metadata: text(p.Metadata)}
		}
	}
	m := Membership{Group: q.Group, Member: q.MemberID, Instance: text(q.InstanceID), Epoch: q.Generation}
	var err error
	if q.Version <= 4 && q.RetentionTimeMillis != -1 {
		err = mq.Errorf(mq.InvalidRequest, "offsets that are kept for a time of their own")
	} else {
		err = c.broker().CommitOffsets(ctx, c.session, m, topics)
	}
	whole := c.memberCodeOf(err, 9)
	r.Topics = make([]kmsg.OffsetCommitResponseTopic, len(topics))
	for i, t := range topics {
		out := kmsg.NewOffsetCommitResponseTopic()
		out.Topic, out.TopicID, out.Partitions = t.Name, t.ID, make([]kmsg.OffsetCommitResponseTopicPartition, len(t.Offsets))
		for j, o := range t.Offsets {
			p := kmsg.NewOffsetCommitResponseTopicPartition()
			p.Partition, p.ErrorCode = o.Partition, whole
			if err == nil && o.Err != nil {
				p.ErrorCode = c.memberCodeOf(o.Err, 9)
			}
			out.Partitions[j] = p
		}
		r.Topics[i] = out
	}
	return nil
}

// memberCodeOf is the code of what concerns a whole group, 0 for nil. Versions before since do not know STALE_MEMBER_EPOCH.
func (c *call) memberCodeOf(err error, since int16) int16 {
	switch {
	case err == nil:
		return 0
	case mq.CodeOf(err) == mq.StaleMemberEpoch && c.version < since:
		return unsupportedVersion
	}
	return coordinatorCodeOf(err)
}
