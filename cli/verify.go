package cli

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/rustmq/rustmq/cli/verify"
	"github.com/rustmq/rustmq/client"
	"github.com/rustmq/rustmq/history"
	"github.com/rustmq/rustmq/mq"
	"github.com/rustmq/rustmq/node"
)

func (a *app) verifyCommand() *cli.Command {
	return &cli.Command{
		Name:  "verify",
		Usage: "run a workload, and check that no promise was broken meanwhile",
		Description: "Producers and readers work on a topic while you break things: kill servers, stop them, cut their network or their power. " +
			"Every send, answer and read is noted, everything is read again at the end, and the history is checked for records that are lost, " +
			"moved, duplicated, reordered, skipped, corrupt, or that nobody sent. The exit status is 1 if anything is wrong. The topic must be nobody else's. " +
			"A signal ends the work early, and all is checked as if the time were up; a second one ends it without.\n\n" +
			"Example: rustmq verify --topic proof --partitions 6 --replicas 3 --duration 5m --report proof.json",
		Flags: append([]cli.Flag{
			&cli.StringFlag{Name: "topic", Value: "rustmq-verify", Usage: "`TOPIC` to use; it is created if missing, and stays"},
			&cli.IntFlag{Name: "partitions", Value: 6, Usage: "`NUMBER` of partitions, if the topic is created"},
			&cli.IntFlag{Name: "replicas", DefaultText: "the cluster's default", Usage: "`NUMBER` of replicas, if the topic is created"},
			&cli.StringFlag{Name: "acks", Value: "all", Usage: "`DURABILITY` at which a record counts as delivered: leader, all, object"},
			&cli.DurationFlag{Name: "duration", Value: time.Minute, Usage: "`TIME` to work"},
			&cli.DurationFlag{Name: "heal", Value: time.Minute, Usage: "`TIME` that the cluster may take at the end to answer for everything"},
			&cli.IntFlag{Name: "producers", Value: 4, Usage: "`NUMBER` of producers, each a client of its own"},
			&cli.IntFlag{Name: "readers", Value: 2, Usage: "`NUMBER` of readers that follow; one more jumps about"},
			&cli.Float64Flag{Name: "rate", Value: 2000, Usage: "`N` records in a second, of all producers together"},
			&cli.StringFlag{Name: "size", Value: "256B", Usage: "`SIZE` of a value"},
			&cli.StringFlag{Name: "report", Usage: "also write the report to `FILE`, as JSON"},
			outputFlag(),
		}, connectFlags("key", "key-file")...),
		Action: a.verify,
	}
}

func (a *app) verify(c *cli.Context) error {
	if err := arguments(c, 0, 0); err != nil {
		return err
	}
	if err := checkOutput(c); err != nil {
		return err
	}
	cfg, err := a.verifyConfig(c)
	if err != nil {
		return err
	}
	enough, stop := signal.NotifyContext(c.Context, os.Interrupt, syscall.SIGTERM)
	defer stop()
	context.AfterFunc(enough, stop) // a second signal ends the process
	report, err := verify.Run(c.Context, enough, cfg)
	if err != nil {
		return fmt.Errorf("verify: %w", err)
	}
	if path := c.String("report"); path != "" {
		text, err := json.MarshalIndent(report, "", "  ")
		if err != nil {
			return fmt.Errorf("verify: encode the report: %w", err)
		}
		if err := os.WriteFile(path, append(text, '\n'), 0o644); err != nil {
			return fmt.Errorf("verify: %w", err)
		}
	}
	if err := a.show(c, report, func(w io.Writer) { verifyTable(w, report) }); err != nil {
		return err
	}
	if n := len(report.Anomalies); n > 0 {
		return fmt.Errorf("verify: %d anomalies, the first: %s", n, report.Anomalies[0])
	}
	return nil
}

func (a *app) verifyConfig(c *cli.Context) (verify.Config, error) {
	acks, err := mq.ParseDurability(c.String("acks"))
	if err != nil || acks == mq.DurabilityNone {
		return verify.Config{}, usagef("verify: --acks %q: it may be leader, all or object", c.String("acks"))
	}
	size, err := node.ParseSize(c.String("size"))
	if err != nil {
		return verify.Config{}, usagef("verify: --size: %v", err)
	}
	topic := c.String("topic")
	if err := mq.ValidTopicName(topic); err != nil {
		return verify.Config{}, usagef("verify: %v", err)
	}
	switch {
	case size < history.MinValueBytes || size > mq.DefaultMaxBatchBytes/2:
		return verify.Config{}, usagef("verify: --size %s: from %d bytes to %d", c.String("size"), history.MinValueBytes, mq.DefaultMaxBatchBytes/2)
	case c.Int("partitions") < 1 || c.Int("partitions") > mq.MaxPartitionsPerTopic:
		return verify.Config{}, usagef("verify: --partitions %d: from 1 to %d", c.Int("partitions"), mq.MaxPartitionsPerTopic)
	case c.Int("replicas") < 0 || c.Int("replicas") > mq.MaxReplicationFactor:
		return verify.Config{}, usagef("verify: --replicas %d: from 1 to %d", c.Int("replicas"), mq.MaxReplicationFactor)
	case c.Int("producers") < 1 || c.Int("readers") < 0:
		return verify.Config{}, usagef("verify: --producers is at least 1, and --readers at least 0")
	case !(c.Float64("rate") > 0) || c.Duration("duration") <= 0 || c.Duration("heal") <= 0:
		return verify.Config{}, usagef("verify: --rate, --duration and --heal must be above 0")
	}
	conn, err := a.connection(c, client.DefaultDeliveryTimeout)
	if err != nil {
		return verify.Config{}, err
	}
	return verify.Config{
		Topic: topic, Partitions: int32(c.Int("partitions")), Replicas: int16(c.Int("replicas")), Acks: acks,
		Producers: c.Int("producers"), Readers: c.Int("readers"), Rate: c.Float64("rate"), Size: int(size),
		Duration: c.Duration("duration"), Heal: c.Duration("heal"),
		Client: func(more ...client.Option) (*client.Client, error) {
			return client.New(append(append(conn.options(), client.DeliveryTimeout(conn.timeout)), more...)...)
		},
		Random: rand.Reader, Logger: slog.New(slog.NewTextHandler(a.stderr, nil)),
	}, nil
}

func verifyTable(w io.Writer, r *verify.Report) {
	var longest int64
	for _, g := range r.Gaps {
		longest = max(longest, g.MS)
	}
	row(w, "TOPIC", r.Topic)
	row(w, "PARTITIONS", r.Partitions)
	row(w, "RECORDS SENT", r.Sent)
	row(w, "ACKNOWLEDGED", r.Acked)
	row(w, "REFUSED", r.Refused)
	row(w, "OF UNKNOWN FATE", r.Unknown)
	row(w, "READ BY READERS", r.Read)
	row(w, "ACK P50", time.Duration(r.AckP50)*time.Microsecond)
	row(w, "ACK P99", time.Duration(r.AckP99)*time.Microsecond)
	row(w, "LONGEST GAP", time.Duration(longest)*time.Millisecond)
	row(w, "ANOMALIES", len(r.Anomalies))
	for _, anomaly := range r.Anomalies {
		row(w, "", anomaly)
	}
}
