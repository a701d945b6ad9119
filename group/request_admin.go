package group

import (
	"time"
)

// Protocol is how the members of a group agree.
type Protocol uint8

// The protocols.
const (
	ProtocolClassic  Protocol = 1 // join, sync, heartbeat: a member assigns
	ProtocolConsumer Protocol = 2 // heartbeat: the coordinator assigns
)

// String is "classic" or "consumer".
func (p Protocol) String() string {
	if p == ProtocolConsumer {
		return "consumer"
	}
	return "classic"
}

// State is what a group is doing, by Kafka's names.
type State string

// The states. A group that has none is not there.
const (
	StateEmpty               State = "Empty"
	StatePreparingRebalance  State = "PreparingRebalance"  // classic: members join
	StateCompletingRebalance State = "CompletingRebalance" // classic: the leader assigns
	StateAssigning           State = "Assigning"           // consumer: the target is older than the group
	StateReconciling         State = "Reconciling"         // consumer: members are on their way to the target
	StateStable              State = "Stable"
	StateDead                State = "Dead" // of a group that is not there
)

// ListRequest asks which groups there are in the shard. The answer is a [ListResponse].
type ListRequest struct{}

func (*ListRequest) group() string { return "" }

// ListResponse has all groups, by name.
type ListResponse struct {
	Groups []Listed
}

func (*ListResponse) response() {}

// Listed is a group in a list.
type Listed struct {
	Group        string
	Protocol     Protocol
	ProtocolType string // of a classic group, "" when it only has offsets
	State        State
	Members      int
}

// DescribeRequest asks for all about a group. The answer is a [DescribeResponse]. Errors: GROUP_ID_NOT_FOUND.
type DescribeRequest struct {
	Group string
}

func (r *DescribeRequest) group() string { return r.Group }

// DescribeResponse describes a group.
type DescribeResponse struct {
	Listed
	Epoch       int32  // the group epoch, or the generation
	TargetEpoch int32  // of the target assignment; consumer protocol
	Assignor    string // or the classic group's protocol
	Leader      string // classic
	EmptySince  time.Time
	Members     []Described // by id
}

func (*DescribeResponse) response() {}

// Described is a member of a group.
type Described struct {
	Member, Instance, Rack string
	ClientID, ClientHost   string
	Classic                bool  // it speaks the classic protocol
	Epoch                  int32 // the member's, or the generation
	// Consumer protocol.
	Topics   []string
	Pattern  string
	Assigned Partitions // what it may consume
	Revoking Partitions // what it has not given up yet
	Target   Partitions // what it is to have
	// Classic protocol: opaque.
	Metadata   []byte
	Assignment []byte
}

// DeleteGroupRequest forgets a group without members and all its offsets. The answer is a [DoneResponse]. Errors: GROUP_ID_NOT_FOUND, NON_EMPTY_GROUP.
type DeleteGroupRequest struct {
	Group string
}

func (r *DeleteGroupRequest) group() string { return r.Group }

// Figures are what there is in a shard, for metrics.
type Figures struct {
	Groups, Members, Offsets int
	Bytes                    int64 // that they hold, about
	// Rebalances are the group epochs and generations that were begun since the shard was made.
	Rebalances uint64
	// SinceSnapshot is how many bytes of records there are since the last snapshot began, and Snapshot how many there were at its end: when
	// the former are many times the latter it is time for another.
	SinceSnapshot, Snapshot int64
}
