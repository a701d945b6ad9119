package server

import (
	"cmp"
	"crypto/tls"
	"log/slog"
	"net"
	"time"

	"github.com/rustmq/rustmq/mq"
	"github.com/rustmq/rustmq/quicproto"
)

// Anonymous is the principal of a client that showed no certificate.
const Anonymous = "anonymous"

// Config is what a Server needs.
type Config struct {
	// TLS has the certificates, and ClientCAs and ClientAuth if clients are to show theirs. The server sets the rest: TLS 1.3 only, the
	// protocol's ALPN. It is not changed.
	TLS *tls.Config
	// Broker answers.
	Broker Broker
	// Principal names the client of a finished handshake; an error refuses it. Nil stands for CertificatePrincipal.
	Principal func(tls.ConnectionState) (string, error)
	// ResetKey lets clients find out at once, and not by a timeout, that the process they were connected to is gone. It is a
	// secret, and only of use if it stays the same from one process to the next. Nil does without.
	ResetKey *[32]byte
	// Listener accepts TCP connections for the same protocol, which Serve closes in the end. Nil does without.
	Listener net.Listener
	// Others takes over the TCP connections that do not speak this protocol, and returns at once: read is what was read of them already, state what their TLS handshake came to,
	// nil for those that began without one. They count as half open until then. Nil closes them.
	Others func(conn net.Conn, read []byte, state *tls.ConnectionState)
	// Limits bounds everything. Zero fields take their value from DefaultLimits.
	Limits Limits
	// Logger takes one line per trouble of a session; none per frame. Nil discards.
	Logger *slog.Logger
}

// Limits bounds what clients can make a Server hold or do. What happens at each is said beside it.
type Limits struct {
	HandshakeTimeout time.Duration // without a packet before the handshake is done (twice that in all): forgotten. Over TCP that in all: closed
	HelloTimeout     time.Duration // from the handshake to a whole Hello: the session is closed. Over TCP from the handshake to a connection's first record, too
	FirstFrame       time.Duration // from a stream's opening to its first whole frame: the session is closed
	FrameTimeout     time.Duration // from the header of a frame that takes memory (over 4 KiB) to its last byte: the session is closed
	IdleTimeout      time.Duration // without a packet from the client: the session is forgotten
	RequestTimeout   time.Duration // longest that a Request may ask for, and what it gets if it does not: the broker's context ends
	TroubleTime      time.Duration // for how long a partition may be in trouble that passes by itself, as when the object store is away, before the client is told
	DrainGrace       time.Duration // quiet time after GoAway after which Shutdown closes a session that the client did not

	HalfOpen int // handshakes at a time: refused; above half of it addresses have to prove themselves (Retry)
	Sessions int // refused with TOO_MANY_REQUESTS
	Streams  int // of one session, at a time: QUIC lets the client wait. Over TCP they are connections, and one more is closed
	// Connections are those over TCP, of all sessions, at a time: one more is closed. Each is a file of the process.
	Connections int
	Handles     int // of one stream: the session is closed

	WindowCount  int // batches in flight on one produce stream: the server reads no further
	WindowBytes  int // batches in flight in one session, bytes: the server reads no further
	TotalBytes   int // batches in flight in all sessions, bytes: the server reads no further
	RecordsBytes int // usual size of a Records frame's batches
	LogReads     int // reads from the log that one subscription runs, or has not sent, at a time: others wait for their turn
	ColdReads    int // likewise from the object store

	StreamWindow       int // receive window of one stream, bytes, as it may grow for a fast sender
	ConnectionWindow   int // receive window of one session, bytes, as it may grow
	TotalWindowGrowth  int // by how much the receive windows of all sessions together may have grown, bytes: they grow no more
	InitialWindowBytes int // receive window of a stream at first, bytes; a session's is twice that
}

// DefaultLimits is what a node with a few GiB of memory uses.
func DefaultLimits() Limits {
	return Limits{
		HandshakeTimeout: 5 * time.Second,
		HelloTimeout:     5 * time.Second,
		FirstFrame:       10 * time.Second,
		FrameTimeout:     2 * time.Minute, // a batch of 1 MiB at 9 kB/s
		IdleTimeout:      30 * time.Second,
		RequestTimeout:   time.Minute,
		TroubleTime:      30 * time.Second,
		DrainGrace:       250 * time.Millisecond,

		HalfOpen: 512,
		Sessions: 20_000,
		Streams:  64,

		Connections: 40_000,

		Handles: quicproto.MaxHandles,

		WindowCount:  mq.MaxProducerWindow,
		WindowBytes:  32 << 20, // a larger batch travels alone
		TotalBytes:   512 << 20,
		RecordsBytes: 1 << 20,
		LogReads:     4,
		ColdReads:    4,

		StreamWindow:       8 << 20,
		ConnectionWindow:   16 << 20,
		TotalWindowGrowth:  512 << 20,
		InitialWindowBytes: 512 << 10,
	}
}

// withDefaults fills zero fields and keeps each limit within what the protocol allows.
func (l Limits) withDefaults() Limits {
	d := DefaultLimits()
	l.HandshakeTimeout = cmp.Or(l.HandshakeTimeout, d.HandshakeTimeout)
	l.HelloTimeout = cmp.Or(l.HelloTimeout, d.HelloTimeout)
	l.FirstFrame = cmp.Or(l.FirstFrame, d.FirstFrame)
	l.FrameTimeout = cmp.Or(l.FrameTimeout, d.FrameTimeout)
	l.IdleTimeout = cmp.Or(l.IdleTimeout, d.IdleTimeout)
	l.RequestTimeout = cmp.Or(l.RequestTimeout, d.RequestTimeout)
	l.TroubleTime = cmp.Or(l.TroubleTime, d.TroubleTime)
	l.DrainGrace = cmp.Or(l.DrainGrace, d.DrainGrace)
	l.HalfOpen = cmp.Or(l.HalfOpen, d.HalfOpen)
	l.Sessions = cmp.Or(l.Sessions, d.Sessions)
	l.Streams = cmp.Or(l.Streams, d.Streams)
	l.Connections = cmp.Or(l.Connections, d.Connections)
	l.Handles = cmp.Or(l.Handles, d.Handles)
	l.WindowCount = cmp.Or(l.WindowCount, d.WindowCount)
	l.WindowBytes = cmp.Or(l.WindowBytes, d.WindowBytes)
	l.TotalBytes = cmp.Or(l.TotalBytes, d.TotalBytes)
	l.RecordsBytes = cmp.Or(l.RecordsBytes, d.RecordsBytes)
	l.LogReads = cmp.Or(l.LogReads, d.LogReads)
	l.ColdReads = cmp.Or(l.ColdReads, d.ColdReads)
	l.StreamWindow = cmp.Or(l.StreamWindow, d.StreamWindow)
	l.ConnectionWindow = cmp.Or(l.ConnectionWindow, d.ConnectionWindow)
	l.TotalWindowGrowth = cmp.Or(l.TotalWindowGrowth, d.TotalWindowGrowth)
	l.InitialWindowBytes = cmp.Or(l.InitialWindowBytes, d.InitialWindowBytes)
	l.Handles = min(l.Handles, quicproto.MaxHandles)
	l.WindowCount = min(l.WindowCount, quicproto.MaxAcks)
	l.RecordsBytes = min(l.RecordsBytes, quicproto.MaxRecordsBytes)
	return l
}

// wire is what Welcome tells of the limits.
func (l *Limits) wire() quicproto.Limits {
	return quicproto.Limits{
		BatchBytes:   quicproto.MaxBatchBytes,
		WindowBytes:  uint32(l.WindowBytes),
		WindowCount:  uint32(l.WindowCount),
		RecordsBytes: uint32(l.RecordsBytes),
		Streams:      uint32(l.Streams),
		Handles:      uint32(l.Handles),
	}
}

// CertificatePrincipal is the common name of the client's certificate if the handshake verified one, else Anonymous.
func CertificatePrincipal(cs tls.ConnectionState) (string, error) {
	if len(cs.VerifiedChains) == 0 {
		return Anonymous, nil
	}
	name := cs.VerifiedChains[0][0].Subject.CommonName
	if name == "" || name == Anonymous {
		return "", mq.Errorf(mq.ClusterAuthorizationFailed, "the client certificate's common name %q names nobody", name)
	}
	return name, nil
}
