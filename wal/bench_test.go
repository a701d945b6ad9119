package wal_test

import (
	"fmt"
	"testing"
	"time"

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
		{Producers: 1, Window: 1},
		{Producers: 16, Window: 1},
		{Producers: 256, Window: 1},
		{Producers: 16, Window: 256},
	} {
		load.Size, load.For = 1024, 500*time.Millisecond
		b.Run(fmt.Sprintf("producers=%d/window=%d", load.Producers, load.Window), func(b *testing.B) {
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
			b.ReportMetric(c.Ratio, "ratio")
			b.ReportMetric(0, "ns/op")
		})
	}
}
