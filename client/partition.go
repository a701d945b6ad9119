package client

import (
	"sync"
	"time"

	"github.com/cenkalti/backoff/v5"

	"github.com/rustmq/rustmq/mq"
)

// partition is the producer's side of one partition: what is gathered, what waits to be sent, and what was sent and has no answer, in
// this order from young to old. A partition with something to send and a stream to send it on is in that stream's ready list, once.
//
// While a batch of the partition that was sent has been refused, nothing more is sent until the answers to all others on the
// wire are there; then all that has to go out again does so in the old order, and only then what is new.
type partition struct {
	c     *Client
	topic *topic
	index int32
	lane  int // of the connection to the leader

	mu      sync.Mutex
	open    *batch        // gathering records, nil if there are none
	full    queue[*batch] // closed and not sent yet
	sent    queue[*batch] // sent at least once; the oldest is not settled
	telling []*batch      // settled, their promises are being called
	onWire  int           // how many of sent are in that state
	again   int           // likewise

	id       *identity // that sequences belong to; nil: needs one younger than stale
	stale    uint64
	next     int32       // sequence of the next batch
	broken   bool        // the sequence has a hole: go on with another identity once nothing is on the wire
	fatal    error       // why the sequence is beyond repair: everything sent fails once nothing is on the wire
	refused  bool        // send nothing until nothing is on the wire
	moved    bool        // then look for the leader
	seeking  bool        // it was refused for want of the leader, and nothing was taken since
	paused   bool        // backing off
	resume   *time.Timer // ends the pause
	retry    *backoff.ExponentialBackOff
	closed   bool
	leader   mq.NodeID
	epoch    mq.Epoch       // that it leads in, the newest that was told of
	link     *link          // over which the leader is reached, nil if not known
	stream   *produceStream // of that link, nil while there is none
	queued   bool           // in stream's ready list
	searched bool           // the link, or a search for the leader, will come back to this partition

	held    bool        // on the list of those that wait for less on the wire
	flush   bool        // send what is gathered at once
	due     bool        // likewise: it has lingered long enough
	linger  *time.Timer // nil until first needed
	ticking bool        // linger is running
}

// add puts an encoded copy of rec into the batch being gathered. On success the record's outcome will be told to to.
func (p *partition) add(rec *Record, to outcome, want mq.Durability, size int64, limit int) error {
	m := mq.Record{Key: rec.Key, Value: rec.Value, Headers: rec.Headers, Timestamp: rec.Timestamp.UnixMilli()}
	p.mu.Lock()
	if p.closed {
		p.mu.Unlock()
		return ErrClosed
	}
	if b := p.open; b != nil && (b.want != want || b.builder.Len() >= maxBatchRecords || b.builder.SizeWith(m) > limit) {
		p.full.push(b)
		p.open, p.due = nil, false
	}
	if p.open == nil {
		p.open = p.c.supplies.batch(p, want)
	}
	b := p.open
	if err := b.builder.Append(m); err != nil {
		if len(b.recs) == 0 {
			p.open = nil
			p.c.supplies.recycle(b)
		}
		p.mu.Unlock()
		return err
	}
	b.recs = append(b.recs, pending{rec, to})
	b.size += size
	b.more = rec.stay == stayMore
	if rec.stay == stayLast || b.builder.Size() >= limit {
		p.full.push(b)
		p.open, p.due = nil, false
	}
	st, search := p.poke()
	p.tick()
	p.mu.Unlock()
	p.dispatch(st, search)
	return nil
}

// tick starts the linger timer if records are being held back and it does not run. The mutex is held.
func (p *partition) tick() {
	d := p.c.cfg.linger
	if p.ticking || d == 0 || p.open == nil || p.onWire == 0 && !p.held {
		return
	}
	p.ticking = true
	if p.linger == nil {
		p.linger = time.AfterFunc(d, p.lingered)
	} else {
		p.linger.Reset(d)
	}
}

// lingered sends what has been held back long enough.
func (p *partition) lingered() {
	p.mu.Lock()
	p.ticking = false
	if p.open != nil && !p.closed {
		if left := p.c.cfg.linger - time.Since(p.open.born); left > 0 {
			p.ticking = true
			p.linger.Reset(left)
		} else {
			p.due = true
		}
	}
	st, search := p.poke()
	p.mu.Unlock()
	p.dispatch(st, search)
}

// wake has the partition looked after if it has something to send.
func (p *partition) wake() {
	p.mu.Lock()
	st, search := p.poke()
	p.mu.Unlock()
	p.dispatch(st, search)
}

// poke decides who has to look after the partition: a stream, a search for the leader, or nobody. The mutex is held;
// the answer must be given to dispatch when it is not.
func (p *partition) poke() (st *produceStream, search bool) {
	if p.again == 0 && p.full.len() == 0 && p.open == nil || p.closed {
		return nil, false
	}
	if p.stream == nil {
		if p.searched || p.paused {
			return nil, false
		}
		p.searched = true
		return nil, true
	}
	if p.queued || !p.ready() {
		return nil, false
	}
	p.queued = true
	return p.stream, false
}

func (p *partition) dispatch(st *produceStream, search bool) {
	switch {
	case st != nil:
		st.enqueue(p)
	case search:
		p.c.route(p)
	}
}

// ready reports whether something may be sent now. The mutex is held.
func (p *partition) ready() bool {
	if p.stream == nil || p.paused || p.refused || !p.identified() {
		return false
	}
	if p.again > 0 {
		return true
	}
	if p.sent.len() >= p.c.cfg.window {
		return false
	}
	if p.full.len() > 0 {
		return true
	}
	if p.open == nil || p.flush || p.due || p.c.cfg.linger == 0 {
		return p.open != nil
	}
	return p.onWire == 0 && !(p.open.more && p.c.holding.busy(p))
}

// identified reports whether there is an identity to send under, and takes up a new one if it is needed and there. What was refused under the old
// one is numbered anew. The mutex is held.
func (p *partition) identified() bool {
	if p.id != nil || !p.c.cfg.idempotent {
		return true
	}
	id := p.c.identities.after(p.stale, p)
	if id == nil {
		return false
	}
	p.id, p.next = id, 0
	for _, b := range p.sent.all() {
		b.renumber(id, p.next)
		p.next = mq.AddSequence(p.next, int32(len(b.recs)))
	}
	return true
}

// take gives st the next batch to send. more says that the partition has to stay in st's ready list.
func (p *partition) take(st *produceStream) (b *batch, more bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.stream != st {
		return nil, false
	}
	p.queued = false
	if !p.ready() {
		return nil, false
	}
	b = p.pick()
	b.state, b.stream = onWire, st
	b.attempts++
	p.onWire++
	p.queued = p.ready()
	if !p.queued {
		p.tick()
	}
	return b, p.queued
}

// pick is the oldest batch that has to be sent. The mutex is held.
func (p *partition) pick() *batch {
	if p.again > 0 {
		for _, b := range p.sent.all() {
			if b.state == again {
				p.again--
				return b
			}
		}
	}
	var b *batch
	if p.full.len() > 0 {
		b = p.full.pop()
	} else {
		b, p.open = p.open, nil
		p.flush, p.due = false, false
	}
	if p.id != nil {
		b.id, b.sequence = p.id, p.next
		p.next = mq.AddSequence(p.next, int32(len(b.recs)))
	}
	p.sent.push(b)
	return b
}

// adopt gives the partition the stream of its link, unless it has another link by now. A stream that is dead already is not taken: lost comes
// next and starts anew.
func (p *partition) adopt(l *link, st *produceStream) {
	p.mu.Lock()
	if p.link == l && p.stream == nil && !st.isDead() {
		p.stream, p.searched = st, false
	}
	to, search := p.poke()
	p.mu.Unlock()
	p.dispatch(to, search)
}

// trim forgets the settled batches at the old end of sent. The mutex is held.
func (p *partition) trim() {
	for p.sent.len() > 0 && p.sent.all()[0].state == settled {
		b := p.sent.pop()
		b.trimmed = true
		p.reuse(b)
	}
}

// settle ends a batch with a verdict, to be told when no lock is held. The mutex is held.
func (p *partition) settle(out []verdict, v verdict) []verdict {
	switch v.b.state {
	case onWire:
		p.onWire--
	case again:
		p.again--
	}
	v.b.state = settled
	p.telling = append(p.telling, v.b)
	return append(out, v)
}

// told is called when the promises of a batch have been.
func (p *partition) told(b *batch) {
	p.mu.Lock()
	for i := range p.telling {
		if p.telling[i] == b {
			p.telling = append(p.telling[:i], p.telling[i+1:]...)
			break
		}
	}
	for _, wg := range b.flushers {
		wg.Done()
	}
	b.told = true
	p.reuse(b)
	p.mu.Unlock()
}

// reuse recycles a batch that ended by an answer and that nothing refers to any more. One that ended otherwise may still be in the hands of a
// stream's writer. The mutex is held.
func (p *partition) reuse(b *batch) {
	if b.answered && b.trimmed && b.told {
		p.c.supplies.recycle(b)
	}
}
