package group

import (
	"time"

	"github.com/rustmq/rustmq/mq"
)

// Request is what a [Shard] handles: one of the types of this file and of request_classic.go, request_offsets.go and request_admin.go, by pointer. A shard keeps
// what it is given; it must not be changed any more.
type Request interface {
	group() string
}

// Response is the good answer to a [Request], by pointer; each type of request names its own.
type Response interface {
	response()
}

// The epochs of a [HeartbeatRequest] that are none.
const (
	EpochJoin        int32 = 0  // the member joins, or joins again, and owns nothing
	EpochLeave       int32 = -1 // the member leaves for good
	EpochLeaveStatic int32 = -2 // the static member leaves, and comes back within its session timeout
)

// HeartbeatRequest is all that a member with the consumer protocol (KIP-848) ever says. Fields that are nil or zero have not changed
// since the member's last heartbeat that was answered; in one with [EpochJoin], RebalanceTimeout and Topics or Pattern must be there.
// After an error, or without an answer, a member says everything again, what it owns included. It heeds only the
// answer to its latest heartbeat, and has at most one under way.
//
// The answer is a [HeartbeatResponse]. Errors: UNKNOWN_MEMBER_ID and FENCED_MEMBER_EPOCH (give up everything, join), UNRELEASED_INSTANCE_ID (try
// again later), FENCED_INSTANCE_ID, UNSUPPORTED_ASSIGNOR, INVALID_REGULAR_EXPRESSION, GROUP_MAX_SIZE_REACHED,
// INCONSISTENT_GROUP_PROTOCOL (a classic group that cannot be converted), INVALID_REQUEST.
type HeartbeatRequest struct {
	Group  string
	Member string // made by the member, one for each life of its process
	Epoch  int32  // of the last answer, or one of the constants
	// Instance makes a member static: another one of the same instance takes its place when it has left. Empty for dynamic members; the same
	// in all requests of a member.
	Instance string

	Rack             string        // with EpochJoin: where the member is, empty for unknown
	ClientID         string        // for people
	ClientHost       string        // for people
	RebalanceTimeout time.Duration // for how long it may take to give up partitions
	Topics           []string      // subscribed to by name
	Pattern          *string       // of names subscribed to, as RE2; matches whole names; "" for none
	Assignor         *string       // that it prefers; "" for none
	// Owned is what the member consumes; not nil, but empty, for nothing. It is said after each answer that was Changed, once the member has stopped to
	// consume what it may not any more, be it the same as before.
	Owned Partitions
}

func (r *HeartbeatRequest) group() string { return r.Group }

// HeartbeatResponse answers a [HeartbeatRequest].
type HeartbeatResponse struct {
	Member            string
	Epoch             int32 // for the next heartbeat and for commits; as it was sent when the member has left
	HeartbeatInterval time.Duration
	// Assigned says, when Changed, what the member may consume from now on. It stops consuming everything else, and says so in Owned. What
	// is not yet free is not in it.
	Changed  bool
	Assigned Partitions
}

func (*HeartbeatResponse) response() {}

// TopicsDeletedRequest tells that topics are gone for good; offsets that were committed under their ids are forgotten. It concerns all
// groups of the shard. The answer is a [DoneResponse].
type TopicsDeletedRequest struct {
	Topics []mq.TopicID
}

func (*TopicsDeletedRequest) group() string { return "" }

// DoneResponse says that what was asked for is done.
type DoneResponse struct{}

func (*DoneResponse) response() {}
