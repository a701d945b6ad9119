package server

import (
	"context"
	"slices"
	"sync"

	"github.com/rustmq/rustmq/quicproto"
)

// ackQueue gathers what is to be told on a produce stream, and bounds how much that can be: what is in flight and what is
// not yet written are together at most twice window, and as much again is written without waiting.
//
// A goroutine writes what has gathered. While the server has little to do the one that completes a batch writes its ack
// itself, if the stream takes it without waiting: for who waits for a lone record that is one hand-off less.
type ackQueue struct {
	ss     *session
	window int
	try    func([]byte) error // queues bytes on the stream or fails, and never waits; nil where a stream cannot do that
	wake   chan struct{}      // cap 1: there is something to write, or an end
	roomy  chan struct{}      // cap 1: the window has room again

	mu       sync.Mutex
	acks     []quicproto.Ack
	bounds   []quicproto.Bound
	open     int  // frames taken in whose answer the writer has not taken out
	waiting  bool // the reader waits for room
	finished bool // no more frames come
	dead     bool // no more answers are wanted
	busy     bool // the writer has taken something out
	inline   bool // somebody who completes writes
	inlined  int  // written inline since the writer last wrote

	// Of whoever writes inline.
	one   quicproto.ProduceAcks
	frame []byte
}

// inlineAcks is up to how many batches in flight, of all sessions, acks are written by who completes them. That is mostly the log's writer, whose
// time is worth more the more there is to do.
const inlineAcks = 16

func newAckQueue(ss *session, st stream, window int) *ackQueue {
	q := &ackQueue{ss: ss, window: window, wake: make(chan struct{}, 1), roomy: make(chan struct{}, 1)}
	if t, ok := st.(interface{ TryWriteAll([]byte) error }); ok {
		q.try = t.TryWriteAll
	}
	return q
}

// room waits until one more frame may be in flight. Only the reader calls it.
func (q *ackQueue) room(ctx context.Context) error {
	for {
		q.mu.Lock()
		ok := q.open < q.window
		q.waiting = !ok
		q.mu.Unlock()
		if ok {
			return nil
		}
		select {
		case <-q.roomy:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// submitted counts a batch that goes to the broker, which completed ends.
func (q *ackQueue) submitted() {
	q.ss.busy.Add(1)
	q.ss.srv.inFlightBatches.Add(1)
	q.mu.Lock()
	q.open++
	q.mu.Unlock()
}

// completed queues the ack of a submitted batch, or writes it. It never waits.
func (q *ackQueue) completed(a quicproto.Ack) {
	few := q.ss.srv.inFlightBatches.Add(-1) < inlineAcks
	q.mu.Lock()
	if !q.dead {
		q.acks = append(q.acks, a)
	}
	// A client may take all into QUIC's buffer and confirm nothing. The writer waits for it, so now and then it is the writer's turn.
	inline := few && q.try != nil && !q.busy && !q.inline && q.inlined < q.window && len(q.acks) == 1 && len(q.bounds) == 0
	q.inline = q.inline || inline
	q.mu.Unlock()
	if !inline || q.writeInline(a) {
		signal(q.wake)
	}
	q.ss.touch()
	q.ss.busy.Add(-1)
}

// writeInline writes the only ack that is queued, and says whether the writer has something to do all the same.
func (q *ackQueue) writeInline(a quicproto.Ack) (more bool) {
	q.one.Acks = append(q.one.Acks[:0], a)
	q.frame = quicproto.AppendFrame(q.frame[:0], &q.one)
	err := q.try(q.frame) // if it fails otherwise than for want of room, so will the writer
	q.mu.Lock()
	defer q.mu.Unlock()
	q.inline = false
	if err == nil && !q.dead {
		q.acks = slices.Delete(q.acks, 0, 1)
		q.inlined++
		q.taken(1)
	}
	return len(q.acks)+len(q.bounds) > 0 || q.finished
}

// taken counts answers that are written, or are the writer's. The caller holds mu.
func (q *ackQueue) taken(n int) {
	q.open -= n
	if q.waiting && q.open < q.window {
		q.waiting = false
		signal(q.roomy)
	}
}

// refused queues the ack of a batch that was not submitted.
func (q *ackQueue) refused(request uint64, err error) {
	q.ss.srv.counters.produceErrors.Add(1)
	a := failedAck(request, err)
	q.mu.Lock()
	q.open++
	q.acks = append(q.acks, a)
	q.mu.Unlock()
	signal(q.wake)
}

// bound queues the answer to a Bind.
func (q *ackQueue) bound(b quicproto.Bound) {
	q.mu.Lock()
	q.open++
	q.bounds = append(q.bounds, b)
	q.mu.Unlock()
	signal(q.wake)
}

// finish tells that no more frames come: write returns when all that came are answered.
func (q *ackQueue) finish() {
	q.mu.Lock()
	q.finished = true
	q.mu.Unlock()
	signal(q.wake)
}

// swap takes out what is queued and puts the emptied slices in its place. last means that nothing will follow.
func (q *ackQueue) swap(acks []quicproto.Ack, bounds []quicproto.Bound) (_ []quicproto.Ack, _ []quicproto.Bound, last bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.inline { // who is at it signals if there is more
		return acks[:0], bounds[:0], false
	}
	if q.busy {
		q.inlined = 0 // what was taken out before is written, and so was what stood before it
	}
	acks, q.acks = q.acks, acks[:0]
	bounds, q.bounds = q.bounds, bounds[:0]
	q.busy = len(acks)+len(bounds) > 0
	q.taken(len(acks) + len(bounds))
	return acks, bounds, q.finished && q.open == 0
}

// write writes answers until finish has been called and all are written, or ctx ends, or the stream fails.
func (q *ackQueue) write(ctx context.Context, out *quicproto.FrameWriter) error {
	defer q.abandon()
	var acks []quicproto.Ack
	var bounds []quicproto.Bound
	for {
		var last bool
		acks, bounds, last = q.swap(acks, bounds)
		// A Bound goes before the acks of frames that used it.
		for i := range bounds {
			if err := out.Write(&bounds[i]); err != nil {
				return err
			}
		}
		if err := writeAcks(out, acks); err != nil {
			return err
		}
		if err := out.Flush(); err != nil {
			return err
		}
		if last {
			return nil
		}
		if len(acks)+len(bounds) > 0 {
			continue // more may have come meanwhile
		}
		acks, bounds = shrink(acks), shrink(bounds)
		out.Release()
		select {
		case <-q.wake:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// abandon drops answers that nobody will read.
func (q *ackQueue) abandon() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.dead = true
	q.acks, q.bounds = nil, nil
}

// keepAcks is the largest slice, in elements, that an idle stream keeps.
const keepAcks = 64

func shrink[T any](s []T) []T {
	if cap(s) > keepAcks {
		return nil
	}
	clear(s[:cap(s)])
	return s
}

// ackFrameBytes is at which payload an acks frame is ended and another begun, bytes: below quicproto.MaxAcksBytes by more
// than the longest ack.
const ackFrameBytes = quicproto.MaxAcksBytes - 4<<10

// writeAcks puts acks into as few frames as the format's limits let.
func writeAcks(out *quicproto.FrameWriter, acks []quicproto.Ack) error {
	for len(acks) > 0 {
		n, size := 0, 0
		for n < len(acks) && n < quicproto.MaxAcks && size < ackFrameBytes {
			size += quicproto.AckSize(&acks[n])
			n++
		}
		if err := out.Write(&quicproto.ProduceAcks{Acks: acks[:n]}); err != nil {
			return err
		}
		acks = acks[n:]
	}
	return nil
}

// signal wakes whoever waits on a channel with room for one, now or later.
func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}
