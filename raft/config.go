package raft

import (
	"crypto/rand"
	"io"
	"log/slog"
	"time"

	"github.com/rustmq/rustmq/mq"
	"github.com/rustmq/rustmq/wal"
)

// Bounds of one node. Each says what happens when it is reached.
const (
	// MaxProposalBytes is the most that Config.MaxProposal can be.
	MaxProposalBytes = 16 << 20

	// maxWaitingBytes bounds the proposals that were accepted and have no result yet, in bytes with proposalOverhead each. Propose waits for
	// room.
	maxWaitingBytes = 64 << 20

	// proposalOverhead is what a waiting proposal costs beside its data, in bytes.
	proposalOverhead = 512

	// combineBytes is the size up to which waiting proposals are combined into one entry. Large enough that the
	// cost of an entry does not matter, small enough that one message carries several.
	combineBytes = 256 << 10

	// maxAppendsInFlight bounds the leader's appends that are not durable yet. While there are so many, new proposals wait and
	// gather into larger entries.
	maxAppendsInFlight = 4

	// maxInboxMessages bounds messages of peers that were received and not looked at yet. More are dropped, which raft heals.
	maxInboxMessages = 4096

	// maxMessageBytes bounds the entries of one message to a peer, and of one step of applying.
	maxMessageBytes = 1 << 20

	// maxInflightMessages and maxInflightBytes bound what is sent to one peer and not acknowledged.
	maxInflightMessages = 256
	maxInflightBytes    = 32 << 20

	// maxUncommittedBytes is raft's own bound of entries that are not committed. Proposals are stopped earlier, by
	// maxWaitingBytes, so reaching it is a leader that was cut off from its peers.
	maxUncommittedBytes = 2 * maxWaitingBytes

	// cacheBytes bounds the entries that are kept in memory for peers that follow closely. Older ones are read from the log.
	cacheBytes = 8 << 20
)

const (
	_ uint = maxWaitingBytes - (MaxProposalBytes + proposalOverhead)                // every proposal can be accepted
	_ uint = maxUncommittedBytes - maxWaitingBytes - MaxProposalBytes               // raft does not drop what was accepted
	_ uint = maxInflightBytes - maxMessageBytes                                     // raft wants this
	_ uint = MaxProposalBytes - 12*mq.MaxPartitionsPerTopic*mq.MaxReplicationFactor // the largest topic can be created
)

// Config is what a Node is opened with.
type Config struct {
	// ID of this voter, not 0. An id is never used again for another disk.
	ID uint64
	// Peers are the voters of a new group, with ID among them, the same list at each. It matters at the very first start only. Empty: this
	// node joins a group that exists, as the group's leader adds it.
	Peers []uint64
	// Log holds entries and hard state, in the stream LogStream. The caller opened it and closes it after the node.
	Log *wal.Log
	// SM is the state machine. The caller opened it and closes it after the node.
	SM StateMachine
	// Transport may be nil for a single voter.
	Transport Transport

	// Tick is the unit of time. 0: 100 ms.
	Tick time.Duration
	// HeartbeatTicks between heartbeats of a leader. 0: 1.
	HeartbeatTicks int
	// ElectionTicks without a leader until an election, at least; at most twice that. 0: 8: heartbeats have a connection of their own, and a
	// machine that has no time for them for 800 ms leads nobody.
	ElectionTicks int

	// CompactEntries is the number of applied entries after which the log is cut. 0: 10,000.
	CompactEntries uint64
	// CompactBytes is the same in bytes of entries. 0: 32 MiB.
	CompactBytes int64
	// KeepEntries is how many applied entries are kept for peers that are behind. Further ones get a snapshot. A single voter keeps
	// none. 0: 5,000.
	KeepEntries uint64

	// MaxProposal is the largest proposal in bytes; a larger one is refused. The log must take it: its segments be more than twice as large. At most
	// MaxProposalBytes. 0: that.
	MaxProposal int

	// Logger may be nil.
	Logger *slog.Logger
	// Rand gives the mark by which a node knows its own proposals again. nil: crypto/rand.
	Rand io.Reader

	planted planted // by tests only
}

// planted are bugs that tests put in, to see that they would be found.
type planted struct {
	stateNotStored bool // term, vote and commit are not written
	voteForgotten  bool // the vote is not written with the term
	saidTooEarly   bool // what must follow a sync does not wait for it
	resetTooEarly  bool // the log is emptied before a received snapshot is durable
	contextAgain   bool // each attempt to read has the same context
	readNotAsked   bool // a leader reads without asking the others whether it still leads
	idAgain        bool // the id of a member that was removed is taken again
	blankGoesOn    bool // a member that lost its disk goes on under its id, as if it had never said anything
	appliedNotTold bool // members do not tell in an election what they have applied

	panicked func(any) // takes what raft panics over
}

// LogStream is the stream of the raft log.
func LogStream() wal.StreamID {
	return wal.StreamID{'r', 'u', 's', 't', 'm', 'q', '.', 'r', 'a', 'f', 't'}
}

func (c *Config) setDefaults() error {
	setDefault(&c.Tick, 100*time.Millisecond)
	setDefault(&c.HeartbeatTicks, 1)
	setDefault(&c.ElectionTicks, 8)
	setDefault(&c.CompactEntries, 10_000)
	setDefault(&c.CompactBytes, 32<<20)
	setDefault(&c.KeepEntries, 5_000)
	setDefault(&c.MaxProposal, MaxProposalBytes)
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	if c.Rand == nil {
		c.Rand = rand.Reader
	}
	switch {
	case c.ID == 0:
		return mq.Errorf(mq.InvalidRequest, "raft: the id must not be 0")
	case c.Log == nil || c.SM == nil:
		return mq.Errorf(mq.InvalidRequest, "raft: a log and a state machine are needed")
	case c.MaxProposal < 0 || c.MaxProposal > MaxProposalBytes:
		return mq.Errorf(mq.InvalidRequest, "raft: proposals of %d bytes: at most %d are possible", c.MaxProposal, MaxProposalBytes)
	case c.ElectionTicks <= c.HeartbeatTicks:
		return mq.Errorf(mq.InvalidRequest, "raft: %d ticks until an election are not more than %d between heartbeats", c.ElectionTicks,
			c.HeartbeatTicks)
	}
	if c.Transport == nil {
		c.Transport = noTransport{}
	}
	return nil
}

func setDefault[T comparable](field *T, value T) {
	var zero T
	if *field == zero {
		*field = value
	}
}
