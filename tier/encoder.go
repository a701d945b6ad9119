package tier

import (
	"hash/crc32"
	"io"
	"math"

	"github.com/rustmq/rustmq/mq"
)

// ObjectInfo is what an [Encoder] is told about the object as a whole.
type ObjectInfo struct {
	ID      uint64
	Cluster mq.ClusterID
	Node    mq.NodeID
	Created int64 // milliseconds since 1970
}

// Encoder writes one object as a stream: for each range, in order of partition
// and offset, Begin, Append as often as wanted, End; then Close. It holds the
// footer and one section's index in memory, never batches. After an error the
// object is spoilt, and every call returns that error.
type Encoder struct {
	w        io.Writer
	position int64
	crc      uint32 // of all that is written, without the batches of the open range
	footer   Footer
	size     int64 // of the footer as far as it is known
	open     bool
	cur      section
	scratch  []byte
	err      error
}

// section is what there is to know about a range and its runs, as its batches
// come by.
type section struct {
	RangeInfo
	index    sectionIndex
	runBytes int64 // of the last run so far
}

func newSection(objectID uint64, p mq.PartitionID, first mq.Offset, epoch mq.Epoch, position int64, entries []indexEntry) section {
	return section{
		RangeInfo: RangeInfo{
			Partition: p, LeaderEpoch: epoch, First: first, End: first,
			MinTime: math.MaxInt64, MaxTime: math.MinInt64, Position: position,
		},
		index: sectionIndex{objectID: objectID, position: position, entries: entries[:0]},
	}
}

// NewEncoder begins an object on w, which gets a few large writes.
func NewEncoder(w io.Writer, info ObjectInfo) *Encoder {
	e := &Encoder{
		w:      w,
		footer: Footer{ObjectID: info.ID, Cluster: info.Cluster, Node: info.Node, Created: info.Created},
		size:   footerFixed,
	}
	e.write(appendHeader(nil, info.ID))
	return e
}

// Size is how long the object would be if it were closed now, in bytes.
func (e *Encoder) Size() int64 {
	size := e.position + e.size + trailerSize
	if e.open {
		size += e.cur.index.size() + rangeFixed
	}
	return size
}

func (e *Encoder) write(p []byte) {
	e.put(p)
	e.crc = crc32.Update(e.crc, castagnoli, p)
}

// put writes batches, whose checksum is the section's.
func (e *Encoder) put(p []byte) {
	if e.err == nil {
		var n int
		n, e.err = e.w.Write(p)
		e.position += int64(n)
	}
}

func (e *Encoder) fail(err error) error {
	if e.err == nil {
		e.err = err
	}
	return e.err
}

// Begin starts the range of p that begins at first and is written by the leader
// of epoch. A refusal does not spoil the object.
func (e *Encoder) Begin(p mq.PartitionID, first mq.Offset, epoch mq.Epoch) error {
	next := newSection(e.footer.ObjectID, p, first, epoch, e.position, e.cur.index.entries)
	switch n := len(e.footer.Ranges); {
	case e.err != nil:
		return e.err
	case e.open:
		return e.fail(mq.Errorf(mq.Internal, "encode %s: the range before it is not ended", p))
	case p.Index < 0 || first < 0 || epoch < 0:
		return mq.Errorf(mq.Internal, "encode %s from %d in epoch %d: negative", p, first, epoch)
	case n > 0 && (e.footer.Ranges[n-1].compare(&next.RangeInfo) >= 0 || e.footer.Ranges[n-1].Partition == p && e.footer.Ranges[n-1].End > first):
		return mq.Errorf(mq.Internal, "encode %s from %d: not behind the range before it", p, first)
	}
	e.cur, e.open = next, true
	return nil
}

// Append writes whole batches that continue the range. Each is verified; one
// that is damaged or does not continue spoils the object.
func (e *Encoder) Append(batches []byte) error {
	if e.err != nil {
		return e.err
	}
	if !e.open {
		return e.fail(mq.Errorf(mq.Internal, "append to no range"))
	}
	for rest := batches; len(rest) > 0; {
		b, after, err := checkNext(rest, e.cur.End)
		if err != nil {
			return e.fail(mq.Wrapf(err, "encode %s", e.cur.Partition))
		}
		e.cur.note(b, b.Sum())
		rest = after
	}
	e.put(batches)
	return e.err
}

// checkNext takes one batch off b, verifies it, and sees that it begins at
// want.
func checkNext(b []byte, want mq.Offset) (batch mq.Batch, rest []byte, err error) {
	if batch, rest, err = mq.NextBatch(b); err != nil {
		return nil, nil, err
	}
	if batch.BaseOffset() != want {
		return nil, nil, corrupt("%s where offset %d should follow", batch, want)
	}
	return batch, rest, mq.VerifyCRC(batch)
}

// note adds a batch, of whose bytes crc is the CRC32C, to what is known about the range.
func (s *section) note(b mq.Batch, crc uint32) {
	if len(s.index.entries) == 0 || s.runBytes >= IndexInterval {
		s.index.entries = append(s.index.entries, indexEntry{offset: b.BaseOffset(), position: s.Bytes, maxTime: math.MinInt64})
		s.runBytes = 0
	}
	run := &s.index.entries[len(s.index.entries)-1]
	run.maxTime = max(run.maxTime, b.MaxTimestamp())
	run.crc = extend(run.crc, b, crc)
	s.runBytes += int64(len(b))

	s.Bytes += int64(len(b))
	s.End = b.NextOffset()
	s.MinTime = min(s.MinTime, b.BaseTimestamp())
	s.MaxTime = max(s.MaxTime, b.MaxTimestamp())
	s.Batches++
	s.Records += uint64(b.RecordCount())
}

// extend is the CRC32C of something with the checksum crc and b behind it, whose own is known.
func extend(crc uint32, b []byte, own uint32) uint32 {
	if len(b) < mq.CombineCRCFrom {
		return crc32.Update(crc, castagnoli, b)
	}
	return mq.CombineCRC(crc, own, int64(len(b)))
}

// seal completes range and index, when all batches came by.
func (s *section) seal() {
	s.IndexBytes = s.index.size()
	s.index.bytes, s.index.end = s.Bytes, s.End
	for i := range s.index.entries {
		_, size, _ := s.index.run(i)
		s.CRC = mq.CombineCRC(s.CRC, s.index.entries[i].crc, size)
	}
	s.index.crc = s.CRC
}

// End closes the range with the producer state and the epoch history at its
// end, both of which are kept until Close.
func (e *Encoder) End(state []byte, epochs []mq.EpochStart) (RangeInfo, error) {
	e.cur.State, e.cur.Epochs = state, epochs
	e.cur.seal()
	switch {
	case e.err != nil:
		return RangeInfo{}, e.err
	case !e.open || e.cur.Batches == 0:
		return RangeInfo{}, e.fail(mq.Errorf(mq.Internal, "end of a range without batches"))
	case len(state) > MaxStateBytes || len(epochs) > MaxEpochs || e.cur.IndexBytes > MaxIndexBytes || e.size+e.cur.RangeInfo.size() > MaxFooterBytes:
		return RangeInfo{}, e.fail(mq.Errorf(mq.InvalidRequest, "encode %s: %d bytes of state, %d epochs, an index of %d bytes: beyond the limits of an object",
			e.cur.Partition, len(state), len(epochs), e.cur.IndexBytes))
	}
	if err := mq.EpochHistory(epochs).Valid(); err != nil {
		return RangeInfo{}, e.fail(mq.Wrapf(err, "encode %s", e.cur.Partition))
	}
	e.crc = mq.CombineCRC(e.crc, e.cur.CRC, e.cur.Bytes)
	e.scratch = e.cur.index.appendTo(e.scratch[:0])
	e.write(e.scratch)
	e.open = false
	e.size += e.cur.RangeInfo.size()
	e.footer.Ranges = append(e.footer.Ranges, e.cur.RangeInfo)
	return e.cur.RangeInfo, e.err
}

// abandon takes back the range that is open, and any error, if the writer is
// rewound to the position that it returns.
func (e *Encoder) abandon() (position int64) {
	if e.open {
		e.position, e.open, e.err = e.cur.Position, false, nil
	}
	return e.position
}

// Sum is the CRC32C of all bytes of the object, once Close has returned.
func (e *Encoder) Sum() uint32 { return e.crc }

// Close writes the footer. The object is complete when it returns nil.
func (e *Encoder) Close() (*Footer, error) {
	if e.err == nil && (e.open || len(e.footer.Ranges) == 0) {
		e.err = mq.Errorf(mq.Internal, "close an object with an open range, or without any")
	}
	if e.err != nil {
		return nil, e.err
	}
	t := trailer{footerAt: e.position, footerBytes: e.size}
	buf := e.footer.appendTo(make([]byte, 0, e.size+trailerSize))
	t.footerCRC = checksum(buf)
	e.write(t.appendTo(buf))
	return &e.footer, e.err
}
