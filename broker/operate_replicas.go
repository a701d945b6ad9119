package broker

import (
	"context"

	adminpb "github.com/rustmq/rustmq/api/admin/v1"
	metadatapb "github.com/rustmq/rustmq/api/metadata/v1"
	"github.com/rustmq/rustmq/metadata"
	"github.com/rustmq/rustmq/mq"
)

// maxMoves is the most partitions of one request: some 50 KiB of command.
const maxMoves = 1000

// movePartitions begins reassignments, or cancels them. Those of partitions that are not there are refused like others: each by itself.
func (b *Broker) movePartitions(ctx context.Context, req *adminpb.MovePartitionsRequest) (*adminpb.MovePartitionsResponse, error) {
	if n := len(req.GetMoves()); n == 0 || n > maxMoves {
		return nil, mq.Errorf(mq.InvalidRequest, "%d partitions to move: from 1 to %d in one request", n, maxMoves)
	}
	img := b.cfg.Controller.Image()
	command, at := &metadatapb.ReassignPartitions{}, []int{}
	out := &adminpb.MovePartitionsResponse{Outcomes: make([]*adminpb.MoveOutcome, len(req.GetMoves()))}
	for i, move := range req.GetMoves() {
		t := img.TopicByName(move.GetTopic())
		if t == nil {
			out.Outcomes[i] = moveOutcome(unknownTopic(move.GetTopic()))
			continue
		}
		command.Reassignments = append(command.Reassignments, &metadatapb.Reassignment{
			Partition: metadata.PartitionRecord(mq.PartitionID{Topic: t.ID, Index: move.GetPartition()}), Targets: move.GetReplicas(),
		})
		at = append(at, i)
	}
	if len(at) == 0 {
		return out, nil
	}
	result, err := b.cfg.Controller.Propose(ctx, &metadatapb.Command{Kind: &metadatapb.Command_ReassignPartitions{ReassignPartitions: command}})
	if err != nil {
		return nil, mq.Wrapf(err, "move partitions")
	}
	verdicts := result.GetReassignPartitions().GetVerdicts()
	if len(verdicts) != len(at) {
		return nil, mq.Errorf(mq.Internal, "the controller answered for %d of %d partitions", len(verdicts), len(at))
	}
	for i, v := range verdicts {
		out.Outcomes[at[i]] = moveOutcome(metadata.VerdictError(v))
	}
	return out, nil
}

func moveOutcome(err error) *adminpb.MoveOutcome {
	if err == nil {
		return &adminpb.MoveOutcome{}
	}
	return &adminpb.MoveOutcome{Code: int32(mq.CodeOf(err)), Message: err.Error()}
}

// drainNode marks a broker, if it is not marked yet, and says what it has left. The controllers move its replicas.
func (b *Broker) drainNode(ctx context.Context, req *adminpb.DrainNodeRequest) (*adminpb.DrainNodeResponse, error) {
	id := mq.NodeID(req.GetNodeId())
	if there := b.cfg.Controller.Image().Broker(id); there == nil || there.Draining == req.GetCancel() {
		command := &metadatapb.DrainBroker{NodeId: int32(id), Drain: !req.GetCancel()}
		if _, err := b.cfg.Controller.Propose(ctx, &metadatapb.Command{Kind: &metadatapb.Command_DrainBroker{DrainBroker: command}}); err != nil {
			return nil, mq.Wrapf(err, "drain node %d", id)
		}
	}
	d := metadata.DrainOf(b.cfg.Controller.Image(), id)
	return &adminpb.DrainNodeResponse{Replicas: int32(d.Replicas), Moving: int32(d.Moving), Stuck: int32(d.Stuck)}, nil
}

// removeNode forgets a broker. One that is not known is removed already.
func (b *Broker) removeNode(ctx context.Context, req *adminpb.RemoveNodeRequest) error {
	_, err := b.cfg.Controller.Propose(ctx, &metadatapb.Command{Kind: &metadatapb.Command_RemoveBroker{
		RemoveBroker: &metadatapb.RemoveBroker{NodeId: req.GetNodeId()},
	}})
	return mq.Wrapf(err, "remove node %d", req.GetNodeId())
}
