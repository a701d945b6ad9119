package coordinator

import (
	"slices"

	"github.com/rustmq/rustmq/group"
	"github.com/rustmq/rustmq/metadata"
	"github.com/rustmq/rustmq/mq"
)

// topicsOf is what groups need of an image; nil when that is as it was in the last one, of which known was made.
func topicsOf(last, img *metadata.Image, known *group.Topics) *group.Topics {
	if img == last || known.Version() != 0 && !concernsGroups(metadata.Diff(last, img)) {
		return nil
	}
	topics := make([]group.Topic, 0, img.TopicCount())
	for t := range img.Topics() {
		topics = append(topics, topicOf(img, t))
	}
	return group.NewTopics(img.Index, topics)
}

// concernsGroups says whether a change can lead to other assignments.
func concernsGroups(d *metadata.Delta) bool {
	if len(d.Created)+len(d.Deleted)+len(d.Brokers) > 0 { // a broker may have another rack
		return true
	}
	for _, c := range d.Changed {
		for _, i := range c.Partitions {
			before, now := c.Old.Partition(i), c.New.Partition(i)
			if before == nil || now == nil || !slices.Equal(before.Replicas, now.Replicas) {
				return true
			}
		}
	}
	return false
}

func topicOf(img *metadata.Image, t *metadata.Topic) group.Topic {
	out := group.Topic{Name: t.Name, ID: t.ID, Partitions: t.Partitions(), Internal: mq.InternalTopic(t.Name)}
	racks := make([][]string, t.Partitions())
	known := false
	for i, p := range t.All() {
		for _, id := range p.Replicas {
			if b := img.Broker(id); b != nil && b.Rack != "" && !slices.Contains(racks[i], b.Rack) {
				racks[i], known = append(racks[i], b.Rack), true
			}
		}
	}
	if known {
		out.Racks = racks
	}
	return out
}

// deletedTopics are those that were deleted between two images.
func deletedTopics(last, img *metadata.Image) (gone []mq.TopicID) {
	for _, t := range metadata.Diff(last, img).Deleted {
		gone = append(gone, t.ID)
	}
	return gone
}
