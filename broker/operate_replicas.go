package broker

import (
	"bytes"
	"context"
	"slices"

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

// replicatePartitions begins, or only plans, what gives partitions as many replicas as they are to have. Who asks again goes on.
func (b *Broker) replicatePartitions(ctx context.Context, img *metadata.Image, req *adminpb.ReplicatePartitionsRequest) (*adminpb.ReplicatePartitionsResponse, error) {
	if n := req.GetReplicas(); n < 0 || n > mq.MaxReplicationFactor {
		return nil, mq.Errorf(mq.InvalidReplicationFactor, "%d replicas: from 1 to %d, or 0 for as many as each topic is to have", n, mq.MaxReplicationFactor)
	}
	topics, err := topicsNamed(img, req.GetTopics())
	if err != nil {
		return nil, err
	}
	plan := metadata.PlanReplication(img, topics, int(req.GetReplicas()), maxMoves)
	out := &adminpb.ReplicatePartitionsResponse{Moving: int32(plan.Moving), Short: int32(plan.Short)}
	verdicts := make([]*metadatapb.Verdict, len(plan.Moves))
	if len(plan.Moves) > 0 && !req.GetDryRun() {
		result, err := b.cfg.Controller.Propose(ctx, &metadatapb.Command{Kind: &metadatapb.Command_ReassignPartitions{
			ReassignPartitions: &metadatapb.ReassignPartitions{Reassignments: plan.Moves},
		}})
		if err != nil {
			return nil, mq.Wrapf(err, "replicate partitions")
		}
		if verdicts = result.GetReassignPartitions().GetVerdicts(); len(verdicts) != len(plan.Moves) {
			return nil, mq.Errorf(mq.Internal, "the controller answered for %d of %d partitions", len(verdicts), len(plan.Moves))
		}
	}
	for i, move := range plan.Moves {
		t, index := img.Topic(mq.TopicID(move.GetPartition().GetTopicId())), move.GetPartition().GetPartition()
		planned := &adminpb.PlannedMove{Topic: t.Name, Partition: index, To: move.GetTargets()}
		for _, node := range t.Partition(index).Targets() {
			planned.From = append(planned.From, int32(node))
		}
		if verdicts[i] != nil {
			outcome := moveOutcome(metadata.VerdictError(verdicts[i]))
			planned.Code, planned.Message = outcome.GetCode(), outcome.GetMessage()
		}
		if planned.GetCode() == 0 && !req.GetDryRun() && t.Partition(index).Reassignment == nil {
			out.Moving++
		}
		out.Moves = append(out.Moves, planned)
	}
	return out, nil
}

// topicsNamed are the topics of these names, or all, in the order of their ids.
func topicsNamed(img *metadata.Image, names []string) (topics []*metadata.Topic, err error) {
	for _, name := range names {
		t := img.TopicByName(name)
		if t == nil {
			return nil, unknownTopic(name)
		}
		topics = append(topics, t)
	}
	if len(names) == 0 {
		topics = slices.Collect(img.Topics())
	}
	slices.SortFunc(topics, func(a, b *metadata.Topic) int { return bytes.Compare(a.ID[:], b.ID[:]) })
	return slices.Compact(topics), nil
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
