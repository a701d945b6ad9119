package mq

import "math/bits"

// Varints are zigzag encoded as in protobuf. One of 32 bits takes at most 5
// bytes and one of 64 bits at most 10; longer ones are refused, and so are
// bits beyond the width. Padded ones within those lengths are read, as Kafka
// reads them.
const (
	maxVarint32 = 5
	maxVarint64 = 10
)

func zigzag(v int64) uint64 { return uint64(v)<<1 ^ uint64(v>>63) }

func unzigzag(u uint64) int64 { return int64(u>>1) ^ -int64(u&1) }

// varintSize is the number of bytes of v.
func varintSize(v int64) int { return (bits.Len64(zigzag(v)|1) + 6) / 7 }

// putVarint writes v at the start of b, which must have room, and returns the
// number of bytes.
func putVarint(b []byte, v int64) int {
	u := zigzag(v)
	n := 0
	for u >= 0x80 {
		b[n] = byte(u) | 0x80
		u >>= 7
		n++
	}
	b[n] = byte(u)
	return n + 1
}

// What reading a varint gives for its length when there is none.
const (
	varintTruncated = 0
	varintOverlong  = -1
)

// varint32 reads a varint of 32 bits. n is the number of bytes, or
// varintTruncated or varintOverlong.
func varint32(b []byte) (v int32, n int) {
	if len(b) > 0 && b[0] < 0x80 {
		return int32(b[0]>>1) ^ -int32(b[0]&1), 1
	}
	if len(b) > 1 && b[1] < 0x80 { // most lengths
		u := uint32(b[0]&0x7f) | uint32(b[1])<<7
		return int32(u>>1) ^ -int32(u&1), 2
	}
	u, n := uvarint(b, maxVarint32)
	if u > 1<<32-1 {
		return 0, varintOverlong
	}
	return int32(unzigzag(u)), n
}

// varint64 reads a varint of 64 bits; the results are as in varint32.
func varint64(b []byte) (v int64, n int) {
	if len(b) > 0 && b[0] < 0x80 {
		return int64(b[0]>>1) ^ -int64(b[0]&1), 1
	}
	u, n := uvarint(b, maxVarint64)
	return unzigzag(u), n
}

func uvarint(b []byte, longest int) (u uint64, n int) {
	for i, c := range b {
		if i == longest || i == maxVarint64-1 && c > 1 {
			return 0, varintOverlong
		}
		u |= uint64(c&0x7f) << (7 * i)
		if c < 0x80 {
			return u, i + 1
		}
	}
	return 0, varintTruncated
}
