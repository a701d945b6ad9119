package client

import (
	"sync"
	"time"

	"github.com/rustmq/rustmq/mq"
)

// outcome is told what became of one record.
type outcome interface {
	settle(rec *Record, err error)
}

// settle implements outcome.
func (p Promise) settle(rec *Record, err error) {
	if p != nil {
		p(rec, err)
	}
}

// pending is a record without an outcome.
type pending struct {
	rec *Record
	to  outcome
}

type batchState uint8

const (
	gathering batchState = iota // records are being added, or it waits to be sent for the first time
	onWire                      // sent; the answer is awaited
	again                       // to be sent again
	settled                     // its outcome is known
)

// batch is a batch on its way. Once sent, its bytes never change as long as it is possible that the server has appended them. It is guarded by its partition's
// mutex, except that the writer of the stream that it was taken for builds and reads data while the state is onWire.
type batch struct {
	part    *partition
	state   batchState
	want    mq.Durability
	recs    []pending
	more    bool      // the partitioner has more for it
	size    int64     // as the budget counts
	born    time.Time // when the first record was added
	builder *mq.BatchBuilder
	buf     *buffer  // memory that data lies in
	data    mq.Batch // nil until built

	id       *identity // nil for a producer that is not idempotent
	sequence int32     // of the first record
	attempts int       // how often it was sent
	unsure   bool      // an attempt ended without an answer, so it may have been appended
	stream   *produceStream
	answered bool // settled by an answer
	told     bool // its promises have been called
	trimmed  bool // it has left its partition's list of sent batches

	flushers []*sync.WaitGroup // told when the outcomes have been told
}

// buffer is memory that goes round between builders and batches.
type buffer struct{ b []byte }

// supplies keep what batches are made of. They are the client's, for all partitions.
type supplies struct {
	codec    mq.Compression
	level    int
	keep     int // larger buffers are left to the garbage collector, bytes
	batches  sync.Pool
	builders sync.Pool
	buffers  sync.Pool
}

func (s *supplies) builder() *mq.BatchBuilder {
	if b, ok := s.builders.Get().(*mq.BatchBuilder); ok {
		return b
	}
	b, err := mq.NewBatchBuilder(s.codec, s.level)
	if err != nil {
		panic(err) // New has made one with the same arguments
	}
	return b
}

func (s *supplies) batch(p *partition, want mq.Durability) *batch {
	b, ok := s.batches.Get().(*batch)
	if !ok {
		b = new(batch)
	}
	b.part, b.want, b.born, b.builder = p, want, time.Now(), s.builder()
	return b
}

// build encodes the records. It is called once, by the writer of the stream that the batch was taken for.
func (s *supplies) build(b *batch) error {
	buf, ok := s.buffers.Get().(*buffer)
	if !ok {
		buf = new(buffer)
	}
	id, epoch, seq := mq.NoProducerID, mq.NoProducerEpoch, mq.NoSequence
	if b.id != nil {
		id, epoch, seq = b.id.id, b.id.epoch, b.sequence
	}
	data, err := b.builder.Build(buf.b[:0], id, epoch, seq)
	if err != nil {
		return mq.Wrapf(err, "build batch")
	}
	s.builders.Put(b.builder)
	buf.b = data
	b.builder, b.buf, b.data = nil, buf, data
	return nil
}

// recycle takes a settled batch that nothing refers to any more.
func (s *supplies) recycle(b *batch) {
	if b.buf != nil && cap(b.buf.b) <= s.keep {
		s.buffers.Put(b.buf)
	}
	if b.builder != nil {
		b.builder.Reset()
		s.builders.Put(b.builder)
	}
	clear(b.recs)
	*b = batch{recs: b.recs[:0]}
	if cap(b.recs) <= maxKeptRecords {
		s.batches.Put(b)
	}
}

// maxKeptRecords bounds the lists of pending records that are kept for reuse.
const maxKeptRecords = 4096

// renumber gives a built batch that was refused for certain another identity and sequence.
func (b *batch) renumber(id *identity, sequence int32) {
	b.id, b.sequence = id, sequence
	if b.data == nil {
		return
	}
	b.data.Renumber(id.id, id.epoch, sequence)
}

// verdict is the outcome of a batch, to be told when no lock is held.
type verdict struct {
	b         *batch
	base      mq.Offset
	timestamp int64 // log append time, -1 for none
	reached   mq.Mark
	err       error
}

// tell calls all promises of the batch and frees its room in the budget. No lock may be held.
func (v *verdict) tell(c *Client) {
	b := v.b
	err := v.err
	if err != nil {
		err = &PartitionError{Topic: b.part.topic.name, Partition: b.part.index, Err: err}
	}
	for i := range b.recs {
		pd := &b.recs[i]
		if err == nil {
			pd.rec.Reached = v.reached
			pd.rec.Offset = -1
			if v.base >= 0 {
				pd.rec.Offset = v.base + mq.Offset(i)
			}
			if v.timestamp >= 0 {
				pd.rec.Timestamp = time.UnixMilli(v.timestamp)
			}
		}
		pd.to.settle(pd.rec, err)
	}
	n := int64(len(b.recs))
	c.count.recordsBuffered.Add(-n)
	if err != nil {
		c.count.recordsFailed.Add(n)
	} else {
		c.count.recordsProduced.Add(n)
		c.count.bytesProduced.Add(b.size)
	}
	c.budget.release(b.size)
}
