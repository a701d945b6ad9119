package bench

import (
	"context"
	"errors"
	"fmt"
	"math"
	"sync/atomic"
	"time"

	"github.com/rustmq/rustmq/client"
	"github.com/rustmq/rustmq/mq"
)

const (
	// tailBytes is what is read over and over from the hot tail: it must fit in there.
	tailBytes = 96 << 20
	// fillStep is how much is produced first to push what is to be read out of the tail and out of the log; then twice as much each time.
	fillStep = 8 << 20
	// fillAtMost is where that is given up.
	fillAtMost = 8 << 30
	// warmPart: 1/warmPart of a round is read before its clock starts, for a new connection's slow start and what is fetched ahead.
	warmPart = 6
	// apart is the distance from where one round begins to read to where the next does, in parts of what it reads: partitions
	// do not advance evenly, and no round of the store shall meet in the cache what another has read.
	apart = 1.5
	// sourceAtLeast is the part of a round's bytes that must have come from where they were to come from.
	sourceAtLeast = 0.95
)

// offsets are one for each partition of the topic.
type offsets map[int32]mq.Offset

// consumption reads a range of the topic round by round. The tail's range is
// short and is read over and over; the log's and the store's are read once, a piece per round.
type consumption struct {
	*bench
	start, end offsets
	round      int64
	fetch      int64 // how many bytes the server asked of the object store at once in the last round
}

// newConsumption produces what is to be read, and brings it where it is to be read from.
func (b *bench) newConsumption(ctx context.Context) (*consumption, error) {
	if b.server == nil {
		return nil, mq.Errorf(mq.InvalidRequest, "to know where records come from, consume needs the server's metrics: the address of its admin listener")
	}
	c := &consumption{bench: b}
	var err error
	if c.start, err = b.highWatermarks(ctx); err != nil {
		return nil, err
	}
	records := int64(apart * float64(b.Records))
	if b.From == FromTail {
		records = min(records, int64(tailBytes/b.Size))
	}
	if err := b.fill(ctx, records); err != nil {
		return nil, err
	}
	if c.end, err = b.highWatermarks(ctx); err != nil {
		return nil, err
	}
	if b.From == FromTail {
		return c, c.mustBegin(ctx, "memory.tail_size is smaller than what was just produced")
	}
	if err := c.push(ctx); err != nil {
		return nil, err
	}
	if b.From == FromLog {
		return c, c.mustBegin(ctx, "the log has let go of it, for the object store has it: start the server with a larger object_store.flush_size and flush_age, and a smaller memory.tail_size")
	}
	return c, nil
}

func (b *bench) highWatermarks(ctx context.Context) (offsets, error) {
	topic, err := b.client.DescribeTopic(ctx, b.Topic)
	if err != nil {
		return nil, err
	}
	at := make(offsets, len(topic.Partitions))
	for _, p := range topic.Partitions {
		at[p.Partition] = p.HighWatermark
	}
	return at, nil
}

// fill produces so many records, evenly over the partitions, and waits until the server has come to rest.
func (b *bench) fill(ctx context.Context, records int64) error {
	at, err := b.highWatermarks(ctx)
	if err != nil {
		return err
	}
	c, err := client.New(b.clientOptions(client.PartitionBy(client.ManualPartitioner()))...)
	if err != nil {
		return err
	}
	defer c.Close()
	var turn atomic.Int64
	partitions := int64(len(at))
	_, err = b.pumpAll(ctx, c, &supply{records: records}, func(rec *client.Record) {
		rec.Partition = int32(turn.Add(1) / 64 % partitions) // some in a row to one partition, so that batches fill
	})
	if err != nil {
		return err
	}
	return b.server.quiet(ctx)
}

// push produces more until the last of the range comes from where it is to come from. Then all of it does: what is older lies
// no higher.
func (c *consumption) push(ctx context.Context) error {
	pushed := 0
	for step := fillStep; ; step *= 2 {
		there := true
		for p, end := range c.end {
			if c.empty(p) {
				continue
			}
			used, err := c.probe(ctx, p, end-1)
			if err != nil {
				return err
			}
			there = there && used.read(c.From) > 0
		}
		if there {
			return nil
		}
		if pushed >= fillAtMost {
			return mq.Errorf(mq.InvalidRequest, "%d MiB were produced behind what is to be read, and it still does not come from the %s", pushed>>20, c.From)
		}
		if err := c.fill(ctx, int64(step/c.Size)); err != nil {
			return err
		}
		pushed += step
	}
}

// mustBegin fails, with the reason, unless the first of the range comes from where it is to come from. Then all of it does that
// does not lie higher.
func (c *consumption) mustBegin(ctx context.Context, reason string) error {
	for p, start := range c.start {
		if c.empty(p) {
			continue
		}
		used, err := c.probe(ctx, p, start)
		if err != nil {
			return err
		}
		for _, lower := range lowerThan(c.From) {
			if used.read(lower) > 0 {
				return mq.Errorf(mq.InvalidRequest, "partition %d at %d comes from the %s and not from the %s: %s", p, start, lower, c.From, reason)
			}
		}
	}
	return nil
}

// lowerThan are the sources that hold what is older.
func lowerThan(s Source) []Source {
	if s == FromTail {
		return []Source{FromLog, FromStore}
	}
	return []Source{FromStore}
}

// empty says whether nothing of a partition is to be read: with few records some partitions get none, and to read one of them would be to
// wait for ever.
func (c *consumption) empty(partition int32) bool { return c.end[partition] <= c.start[partition] }

// probe reads one record and says what the server did for it.
func (c *consumption) probe(ctx context.Context, partition int32, at mq.Offset) (metrics, error) {
	before, err := c.server.metrics(ctx)
	if err != nil {
		return nil, err
	}
	consumer, err := c.client.NewConsumer(client.Assign(c.Topic, partition, client.At(at)), client.PrefetchBytes(client.MinPrefetchBytes))
	if err != nil {
		return nil, err
	}
	for _, err = range consumer.Records(ctx) {
		break
	}
	if err := errors.Join(err, consumer.Close()); err != nil {
		return nil, err
	}
	after, err := c.server.metrics(ctx)
	return after.minus(before), err
}

// measure is one round.
func (c *consumption) measure(ctx context.Context, _ time.Duration) (Result, error) {
	from := make(offsets, len(c.start))
	for p, start := range c.start {
		from[p] = start
		if c.From != FromTail {
			from[p] += (c.end[p] - start) / mq.Offset(c.Rounds) * mq.Offset(c.round)
		}
	}
	c.round++
	r, used, err := c.watched(ctx, func() (Result, error) { return c.consume(ctx, from) })
	if err != nil {
		return r, err
	}
	all := used.read(FromTail) + used.read(FromLog) + used.read(FromStore)
	got, fetched := used.read(c.From), used["rustmq_tier_fetched_bytes_total"]
	c.fetch = int64(ratio(fetched, used[`rustmq_tier_requests_total{operation="read"}`]))
	if c.From == FromStore { // what the block cache had was not fetched
		got = math.Min(got, fetched)
	}
	if r.SourceRatio = ratio(got, all); r.SourceRatio < sourceAtLeast {
		return r, mq.Errorf(mq.InvalidRequest, "only %.0f %% of what was consumed in round %d came from the %s (%.0f %% from the tail, %.0f %% from the log, %.0f %% from the store, which was asked for %.0f %%): "+
			"does anybody else use the server? Is its setup the one that --help names?", 100*r.SourceRatio, c.round, c.From,
			100*ratio(used.read(FromTail), all), 100*ratio(used.read(FromLog), all), 100*ratio(used.read(FromStore), all), 100*ratio(fetched, all))
	}
	return r, nil
}

// consume reads a round's share of the records.
func (c *consumption) consume(ctx context.Context, from offsets) (Result, error) {
	var opts []client.ConsumerOption
	for p, offset := range from {
		opts = append(opts, client.Assign(c.Topic, p, client.At(offset)))
	}
	consumer, err := c.client.NewConsumer(opts...)
	if err != nil {
		return Result{}, err
	}
	defer consumer.Close()
	share := c.Records / int64(c.Rounds)
	warm := share / warmPart
	watch := startWatch()
	var n int64
	for rec, err := range consumer.Records(ctx) {
		if err != nil {
			return Result{}, err
		}
		if n++; n == warm {
			watch = startWatch()
		}
		if n == share {
			break
		}
		if c.From == FromTail && rec.Offset+1 >= c.end[rec.Partition] {
			if err := consumer.Seek(client.TopicPartition{Topic: c.Topic, Partition: rec.Partition}, client.At(c.start[rec.Partition])); err != nil {
				return Result{}, err
			}
		}
	}
	wall, cpu := watch.elapsed()
	return Result{
		Name: fmt.Sprintf("consume_%s", c.From), Value: rate(share-warm, wall), Unit: unitRecords,
		CPUPerRecord: perRecord(cpu, share-warm), Records: share, RecordSizeBytes: c.Size,
	}, nil
}
