package group

import "github.com/rustmq/rustmq/mq"

// Offset is a committed offset.
type Offset struct {
	Partition   int32
	Offset      mq.Offset // the next to consume
	LeaderEpoch mq.Epoch  // of the last record that was consumed, or [mq.NoEpoch]
	Metadata    string    // the committer's
}

// TopicOffsets are offsets of partitions of a topic. ID is the topic's, or zero when unknown.
type TopicOffsets struct {
	Topic   string
	ID      mq.TopicID
	Offsets []Offset
}

// CommitRequest commits offsets, all or none but for those whose metadata is too long. They are what is committed, also where that is lower than what was.
// The host has looked whether the partitions exist and whether it may.
//
// A member of the group gives its id and its epoch or generation. Who is no member gives neither, and may commit when the group has no members.
// The answer is a [CommitResponse]. Errors: UNKNOWN_MEMBER_ID, STALE_MEMBER_EPOCH, ILLEGAL_GENERATION, REBALANCE_IN_PROGRESS, FENCED_INSTANCE_ID,
// INVALID_GROUP_ID.
type CommitRequest struct {
	Group      string
	Member     string // empty for nobody's
	Instance   string
	Generation int32 // or member epoch; [NoGeneration] for nobody's
	Topics     []TopicOffsets
}

func (r *CommitRequest) group() string { return r.Group }

// CommitResponse has, in the request's order, a code per partition: none, or OFFSET_METADATA_TOO_LARGE.
type CommitResponse struct {
	Topics [][]mq.Code
}

func (*CommitResponse) response() {}

// TopicIndexes name partitions of a topic. ID is the topic's now, or zero when unknown.
type TopicIndexes struct {
	Topic      string
	ID         mq.TopicID
	Partitions []int32
}

// FetchRequest asks what is committed. The answer is a [FetchResponse].
//
// A member may give its id and epoch, and is refused then with UNKNOWN_MEMBER_ID or STALE_MEMBER_EPOCH when they are not what they should be.
type FetchRequest struct {
	Group      string
	Member     string // empty: not said
	Generation int32
	// Topics to tell of; nil for all there is.
	Topics []TopicIndexes
}

func (r *FetchRequest) group() string { return r.Group }

// FetchResponse has the committed offsets, topics in the request's order, else by name. Nothing committed, for this incarnation of
// the topic, is offset -1 where the partition was asked for. A group that is not known has nothing committed.
type FetchResponse struct {
	Topics []TopicOffsets
}

func (*FetchResponse) response() {}

// DeleteOffsetsRequest forgets committed offsets of topics that no member subscribes to. The answer is a [DeleteOffsetsResponse].
// Errors: GROUP_ID_NOT_FOUND; NON_EMPTY_GROUP where it is not known what members subscribe to.
type DeleteOffsetsRequest struct {
	Group  string
	Topics []TopicIndexes
}

func (r *DeleteOffsetsRequest) group() string { return r.Group }

// DeleteOffsetsResponse has a code for each topic, in the request's order: none, or GROUP_SUBSCRIBED_TO_TOPIC.
type DeleteOffsetsResponse struct {
	Topics []mq.Code
}

func (*DeleteOffsetsResponse) response() {}

// ResetRequest sets committed offsets of topics that no member subscribes to, as an operator does. All or none are set. The answer is a [DoneResponse].
// Errors: GROUP_SUBSCRIBED_TO_TOPIC, NON_EMPTY_GROUP where it is not known what members subscribe to, OFFSET_METADATA_TOO_LARGE, INVALID_GROUP_ID.
// A group that is not known is made.
type ResetRequest struct {
	Group  string
	Topics []TopicOffsets
}

func (r *ResetRequest) group() string { return r.Group }
