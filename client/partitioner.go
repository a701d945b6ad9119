package client

import (
	"math/rand/v2"
	"sync/atomic"

	"github.com/rustmq/rustmq/mq"
)

// Partitioner makes, once for each topic, the function that chooses partitions for its records. The function gets the record and the
// number of partitions (at least 1), returns an index below it, and is called by many goroutines at once. An
// index out of range fails the record with INVALID_PARTITIONS.
type Partitioner func(topic string) func(rec *Record, partitions int) int

// HashPartitioner sends records of one key to one partition, chosen as Kafka's Java client does (murmur2), so that both
// agree. Records with a nil key stick to one partition for [DefaultBatchBytes] at a time, then to another at random: this
// fills batches and spreads evenly.
func HashPartitioner() Partitioner {
	return func(string) func(*Record, int) int {
		var s sticky
		return func(rec *Record, n int) int {
			if rec.Key != nil {
				return int(murmur2(rec.Key)&0x7fffffff) % n
			}
			return s.pick(rec, n)
		}
	}
}

// StickyPartitioner ignores keys and does for all records what [HashPartitioner] does for those without.
func StickyPartitioner() Partitioner {
	return func(string) func(*Record, int) int {
		var s sticky
		return func(rec *Record, n int) int { return s.pick(rec, n) }
	}
}

// RoundRobinPartitioner deals records out one by one.
func RoundRobinPartitioner() Partitioner {
	return func(string) func(*Record, int) int {
		var turn atomic.Uint64
		return func(_ *Record, n int) int { return int((turn.Add(1) - 1) % uint64(n)) }
	}
}

// ManualPartitioner obeys [Record].Partition.
func ManualPartitioner() Partitioner {
	return func(string) func(*Record, int) int {
		return func(rec *Record, _ int) int { return int(rec.Partition) }
	}
}

// sticky stays with one partition until a batch is full there. Its state is one word: partition and bytes so far.
type sticky struct {
	state atomic.Uint64 // partition+1 in the upper half (0: none yet), bytes in the lower
}

const (
	// batchOverhead is what a batch takes beside its records, and recordEncoding what a record does beside key and value, give or take a byte or two.
	batchOverhead  = mq.BatchHeaderSize
	recordEncoding = 10
)

// pick is where rec goes, and notes whether the next one will go there too.
func (s *sticky) pick(rec *Record, n int) int {
	part, last := s.next(len(rec.Key)+len(rec.Value), n)
	if rec.stay = stayMore; last {
		rec.stay = stayLast
	}
	return part
}

func (s *sticky) next(size, n int) (part int, last bool) {
	size = min(size+recordEncoding, DefaultBatchBytes)
	for {
		old := s.state.Load()
		part, bytes := int(old>>32)-1, int(uint32(old))
		if part < 0 || part >= n || bytes+size > DefaultBatchBytes {
			part, bytes = other(part, n), batchOverhead
		}
		bytes += size
		if s.state.CompareAndSwap(old, uint64(part+1)<<32|uint64(bytes)) {
			return part, bytes+size > DefaultBatchBytes
		}
	}
}

// other is a random partition that is not part, if there is another.
func other(part, n int) int {
	if n == 1 {
		return 0
	}
	if part < 0 || part >= n {
		return rand.IntN(n)
	}
	next := rand.IntN(n - 1)
	if next >= part {
		next++
	}
	return next
}

// murmur2 is the 32-bit hash that Kafka's clients choose partitions by.
func murmur2(b []byte) uint32 {
	const (
		seed = 0x9747b28c
		m    = 0x5bd1e995
		r    = 24
	)
	h := uint32(seed) ^ uint32(len(b))
	for len(b) >= 4 {
		k := uint32(b[0]) | uint32(b[1])<<8 | uint32(b[2])<<16 | uint32(b[3])<<24
		b = b[4:]
		k *= m
		k ^= k >> r
		k *= m
		h *= m
		h ^= k
	}
	switch len(b) {
	case 3:
		h ^= uint32(b[2]) << 16
		fallthrough
	case 2:
		h ^= uint32(b[1]) << 8
		fallthrough
	case 1:
		h ^= uint32(b[0])
		h *= m
	}
	h ^= h >> 13
	h *= m
	h ^= h >> 15
	return h
}
