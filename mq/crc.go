package mq

import "hash/crc32"

// CombineCRC is the CRC32C of a and b one after the other, from their checksums and the length of b in bytes. It costs about as much as
// computing that of some KiB: appending n bytes multiplies a checksum, a polynomial over GF(2), by x to the power 8n modulo CRC32C's
// polynomial (as in zlib's crc32_combine).
func CombineCRC(a, b uint32, n int64) uint32 {
	return crcMultiply(crcPower(uint64(n)*8), a) ^ b
}

// crcOne is the polynomial 1: the highest bit is x to the power 0.
const crcOne = uint32(1) << 31

// crcMultiply is a times b modulo CRC32C's polynomial.
func crcMultiply(a, b uint32) (product uint32) {
	for bit := crcOne; a != 0; bit >>= 1 {
		if a&bit != 0 {
			product ^= b
			a &^= bit
		}
		carry := b & 1
		b = b>>1 ^ carry*crc32.Castagnoli
	}
	return product
}

// crcSquares holds x to the power 2^i.
var crcSquares = func() (t [64]uint32) {
	t[0] = crcOne >> 1
	for i := 1; i < len(t); i++ {
		t[i] = crcMultiply(t[i-1], t[i-1])
	}
	return t
}()

// crcPower is x to the power n.
func crcPower(n uint64) uint32 {
	p := crcOne
	for i := 0; n != 0; i, n = i+1, n>>1 {
		if n&1 != 0 {
			p = crcMultiply(crcSquares[i], p)
		}
	}
	return p
}

// CombineCRCFrom is from how many bytes on CombineCRC costs clearly less than computing the checksum of b.
const CombineCRCFrom = 16 << 10

// Sum is the CRC32C of all bytes of a verified batch. The batch's own leaves out only the first of them, so of a large one no more are looked at: in a
// batch that was damaged since it was verified, Sum is that of the undamaged one.
func (b Batch) Sum() uint32 {
	if len(b) < CombineCRCFrom {
		return crc32.Checksum(b, castagnoli)
	}
	return CombineCRC(crc32.Checksum(b[:crcFrom], castagnoli), b.CRC(), int64(len(b)-crcFrom))
}
