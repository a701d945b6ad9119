package kafkaproto

import (
	"cmp"
	"crypto/tls"
	"log/slog"
	"time"
)

// Anonymous is the principal of a client that showed no certificate.
const Anonymous = "anonymous"

// Config is what a Server needs.
type Config struct {
	// Broker answers.
	Broker Broker
	// Principal names the client of a finished handshake; an error refuses it.
	Principal func(tls.ConnectionState) (string, error)
	// Plaintext is where clients may be that do not use TLS.
	Plaintext Plaintext
	// MakeTopics says whether a topic that a client asks for by name is made when there is none.
	MakeTopics bool
	// Limits bounds everything. Zero fields take their value from DefaultLimits.
	Limits Limits
	// Logger takes one line for each connection that is closed for a fault. Nil discards.
	Logger *slog.Logger
}

// Plaintext is where clients may be that do not use TLS.
type Plaintext uint8

// The places.
const (
	PlaintextNever    Plaintext = iota // nowhere
	PlaintextLoopback                  // on this machine, by a loopback address
	PlaintextAnywhere                  // wherever they want
)

// Limits bounds what clients can make a Server hold or do. What happens at each is said beside it.
type Limits struct {
	Connections       int           // of all clients: one more is closed
	AddressesEach     int           // connections from one address: one more is closed
	ProduceBytes      int           // of one produce request: the connection is closed. Kafka's socket.request.max.bytes
	RequestBytes      int           // of one request of another kind, unless its API allows more: the connection is closed
	Pipeline          int           // requests of a connection that are not answered: no more are read
	ConnectionBytes   int           // what unanswered requests of a connection take in memory: no more are read. One alone may take more
	AddressBytes      int           // the same, of all connections from one address, which has half of SmallBytes, too
	TotalBytes        int           // the same, of all connections together: no more are read. One at a time may go beyond, so that those that have begun come to their end
	SmallBytes        int           // the same beyond TotalBytes, of requests that take less than 64 KiB: these are not behind large ones
	FetchBytes        int           // of one fetch response: it has no more. One batch may be larger
	ReadBytes         int           // what fetch responses of all connections take that were read from disks and the object store and are not written, a quarter of it at most of one connection: a fetch without anything waits for room as long as for records
	SessionPartitions int           // of one fetch session: the client gets none, and says all in each request
	CachedPartitions  int           // of all fetch sessions: likewise
	TopicsMade        int           // by one metadata request: the others are not there yet
	AdminBytes        int           // what the response to a request of administration takes in memory, about: what it has no room for is POLICY_VIOLATION
	AnswersBytes      int           // the same, of all connections together, until they are written: THROTTLING_QUOTA_EXCEEDED
	IdleTimeout       time.Duration // with no request, and none unanswered: the connection is closed
	FrameTimeout      time.Duration // for a request's head, and again for the rest from when there is room for it: the connection is closed
	WriteTimeout      time.Duration // from a response's first byte to its last: the connection is closed
	RequestTimeout    time.Duration // longest that a request may wait for something: it gets what there is, or REQUEST_TIMED_OUT
}

// DefaultLimits is what a node with a few GiB of memory uses.
func DefaultLimits() Limits {
	return Limits{
		Connections:       20_000,
		AddressesEach:     2_000,
		ProduceBytes:      100 << 20,
		RequestBytes:      1 << 20,
		Pipeline:          128,
		ConnectionBytes:   64 << 20,
		AddressBytes:      256 << 20,
		TotalBytes:        512 << 20,
		SmallBytes:        64 << 20,
		FetchBytes:        55 << 20, // as Kafka's fetch.max.bytes
		ReadBytes:         512 << 20,
		SessionPartitions: 10_000,
		CachedPartitions:  500_000,
		TopicsMade:        100,
		AdminBytes:        64 << 20,
		AnswersBytes:      512 << 20,
		IdleTimeout:       10 * time.Minute, // as Kafka's connections.max.idle.ms: clients go by it
		FrameTimeout:      2 * time.Minute,
		WriteTimeout:      2 * time.Minute,
		RequestTimeout:    5 * time.Minute,
	}
}

// withDefaults fills zero fields.
func (l Limits) withDefaults() Limits {
	d := DefaultLimits()
	l.IdleTimeout = cmp.Or(l.IdleTimeout, d.IdleTimeout)
	l.FrameTimeout = cmp.Or(l.FrameTimeout, d.FrameTimeout)
	l.WriteTimeout = cmp.Or(l.WriteTimeout, d.WriteTimeout)
	l.RequestTimeout = cmp.Or(l.RequestTimeout, d.RequestTimeout)
	l.Connections = cmp.Or(l.Connections, d.Connections)
	l.AddressesEach = cmp.Or(l.AddressesEach, d.AddressesEach)
	l.ProduceBytes = cmp.Or(l.ProduceBytes, d.ProduceBytes)
	l.RequestBytes = cmp.Or(l.RequestBytes, d.RequestBytes)
	l.Pipeline = cmp.Or(l.Pipeline, d.Pipeline)
	l.ConnectionBytes = cmp.Or(l.ConnectionBytes, d.ConnectionBytes)
	l.AddressBytes = cmp.Or(l.AddressBytes, d.AddressBytes)
	l.TotalBytes = cmp.Or(l.TotalBytes, d.TotalBytes)
	l.SmallBytes = cmp.Or(l.SmallBytes, d.SmallBytes)
	l.FetchBytes = cmp.Or(l.FetchBytes, d.FetchBytes)
	l.ReadBytes = cmp.Or(l.ReadBytes, d.ReadBytes)
	l.SessionPartitions = cmp.Or(l.SessionPartitions, d.SessionPartitions)
	l.CachedPartitions = cmp.Or(l.CachedPartitions, d.CachedPartitions)
	l.TopicsMade = cmp.Or(l.TopicsMade, d.TopicsMade)
	l.AdminBytes = cmp.Or(l.AdminBytes, d.AdminBytes)
	l.AnswersBytes = cmp.Or(l.AnswersBytes, d.AnswersBytes)
	return l
}
