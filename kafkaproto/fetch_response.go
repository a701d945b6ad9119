package kafkaproto

import (
	"encoding/binary"
	"time"

	"golang.org/x/sync/semaphore"
)

// fetchResponse is a Fetch response that is encoded without copying its batches.
type fetchResponse struct {
	version    int16
	code       int16
	session    int32
	throttled  time.Duration // for how long the client is held back
	partitions []*fetched
	size       int // bytes of all batches
	nodes      []Node

	reads *semaphore.Weighted // of which held is given back when it is written
	held  int64
}

// IsFlexible implements body.
func (r *fetchResponse) IsFlexible() bool { return r.version >= 12 }

func (r *fetchResponse) release() {
	if r.reads != nil {
		r.reads.Release(r.held)
	}
}

// appendTo implements body. A topic is there once for each run of its partitions.
func (r *fetchResponse) appendTo(o *output) {
	e := encoder{o, r.IsFlexible()}
	e.int32(throttleMillis(r.throttled))
	if r.version >= 7 {
		e.int16(r.code)
		e.int32(r.session)
	}
	runs := 0
	for i, p := range r.partitions {
		if i == 0 || !p.sameTopic(r.partitions[i-1]) {
			runs++
		}
	}
	e.length(runs)
	for rest := r.partitions; len(rest) > 0; {
		n := 1
		for n < len(rest) && rest[n].sameTopic(rest[0]) {
			n++
		}
		if r.version >= 13 {
			o.buf = append(o.buf, rest[0].id[:]...)
		} else {
			e.text(rest[0].topic)
		}
		e.length(n)
		for _, p := range rest[:n] {
			r.partition(e, p)
		}
		e.noTags()
		rest = rest[n:]
	}
	if r.version < 16 || len(r.nodes) == 0 {
		e.noTags()
		return
	}
	e.tags(1)
	at := e.beginTag(0)
	e.length(len(r.nodes))
	for _, n := range r.nodes {
		e.int32(int32(n.ID))
		e.text(n.Host)
		e.int32(int32(n.Port))
		if n.Rack == "" {
			o.buf = append(o.buf, 0)
		} else {
			e.text(n.Rack)
		}
		e.noTags()
	}
	e.endTag(at)
}

func (p *fetched) sameTopic(q *fetched) bool { return p.topic == q.topic && p.id == q.id }

// partition encodes one partition.
func (r *fetchResponse) partition(e encoder, p *fetched) {
	e.int32(p.index)
	e.int16(p.code)
	e.int64(int64(p.data.HighWatermark))
	e.int64(int64(p.data.HighWatermark)) // the last stable offset
	if r.version >= 5 {
		e.int64(int64(p.data.LogStart))
	}
	e.length(0) // aborted transactions
	if r.version >= 11 {
		e.int32(int32(p.preferred))
	}
	e.length(p.size)
	for _, b := range p.data.Batches {
		e.o.add(b)
	}
	if !e.flexible {
		return
	}
	tags := 0
	for _, there := range []bool{p.diverges, p.leader >= 0} {
		if there {
			tags++
		}
	}
	e.tags(tags)
	if p.diverges {
		at := e.beginTag(0)
		e.int32(int32(p.epoch))
		e.int64(int64(p.end))
		e.noTags()
		e.endTag(at)
	}
	if p.leader >= 0 {
		at := e.beginTag(1)
		e.int32(int32(p.leader))
		e.int32(int32(p.leaderEpoch))
		e.noTags()
		e.endTag(at)
	}
}

// encoder writes Kafka's primitive types.
type encoder struct {
	o        *output
	flexible bool
}

func (e encoder) int16(v int16) { e.o.buf = binary.BigEndian.AppendUint16(e.o.buf, uint16(v)) }
func (e encoder) int32(v int32) { e.o.buf = binary.BigEndian.AppendUint32(e.o.buf, uint32(v)) }
func (e encoder) int64(v int64) { e.o.buf = binary.BigEndian.AppendUint64(e.o.buf, uint64(v)) }

// length begins an array, or bytes.
func (e encoder) length(n int) {
	if e.flexible {
		e.o.buf = binary.AppendUvarint(e.o.buf, uint64(n)+1)
		return
	}
	e.int32(int32(n))
}

func (e encoder) text(s string) {
	if e.flexible {
		e.o.buf = binary.AppendUvarint(e.o.buf, uint64(len(s))+1)
	} else {
		e.int16(int16(len(s)))
	}
	e.o.buf = append(e.o.buf, s...)
}

func (e encoder) tags(n int) { e.o.buf = binary.AppendUvarint(e.o.buf, uint64(n)) }

func (e encoder) noTags() {
	if e.flexible {
		e.o.buf = append(e.o.buf, 0)
	}
}

// beginTag begins a tagged field, whose length endTag puts in its place.
func (e encoder) beginTag(tag int) (at int) {
	e.tags(tag)
	return len(e.o.buf)
}

func (e encoder) endTag(at int) {
	value := append([]byte(nil), e.o.buf[at:]...)
	e.o.buf = binary.AppendUvarint(e.o.buf[:at], uint64(len(value)))
	e.o.buf = append(e.o.buf, value...)
}
