package verify

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/rustmq/rustmq/client"
	"github.com/rustmq/rustmq/mq"
)

const (
	// GapAtLeast is the shortest time without an acknowledgement that a report lists.
	GapAtLeast = 50 * time.Millisecond
	maxGaps    = 100_000
	maxTimes   = 1 << 20 // acknowledgements whose time is kept, of one run
)

// produce is one producer: a client of its own, which sends to all partitions in turn at its share of the rate. When the time is up it waits for
// what has no outcome.
func (r *run) produce(ctx context.Context, number int) error {
	c, err := r.Client(client.RequiredAcks(r.acksOf(number)), client.PartitionBy(client.ManualPartitioner()))
	if err != nil {
		return err
	}
	defer c.Close()
	burst := max(1, r.Burst)
	interval := time.Duration(float64(time.Second) * float64(r.Producers*burst) / r.Rate)
	next := time.Now()
	timer := time.NewTimer(0)
	defer timer.Stop()
	for i := int32(number); ; {
		select {
		case <-ctx.Done():
			return r.flush(context.WithoutCancel(ctx), c)
		case <-timer.C:
		}
		for range burst {
			r.send(ctx, c, number, i%r.partitions)
			i++
		}
		next = next.Add(interval)
		timer.Reset(time.Until(next))
	}
}

// acksOf is what a producer asks for.
func (r *run) acksOf(producer int) mq.Durability {
	if len(r.Mix) == 0 {
		return r.Acks
	}
	return r.Mix[producer%len(r.Mix)]
}

// flush waits for what has no outcome; what has none after that keeps an unknown one.
func (r *run) flush(ctx context.Context, c *client.Client) error {
	ctx, cancel := context.WithTimeout(ctx, r.Heal)
	defer cancel()
	return mq.Wrapf(c.Flush(ctx), "wait for the acknowledgements after %v", r.Heal)
}

func (r *run) send(ctx context.Context, c *client.Client, producer int, partition int32) {
	number, value := r.h.Send(nil, producer, r.partition(partition), r.acksOf(producer), r.Size)
	sent := time.Now()
	rec := &client.Record{Topic: r.Topic, Partition: partition, Value: value}
	c.Produce(ctx, rec, func(rec *client.Record, err error) {
		switch {
		case err == nil:
			r.h.Acked(number, rec.Offset)
			r.acks.add(partition, sent, time.Now())
		case refused(err):
			r.h.Refused(number)
			r.Logger.Warn("record refused", "partition", partition, "err", err)
		default:
			r.Logger.Warn("record of unknown fate", "partition", partition, "err", err)
		}
	})
}

// refused says of an error that the record was certainly not appended.
func refused(err error) bool {
	switch mq.CodeOf(err) {
	case mq.MessageTooLarge, mq.InvalidRecord, mq.TopicAuthorizationFailed, mq.InvalidConfig:
		return true
	}
	return false
}

// acks are the times of acknowledgements.
type acks struct {
	mu    sync.Mutex
	last  []time.Time // of the newest acknowledgement, by partition
	times []time.Duration
	seen  int
	gaps  []Gap
}

func (a *acks) add(partition int32, sent, now time.Time) {
	a.mu.Lock()
	defer a.mu.Unlock()
	// What lies between two acknowledgements counts from when there was something to acknowledge.
	begin := a.last[partition]
	if begin.IsZero() {
		begin = sent
	}
	if gap := now.Sub(begin); gap >= GapAtLeast && len(a.gaps) < maxGaps {
		a.gaps = append(a.gaps, Gap{Partition: partition, Begin: begin, MS: gap.Milliseconds()})
	}
	a.last[partition] = now
	if a.seen++; len(a.times) < maxTimes {
		a.times = append(a.times, now.Sub(sent))
	} else {
		a.times[a.seen%maxTimes] = now.Sub(sent)
	}
}

func (a *acks) summary() (p50, p99 time.Duration, gaps []Gap) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if n := len(a.times); n > 0 {
		slices.Sort(a.times)
		p50, p99 = a.times[n/2], a.times[n*99/100]
	}
	return p50, p99, append([]Gap{}, a.gaps...)
}
