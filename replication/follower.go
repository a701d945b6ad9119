package replication

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"slices"
	"sync"
	"time"

	replicationpb "github.com/rustmq/rustmq/api/replication/v1"
	"github.com/rustmq/rustmq/mq"
	"github.com/rustmq/rustmq/partition"
)

// FollowerConfig is what the follower's side works with. All fields are required.
type FollowerConfig struct {
	// Self is this broker in this run: the incarnation that its acknowledgements count for.
	Self partition.Replica
	// Lookup is the partition of this id that runs here, or nil. Whom it follows in which epoch is told to it by others.
	Lookup func(mq.PartitionID) *partition.Partition
	Logger *slog.Logger
}

// Follower takes what leaders send. It is safe for concurrent use.
type Follower struct {
	cfg FollowerConfig

	mu       sync.Mutex
	sessions map[*session]struct{}
	closed   bool
	joined   sync.WaitGroup
}

// NewFollower makes a Follower.
func NewFollower(cfg FollowerConfig) *Follower {
	return &Follower{cfg: cfg, sessions: make(map[*session]struct{})}
}

// Close ends all streams and joins their goroutines. New ones are refused.
func (f *Follower) Close() {
	f.mu.Lock()
	f.closed = true
	for s := range f.sessions {
		s.cancel()
	}
	f.mu.Unlock()
	f.joined.Wait()
}

// Serve takes what a leader says on a connection of node from, as its certificate says, until the stream ends. It closes the connection.
func (f *Follower) Serve(conn net.Conn, from mq.NodeID) {
	ctx, cancel := context.WithCancel(context.Background())
	stream := followerStream{newStream(conn)}
	defer stream.closeWith(ctx)()
	defer cancel()
	s := newSession(ctx, f, cancel, from)
	if err := f.greet(stream, s); err != nil {
		stream.farewell(err)
		return
	}
	defer f.remove(s)
	var sending sync.WaitGroup
	sending.Go(func() {
		if s.answer(stream) != nil {
			cancel() // it hears nothing any more, so it is not to say any more either
		}
	})
	err := s.receive(stream)
	s.end()
	sending.Wait()
	f.cfg.Logger.Debug("the stream of a leader ended", "leader", from, "err", err)
}

// greet exchanges hello and welcome, and counts the session.
func (f *Follower) greet(stream followerStream, s *session) error {
	first, err := stream.Receive()
	if err != nil {
		return err
	}
	if err := f.greeted(s.leader, first); err != nil {
		return err
	}
	s.incarnation = first.GetHello().GetLeaderBrokerEpoch()
	if err := f.add(s); err != nil {
		return err
	}
	if err := stream.Send(&replicationpb.ReplicateResponse{Welcome: &replicationpb.Welcome{
		Follower: int32(f.cfg.Self.Node), BrokerEpoch: f.cfg.Self.Incarnation,
	}}); err != nil {
		f.remove(s)
		return err
	}
	return nil
}

// add makes s the only session of its leader. One from before ends first, with all that was under way in it: the leader has broken it off, or it is about to, and
// nothing that it said there may be done once it hears what is said here.
func (f *Follower) add(s *session) error {
	for {
		before, err := f.tryAdd(s)
		if before == nil {
			return err
		}
		before.cancel()
		select {
		case <-before.over:
		case <-s.ctx.Done():
			return mq.Wrapf(s.ctx.Err(), "wait for the end of an earlier stream of node %d", s.leader)
		}
	}
}

// tryAdd adds s, or gives the session that has to end before.
func (f *Follower) tryAdd(s *session) (before *session, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.closed {
		return nil, mq.Errorf(mq.ShuttingDown, "node %d is closing", f.cfg.Self.Node)
	}
	for other := range f.sessions {
		switch {
		case other.leader != s.leader:
		case other.incarnation > s.incarnation:
			return nil, mq.Errorf(mq.StaleBrokerEpoch, "hello of node %d as incarnation %d, but %d has begun", s.leader, s.incarnation, other.incarnation)
		default:
			return other, nil
		}
	}
	f.sessions[s] = struct{}{}
	f.joined.Add(1)
	return nil, nil
}

func (f *Follower) remove(s *session) {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.sessions, s)
	close(s.over)
	f.joined.Done()
}

// greeted checks who speaks.
func (f *Follower) greeted(from mq.NodeID, m request) error {
	hello := m.GetHello()
	if hello == nil {
		return mq.Errorf(mq.ProtocolViolation, "a stream begins with a hello")
	}
	switch leader := mq.NodeID(hello.GetLeader()); {
	case from != leader:
		return mq.Errorf(mq.ClusterAuthorizationFailed, "hello of node %d from the connection of node %d", leader, from)
	case hello.GetVersion() != protocolVersion:
		return mq.Errorf(mq.UnsupportedVersion, "version %d of the replication protocol, only %d is known", hello.GetVersion(), protocolVersion)
	case mq.NodeID(hello.GetFollower()) != f.cfg.Self.Node:
		return mq.Errorf(mq.InvalidRequest, "hello to node %d, this is node %d", hello.GetFollower(), f.cfg.Self.Node)
	}
	return nil
}

// maxOpen bounds the partitions that one leader may have open on a stream.
const maxOpen = 1 << 20

// session is one stream. The handler's goroutine receives, a second one answers; a third one resets partitions while there are any to be
// reset, for that asks the metadata.
//
// Lock order: a partition's mutex, then the session's.
type session struct {
	follower *Follower
	leader   mq.NodeID
	ctx      context.Context
	cancel   context.CancelFunc
	replicas map[uint32]*replica // the receiver's own
	resets   sync.WaitGroup

	incarnation uint64        // the leader's
	over        chan struct{} // closed when nothing of the session is under way any more

	mu      sync.Mutex
	news    []*replica // that may have something to acknowledge, each once
	states  []*replicationpb.State
	toReset []reset
	wake    chan struct{} // buffered
}

// reset is a partition that is to go on at the tiered end.
type reset struct {
	replica             *replica
	round               uint32
	tieredEnd, logStart mq.Offset
}

func newSession(ctx context.Context, f *Follower, cancel context.CancelFunc, leader mq.NodeID) *session {
	return &session{
		follower: f, leader: leader, ctx: ctx, cancel: cancel, replicas: make(map[uint32]*replica),
		over: make(chan struct{}), wake: make(chan struct{}, 1),
	}
}

// source is the stream as far as receive needs it.
type source interface {
	Receive() (request, error)
}

// receive takes what the leader says, until it says no more. While there is no room in the log it reads nothing, which the leader feels.
func (s *session) receive(stream source) error {
	for {
		m, err := stream.Receive()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if err := s.take(m); err != nil {
			return err
		}
	}
}

// take does what one message says. An error ends the stream.
func (s *session) take(m request) error {
	if m.GetHello() != nil {
		return mq.Errorf(mq.ProtocolViolation, "a second hello")
	}
	for _, handle := range m.GetCloses() {
		if r := s.replicas[handle]; r != nil {
			delete(s.replicas, handle)
			r.close()
		}
	}
	for _, open := range m.GetOpens() {
		if err := s.open(open); err != nil {
			return err
		}
	}
	for _, t := range m.GetTruncates() {
		if r := s.in(t.GetHandle(), t.GetRound()); r != nil {
			r.truncate(mq.Epoch(t.GetEpoch()), mq.Offset(t.GetEnd()))
		}
	}
	for _, t := range m.GetResets() {
		if r := s.in(t.GetHandle(), t.GetRound()); r != nil {
			s.reset(reset{r, r.round, mq.Offset(t.GetTieredEnd()), mq.Offset(t.GetLogStart())})
		}
	}
	for i, part := range m.GetParts() {
		if r := s.in(part.GetHandle(), part.GetRound()); r != nil {
			r.replicate(s.ctx, part, m.batches[i])
		}
	}
	return nil
}

// in is the replica of this handle, if it is in this round, and the round not over.
func (s *session) in(handle, round uint32) *replica {
	if r := s.replicas[handle]; r != nil && r.round == round && !r.over.Load() {
		return r
	}
	return nil
}

// open begins a round about a partition.
func (s *session) open(open *replicationpb.Open) error {
	if len(open.GetTopicId()) != len(mq.TopicID{}) {
		return mq.Errorf(mq.ProtocolViolation, "topic id of %d bytes", len(open.GetTopicId()))
	}
	handle := open.GetHandle()
	if old := s.replicas[handle]; old != nil {
		old.close()
	} else if len(s.replicas) >= maxOpen {
		return mq.Errorf(mq.TooManyRequests, "%d partitions are open already", maxOpen)
	}
	id := mq.PartitionID{Topic: mq.TopicID(open.GetTopicId()), Index: open.GetPartition()}
	r := &replica{session: s, handle: handle, round: open.GetRound(), epoch: mq.Epoch(open.GetLeaderEpoch()), acked: -1}
	s.replicas[handle] = r
	if r.partition = s.follower.cfg.Lookup(id); r.partition == nil {
		r.fail(mq.Errorf(mq.UnknownTopicOrPartition, "node %d does not run partition %s", s.follower.cfg.Self.Node, id))
		return nil
	}
	r.partition.Watch(r)
	r.watching = true
	r.state()
	return nil
}

// reset has the partition go on at the tiered end, by and by.
func (s *session) reset(r reset) {
	s.mu.Lock()
	s.toReset = append(s.toReset, r)
	first := len(s.toReset) == 1
	s.mu.Unlock()
	if first {
		s.resets.Go(s.resetAll)
	}
}

func (s *session) resetAll() {
	for {
		s.mu.Lock()
		next := s.toReset[0]
		s.mu.Unlock()
		next.replica.reset(s.ctx, next)
		s.mu.Lock()
		s.toReset = s.toReset[1:]
		more := len(s.toReset) > 0
		s.mu.Unlock()
		if !more {
			return
		}
	}
}

// end lets go of all partitions.
func (s *session) end() {
	s.cancel()
	s.resets.Wait()
	for _, r := range s.replicas {
		r.close()
	}
}

// push notes that r may have something to acknowledge.
func (s *session) push(r *replica) {
	if r.queued.Swap(true) {
		return
	}
	s.mu.Lock()
	s.news = append(s.news, r)
	s.mu.Unlock()
	signal(s.wake)
}

// say sends a state.
func (s *session) say(state *replicationpb.State) {
	s.mu.Lock()
	s.states = append(s.states, state)
	s.mu.Unlock()
	signal(s.wake)
}

// sink is the stream as far as answer needs it.
type sink interface {
	Send(*replicationpb.ReplicateResponse) error
}

// answer sends states and acknowledgements, and now and then a sign of life, until the session ends, which is nil, or the stream takes no more.
func (s *session) answer(stream sink) error {
	beat := time.NewTicker(beatInterval)
	defer beat.Stop()
	var news []*replica
	for {
		var alive bool
		select {
		case <-s.wake:
		case <-beat.C:
			alive = true
		case <-s.ctx.Done():
			return nil
		}
		s.mu.Lock()
		news, s.news = s.news, news[:0]
		m := &replicationpb.ReplicateResponse{States: s.states}
		s.states = nil
		s.mu.Unlock()
		for _, r := range news {
			r.queued.Store(false)
			if end, ok := r.durable(); ok {
				m.Acks = append(m.Acks, &replicationpb.Acked{Handle: r.handle, Round: r.round, End: int64(end)})
				continue
			}
			r.resign()
		}
		clear(news)
		if len(m.States)+len(m.Acks) == 0 && !alive {
			continue
		}
		slices.SortFunc(m.Acks, func(a, b *replicationpb.Acked) int { return int(a.GetHandle()) - int(b.GetHandle()) })
		if err := stream.Send(m); err != nil {
			return err
		}
	}
}
