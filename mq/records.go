package mq

import (
	"encoding/binary"
	"errors"
	"io"
	"iter"
	"unsafe"
)

// DecodeBuffer is memory that [Batch.Records] uses again: keep one per
// goroutine that reads records. The zero value is ready and bounds what one
// batch decompresses to by [MaxDecompressedBatchBytes].
type DecodeBuffer struct {
	max     int
	codec   decompressor
	headers []Header
}

// NewDecodeBuffer makes a buffer that refuses batches that decompress to more
// than max bytes (at most [MaxDecompressedBatchBytes], which 0 stands for).
func NewDecodeBuffer(max int) *DecodeBuffer { return &DecodeBuffer{max: max} }

func (d *DecodeBuffer) limit() int {
	if d.max <= 0 || d.max > MaxDecompressedBatchBytes {
		return MaxDecompressedBatchBytes
	}
	return d.max
}

// Records iterates over the records, decompressing them first if need be. It
// ends with the first error, which comes with a zero Record: [InvalidRecord]
// for bytes that are not what the header or the lengths claim,
// [RecordListTooLarge] for more bytes or headers than the limits allow,
// [UnsupportedForMessageFormat] for record attributes. The CRC is not checked.
//
// Memory: keys, values and header keys alias the batch when it is not
// compressed, else buf; Headers is buf's. All of buf's lasts until its next
// use, and Headers only until the next record. With nil a buffer is made.
func (b Batch) Records(buf *DecodeBuffer) iter.Seq2[Record, error] {
	return func(yield func(Record, error) bool) {
		if buf == nil {
			buf = new(DecodeBuffer)
		}
		rest := []byte(b[BatchHeaderSize:])
		if c := b.Compression(); c != CompressionNone {
			var err error
			if rest, err = buf.codec.decompress(c, rest, buf.limit()); err != nil {
				yield(Record{}, err)
				return
			}
		}
		d := recordDecoder{batch: b, buf: buf, rest: rest}
		for i := range b.RecordCount() {
			rec, err := d.next(i)
			if !yield(rec, err) || err != nil {
				return
			}
		}
		if len(d.rest) > 0 {
			yield(Record{}, Errorf(InvalidRecord, "%s: %d bytes follow the last record", b, len(d.rest)))
		}
	}
}

// recordDecoder takes records off the front of rest.
type recordDecoder struct {
	batch Batch
	buf   *DecodeBuffer
	rest  []byte
}

func (d *recordDecoder) next(index int32) (Record, error) {
	r := fieldReader{b: d.rest}
	length := r.varint32()
	if r.err == nil && (length < 0 || int(length) > len(r.b)) {
		r.err = errLength
	}
	if r.err != nil {
		return Record{}, d.bad(index, r.err)
	}
	d.rest = r.b[length:]
	r.b = r.b[:length]
	return d.body(index, r)
}

func (d *recordDecoder) body(index int32, r fieldReader) (Record, error) {
	attributes := r.byte()
	timestampDelta := r.varint64()
	offsetDelta := r.varint32()
	rec := Record{Key: r.bytes(), Value: r.bytes()}
	headers := r.varint32()
	switch {
	case r.err != nil:
		return Record{}, d.bad(index, r.err)
	case attributes != 0:
		return Record{}, Errorf(UnsupportedForMessageFormat, "%s: record %d has attributes %#x, none are known", d.batch, index, attributes)
	case offsetDelta != index && !d.batch.sparse():
		return Record{}, d.bad(index, errOffset)
	case headers < 0 || int(headers) > len(r.b)/minHeaderBytes:
		return Record{}, d.bad(index, errLength)
	case headers > MaxHeadersPerRecord:
		return Record{}, Errorf(RecordListTooLarge, "%s: record %d has %d headers, at most %d are allowed", d.batch, index, headers, MaxHeadersPerRecord)
	}
	d.buf.headers = d.buf.headers[:0]
	for range headers {
		key := r.bytes()
		if key == nil && r.err == nil {
			r.err = errLength
		}
		d.buf.headers = append(d.buf.headers, Header{Key: aliasString(key), Value: r.bytes()})
		if r.err != nil {
			return Record{}, d.bad(index, r.err)
		}
	}
	if len(r.b) > 0 {
		return Record{}, d.bad(index, errLength)
	}
	if headers > 0 {
		rec.Headers = d.buf.headers
	}
	rec.Offset = d.batch.BaseOffset() + Offset(offsetDelta)
	rec.Timestamp = d.batch.BaseTimestamp() + timestampDelta
	if d.batch.TimestampType() == TimestampAppend {
		rec.Timestamp = d.batch.MaxTimestamp()
	}
	return rec, nil
}

func (d *recordDecoder) bad(index int32, cause error) error {
	return Errorf(InvalidRecord, "%s: record %d: %w", d.batch, index, cause)
}

// sparse tells a batch of a compacted topic, which has fewer records than offsets.
func (b Batch) sparse() bool { return b.RecordCount() != b.LastOffsetDelta()+1 }

var (
	errLength = errors.New("a length that cannot be")
	errVarint = errors.New("a varint that is too long")
	errOffset = errors.New("an offset out of order")
)

// fieldReader takes fields off the front of b; after an error all it gives is zero.
type fieldReader struct {
	b   []byte
	err error
}

func (r *fieldReader) byte() byte {
	if r.err == nil && len(r.b) == 0 {
		r.err = io.ErrUnexpectedEOF
	}
	if r.err != nil {
		return 0
	}
	v := r.b[0]
	r.b = r.b[1:]
	return v
}

func (r *fieldReader) varint64() int64 {
	if r.err != nil {
		return 0
	}
	v, n := binary.Varint(r.b)
	switch {
	case n == 0:
		r.err = io.ErrUnexpectedEOF
		return 0
	case n < 0:
		r.err = errVarint
		return 0
	}
	r.b = r.b[n:]
	return v
}

// varint32 takes a varint of at most 5 bytes that fits 32 bits.
func (r *fieldReader) varint32() int32 {
	before := len(r.b)
	v := r.varint64()
	if r.err == nil && (before-len(r.b) > binary.MaxVarintLen32 || v != int64(int32(v))) {
		r.err = errVarint
		return 0
	}
	return int32(v)
}

// bytes takes a length and so many bytes; nil for null.
func (r *fieldReader) bytes() []byte {
	n := r.varint32()
	switch {
	case r.err != nil || n == -1:
		return nil
	case n < 0 || int(n) > len(r.b):
		r.err = errLength
		return nil
	}
	v := r.b[:n:n]
	r.b = r.b[n:]
	return v
}

// aliasString makes a string of bytes that nobody changes while it is used.
func aliasString(b []byte) string { return unsafe.String(unsafe.SliceData(b), len(b)) }
