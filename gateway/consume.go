package gateway

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"sync"
	"time"

	"connectrpc.com/connect"

	rustmqpb "github.com/rustmq/rustmq/api/rustmq/v1"
	"github.com/rustmq/rustmq/client"
	"github.com/rustmq/rustmq/mq"
)

// stream is one Consume: the calling goroutine polls and sends, and callbacks of the consumer run on it, too. Acks come from others.
type stream struct {
	g      *Gateway
	ctx    context.Context // of the call
	out    *connect.ServerStream[rustmqpb.ConsumeResponse]
	id     string
	text   bool
	auto   time.Duration // 0: the client acknowledges
	revoke time.Duration
	failed error     // of a Send
	over   bool      // nothing is sent any more
	spoke  time.Time // when something was sent last
	due    time.Time // to commit by itself
	k      *client.Consumer
	acked  chan struct{} // something was acknowledged

	mu    sync.Mutex
	parts map[client.TopicPartition]*progress // of a member: that it has
}

// Consume implements the service.
func (s consuming) Consume(ctx context.Context, req *connect.Request[rustmqpb.ConsumeRequest], out *connect.ServerStream[rustmqpb.ConsumeResponse]) error {
	c := callOf(ctx)
	c.taken()
	c.onParting(func() {
		c.cancel(errStopping)
		_ = c.control.SetWriteDeadline(time.Now().Add(partingTime))
	})
	st := &stream{
		g: s.g, ctx: ctx, out: out, text: req.Msg.GetText(), acked: make(chan struct{}, 1), parts: make(map[client.TopicPartition]*progress),
		id: fmt.Sprintf("%d-%s", s.g.node, rand.Text()),
	}
	options, err := st.options(ctx, req.Msg)
	if err != nil {
		return err
	}
	if st.k, err = s.g.client.NewConsumer(options...); err != nil {
		return err
	}
	defer st.k.Close()
	defer func() { st.over = true }()
	if req.Msg.GetGroup() != nil {
		s.g.mu.Lock()
		s.g.streams[st.id] = st
		s.g.mu.Unlock()
		defer func() {
			s.g.mu.Lock()
			delete(s.g.streams, st.id)
			s.g.mu.Unlock()
		}()
	}
	st.send(&rustmqpb.ConsumeResponse{Event: &rustmqpb.ConsumeResponse_Started{Started: &rustmqpb.ConsumeStarted{SessionId: st.id, NodeId: int32(s.g.node)}}})
	return st.run(len(req.Msg.GetAssignments()))
}

// options are those of the consumer.
func (st *stream) options(ctx context.Context, req *rustmqpb.ConsumeRequest) ([]client.ConsumerOption, error) {
	iso, err := isolation(req.GetIsolation())
	if err != nil {
		return nil, err
	}
	options := []client.ConsumerOption{client.ReadIsolation(iso), client.PrefetchBytes(st.g.limits.PrefetchBytes)}
	var more []client.ConsumerOption
	switch n := len(req.GetAssignments()); {
	case (n > 0) == (req.GetGroup() != nil):
		return nil, invalid("consume: name either assignments or a group")
	case n > maxPartitions:
		return nil, invalid("%d assignments: at most %d are allowed", n, maxPartitions)
	case n > 0:
		more, err = st.assigned(ctx, req.GetAssignments(), iso)
	default:
		more, err = st.member(req.GetGroup())
	}
	return append(options, more...), err
}

// assigned are the options of a consumer that is told its partitions.
func (st *stream) assigned(ctx context.Context, list []*rustmqpb.Assignment, iso mq.Isolation) (options []client.ConsumerOption, err error) {
	seen := make(map[client.TopicPartition]bool)
	for _, a := range list {
		if err := checkPartition(a.GetTopic(), a.GetPartition()); err != nil {
			return nil, err
		}
		tp := client.TopicPartition{Topic: a.GetTopic(), Partition: a.GetPartition()}
		if seen[tp] {
			return nil, invalid("%s is named twice", tp)
		}
		seen[tp] = true
		var from client.Position
		switch at := a.GetPosition().GetAt().(type) {
		case nil:
		case *rustmqpb.Position_Edge:
			from, err = edge(at.Edge)
		default:
			var found map[int32]mq.Offset
			found, err = st.g.offsets(ctx, tp.Topic, []int32{tp.Partition}, a.GetPosition(), iso)
			from = client.At(found[tp.Partition])
		}
		if err != nil {
			return nil, err
		}
		options = append(options, client.Assign(tp.Topic, tp.Partition, from))
	}
	return options, nil
}

// member are the options of a consumer that is a member of a group.
func (st *stream) member(req *rustmqpb.GroupSubscription) ([]client.ConsumerOption, error) {
	reset, err := edge(req.GetAutoOffsetReset())
	if err != nil {
		return nil, err
	}
	if st.auto, err = duration("auto_commit_interval", req.GetAutoCommitInterval(), minAutoCommit, time.Hour, 0); err != nil {
		return nil, err
	}
	if st.revoke, err = duration("revoke_wait", req.GetRevokeWait(), 0, maxRevokeWait, defaultRevokeWait); err != nil {
		return nil, err
	}
	rebalance, err := duration("rebalance_timeout", req.GetRebalanceTimeout(), time.Second, 24*time.Hour, defaultRebalanceTimeout)
	if err != nil {
		return nil, err
	}
	options := []client.ConsumerOption{
		client.Group(req.GetGroup()), client.Topics(req.GetTopics()...), client.ResetTo(reset), client.RebalanceTimeout(rebalance), client.AutoCommit(0),
		client.OnAssigned(st.onAssigned), client.OnRevoked(st.onRevoked), client.OnLost(st.onLost),
	}
	if req.GetTopicPattern() != "" {
		options = append(options, client.TopicPattern(req.GetTopicPattern()))
	}
	if req.GetInstanceId() != "" {
		options = append(options, client.InstanceID(req.GetInstanceId()))
	}
	return options, nil
}

// send sends an event. Once that has failed the stream is over.
func (st *stream) send(event *rustmqpb.ConsumeResponse) {
	if st.failed == nil && !st.over {
		st.failed = st.out.Send(event)
		st.spoke = time.Now()
	}
}

// run sends what comes until the stream ends. assignments are how many partitions it was told, 0 for a member.
func (st *stream) run(assignments int) error {
	broken := make(map[client.TopicPartition]bool)
	if st.auto > 0 {
		st.due = time.Now().Add(st.auto)
	}
	for st.failed == nil {
		recs, err := st.poll()
		switch partial, ok := errors.AsType[*client.PartitionError](err); {
		case st.ctx.Err() != nil:
			return context.Cause(st.ctx)
		case err == nil:
			st.sendRecords(recs)
		case ok:
			st.send(&rustmqpb.ConsumeResponse{Event: &rustmqpb.ConsumeResponse_Error{Error: failure(err)}})
			broken[client.TopicPartition{Topic: partial.Topic, Partition: partial.Partition}] = true
			if len(broken) == assignments {
				return err // nothing will come any more
			}
		default:
			return err
		}
	}
	return st.failed
}

// poll waits for records; none come with a heartbeat, or when it is time to commit.
func (st *stream) poll() ([]client.Record, error) {
	until := st.spoke.Add(heartbeatEvery)
	if st.auto > 0 {
		st.commitByItself()
		if st.due.Before(until) {
			until = st.due
		}
	}
	within, cancel := context.WithDeadline(st.ctx, until)
	defer cancel()
	recs, err := st.k.Poll(within)
	if err == nil || within.Err() == nil || st.ctx.Err() != nil {
		return recs, err
	}
	if time.Since(st.spoke) >= heartbeatEvery {
		st.send(&rustmqpb.ConsumeResponse{Event: &rustmqpb.ConsumeResponse_Heartbeat{Heartbeat: &rustmqpb.Heartbeat{}}})
	}
	return nil, nil
}

// sendRecords sends records of one partition, in events that are not too large.
func (st *stream) sendRecords(recs []client.Record) {
	for len(recs) > 0 && st.failed == nil {
		batch := &rustmqpb.RecordBatch{Topic: recs[0].Topic, Partition: recs[0].Partition}
		n := 0
		for size := 0; n < len(recs) && n < eventRecords; n++ {
			if size += sizeOf(&recs[n]); size > eventBytes && n > 0 {
				break
			}
			batch.Records = append(batch.Records, consumed(&recs[n], st.text))
		}
		batch.NextOffset = int64(recs[n-1].Offset) + 1
		recs = recs[n:]
		// Whoever gets it may acknowledge it before this goroutine goes on.
		st.advance(batch)
		st.send(&rustmqpb.ConsumeResponse{Event: &rustmqpb.ConsumeResponse_Batch{Batch: batch}})
	}
}

// advance notes what is sent.
func (st *stream) advance(b *rustmqpb.RecordBatch) {
	st.mu.Lock()
	defer st.mu.Unlock()
	if p := st.parts[client.TopicPartition{Topic: b.Topic, Partition: b.Partition}]; p != nil {
		p.sent = mq.Offset(b.NextOffset)
	}
}

// commitByItself commits, when it is time, what was sent before the last time, and what could not be committed then.
func (st *stream) commitByItself() {
	now := time.Now()
	if now.Before(st.due) {
		return
	}
	st.due = now.Add(st.auto)
	st.mu.Lock()
	defer st.mu.Unlock()
	for tp, p := range st.parts {
		if offset := p.turn(now, st.auto); offset >= 0 {
			st.commit(tp, p, offset, func(err error) {
				if err != nil {
					st.g.log.Debug("what was sent to a member was not committed", "partition", tp, "offset", int64(offset), "error", err)
				}
			})
		}
	}
}

// commit has an offset committed, or a higher one that was handed in before. The mutex is held, and done, which may be called at once, must not take it.
func (st *stream) commit(tp client.TopicPartition, p *progress, offset mq.Offset, done func(error)) {
	p.asked = max(p.asked, offset)
	asked := p.asked
	p.failed.Store(-1)
	st.k.CommitAsync(func(err error) {
		if err != nil {
			p.unsettled(asked, err)
		} else { // so it was not called at once
			st.mu.Lock()
			p.done = max(p.done, asked)
			st.mu.Unlock()
			select {
			case st.acked <- struct{}{}:
			default:
			}
		}
		done(err)
	}, client.CommitOffset{Topic: tp.Topic, Partition: tp.Partition, Offset: asked})
}

func (st *stream) onAssigned(_ context.Context, _ *client.Consumer, list []client.TopicPartition) {
	st.mu.Lock()
	for _, tp := range list {
		st.parts[tp] = newProgress()
	}
	st.mu.Unlock()
	st.send(&rustmqpb.ConsumeResponse{Event: &rustmqpb.ConsumeResponse_Assigned{Assigned: &rustmqpb.PartitionsAssigned{Partitions: partitionsOf(list)}}})
}

// onRevoked tells of it, and waits a little for the acks of what was sent.
func (st *stream) onRevoked(ctx context.Context, _ *client.Consumer, list []client.TopicPartition) {
	if st.ctx.Err() == nil {
		st.send(&rustmqpb.ConsumeResponse{Event: &rustmqpb.ConsumeResponse_Revoked{Revoked: &rustmqpb.PartitionsRevoked{Partitions: partitionsOf(list)}}})
	}
	if st.auto == 0 && st.failed == nil && !st.over {
		st.awaitAcks(list)
	}
	st.forget(list)
}

func (st *stream) awaitAcks(list []client.TopicPartition) {
	patience := time.NewTimer(st.revoke)
	defer patience.Stop()
	for !st.allAcked(list) {
		select {
		case <-st.acked:
		case <-patience.C:
			return
		case <-st.ctx.Done():
			return
		}
	}
}

func (st *stream) allAcked(list []client.TopicPartition) bool {
	st.mu.Lock()
	defer st.mu.Unlock()
	for _, tp := range list {
		if p := st.parts[tp]; p != nil && p.done < p.sent {
			return false
		}
	}
	return true
}

func (st *stream) onLost(_ context.Context, _ *client.Consumer, list []client.TopicPartition) {
	st.forget(list)
	st.send(&rustmqpb.ConsumeResponse{Event: &rustmqpb.ConsumeResponse_Revoked{Revoked: &rustmqpb.PartitionsRevoked{Partitions: partitionsOf(list), Lost: true}}})
}

func (st *stream) forget(list []client.TopicPartition) {
	st.mu.Lock()
	defer st.mu.Unlock()
	for _, tp := range list {
		delete(st.parts, tp)
	}
}

func partitionsOf(list []client.TopicPartition) []*rustmqpb.TopicPartition {
	out := make([]*rustmqpb.TopicPartition, len(list))
	for i, tp := range list {
		out[i] = &rustmqpb.TopicPartition{Topic: tp.Topic, Partition: tp.Partition}
	}
	return out
}
