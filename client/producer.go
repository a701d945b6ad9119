package client

import (
	"context"
	"sync"
	"time"

	"github.com/rustmq/rustmq/mq"
)

// maxBatchRecords bounds the records of one batch: more do not pay, whatever their size.
const maxBatchRecords = 64 << 10

// Promise is told the outcome of one record: err is nil when the record has reached the durability that it
// asked for, and then rec has its Partition, Offset, Timestamp and Reached. Otherwise err is a *[PartitionError] if the record
// had been buffered.
//
// Promises of one partition run in the order of production, each exactly once, mostly on the goroutine that reads acknowledgements: one that
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
	if err := c.produce(ctx, rec, promise, true); err != nil {
		promise.settle(rec, err)
	}
}

// TryProduce is Produce that fails rather than wait for room: with [ErrBufferFull] when [MaxBufferedBytes] are buffered. It still waits,
// until ctx ends, for the partitions of a topic that is new to the client. The error is nil when rec was buffered; otherwise promise is not
// called.
func (c *Client) TryProduce(ctx context.Context, rec *Record, promise Promise) error {
	return c.produce(ctx, rec, promise, false)
}

// produce buffers rec. With an error it is not buffered, and to is not told.
func (c *Client) produce(ctx context.Context, rec *Record, to outcome, wait bool) error {
	if rec.Acks > AcksObject {
		return mq.Errorf(mq.InvalidRequiredAcks, "record with %v", rec.Acks)
	}
	t, parts, err := c.topic(ctx, rec.Topic)
	if err != nil {
		return &PartitionError{Topic: rec.Topic, Partition: -1, Err: err}
	}
	if c.cfg.inject != nil {
		c.cfg.inject(ctx, HeaderCarrier{rec})
	}
	rec.stay = stayUnknown
	i := t.pick(rec, len(parts))
	if i < 0 || i >= len(parts) {
		return &PartitionError{
			Topic: rec.Topic, Partition: -1,
			Err: mq.Errorf(mq.InvalidPartitions, "partition %d was chosen, there are %d", i, len(parts)),
		}
	}
	rec.Partition = int32(i)
	size := bufferedSize(rec)
	most := t.maxBatch.Load()
	if most > 0 && size-recordOverhead > most {
		return c.tooLarge(rec, most)
	}
	if !c.budget.try(size) {
		if !wait {
			return ErrBufferFull
		}
		if err := c.budget.acquire(ctx, size); err != nil {
			return err
		}
	}
	if rec.Timestamp.IsZero() {
		rec.Timestamp = time.UnixMilli(time.Now().UnixMilli())
	}
	limit := c.cfg.batchBytes
	if most > 0 {
		limit = min(limit, int(most))
	}
	c.count.recordsBuffered.Add(1)
	if err := parts[i].add(rec, to, rec.Acks.durability(c.cfg.durability), size, limit); err != nil {
		c.count.recordsBuffered.Add(-1)
		c.budget.release(size)
		return &PartitionError{Topic: rec.Topic, Partition: rec.Partition, Err: err}
	}
	return nil
}

func (c *Client) tooLarge(rec *Record, most int64) error {
	return &PartitionError{
		Topic: rec.Topic, Partition: rec.Partition,
		Err: mq.Errorf(mq.MessageTooLarge, "record of about %d bytes, the topic takes batches of %d", bufferedSize(rec), most),
	}
}

// recordOverhead is what a record is counted for beside its bytes: its fields in the batch, and the note of who is to be told.
const recordOverhead = 64

// bufferedSize is what rec counts for in the budget, in bytes.
func bufferedSize(rec *Record) int64 {
	n := len(rec.Key) + len(rec.Value) + recordOverhead
	for i := range rec.Headers {
		n += len(rec.Headers[i].Key) + len(rec.Headers[i].Value) + 4
	}
	return int64(n)
}

// ProduceSync produces recs and waits for their outcomes, given in the order of recs. When ctx ends first, the records without an
// outcome fail with its error; they may still be delivered, and must not be touched again.
func (c *Client) ProduceSync(ctx context.Context, recs ...*Record) Results {
	call := syncCall{left: len(recs), done: make(chan struct{})}
	slots := make([]syncSlot, len(recs))
	results := make(Results, len(recs))
	for i, rec := range recs {
		results[i].Record = rec
		slots[i].call = &call
		if err := c.produce(ctx, rec, &slots[i], true); err != nil {
			slots[i].settle(rec, err)
		}
	}
	if len(recs) > 0 {
		select {
		case <-call.done:
		case <-ctx.Done():
		}
	}
	call.mu.Lock()
	defer call.mu.Unlock()
	for i := range slots {
		results[i].Err = slots[i].err
		if !slots[i].known {
			results[i].Err = mq.Errorf(mq.CodeOf(ctx.Err()), "gave up waiting: the record may still be delivered: %w", context.Cause(ctx))
		}
	}
	return results
}

// syncCall is one call of ProduceSync.
type syncCall struct {
	mu   sync.Mutex
	left int // records without an outcome
	done chan struct{}
}

// syncSlot takes the outcome of one record of a call.
type syncSlot struct {
	call  *syncCall
	known bool
	err   error
}

// settle implements outcome.
func (s *syncSlot) settle(_ *Record, err error) {
	s.call.mu.Lock()
	s.known, s.err = true, err
	s.call.left--
	last := s.call.left == 0
	s.call.mu.Unlock()
	if last {
		close(s.call.done)
	}
}

// Flush sends what is buffered without further gathering, and waits until all records that were produced
// before the call have had their promises called, or ctx ends, whose error it returns. Failed records are not an error here.
func (c *Client) Flush(ctx context.Context) error {
	var wg sync.WaitGroup
	c.eachPartition(func(p *partition) { p.flushTo(&wg) })
	done := make(chan struct{})
	go func() { // ends when the last promise has been called, or the client is closed
		wg.Wait()
		close(done)
	}()
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		return transportError(ctx, ctx.Err())
	}
}

// flushTo sends what is gathered, and adds all that has no outcome yet to wg.
func (p *partition) flushTo(wg *sync.WaitGroup) {
	p.mu.Lock()
	note := func(b *batch) {
		wg.Add(1)
		b.flushers = append(b.flushers, wg)
	}
	if p.open != nil {
		p.flush = true
		note(p.open)
	}
	for _, b := range p.full.all() {
		note(b)
	}
	for _, b := range p.sent.all() {
		if b.state != settled {
			note(b)
		}
	}
	for _, b := range p.telling {
		note(b)
	}
	st, search := p.poke()
	p.mu.Unlock()
	p.dispatch(st, search)
}

// Buffered is how many records, and how many bytes of them as [MaxBufferedBytes] counts, have no outcome yet.
func (c *Client) Buffered() (records, bytes int64) {
	return c.count.recordsBuffered.Load(), c.budget.used.Load()
}
