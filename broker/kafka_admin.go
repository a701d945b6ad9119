package broker

import (
	"context"
	"maps"
	"slices"
	"strconv"
	"time"

	metadatapb "github.com/rustmq/rustmq/api/metadata/v1"
	"github.com/rustmq/rustmq/kafkaproto"
	"github.com/rustmq/rustmq/metadata"
	"github.com/rustmq/rustmq/mq"
	"github.com/rustmq/rustmq/quicproto"
)

// AuthoriseCluster implements kafkaproto.Admin.
func (k *Kafka) AuthoriseCluster(s *kafkaproto.Session, alter bool) error {
	op := OpDescribe
	if alter {
		op = OpAlter
	}
	return k.b.authorise(as(s), op, Resource{})
}

// Knows implements kafkaproto.Admin.
func (k *Kafka) Knows(s *kafkaproto.Session, name string, id mq.TopicID) bool {
	if name == "" {
		_, ok := k.TopicName(id)
		return ok
	}
	return k.b.cfg.Controller.Image().TopicByName(name) != nil || k.b.authorise(as(s), OpDescribe, Resource{Topic: name}) != nil
}

// catchUpWithin is for how long an answer waits for the controllers: without them it is of what this node knows.
const catchUpWithin = 2 * time.Second

// CatchUp implements kafkaproto.Admin.
func (k *Kafka) CatchUp(ctx context.Context) {
	most := catchUpWithin
	if end, ok := ctx.Deadline(); ok {
		most = min(most, time.Until(end)/2) // what is known is answered in the rest
	}
	ctx, cancel := context.WithTimeout(ctx, most)
	defer cancel()
	_ = k.b.cfg.Controller.CatchUp(ctx)
}

// CreateTopic implements kafkaproto.Admin.
func (k *Kafka) CreateTopic(ctx context.Context, s *kafkaproto.Session, t *kafkaproto.NewTopic, dry bool) (kafkaproto.MadeTopic, error) {
	req := &quicproto.CreateTopicRequest{Name: t.Name, Partitions: t.Partitions, Replicas: t.Replicas, DryRun: dry}
	entries := make([]metadata.ConfigEntry, 0, len(t.Settings))
	for _, c := range t.Settings {
		req.Configs = append(req.Configs, quicproto.Config{Key: c.Name, Value: c.Value})
		entries = append(entries, metadata.ConfigEntry{Key: c.Name, Value: c.Value})
	}
	resp, err := k.b.createTopic(ctx, as(s), req, t.Assignments)
	if err != nil {
		return kafkaproto.MadeTopic{}, err
	}
	made := kafkaproto.MadeTopic{ID: resp.ID, Partitions: resp.Partitions, Replicas: resp.Replicas}
	defaults := k.b.cfg.Controller.Image().Defaults
	config, err := metadata.ParseTopicConfig(defaults, entries)
	made.Settings = topicSettings(config, entries, defaults, config.MinInSync(int(resp.Replicas)))
	return made, err
}

// DeleteTopic implements kafkaproto.Admin.
func (k *Kafka) DeleteTopic(ctx context.Context, s *kafkaproto.Session, name string, id mq.TopicID) error {
	return k.b.deleteTopic(ctx, as(s), name, id)
}

// CreatePartitions implements kafkaproto.Admin.
func (k *Kafka) CreatePartitions(ctx context.Context, s *kafkaproto.Session, topic string, total int32, chosen [][]mq.NodeID, dry bool) error {
	if err := k.b.authorise(as(s), OpAlter, Resource{Topic: topic}); err != nil {
		return err
	}
	t, err := k.b.topic(topic)
	switch {
	case err != nil:
		return err
	case total <= t.Partitions():
		return mq.Errorf(mq.InvalidPartitions, "topic %q has %d partitions: it can get more, not %d", topic, t.Partitions(), total)
	case chosen == nil:
		return k.b.AlterTopic(ctx, as(s), &quicproto.AlterTopicRequest{Name: topic, Partitions: total, DryRun: dry})
	case len(chosen) != int(total-t.Partitions()):
		return mq.Errorf(mq.InvalidReplicationFactor, "topic %q: replicas are given for %d partitions, %d are to be added", topic, len(chosen), total-t.Partitions())
	}
	if err := notInternal(topic); err != nil {
		return err
	}
	if err := metadata.CheckAssignments(k.b.cfg.Controller.Image(), topic, t.Partitions(), len(t.Partition(0).Targets()), chosen); err != nil || dry {
		return err
	}
	_, err = k.b.cfg.Controller.Propose(ctx, &metadatapb.Command{Kind: &metadatapb.Command_CreatePartitions{CreatePartitions: &metadatapb.CreatePartitions{
		Id: t.ID[:], Current: t.Partitions(), Assignments: assignments(chosen),
	}}})
	return mq.Wrapf(err, "add partitions to topic %q", topic)
}

// startsPerCommand is the most log starts of one command: some 50 KiB.
const startsPerCommand = 1000

// DeleteRecords implements kafkaproto.Admin. As by Kafka, a topic that only compaction takes records from keeps them.
func (k *Kafka) DeleteRecords(ctx context.Context, s *kafkaproto.Session, topic string, trims []kafkaproto.Trim) []kafkaproto.Trimmed {
	out := make([]kafkaproto.Trimmed, len(trims))
	err := k.b.mayTrim(as(s), topic)
	if t := k.b.cfg.Controller.Image().TopicByName(topic); err == nil && t != nil && !t.Config.Cleanup.Deletes() {
		err = mq.Errorf(mq.PolicyViolation, "the records of topic %q are not deleted: its cleanup.policy is compact", topic)
	}
	var starts []*metadatapb.LogStart
	var at []int // of each of them
	for i, trim := range trims {
		if out[i].Err = err; err != nil {
			continue
		}
		start, err := k.b.planTrim(topic, trim.Partition, trim.Before)
		if out[i].Err = err; err == nil {
			starts, at = append(starts, start), append(at, i)
		}
	}
	for from := 0; from < len(starts); from += startsPerCommand {
		chunk := starts[from:min(from+startsPerCommand, len(starts))]
		outcomes, err := k.b.trim(ctx, chunk)
		for j := range chunk {
			if err != nil {
				out[at[from+j]].Err = err
				continue
			}
			out[at[from+j]] = kafkaproto.Trimmed{LogStart: outcomes[j].start, Err: outcomes[j].err}
		}
	}
	return out
}

// TopicSettings implements kafkaproto.Admin.
func (k *Kafka) TopicSettings(s *kafkaproto.Session, topic string) ([]kafkaproto.Setting, error) {
	if err := k.b.authorise(as(s), OpDescribe, Resource{Topic: topic}); err != nil {
		return nil, err
	}
	t, err := k.b.topic(topic)
	if err != nil {
		return nil, err
	}
	return topicSettings(t.Config, t.Overrides, k.b.cfg.Controller.Image().Defaults, t.MostInSync()), nil
}

// The settings of which 0 stands for a number that follows from others.
const (
	minInSyncKey = "min.insync.replicas"
	replicasKey  = "default.replication.factor"
)

// topicSettings are the settings of a topic, and where each comes from. minInSync is the one of them that follows from the replicas where nobody sets it.
func topicSettings(config metadata.TopicConfig, overrides []metadata.ConfigEntry, cluster metadata.ClusterConfig, minInSync int) []kafkaproto.Setting {
	known := clusterSettings(cluster, map[string]int{minInSyncKey: minInSync})
	var list []kafkaproto.Setting
	for _, e := range config.Entries() {
		s := known[e.Key]
		if s.Topic = valueOf(overrides, e.Key); s.Topic != nil {
			s.Value = *s.Topic
		}
		list = append(list, s)
	}
	return list
}

// ClusterSettings implements kafkaproto.Admin.
func (k *Kafka) ClusterSettings(s *kafkaproto.Session) ([]kafkaproto.Setting, error) {
	if err := k.b.authorise(as(s), OpDescribe, Resource{}); err != nil {
		return nil, err
	}
	img := k.b.cfg.Controller.Image()
	alive := 0
	for _, b := range img.Brokers() {
		if !b.Fenced {
			alive++
		}
	}
	replicas := img.Defaults.Replicas(alive)
	known := clusterSettings(img.Defaults, map[string]int{replicasKey: replicas, minInSyncKey: img.Defaults.Topic.MinInSync(replicas)})
	list := make([]kafkaproto.Setting, 0, len(known))
	for _, name := range slices.Sorted(maps.Keys(known)) {
		list = append(list, known[name])
	}
	return list, nil
}

// clusterSettings are the settings of the cluster by name, and where each comes from. follows are those that nobody need set, as they are then.
func clusterSettings(cluster metadata.ClusterConfig, follows map[string]int) map[string]kafkaproto.Setting {
	list := make(map[string]kafkaproto.Setting)
	for _, key := range metadata.ClusterConfigKeys() {
		list[key.Name] = kafkaproto.Setting{Name: key.Name, Doc: key.Doc, Cluster: valueOf(cluster.Overrides, key.Name)}
	}
	for _, e := range metadata.DefaultClusterConfig().Entries() {
		s := list[e.Key]
		s.Default = e.Value
		if n, ok := follows[e.Key]; ok {
			s.Default = strconv.Itoa(n)
		}
		if s.Value = s.Default; s.Cluster != nil {
			s.Value = *s.Cluster
		}
		list[e.Key] = s
	}
	return list
}

// valueOf is what was set, nil for nothing.
func valueOf(overrides []metadata.ConfigEntry, key string) *string {
	at := slices.IndexFunc(overrides, func(e metadata.ConfigEntry) bool { return e.Key == key })
	if at < 0 {
		return nil
	}
	return &overrides[at].Value
}

// AlterTopic implements kafkaproto.Admin.
func (k *Kafka) AlterTopic(ctx context.Context, s *kafkaproto.Session, topic string, changes []kafkaproto.Change, all, dry bool) error {
	if err := k.b.authorise(as(s), OpAlter, Resource{Topic: topic}); err != nil {
		return err
	}
	t, err := k.b.topic(topic)
	if err != nil {
		return err
	}
	req := &quicproto.AlterTopicRequest{Name: topic, DryRun: dry}
	for _, c := range changes {
		if c.Remove {
			req.Unset = append(req.Unset, c.Name)
		} else {
			req.Set = append(req.Set, quicproto.Config{Key: c.Name, Value: c.Value})
		}
	}
	for _, o := range t.Overrides {
		if all && !slices.ContainsFunc(changes, func(c kafkaproto.Change) bool { return c.Name == o.Key }) {
			req.Unset = append(req.Unset, o.Key)
		}
	}
	return k.b.AlterTopic(ctx, as(s), req)
}
