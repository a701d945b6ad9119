package broker

import (
	"context"

	adminpb "github.com/rustmq/rustmq/api/admin/v1"
	metadatapb "github.com/rustmq/rustmq/api/metadata/v1"
	"github.com/rustmq/rustmq/metadata"
	"github.com/rustmq/rustmq/mq"
	"github.com/rustmq/rustmq/quicproto/server"
)

// trimPartition moves the log start of a partition that this node leads.
func (b *Broker) trimPartition(ctx context.Context, s *server.Session, req *adminpb.TrimPartitionRequest) (*adminpb.TrimPartitionResponse, error) {
	if err := b.mayTrim(s, req.GetTopic()); err != nil {
		return nil, err
	}
	start, err := b.planTrim(req.GetTopic(), req.GetPartition(), mq.Offset(req.GetOffset()))
	if err != nil {
		return nil, err
	}
	outcomes, err := b.trim(ctx, []*metadatapb.LogStart{start})
	if err == nil {
		err = outcomes[0].err
	}
	if err != nil {
		return nil, mq.Wrapf(err, "delete the records of %s %d below %d", req.GetTopic(), req.GetPartition(), start.GetOffset())
	}
	return &adminpb.TrimPartitionResponse{LogStart: int64(outcomes[0].start)}, nil
}

// mayTrim says whether s may delete records of a topic.
func (b *Broker) mayTrim(s *server.Session, topic string) error {
	if err := b.authorise(s, OpAlter, Resource{Topic: topic}); err != nil {
		return err
	}
	return notInternal(topic)
}

// planTrim is the log start that a partition is to have, for all that is committed with -1. This node has to lead it: only the leader knows the watermark, beyond which nothing can be deleted.
func (b *Broker) planTrim(topic string, index int32, to mq.Offset) (*metadatapb.LogStart, error) {
	id, part, err := b.running(topic, index)
	if err != nil {
		return nil, err
	}
	epoch := part.LeaderEpoch() // before the watermark: if another one leads by then, it refuses
	end, err := part.VisibleEnd(mq.IsolationCommitted)
	if err != nil {
		return nil, err
	}
	switch {
	case to == -1:
		to = end
	case to < 0 || to > end:
		return nil, mq.Errorf(mq.OffsetOutOfRange, "delete the records of %s %d below %d: its committed records end at %d", topic, id.Index, to, end)
	}
	return &metadatapb.LogStart{Partition: metadata.PartitionRecord(id), LeaderEpoch: int32(epoch), Offset: int64(to)}, nil
}

// trimmed is what came of one log start.
type trimmed struct {
	start mq.Offset // that holds now
	err   error
}

// trim has log starts decided. There is an outcome for each.
func (b *Broker) trim(ctx context.Context, starts []*metadatapb.LogStart) ([]trimmed, error) {
	result, err := b.cfg.Controller.Propose(ctx, &metadatapb.Command{Kind: &metadatapb.Command_SetLogStarts{SetLogStarts: &metadatapb.SetLogStarts{Starts: starts}}})
	if err != nil {
		return nil, err
	}
	verdicts := result.GetSetLogStarts().GetVerdicts()
	if len(verdicts) != len(starts) {
		return nil, mq.Errorf(mq.Internal, "the controller answered for %d of %d partitions", len(verdicts), len(starts))
	}
	img, outcomes := b.cfg.Controller.Image(), make([]trimmed, len(starts))
	for i, start := range starts {
		outcomes[i] = trimmed{mq.Offset(start.GetOffset()), metadata.VerdictError(verdicts[i])}
		id := mq.PartitionID{Topic: mq.TopicID(start.GetPartition().GetTopicId()), Index: start.GetPartition().GetPartition()}
		if now := img.Partition(id); now != nil {
			outcomes[i].start = max(outcomes[i].start, now.LogStart)
		}
	}
	return outcomes, nil
}
