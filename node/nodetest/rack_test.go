package nodetest

import (
	"context"
	"fmt"
	"strconv"
	"testing"
	"time"

	"github.com/rustmq/rustmq/client"
	"github.com/rustmq/rustmq/mq"
	"github.com/rustmq/rustmq/node"
)

// racked is a cluster of three brokers, each in a rack of its own, with a topic of one partition that one of them has.
type racked struct {
	*Cluster
	ctx    context.Context
	t      *testing.T
	cl     *client.Client
	leader int // which has the partition
	near   int // in the rack of the consumer
	sent   int
}

const rackedValue = 500 // bytes of a record

func startRacked(t *testing.T) *racked {
	t.Helper()
	return startRackedOf(t, 1)
}

// startRackedOf starts one whose topic has so many replicas.
func startRackedOf(t *testing.T, replicas int16, change ...func(*node.Config)) *racked {
	t.Helper()
	c, ctx := newCluster(t, 3, func(cfg *node.Config) {
		for _, f := range change {
			f(cfg)
		}
		cfg.Node.Rack = rackOf(cfg.Node.ID)
		cfg.WAL = node.WALConfig{SegmentSize: 64 << 10, MaxSize: 8 << 20, QueueSize: 1 << 20}
		cfg.ObjectStore.RetentionInterval = 10 * time.Millisecond
	})
	if err := c.Start(ctx); err != nil {
		t.Fatal(err)
	}
	awaitBrokers(t, c, 3)
	r := &racked{Cluster: c, ctx: ctx, t: t}
	r.cl = r.client()
	r.create(replicas)
	r.leader = r.leads()
	r.near = r.leader%3 + 1
	return r
}

func rackOf(id int) string { return fmt.Sprint("rack", id) }

func (r *racked) client(opts ...client.Option) *client.Client {
	r.t.Helper()
	cl, err := r.Client(append(opts, client.BatchBytes(8<<10))...)
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() { _ = cl.Close() })
	return cl
}

// create makes the topic.
func (r *racked) create(replicas int16) {
	r.t.Helper()
	makeTopic(r.ctx, r.t, r.cl, client.NewTopic{Name: "orders", Partitions: 1, Replicas: replicas})
}

func (r *racked) leads() int {
	r.t.Helper()
	topic, err := r.cl.DescribeTopic(r.ctx, "orders")
	if err != nil {
		r.t.Fatal(err)
	}
	return int(topic.Partitions[0].Leader)
}

// produce sends so many records, each of which says its offset, and waits until the object store has them.
func (r *racked) produce(records int) {
	r.t.Helper()
	recs := make([]*client.Record, records)
	for i := range recs {
		recs[i] = &client.Record{Topic: "orders", Value: fmt.Appendf(nil, "%0*d", rackedValue, r.sent+i), Acks: client.AcksObject}
	}
	for _, res := range r.cl.ProduceSync(r.ctx, recs...) {
		if res.Err != nil {
			r.t.Fatal(res.Err)
		}
	}
	r.sent += records
}

// tier produces so many records, and waits until the log of their leader has let go of nearly all.
func (r *racked) tier(records int) {
	r.t.Helper()
	r.produce(records)
	until(r.t, "the log is let go of", func() bool {
		return r.Nodes[r.leader-1].metric(r.t, `rustmq_wal_segments{log="data"}`) <= 4
	})
}

func (r *racked) read(id int, source string) float64 {
	r.t.Helper()
	return r.Nodes[id-1].metric(r.t, fmt.Sprintf("rustmq_read_bytes_total{source=%q}", source))
}

// consume reads on up to the given offset, and checks that each record is the next. at is called before each one.
func (r *racked) consume(k *client.Consumer, next, end mq.Offset, at func(mq.Offset)) {
	r.t.Helper()
	for rec, err := range k.Records(r.ctx) {
		if err != nil {
			r.t.Fatal(err)
		}
		number, err := strconv.Atoi(string(rec.Value))
		if err != nil || mq.Offset(number) != rec.Offset || rec.Offset != next {
			r.t.Fatalf("at %d: offset %d with record %d, %v", next, rec.Offset, number, err)
		}
		if at != nil {
			at(next)
		}
		if next++; next == end {
			return
		}
	}
}

func (r *racked) consumer(opts ...client.ConsumerOption) *client.Consumer {
	r.t.Helper()
	cl := r.client(client.Rack(rackOf(r.near)))
	k, err := cl.NewConsumer(append([]client.ConsumerOption{client.Assign("orders", 0, client.Start()), client.PrefetchBytes(client.MinPrefetchBytes)}, opts...)...)
	if err != nil {
		r.t.Fatal(err)
	}
	return k
}

// What is only in the object store a broker of the consumer's rack reads that has no replica, and its leader none of it; the rest comes from the leader, also while
// more is produced.
func TestTieredRecordsAreReadInTheRackOfTheConsumer(t *testing.T) {
	t.Parallel()
	for _, iso := range []mq.Isolation{mq.IsolationCommitted, mq.IsolationObject} {
		t.Run(iso.String(), func(t *testing.T) {
			r := startRacked(t)
			r.tier(4000)
			k := r.consumer(client.ReadIsolation(iso))
			r.consume(k, 0, 4000, nil)
			r.produce(100)
			r.consume(k, 4000, 4100, nil)
			leader, near := r.read(r.leader, "store"), r.read(r.near, "tiered")
			if near < 3000*rackedValue {
				t.Errorf("the broker of the rack read %v bytes from the object store", near)
			}
			// On a busy machine, where that one keeps silent for seconds or its image lags, the consumer asks its leader now and then.
			if leader > near/4 {
				t.Errorf("the leader read %v bytes from the object store, the broker of the rack %v", leader, near)
			}
			if ratio := r.Nodes[r.near-1].metric(t, "rustmq_tier_cache_hit_ratio"); ratio <= 0.5 || ratio > 1 {
				t.Errorf("a reader in order found %v of its blocks in the cache", ratio)
			}
			if n := r.Nodes[r.leader-1].metric(t, "rustmq_fetch_bytes_total"); n > 2100*(rackedValue+100) {
				t.Errorf("the leader sent %v bytes", n)
			}
			// A client of no rack reads it from the leader.
			plain, err := r.client().NewConsumer(client.Assign("orders", 0, client.Start()))
			if err != nil {
				t.Fatal(err)
			}
			r.consume(plain, 0, 4100, nil)
			if n := r.read(r.leader, "store"); n < 3000*rackedValue {
				t.Errorf("the leader read %v bytes from the object store", n)
			}
		})
	}
}

// The broker of the rack loses its power in the middle, comes back, and the log start moves on behind the consumer: no record is lost, doubled or out of order.
func TestBrokerOfTheRackDiesInTheMiddleOfARead(t *testing.T) {
	t.Parallel()
	r := startRacked(t)
	r.tier(8000)
	k := r.consumer()
	r.consume(k, 0, 8000, func(at mq.Offset) {
		switch at {
		case 1000:
			if _, err := r.cl.DeleteRecords(r.ctx, "orders", 0, 500); err != nil {
				t.Error(err)
			}
		case 2000:
			if n := r.read(r.near, "tiered"); n == 0 {
				t.Error("the broker of the rack reads nothing")
			}
			r.Nodes[r.near-1].Kill()
		case 5000:
			if n := r.read(r.leader, "store"); n == 0 {
				t.Error("the leader took nothing over")
			}
			if err := r.Start(r.ctx, r.Nodes[r.near-1]); err != nil {
				t.Error(err)
			}
		}
	})
	r.produce(100)
	r.consume(k, 8000, 8100, nil)
}

// The log start overtakes a consumer that reads in its rack: it is told by the leader, and goes on where it asked to.
func TestLogStartOvertakesAReaderInItsRack(t *testing.T) {
	t.Parallel()
	r := startRacked(t)
	r.tier(8000)
	k := r.consumer()
	r.consume(k, 0, 1000, nil)
	if start, err := r.cl.DeleteRecords(r.ctx, "orders", 0, 6000); err != nil || start != 6000 {
		t.Fatal(start, err)
	}
	next, failed := mq.Offset(1000), false
	for next < 8000 {
		recs, err := k.Poll(r.ctx)
		switch {
		case err == nil:
			if recs[0].Offset != next {
				t.Fatalf("offset %d, want %d", recs[0].Offset, next)
			}
			next = recs[len(recs)-1].Offset + 1
		case mq.CodeOf(err) == mq.OffsetOutOfRange && !failed && next < 6000:
			failed, next = true, 6000
			if err := k.Seek(client.TopicPartition{Topic: "orders", Partition: 0}, client.Start()); err != nil {
				t.Fatal(err)
			}
		default:
			t.Fatal(err)
		}
	}
	if !failed {
		t.Error("nobody told that the records are gone")
	}
}

// A topic is deleted and made again under its name while it is read in the rack: what comes is the new one's, or nothing.
func TestTopicIsMadeAgainWhileItIsReadInTheRack(t *testing.T) {
	t.Parallel()
	r := startRacked(t)
	r.tier(4000)
	k := r.consumer()
	r.consume(k, 0, 500, nil)
	if err := r.cl.DeleteTopic(r.ctx, "orders"); err != nil {
		t.Fatal(err)
	}
	r.create(1)
	r.cl, r.sent = r.client(), 1_000_000
	r.produce(10)
	for range 100 {
		recs, err := k.Poll(r.ctx)
		if err != nil {
			if code := mq.CodeOf(err); code != mq.OffsetOutOfRange && code != mq.UnknownTopicOrPartition && code != mq.UnknownTopicID {
				t.Fatal(err)
			}
			if err := k.Seek(client.TopicPartition{Topic: "orders", Partition: 0}, client.Start()); err != nil {
				t.Fatal(err)
			}
			continue
		}
		number, err := strconv.Atoi(string(recs[0].Value))
		if err != nil {
			t.Fatal(err)
		}
		if number >= 1_000_000 {
			if recs[0].Offset != 0 {
				t.Errorf("the new topic begins at %d", recs[0].Offset)
			}
			return
		}
	}
	t.Error("the new topic was never read")
}
