package partition

import "github.com/rustmq/rustmq/mq"

// seqEntry is one batch of one producer: 24 bytes.
type seqEntry struct {
	base  mq.Offset
	first int32
	count int32
	epoch mq.ProducerEpoch
}

// next is the sequence that follows the batch.
func (e seqEntry) next() int32 { return mq.AddSequence(e.first, e.count) }

// last is the offset of its last record.
func (e seqEntry) last() mq.Offset { return e.base + mq.Offset(e.count) - 1 }

// window is a producer's newest batches in log order: a ring that grows by doubling. The newest entry is what decides; entries
// before the last break in epoch or sequence are only kept as long as a rollback may bring them back.
type window struct {
	ring []seqEntry // length is a power of two, or 0
	head int        // index of the oldest
	n    int
}

func (w *window) len() int { return w.n }

// at is the i-th entry, 0 the oldest.
func (w *window) at(i int) seqEntry { return w.ring[(w.head+i)&(len(w.ring)-1)] }

// newest panics when the window is empty; no producer is remembered with an empty one.
func (w *window) newest() seqEntry { return w.at(w.n - 1) }

func (w *window) popNewest() { w.n-- }

func (w *window) popOldest() {
	w.head = (w.head + 1) & (len(w.ring) - 1)
	w.n--
}

func (w *window) push(e seqEntry) {
	if w.n == len(w.ring) {
		w.grow()
	}
	w.ring[(w.head+w.n)&(len(w.ring)-1)] = e
	w.n++
}

// grow starts at one entry: most producers of most partitions are idle ones of which only the last batch matters.
func (w *window) grow() {
	ring := make([]seqEntry, max(1, 2*len(w.ring)))
	for i := range w.n {
		ring[i] = w.at(i)
	}
	w.ring, w.head = ring, 0
}

// trim makes room for one more entry. An entry goes when its successor lies below stable, so that no rollback can make it the
// newest, and it is either beyond the window or of an older epoch, which nobody may repeat any more.
func (w *window) trim(stable mq.Offset) {
	for w.n > 1 {
		beyond := w.n >= mq.MaxProducerWindow
		settled := w.at(1).base < stable && (beyond || w.at(0).epoch != w.at(1).epoch)
		if !settled && w.n < maxUnstableWindow {
			return
		}
		w.popOldest()
	}
}

// find looks for the batch that s, whose first sequence lies behind the newest one of the same epoch, repeats. Everything is
// compared by its distance back from the sequence that must come next.
func (w *window) find(s sequence) (dup seqEntry, duplicate bool, err error) {
	newest := w.newest()
	first := behind(newest, s.first)
	end := first - s.count // negative: it reaches beyond the newest
	for i := w.n - 1; i >= 0; i-- {
		e := w.at(i)
		if i < w.n-1 && (e.epoch != newest.epoch || e.next() != w.at(i+1).first) {
			break // what lies before belongs to another run of sequences
		}
		entryFirst := behind(newest, e.first)
		entryEnd := entryFirst - e.count
		if first == entryFirst && end == entryEnd {
			return e, true, nil
		}
		if end < entryFirst && entryEnd < first {
			return dup, false, overlap(s, e)
		}
	}
	return dup, false, mq.Errorf(mq.DuplicateSequence, "producer %d: sequences %d to %d were appended before the window of batches that is kept",
		s.id, s.first, mq.AddSequence(s.first, s.count-1))
}

// behind is how many sequences lie from seq up to the one that must come next.
func behind(newest seqEntry, seq int32) int32 { return mq.SequenceDistance(seq, newest.next()) }

func overlap(s sequence, e seqEntry) error {
	return mq.Errorf(mq.InvalidRequest, "producer %d: sequences %d to %d partly overlap the batch of %d to %d: a batch must be repeated as it was",
		s.id, s.first, mq.AddSequence(s.first, s.count-1), e.first, mq.AddSequence(e.first, e.count-1))
}
