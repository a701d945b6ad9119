package mq

import (
	"encoding/binary"
	"math/bits"
)

// BatchBuilder gathers records into a batch. It is meant to be kept and used
// again: after the first few batches it allocates nothing. Not for concurrent
// use.
type BatchBuilder struct {
	codec *compressor
	buf   []byte // room for the header, then the records
	count int32
	base  int64 // timestamp of the first record
	max   int64 // highest timestamp
}

// NewBatchBuilder makes a builder. level is the codec's own (gzip 1-9, lz4
// 1-9, zstd 1-22), 0 its default; another one is an error (code
// [InvalidConfig]), and so is a codec that does not exist (code
// [UnsupportedCompression]).
func NewBatchBuilder(c Compression, level int) (*BatchBuilder, error) {
	codec, err := newCompressor(c, level)
	if err != nil {
		return nil, err
	}
	w := &BatchBuilder{codec: codec}
	w.Reset()
	return w, nil
}

// Append adds a record at the end; it copies all of it. The error leaves the
// builder as it was: [MessageTooLarge] for a record that fits no batch at all, [RecordListTooLarge]
// for one that does not fit this one any more, [InvalidRecord] for too many headers.
func (w *BatchBuilder) Append(rec Record) error {
	if len(rec.Headers) > MaxHeadersPerRecord {
		return Errorf(InvalidRecord, "a record with %d headers: at most %d", len(rec.Headers), MaxHeadersPerRecord)
	}
	base := w.base
	if w.count == 0 {
		base = rec.Timestamp
	}
	body := bodySize(rec, rec.Timestamp-base, w.count)
	size := varintSize(int64(body)) + body
	if BatchHeaderSize+size > MaxBatchBytes {
		return Errorf(MessageTooLarge, "a record of %d bytes: a batch has at most %d", size, MaxBatchBytes)
	}
	if len(w.buf)+size > MaxBatchBytes || w.count >= MaxRecordsPerBatch {
		return Errorf(RecordListTooLarge, "a batch of %d records and %d bytes has no room for a record of %d bytes", w.count, len(w.buf), size)
	}
	if w.count == 0 {
		w.base, w.max = rec.Timestamp, rec.Timestamp
	}
	w.max = max(w.max, rec.Timestamp)
	w.buf = appendRecord(w.buf, rec, body, rec.Timestamp-base, w.count)
	w.count++
	return nil
}

// Len is the number of records appended.
func (w *BatchBuilder) Len() int { return int(w.count) }

// Size is the size in bytes of the batch if it were built now and not compressed: it
// never comes out larger.
func (w *BatchBuilder) Size() int { return len(w.buf) }

// SizeWith is what [BatchBuilder.Size] would be after appending rec.
func (w *BatchBuilder) SizeWith(rec Record) int {
	base := w.base
	if w.count == 0 {
		base = rec.Timestamp
	}
	body := bodySize(rec, rec.Timestamp-base, w.count)
	return len(w.buf) + varintSize(int64(body)) + body
}

// Build makes the batch of the records appended and leaves the builder empty.
// The batch belongs to the caller. dst belongs to the builder from now on: its
// memory either became the batch or is what the builder appends to next, so a
// caller that gives the memory of batches it is done with allocates nothing.
// Base offset is 0 and leader epoch [NoEpoch]: the leader's to stamp. A batch
// that does not become smaller by compression is left uncompressed.
//
// For a producer that is not idempotent give [NoProducerID],
// [NoProducerEpoch], [NoSequence]. The error's code is [InvalidRequest] for an
// empty builder.
func (w *BatchBuilder) Build(dst []byte, id ProducerID, epoch ProducerEpoch, baseSequence int32) (Batch, error) {
	if w.count == 0 {
		return nil, Errorf(InvalidRequest, "a batch without records")
	}
	b, codec, err := w.pack(dst[:0])
	if err != nil {
		return nil, err
	}
	clear(b[:BatchHeaderSize])
	binary.BigEndian.PutUint32(b[atBatchLength:], uint32(len(b)-beforeLength))
	b.SetLeaderEpoch(NoEpoch)
	b[atMagic] = batchMagic
	binary.BigEndian.PutUint16(b[atAttributes:], uint16(codec))
	b.putInt32At(atLastOffsetDelta, w.count-1)
	binary.BigEndian.PutUint64(b[atBaseTimestamp:], uint64(w.base))
	binary.BigEndian.PutUint64(b[atMaxTimestamp:], uint64(w.max))
	binary.BigEndian.PutUint64(b[atProducerID:], uint64(id))
	binary.BigEndian.PutUint16(b[atProducerEpoch:], uint16(epoch))
	b.putInt32At(atBaseSequence, baseSequence)
	b.putInt32At(atRecordCount, w.count)
	b.putCRC()
	w.Reset()
	return b, nil
}

// pack compresses into dst if that makes the batch smaller, and else exchanges dst for the records as they are.
func (w *BatchBuilder) pack(dst []byte) (Batch, Compression, error) {
	if w.codec.codec != CompressionNone {
		packed, err := w.codec.compress(append(dst, w.buf[:BatchHeaderSize]...), w.buf[BatchHeaderSize:])
		if err != nil {
			return nil, 0, Errorf(Internal, "compress a batch with %s: %w", w.codec.codec, err)
		}
		if len(packed) < len(w.buf) {
			return packed, w.codec.codec, nil
		}
		dst = packed
	}
	b := Batch(w.buf)
	w.buf = dst
	return b, CompressionNone, nil
}

// Reset drops what was appended.
func (w *BatchBuilder) Reset() {
	if cap(w.buf) < BatchHeaderSize {
		w.buf = make([]byte, BatchHeaderSize, 4<<10)
	}
	w.buf = w.buf[:BatchHeaderSize]
	w.count, w.base, w.max = 0, 0, 0
}

// bodySize is the size of a record without its leading length.
func bodySize(rec Record, timestampDelta int64, offsetDelta int32) int {
	n := 1 + varintSize(timestampDelta) + varintSize(int64(offsetDelta)) +
		bytesSize(rec.Key) + bytesSize(rec.Value) + varintSize(int64(len(rec.Headers)))
	for i := range rec.Headers {
		h := &rec.Headers[i]
		n += varintSize(int64(len(h.Key))) + len(h.Key) + bytesSize(h.Value)
	}
	return n
}

func appendRecord(dst []byte, rec Record, body int, timestampDelta int64, offsetDelta int32) []byte {
	dst = binary.AppendVarint(dst, int64(body))
	dst = append(dst, 0)
	dst = binary.AppendVarint(dst, timestampDelta)
	dst = binary.AppendVarint(dst, int64(offsetDelta))
	dst = appendBytes(dst, rec.Key)
	dst = appendBytes(dst, rec.Value)
	dst = binary.AppendVarint(dst, int64(len(rec.Headers)))
	for i := range rec.Headers {
		h := &rec.Headers[i]
		dst = binary.AppendVarint(dst, int64(len(h.Key)))
		dst = append(dst, h.Key...)
		dst = appendBytes(dst, h.Value)
	}
	return dst
}

func bytesSize(b []byte) int {
	if b == nil {
		return 1
	}
	return varintSize(int64(len(b))) + len(b)
}

func appendBytes(dst, b []byte) []byte {
	if b == nil {
		return binary.AppendVarint(dst, -1)
	}
	dst = binary.AppendVarint(dst, int64(len(b)))
	return append(dst, b...)
}

// varintSize is the length of v as a zigzag varint.
func varintSize(v int64) int {
	u := uint64(v<<1) ^ uint64(v>>63)
	return (bits.Len64(u|1) + 6) / 7
}
