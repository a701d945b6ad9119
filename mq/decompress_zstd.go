package mq

import (
	"errors"

	"github.com/klauspost/compress/zstd"
)

const (
	// maxZstdBlock is the most bytes that one zstd block decompresses to.
	maxZstdBlock = 128 << 10

	// minZstdBlock is the fewest bytes of a block that decompresses to any:
	// its header and one byte to repeat.
	minZstdBlock = 4

	// zstdWindow is the window that a decoder has to support at least, so says
	// the format; the encoder that streams a few bytes says it too.
	zstdWindow = 8 << 20

	// zstdSlack is room behind the limit: the decoder notices that a limit is
	// passed only when it has written the block that passes it, and that must
	// not make it allocate. (The rest is room that its fast path asks for.)
	zstdSlack = maxZstdBlock + 1<<10

	// zstdGrowth is how much more room a second attempt gets.
	zstdGrowth = 4
)

// decompressZstd reads one or more frames into data. The decoder is only ever
// given as much room as it may use: where a frame does not say its size, which
// is common, decoding is tried with more and more of it. A frame that lies
// about its size is found out before anything is allocated for it. (With a
// limit below zstdWindow the decoder may for a moment take a quarter more than
// that before it notices.)
func (d *DecodeBuffer) decompressZstd(src []byte) (err error) {
	if d.zstd == nil {
		d.zstd, err = zstd.NewReader(nil,
			zstd.WithDecoderConcurrency(1),
			zstd.WithDecoderLowmem(true),
			zstd.WithDecoderMaxMemory(uint64(max(d.limit(), zstdWindow))), // bounds the window too
			zstd.WithDecodeAllCapLimit(true))
		if err != nil {
			return Errorf(Internal, "make a zstd decoder: %w", err)
		}
	}
	var first zstd.Header
	if err := first.Decode(src); err != nil {
		return damaged(CompressionZstd, "%w", err)
	}
	room := zstdGrowth * len(src)
	if first.HasFCS {
		switch size := first.FrameContentSize; {
		case size > uint64(len(src))/minZstdBlock*maxZstdBlock:
			return damaged(CompressionZstd, "%d bytes claim to make %d", len(src), size)
		case size > uint64(d.limit()):
			return d.bomb(CompressionZstd, src)
		default:
			room = int(size)
		}
	}
	for {
		room = min(room, d.limit())
		if room > d.limit()/zstdGrowth && !first.HasFCS {
			// Passing a bound in the middle would grow the memory beyond the limit.
			room = d.limit()
		}
		d.data = d.data[:0]
		d.reserveZstd(room)
		out, err := d.zstd.DecodeAll(src, d.data)
		// The decoder says it in several ways when it wants more room.
		full := errors.Is(err, zstd.ErrDecoderSizeExceeded) || len(out) > cap(d.data)-maxZstdBlock
		switch {
		case err == nil && len(out) > d.limit():
			return d.bomb(CompressionZstd, src)
		case err == nil:
			d.data = out
			return nil
		case !full:
			return damaged(CompressionZstd, "%w", err)
		case cap(d.data) >= d.limit()+zstdSlack:
			return d.bomb(CompressionZstd, src)
		}
		room = zstdGrowth * cap(d.data)
	}
}

func (d *DecodeBuffer) reserveZstd(n int) {
	if n+zstdSlack > cap(d.data) {
		d.data = make([]byte, 0, n+zstdSlack)
	}
}
