package transport

import "sync/atomic"

// Snapshots counts what has gone through a transport since it was opened.
type Snapshots struct {
	// Sent were taken by their receivers, Received came whole and were taken here. Failed broke off, or were refused, at either end.
	Sent, Received, Failed uint64
	// SentBytes and ReceivedBytes are of bodies. What is sent again counts again.
	SentBytes, ReceivedBytes uint64
}

type counts struct{ sent, received, failed, sentBytes, receivedBytes atomic.Uint64 }

// Snapshots is the present count.
func (t *Transport) Snapshots() Snapshots {
	c := &t.counts
	return Snapshots{
		Sent: c.sent.Load(), Received: c.received.Load(), Failed: c.failed.Load(),
		SentBytes: c.sentBytes.Load(), ReceivedBytes: c.receivedBytes.Load(),
	}
}

// ended counts a snapshot that has ended one way or the other.
func (c *counts) ended(well *atomic.Uint64, err error) {
	if err != nil {
		well = &c.failed
	}
	well.Add(1)
}
