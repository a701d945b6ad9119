package wal

import (
	"bytes"
	"encoding/binary"
	"hash/crc32"
)

// A frame, little-endian, at a position that is a multiple of 8:
//
//	 0  u32       CRC32C of bytes 4..63, seeded with salt, segment and position
//	 4  u32       CRC32C of the payload, with the same seed
//	 8  u32       length of the payload
//	12  u8        type
//	13  u8        flags: 1 copied forward, 2 nothing is left of the stream; the others are reserved
//	14  u16       0x5257, so that most bytes that are no header are seen to be none
//	16  [20]byte  stream; zero in the log's own frames
//	36  u32       number of the entry in its stream, from 1; 0 for copies
//	40  u64       first offset
//	48  u32       end offset - first offset
//	52  u32       promised: all of the segment below this position was synced before this frame was written
//	56  u32       tag of the frame before this one: CRC32C of its stream, 0 for the log's own
//	60  u32       size of the frame before this one, padding included; 0 at the first
//	64  payload, then zeros up to a multiple of 8
const (
	headerSize = 64
	frameAlign = 8
	frameMark  = 0x5257
	markAt     = 14 // in a header

	flagCopy  = 1 << 0
	flagEmpty = 1 << 1 // of a truncation
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// header is a frame's header, decoded.
type header struct {
	payloadCRC uint32
	length     uint32
	kind       EntryType
	flags      uint8
	stream     StreamID
	seq        uint32
	first      uint64
	count      uint32
	promised   uint32
	prevTag    uint32
	prevSize   uint32
}

func (h *header) end() uint64 { return h.first + uint64(h.count) }

// size is what the frame takes in the file, in bytes.
func (h *header) size() int64 { return frameSize(int64(h.length)) }

func (h *header) copied() bool { return h.flags&flagCopy != 0 }

// supported says whether this version knows what the frame says. A frame that
// is whole and not supported was written by a newer version.
func (h *header) supported() bool { return h.kind.known() && h.flags&^(flagCopy|flagEmpty) == 0 }

// frameSize is what a payload of n bytes takes in the file as a frame.
func frameSize(n int64) int64 { return headerSize + roundUp(n, frameAlign) }

// segmentSeed is what the checksums of a segment's frames start from. The salt
// is random: without it a record could be made that holds what looks like a
// frame, and a search for the next frame behind a damaged one would find it.
func segmentSeed(salt, segment uint64) uint32 {
	var b [16]byte
	binary.LittleEndian.PutUint64(b[:], salt)
	binary.LittleEndian.PutUint64(b[8:], segment)
	return crc32.Checksum(b[:], castagnoli)
}

// positionSeed differs for every position of a segment, so that a header that
// is found somewhere else is none.
func positionSeed(seed uint32, pos int64) uint32 { return seed ^ uint32(pos) }

func payloadCRC(seed uint32, pos int64, payload []byte) uint32 {
	return crc32.Update(positionSeed(seed, pos), castagnoli, payload)
}

func streamTag(id StreamID) uint32 {
	return max(1, crc32.Checksum(id[:], castagnoli))
}

// encode writes the header into b, which is headerSize bytes.
func (h *header) encode(b []byte, seed uint32, pos int64) {
	_ = b[headerSize-1]
	le := binary.LittleEndian
	le.PutUint32(b[4:], h.payloadCRC)
	le.PutUint32(b[8:], h.length)
	b[12], b[13] = byte(h.kind), h.flags
	le.PutUint16(b[markAt:], frameMark)
	copy(b[16:36], h.stream[:])
	le.PutUint32(b[36:], h.seq)
	le.PutUint64(b[40:], h.first)
	le.PutUint32(b[48:], h.count)
	le.PutUint32(b[52:], h.promised)
	le.PutUint32(b[56:], h.prevTag)
	le.PutUint32(b[60:], h.prevSize)
	le.PutUint32(b, crc32.Update(positionSeed(seed, pos), castagnoli, b[4:headerSize]))
}

// decode reads the header at pos of a segment. It is false when b holds none
// that was written there: what it says can be trusted, its length too.
func (h *header) decode(b []byte, seed uint32, pos int64) bool {
	le := binary.LittleEndian
	if len(b) < headerSize || le.Uint16(b[markAt:]) != frameMark {
		return false
	}
	if le.Uint32(b) != crc32.Update(positionSeed(seed, pos), castagnoli, b[4:headerSize]) {
		return false
	}
	h.payloadCRC = le.Uint32(b[4:])
	h.length = le.Uint32(b[8:])
	h.kind, h.flags = EntryType(b[12]), b[13]
	copy(h.stream[:], b[16:36])
	h.seq = le.Uint32(b[36:])
	h.first = le.Uint64(b[40:])
	h.count = le.Uint32(b[48:])
	h.promised = le.Uint32(b[52:])
	h.prevTag = le.Uint32(b[56:])
	h.prevSize = le.Uint32(b[60:])
	return true
}

// findHeader looks in b, which begins at pos of a segment, for the next header
// and returns its index in b, or the index up to which there is none for sure
// and ok false. Positions are multiples of 8.
func findHeader(b []byte, seed uint32, pos int64) (i int, h header, ok bool) {
	for i+headerSize <= len(b) {
		marks := b[i+markAt : len(b)-headerSize+markAt+1]
		skip := bytes.IndexByte(marks, frameMark&0xFF)
		if skip < 0 {
			i += (len(marks)-1)&^(frameAlign-1) + frameAlign
			break
		}
		if i += (skip + frameAlign - 1) &^ (frameAlign - 1); skip%frameAlign != 0 {
			continue
		}
		if h.decode(b[i:], seed, pos+int64(i)) {
			return i, h, true
		}
		i += frameAlign
	}
	return i, h, false
}
