package partition

import (
	"cmp"
	"encoding/binary"
	"hash/crc32"
	"math"
	"slices"
	"time"

	"github.com/rustmq/rustmq/mq"
)

// The state of the producers, as tier commits carry it (it goes through raft and into the metadata's database):
//
//	version u8 = 1 | producers uvarint | producer ... | CRC-32C of all before, u32 big-endian
//
//	producer:    id uvarint: the first absolute, then the distance from the one before (> 0)
//	             last use uvarint, milliseconds since 1970
//	             producer epoch uvarint
//	             first sequence uvarint: of the first batch
//	             base offset uvarint: of the first batch
//	             batches uvarint, 1 to mq.MaxProducerWindow
//	             records uvarint of the first batch
//	             then per batch: offsets between the one before and this uvarint | records uvarint
//
// Producers ascend by id, their batches by offset. Within a producer sequences and epoch continue: what lies before a break
// can not be repeated any more, so it is not there. Another version is "unsupported", anything else that does not fit "corrupt".
const producersVersion = 1

// maxProducersBytes is what the encoded state takes at most: every partition of an object brings one into the raft
// command that commits it. When it would be more, first the windows get shorter (what falls out is answered with
// DUPLICATE_SEQUENCE instead of its offset, and only after a recovery from the object store), then the longest idle
// producers are left out.
const maxProducersBytes = 64 << 10

// minProducerBytes is the shortest producer: seven fields and one batch.
const minProducerBytes = 7

// encode writes the state exactly at end: batches at or above it are left out. It is exact for every end at or above the
// stable offset that the last batches were applied with.
func (ps *producers) encode(end mq.Offset, maxBytes int) []byte {
	runs := ps.runsBelow(end)
	for limit := mq.MaxProducerWindow; ; limit /= 2 {
		if out := encodeRuns(runs, limit); len(out) <= maxBytes || limit == 1 {
			if len(out) <= maxBytes {
				return out
			}
			break
		}
	}
	// One batch each and still too many.
	slices.SortStableFunc(runs, func(a, b run) int { return cmp.Compare(b.lastUse, a.lastUse) })
	for len(runs) > 0 {
		runs = runs[:len(runs)-1-len(runs)/16]
		kept := slices.Clone(runs)
		sortRuns(kept)
		if out := encodeRuns(kept, 1); len(out) <= maxBytes {
			return out
		}
	}
	return encodeRuns(nil, 1)
}

// run is the newest batches of one producer without a break in epoch or sequence.
type run struct {
	id      mq.ProducerID
	lastUse int64
	entries []seqEntry
}

func (ps *producers) runsBelow(end mq.Offset) []run {
	runs := make([]run, 0, len(ps.byID))
	for _, p := range ps.byID {
		if entries := p.window.runBelow(end); len(entries) > 0 {
			runs = append(runs, run{p.id, max(p.lastUse, 0), entries})
		}
	}
	sortRuns(runs)
	return runs
}

func sortRuns(runs []run) {
	slices.SortFunc(runs, func(a, b run) int { return cmp.Compare(a.id, b.id) })
}

// runBelow is the last unbroken run of batches below end, at most mq.MaxProducerWindow of them.
func (w *window) runBelow(end mq.Offset) []seqEntry {
	n := w.n
	for n > 0 && w.at(n-1).base >= end {
		n--
	}
	first := n
	for first > 0 && n-first < mq.MaxProducerWindow {
		if first < n && (w.at(first-1).epoch != w.at(first).epoch || w.at(first-1).next() != w.at(first).first) {
			break
		}
		first--
	}
	entries := make([]seqEntry, 0, n-first)
	for i := first; i < n; i++ {
		entries = append(entries, w.at(i))
	}
	return entries
}

func encodeRuns(runs []run, limit int) []byte {
	out := []byte{producersVersion}
	out = binary.AppendUvarint(out, uint64(len(runs)))
	previous := mq.ProducerID(0)
	for _, r := range runs {
		entries := r.entries[max(0, len(r.entries)-limit):]
		out = binary.AppendUvarint(out, uint64(r.id-previous))
		previous = r.id
		out = binary.AppendUvarint(out, uint64(r.lastUse))
		out = binary.AppendUvarint(out, uint64(entries[0].epoch))
		out = binary.AppendUvarint(out, uint64(entries[0].first))
		out = binary.AppendUvarint(out, uint64(entries[0].base))
		out = binary.AppendUvarint(out, uint64(len(entries)))
		out = binary.AppendUvarint(out, uint64(entries[0].count))
		for i, e := range entries[1:] {
			out = binary.AppendUvarint(out, uint64(e.base-entries[i].last()-1))
			out = binary.AppendUvarint(out, uint64(e.count))
		}
	}
	return binary.BigEndian.AppendUint32(out, crc32.Checksum(out, crc32.MakeTable(crc32.Castagnoli)))
}

// decodeProducers reads what encode wrote; empty is the empty state. The code of the error is UnsupportedVersion or Corrupt.
// It allocates in proportion to len(data) only.
func decodeProducers(data []byte, ttl time.Duration, limit int) (*producers, error) {
	ps := newProducers(ttl, limit)
	if len(data) == 0 {
		return ps, nil
	}
	if data[0] != producersVersion {
		return nil, mq.Errorf(mq.UnsupportedVersion, "producer state of version %d, only %d is known", data[0], producersVersion)
	}
	if len(data) < 6 {
		return nil, mq.Errorf(mq.Corrupt, "producer state of %d bytes", len(data))
	}
	body, sum := data[:len(data)-4], binary.BigEndian.Uint32(data[len(data)-4:])
	if got := crc32.Checksum(body, crc32.MakeTable(crc32.Castagnoli)); got != sum {
		return nil, mq.Errorf(mq.Corrupt, "producer state: CRC32C is %08x, it says %08x", got, sum)
	}
	d := varints{data: body[1:]}
	count := d.upTo(uint64(len(body) / minProducerBytes))
	var previous mq.ProducerID
	for i := range count {
		p := d.producer(previous, i == 0)
		if d.failed {
			break
		}
		previous = p.id
		ps.byID[p.id] = p
	}
	if d.failed || len(d.data) != 0 {
		return nil, mq.Errorf(mq.Corrupt, "producer state: nonsense at byte %d of %d", len(data)-4-len(d.data), len(data))
	}
	ps.relink()
	return ps, nil
}

// varints reads unsigned varints with bounds and remembers the first that did not fit.
type varints struct {
	data   []byte
	failed bool
}

// upTo is the next number, which must not be greater than limit.
func (d *varints) upTo(limit uint64) uint64 {
	v, n := binary.Uvarint(d.data)
	// An overlong form would give one state two encodings.
	if n <= 0 || v > limit || n > 1 && d.data[n-1] == 0 {
		d.failed = true
		return 0
	}
	d.data = d.data[n:]
	return v
}

func (d *varints) producer(previous mq.ProducerID, isFirst bool) *producer {
	delta := d.upTo(uint64(math.MaxInt64 - previous))
	if delta == 0 && !isFirst {
		d.failed = true
	}
	p := &producer{id: previous + mq.ProducerID(delta), lastUse: int64(d.upTo(math.MaxInt64))}
	e := seqEntry{epoch: mq.ProducerEpoch(d.upTo(math.MaxInt16)), first: int32(d.upTo(math.MaxInt32))}
	e.base = mq.Offset(d.upTo(math.MaxInt64))
	n := d.upTo(mq.MaxProducerWindow)
	if n == 0 {
		d.failed = true
	}
	for i := range n {
		if i > 0 {
			e.first, e.base = e.next(), e.last()+1
			e.base += mq.Offset(d.upTo(uint64(math.MaxInt64 - e.base)))
		}
		e.count = int32(d.upTo(mq.MaxRecordsPerBatch))
		if e.count == 0 || int64(e.base) > math.MaxInt64-int64(e.count) {
			d.failed = true
		}
		if d.failed {
			break
		}
		p.window.push(e)
	}
	return p
}
