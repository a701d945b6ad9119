package cli

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime/debug"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/rustmq/rustmq/cli/bench"
	"github.com/rustmq/rustmq/client"
	"github.com/rustmq/rustmq/mq"
	"github.com/rustmq/rustmq/node"
)

// farEnd is the kind of bench that is the other process of the bounds. Only bench itself runs it.
const farEnd = "far-end"

const benchHelp = "produce: producers keep a window of records in flight; records per second until acknowledged.\n" +
	"latency: each producer has one record in flight; time to the acknowledgement.\n" +
	"consume: one consumer reads from a place, 2 GiB unless --records says otherwise, after it has produced that. --from says which place:\n" +
	"  tail: the server's memory, the newest 96 MiB over and over.\n" +
	"  log: the server's write-ahead log. By default the log lets go of what the tail does not hold any more, since the object store has it: to " +
	"measure it, start the server with RUSTMQ_MEMORY_TAIL_SIZE=1MiB, RUSTMQ_OBJECT_STORE_FLUSH_SIZE=4GiB and RUSTMQ_OBJECT_STORE_FLUSH_AGE=1h.\n" +
	"  store: the object store, with a block cache that has none of it. The system's page cache may have it, as it may what is in the log.\n" +
	"  The server's metrics must say that the bytes came from there: consume needs --admin.\n\n" +
	"With --limits this machine's bounds are measured in the same run, in turn with the figure, and the figure is given as a ratio to its bound: " +
	"run it on the server's machine, with nothing else going on. All are medians of --rounds rounds. A bound is the same work with all " +
	"of RustMQ left out, done by two processes as RustMQ's is:\n" +
	"  quic_bulk_N (produce, consume): N connections of bare quic-go, each on a socket of its own with one stream, 64 KiB writes, in the " +
	"direction of the figure. N is --connections.\n" +
	"  tls_bulk (beside it, for comparison; with --transport tcp in its place): one TLS 1.3 connection over TCP.\n" +
	"  store_get_N (consume --from store with --object-store): N ranged reads of the server's bucket at a time, as large as the server's. The figure is " +
	"given as a ratio to the smaller one of this and quic_bulk_N.\n" +
	"  tcp_bulk (with --against kafka, in their place): one TCP connection without TLS.\n" +
	"  quic_floor_N (latency): the composed floor. N producers, one record in flight each, on QUIC streams that stay open, into a file by group " +
	"commit, and an acknowledgement back. N is --producers.\n" +
	"  group_commit_N (latency, for wal_append_N: RustMQ's log alone, without network and server): N producers, one record in flight each, and " +
	"one goroutine that writes all that waits into a zeroed file and calls fdatasync once.\n\n" +
	"--against kafka drives any server that speaks Kafka's protocol, at --server without TLS, with franz-go: produce with batches of 64 KiB, idempotent and acknowledged by all in-sync " +
	"replicas, or consume what was produced before, 96 MiB over and over unless --records says otherwise. --connections is the number of clients: each consumes some of the " +
	"partitions, or has its part of the records in flight (--producers times --window). --from and --acks say nothing then.\n\n" +
	"Example: rustmq bench latency --producers 16 --limits"

func (a *app) benchCommand() *cli.Command {
	return &cli.Command{
		Name:        "bench",
		ArgsUsage:   "produce|latency|consume",
		Usage:       "measure a cluster, beside the machine's own bounds",
		Description: benchHelp,
		Flags: append([]cli.Flag{
			&cli.BoolFlag{Name: "limits", Usage: "measure this machine's bounds in the same run"},
			&cli.StringFlag{Name: "against", Usage: "`PROTOCOL` to speak instead of RustMQ's own: kafka"},
			&cli.StringFlag{Name: "from", Value: string(bench.FromTail), Usage: "`PLACE` that consume reads from: tail, log or store"},
			&cli.StringFlag{Name: "size", Value: "1KiB", Usage: "`SIZE` of a record's value, incompressible"},
			&cli.IntFlag{Name: "producers", Value: 16, Usage: "`NUMBER` of producers at a time"},
			&cli.IntFlag{Name: "window", Value: 256, Usage: "`NUMBER` of records that a producer has in flight (produce and consume)"},
			&cli.IntFlag{Name: "connections", Value: client.DefaultConnections, Usage: "`NUMBER` of the client's connections, and of those of the QUIC bounds"},
			&cli.Int64Flag{Name: "records", Usage: "produce or consume `NUMBER` records in all rounds together"},
			&cli.DurationFlag{Name: "duration", Usage: "`TIME` of each measurement, all its rounds together (default 8s)"},
			&cli.IntFlag{Name: "rounds", Value: 8, Usage: "`NUMBER` of rounds in which bounds and figures take turns"},
			&cli.StringFlag{Name: "topic", Value: "rustmq-bench", Usage: "`TOPIC` to use; it is created if missing, and stays"},
			&cli.IntFlag{Name: "partitions", Value: 4, Usage: "`NUMBER` of partitions, if the topic is created"},
			&cli.StringFlag{Name: "acks", Value: "all", Usage: "`DURABILITY`: none, leader, all, object"},
			&cli.StringFlag{Name: "dir", Value: ".", Usage: "`DIR` on the disk whose bound is measured: that of the server's log"},
			&cli.StringFlag{Name: "object-store", Usage: "`URL` of the server's object store, to read it beside consume --from store --limits"},
			&cli.StringFlag{Name: "admin", Value: node.Default().Admin.Listen, Usage: "`HOST:PORT` of the server's admin listener, where its metrics are; none: do not ask"},
			outputFlag(),
		}, connectFlags("key", "key-file")...),
		Action: a.bench,
	}
}

func (a *app) bench(c *cli.Context) error {
	if err := arguments(c, 1, 1); err != nil {
		return err
	}
	if info, err := os.Stat(c.String("dir")); err != nil || !info.IsDir() {
		return usagef("bench: --dir %q is not a directory", c.String("dir"))
	}
	if c.Args().First() == farEnd {
		return bench.ServeFarEnd(c.String("dir"), a.stdin, a.stdout)
	}
	o, err := benchOptions(c)
	if err != nil {
		return err
	}
	conn, err := a.connection(c, defaultTimeout)
	if err != nil {
		return err
	}
	o.Client, o.Spawn, o.OverTCP = conn.options(), a.spawn, conn.over == client.TCP
	if c.String("against") != "" {
		o.Kafka = conn.Server
	}
	defer lazyCollector()()
	results, err := bench.Run(c.Context, o)
	if err != nil {
		return conn.explain(err)
	}
	return a.show(c, results, func(w io.Writer) { benchTable(w, results) })
}

// benchGC is how much garbage may come together while it is measured, in percent of what is alive: that is little, so that by Go's default a client collects all the time, which is no figure of the
// server's: franz-go fetches half as much again from the same server when it collects less often.
const benchGC = 400

// lazyCollector collects garbage less often until the function that it gives is called, unless the environment says how often.
func lazyCollector() func() {
	if _, said := os.LookupEnv("GOGC"); said {
		return func() {}
	}
	before := debug.SetGCPercent(benchGC)
	return func() { debug.SetGCPercent(before) }
}

func benchOptions(c *cli.Context) (bench.Options, error) {
	o := bench.Options{
		Kind: bench.Kind(c.Args().First()), From: bench.Source(c.String("from")), Limits: c.Bool("limits"), Dir: c.String("dir"),
		Topic: c.String("topic"), Partitions: int32(c.Int("partitions")), Connections: c.Int("connections"),
		Producers: c.Int("producers"), Window: c.Int("window"), Records: c.Int64("records"), Duration: c.Duration("duration"), Rounds: c.Int("rounds"),
	}
	if err := checkOutput(c); err != nil {
		return o, err
	}
	switch o.Kind {
	case bench.Produce, bench.Latency, bench.Consume:
	default:
		return o, usagef("bench: there is no benchmark %q: it may be produce, latency or consume", o.Kind)
	}
	switch o.From {
	case bench.FromTail, bench.FromLog, bench.FromStore:
	default:
		return o, usagef("bench: --from %q is no place: it may be tail, log or store", o.From)
	}
	if err := checkAgainst(c, o.Kind); err != nil {
		return o, err
	}
	size, err := node.ParseSize(c.String("size"))
	if err != nil || size < 1 || size > mq.DefaultMaxBatchBytes/2 {
		return o, usagef("bench: --size %q is not a size from 1 to %d bytes", c.String("size"), mq.DefaultMaxBatchBytes/2)
	}
	o.Size = int(size)
	if o.Acks, err = mq.ParseDurability(c.String("acks")); err != nil {
		return o, usagef("bench: %v", err)
	}
	for _, flag := range []string{"producers", "window", "partitions", "connections", "rounds"} {
		if c.Int(flag) < 1 {
			return o, usagef("bench: --%s %d is not a number above 0", flag, c.Int(flag))
		}
	}
	if o.Records < 0 || o.Records > 0 && o.Records < int64(o.Rounds) {
		return o, usagef("bench: --records %d is less than one for each of %d rounds", o.Records, o.Rounds)
	}
	if o.Duration < 0 {
		return o, usagef("bench: --duration %s is below 0", o.Duration)
	}
	if o.ObjectStore = c.String("object-store"); o.ObjectStore != "" && (o.Kind != bench.Consume || o.From != bench.FromStore || !o.Limits) {
		return o, usagef("bench: --object-store is a bound of consume --from store: add --limits, or leave it out")
	}
	if o.Admin = c.String("admin"); o.Admin == "none" || c.String("against") != "" && !c.IsSet("admin") {
		o.Admin = "" // another server has none
	}
	return o, nil
}

// checkAgainst looks at --against.
func checkAgainst(c *cli.Context, kind bench.Kind) error {
	switch against := c.String("against"); {
	case against != "" && against != "kafka":
		return usagef("bench: --against %q is no protocol: it may be kafka", against)
	case against != "" && kind == bench.Latency:
		return usagef("bench: --against kafka measures produce and consume")
	}
	return nil
}

// spawnFarEnd runs this program once more, as the other process of the bounds.
func spawnFarEnd(ctx context.Context, dir string) (in io.WriteCloser, out io.Reader, wait func() error, err error) {
	program, err := os.Executable()
	if err != nil {
		return nil, nil, nil, err
	}
	cmd := exec.CommandContext(ctx, program, "bench", farEnd, "--dir", dir)
	cmd.Stderr = os.Stderr
	if in, err = cmd.StdinPipe(); err != nil {
		return nil, nil, nil, err
	}
	if out, err = cmd.StdoutPipe(); err != nil {
		return nil, nil, nil, err
	}
	return in, out, cmd.Wait, cmd.Start()
}

// benchTable has one line for each bound and figure. Latencies are there only when something has them.
func benchTable(w io.Writer, results []bench.Result) {
	latencies := false
	for _, r := range results {
		latencies = latencies || r.P50 > 0
	}
	columns := []any{"NAME", "RECORDS/S", "LEAST..MOST", "MB/S"}
	if latencies {
		columns = append(columns, "P50 us", "P99 us")
	}
	columns = append(columns, "CPU us: HERE", "SERVER", "RATIO")
	if latencies {
		columns = append(columns, "P50 x", "P99 x")
	}
	row(w, append(columns, "TO")...)
	for _, r := range results {
		cells := []any{r.Name, thousands(r.Value), thousands(r.Least) + ".." + thousands(r.Most), fmt.Sprintf("%.1f", r.BytesPerSecond()/1e6)}
		if latencies {
			cells = append(cells, number("%.0f", r.P50), number("%.0f", r.P99))
		}
		cells = append(cells, number("%.1f", r.CPUPerRecord), number("%.1f", r.ServerCPUPerRecord), number("%.2f", r.Ratio))
		if latencies {
			cells = append(cells, number("%.2f", r.P50Ratio), number("%.2f", r.P99Ratio))
		}
		row(w, append(cells, r.Bound)...)
	}
}

// thousands is a whole number with a comma between each three digits.
func thousands(v float64) string {
	digits := fmt.Sprintf("%.0f", v)
	var b strings.Builder
	for i, d := range digits {
		if i > 0 && (len(digits)-i)%3 == 0 {
			b.WriteByte(',')
		}
		b.WriteRune(d)
	}
	return b.String()
}

// number is a dash for what was not measured.
func number(format string, v float64) string {
	if v == 0 {
		return "-"
	}
	return fmt.Sprintf(format, v)
}
