package client

import (
	"sync/atomic"
	"time"
)

// Stats are counts since the client was made, and the present state where a comment says so.
type Stats struct {
	RecordsProduced int64 // delivered
	RecordsFailed   int64 // buffered and then failed
	BytesProduced   int64 // of delivered records, as MaxBufferedBytes counts
	BatchesSent     int64 // retries included
	BatchesRetried  int64 // sent again, after a refusal or a lost connection
	WireBytesSent   int64 // of batches as sent, retries included
	Duplicates      int64 // batches that the server had already: the retry of one whose answer was lost
	RecordsBuffered int64 // now
	BytesBuffered   int64 // now, as MaxBufferedBytes counts
	BufferWaits     int64 // times that Produce waited for room

	RecordsConsumed int64 // handed out by consumers; Batches counts all records of a batch
	BytesConsumed   int64 // of batches handed out, as sent by the server
	BytesPrefetched int64 // now, of all consumers

	Connects        int64 // connections made
	ConnectFailures int64 // attempts that failed
	Disconnects     int64 // connections lost, other than by closing them here
	Connections     int64 // now
	Fallbacks       int64 // connections made over TCP because QUIC did not get through; see Transport

	RTT time.Duration // smoothed round trip time of one of the present connections, 0 if not known
}

// counters are what Stats is taken from.
type counters struct {
	recordsProduced, recordsFailed, bytesProduced          atomic.Int64
	batchesSent, batchesRetried, wireBytesSent, duplicates atomic.Int64
	recordsBuffered, bufferWaits                           atomic.Int64
	recordsConsumed, bytesConsumed, bytesPrefetched        atomic.Int64
	connects, connectFailures, disconnects, connections    atomic.Int64
	fallbacks                                              atomic.Int64
}

// Stats takes a snapshot. The counts are each exact, but not of one moment. It costs about a microsecond.
func (c *Client) Stats() Stats {
	n := &c.count
	s := Stats{
		RecordsProduced: n.recordsProduced.Load(), RecordsFailed: n.recordsFailed.Load(), BytesProduced: n.bytesProduced.Load(),
		BatchesSent: n.batchesSent.Load(), BatchesRetried: n.batchesRetried.Load(), WireBytesSent: n.wireBytesSent.Load(),
		Duplicates: n.duplicates.Load(), BufferWaits: n.bufferWaits.Load(),
		RecordsBuffered: n.recordsBuffered.Load(), BytesBuffered: c.budget.used.Load(),
		RecordsConsumed: n.recordsConsumed.Load(), BytesConsumed: n.bytesConsumed.Load(), BytesPrefetched: n.bytesPrefetched.Load(),
		Connects: n.connects.Load(), ConnectFailures: n.connectFailures.Load(),
		Disconnects: n.disconnects.Load(), Connections: n.connections.Load(), Fallbacks: n.fallbacks.Load(),
	}
	if sess := c.pool.some(); sess != nil {
		s.RTT = sess.conn.RTT()
	}
	return s
}
