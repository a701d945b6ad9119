package broker

import (
	"context"

	"github.com/rustmq/rustmq/kafkaproto"
	"github.com/rustmq/rustmq/mq"
	"github.com/rustmq/rustmq/quicproto"
)

// named says which of topics can be asked about: those that have a name, or an id that stands for one, and that s may do op to. The others get their error. places are those of the
// first ones in topics.
func (k *Kafka) named(s *kafkaproto.Session, op Operation, topics []kafkaproto.TopicOffsets) (good []kafkaproto.TopicOffsets, places []int) {
	for i, t := range topics {
		var err error
		if t.Name == "" {
			name, known := k.TopicName(t.ID)
			if t.Name = name; !known {
				err = mq.Errorf(mq.UnknownTopicID, "there is no topic %s", t.ID)
			}
		}
		if err == nil {
			err = k.b.authorise(as(s), op, Resource{Topic: t.Name})
		}
		if err != nil {
			fail(topics[i].Offsets, err)
			continue
		}
		good, places = append(good, t), append(places, i)
	}
	return good, places
}

func fail(offsets []kafkaproto.CommittedOffset, err error) {
	for i := range offsets {
		offsets[i].Err = err
	}
}

// CommitOffsets implements kafkaproto.Broker. Kafka has no bound on the offsets of one commit, so many go as several, one after the other.
func (k *Kafka) CommitOffsets(ctx context.Context, s *kafkaproto.Session, m kafkaproto.Membership, topics []kafkaproto.TopicOffsets) error {
	switch {
	case m.Epoch < 0: // nobody's, whatever it calls itself
		m.Member, m.Instance = "", ""
	case m.Member == "":
		return mq.Errorf(mq.UnknownMemberID, "a commit to group %q in generation %d, of no member", m.Group, m.Epoch)
	}
	good, _ := k.named(s, OpRead, topics)
	for i, part := range inParts(good, mq.MaxOffsetsPerCommit) {
		err := k.commit(ctx, s, m, part)
		if err != nil && i == 0 {
			return err
		}
		if err != nil { // of what was committed before it that is no error
			for _, t := range part {
				fail(t.Offsets, err)
			}
		}
	}
	return nil
}

// inParts are the offsets of topics in order, in parts of so many at most: one at least.
func inParts(topics []kafkaproto.TopicOffsets, most int) (parts [][]kafkaproto.TopicOffsets) {
	var part []kafkaproto.TopicOffsets
	left := most
	for _, t := range topics {
		for offsets := t.Offsets; len(offsets) > 0; {
			if left == 0 {
				parts, part, left = append(parts, part), nil, most
			}
			n := min(left, len(offsets))
			part = append(part, kafkaproto.TopicOffsets{Name: t.Name, ID: t.ID, Offsets: offsets[:n]})
			offsets, left = offsets[n:], left-n
		}
	}
	return append(parts, part)
}

// commit is one commit of all.
func (k *Kafka) commit(ctx context.Context, s *kafkaproto.Session, m kafkaproto.Membership, topics []kafkaproto.TopicOffsets) error {
	request := &quicproto.CommitOffsetsRequest{Group: m.Group, Member: m.Member, Instance: m.Instance, Epoch: m.Epoch, Topics: make([]quicproto.TopicOffsets, len(topics))}
	for i, t := range topics {
		out := quicproto.TopicOffsets{Topic: t.Name, TopicID: t.ID, Offsets: make([]quicproto.CommittedOffset, len(t.Offsets))}
		for j, o := range t.Offsets {
			out.Offsets[j] = quicproto.CommittedOffset{Partition: o.Partition, Offset: o.Offset, LeaderEpoch: o.LeaderEpoch, Metadata: o.Metadata}
		}
		request.Topics[i] = out
	}
	got, err := k.b.CommitOffsets(ctx, as(s), request)
	if err != nil {
		return err
	}
	for i, codes := range got.Topics {
		for j, code := range codes {
			if o := &topics[i].Offsets[j]; code != mq.None {
				o.Err = mq.Errorf(code, "partition %d of topic %q", o.Partition, topics[i].Name)
			}
		}
	}
	return nil
}

// FetchOffsets implements kafkaproto.Broker.
func (k *Kafka) FetchOffsets(ctx context.Context, s *kafkaproto.Session, m kafkaproto.Membership, topics []kafkaproto.TopicOffsets) ([]kafkaproto.TopicOffsets, error) {
	good, places := k.named(s, OpDescribe, topics)
	request := &quicproto.FetchOffsetsRequest{Group: m.Group, Member: m.Member, Epoch: m.Epoch, All: topics == nil}
	for _, t := range good {
		one := quicproto.TopicPartitions{Topic: t.Name, TopicID: t.ID}
		for _, o := range t.Offsets {
			one.Partitions = append(one.Partitions, o.Partition)
		}
		request.Topics = append(request.Topics, one)
	}
	got, err := k.b.FetchOffsets(ctx, as(s), request)
	if err != nil {
		return nil, err
	}
	img := k.b.cfg.Controller.Image()
	for i, t := range got.Topics {
		if known := img.TopicByName(t.Topic); request.All && known != nil && !t.TopicID.IsZero() && t.TopicID != known.ID {
			continue // of a topic that was deleted, which its coordinator has not heard of yet: by the name it would be of the one that there is
		}
		offsets := make([]kafkaproto.CommittedOffset, len(t.Offsets))
		for j, o := range t.Offsets {
			offsets[j] = kafkaproto.CommittedOffset{Partition: o.Partition, Offset: o.Offset, LeaderEpoch: o.LeaderEpoch, Metadata: o.Metadata}
		}
		if request.All {
			topics = append(topics, kafkaproto.TopicOffsets{Name: t.Topic, ID: t.TopicID, Offsets: offsets})
		} else {
			topics[places[i]].Offsets = offsets
		}
	}
	return topics, nil
}

// DeleteOffsets implements kafkaproto.Broker.
func (k *Kafka) DeleteOffsets(ctx context.Context, s *kafkaproto.Session, name string, topics []kafkaproto.TopicOffsets) error {
	good, places := k.named(s, OpRead, topics)
	request := &quicproto.DeleteOffsetsRequest{Group: name}
	for _, t := range good {
		one := quicproto.TopicPartitions{Topic: t.Name}
		for _, o := range t.Offsets {
			one.Partitions = append(one.Partitions, o.Partition)
		}
		request.Topics = append(request.Topics, one)
	}
	got, err := k.b.DeleteOffsets(ctx, as(s), request)
	if err != nil {
		return err
	}
	for i, code := range got.Topics {
		if code != mq.None {
			fail(topics[places[i]].Offsets, mq.Errorf(code, "offsets of topic %q", good[i].Name))
		}
	}
	return nil
}
