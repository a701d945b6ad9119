package cli

import (
	"fmt"
	"io"
	"os"

	"github.com/urfave/cli/v2"

	"github.com/rustmq/rustmq/cli/bench"
	"github.com/rustmq/rustmq/mq"
	"github.com/rustmq/rustmq/node"
)

func (a *app) benchCommand() *cli.Command {
	return &cli.Command{
		Name:      "bench",
		ArgsUsage: "produce|latency|consume",
		Usage:     "measure a cluster, beside the machine's own bounds",
		Description: "produce keeps a window of records in flight, latency has one in flight per producer, consume reads what it produced before.\n" +
			"With --limits the bounds of this machine are measured first, in the same run and at the same concurrency, and results are given as\n" +
			"ratios to them: run it on the server's machine, with nothing else going on.\n\n" +
			"Example: rustmq bench latency --producers 16 --limits",
		Flags: append([]cli.Flag{
			&cli.BoolFlag{Name: "limits", Usage: "measure this machine's bounds first: QUIC and TLS over loopback, group commit on the disk"},
			&cli.StringFlag{Name: "size", Value: "1KiB", Usage: "`SIZE` of a record's value, incompressible"},
			&cli.IntFlag{Name: "producers", Value: 16, Usage: "`NUMBER` of producers at a time"},
			&cli.IntFlag{Name: "window", Value: 256, Usage: "`NUMBER` of records that a producer has in flight (produce and consume)"},
			&cli.Int64Flag{Name: "records", Usage: "stop after `NUMBER` records"},
			&cli.DurationFlag{Name: "duration", Usage: "`TIME` of each measurement (default 5s)"},
			&cli.StringFlag{Name: "topic", Value: "rustmq-bench", Usage: "`TOPIC` to use; it is created if missing, and stays"},
			&cli.IntFlag{Name: "partitions", Value: 4, Usage: "`NUMBER` of partitions, if the topic is created"},
			&cli.StringFlag{Name: "acks", Value: "all", Usage: "`DURABILITY`: none, leader, all, object"},
			&cli.StringFlag{Name: "dir", Value: ".", Usage: "`DIR` on the disk whose bound is measured"},
			outputFlag(),
		}, connectFlags("key", "key-file")...),
		Action: a.bench,
	}
}

func (a *app) bench(c *cli.Context) error {
	if err := arguments(c, 1, 1); err != nil {
		return err
	}
	if err := checkOutput(c); err != nil {
		return err
	}
	size, err := node.ParseSize(c.String("size"))
	if err != nil || size < 1 || size > mq.DefaultMaxBatchBytes/2 {
		return usagef("bench: --size %q is not a size from 1 to %d bytes", c.String("size"), mq.DefaultMaxBatchBytes/2)
	}
	acks, err := mq.ParseDurability(c.String("acks"))
	if err != nil {
		return usagef("bench: %v", err)
	}
	for _, flag := range []string{"producers", "window", "partitions"} {
		if c.Int(flag) < 1 {
			return usagef("bench: --%s %d is not a number above 0", flag, c.Int(flag))
		}
	}
	if info, err := os.Stat(c.String("dir")); err != nil || !info.IsDir() {
		return usagef("bench: --dir %q is not a directory", c.String("dir"))
	}
	conn, err := a.connection(c, defaultTimeout)
	if err != nil {
		return err
	}
	results, err := bench.Run(c.Context, bench.Options{
		Kind: bench.Kind(c.Args().First()), Client: conn.options(), Limits: c.Bool("limits"), Dir: c.String("dir"),
		Topic: c.String("topic"), Partitions: int32(c.Int("partitions")), Size: int(size),
		Producers: c.Int("producers"), Window: c.Int("window"), Records: c.Int64("records"), Duration: c.Duration("duration"), Acks: acks,
	})
	if err != nil {
		return conn.explain(err)
	}
	return a.show(c, results, func(w io.Writer) { benchTable(w, results) })
}

func benchTable(w io.Writer, results []bench.Result) {
	fmt.Fprintln(w, "NAME\tVALUE\tUNIT\tP50 us\tP99 us\tCPU us/record\tRATIO\tP50 RATIO\tP99 RATIO\tBOUND\t")
	for _, r := range results {
		fmt.Fprintf(w, "%s\t%.0f\t%s\t%s\t%s\t%.1f\t%s\t%s\t%s\t%s\t\n", r.Name, r.Value, r.Unit,
			number("%.0f", r.P50), number("%.0f", r.P99), r.CPUPerRecord,
			number("%.2f", r.Ratio), number("%.2f", r.P50Ratio), number("%.2f", r.P99Ratio), r.Bound)
	}
}

// number is a dash for what was not measured.
func number(format string, v float64) string {
	if v == 0 {
		return "-"
	}
	return fmt.Sprintf(format, v)
}
