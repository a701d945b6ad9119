package history

import (
	"fmt"
	"sync"

	"github.com/rustmq/rustmq/mq"
)

// Partition names a partition.
type Partition struct {
	Topic string `json:"topic"`
	Index int32  `json:"index"`
}

// String is "topic/index".
func (p Partition) String() string { return fmt.Sprintf("%s/%d", p.Topic, p.Index) }

// History collects events. It is safe for concurrent use.
type History struct {
	run uint64

	mu         sync.Mutex
	now        uint64 // counts events
	partitions []Partition
	index      map[Partition]int32
	sends      []send // by number
	readers    []*Reader
	ends       []*end      // by partition
	high       []mq.Offset // by partition; -1: nobody told
	leaders    map[leaderKey]mq.NodeID
	found      []Anomaly // seen as it happened
}

// send is one record that was sent.
type send struct {
	partition int32
	producer  int32
	called    uint64
	ended     uint64 // 0: not yet
	outcome   outcome
	want      mq.Durability
	offset    mq.Offset // as acknowledged
}

type outcome uint8

const (
	unknown outcome = iota
	acked
	refused
)

// end is what a partition has when all is over.
type end struct {
	logStart mq.Offset
	seen     []sighting
}

// sighting is a value at an offset.
type sighting struct {
	offset mq.Offset
	number uint64
}

type leaderKey struct {
	partition int32
	epoch     mq.Epoch
}

// New makes an empty history. run tells its values from those of other runs in the same topics.
func New(run uint64) *History {
	return &History{run: run, index: make(map[Partition]int32), leaders: make(map[leaderKey]mq.NodeID)}
}

// number is that of a partition, which is new to the history or not. The mutex is held.
func (h *History) number(p Partition) int32 {
	i, ok := h.index[p]
	if !ok {
		i = int32(len(h.partitions))
		h.index[p] = i
		h.partitions = append(h.partitions, p)
		h.ends, h.high = append(h.ends, nil), append(h.high, -1)
	}
	return i
}

// tick is the next moment. The mutex is held.
func (h *History) tick() uint64 {
	h.now++
	return h.now
}

// Send notes a record that a producer is about to send, and appends its value to dst: size bytes, or MinValueBytes if that is more. Tell the outcome by
// the number. Two sends of one producer to one partition are in the order of these calls.
func (h *History) Send(dst []byte, producer int, p Partition, want mq.Durability, size int) (number uint64, value []byte) {
	h.mu.Lock()
	number = uint64(len(h.sends))
	partition := h.number(p)
	h.sends = append(h.sends, send{partition: partition, producer: int32(producer), called: h.tick(), want: want})
	h.mu.Unlock()
	return number, appendValue(dst, h.run, number, partition, size)
}

// Acked notes that a record was acknowledged at offset, with the durability that it was sent with.
func (h *History) Acked(number uint64, offset mq.Offset) {
	h.mu.Lock()
	defer h.mu.Unlock()
	s := &h.sends[number]
	s.ended, s.outcome, s.offset = h.tick(), acked, offset
}

// Refused notes that a record was certainly not appended and never will be. A send of which that is not certain keeps an unknown outcome:
// nothing is told of it.
func (h *History) Refused(number uint64) {
	h.mu.Lock()
	defer h.mu.Unlock()
	s := &h.sends[number]
	s.ended, s.outcome = h.tick(), refused
}

// Leads notes that a node acknowledged something of a partition as its leader in epoch. Only those who see into nodes can tell.
func (h *History) Leads(p Partition, epoch mq.Epoch, node mq.NodeID) {
	h.mu.Lock()
	defer h.mu.Unlock()
	key := leaderKey{h.number(p), epoch}
	if other, ok := h.leaders[key]; ok && other != node {
		h.note("two leaders", p, "nodes %d and %d both acknowledged in epoch %d", other, node, epoch)
		return
	}
	h.leaders[key] = node
}

// Watermark notes that a leader has all of a partition below high replicated, before any reader can hear of it: what lies above the highest that was told must not
// be read yet. Only those who see into nodes can tell.
func (h *History) Watermark(p Partition, high mq.Offset) {
	h.mu.Lock()
	defer h.mu.Unlock()
	i := h.number(p)
	h.high[i] = max(h.high[i], high)
}

// note keeps an anomaly that shows as it happens. The mutex is held.
func (h *History) note(kind string, p Partition, format string, args ...any) {
	h.found = append(h.found, Anomaly{Kind: kind, Partition: p, Text: fmt.Sprintf(format, args...)})
}

// Counts are how many sends have which outcome.
type Counts struct {
	Sent, Acked, Refused, Unknown int
	Read                          int // by readers, one by one
}

// Counts counts what was told so far.
func (h *History) Counts() (c Counts) {
	h.mu.Lock()
	defer h.mu.Unlock()
	c.Sent = len(h.sends)
	for i := range h.sends {
		switch h.sends[i].outcome {
		case acked:
			c.Acked++
		case refused:
			c.Refused++
		default:
			c.Unknown++
		}
	}
	for _, r := range h.readers {
		c.Read += r.count
	}
	return c
}

// Reader is a committed reader of any number of partitions.
type Reader struct {
	h     *History
	name  string
	count int
	runs  map[int32][]run // by partition
}

// run is what was read between two seeks.
type run struct{ seen []sighting }

// Reader adds a reader. The name is for people.
func (h *History) Reader(name string) *Reader {
	h.mu.Lock()
	defer h.mu.Unlock()
	r := &Reader{h: h, name: name, runs: make(map[int32][]run)}
	h.readers = append(h.readers, r)
	return r
}

// Seek notes that the reader was told to go on elsewhere in a partition, or was assigned it anew.
func (r *Reader) Seek(p Partition) {
	r.h.mu.Lock()
	defer r.h.mu.Unlock()
	i := r.h.number(p)
	r.runs[i] = append(r.runs[i], run{})
}

// Got notes a record that was read.
func (r *Reader) Got(p Partition, offset mq.Offset, value []byte) {
	number, ok := r.h.identify(p, offset, value)
	if !ok {
		return
	}
	r.h.mu.Lock()
	defer r.h.mu.Unlock()
	i := r.h.number(p)
	if high := r.h.high[i]; high >= 0 && offset >= high {
		r.h.note("above", p, "%s read offset %d, and no leader's watermark was above %d", r.name, offset, high)
	}
	if len(r.runs[i]) == 0 {
		r.runs[i] = append(r.runs[i], run{})
	}
	last := &r.runs[i][len(r.runs[i])-1]
	last.seen = append(last.seen, sighting{offset, number})
	r.count++
}

// identify finds the send that a value is of; what is wrong with the value itself is noted.
func (h *History) identify(p Partition, offset mq.Offset, value []byte) (number uint64, ok bool) {
	number, partition, err := parseValue(value, h.run)
	h.mu.Lock()
	defer h.mu.Unlock()
	switch {
	case mq.CodeOf(err) == mq.CorruptMessage:
		h.note("corrupt", p, "offset %d: %v", offset, err)
	case err != nil:
		h.note("phantom", p, "offset %d: %v", offset, err)
	case number >= uint64(len(h.sends)):
		h.note("phantom", p, "offset %d: record %d was never sent", offset, number)
	case partition != h.number(p):
		h.note("misplaced", p, "offset %d: record %d was sent to %s", offset, number, h.name(partition))
	default:
		return number, true
	}
	return 0, false
}

// name is the partition with a number, which may be anything. The mutex is held.
func (h *History) name(partition int32) string {
	if partition < 0 || int(partition) >= len(h.partitions) {
		return fmt.Sprintf("a partition %d that there is not", partition)
	}
	return h.partitions[partition].String()
}

// Begin starts the last reading of a partition, from its log start to its end, when all is over and healed. Every partition that was sent to needs one.
func (h *History) Begin(p Partition, logStart mq.Offset) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.ends[h.number(p)] = &end{logStart: logStart}
}

// Last notes a record of the last reading.
func (h *History) Last(p Partition, offset mq.Offset, value []byte) {
	number, ok := h.identify(p, offset, value)
	if !ok {
		return
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	e := h.ends[h.number(p)]
	e.seen = append(e.seen, sighting{offset, number})
}
