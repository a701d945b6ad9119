package group

import "github.com/rustmq/rustmq/mq"

// Token is how the host names a request that it handed in, and finds who waits for its answer.
type Token uint64

// Effects are what a call of a [Shard] has decided. The host does it all, in order of the calls.
type Effects struct {
	// Records are appended to the partition's log as one batch, with durability all. Everything that the shard says from now on,
	// Replies of the same call included, must not be heard before they are replicated. Together they are at most as long as a batch may be.
	Records []Record
	// Replies may answer requests of earlier calls. Every request has exactly one, at once or later, unless its shard is thrown away.
	Replies []Reply
	// Wakes are members that should heartbeat at once, for it would change something for them, or they are members no more. Losing one costs
	// time until the next heartbeat, and nothing else.
	Wakes []Wake
}

// Record is a record of a partition of __consumer_offsets. Key is the group's name, nil for marks of snapshots.
type Record struct {
	Key, Value []byte
}

// Reply answers a request: with Err when it is refused as a whole, else with the response that belongs to the request's type.
type Reply struct {
	Token    Token
	Response Response
	Err      *mq.Error
}

// Wake names a member of a group with the consumer protocol.
type Wake struct {
	Group, Member string
}
