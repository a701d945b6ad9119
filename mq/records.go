package mq

import (
	"iter"
	"unsafe"
)

// Records iterates over the records, decompressing them first if need be. It
// ends with the first error, which comes with a zero Record: [InvalidRecord]
// for bytes that are not what the header or the lengths claim,
// [RecordListTooLarge] for more bytes or headers than the limits allow,
// [UnsupportedForMessageFormat] for record attributes,
// [UnsupportedCompression]. The CRC is not checked: see [VerifyCRC].
//
// Memory: keys, values and header keys alias the batch when it is not
// compressed, else buf, and must not be changed; Headers is buf's. What is
// buf's lasts until buf is used again, and Headers only until the next record.
// Strings of header keys change with that memory too: clone what is kept. With
// nil a buffer is made for this one iteration.
func (b Batch) Records(buf *DecodeBuffer) iter.Seq2[Record, error] {
	return func(yield func(Record, error) bool) { b.eachRecord(buf, yield) }
}

func (b Batch) eachRecord(buf *DecodeBuffer, yield func(Record, error) bool) {
	if buf == nil {
		buf = new(DecodeBuffer)
	}
	r, err := newRecordReader(b, buf)
	if err != nil {
		yield(Record{}, err)
		return
	}
	var rec Record
	for range r.count {
		if err := r.next(&rec); err != nil {
			yield(Record{}, err)
			return
		}
		if !yield(rec, nil) {
			return
		}
	}
	if len(r.rest) != 0 {
		yield(Record{}, Errorf(InvalidRecord, "%d bytes after the last of %d records", len(r.rest), r.count))
	}
}

// recordReader takes records off a payload, believing no number in it.
type recordReader struct {
	buf        *DecodeBuffer
	rest       []byte
	count      int32
	index      int32 // of the next record
	lastDelta  int32 // offset delta of the record before, -1 at first
	maxDelta   int32
	baseOffset Offset
	baseTime   int64
	appendTime bool // all records have maxTime
	maxTime    int64
}

func newRecordReader(b Batch, buf *DecodeBuffer) (recordReader, error) {
	if len(b) < BatchHeaderSize {
		return recordReader{}, Errorf(CorruptMessage, "%d bytes are too few for a batch: its header has %d", len(b), BatchHeaderSize)
	}
	r := recordReader{
		buf:        buf,
		rest:       b[BatchHeaderSize:],
		count:      b.RecordCount(),
		lastDelta:  -1,
		maxDelta:   b.LastOffsetDelta(),
		baseOffset: b.BaseOffset(),
		baseTime:   b.BaseTimestamp(),
		appendTime: b.TimestampType() == TimestampAppend,
		maxTime:    b.MaxTimestamp(),
	}
	// A compacted batch may be empty, and then there is nothing to decompress.
	if c := b.Compression(); c != CompressionNone && (r.count != 0 || len(r.rest) != 0) {
		var err error
		if r.rest, err = buf.decompress(c, r.rest); err != nil {
			return recordReader{}, err
		}
	}
	if r.count < 0 || int64(r.count)*MinRecordBytes > int64(len(r.rest)) {
		return recordReader{}, Errorf(InvalidRecord, "%d records in %d bytes: the shortest takes %d", r.count, len(r.rest), MinRecordBytes)
	}
	return r, nil
}

// next takes the next record off into rec, all of whose fields it sets.
func (r *recordReader) next(rec *Record) error {
	length, n := varint32(r.rest)
	if n <= 0 || length < 0 || int(length) > len(r.rest)-n {
		return r.lengthError("record", length, n, len(r.rest)-max(n, 0))
	}
	if err := r.body(rec, r.rest[n:n+int(length)]); err != nil {
		return err
	}
	r.rest = r.rest[n+int(length):]
	r.index++
	return nil
}

// body reads what is behind a record's length: all of p.
func (r *recordReader) body(rec *Record, p []byte) (err error) {
	if len(p) == 0 {
		return r.errorf(InvalidRecord, "no bytes")
	}
	if p[0] != 0 {
		return r.errorf(UnsupportedForMessageFormat, "attributes %#02x: reserved bits are set", p[0])
	}
	p = p[1:]
	timeDelta, n := varint64(p)
	if n <= 0 {
		return r.varintError("timestamp delta", n)
	}
	p = p[n:]
	delta, n := varint32(p)
	if n <= 0 {
		return r.varintError("offset delta", n)
	}
	if delta <= r.lastDelta || delta > r.maxDelta {
		return r.errorf(InvalidRecord, "offset delta %d: want one above %d and at most %d", delta, r.lastDelta, r.maxDelta)
	}
	r.lastDelta = delta
	p = p[n:]

	rec.Offset = r.baseOffset + Offset(delta)
	rec.Timestamp = r.maxTime
	if !r.appendTime {
		rec.Timestamp = r.baseTime + timeDelta
	}
	rec.Headers = nil
	if rec.Key, p, err = r.bytes("key", p); err != nil {
		return err
	}
	if rec.Value, p, err = r.bytes("value", p); err != nil {
		return err
	}
	if len(p) == 1 && p[0] == 0 { // no headers: the common case
		return nil
	}
	if rec.Headers, p, err = r.headers(p); err != nil {
		return err
	}
	if len(p) != 0 {
		return r.errorf(InvalidRecord, "%d bytes behind its headers", len(p))
	}
	return nil
}

// headers reads the headers into the buffer's slice.
func (r *recordReader) headers(p []byte) ([]Header, []byte, error) {
	count, n := varint32(p)
	if n <= 0 || count < 0 || int64(count)*minHeaderBytes > int64(len(p)-n) {
		return nil, nil, r.lengthError("header count", count, n, len(p)-max(n, 0))
	}
	if count > MaxHeadersPerRecord {
		return nil, nil, r.errorf(RecordListTooLarge, "%d headers: at most %d are allowed", count, MaxHeadersPerRecord)
	}
	p = p[n:]
	if count == 0 {
		return nil, p, nil
	}
	headers := r.buf.headersFor(int(count))
	for i := range headers {
		key, rest, err := r.bytes("header key", p)
		if err != nil {
			return nil, nil, err
		}
		if key == nil {
			return nil, nil, r.errorf(InvalidRecord, "header %d: null key", i)
		}
		value, rest, err := r.bytes("header value", rest)
		if err != nil {
			return nil, nil, err
		}
		headers[i] = Header{Key: unsafe.String(unsafe.SliceData(key), len(key)), Value: value}
		p = rest
	}
	return headers, p, nil
}

// bytes takes off a length and so many bytes; -1 gives nil.
func (r *recordReader) bytes(what string, p []byte) (v, rest []byte, err error) {
	length, n := varint32(p)
	switch {
	case n > 0 && length >= 0 && int(length) <= len(p)-n:
		end := n + int(length)
		return p[n:end:end], p[end:], nil
	case n > 0 && length == -1:
		return nil, p[n:], nil
	}
	return nil, nil, r.lengthError(what, length, n, len(p)-max(n, 0))
}

// lengthError says what is wrong with a length that was read with result n
// and has so many bytes behind it.
func (r *recordReader) lengthError(what string, length int32, n, left int) error {
	if n <= 0 {
		return r.varintError(what, n)
	}
	return r.errorf(InvalidRecord, "%s: length %d with %d bytes left", what, length, left)
}

func (r *recordReader) varintError(what string, n int) error {
	if n == varintOverlong {
		return r.errorf(InvalidRecord, "%s: overlong varint", what)
	}
	return r.errorf(InvalidRecord, "%s: the bytes end within its varint", what)
}

func (r *recordReader) errorf(code Code, format string, args ...any) error {
	return Errorf(code, "record %d of %d at offset %d: %w", r.index, r.count, r.baseOffset, Errorf(code, format, args...))
}
