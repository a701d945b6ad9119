package client

import (
	"context"
	"crypto/rand"
	"errors"
	"io"
	"sync/atomic"
	"time"

	"github.com/rustmq/rustmq/mq"
	"github.com/rustmq/rustmq/quicproto"
	"github.com/rustmq/rustmq/quicproto/transport"
)

const (
	// silenceTime is after how long a coordinator is given up of which nothing has come while an answer is due.
	silenceTime = time.Second
	// answerLooks is how many times silenceTime a coordinator that is there may take to answer OpenGroup: it may be short of replicas.
	answerLooks = 15
	// leaveTime bounds each of the two steps of leaving: the last commit, and to be let go.
	leaveTime = 5 * time.Second
)

// member is a consumer's membership of its group: a stream to the group's coordinator for as long as the consumer lives, made anew when it breaks, on a connection of its own, whose life is the
// member's. What the coordinator assigns are its claims.
//
// Two goroutines belong to it: one finds the coordinator and reads, one tells it what has changed. A third one asks for committed offsets while there are claims that lack
// theirs, and a fourth one commits while there is something to commit. What the application is to be told of, whoever is in Poll takes up (attend). Its fields are guarded by the consumer's mutex unless they say
// otherwise.
type member struct {
	k     *Consumer
	cfg   *groupConfig
	id    string        // of this life of the member
	turn  chan struct{} // cap 1; taken by who runs callbacks
	kicks chan struct{} // cap 1; the coordinator has to be told something
	left  chan struct{} // closed when the first goroutine has ended
	quit  chan struct{} // closed when the member is to leave

	started bool
	leaving bool
	fatal   error // why it is no member and will not be one

	epoch    int32  // of the last Assignment; 0: it has to join
	number   uint32 // of the last Assignment on the stream
	target   map[TopicPartition]mq.TopicID
	claims   map[TopicPartition]*claim
	lost     []TopicPartition             // the application is to be told
	stops    map[TopicPartition]mq.Offset // of StopAt
	due      atomic.Bool                  // the application is to be told something; changed with the mutex held
	locating bool                         // a goroutine asks for committed offsets

	sess    *session         // with the coordinator, once it has answered
	stream  transport.Stream // nil while there is none
	cause   error            // why the stream was given up
	changed chan struct{}    // closed, and made anew, when sess, epoch or claims have changed
	noted   bool             // the coordinator has to be told that the last Assignment is noted
	owns    bool             // and what is owned
	wants   bool             // and what is subscribed to

	pending    *commits // to be sent next
	committing bool     // a goroutine commits
	auto       *time.Timer

	// Of the first goroutine.
	known     mq.Epoch  // of the coordinator, the newest that was told of
	informant mq.NodeID // who told of it
	avoid     []mq.NodeID
	patience  time.Duration // with a connection that is made
}

func newMember(k *Consumer, cfg *groupConfig) *member {
	return &member{
		k: k, cfg: cfg, id: rand.Text(), turn: make(chan struct{}, 1), kicks: make(chan struct{}, 1), left: make(chan struct{}), quit: make(chan struct{}),
		claims: make(map[TopicPartition]*claim), changed: make(chan struct{}), known: mq.NoEpoch, informant: mq.NoNode, patience: attemptTime,
	}
}

// lane is that of the connection to the coordinator: the one behind those that the consumer fetches with.
func (m *member) lane() int { return m.k.lane + m.k.c.cfg.connections }

// waits is asked before anything is handed out: whether something else has to be done first. The mutex is held.
func (m *member) waits() (bool, error) {
	if !m.started {
		m.started = true
		m.k.spawn(m.run)
		if m.cfg.autoCommit > 0 {
			m.auto = time.AfterFunc(m.cfg.autoCommit, m.commitByItself)
		}
	}
	return m.due.Load(), m.fatal
}

// told has everybody look again who waits for something of the member. The mutex is held.
func (m *member) told() {
	close(m.changed)
	m.changed = make(chan struct{})
}

// kick has the coordinator told what there is to tell.
func (m *member) kick() {
	select {
	case m.kicks <- struct{}{}:
	default:
	}
}

// run is a member until it leaves, or cannot be one.
func (m *member) run() {
	defer close(m.left)
	k := m.k
	wait := newEagerBackoff()
	for {
		began := time.Now()
		err := m.attach()
		k.mu.Lock()
		if m.sess != nil {
			m.avoid, m.patience = nil, attemptTime
			if time.Since(began) > maxBackoff {
				wait = newEagerBackoff()
			}
		}
		if m.cause != nil {
			err = m.cause
		}
		m.sess, m.stream, m.cause = nil, nil, nil
		m.told()
		over := m.leaving || k.sealed || k.ctx.Err() != nil || errors.Is(err, ErrClosed)
		if !over {
			m.judge(err)
			over = m.fatal != nil
		}
		k.mu.Unlock()
		if over || !sleepUnless(k.ctx, m.quit, wait.next()) {
			return
		}
	}
}

// judge decides how to go on after the stream has ended with err, or was not made. The mutex is held.
func (m *member) judge(err error) {
	err = mq.Wrapf(err, "group %s", m.cfg.name)
	switch code := mq.CodeOf(err); {
	case code == mq.FencedMemberEpoch, code == mq.UnknownMemberID:
		m.lose(err)
	case code == mq.UnreleasedInstanceID, code == mq.Internal, code == mq.Unknown, code.Retriable() && !hopeless(err):
		m.k.c.noteTrouble(err)
	default:
		m.lose(err)
		m.fatal = err
		m.k.signal()
	}
}

// attach finds the coordinator, and is a member there until the stream ends.
func (m *member) attach() error {
	node, err := m.find()
	if err != nil {
		return err
	}
	m.avoid = []mq.NodeID{node, m.informant} // unless it turns out to be the coordinator
	sess, err := m.connect(node)
	if err != nil {
		return err
	}
	k := m.k
	ctx, cancel := context.WithTimeout(k.ctx, k.c.cfg.dialTimeout)
	stream, err := sess.conn.OpenStream(ctx)
	cancel()
	if err != nil {
		return transportError(k.ctx, err)
	}
	k.mu.Lock()
	m.stream = stream
	k.mu.Unlock()
	ctx, cancel = context.WithCancel(k.ctx)
	done := make(chan struct{})
	go func() { // joined below
		defer close(done)
		if err := m.tell(ctx, sess, stream); err != nil {
			m.giveUpOn(stream, err)
		}
	}()
	frames := quicproto.NewFrameReader(stream, 0)
	for err == nil {
		err = m.read(sess, frames)
	}
	cancel()
	stream.Abort(mq.Canceled)
	<-done
	if errors.Is(err, io.EOF) {
		return mq.Errorf(mq.NetworkException, "the coordinator closed the group stream")
	}
	return transportError(k.ctx, err)
}

// connect makes the connection to the coordinator. It takes little time at first: who does not answer may have been replaced.
func (m *member) connect(node mq.NodeID) (*session, error) {
	ctx, cancel := context.WithTimeout(m.k.ctx, m.patience)
	defer cancel()
	m.patience = min(2*m.patience, m.k.c.cfg.dialTimeout)
	sess, err := m.k.c.pool.get(ctx, slotKey{node: node, lane: m.lane()}, controlWindow)
	if err != nil && ctx.Err() != nil && m.k.ctx.Err() == nil {
		return nil, mq.Errorf(mq.NetworkException, "coordinator %d does not answer", node)
	}
	return sess, err
}

// find asks who coordinates the group. An answer that is older than one that came before is not believed, unless nobody says anything else.
func (m *member) find() (mq.NodeID, error) {
	c := m.k.c
	ctx, cancel := context.WithTimeout(m.k.ctx, c.cfg.requestTimeout)
	defer cancel()
	var found quicproto.FindCoordinatorResponse
	older := 0
	q := inquiry{c: c, req: &quicproto.FindCoordinatorRequest{Group: m.cfg.name}, resp: &found, how: urgent, avoid: m.avoid, accept: func(node mq.NodeID) bool {
		m.informant = node
		older++
		return found.LeaderEpoch >= m.known || older > olderTries
	}}
	if err := q.run(ctx); err != nil {
		return mq.NoNode, mq.Wrapf(err, "find the coordinator")
	}
	if found.Node == mq.NoNode {
		return mq.NoNode, mq.Errorf(mq.CoordinatorNotAvailable, "the group has no coordinator at the moment")
	}
	m.known = found.LeaderEpoch
	_, err := c.metadata(ctx, &quicproto.MetadataRequest{}) // where it listens
	return found.Node, err
}

// giveUpOn ends the present stream for a reason that judge is to hear of.
func (m *member) giveUpOn(stream transport.Stream, cause error) {
	m.k.mu.Lock()
	if m.stream == stream && m.cause == nil {
		m.cause = transportError(m.k.ctx, cause)
	}
	m.k.mu.Unlock()
	stream.Abort(mq.Canceled)
}

// tell sends what the coordinator has to know: everything at first, and then what changes.
func (m *member) tell(ctx context.Context, sess *session, stream transport.Stream) error {
	buf := quicproto.AppendFrame(nil, m.open())
	look := time.NewTicker(silenceTime)
	defer look.Stop()
	packets := sess.packets()
	for looks := 0; ; {
		if len(buf) > 0 {
			if _, err := stream.Write(buf); err != nil {
				return err
			}
			buf = buf[:0]
		}
		select {
		case <-m.kicks:
			beat, leaving := m.words()
			if beat != nil {
				buf = quicproto.AppendFrame(buf, beat)
			}
			if leaving {
				return stream.Close()
			}
		case <-look.C:
			looks++
			switch {
			case m.attached(sess):
				look.Stop()
			case looks == 1 && sess.doubt(packets): // not even what was sent was acknowledged
				sess.close(mq.Canceled, "the coordinator has fallen silent")
				return mq.Errorf(mq.NetworkException, "the coordinator has fallen silent")
			case looks > answerLooks:
				return mq.Errorf(mq.CoordinatorNotAvailable, "the coordinator does not answer")
			}
		case <-ctx.Done():
			return nil
		}
	}
}

// attached reports whether the coordinator has answered on sess.
func (m *member) attached(sess *session) bool {
	m.k.mu.Lock()
	defer m.k.mu.Unlock()
	return m.sess == sess
}

// open says all that there is to say.
func (m *member) open() *quicproto.OpenGroup {
	m.k.mu.Lock()
	defer m.k.mu.Unlock()
	m.noted, m.owns, m.wants = false, false, false
	if m.leaving {
		m.kick()
	}
	open := &quicproto.OpenGroup{
		Epoch: m.epoch, Rebalance: m.cfg.rebalance, Group: m.cfg.name, Member: m.id, Instance: m.cfg.instance, Rack: m.k.c.cfg.rack,
		Subscription: m.subscription(),
	}
	if m.epoch > 0 {
		open.Owned = m.owned()
	}
	return open
}

// words is what there is to tell now, nil for nothing, and whether the member leaves.
func (m *member) words() (*quicproto.Heartbeat, bool) {
	m.k.mu.Lock()
	defer m.k.mu.Unlock()
	if m.leaving {
		return nil, true
	}
	if !m.noted && !m.owns && !m.wants || m.sess == nil {
		return nil, false // without an answer yet the answer to that will be followed by everything
	}
	beat := &quicproto.Heartbeat{Number: m.number, Owns: m.owns, Subscribes: m.wants}
	if m.wants {
		beat.Subscription = m.subscription()
	}
	if m.owns {
		beat.Owned = m.owned()
	}
	m.noted, m.owns, m.wants = false, false, false
	return beat, false
}

// subscription is what the member wants. The mutex is held.
func (m *member) subscription() quicproto.Subscription {
	return quicproto.Subscription{Topics: m.cfg.topics, Pattern: m.cfg.pattern, Assignor: m.cfg.assignor}
}

// read takes one frame.
func (m *member) read(sess *session, frames *quicproto.FrameReader) error {
	f, err := frames.Read()
	if err != nil {
		return err
	}
	switch f := f.(type) {
	case *quicproto.Assignment:
		return m.assigned(sess, f)
	case *quicproto.Close:
		if err := f.Err(); err != nil {
			return err
		}
		return io.EOF
	default:
		return violation("%v on a group stream", f.Type())
	}
}

// exchange asks the coordinator. One that has fallen silent is given up, and is then found anew; so is one that is not the coordinator, or that does not know the member any more.
func (m *member) exchange(ctx context.Context, sess *session, req quicproto.RequestBody, resp quicproto.Body) error {
	ctx, cancel := context.WithTimeout(ctx, m.k.c.cfg.requestTimeout)
	defer cancel()
	packets := sess.packets()
	silence := time.AfterFunc(silenceTime, func() {
		if sess.doubt(packets) {
			sess.close(mq.Canceled, "the coordinator has fallen silent")
		}
	})
	defer silence.Stop()
	err := sess.request(ctx, req, resp)
	switch mq.CodeOf(err) {
	case mq.NotCoordinator, mq.CoordinatorNotAvailable, mq.ShuttingDown, mq.UnknownMemberID, mq.FencedMemberEpoch, mq.FencedInstanceID:
		m.k.mu.Lock()
		stream := m.stream
		current := m.sess == sess
		m.k.mu.Unlock()
		if current && stream != nil {
			m.giveUpOn(stream, err)
		}
	}
	return err
}

// awaitAttached waits, if the coordinator knows the member, until it is attached to it; false if it is not, or will not be.
func (m *member) awaitAttached(ctx context.Context) bool {
	for {
		m.k.mu.Lock()
		attached, known, changed := m.sess != nil, m.started && m.epoch > 0, m.changed
		m.k.mu.Unlock()
		if attached || !known {
			return attached
		}
		select {
		case <-changed:
		case <-m.left:
			return false
		case <-ctx.Done():
			return false
		}
	}
}

// leave gives up everything and leaves the group: after the last commit, and at once.
func (m *member) leave() {
	k := m.k
	ctx, cancel := context.WithTimeout(context.Background(), leaveTime)
	defer cancel()
	turn := true
	select {
	case m.turn <- struct{}{}:
	case <-ctx.Done():
		turn = false // a callback is stuck: what it is about is lost
	}
	k.mu.Lock()
	if m.auto != nil {
		m.auto.Stop()
	}
	list := m.handed()
	for _, cl := range list {
		m.stop(cl)
	}
	k.mu.Unlock()
	if m.awaitAttached(ctx) && turn {
		m.release(ctx, list)
		m.awaitAttached(ctx)
	}
	k.mu.Lock()
	m.leaving = true
	close(m.quit)
	attached := m.stream != nil
	k.mu.Unlock()
	m.kick()
	if attached {
		late := time.NewTimer(leaveTime)
		defer late.Stop()
		select {
		case <-m.left:
		case <-late.C:
		}
	}
	if turn {
		<-m.turn
	}
}
