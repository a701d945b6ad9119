package broker

import (
	"context"
	"strconv"

	metadatapb "github.com/rustmq/rustmq/api/metadata/v1"
	"github.com/rustmq/rustmq/broker/coordinator"
	"github.com/rustmq/rustmq/group"
	"github.com/rustmq/rustmq/metadata"
	"github.com/rustmq/rustmq/mq"
	"github.com/rustmq/rustmq/quicproto"
	"github.com/rustmq/rustmq/quicproto/server"
)

// notInternal refuses to have clients change a topic of the cluster's own.
func notInternal(name string) error {
	if mq.InternalTopic(name) {
		return mq.Errorf(mq.InvalidTopic, "topic %s is the cluster's own: it can be read, and nothing else", name)
	}
	return nil
}

// groups is the coordinator of this node, if s may do op to the group.
func (b *Broker) groups(s *server.Session, op Operation, name string) (*coordinator.Coordinator, error) {
	if err := b.authorise(s, op, Resource{Group: name}); err != nil {
		return nil, err
	}
	if b.cfg.Groups == nil {
		if b.cfg.Mount != nil {
			return nil, b.cfg.Mount.Refusal()
		}
		return nil, mq.Errorf(mq.CoordinatorNotAvailable, "node %d coordinates no groups", b.cfg.Node)
	}
	return b.cfg.Groups, nil
}

// ask has the coordinator of a group, which is to be this node, handle a request, and waits for its answer. With some errors there is a response, too.
func ask[R group.Response](ctx context.Context, b *Broker, s *server.Session, op Operation, name string, request group.Request) (response R, err error) {
	c, err := b.groups(s, op, name)
	if err != nil {
		return response, err
	}
	got, err := c.Do(ctx, name, request)
	response, ok := got.(R)
	if err == nil && !ok {
		return response, mq.Errorf(mq.Internal, "the coordinator of group %q answered with a %T", name, got)
	}
	return response, err
}

// FindCoordinator implements server.Broker.
func (b *Broker) FindCoordinator(ctx context.Context, s *server.Session, name string) (*quicproto.FindCoordinatorResponse, error) {
	if _, err := b.groups(s, OpDescribe, name); err != nil {
		return nil, err
	}
	if name == "" {
		return nil, mq.Errorf(mq.InvalidGroupID, "the group has no name")
	}
	t, err := b.offsetsTopic(ctx)
	if err != nil {
		return nil, err
	}
	index := coordinator.PartitionOf(name, t.Partitions())
	p := t.Partition(index)
	if p.Leader == mq.NoNode {
		return nil, mq.Errorf(mq.CoordinatorNotAvailable, "nobody leads partition %d of %s", index, t.Name)
	}
	return &quicproto.FindCoordinatorResponse{Partition: index, Node: p.Leader, LeaderEpoch: p.LeaderEpoch}, nil
}

// offsetsTopic is the topic that the groups' state is in. The first who needs it makes it.
func (b *Broker) offsetsTopic(ctx context.Context) (*metadata.Topic, error) {
	if t := b.cfg.Controller.Image().TopicByName(mq.OffsetsTopic); t != nil {
		return t, nil
	}
	select {
	case b.making <- struct{}{}:
		defer func() { <-b.making }()
	case <-ctx.Done():
		return nil, mq.Errorf(mq.RequestTimedOut, "wait for topic %s to be made: %w", mq.OffsetsTopic, context.Cause(ctx))
	}
	if b.cfg.Controller.Image().TopicByName(mq.OffsetsTopic) == nil {
		if err := b.makeOffsetsTopic(ctx); err != nil && mq.CodeOf(err) != mq.TopicAlreadyExists { // that another broker made it this one knows by now
			return nil, mq.Errorf(mq.CoordinatorNotAvailable, "make topic %s: %w", mq.OffsetsTopic, err)
		}
	}
	if t := b.cfg.Controller.Image().TopicByName(mq.OffsetsTopic); t != nil {
		return t, nil
	}
	return nil, mq.Errorf(mq.CoordinatorNotAvailable, "topic %s is being made", mq.OffsetsTopic)
}

// makeOffsetsTopic makes it with as many replicas as new topics get by default: it is not made with fewer because some of the brokers are away, or were never there yet, for it would
// stay like that.
func (b *Broker) makeOffsetsTopic(ctx context.Context) error {
	img := b.cfg.Controller.Image()
	replicas := img.Defaults.Replicas(max(len(img.Brokers()), controllerNodes(img)))
	placed, err := metadata.PlaceTopic(img, b.cfg.OffsetsPartitions, replicas)
	if err != nil {
		return mq.Wrapf(err, "it is to have %d replicas (default.replication.factor)", replicas)
	}
	id, err := mq.NewTopicID(b.cfg.Random)
	if err != nil {
		return mq.Errorf(mq.Internal, "draw an id: %w", err)
	}
	_, err = b.cfg.Controller.Propose(ctx, &metadatapb.Command{Kind: &metadatapb.Command_CreateTopic{CreateTopic: &metadatapb.CreateTopic{
		Id: id[:], Name: mq.OffsetsTopic, Assignments: assignments(placed), Configs: offsetsConfigs(img),
	}}})
	return err
}

// controllerNodes is how many nodes are controllers. They are known from the beginning: a cluster that has several is not one of a single broker because the others have only just been started.
func controllerNodes(img *metadata.Image) int {
	nodes := make(map[mq.NodeID]bool)
	for _, c := range img.Controllers() {
		nodes[c.Node] = true
	}
	return len(nodes)
}

// offsetsConfigs are the settings of the topic of the groups' state, whatever the cluster's defaults are: its log is trimmed by the coordinators and by nothing else, and
// a commit does not wait for the object store.
func offsetsConfigs(img *metadata.Image) (configs []*metadatapb.ConfigEntry) {
	if img.FeatureLevel >= metadata.CompactionLevel { // below it this setting is refused, and cannot be anything else
		configs = append(configs, &metadatapb.ConfigEntry{Key: "durability", Value: "replicated"})
	}
	return append(configs, []*metadatapb.ConfigEntry{
		{Key: "cleanup.policy", Value: "delete"},
		{Key: "max.message.bytes", Value: strconv.Itoa(mq.MaxBatchBytes)},
		{Key: "message.timestamp.type", Value: "CreateTime"},
		{Key: "retention.bytes", Value: "-1"},
		{Key: "retention.ms", Value: "-1"},
		{Key: "unclean.leader.election.enable", Value: "false"},
	}...)
}
