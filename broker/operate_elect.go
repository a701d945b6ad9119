package broker

import (
	"context"
	"errors"
	"slices"

	adminpb "github.com/rustmq/rustmq/api/admin/v1"
	metadatapb "github.com/rustmq/rustmq/api/metadata/v1"
	"github.com/rustmq/rustmq/metadata"
	"github.com/rustmq/rustmq/mq"
)

// maxElections is the most partitions of one request: a command of some 50 KiB.
const maxElections = 1000

// electLeaders has partitions led by their preferred leaders. Those that are named are answered for each by itself; of all others only those that change.
func (b *Broker) electLeaders(ctx context.Context, img *metadata.Image, req *adminpb.ElectLeadersRequest) (*adminpb.ElectLeadersResponse, error) {
	if n := len(req.GetPartitions()); n > maxElections || n > 0 && req.GetTopic() == "" {
		return nil, mq.Errorf(mq.InvalidRequest, "%d partitions of topic %q: name the topic, and at most %d of its partitions", n, req.GetTopic(), maxElections)
	}
	t := img.TopicByName(req.GetTopic())
	if t == nil && req.GetTopic() != "" {
		return nil, unknownTopic(req.GetTopic())
	}
	if req.GetUnclean() {
		return b.electUnclean(ctx, t, req)
	}
	var e election
	switch {
	case len(req.GetPartitions()) > 0:
		for _, i := range req.GetPartitions() {
			e.named(img, t, i)
		}
	case t != nil:
		e.preferred(img, t)
	default:
		topics := slices.SortedFunc(img.Topics(), func(a, b *metadata.Topic) int { return slices.Compare(a.ID[:], b.ID[:]) })
		for _, t := range topics {
			e.preferred(img, t)
		}
	}
	out := &adminpb.ElectLeadersResponse{Outcomes: e.outcomes, More: e.more}
	if req.GetDryRun() || len(e.changes) == 0 {
		return out, nil
	}
	result, err := b.cfg.Controller.Propose(ctx, &metadatapb.Command{Kind: &metadatapb.Command_ChangePartitions{
		ChangePartitions: &metadatapb.ChangePartitions{Changes: e.changes},
	}})
	if err != nil {
		return nil, mq.Wrapf(err, "elect leaders")
	}
	verdicts := result.GetChangePartitions().GetVerdicts()
	if len(verdicts) != len(e.at) {
		return nil, mq.Errorf(mq.Internal, "the controller answered for %d of %d partitions", len(verdicts), len(e.at))
	}
	for i, v := range verdicts {
		if err := metadata.VerdictError(v); err != nil {
			e.at[i].fail(err)
		}
	}
	return out, nil
}

// election gathers what is to be elected and answered.
type election struct {
	outcomes []*adminpb.ElectionOutcome
	changes  []*metadatapb.PartitionChange
	at       []outcome // of each change
	more     bool
}

type outcome struct{ *adminpb.ElectionOutcome }

func (o outcome) fail(err error) {
	o.Code, o.Message, o.After = int32(mq.CodeOf(err)), err.Error(), o.Before
	if e, ok := errors.AsType[*mq.Error](err); ok {
		o.Message = e.Msg // the code goes beside it
	}
}

// named is a partition that somebody asked for.
func (e *election) named(img *metadata.Image, t *metadata.Topic, i int32) {
	o := outcome{&adminpb.ElectionOutcome{Topic: t.Name, Partition: i, Before: int32(mq.NoNode), After: int32(mq.NoNode)}}
	e.outcomes = append(e.outcomes, o.ElectionOutcome)
	p := t.Partition(i)
	if p == nil {
		o.fail(mq.Errorf(mq.UnknownTopicOrPartition, "topic %s has %d partitions", t.Name, t.Partitions()))
		return
	}
	o.Before = int32(p.Leader)
	leader, err := img.Preferred(t, p)
	if err != nil {
		o.fail(err)
		return
	}
	if o.After = int32(leader); leader != p.Leader {
		e.changes = append(e.changes, &metadatapb.PartitionChange{
			Partition: metadata.PartitionRecord(mq.PartitionID{Topic: t.ID, Index: i}), PartitionEpoch: p.PartitionEpoch,
			LeaderEpoch: int32(mq.NoEpoch), Leader: new(int32(leader)),
		})
		e.at = append(e.at, o)
	}
}

// preferred takes those of a topic's partitions that another than the preferred leader leads, and that one could.
func (e *election) preferred(img *metadata.Image, t *metadata.Topic) {
	for i, p := range t.All() {
		leader, err := img.Preferred(t, p)
		switch {
		case err != nil || leader == p.Leader:
		case len(e.changes) == maxElections:
			e.more = true
			return
		default:
			e.named(img, t, i)
		}
	}
}

// electUnclean has one partition led by who may lack what was committed. The new leader says in its log what is lost.
func (b *Broker) electUnclean(ctx context.Context, t *metadata.Topic, req *adminpb.ElectLeadersRequest) (*adminpb.ElectLeadersResponse, error) {
	if t == nil || len(req.GetPartitions()) != 1 || req.GetDryRun() {
		return nil, mq.Errorf(mq.InvalidRequest, "an unclean election is of one partition, which is named, and cannot be tried")
	}
	i := req.GetPartitions()[0]
	p := t.Partition(i)
	if p == nil {
		return nil, mq.Errorf(mq.UnknownTopicOrPartition, "topic %s has %d partitions", t.Name, t.Partitions())
	}
	id := mq.PartitionID{Topic: t.ID, Index: i}
	_, err := b.cfg.Controller.Propose(ctx, &metadatapb.Command{Kind: &metadatapb.Command_ElectUnclean{ElectUnclean: &metadatapb.ElectUnclean{
		Partition: metadata.PartitionRecord(id), PartitionEpoch: p.PartitionEpoch, Leader: req.Leader,
	}}})
	if err != nil {
		return nil, mq.Wrapf(err, "elect a leader of %s %d uncleanly", t.Name, i)
	}
	b.cfg.Logger.Warn("an operator has had a leader elected uncleanly: what was acknowledged may be lost, and the new leader says what",
		"topic", t.Name, "partition", i, "were_in_sync", p.ISR, "were_eligible", p.Eligible)
	out := &adminpb.ElectionOutcome{Topic: t.Name, Partition: i, Before: int32(p.Leader), After: int32(mq.NoNode)}
	if now := b.cfg.Controller.Image().Partition(id); now != nil {
		out.After = int32(now.Leader)
	}
	return &adminpb.ElectLeadersResponse{Outcomes: []*adminpb.ElectionOutcome{out}}, nil
}
