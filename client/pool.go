package client

import (
	"context"
	"errors"
	"log/slog"
	"maps"
	"slices"
	"sync"

	"github.com/rustmq/rustmq/mq"
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

	mu      sync.Mutex
	closed  bool
	slots   map[slotKey]*slot
	addrs   map[mq.NodeID]string // where metadata says that nodes listen
	good    map[mq.NodeID]string // where a node answered last
	cluster mq.ClusterID         // that of the first server that answered
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
		slots: make(map[slotKey]*slot), addrs: make(map[mq.NodeID]string), good: make(map[mq.NodeID]string),
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
	if s.sess != nil && s.sess.usable() {
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

// any returns a session to whichever server, preferably one that is there.
func (p *pool) any(ctx context.Context) (*session, error) {
	if sess := p.some(); sess != nil {
		return sess, nil
	}
	return p.get(ctx, slotKey{node: mq.NoNode}, controlWindow)
}

// some returns a usable session of the shared lanes, nil if there is none.
func (p *pool) some() *session {
	p.mu.Lock()
	defer p.mu.Unlock()
	for key, s := range p.slots {
		if key.lane >= 0 && s.sess != nil && s.sess.usable() {
			return s.sess
		}
	}
	return nil
}

// connect carries out one attempt: each address that key's node may have, once.
func (p *pool) connect(key slotKey, s *slot, d *dialing, window int) {
	var errs []error
	for _, addr := range p.candidates(key.node) {
		sess, err := p.dialNode(addr, key.node, window)
		if err == nil {
			d.sess = sess
			break
		}
		errs = append(errs, err)
		if p.ctx.Err() != nil {
			break
		}
	}
	if d.sess == nil {
		d.err = failedDial(errs)
	}
	p.mu.Lock()
	s.dialing = nil
	if d.sess != nil {
		p.settle(key, s, d)
	}
	p.mu.Unlock()
	close(d.done)
}

// settle puts a new session into its slot, and starts it. The pool's mutex is held.
func (p *pool) settle(key slotKey, s *slot, d *dialing) {
	sess := d.sess
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
func (p *pool) dialNode(addr string, node mq.NodeID, window int) (*session, error) {
	sess, err := dial(p.ctx, p.cfg, addr, window)
	if err != nil {
		p.count.connectFailures.Add(1)
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
		p.log.Info("connected", "addr", addr, "node", w.NodeID, "cluster", w.ClusterID.String())
		return sess, nil
	}
	p.count.connectFailures.Add(1)
	sess.close(mq.Canceled, "not who was wanted")
	sess.release()
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
	return list
}

// learn keeps where nodes listen.
func (p *pool) learn(brokers map[mq.NodeID]string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for id, addr := range brokers {
		if p.addrs[id] != addr {
			if p.addrs[id] != "" {
				delete(p.good, id) // it moved: what answered before may be another now
			}
			p.addrs[id] = addr
		}
	}
}

// ended is called when a session is over and released.
func (p *pool) ended(sess *session) {
	p.count.connections.Add(-1)
	p.mu.Lock()
	closed := p.closed
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
	if closed || mq.CodeOf(cause) == mq.Canceled || sess.closedHere() {
		return
	}
	p.count.disconnects.Add(1)
	p.log.Warn("connection lost", "addr", sess.addr, "node", sess.welcome.NodeID, "err", cause)
}

// drop closes all sessions of a lane and forgets its slots.
func (p *pool) drop(lane int) {
	p.mu.Lock()
	var list []*session
	for key, s := range p.slots {
		if key.lane == lane {
			if s.sess != nil {
				list = append(list, s.sess)
			}
			delete(p.slots, key)
		}
	}
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
	var list []*session
	for _, s := range p.slots {
		if s.sess != nil {
			list = append(list, s.sess)
		}
	}
	p.mu.Unlock()
	p.stop()
	for _, sess := range list {
		sess.close(mq.None, "client closed")
	}
	p.wg.Wait()
}
