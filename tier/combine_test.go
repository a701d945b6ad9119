package tier

import (
	"math/rand/v2"
	"testing"
)

func TestCombineIsTheChecksumOfBoth(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	b := make([]byte, 1<<20)
	for i := range b {
		b[i] = byte(rng.Uint32())
	}
	for range 500 {
		n := rng.IntN(len(b) + 1)
		at := rng.IntN(n + 1)
		if got, want := combine(checksum(b[:at]), checksum(b[at:n]), int64(n-at)), checksum(b[:n]); got != want {
			t.Fatalf("%d and %d bytes: %08x, want %08x", at, n-at, got, want)
		}
	}
}

func TestBatchCRCCoversEveryByte(t *testing.T) {
	for _, size := range []int{10, combineFrom - 200, 4 * combineFrom} {
		b := testBatch(7, 3, 1000, make([]byte, size))
		if got, want := batchCRC(b), checksum(b); got != want {
			t.Errorf("batch of %d bytes: %08x, want %08x", len(b), got, want)
		}
		if got, want := extend(checksum(b[:11]), b[11:], checksum(b[11:])), checksum(b); got != want {
			t.Errorf("%d bytes after 11: %08x, want %08x", len(b)-11, got, want)
		}
	}
}
