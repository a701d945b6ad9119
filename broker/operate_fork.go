package broker

import (
	"context"

	adminpb "github.com/rustmq/rustmq/api/admin/v1"
	metadatapb "github.com/rustmq/rustmq/api/metadata/v1"
	"github.com/rustmq/rustmq/metadata"
	"github.com/rustmq/rustmq/mq"
	"github.com/rustmq/rustmq/partition"
	"github.com/rustmq/rustmq/quicproto/server"
)

// forkPoint has a partition that this node leads brought into the object store up to an offset, and says where a fork of it can begin: where a batch does.
func (b *Broker) forkPoint(ctx context.Context, s *server.Session, req *adminpb.ForkPointRequest) (*adminpb.ForkPointResponse, error) {
	if err := b.authorise(s, OpRead, Resource{Topic: req.GetTopic()}); err != nil {
		return nil, err
	}
	_, part, err := b.running(req.GetTopic(), req.GetPartition())
	if err != nil {
		return nil, err
	}
	end, err := part.VisibleEnd(mq.IsolationCommitted)
	if err != nil {
		return nil, err
	}
	start, _, _, _ := part.Offsets()
	at := mq.Offset(req.GetOffset())
	switch {
	case at == -1:
		at = end
	case at < start || at > end:
		return nil, mq.Errorf(mq.OffsetOutOfRange, "fork %s %d at %d: its committed records begin at %d and end at %d", req.GetTopic(), req.GetPartition(), at, start, end)
	}
	if err := part.AwaitTiered(ctx, at); err != nil {
		return nil, mq.Wrapf(err, "fork %s %d at %d", req.GetTopic(), req.GetPartition(), at)
	}
	start, _, _, tiered := part.Offsets()
	switch {
	case at <= start:
		at = start
	case req.GetOffset() == -1:
		at = tiered // a range ends there
	case at < tiered:
		if at, err = batchBoundary(ctx, part, at); err != nil {
			return nil, mq.Wrapf(err, "fork %s %d", req.GetTopic(), req.GetPartition())
		}
		at = max(at, start)
	}
	return &adminpb.ForkPointResponse{Offset: int64(at)}, nil
}

// batchBoundary is where the batch begins that holds an offset.
func batchBoundary(ctx context.Context, part *partition.Partition, at mq.Offset) (mq.Offset, error) {
	res, err := part.Read(ctx, at, 1, mq.IsolationCommitted, nil)
	if err != nil {
		return 0, err
	}
	if len(res.Batches) == 0 {
		return 0, mq.Errorf(mq.OffsetNotAvailable, "offset %d cannot be read", at)
	}
	b, _, err := mq.NextBatch(res.Batches[0])
	if err != nil {
		return 0, err
	}
	return b.BaseOffset(), nil
}

// forkTopic makes a topic that begins as another one was at the points that the leaders of its partitions gave. It can be used when it returns.
func (b *Broker) forkTopic(ctx context.Context, s *server.Session, req *adminpb.ForkTopicRequest) (*adminpb.ForkTopicResponse, error) {
	if err := b.authorise(s, OpRead, Resource{Topic: req.GetSource()}); err != nil {
		return nil, err
	}
	if err := b.authorise(s, OpCreate, Resource{Topic: req.GetName()}); err != nil {
		return nil, err
	}
	if err := notInternal(req.GetName()); err != nil {
		return nil, err
	}
	img := b.cfg.Controller.Image()
	source, err := b.topic(req.GetSource())
	if err != nil {
		return nil, err
	}
	assignment, err := metadata.PlaceTopic(img, int(source.Partitions()), len(source.Partition(0).Targets()))
	if err != nil {
		return nil, err
	}
	id, err := mq.NewTopicID(b.cfg.Random)
	if err != nil {
		return nil, mq.Errorf(mq.Internal, "draw an id for topic %q: %w", req.GetName(), err)
	}
	_, err = b.cfg.Controller.Propose(ctx, &metadatapb.Command{Kind: &metadatapb.Command_ForkTopic{ForkTopic: &metadatapb.ForkTopic{
		Id: id[:], Name: req.GetName(), Source: source.ID[:], Assignments: assignments(assignment), Points: req.GetPoints(),
	}}})
	if err != nil {
		return nil, mq.Wrapf(err, "fork topic %q as %q", source.Name, req.GetName())
	}
	return &adminpb.ForkTopicResponse{Id: id[:]}, nil
}
