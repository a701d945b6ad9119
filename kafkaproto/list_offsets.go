// ListOffsets (2), versions 1 to 10.
//
// A time gives the first record that is not older, and its timestamp; offset -1 when there is none. The named places: -1 the high watermark, for both isolation
// levels; -2 the log start; -3 the newest record by its timestamp; -4 where what the leader's own log has begins; -5 the last record in the object store, -1 when there is none.
// Other negative times are INVALID_REQUEST. A client that names a leader epoch gets FENCED_LEADER_EPOCH or UNKNOWN_LEADER_EPOCH if that is not the present one.
//
// Right after an election, as long as the end of the log is not known to be replicated, OFFSET_NOT_AVAILABLE (LEADER_NOT_AVAILABLE below version 5) has clients ask again.
//
// Not supported: version 0; version 11.

package kafkaproto

import (
	"context"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/rustmq/rustmq/mq"
)

func listOffsetsAPI() api {
	return api{key: kmsg.ListOffsets, min: 1, from: 1, max: 10, start: inTurn(listOffsets)}
}

func listOffsets(ctx context.Context, c *call, q *kmsg.ListOffsetsRequest, r *kmsg.ListOffsetsResponse) error {
	r.Topics = make([]kmsg.ListOffsetsResponseTopic, len(q.Topics))
	for i := range q.Topics {
		topic := kmsg.NewListOffsetsResponseTopic()
		topic.Topic = q.Topics[i].Topic
		for _, p := range q.Topics[i].Partitions {
			topic.Partitions = append(topic.Partitions, c.offsetOf(ctx, topic.Topic, p))
		}
		r.Topics[i] = topic
	}
	return nil
}

func (c *call) offsetOf(ctx context.Context, topic string, q kmsg.ListOffsetsRequestTopicPartition) kmsg.ListOffsetsResponseTopicPartition {
	p := kmsg.NewListOffsetsResponseTopicPartition()
	p.Partition = q.Partition
	var found Found
	err := timeLeft(ctx) // each is a look into an index, and there may be many
	if err == nil {
		found, err = c.broker().Place(ctx, c.session, topic, q.Partition, mq.Epoch(q.CurrentLeaderEpoch), Place(q.Timestamp))
	}
	switch {
	case err == nil:
		p.Offset, p.Timestamp, p.LeaderEpoch = int64(found.Offset), found.Timestamp, int32(found.Epoch)
	case mq.CodeOf(err) == mq.OffsetNotAvailable && c.version < 5:
		p.ErrorCode = int16(mq.LeaderNotAvailable)
	default:
		p.ErrorCode = codeOf(err)
	}
	return p
}
