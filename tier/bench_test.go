package tier

import (
	"bytes"
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/rustmq/rustmq/mq"
)

// In what follows an iteration is a round: what is measured and its bound take
// turns, and what is reported are medians, of rates in MB/s and of the ratios of
// rounds. The same on a server of S3: stores_bench_outside_test.go.

// BenchmarkUpload has an [Uploader] upload 128 MiB, beside bare puts.
func BenchmarkUpload(b *testing.B) { benchUpload(b, benchStore(b)) }

// BenchmarkRead reads 128 MiB with a [Reader], beside a bare loop of ranged reads.
func BenchmarkRead(b *testing.B) { benchRead(b, benchStore(b)) }

func benchStore(b *testing.B) *Store {
	store := must[*Store](b)(OpenStore(b.Context(), "file://"+b.TempDir(), Limits{}))
	b.Cleanup(func() { store.Close() })
	return store
}

const (
	benchObjectBytes = DefaultFlushBytes
	benchObjects     = 16
	benchPartitions  = 4
)

// benchRecords are 64 KiB that do not compress.
func benchRecords() [][]byte {
	rng := rand.NewChaCha8([32]byte{})
	records := make([][]byte, 64)
	for i := range records {
		records[i] = make([]byte, 1024)
		_, _ = rng.Read(records[i])
	}
	return records
}

// medians gathers what rounds gave.
type medians map[string][]float64

func (m medians) add(name string, v float64) { m[name] = append(m[name], v) }

func (m medians) report(b *testing.B) {
	for name, values := range m {
		slices.Sort(values)
		b.ReportMetric(values[len(values)/2], name)
	}
	b.ReportMetric(0, "ns/op")
}

// timed is how many MB/s do gives, and its processor time in seconds per GB.
func timed(b *testing.B, do func() int64) (rate, cpu float64) {
	b.Helper()
	start, before := time.Now(), processorTime()
	n := float64(do())
	return n / 1e6 / time.Since(start).Seconds(), (processorTime() - before).Seconds() / n * 1e9
}

func processorTime() time.Duration {
	var u syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &u)
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// inParallel has n workers take the jobs 0 to jobs-1.
func inParallel(b *testing.B, n, jobs int, do func(i int) error) {
	b.Helper()
	next := make(chan int)
	var workers sync.WaitGroup
	for range n {
		workers.Go(func() {
			for i := range next {
				if err := do(i); err != nil {
					b.Error(err)
				}
			}
		})
	}
	for i := range jobs {
		next <- i
	}
	close(next)
	workers.Wait()
	if b.Failed() {
		b.FailNow()
	}
}

// benchUpload measures uploads to the commit, beside the store's own puts: as many
// objects of the same size, as many at a time, and nothing else.
func benchUpload(b *testing.B, store *Store) {
	records := benchRecords()
	got := medians{}
	for round := 0; b.Loop(); round++ {
		rig := newRig(b, benchPartitions)
		for i := range benchObjects * benchObjectBytes / (64 << 10) {
			rig.sources[i%benchPartitions].append(records...)
		}
		before := store.Stats()
		rate, cpu := timed(b, func() int64 {
			u := rig.start(func(c *UploaderConfig) { c.Store, c.Prefix, c.FlushBytes, c.FlushAge = store, "tier/", 0, time.Hour })
			if err := u.Flush(b.Context()); err != nil {
				b.Fatal(err)
			}
			uploaded := u.Stats().Bytes
			u.Close()
			return uploaded
		})
		after := store.Stats()
		var raw []*Upload
		var rawBytes int64
		for i, c := range rig.catalog.order {
			data := make([]byte, c.Size)
			_, _ = rand.NewChaCha8([32]byte{byte(i)}).Read(data)
			raw = append(raw, &Upload{Key: "raw/" + c.Key, Data: data, CRC: checksum(data), PartBytes: DefaultPartBytes})
			rawBytes += c.Size
		}
		bound, boundCPU := timed(b, func() int64 {
			inParallel(b, DefaultUploads, len(raw), func(i int) error { return store.backend.Put(b.Context(), raw[i]) })
			return rawBytes
		})
		for i, c := range rig.catalog.order {
			if err := errors.Join(store.Delete(b.Context(), c.Key), store.Delete(b.Context(), raw[i].Key)); err != nil {
				b.Fatal(err)
			}
		}
		got.add("MB/s", rate)
		got.add("cpu-s/GB", cpu)
		got.add("put-MB/s", bound)
		got.add("put-cpu-s/GB", boundCPU)
		got.add("ratio", rate/bound)
		all, then := after.Billed(), before.Billed()
		got.add("requests/GB", float64(all.Writes+all.Reads-then.Writes-then.Reads)/float64(benchObjects*benchObjectBytes)*1e9)
	}
	got.report(b)
}

// benchShelf puts 128 MiB of some partitions into the store. merged: in an object
// for each, as a compactor leaves them; else in objects of 8 MiB with a part of each.
func benchShelf(b *testing.B, store *Store, merged bool) (*testCatalog, mq.Offset) {
	b.Helper()
	catalog, records := newTestCatalog(), benchRecords()
	var end mq.Offset
	put := func(id uint64, partitions []int, from mq.Offset, size int64) {
		var out bytes.Buffer
		enc := NewEncoder(&out, ObjectInfo{ID: id})
		for _, p := range partitions {
			if err := enc.Begin(testPartition(p), from, 1); err != nil {
				b.Fatal(err)
			}
			end = from
			for n := int64(0); n < size/int64(len(partitions)); {
				batch := testBatch(end, 1, int64(end), records...)
				if err := enc.Append(batch); err != nil {
					b.Fatal(err)
				}
				n, end = n+int64(len(batch)), batch.NextOffset()
			}
			must[RangeInfo](b)(enc.End(nil, nil))
		}
		f := must[*Footer](b)(enc.Close())
		key := objectKey("", id)
		if err := store.Put(b.Context(), key, out.Bytes(), checksum(out.Bytes())); err != nil {
			b.Fatal(err)
		}
		catalog.commitFooter(f, key, int64(out.Len()))
	}
	if merged {
		for p := range benchPartitions {
			put(uint64(p+1), []int{p}, 0, benchObjects*benchObjectBytes/benchPartitions)
		}
		return catalog, end
	}
	for i := range benchObjects {
		put(uint64(i+1), []int{0, 1, 2, 3}, end, benchObjectBytes)
	}
	return catalog, end
}

// benchRead has a reader for each partition read in order, with nothing in memory
// and again with all of it there, beside bare reads of the same objects in ranges
// as large as those that the reader asked for, and as many at once as it may.
func benchRead(b *testing.B, store *Store) {
	for _, layout := range []string{"flushed", "merged"} {
		b.Run(layout, func(b *testing.B) {
			catalog, end := benchShelf(b, store, layout == "merged")
			got := medians{}
			for b.Loop() {
				benchReadRound(b, store, catalog, end, got)
			}
			got.report(b)
		})
	}
}

func benchReadRound(b *testing.B, store *Store, catalog *testCatalog, end mq.Offset, got medians) {
	b.Helper()
	reader := must[*Reader](b)(NewReader(ReaderConfig{Store: store, Catalog: catalog, CacheBytes: 1 << 30}))
	defer reader.Close()
	readAll := func() int64 {
		var total atomic.Int64
		inParallel(b, benchPartitions, benchPartitions, func(p int) error {
			for from := mq.Offset(0); from < end; {
				data, next, err := reader.Read(context.Background(), testPartition(p), from, 1<<20)
				if err != nil {
					return err
				}
				total.Add(int64(len(data)))
				from = next
			}
			return nil
		})
		return total.Load()
	}
	cold, coldCPU := timed(b, readAll)
	stats := reader.Stats()
	warm, _ := timed(b, readAll)
	if again := reader.Stats().FetchedBytes; again != stats.FetchedBytes {
		b.Fatalf("%d bytes were fetched again", again-stats.FetchedBytes)
	}
	bound, boundCPU := benchRanges(b, store, catalog, stats.FetchedBytes/stats.Fetches)
	got.add("cold-MB/s", cold)
	got.add("cold-cpu-s/GB", coldCPU)
	got.add("warm-MB/s", warm)
	got.add("get-MB/s", bound)
	got.add("get-cpu-s/GB", boundCPU)
	got.add("ratio", cold/bound)
	got.add("warm-ratio", warm/cold)
	got.add("requests/GB", float64(stats.Fetches)/float64(stats.FetchedBytes)*1e9)
	got.add("MiB/request", float64(stats.FetchedBytes)/float64(stats.Fetches)/(1<<20))
}

// benchRanges is the bound: all objects, in ranges of one size, unverified.
func benchRanges(b *testing.B, store *Store, catalog *testCatalog, size int64) (rate, cpu float64) {
	b.Helper()
	type job struct {
		key    string
		at, to int64
	}
	var jobs []job
	for _, o := range catalog.order {
		for at := int64(0); at < o.Size; at += size {
			jobs = append(jobs, job{o.Key, at, min(at+size, o.Size)})
		}
	}
	return timed(b, func() int64 {
		var total atomic.Int64
		inParallel(b, DefaultFetches, len(jobs), func(i int) error {
			j := jobs[i]
			r, err := store.bucket.NewRangeReader(b.Context(), j.key, j.at, j.to-j.at, nil)
			if err != nil {
				return err
			}
			defer r.Close()
			buf := make([]byte, j.to-j.at)
			n, err := io.ReadFull(r, buf)
			total.Add(int64(n))
			return err
		})
		return total.Load()
	})
}
