package tier

import (
	"context"
	"slices"
	"time"

	"github.com/cenkalti/backoff/v5"

	"github.com/rustmq/rustmq/mq"
)

// sourceState is what the loop knows of a source that has something pending or
// on its way.
type sourceState struct {
	source  Source
	id      mq.PartitionID
	pending Pending // at the last look

	// next is where the next range begins, unless the source is beyond it: the
	// end of what is on its way or was committed.
	next          mq.Offset
	gatheredAt    time.Time // by the sources' clock, when all that was pending below next had been read
	inFlight      int       // ranges on their way
	inFlightBytes int64
	// broken: a range was refused while others that continue it were on their
	// way. They come to nothing too; wait for them, then begin again.
	broken bool

	retry     *backoff.ExponentialBackOff // nil unless the last try failed
	holdUntil time.Time
	lastErr   error
}

// remaining is how much is pending and not on its way; it is an estimate.
func (s *sourceState) remaining() int64 {
	if s.pending.End <= max(s.next, s.pending.First) {
		return 0
	}
	return max(s.pending.Bytes-s.inFlightBytes, 1)
}

// hold keeps the source out of the next plans for a while that grows with each
// failure.
func (s *sourceState) hold(err error, now time.Time) {
	if s.retry == nil {
		s.retry = newBackOff()
	}
	s.holdUntil = now.Add(s.retry.NextBackOff())
	s.lastErr = err
}

// look asks the sources that were notified for what they have pending.
func (u *Uploader) look() {
	for _, source := range u.marked.take() {
		s := u.states[source]
		if s == nil {
			s = &sourceState{source: source, id: source.ID()}
			u.states[source] = s
		}
		s.pending = source.Pending()
	}
	var bytes int64
	var oldest time.Time
	for source, s := range u.states {
		if s.inFlight == 0 && s.remaining() == 0 {
			// A source that was held is not forgotten sooner than its hold.
			if s.retry == nil || !time.Now().Before(s.holdUntil) {
				delete(u.states, source)
			}
			continue
		}
		bytes += s.pending.Bytes
		if oldest.IsZero() || s.pending.Since.Before(oldest) {
			oldest = s.pending.Since
		}
	}
	u.counters.dirty.Store(int64(len(u.states)))
	u.counters.pending.Store(bytes)
	if oldest.IsZero() {
		u.counters.oldest.Store(0)
	} else {
		u.counters.oldest.Store(oldest.UnixNano())
	}
	if len(u.states) == 0 {
		for _, free := range u.free {
			*free = slot{} // an idle broker holds no buffers
		}
		u.candidates = nil
	}
}

// dispatch writes objects while it is time to and there is room for them.
func (u *Uploader) dispatch() {
	for len(u.free) > 0 && u.ctx.Err() == nil {
		u.candidates = u.appendCandidates(u.candidates[:0], time.Now())
		chosen := plan(u.candidates, u.cfg.Now(), limits{
			flushBytes: u.cfg.FlushBytes, flushAge: u.cfg.FlushAge, ackBytes: u.cfg.AckBytes, ackAge: u.cfg.AckAge,
		})
		if len(chosen) == 0 {
			return
		}
		if err := u.lease(); err != nil {
			return // closing
		}
		slot := u.free[len(u.free)-1]
		s := u.gather(chosen, slot)
		if s == nil {
			continue // nobody had anything after all; all that failed are on hold
		}
		u.free = u.free[:len(u.free)-1]
		u.ship(s)
	}
}

func (u *Uploader) appendCandidates(list []candidate, now time.Time) []candidate {
	for _, s := range u.states {
		bytes := s.remaining()
		if bytes == 0 || s.broken || now.Before(s.holdUntil) {
			continue
		}
		c := candidate{source: s.source, id: s.id, bytes: bytes, since: s.pending.Since, awaited: s.pending.Awaited}
		if s.next >= s.pending.First && c.since.Before(s.gatheredAt) {
			c.since = s.gatheredAt // what is older is on its way or committed
		}
		for _, f := range u.active {
			c.forced = c.forced || f.wanted[s] > max(s.next, s.pending.First)
		}
		list = append(list, c)
	}
	return list
}

// lease sees to it that there is an object id.
func (u *Uploader) lease() error {
	if u.nextID < u.lastID {
		return nil
	}
	first, err := retry(u.ctx, u, &u.catalog, func(ctx context.Context) (uint64, error) {
		ctx, cancel := context.WithTimeout(ctx, catalogTimeout)
		defer cancel()
		return u.cfg.Catalog.LeaseObjectIDs(ctx, leaseObjectIDs)
	})
	if err != nil {
		return err
	}
	u.nextID, u.lastID = first, first+leaseObjectIDs
	return nil
}

// gather reads the chosen sources into an object; nil when none of them had
// anything. A source that fails is left out and held.
func (u *Uploader) gather(chosen []candidate, slot *slot) *shipment {
	slices.SortFunc(chosen, func(a, b candidate) int { return comparePartitions(a.id, b.id) })
	slot.grow(chosen, u.cfg.FlushBytes)
	out := &objectBuffer{b: slot.buf[:0]}
	now, created := time.Now(), u.cfg.Now()
	enc := NewEncoder(out, ObjectInfo{ID: u.nextID, Cluster: u.cfg.Cluster, Node: u.cfg.Node, Created: created.UnixMilli()})
	s := &shipment{slot: slot, id: u.nextID, written: created.UnixMilli()}
	commit := int64(0)
	for i, c := range chosen {
		if i > 0 && c.id == chosen[i-1].id {
			continue // two sources of one partition: one of them no longer leads
		}
		if len(s.parts) > 0 && (enc.Size() >= u.cfg.FlushBytes || commit >= u.cfg.CommitBytes) {
			break
		}
		state := u.states[c.source]
		part, err := u.gatherRange(enc, state, out, u.cfg.FlushBytes-enc.Size())
		if err != nil {
			out.b = out.b[:enc.abandon()]
			u.counters.sourceErrors.Add(1)
			if state.retry == nil {
				u.log.Warn("cannot read what is to be uploaded; the partition will be tried again", "partition", c.id, "error", err)
			}
			state.hold(err, now)
			continue
		}
		if part != nil {
			s.parts = append(s.parts, part)
			commit += part.Size()
		}
	}
	slot.buf = out.b
	if len(s.parts) == 0 {
		return nil
	}
	if _, err := enc.Close(); err != nil {
		// Only an encoder that was used wrongly fails here.
		u.log.Error("cannot encode an object", "error", err)
		for _, p := range s.parts {
			p.state.hold(err, now)
		}
		return nil
	}
	u.nextID++
	slot.buf = out.b
	s.data, s.crc = out.b, enc.Sum()
	for _, p := range s.parts {
		p.state.next = p.End
		if p.End == p.state.pending.End {
			p.state.gatheredAt = created
		}
		p.state.inFlight++
		p.state.inFlightBytes += p.Bytes
	}
	return s
}

// grow takes memory for about what was chosen.
func (s *slot) grow(chosen []candidate, most int64) {
	const around = 4 << 10 // the object's own bytes, and some
	var want int64
	for _, c := range chosen {
		want += c.bytes + around/8
	}
	s.buf = slices.Grow(s.buf[:0], int(min(want, most)+around))
}

// part is one range of an object on its way.
type part struct {
	RangeCommit
	state   *sourceState // the loop's
	source  Source
	verdict error
}

// gatherRange reads about budget bytes of one source. Nil: it has nothing.
func (u *Uploader) gatherRange(enc *Encoder, s *sourceState, out *objectBuffer, budget int64) (*part, error) {
	// The epoch before anything else: what is read later under a newer one is
	// refused with this one.
	epoch := s.source.LeaderEpoch()
	s.pending = s.source.Pending()
	first, end := max(s.next, s.pending.First), s.pending.End
	if epoch < 0 || first >= end {
		if epoch < 0 {
			s.pending = Pending{}
		}
		return nil, nil
	}
	if err := enc.Begin(s.id, first, epoch); err != nil {
		return nil, err
	}
	at := first
	for at < end && (at == first || budget > 0) {
		batches, next, err := s.source.ReadUpload(u.ctx, at, end, int(max(1, min(budget, readChunkBytes))), out.room())
		if err != nil {
			return nil, mq.Wrapf(err, "read %s from %d for upload", s.id, at)
		}
		if len(batches) == 0 || next <= at || next > end {
			return nil, mq.Errorf(mq.Internal, "read %s [%d,%d) for upload: got %d bytes up to %d", s.id, at, end, len(batches), next)
		}
		if err := enc.Append(batches); err != nil {
			return nil, err
		}
		if got := enc.cur.End; got != next {
			return nil, mq.Errorf(mq.Internal, "read %s from %d for upload: batches up to %d, said to be up to %d", s.id, at, got, next)
		}
		budget -= int64(len(batches))
		at = next
	}
	state, epochs, err := s.source.Checkpoint(at)
	if err != nil {
		return nil, mq.Wrapf(err, "checkpoint of %s at %d", s.id, at)
	}
	info, err := enc.End(state, epochs)
	if err != nil {
		return nil, err
	}
	return &part{state: s, source: s.source, RangeCommit: info.commit()}, nil
}

// commit is what the catalogue is told about a range.
func (r *RangeInfo) commit() RangeCommit {
	return RangeCommit{
		Partition: r.Partition, LeaderEpoch: r.LeaderEpoch, First: r.First, End: r.End,
		MinTime: r.MinTime, MaxTime: r.MaxTime, Position: r.Position, Bytes: r.Bytes, CRC: r.CRC,
		State: r.State, Epochs: r.Epochs,
	}
}

// objectBuffer is the memory that an object is encoded into.
type objectBuffer struct{ b []byte }

// room is the memory behind what is written, of length 0. What is put there and then written is not copied once more.
func (o *objectBuffer) room() []byte { return o.b[len(o.b):] }

func (o *objectBuffer) Write(p []byte) (int, error) {
	n := len(o.b)
	if there := o.b[n:cap(o.b)]; len(p) > 0 && len(p) <= len(there) && &p[0] == &there[0] {
		o.b = o.b[:n+len(p)]
		return len(p), nil
	}
	o.b = append(o.b, p...)
	return len(p), nil
}
