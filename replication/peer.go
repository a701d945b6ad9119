package replication

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/cenkalti/backoff/v5"

	replicationpb "github.com/rustmq/rustmq/api/replication/v1"
	"github.com/rustmq/rustmq/mq"
	"github.com/rustmq/rustmq/partition"
)

// peer is a broker that follows. One goroutine (run) keeps the stream to it and sends, a second one (receive) takes what it answers.
//
// Lock order: a partition's mutex, then the peer's.
type peer struct {
	owner  *Peers
	node   mq.NodeID
	ctx    context.Context
	cancel context.CancelFunc
	wake   chan struct{} // buffered: there is something to send
	change chan struct{} // buffered: to is another incarnation, or there is something to replicate at all

	mu       sync.Mutex
	to       Peer
	cursors  map[uint32]*cursor
	handles  uint32
	ready    []*cursor // with something to send, each once
	lazies   []*cursor // whose marks moved
	blocked  []*cursor // like ready, until the window has room
	paused   []*cursor // to be tried again
	closing  []uint32  // handles to be closed
	inFlight int64

	connected   bool
	since       time.Time
	incarnation uint64 // of the stream's other end
	sentBytes   uint64
	streams     uint64
}

func newPeer(owner *Peers, to Peer) *peer {
	ctx, cancel := context.WithCancel(owner.ctx)
	return &peer{
		owner: owner, node: to.Node, ctx: ctx, cancel: cancel, wake: make(chan struct{}, 1), change: make(chan struct{}, 1),
		cursors: make(map[uint32]*cursor), to: to, since: time.Now(),
	}
}

// leave ends the stream. Until it has, the way to the other end stays.
func (p *peer) leave() {
	p.set(p.target(), nil)
	p.cancel()
}

// set makes the cursors what is assigned. One call at a time.
func (p *peer) set(to Peer, assignments []Assignment) {
	wanted := make(map[*partition.Partition]mq.Epoch, len(assignments))
	for _, a := range assignments {
		wanted[a.Partition] = a.Epoch
	}
	var ended, begun []*cursor
	p.mu.Lock()
	renewed := to.Incarnation != p.to.Incarnation || len(p.cursors) == 0
	p.to = to
	for handle, c := range p.cursors {
		if epoch, still := wanted[c.partition]; still && epoch == c.epoch {
			delete(wanted, c.partition)
			continue
		}
		c.forgetSent()
		c.gone, c.phase = true, phaseOver
		delete(p.cursors, handle)
		p.closing = append(p.closing, handle)
		ended = append(ended, c)
	}
	if len(ended) > 0 {
		p.prune()
	}
	for part, epoch := range wanted {
		p.handles++
		c := &cursor{peer: p, partition: part, epoch: epoch, handle: p.handles}
		p.cursors[c.handle] = c
		begun = append(begun, c)
	}
	p.mu.Unlock()
	for _, c := range ended {
		c.partition.Unwatch(c)
	}
	for _, c := range begun {
		c.partition.Watch(c)
		p.push(c)
	}
	signal(p.wake)
	if renewed {
		signal(p.change)
	}
}

// prune takes cursors that are gone off all lists. The caller holds the mutex.
func (p *peer) prune() {
	gone := func(c *cursor) bool { return c.gone }
	for _, list := range []*[]*cursor{&p.ready, &p.lazies, &p.blocked, &p.paused} {
		*list = slices.DeleteFunc(*list, gone)
	}
}

// unblock has those go on that waited for the window, if it has room. The caller holds the mutex.
func (p *peer) unblock() {
	if len(p.blocked) > 0 && p.inFlight < p.owner.cfg.Window {
		p.ready, p.blocked = append(p.ready, p.blocked...), nil
		signal(p.wake)
	}
}

func (p *peer) target() Peer {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.to
}

// push puts c on the list of what is to be done.
func (p *peer) push(c *cursor) {
	if c.queued.Swap(true) {
		return
	}
	p.mu.Lock()
	p.ready = append(p.ready, c)
	p.mu.Unlock()
	signal(p.wake)
}

// pushLocked is push for one who holds the mutex.
func (p *peer) pushLocked(c *cursor) {
	if !c.queued.Swap(true) {
		p.ready = append(p.ready, c)
		signal(p.wake)
	}
}

// pushLazy has c's marks sent, with batches if some come soon.
func (p *peer) pushLazy(c *cursor) {
	if c.queued.Load() || c.lazy.Swap(true) {
		return
	}
	p.mu.Lock()
	p.lazies = append(p.lazies, c)
	first := len(p.lazies) == 1
	p.mu.Unlock()
	if first {
		signal(p.wake) // to set its timer
	}
}

// standing is how the peer stands, and all that it follows.
func (p *peer) standing() (standing, []*partition.Partition) {
	p.mu.Lock()
	defer p.mu.Unlock()
	partitions := make([]*partition.Partition, 0, len(p.cursors))
	for _, c := range p.cursors {
		partitions = append(partitions, c.partition)
	}
	return standing{connected: p.connected, since: p.since, fenced: p.to.Fenced}, partitions
}

func (p *peer) status() Status {
	p.mu.Lock()
	defer p.mu.Unlock()
	return Status{p.node, p.connected, p.since, len(p.cursors), p.inFlight, p.sentBytes, p.streams}
}

// run keeps a stream to the peer until it is not wanted any more.
func (p *peer) run() {
	defer p.cancel()
	again := backoff.NewExponentialBackOff()
	again.InitialInterval, again.MaxInterval = firstRetry, lastRetry
	for p.ctx.Err() == nil {
		began := time.Now()
		err := p.stream()
		if p.ctx.Err() != nil {
			return
		}
		if time.Since(began) > lastRetry {
			again.Reset()
		}
		pause := again.NextBackOff()
		p.owner.cfg.Logger.Debug("stream to a follower ended", "follower", p.node, "again_in", pause, "err", err)
		timer := time.NewTimer(pause)
		select {
		case <-timer.C:
		case <-p.change: // it has started anew: at once
			again.Reset()
		case <-p.ctx.Done():
		}
		timer.Stop()
	}
}

// stream makes one stream and serves it to its end.
func (p *peer) stream() error {
	ctx, cancel := context.WithCancelCause(p.ctx)
	defer cancel(nil)
	select {
	case <-p.change:
	default:
	}
	to := p.target()
	patience := time.AfterFunc(helloTimeout, func() { cancel(mq.Errorf(mq.RequestTimedOut, "node %d does not answer the hello", p.node)) })
	defer patience.Stop()
	conn, err := to.Dial(ctx)
	if err != nil {
		return mq.Wrapf(errors.Join(err, context.Cause(ctx)), "dial node %d", p.node)
	}
	s := leaderStream{newStream(conn)}
	defer s.closeWith(ctx)()
	incarnation, err := p.greet(s, to)
	if err != nil || !patience.Stop() {
		return mq.Wrapf(errors.Join(err, context.Cause(ctx)), "greet node %d", p.node)
	}
	p.begin(incarnation)
	defer p.end()
	var receiver sync.WaitGroup
	receiver.Go(func() { cancel(p.receive(s, incarnation)) })
	err = p.send(ctx, s)
	cancel(err)
	receiver.Wait()
	return errors.Join(err, context.Cause(ctx))
}

// greet exchanges hello and welcome, and gives the incarnation of the other end.
func (p *peer) greet(s leaderStream, to Peer) (incarnation uint64, err error) {
	self := p.owner.cfg.Self
	err = s.Send(request{ReplicateRequest: &replicationpb.ReplicateRequest{Hello: &replicationpb.Hello{
		Version: protocolVersion, Leader: int32(self.Node), LeaderBrokerEpoch: self.Incarnation, Follower: int32(p.node),
	}}})
	if err != nil {
		return 0, err
	}
	answer, err := s.Receive()
	if err != nil {
		return 0, err
	}
	welcome := answer.GetWelcome()
	switch {
	case welcome == nil:
		return 0, mq.Errorf(mq.ProtocolViolation, "node %d answers a hello without a welcome", p.node)
	case mq.NodeID(welcome.GetFollower()) != p.node:
		return 0, mq.Errorf(mq.ProtocolViolation, "node %d answers as node %d", p.node, welcome.GetFollower())
	case welcome.GetBrokerEpoch() < to.Incarnation:
		return 0, mq.Errorf(mq.StaleBrokerEpoch, "node %d answers as incarnation %d, but %d has begun", p.node, welcome.GetBrokerEpoch(), to.Incarnation)
	}
	return welcome.GetBrokerEpoch(), nil
}

// begin has every cursor open its partition anew.
func (p *peer) begin(incarnation uint64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.connected, p.since, p.incarnation = true, time.Now(), incarnation
	p.streams++
	p.ready, p.blocked = append(p.ready, p.blocked...), nil
	p.paused, p.closing = nil, nil
	for _, c := range p.cursors {
		c.restart()
		p.pushLocked(c)
	}
	p.owner.cfg.Logger.Info("stream to a follower", "follower", p.node, "incarnation", incarnation, "partitions", len(p.cursors))
}

func (p *peer) end() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.connected, p.since = false, time.Now()
	for _, c := range p.cursors {
		c.restart()
	}
}

// receive takes answers until the stream ends.
func (p *peer) receive(s leaderStream, incarnation uint64) error {
	from := partition.Replica{Node: p.node, Incarnation: incarnation}
	for {
		m, err := s.Receive()
		if err != nil {
			return err
		}
		for _, state := range m.GetStates() {
			p.stated(state)
		}
		for _, ack := range m.GetAcks() {
			if err := p.acked(from, ack); err != nil {
				return err
			}
		}
	}
}

// stated takes a follower's state.
func (p *peer) stated(state *replicationpb.State) {
	p.mu.Lock()
	defer p.mu.Unlock()
	c := p.cursors[state.GetHandle()]
	if c == nil || c.round != state.GetRound() || c.phase == phaseOver || c.phase == phasePause {
		return
	}
	switch code := mq.Code(state.GetCode()); {
	case code == mq.FencedLeaderEpoch:
		c.forgetSent()
		c.phase = phaseOver
		return
	case code != mq.None:
		p.owner.cfg.Logger.Debug("a follower can not go on", "follower", p.node, "topic", c.partition.Topic(),
			"partition", c.partition.ID().Index, "code", code.String(), "reason", state.GetMessage())
		c.pause(time.Now())
		signal(p.wake)
		return
	case c.phase != phaseWait:
		return
	case state.GetAsks():
		c.phase, c.asked = phaseTruncate, mq.Epoch(state.GetLastEpoch())
	default:
		c.phase, c.next, c.told = phaseStream, mq.Offset(state.GetLogEnd()), marks{-1, -1, -1}
	}
	p.pushLocked(c)
}

// acked takes an acknowledgement. An error ends the stream.
func (p *peer) acked(from partition.Replica, ack *replicationpb.Acked) error {
	p.mu.Lock()
	c := p.cursors[ack.GetHandle()]
	if c == nil || c.round != ack.GetRound() || c.phase != phaseStream {
		p.mu.Unlock()
		return nil
	}
	c.acked(mq.Offset(ack.GetEnd()))
	p.mu.Unlock()
	err := c.partition.Acked(from, c.epoch, mq.Offset(ack.GetEnd()))
	switch mq.CodeOf(err) {
	case mq.StaleBrokerEpoch, mq.InvalidRequest:
		return mq.Wrapf(err, "acknowledgement of node %d", p.node)
	}
	return nil // otherwise this node does not lead it any more
}

// signal wakes whoever waits on a channel with a buffer of one.
func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}
