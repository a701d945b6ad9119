package replication

import (
	"time"

	"github.com/rustmq/rustmq/mq"
)

// protocolVersion is what this code speaks. In version 1 the batches lay in the message.
const protocolVersion = 2

const (
	// messageBytes is how many bytes of batches go into one message, give or take the last batch: large enough that a message's
	// own cost is nothing, small enough that no partition waits long for its turn.
	messageBytes = 1 << 20
	// partBytes is how many of them are of one partition, as long as others wait.
	partBytes = 256 << 10
	// maxMessageBytes is the largest message that is taken, with its batches: one batch more than was meant, and all that is said around it.
	maxMessageBytes = messageBytes + mq.MaxBatchBytes + 1<<20
	// maxParts bounds the partitions in one message.
	maxParts = 1024

	// maxChanges bounds the in-sync sets that are asked for in one command: some 80 KiB, of the 256 KiB that a controller with the smallest log takes.
	maxChanges = 1000
	// maxProposals bounds such commands that are under way: the answer to one may be lost, and is waited for as long as proposeTimeout.
	maxProposals = 4

	// DefaultWindow is how many bytes are under way to one follower and not acknowledged yet: what a disk takes in some 50 ms. Beyond
	// it the follower is slow, and reads on when it can.
	DefaultWindow = 16 << 20

	// DefaultMarksDelay is how long a watermark that moved waits for batches to travel with. A follower needs it only once it leads.
	DefaultMarksDelay = 50 * time.Millisecond

	// DefaultMaxLag is Kafka's replica.lag.time.max.ms, 10 s here: who has not reached for so long where the log ended then is not in sync.
	DefaultMaxLag = 10 * time.Second
	// DefaultMaxBroken is the same for a follower that there is no stream to: as long as a session with the controllers lasts.
	DefaultMaxBroken = 2 * time.Second
	// DefaultInterval is how often the in-sync sets are looked at.
	DefaultInterval = 250 * time.Millisecond

	// helloTimeout is how long a new stream's other end may take to answer.
	helloTimeout = 5 * time.Second
	// beatInterval is how often each end of a stream says that it lives, whatever else it says.
	beatInterval = 400 * time.Millisecond
	// silenceTimeout is how long nothing may be heard: several signs of life, of an end that is short of processors.
	silenceTimeout = 1500 * time.Millisecond
	// proposeTimeout is how long an answer of the controllers is waited for; after it the proposal's fate is unknown.
	proposeTimeout = 10 * time.Second

	// A stream that broke is made again, and a partition that could not be opened is tried again, after between firstRetry and lastRetry: the
	// first is about as long as a new image takes to come to everybody.
	firstRetry = 5 * time.Millisecond
	lastRetry  = time.Second
)

const _ uint = DefaultWindow - 4*messageBytes // several messages are under way
