package client

import (
	"context"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/rustmq/rustmq/mq"
	"github.com/rustmq/rustmq/quicproto"
)

// unknownTries is how often metadata may say in succession that a topic is not there until that is believed: one that was just created may not
// be known everywhere.
const unknownTries = 3

// limitTime bounds the look for the largest batch that a topic takes.
const limitTime = 2 * time.Second

// topic is the producer's side of one topic.
type topic struct {
	c        *Client
	name     string
	pick     func(rec *Record, partitions int) int
	parts    atomic.Pointer[[]*partition] // nil until known, and when the topic was found to be gone
	maxBatch atomic.Int64                 // largest batch in bytes, 0 if not known

	mu      sync.Mutex
	id      mq.TopicID
	known   []*partition // all that there ever were
	missing int          // how often in succession the topic was not there
	loading *loading
}

// loading is the first look for a topic, which any number of callers wait for.
type loading struct {
	done chan struct{} // closed when err is set
	err  error
}

// topic returns a topic whose partitions are known, finding them first if need be.
func (c *Client) topic(ctx context.Context, name string) (*topic, []*partition, error) {
	v, ok := c.topics.Load(name)
	if !ok {
		if err := mq.ValidTopicName(name); err != nil {
			return nil, nil, err
		}
		v, _ = c.topics.LoadOrStore(name, &topic{c: c, name: name, pick: c.cfg.partitioner(name)})
	}
	t := v.(*topic)
	for {
		if parts := t.parts.Load(); parts != nil {
			return t, *parts, nil
		}
		if err := t.load(ctx); err != nil {
			return nil, nil, err
		}
	}
}

// load waits until the partitions are known.
func (t *topic) load(ctx context.Context) error {
	t.mu.Lock()
	l := t.loading
	if l == nil {
		l = &loading{done: make(chan struct{})}
		if !t.c.spawn(func() { t.find(l) }) {
			t.mu.Unlock()
			return ErrClosed
		}
		t.loading = l
	}
	t.mu.Unlock()
	select {
	case <-l.done:
		return l.err
	case <-ctx.Done():
		return transportError(ctx, ctx.Err())
	}
}

// find looks for the topic until it is there, is certainly not, or the delivery timeout has passed.
func (t *topic) find(l *loading) {
	ctx, cancel := context.WithTimeout(t.c.ctx, t.c.cfg.deliveryTimeout)
	defer cancel()
	wait := t.c.produceBackoff()
	for {
		t.learnLimit(ctx)
		err := t.look(ctx)
		if err == nil || !t.worthwhile(err) || !sleep(ctx, wait.NextBackOff()) {
			if t.c.ctx.Err() != nil {
				err = ErrClosed
			}
			t.mu.Lock()
			t.loading, t.missing = nil, 0
			l.err = err
			t.mu.Unlock()
			close(l.done)
			return
		}
		t.c.noteTrouble(err)
	}
}

// learnLimit asks for the largest batch that the topic takes, before the first one is cut: later the server tells whenever the topic
// is bound. Without an answer the first batch may come out too large, and is refused.
func (t *topic) learnLimit(ctx context.Context) {
	if t.maxBatch.Load() > 0 {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, limitTime)
	defer cancel()
	var resp quicproto.DescribeTopicResponse
	if err := t.c.ask(ctx, &quicproto.DescribeTopicRequest{Name: t.name}, &resp, urgent); err != nil {
		return // look tells
	}
	for _, cfg := range resp.Configs {
		if cfg.Key == "max.message.bytes" {
			if n, err := strconv.ParseInt(cfg.Value, 10, 32); err == nil && n > 0 {
				t.maxBatch.CompareAndSwap(0, n)
			}
		}
	}
}

// worthwhile reports whether it is worth looking again after err.
func (t *topic) worthwhile(err error) bool {
	switch code := mq.CodeOf(err); code {
	case mq.UnknownTopicOrPartition:
		t.mu.Lock()
		defer t.mu.Unlock()
		return t.missing < unknownTries
	default:
		return code.Retriable() && !hopeless(err)
	}
}

// look asks for the topic's metadata once.
func (t *topic) look(ctx context.Context) error {
	resp, err := t.c.metadata(ctx, &quicproto.MetadataRequest{Topics: []string{t.name}})
	if err != nil {
		return err
	}
	if len(resp.Topics) != 1 {
		return violation("metadata of %d topics for one", len(resp.Topics))
	}
	return t.apply(&resp.Topics[0])
}

// apply takes what metadata says of the topic. The error is what it says is wrong with it.
func (t *topic) apply(m *quicproto.Topic) error {
	if err := m.Err(); err != nil {
		t.absent(err)
		return mq.Wrapf(err, "topic %s", t.name)
	}
	t.mu.Lock()
	t.missing = 0
	reborn := t.id != (mq.TopicID{}) && t.id != m.ID
	t.id = m.ID
	old := t.known
	for len(t.known) < len(m.Partitions) {
		t.known = append(t.known, t.c.newPartition(t, int32(len(t.known))))
	}
	parts := t.known[:len(m.Partitions):len(m.Partitions)]
	beyond := t.known[len(m.Partitions):]
	t.mu.Unlock()
	if reborn {
		for _, p := range old {
			p.renew(mq.Errorf(mq.UnknownTopicID, "the topic was deleted and created anew"))
		}
	}
	for _, p := range beyond {
		p.fail(mq.Errorf(mq.UnknownTopicOrPartition, "the topic has only %d partitions now", len(parts)), false)
	}
	if len(parts) == 0 {
		return mq.Errorf(mq.LeaderNotAvailable, "topic %s has no partitions", t.name)
	}
	for i := range m.Partitions {
		if mp := &m.Partitions[i]; int(mp.Index) < len(parts) && mp.Index >= 0 {
			parts[mp.Index].lead(mp.Leader, mp.LeaderEpoch)
		}
	}
	t.c.startWatch()
	t.parts.Store(&parts)
	return nil
}

// absent counts that the topic was not there. When that is certain, all that is buffered for it fails.
func (t *topic) absent(err error) {
	code := mq.CodeOf(err)
	t.mu.Lock()
	if code == mq.UnknownTopicOrPartition {
		t.missing++
	}
	gone := t.missing >= unknownTries || !code.Retriable()
	known := t.known
	t.mu.Unlock()
	if !gone {
		return
	}
	t.parts.Store(nil)
	for _, p := range known {
		p.fail(err, false)
	}
}

// bound takes what the server says when the topic is bound.
func (t *topic) bound(f *quicproto.Bound) {
	t.maxBatch.Store(int64(f.BatchBytes))
	t.mu.Lock()
	same := f.TopicID == t.id && int(f.Partitions) == len(t.known)
	t.mu.Unlock()
	if !same {
		t.c.refresh(t)
	}
}

// homeless reports whether something waits for a partition's leader to be known.
func (t *topic) homeless() bool {
	t.mu.Lock()
	known := t.known
	t.mu.Unlock()
	for _, p := range known {
		if p.homeless() {
			return true
		}
	}
	return false
}

func (c *Client) newPartition(t *topic, index int32) *partition {
	p := &partition{c: c, topic: t, index: index, leader: mq.NoNode, epoch: mq.NoEpoch}
	p.lane = int(c.nextLane.Add(1)-1) % c.cfg.connections
	return p
}

// lead tells who leads the partition, since which epoch. What is older than what is known is ignored: a leader that was cut off still takes itself for
// one. If the partition waits for a leader, or its stream is another node's, it goes there.
func (p *partition) lead(leader mq.NodeID, epoch mq.Epoch) {
	p.mu.Lock()
	if epoch < p.epoch {
		p.mu.Unlock()
		return
	}
	if epoch > p.epoch && p.paused && p.seeking && p.resume.Stop() {
		p.paused, p.retry = false, nil // what it waited for has come
	}
	p.leader, p.epoch = leader, epoch
	if leader == mq.NoNode {
		p.mu.Unlock()
		return
	}
	elsewhere := p.link != nil && p.link.key.node != leader
	reroute := p.searched && p.stream == nil && (p.link == nil || elsewhere)
	left := p.stream
	if !elsewhere {
		left = nil
	} else if left != nil && p.onWire == 0 {
		p.detach()
		left = nil
	}
	st, search := p.poke()
	p.mu.Unlock()
	switch {
	case reroute:
		p.c.route(p)
	case left != nil:
		left.overtaken(p)
	}
	p.dispatch(st, search)
}

// homeless reports whether the partition waits for a leader that takes what it has to send.
func (p *partition) homeless() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	waits := p.again > 0 || p.full.len() > 0 || p.open != nil
	return !p.closed && (p.searched && p.stream == nil || p.seeking && waits)
}

// uses reports whether l is the partition's link.
func (p *partition) uses(l *link) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.link == l
}

// route gives the partition to the link to its leader, or has the leader looked for.
func (c *Client) route(p *partition) {
	p.mu.Lock()
	if p.stream != nil || p.closed {
		p.mu.Unlock()
		return
	}
	if p.leader == mq.NoNode {
		p.link = nil
		p.mu.Unlock()
		c.refresh(p.topic)
		return
	}
	l := c.linkTo(slotKey{node: p.leader, lane: p.lane})
	p.link = l
	p.mu.Unlock()
	l.attach(p)
}
