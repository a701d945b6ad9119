package wal

import (
	"slices"
	"sync/atomic"
	"time"
)

// Histogram is a snapshot of a distribution: Counts[i] values were at most
// Bounds[i] and above the bound before; one more count is for those above all.
type Histogram struct {
	Bounds []float64
	Counts []uint64
	Sum    float64
}

// Stats is a snapshot of a log's counters. Totals count from Open.
type Stats struct {
	Segments  int   // segment files in use
	Prepared  int   // segment files ready for use
	FileBytes int64 // of all of them
	LiveBytes int64 // of what is still needed in them, about
	Streams   int
	Extents   int // elements of the index

	QueuedBytes   int64         // reserved and not yet durable
	OldestPending time.Duration // age of the oldest entry that is not durable yet; 0: none
	Full          bool          // Reserve refuses, for want of room

	EntriesTotal      uint64 // made durable
	PayloadBytesTotal uint64 // of them
	WrittenBytesTotal uint64 // with everything around them, blocks written twice counted twice
	SyncsTotal        uint64
	PromisesTotal     uint64 // of the syncs: for a promise frame
	RotationsTotal    uint64 // segments begun
	LateTotal         uint64 // of the rotations: had to wait for the segment
	CopiedBytesTotal  uint64 // copied forward
	FreedTotal        uint64 // segments
	RecycledTotal     uint64 // segments, of the freed
	FullTotal         uint64 // reservations refused

	SyncSeconds  Histogram // of one sync
	GroupEntries Histogram // entries made durable by one sync
}

// histogram is filled by one goroutine and read by others.
type histogram struct {
	bounds []float64
	counts []atomic.Uint64
	sum    atomic.Uint64 // in units of scale
	scale  float64
}

func newHistogram(first, factor float64, n int, scale float64) *histogram {
	h := &histogram{counts: make([]atomic.Uint64, n+1), scale: scale}
	for b := first; len(h.bounds) < n; b *= factor {
		h.bounds = append(h.bounds, b)
	}
	return h
}

func (h *histogram) observe(v float64) {
	i, _ := slices.BinarySearch(h.bounds, v)
	h.counts[i].Add(1)
	h.sum.Add(uint64(v * h.scale))
}

func (h *histogram) snapshot() Histogram {
	out := Histogram{Bounds: h.bounds, Counts: make([]uint64, len(h.counts)), Sum: float64(h.sum.Load()) / h.scale}
	for i := range h.counts {
		out.Counts[i] = h.counts[i].Load()
	}
	return out
}

// counters are a log's totals.
type counters struct {
	entries, payload, written, syncs, promises atomic.Uint64
	rotations, late, copied, freed, recycled   atomic.Uint64

	syncSeconds, groupEntries *histogram
}

func newCounters() *counters {
	return &counters{
		syncSeconds:  newHistogram(50e-6, 2, 18, 1e9), // 50 us to 6.5 s
		groupEntries: newHistogram(1, 4, 9, 1),        // 1 to 65,536
	}
}

// OldestPending is for how long the oldest entry that is not durable yet has waited; 0: none waits. Cheap: a node whose disk
// hangs without an error notices it by this alone.
func (l *Log) OldestPending() time.Duration { return l.queue.oldest(time.Now()) }

// Stats returns a snapshot.
func (l *Log) Stats() Stats {
	c := l.counters
	s := Stats{
		EntriesTotal: c.entries.Load(), PayloadBytesTotal: c.payload.Load(), WrittenBytesTotal: c.written.Load(),
		SyncsTotal: c.syncs.Load(), PromisesTotal: c.promises.Load(), RotationsTotal: c.rotations.Load(), LateTotal: c.late.Load(),
		CopiedBytesTotal: c.copied.Load(), FreedTotal: c.freed.Load(), RecycledTotal: c.recycled.Load(),
		SyncSeconds: c.syncSeconds.snapshot(), GroupEntries: c.groupEntries.snapshot(),
		OldestPending: l.OldestPending(),
	}
	l.mu.Lock()
	s.Segments, s.Prepared, s.Streams = len(l.segs), len(l.ready), len(l.streams)
	for _, g := range l.segs {
		s.FileBytes += g.size
		s.LiveBytes += g.live
		s.Extents += g.extents
	}
	for _, g := range l.ready {
		s.FileBytes += g.size
	}
	l.mu.Unlock()
	l.room.lock()
	s.QueuedBytes, s.Full, s.FullTotal = l.room.queued, l.room.refusing, l.room.refused
	l.room.unlock()
	return s
}
