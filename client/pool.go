package client

import (
	"context"
	"errors"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/rustmq/rustmq/mq"
	"github.com/rustmq/rustmq/quicproto"
)

// slotKey says what a connection is for. Lanes from 0 up are the producer's (and everybody's for requests); each consumer
// has a negative lane of its own, so that a slow one holds up nothing but itself.
type slotKey struct {
	node mq.NodeID // mq.NoNode: whichever server answers
	lane int
}

// pool makes the client's sessions and makes them anew: at most one for each slot.
type pool struct {
	cfg *config
	log *slog.Logger
	// leaving is told of sessions whose server asks to go.
	leaving func(*session)
	count   *counters
	ctx     context.Context // ends with the client
	stop    context.CancelFunc
	wg      sync.WaitGroup // session goroutines and dials

	mu     sync.Mutex
	closed bool
	slots  map[slotKey]*slot
	// open are the sessions that are not released, with their lanes: all that slots have, and those whose place another took while they were in use.
	open    map[*session]int
	addrs   map[mq.NodeID]string // where metadata says that nodes listen
	good    map[mq.NodeID]string // where a node answered last
	failed  map[string]struct{}  // addresses at which nobody answered last
	paths   paths
	behind  map[mq.NodeID]bool // whose metadata was older than another's when it was last asked
	version uint64             // of the newest metadata that came
	cluster mq.ClusterID       // that of the first server that answered
}

// slot holds the present session of one key. It is guarded by its pool's mutex.
type slot struct {
	sess    *session
	dialing *dialing
}

// dialing is an attempt that any number of callers wait for.
type dialing struct {
	done chan struct{} // closed when sess and err are set
	sess *session
	err  error
}

func newPool(cfg *config, count *counters, leaving func(*session)) *pool {
	p := &pool{
		cfg: cfg, leaving: leaving, log: cfg.logger, count: count,
		slots: make(map[slotKey]*slot), open: make(map[*session]int), addrs: make(map[mq.NodeID]string), good: make(map[mq.NodeID]string),
		failed: make(map[string]struct{}), paths: paths{first: firstRetry, blocked: make(map[string]*blockage)}, behind: make(map[mq.NodeID]bool),
	}
	p.ctx, p.stop = context.WithCancel(context.Background())
	return p
}

// get returns a usable session for key, connecting if there is none. window is the receive window in bytes of a new one. Several
// callers share one attempt; each may stop waiting for it by its ctx.
func (p *pool) get(ctx context.Context, key slotKey, window int) (*session, error) {
	p.mu.Lock()
	if p.closed {
		p.mu.Unlock()
		return nil, ErrClosed
	}
	s := p.slots[key]
	if s == nil {
		s = new(slot)
		p.slots[key] = s
	}
	if s.sess != nil && s.sess.usable() && (key.node != mq.NoNode || !s.sess.suspect()) {
		defer p.mu.Unlock()
		return s.sess, nil
	}
	d := s.dialing
	if d == nil {
		d = &dialing{done: make(chan struct{})}
		s.dialing = d
		p.wg.Go(func() { p.connect(key, s, d, window) })
	}
	p.mu.Unlock()
	select {
	case <-d.done:
		return d.sess, d.err
	case <-ctx.Done():
		return nil, transportError(ctx, ctx.Err())
	}
}

// some returns a healthy session of the shared lanes, nil if there is none.
func (p *pool) some() *session {
	p.mu.Lock()
	defer p.mu.Unlock()
	for key, s := range p.slots {
		if key.lane >= 0 && s.sess != nil && s.sess.usable() && !s.sess.suspect() {
			return s.sess
		}
	}
	return nil
}

// What speaks against asking a node; the sum decides.
const (
	costConnect = 1 << iota // it has to be connected to first
	costBehind              // its metadata is old
	costAvoided
	costFailed  // nobody answered there last
	costSuspect // it has fallen silent
)

// next is whom to ask next of those that have not been tried: somebody who is there and healthy if possible. After all known nodes it is
// whoever can be reached; false when that has been tried as well.
func (p *pool) next(tried map[mq.NodeID]bool, avoid []mq.NodeID) (best slotKey, ok bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	costs := make(map[slotKey]int)
	there := make(map[mq.NodeID]bool)
	for key, s := range p.slots {
		if key.lane < 0 || key.node == mq.NoNode || s.sess == nil || !s.sess.usable() {
			continue
		}
		there[key.node] = true
		costs[key] = 0
		if s.sess.suspect() {
			costs[key] = costSuspect
		}
	}
	for node, addr := range p.addrs {
		key := slotKey{node: node}
		if there[node] {
			continue
		}
		costs[key] = costConnect
		s := p.slots[key]
		if _, failed := p.failed[addr]; failed || s != nil && s.dialing != nil {
			costs[key] |= costFailed
		}
	}
	least := 0
	for key, cost := range costs {
		if tried[key.node] {
			continue
		}
		if p.behind[key.node] {
			cost |= costBehind
		}
		if slices.Contains(avoid, key.node) {
			cost |= costAvoided
		}
		if !ok || cost < least {
			best, least, ok = key, cost, true
		}
	}
	if !ok && !tried[mq.NoNode] {
		return slotKey{node: mq.NoNode}, true
	}
	return best, ok
}

// alone reports whether no other node than this one is known.
func (p *pool) alone(node mq.NodeID) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	_, known := p.addrs[node]
	return len(p.addrs) == 0 || len(p.addrs) == 1 && known
}

// connect carries out one attempt: each address that key's node may have, once.
func (p *pool) connect(key slotKey, s *slot, d *dialing, window int) {
	d.sess, d.err = p.dialFirst(p.candidates(key.node), key.node, window)
	p.mu.Lock()
	s.dialing = nil
	if d.sess != nil {
		p.settle(key, s, d)
	}
	p.mu.Unlock()
	close(d.done)
}

const (
	// stagger is how long an address may keep silent until the next one is tried beside it.
	stagger = 200 * time.Millisecond
	// redial is how long after the last address the first one is tried again beside all that: a server that is just starting answers that at
	// once, and an attempt from before only when QUIC repeats itself, ever later.
	redial = time.Second
)

// dialed is the outcome of dialing one address.
type dialed struct {
	turn int // counted from 0 over all attempts
	sess *session
	err  error
}

// dialFirst connects to whichever of addrs answers first. The first one is tried first; the next one when it has failed or keeps silent. It fails when
// each has failed.
func (p *pool) dialFirst(addrs []string, node mq.NodeID, window int) (*session, error) {
	ctx, cancel := context.WithCancel(p.ctx)
	defer cancel()
	outcomes := make(chan dialed)
	turns, running := 0, 0
	defer func() {
		if running > 0 {
			p.wg.Go(func() { closeLate(outcomes, running) })
		}
	}()
	next := time.NewTimer(0)
	defer next.Stop()
	var errs []error
	for {
		select {
		case <-next.C:
			turn := turns
			turns, running = turns+1, running+1
			p.wg.Go(func() {
				sess, err := p.dialNode(ctx, addrs[turn%len(addrs)], node, window)
				outcomes <- dialed{turn, sess, err}
			})
			next.Reset(stagger)
			if turns >= len(addrs) {
				next.Reset(redial)
			}
		case o := <-outcomes:
			running--
			if o.sess != nil {
				p.outrun(addrs, o.turn)
				return o.sess, nil
			}
			if o.turn < len(addrs) {
				errs = append(errs, o.err)
			}
			if len(errs) == len(addrs) || ctx.Err() != nil {
				return nil, failedDial(errs)
			}
			if turns < len(addrs) {
				next.Reset(0)
			}
		}
	}
}

// outrun notes that the address of that turn answered, and those before it had not.
func (p *pool) outrun(addrs []string, turn int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, addr := range addrs[:min(turn, len(addrs))] {
		p.failed[addr] = struct{}{}
	}
	delete(p.failed, addrs[turn%len(addrs)])
}

// closeLate closes the sessions that came too late.
func closeLate(outcomes <-chan dialed, n int) {
	for range n {
		if o := <-outcomes; o.sess != nil {
			o.sess.discard("another server was quicker")
		}
	}
}

// settle puts a new session into its slot, and starts it. The pool's mutex is held.
func (p *pool) settle(key slotKey, s *slot, d *dialing) {
	sess := d.sess
	p.open[sess] = key.lane
	p.count.connects.Add(1)
	p.count.connections.Add(1)
	p.wg.Go(func() {
		sess.run(p.log, p.leaving)
		p.ended(sess)
	})
	if p.closed || p.slots[key] != s {
		sess.close(mq.Canceled, "closed")
		d.sess, d.err = nil, ErrClosed
		return
	}
	s.sess = sess
	if sess.fallback {
		p.wg.Go(func() { p.returnToQUIC(key, sess) })
	}
	node := sess.welcome.NodeID
	p.good[node] = sess.addr
	if key.node == mq.NoNode {
		own := slotKey{node: node, lane: key.lane}
		if old := p.slots[own]; old == nil {
			p.slots[own] = &slot{sess: sess}
		} else if old.sess == nil || !old.sess.usable() {
			old.sess = sess
		}
	}
}

// dialNode connects to addr and checks that who answers is the node (if one is wanted) and of the cluster that it should be.
func (p *pool) dialNode(ctx context.Context, addr string, node mq.NodeID, window int) (*session, error) {
	sess, err := p.dialPath(ctx, addr, window)
	if err != nil {
		if ctx.Err() == nil {
			p.count.connectFailures.Add(1)
			p.mu.Lock()
			p.failed[addr] = struct{}{}
			p.mu.Unlock()
		}
		return nil, err
	}
	p.mu.Lock()
	if p.cluster == (mq.ClusterID{}) {
		p.cluster = sess.welcome.ClusterID
	}
	cluster := p.cluster
	p.mu.Unlock()
	switch w := &sess.welcome; {
	case w.ClusterID != cluster:
		err = mq.Errorf(mq.InconsistentClusterID, "connect to %s: it belongs to cluster %v, not %v", addr, w.ClusterID, cluster)
	case node != mq.NoNode && w.NodeID != node:
		err = mq.Errorf(mq.NetworkException, "connect to %s: node %d answers, not %d", addr, w.NodeID, node)
	default:
		p.log.Info("connected", "addr", addr, "over", sess.over.String(), "node", w.NodeID, "cluster", w.ClusterID.String())
		return sess, nil
	}
	p.count.connectFailures.Add(1)
	sess.discard("not who was wanted")
	return nil, err
}

// failedDial is what an attempt says that reached nobody.
func failedDial(errs []error) error {
	if len(errs) == 1 {
		return errs[0]
	}
	for _, err := range errs {
		if hopeless(err) {
			return err
		}
	}
	return mq.Errorf(mq.NetworkException, "no server answers: %w", errors.Join(errs...))
}

// candidates lists the addresses to try for a node: where it answered before, where metadata says it listens; for any node all
// that is known, the user's first.
func (p *pool) candidates(node mq.NodeID) []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	var list []string
	add := func(addr string) {
		if addr != "" && !slices.Contains(list, addr) {
			list = append(list, addr)
		}
	}
	if node != mq.NoNode {
		add(p.good[node])
		add(p.addrs[node])
		if len(list) == 0 {
			return slices.Clone(p.cfg.servers)
		}
		return list
	}
	for _, addr := range p.cfg.servers {
		add(addr)
	}
	for _, id := range slices.Sorted(maps.Keys(p.addrs)) {
		add(p.addrs[id])
	}
	doubtful := maps.Clone(p.failed)
	for _, s := range p.slots {
		if s.sess != nil && s.sess.suspect() {
			doubtful[s.sess.addr] = struct{}{}
		}
	}
	slices.SortStableFunc(list, func(a, b string) int {
		_, x := doubtful[a]
		_, y := doubtful[b]
		switch {
		case x == y:
			return 0
		case x:
			return 1
		default:
			return -1
		}
	})
	return list
}

// learn keeps where node says that nodes listen. What is older than what another told is not believed, and false, unless it has to be.
func (p *pool) learn(node mq.NodeID, resp *quicproto.MetadataResponse, believe bool) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if resp.Version < p.version && !believe {
		p.behind[node] = true
		return false
	}
	p.version = resp.Version
	delete(p.behind, node)
	for _, b := range resp.Brokers {
		if p.addrs[b.ID] != b.Addr {
			if p.addrs[b.ID] != "" {
				delete(p.good, b.ID) // it moved: what answered before may be another now
			}
			p.addrs[b.ID] = b.Addr
		}
	}
	return true
}

// ended is called when a session is over and released.
func (p *pool) ended(sess *session) {
	p.count.connections.Add(-1)
	p.mu.Lock()
	closed := p.closed
	delete(p.open, sess)
	for key, s := range p.slots {
		if s.sess == sess {
			s.sess = nil
			if key.node == mq.NoNode && s.dialing == nil {
				delete(p.slots, key)
			}
		}
	}
	p.mu.Unlock()
	cause := sess.cause()
	p.suspectPath(sess, context.Cause(sess.conn.Context()))
	if closed || mq.CodeOf(cause) == mq.Canceled || sess.closedHere() {
		return
	}
	p.count.disconnects.Add(1)
	p.mu.Lock()
	p.failed[sess.addr] = struct{}{}
	p.mu.Unlock()
	p.log.Warn("connection lost", "addr", sess.addr, "node", sess.welcome.NodeID, "err", cause)
}

// drop closes all sessions of a lane and forgets its slots.
func (p *pool) drop(lane int) {
	p.mu.Lock()
	var list []*session
	for sess, of := range p.open {
		if of == lane {
			list = append(list, sess)
		}
	}
	maps.DeleteFunc(p.slots, func(key slotKey, _ *slot) bool { return key.lane == lane })
	p.mu.Unlock()
	for _, sess := range list {
		sess.close(mq.None, "consumer closed")
		<-sess.done
	}
}

// close closes all sessions and waits until all is released.
func (p *pool) close() {
	p.mu.Lock()
	p.closed = true
	list := slices.Collect(maps.Keys(p.open))
	p.mu.Unlock()
	p.stop()
	for _, sess := range list {
		sess.close(mq.None, "client closed")
	}
	p.wg.Wait()
}
