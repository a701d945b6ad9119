package wal_test

import (
	"fmt"
	"path/filepath"
	"testing"
	"time"

	"github.com/rustmq/rustmq/wal"
	"github.com/rustmq/rustmq/wal/walbench"
)

// BenchmarkGroupCommit measures the log against the plainest loop that
// commits in groups, in turn, so that a disk that drifts treats both alike.
// TMPDIR says which disk. ratio is the log's rate by the loop's: the median of
// the rounds.
//
//	go test ./wal -run - -bench GroupCommit -benchtime 9x
func BenchmarkGroupCommit(b *testing.B) {
	raw, err := walbench.NewRaw(b.TempDir())
	if err != nil {
		b.Fatal(err)
	}
	defer raw.Close()
	log, err := walbench.NewLog(b.TempDir())
	if err != nil {
		b.Fatal(err)
	}
	defer log.Close()
	for _, load := range []walbench.Load{
		{Producers: 1, Window: 1, Size: 1 << 10},
		{Producers: 16, Window: 1, Size: 1 << 10},
		{Producers: 256, Window: 1, Size: 1 << 10},
		{Producers: 16, Window: 256, Size: 1 << 10},
		{Producers: 16, Window: 16, Size: 16 << 10},
		{Producers: 16, Window: 4, Size: 64 << 10},
	} {
		load.For = 500 * time.Millisecond
		b.Run(fmt.Sprintf("producers=%d/window=%d/bytes=%d", load.Producers, load.Window, load.Size), func(b *testing.B) {
			c, err := walbench.Compare(raw, log, load, b.N)
			if err != nil {
				b.Fatal(err)
			}
			b.ReportMetric(c.Raw.PerSecond(), "raw/s")
			b.ReportMetric(c.Log.PerSecond(), "log/s")
			b.ReportMetric(float64(c.Raw.P50.Microseconds()), "raw-p50-us")
			b.ReportMetric(float64(c.Log.P50.Microseconds()), "log-p50-us")
			b.ReportMetric(float64(c.Raw.P99.Microseconds()), "raw-p99-us")
			b.ReportMetric(float64(c.Log.P99.Microseconds()), "log-p99-us")
			b.ReportMetric(float64(c.Raw.CPUPerKiB()), "raw-cpu-ns/KiB")
			b.ReportMetric(float64(c.Log.CPUPerKiB()), "log-cpu-ns/KiB")
			b.ReportMetric(float64(c.Raw.Records)/float64(c.Raw.Syncs), "raw-group")
			b.ReportMetric(float64(c.Log.Records)/float64(c.Log.Syncs), "log-group")
			b.ReportMetric(c.Ratio, "ratio")
			b.ReportMetric(0, "ns/op")
		})
	}
}

// fillLog writes a log of about the given bytes, of 1 KiB entries of several streams.
func fillLog(b *testing.B, o wal.Options, bytes int64, streams int) {
	b.Helper()
	l, _, err := wal.Open(o, nil)
	if err != nil {
		b.Fatal(err)
	}
	payload := make([]byte, 1024)
	for i := range payload {
		payload[i] = byte(i * 7)
	}
	ends := make([]uint64, streams)
	for n := int64(0); n < bytes; n += 1088 {
		s := int(n/1088) % streams
		if err := l.Reserve(b.Context(), 1024); err != nil {
			b.Fatal(err)
		}
		l.Append(wal.Entry{Stream: id(s), Type: wal.EntryData, First: ends[s], End: ends[s] + 1, Payload: payload}, nil)
		ends[s]++
	}
	if err := l.Close(); err != nil {
		b.Fatal(err)
	}
}

// BenchmarkRecovery opens a log of 1 GiB and reads the same files once, in
// turn. ratio is the time to open by the time to read.
//
//	go test ./wal -run - -bench Recovery -benchtime 5x
func BenchmarkRecovery(b *testing.B) {
	o := wal.Options{Dir: b.TempDir()}
	fillLog(b, o, 1<<30, 100)
	var ratios []float64
	var bytes int64
	for b.Loop() {
		start := time.Now()
		bytes = readOnce(b, o.Dir)
		read := time.Since(start)
		start = time.Now()
		l, r, err := wal.Open(o, func(wal.Entry) error { return nil })
		if err != nil || r.Entries != 1<<30/1088+1 {
			b.Fatal(err, r)
		}
		open := time.Since(start)
		if err := l.Close(); err != nil {
			b.Fatal(err)
		}
		ratios = append(ratios, open.Seconds()/read.Seconds())
		b.ReportMetric(float64(bytes)/open.Seconds()/1e6, "open-MB/s")
		b.ReportMetric(float64(bytes)/read.Seconds()/1e6, "read-MB/s")
	}
	b.ReportMetric(median(ratios), "ratio")
}

// readOnce reads all files of a directory, and says how long they are.
func readOnce(b *testing.B, dir string) (bytes int64) {
	b.Helper()
	names, err := wal.OS().ReadDir(dir)
	if err != nil {
		b.Fatal(err)
	}
	buf := make([]byte, 2<<20)
	for _, name := range names {
		f, err := wal.OS().OpenRead(filepath.Join(dir, name))
		if err != nil {
			b.Fatal(err)
		}
		for pos := int64(0); ; {
			n, err := f.ReadAt(buf, pos)
			pos += int64(n)
			bytes += int64(n)
			if err != nil {
				break
			}
		}
		if err := f.Close(); err != nil {
			b.Fatal(err)
		}
	}
	return bytes
}

// BenchmarkRead reads a log of 256 MiB from the page cache, stream by stream,
// 1 MiB at a time.
func BenchmarkRead(b *testing.B) {
	for _, streams := range []int{1, 4, 100} {
		b.Run(fmt.Sprintf("streams=%d", streams), func(b *testing.B) {
			o := wal.Options{Dir: b.TempDir()}
			fillLog(b, o, 256<<20, streams)
			l, _, err := wal.Open(o, nil)
			if err != nil {
				b.Fatal(err)
			}
			defer l.Close()
			dst := make([]byte, 0, 1<<20)
			var from uint64
			s := 0
			b.SetBytes(1 << 20)
			for b.Loop() {
				data, next, err := l.Read(id(s), from, 1<<20, dst[:0])
				if err != nil {
					b.Fatal(err)
				}
				if from = next; len(data) < 1<<20 {
					s, from = (s+1)%streams, 0
				}
			}
		})
	}
}

// BenchmarkReadOne reads single entries of 1 KiB at random.
func BenchmarkReadOne(b *testing.B) {
	o := wal.Options{Dir: b.TempDir()}
	fillLog(b, o, 64<<20, 1)
	l, _, err := wal.Open(o, nil)
	if err != nil {
		b.Fatal(err)
	}
	defer l.Close()
	_, end, _ := l.Bounds(id(0))
	dst := make([]byte, 0, 1<<20)
	at := uint64(1)
	b.ReportAllocs()
	for b.Loop() {
		at = (at*6364136223846793005 + 1442695040888963407) % end
		if _, _, err := l.Read(id(0), at, 1, dst[:0]); err != nil {
			b.Fatal(err)
		}
	}
}
