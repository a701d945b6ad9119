package client

import (
	"context"
	"io"
	"time"

	"github.com/rustmq/rustmq/mq"
	"github.com/rustmq/rustmq/quicproto"
)

// fetched is the content of one Records frame, in line to be handed out.
type fetched struct {
	part    *assignment
	version uint32 // of part when it came
	rest    []byte // whole batches, verified
	size    int64  // bytes when it came
	frame   quicproto.Records
}

// fresh reports whether f is still wanted. The consumer's mutex is held.
func (f *fetched) fresh() bool { return f.version == f.part.version }

// nextBatch waits for the next batch and takes it off the line; it stays k.current's. Errors are those of Poll.
func (k *Consumer) nextBatch(ctx context.Context) (*Batch, error) {
	for {
		if k.member != nil {
			if err := k.member.attend(ctx); err != nil {
				return nil, err
			}
		}
		k.mu.Lock()
		b, err := k.take()
		k.mu.Unlock()
		if b != nil || err != nil {
			return b, err
		}
		select {
		case <-k.wake:
		case <-ctx.Done():
			return nil, transportError(ctx, ctx.Err())
		}
	}
}

// take is nextBatch without waiting: nil if there is nothing yet. The mutex is held.
func (k *Consumer) take() (*Batch, error) {
	if k.closed {
		return nil, ErrClosed
	}
	k.hand = hand{}
	if k.member != nil {
		if waits, err := k.member.waits(); waits || err != nil {
			return nil, err
		}
	}
	for k.queue.len() > 0 {
		f := k.queue.all()[0]
		k.current = f
		if !f.fresh() {
			k.leave(f)
			continue
		}
		if len(f.rest) == 0 {
			f.part.position = max(f.part.position, f.frame.Next)
		}
		if f.part.ended() {
			k.outdate(f.part)
			k.detach(f.part)
		}
		if len(f.rest) == 0 || f.part.ended() {
			k.leave(f)
			continue
		}
		b, err := f.batch()
		if err != nil {
			k.leave(f)
			k.fail(f.part, err)
			continue
		}
		k.c.count.bytesConsumed.Add(int64(len(b.Data)))
		if b.To <= b.From {
			continue // all of it is below what was asked for, or above where to stop
		}
		return b, nil
	}
	if k.failures.len() > 0 {
		return nil, k.failures.pop()
	}
	if k.over() {
		return nil, io.EOF
	}
	k.route()
	return nil, nil
}

// over reports whether all partitions have come to their end. The mutex is held.
func (k *Consumer) over() bool {
	if k.member != nil && (k.member.epoch == 0 || len(k.member.unlocated()) > 0) {
		return false // there is more to come
	}
	for _, a := range k.parts {
		if !a.ended() {
			return false
		}
		k.detach(a)
	}
	return len(k.parts) > 0
}

// leave takes the first of the line off it. The mutex is held.
func (k *Consumer) leave(f *fetched) {
	k.queue.pop()
	k.queued -= f.size
	k.c.count.bytesPrefetched.Add(-f.size)
	close(k.room)
	k.room = make(chan struct{})
}

// batch takes the first batch out of f.
func (f *fetched) batch() (*Batch, error) {
	data, rest, err := mq.NextBatch(f.rest)
	if err != nil {
		return nil, err
	}
	f.rest = rest
	a := f.part
	b := &Batch{
		Topic: a.tp.Topic, Partition: a.tp.Partition, Data: data,
		From: max(data.BaseOffset(), a.floor, a.position), To: data.NextOffset(),
		HighWatermark: f.frame.HighWatermark, LogStart: f.frame.LogStart,
	}
	if a.stop >= 0 {
		b.To = min(b.To, a.stop)
	}
	return b, nil
}

// decode makes records of those of the batch that are wanted.
func decode(b *Batch) ([]Record, error) {
	recs := make([]Record, 0, min(int(b.Data.RecordCount()), 1<<16))
	epoch := b.Data.LeaderEpoch()
	for m, err := range b.Data.Records(nil) {
		if err != nil {
			return nil, err
		}
		if m.Offset < b.From {
			continue
		}
		if m.Offset >= b.To {
			break
		}
		rec := Record{
			Topic: b.Topic, Partition: b.Partition, Key: m.Key, Value: m.Value,
			Timestamp: time.UnixMilli(m.Timestamp), Offset: m.Offset, LeaderEpoch: epoch,
		}
		if len(m.Headers) > 0 {
			rec.Headers = append([]mq.Header(nil), m.Headers...)
		}
		recs = append(recs, rec)
	}
	return recs, nil
}

// fail stops a partition for good and has Poll tell. The mutex is held.
func (k *Consumer) fail(a *assignment, err error) {
	a.failed = true
	k.outdate(a)
	k.detach(a)
	k.failures.push(&PartitionError{Topic: a.tp.Topic, Partition: a.tp.Partition, Err: err})
	k.signal()
}
