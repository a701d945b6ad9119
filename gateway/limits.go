package gateway

import (
	"cmp"
	"time"
)

// What one request may ask for, as the comments in the .proto files have it.
const (
	maxRequestBytes       = 8 << 20 // of Produce, as it is sent
	maxStreamRequestBytes = 4 << 20 // of one message of ProduceStream
	maxSmallRequestBytes  = 1 << 20 // of everything else
	maxRecords            = 10_000  // of one request to produce, and of one answer of Fetch
	maxTopics             = 100     // that one request produces to
	maxPartitions         = 1000    // of one Consume, Ack or CommitOffsets

	streamWindow      = 64      // requests of a ProduceStream without an answer
	streamWindowBytes = 4 << 20 // likewise, in bytes

	defaultFetchRecords = 1000
	defaultFetchBytes   = 1 << 20
	maxFetchBytes       = 8 << 20
	defaultFetchWait    = 500 * time.Millisecond
	maxFetchWait        = time.Minute

	eventRecords = 1000    // of one event of Consume
	eventBytes   = 1 << 20 // likewise; a record that is larger goes alone

	minAutoCommit           = 100 * time.Millisecond
	defaultRebalanceTimeout = time.Minute
	defaultRevokeWait       = 3 * time.Second
	maxRevokeWait           = 30 * time.Second
)

const (
	// heartbeatEvery is after how long without an event a Consume stream gets one: what lies between may take a silent connection for a dead one, and a dead one
	// is noticed when it is written to.
	heartbeatEvery = 10 * time.Second
	// deliveryTimeout bounds what a record waits for its acknowledgement: who asks over HTTP waits for the answer.
	deliveryTimeout = 30 * time.Second
	// answerTime is what there is beyond that to send the answer.
	answerTime = 30 * time.Second
	// partingTime is what a stream has to take its end when the node is being stopped.
	partingTime = time.Second
	// readTime bounds what a Fetch waits for records that are there: they may lie in the object store.
	readTime = 30 * time.Second
	// recordOverhead is about what a record that is being produced takes beside what is in it, in bytes.
	recordOverhead = 64
	// leadersTime is what leaders have to tell what a description lacks.
	leadersTime = 2 * time.Second
)

// Limits bounds what callers together can make a node hold. Zero fields take their value from [DefaultLimits].
type Limits struct {
	// Calls are those under way, streams included; one more gets TOO_MANY_REQUESTS. Over HTTP/2 each may have sent as much as the listener takes without its being read, which is counted nowhere else: 256 KiB.
	Calls int
	// Consumers are Fetch and Consume calls under way, each of which has connections of its own; one more gets TOO_MANY_REQUESTS.
	Consumers int
	// CallTime bounds how long a request, or a message of a stream, may take to come from its first byte on; and then again how long a call that is no stream may take to be carried out.
	CallTime time.Duration
	// RequestBytes are of requests that are being read or decoded, and of the answers of Fetch. A request for which they do not suffice gets TOO_MANY_REQUESTS, an answer is cut short, but for its first record. Decoded
	// or encoded it may take some four times as much.
	RequestBytes int64
	// BufferedBytes are of records that are being produced: Produce waits, and a ProduceStream is read no further.
	BufferedBytes int64
	// CallerBytes are those of RequestBytes, and as many of BufferedBytes, that one caller may have: an IPv4 address, or a network of 64 bits. So nobody takes all that there is by sending slowly, or
	// by producing to a partition that nobody leads. Default: a quarter of the smaller one.
	CallerBytes int64
	// PrefetchBytes are read ahead for each Consume stream, from each broker. About twice that is held.
	PrefetchBytes int
}

// DefaultLimits is what a node with a few GiB of memory uses. The longest Fetch, and a record that waits for room and then for its acknowledgement, have the time that they need.
func DefaultLimits() Limits {
	return Limits{Calls: 2048, Consumers: 256, CallTime: 90 * time.Second, RequestBytes: 64 << 20, BufferedBytes: 64 << 20, PrefetchBytes: 1 << 20}
}

func (l Limits) withDefaults() Limits {
	d := DefaultLimits()
	l.Calls = cmp.Or(l.Calls, d.Calls)
	l.Consumers = cmp.Or(l.Consumers, d.Consumers)
	l.CallTime = cmp.Or(l.CallTime, d.CallTime)
	l.RequestBytes = cmp.Or(l.RequestBytes, d.RequestBytes)
	l.BufferedBytes = cmp.Or(l.BufferedBytes, d.BufferedBytes)
	l.CallerBytes = cmp.Or(l.CallerBytes, min(l.RequestBytes, l.BufferedBytes)/4)
	l.PrefetchBytes = cmp.Or(l.PrefetchBytes, d.PrefetchBytes)
	return l
}
