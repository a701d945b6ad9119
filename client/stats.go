package client

import "time"

// Stats are counts since the client was made, and the present state where a comment says so.
type Stats struct {
	RecordsProduced int64 // delivered
	RecordsFailed   int64 // promises called with an error
	BytesProduced   int64 // of delivered records, as encoded before compression
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
	Disconnects     int64 // connections lost, other than by Close
	Connections     int64 // now

	RTT time.Duration // smoothed round trip time of the connection used last, 0 if not known
}

// Stats takes a snapshot. The counts are each exact, but not of one moment. It costs little.
func (c *Client) Stats() Stats { panic("not yet") }
