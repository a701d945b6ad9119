package mq

import (
	"hash/crc32"
	"math/rand/v2"
	"testing"
)

func sum(b []byte) uint32 { return crc32.Checksum(b, castagnoli) }

func TestCombinedCRCIsThatOfBoth(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	b := make([]byte, 1<<20)
	for i := range b {
		b[i] = byte(rng.Uint32())
	}
	for range 500 {
		n := rng.IntN(len(b) + 1)
		at := rng.IntN(n + 1)
		if got, want := CombineCRC(sum(b[:at]), sum(b[at:n]), int64(n-at)), sum(b[:n]); got != want {
			t.Fatalf("%d and %d bytes: %08x, want %08x", at, n-at, got, want)
		}
	}
}

func TestSumOfABatchIsThatOfAllItsBytes(t *testing.T) {
	for _, size := range []int{10, CombineCRCFrom - 200, 4 * CombineCRCFrom} {
		builder, err := NewBatchBuilder(CompressionNone, 0)
		if err != nil {
			t.Fatal(err)
		}
		if err := builder.Append(Record{Value: make([]byte, size)}); err != nil {
			t.Fatal(err)
		}
		b, err := builder.Build(nil, NoProducerID, NoProducerEpoch, NoSequence)
		if err != nil {
			t.Fatal(err)
		}
		b.SetBaseOffset(77) // which its own checksum does not cover
		b.SetLeaderEpoch(3)
		if got, want := b.Sum(), sum(b); got != want {
			t.Errorf("batch of %d bytes: %08x, want %08x", len(b), got, want)
		}
	}
}

func BenchmarkSum(b *testing.B) {
	builder, _ := NewBatchBuilder(CompressionNone, 0)
	_ = builder.Append(Record{Value: make([]byte, 128<<10)})
	batch, err := builder.Build(nil, NoProducerID, NoProducerEpoch, NoSequence)
	if err != nil {
		b.Fatal(err)
	}
	b.Run("combined", func(b *testing.B) {
		for b.Loop() {
			batch.Sum()
		}
	})
	b.Run("computed", func(b *testing.B) {
		for b.Loop() {
			sum(batch)
		}
	})
}

func BenchmarkCombineCRC(b *testing.B) {
	for b.Loop() {
		CombineCRC(0x12345678, 0x9abcdef0, 65_531)
	}
}
