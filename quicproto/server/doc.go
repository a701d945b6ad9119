// Package server is the front door of the native protocol, over QUIC and over TLS on TCP: it accepts sessions, reads frames, asks a Broker what they mean, and writes what
// comes of it. What the frames are is in package quicproto.
//
// It does not know what a topic is, does not look into batches beyond checking each one once at the door (mq.CheckBatch), authorises
// nobody (the Broker does, with the Session that it is given), and keeps nothing when a session ends.
//
// # Goroutines
//
//	accept loop       one per Server; ends with the socket; and one for TCP, with the listener
//	session           one per session: accepts its streams; and one that watches its control stream; end with the connection
//	produce stream    two: one reads batches and submits them, one writes acks; end with the stream
//	fetch stream      two: one reads commands, one does the rest; and up to Limits.LogReads and ColdReads while log and object store are read
//	request stream    one
//	TCP connection    one beside those of its stream, which waits for the next one; ends with the connection
//
// There is none for a partition, a batch, or anything that waits. QUIC has two more for each connection.
//
// # Produce
//
//	stream ──► read frame ──► room in the window? bytes? ──► read batch into its own memory ──► CheckBatch ──► Producer.Append
//	                          (no: read no further)          (one allocation of exact size)                        │
//	stream ◄── one write of all acks that are there ◄── ackQueue ◄────────────── Completion.Complete ◄──────────────┘
//	                                                     (never blocks)          (the log's writer)
//
// # Fetch
//
// All partitions of a subscription share one goroutine, which takes them in turn from a queue of those that are ready. A partition
// with nothing to give is registered with Reader.Await and put in the queue by Wake. Reads that need the disk or the object store
// run beside it, each into memory that is used again when the frame was sent, and the next while it is. Nothing is buffered beyond them: a client that does not read stops its subscription by QUIC's flow control, and
// no other.
//
// # Limits
//
// What a client can make the server hold is bounded before it is known (half-open handshakes, then proof of address; deadlines for
// handshake, Hello, first frame of a stream) and after (sessions, streams, handles, window by count and by bytes, bytes of all
// sessions, growth of receive windows, frame sizes, deadline for a frame that has begun). Each is a field of Limits, which says what
// happens there. A client that breaks the protocol loses its session, with a code and a reason, and nobody else notices.
//
// # Invariants
//
// Memory for a batch is allocated only after its length was checked against the topic's limit and the budgets. A batch that was
// submitted is acked exactly once on its stream if that lives, in the Broker's order. A Reader is never used by two goroutines at a time,
// and closed exactly once. After Close no goroutine of the server is left.
package server
