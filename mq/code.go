package mq

import "strconv"

// Code says what went wrong, in numbers that never change: Kafka's where Kafka
// has the error, from 1000 up where it has not. The set is closed: [Codes] lists
// it, and every edge (wire, HTTP, exit status) maps all of it.
type Code int16

// Kafka's errors.
const (
	Unknown                      Code = -1  // a bug or a failure that nobody foresaw
	None                         Code = 0   // no error
	OffsetOutOfRange             Code = 1   // below the log start, or beyond the log end
	CorruptMessage               Code = 2   // a batch's bytes are not what they were: length or CRC
	UnknownTopicOrPartition      Code = 3   // no such topic or partition here (yet)
	LeaderNotAvailable           Code = 5   // the partition has no leader at the moment
	NotLeaderOrFollower          Code = 6   // another node leads the partition
	RequestTimedOut              Code = 7   // the deadline passed; the outcome may be unknown
	MessageTooLarge              Code = 10  // a batch beyond max.message.bytes or the hard cap
	OffsetMetadataTooLarge       Code = 12  // what a member notes beside an offset is too long
	NetworkException             Code = 13  // the connection went away before the answer
	CoordinatorLoadInProgress    Code = 14  // the group's coordinator is reading its log
	CoordinatorNotAvailable      Code = 15  // the group has no coordinator at the moment
	NotCoordinator               Code = 16  // another node coordinates the group
	InvalidTopic                 Code = 17  // a name against the rules
	RecordListTooLarge           Code = 18  // too many records, or too many bytes once decompressed
	NotEnoughReplicas            Code = 19  // fewer in sync than min.insync.replicas: not appended
	NotEnoughReplicasAfterAppend Code = 20  // the same, noticed when it was appended already
	InvalidRequiredAcks          Code = 21  // a durability that does not exist
	IllegalGeneration            Code = 22  // a member of an earlier generation of a classic group
	InconsistentGroupProtocol    Code = 23  // the member has no protocol in common with the group
	InvalidGroupID               Code = 24  // a group name against the rules
	UnknownMemberID              Code = 25  // the group does not have this member (any more)
	InvalidSessionTimeout        Code = 26  // a session timeout out of bounds
	RebalanceInProgress          Code = 27  // a classic group is between two generations
	TopicAuthorizationFailed     Code = 29  // the principal may not do this to this topic
	GroupAuthorizationFailed     Code = 30  // the principal may not do this to this group
	ClusterAuthorizationFailed   Code = 31  // the principal may not do this to the cluster
	InvalidTimestamp             Code = 32  // a timestamp (type) that the topic does not take
	UnsupportedVersion           Code = 35  // a protocol version or feature that this side lacks
	TopicAlreadyExists           Code = 36  // create of a name that is taken
	InvalidPartitions            Code = 37  // a number of partitions that cannot be
	InvalidReplicationFactor     Code = 38  // more replicas than brokers, or fewer than one
	InvalidConfig                Code = 40  // a configuration key or value that does not exist
	NotController                Code = 41  // this node does not lead the controllers
	InvalidRequest               Code = 42  // understood, and makes no sense
	UnsupportedForMessageFormat  Code = 43  // a batch with another magic, or with reserved bits set
	PolicyViolation              Code = 44  // there are as many of the thing as there may be
	OutOfOrderSequence           Code = 45  // a gap or an overlap in a producer's sequence
	DuplicateSequence            Code = 46  // older than the window of sequences that is kept
	InvalidProducerEpoch         Code = 47  // a newer incarnation of this producer exists
	KafkaStorageError            Code = 56  // the log of this node failed
	UnknownProducerID            Code = 59  // nothing is known of this producer (any more)
	NonEmptyGroup                Code = 68  // the group has members
	GroupIDNotFound              Code = 69  // no group of this name
	FencedLeaderEpoch            Code = 74  // the request's leader epoch is older than ours
	UnknownLeaderEpoch           Code = 75  // the request's leader epoch is newer than ours
	UnsupportedCompression       Code = 76  // a codec number without a codec
	StaleBrokerEpoch             Code = 77  // an earlier incarnation of the broker speaks
	OffsetNotAvailable           Code = 78  // not known yet after an election; ask again
	MemberIDRequired             Code = 79  // join again with the member id that came with this
	GroupMaxSizeReached          Code = 81  // the group has as many members as it may
	FencedInstanceID             Code = 82  // another member has taken over this static instance
	GroupSubscribedToTopic       Code = 86  // members of the group consume the topic
	InvalidRecord                Code = 87  // a record or batch against the format's rules
	UnstableOffsetCommit         Code = 88  // an offset of a transaction that is still open
	ThrottlingQuotaExceeded      Code = 89  // beyond the quota
	UnknownTopicID               Code = 100 // no topic with this id here (yet)
	InconsistentClusterID        Code = 104 // the other side belongs to another cluster
	FencedMemberEpoch            Code = 110 // the member is fenced: it has to join anew
	UnreleasedInstanceID         Code = 111 // another member still has this static instance
	UnsupportedAssignor          Code = 112 // an assignor that does not exist
	StaleMemberEpoch             Code = 113 // the member is not at the epoch that it has been told of by now
	InvalidRegularExpression     Code = 128 // a pattern of topics that does not parse
)

// Our own errors.
const (
	StorageFull            Code = 1000 // the disk or the log's bound is full; heals when space is freed
	Corrupt                Code = 1001 // stored bytes are damaged; the message says where
	ObjectStoreUnavailable Code = 1002 // the bucket does not answer; says nothing about what is in it
	ShuttingDown           Code = 1003 // the node is closing; try another, or later
	ProtocolViolation      Code = 1004 // the other side broke the protocol
	PartitionQuarantined   Code = 1005 // damage was found in this partition; it is stopped
	Canceled               Code = 1006 // the caller gave up
	Internal               Code = 1007 // an invariant of ours does not hold
	TooManyRequests        Code = 1008 // a bound on what may be in flight was reached
	WrongDataDir           Code = 1009 // the data directory is foreign, newer or half-copied
	ReadOnly               Code = 1010 // this is a view of another cluster's object store: change it there
)

type codeInfo struct {
	code      Code
	name      string
	retriable bool
}

// codeTable is sorted by code.
var codeTable = [...]codeInfo{
	{Unknown, "UNKNOWN_SERVER_ERROR", false},
	{None, "NONE", false},
	{OffsetOutOfRange, "OFFSET_OUT_OF_RANGE", false},
	{CorruptMessage, "CORRUPT_MESSAGE", true},
	{UnknownTopicOrPartition, "UNKNOWN_TOPIC_OR_PARTITION", true},
	{LeaderNotAvailable, "LEADER_NOT_AVAILABLE", true},
	{NotLeaderOrFollower, "NOT_LEADER_OR_FOLLOWER", true},
	{RequestTimedOut, "REQUEST_TIMED_OUT", true},
	{MessageTooLarge, "MESSAGE_TOO_LARGE", false},
	{OffsetMetadataTooLarge, "OFFSET_METADATA_TOO_LARGE", false},
	{NetworkException, "NETWORK_EXCEPTION", true},
	{CoordinatorLoadInProgress, "COORDINATOR_LOAD_IN_PROGRESS", true},
	{CoordinatorNotAvailable, "COORDINATOR_NOT_AVAILABLE", true},
	{NotCoordinator, "NOT_COORDINATOR", true},
	{InvalidTopic, "INVALID_TOPIC_EXCEPTION", false},
	{RecordListTooLarge, "RECORD_LIST_TOO_LARGE", false},
	{NotEnoughReplicas, "NOT_ENOUGH_REPLICAS", true},
	{NotEnoughReplicasAfterAppend, "NOT_ENOUGH_REPLICAS_AFTER_APPEND", true},
	{InvalidRequiredAcks, "INVALID_REQUIRED_ACKS", false},
	{IllegalGeneration, "ILLEGAL_GENERATION", false},
	{InconsistentGroupProtocol, "INCONSISTENT_GROUP_PROTOCOL", false},
	{InvalidGroupID, "INVALID_GROUP_ID", false},
	{UnknownMemberID, "UNKNOWN_MEMBER_ID", false},
	{InvalidSessionTimeout, "INVALID_SESSION_TIMEOUT", false},
	{RebalanceInProgress, "REBALANCE_IN_PROGRESS", false},
	{TopicAuthorizationFailed, "TOPIC_AUTHORIZATION_FAILED", false},
	{GroupAuthorizationFailed, "GROUP_AUTHORIZATION_FAILED", false},
	{ClusterAuthorizationFailed, "CLUSTER_AUTHORIZATION_FAILED", false},
	{InvalidTimestamp, "INVALID_TIMESTAMP", false},
	{UnsupportedVersion, "UNSUPPORTED_VERSION", false},
	{TopicAlreadyExists, "TOPIC_ALREADY_EXISTS", false},
	{InvalidPartitions, "INVALID_PARTITIONS", false},
	{InvalidReplicationFactor, "INVALID_REPLICATION_FACTOR", false},
	{InvalidConfig, "INVALID_CONFIG", false},
	{NotController, "NOT_CONTROLLER", true},
	{InvalidRequest, "INVALID_REQUEST", false},
	{UnsupportedForMessageFormat, "UNSUPPORTED_FOR_MESSAGE_FORMAT", false},
	{PolicyViolation, "POLICY_VIOLATION", false},
	{OutOfOrderSequence, "OUT_OF_ORDER_SEQUENCE_NUMBER", false},
	{DuplicateSequence, "DUPLICATE_SEQUENCE_NUMBER", false},
	{InvalidProducerEpoch, "INVALID_PRODUCER_EPOCH", false},
	{KafkaStorageError, "KAFKA_STORAGE_ERROR", true},
	{UnknownProducerID, "UNKNOWN_PRODUCER_ID", false},
	{NonEmptyGroup, "NON_EMPTY_GROUP", false},
	{GroupIDNotFound, "GROUP_ID_NOT_FOUND", false},
	{FencedLeaderEpoch, "FENCED_LEADER_EPOCH", true},
	{UnknownLeaderEpoch, "UNKNOWN_LEADER_EPOCH", true},
	{UnsupportedCompression, "UNSUPPORTED_COMPRESSION_TYPE", false},
	{StaleBrokerEpoch, "STALE_BROKER_EPOCH", false},
	{OffsetNotAvailable, "OFFSET_NOT_AVAILABLE", true},
	{MemberIDRequired, "MEMBER_ID_REQUIRED", false},
	{GroupMaxSizeReached, "GROUP_MAX_SIZE_REACHED", false},
	{FencedInstanceID, "FENCED_INSTANCE_ID", false},
	{GroupSubscribedToTopic, "GROUP_SUBSCRIBED_TO_TOPIC", false},
	{InvalidRecord, "INVALID_RECORD", false},
	{UnstableOffsetCommit, "UNSTABLE_OFFSET_COMMIT", true},
	{ThrottlingQuotaExceeded, "THROTTLING_QUOTA_EXCEEDED", true},
	{UnknownTopicID, "UNKNOWN_TOPIC_ID", true},
	{InconsistentClusterID, "INCONSISTENT_CLUSTER_ID", false},
	{FencedMemberEpoch, "FENCED_MEMBER_EPOCH", false},
	{UnreleasedInstanceID, "UNRELEASED_INSTANCE_ID", false},
	{UnsupportedAssignor, "UNSUPPORTED_ASSIGNOR", false},
	{StaleMemberEpoch, "STALE_MEMBER_EPOCH", false},
	{InvalidRegularExpression, "INVALID_REGULAR_EXPRESSION", false},

	{StorageFull, "STORAGE_FULL", true},
	{Corrupt, "CORRUPT", false},
	{ObjectStoreUnavailable, "OBJECT_STORE_UNAVAILABLE", true},
	{ShuttingDown, "SHUTTING_DOWN", true},
	{ProtocolViolation, "PROTOCOL_VIOLATION", false},
	{PartitionQuarantined, "PARTITION_QUARANTINED", false},
	{Canceled, "CANCELED", false},
	{Internal, "INTERNAL", false},
	{TooManyRequests, "TOO_MANY_REQUESTS", true},
	{WrongDataDir, "WRONG_DATA_DIR", false},
	{ReadOnly, "READ_ONLY", false},
}

// Codes lists every code in ascending order, None included.
func Codes() []Code {
	codes := make([]Code, len(codeTable))
	for i, info := range codeTable {
		codes[i] = info.code
	}
	return codes
}

// String is the code's name in capitals, as in "NOT_LEADER_OR_FOLLOWER", or
// "CODE_4711" for a number outside the set (from a newer peer).
func (c Code) String() string {
	if info, ok := c.info(); ok {
		return info.name
	}
	return "CODE_" + strconv.Itoa(int(c))
}

// Valid says whether c is in the set.
func (c Code) Valid() bool {
	_, ok := c.info()
	return ok
}

// Retriable says whether the same request may succeed later without anybody
// having changed it. Kafka's answer where Kafka has the error; false for a
// number outside the set.
func (c Code) Retriable() bool {
	info, _ := c.info()
	return info.retriable
}

func (c Code) info() (codeInfo, bool) {
	low, high := 0, len(codeTable)
	for low < high {
		mid := (low + high) / 2
		if codeTable[mid].code < c {
			low = mid + 1
		} else {
			high = mid
		}
	}
	if low < len(codeTable) && codeTable[low].code == c {
		return codeTable[low], true
	}
	return codeInfo{}, false
}
