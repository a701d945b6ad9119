package mq

import (
	"encoding/binary"
	"strings"

	"github.com/klauspost/compress/s2"
)

// The framing of snappy-java ("xerial"), which the Java client and others
// write:
//
//	82 'SNAPPY' 00 | version u32 | compatible with u32 | { size u32 | raw block } ...
//
// Concatenated streams repeat the header where a size would be.
const (
	xerialMagic      = "\x82SNAPPY\x00"
	xerialHeaderSize = len(xerialMagic) + 4 + 4
	xerialVersion    = 1
)

// maxSnappyRatio is more than a snappy block can expand: its densest element
// makes 64 bytes out of 3.
const maxSnappyRatio = 22

// decompressSnappy reads one raw block, or the blocks of xerial framing.
func (d *DecodeBuffer) decompressSnappy(src []byte) error {
	if !isXerial(src) {
		return d.snappyBlock(src, src)
	}
	for rest := src; len(rest) > 0; {
		if isXerial(rest) {
			if v := binary.BigEndian.Uint32(rest[len(xerialMagic)+4:]); v > xerialVersion {
				return damaged(CompressionSnappy, "xerial framing needs version %d", v)
			}
			rest = rest[xerialHeaderSize:]
			continue
		}
		if len(rest) < 4 {
			return damaged(CompressionSnappy, "%d bytes behind the last block", len(rest))
		}
		size := binary.BigEndian.Uint32(rest)
		rest = rest[4:]
		if uint64(size) > uint64(len(rest)) {
			return damaged(CompressionSnappy, "block of %d bytes with %d left", size, len(rest))
		}
		if err := d.snappyBlock(rest[:size], src); err != nil {
			return err
		}
		rest = rest[size:]
	}
	return nil
}

func isXerial(b []byte) bool {
	return len(b) >= xerialHeaderSize && strings.HasPrefix(string(b[:len(xerialMagic)]), xerialMagic)
}

// snappyBlock decompresses one raw block of src behind data.
func (d *DecodeBuffer) snappyBlock(block, src []byte) error {
	size, err := s2.DecodedLen(block)
	switch {
	case err != nil:
		return damaged(CompressionSnappy, "%w", err)
	case size > d.limit()-len(d.data):
		return d.bomb(CompressionSnappy, src)
	case size > maxSnappyRatio*len(block):
		return damaged(CompressionSnappy, "block of %d bytes claims to make %d", len(block), size)
	}
	d.reserve(size)
	at := len(d.data)
	out, err := s2.Decode(d.data[at:at+size:at+size], block)
	if err != nil {
		return damaged(CompressionSnappy, "%w", err)
	}
	d.data = d.data[:at+len(out)]
	return nil
}
