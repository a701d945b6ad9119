package kafkaproto

import (
	"context"

	"github.com/rustmq/rustmq/mq"
)

// Admin is what administration asks of the broker. What it says of a Session, and of errors, holds as for Broker.
type Admin interface {
	// AuthoriseCluster says whether s may look at the cluster, and with alter whether he may change it.
	AuthoriseCluster(s *Session, alter bool) error

	// Knows says whether this node knows of a topic of this name or, where that is empty, of this id; also if s may not know whether there is one.
	Knows(s *Session, name string, id mq.TopicID) bool
	// CatchUp waits until this node knows all that the cluster had decided when it was called. Where that cannot be known within a moment it goes without.
	CatchUp(ctx context.Context)

	// CreateTopic makes a topic, which can be used when it returns. With dry it only says what would come of it; the id is zero then.
	CreateTopic(ctx context.Context, s *Session, t *NewTopic, dry bool) (MadeTopic, error)
	// DeleteTopic deletes the topic of this name, if it has this id; the zero id stands for any.
	DeleteTopic(ctx context.Context, s *Session, name string, id mq.TopicID) error
	// CreatePartitions has a topic grow to a total of partitions. The new ones have the replicas of assignments, in order, or where that is nil those that the cluster chooses.
	CreatePartitions(ctx context.Context, s *Session, topic string, total int32, assignments [][]mq.NodeID, dry bool) error
	// DeleteRecords moves the log starts of partitions of a topic that this node leads. There is one answer for each, in order.
	DeleteRecords(ctx context.Context, s *Session, topic string, trims []Trim) []Trimmed

	// TopicSettings lists the settings of a topic: those that the function of that name has.
	TopicSettings(s *Session, topic string) ([]Setting, error)
	// ClusterSettings lists those of the cluster: what topics have that set nothing else, and num.partitions and default.replication.factor. None has a value of a topic.
	ClusterSettings(s *Session) ([]Setting, error)
	// AlterTopic changes settings of a topic, all or none. With dry it only says whether it would. With all, what the changes do not name is removed.
	AlterTopic(ctx context.Context, s *Session, topic string, changes []Change, all, dry bool) error

	// TopicNames lists the topics that s may know of, in order.
	TopicNames(s *Session) []string
	// LogDir is where this node's log is.
	LogDir() LogDir
	// LogSizes lists the partitions that this node runs and s may know of, by topic and number. want says which; it is asked once for each.
	LogSizes(s *Session, want func(topic string, partition int32) bool) []LogSize
	// Producers are those that the leader of a partition remembers, which this node has to be.
	Producers(s *Session, topic string, partition int32) ([]ProducerState, error)

	// ElectLeaders has partitions of a topic led by their preferred leaders or, uncleanly, those that nobody can lead without loss by somebody who may lack what was
	// acknowledged. There is one answer for each, in order.
	ElectLeaders(ctx context.Context, s *Session, topic string, partitions []int32, unclean bool) []Elected
	// Unelected lists partitions that could have their preferred leader and have not or, for unclean elections, have no leader: by topic and number, maybe not all.
	Unelected(s *Session, unclean bool) ([]TopicPartition, error)
	// Reassign gives partitions of a topic other replicas. There is one answer for each, in order: nil says that it has begun.
	Reassign(ctx context.Context, s *Session, topic string, moves []Reassignment) []error
	// Reassignments lists what is under way, by topic and number.
	Reassignments(s *Session) ([]Reassigning, error)
	// Quorum is how the controllers stand.
	Quorum(ctx context.Context, s *Session) (Quorum, error)
}

// ErrNoReassignment is the answer for a partition whose reassignment is to be cancelled, and that has none.
var ErrNoReassignment = kafkaErrorf(noReassignmentInProgress, "the partition is not being reassigned")

// ErrReplicaCount is the answer for a partition that must not get another number of replicas, and would.
var ErrReplicaCount = kafkaErrorf(int16(mq.InvalidReplicationFactor), "the partition would have another number of replicas than it has")

// NewTopic is a topic that is to be made.
type NewTopic struct {
	Name        string
	Partitions  int32         // -1: the cluster's default
	Replicas    int16         // -1: likewise
	Assignments [][]mq.NodeID // replicas of each partition, preferred leader first; nil: the cluster chooses
	Settings    []Change      // none is removed
}

// MadeTopic is a topic that was made.
type MadeTopic struct {
	ID         mq.TopicID
	Partitions int32
	Replicas   int16
	Settings   []Setting // all that topics have
}

// Change is one setting that is given a value, or is removed, so that the default holds.
type Change struct {
	Name, Value string
	Remove      bool
}

// Setting is a setting with the value that holds: the first of the topic's, the cluster's and the default one that there is.
type Setting struct {
	Name    string
	Value   string
	Topic   *string // what the topic says; nil: nothing
	Cluster *string // what the cluster's settings say; nil: nothing
	Default string
	Doc     string
}

// Trim is a partition whose records below an offset are to be deleted; -1: all that are committed.
type Trim struct {
	Partition int32
	Before    mq.Offset
}

// Trimmed is what came of it.
type Trimmed struct {
	LogStart mq.Offset
	Err      error
}

// TopicPartition names a partition.
type TopicPartition struct {
	Topic     string
	Partition int32
}

// LogDir is where a node's log is. Sizes are in bytes, -1 where they are not known.
type LogDir struct {
	Path          string
	Total, Usable int64
}

// LogSize is what a node's log has of a partition.
type LogSize struct {
	TopicPartition
	Bytes int64
	Lag   mq.Offset // of a replica that follows: how far it is behind the high watermark that it knows of; else 0
}

// ProducerState is what is remembered of an idempotent producer.
type ProducerState struct {
	ID           mq.ProducerID
	Epoch        mq.ProducerEpoch
	LastSequence int32
	LastTime     int64 // when it last appended, ms since 1970
}

// Elected is what an election came to: who led before and who leads now, mq.NoNode for nobody.
type Elected struct {
	Before, After mq.NodeID
	Err           error // LeaderNotAvailable: who should lead cannot, or nobody can
}

// Reassignment is the replicas that a partition is to have, preferred leader first.
type Reassignment struct {
	Partition int32
	Replicas  []mq.NodeID // nil: what is under way is cancelled
	SameCount bool        // it must not be another number of replicas than before
}

// Reassigning is a partition whose replicas change.
type Reassigning struct {
	TopicPartition
	Replicas, Adding, Removing []mq.NodeID
}

// Quorum is how the controllers stand.
type Quorum struct {
	Leader    mq.NodeID // mq.NoNode: nobody
	Term      uint64
	Committed uint64
	Members   []QuorumMember // by node
}

// QuorumMember is one controller.
type QuorumMember struct {
	Node    mq.NodeID
	Address string // of its listener for nodes, host:port
	Voter   bool
	Dir     mq.DirID
	End     int64 // how far it has the log; -1: not known
}
