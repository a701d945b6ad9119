package verify

import (
	"context"
	"errors"
	"math/rand/v2"
	"time"

	"github.com/rustmq/rustmq/client"
	"github.com/rustmq/rustmq/history"
	"github.com/rustmq/rustmq/mq"
)

// jumpEvery is how often the reader that jumps goes elsewhere.
const jumpEvery = time.Second

// consume gives f a consumer of a client of its own, of all partitions from where the run began.
func (r *run) consume(f func(*client.Consumer) error) error {
	c, err := r.Client()
	if err != nil {
		return err
	}
	defer c.Close()
	opts := make([]client.ConsumerOption, 0, r.partitions)
	for p := range r.partitions {
		opts = append(opts, client.Assign(r.Topic, p, client.At(r.starts[p])))
	}
	k, err := c.NewConsumer(opts...)
	if err != nil {
		return err
	}
	defer k.Close()
	return f(k)
}

// tail reads everything as it comes, from the beginning of the run.
func (r *run) tail(ctx context.Context, name string) error {
	return r.read(ctx, name, func(*client.Consumer, *history.Reader) {})
}

// jump reads from a place that changes: what is in memory, in the log and in the object store.
func (r *run) jump(ctx context.Context) error {
	next := time.Now().Add(jumpEvery)
	return r.read(ctx, "reader that jumps", func(k *client.Consumer, reader *history.Reader) {
		if time.Now().Before(next) {
			return
		}
		next = time.Now().Add(jumpEvery)
		for p := range r.partitions {
			tp := client.TopicPartition{Topic: r.Topic, Partition: p}
			to := r.starts[p] + mq.Offset(rand.Int64N(int64(max(0, k.Position(tp)-r.starts[p]))+1))
			reader.Seek(r.partition(p))
			if err := k.Seek(tp, client.At(to)); err != nil {
				r.Logger.Warn("seek", "partition", p, "err", err)
			}
		}
	})
}

// read tells the history of all that a new consumer delivers, until ctx ends. between is called before each batch of records.
func (r *run) read(ctx context.Context, name string, between func(*client.Consumer, *history.Reader)) error {
	return r.consume(func(k *client.Consumer) error { return r.follow(ctx, k, name, between) })
}

func (r *run) follow(ctx context.Context, k *client.Consumer, name string, between func(*client.Consumer, *history.Reader)) error {
	reader := r.h.Reader(name)
	for ctx.Err() == nil {
		between(k, reader)
		records, err := k.Poll(ctx)
		for i := range records {
			reader.Got(r.partition(records[i].Partition), records[i].Offset, records[i].Value)
		}
		failed, ofPartition := errors.AsType[*client.PartitionError](err)
		switch {
		case err == nil || ctx.Err() != nil:
		case ofPartition:
			if err := r.resume(k, failed); err != nil {
				return err
			}
		default:
			return mq.Wrapf(err, "%s", name)
		}
	}
	return nil
}

// resume has a partition that failed go on where the consumer was: a consumer does not lose its place.
func (r *run) resume(k *client.Consumer, failed *client.PartitionError) error {
	r.Logger.Warn("reading a partition failed", "partition", failed.Partition, "err", failed.Err)
	tp := client.TopicPartition{Topic: failed.Topic, Partition: failed.Partition}
	if err := k.Seek(tp, client.At(max(k.Position(tp), r.starts[failed.Partition]))); err != nil {
		return mq.Wrapf(err, "go on with partition %d", failed.Partition)
	}
	return nil
}

// readAll is the last reading: a new client reads every partition from where the run began to where it ends now.
func (r *run) readAll(ctx context.Context) error {
	return r.consume(func(k *client.Consumer) error { return r.finish(ctx, k) })
}

func (r *run) finish(ctx context.Context, k *client.Consumer) error {
	ends, err := k.EndOffsets(ctx)
	if err != nil {
		return mq.Wrapf(err, "look where the partitions end at last")
	}
	k.StopAt(ends)
	for p := range r.partitions {
		r.h.Begin(r.partition(p), r.starts[p])
	}
	for rec, err := range k.Records(ctx) {
		if err != nil {
			return mq.Wrapf(err, "read everything at last")
		}
		r.h.Last(r.partition(rec.Partition), rec.Offset, rec.Value)
	}
	return nil
}
