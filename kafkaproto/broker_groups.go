package kafkaproto

import (
	"context"
	"time"

	"github.com/rustmq/rustmq/mq"
)

// Groups is what is asked of the coordinators of consumer groups. NotCoordinator, CoordinatorNotAvailable and CoordinatorLoadInProgress have clients look for the
// coordinator, or ask, again. What the Broker is given it may keep.
type Groups interface {
	// Coordinator is which node coordinates a consumer group.
	Coordinator(ctx context.Context, s *Session, group string) (mq.NodeID, error)

	// JoinGroup takes a member of a classic group into the next generation, and returns when that is formed. With MemberIDRequired Joined has the
	// id under which to join.
	JoinGroup(ctx context.Context, s *Session, j *JoinGroup) (Joined, error)
	// SyncGroup gives a member its assignment when the leader has brought all of them.
	SyncGroup(ctx context.Context, s *Session, y *SyncGroup) (Synced, error)
	// Heartbeat says that a member of a classic group lives. RebalanceInProgress has it join again.
	Heartbeat(ctx context.Context, s *Session, m Membership) error
	// LeaveGroup takes members out of a group, and says for each nil or why it could not leave.
	LeaveGroup(ctx context.Context, s *Session, group string, members []Membership) ([]error, error)
	// ConsumerHeartbeat is all that a member with the consumer protocol ever says (KIP-848).
	ConsumerHeartbeat(ctx context.Context, s *Session, h *ConsumerHeartbeat) (ConsumerAssigned, error)

	// CommitOffsets commits offsets for a member of a group, or, without one, of a group without members. It sets the Err of those that are not committed.
	CommitOffsets(ctx context.Context, s *Session, m Membership, topics []TopicOffsets) error
	// FetchOffsets gives what a group has committed: for the partitions that topics names, of which it fills in the rest, or for nil all there is. Nothing
	// committed is offset -1, as in a group that is not there.
	FetchOffsets(ctx context.Context, s *Session, m Membership, topics []TopicOffsets) ([]TopicOffsets, error)
	// DeleteOffsets forgets committed offsets of topics that no member subscribes to. It sets the Err of those that it keeps.
	DeleteOffsets(ctx context.Context, s *Session, group string, topics []TopicOffsets) error

	// ListGroups lists the groups that this node coordinates and s may know of, by name. loading says that there are more, which cannot be told yet.
	ListGroups(ctx context.Context, s *Session) (groups []Group, loading bool, err error)
	// DescribeGroup describes a group that this node coordinates: GroupIDNotFound if there is none.
	DescribeGroup(ctx context.Context, s *Session, group string) (*GroupDescription, error)
	// DeleteGroup forgets a group without members, and its offsets.
	DeleteGroup(ctx context.Context, s *Session, group string) error
}

// Membership is who speaks for which group.
type Membership struct {
	Group    string
	Member   string // empty: nobody
	Instance string // of a static member
	Epoch    int32  // or generation; -1 for nobody's
}

// GroupProtocol is a way to assign partitions that a member of a classic group knows, with what it brings for it.
type GroupProtocol struct {
	Name     string
	Metadata []byte
}

// JoinGroup is how a member takes part in a classic group.
type JoinGroup struct {
	Group, Member, Instance          string // Member is empty for one that has no id yet
	RequireMember                    bool   // a dynamic member without an id is to ask again with the one that it gets
	SkipAssignment                   bool   // the member understands Joined.SkipAssignment
	SessionTimeout, RebalanceTimeout time.Duration
	ProtocolType                     string
	Protocols                        []GroupProtocol // in order of preference
}

// Joined is a generation of a classic group, for one of its members.
type Joined struct {
	Generation                             int32
	ProtocolType, Protocol, Leader, Member string
	SkipAssignment                         bool          // the leader need not assign
	Members                                []GroupMember // for the leader only, with what they brought for the protocol
}

// SyncGroup asks for a member's assignment; the leader's has those of all.
type SyncGroup struct {
	Membership
	ProtocolType, Protocol string        // empty: not said
	Assignments            []GroupMember // Member and Assignment
}

// Synced is a member's assignment.
type Synced struct {
	ProtocolType, Protocol string
	Assignment             []byte
}

// ConsumerHeartbeat is what a member with the consumer protocol says. What is nil or zero has not changed.
type ConsumerHeartbeat struct {
	Membership              // without a member's id: it joins, and gets one. The epoch is 0 for one that joins, -1 and -2 for one that leaves
	Rack             string // only when it joins
	RebalanceTimeout time.Duration
	Topics           []string
	Pattern          *string
	Assignor         *string
	Owned            []OwnedTopic
}

// OwnedTopic are partitions of a topic.
type OwnedTopic struct {
	ID         mq.TopicID
	Name       string // empty where it does not matter, or the topic is gone
	Partitions []int32
}

// ConsumerAssigned answers a ConsumerHeartbeat.
type ConsumerAssigned struct {
	Member            string
	Epoch             int32
	HeartbeatInterval time.Duration
	Changed           bool // the member may consume what Assigned has, and nothing else; else nothing has changed
	Assigned          []OwnedTopic
}

// TopicOffsets are partitions of a topic and what is or becomes committed for them. The topic goes by its name, or by its id if it has no name.
type TopicOffsets struct {
	Name    string
	ID      mq.TopicID // zero if only the name matters
	Offsets []CommittedOffset
}

// CommittedOffset is one of them.
type CommittedOffset struct {
	Partition   int32
	Offset      mq.Offset
	LeaderEpoch mq.Epoch
	Metadata    string
	Err         error
}

// Group is a group in a list.
type Group struct {
	Name         string
	Consumer     bool   // it has the consumer protocol, and not the classic one
	ProtocolType string // of a classic group, "" when it only has offsets
	State        string // by Kafka's names
}

// GroupDescription is all about a group.
type GroupDescription struct {
	Group
	Protocol               string // of a classic group; the assignor of another
	Epoch, AssignmentEpoch int32
	Members                []GroupMember
}

// GroupMember is a member of a group.
type GroupMember struct {
	Member, Instance, Rack string
	ClientID, ClientHost   string
	Epoch                  int32
	// Classic protocol.
	Classic    bool
	Metadata   []byte
	Assignment []byte
	// Consumer protocol.
	Topics           []string
	Pattern          string
	Assigned, Target []OwnedTopic
}
