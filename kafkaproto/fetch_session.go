package kafkaproto

import (
	"math"
	"math/rand/v2"
	"slices"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/rustmq/rustmq/mq"
)

// Kafka's errors of fetch sessions, which only this API needs.
const (
	fetchSessionIDNotFound    = 70
	invalidFetchSessionEpoch  = 71
	fetchSessionTopicIDsError = 106
)

// fetchPartition is what a client wants of a partition.
type fetchPartition struct {
	topic string
	id    mq.TopicID // from version 13 on, in place of the name
	fetchWish

	// What a session told the client last.
	toldAny           bool
	toldHigh, toldLow mq.Offset
	toldCode          int16
}

// fetchWish is the part of it that a request brings.
type fetchWish struct {
	index     int32
	offset    mq.Offset
	maxBytes  int32
	epoch     mq.Epoch // the leader's, as the client knows it; -1: not
	lastEpoch mq.Epoch // of the last record that the client has; -1: not told
	asked     bool     // it came with this request, and not with an earlier one of the session
}

func (p *fetchPartition) key() fetchKey { return fetchKey{p.topic, p.id, p.index} }

type fetchKey struct {
	topic string
	id    mq.TopicID
	index int32
}

// news says whether the client of a session has to be told of it.
func (p *fetched) news() bool {
	return p.size > 0 || p.code != 0 || p.diverges || p.preferred >= 0 || !p.toldAny || p.toldCode != 0 || p.toldHigh != p.data.HighWatermark || p.toldLow != p.data.LogStart
}

func (p *fetched) told() {
	p.toldAny, p.toldHigh, p.toldLow, p.toldCode = true, p.data.HighWatermark, p.data.LogStart, p.code
}

// fetchSession is what the client of a connection wants, as of its last request. It belongs to the goroutine that writes.
type fetchSession struct {
	id, next int32 // next is the epoch of the next request
	byID     bool
	order    []*fetchPartition // the next one to be read first
	parts    map[fetchKey]*fetchPartition
}

// fetchPlan is what a request is to be answered with.
type fetchPlan struct {
	code        int16
	session     int32 // 0: none
	incremental bool
	partitions  []*fetchPartition
}

// planFetch finds out what a request wants, and has its session note that.
func (c *conn) planFetch(q *kmsg.FetchRequest) fetchPlan {
	s := c.fetches
	switch {
	case q.Version < 7 || q.SessionEpoch < 0:
		if s != nil && s.id == q.SessionID {
			c.dropFetches()
		}
		return fetchPlan{partitions: slices.Collect(wishes(q))}
	case q.SessionEpoch == 0:
		c.dropFetches()
		plan := fetchPlan{partitions: slices.Collect(wishes(q))}
		plan.session = c.openFetches(plan.partitions, q.Version >= 13)
		return plan
	case s == nil || s.id != q.SessionID:
		return fetchPlan{code: fetchSessionIDNotFound}
	case s.next != q.SessionEpoch:
		return fetchPlan{code: invalidFetchSessionEpoch, session: s.id}
	case s.byID != (q.Version >= 13):
		return fetchPlan{code: fetchSessionTopicIDsError, session: s.id}
	}
	if !c.updateFetches(q) {
		c.dropFetches()
		return fetchPlan{code: fetchSessionIDNotFound} // the client begins anew, without a session if it is still too large
	}
	if s.next++; s.next <= 0 {
		s.next = 1
	}
	return fetchPlan{session: s.id, incremental: true, partitions: slices.Clone(s.order)}
}

// wishes goes over the partitions of a request.
func wishes(q *kmsg.FetchRequest) func(yield func(*fetchPartition) bool) {
	return func(yield func(*fetchPartition) bool) {
		for i := range q.Topics {
			t := &q.Topics[i]
			for j := range t.Partitions {
				p := &t.Partitions[j]
				wish := &fetchPartition{topic: t.Topic, id: t.TopicID, fetchWish: fetchWish{
					index: p.Partition, offset: mq.Offset(p.FetchOffset), maxBytes: p.PartitionMaxBytes,
					epoch: mq.Epoch(p.CurrentLeaderEpoch), lastEpoch: mq.Epoch(p.LastFetchedEpoch), asked: true,
				}}
				if !yield(wish) {
					return
				}
			}
		}
	}
}

// openFetches begins a session and gives its id, 0 when there is no room for it.
func (c *conn) openFetches(partitions []*fetchPartition, byID bool) int32 {
	s := &fetchSession{id: rand.Int32N(math.MaxInt32) + 1, next: 1, byID: byID, parts: make(map[fetchKey]*fetchPartition)}
	for _, p := range partitions {
		if s.parts[p.key()] == nil {
			s.order = append(s.order, p)
		}
		s.parts[p.key()] = p
	}
	if len(s.parts) != len(partitions) || !c.roomForFetches(len(s.parts), len(s.parts)) { // one that comes twice makes no sense
		return 0
	}
	c.fetches = s
	return s.id
}

// roomForFetches takes room for more partitions of the session, which will have total.
func (c *conn) roomForFetches(more, total int) bool {
	if total > c.srv.limits.SessionPartitions {
		return false
	}
	if c.srv.cached.Add(int64(more)) > int64(c.srv.limits.CachedPartitions) {
		c.srv.cached.Add(-int64(more))
		return false
	}
	return true
}

// dropFetches ends the session, if there is one.
func (c *conn) dropFetches() {
	if c.fetches != nil {
		c.srv.cached.Add(-int64(len(c.fetches.parts)))
		c.fetches = nil
	}
}

// updateFetches notes what a request changes. It is false when there is no room.
func (c *conn) updateFetches(q *kmsg.FetchRequest) bool {
	s := c.fetches
	for i := range q.ForgottenTopics {
		t := &q.ForgottenTopics[i]
		for _, index := range t.Partitions {
			key := fetchKey{t.Topic, t.TopicID, index}
			if p := s.parts[key]; p != nil {
				delete(s.parts, key)
				p.index = -1 // out of the order, below
				c.srv.cached.Add(-1)
			}
		}
	}
	if len(q.ForgottenTopics) > 0 {
		s.order = slices.DeleteFunc(s.order, func(p *fetchPartition) bool { return p.index < 0 })
	}
	for p := range wishes(q) {
		if known := s.parts[p.key()]; known != nil {
			known.fetchWish = p.fetchWish
			continue
		}
		if p.index < 0 || !c.roomForFetches(1, len(s.parts)+1) {
			return false
		}
		s.parts[p.key()] = p
		s.order = append(s.order, p)
	}
	return true
}

// rotate has the partitions that gave something read last the next time: so all of them have their turn.
func (c *conn) rotate(parts []fetched) {
	if c.fetches == nil {
		return
	}
	gave := make(map[*fetchPartition]bool)
	for i := range parts {
		if parts[i].size > 0 {
			gave[parts[i].fetchPartition] = true
		}
	}
	if len(gave) == 0 || len(gave) == len(c.fetches.order) {
		return
	}
	order := make([]*fetchPartition, 0, len(c.fetches.order))
	for _, last := range []bool{false, true} {
		for _, p := range c.fetches.order {
			if gave[p] == last {
				order = append(order, p)
			}
		}
	}
	c.fetches.order = order
}
