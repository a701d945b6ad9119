package client

import (
	"context"
	"maps"
	"slices"
	"time"

	"github.com/rustmq/rustmq/mq"
	"github.com/rustmq/rustmq/quicproto"
)

// maxCommitWaiters bounds the calls of CommitAsync that are not answered yet.
const maxCommitWaiters = 10_000

// CommitOffset is where a group goes on in a partition.
type CommitOffset struct {
	Topic     string
	Partition int32
	Offset    mq.Offset // the next to consume; -1 as an answer: nothing is committed
	Metadata  string    // the committer's own, at most 4,096 bytes by default

	known int32 // leader epoch of the last record that was consumed, plus one; 0 if not known
}

// After is what to commit when rec, and all of its partition before it, is processed.
func After(rec *Record) CommitOffset {
	return CommitOffset{Topic: rec.Topic, Partition: rec.Partition, Offset: rec.Offset + 1, known: int32(max(rec.LeaderEpoch, mq.NoEpoch)) + 1}
}

// commits are offsets that are committed with one request, and who wants to know of it.
type commits struct {
	offsets map[*claim]quicproto.CommittedOffset
	waiters []commitWaiter
}

type commitWaiter struct {
	claims []*claim
	done   func(error)
}

// CommitSync commits for a member of a group and waits until that is durable: the given offsets or, without any, all that was handed out, the record or batch
// last handed out included. Commits are carried out one after the other in the order of the calls, so that no earlier one undoes a later one.
//
// It is tried again for as long as [RequestTimeout], also when the coordinator has moved or the group has been rebalanced. A *[PartitionError] says what was not committed:
// with INVALID_REQUEST a partition that is not assigned, with FENCED_MEMBER_EPOCH one that was lost meanwhile, with REQUEST_TIMED_OUT one of which it is not known. When ctx ends first,
// its error is returned, and it is tried on. An offset may be lower than what was committed; then the group goes back.
func (k *Consumer) CommitSync(ctx context.Context, offsets ...CommitOffset) error {
	result := make(chan error, 1)
	if err := k.commit(offsets, func(err error) { result <- err }); err != nil {
		return err
	}
	select {
	case err := <-result:
		return err
	case <-ctx.Done():
		return transportError(ctx, ctx.Err())
	}
}

// CommitAsync is CommitSync that does not wait. done, which may be nil, is told the outcome once, on a goroutine of the consumer that commits nothing else meanwhile:
// it must neither block nor commit synchronously. What is not on its way yet is gathered into one commit, so that it may be called for each record; when 10,000 calls have
// no answer, further ones fail with TOO_MANY_REQUESTS.
func (k *Consumer) CommitAsync(done func(error), offsets ...CommitOffset) {
	if done == nil {
		done = func(error) {}
	}
	if err := k.commit(offsets, done); err != nil {
		done(err)
	}
}

// commit hands in offsets, or all that was handed out. After an error done is not called.
func (k *Consumer) commit(offsets []CommitOffset, done func(error)) error {
	m := k.member
	if m == nil {
		return mq.Errorf(mq.InvalidRequest, "commit: the consumer is of no group")
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.sealed {
		return ErrClosed
	}
	if m.fatal != nil {
		return m.fatal
	}
	if m.pending != nil && len(m.pending.waiters) >= maxCommitWaiters {
		return mq.Errorf(mq.TooManyRequests, "commit: %d are not answered yet", len(m.pending.waiters))
	}
	if len(offsets) == 0 {
		m.handIn(m.processed(m.handed(), true), done)
		return nil
	}
	set := make(map[*claim]quicproto.CommittedOffset, len(offsets))
	for _, o := range offsets {
		cl := m.claims[TopicPartition{o.Topic, o.Partition}]
		if o.Offset < 0 || cl == nil || !cl.told && !cl.revoking {
			return &PartitionError{Topic: o.Topic, Partition: o.Partition, Err: mq.Errorf(mq.InvalidRequest, "commit offset %d of a partition that is not assigned, or a negative one", o.Offset)}
		}
		set[cl] = quicproto.CommittedOffset{Partition: o.Partition, Offset: o.Offset, LeaderEpoch: mq.Epoch(o.known - 1), Metadata: o.Metadata}
	}
	m.handIn(set, done)
	return nil
}

// processed is how far the application has got in claims, with what is in its hands or without, where that is further than what was handed in. The mutex is held.
func (m *member) processed(list []*claim, inHand bool) map[*claim]quicproto.CommittedOffset {
	set := make(map[*claim]quicproto.CommittedOffset)
	for _, cl := range list {
		at := cl.part.position
		if h := m.k.hand; h.part == cl.part && !inHand {
			at = h.from
		}
		if at >= 0 && at > max(cl.sent, cl.acked) {
			set[cl] = quicproto.CommittedOffset{Partition: cl.tp.Partition, Offset: at, LeaderEpoch: mq.NoEpoch}
		}
	}
	return set
}

// handIn has offsets committed behind all that was handed in before. With none, done is told when those are settled. The mutex is held.
func (m *member) handIn(set map[*claim]quicproto.CommittedOffset, done func(error)) {
	if m.pending == nil {
		m.pending = &commits{offsets: make(map[*claim]quicproto.CommittedOffset)}
	}
	for cl, o := range set {
		cl.sent = o.Offset
		m.pending.offsets[cl] = o
	}
	m.pending.waiters = append(m.pending.waiters, commitWaiter{slices.Collect(maps.Keys(set)), done})
	if !m.committing {
		m.committing = m.k.spawn(m.commitAll)
	}
}

// commitByItself hands in what was processed, now and then.
func (m *member) commitByItself() {
	k := m.k
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.closed {
		return
	}
	if set := m.processed(m.handed(), false); len(set) > 0 && m.sess != nil {
		m.handIn(set, m.note)
	}
	m.auto.Reset(m.cfg.autoCommit)
}

// note tells the log of a commit that failed which nobody asked for: the next one is of the same offsets or later ones.
func (m *member) note(err error) {
	if err != nil {
		m.k.c.noteTrouble(mq.Wrapf(err, "commit for group %s", m.cfg.name))
	}
}

// settle commits what was processed of claims, if the member does so by itself, and waits until all that was handed in is settled, or ctx ends.
func (m *member) settle(ctx context.Context, list []*claim) {
	result := make(chan error, 1)
	m.k.mu.Lock()
	var set map[*claim]quicproto.CommittedOffset
	if m.cfg.autoCommit > 0 {
		set = m.processed(list, false)
	}
	if len(set) == 0 && m.pending == nil && !m.committing {
		m.k.mu.Unlock()
		return
	}
	m.handIn(set, func(err error) { result <- err })
	m.k.mu.Unlock()
	select {
	case err := <-result:
		m.note(err)
	case <-ctx.Done():
	}
}

// commitAll commits until nothing is left that was handed in.
func (m *member) commitAll() {
	k := m.k
	for {
		k.mu.Lock()
		batch := m.pending
		m.pending = nil
		if batch == nil {
			m.committing = false
			k.mu.Unlock()
			return
		}
		k.mu.Unlock()
		failed := m.commitBatch(batch.offsets)
		k.mu.Lock()
		for cl, o := range batch.offsets {
			switch {
			case cl.sent != o.Offset: // another one follows, or it was moved
			case failed[cl] == nil:
				cl.acked = o.Offset
			default:
				cl.sent = cl.acked
			}
		}
		k.mu.Unlock()
		for _, w := range batch.waiters {
			w.done(firstFailure(w.claims, failed))
		}
	}
}

func firstFailure(list []*claim, failed map[*claim]error) error {
	for _, cl := range list {
		if err := failed[cl]; err != nil {
			return &PartitionError{Topic: cl.tp.Topic, Partition: cl.tp.Partition, Err: err}
		}
	}
	return nil
}

// commitBatch commits offsets, and says which could not be.
func (m *member) commitBatch(offsets map[*claim]quicproto.CommittedOffset) map[*claim]error {
	ctx, cancel := context.WithTimeout(m.k.ctx, m.k.c.cfg.requestTimeout)
	defer cancel()
	failed := make(map[*claim]error)
	left := maps.Clone(offsets)
	wait := newBackoff()
	trouble := error(mq.Errorf(mq.CoordinatorNotAvailable, "the coordinator was not reached"))
	for {
		sess, epoch, changed := m.keepOwned(left, failed)
		if len(left) == 0 {
			return failed
		}
		pause := time.Duration(0)
		if sess != nil {
			err := m.commitOnce(ctx, sess, epoch, left, failed)
			if err == nil {
				continue
			}
			if !passes(err) {
				failRest(left, failed, err)
				return failed
			}
			trouble, pause = err, wait.NextBackOff()
		}
		if !await(ctx, changed, pause) {
			failRest(left, failed, outOfTime(ctx, transportError(ctx, ctx.Err()), trouble))
			return failed
		}
	}
}

// await waits until something has changed or, unless it is zero, pause has passed; false if ctx ended first.
func await(ctx context.Context, changed <-chan struct{}, pause time.Duration) bool {
	var passed <-chan time.Time
	if pause > 0 {
		timer := time.NewTimer(pause)
		defer timer.Stop()
		passed = timer.C
	}
	select {
	case <-changed:
		return true
	case <-passed:
		return true
	case <-ctx.Done():
		return false
	}
}

func failRest(left map[*claim]quicproto.CommittedOffset, failed map[*claim]error, err error) {
	for cl := range left {
		failed[cl] = err
	}
}

// passes reports whether a commit that failed with err may succeed later: when the epoch is the right one again, or the coordinator another; or else it is not the member's any more.
func passes(err error) bool {
	switch code := mq.CodeOf(err); code {
	case mq.StaleMemberEpoch, mq.UnknownMemberID, mq.FencedMemberEpoch:
		return true
	default:
		return code.Retriable()
	}
}

// keepOwned takes out what is not the member's any more, and says to whom and in which epoch the rest goes.
func (m *member) keepOwned(left map[*claim]quicproto.CommittedOffset, failed map[*claim]error) (*session, int32, <-chan struct{}) {
	m.k.mu.Lock()
	defer m.k.mu.Unlock()
	for cl := range left {
		if m.claims[cl.tp] != cl {
			failed[cl] = mq.Errorf(mq.FencedMemberEpoch, "the partition was lost before it could be committed")
			delete(left, cl)
		}
	}
	return m.sess, m.epoch, m.changed
}

// commitOnce sends one commit. What it settles is taken out of left; an error is of the rest.
func (m *member) commitOnce(ctx context.Context, sess *session, epoch int32, left map[*claim]quicproto.CommittedOffset, failed map[*claim]error) error {
	part := make(map[*claim]quicproto.CommittedOffset)
	for cl, o := range left {
		if len(part) == mq.MaxOffsetsPerCommit {
			break
		}
		part[cl] = o
	}
	order, topics := topicsOf(part)
	req := &quicproto.CommitOffsetsRequest{Group: m.cfg.name, Member: m.id, Instance: m.cfg.instance, Epoch: epoch, Topics: topics}
	var resp quicproto.CommitOffsetsResponse
	if err := m.exchange(ctx, sess, req, &resp); err != nil {
		return err
	}
	if len(resp.Topics) != len(order) {
		return violation("commits of %d topics answered for %d", len(resp.Topics), len(order))
	}
	var again error
	for i, list := range order {
		if len(resp.Topics[i]) != len(list) {
			return violation("commits of %d partitions answered for %d", len(resp.Topics[i]), len(list))
		}
		for j, cl := range list {
			code := resp.Topics[i][j]
			switch {
			case code == mq.None:
			case code.Retriable() && code != mq.UnknownTopicOrPartition && code != mq.UnknownTopicID:
				again = mq.Errorf(code, "commit offset %d", left[cl].Offset)
				continue
			default:
				failed[cl] = mq.Errorf(code, "commit offset %d", left[cl].Offset)
			}
			delete(left, cl)
		}
	}
	return again
}

// Committed asks what the group has committed for partitions, by default for all assigned ones. Offset is -1 where that is nothing. It is tried again until ctx ends, or [RequestTimeout] has passed.
func (k *Consumer) Committed(ctx context.Context, partitions ...TopicPartition) (map[TopicPartition]CommitOffset, error) {
	m := k.member
	if m == nil {
		return nil, mq.Errorf(mq.InvalidRequest, "committed: the consumer is of no group")
	}
	if len(partitions) == 0 {
		partitions = k.Assigned()
	}
	out := make(map[TopicPartition]CommitOffset, len(partitions))
	if len(partitions) == 0 {
		return out, nil
	}
	list := make([]*claim, len(partitions))
	for i, tp := range partitions {
		list[i] = &claim{tp: tp}
	}
	ctx, cancel := context.WithTimeout(ctx, k.c.cfg.requestTimeout)
	defer cancel()
	defer context.AfterFunc(k.ctx, cancel)()
	wait := newBackoff()
	var trouble error
	for {
		k.mu.Lock()
		sess, epoch, changed, fatal := m.sess, m.epoch, m.changed, m.fatal
		closed := k.closed
		k.mu.Unlock()
		if closed {
			return nil, ErrClosed
		}
		if fatal != nil {
			return nil, fatal
		}
		pause := time.Duration(0)
		if sess != nil {
			found, err := m.fetch(ctx, sess, epoch, list)
			if err == nil {
				for i, o := range found {
					out[partitions[i]] = CommitOffset{Topic: partitions[i].Topic, Partition: o.Partition, Offset: o.Offset, Metadata: o.Metadata, known: int32(o.LeaderEpoch) + 1}
				}
				return out, nil
			}
			if !passes(err) {
				return nil, err
			}
			trouble, pause = err, wait.NextBackOff()
		}
		if !await(ctx, changed, pause) {
			if k.ctx.Err() != nil {
				return nil, ErrClosed
			}
			return nil, outOfTime(ctx, transportError(ctx, ctx.Err()), trouble)
		}
	}
}

// Lag asks the servers how many offsets assigned partitions hold that were not handed out yet: from the position to the end for the consumer's isolation. Partitions whose
// position is not known yet are missing.
func (k *Consumer) Lag(ctx context.Context) (map[TopicPartition]int64, error) {
	ends, err := k.EndOffsets(ctx)
	if err != nil {
		return nil, err
	}
	lag := make(map[TopicPartition]int64, len(ends))
	for tp, end := range ends {
		if at := k.Position(tp); at >= 0 {
			lag[tp] = max(int64(end-at), 0)
		}
	}
	return lag, nil
}
