package client

import (
	"context"
	"errors"
	"io"
	"slices"
	"time"

	"github.com/rustmq/rustmq/mq"
	"github.com/rustmq/rustmq/quicproto"
	"github.com/rustmq/rustmq/quicproto/transport"
)

// fetcher is one fetch stream: the subscription of a consumer to partitions that one node leads, or of which it reads what the object store has, on a connection of its own. It lives as long as its stream; then the partitions go
// back to the consumer, which looks for their leaders again. What they have in the line stays there.
//
// Two goroutines belong to it: one reads frames into the line, and waits while that is full, which stops the server by QUIC's flow
// control; one tells the server what is wanted. Its fields are guarded by the consumer's mutex.
type fetcher struct {
	k     *Consumer
	key   slotKey       // the node, and the consumer's lane to it
	kicks chan struct{} // the server has to be told something

	parts map[uint32]*assignment // by handle
	next  uint32                 // handle never used
	free  []uint32               // handles not in use
	drops []uint32               // to be unassigned

	refers bool // the server knows of tiered reads
	full   bool // it waits for room in the line

	quiet quiet
}

// kick has the server told what is wanted.
func (f *fetcher) kick() {
	select {
	case f.kicks <- struct{}{}:
	default:
	}
}

// adopt adds a partition. The mutex is held.
func (f *fetcher) adopt(a *assignment) {
	h := f.next
	if n := len(f.free); n > 0 {
		h, f.free = f.free[n-1], f.free[:n-1]
	} else {
		f.next++
	}
	f.parts[h] = a
	a.fetcher, a.handle, a.generation = f, h, 0
	f.kick()
}

// detach takes a partition off its fetcher. The mutex is held.
func (k *Consumer) detach(a *assignment) {
	f := a.fetcher
	if f == nil {
		return
	}
	delete(f.parts, a.handle)
	f.drops = append(f.drops, a.handle)
	f.free = append(f.free, a.handle)
	a.fetcher, a.generation, a.tiered = nil, 0, false
	f.kick()
}

// run reads until the stream ends.
func (f *fetcher) run() {
	err := f.subscribe()
	k := f.k
	if k.ctx.Err() == nil {
		k.c.noteTrouble(mq.Wrapf(err, "fetch from node %d", f.key.node))
	}
	k.mu.Lock()
	delete(k.fetchers, f.key)
	for _, a := range f.parts {
		if a.tiered {
			k.useless(a, f.key.node)
		}
		a.fetcher, a.generation, a.tiered = nil, 0, false
	}
	clear(f.parts)
	f.quiet.timer.Stop()
	k.hurt = true
	k.signal()
	k.mu.Unlock()
}

func (f *fetcher) subscribe() error {
	k := f.k
	sess, err := k.c.pool.get(k.ctx, f.key, k.window())
	if err != nil {
		return err
	}
	k.mu.Lock()
	f.refers = sess.welcome.Features&quicproto.FeatureTieredReads != 0
	k.mu.Unlock()
	ctx, cancel := context.WithTimeout(k.ctx, k.c.cfg.dialTimeout)
	stream, err := sess.conn.OpenStream(ctx)
	cancel()
	if err != nil {
		return transportError(ctx, err)
	}
	ctx, cancel = context.WithCancel(k.ctx)
	done := make(chan struct{})
	go func() { // joined below
		defer close(done)
		if err := f.tell(ctx, stream); err != nil {
			stream.Abort(mq.Canceled)
		}
	}()
	frames := quicproto.NewFrameReader(stream, quicproto.MaxRecordsBytes)
	for err == nil {
		err = f.read(ctx, frames)
	}
	cancel()
	stream.Abort(mq.Canceled)
	<-done
	if errors.Is(err, io.EOF) {
		return mq.Errorf(mq.NetworkException, "the server closed the fetch stream")
	}
	return transportError(k.ctx, err)
}

// tell sends what is wanted, and again whenever that changes.
func (f *fetcher) tell(ctx context.Context, stream transport.Stream) error {
	buf := quicproto.AppendFrame(nil, &quicproto.OpenFetch{
		Isolation: f.k.cfg.isolation, RecordsBytes: uint32(max(f.k.window()/framesAhead, leastFrame)),
	})
	for {
		buf = f.wishes(buf)
		if len(buf) > 0 {
			if _, err := stream.Write(buf); err != nil {
				return err
			}
		}
		buf = buf[:0]
		select {
		case <-f.kicks:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

const (
	// framesAhead is how many Records frames of usual size fit into a receive window: so many that one is read while it is in the processor's
	// cache, and so few that the server reads several batches at once from its disk: what it does for each read is then little.
	framesAhead = 16
	// leastFrame is the least that a Records frame is asked to hold, bytes, however small the window.
	leastFrame = 16 << 10
)

// wishes appends what the server has not been told yet.
func (f *fetcher) wishes(buf []byte) []byte {
	f.k.mu.Lock()
	defer f.k.mu.Unlock()
	for _, h := range f.drops {
		if f.parts[h] == nil {
			buf = quicproto.AppendFrame(buf, &quicproto.Unassign{Handle: h})
		}
	}
	f.drops = f.drops[:0]
	for h, a := range f.parts {
		if a.generation != 0 {
			continue
		}
		if a.tiered && !f.refers {
			f.k.recall(a, true)
			continue
		}
		f.k.versions++
		a.generation = f.k.versions
		at := a.next
		if at < 0 {
			at = a.from.wire()
		}
		buf = quicproto.AppendFrame(buf, &quicproto.Assign{
			Handle: h, Generation: a.generation, Topic: a.tp.Topic, Partition: a.tp.Partition, LeaderEpoch: a.epoch, Offset: at, From: f.origin(a),
		})
	}
	return buf
}

// read takes one frame.
func (f *fetcher) read(ctx context.Context, frames *quicproto.FrameReader) error {
	t, _, err := frames.Next()
	if err != nil {
		return err
	}
	if t == quicproto.TypeRecords {
		return f.records(ctx, frames)
	}
	payload, err := frames.Payload()
	if err != nil {
		return err
	}
	switch t {
	case quicproto.TypeAssigned:
		var m quicproto.Assigned
		if err := m.Decode(payload); err != nil {
			return err
		}
		f.assigned(&m)
	case quicproto.TypeStatus:
		var m quicproto.Status
		if err := m.Decode(payload); err != nil {
			return err
		}
		f.k.mu.Lock()
		if a := f.wanted(m.Handle, m.Generation); a != nil {
			if m.Code == mq.None && (a.refers || a.tiered) {
				f.elsewhere(a)
			} else {
				f.trouble(a, m.Err())
			}
		}
		f.k.mu.Unlock()
	case quicproto.TypeClose:
		var m quicproto.Close
		if err := m.Decode(payload); err != nil {
			return err
		}
		if err := m.Err(); err != nil {
			return err
		}
		return io.EOF
	default:
		return violation("%v on a fetch stream", t)
	}
	return nil
}

// wanted is the partition that a frame with this handle and generation is about, nil if it is stale. The mutex is held.
func (f *fetcher) wanted(handle, generation uint32) *assignment {
	a := f.parts[handle]
	if a == nil || generation == 0 || a.generation != generation || a.idle() {
		return nil
	}
	return a
}

// assigned takes the answer to Assign.
func (f *fetcher) assigned(m *quicproto.Assigned) {
	k := f.k
	k.mu.Lock()
	defer k.mu.Unlock()
	a := f.wanted(m.Handle, m.Generation)
	if a == nil {
		return
	}
	if err := m.Err(); err != nil {
		f.trouble(a, err)
		return
	}
	if a.tiered && m.TopicID != a.topic {
		f.trouble(a, mq.Errorf(mq.UnknownTopicID, "node %d knows another topic %q", f.key.node, a.tp.Topic))
		return
	}
	f.heard()
	k.retry, a.unknown = nil, 0
	if a.floor < 0 {
		a.next, a.floor, a.position = m.Offset, m.Offset, m.Offset
	}
	if a.ended() {
		k.signal()
	}
}

// trouble decides what becomes of a partition that is not delivered. The mutex is held.
func (f *fetcher) trouble(a *assignment, err error) {
	k := f.k
	if a.tiered {
		k.c.noteTrouble(&PartitionError{Topic: a.tp.Topic, Partition: a.tp.Partition, Err: err})
		k.recall(a, true)
		return
	}
	code := mq.CodeOf(err)
	if code == mq.UnknownTopicOrPartition || code == mq.UnknownTopicID {
		k.unknown(a)
	}
	switch {
	case code == mq.OffsetOutOfRange && k.cfg.reset != nil:
		k.c.log.Warn("position is out of range", "topic", a.tp.Topic, "partition", a.tp.Partition, "offset", int64(a.next), "reset_to", k.cfg.reset.String())
		k.detach(a)
		k.place(Assignment{a.tp.Topic, a.tp.Partition, *k.cfg.reset})
	case code.Retriable() && a.unknown < unknownTries || code == mq.None:
		k.c.noteTrouble(&PartitionError{Topic: a.tp.Topic, Partition: a.tp.Partition, Err: err})
		k.detach(a)
		k.hurt = true
	default:
		k.fail(a, err)
	}
	k.signal()
}

// records takes a Records frame whose header has been read.
func (f *fetcher) records(ctx context.Context, frames *quicproto.FrameReader) error {
	var prefix [quicproto.RecordsPrefixSize]byte
	if err := frames.ReadFull(prefix[:]); err != nil {
		return err
	}
	item := new(fetched)
	if err := item.frame.DecodePrefix(prefix[:]); err != nil {
		return err
	}
	item.size = int64(frames.Left())
	if !f.expect(ctx, item) {
		return ctx.Err()
	}
	if item.part == nil {
		return nil // stale: the next call skips the rest
	}
	item.rest = make([]byte, frames.Left())
	if err := frames.ReadFull(item.rest); err != nil {
		return err
	}
	epoch, err := verify(item.rest)
	f.line(item, epoch, err)
	return nil
}

// expect finds out what the frame is about and waits until there is room for it; false if ctx has ended.
func (f *fetcher) expect(ctx context.Context, item *fetched) bool {
	k := f.k
	k.mu.Lock()
	defer k.mu.Unlock()
	for {
		item.part = f.wanted(item.frame.Handle, item.frame.Generation)
		if item.part == nil || k.queued == 0 || k.queued+item.size <= int64(k.cfg.prefetch) {
			return ctx.Err() == nil
		}
		room := k.room
		f.full = true
		k.mu.Unlock()
		select {
		case <-room:
		case <-ctx.Done():
		}
		k.mu.Lock()
		f.full = false
		if ctx.Err() != nil {
			return false
		}
	}
}

// verify checks all batches in b. epoch is the last one's, of the leader that wrote it.
func verify(b []byte) (epoch mq.Epoch, err error) {
	epoch = mq.NoEpoch
	for len(b) > 0 {
		batch, rest, err := mq.NextBatch(b)
		if err != nil {
			return epoch, err
		}
		if err := mq.VerifyCRC(batch); err != nil {
			return epoch, err
		}
		epoch, b = batch.LeaderEpoch(), rest
	}
	return epoch, nil
}

// line puts a frame into the line, unless it has become stale. epoch is that of its last batch.
func (f *fetcher) line(item *fetched, epoch mq.Epoch, err error) {
	k := f.k
	k.mu.Lock()
	defer k.mu.Unlock()
	a := f.wanted(item.frame.Handle, item.frame.Generation)
	if a == nil {
		return
	}
	if err == nil && (a.next < 0 || item.frame.Next < a.next) {
		err = violation("records up to %d after those up to %d", item.frame.Next, a.next)
	}
	if err != nil && a.tiered {
		f.trouble(a, err)
		return
	}
	if err != nil {
		k.fail(a, err)
		return
	}
	f.heard()
	k.retry = nil
	if a.tiered {
		a.epoch = max(a.epoch, epoch) // a leader of before does not have that, and would take what follows for beyond the end
	}
	f.came(a, &item.frame)
	a.next = item.frame.Next
	item.version = a.version
	k.queue.push(item)
	k.queued += item.size
	k.c.count.bytesPrefetched.Add(item.size)
	k.signal()
}

// route has the leaders of partitions found that nobody fetches. The mutex is held.
func (k *Consumer) route() {
	if !k.routing && len(k.homeless()) > 0 {
		k.routing = k.spawn(k.routeLoop)
	}
}

// homeless lists the partitions that nobody fetches. The mutex is held.
func (k *Consumer) homeless() []*assignment {
	var list []*assignment
	for _, a := range k.parts {
		if a.fetcher == nil && !a.idle() {
			list = append(list, a)
		}
	}
	return list
}

// routeLoop finds leaders until all partitions have one that fetches them.
func (k *Consumer) routeLoop() {
	for {
		k.mu.Lock()
		list := k.homeless()
		doubted, avoid := k.doubted()
		list = append(list, doubted...)
		hurt := k.hurt
		k.hurt = false
		if len(list) == 0 || k.closed {
			k.routing = false
			k.mu.Unlock()
			return
		}
		k.mu.Unlock()
		if hurt && !sleep(k.ctx, k.pauseRetry()) {
			return
		}
		if err := k.find(list, avoid); err != nil {
			k.c.noteTrouble(err)
			k.mu.Lock()
			k.hurt = true
			k.mu.Unlock()
		}
	}
}

// find gives partitions to the fetchers of their leaders, asking one of avoid who these are only if nobody else answers. The error is trouble
// that calls for another try.
func (k *Consumer) find(list []*assignment, avoid []mq.NodeID) error {
	req := quicproto.MetadataRequest{}
	byTopic := make(map[string][]*assignment)
	for _, a := range list {
		if byTopic[a.tp.Topic] == nil {
			req.Topics = append(req.Topics, a.tp.Topic)
		}
		byTopic[a.tp.Topic] = append(byTopic[a.tp.Topic], a)
	}
	ctx, cancel := context.WithTimeout(k.ctx, k.c.cfg.requestTimeout)
	defer cancel()
	resp, from, err := k.c.metadataFrom(ctx, &req, append(avoid, k.behind...)...)
	if err != nil {
		if hopeless(err) {
			k.failAll(list, err)
			return nil
		}
		return err
	}
	k.mu.Lock()
	k.brokers = resp.Brokers
	k.mu.Unlock()
	k.outdated = false
	var trouble error
	for i := range resp.Topics {
		for _, a := range byTopic[resp.Topics[i].Name] {
			if err := k.settle(ctx, a, &resp.Topics[i]); err != nil {
				trouble = err
			}
		}
	}
	if !k.outdated {
		k.behind = nil
	} else if !slices.Contains(k.behind, from) {
		k.behind = append(k.behind, from)
	}
	return trouble
}

func (k *Consumer) failAll(list []*assignment, err error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, a := range list {
		if k.parts[a.tp] == a && !a.failed && a.fetcher == nil {
			k.fail(a, err)
		}
	}
}

// unknown counts that a broker does not know the partition. What a coordinator has assigned is there: who says otherwise is behind, and a topic that is gone the coordinator takes away. The
// mutex is held.
func (k *Consumer) unknown(a *assignment) {
	if k.member == nil {
		a.unknown++
	}
}

// settle gives one partition to the fetcher of its leader, after looking up the offset of a time.
func (k *Consumer) settle(ctx context.Context, a *assignment, t *quicproto.Topic) error {
	err := t.Err()
	if err == nil && int(a.tp.Partition) >= len(t.Partitions) {
		err = mq.Errorf(mq.UnknownTopicOrPartition, "the topic has %d partitions", len(t.Partitions))
	}
	if err == nil {
		err = k.resolve(ctx, a)
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.closed || k.parts[a.tp] != a || a.idle() {
		return nil
	}
	if a.fetcher != nil {
		if err == nil {
			k.move(a, t)
		}
		return nil
	}
	if err != nil {
		if mq.CodeOf(err) == mq.UnknownTopicOrPartition {
			k.unknown(a)
		}
		if !mq.CodeOf(err).Retriable() || a.unknown >= unknownTries {
			k.fail(a, err)
			return nil
		}
		return &PartitionError{Topic: a.tp.Topic, Partition: a.tp.Partition, Err: err}
	}
	if a.topic != t.ID {
		a.topic, a.epoch, a.high = t.ID, mq.NoEpoch, 0 // created anew: its epochs are others
	}
	p := &t.Partitions[a.tp.Partition]
	switch {
	case p.LeaderEpoch < a.epoch:
		k.outdated = true
		err = mq.Errorf(mq.LeaderNotAvailable, "leader epoch %d was told of, epoch %d had begun", p.LeaderEpoch, a.epoch)
	case p.Leader == mq.NoNode || (a.next < 0 && a.from.kind == atTime):
		err = mq.Errorf(mq.LeaderNotAvailable, "no leader")
	default:
		a.epoch, a.leader = p.LeaderEpoch, p.Leader
		k.fetcherTo(p.Leader).adopt(a)
		return nil
	}
	return &PartitionError{Topic: a.tp.Topic, Partition: a.tp.Partition, Err: err}
}

// window is the receive window in bytes of each connection: together they hold what is fetched ahead from a node.
func (k *Consumer) window() int { return max(k.cfg.prefetch/k.c.cfg.connections, MinPrefetchBytes/2) }

// fetcherTo is the fetcher of a node that has the fewest partitions, a new one as long as there may be more. The mutex is held.
func (k *Consumer) fetcherTo(node mq.NodeID) *fetcher {
	var best *fetcher
	for i := range k.c.cfg.connections {
		key := slotKey{node: node, lane: k.lane + i}
		f := k.fetchers[key]
		if f == nil {
			if best != nil && len(best.parts) == 0 {
				return best
			}
			f = &fetcher{k: k, key: key, kicks: make(chan struct{}, 1), parts: make(map[uint32]*assignment)}
			f.quiet = quiet{patience: eagerPause, timer: time.AfterFunc(eagerPause, f.look)}
			k.fetchers[key] = f
			k.wg.Go(f.run)
			return f
		}
		if best == nil || len(f.parts) < len(best.parts) {
			best = f
		}
	}
	return best
}

// resolve finds the offset of a position by time.
func (k *Consumer) resolve(ctx context.Context, a *assignment) error {
	k.mu.Lock()
	from, version, known := a.from, a.version, a.next >= 0
	k.mu.Unlock()
	if from.kind != atTime || known {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	found, err := k.c.listOffsets(ctx, a.tp.Topic, from, k.cfg.isolation, []int32{a.tp.Partition})
	if err != nil {
		return err
	}
	o := found[a.tp.Partition]
	if o.Err != nil {
		return o.Err
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if a.version != version {
		return nil
	}
	if o.Offset < 0 {
		a.from = End()
		return nil
	}
	a.next, a.floor, a.position = o.Offset, o.Offset, o.Offset
	return nil
}
