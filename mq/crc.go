package mq

import "hash/crc32"

// CombineCRC is the CRC32C of a and b one after the other, from their checksums and the length of b in bytes. It costs about as much as
// computing that of a KiB or two: appending n bytes multiplies a checksum, a polynomial over GF(2), by x to the power 8n modulo CRC32C's
// polynomial (as in zlib's crc32_combine).
func CombineCRC(a, b uint32, n int64) uint32 {
	for left, i := uint64(n), 0; left != 0; left, i = left>>8, i+1 {
		if digit := left & 0xff; digit != 0 {
			a = crcMultiply(crcPowers[i][digit], a)
		}
	}
	return a ^ b
}

// crcOne is the polynomial 1: the highest bit is x to the power 0.
const crcOne = uint32(1) << 31

// crcMultiply is a times b modulo CRC32C's polynomial. It does not branch on their bits, which nothing could foretell.
func crcMultiply(a, b uint32) (product uint32) {
	for range 32 {
		product ^= b & -(a >> 31)
		a <<= 1
		b = b>>1 ^ crc32.Castagnoli&-(b&1)
	}
	return product
}

// crcPowers holds, for each digit d to the base 256 of a number of bytes and its place i, x to the power 8 * d * 256^i.
var crcPowers = func() (t [8][256]uint32) {
	step := crcOne >> 8 // x to the power 8
	for i := range t {
		t[i][0] = crcOne
		for d := 1; d < len(t[i]); d++ {
			t[i][d] = crcMultiply(t[i][d-1], step)
		}
		step = crcMultiply(t[i][255], step)
	}
	return t
}()

// CombineCRCFrom is from how many bytes on CombineCRC costs clearly less than computing the checksum of b.
const CombineCRCFrom = 4 << 10

// Sum is the CRC32C of all bytes of a verified batch. The batch's own leaves out only the first of them, so of a large one no more are looked at: in a
// batch that was damaged since it was verified, Sum is that of the undamaged one.
func (b Batch) Sum() uint32 {
	if len(b) < CombineCRCFrom {
		return crc32.Checksum(b, castagnoli)
	}
	return CombineCRC(crc32.Checksum(b[:crcFrom], castagnoli), b.CRC(), int64(len(b)-crcFrom))
}
