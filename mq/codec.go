package mq

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/s2"
	"github.com/klauspost/compress/zstd"
	"github.com/pierrec/lz4/v4"
)

// compressor compresses the records of one builder's batches. It is used again from batch to batch.
type compressor struct {
	codec Compression
	gzip  *gzip.Writer
	lz4   *lz4.Writer
	zstd  *zstd.Encoder
	out   bytes.Buffer
}

func newCompressor(codec Compression, level int) (*compressor, error) {
	c := &compressor{codec: codec}
	var err error
	switch codec {
	case CompressionNone:
	case CompressionSnappy:
		if level != 0 {
			return nil, Errorf(InvalidConfig, "compression level %d: snappy has none", level)
		}
	case CompressionGzip:
		if level == 0 {
			level = gzip.DefaultCompression
		}
		if level != gzip.DefaultCompression && (level < 1 || level > 9) {
			return nil, Errorf(InvalidConfig, "compression level %d: gzip has 1 to 9", level)
		}
		c.gzip, err = gzip.NewWriterLevel(&c.out, level)
	case CompressionLZ4:
		if level < 0 || level > 9 {
			return nil, Errorf(InvalidConfig, "compression level %d: lz4 has 1 to 9", level)
		}
		c.lz4 = lz4.NewWriter(&c.out)
		options := []lz4.Option{lz4.BlockSizeOption(lz4.Block64Kb)}
		if level > 0 {
			options = append(options, lz4.CompressionLevelOption(lz4.CompressionLevel(1<<(8+level))))
		}
		err = c.lz4.Apply(options...)
	case CompressionZstd:
		if level < 0 || level > 22 {
			return nil, Errorf(InvalidConfig, "compression level %d: zstd has 1 to 22", level)
		}
		speed := zstd.SpeedDefault
		if level > 0 {
			speed = zstd.EncoderLevelFromZstd(level)
		}
		c.zstd, err = zstd.NewWriter(nil, zstd.WithEncoderLevel(speed), zstd.WithEncoderConcurrency(1), zstd.WithWindowSize(1<<20))
	default:
		return nil, Errorf(UnsupportedCompression, "compression %d does not exist", codec)
	}
	if err != nil {
		return nil, Errorf(InvalidConfig, "set up %s: %w", codec, err)
	}
	return c, nil
}

// compress appends src, compressed, to dst.
func (c *compressor) compress(dst, src []byte) ([]byte, error) {
	switch c.codec {
	case CompressionSnappy:
		at := len(dst)
		dst = append(dst, make([]byte, s2.MaxEncodedLen(len(src)))...)
		return dst[:at+len(s2.EncodeSnappy(dst[at:], src))], nil
	case CompressionZstd:
		return c.zstd.EncodeAll(src, dst), nil
	case CompressionGzip:
		c.out.Reset()
		c.gzip.Reset(&c.out)
		if _, err := c.gzip.Write(src); err != nil {
			return dst, err
		}
		if err := c.gzip.Close(); err != nil {
			return dst, err
		}
	case CompressionLZ4:
		c.out.Reset()
		c.lz4.Reset(&c.out)
		if _, err := c.lz4.Write(src); err != nil {
			return dst, err
		}
		if err := c.lz4.Close(); err != nil {
			return dst, err
		}
	}
	return append(dst, c.out.Bytes()...), nil
}

// decompressor reads compressed records into memory that it uses again.
type decompressor struct {
	in   bytes.Reader
	gzip *gzip.Reader
	lz4  *lz4.Reader
	zstd *zstd.Decoder
	out  []byte
}

// errTooLarge says that the output passed the limit.
var errTooLarge = errors.New("decompresses to more than the limit")

// decompress gives src decompressed, at most limit bytes: it never allocates more
// than that and one block. The result is valid until the next call.
func (d *decompressor) decompress(codec Compression, src []byte, limit int) ([]byte, error) {
	var err error
	switch codec {
	case CompressionSnappy:
		d.out, err = d.snappy(src, limit)
	case CompressionGzip:
		d.in.Reset(src)
		if d.gzip == nil {
			d.gzip, err = gzip.NewReader(&d.in)
		} else {
			err = d.gzip.Reset(&d.in)
		}
		if err == nil {
			d.out, err = readBounded(d.out[:0], d.gzip, limit)
		}
	case CompressionLZ4:
		d.in.Reset(src)
		if d.lz4 == nil {
			d.lz4 = lz4.NewReader(&d.in)
		} else {
			d.lz4.Reset(&d.in)
		}
		d.out, err = readBounded(d.out[:0], d.lz4, limit)
	case CompressionZstd:
		d.in.Reset(src)
		if d.zstd == nil {
			d.zstd, err = zstd.NewReader(&d.in, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true), zstd.WithDecoderMaxWindow(zstdMaxWindow))
		} else {
			err = d.zstd.Reset(&d.in)
		}
		if err == nil {
			d.out, err = readBounded(d.out[:0], d.zstd, limit)
		}
	default:
		return nil, Errorf(UnsupportedCompression, "compression %d does not exist", codec)
	}
	switch {
	case errors.Is(err, errTooLarge):
		return nil, Errorf(RecordListTooLarge, "%s records: decompress to more than the limit of %d bytes", codec, limit)
	case err != nil:
		return nil, Errorf(InvalidRecord, "%s records: %w", codec, err)
	}
	return d.out, nil
}

// zstdMaxWindow is the largest window that is decoded, bytes: what the format
// asks every decoder to support, and as much memory as one batch may ask for.
const zstdMaxWindow = 8 << 20

// readBounded appends what r has to dst, growing with what is really there.
func readBounded(dst []byte, r io.Reader, limit int) ([]byte, error) {
	const first = 4 << 10
	for {
		if len(dst) == cap(dst) {
			grown := min(max(2*cap(dst), first), limit+1)
			if grown <= len(dst) {
				return dst, errTooLarge
			}
			dst = append(make([]byte, 0, grown), dst...)
		}
		n, err := r.Read(dst[len(dst):cap(dst)])
		dst = dst[:len(dst)+n]
		if len(dst) > limit {
			return dst, errTooLarge
		}
		if errors.Is(err, io.EOF) {
			return dst, nil
		}
		if err != nil {
			return dst, err
		}
	}
}

// xerialHeader begins the framing of Java's snappy library: magic, version and
// lowest compatible version, then blocks of a length (i32) and raw snappy.
var xerialHeader = []byte{0x82, 'S', 'N', 'A', 'P', 'P', 'Y', 0}

const xerialHeaderSize = 16

func (d *decompressor) snappy(src []byte, limit int) ([]byte, error) {
	if !bytes.HasPrefix(src, xerialHeader) {
		return snappyBlock(d.out[:0], src, limit)
	}
	if len(src) < xerialHeaderSize {
		return nil, io.ErrUnexpectedEOF
	}
	out := d.out[:0]
	for src = src[xerialHeaderSize:]; len(src) > 0; {
		if len(src) < 4 {
			return nil, io.ErrUnexpectedEOF
		}
		n := binary.BigEndian.Uint32(src)
		src = src[4:]
		if uint64(n) > uint64(len(src)) {
			return nil, io.ErrUnexpectedEOF
		}
		var err error
		if out, err = snappyBlock(out, src[:n], limit); err != nil {
			return nil, err
		}
		src = src[n:]
	}
	return out, nil
}

// maxSnappyRatio bounds what snappy can make of a byte: a copy of 64 bytes takes 3.
const maxSnappyRatio = 64

// snappyBlock appends one raw block, decompressed, to dst.
func snappyBlock(dst, src []byte, limit int) ([]byte, error) {
	n, err := s2.DecodedLen(src)
	if err != nil {
		return nil, err
	}
	if n > limit-len(dst) {
		return nil, errTooLarge
	}
	if n > maxSnappyRatio*len(src) {
		return nil, errors.New("claims to be longer than it can be")
	}
	at := len(dst)
	if cap(dst)-at < n {
		dst = append(make([]byte, 0, at+n), dst...)
	}
	if _, err := s2.Decode(dst[at:at+n], src); err != nil {
		return nil, err
	}
	return dst[:at+n], nil
}
