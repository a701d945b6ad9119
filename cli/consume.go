package cli

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"slices"
	"sync"
	"syscall"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/rustmq/rustmq/client"
	"github.com/rustmq/rustmq/mq"
)

const (
	// writeBuffer is the size of writes to stdout.
	writeBuffer = 256 << 10
	// flushEvery is how long what was written may stay in the buffer.
	flushEvery = 20 * time.Millisecond
)

func (a *app) consumeCommand() *cli.Command {
	return &cli.Command{
		Name:      "consume",
		ArgsUsage: "TOPIC",
		Usage:     "write records to stdout",
		Description: "Stops at the end that it saw when it started, unless --follow or -n. Records of one partition come in offset order.\n\n" +
			"Format: " + formatHelp + "\n\n" +
			"Example: rustmq consume orders --from -1h -f '%p %o %k %s\\n'",
		Flags: append([]cli.Flag{
			&cli.StringFlag{Name: "from", Value: "start", Usage: "`PLACE` of the first record: start, end, an OFFSET, a TIMESTAMP (RFC 3339 or @ms), or a time ago such as -1h"},
			&cli.StringFlag{Name: "to", DefaultText: "the end when it starts", Usage: "`PLACE` to stop before, as of --from"},
			&cli.StringFlag{Name: "group", Usage: "read as a member of consumer group `G`: where it has committed, and from --from where it has not; what is written is committed"},
			&cli.IntSliceFlag{Name: "partition", Aliases: []string{"p"}, Usage: "`NUMBER` of a partition to read, may be repeated (default: all)"},
			&cli.Int64Flag{Name: "count", Aliases: []string{"n"}, Usage: "stop after `COUNT` records, and wait for them"},
			&cli.BoolFlag{Name: "follow", Usage: "go on with what is produced later"},
			&cli.StringFlag{Name: "format", Aliases: []string{"f"}, Value: `%s\n`, Usage: "how a record is written"},
			&cli.StringFlag{Name: "isolation", Value: "committed", Usage: "`LEVEL` of what is read: committed, or object for what is in the object store only"},
		}, connectFlags("key", "key-file")...),
		Action: a.consume,
	}
}

// reading is one run of the command.
type reading struct {
	topic     string
	group     string // empty for none
	chosen    []int
	from, to  place
	limit     int64 // of records, 0 for none
	follow    bool
	stopAtEnd bool
	isolation mq.Isolation
	format    format
	conn      connection

	enough bool // records were written, and the rest of the last batch was not
}

func (a *app) readingOf(c *cli.Context) (*reading, error) {
	topic, err := topicName(c)
	if err != nil {
		return nil, err
	}
	r := &reading{topic: topic, group: c.String("group"), chosen: c.IntSlice("partition"), limit: c.Int64("count"), follow: c.Bool("follow")}
	if c.IsSet("count") && r.limit < 1 {
		return nil, usagef("consume: -n %d: it must be at least 1", r.limit)
	}
	for _, p := range r.chosen {
		if p < 0 {
			return nil, usagef("consume: --partition %d: partitions count from 0", p)
		}
	}
	if r.format, err = parseFormat(c.String("format")); err != nil {
		return nil, err
	}
	if c.IsSet("group") && r.group == "" {
		return nil, usagef("consume: --group is empty")
	}
	if r.group != "" && len(r.chosen) > 0 {
		return nil, usagef("consume: --partition does not go with --group: the group's coordinator assigns partitions")
	}
	if r.isolation, err = mq.ParseIsolation(c.String("isolation")); err != nil {
		return nil, usagef("consume: --isolation %q: it may be committed or object", c.String("isolation"))
	}
	now := time.Now()
	if r.from, err = parsePlace("from", c.String("from"), now); err != nil {
		return nil, err
	}
	if r.to, err = parsePlace("to", or(c.String("to"), "end"), now); err != nil {
		return nil, err
	}
	if r.group != "" && r.from.isOffset {
		return nil, usagef("consume: --from %s does not go with --group: an offset may be there in one partition only", c.String("from"))
	}
	r.stopAtEnd = c.IsSet("to") || !r.follow && r.limit == 0
	r.conn, err = a.connection(c, defaultTimeout)
	return r, err
}

func (a *app) consume(c *cli.Context) (err error) {
	r, err := a.readingOf(c)
	if err != nil {
		return err
	}
	cl, err := client.New(r.conn.options()...)
	if err != nil {
		return usageIfInvalid(err)
	}
	defer func() { err = errors.Join(err, cl.Close()) }()
	ctx, stop := signal.NotifyContext(c.Context, os.Interrupt, syscall.SIGTERM)
	defer stop()
	consumer, err := r.open(ctx, cl)
	if err != nil {
		return r.conn.explain(mq.Wrapf(err, "consume %s", r.topic))
	}
	out := newOutput(a.stdout)
	err = r.copy(ctx, consumer, out)
	if r.group != "" && !r.enough && (err == nil || ctx.Err() != nil) {
		err = errors.Join(err, r.settle(consumer))
	}
	err = errors.Join(err, out.close(), consumer.Close())
	if ctx.Err() != nil && mq.CodeOf(err) == mq.Canceled {
		return nil // interrupted: what was read is written
	}
	return mq.Wrapf(err, "consume %s", r.topic)
}

// open finds the partitions and their ends, and makes the consumer.
func (r *reading) open(ctx context.Context, cl *client.Client) (*client.Consumer, error) {
	ctx, cancel := context.WithTimeout(ctx, r.conn.timeout)
	defer cancel()
	partitions, err := r.partitions(ctx, cl)
	if err != nil {
		return nil, err
	}
	ends, err := r.ends(ctx, cl, partitions)
	if err != nil {
		return nil, err
	}
	opts := []client.ConsumerOption{client.ReadIsolation(r.isolation)}
	if r.group != "" {
		opts = append(opts, client.Group(r.group), client.Topics(r.topic), client.AutoCommit(0), client.ResetTo(r.from.Position))
		partitions = nil
	}
	for _, p := range partitions {
		opts = append(opts, client.Assign(r.topic, p, r.from.Position))
	}
	consumer, err := cl.NewConsumer(opts...)
	if err != nil {
		return nil, err
	}
	if ends != nil {
		consumer.StopAt(ends)
	}
	return consumer, nil
}

func (r *reading) partitions(ctx context.Context, cl *client.Client) ([]int32, error) {
	meta, err := cl.Metadata(ctx, r.topic)
	if err != nil {
		return nil, err
	}
	var all []int32
	for _, t := range meta.Topics {
		if t.Err != nil {
			return nil, t.Err
		}
		for _, p := range t.Partitions {
			all = append(all, p.Partition)
		}
	}
	if len(r.chosen) == 0 {
		return all, nil
	}
	var chosen []int32
	for _, p := range r.chosen {
		if !slices.Contains(all, int32(p)) {
			return nil, mq.Errorf(mq.UnknownTopicOrPartition, "there is no partition %d: the topic has %d, from 0", p, len(all))
		}
		if !slices.Contains(chosen, int32(p)) {
			chosen = append(chosen, int32(p))
		}
	}
	return chosen, nil
}

// ends is where to stop, nil for nowhere.
func (r *reading) ends(ctx context.Context, cl *client.Client, partitions []int32) (map[client.TopicPartition]mq.Offset, error) {
	if !r.stopAtEnd {
		return nil, nil
	}
	now, err := r.list(ctx, cl, client.End(), partitions)
	if err != nil || r.to.isEnd {
		return now, err
	}
	ends := now
	if !r.to.isOffset {
		if ends, err = r.list(ctx, cl, r.to.Position, partitions); err != nil {
			return nil, err
		}
	}
	for tp, end := range now {
		switch {
		case r.to.isOffset && r.follow:
			ends[tp] = r.to.offset
		case r.to.isOffset:
			ends[tp] = min(r.to.offset, end)
		case ends[tp] < 0 && r.follow:
			delete(ends, tp) // nothing is that young yet
		case ends[tp] < 0:
			ends[tp] = end
		}
	}
	return ends, nil
}

func (r *reading) list(ctx context.Context, cl *client.Client, at client.Position, partitions []int32) (map[client.TopicPartition]mq.Offset, error) {
	listed, err := cl.ListOffsets(ctx, r.topic, at, r.isolation, partitions...)
	if err != nil {
		return nil, err
	}
	offsets := map[client.TopicPartition]mq.Offset{}
	for _, p := range partitions {
		if err := listed[p].Err; err != nil {
			return nil, mq.Wrapf(err, "find %s of partition %d", at, p)
		}
		offsets[client.TopicPartition{Topic: r.topic, Partition: p}] = listed[p].Offset
	}
	return offsets, nil
}

// copy writes records until there are enough of them. Reading to an end that is
// known fails when nothing comes for longer than the timeout.
func (r *reading) copy(ctx context.Context, consumer *client.Consumer, out *output) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var silence *time.Timer
	if r.stopAtEnd && !r.follow {
		silence = time.AfterFunc(r.conn.timeout, func() {
			cancel(mq.Errorf(mq.RequestTimedOut, "nothing came from %v for %s, and the end is not reached", r.conn.Server, r.conn.timeout))
		})
		defer silence.Stop()
	}
	var buf mq.DecodeBuffer
	left := r.limit
	for batch, err := range consumer.Batches(ctx) {
		if err != nil {
			if cause := context.Cause(ctx); cause != nil {
				return cause
			}
			return err
		}
		if silence != nil {
			silence.Stop()
		}
		n, err := out.batch(r, batch, &buf, left)
		if err != nil {
			return err
		}
		if r.group != "" {
			if err := r.commit(ctx, consumer, out, batch, r.limit > 0 && n == left); err != nil {
				return err
			}
		}
		if left -= n; r.limit > 0 && left <= 0 {
			return nil
		}
		if silence != nil {
			silence.Reset(r.conn.timeout)
		}
	}
	return nil
}

// commit commits what was written of a batch, once it is out of this process: at once, or, as the last one, and waits for it.
func (r *reading) commit(ctx context.Context, consumer *client.Consumer, out *output, batch *client.Batch, last bool) error {
	out.flush()
	if out.err != nil {
		return out.err
	}
	at := client.CommitOffset{Topic: batch.Topic, Partition: batch.Partition, Offset: batch.To}
	if !last {
		consumer.CommitAsync(nil, at) // what fails is committed with what follows
		return nil
	}
	r.enough, at.Offset = true, out.next
	return consumer.CommitSync(ctx, at)
}

// settle waits until all that was written is committed, also when the command was interrupted.
func (r *reading) settle(consumer *client.Consumer) error {
	ctx, cancel := context.WithTimeout(context.Background(), r.conn.timeout)
	defer cancel()
	return mq.Wrapf(consumer.CommitSync(ctx), "commit for group %s", r.group)
}

// output is stdout behind a buffer that is never old.
type output struct {
	mu      sync.Mutex
	w       *bufio.Writer
	err     error
	line    []byte
	next    mq.Offset // behind the last record of a batch that was written
	stop    chan struct{}
	stopped chan struct{}
}

func newOutput(w io.Writer) *output {
	o := &output{w: bufio.NewWriterSize(w, writeBuffer), stop: make(chan struct{}), stopped: make(chan struct{})}
	go o.flushing()
	return o
}

func (o *output) flushing() {
	defer close(o.stopped)
	tick := time.NewTicker(flushEvery)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			o.flush()
		case <-o.stop:
			return
		}
	}
}

func (o *output) flush() {
	o.mu.Lock()
	defer o.mu.Unlock()
	if err := o.w.Flush(); err != nil && o.err == nil {
		o.err = fmt.Errorf("write output: %w", err)
	}
}

func (o *output) close() error {
	close(o.stop)
	<-o.stopped
	o.flush()
	return o.err
}

// batch writes the wanted records of one batch, at most limit if that is not 0, and
// returns how many.
func (o *output) batch(r *reading, batch *client.Batch, buf *mq.DecodeBuffer, limit int64) (n int64, err error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if batch.Data.IsControl() {
		return 0, nil
	}
	for rec, err := range batch.Data.Records(buf) {
		if err != nil {
			return n, mq.Wrapf(err, "read %s/%d, batch at %d", batch.Topic, batch.Partition, batch.Data.BaseOffset())
		}
		if rec.Offset < batch.From || rec.Offset >= batch.To {
			continue
		}
		o.line = o.line[:0]
		for _, piece := range r.format {
			o.line = piece(o.line, batch.Topic, batch.Partition, &rec)
		}
		if _, err := o.w.Write(o.line); err != nil {
			return n, fmt.Errorf("write output: %w", err)
		}
		o.next = rec.Offset + 1
		if n++; n == limit {
			break
		}
	}
	return n, o.err
}
