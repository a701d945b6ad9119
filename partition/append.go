package partition

import (
	"time"

	"github.com/rustmq/rustmq/mq"
	"github.com/rustmq/rustmq/wal"
)

// LogBytes is the number of bytes to reserve in the log before b is appended.
func LogBytes(b mq.Batch) int64 { return int64(len(b)) }

// Append appends a batch that mq.CheckBatch let pass: it gets the next offsets, base offset and leader epoch are stamped into
// it, and the log syncs it. done is called when the mark that want asks for has passed it, or with an error, which may be before
// Append returns. Append never blocks on I/O.
//
// The caller has reserved LogBytes(b) in the log. Append gives that back itself when it appends nothing. b and its memory belong
// to the partition from here on, whatever comes of it: it keeps them, unchanged, for readers.
//
// An idempotent producer's batch that is in the log already is a Duplicate: it completes with its first offsets, at the mark that
// this request asks for, and not before the request that appended it.
//
// Errors before anything was appended: NotLeaderOrFollower, PartitionQuarantined, KafkaStorageError, ShuttingDown and other
// reasons not to lead, the lease among them; MessageTooLarge; InvalidRequiredAcks; InvalidRecord; NotEnoughReplicas for want all or object while the in-sync set is
// below min.insync.replicas; OutOfOrderSequence, DuplicateSequence (older than what is retained), InvalidProducerEpoch,
// UnknownProducerID, InvalidRequest (overlaps a batch without being it). After it was appended, so that whether
// it survives is not known: NotLeaderOrFollower, KafkaStorageError, ShuttingDown, PartitionQuarantined.
func (p *Partition) Append(b mq.Batch, want mq.Durability, done Completion) {
	p.appendIn(mq.NoEpoch, b, want, done)
}

// AppendIn is Append for one whose batch is of use in one leader epoch only, for it was made of what had been read in that one: FencedLeaderEpoch when this node leads in another
// one by now.
func (p *Partition) AppendIn(epoch mq.Epoch, b mq.Batch, want mq.Durability, done Completion) {
	p.appendIn(epoch, b, want, done)
}

// appendIn is both; NoEpoch is any.
func (p *Partition) appendIn(epoch mq.Epoch, b mq.Batch, want mq.Durability, done Completion) {
	now := p.cfg.Now()
	settings := p.cfg.Settings()
	timestamp := int64(-1)
	if settings.LogAppendTime {
		timestamp = now.UnixMilli()
		b.StampAppendTime(timestamp) // outside the lock: it reads the whole batch
	}
	var keys error
	if settings.Keyed {
		keys = checkKeys(b) // outside the lock, too
	}
	p.mu.Lock()
	appended, err := false, p.mustLeadIn(epoch)
	if err == nil {
		appended, err = p.append(b, want, settings, keys, timestamp, now, done)
	}
	if err != nil {
		p.count(func(c *Counters) { c.Refused.Add(1) })
		p.outcomes = append(p.outcomes, outcome{done, AppendResult{Err: err, Timestamp: -1, LogStart: p.marks.logStart()}})
	}
	p.unlock()
	if !appended {
		p.cfg.Log.Unreserve(LogBytes(b))
		return
	}
	p.cfg.Tail.reclaim()
}

// mustLeadIn is nil when this node leads in epoch. The caller holds mu.
func (p *Partition) mustLeadIn(epoch mq.Epoch) error {
	if err := p.mustLead(); err != nil {
		return err
	}
	if epoch != mq.NoEpoch && epoch != p.epoch {
		return mq.Errorf(mq.FencedLeaderEpoch, "partition %s: append in leader epoch %d, but it is led in epoch %d", p.name(), epoch, p.epoch)
	}
	return nil
}

// checkKeys wants a key in each record: compaction by key could not keep the others.
func checkKeys(b mq.Batch) error {
	for rec, err := range b.Records(nil) {
		if err != nil {
			return err
		}
		if rec.Key == nil {
			return mq.Errorf(mq.InvalidRecord, "record %d of a batch for a topic that is compacted by key has none", rec.Offset)
		}
	}
	return nil
}

// append decides about b, of which keys says what is wrong with the records' keys, and appends it. The caller holds mu.
func (p *Partition) append(
	b mq.Batch, want mq.Durability, settings Settings, keys error, timestamp int64, now time.Time, done Completion,
) (appended bool, err error) {
	if settings.ObjectAcks && want == mq.DurabilityAll {
		want = mq.DurabilityObject
	}
	if err := p.admit(b, want, settings); err != nil {
		return false, err
	}
	if keys != nil {
		return false, mq.Wrapf(keys, "partition %s", p.name())
	}
	base := p.marks.logEnd()
	ms := now.UnixMilli()
	if b.ProducerID() >= 0 {
		s := sequenceOf(b)
		original, duplicate, err := p.dedup().check(s)
		if err != nil {
			return false, mq.Wrapf(err, "partition %s", p.name())
		}
		if duplicate {
			p.repeat(original, want, settings, done)
			return false, nil
		}
		p.producers.apply(s, base, p.marks.high(), ms)
	}
	b.SetBaseOffset(base)
	b.SetLeaderEpoch(p.epoch)
	e := p.publish(b, base, ms)
	p.wait(waiting{done: done, base: base, last: e.end - 1, timestamp: timestamp}, want.Mark())
	p.cfg.Log.Append(p.entry(b, e), e)
	p.tell(NewsAppended)
	if c := p.cfg.Counters; c != nil {
		c.AppendedBatches.Add(1)
		c.AppendedBytes.Add(int64(len(b)))
	}
	return true, nil
}

// entry is what the log gets of a batch.
func (p *Partition) entry(b mq.Batch, e *tailEntry) wal.Entry {
	entry := wal.Entry{Stream: p.stream, Type: wal.EntryData, First: uint64(e.base), End: uint64(e.end), Payload: b}
	if len(b) >= mq.CombineCRCFrom {
		entry.CRC = b.Sum() // nearly free: of a small one the log is as quick
	}
	return entry
}

// admit refuses what this partition can not or may not take now. The caller holds mu.
func (p *Partition) admit(b mq.Batch, want mq.Durability, settings Settings) error {
	if err := p.lease(); err != nil && want != mq.DurabilityNone {
		return err
	}
	limit := settings.MaxBatchBytes
	if limit == 0 {
		limit = mq.DefaultMaxBatchBytes
	}
	switch {
	case !want.Valid():
		return mq.Errorf(mq.InvalidRequiredAcks, "partition %s: durability %d", p.name(), want)
	case len(b) > limit:
		return mq.Errorf(mq.MessageTooLarge, "partition %s: batch of %d bytes: at most %d are allowed", p.name(), len(b), limit)
	case want >= mq.DurabilityAll && len(p.progress.isr) < settings.MinISR:
		return mq.Errorf(mq.NotEnoughReplicas, "partition %s: %d replicas are in sync, %d are needed", p.name(), len(p.progress.isr), settings.MinISR)
	}
	return nil
}

// publish puts a stamped batch at the end of everything that is in memory: index, hot tail, log end. Nobody may read it before the
// watermark passes it. The caller holds mu, and gives the entry to the log as its wal.Done.
func (p *Partition) publish(b mq.Batch, base mq.Offset, now int64) *tailEntry {
	p.index.add(b, base, now)
	e, began := p.tail.push(p, b, base, base+mq.Offset(b.LastOffsetDelta())+1)
	if began {
		p.cfg.Tail.begun(p)
	}
	p.cfg.Tail.used.Add(int64(len(b)) + entryOverhead)
	p.marks.setLogEnd(e.end)
	if p.index.total-p.remembered >= rememberStride {
		p.remember(nil)
	}
	return e
}

// dedup is the state of the producers, which a partition without idempotent ones does not have. The caller holds mu.
func (p *Partition) dedup() *producers {
	if p.producers == nil {
		p.producers = newProducers(p.cfg.ProducerTTL, p.cfg.MaxProducers)
	}
	return p.producers
}

// repeat completes a request whose batch is in the log already. It waits for the mark that it asks for, and for the
// original's if that one is still waiting for more. The caller holds mu.
func (p *Partition) repeat(original seqEntry, want mq.Durability, settings Settings, done Completion) {
	w := waiting{done: done, base: original.base, last: original.last(), timestamp: -1, duplicate: true}
	if settings.LogAppendTime {
		w.timestamp = p.appendTime(original.base)
	}
	mark := want.Mark()
	for m := mq.MarkObject; m > mark; m-- {
		if p.waiting[m].holds(w.last) {
			mark = m
		}
	}
	if p.cfg.Planted.RepeatTooEarly {
		mark = mq.MarkNone
	}
	p.wait(w, mark)
	p.count(func(c *Counters) { c.Duplicates.Add(1) })
}

// appendTime is what the leader stamped the batch at base with, -1 when it is not in the hot tail any more.
func (p *Partition) appendTime(base mq.Offset) int64 {
	cursor, ok := p.tail.find(base)
	if !ok {
		return -1
	}
	if e := cursor.next(); e != nil && e.base == base && e.batch.TimestampType() == mq.TimestampAppend {
		return e.batch.MaxTimestamp()
	}
	return -1
}
