package broker

import (
	"context"

	"github.com/rustmq/rustmq/group"
	"github.com/rustmq/rustmq/mq"
	"github.com/rustmq/rustmq/quicproto"
	"github.com/rustmq/rustmq/quicproto/server"
)

// CommitOffsets implements server.Broker.
func (b *Broker) CommitOffsets(ctx context.Context, s *server.Session, req *quicproto.CommitOffsetsRequest) (*quicproto.CommitOffsetsResponse, error) {
	if err := b.authorise(s, OpRead, Resource{Group: req.Group}); err != nil {
		return nil, err
	}
	resp := &quicproto.CommitOffsetsResponse{Topics: make([][]mq.Code, len(req.Topics))}
	commit := &group.CommitRequest{Group: req.Group, Member: req.Member, Instance: req.Instance, Generation: req.Epoch}
	if req.Member == "" {
		commit.Generation = group.NoGeneration
	}
	var places [][]*mq.Code // of commit's partitions, in resp
	count := 0
	for i := range req.Topics {
		t := &req.Topics[i]
		count += len(t.Offsets)
		resp.Topics[i] = make([]mq.Code, len(t.Offsets))
		offsets, codes := b.committable(s, t, resp.Topics[i])
		if len(offsets.Offsets) > 0 {
			commit.Topics, places = append(commit.Topics, offsets), append(places, codes)
		}
	}
	if count > mq.MaxOffsetsPerCommit {
		return nil, mq.Errorf(mq.InvalidRequest, "a commit of %d offsets: at most %d are allowed", count, mq.MaxOffsetsPerCommit)
	}
	if len(commit.Topics) == 0 && count > 0 {
		return resp, nil
	}
	done, err := ask[*group.CommitResponse](ctx, b, s, OpRead, req.Group, commit)
	if err != nil {
		return nil, err
	}
	for i, codes := range done.Topics {
		for j, code := range codes {
			*places[i][j] = code
		}
	}
	return resp, nil
}

// committable is what of a topic may be committed, with where the codes of these partitions are to go. Those of the others are set.
func (b *Broker) committable(s *server.Session, t *quicproto.TopicOffsets, codes []mq.Code) (offsets group.TopicOffsets, places []*mq.Code) {
	offsets = group.TopicOffsets{Topic: t.Topic}
	err := b.authorise(s, OpRead, Resource{Topic: t.Topic})
	known := b.cfg.Controller.Image().TopicByName(t.Topic)
	switch {
	case err != nil:
	case known == nil:
		err = unknownTopic(t.Topic)
	case t.TopicID != mq.TopicID{} && t.TopicID != known.ID:
		err = mq.Errorf(mq.UnknownTopicID, "topic %q is another one", t.Topic)
	default:
		offsets.ID = known.ID
	}
	for i, o := range t.Offsets {
		switch {
		case err != nil:
			codes[i] = mq.CodeOf(err)
		case known.Partition(o.Partition) == nil:
			codes[i] = mq.UnknownTopicOrPartition
		case o.Offset < 0:
			codes[i] = mq.InvalidRequest
		default:
			offsets.Offsets = append(offsets.Offsets, group.Offset{
				Partition: o.Partition, Offset: o.Offset, LeaderEpoch: o.LeaderEpoch, Metadata: o.Metadata,
			})
			places = append(places, &codes[i])
		}
	}
	return offsets, places
}

// FetchOffsets implements server.Broker.
func (b *Broker) FetchOffsets(ctx context.Context, s *server.Session, req *quicproto.FetchOffsetsRequest) (*quicproto.FetchOffsetsResponse, error) {
	fetch := &group.FetchRequest{Group: req.Group, Member: req.Member, Generation: req.Epoch}
	if req.Member == "" {
		fetch.Generation = group.NoGeneration
	}
	if !req.All {
		fetch.Topics = b.indexes(req.Topics)
	}
	got, err := ask[*group.FetchResponse](ctx, b, s, OpDescribe, req.Group, fetch)
	if err != nil {
		return nil, err
	}
	resp := &quicproto.FetchOffsetsResponse{}
	for i := range got.Topics {
		t := &got.Topics[i]
		if err := b.authorise(s, OpDescribe, Resource{Topic: t.Topic}); err != nil {
			if req.All {
				continue
			}
			return nil, err
		}
		out := quicproto.TopicOffsets{Topic: t.Topic, TopicID: t.ID}
		for _, o := range t.Offsets {
			out.Offsets = append(out.Offsets, quicproto.CommittedOffset{
				Partition: o.Partition, Offset: o.Offset, LeaderEpoch: o.LeaderEpoch, Metadata: o.Metadata,
			})
		}
		resp.Topics = append(resp.Topics, out)
	}
	return resp, nil
}

// indexes names partitions, with the ids that their topics have now where the client does not say.
func (b *Broker) indexes(topics []quicproto.TopicPartitions) []group.TopicIndexes {
	out := make([]group.TopicIndexes, len(topics))
	for i, t := range topics {
		out[i] = group.TopicIndexes{Topic: t.Topic, ID: t.TopicID, Partitions: t.Partitions}
		if known := b.cfg.Controller.Image().TopicByName(t.Topic); known != nil && t.TopicID == (mq.TopicID{}) {
			out[i].ID = known.ID
		}
	}
	return out
}

// DeleteOffsets implements server.Broker.
func (b *Broker) DeleteOffsets(ctx context.Context, s *server.Session, req *quicproto.DeleteOffsetsRequest) (*quicproto.DeleteOffsetsResponse, error) {
	if err := b.authorise(s, OpDelete, Resource{Group: req.Group}); err != nil {
		return nil, err
	}
	for _, t := range req.Topics {
		if err := b.authorise(s, OpRead, Resource{Topic: t.Topic}); err != nil {
			return nil, err
		}
	}
	got, err := ask[*group.DeleteOffsetsResponse](ctx, b, s, OpDelete, req.Group, &group.DeleteOffsetsRequest{Group: req.Group, Topics: b.indexes(req.Topics)})
	if err != nil {
		return nil, err
	}
	return &quicproto.DeleteOffsetsResponse{Topics: got.Topics}, nil
}

// ResetOffsets implements server.Broker.
func (b *Broker) ResetOffsets(ctx context.Context, s *server.Session, req *quicproto.ResetOffsetsRequest) error {
	if err := b.authorise(s, OpRead, Resource{Group: req.Group}); err != nil {
		return err
	}
	reset := &group.ResetRequest{Group: req.Group}
	count := 0
	for i := range req.Topics {
		t := &req.Topics[i]
		count += len(t.Offsets)
		codes := make([]mq.Code, len(t.Offsets))
		offsets, _ := b.committable(s, t, codes)
		for j, code := range codes {
			if code != mq.None {
				return mq.Errorf(code, "reset group %q: partition %d of topic %q at %d", req.Group, t.Offsets[j].Partition, t.Topic, t.Offsets[j].Offset)
			}
		}
		reset.Topics = append(reset.Topics, offsets)
	}
	if count == 0 || count > mq.MaxOffsetsPerCommit {
		return mq.Errorf(mq.InvalidRequest, "reset %d offsets of group %q: from 1 to %d are allowed", count, req.Group, mq.MaxOffsetsPerCommit)
	}
	_, err := ask[*group.DoneResponse](ctx, b, s, OpRead, req.Group, reset)
	return err
}
