package mq

import (
	"fmt"
	"math/rand/v2"
	"testing"
)

// benchBatchBytes is the size of the batches that are measured, as a client
// makes them.
const benchBatchBytes = 64 << 10

// benchRecord has a value of so many bytes that do not compress, or that
// compress to about half.
func benchRecord(size int, compressible bool) Record {
	noise := rand.New(rand.NewPCG(1, 2))
	value := make([]byte, size)
	for i := range value {
		value[i] = byte(noise.Uint32())
		if compressible {
			value[i] = "0123456789abcdef"[value[i]&15]
		}
	}
	return Record{Value: value, Timestamp: 1_700_000_000_000}
}

// benchBatch is one full batch.
func benchBatch(b *testing.B, c Compression, size int) Batch {
	b.Helper()
	rec := benchRecord(size, true)
	w := newBuilder(b, c)
	for w.SizeWith(rec) <= benchBatchBytes {
		if err := w.Append(rec); err != nil {
			b.Fatal(err)
		}
	}
	batch, err := w.Build(nil, 1, 1, 1)
	if err != nil {
		b.Fatal(err)
	}
	return batch
}

// BenchmarkBuild is per record: encoding into batches and their CRC.
func BenchmarkBuild(b *testing.B) {
	for _, c := range allCompressions {
		for _, size := range []int{128, 1024} {
			b.Run(fmt.Sprintf("%s/%d", c, size), func(b *testing.B) {
				w := newBuilder(b, c)
				rec := benchRecord(size, c != CompressionNone)
				var spare []byte
				b.SetBytes(int64(size))
				b.ReportAllocs()
				for b.Loop() {
					if err := w.Append(rec); err != nil {
						b.Fatal(err)
					}
					if w.Size() < benchBatchBytes {
						continue
					}
					batch, err := w.Build(spare, 1, 1, 1)
					if err != nil {
						b.Fatal(err)
					}
					spare = batch
				}
			})
		}
	}
}

// BenchmarkRecords is per batch of 64 KiB.
func BenchmarkRecords(b *testing.B) {
	for _, c := range allCompressions {
		for _, size := range []int{128, 1024} {
			b.Run(fmt.Sprintf("%s/%d", c, size), func(b *testing.B) {
				batch := benchBatch(b, c, size)
				buf := new(DecodeBuffer)
				b.SetBytes(benchBatchBytes)
				b.ReportAllocs()
				for b.Loop() {
					n := 0
					for r, err := range batch.Records(buf) {
						if err != nil {
							b.Fatal(err)
						}
						n += len(r.Value)
					}
				}
				b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(batch.RecordCount()), "ns/record")
			})
		}
	}
}

// BenchmarkCheckBatch is per batch of 64 KiB: what the door costs.
func BenchmarkCheckBatch(b *testing.B) {
	batch := benchBatch(b, CompressionNone, 1024)
	b.SetBytes(int64(len(batch)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := CheckBatch(batch, MaxBatchBytes); err != nil {
			b.Fatal(err)
		}
	}
}
