package replication

import (
	"context"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"testing/synctest"

	"pgregory.net/rapid"

	"github.com/rustmq/rustmq/mq"
	"github.com/rustmq/rustmq/partition"
)

// attempt is one try to append one record.
type attempt struct {
	of  *producing
	to  *broker
	seq int32
}

// producing is an idempotent producer to one partition: what failed, or took too long, it sends again, in order.
type producing struct {
	t    testing.TB
	id   mq.ProducerID
	part int
	next int32

	mu     sync.Mutex
	acked  map[int32]mq.Offset
	rewind bool
}

// Complete implements partition.Completion: an acknowledgement is good for ever, whichever leader it is of and whenever it comes.
func (a attempt) Complete(r partition.AppendResult) {
	a.to.mayAcknowledge(r)
	a.of.mu.Lock()
	defer a.of.mu.Unlock()
	if r.Err != nil {
		a.of.rewind = true
		return
	}
	if was, again := a.of.acked[a.seq]; again && was != r.Base {
		a.of.t.Errorf("partition %d: record %d of producer %d was acknowledged at %d and at %d", a.of.part, a.seq, a.of.id, was, r.Base)
	}
	a.of.acked[a.seq] = r.Base
}

// send sends n more, after all that have to be sent again.
func (p *producing) send(c *cluster, n int32, again bool) {
	l := c.leader(p.part)
	if l == nil || !l.up {
		return
	}
	p.mu.Lock()
	first := p.next
	if p.rewind || again {
		p.rewind = false
		first = 0
		for _, ok := p.acked[first]; ok; _, ok = p.acked[first] {
			first++
		}
	}
	p.mu.Unlock()
	p.next += n
	for seq := first; seq < p.next; seq++ {
		l.send(p.part, batch(p.t, p.id, 0, seq, 200), mq.DurabilityAll, attempt{p, l, seq})
	}
}

func (p *producing) done() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.acked) == int(p.next)
}

// verify looks for what was sent in the partition as it is: each record is there once, in order, at the offset that was told.
func (p *producing) verify(there []record) {
	next := int32(0)
	for at, r := range there {
		if r.producer != p.id {
			continue
		}
		if r.seq != next || p.acked[next] != mq.Offset(at) {
			p.t.Fatalf("partition %d: at %d is record %d of producer %d, want %d, which was acknowledged at %d",
				p.part, at, r.seq, p.id, next, p.acked[next])
		}
		next++
	}
	if next != p.next {
		p.t.Fatalf("partition %d: %d records of producer %d, %d were acknowledged", p.part, next, p.id, p.next)
	}
}

// record is who sent a record, and which one it is.
type record struct {
	producer mq.ProducerID
	seq      int32
}

// records are those of a list of batches, of which each has one.
func records(t testing.TB, batches []byte) (out []record) {
	for len(batches) > 0 {
		b, rest, err := mq.NextBatch(batches)
		if err != nil {
			t.Fatal(err)
		}
		out, batches = append(out, record{b.ProducerID(), b.BaseSequence()}), rest
	}
	return out
}

// reading is a consumer of one partition: what it has read stays so, and where it was told that the partition ends is never taken back.
type reading struct {
	t    testing.TB
	part int
	read []record
	told mq.Offset
}

// look reads on at who leads, and asks it for the end.
func (r *reading) look(c *cluster) {
	l := c.leader(r.part)
	if l == nil || !l.up || l.partition(id(r.part)) == nil {
		return
	}
	p, epoch := l.partition(id(r.part)), c.ctl.partition(id(r.part)).LeaderEpoch
	led := p.LeaderEpoch() == epoch
	end, unknown := p.VisibleEnd(mq.IsolationCommitted)
	res, err := p.Read(context.Background(), mq.Offset(len(r.read)), 1<<20, mq.IsolationCommitted, nil)
	if !led || c.ctl.partition(id(r.part)).LeaderEpoch != epoch {
		return // it was not the leader, or not for long enough
	}
	if unknown == nil && end < r.told {
		r.t.Errorf("partition %d: its end is %d, it was %d before", r.part, end, r.told)
	}
	if unknown == nil {
		r.told = end
	}
	if mq.CodeOf(err) == mq.OffsetOutOfRange {
		r.t.Errorf("partition %d: a read goes on at %d: %v", r.part, len(r.read), err)
	}
	for _, b := range res.Batches {
		r.read = append(r.read, records(r.t, b)...)
	}
}

// verify compares what was read with the partition as it is.
func (r *reading) verify(there []record) {
	if len(r.read) > len(there) || !slices.Equal(r.read, there[:len(r.read)]) {
		r.t.Fatalf("partition %d: %d records were read that are not the first of the %d that there are", r.part, len(r.read), len(there))
	}
}

// loose is one who sends without a number, for the leader's own word.
type loose struct{ to *broker }

// Complete implements partition.Completion.
func (l loose) Complete(r partition.AppendResult) { l.to.mayAcknowledge(r) }

// mayAcknowledge sees whether a broker had a lease when it acknowledged.
func (b *broker) mayAcknowledge(r partition.AppendResult) {
	if late := b.lapsed(); r.Err == nil && late > 0 {
		b.cluster.t.Errorf("broker %d acknowledges %v after its lease", b.id, late)
	}
}

// TestNothingAcknowledgedIsLost: three brokers, of which any may crash (with or without what was not synced), be cut off, declared dead, hear nothing of
// the controllers, whose answers may be lost; leaders change; in-sync sets shrink and grow. In the end each record that was acknowledged is there,
// once and in order, and all logs are the same.
func TestNothingAcknowledgedIsLost(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		inBubble(t, func(t *testing.T) { life(t, rapidDice{rt}, anything, bugs{}) })
	})
}

// dice decide what happens in a life: rapid's, which it can make shorter when something is found, or those of a seed.
type dice interface {
	number(low, high int, what string) int
	seed() uint64
}

type rapidDice struct{ *rapid.T }

func (d rapidDice) number(low, high int, what string) int {
	return rapid.IntRange(low, high).Draw(d.T, what)
}

func (d rapidDice) seed() uint64 { return rapid.Uint64().Draw(d.T, "seed") }

type seededDice struct{ *rand.Rand }

func (d seededDice) number(low, high int, _ string) int { return low + d.IntN(high-low+1) }
func (d seededDice) seed() uint64                       { return d.Uint64() }

// inBubble runs f in virtual time; rapid's own panics come through.
func inBubble(t *testing.T, f func(t *testing.T)) {
	var caught any
	synctest.Test(t, func(t *testing.T) {
		defer func() { caught = recover() }()
		f(t)
	})
	if caught != nil {
		panic(caught)
	}
}
