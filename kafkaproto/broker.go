package kafkaproto

import (
	"context"
	"net"

	"github.com/rustmq/rustmq/mq"
)

// Session is who asks. It is immutable once it reaches the Broker; a connection gets another one when something of it changes.
type Session struct {
	ID        uint64 // of the connection, unique while the process lives
	Principal string // from the verified client certificate, else "anonymous"
	ClientID  string // what the client calls itself; for logs and quotas, proves nothing
	Software  string // name and version, likewise
	Remote    net.Addr
}

// Broker is what requests mean. All methods may be called from many goroutines. Those that take a Session authorise it for what they do.
// Errors are *mq.Error; their text reaches clients where Kafka has a place for it.
type Broker interface {
	Groups
	Admin
	Quotas

	// Identity is which cluster and node this is.
	Identity() (mq.ClusterID, mq.NodeID)
	// Nodes lists the brokers that Kafka clients can reach, by ascending id.
	Nodes() []Node
	// AllNodes lists those as well that are not in service, which have Fenced set.
	AllNodes() []Node

	// Topics lists the topics that s may know of, by name.
	Topics(s *Session) []Topic
	// Topic finds one by name.
	Topic(s *Session, name string) (*Topic, error)
	// TopicByID finds one by id: UnknownTopicID if there is none.
	TopicByID(s *Session, id mq.TopicID) (*Topic, error)
	// TopicName is the name of the topic with this id. It authorises nobody: what is done with the name does.
	TopicName(id mq.TopicID) (name string, ok bool)
	// MakeTopic makes a topic as the cluster's defaults have it, which can be used when it returns. TopicAlreadyExists if there is one.
	MakeTopic(ctx context.Context, s *Session, name string) error
	// Leader is who leads a partition as far as this node knows, mq.NoNode if nobody does or there is no such partition.
	Leader(topic string, partition int32) (mq.NodeID, mq.Epoch)

	// OpenProduce finds a topic and authorises s to write to it.
	OpenProduce(ctx context.Context, s *Session, topic string) (Producer, error)
	// OpenFetch finds a partition and authorises s to read it. epoch is the leader epoch that the client knows, -1 for none:
	// a lower one than the partition's is FencedLeaderEpoch, a higher one UnknownLeaderEpoch. rack is where the client stands, "" for unknown.
	OpenFetch(ctx context.Context, s *Session, topic string, partition int32, epoch mq.Epoch, rack string) (Reader, error)
	// Place finds a place in a partition: a time in ms since 1970, of which it is the first record that is not older, or one of the named Places. Without
	// such a record the offset is -1.
	Place(ctx context.Context, s *Session, topic string, partition int32, epoch mq.Epoch, at Place) (Found, error)
	// InitProducerID gives a new producer id, or for one that there is (not -1) the next epoch.
	InitProducerID(ctx context.Context, s *Session, id mq.ProducerID, epoch mq.ProducerEpoch) (mq.ProducerID, mq.ProducerEpoch, error)
}

// Node is a broker as its clients reach it.
type Node struct {
	ID     mq.NodeID
	Host   string
	Port   uint16
	Rack   string // may be empty
	Fenced bool
}

// Topic is a topic and who has its partitions.
type Topic struct {
	ID         mq.TopicID
	Name       string
	Internal   bool
	Partitions []Partition // from 0 on
}

// Partition is who leads and holds a partition.
type Partition struct {
	Leader      mq.NodeID // mq.NoNode: nobody at the moment
	LeaderEpoch mq.Epoch
	Replicas    []mq.NodeID
	InSync      []mq.NodeID
	Offline     []mq.NodeID // of the replicas, those whose node is not in service
	Eligible    []mq.NodeID // that are out of sync and can lead without loss while fewer than the minimum are in sync
}

// Place is where in a partition: a time in ms since 1970, or one of those with a name.
type Place int64

// The places that have a name. The numbers are Kafka's.
const (
	Latest        Place = -1 // the high watermark
	Earliest      Place = -2 // the log start
	MaxTimestamp  Place = -3 // the newest record by its timestamp
	EarliestLocal Place = -4 // where what this node's log has begins
	LatestTiered  Place = -5 // the last record in the object store
)

// Found is what Place found.
type Found struct {
	Offset    mq.Offset // -1: there is none
	Timestamp int64     // of the record, ms since 1970; -1 for places that are none
	Epoch     mq.Epoch  // the leader epoch of the answer
}

// Producer is a topic opened for writing. Its methods are called from one goroutine at a time.
type Producer interface {
	// MaxBatch is the topic's largest batch in bytes, as of now.
	MaxBatch() int
	// Append submits b, which CheckBatch has passed and which belongs to the broker from here on. It may wait for room in the
	// log (nothing more is read from the connection meanwhile: back-pressure), until ctx ends, but never for durability.
	// done is called exactly once, from any goroutine, maybe before Append returns, and neither blocks nor takes long. Batches of one partition are
	// appended in the order of the calls.
	Append(ctx context.Context, partition int32, b mq.Batch, d mq.Durability, done func(Appended))
}

// Appended is the outcome of one Append.
type Appended struct {
	Base      mq.Offset // of the first record; with Err it says nothing
	LogStart  mq.Offset // -1 if not known
	Timestamp int64     // log append time in ms since 1970 if the topic stamps it, else -1
	Err       error
}

// Reader reads one partition up to its high watermark. Its methods are called from one goroutine at a time, except that Wake
// of a waiter may come from any.
type Reader interface {
	// Offsets tells the log start and the high watermark as of now.
	Offsets() (logStart, highWatermark mq.Offset)
	// Elsewhere is the node that the client should read from in place of this one, from this offset on; mq.NoNode for this one. After a failed Read it may be another one than before.
	Elsewhere(from mq.Offset) mq.NodeID
	// InMemory says whether a Read from this offset would be answered without waiting for a disk or the object store.
	InMemory(from mq.Offset) bool
	// Read reads whole batches from the one that holds from: about max bytes, at least one batch. Nothing to read
	// yet is an empty result and no error.
	Read(ctx context.Context, from mq.Offset, max int) (Fetched, error)
	// EpochEnd tells the greatest epoch at or below this one that the log of this partition has, and the offset behind its last record; mq.NoEpoch and -1 if it
	// has none. NotLeaderOrFollower: only the leader can tell.
	EpochEnd(epoch mq.Epoch) (last mq.Epoch, end mq.Offset, err error)
	// Await has w woken once when something at or after from may be readable, or Read would fail. It returns false, and w will
	// not be woken, if that is so already. There is at most one waiter: a new one takes the place of the old.
	Await(from mq.Offset, w Waiter) bool
	// Close forgets the waiter. No Wake comes after it.
	Close()
}

// Waiter is woken by Await. Wake never blocks, is cheap, and calls nothing of the Reader.
type Waiter interface {
	Wake()
}

// Fetched is what Read found. The batches are immutable, and stay valid for ever.
type Fetched struct {
	Batches       [][]byte  // whole batches, each slice one or more
	Next          mq.Offset // after the last record, or from if there is none
	HighWatermark mq.Offset
	LogStart      mq.Offset
}
