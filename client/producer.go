package client

import "context"

// Promise is told the outcome of one record: err is nil when the record has reached the durability that it
// asked for, and then rec has its Partition, Offset, Timestamp and Reached.
//
// Promises of one partition run in the order of production, each exactly once, on the goroutine that reads acknowledgements: one that
// takes long holds up all others of its connection, and one that waits for another record's outcome waits for ever. A
// promise may call [Client.TryProduce], but not Produce, which may wait for the buffer that promises free.
type Promise func(rec *Record, err error)

// Produce buffers rec and returns; promise, if not nil, is told the outcome. It is called for every record for which
// Produce is called, also when Produce could not buffer it, then before it returns.
//
// Produce waits while [MaxBufferedBytes] are buffered, and the first time that a topic is produced to until its partitions are known;
// ctx bounds only these waits. What happens to the record afterwards is bounded by [DeliveryTimeout].
// It is for any number of goroutines at once; records of one goroutine to one partition keep their order.
func (c *Client) Produce(ctx context.Context, rec *Record, promise Promise) {
	panic("not yet")
}

// TryProduce is Produce that fails rather than wait for room: with [ErrBufferFull] when [MaxBufferedBytes] are buffered. It still waits,
// until ctx ends, for the partitions of a topic that is new to the client. The error is the one that promise is called with, or nil when rec was buffered.
func (c *Client) TryProduce(ctx context.Context, rec *Record, promise Promise) error {
	panic("not yet")
}

// ProduceSync produces recs and waits for their outcomes, given in the order of recs. When ctx ends first, the records without an
// outcome fail with its error; they may still be delivered, and must not be touched again.
func (c *Client) ProduceSync(ctx context.Context, recs ...*Record) Results {
	panic("not yet")
}

// Flush sends what is buffered without further gathering, and waits until all records that were produced
// before the call have had their promises called, or ctx ends, whose error it returns. Failed records are not an error here.
func (c *Client) Flush(ctx context.Context) error {
	panic("not yet")
}

// Buffered is how many records, and how many bytes of them as [MaxBufferedBytes] counts, have no outcome yet.
func (c *Client) Buffered() (records, bytes int64) {
	panic("not yet")
}
