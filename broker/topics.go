package broker

import (
	"context"
	"slices"
	"strings"

	metadatapb "github.com/rustmq/rustmq/api/metadata/v1"
	"github.com/rustmq/rustmq/metadata"
	"github.com/rustmq/rustmq/mq"
	"github.com/rustmq/rustmq/quicproto"
	"github.com/rustmq/rustmq/quicproto/server"
)

// CreateTopic implements server.Broker. The topic can be used when it returns.
func (b *Broker) CreateTopic(ctx context.Context, s *server.Session, req *quicproto.CreateTopicRequest) (*quicproto.CreateTopicResponse, error) {
	return b.createTopic(ctx, s, req, nil)
}

// createTopic makes a topic; its partitions get the replicas of the assignment, if there is one, whatever their numbers in the request are.
func (b *Broker) createTopic(ctx context.Context, s *server.Session, req *quicproto.CreateTopicRequest, assignment [][]mq.NodeID) (*quicproto.CreateTopicResponse, error) {
	if err := b.authorise(s, OpCreate, Resource{Topic: req.Name}); err != nil {
		return nil, err
	}
	if err := notInternal(req.Name); err != nil {
		return nil, err
	}
	img := b.cfg.Controller.Image()
	create, err := planTopic(img, req, assignment)
	if err != nil {
		return nil, err
	}
	resp := &quicproto.CreateTopicResponse{
		Partitions: int32(len(create.GetAssignments())),
		Replicas:   int16(len(create.GetAssignments()[0].GetReplicas())),
	}
	if req.DryRun {
		return resp, nil
	}
	if resp.ID, err = mq.NewTopicID(b.cfg.Random); err != nil {
		return nil, mq.Errorf(mq.Internal, "draw an id for topic %q: %w", req.Name, err)
	}
	create.Id = resp.ID[:]
	_, err = b.cfg.Controller.Propose(ctx, &metadatapb.Command{Kind: &metadatapb.Command_CreateTopic{CreateTopic: create}})
	if err != nil {
		return nil, mq.Wrapf(err, "create topic %q", req.Name)
	}
	return resp, nil
}

// planTopic checks all that can be checked before the command, so that a dry run means something.
func planTopic(img *metadata.Image, req *quicproto.CreateTopicRequest, assignment [][]mq.NodeID) (*metadatapb.CreateTopic, error) {
	if err := mq.ValidTopicName(req.Name); err != nil {
		return nil, err
	}
	if img.TopicByName(req.Name) != nil {
		return nil, mq.Errorf(mq.TopicAlreadyExists, "topic %q exists", req.Name)
	}
	if err := distinct(req.Configs, nil); err != nil {
		return nil, err
	}
	configs := make([]metadata.ConfigEntry, 0, len(req.Configs))
	create := &metadatapb.CreateTopic{Name: req.Name}
	for _, c := range req.Configs {
		configs = append(configs, metadata.ConfigEntry{Key: c.Key, Value: c.Value})
		create.Configs = append(create.Configs, &metadatapb.ConfigEntry{Key: c.Key, Value: c.Value})
	}
	slices.SortFunc(create.Configs, func(x, y *metadatapb.ConfigEntry) int { return strings.Compare(x.GetKey(), y.GetKey()) })
	if _, err := metadata.ParseTopicConfig(img.Defaults, configs); err != nil {
		return nil, err
	}
	if assignment != nil {
		create.Assignments = assignments(assignment)
		return create, metadata.CheckAssignments(img, req.Name, 0, 0, assignment)
	}
	partitions, replicas := int(req.Partitions), int(req.Replicas)
	switch {
	case partitions == 0:
		return nil, mq.Errorf(mq.InvalidPartitions, "topic %q: 0 partitions, want at least 1, or -1 for the cluster's default", req.Name)
	case replicas == 0:
		return nil, mq.Errorf(mq.InvalidReplicationFactor, "topic %q: 0 replicas, want at least 1, or -1 for the cluster's default", req.Name)
	}
	assignment, err := metadata.PlaceTopic(img, orDefault(partitions), orDefault(replicas))
	if err != nil {
		return nil, err
	}
	create.Assignments = assignments(assignment)
	return create, nil
}

// orDefault turns the wire's word for the cluster's default into that of metadata.
func orDefault(n int) int {
	if n == -1 {
		return 0
	}
	return n
}

// distinct refuses a setting that comes twice: which of the two was meant?
func distinct(set []quicproto.Config, unset []string) error {
	seen := make(map[string]bool, len(set)+len(unset))
	for i := range len(set) + len(unset) {
		var key string
		if i < len(set) {
			key = set[i].Key
		} else {
			key = unset[i-len(set)]
		}
		if seen[key] {
			return mq.Errorf(mq.InvalidConfig, "setting %.60q is given twice", key)
		}
		seen[key] = true
	}
	return nil
}

func assignments(replicas [][]mq.NodeID) []*metadatapb.ReplicaAssignment {
	out := make([]*metadatapb.ReplicaAssignment, len(replicas))
	for i, nodes := range replicas {
		a := &metadatapb.ReplicaAssignment{Replicas: make([]int32, len(nodes))}
		for j, n := range nodes {
			a.Replicas[j] = int32(n)
		}
		out[i] = a
	}
	return out
}

// DeleteTopic implements server.Broker.
func (b *Broker) DeleteTopic(ctx context.Context, s *server.Session, name string) error {
	return b.deleteTopic(ctx, s, name, mq.TopicID{})
}

// deleteTopic deletes the topic of this name if it has this id; zero stands for any.
func (b *Broker) deleteTopic(ctx context.Context, s *server.Session, name string, id mq.TopicID) error {
	if err := b.authorise(s, OpDelete, Resource{Topic: name}); err != nil {
		return err
	}
	if err := notInternal(name); err != nil {
		return err
	}
	t, err := b.topic(name)
	if err != nil {
		return err
	}
	if id != (mq.TopicID{}) && id != t.ID {
		return mq.Errorf(mq.UnknownTopicID, "topic %q has id %s, not %s", name, t.ID, id)
	}
	_, err = b.cfg.Controller.Propose(ctx, &metadatapb.Command{Kind: &metadatapb.Command_DeleteTopic{
		DeleteTopic: &metadatapb.DeleteTopic{Id: t.ID[:]},
	}})
	return mq.Wrapf(err, "delete topic %q", name)
}

// AlterTopic implements server.Broker: settings first, then partitions. Both
// are checked before either is done.
func (b *Broker) AlterTopic(ctx context.Context, s *server.Session, req *quicproto.AlterTopicRequest) error {
	if err := b.authorise(s, OpAlter, Resource{Topic: req.Name}); err != nil {
		return err
	}
	if err := notInternal(req.Name); err != nil {
		return err
	}
	t, err := b.topic(req.Name)
	if err != nil {
		return err
	}
	img := b.cfg.Controller.Image()
	changes, err := configChanges(img, t, req)
	if err != nil {
		return err
	}
	grow, err := growth(img, t, req.Partitions)
	if err != nil || req.DryRun {
		return err
	}
	if len(changes) > 0 {
		_, err := b.cfg.Controller.Propose(ctx, &metadatapb.Command{Kind: &metadatapb.Command_AlterTopicConfigs{
			AlterTopicConfigs: &metadatapb.AlterTopicConfigs{Id: t.ID[:], Changes: changes},
		}})
		if err != nil {
			return mq.Wrapf(err, "alter the settings of topic %q", req.Name)
		}
	}
	return mq.Wrapf(b.addPartitions(ctx, req, grow), "add partitions to topic %q", req.Name)
}

// growTries is how often it is planned anew which partitions to add: others add some at the same time, or had added some of which this node did not know.
const growTries = 3

// addPartitions has the topic of a request grow as planned; nil: it need not.
func (b *Broker) addPartitions(ctx context.Context, req *quicproto.AlterTopicRequest, grow *metadatapb.CreatePartitions) error {
	for try := 1; grow != nil; try++ {
		_, err := b.cfg.Controller.Propose(ctx, &metadatapb.Command{Kind: &metadatapb.Command_CreatePartitions{CreatePartitions: grow}})
		if mq.CodeOf(err) != mq.InvalidPartitions || try == growTries {
			return err
		}
		// The image has by now what the command was refused for.
		t, gone := b.topic(req.Name)
		if gone != nil {
			return gone
		}
		if mq.TopicID(grow.GetId()) != t.ID || grow.GetCurrent() == t.Partitions() {
			return err
		}
		if grow, err = growth(b.cfg.Controller.Image(), t, req.Partitions); err != nil {
			return err
		}
	}
	return nil
}

// configChanges checks that the topic's settings are valid with the request's changes made.
func configChanges(img *metadata.Image, t *metadata.Topic, req *quicproto.AlterTopicRequest) ([]*metadatapb.ConfigChange, error) {
	if err := distinct(req.Set, req.Unset); err != nil {
		return nil, err
	}
	var changes []*metadatapb.ConfigChange
	merged := slices.Clone(t.Overrides)
	drop := func(key string) {
		merged = slices.DeleteFunc(merged, func(e metadata.ConfigEntry) bool { return e.Key == key })
	}
	for _, key := range req.Unset {
		if _, err := metadata.FindTopicConfigKey(key); err != nil {
			return nil, err
		}
		drop(key)
		changes = append(changes, &metadatapb.ConfigChange{Key: key, Delete: true})
	}
	for _, c := range req.Set {
		drop(c.Key)
		merged = append(merged, metadata.ConfigEntry{Key: c.Key, Value: c.Value})
		changes = append(changes, &metadatapb.ConfigChange{Key: c.Key, Value: c.Value})
	}
	_, err := metadata.ParseTopicConfig(img.Defaults, merged)
	return changes, err
}

// growth plans the partitions to add, nil for none.
func growth(img *metadata.Image, t *metadata.Topic, total int32) (*metadatapb.CreatePartitions, error) {
	if total == 0 || total == t.Partitions() {
		return nil, nil
	}
	if total < t.Partitions() {
		return nil, mq.Errorf(mq.InvalidPartitions, "topic %q has %d partitions: it can have more, not %d", t.Name, t.Partitions(), total)
	}
	added, err := metadata.PlacePartitions(img, t, int(total-t.Partitions()))
	if err != nil {
		return nil, err
	}
	return &metadatapb.CreatePartitions{Id: t.ID[:], Current: t.Partitions(), Assignments: assignments(added)}, nil
}
