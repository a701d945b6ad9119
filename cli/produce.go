package cli

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/rustmq/rustmq/client"
	"github.com/rustmq/rustmq/mq"
)

// interruptFlush is how long what was read already may take to be delivered after an interrupt.
const interruptFlush = 5 * time.Second

func (a *app) produceCommand() *cli.Command {
	return &cli.Command{
		Name:      "produce",
		ArgsUsage: "TOPIC [FILE ...]",
		Usage:     "send each line of files, or of stdin, as a record",
		Description: "A line's record is all that comes before its newline: a carriage return stays, and an empty line is an empty value. A last line\n" +
			"without a newline counts. FILE may be - for stdin. Retries leave no duplicates. A summary goes to stderr; the exit status is 1 if\n" +
			"any record was not delivered.\n\n" +
			"Example: rustmq produce orders --key-separator : -H source=shop orders.txt",
		Flags: append([]cli.Flag{
			&cli.StringFlag{Name: "key-separator", Usage: "`SEP` splits each line into key and value; without it in the line the key is null"},
			&cli.StringFlag{Name: "key", Aliases: []string{"k"}, Usage: "`KEY` of every record"},
			&cli.StringSliceFlag{Name: "header", Aliases: []string{"H"}, Usage: "`NAME=VALUE` on every record; may be repeated"},
			&cli.IntFlag{Name: "partition", Aliases: []string{"p"}, Value: -1, DefaultText: "by key", Usage: "`NUMBER` of the partition that gets every record"},
			&cli.StringFlag{Name: "acks", Value: "all", Usage: "`DURABILITY` at which a record counts as delivered: none, leader, all, object"},
			&cli.StringFlag{Name: "compression", Value: "none", Usage: "`CODEC` for batches: none, gzip, snappy, lz4, zstd"},
			&cli.Float64Flag{Name: "rate", DefaultText: "no limit", Usage: "at most `N` records in a second"},
		}, connectFlags("key-file")...),
		Action: a.produce,
	}
}

// shape is what records are made of but their lines.
type shape struct {
	topic     string
	key       []byte
	separator []byte
	headers   []mq.Header
	partition int32 // -1: by key
}

func produceShape(c *cli.Context) (shape, error) {
	s := shape{partition: int32(c.Int("partition")), separator: []byte(c.String("key-separator"))}
	if err := arguments(c, 1, -1); err != nil {
		return s, err
	}
	s.topic = c.Args().First()
	if err := mq.ValidTopicName(s.topic); err != nil {
		return s, usagef("produce: %v", err)
	}
	if c.IsSet("key") {
		s.key = []byte(c.String("key"))
	}
	switch {
	case c.IsSet("key") && c.IsSet("key-separator"):
		return s, usagef("produce: --key and --key-separator exclude each other")
	case c.IsSet("key-separator") && len(s.separator) == 0:
		return s, usagef("produce: --key-separator is empty")
	case c.IsSet("partition") && s.partition < 0:
		return s, usagef("produce: --partition %d: partitions count from 0", s.partition)
	case c.IsSet("rate") && !(c.Float64("rate") > 0):
		return s, usagef("produce: --rate %v: it must be above 0", c.Float64("rate"))
	}
	for _, text := range c.StringSlice("header") {
		name, value, ok := strings.Cut(text, "=")
		if !ok || name == "" {
			return s, usagef("produce: -H %q: write NAME=VALUE", text)
		}
		s.headers = append(s.headers, mq.Header{Key: name, Value: []byte(value)})
	}
	return s, nil
}

func (a *app) producerOptions(c *cli.Context, s shape) ([]client.Option, error) {
	acks, err := mq.ParseDurability(c.String("acks"))
	if err != nil {
		return nil, usagef("produce: --acks %q: it may be none, leader, all or object", c.String("acks"))
	}
	codec, err := mq.ParseCompression(c.String("compression"))
	if err != nil {
		return nil, usagef("produce: --compression %q: it may be none, gzip, snappy, lz4 or zstd", c.String("compression"))
	}
	conn, err := a.connection(c, client.DefaultDeliveryTimeout)
	if err != nil {
		return nil, err
	}
	opts := append(conn.options(), client.RequiredAcks(acks), client.Compression(codec, 0), client.DeliveryTimeout(conn.timeout))
	if s.partition >= 0 {
		opts = append(opts, client.PartitionBy(client.ManualPartitioner()))
	}
	return opts, nil
}

func (a *app) produce(c *cli.Context) (err error) {
	s, err := produceShape(c)
	if err != nil {
		return err
	}
	opts, err := a.producerOptions(c, s)
	if err != nil {
		return err
	}
	cl, err := client.New(opts...)
	if err != nil {
		return usageIfInvalid(err)
	}
	defer func() { err = errors.Join(err, cl.Close()) }()
	ctx, stop := signal.NotifyContext(c.Context, os.Interrupt, syscall.SIGTERM)
	defer stop()

	p := &producing{cl: cl, shape: s, tally: newTally(), pace: newPace(c.Float64("rate"))}
	stopProgress := a.progress(p.tally)
	read := make(chan error, 1)
	go func() { read <- p.inputs(ctx, a.stdin, c.Args().Tail()) }()
	var readErr error
	flush := context.Background()
	select {
	case readErr = <-read:
	case <-ctx.Done():
		readErr = errors.New("interrupted")
		var cancel context.CancelFunc
		flush, cancel = context.WithTimeout(flush, interruptFlush)
		defer cancel()
	}
	flushErr := cl.Flush(flush)
	stopProgress()
	fmt.Fprintln(a.stderr, p.tally.summary())
	return p.outcome(readErr, flushErr)
}

// producing is one run of the command.
type producing struct {
	cl    *client.Client
	shape shape
	tally *tally
	pace  *pace
	pool  sync.Pool
}

// outcome is what went wrong, nil if every record was delivered and all input read.
func (p *producing) outcome(readErr, flushErr error) error {
	if failed, first := p.tally.failures(); failed > 0 {
		return fmt.Errorf("produce to %s: %d of %d records were not delivered: %w", p.shape.topic, failed, p.tally.sent.Load(), first)
	}
	if readErr != nil {
		return fmt.Errorf("produce to %s: %w", p.shape.topic, readErr)
	}
	return mq.Wrapf(flushErr, "produce to %s: %d records have no outcome", p.shape.topic, p.tally.pending())
}

// inputs produces all files, or stdin without any, in order.
func (p *producing) inputs(ctx context.Context, stdin io.Reader, files []string) error {
	if len(files) == 0 {
		files = []string{"-"}
	}
	for _, name := range files {
		if name == "-" {
			if err := p.lines(ctx, stdin, "stdin"); err != nil {
				return err
			}
			continue
		}
		f, err := os.Open(name)
		if err != nil {
			return err
		}
		if err := errors.Join(p.lines(ctx, f, name), f.Close()); err != nil {
			return err
		}
	}
	return nil
}

// lines produces each line of one input, until one fails in a way that others would too.
func (p *producing) lines(ctx context.Context, r io.Reader, name string) error {
	in := newLineReader(r)
	for {
		line, err := in.next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("read %s, line %d: %w", name, in.number, err)
		}
		if err := p.pace.wait(ctx); err != nil {
			return err
		}
		p.line(ctx, line)
		if p.tally.hopeless() {
			return nil
		}
	}
}

// line produces one record. The line's memory may be used again when it returns.
func (p *producing) line(ctx context.Context, line []byte) {
	rec, _ := p.pool.Get().(*client.Record)
	if rec == nil {
		rec = new(client.Record)
	}
	*rec = client.Record{Topic: p.shape.topic, Key: p.shape.key, Value: line, Headers: p.shape.headers}
	if len(p.shape.separator) > 0 {
		if i := bytes.Index(line, p.shape.separator); i >= 0 {
			rec.Key, rec.Value = line[:i:i], line[i+len(p.shape.separator):]
		}
	}
	if p.shape.partition >= 0 {
		rec.Partition = p.shape.partition
	}
	bytes := int64(len(rec.Key) + len(rec.Value))
	if !p.tally.begin(bytes) {
		p.cl.Produce(ctx, rec, p.done)
		return
	}
	began := time.Now()
	p.cl.Produce(ctx, rec, func(rec *client.Record, err error) {
		if err == nil {
			p.tally.took(time.Since(began))
		}
		p.done(rec, err)
	})
}

// done is every record's promise.
func (p *producing) done(rec *client.Record, err error) {
	p.tally.end(rec.Reached, err)
	p.pool.Put(rec)
}

// progress shows a line that changes on a terminal. The returned function ends it.
func (a *app) progress(t *tally) (stop func()) {
	if !terminal(a.stderr) {
		return func() {}
	}
	ended, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		tick := time.NewTicker(500 * time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
				fmt.Fprintf(a.stderr, "\r\x1b[K%s", t.progress())
			case <-ended:
				fmt.Fprint(a.stderr, "\r\x1b[K")
				return
			}
		}
	}()
	return func() {
		close(ended)
		<-stopped
	}
}
