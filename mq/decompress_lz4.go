package mq

import (
	"encoding/binary"

	"github.com/pierrec/lz4/v4"
)

// The LZ4 frame format:
//
//	magic 184D2204 LE | FLG | BD | content size u64 LE if FLG.3 | dictionary id
//	u32 if FLG.0 | HC | { size u32 LE, top bit set if stored | block |
//	checksum u32 if FLG.4 } ... | 0 u32 | content checksum u32 if FLG.2
//
// Read here block by block into place, so that what is allocated follows what
// is there. The frame's checksums (xxHash) are skipped: the batch's CRC covers
// the same bytes.
const (
	lz4Magic = 0x184d2204

	lz4FlagVersion         = 0xc0
	lz4FlagVersion1        = 0x40
	lz4FlagIndependent     = 0x20
	lz4FlagBlockChecksum   = 0x10
	lz4FlagContentSize     = 0x08
	lz4FlagContentChecksum = 0x04
	lz4FlagReserved        = 0x02
	lz4FlagDictionary      = 0x01

	lz4HistorySize = 64 << 10

	// maxLZ4Ratio is more than an LZ4 block can expand: each byte of a
	// match's length stands for 255.
	maxLZ4Ratio = 256
)

type lz4Frame struct {
	flags       byte
	blockMax    int   // bytes of the largest block, decompressed
	contentSize int64 // -1 if not given
	blocks      []byte
}

// decompressLZ4 reads exactly one frame into data.
func (d *DecodeBuffer) decompressLZ4(src []byte) error {
	f, err := parseLZ4Header(src)
	if err != nil {
		return err
	}
	if f.contentSize > int64(d.limit()) {
		return d.bomb(CompressionLZ4, src)
	}
	rest := f.blocks
	for {
		if len(rest) < 4 {
			return damaged(CompressionLZ4, "the end mark is missing")
		}
		size := binary.LittleEndian.Uint32(rest)
		rest = rest[4:]
		if size == 0 {
			return f.checkEnd(rest, len(d.data))
		}
		stored := size&lz4Stored != 0
		size &^= lz4Stored
		if int64(size) > int64(f.blockMax) || int64(size) > int64(len(rest)) {
			return damaged(CompressionLZ4, "block of %d bytes with %d left and %d allowed", size, len(rest), f.blockMax)
		}
		if err := d.lz4Block(f, rest[:size], stored, src); err != nil {
			return err
		}
		rest = rest[size:]
		if f.flags&lz4FlagBlockChecksum != 0 {
			if len(rest) < 4 {
				return damaged(CompressionLZ4, "a block's checksum is missing")
			}
			rest = rest[4:]
		}
	}
}

func parseLZ4Header(src []byte) (f lz4Frame, err error) {
	if len(src) < 7 || binary.LittleEndian.Uint32(src) != lz4Magic {
		return f, damaged(CompressionLZ4, "not an LZ4 frame")
	}
	f = lz4Frame{flags: src[4], contentSize: -1, blocks: src[6:]}
	switch {
	case f.flags&lz4FlagVersion != lz4FlagVersion1 || f.flags&lz4FlagReserved != 0:
		return f, damaged(CompressionLZ4, "frame flags %#02x", f.flags)
	case f.flags&lz4FlagDictionary != 0:
		return f, damaged(CompressionLZ4, "the frame needs a dictionary")
	}
	// 4 to 7 stand for 64 KiB, 256 KiB, 1 MiB, 4 MiB.
	sizeID := src[5] >> 4 & 7
	if sizeID < 4 || src[5]&0x8f != 0 {
		return f, damaged(CompressionLZ4, "frame descriptor %#02x", src[5])
	}
	f.blockMax = 1 << (8 + 2*sizeID)
	if f.flags&lz4FlagContentSize != 0 {
		if len(f.blocks) < 8 {
			return f, damaged(CompressionLZ4, "the content size is missing")
		}
		size := binary.LittleEndian.Uint64(f.blocks)
		if size > 1<<62 {
			return f, damaged(CompressionLZ4, "content size %d", size)
		}
		f.contentSize = int64(size)
		f.blocks = f.blocks[8:]
	}
	if len(f.blocks) < 1 {
		return f, damaged(CompressionLZ4, "the header's checksum is missing")
	}
	f.blocks = f.blocks[1:]
	return f, nil
}

// lz4Block decompresses one block of src behind data.
func (d *DecodeBuffer) lz4Block(f lz4Frame, block []byte, stored bool, src []byte) error {
	left := d.limit() - len(d.data)
	if stored {
		if len(block) > left {
			return d.bomb(CompressionLZ4, src)
		}
		d.reserve(len(block))
		d.data = append(d.data, block...)
		return nil
	}
	most := min(f.blockMax, maxLZ4Ratio*len(block))
	room := min(most, left)
	d.reserve(room)
	at := len(d.data)
	var history []byte
	if f.flags&lz4FlagIndependent == 0 {
		history = d.data[max(0, at-lz4HistorySize):]
	}
	n, err := lz4.UncompressBlockWithDict(block, d.data[at:at+room], history)
	switch {
	case err != nil && room < most: // the decoder does not say which it was
		return d.bomb(CompressionLZ4, src)
	case err != nil:
		return damaged(CompressionLZ4, "%w", err)
	}
	d.data = d.data[:at+n]
	return nil
}

// checkEnd looks at what follows the end mark.
func (f lz4Frame) checkEnd(rest []byte, decoded int) error {
	trailer := 0
	if f.flags&lz4FlagContentChecksum != 0 {
		trailer = 4
	}
	switch {
	case len(rest) != trailer:
		return damaged(CompressionLZ4, "%d bytes behind the end mark, want %d", len(rest), trailer)
	case f.contentSize >= 0 && f.contentSize != int64(decoded):
		return damaged(CompressionLZ4, "content of %d bytes, the frame says %d", decoded, f.contentSize)
	}
	return nil
}
