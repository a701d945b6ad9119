package mq

import (
	"encoding/binary"
	"slices"
)

// BatchBuilder gathers records into a batch. It is meant to be kept and used
// again: after the first few batches it allocates nothing. Not for concurrent
// use.
type BatchBuilder struct {
	compression Compression
	compress    compressFunc

	// buf is the batch so far: room for the header, then the records, not
	// compressed. It is nil before the first record.
	buf           []byte
	sizeHint      int // what buf is made with
	count         int32
	baseTimestamp int64
	maxTimestamp  int64
}

// minBuilderBytes is what a builder's memory starts with: a few small records.
const minBuilderBytes = 1 << 10

// NewBatchBuilder makes a builder. level is the codec's own (gzip 1-9, lz4
// 1-9, zstd 1-22) and 0 its default; another one is an error (code
// [InvalidConfig]), and so is a codec that does not exist (code
// [UnsupportedCompression]). The codec's memory (from nothing for snappy to some
// MiB for zstd) is taken when the first batch is built.
func NewBatchBuilder(c Compression, level int) (*BatchBuilder, error) {
	compress, err := newCompressor(c, level)
	if err != nil {
		return nil, err
	}
	return &BatchBuilder{compression: c, compress: compress, sizeHint: minBuilderBytes}, nil
}

// Append adds a record at the end; it copies all of it. An error leaves the
// builder as it was: [MessageTooLarge] for a record that fits no batch,
// [RecordListTooLarge] for one that does not fit this one any more (build,
// then append again), [InvalidRecord] for more than [MaxHeadersPerRecord].
func (w *BatchBuilder) Append(rec Record) error {
	base := rec.Timestamp
	if w.count > 0 {
		base = w.baseTimestamp
	}
	return w.append(&rec, base, w.count, MaxBatchBytes)
}

// append adds a record whose timestamp is relative to base, at an offset delta, to a batch of at most so many bytes before it is compressed.
func (w *BatchBuilder) append(rec *Record, base int64, offsetDelta int32, limit int) error {
	delta := rec.Timestamp - base // wraps for absurd ones, and so does reading
	body := recordBodySize(rec, delta, offsetDelta)
	size := w.Size()
	grown := size + varintSize(int64(body)) + body
	if grown > limit || w.count == MaxRecordsPerBatch || len(rec.Headers) > MaxHeadersPerRecord {
		return w.refuse(rec, grown-size)
	}

	if grown > cap(w.buf) {
		w.grow(grown)
	}
	w.buf = w.buf[:grown]
	putRecord(w.buf[size:], rec, body, delta, offsetDelta)

	if w.count == 0 {
		w.baseTimestamp, w.maxTimestamp = base, rec.Timestamp
	}
	w.maxTimestamp = max(w.maxTimestamp, rec.Timestamp)
	w.count++
	return nil
}

// Len is the number of records appended.
func (w *BatchBuilder) Len() int { return int(w.count) }

// Size is the size in bytes of the batch if it were built now and not
// compressed; it never comes out larger.
func (w *BatchBuilder) Size() int { return max(len(w.buf), BatchHeaderSize) }

// SizeWith is what [BatchBuilder.Size] would be after appending rec.
func (w *BatchBuilder) SizeWith(rec Record) int {
	delta := rec.Timestamp - w.baseTimestamp
	if w.count == 0 {
		delta = 0
	}
	body := recordBodySize(&rec, delta, w.count)
	return w.Size() + varintSize(int64(body)) + body
}

// Build makes the batch of the records appended and leaves the builder empty.
// The batch belongs to the caller. dst, whose content does not matter and
// which may be nil, belongs to the builder from now on: its memory either
// became the batch or is what the builder appends to next, so a caller that
// gives the memory of batches it is done with makes it allocate nothing.
// Base offset is 0 and leader epoch [NoEpoch]: the leader's to stamp. A batch
// that compression does not make smaller is left uncompressed.
//
// For a producer that is not idempotent give [NoProducerID],
// [NoProducerEpoch] and [NoSequence]. An empty builder is an error (code
// [InvalidRequest]), and so is a codec that fails (code [Internal]; the
// records are still there).
func (w *BatchBuilder) Build(dst []byte, id ProducerID, epoch ProducerEpoch, baseSequence int32) (Batch, error) {
	if w.count == 0 {
		return nil, Errorf(InvalidRequest, "build a batch without records")
	}
	batch, spare, compression := Batch(w.buf), dst[:0], CompressionNone
	if w.compress != nil {
		out, err := w.compress(slices.Grow(dst[:0], BatchHeaderSize)[:BatchHeaderSize], w.buf[BatchHeaderSize:])
		if err != nil {
			return nil, Errorf(Internal, "compress %d bytes by %s: %w", len(w.buf), w.compression, err)
		}
		spare = out
		if len(out) < len(w.buf) {
			batch, spare, compression = out, w.buf, w.compression
		}
	}
	w.putHeader(batch, compression, id, epoch, baseSequence)
	w.sizeHint = max(minBuilderBytes, len(w.buf))
	w.buf = spare[:0]
	w.count = 0
	return batch, nil
}

// Reset drops what was appended and keeps the memory.
func (w *BatchBuilder) Reset() {
	w.buf = w.buf[:0]
	w.count = 0
}

// refuse says why a record cannot be appended.
func (w *BatchBuilder) refuse(rec *Record, size int) error {
	switch {
	case len(rec.Headers) > MaxHeadersPerRecord:
		return Errorf(InvalidRecord, "record with %d headers: at most %d are allowed", len(rec.Headers), MaxHeadersPerRecord)
	case size > MaxBatchBytes-BatchHeaderSize:
		return Errorf(MessageTooLarge, "record of %d bytes: at most %d fit a batch", size, MaxBatchBytes-BatchHeaderSize)
	}
	return Errorf(RecordListTooLarge, "batch of %d bytes and %d records has no room for %d bytes more", w.Size(), w.count, size)
}

// grow makes room for a batch of size bytes: at first as much as the last
// batch took, then by doubling.
func (w *BatchBuilder) grow(size int) {
	room := max(size, min(2*cap(w.buf), MaxBatchBytes))
	if len(w.buf) == 0 {
		room = max(size, w.sizeHint)
	}
	w.buf = append(make([]byte, 0, room), w.buf...)
}

func (w *BatchBuilder) putHeader(b Batch, c Compression, id ProducerID, epoch ProducerEpoch, sequence int32) {
	clear(b[:BatchHeaderSize])
	b.putInt32At(atBatchLength, int32(len(b)-beforeLength))
	b.SetLeaderEpoch(NoEpoch)
	b[atMagic] = batchMagic
	binary.BigEndian.PutUint16(b[atAttributes:], uint16(c))
	b.putInt32At(atLastOffsetDelta, w.count-1)
	binary.BigEndian.PutUint64(b[atBaseTimestamp:], uint64(w.baseTimestamp))
	binary.BigEndian.PutUint64(b[atMaxTimestamp:], uint64(w.maxTimestamp))
	binary.BigEndian.PutUint64(b[atProducerID:], uint64(id))
	binary.BigEndian.PutUint16(b[atProducerEpoch:], uint16(epoch))
	b.putInt32At(atBaseSequence, sequence)
	b.putInt32At(atRecordCount, w.count)
	b.putCRC()
}

// recordBodySize is what a record takes behind its length. It cannot overflow:
// what a caller has in memory has fewer than 2^62 bytes.
func recordBodySize(rec *Record, timestampDelta int64, offsetDelta int32) int {
	size := 1 + varintSize(timestampDelta) + varintSize(int64(offsetDelta)) +
		bytesSize(rec.Key) + bytesSize(rec.Value) + varintSize(int64(len(rec.Headers)))
	for i := range rec.Headers {
		h := &rec.Headers[i]
		size += varintSize(int64(len(h.Key))) + len(h.Key) + bytesSize(h.Value)
	}
	return size
}

func bytesSize(b []byte) int {
	if b == nil {
		return 1
	}
	return varintSize(int64(len(b))) + len(b)
}

// putRecord writes the record, whose body takes so many bytes, to the start of
// b and returns the number of bytes written.
func putRecord(b []byte, rec *Record, body int, timestampDelta int64, offsetDelta int32) int {
	n := putVarint(b, int64(body))
	b[n] = 0 // attributes
	n++
	n += putVarint(b[n:], timestampDelta)
	n += putVarint(b[n:], int64(offsetDelta))
	n += putBytes(b[n:], rec.Key)
	n += putBytes(b[n:], rec.Value)
	n += putVarint(b[n:], int64(len(rec.Headers)))
	for i := range rec.Headers {
		h := &rec.Headers[i]
		n += putVarint(b[n:], int64(len(h.Key)))
		n += copy(b[n:], h.Key)
		n += putBytes(b[n:], h.Value)
	}
	return n
}

func putBytes(b, v []byte) int {
	if v == nil {
		return putVarint(b, -1)
	}
	n := putVarint(b, int64(len(v)))
	return n + copy(b[n:], v)
}
