package group

import "github.com/twmb/franz-go/pkg/kmsg"

// subscriptionOf is what a consumer with the classic protocol brings.
func subscriptionOf(topics []string, owned map[string][]int32) []byte {
	m := kmsg.NewConsumerMemberMetadata()
	m.Version, m.Topics = 1, topics
	for _, topic := range topics {
		if len(owned[topic]) > 0 {
			o := kmsg.NewConsumerMemberMetadataOwnedPartition()
			o.Topic, o.Partitions = topic, owned[topic]
			m.OwnedPartitions = append(m.OwnedPartitions, o)
		}
	}
	return m.AppendTo(nil)
}
