package replication

import (
	"context"
	"slices"
	"time"

	replicationpb "github.com/rustmq/rustmq/api/replication/v1"
	"github.com/rustmq/rustmq/mq"
	"github.com/rustmq/rustmq/partition"
)

// sender builds messages out of what cursors have to say. It belongs to the goroutine that sends.
type sender struct {
	peer    *peer
	buffers []*partition.ReadBuffer // one per part of a message: what they hold is on its way until the message was sent
	parts   []*replicationpb.Part
	batches [][][]byte // of each part
	timer   *time.Timer
	lazyAt  time.Time // when those whose marks moved are sent for; zero: none are
	message replicationpb.ReplicateRequest
}

// send sends what there is until ctx ends or the stream does.
func (p *peer) send(ctx context.Context, stream leaderStream) error {
	s := &sender{peer: p, timer: time.NewTimer(time.Hour)}
	defer s.timer.Stop()
	beat := time.NewTicker(beatInterval)
	defer beat.Stop()
	for {
		for {
			any, err := s.build(ctx, time.Now())
			if err != nil {
				return err
			}
			if !any {
				break
			}
			if err := stream.Send(request{&s.message, s.batches}); err != nil {
				return mq.Errorf(mq.NetworkException, "send to node %d: %w", p.node, err)
			}
		}
		select {
		case <-p.wake:
		case <-p.change:
			if p.stale() {
				return mq.Errorf(mq.StaleBrokerEpoch, "node %d has started anew", p.node)
			}
		case <-s.timer.C:
		case <-beat.C:
			if err := stream.Send(request{ReplicateRequest: &replicationpb.ReplicateRequest{}}); err != nil {
				return mq.Errorf(mq.NetworkException, "send to node %d: %w", p.node, err)
			}
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// stale says whether the stream leads to an incarnation that is over, or to another place than is wanted now.
func (p *peer) stale() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.to.Incarnation > p.incarnation
}

// build makes the next message; any is false when there is nothing to say now: then the timer is set to when there may be.
func (s *sender) build(ctx context.Context, now time.Time) (any bool, err error) {
	m, p := &s.message, s.peer
	m.Closes, m.Opens, m.Truncates, m.Resets, m.Parts = m.Closes[:0], m.Opens[:0], m.Truncates[:0], m.Resets[:0], m.Parts[:0]
	clear(s.batches)
	s.batches = s.batches[:0]
	p.mu.Lock()
	s.due(now)
	m.Closes, p.closing = append(m.Closes, p.closing...), p.closing[:0]
	ready := p.ready
	p.ready = nil
	room := p.owner.cfg.Window - p.inFlight
	p.mu.Unlock()

	bytes := 0
	for i, c := range ready {
		if bytes >= messageBytes || len(m.Parts) == maxParts || ctx.Err() != nil {
			p.mu.Lock()
			p.ready = append(ready[i:], p.ready...) // they stay where they were
			p.mu.Unlock()
			break
		}
		bytes += s.say(ctx, c, now, room-int64(bytes))
	}
	return len(m.Closes)+len(m.Opens)+len(m.Truncates)+len(m.Resets)+len(m.Parts) > 0, ctx.Err()
}

// due puts on the list whatever is to be sent by now, and sets the timer. The caller holds the peer's mutex.
func (s *sender) due(now time.Time) {
	p := s.peer
	next := now.Add(time.Hour)
	if len(p.lazies) > 0 && s.lazyAt.IsZero() {
		s.lazyAt = now.Add(p.owner.cfg.MarksDelay)
	}
	if !s.lazyAt.IsZero() && !now.Before(s.lazyAt) {
		for _, c := range p.lazies {
			c.lazy.Store(false)
			p.pushLocked(c)
		}
		p.lazies, s.lazyAt = p.lazies[:0], time.Time{}
	}
	if !s.lazyAt.IsZero() {
		next = s.lazyAt
	}
	p.paused = slices.DeleteFunc(p.paused, func(c *cursor) bool {
		switch {
		case c.phase != phasePause:
		case now.Before(c.notBefore):
			if c.notBefore.Before(next) {
				next = c.notBefore
			}
			return false
		default:
			c.phase = phaseOpen
			p.pushLocked(c)
		}
		return true
	})
	s.timer.Reset(next.Sub(now))
}

// say adds what c has to say, and returns how many bytes of batches that are.
func (s *sender) say(ctx context.Context, c *cursor, now time.Time, room int64) int {
	m, p := &s.message, s.peer
	c.queued.Store(false) // what comes from now on is news
	p.mu.Lock()
	what, round, asked, next, told := c.phase, c.round, c.asked, c.next, c.told
	if what == phaseOpen {
		c.round++
		round = c.round
	}
	if what == phaseOpen || what == phaseTruncate || what == phaseReset {
		c.phase = phaseWait
	}
	p.mu.Unlock()
	switch what {
	case phaseOpen:
		id := c.partition.ID()
		m.Opens = append(m.Opens, &replicationpb.Open{
			Handle: c.handle, Round: round, TopicId: id.Topic[:], Partition: id.Index, LeaderEpoch: int32(c.epoch),
		})
	case phaseTruncate:
		epoch, end := c.partition.EndOffsetForEpoch(asked)
		m.Truncates = append(m.Truncates, &replicationpb.Truncate{Handle: c.handle, Round: round, Epoch: int32(epoch), End: int64(end)})
	case phaseReset:
		_, _, _, tiered := c.partition.Offsets()
		m.Resets = append(m.Resets, &replicationpb.Reset{Handle: c.handle, Round: round, TieredEnd: int64(tiered), LogStart: int64(c.partition.ResetStart())})
	case phaseStream:
		if room <= 0 {
			p.block(c)
			return 0
		}
		return s.read(ctx, c, now, round, next, told)
	case phaseWait, phasePause, phaseOver:
	}
	return 0
}

// block has c wait until an acknowledgement makes room in the window.
func (p *peer) block(c *cursor) {
	if c.queued.Swap(true) {
		return // there is news already, and it is on the list for that
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.blocked = append(p.blocked, c)
	p.unblock() // the room may be there by now
}

// read adds the part of the log that comes next, or the marks if these moved.
func (s *sender) read(ctx context.Context, c *cursor, now time.Time, round uint32, next mq.Offset, told marks) int {
	p := s.peer
	n := len(s.message.Parts)
	for len(s.buffers) <= n {
		s.buffers = append(s.buffers, &partition.ReadBuffer{})
		s.parts = append(s.parts, &replicationpb.Part{})
	}
	_, _, _, tiered := c.partition.Offsets() // before the read: the log may let go of more meanwhile
	res, err := c.partition.ReadReplica(ctx, c.epoch, next, partBytes, s.buffers[n])
	if err != nil {
		s.failed(c, now, round, err)
		return 0
	}
	at := marks{res.HighWatermark, res.LogStart, tiered}
	bytes := 0
	for _, b := range res.Batches {
		bytes += len(b)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if c.round != round || c.phase != phaseStream || bytes == 0 && at == told {
		return 0
	}
	c.next, c.told = res.Next, at
	if bytes > 0 {
		c.sent = append(c.sent, piece{res.Next, int64(bytes)})
		p.inFlight += int64(bytes)
		p.sentBytes += uint64(bytes)
	}
	if res.Next < res.LogEnd {
		p.pushLocked(c) // the others first
	}
	part := s.parts[n]
	part.Handle, part.Round, part.HighWatermark, part.LogStart, part.TieredEnd = c.handle, round, int64(at.high), int64(at.start), int64(at.tiered)
	part.BatchBytes = uint32(bytes)
	s.message.Parts, s.batches = append(s.message.Parts, part), append(s.batches, res.Batches)
	return bytes
}

// failed decides what a read that failed means for c.
func (s *sender) failed(c *cursor, now time.Time, round uint32, err error) {
	p := s.peer
	p.mu.Lock()
	defer p.mu.Unlock()
	if c.round != round || c.phase != phaseStream {
		return
	}
	switch mq.CodeOf(err) {
	case mq.OffsetOutOfRange:
		if _, _, end, _ := c.partition.Offsets(); c.next > end { // it was found to be the beginning of ours
			p.owner.cfg.Logger.Error("a follower's log goes beyond its leader's", "follower", p.node, "topic", c.partition.Topic(),
				"partition", c.partition.ID().Index, "log_end", c.next, "err", err)
			c.pause(now)
			return
		}
		c.forgetSent()
		c.phase = phaseReset
		p.pushLocked(c)
	case mq.FencedLeaderEpoch, mq.UnknownLeaderEpoch, mq.NotLeaderOrFollower, mq.ShuttingDown, mq.UnknownTopicOrPartition, mq.PartitionQuarantined:
		c.forgetSent()
		c.phase = phaseOver
	default:
		p.owner.cfg.Logger.Warn("read for a follower", "follower", p.node, "topic", c.partition.Topic(), "partition", c.partition.ID().Index, "err", err)
		c.pause(now)
	}
}
