package broker

import (
	"context"

	adminpb "github.com/rustmq/rustmq/api/admin/v1"
	metadatapb "github.com/rustmq/rustmq/api/metadata/v1"
	"github.com/rustmq/rustmq/metadata"
	"github.com/rustmq/rustmq/mq"
	"github.com/rustmq/rustmq/quicproto/server"
)

// trimPartition moves the log start of a partition that this node leads: only its leader knows the watermark, beyond which nothing can be deleted.
func (b *Broker) trimPartition(ctx context.Context, s *server.Session, req *adminpb.TrimPartitionRequest) (*adminpb.TrimPartitionResponse, error) {
	if err := b.authorise(s, OpAlter, Resource{Topic: req.GetTopic()}); err != nil {
		return nil, err
	}
	if err := notInternal(req.GetTopic()); err != nil {
		return nil, err
	}
	id, part, err := b.running(req.GetTopic(), req.GetPartition())
	if err != nil {
		return nil, err
	}
	epoch := part.LeaderEpoch() // before the watermark: if another one leads by then, it refuses
	end, err := part.VisibleEnd(mq.IsolationCommitted)
	if err != nil {
		return nil, err
	}
	to := mq.Offset(req.GetOffset())
	switch {
	case to == -1:
		to = end
	case to < 0 || to > end:
		return nil, mq.Errorf(mq.OffsetOutOfRange, "delete the records of %s %d below %d: its committed records end at %d", req.GetTopic(), id.Index, to, end)
	}
	result, err := b.cfg.Controller.Propose(ctx, &metadatapb.Command{Kind: &metadatapb.Command_SetLogStarts{SetLogStarts: &metadatapb.SetLogStarts{
		Starts: []*metadatapb.LogStart{{Partition: metadata.PartitionRecord(id), LeaderEpoch: int32(epoch), Offset: int64(to)}},
	}}})
	if err != nil {
		return nil, mq.Wrapf(err, "delete the records of %s %d below %d", req.GetTopic(), id.Index, to)
	}
	verdicts := result.GetSetLogStarts().GetVerdicts()
	if len(verdicts) != 1 {
		return nil, mq.Errorf(mq.Internal, "the controller answered for %d of 1 partitions", len(verdicts))
	}
	if err := metadata.VerdictError(verdicts[0]); err != nil {
		return nil, err
	}
	if now := b.cfg.Controller.Image().Partition(id); now != nil {
		to = max(to, now.LogStart)
	}
	return &adminpb.TrimPartitionResponse{LogStart: int64(to)}, nil
}
