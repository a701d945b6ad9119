package partition

import (
	"slices"
	"time"

	"github.com/rustmq/rustmq/mq"
)

// DefaultProducerTTL is how long a producer that sends nothing is remembered: a client that comes back later than this starts
// with a new producer id anyway.
const DefaultProducerTTL = 7 * 24 * time.Hour

// DefaultMaxProducers is the most producers that one partition remembers; beyond it the longest idle one is forgotten. With
// one window entry each they take some 400 KiB of memory and 50 KiB of a tier commit.
const DefaultMaxProducers = 2048

// maxUnstableWindow is the most batches of one producer that are kept because they might still be truncated (1.5 MiB): only
// a producer that does not wait for the high watermark can have more, and then its oldest are forgotten as if they could not.
const maxUnstableWindow = 1 << 16

const _ uint = maxUnstableWindow - mq.MaxProducerWindow // the window itself always fits

// producers is what a log's batches say about its idempotent producers: a pure function of the batches, except that idle
// producers are forgotten. It tells new batches from repeated ones and can be rolled back to any offset at or above the
// stable one that it was last told.
//
// Per producer it keeps the last [mq.MaxProducerWindow] batches, and beside them everything at or above the stable offset:
// whatever is rolled back, the newest batch below is still known, hence the exact sequence that must come next.
//
// Not safe for concurrent use. The zero value is not ready: see newProducers.
type producers struct {
	byID map[mq.ProducerID]*producer
	// oldest and newest end the list of producers by last use.
	oldest, newest *producer
	ttl            int64 // milliseconds
	max            int
}

// producer is one producer id. Its window holds batches in log order; the newest one's epoch is the producer's.
type producer struct {
	id         mq.ProducerID
	lastUse    int64 // milliseconds since 1970
	prev, next *producer
	window     window
}

// sequence is what a batch says of its producer.
type sequence struct {
	id    mq.ProducerID
	epoch mq.ProducerEpoch
	first int32
	count int32 // of sequences: last offset delta + 1
}

func sequenceOf(b mq.Batch) sequence {
	return sequence{b.ProducerID(), b.ProducerEpoch(), b.BaseSequence(), b.LastOffsetDelta() + 1}
}

// ProducerState is what is remembered of an idempotent producer.
type ProducerState struct {
	ID           mq.ProducerID
	Epoch        mq.ProducerEpoch
	LastSequence int32 // of its last record
	LastUse      int64 // when it appended last, milliseconds since 1970
}

// states lists the producers by last use.
func (ps *producers) states() []ProducerState {
	list := make([]ProducerState, 0, len(ps.byID))
	for p := ps.oldest; p != nil; p = p.next {
		newest := p.window.newest()
		list = append(list, ProducerState{ID: p.id, Epoch: newest.epoch, LastSequence: mq.AddSequence(newest.first, newest.count-1), LastUse: p.lastUse})
	}
	return list
}

func newProducers(ttl time.Duration, limit int) *producers {
	if ttl <= 0 {
		ttl = DefaultProducerTTL
	}
	if limit <= 0 {
		limit = DefaultMaxProducers
	}
	return &producers{byID: make(map[mq.ProducerID]*producer), ttl: ttl.Milliseconds(), max: limit}
}

// check decides what becomes of a batch that a client sent: dup is the batch that it repeats; else it may be applied, or err
// says why not. It changes nothing.
func (ps *producers) check(s sequence) (dup seqEntry, duplicate bool, err error) {
	p := ps.byID[s.id]
	if p == nil {
		if s.first != 0 {
			return dup, false, mq.Errorf(mq.UnknownProducerID, "producer %d: sequence %d, but nothing is known of the producer (any more)", s.id, s.first)
		}
		return dup, false, nil
	}
	newest := p.window.newest()
	switch {
	case s.epoch < newest.epoch:
		return dup, false, mq.Errorf(mq.InvalidProducerEpoch, "producer %d: epoch %d, but epoch %d has begun", s.id, s.epoch, newest.epoch)
	case s.epoch > newest.epoch:
		if s.first != 0 {
			return dup, false, mq.Errorf(mq.OutOfOrderSequence, "producer %d: epoch %d begins with sequence %d, not 0", s.id, s.epoch, s.first)
		}
		return dup, false, nil
	}
	ahead := mq.SequenceDistance(newest.next(), s.first)
	if ahead == 0 {
		return dup, false, nil
	}
	if ahead < halfSequences {
		return dup, false, mq.Errorf(mq.OutOfOrderSequence, "producer %d: sequence %d, expected %d: %d are missing",
			s.id, s.first, newest.next(), ahead)
	}
	return p.window.find(s)
}

// halfSequences is the distance from which on a sequence counts as behind rather than ahead.
const halfSequences = 1 << 30

// apply notes a batch that is in the log at base: one that check let pass, or one that a leader had accepted. stable is the
// offset below which the log will not be truncated; now is in milliseconds since 1970.
func (ps *producers) apply(s sequence, base, stable mq.Offset, now int64) {
	p := ps.byID[s.id]
	if p == nil {
		p = &producer{id: s.id, lastUse: now}
		ps.byID[s.id] = p
		ps.link(p)
		ps.expire(now, p)
	} else {
		ps.use(p, now)
	}
	p.window.trim(stable)
	p.window.push(seqEntry{base: base, first: s.first, count: s.count, epoch: s.epoch})
}

// rollback forgets every batch at or above to: the log was truncated there.
func (ps *producers) rollback(to mq.Offset) {
	for p := ps.oldest; p != nil; {
		next := p.next
		for p.window.len() > 0 && p.window.newest().base >= to {
			p.window.popNewest()
		}
		if p.window.len() == 0 {
			ps.forget(p)
		}
		p = next
	}
}

// expire forgets producers that have been idle for too long, and the longest idle beyond the number allowed, but not keep.
func (ps *producers) expire(now int64, keep *producer) {
	for p := ps.oldest; p != nil && p != keep; p = ps.oldest {
		if len(ps.byID) <= ps.max && now-p.lastUse < ps.ttl {
			return
		}
		ps.forget(p)
	}
}

// underlay puts what is known from a checkpoint below what is known from the log's batches from logFirst on. Both describe
// the same log, so that where they overlap they agree. The result can be rolled back to stable.
func (ps *producers) underlay(checkpoint *producers, logFirst, stable mq.Offset) {
	for old := checkpoint.oldest; old != nil; old = old.next {
		p := ps.byID[old.id]
		if p == nil {
			p = &producer{id: old.id, lastUse: old.lastUse}
			ps.byID[old.id] = p
		}
		p.lastUse = max(p.lastUse, old.lastUse)
		p.window = merged(&old.window, &p.window, logFirst, stable)
	}
	ps.relink()
}

// merged is the entries of below that lie under logFirst, then those of above.
func merged(below, above *window, logFirst, stable mq.Offset) window {
	var out window
	for i := range below.len() {
		if e := below.at(i); e.base < logFirst || above.len() == 0 {
			out.trim(stable)
			out.push(e)
		}
	}
	for i := range above.len() {
		e := above.at(i)
		if out.len() == 0 || e.base > out.newest().base {
			out.trim(stable)
			out.push(e)
		}
	}
	return out
}

// relink rebuilds the list by last use, then by id.
func (ps *producers) relink() {
	all := make([]*producer, 0, len(ps.byID))
	for _, p := range ps.byID {
		all = append(all, p)
	}
	slices.SortFunc(all, func(a, b *producer) int {
		if a.lastUse != b.lastUse {
			return int(min(max(a.lastUse-b.lastUse, -1), 1))
		}
		return int(min(max(a.id-b.id, -1), 1))
	})
	ps.oldest, ps.newest = nil, nil
	for _, p := range all {
		ps.link(p)
	}
}

func (ps *producers) use(p *producer, now int64) {
	p.lastUse = max(p.lastUse, now)
	if p != ps.newest {
		ps.unlink(p)
		ps.link(p)
	}
}

func (ps *producers) forget(p *producer) {
	ps.unlink(p)
	delete(ps.byID, p.id)
}

// link makes p the most recently used.
func (ps *producers) link(p *producer) {
	p.prev, p.next = ps.newest, nil
	if ps.newest != nil {
		ps.newest.next = p
	} else {
		ps.oldest = p
	}
	ps.newest = p
}

func (ps *producers) unlink(p *producer) {
	if p.prev != nil {
		p.prev.next = p.next
	} else {
		ps.oldest = p.next
	}
	if p.next != nil {
		p.next.prev = p.prev
	} else {
		ps.newest = p.prev
	}
	p.prev, p.next = nil, nil
}
