package kafkaproto

import (
	"fmt"
	"testing"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/rustmq/rustmq/mq"
)

func TestConsumersAreToldWhereEpochsEnded(t *testing.T) {
	r := newRig(t)
	topic := r.broker.make("t", 1)
	p := r.connect()
	ask[*kmsg.ProduceResponse](p, produceOf(9, -1, "t", 0, batchOf(t, 5, []byte("v"))))
	of := func(topic string, current, epoch mq.Epoch) string {
		q := kmsg.NewPtrOffsetForLeaderEpochRequest()
		q.Version = 4
		q.Topics = []kmsg.OffsetForLeaderEpochRequestTopic{{Topic: topic, Partitions: []kmsg.OffsetForLeaderEpochRequestTopicPartition{{
			CurrentLeaderEpoch: int32(current), LeaderEpoch: int32(epoch),
		}}}}
		got := ask[*kmsg.OffsetForLeaderEpochResponse](p, q).Topics[0].Partitions[0]
		return fmt.Sprintf("%v: epoch %d up to %d", mq.Code(got.ErrorCode), got.LeaderEpoch, got.EndOffset)
	}
	end := topic.parts[0].appended()[0].NextOffset()
	for _, c := range []struct {
		topic          string
		current, epoch mq.Epoch
		want           string
	}{
		{"t", -1, 1, "NONE: epoch 1 up to 7"},
		{"t", 3, 2, "NONE: epoch 1 up to 7"},
		{"t", 3, 3, fmt.Sprintf("NONE: epoch 3 up to %d", end)},
		{"t", 3, 4, "NONE: epoch -1 up to -1"},
		{"t", 3, 0, "NONE: epoch -1 up to -1"},
		{"t", 3, -1, "NONE: epoch -1 up to -1"},
		{"t", 2, 1, "FENCED_LEADER_EPOCH: epoch -1 up to -1"},
		{"t", 4, 1, "UNKNOWN_LEADER_EPOCH: epoch -1 up to -1"},
		{"nobodys", -1, 1, "UNKNOWN_TOPIC_OR_PARTITION: epoch -1 up to -1"},
	} {
		if got := of(c.topic, c.current, c.epoch); got != c.want {
			t.Errorf("%s, epoch %d where %d is said to be the present one: %s, want %s", c.topic, c.epoch, c.current, got, c.want)
		}
	}
	r.broker.mu.Lock()
	topic.parts[0].follows = true
	r.broker.mu.Unlock()
	if got := of("t", 3, 1); got != "NOT_LEADER_OR_FOLLOWER: epoch -1 up to -1" {
		t.Errorf("of a replica that does not lead: %s", got)
	}
}
