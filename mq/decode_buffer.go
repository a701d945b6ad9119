package mq

import (
	"bytes"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
)

// DecodeBuffer is memory that [Batch.Records] uses again, and the decoders'
// state: keep one per goroutine that reads records. The zero value is ready
// and bounds what one batch decompresses to by [MaxDecompressedBatchBytes].
// Not for concurrent use.
type DecodeBuffer struct {
	max     int
	data    []byte // decompressed records
	headers []Header

	src  bytes.Reader // what gzip reads
	gzip *gzip.Reader
	zstd *zstd.Decoder
}

// maxKeptDecodeBytes is the most memory a DecodeBuffer keeps from one batch to
// the next, so that one huge batch is not paid for ever after.
const maxKeptDecodeBytes = 8 << 20

// NewDecodeBuffer makes a buffer that refuses batches which decompress to more
// than max bytes, from 1 to [MaxDecompressedBatchBytes]; 0 stands for the
// latter.
func NewDecodeBuffer(max int) *DecodeBuffer { return &DecodeBuffer{max: max} }

// limit is the most bytes that a batch may decompress to.
func (d *DecodeBuffer) limit() int {
	if d.max <= 0 || d.max > MaxDecompressedBatchBytes {
		return MaxDecompressedBatchBytes
	}
	return d.max
}

// headersFor gives room for count headers until the next call. Count has been
// checked.
func (d *DecodeBuffer) headersFor(count int) []Header {
	if cap(d.headers) < count {
		d.headers = make([]Header, max(count, 8))
	}
	return d.headers[:count]
}

// decompress gives what src decompresses to; it is the buffer's.
func (d *DecodeBuffer) decompress(c Compression, src []byte) (data []byte, err error) {
	if cap(d.data) > maxKeptDecodeBytes {
		d.data = nil
	}
	d.data = d.data[:0]
	switch c {
	case CompressionGzip:
		err = d.decompressGzip(src)
	case CompressionSnappy:
		err = d.decompressSnappy(src)
	case CompressionLZ4:
		err = d.decompressLZ4(src)
	case CompressionZstd:
		err = d.decompressZstd(src)
	default:
		err = Errorf(UnsupportedCompression, "compression %d", uint8(c))
	}
	return d.data, err
}

// reserve makes room for n more bytes behind data. The caller has made sure
// that these stay within the limit, and so does the memory: it grows by
// doubling, but not beyond.
func (d *DecodeBuffer) reserve(n int) {
	need := len(d.data) + n
	if need <= cap(d.data) {
		return
	}
	room := max(need, min(2*cap(d.data), d.limit()))
	d.data = append(make([]byte, 0, room), d.data...)
}

// bomb is the error for records that are larger than the limit.
func (d *DecodeBuffer) bomb(c Compression, src []byte) error {
	return Errorf(RecordListTooLarge, "%d bytes of %s decompress to more than %d", len(src), c, d.limit())
}

// damaged is the error for what the codec does not take. The CRC was right, so
// it is the producer who wrote it so.
func damaged(c Compression, format string, args ...any) error {
	return Errorf(InvalidRecord, "decompress %s: %w", c, Errorf(InvalidRecord, format, args...))
}
