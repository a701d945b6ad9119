package client

import (
	"context"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/cenkalti/backoff/v5"

	"github.com/rustmq/rustmq/mq"
	"github.com/rustmq/rustmq/quicproto"
)

// link is one lane to one node for producing: it has a produce stream while partitions need it, and makes a new one when it is lost. While it
// connects one goroutine belongs to it.
type link struct {
	c   *Client
	key slotKey

	mu         sync.Mutex
	stream     *produceStream // nil while there is none
	connecting bool
	waiting    []*partition
	parts      map[*partition]*produceStream // which uses which; the last one that it was given
	retry      *backoff.ExponentialBackOff
	looks      int // of the watchdog while it connects
}

// attach gives p a stream, now or when there is one.
func (l *link) attach(p *partition) {
	l.mu.Lock()
	st := l.stream
	if st == nil {
		l.waiting = append(l.waiting, p)
		if !l.connecting {
			l.connecting = l.c.spawn(l.connect)
		}
		l.mu.Unlock()
		return
	}
	l.parts[p] = st
	l.mu.Unlock()
	p.adopt(l, st)
}

// connect makes a stream, trying until it has one or nobody waits for it any more.
func (l *link) connect() {
	for {
		if !l.c.sleep(l.pause()) {
			return
		}
		st, err := l.open()
		if err == nil {
			l.opened(st)
			return
		}
		l.c.noteTrouble(err)
		l.c.refreshFor(l.wanted(), l.key.node)
		if l.deserted() {
			return
		}
	}
}

// pause is how long to wait before a stream is made: not at all after one that worked.
func (l *link) pause() time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.retry == nil {
		l.retry = l.c.produceBackoff()
		return 0
	}
	return l.retry.NextBackOff()
}

// open connects and opens a produce stream.
func (l *link) open() (*produceStream, error) {
	sess, err := l.c.pool.get(l.c.ctx, l.key, controlWindow)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(l.c.ctx, l.c.cfg.dialTimeout)
	defer cancel()
	stream, err := sess.conn.OpenStream(ctx)
	if err != nil {
		return nil, mq.Wrapf(transportError(ctx, err), "open a produce stream to node %d", l.key.node)
	}
	// At once, and not with the first batch, which may have to wait for a producer id: any later stream that is written to opens this
	// one at the server too, and a stream that does not say what it is soon costs the session.
	stop := context.AfterFunc(ctx, func() { stream.Abort(mq.Canceled) }) // a server that grants no bytes would hold it up for as long as it likes
	if _, err = stream.Write(quicproto.AppendFrame(nil, &quicproto.OpenProduce{})); err == nil && !stop() {
		err = ctx.Err()
	}
	if err != nil {
		stop()
		stream.Abort(mq.Canceled)
		return nil, mq.Wrapf(transportError(ctx, err), "open a produce stream to node %d", l.key.node)
	}
	return newProduceStream(l.c, l, sess, stream), nil
}

// opened starts the stream and gives it to all who wait.
func (l *link) opened(st *produceStream) {
	l.mu.Lock()
	l.stream, l.connecting = st, false
	waiting := l.waiting
	l.waiting = nil
	for _, p := range waiting {
		l.parts[p] = st
	}
	l.mu.Unlock()
	l.c.wg.Go(st.write)
	l.c.wg.Go(st.run)
	for _, p := range waiting {
		p.adopt(l, st)
	}
}

// healthy is called when the stream has proved to work.
func (l *link) healthy() {
	l.mu.Lock()
	l.retry = nil
	l.mu.Unlock()
}

// lost is called when st is at its end.
func (l *link) lost(st *produceStream, err error) {
	l.mu.Lock()
	if l.stream == st {
		l.stream = nil
	}
	var parts []*partition
	for p, used := range l.parts {
		if used == st {
			parts = append(parts, p)
			delete(l.parts, p)
		}
	}
	l.mu.Unlock()
	if l.c.ctx.Err() == nil {
		l.c.noteTrouble(err)
		l.c.log.Debug("produce stream ended", "node", l.key.node, "lane", l.key.lane, "err", err)
	}
	for _, p := range parts {
		p.lost(st)
	}
	// What waits now for another stream to the same node goes elsewhere as soon as somebody says that another one leads.
	l.c.refreshFor(l.wanted(), l.key.node)
}

// retire has the partitions leave the stream as soon as what they have on the wire is answered: its server is about to end the session.
func (l *link) retire(sess *session) {
	l.mu.Lock()
	st := l.stream
	if st == nil || st.sess != sess {
		l.mu.Unlock()
		return
	}
	l.stream = nil // what comes gets a new one
	parts := slices.Collect(maps.Keys(l.parts))
	l.mu.Unlock()
	for _, p := range parts {
		p.leave(st)
	}
}

// deserted gives up connecting if no waiting partition is still this link's.
func (l *link) deserted() bool {
	l.mu.Lock()
	waiting := l.waiting
	l.mu.Unlock()
	for _, p := range waiting {
		if p.uses(l) {
			return false
		}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.waiting) != len(waiting) {
		return false // somebody came meanwhile
	}
	l.waiting, l.connecting = nil, false
	return true
}

// wanted lists the topics of the partitions that wait.
func (l *link) wanted() []*topic {
	l.mu.Lock()
	defer l.mu.Unlock()
	seen := make(map[*topic]bool)
	var list []*topic
	for _, p := range l.waiting {
		if !seen[p.topic] {
			seen[p.topic] = true
			list = append(list, p.topic)
		}
	}
	return list
}

// watch is called each lookEvery. It returns the topics whose metadata is to be fetched: those whose leader does not answer.
func (l *link) watch() []*topic {
	l.mu.Lock()
	st := l.stream
	l.looks++
	if !l.connecting {
		l.looks = 0
	}
	looks := l.looks - patience(0)
	l.mu.Unlock()
	switch {
	case st != nil:
		return st.watch()
	case looks >= 0 && timeToAsk(looks, false):
		return l.wanted()
	default:
		return nil
	}
}
