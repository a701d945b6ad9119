package history

import (
	"bytes"
	"cmp"
	"fmt"
	"slices"

	"github.com/rustmq/rustmq/mq"
)

// Anomaly is a promise that was broken. The kinds are listed in the package's documentation.
type Anomaly struct {
	Kind      string    `json:"kind"`
	Partition Partition `json:"partition"`
	Text      string    `json:"text"`
}

// String is the anomaly in one line.
func (a Anomaly) String() string { return fmt.Sprintf("%s: %s: %s", a.Kind, a.Partition, a.Text) }

// maxPerKind bounds how many anomalies of a kind a partition is reported with: a log that is wrong is mostly wrong often.
const maxPerKind = 10

// Check compares all that was told. The order is by partition, then kind. It is for when nothing is told any more.
func (h *History) Check() []Anomaly {
	h.mu.Lock()
	defer h.mu.Unlock()
	c := &checker{h: h, counts: make(map[anomalyKey]int)}
	for _, a := range h.found {
		c.add(a.Kind, a.Partition, "%s", a.Text)
	}
	sends := make([][]uint64, len(h.partitions))
	for number := range h.sends {
		p := h.sends[number].partition
		sends[p] = append(sends[p], uint64(number))
	}
	for i, p := range h.partitions {
		c.partition(int32(i), p, sends[i])
	}
	slices.SortStableFunc(c.found, func(a, b Anomaly) int {
		return cmp.Or(cmp.Compare(a.Partition.Topic, b.Partition.Topic), cmp.Compare(a.Partition.Index, b.Partition.Index), cmp.Compare(a.Kind, b.Kind))
	})
	return c.found
}

type checker struct {
	h      *History
	found  []Anomaly
	counts map[anomalyKey]int
}

type anomalyKey struct {
	kind string
	p    Partition
}

func (c *checker) add(kind string, p Partition, format string, args ...any) {
	key := anomalyKey{kind, p}
	c.counts[key]++
	if c.counts[key] <= maxPerKind {
		c.found = append(c.found, Anomaly{kind, p, fmt.Sprintf(format, args...)})
	}
}

// partition checks one partition; sends are the numbers of what was sent there.
func (c *checker) partition(index int32, p Partition, sends []uint64) {
	last := c.h.ends[index]
	if last == nil {
		if len(sends) > 0 {
			c.add("unread", p, "%d records were sent, and it was not read at the end", len(sends))
		}
		return
	}
	at := c.last(p, last)
	c.acknowledged(p, last, sends, at)
	c.order(p, sends)
	c.producers(p, last)
	for _, r := range c.h.readers {
		for _, run := range r.runs[index] {
			c.reader(p, r.name, run, last, at)
		}
	}
}

// last checks the last reading by itself, and says where each record is.
func (c *checker) last(p Partition, e *end) (at map[uint64]mq.Offset) {
	at = make(map[uint64]mq.Offset, len(e.seen))
	next := e.logStart
	for _, s := range e.seen {
		switch {
		case s.offset < next:
			c.add("nonmonotonic", p, "the last reading came to offset %d behind %d", s.offset, next-1)
		case s.offset > next:
			c.add("hole", p, "offsets %d to %d have no record", next, s.offset-1)
		}
		next = s.offset + 1
		if first, twice := at[s.number]; twice {
			c.add("duplicate", p, "record %d is at offset %d and at %d", s.number, first, s.offset)
		}
		at[s.number] = s.offset
		if c.h.sends[s.number].outcome == refused {
			c.add("phantom", p, "offset %d: record %d was refused", s.offset, s.number)
		}
	}
	return at
}

// promised says of a send that it must be there: it was acknowledged by more than one disk could forget.
func (s *send) promised() bool { return s.outcome == acked && s.want >= mq.DurabilityAll }

// acknowledged checks that what was promised is where it was promised.
func (c *checker) acknowledged(p Partition, e *end, sends []uint64, at map[uint64]mq.Offset) {
	claimed := make(map[mq.Offset]uint64)
	for _, number := range sends {
		s := &c.h.sends[number]
		if !s.promised() || s.offset < e.logStart {
			continue
		}
		if other, twice := claimed[s.offset]; twice {
			c.add("inconsistent", p, "records %d and %d were both acknowledged at offset %d", other, number, s.offset)
		}
		claimed[s.offset] = number
		switch offset, ok := at[number]; {
		case !ok:
			c.add("lost", p, "record %d was acknowledged (%s) at offset %d", number, s.want, s.offset)
		case offset != s.offset:
			c.add("moved", p, "record %d was acknowledged at offset %d and is at %d", number, s.offset, offset)
		}
	}
}

// order checks that what was sent after an acknowledgement lies behind what was acknowledged, whoever sent it.
func (c *checker) order(p Partition, sends []uint64) {
	var acks []uint64
	for _, number := range sends {
		if c.h.sends[number].promised() {
			acks = append(acks, number)
		}
	}
	slices.SortFunc(acks, func(a, b uint64) int { return cmp.Compare(c.h.sends[a].offset, c.h.sends[b].offset) })
	var latest uint64 // of those at lower offsets, the one that was sent last
	for i, number := range acks {
		if i > 0 && c.h.sends[latest].called > c.h.sends[number].ended {
			c.add("reordered", p, "record %d at offset %d was acknowledged before record %d was sent, which is at offset %d", number,
				c.h.sends[number].offset, latest, c.h.sends[latest].offset)
		}
		if i == 0 || c.h.sends[number].called > c.h.sends[latest].called {
			latest = number
		}
	}
}

// producers checks that each producer's acknowledged records are in the order in which it sent them.
func (c *checker) producers(p Partition, e *end) {
	latest := make(map[int32]uint64)
	for _, s := range e.seen {
		sent := &c.h.sends[s.number]
		if !sent.promised() {
			continue
		}
		if before, ok := latest[sent.producer]; ok && before > s.number {
			c.add("reordered", p, "producer %d sent record %d before record %d, which is at offset %d, behind it", sent.producer, s.number, before, s.offset)
			continue
		}
		latest[sent.producer] = s.number
	}
}

// reader checks what one reader saw between two seeks.
func (c *checker) reader(p Partition, name string, r run, e *end, at map[uint64]mq.Offset) {
	var before mq.Offset
	for i, s := range r.seen {
		if s.offset >= e.logStart {
			place, ok := at[s.number]
			switch {
			case !ok:
				c.add("vanished", p, "%s read record %d at offset %d, and it is not there at the end", name, s.number, s.offset)
			case place != s.offset:
				c.add("inconsistent", p, "%s read record %d at offset %d, and at the end it is at %d", name, s.number, s.offset, place)
			}
		}
		switch {
		case i == 0:
		case s.offset <= before:
			c.add("nonmonotonic", p, "%s read offset %d after %d", name, s.offset, before)
		case e.has(before+1, s.offset):
			c.add("skip", p, "%s read offset %d after %d, and there are records between", name, s.offset, before)
		}
		before = s.offset
	}
}

// has says whether there is a record in [from, to). The last reading is in order, or was found not to be.
func (e *end) has(from, to mq.Offset) bool {
	i, _ := slices.BinarySearchFunc(e.seen, max(from, e.logStart), func(s sighting, o mq.Offset) int { return cmp.Compare(s.offset, o) })
	return i < len(e.seen) && e.seen[i].offset < to
}

// Replica is one replica's log, for those who see into nodes.
type Replica struct {
	Node          mq.NodeID
	First         mq.Offset // of Batches
	HighWatermark mq.Offset
	Batches       []mq.Batch
}

// CompareReplicas notes where the replicas of a partition differ below the lowest high watermark of them, when all is over and healed.
func (h *History) CompareReplicas(p Partition, replicas []Replica) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if len(replicas) < 2 {
		return
	}
	high := replicas[0].HighWatermark
	for _, r := range replicas {
		high = min(high, r.HighWatermark)
	}
	reference := replicas[0]
	for _, r := range replicas[1:] {
		from := max(reference.First, r.First)
		a, b := within(reference.Batches, from, high), within(r.Batches, from, high)
		switch i := slices.IndexFunc(a[:min(len(a), len(b))], differs(b)); {
		case i >= 0:
			h.note("divergent", p, "nodes %d and %d differ at offset %d: %s and %s", reference.Node, r.Node, a[i].BaseOffset(), a[i], b[i])
		case len(a) != len(b):
			h.note("divergent", p, "nodes %d and %d have %d and %d batches between offset %d and the watermark %d", reference.Node, r.Node, len(a), len(b), from, high)
		}
	}
}

// differs says, asked of one batch after the other, whether it is not the one that others have in its place.
func differs(others []mq.Batch) func(mq.Batch) bool {
	i := -1
	return func(b mq.Batch) bool {
		i++
		return !bytes.Equal(b, others[i])
	}
}

// within are the batches from an offset on that end at or below another.
func within(batches []mq.Batch, from, to mq.Offset) (out []mq.Batch) {
	for _, b := range batches {
		if b.BaseOffset() >= from && b.NextOffset() <= to {
			out = append(out, b)
		}
	}
	return out
}
