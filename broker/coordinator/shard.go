package coordinator

import (
	"context"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/rustmq/rustmq/group"
	"github.com/rustmq/rustmq/mq"
	"github.com/rustmq/rustmq/partition"
)

const (
	// maxOutbox is how many bytes of records of a shard wait to be appended before it takes no more requests.
	maxOutbox = 8 << 20
	// maxAhead is how many batches of a shard are on their way at a time. What is decided meanwhile is gathered, and goes when one of them is replicated: with one it would wait for a
	// whole round, with so many hardly longer than without a bound. A few members never wait.
	maxAhead = 16
	// gatherBytes is up to how many bytes of records are gathered: quick to encode, and far less than a batch may have.
	gatherBytes = 64 << 10
	// recordOverhead is about what a record takes in a batch beside its key and value, in bytes.
	recordOverhead = 20
)

// shard hosts one group.Shard: that of a partition which this node leads in one epoch.
type shard struct {
	c     *Coordinator
	index int32
	part  *partition.Partition
	epoch mq.Epoch

	mu      sync.Mutex
	serving bool  // it is loaded, and not dead
	why     error // while it does not serve
	groups  *group.Shard
	memory  int64 // that its groups hold, as the coordinator has counted
	token   group.Token
	waiting map[group.Token]func(group.Response, error)
	members map[group.Wake]*Member

	snapshot snapshot
	dead     atomic.Bool // set once, under ack

	ack      sync.Mutex // may be taken with mu held
	queue    []*entry   // of which not all may be told yet, in the order of their making
	outbox   []*entry   // those that are to be appended
	bytes    int        // of their records
	flushing bool       // somebody appends them
	ahead    int        // batches that were handed over and are not replicated
	cause    error      // of death
}

// entry is what one call of the group.Shard has decided.
type entry struct {
	shard   *shard
	records []group.Record
	bytes   int
	tells   []tell
	wakes   []group.Wake
	made    time.Time
	base    mq.Offset            // of the batch, once it is replicated
	settled bool                 // its records are replicated, or it has none
	then    func(base mq.Offset) // is called when it is told, with where its batch is, which has no other records; nil for none
}

// tell is an answer for somebody.
type tell struct {
	done     func(group.Response, error)
	response group.Response
	err      error
}

func newShard(c *Coordinator, index int32, part *partition.Partition, epoch mq.Epoch) *shard {
	return &shard{
		c: c, index: index, part: part, epoch: epoch, groups: group.NewShard(c.cfg.Groups, c.override),
		why:     mq.Errorf(mq.CoordinatorLoadInProgress, "partition %d of %s is being read", index, mq.OffsetsTopic),
		waiting: make(map[group.Token]func(group.Response, error)), members: make(map[group.Wake]*Member),
	}
}

// do handles a request and waits for the answer.
func (s *shard) do(ctx context.Context, name string, request group.Request) (group.Response, error) {
	type answer struct {
		response group.Response
		err      error
	}
	got := make(chan answer, 1)
	if err := s.handle(request, func(response group.Response, err error) { got <- answer{response, err} }); err != nil {
		return nil, err
	}
	select {
	case a := <-got:
		return a.response, a.err
	case <-ctx.Done():
		return nil, mq.Errorf(mq.RequestTimedOut, "wait for the coordinator of group %q: %w", name, context.Cause(ctx))
	}
}

// handle has the group.Shard handle a request.
func (s *shard) handle(request group.Request, done func(group.Response, error)) error {
	return s.run(func(now time.Time) group.Effects {
		s.token++
		s.waiting[s.token] = done
		return s.groups.Handle(now, s.token, request)
	}, nil)
}

// run has the group.Shard decide something, and sees to it that it is done. then, if not nil, is called when it is certain.
func (s *shard) run(decide func(now time.Time) group.Effects, then func(base mq.Offset)) error {
	s.mu.Lock()
	if err := s.refusal(); err != nil {
		s.mu.Unlock()
		return err
	}
	s.limit()
	e := s.entry(decide(time.Now()))
	s.count(s.groups.Bytes())
	e.then = then
	if at, ok := s.groups.Deadline(); ok {
		s.c.alarm.sooner(at)
	}
	ready := s.submit(e)
	s.mu.Unlock()
	s.flush()
	s.deliver(ready)
	return nil
}

// limit has the groups take no more than what those of this node may still take together, and twice that if it is for those that are there. The caller holds mu.
func (s *shard) limit() {
	most := s.c.cfg.MaxMemory
	if most == 0 {
		return
	}
	bytes, all := s.groups.Bytes(), s.c.memory.Load()
	s.groups.Limit(bytes+max(0, most-all), bytes+max(0, 2*most-all))
}

// count notes how much the groups hold. The caller holds mu.
func (s *shard) count(bytes int64) {
	s.c.memory.Add(bytes - s.memory)
	s.memory = bytes
}

// refusal is why no request is taken now. The caller holds mu.
func (s *shard) refusal() error {
	s.ack.Lock()
	defer s.ack.Unlock()
	switch {
	case s.cause != nil:
		return s.cause
	case !s.serving:
		return s.why
	case s.bytes > maxOutbox:
		return mq.Errorf(mq.CoordinatorNotAvailable, "partition %d of %s waits for its log", s.index, mq.OffsetsTopic)
	}
	return nil
}

// entry makes one of effects. The caller holds mu.
func (s *shard) entry(effects group.Effects) *entry {
	e := &entry{shard: s, made: time.Now(), records: effects.Records, wakes: effects.Wakes, settled: len(effects.Records) == 0}
	for _, r := range effects.Records {
		e.bytes += len(r.Key) + len(r.Value)
	}
	for _, r := range effects.Replies {
		done := s.waiting[r.Token]
		delete(s.waiting, r.Token)
		t := tell{done: done, response: r.Response}
		if r.Err != nil {
			t.err = r.Err
		}
		e.tells = append(e.tells, t)
	}
	return e
}

// submit puts e in its place, and gives what can be told at once. The caller holds mu.
func (s *shard) submit(e *entry) (ready []*entry) {
	s.ack.Lock()
	defer s.ack.Unlock()
	if s.cause != nil { // it died meanwhile
		e.fail(s.cause)
		return []*entry{e}
	}
	if e.settled && len(s.queue) == 0 {
		return []*entry{e}
	}
	s.queue = append(s.queue, e)
	if !e.settled {
		s.outbox = append(s.outbox, e)
		s.bytes += e.bytes
	}
	return nil
}

// flush appends what is in the outbox, unless somebody does, or enough is on its way: then that comes back here. It may be on the log's writer goroutine.
func (s *shard) flush() {
	s.ack.Lock()
	defer s.ack.Unlock()
	if s.flushing {
		return
	}
	s.flushing = true
	for len(s.outbox) > 0 && s.ahead < maxAhead && s.cause == nil {
		b := s.gather()
		s.ahead++ // it may be told before append returns
		s.ack.Unlock()
		appended := b.append()
		s.ack.Lock()
		if s.cause != nil {
			break
		}
		if !appended { // the loop tries again
			s.ahead--
			s.c.alarm.sooner(time.Now().Add(roomEvery))
			break
		}
		clear(s.outbox[:len(b.entries)])
		s.outbox = s.outbox[len(b.entries):]
		s.bytes -= b.bytes
	}
	if len(s.outbox) == 0 {
		s.outbox = nil
	}
	s.flushing = false
}

// batch is entries that are appended together.
type batch struct {
	shard   *shard
	entries []*entry
	bytes   int // of their records
}

// gather is what goes next of the outbox. An entry that wants to know where its records are goes alone. The caller holds ack.
func (s *shard) gather() *batch {
	n, bytes, size := 0, 0, 0
	for _, e := range s.outbox {
		more := e.bytes + recordOverhead*len(e.records)
		if n > 0 && (e.then != nil || size+more > gatherBytes) {
			break
		}
		n, bytes, size = n+1, bytes+e.bytes, size+more
		if e.then != nil {
			break
		}
	}
	return &batch{shard: s, entries: slices.Clone(s.outbox[:n]), bytes: bytes}
}

// append hands the records to the partition as one batch; false: the log has no room.
func (b *batch) append() bool {
	s := b.shard
	records, err := batchOf(b.entries)
	if err != nil {
		s.die(mq.Wrapf(err, "write records of groups"))
		return true
	}
	switch err := s.c.cfg.Reserve(overContext(), partition.LogBytes(records)); mq.CodeOf(err) {
	case mq.None:
	case mq.Canceled, mq.StorageFull:
		return false
	default: // the log has failed, or takes no batch of this length
		s.die(err)
		return true
	}
	for _, e := range b.entries {
		e.records = nil
	}
	s.part.AppendIn(s.epoch, records, mq.DurabilityAll, b) // this node may lead again by now, after another one has changed what this was decided by
	return true
}

// overContext is one that is over: who asks with it does not wait.
func overContext() context.Context {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	return ctx
}

// batchOf makes a batch of the records of entries.
func batchOf(entries []*entry) (mq.Batch, error) {
	b, err := mq.NewBatchBuilder(mq.CompressionNone, 0)
	if err != nil {
		return nil, err
	}
	now := time.Now().UnixMilli()
	for _, e := range entries {
		for _, r := range e.records {
			if err := b.Append(mq.Record{Key: r.Key, Value: r.Value, Timestamp: now}); err != nil {
				return nil, err
			}
		}
	}
	return b.Build(nil, mq.NoProducerID, mq.NoProducerEpoch, mq.NoSequence)
}

// Complete implements partition.Completion.
func (b *batch) Complete(r partition.AppendResult) {
	s := b.shard
	if r.Err != nil {
		s.die(r.Err)
		return
	}
	s.ack.Lock()
	s.ahead--
	for _, e := range b.entries {
		e.base, e.settled = r.Base, true
	}
	n := 0
	for n < len(s.queue) && s.queue[n].settled {
		n++
	}
	ready := s.queue[:n:n]
	s.queue = s.queue[n:]
	s.ack.Unlock()
	s.deliver(ready)
	s.flush()
}

// deliver tells what is certain.
func (s *shard) deliver(ready []*entry) {
	for _, e := range ready {
		if len(e.tells) > 0 && !s.dead.Load() {
			// Whoever was replaced, or may have been, tells nothing: the next one may have decided otherwise.
			if _, err := s.part.VisibleEnd(mq.IsolationCommitted); err != nil || s.part.LeaderEpoch() != s.epoch {
				s.die(mq.Errorf(mq.NotLeaderOrFollower, "node %d leads partition %d of %s in epoch %d no more", s.c.cfg.Node, s.index, mq.OffsetsTopic, s.epoch))
			}
		}
		if s.dead.Load() {
			e.fail(s.causeOfDeath())
		}
		e.tell()
	}
}

// fail has all that e tells be an error.
func (e *entry) fail(err error) {
	for i := range e.tells {
		e.tells[i].response, e.tells[i].err = nil, err
	}
	e.wakes, e.then = nil, nil
}

func (e *entry) tell() {
	for _, t := range e.tells {
		if t.done != nil {
			t.done(t.response, t.err)
		}
	}
	for _, w := range e.wakes {
		e.shard.c.poke(e.shard, w)
	}
	if e.then != nil {
		e.then(e.base)
	}
}

// die throws the shard away. What is not certain yet fails; the loop does the rest.
func (s *shard) die(err error) {
	s.ack.Lock()
	if s.cause != nil {
		s.ack.Unlock()
		return
	}
	s.cause = mq.Errorf(mq.NotCoordinator, "partition %d of %s: %w", s.index, mq.OffsetsTopic, err)
	queue := s.queue
	s.queue = nil
	s.dead.Store(true)
	s.ack.Unlock()
	for _, e := range queue {
		e.fail(s.cause)
		e.tell()
	}
	signal(s.c.wake)
}

// stuck says whether something is to be appended that the log had no room for.
func (s *shard) stuck() bool {
	s.ack.Lock()
	defer s.ack.Unlock()
	return len(s.outbox) > 0 && !s.flushing && s.ahead < maxAhead
}

// waitsSince is how long the oldest decision has not been told.
func (s *shard) waitsSince() (since time.Time, waits bool) {
	s.ack.Lock()
	defer s.ack.Unlock()
	if len(s.queue) == 0 {
		return since, false
	}
	return s.queue[0].made, true
}

func (s *shard) causeOfDeath() error {
	s.ack.Lock()
	defer s.ack.Unlock()
	return s.cause
}

// bury has those who wait for a dead shard hear of it, and reports whether another one may take its place: its last append was handed over.
func (s *shard) bury() bool {
	cause := s.causeOfDeath()
	s.mu.Lock()
	waiting, members := s.waiting, s.members
	if s.serving {
		s.c.buried.Add(s.groups.Figures().Rebalances)
	}
	s.waiting, s.members, s.serving = nil, nil, false
	s.count(0)
	s.ack.Lock()
	idle := !s.flushing
	s.outbox = nil
	s.ack.Unlock()
	s.mu.Unlock()
	for _, done := range waiting {
		done(nil, cause)
	}
	for _, m := range members {
		m.end(cause)
	}
	return idle
}

// figures are those of now, and whether the shard serves; of one that is dead and not buried yet they are its last.
func (s *shard) figures() (f group.Figures, serves bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.serving {
		return f, false
	}
	return s.groups.Figures(), !s.dead.Load()
}
