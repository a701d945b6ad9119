package tier

import (
	"hash/crc32"

	"github.com/rustmq/rustmq/mq"
)

// combine is the CRC32C of a and b one after the other, from their checksums and the length of b in bytes: appending n bytes multiplies a
// checksum, a polynomial over GF(2), by x to the power 8n modulo CRC32C's polynomial (as in zlib's crc32_combine).
func combine(a, b uint32, n int64) uint32 {
	return multiply(powerOfX(uint64(n)*8), a) ^ b
}

// one is the polynomial 1, the highest bit being x to the power 0.
const one = uint32(1) << 31

// multiply is a times b modulo CRC32C's polynomial.
func multiply(a, b uint32) (product uint32) {
	for bit := one; a != 0; bit >>= 1 {
		if a&bit != 0 {
			product ^= b
			a &^= bit
		}
		carry := b & 1
		b = b>>1 ^ carry*crc32.Castagnoli
	}
	return product
}

// squares holds x to the power 2^i.
var squares = func() (t [64]uint32) {
	t[0] = one >> 1
	for i := 1; i < len(t); i++ {
		t[i] = multiply(t[i-1], t[i-1])
	}
	return t
}()

// powerOfX is x to the power n.
func powerOfX(n uint64) uint32 {
	p := one
	for i := 0; n != 0; i, n = i+1, n>>1 {
		if n&1 != 0 {
			p = multiply(squares[i], p)
		}
	}
	return p
}

// combineFrom is from how many bytes on combining costs less than computing once more.
const combineFrom = 16 << 10

// batchCRC is the CRC32C of all bytes of a verified batch. The batch's own covers all but its first bytes, so these are enough to look at.
func batchCRC(b mq.Batch) uint32 {
	if len(b) < combineFrom {
		return checksum(b)
	}
	return combine(checksum(b[:mq.BatchUncheckedBytes]), b.CRC(), int64(len(b)-mq.BatchUncheckedBytes))
}

// extend is the CRC32C of something with the checksum crc and b, whose checksum is own, behind it.
func extend(crc uint32, b []byte, own uint32) uint32 {
	if len(b) < combineFrom {
		return crc32.Update(crc, castagnoli, b)
	}
	return combine(crc, own, int64(len(b)))
}
