package broker

import (
	"context"
	"io"
	"log/slog"
	"time"

	metadatapb "github.com/rustmq/rustmq/api/metadata/v1"
	"github.com/rustmq/rustmq/broker/coordinator"
	"github.com/rustmq/rustmq/metadata"
	"github.com/rustmq/rustmq/mq"
	"github.com/rustmq/rustmq/partition"
	"github.com/rustmq/rustmq/quicproto/server"
)

// Controller is the way to the replicated metadata.
type Controller interface {
	// Image is the present image of this node. One atomic load.
	Image() *metadata.Image
	// Propose has a command decided. It returns once the command was applied,
	// and this node runs what it decided or ctx ends. A refusal is an *mq.Error and comes with the result.
	Propose(ctx context.Context, command *metadatapb.Command) (*metadatapb.Result, error)
	// CatchUp waits until Image has all that was decided when it was called, or ctx ends.
	CatchUp(ctx context.Context) error
	// Leader is the controller that leads now, mq.NoNode while none does.
	Leader() mq.NodeID
	// Stale is for how long this node has heard of no controller that leads: the image may lack what happened since.
	Stale() time.Duration
}

// Partitions is what this node runs.
type Partitions interface {
	// Table is an immutable snapshot; another one comes in its place when a partition is opened or closed.
	Table() *Table
}

// Table is the partitions that a node runs, at one moment. Immutable.
type Table struct {
	m map[mq.PartitionID]*partition.Partition
}

// NewTable makes a table of partitions, which it takes over.
func NewTable(partitions map[mq.PartitionID]*partition.Partition) *Table {
	return &Table{m: partitions}
}

// Get is the partition with this id, nil if the node does not run it.
func (t *Table) Get(id mq.PartitionID) *partition.Partition { return t.m[id] }

// All lists the partitions. The caller must not change the map.
func (t *Table) All() map[mq.PartitionID]*partition.Partition { return t.m }

// Room is the log's bound: Reserve waits for bytes of it, or fails with
// StorageFull. Appending to a partition uses the reservation up or gives it back.
type Room interface {
	Reserve(ctx context.Context, bytes int64) error
}

// Config is what a Broker works with. All fields are required but Groups, Mount, Cold and Counters; of a mount Cold, too, and neither Partitions nor Room.
type Config struct {
	Cluster    mq.ClusterID
	Node       mq.NodeID
	Software   string // name and version, told to clients
	Controller Controller
	Partitions Partitions
	Room       Room
	Policy     Policy
	Groups     *coordinator.Coordinator // of the groups that this node coordinates; nil: none
	Operations Operations
	Mount      Mount               // the view that this broker is of; nil: it is of a cluster that writes
	Cold       partition.Cold      // reads tiered records of partitions that other nodes lead; nil: none are
	Counters   *partition.Counters // of the node; nil: nobody counts
	Random     io.Reader           // for topic ids
	// OffsetsPartitions is how many partitions the topic of the groups' state gets when it is made.
	OffsetsPartitions int
	Logger            *slog.Logger
}

// Broker answers requests. It is safe for concurrent use.
type Broker struct {
	cfg       Config
	producers *producerIDs
	making    chan struct{} // has who makes the topic of the groups' state
	views     views         // of a mount
}

// New makes a broker.
func New(cfg Config) *Broker {
	return &Broker{cfg: cfg, producers: newProducerIDs(cfg.Controller), making: make(chan struct{}, 1), views: views{waiting: make(map[*viewReader]server.Waiter)}}
}

var _ server.Broker = (*Broker)(nil)

// Identity implements server.Broker.
func (b *Broker) Identity() (mq.ClusterID, mq.NodeID) { return b.cfg.Cluster, b.cfg.Node }

// topic finds a topic by name.
func (b *Broker) topic(name string) (*metadata.Topic, error) {
	if t := b.cfg.Controller.Image().TopicByName(name); t != nil {
		return t, nil
	}
	if err := mq.ValidTopicName(name); err != nil {
		return nil, err
	}
	return nil, unknownTopic(name)
}

func unknownTopic(name string) *mq.Error {
	return mq.Errorf(mq.UnknownTopicOrPartition, "there is no topic %q", name)
}

func unknownPartition(topic string, index, count int32) *mq.Error {
	return mq.Errorf(mq.UnknownTopicOrPartition, "topic %q has no partition %d, but %d of them from 0 on", topic, index, count)
}

// recorded finds a partition in the image.
func (b *Broker) recorded(topic string, index int32) (mq.PartitionID, *metadata.Partition, error) {
	t, err := b.topic(topic)
	if err != nil {
		return mq.PartitionID{}, nil, err
	}
	p := t.Partition(index)
	if p == nil {
		return mq.PartitionID{}, nil, unknownPartition(topic, index, t.Partitions())
	}
	return mq.PartitionID{Topic: t.ID, Index: index}, p, nil
}

// running finds a partition that this node runs.
func (b *Broker) running(topic string, index int32) (mq.PartitionID, *partition.Partition, error) {
	id, _, err := b.recorded(topic, index)
	if err != nil {
		return id, nil, err
	}
	if b.cfg.Mount != nil {
		return id, nil, b.cfg.Mount.Refusal()
	}
	part := b.cfg.Partitions.Table().Get(id)
	if part == nil {
		return id, nil, b.notHere(topic, index)
	}
	return id, part, nil
}

// notHere is the answer for a partition that exists but does not run on this node (yet).
func (b *Broker) notHere(topic string, index int32) *mq.Error {
	return mq.Errorf(mq.NotLeaderOrFollower, "node %d does not run partition %d of topic %q", b.cfg.Node, index, topic)
}
