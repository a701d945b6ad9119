package mq

import (
	"encoding/binary"
	"slices"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/s2"
	"github.com/klauspost/compress/zstd"
	"github.com/pierrec/lz4/v4"
)

// compressFunc appends src, compressed, to dst. It keeps neither.
type compressFunc func(dst, src []byte) ([]byte, error)

// newCompressor is nil for [CompressionNone]. Level 0 is the codec's default.
func newCompressor(c Compression, level int) (compressFunc, error) {
	highest, ok := map[Compression]int{
		CompressionNone: 0, CompressionGzip: 9, CompressionSnappy: 0, CompressionLZ4: 9, CompressionZstd: 22,
	}[c]
	if !ok {
		return nil, Errorf(UnsupportedCompression, "compression %d", uint8(c))
	}
	if level < 0 || level > highest {
		return nil, Errorf(InvalidConfig, "compression level %d: %s takes 0 (its default) to %d", level, c, highest)
	}
	switch c {
	case CompressionGzip:
		return gzipCompressor(level), nil
	case CompressionSnappy:
		return compressSnappy, nil
	case CompressionLZ4:
		return lz4Compressor(level), nil
	case CompressionZstd:
		return zstdCompressor(level), nil
	}
	return nil, nil
}

// byteSink is an io.Writer that appends.
type byteSink []byte

func (s *byteSink) Write(p []byte) (int, error) {
	*s = append(*s, p...)
	return len(p), nil
}

func gzipCompressor(level int) compressFunc {
	if level == 0 {
		level = gzip.DefaultCompression
	}
	var w *gzip.Writer
	sink := new(byteSink)
	return func(dst, src []byte) (_ []byte, err error) {
		*sink = dst
		if w == nil {
			if w, err = gzip.NewWriterLevel(sink, level); err != nil {
				return nil, err
			}
		} else {
			w.Reset(sink)
		}
		if _, err := w.Write(src); err != nil {
			return nil, err
		}
		if err := w.Close(); err != nil {
			return nil, err
		}
		dst, *sink = *sink, nil
		return dst, nil
	}
}

// compressSnappy writes one raw block, as librdkafka and franz-go do. The Java
// client and the others read it as well as the framing of snappy-java
// ("xerial").
func compressSnappy(dst, src []byte) ([]byte, error) {
	n := len(dst)
	worst := s2.MaxEncodedLen(len(src))
	dst = slices.Grow(dst, worst)
	return dst[:n+len(s2.EncodeSnappy(dst[n:n+worst], src))], nil
}

// The LZ4 frame format, as far as we write it: one frame of independent blocks
// of 64 KiB without checksums (the batch has one). Kafka's Java client reads
// independent blocks only, and writes the same header.
//
//	magic 184D2204 LE | FLG 60 | BD 40 | HC 82 |
//	{ size u32 LE, top bit set if stored | block } ... | 0 u32
const (
	lz4Header    = "\x04\x22\x4d\x18\x60\x40\x82"
	lz4BlockSize = 64 << 10
	lz4Stored    = 1 << 31
)

func lz4Compressor(level int) compressFunc {
	var block func(src, dst []byte) (int, error)
	return func(dst, src []byte) ([]byte, error) {
		if block == nil {
			block = lz4BlockCompressor(level)
		}
		dst = append(dst, lz4Header...)
		for len(src) > 0 {
			chunk := src[:min(len(src), lz4BlockSize)]
			src = src[len(chunk):]
			at := len(dst)
			// One byte less than the chunk: what is not smaller is stored.
			dst = slices.Grow(dst, 4+len(chunk))[:at+4+len(chunk)]
			n, err := block(chunk, dst[at+4:len(dst)-1])
			size := uint32(n)
			if err != nil || n == 0 {
				n = copy(dst[at+4:], chunk)
				size = uint32(n) | lz4Stored
			}
			binary.LittleEndian.PutUint32(dst[at:], size)
			dst = dst[:at+4+n]
		}
		return binary.LittleEndian.AppendUint32(dst, 0), nil
	}
}

func lz4BlockCompressor(level int) func(src, dst []byte) (int, error) {
	if level == 0 {
		return new(lz4.Compressor).CompressBlock
	}
	return (&lz4.CompressorHC{Level: lz4.CompressionLevel(1 << (8 + level))}).CompressBlock
}

// zstdWindowBytes bounds how far back the encoder looks, and so its memory.
const zstdWindowBytes = 1 << 20

func zstdCompressor(level int) compressFunc {
	options := []zstd.EOption{
		zstd.WithEncoderConcurrency(1),
		zstd.WithLowerEncoderMem(true),
		zstd.WithWindowSize(zstdWindowBytes),
		zstd.WithEncoderCRC(false), // the batch has one
	}
	if level != 0 {
		options = append(options, zstd.WithEncoderLevel(zstd.EncoderLevelFromZstd(level)))
	}
	var w *zstd.Encoder
	return func(dst, src []byte) (_ []byte, err error) {
		if w == nil {
			if w, err = zstd.NewWriter(nil, options...); err != nil {
				return nil, err
			}
		}
		return w.EncodeAll(src, dst), nil
	}
}
