package server

import (
	"context"
	"net"

	"github.com/rustmq/rustmq/mq"
	"github.com/rustmq/rustmq/quicproto"
)

// Session is who asks. It is immutable once it reaches the Broker, and the same pointer for all that one connection asks.
type Session struct {
	ID        uint64 // unique while the process lives
	Principal string // from the verified client certificate, else "anonymous"
	ClientID  string // what the client calls itself; for logs and quotas, proves nothing
	Software  string // likewise
	Remote    net.Addr
	Version   uint16
	Features  quicproto.Features
}

// Broker is what requests mean. All methods may be called from many goroutines. Every method authorises s for what it does.
// Errors are *mq.Error; their text reaches the client.
type Broker interface {
	// Identity is what Welcome tells of the cluster and node.
	Identity() (mq.ClusterID, mq.NodeID)

	// OpenProduce finds topic and authorises s to write to it.
	OpenProduce(ctx context.Context, s *Session, topic string) (Producer, error)

	// OpenFetch finds a partition and authorises s to read it. epoch is the leader epoch that the client knows, -1 for none:
	// a lower one than the partition's is FENCED_LEADER_EPOCH, a higher one UNKNOWN_LEADER_EPOCH.
	OpenFetch(ctx context.Context, s *Session, topic string, partition int32, epoch mq.Epoch, iso mq.Isolation) (Reader, error)

	// OpenTiered is OpenFetch for what the object store has of a partition, whoever leads it. Its reader says FromElsewhere of everything else, as far as this
	// node knows, and fails where it is in doubt: then the leader is to be asked. It has no named places, and nobody waits at it.
	OpenTiered(ctx context.Context, s *Session, topic string, partition int32, epoch mq.Epoch) (Reader, error)

	Metadata(ctx context.Context, s *Session, req *quicproto.MetadataRequest) (*quicproto.MetadataResponse, error)
	DescribeCluster(ctx context.Context, s *Session) (*quicproto.DescribeClusterResponse, error)
	// Operate does what operators ask: a rustmq.admin.v1.Request, answered by a Response. Neither is looked at on the way.
	Operate(ctx context.Context, s *Session, message []byte) ([]byte, error)
	CreateTopic(ctx context.Context, s *Session, req *quicproto.CreateTopicRequest) (*quicproto.CreateTopicResponse, error)
	DeleteTopic(ctx context.Context, s *Session, name string) error
	DescribeTopic(ctx context.Context, s *Session, name string) (*quicproto.DescribeTopicResponse, error)
	AlterTopic(ctx context.Context, s *Session, req *quicproto.AlterTopicRequest) error
	ListOffsets(ctx context.Context, s *Session, req *quicproto.ListOffsetsRequest) (*quicproto.ListOffsetsResponse, error)
	InitProducerID(ctx context.Context, s *Session, req *quicproto.InitProducerIDRequest) (*quicproto.InitProducerIDResponse, error)

	// OpenGroup has a member join a group that this node coordinates, or go on. It does not wait: w is told what comes of it, maybe before OpenGroup returns. An
	// error is one that is known at once, and then w is told nothing.
	OpenGroup(ctx context.Context, s *Session, open *quicproto.OpenGroup, w MemberWatcher) (Member, error)

	FindCoordinator(ctx context.Context, s *Session, group string) (*quicproto.FindCoordinatorResponse, error)
	CommitOffsets(ctx context.Context, s *Session, req *quicproto.CommitOffsetsRequest) (*quicproto.CommitOffsetsResponse, error)
	FetchOffsets(ctx context.Context, s *Session, req *quicproto.FetchOffsetsRequest) (*quicproto.FetchOffsetsResponse, error)
	ListGroups(ctx context.Context, s *Session) (*quicproto.ListGroupsResponse, error)
	DescribeGroup(ctx context.Context, s *Session, group string) (*quicproto.DescribeGroupResponse, error)
	DeleteGroup(ctx context.Context, s *Session, group string) error
	DeleteOffsets(ctx context.Context, s *Session, req *quicproto.DeleteOffsetsRequest) (*quicproto.DeleteOffsetsResponse, error)
	ResetOffsets(ctx context.Context, s *Session, req *quicproto.ResetOffsetsRequest) error
}

// Member is a member of a consumer group on its stream. Its methods are called from one goroutine at a time, and nothing after Leave or Detach.
type Member interface {
	// Heartbeat takes what the member says. It does not wait.
	Heartbeat(h *quicproto.Heartbeat)
	// Leave has the member leave: a static one for the time being, others for good. It waits until that is durable, or ctx ends. The watcher is told nothing any more.
	Leave(ctx context.Context) error
	// Detach ends the stream and not the member, which has its session timeout to come back. The watcher is told nothing any more.
	Detach()
}

// MemberWatcher is told what concerns a member. Its methods never block and are cheap.
type MemberWatcher interface {
	// Assigned tells a new epoch or assignment, which takes the place of one that the client has not been sent yet. It is not changed.
	Assigned(a *quicproto.Assignment)
	// Ended tells why the broker is done with the member's stream. Nothing comes after it.
	Ended(err error)
	// Heard counts what came from the client, so that it moves while the client lives.
	Heard() uint64
}

// Producer is a topic opened for writing by one stream. It holds the decision that the principal may, and re-checks it when
// the policy's epoch moved. Its methods are called from one goroutine at a time.
type Producer interface {
	// Topic tells the topic's id, its number of partitions and its largest batch in bytes, as of now.
	Topic() (id mq.TopicID, partitions int32, maxBatch int)

	// Append submits b, which CheckBatch has passed and which belongs to the broker from here on. It may wait for room in the
	// log (the server reads no further from the stream meanwhile: back-pressure), until ctx ends, but never for durability.
	// done is called exactly once, from any goroutine, maybe before Append returns. Batches of one partition are
	// appended, and completed unless they fail early, in the order of the calls.
	Append(ctx context.Context, partition int32, b mq.Batch, d mq.Durability, done Completion)
}

// Completion is told the outcome of one Append. Complete never blocks and is cheap: it may be called by the log's writer.
type Completion interface {
	Complete(Appended)
}

// Appended is the outcome of one Append.
type Appended struct {
	Base      mq.Offset // of the first record; with Err it says nothing
	Mark      mq.Mark   // reached
	LogStart  mq.Offset // -1 if not known
	Timestamp int64     // log append time in ms since 1970 if the topic stamps it, else -1
	Duplicate bool      // had been appended before, at Base
	Err       error
}

// Reader reads one partition for one stream, with the isolation that it was opened for. It holds the decision that the principal
// may, and re-checks it when the policy's epoch moved. Its methods are called from one goroutine at a time, except that Wake
// of a waiter may come from any.
type Reader interface {
	// Offsets tells the topic's id and the partition's offsets as of now. end is where the reader's isolation ends.
	Offsets() (topic mq.TopicID, logStart, highWatermark, end mq.Offset)

	// Source says what a Read from this offset would be answered from now. The server runs those that wait for a device or for the object
	// store beside its loop, so that they hold up no other partition and the next one is read while the last one is sent.
	Source(from mq.Offset) Source

	// Read reads whole batches from the one that holds from: about max bytes, at least one batch. Nothing to read
	// yet is an empty result and no error. Bytes that have to be read from somewhere may be put into dst up to its capacity, or into more memory
	// in its place; it is not used by anyone else until the result has been sent. The list of batches is the caller's for good: the next Read may be
	// under way while it is being sent.
	Read(ctx context.Context, from mq.Offset, max int, dst []byte) (Fetched, error)

	// Await has w woken once when something at or after from may be readable, or Read would fail. It returns false, and w will
	// not be woken, if that is so already. There is at most one waiter: a new one takes the place of the old.
	Await(from mq.Offset, w Waiter) bool

	// Close forgets the waiter and releases the reader. No Wake comes after it.
	Close()
}

// Source is what a Read is answered from.
type Source uint8

// The sources.
const (
	FromMemory    Source = iota // without waiting
	FromLog                     // this node's disk
	FromStore                   // the object store
	FromElsewhere               // another node: this one does not have it
)

// Waiter is woken by Await. Wake never blocks, is cheap, and calls nothing of the Reader.
type Waiter interface {
	Wake()
}

// Fetched is what Read found.
type Fetched struct {
	Batches       [][]byte  // whole batches, each slice one or more; immutable; those not in Buf stay valid for ever
	Buf           []byte    // dst as it is now, for the next Read
	Next          mq.Offset // offset after the last record, or from if there is none
	End           mq.Offset // where the isolation ends: Next == End means caught up
	HighWatermark mq.Offset
	LogStart      mq.Offset
	LogEnd        mq.Offset
}
