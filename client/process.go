package client

import (
	"context"
	"errors"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/rustmq/rustmq/mq"
)

// Processor is what [Process] does: consume, transform, produce.
type Processor struct {
	// Consume makes the consumer: [Group] and [Topics] or [TopicPattern], and what else is wanted but [AutoCommit].
	Consume []ConsumerOption
	// Handle transforms: [EachRecord], [EachBatch] or [EachWindow].
	Handle Handler
	// Poison is what becomes of records on which the handler fails.
	Poison Poison
}

// Handler turns what is consumed into what is produced. Make one with [EachRecord], [EachBatch] or [EachWindow].
type Handler struct {
	record func(context.Context, *Record) ([]*Record, error)
	batch  func(context.Context, []Record) ([]*Record, error)
	window func(context.Context, *TimeWindow) ([]*Record, error)
	size   time.Duration
	grace  time.Duration
}

// EachRecord handles one record at a time, those of a partition in order. What f returns is produced, in order; nil for nothing.
func EachRecord(f func(ctx context.Context, rec *Record) ([]*Record, error)) Handler {
	return Handler{record: f}
}

// EachBatch handles records of one partition in offset order, as many as came together. When it fails for good, [Poison] has it called with each of them alone, so
// that one bad record takes no good ones with it.
func EachBatch(f func(ctx context.Context, recs []Record) ([]*Record, error)) Handler {
	return Handler{batch: f}
}

// Process consumes as a member of a group, has what comes transformed, and produces what comes of it, until ctx ends (then its error is returned) or something fails for good. Input is committed
// only when all that came of it is durable, as [RequiredAcks] or the records say: each record is processed at least once, and what it leads to is produced again if this
// process dies, or loses partitions, before that is committed. A commit that fails is repeated every five seconds.
//
// Handlers run on the calling goroutine, one call at a time; output is in flight meanwhile, bounded by [MaxBufferedBytes]. Partitions are given up when what came of
// them is durable and committed. Processes of the same group share the partitions; run several in one process for more processors.
func Process(ctx context.Context, c *Client, p Processor) error {
	if err := p.Poison.check(); err != nil {
		return err
	}
	if p.Handle.record == nil && p.Handle.batch == nil && p.Handle.window == nil {
		return invalid("Process: a Handler is needed")
	}
	r := &processing{c: c, Processor: p, parts: make(map[TopicPartition]*progress), settled: make(chan struct{}, 1)}
	k, err := c.NewConsumer(append(append([]ConsumerOption(nil), p.Consume...), r.join)...)
	if err != nil {
		return err
	}
	r.k = k
	err = r.run(ctx)
	if fatal := r.failure(); fatal != nil {
		err = fatal
	}
	r.finish()
	return errors.Join(err, k.Close())
}

// processing is one run of Process.
type processing struct {
	Processor
	c     *Client
	k     *Consumer
	group string

	settled chan struct{} // cap 1: some output is
	look    time.Time     // when to look for commits that failed; the goroutine's that handles

	mu    sync.Mutex
	parts map[TopicPartition]*progress
	err   error // why it ends: a handler or output that failed
}

// commitAgainAfter is after which time it is tried again to commit what could not be: with one more try when partitions are given up.
const commitAgainAfter = DefaultAutoCommitInterval

// progress is how far a partition has come. All but failed is guarded by its processing's mutex.
type progress struct {
	failed  atomic.Int64  // when the last commit has failed, ns since 1970; 0: it has not, or another one is on its way
	next    mq.Offset     // behind what the handler has got
	known   int32         // as of CommitOffset, of the record before
	units   []*unit       // whose output is not durable yet
	windows []*TimeWindow // open, by their start
	records int           // in windows
	newest  time.Time     // timestamp of the records that came
	came    time.Time     // when the last ones did
}

// unit is input that was handled, and the output that it has led to.
type unit struct {
	part *progress
	from mq.Offset // of its first record
	left int       // of the output, and one while more is added
}

// join is the last option of the consumer.
func (r *processing) join(c *consumerConfig) error {
	g := c.member()
	r.group = g.name
	g.autoCommit = 0
	revoked, lost := g.revoked, g.lost
	g.revoked = func(ctx context.Context, k *Consumer, list []TopicPartition) {
		r.giveUp(ctx, list)
		call(ctx, revoked, k, list)
	}
	g.lost = func(ctx context.Context, k *Consumer, list []TopicPartition) {
		r.forget(list)
		call(ctx, lost, k, list)
	}
	return nil
}

func (r *processing) run(ctx context.Context) error {
	for {
		recs, err := r.poll(ctx)
		if err != nil {
			return err
		}
		if len(recs) > 0 {
			if err := r.take(ctx, recs); err != nil {
				return err
			}
		}
		if r.Handle.window != nil {
			if err := r.closeWindows(ctx); err != nil {
				return err
			}
		}
		if now := time.Now(); !now.Before(r.look) {
			r.look = now.Add(lookAtWindows)
			r.commitAgain(now.Add(-commitAgainAfter), nil)
		}
		if err := r.failure(); err != nil {
			return err
		}
	}
}

// poll waits for records; none when windows or output are to be looked at.
func (r *processing) poll(outer context.Context) ([]Record, error) {
	ctx, cancel := context.WithTimeout(outer, lookAtWindows)
	defer cancel()
	recs, err := r.k.Poll(ctx)
	if err != nil && outer.Err() == nil && ctx.Err() != nil {
		return nil, nil
	}
	return recs, err
}

// take has records handled, all of one partition.
func (r *processing) take(ctx context.Context, recs []Record) error {
	first, last := &recs[0], &recs[len(recs)-1]
	r.mu.Lock()
	p := r.parts[TopicPartition{first.Topic, first.Partition}]
	if p == nil {
		p = &progress{}
		r.parts[TopicPartition{first.Topic, first.Partition}] = p
	}
	u := p.begin(first.Offset)
	r.mu.Unlock()
	var err error
	switch {
	case r.Handle.record != nil:
		for i := range recs {
			if err = r.one(ctx, u, &recs[i]); err != nil {
				break
			}
		}
	case r.Handle.batch != nil:
		err = r.many(ctx, u, recs)
	default:
		r.mu.Lock()
		p.sort(recs, r.Handle.size)
		r.mu.Unlock()
	}
	if err != nil {
		return r.fail(err) // nothing of the unit is ever committed
	}
	r.mu.Lock()
	p.next, p.known = last.Offset+1, After(last).known
	r.mu.Unlock()
	r.done(u, nil)
	return nil
}

// begin is a new unit, with the count that done takes away. The mutex is held.
func (p *progress) begin(from mq.Offset) *unit {
	u := &unit{part: p, from: from, left: 1}
	p.units = append(p.units, u)
	return u
}

// one has one record handled.
func (r *processing) one(ctx context.Context, u *unit, rec *Record) error {
	var out []*Record
	of := r.c.RecordContext(ctx, rec)
	attempts, err := r.Poison.try(ctx, func() (err error) {
		out, err = r.Handle.record(of, rec)
		return err
	})
	if err != nil {
		return r.poisoned(ctx, u, rec, attempts, err)
	}
	r.produce(of, u, out)
	return nil
}

// many has a batch handled, or each of its records alone.
func (r *processing) many(ctx context.Context, u *unit, recs []Record) error {
	var out []*Record
	attempts, err := r.Poison.try(ctx, func() (err error) {
		out, err = r.Handle.batch(ctx, recs)
		return err
	})
	switch {
	case err == nil:
		r.produce(ctx, u, out)
		return nil
	case len(recs) == 1 || !r.Poison.handles() || ctx.Err() != nil:
		return r.poisoned(ctx, u, &recs[0], attempts, err)
	}
	for i := range recs {
		if err := r.many(ctx, u, recs[i:i+1]); err != nil {
			return err
		}
	}
	return nil
}

// poisoned does what Poison says with a record that was tried often enough. The error is one to end with.
func (r *processing) poisoned(ctx context.Context, u *unit, rec *Record, attempts int, cause error) error {
	switch {
	case ctx.Err() != nil:
		return transportError(ctx, ctx.Err())
	case r.Poison.DeadLetter != "":
		r.produce(ctx, u, []*Record{r.Poison.deadLetter(rec, r.group, attempts, cause)})
		return nil
	case r.Poison.Skip:
		r.c.log.Error("a record is left out", "topic", rec.Topic, "partition", rec.Partition, "offset", int64(rec.Offset), "attempts", attempts, "err", cause)
		return nil
	default:
		return &PartitionError{Topic: rec.Topic, Partition: rec.Partition, Err: mq.Wrapf(cause, "handle offset %d", rec.Offset)}
	}
}

// produce sends what came of a unit.
func (r *processing) produce(ctx context.Context, u *unit, out []*Record) {
	r.mu.Lock()
	u.left += len(out)
	r.mu.Unlock()
	for _, rec := range out {
		r.c.Produce(ctx, rec, func(_ *Record, err error) { r.done(u, err) })
	}
}

// done notes that one of the things is settled that a unit waits for, and commits what can be.
func (r *processing) done(u *unit, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if err != nil {
		if r.err == nil {
			r.err = mq.Wrapf(err, "produce what was processed")
		}
		return // it stays: nothing from it on is committed
	}
	if u.left--; u.left > 0 {
		return
	}
	p := u.part
	for i, other := range p.units {
		if other == u {
			p.units = append(p.units[:i], p.units[i+1:]...)
			break
		}
	}
	for tp, known := range r.parts {
		if known == p {
			r.commit(tp, p)
		}
	}
	select {
	case r.settled <- struct{}{}:
	default:
	}
}

// commit has committed what is done of a partition. The mutex is held.
func (r *processing) commit(tp TopicPartition, p *progress) {
	p.failed.Store(0)
	r.k.CommitAsync(func(err error) { // maybe at once
		if err == nil {
			p.failed.Store(0)
			return
		}
		p.failed.Store(time.Now().UnixNano())
		r.c.noteTrouble(mq.Wrapf(err, "commit what was processed"))
	}, p.commit(tp))
}

// commitAgain has committed what could not be, by a time, of partitions; nil for all. A later commit makes up for it, too; but there may be none for long.
func (r *processing) commitAgain(before time.Time, list []TopicPartition) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for tp, p := range r.parts {
		if at := p.failed.Load(); at != 0 && at <= before.UnixNano() && (list == nil || slices.Contains(list, tp)) {
			r.commit(tp, p)
		}
	}
}

// commit is up to where all is done. The mutex is held.
func (p *progress) commit(tp TopicPartition) CommitOffset {
	low := CommitOffset{Topic: tp.Topic, Partition: tp.Partition, Offset: p.next, known: p.known}
	for _, u := range p.units {
		if u.from < low.Offset {
			low.Offset, low.known = u.from, 0
		}
	}
	for _, w := range p.windows {
		if at := w.Records[0].Offset; at < low.Offset {
			low.Offset, low.known = at, 0
		}
	}
	return low
}

// giveUp waits until what came of partitions is durable, as far as ctx allows and nothing fails, and hands in the commits of it, those that failed once more. Windows that are open are the next owner's.
func (r *processing) giveUp(ctx context.Context, list []TopicPartition) {
	for r.inFlight(list) {
		select {
		case <-r.settled:
		case <-time.After(lookAtWindows):
		case <-ctx.Done():
			r.forget(list)
			return
		}
	}
	r.commitAgain(time.Now(), list)
	r.forget(list)
}

// inFlight reports whether output of partitions is on its way.
func (r *processing) inFlight(list []TopicPartition) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.err != nil {
		return false
	}
	for _, tp := range list {
		if p := r.parts[tp]; p != nil && len(p.units) > 0 {
			return true
		}
	}
	return false
}

// forget commits nothing more of partitions.
func (r *processing) forget(list []TopicPartition) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, tp := range list {
		delete(r.parts, tp)
	}
}

// fail notes why the run ends.
func (r *processing) fail(err error) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.err == nil {
		r.err = err
	}
	return r.err
}

func (r *processing) failure() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.err
}

// finish waits until what is on its way is durable and committed, not for long.
func (r *processing) finish() {
	ctx, cancel := context.WithTimeout(context.Background(), leaveTime)
	defer cancel()
	r.mu.Lock()
	var list []TopicPartition
	for tp, p := range r.parts {
		if len(p.units) > 0 {
			list = append(list, tp)
		}
	}
	r.mu.Unlock()
	r.giveUp(ctx, list)
}
