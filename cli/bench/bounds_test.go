package bench

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"testing"
	"time"

	"github.com/rustmq/rustmq/wal/walbench"
)

// spawnHere runs the far end in this process.
func spawnHere(_ context.Context, dir string) (io.WriteCloser, io.Reader, func() error, error) {
	theirIn, in := io.Pipe()
	out, theirOut := io.Pipe()
	done := make(chan error, 1)
	go func() {
		err := ServeFarEnd(dir, theirIn, theirOut)
		theirOut.CloseWithError(err)
		done <- err
	}()
	return in, out, func() error { return <-done }, nil
}

const farEndDir = "RUSTMQ_BENCH_TEST_FAR_END" // set in the process that is one

func TestMain(m *testing.M) {
	if dir := os.Getenv(farEndDir); dir != "" {
		if err := ServeFarEnd(dir, os.Stdin, os.Stdout); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

// spawnThere runs the far end in a process of its own.
func spawnThere(ctx context.Context, dir string) (in io.WriteCloser, out io.Reader, wait func() error, err error) {
	cmd := exec.CommandContext(ctx, os.Args[0])
	cmd.Env, cmd.Stderr = append(os.Environ(), farEndDir+"="+dir), os.Stderr
	if in, err = cmd.StdinPipe(); err != nil {
		return nil, nil, nil, err
	}
	if out, err = cmd.StdoutPipe(); err != nil {
		return nil, nil, nil, err
	}
	return in, out, cmd.Wait, cmd.Start()
}

// BenchmarkBulk is the bulk bound with both ends in one process and in two, and over one to four connections. QUIC_GO_DISABLE_GSO=true
// takes quic-go's large sends away.
//
//	go test ./cli/bench -run - -bench Bulk -benchtime 3x
func BenchmarkBulk(b *testing.B) {
	for _, processes := range []int{1, 2} {
		for _, conns := range []int{1, 2, 4} {
			for name, way := range map[string]direction{"up": toServer, "down": fromServer} {
				b.Run(fmt.Sprintf("processes=%d/connections=%d/%s", processes, conns, name), func(b *testing.B) {
					link, err := startFarEnd(b.Context(), []Spawn{spawnHere, spawnThere}[processes-1], b.TempDir(), conns)
					if err != nil {
						b.Fatal(err)
					}
					var rounds []Result
					for b.Loop() {
						r, err := quicBulk(b.Context(), link, way, defaultRecordSize, time.Second)
						if err != nil {
							b.Fatal(err)
						}
						rounds = append(rounds, r)
					}
					r := summary(rounds)
					b.ReportMetric(r.BytesPerSecond()/1e6, "MB/s")
					b.ReportMetric(r.CPUPerRecord, "cpu-us/KiB")
					b.ReportMetric(r.ServerCPUPerRecord, "far-cpu-us/KiB")
					b.ReportMetric(0, "ns/op")
					if err := link.Close(); err != nil {
						b.Error(err)
					}
				})
			}
		}
	}
}

func TestEveryBoundMeasuresSomething(t *testing.T) {
	const d = 100 * time.Millisecond
	ctx := t.Context()
	link, err := startFarEnd(ctx, spawnHere, t.TempDir(), 2)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := walbench.NewRaw(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	b := &bench{Options: Options{Producers: 4}.withDefaults()}
	for _, bound := range []struct {
		name    string
		measure func() (Result, error)
	}{
		{"quic_bulk_2", func() (Result, error) { return quicBulk(ctx, link, toServer, 1024, d) }},
		{"quic_bulk_2", func() (Result, error) { return quicBulk(ctx, link, fromServer, 1024, d) }},
		{"tls_bulk", func() (Result, error) { return tlsBulk(ctx, link, toServer, 1024, d) }},
		{"tls_bulk", func() (Result, error) { return tlsBulk(ctx, link, fromServer, 1024, d) }},
		{"quic_floor_4", func() (Result, error) {
			f, err := newFloor(ctx, link, 4, 1024)
			if err != nil {
				return Result{}, err
			}
			return f.measure(ctx, d)
		}},
		{"group_commit_4", func() (Result, error) { return b.groupCommit(raw, "group_commit_4", d) }},
	} {
		r, err := bound.measure()
		if err != nil {
			t.Fatalf("%s: %v", bound.name, err)
		}
		if r.Name != bound.name || r.Value <= 0 || r.Records == 0 || r.CPUPerRecord <= 0 {
			t.Errorf("got %+v, want positive figures named %s", r, bound.name)
		}
		t.Logf("%s: %.0f %s p50 %.0f us p99 %.0f us cpu %.1f us/record", r.Name, r.Value, r.Unit, r.P50, r.P99, r.CPUPerRecord)
	}
	if err := link.Close(); err != nil {
		t.Errorf("close the far end: %v", err)
	}
	if err := raw.Close(); err != nil {
		t.Errorf("close the raw loop: %v", err)
	}
}

func TestSummaryIsTheMedianAndRatiosAreOfMedians(t *testing.T) {
	values := func(vs ...float64) func(context.Context, time.Duration) (Result, error) {
		return func(context.Context, time.Duration) (Result, error) {
			r := Result{Name: "x", Value: vs[0], P50: vs[0] / 10, Records: 1}
			vs = vs[1:]
			return r, nil
		}
	}
	results, err := interleave(t.Context(), 3, time.Millisecond, []entrant{
		{measure: values(99, 10, 30, 20)}, // 99: to warm up
		{measure: values(9, 5, 1), bounds: []int{0}, cold: true},
	})
	if err != nil {
		t.Fatal(err)
	}
	bound, figure := results[0], results[1]
	if bound.Value != 20 || bound.Least != 10 || bound.Most != 30 || bound.Records != 3 || bound.Ratio != 0 {
		t.Errorf("the bound is %+v, want 20 of 10..30", bound)
	}
	if figure.Value != 5 || figure.BoundValue != 20 || figure.Ratio != 0.25 || figure.P50Ratio != 0.25 {
		t.Errorf("the figure is %+v, want 5 and a quarter of its bound", figure)
	}
}
