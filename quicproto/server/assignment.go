package server

import (
	"time"

	"github.com/rustmq/rustmq/mq"
	"github.com/rustmq/rustmq/quicproto"
)

// assignment is one partition of a subscription. All but queued belongs to the pushing goroutine.
type assignment struct {
	sub     *subscription
	reader  Reader
	handle  uint32
	gen     uint32
	next    mq.Offset // to be read next
	told    mq.Offset // where the client was told that it has caught up, -1 for nowhere
	origin  quicproto.Origin
	paused  bool
	stopped bool // after a Status was told: until a Seek
	removed bool
	aside   *asideRead // waiting, running, or finished and not served
	moved   *quicproto.Seek
	empty   int           // Reads in a row that found nothing although Await said that there was
	backoff time.Duration // last wait after a trouble that passes
	retry   *time.Timer
	since   time.Time // of the trouble that passes, zero for none

	queued bool // in sub.ready; guarded by sub.mu
}

// How long a partition waits after a trouble that passes: at first, and at most, doubling from one to the next.
const (
	minBackoff = 50 * time.Millisecond
	maxBackoff = 5 * time.Second
)

// Wake implements Waiter.
func (a *assignment) Wake() { a.sub.enqueue(a) }

// start begins delivery at an offset or named place, under a generation.
func (a *assignment) start(gen uint32, at mq.Offset) error {
	if a.origin == quicproto.FromTiered && at < 0 {
		a.stopped = true
		return a.sub.out.Write(&quicproto.Assigned{
			Handle: a.handle, Generation: gen, Offset: -1, LogStart: -1, HighWatermark: -1,
			Code: mq.InvalidRequest, Msg: "only the leader knows where a partition begins and ends",
		})
	}
	topic, logStart, highWatermark, end := a.reader.Offsets()
	switch at {
	case quicproto.OffsetLatest:
		at = end
	case quicproto.OffsetEarliest:
		at = logStart
	}
	a.gen, a.next, a.told, a.stopped, a.backoff, a.since = gen, at, -1, false, 0, time.Time{}
	a.sub.enqueue(a)
	return a.sub.out.Write(&quicproto.Assigned{
		Handle: a.handle, Generation: gen, TopicID: topic, Offset: at, LogStart: logStart, HighWatermark: highWatermark,
	})
}

func (a *assignment) seek(f *quicproto.Seek) error {
	if a.aside != nil {
		if !a.aside.drop(false) { // it wakes a when it has ended
			a.moved = f
			return nil
		}
		a.aside = nil
	}
	return a.start(f.Generation, f.Offset)
}

// remove ends the assignment. The reader is closed as soon as nothing uses it.
func (a *assignment) remove() {
	a.removed = true
	if a.retry != nil {
		a.retry.Stop()
	}
	if a.aside != nil && !a.aside.drop(true) {
		return // still running: it closes the reader
	}
	a.reader.Close()
}

// serve gives a its turn: one Records frame, or one step nearer to one. The error is the stream's.
func (a *assignment) serve() error {
	if a.removed {
		return nil
	}
	if c := a.aside; c != nil {
		if !c.finished() {
			return nil // it wakes a when it is
		}
		defer c.release() // not before what it found is sent
		a.aside = nil
		if f := a.moved; f != nil {
			a.moved = nil
			return a.start(f.Generation, f.Offset)
		}
		if a.paused || a.stopped {
			return nil // to be read again on Resume
		}
		return a.deliver(c.got, c.err, true)
	}
	if a.paused || a.stopped {
		return nil
	}
	if from := a.reader.Source(a.next); a.isElsewhere(from) {
		return a.refer()
	} else if from != FromMemory {
		a.readAside(from)
		return nil
	}
	got, err := a.reader.Read(a.sub.ctx, a.next, a.sub.max, a.sub.buf)
	if err == nil && got.Buf != nil {
		a.sub.buf = got.Buf
	}
	return a.deliver(got, err, false)
}

// deliver sends what a Read from a.next found and arranges for the next turn.
func (a *assignment) deliver(got Fetched, err error, aside bool) error {
	if err != nil {
		return a.trouble(err)
	}
	n := 0
	for _, b := range got.Batches {
		n += len(b)
	}
	caughtUp := got.Next >= got.End
	if n == 0 && got.Next == a.next && (!caughtUp || a.told == a.next) {
		a.park()
		return nil
	}
	a.next, a.backoff, a.empty, a.since = got.Next, 0, 0, time.Time{}
	if caughtUp {
		a.told = a.next
	}
	f := quicproto.Records{
		Handle: a.handle, Generation: a.gen, End: caughtUp, Next: got.Next,
		HighWatermark: got.HighWatermark, LogStart: got.LogStart, LogEnd: got.LogEnd,
	}
	if !caughtUp { // else parking comes after the write, so that all that is appended meanwhile is one turn
		from := FromMemory
		if aside {
			from = a.reader.Source(a.next)
		}
		if from == FromMemory || a.isElsewhere(from) {
			a.sub.enqueue(a)
		} else {
			a.readAside(from) // while this is being sent
		}
	}
	a.sub.ss.srv.counters.fetchFrames.Add(1)
	a.sub.ss.srv.counters.fetchBytes.Add(uint64(n))
	if err := a.sub.out.WriteRecords(&f, got.Batches); err != nil {
		return err
	}
	if caughtUp {
		a.park()
	}
	return nil
}

// isElsewhere reports whether what comes next, and would come from there, is for another node to deliver. What is below the log start a Read refuses.
func (a *assignment) isElsewhere(from Source) bool {
	if from == FromStore && a.origin == quicproto.FromLeaderUntilTiered {
		_, logStart, _, _ := a.reader.Offsets()
		return a.next >= logStart
	}
	return from == FromElsewhere
}

// refer tells the client that what comes next is to be had elsewhere.
func (a *assignment) refer() error {
	a.stopped = true
	a.sub.ss.srv.counters.referrals.Add(1)
	return a.sub.out.Write(&quicproto.Status{Handle: a.handle, Generation: a.gen, Next: a.next, LogStart: -1, LogEnd: -1})
}

// patience is how many times in a row a broker may say that there is something and then not have it, before that is
// taken for a trouble that passes. Once is a race that it lost.
const patience = 4

// park waits for more without holding anything.
func (a *assignment) park() {
	if a.reader.Await(a.next, a) {
		a.empty = 0
		return
	}
	if a.empty++; a.empty > patience {
		a.waitOut()
		return
	}
	a.sub.enqueue(a)
}

// waitOut gives a its next turn after a while, longer each time.
func (a *assignment) waitOut() {
	a.backoff = min(max(2*a.backoff, minBackoff), maxBackoff)
	a.retry = time.AfterFunc(a.backoff, a.Wake)
}

// trouble handles a failed Read: what passes by itself is waited out for a while, the rest is told and stops delivery.
func (a *assignment) trouble(err error) error {
	if over := a.sub.ctx.Err(); over != nil {
		return nil //nolint:nilerr // nobody is left to tell: the subscription is over
	}
	code := mq.CodeOf(err)
	if a.passes(code) {
		a.waitOut()
		return nil
	}
	a.stopped = true
	f := &quicproto.Status{Handle: a.handle, Generation: a.gen, Next: a.next, LogStart: -1, LogEnd: -1}
	f.Code, f.Msg = quicproto.CodeAndText(err)
	if code == mq.OffsetOutOfRange {
		_, f.LogStart, _, f.LogEnd = a.reader.Offsets()
	}
	return a.sub.out.Write(f)
}

// passes says whether a trouble is one that passes by itself, and has not lasted for too long: whoever waits should know what for.
func (a *assignment) passes(code mq.Code) bool {
	switch code {
	case mq.ObjectStoreUnavailable, mq.ThrottlingQuotaExceeded, mq.RequestTimedOut, mq.OffsetNotAvailable, mq.Canceled:
	default:
		return false
	}
	if a.since.IsZero() {
		a.since = time.Now()
	}
	return time.Since(a.since) < a.sub.ss.srv.limits.TroubleTime
}
