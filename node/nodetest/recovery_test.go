package nodetest

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/rustmq/rustmq/mq"
	"github.com/rustmq/rustmq/node"
	"github.com/rustmq/rustmq/quicproto"
	"github.com/rustmq/rustmq/quicproto/server"
)

var (
	recoveryBytes = flag.Int64("recovery.bytes", 4<<30, "length of the log that BenchmarkRecovery recovers")
	recoveryDir   = flag.String("recovery.dir", "", "where BenchmarkRecovery keeps its logs for the next run; default: nowhere")
)

// BenchmarkRecovery starts a node whose log no object store has taken anything of, and reads the files of that log once,
// in turn. ratio is the median of the time until the node serves by the time to read. Cold means that the kernel's
// caches are dropped before each, which needs the right to do so.
//
//	go test ./node/nodetest -run - -bench Recovery -benchtime 5x
func BenchmarkRecovery(b *testing.B) {
	for _, records := range []int{126, 60, 1} {
		b.Run(fmt.Sprintf("records=%d", records), func(b *testing.B) {
			cfg := recoveryConfig(b, records)
			for _, cache := range []string{"warm", "cold"} {
				b.Run(cache, func(b *testing.B) { benchmarkStart(b, cfg, cache == "cold") })
			}
		})
	}
}

func benchmarkStart(b *testing.B, cfg node.Config, cold bool) {
	var reads, starts []float64
	var bytes int64
	once := func(f func()) float64 {
		if cold && os.WriteFile("/proc/sys/vm/drop_caches", []byte("3\n"), 0) != nil {
			b.Skip("no right to drop the kernel's caches")
		}
		start := time.Now()
		f()
		return time.Since(start).Seconds()
	}
	for b.Loop() {
		reads = append(reads, once(func() { bytes = readLog(b, filepath.Join(cfg.Node.DataDir, "wal")) }))
		var n *node.Node
		starts = append(starts, once(func() { n = startAlone(b, cfg) }))
		if err := n.Close(b.Context()); err != nil {
			b.Fatal(err)
		}
	}
	ratios := make([]float64, len(reads))
	for i := range ratios {
		ratios[i] = starts[i] / reads[i]
	}
	b.ReportMetric(float64(bytes)/median(reads)/1e6, "read-MB/s")
	b.ReportMetric(float64(bytes)/median(starts)/1e6, "start-MB/s")
	b.ReportMetric(median(ratios), "ratio")
	b.ReportMetric(0, "ns/op")
}

func median(list []float64) float64 {
	list = slices.Clone(list)
	slices.Sort(list)
	return list[len(list)/2]
}

func startAlone(b *testing.B, cfg node.Config) *node.Node {
	b.Helper()
	n, err := node.StartWith(b.Context(), cfg, slog.New(slog.DiscardHandler), node.Seams{Headless: true})
	if err != nil {
		b.Fatal(err)
	}
	return n
}

// readLog reads the segments that are in use once, and says how long they are.
func readLog(b *testing.B, dir string) (bytes int64) {
	b.Helper()
	names, err := filepath.Glob(filepath.Join(dir, "*.wal"))
	if err != nil {
		b.Fatal(err)
	}
	buf := make([]byte, 1<<20)
	for _, name := range names {
		f, err := os.Open(name)
		if err != nil {
			b.Fatal(err)
		}
		n, err := f.Read(buf)
		for used := buf[0] != 0; err == nil && used; n, err = f.Read(buf) {
			bytes += int64(n)
		}
		if err != nil && !errors.Is(err, io.EOF) {
			b.Fatal(err)
		}
		if err := f.Close(); err != nil {
			b.Fatal(err)
		}
	}
	return bytes
}

// recoveryConfig is that of a node with a long log, which it makes: batches of so many records of 1 KiB, that do not
// compress, of one producer to 6 partitions, and no object.
func recoveryConfig(b *testing.B, records int) node.Config {
	b.Helper()
	dir := *recoveryDir
	if dir == "" {
		dir = b.TempDir()
	}
	cfg := node.Default()
	cfg.Node.DataDir = filepath.Join(dir, fmt.Sprint(records))
	cfg.ObjectStore.FlushSize, cfg.ObjectStore.FlushAge = 1<<40, 24*time.Hour
	if _, err := os.Stat(cfg.Node.DataDir); err == nil {
		return cfg
	}
	n := startAlone(b, cfg)
	if err := fill(b.Context(), n, *recoveryBytes, records); err != nil {
		b.Fatal(err)
	}
	if err := n.Close(b.Context()); err != nil {
		b.Fatal(err)
	}
	return cfg
}

func fill(ctx context.Context, n *node.Node, bytes int64, records int) error {
	const partitions = 6
	broker := n.Broker()
	_, err := broker.CreateTopic(ctx, &session, &quicproto.CreateTopicRequest{Name: "long", Partitions: partitions, Replicas: 1, Configs: kept})
	if err != nil {
		return err
	}
	id, err := broker.InitProducerID(ctx, &session, &quicproto.InitProducerIDRequest{ProducerID: mq.NoProducerID, ProducerEpoch: mq.NoProducerEpoch})
	if err != nil {
		return err
	}
	p, err := broker.OpenProduce(ctx, &session, "long")
	if err != nil {
		return err
	}
	builder, err := mq.NewBatchBuilder(mq.CompressionNone, 0)
	if err != nil {
		return err
	}
	noise := rand.New(rand.NewPCG(1, 2))
	value := make([]byte, 1<<10)
	for i := range value {
		value[i] = byte(noise.Uint32())
	}
	var all filled
	var sequences [partitions]int32
	for i := int32(0); bytes > 0; i = (i + 1) % partitions {
		for range records {
			if err := builder.Append(mq.Record{Value: value, Timestamp: 1}); err != nil {
				return err
			}
		}
		batch, err := builder.Build(nil, id.ProducerID, id.ProducerEpoch, sequences[i])
		if err != nil {
			return err
		}
		sequences[i] += int32(records)
		bytes -= int64(len(batch))
		all.wait.Add(1)
		p.Append(ctx, i, batch, mq.DurabilityLeader, &all)
	}
	all.wait.Wait()
	return all.err
}

// filled waits for many appends.
type filled struct {
	wait sync.WaitGroup
	mu   sync.Mutex
	err  error
}

// Complete implements server.Completion.
func (f *filled) Complete(a server.Appended) {
	if a.Err != nil {
		f.mu.Lock()
		f.err = a.Err
		f.mu.Unlock()
	}
	f.wait.Done()
}
