package node

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/rustmq/rustmq/broker/coordinator"
	consumers "github.com/rustmq/rustmq/group"
	"github.com/rustmq/rustmq/mq"
	"github.com/rustmq/rustmq/partition"
)

// GroupsConfig is about consumer groups.
type GroupsConfig struct {
	OffsetsPartitions int           `koanf:"offsets_partitions" doc:"Partitions of __consumer_offsets, where coordinators keep what they know, when it is made: with the first group of the cluster. Each group belongs to one of them, whose leader coordinates it."`
	SessionTimeout    time.Duration `koanf:"session_timeout"    doc:"Time after which a member is put out of its group that has vanished."`
	HeartbeatInterval time.Duration `koanf:"heartbeat_interval" doc:"How often a member with Kafka's consumer protocol is told to heartbeat. One with the native protocol need not: its connection is heard."`
	Assignors         []string      `koanf:"assignors"          doc:"The ways to assign partitions that members of a group may name: uniform (as even as can be, moving as few as can be) and range (topic by topic). Others are refused with UNSUPPORTED_ASSIGNOR. The first is taken where no member names one."`
	MaxSize           int           `koanf:"max_size"           doc:"Members of one group."`
	MaxGroups         int           `koanf:"max_groups"         doc:"Groups in one partition of __consumer_offsets: others are refused with POLICY_VIOLATION. Those that are there stay."`
	MaxMemory         Size          `koanf:"max_memory"         doc:"Memory that all groups of this node take together, about: what their members bring and are assigned, and committed offsets. A group or a member that is new and would take more is refused with POLICY_VIOLATION; those that are there may take as much again, and what they have they keep."`
	OffsetsRetention  time.Duration `koanf:"offsets_retention"  doc:"How long committed offsets are kept when their group has no members any more, or none that wants the topic."`

	ConsumerMinSessionTimeout    time.Duration `koanf:"consumer_min_session_timeout"    doc:"Shortest consumer.session.timeout.ms that a group may be given for itself (rustmq group alter)."`
	ConsumerMaxSessionTimeout    time.Duration `koanf:"consumer_max_session_timeout"    doc:"Longest consumer.session.timeout.ms that a group may be given for itself."`
	ConsumerMinHeartbeatInterval time.Duration `koanf:"consumer_min_heartbeat_interval" doc:"Shortest consumer.heartbeat.interval.ms that a group may be given for itself."`
	ConsumerMaxHeartbeatInterval time.Duration `koanf:"consumer_max_heartbeat_interval" doc:"Longest consumer.heartbeat.interval.ms that a group may be given for itself."`

	MinSessionTimeout     time.Duration `koanf:"min_session_timeout"     doc:"Shortest session timeout that a member with Kafka's classic protocol may ask for."`
	MaxSessionTimeout     time.Duration `koanf:"max_session_timeout"     doc:"Longest session timeout that a member with Kafka's classic protocol may ask for."`
	InitialRebalanceDelay time.Duration `koanf:"initial_rebalance_delay" doc:"How long the first generation of a group with Kafka's classic protocol waits for more members."`
}

func defaultGroups() GroupsConfig {
	d := consumers.DefaultConfig()
	return GroupsConfig{
		OffsetsPartitions: 50, SessionTimeout: d.SessionTimeout, HeartbeatInterval: d.HeartbeatInterval, Assignors: d.Assignors, MaxSize: d.MaxSize, MaxGroups: d.MaxGroups, MaxMemory: 512 * MiB,
		OffsetsRetention: d.OffsetsRetention, MinSessionTimeout: d.MinSessionTimeout, MaxSessionTimeout: d.MaxSessionTimeout,
		InitialRebalanceDelay: d.InitialRebalanceDelay, ConsumerMinSessionTimeout: d.MinSessionTimeout, ConsumerMaxSessionTimeout: d.MaxSessionTimeout,
		ConsumerMinHeartbeatInterval: time.Second, ConsumerMaxHeartbeatInterval: time.Minute,
	}
}

// shards is the configuration as coordinators take it.
func (c *GroupsConfig) shards() consumers.Config {
	d := consumers.DefaultConfig()
	d.SessionTimeout, d.HeartbeatInterval, d.Assignors, d.MaxSize = c.SessionTimeout, c.HeartbeatInterval, c.Assignors, c.MaxSize
	d.OffsetsRetention, d.MinSessionTimeout, d.MaxSessionTimeout = c.OffsetsRetention, c.MinSessionTimeout, c.MaxSessionTimeout
	d.InitialRebalanceDelay, d.MaxGroups = c.InitialRebalanceDelay, c.MaxGroups
	return d
}

// bounds are what groups may set for themselves.
func (c *GroupsConfig) bounds() coordinator.Bounds {
	return coordinator.Bounds{
		MinSessionTimeout: c.ConsumerMinSessionTimeout, MaxSessionTimeout: c.ConsumerMaxSessionTimeout,
		MinHeartbeatInterval: c.ConsumerMinHeartbeatInterval, MaxHeartbeatInterval: c.ConsumerMaxHeartbeatInterval,
	}
}

func (c *GroupsConfig) validate() error {
	for _, check := range []error{
		countBetween("groups.offsets_partitions", c.OffsetsPartitions, 1, 1000),
		between("groups.session_timeout", c.SessionTimeout, time.Second, time.Hour),
		between("groups.heartbeat_interval", c.HeartbeatInterval, 100*time.Millisecond, c.SessionTimeout/2),
		assignors("groups.assignors", c.Assignors),
		countBetween("groups.max_size", c.MaxSize, 1, mq.MaxGroupSize),
		countBetween("groups.max_groups", c.MaxGroups, 1, mq.MaxGroupsPerPartition),
		sizeBetween("groups.max_memory", c.MaxMemory, MiB, TiB),
		between("groups.offsets_retention", c.OffsetsRetention, time.Minute, 10*365*24*time.Hour),
		between("groups.consumer_min_session_timeout", c.ConsumerMinSessionTimeout, time.Second, c.ConsumerMaxSessionTimeout),
		between("groups.consumer_max_session_timeout", c.ConsumerMaxSessionTimeout, time.Second, time.Hour),
		between("groups.consumer_min_heartbeat_interval", c.ConsumerMinHeartbeatInterval, 100*time.Millisecond, c.ConsumerMaxHeartbeatInterval),
		between("groups.consumer_max_heartbeat_interval", c.ConsumerMaxHeartbeatInterval, 100*time.Millisecond, 30*time.Minute),
		between("groups.min_session_timeout", c.MinSessionTimeout, 100*time.Millisecond, c.MaxSessionTimeout),
		between("groups.max_session_timeout", c.MaxSessionTimeout, time.Second, 24*time.Hour),
		between("groups.initial_rebalance_delay", c.InitialRebalanceDelay, 0, time.Hour),
	} {
		if check != nil {
			return check
		}
	}
	return nil
}

func assignors(key string, list []string) error {
	if len(list) == 0 {
		return fmt.Errorf("%s is empty: name at least one of %s, %s", key, consumers.AssignorUniform, consumers.AssignorRange)
	}
	for i, name := range list {
		if err := oneOf(key, name, consumers.AssignorUniform, consumers.AssignorRange); err != nil {
			return err
		}
		if slices.Contains(list[:i], name) {
			return fmt.Errorf("%s names %s twice", key, name)
		}
	}
	return nil
}

// openGroups hosts the coordinators of the groups whose partitions this node leads.
func (n *Node) openGroups() {
	n.groups = coordinator.Open(coordinator.Config{
		Node: n.id.Node, Image: n.cluster.Image,
		Partition: func(id mq.PartitionID) *partition.Partition { return n.partitions.Table().Get(id) },
		Reserve:   n.dataLog.Reserve, Propose: n.cluster.decide, Groups: n.cfg.Groups.shards(), MaxMemory: int64(n.cfg.Groups.MaxMemory), Bounds: n.cfg.Groups.bounds(), Logger: n.logger,
	})
	n.onClose(func(context.Context) error {
		n.groups.Close()
		return nil
	})
	n.partitions.reconciled = n.groups.Reconcile
}
