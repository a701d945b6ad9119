// DescribeLogDirs (35), versions 1 to 4.
//
// One directory, that of the node's log, and what of each partition this node runs, leader or follower, has to be in it: bytes of the records that the object store has not yet, to some 64 KiB. Total and usable bytes (from
// version 4 on) are those of the log's bound, wal.max_size, which all partitions share. Partitions that the request names and that do not run here are left out.
//
// Not supported: version 0; what of a partition is in the object store, which no node knows partition by partition (rustmq ctl tier status tells it topic by topic).

package kafkaproto

import (
	"context"

	"github.com/twmb/franz-go/pkg/kmsg"
)

func describeLogDirsAPI() api {
	return api{key: kmsg.DescribeLogDirs, min: 1, from: 1, max: 4, start: inTurn(describeLogDirs)}
}

func describeLogDirs(_ context.Context, c *call, q *kmsg.DescribeLogDirsRequest, r *kmsg.DescribeLogDirsResponse) error {
	if err := c.broker().AuthoriseCluster(c.session, false); err != nil {
		r.ErrorCode = codeOf(err)
		return nil
	}
	want := func(string, int32) bool { return true }
	if q.Topics != nil {
		named := make(map[TopicPartition]bool)
		for _, t := range q.Topics {
			for _, p := range t.Partitions {
				named[TopicPartition{t.Topic, p}] = true
			}
		}
		want = func(topic string, partition int32) bool { return named[TopicPartition{topic, partition}] }
	}
	at := c.broker().LogDir()
	dir := kmsg.NewDescribeLogDirsResponseDir()
	dir.Dir, dir.TotalBytes, dir.UsableBytes = at.Path, at.Total, at.Usable
	for _, size := range c.broker().LogSizes(c.session, want) {
		if n := len(dir.Topics); n == 0 || dir.Topics[n-1].Topic != size.Topic {
			topic := kmsg.NewDescribeLogDirsResponseDirTopic()
			topic.Topic = size.Topic
			dir.Topics = append(dir.Topics, topic)
		}
		p := kmsg.NewDescribeLogDirsResponseDirTopicPartition()
		p.Partition, p.Size, p.OffsetLag = size.Partition, size.Bytes, int64(size.Lag)
		topic := &dir.Topics[len(dir.Topics)-1]
		topic.Partitions = append(topic.Partitions, p)
	}
	r.Dirs = append(r.Dirs, dir)
	return nil
}
