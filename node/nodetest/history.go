package nodetest

import (
	"fmt"
	"slices"
	"strconv"
	"sync"

	"github.com/rustmq/rustmq/mq"
)

// history is what clients did and what they were told: what a node has to show for itself whenever it is up.
type history struct {
	mu        sync.Mutex
	topics    []*topic
	batches   []*batch
	producers []*producer
	violation error // the first that was seen while something was being sent
}

// topic is one topic, from its creation on. A later one of the same name is another.
type topic struct {
	name       string
	partitions int32
	id         mq.TopicID // zero while it is not known
	exists     bool       // somebody was told, or saw it
	doomed     bool       // somebody asked for its end
	gone       bool       // somebody was told of its end, or saw that it is not there
	read       [][]string // per partition, what was read last: all that is read later begins with it
}

// producer is one idempotent producer. It stays the same over all lives of the node.
type producer struct {
	id    mq.ProducerID
	epoch mq.ProducerEpoch
	known bool // its id was handed out before the power was cut
}

// loose is the producer of batches without idempotence, which are sent once.
const loose = -1

// batch is what is sent at once, and read at once or not at all.
type batch struct {
	number    int
	topic     int
	partition int32
	producer  int
	sequence  int32
	records   int
	bytes     int // of a value
	acks      mq.Durability

	acked bool
	base  mq.Offset // as acknowledged
	found mq.Offset // where the last check found it; -1: nowhere
}

// violation is a promise that was broken.
type violation struct{ kind, text string }

func (v *violation) Error() string { return v.kind + ": " + v.text }

func broken(kind, format string, args ...any) error {
	return &violation{kind, fmt.Sprintf(format, args...)}
}

// clone is a history that goes another way from here on.
func (h *history) clone() *history {
	h.mu.Lock()
	defer h.mu.Unlock()
	c := &history{violation: h.violation}
	for _, t := range h.topics {
		t := *t
		t.read = slices.Clone(t.read)
		c.topics = append(c.topics, &t)
	}
	for _, b := range h.batches {
		b := *b
		c.batches = append(c.batches, &b)
	}
	for _, p := range h.producers {
		p := *p
		c.producers = append(c.producers, &p)
	}
	return c
}

// during is the history of a power cut between two moments: clients knew what they did at the first one, and had sent what they had at
// the second.
func during(before, after *history) *history {
	h := after.clone()
	for i, t := range h.topics {
		if i < len(before.topics) {
			old := before.topics[i]
			t.id, t.exists, t.gone, t.read = old.id, old.exists, old.gone, slices.Clone(old.read)
		} else {
			t.id, t.exists, t.gone, t.read = mq.TopicID{}, false, false, make([][]string, t.partitions)
		}
	}
	for i, b := range h.batches {
		b.acked = i < len(before.batches) && before.batches[i].acked
	}
	for i, p := range h.producers {
		p.known = i < len(before.producers) && before.producers[i].known
	}
	return h
}

// latest is the newest topic of a name, -1 for none.
func (h *history) latest(name string) int {
	for i := len(h.topics) - 1; i >= 0; i-- {
		if h.topics[i].name == name {
			return i
		}
	}
	return -1
}

// add makes a batch that is to be sent.
func (h *history) add(b batch) *batch {
	h.mu.Lock()
	defer h.mu.Unlock()
	b.number, b.found = len(h.batches), -1
	if b.producer != loose {
		for _, old := range h.batches {
			if old.producer == b.producer && old.topic == b.topic && old.partition == b.partition {
				b.sequence = old.sequence + int32(old.records)
			}
		}
	}
	h.batches = append(h.batches, &b)
	return &b
}

// acknowledged counts records.
func (h *history) acknowledged() (n int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, b := range h.batches {
		if b.acked {
			n += b.records
		}
	}
	return n
}

// note keeps the first violation. The caller holds the mutex.
func (h *history) note(err error) {
	if h.violation == nil {
		h.violation = err
	}
}

// value is record i of a batch: it says which one it is.
func (b *batch) value(i int) string {
	return fmt.Sprintf("%s%0*d", b.head(i), max(1, b.bytes-13), b.number)
}

// head is what the value of record i begins with.
func (b *batch) head(i int) string { return fmt.Sprintf("%08d/%03d/", b.number, i) }

// build encodes the batch, each time the same bytes.
func (b *batch) build(p *producer) (mq.Batch, error) {
	builder, err := mq.NewBatchBuilder(mq.CompressionNone, 0)
	if err != nil {
		return nil, err
	}
	for i := range b.records {
		if err := builder.Append(mq.Record{Value: []byte(b.value(i)), Timestamp: int64(b.number + 1)}); err != nil {
			return nil, err
		}
	}
	if p == nil {
		return builder.Build(nil, mq.NoProducerID, mq.NoProducerEpoch, -1)
	}
	return builder.Build(nil, p.id, p.epoch, b.sequence)
}

// compare checks what was read of a partition, from offset 0 on, and notes where each batch is. The caller holds the mutex.
func (h *history) compare(index int, partition int32, values []string) error {
	t := h.topics[index]
	before := t.read[partition]
	if len(values) < len(before) || !slices.Equal(values[:len(before)], before) {
		return broken("vanished", "%d records were read before, and now %d are there, or others", len(before), len(values))
	}
	for _, b := range h.batches {
		if b.topic == index && b.partition == partition {
			b.found = -1
		}
	}
	last := make(map[int]*batch) // of each producer
	for at := 0; at < len(values); {
		b, err := h.identify(index, partition, values[at:])
		switch {
		case err != nil:
			return fmt.Errorf("offset %d: %w", at, err)
		case b.found >= 0:
			return broken("duplicate", "batch %d is at offset %d and at %d", b.number, b.found, at)
		}
		if err := follows(last[b.producer], b); err != nil {
			return fmt.Errorf("offset %d: %w", at, err)
		}
		last[b.producer], b.found = b, mq.Offset(at)
		at += b.records
	}
	for _, b := range h.batches {
		if b.topic == index && b.partition == partition && b.acked && b.found != b.base {
			return broken("lost", "batch %d (%s) was acknowledged at offset %d, and is at %d of %d", b.number, b.acks, b.base, b.found, len(values))
		}
	}
	t.read[partition] = values
	return nil
}

// identify finds the batch that the values begin with, all of it.
func (h *history) identify(index int, partition int32, values []string) (*batch, error) {
	number, err := strconv.Atoi(values[0][:min(8, len(values[0]))])
	if err != nil || number >= len(h.batches) {
		return nil, broken("phantom", "%.20q was never sent", values[0])
	}
	b := h.batches[number]
	if b.topic != index || b.partition != partition {
		return nil, broken("misplaced", "batch %d belongs to partition %d of topic %d", number, b.partition, b.topic)
	}
	for i := range b.records {
		if i >= len(values) || values[i] != b.value(i) {
			return nil, broken("half batch", "record %d of batch %d is not behind the ones before it", i, number)
		}
	}
	return b, nil
}

// follows says whether a batch may come behind another one of its producer.
func follows(before, b *batch) error {
	switch {
	case b.producer == loose:
		if before != nil && b.number <= before.number {
			return broken("reordered", "batch %d is behind batch %d", b.number, before.number)
		}
	case before == nil:
		if b.sequence != 0 {
			return broken("skipped", "batch %d of producer %d is there, and what it sent before is not", b.number, b.producer)
		}
	case b.sequence != before.sequence+int32(before.records):
		return broken("reordered", "batch %d of producer %d (sequence %d) is behind batch %d (sequence %d)", b.number, b.producer, b.sequence,
			before.number, before.sequence)
	}
	return nil
}
