package group

import "time"

// NoGeneration is the generation of a request of nobody's membership.
const NoGeneration int32 = -1

// ClassicProtocol is a way to assign partitions that a member of a classic group has, and what it brings for it. The bytes are opaque, but for
// groups of the protocol type "consumer".
type ClassicProtocol struct {
	Name     string
	Metadata []byte
}

// JoinRequest is how a member takes part in the next generation of a classic group. It is answered when the generation is formed, with a [JoinResponse].
//
// Errors: MEMBER_ID_REQUIRED (with a JoinResponse that has the member's id), UNKNOWN_MEMBER_ID, FENCED_INSTANCE_ID, INCONSISTENT_GROUP_PROTOCOL,
// INVALID_SESSION_TIMEOUT, GROUP_MAX_SIZE_REACHED, INVALID_GROUP_ID.
type JoinRequest struct {
	Group  string
	Member string // empty for one that has no id yet
	// NewMember is the id that a member without one gets: drawn by the host, used once.
	NewMember string
	// RequireMember says that a dynamic member without an id has to ask again with the one it gets (JoinGroup from version 4).
	RequireMember bool
	// SkipAssignment says that the member understands [JoinResponse.SkipAssignment] (JoinGroup from version 9).
	SkipAssignment bool
	Instance       string // of a static member
	ClientID       string // for people
	ClientHost     string // for people

	SessionTimeout   time.Duration
	RebalanceTimeout time.Duration
	ProtocolType     string
	Protocols        []ClassicProtocol // in order of preference
}

func (r *JoinRequest) group() string { return r.Group }

// JoinResponse answers a [JoinRequest].
type JoinResponse struct {
	Generation   int32
	ProtocolType string
	Protocol     string
	Leader       string
	Member       string
	// Members of the generation with what they brought for its protocol, for the leader only: it assigns.
	Members []JoinedMember
	// SkipAssignment tells a static leader that came back that the assignment stays as it is.
	SkipAssignment bool
}

func (*JoinResponse) response() {}

// JoinedMember is a member, as its leader learns of it.
type JoinedMember struct {
	Member, Instance string
	Metadata         []byte
}

// SyncRequest asks for a member's assignment in a generation; the leader brings all of them. It is answered, with a [SyncResponse], when these are there.
//
// Errors: UNKNOWN_MEMBER_ID, ILLEGAL_GENERATION, REBALANCE_IN_PROGRESS, FENCED_INSTANCE_ID, INCONSISTENT_GROUP_PROTOCOL.
type SyncRequest struct {
	Group        string
	Generation   int32
	Member       string
	Instance     string
	ProtocolType string // empty: not said
	Protocol     string // empty: not said
	Assignments  []ClassicAssignment
}

func (r *SyncRequest) group() string { return r.Group }

// ClassicAssignment is what a leader assigns to a member.
type ClassicAssignment struct {
	Member     string
	Assignment []byte
}

// SyncResponse answers a [SyncRequest].
type SyncResponse struct {
	ProtocolType string
	Protocol     string
	Assignment   []byte
}

func (*SyncResponse) response() {}

// ClassicHeartbeatRequest says that a member of a classic group lives. The answer is a [DoneResponse]. Errors: UNKNOWN_MEMBER_ID, ILLEGAL_GENERATION,
// FENCED_INSTANCE_ID, and REBALANCE_IN_PROGRESS when the member should join again.
type ClassicHeartbeatRequest struct {
	Group      string
	Generation int32
	Member     string
	Instance   string
}

func (r *ClassicHeartbeatRequest) group() string { return r.Group }

// LeaveRequest takes members out of a group, of any protocol. The answer is a [LeaveResponse].
type LeaveRequest struct {
	Group   string
	Members []LeavingMember
}

func (r *LeaveRequest) group() string { return r.Group }

// LeavingMember is named by its id, its instance, or both; both must fit then.
type LeavingMember struct {
	Member, Instance string
}

// LeaveResponse says for each member, in the request's order, nil or why it could not leave: UNKNOWN_MEMBER_ID or FENCED_INSTANCE_ID.
type LeaveResponse struct {
	Errors []error
}

func (*LeaveResponse) response() {}
