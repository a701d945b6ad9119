package client

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/quic-go/quic-go"

	"github.com/rustmq/rustmq/mq"
)

const (
	// headStart is how long QUIC is tried alone: an answer takes a round trip or two, and a lost packet is sent again by then.
	headStart = 500 * time.Millisecond
	// secondChance is how long QUIC is tried anew, at least, when TCP has connected first: the server may have started only just before.
	secondChance = 500 * time.Millisecond
	// firstRetry is after how long QUIC is tried again where it did not get through, doubling up to lastRetry.
	firstRetry = 2 * time.Minute
	lastRetry  = 32 * time.Minute
	// youngTime is up to which age a QUIC connection that falls silent counts as one that does not get through, as where only small packets do.
	youngTime = 30 * time.Second
	// drainTime is how long what is in flight over TCP may take when QUIC gets through again.
	drainTime = 30 * time.Second
)

// paths knows at which addresses QUIC does not get through, and when it is to be tried there again.
type paths struct {
	first time.Duration // as firstRetry

	mu      sync.Mutex
	blocked map[string]*blockage
}

type blockage struct {
	until   time.Time
	pause   time.Duration // doubles
	told    bool          // it has been logged
	probing bool
}

// block notes that QUIC does not get through to addr, once more, and reports whether that is to be told.
func (ps *paths) block(addr string, now time.Time, certain bool) (tell bool) {
	ps.mu.Lock()
	defer ps.mu.Unlock()
	b := ps.blocked[addr]
	if b == nil {
		b = &blockage{pause: ps.first / 2}
		ps.blocked[addr] = b
	}
	b.probing = false
	if !now.Before(b.until) {
		b.pause = min(2*b.pause, lastRetry)
		b.until = now.Add(b.pause)
	}
	tell = certain && !b.told
	b.told = b.told || certain
	return tell
}

// works notes that QUIC gets through to addr, and reports whether it did not before.
func (ps *paths) works(addr string) (news bool) {
	ps.mu.Lock()
	defer ps.mu.Unlock()
	b := ps.blocked[addr]
	delete(ps.blocked, addr)
	return b != nil && b.told
}

// avoided reports whether QUIC is not to be tried at addr now, and how long that holds.
func (ps *paths) avoided(addr string, now time.Time) (time.Duration, bool) {
	ps.mu.Lock()
	defer ps.mu.Unlock()
	b := ps.blocked[addr]
	if b == nil {
		return 0, false
	}
	return max(0, b.until.Sub(now)), now.Before(b.until)
}

// probe says whether the caller is to try QUIC at addr, which is due and nobody else does; gone is that it gets through.
func (ps *paths) probe(addr string, now time.Time) (due, gone bool) {
	ps.mu.Lock()
	defer ps.mu.Unlock()
	b := ps.blocked[addr]
	if b == nil {
		return false, true
	}
	if b.probing || now.Before(b.until) {
		return false, false
	}
	b.probing = true
	return true, false
}

// dialPath connects to addr over what the options say.
func (p *pool) dialPath(ctx context.Context, addr string, window int) (*session, error) {
	switch {
	case p.cfg.transport != Auto:
		return dial(ctx, p.cfg, p.cfg.transport, addr, window)
	case p.cfg.simulated && p.cfg.dialTCP == nil:
		return dial(ctx, p.cfg, QUIC, addr, window)
	}
	if _, avoided := p.paths.avoided(addr, time.Now()); avoided {
		sess, err := dial(ctx, p.cfg, TCP, addr, window)
		if err == nil {
			p.fellBack(sess, nil)
			return sess, nil
		}
		if hopeless(err) || ctx.Err() != nil {
			return nil, err
		}
	}
	r := race{p: p, addr: addr, window: window, outcomes: make(chan raced)}
	return r.run(ctx)
}

// race is one attempt to connect over QUIC, and over TCP when that takes long. It belongs to one goroutine.
type race struct {
	p        *pool
	addr     string
	window   int
	outcomes chan raced
	running  int
	tcp      *session // has connected first, and waits for QUIC's second chance
	tcpBegan time.Time
	quicErr  error
	tcpErr   error
}

// raced is the outcome of one dial.
type raced struct {
	over TransportKind
	sess *session
	err  error
}

func (r *race) run(outer context.Context) (*session, error) {
	ctx, cancel := context.WithCancel(outer)
	defer func() {
		cancel()
		if r.running > 0 {
			r.p.wg.Go(func() { r.reap(r.running) })
		}
	}()
	r.start(ctx, QUIC)
	timer := time.NewTimer(headStart)
	defer timer.Stop()
	for {
		select {
		case <-timer.C:
			if r.tcp != nil {
				return r.fallBack()
			}
			r.start(ctx, TCP)
		case o := <-r.outcomes:
			r.running--
			if done, sess, err := r.judge(ctx, o, timer); done {
				return sess, err
			}
		}
	}
}

func (r *race) start(ctx context.Context, over TransportKind) {
	if over == TCP {
		r.tcpBegan = time.Now()
	}
	r.running++
	r.p.wg.Go(func() {
		sess, err := dial(ctx, r.p.cfg, over, r.addr, r.window)
		r.outcomes <- raced{over, sess, err}
	})
}

// judge takes one outcome; done says that the race is over.
func (r *race) judge(ctx context.Context, o raced, timer *time.Timer) (done bool, _ *session, _ error) {
	switch {
	case o.over == QUIC && o.err == nil:
		if r.tcp != nil {
			r.tcp.discard("QUIC answers")
		}
		r.p.worksAgain(r.addr)
		return true, o.sess, nil
	case o.over == QUIC && (hopeless(o.err) || ctx.Err() != nil):
		if r.tcp != nil {
			r.tcp.discard("QUIC is refused")
		}
		return true, nil, o.err
	case o.over == QUIC:
		r.quicErr = o.err
		if r.tcpBegan.IsZero() {
			timer.Reset(0)
		}
	case o.err == nil:
		r.tcp = o.sess
		timer.Reset(max(secondChance, time.Since(r.tcpBegan)))
		r.start(ctx, QUIC)
	default:
		r.tcpErr = o.err
	}
	if r.running > 0 || r.tcpBegan.IsZero() {
		return false, nil, nil
	}
	if r.tcp != nil {
		sess, err := r.fallBack()
		return true, sess, err
	}
	if hopeless(r.tcpErr) {
		return true, nil, r.tcpErr
	}
	return true, nil, r.quicErr
}

// fallBack ends the race with the connection over TCP.
func (r *race) fallBack() (*session, error) {
	r.p.fellBack(r.tcp, r.quicErr)
	return r.tcp, nil
}

// reap closes what comes too late.
func (r *race) reap(n int) {
	for range n {
		if o := <-r.outcomes; o.sess != nil {
			o.sess.discard("another connection was quicker")
		}
	}
}

// discard closes a session that was never run.
func (s *session) discard(why string) {
	s.close(mq.Canceled, why)
	s.release()
}

// fellBack notes that sess is one over TCP because QUIC does not get through.
func (p *pool) fellBack(sess *session, err error) {
	sess.fallback = true
	p.count.fallbacks.Add(1)
	if p.paths.block(sess.addr, time.Now(), true) {
		retry, _ := p.paths.avoided(sess.addr, time.Now())
		p.log.Warn("QUIC does not get through: going on over TCP", "addr", sess.addr, "again_in", retry.Round(time.Second), "err", err)
	}
}

// worksAgain notes that QUIC gets through to addr.
func (p *pool) worksAgain(addr string) {
	if p.paths.works(addr) {
		p.log.Info("QUIC gets through again", "addr", addr)
	}
}

// suspectPath is told why a session ended: one over QUIC that fell silent soon after its beginning may be on a path where only its handshake gets through.
func (p *pool) suspectPath(sess *session, cause error) {
	if p.cfg.transport != Auto || sess.over != QUIC || time.Since(sess.made) > youngTime {
		return
	}
	if _, silent := errors.AsType[*quic.IdleTimeoutError](cause); silent {
		p.paths.block(sess.addr, time.Now(), false)
	}
}

// returnToQUIC tries QUIC from time to time while sess, which fell back, lives. When that gets through, sess is left as if its server had asked for it.
func (p *pool) returnToQUIC(key slotKey, sess *session) {
	for {
		wait, _ := p.paths.avoided(sess.addr, time.Now())
		if !sleepUnless(p.ctx, sess.done, max(wait, time.Second)) {
			return
		}
		due, gone := p.paths.probe(sess.addr, time.Now())
		if due {
			probe, err := dial(p.ctx, p.cfg, QUIC, sess.addr, controlWindow)
			if err != nil {
				p.paths.block(sess.addr, time.Now(), true)
				continue
			}
			probe.discard("only to see whether it gets through")
			p.worksAgain(sess.addr)
		}
		if due || gone {
			break
		}
	}
	sess.leave()
	if key.lane >= 0 {
		p.leaving(sess)
		if !sleepUnless(p.ctx, sess.done, drainTime) {
			return
		}
	}
	sess.close(mq.None, "QUIC gets through again")
}
