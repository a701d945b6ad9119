package tier

import (
	"bytes"
	"context"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"gocloud.dev/blob"

	"github.com/rustmq/rustmq/mq"
)

// benchShelf is a directory with objects of one partition, 8 MiB each, in
// batches of 64 KiB.
func benchShelf(b *testing.B, objects int) (*blob.Bucket, *testCatalog, mq.Offset) {
	b.Helper()
	bucket := must[*blob.Bucket](b)(OpenBucket(b.Context(), "file://"+b.TempDir()))
	b.Cleanup(func() { bucket.Close() })
	catalog := newTestCatalog()
	rng := rand.New(rand.NewPCG(1, 1))
	records := make([][]byte, 64)
	for i := range records {
		records[i] = make([]byte, 1024)
		for j := range records[i] {
			records[i][j] = byte(rng.Uint32())
		}
	}
	var end mq.Offset
	for i := range objects {
		var out bytes.Buffer
		enc := NewEncoder(&out, ObjectInfo{ID: uint64(i + 1)})
		if err := enc.Begin(testPartition(1), end, 1); err != nil {
			b.Fatal(err)
		}
		for enc.Size() < 8<<20 {
			batch := testBatch(end, 1, int64(end), records...)
			if err := enc.Append(batch); err != nil {
				b.Fatal(err)
			}
			end = batch.NextOffset()
		}
		must[RangeInfo](b)(enc.End(nil, nil))
		f := must[*Footer](b)(enc.Close())
		if err := place(b.Context(), bucket, objectKey("", f.ObjectID), out.Bytes(), checksum(out.Bytes())); err != nil {
			b.Fatal(err)
		}
		keys, _, err := bucket.ListPage(b.Context(), blob.FirstPageToken, 1000, nil)
		if err != nil {
			b.Fatal(err)
		}
		catalog.commitFooter(f, keys[i].Key, int64(out.Len()))
	}
	return bucket, catalog, end
}

// BenchmarkColdRead reads 256 MiB in order from a directory, with nothing in the
// reader's memory.
func BenchmarkColdRead(b *testing.B) {
	bucket, catalog, end := benchShelf(b, 32)
	for b.Loop() {
		reader := must[*Reader](b)(NewReader(ReaderConfig{Bucket: bucket, Catalog: catalog}))
		var from mq.Offset
		var total, calls int64
		for from < end {
			got, next, err := reader.Read(context.Background(), testPartition(1), from, 1<<20)
			if err != nil {
				b.Fatal(err)
			}
			total += int64(len(got))
			from = next
			calls++
		}
		b.SetBytes(total)
		b.ReportMetric(float64(total)/float64(calls)/1024, "KiB/call")
		reader.Close()
	}
}

// BenchmarkRawRead is the bound: the same bytes through the same driver, in
// pieces of 1 MiB, unverified.
func BenchmarkRawRead(b *testing.B) {
	bucket, catalog, _ := benchShelf(b, 32)
	buf := make([]byte, 1<<20)
	for b.Loop() {
		var total int64
		for _, g := range catalog.ranges[testPartition(1)] {
			r := must[*blob.Reader](b)(bucket.NewReader(b.Context(), g.Key, nil))
			for {
				n, err := r.Read(buf)
				total += int64(n)
				if err != nil {
					break
				}
			}
			r.Close()
		}
		b.SetBytes(total)
	}
}

// BenchmarkWarmRead reads small pieces out of memory.
func BenchmarkWarmRead(b *testing.B) {
	bucket, catalog, end := benchShelf(b, 2)
	reader := must[*Reader](b)(NewReader(ReaderConfig{Bucket: bucket, Catalog: catalog}))
	defer reader.Close()
	var from mq.Offset
	b.ReportAllocs()
	for b.Loop() {
		got, next, err := reader.Read(context.Background(), testPartition(1), from, 64<<10)
		if err != nil {
			b.Fatal(err)
		}
		b.SetBytes(int64(len(got)))
		if from = next; from == end {
			from = 0
		}
	}
}

// BenchmarkUpload uploads 64 MiB of one partition to a directory.
func BenchmarkUpload(b *testing.B) {
	record := make([][]byte, 64)
	for i := range record {
		record[i] = make([]byte, 1024)
	}
	for b.Loop() {
		b.StopTimer()
		bucket := must[*blob.Bucket](b)(OpenBucket(b.Context(), "file://"+b.TempDir()))
		r := newRig(b, 1)
		for range 1000 {
			r.sources[0].append(record...)
		}
		b.SetBytes(int64(len(r.sources[0].log)))
		b.StartTimer()
		u := r.start(func(c *UploaderConfig) { c.Bucket, c.FlushBytes, c.FlushAge = bucket, 0, time.Hour })
		if err := u.Flush(b.Context()); err != nil {
			b.Fatal(err)
		}
		u.Close()
		bucket.Close()
	}
}

// BenchmarkRawUpload is the bound: objects of the same size by the same driver,
// four at a time.
func BenchmarkRawUpload(b *testing.B) {
	data := make([]byte, 8<<20)
	for b.Loop() {
		bucket := must[*blob.Bucket](b)(OpenBucket(b.Context(), "file://"+b.TempDir()))
		var group sync.WaitGroup
		for i := range 4 {
			group.Go(func() {
				for j := range 2 {
					err := bucket.Upload(b.Context(), objectKey("", uint64(i*2+j)), bytes.NewReader(data), &blob.WriterOptions{ContentType: contentType, IfNotExist: true})
					if err != nil {
						b.Error(err)
					}
				}
			})
		}
		group.Wait()
		b.SetBytes(8 * int64(len(data)))
		bucket.Close()
	}
}
