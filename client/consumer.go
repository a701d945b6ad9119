package client

import (
	"context"
	"errors"
	"io"
	"iter"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/rustmq/rustmq/mq"
	"github.com/rustmq/rustmq/quicproto"
)

// Consumer reads partitions, each in offset order without gaps or duplicates, also over reconnections: those that it was told to read ([Assign]), and then it stores
// no offsets; or, as a member of a consumer group ([Group]), those that the group's coordinator assigns to it, from the offsets that the group has committed.
//
// One goroutine at a time may be in Records, Batches or Poll; all other methods are for any goroutine at any time.
type Consumer struct {
	c      *Client
	cfg    consumerConfig
	lane   int // the first of its own connections, of which it has as many to a node as [Connections] says
	ctx    context.Context
	cancel context.CancelFunc
	wg     sync.WaitGroup
	wake   chan struct{} // something happened that Poll may wait for

	mu       sync.Mutex
	closed   bool
	sealed   bool    // no goroutine may be started any more
	member   *member // of a group, nil if it is none
	hand     hand    // what the application has got last
	parts    map[TopicPartition]*assignment
	fetchers map[slotKey]*fetcher
	queue    queue[*fetched]
	queued   int64         // bytes in queue
	room     chan struct{} // closed, and made anew, when queue has shrunk
	failures queue[error]  // of partitions, not told yet
	behind   []mq.NodeID   // who answered with leaders of before, lately; of routeLoop
	outdated bool          // the last answer was such a one; likewise
	versions uint32        // given to assignments, as versions and as generations
	routing  bool          // a goroutine looks for leaders
	hurt     bool          // it is to pause before it does
	retry    *eagerBackoff
	brokers  []quicproto.Broker     // those that live, as metadata said last
	absences map[mq.NodeID]*absence // brokers of the rack that are left alone for a while

	// Of the goroutine in Poll.
	current *fetched // that batch is from
	batch   *Batch   // that rest is from
	rest    []Record // decoded and not handed out
}

// assignment is one partition that is read. It is guarded by its consumer's mutex.
type assignment struct {
	tp       TopicPartition
	from     Position  // where to start, while next is not known
	next     mq.Offset // to fetch next, -1 if not known
	floor    mq.Offset // records below it are not wanted, -1 if not known
	position mq.Offset // behind what was handed out, -1 if not known
	stop     mq.Offset // records from here on are not wanted, -1 for none
	topic    mq.TopicID
	epoch    mq.Epoch // of the leader, the newest that was told of
	version  uint32   // another for each change of place, unique in the consumer: what was fetched under an older one is stale
	paused   bool
	failed   bool
	unknown  int // how often in succession the partition was not there

	leader    mq.NodeID // that it was fetched from last
	refers    bool      // the leader was told that what only the object store has is read elsewhere
	tiered    bool      // it is read from a broker of the rack, which may not lead it
	delivered bool      // records have come from there
	home      absence   // for how long it stays with the leader
	high      mq.Offset // the high watermark as the leader said last

	fetcher    *fetcher // nil while there is none
	handle     uint32   // on its stream
	generation uint32   // of the last Assign that it sent, unique in the consumer; 0: Assign has to be sent

	claim *claim // of a member of a group on the partition, else nil
}

// hand is what the application has got last and may still be working on: the records of a partition from an offset on.
type hand struct {
	part *assignment // nil: nothing
	from mq.Offset
}

// idle reports whether nothing is to be fetched for the partition.
func (a *assignment) idle() bool {
	return a.paused || a.failed || a.ended() || a.claim != nil && a.claim.revoking
}

// ended reports whether the partition has come to where StopAt ends it.
func (a *assignment) ended() bool { return a.stop >= 0 && a.position >= a.stop }

// Batch is one record batch as the server sent it, with its CRC verified.
type Batch struct {
	Topic         string
	Partition     int32
	Data          mq.Batch  // immutable, the caller's to keep
	From          mq.Offset // first offset in Data that is wanted: batches are never cut, so records below it may come with it
	To            mq.Offset // first offset that is not wanted any more: behind Data, or where [Consumer.StopAt] says
	HighWatermark mq.Offset // of the partition when the batch was sent
	LogStart      mq.Offset // likewise
}

// NewConsumer makes a consumer. Nothing is read, and nothing fails but invalid options, before the first Poll or iteration.
func (c *Client) NewConsumer(opts ...ConsumerOption) (*Consumer, error) {
	cfg := consumerConfig{prefetch: DefaultPrefetchBytes}
	for i, opt := range opts {
		if opt == nil {
			return nil, invalid("consumer option %d is nil", i)
		}
		if err := opt(&cfg); err != nil {
			return nil, err
		}
	}
	k := &Consumer{
		c: c, cfg: cfg, wake: make(chan struct{}, 1), room: make(chan struct{}),
		parts: make(map[TopicPartition]*assignment), fetchers: make(map[slotKey]*fetcher), absences: make(map[mq.NodeID]*absence),
	}
	lanes := c.cfg.connections
	if cfg.group != nil {
		if err := cfg.checkGroup(); err != nil {
			return nil, err
		}
		k.member = newMember(k, cfg.group)
		lanes++
	}
	k.ctx, k.cancel = context.WithCancel(c.ctx)
	for _, a := range cfg.assign {
		k.place(a)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		k.cancel()
		return nil, ErrClosed
	}
	c.lanes += lanes
	k.lane = -c.lanes
	c.consumers[k] = struct{}{}
	return k, nil
}

// place puts a partition at a position, adding it if it is new. The mutex is held, or nobody else has the consumer.
func (k *Consumer) place(n Assignment) {
	tp := TopicPartition{n.Topic, n.Partition}
	a := k.parts[tp]
	if a == nil {
		a = &assignment{tp: tp, stop: -1, epoch: mq.NoEpoch}
		k.parts[tp] = a
	}
	a.from = n.From
	a.next, a.floor, a.position = -1, -1, -1
	if n.From.kind == atOffset {
		a.next, a.floor, a.position = n.From.offset, n.From.offset, n.From.offset
	}
	a.failed, a.unknown = false, 0
	if a.claim != nil {
		a.claim.sent, a.claim.acked = -1, -1 // whoever moves it wants that committed, also where it is lower
	}
	if k.hand.part == a {
		k.hand = hand{}
	}
	k.moved(a)
}

// moved makes stale what was fetched for a, and has it fetched anew. The mutex is held.
func (k *Consumer) moved(a *assignment) {
	k.outdate(a)
	a.generation = 0
	switch {
	case a.fetcher == nil:
	case a.tiered:
		k.detach(a) // what is there is the leader's to say
	default:
		a.fetcher.kick()
	}
}

// Assign adds partitions to read. A partition that is assigned already goes on from its new position. A member of a group gets INVALID_REQUEST: its
// coordinator assigns.
func (k *Consumer) Assign(assignments ...Assignment) error {
	if k.member != nil {
		return mq.Errorf(mq.InvalidRequest, "assign: the coordinator of group %q assigns", k.member.cfg.name)
	}
	for _, a := range assignments {
		if err := a.check(); err != nil {
			return err
		}
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.closed {
		return ErrClosed
	}
	for _, a := range assignments {
		k.place(a)
	}
	k.signal()
	return nil
}

// Unassign stops reading partitions and forgets them, also what was fetched ahead. It does nothing for a member of a group, which gives partitions up when its
// coordinator wants it, and all of them when it is closed.
func (k *Consumer) Unassign(partitions ...TopicPartition) {
	if k.member != nil {
		return
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, tp := range partitions {
		if a := k.parts[tp]; a != nil {
			k.outdate(a)
			k.detach(a)
			delete(k.parts, tp)
		}
	}
	k.signal()
}

// Assigned lists the partitions being read, by topic and number.
func (k *Consumer) Assigned() []TopicPartition {
	k.mu.Lock()
	defer k.mu.Unlock()
	list := make([]TopicPartition, 0, len(k.parts))
	for tp := range k.parts {
		list = append(list, tp)
	}
	slices.SortFunc(list, func(a, b TopicPartition) int {
		if c := strings.Compare(a.Topic, b.Topic); c != 0 {
			return c
		}
		return int(a.Partition) - int(b.Partition)
	})
	return list
}

// Seek goes on elsewhere in an assigned partition, and heals one that failed. What was fetched ahead is dropped. The error is
// INVALID_REQUEST for a partition that is not assigned.
func (k *Consumer) Seek(tp TopicPartition, to Position) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.closed {
		return ErrClosed
	}
	if k.parts[tp] == nil {
		return mq.Errorf(mq.InvalidRequest, "seek in %v, which is not assigned", tp)
	}
	n := Assignment{Topic: tp.Topic, Partition: tp.Partition, From: to}
	if err := n.check(); err != nil {
		return err
	}
	k.place(n)
	k.signal()
	return nil
}

// Pause stops the delivery of assigned partitions until Resume. What was fetched ahead is dropped, and fetched again then.
func (k *Consumer) Pause(partitions ...TopicPartition) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, tp := range partitions {
		if a := k.parts[tp]; a != nil && !a.paused {
			a.paused = true
			k.outdate(a)
			k.detach(a)
			k.rewind(a)
		}
	}
}

// rewind has a fetched from behind what was handed out, if that is known. The mutex is held.
func (k *Consumer) rewind(a *assignment) {
	if a.position >= 0 {
		a.next, a.floor = a.position, a.position
	}
}

// outdate makes stale what was fetched for a. The mutex is held.
func (k *Consumer) outdate(a *assignment) {
	k.versions++
	a.version = k.versions
}

// Resume undoes Pause.
func (k *Consumer) Resume(partitions ...TopicPartition) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, tp := range partitions {
		if a := k.parts[tp]; a != nil && a.paused {
			a.paused = false
		}
	}
	k.signal()
}

// Position is the offset behind the last record that Poll or an iterator handed out, which is where reading would go on; -1
// if that is not known yet, or the partition is not assigned.
func (k *Consumer) Position(tp TopicPartition) mq.Offset {
	k.mu.Lock()
	defer k.mu.Unlock()
	if a := k.parts[tp]; a != nil {
		return a.position
	}
	return -1
}

// EndOffsets asks the servers where all assigned partitions end now for the consumer's isolation.
func (k *Consumer) EndOffsets(ctx context.Context) (map[TopicPartition]mq.Offset, error) {
	byTopic := make(map[string][]int32)
	for _, tp := range k.Assigned() {
		byTopic[tp.Topic] = append(byTopic[tp.Topic], tp.Partition)
	}
	ends := make(map[TopicPartition]mq.Offset)
	for topic, partitions := range byTopic {
		found, err := k.c.ListOffsets(ctx, topic, End(), k.cfg.isolation, partitions...)
		if err != nil {
			return nil, err
		}
		for i, o := range found {
			if o.Err != nil {
				return nil, &PartitionError{Topic: topic, Partition: i, Err: o.Err}
			}
			ends[TopicPartition{topic, i}] = o.Offset
		}
	}
	return ends, nil
}

// StopAt ends the reading of partitions before the given offsets: records at and above them are not delivered, and when
// each partition assigned has come to its end, Poll returns [io.EOF] and iterations end. Together with
// EndOffsets this reads all that there is at a moment. A partition without an offset here never ends. For a member of a group it is said of
// all partitions that it may come to be assigned.
func (k *Consumer) StopAt(ends map[TopicPartition]mq.Offset) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.member != nil {
		k.member.stops = maps.Clone(ends)
	}
	for tp, end := range ends {
		if a := k.parts[tp]; a != nil {
			a.stop = max(end, 0)
		}
	}
	k.signal()
}

// signal has Poll look again. The mutex is held.
func (k *Consumer) signal() {
	select {
	case k.wake <- struct{}{}:
	default:
	}
}

// Poll waits for records and returns those of one batch. The records are the caller's to keep. Errors: ctx's; [ErrClosed]; [io.EOF]
// after StopAt; a *[PartitionError] when a partition failed for good (it is silent until Seek or Unassign, the others go on: poll again).
// Trouble that may pass is waited out.
func (k *Consumer) Poll(ctx context.Context) ([]Record, error) {
	for {
		if err := k.poll(ctx); err != nil {
			return nil, err
		}
		recs := k.rest
		k.rest = nil
		if k.advance(recs[len(recs)-1].Offset + 1) {
			k.c.count.recordsConsumed.Add(int64(len(recs)))
			return recs, nil
		}
	}
}

// poll sees to it that there are records in k.rest.
func (k *Consumer) poll(ctx context.Context) error {
	if k.member != nil {
		if err := k.member.attend(ctx); err != nil {
			return err
		}
	}
	for len(k.rest) == 0 {
		b, err := k.nextBatch(ctx)
		if err != nil {
			return err
		}
		recs, err := decode(b)
		if err != nil {
			k.mu.Lock()
			if k.current.fresh() {
				k.fail(k.current.part, err)
			}
			k.mu.Unlock()
			continue
		}
		k.batch, k.rest = b, recs
		if len(recs) == 0 { // compacted away
			k.advance(b.To)
		}
	}
	return nil
}

// advance notes that all below to is the caller's; false if the partition has been moved meanwhile, and the records are not wanted
// any more.
func (k *Consumer) advance(to mq.Offset) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	if !k.current.fresh() || k.closed {
		return false
	}
	part := k.current.part
	k.hand = hand{part, part.position}
	part.position = to
	return true
}

// Records iterates over records as Poll gives them. A *[PartitionError] is yielded with a nil record, and iteration goes on; any other error but
// [io.EOF], which just ends it, is yielded last. Leaving the loop early loses nothing: what was not yielded comes next time.
func (k *Consumer) Records(ctx context.Context) iter.Seq2[*Record, error] {
	return func(yield func(*Record, error) bool) {
		for {
			err := k.poll(ctx)
			switch {
			case err == nil:
				rec := &k.rest[0]
				k.rest = k.rest[1:]
				if !k.advance(rec.Offset + 1) {
					k.rest = nil
					continue
				}
				k.c.count.recordsConsumed.Add(1)
				if !yield(rec, nil) {
					return
				}
			case !last(err, yield):
				return
			}
		}
	}
}

// last yields an error of poll if it is one to be yielded, and reports whether iteration goes on.
func last[T any](err error, yield func(*T, error) bool) (goesOn bool) {
	if errors.Is(err, io.EOF) {
		return false
	}
	_, partial := errors.AsType[*PartitionError](err)
	return yield(nil, err) && partial
}

// Batches iterates over whole batches, undecoded: for those who forward, count or measure. Errors are as of Records.
func (k *Consumer) Batches(ctx context.Context) iter.Seq2[*Batch, error] {
	return func(yield func(*Batch, error) bool) {
		if b := k.batch; len(k.rest) > 0 && b != nil {
			b.From = k.rest[0].Offset
			k.rest = nil
			if k.advance(b.To) && !yield(b, nil) {
				return
			}
		}
		for {
			b, err := k.nextBatch(ctx)
			switch {
			case err == nil:
				if !k.advance(b.To) {
					continue
				}
				k.c.count.recordsConsumed.Add(int64(b.Data.RecordCount()))
				if !yield(b, nil) {
					return
				}
			case !last(err, yield):
				return
			}
		}
	}
}

// Close stops reading and closes the consumer's connections. Whoever waits in Poll gets [ErrClosed]. When it returns no goroutine of the
// consumer is left.
//
// A member of a group leaves it, so that others go on with its partitions at once. Before it does, it commits what was processed, if it commits by itself
// ([AutoCommit]), and runs the [OnRevoked] callback. That takes a few round trips; when the coordinator does not answer, ten seconds at most.
func (k *Consumer) Close() error {
	k.c.mu.Lock()
	delete(k.c.consumers, k)
	k.c.mu.Unlock()
	k.stop()
	return nil
}

func (k *Consumer) stop() {
	k.mu.Lock()
	first := !k.closed
	k.closed = true
	k.signal()
	k.mu.Unlock()
	if first && k.member != nil {
		k.member.leave()
	}
	k.mu.Lock()
	k.sealed = k.sealed || first
	k.mu.Unlock()
	k.cancel()
	k.dropLanes()
	k.wg.Wait()
	k.dropLanes() // a connection that was being made
	k.mu.Lock()
	k.c.count.bytesPrefetched.Add(-k.queued)
	k.queued = 0
	k.queue = queue[*fetched]{}
	k.mu.Unlock()
}

// spawn runs f on a goroutine that Close waits for; false if the consumer is closed. The mutex is held.
func (k *Consumer) spawn(f func()) bool {
	if k.sealed {
		return false
	}
	k.wg.Go(f)
	return true
}

// pauseRetry is how long to wait before leaders are looked for again.
func (k *Consumer) pauseRetry() time.Duration {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.retry == nil {
		k.retry = newEagerBackoff()
	}
	return k.retry.next()
}

func (k *Consumer) dropLanes() {
	for i := range k.c.cfg.connections {
		k.c.pool.drop(k.lane + i)
	}
	if k.member != nil {
		k.c.pool.drop(k.member.lane())
	}
}
