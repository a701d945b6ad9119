package client

import (
	"cmp"
	"context"
	"maps"
	"slices"

	"github.com/rustmq/rustmq/mq"
	"github.com/rustmq/rustmq/quicproto"
)

// claim is a partition that a member has been assigned and has not given up yet. It is guarded by its consumer's mutex.
//
//	located    told      revoking   what happens
//	-          -         -          the committed offset is asked for
//	yes        -         -          the application is to be told that it is assigned
//	yes        yes       -          it is read
//	yes        yes       yes        the application is to be told that it is revoked; then it is given up
type claim struct {
	tp       TopicPartition
	topic    mq.TopicID
	part     *assignment // nil until it is located
	told     bool        // the application was
	revoking bool
	sent     mq.Offset // the last that was handed in to be committed, -1 for none
	acked    mq.Offset // the last that is known to be committed, -1 for none
}

// owned is what the member has, for the coordinator. The mutex is held.
func (m *member) owned() []quicproto.GroupPartitions {
	byTopic := make(map[mq.TopicID][]int32)
	for tp, cl := range m.claims {
		byTopic[cl.topic] = append(byTopic[cl.topic], tp.Partition)
	}
	list := make([]quicproto.GroupPartitions, 0, len(byTopic))
	for id, partitions := range byTopic {
		slices.Sort(partitions)
		list = append(list, quicproto.GroupPartitions{TopicID: id, Partitions: partitions})
	}
	return list
}

// handed lists the claims that the application knows of. The mutex is held.
func (m *member) handed() []*claim {
	var list []*claim
	for _, cl := range m.claims {
		if cl.told || cl.revoking {
			list = append(list, cl)
		}
	}
	return list
}

// names are the partitions of claims, by topic and number.
func names(list []*claim) []TopicPartition {
	out := make([]TopicPartition, len(list))
	for i, cl := range list {
		out[i] = cl.tp
	}
	slices.SortFunc(out, func(a, b TopicPartition) int {
		return cmp.Or(cmp.Compare(a.Topic, b.Topic), cmp.Compare(a.Partition, b.Partition))
	})
	return out
}

// assigned takes what the coordinator says that the member may consume.
func (m *member) assigned(sess *session, f *quicproto.Assignment) error {
	if f.Epoch <= 0 {
		return violation("an Assignment of epoch %d", f.Epoch)
	}
	k := m.k
	k.mu.Lock()
	defer k.mu.Unlock()
	m.sess, m.epoch, m.number, m.noted = sess, f.Epoch, f.Number, true
	if f.Changed {
		m.target = make(map[TopicPartition]mq.TopicID)
		for _, t := range f.Partitions {
			if t.Topic == "" {
				continue // it is gone, and the next Assignment says so
			}
			for _, p := range t.Partitions {
				m.target[TopicPartition{t.Topic, p}] = t.TopicID
			}
		}
		m.owns = true
	}
	m.converge()
	m.told()
	m.kick()
	return nil
}

// converge makes the claims what the coordinator wants them to be, as far as that needs nobody else. The mutex is held.
func (m *member) converge() {
	k := m.k
	if m.leaving || k.closed {
		return
	}
	for tp, cl := range m.claims {
		if id, wanted := m.target[tp]; wanted && id == cl.topic || cl.revoking {
			continue
		}
		if !cl.told {
			m.forget(cl)
			m.owns = true
			continue
		}
		m.stop(cl)
		m.due.Store(true)
		k.signal()
	}
	for tp, id := range m.target {
		if m.claims[tp] == nil {
			m.claims[tp] = &claim{tp: tp, topic: id, sent: -1, acked: -1}
			m.owns = true
		}
	}
	if len(m.unlocated()) > 0 && !m.locating {
		m.locating = k.spawn(m.locate)
	}
}

// stop has nothing more handed out of a claim. The mutex is held.
func (m *member) stop(cl *claim) {
	cl.revoking = true
	m.k.outdate(cl.part)
	m.k.detach(cl.part)
}

// forget ends a claim. The mutex is held.
func (m *member) forget(cl *claim) {
	if cl.part != nil {
		m.k.outdate(cl.part)
		m.k.detach(cl.part)
		delete(m.k.parts, cl.tp)
	}
	delete(m.claims, cl.tp)
}

// lose ends all claims: the group goes on without the member. The mutex is held.
func (m *member) lose(err error) {
	for _, cl := range m.claims {
		if cl.told {
			m.lost = append(m.lost, cl.tp)
		}
		m.forget(cl)
	}
	if m.epoch > 0 {
		m.k.c.log.Warn("lost the membership of a group", "group", m.cfg.name, "member", m.id, "partitions", len(m.lost), "err", err)
	}
	m.epoch, m.target = 0, nil
	if len(m.lost) > 0 {
		m.due.Store(true)
		m.k.signal()
	}
	m.told()
}

// unlocated lists the claims whose committed offset is not known. The mutex is held.
func (m *member) unlocated() []*claim {
	var list []*claim
	for _, cl := range m.claims {
		if cl.part == nil {
			list = append(list, cl)
		}
	}
	return list
}

// locate asks where the group goes on until there is no claim of which that is not known.
func (m *member) locate() {
	k := m.k
	wait := newEagerBackoff()
	for {
		k.mu.Lock()
		list := m.unlocated()
		sess, epoch, changed := m.sess, m.epoch, m.changed
		if len(list) == 0 || k.closed {
			m.locating = false
			k.mu.Unlock()
			return
		}
		k.mu.Unlock()
		if sess == nil {
			if !await(k.ctx, changed, 0) {
				return
			}
			continue
		}
		found, err := m.fetch(k.ctx, sess, epoch, list)
		if err == nil {
			m.place(list, found)
			wait = newEagerBackoff()
			continue
		}
		k.c.noteTrouble(err)
		if !sleep(k.ctx, wait.next()) {
			return
		}
	}
}

// fetch asks what the group has committed for claims, in their order.
func (m *member) fetch(ctx context.Context, sess *session, epoch int32, list []*claim) ([]quicproto.CommittedOffset, error) {
	req := &quicproto.FetchOffsetsRequest{Group: m.cfg.name, Member: m.id, Epoch: epoch}
	for _, cl := range list {
		req.Topics = append(req.Topics, quicproto.TopicPartitions{Topic: cl.tp.Topic, TopicID: cl.topic, Partitions: []int32{cl.tp.Partition}})
	}
	var resp quicproto.FetchOffsetsResponse
	if err := m.exchange(ctx, sess, req, &resp); err != nil {
		return nil, mq.Wrapf(err, "fetch the committed offsets of group %s", m.cfg.name)
	}
	if len(resp.Topics) != len(list) {
		return nil, violation("committed offsets of %d topics for %d", len(resp.Topics), len(list))
	}
	out := make([]quicproto.CommittedOffset, len(list))
	for i := range resp.Topics {
		offsets := resp.Topics[i].Offsets
		if len(offsets) != 1 || offsets[0].Partition != list[i].tp.Partition {
			return nil, violation("committed offsets of other partitions than those that were asked for")
		}
		out[i] = offsets[0]
	}
	return out, nil
}

// place has claims read from where the group goes on.
func (m *member) place(list []*claim, found []quicproto.CommittedOffset) {
	k := m.k
	k.mu.Lock()
	defer k.mu.Unlock()
	for i, cl := range list {
		if m.claims[cl.tp] != cl || cl.part != nil || k.closed {
			continue
		}
		from := Start()
		if k.cfg.reset != nil {
			from = *k.cfg.reset
		}
		if found[i].Offset >= 0 {
			from = At(found[i].Offset)
		}
		k.place(Assignment{cl.tp.Topic, cl.tp.Partition, from})
		cl.part = k.parts[cl.tp]
		cl.part.claim = cl
		cl.acked = found[i].Offset
		if end, ok := m.stops[cl.tp]; ok {
			cl.part.stop = max(end, 0)
		}
		if found[i].Offset < 0 && m.cfg.required {
			k.fail(cl.part, mq.Errorf(mq.OffsetOutOfRange, "group %s has committed nothing", m.cfg.name))
		}
		m.due.Store(true)
		k.signal()
	}
}

// attend does what the application has to know of before it gets more: whoever asks for more has processed what it had. Only ctx's error, and only when something is
// left to be done.
func (m *member) attend(ctx context.Context) error {
	if !m.due.Load() {
		return nil
	}
	select {
	case m.turn <- struct{}{}:
	case <-ctx.Done():
		return transportError(ctx, ctx.Err())
	}
	defer func() { <-m.turn }()
	for {
		m.k.mu.Lock()
		m.k.hand = hand{}
		lost, revoked, fresh := m.news()
		m.due.Store(len(lost)+len(revoked)+len(fresh) > 0)
		m.k.mu.Unlock()
		switch {
		case len(lost) > 0:
			call(ctx, m.cfg.lost, m.k, lost)
		case len(revoked) > 0:
			m.release(ctx, revoked)
			if ctx.Err() != nil {
				return transportError(ctx, ctx.Err())
			}
		case len(fresh) > 0:
			call(ctx, m.cfg.assigned, m.k, fresh)
		default:
			return nil
		}
	}
}

func call(ctx context.Context, f RebalanceFunc, k *Consumer, partitions []TopicPartition) {
	if f != nil && len(partitions) > 0 {
		f(ctx, k, partitions)
	}
}

// news is what to tell next: one of the three. The mutex is held.
func (m *member) news() (lost []TopicPartition, revoked []*claim, fresh []TopicPartition) {
	if m.k.closed {
		return nil, nil, nil // leave sees to it
	}
	if lost, m.lost = m.lost, nil; len(lost) > 0 {
		return lost, nil, nil
	}
	var list []*claim
	for _, cl := range m.claims {
		switch {
		case cl.revoking:
			revoked = append(revoked, cl)
		case cl.part != nil && !cl.told:
			list = append(list, cl)
		}
	}
	if len(revoked) > 0 {
		return nil, revoked, nil
	}
	for _, cl := range list {
		cl.told = true
	}
	return nil, nil, names(list)
}

// release gives claims up that were stopped: what was processed is committed, the application told, then the coordinator. When ctx ends before the commits are
// settled, the claims are kept: nothing may be committed for a partition that is not the member's any more.
func (m *member) release(ctx context.Context, list []*claim) {
	k := m.k
	m.settle(ctx, list)
	if ctx.Err() != nil {
		return
	}
	k.mu.Lock()
	var told []*claim
	for _, cl := range list {
		if m.claims[cl.tp] == cl && cl.told {
			cl.told = false // it is not lost any more
			told = append(told, cl)
		}
	}
	k.mu.Unlock()
	call(ctx, m.cfg.revoked, k, names(told))
	m.settle(ctx, nil) // what the application has handed in there
	if ctx.Err() != nil {
		return
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, cl := range list {
		if m.claims[cl.tp] == cl {
			m.forget(cl)
			m.owns = true
		}
	}
	m.converge()
	m.told()
	m.kick()
}

// topicsOf groups what is said of claims by their topics, which are in order.
func topicsOf(offsets map[*claim]quicproto.CommittedOffset) (order [][]*claim, topics []quicproto.TopicOffsets) {
	list := slices.SortedFunc(maps.Keys(offsets), func(a, b *claim) int {
		return cmp.Or(cmp.Compare(a.tp.Topic, b.tp.Topic), slices.Compare(a.topic[:], b.topic[:]), cmp.Compare(a.tp.Partition, b.tp.Partition))
	})
	for _, cl := range list {
		if n := len(topics); n == 0 || topics[n-1].TopicID != cl.topic || topics[n-1].Topic != cl.tp.Topic {
			topics, order = append(topics, quicproto.TopicOffsets{Topic: cl.tp.Topic, TopicID: cl.topic}), append(order, nil)
		}
		n := len(topics) - 1
		topics[n].Offsets, order[n] = append(topics[n].Offsets, offsets[cl]), append(order[n], cl)
	}
	return order, topics
}
