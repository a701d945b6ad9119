package client

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/rustmq/rustmq/mq"
	"github.com/rustmq/rustmq/quicproto"
)

// TestMemberSubscribesToOtherTopics: what it does not want any more goes to who does, after OnRevoked, and what it wants comes, though it was told while the coordinator was away.
func TestMemberSubscribesToOtherTopics(t *testing.T) {
	inParty(t, 2, func(p *party) {
		t := p.t
		p.g.brokers[0].create("u", 3)
		c := p.g.client()
		defer c.Close()
		var mu sync.Mutex
		var revoked []TopicPartition
		k, err := c.NewConsumer(Group("g"), Topics("t"), OnRevoked(func(_ context.Context, _ *Consumer, list []TopicPartition) {
			mu.Lock()
			defer mu.Unlock()
			revoked = append(revoked, list...)
		}))
		if err != nil {
			t.Fatal(err)
		}
		defer k.Close()
		ctx, cancel := context.WithCancel(t.Context())
		var polling sync.WaitGroup
		defer polling.Wait()
		defer cancel()
		polling.Go(func() {
			for ctx.Err() == nil {
				_, _ = k.Poll(ctx)
			}
		})
		has := func(topic string, n int) func() bool {
			return func() bool {
				list := k.Assigned()
				return len(list) == n && !slices.ContainsFunc(list, func(tp TopicPartition) bool { return tp.Topic != topic })
			}
		}
		p.await("the first topic", has("t", 2))
		p.coord.move(2)
		if err := k.Subscribe([]string{"u"}, ""); err != nil {
			t.Fatal(err)
		}
		p.await("the other topic", has("u", 3))
		mu.Lock()
		if len(revoked) != 2 || revoked[0].Topic != "t" {
			t.Errorf("revoked: %v", revoked)
		}
		mu.Unlock()
		if err := k.Subscribe(nil, "t|x.*"); err != nil {
			t.Fatal(err)
		}
		p.await("those of a pattern", has("t", 2))
		for _, bad := range []struct {
			topics  []string
			pattern string
			code    mq.Code
		}{{nil, "", mq.InvalidConfig}, {[]string{"a b"}, "", mq.InvalidTopic}, {nil, "(", mq.InvalidRegularExpression}} {
			wantCode(t, k.Subscribe(bad.topics, bad.pattern), bad.code)
		}
		if !has("t", 2)() {
			t.Error("what was refused changed something")
		}
		alone, err := c.NewConsumer(Assign("t", 0, Start()))
		if err != nil {
			t.Fatal(err)
		}
		defer alone.Close()
		wantCode(t, alone.Subscribe([]string{"t"}, ""), mq.InvalidRequest)
		time.Sleep(time.Second)
	})
}

type traceKey struct{}

// TestTraceGoesOnOverRecords: what a record is produced with is what it is worked on with, and what comes of it is produced with that.
func TestTraceGoesOnOverRecords(t *testing.T) {
	inMill(t, 4, func(t *testing.T, b *fakeBroker, _ *fakeCoordinator, c *Client) {
		inject := func(ctx context.Context, h HeaderCarrier) {
			if trace, _ := ctx.Value(traceKey{}).(string); trace != "" {
				h.Set("traceparent", trace)
			}
		}
		extract := func(ctx context.Context, h HeaderCarrier) context.Context {
			return context.WithValue(ctx, traceKey{}, h.Get("traceparent")+"/next")
		}
		if err := Propagation(inject, extract)(&c.cfg); err != nil {
			t.Fatal(err)
		}
		shared := []mq.Header{{Key: "own", Value: []byte("x")}, {Key: "traceparent", Value: []byte("stale")}}
		ctx := context.WithValue(t.Context(), traceKey{}, "first")
		if err := c.ProduceSync(ctx, &Record{Topic: "dead", Value: []byte("v"), Headers: shared}).FirstErr(); err != nil {
			t.Fatal(err)
		}
		if string(shared[1].Value) != "stale" {
			t.Error("headers of the application's own were changed")
		}
		err := process(t, c, Processor{Consume: []ConsumerOption{Group("g"), Topics("dead")}, Handle: EachRecord(func(_ context.Context, rec *Record) ([]*Record, error) {
			if rec.Topic == "in" { // the mill's own
				return nil, nil
			}
			return []*Record{{Topic: "out", Value: rec.Value}}, nil
		})}, func() bool { return len(b.values("out")) > 0 })
		if !errors.Is(err, context.Canceled) {
			t.Fatal(err)
		}
		topic, err := b.topic("out")
		if err != nil {
			t.Fatal(err)
		}
		rec := topic.parts[0].records()[0]
		if len(rec.Headers) != 1 || string(rec.Headers[0].Value) != "first/next" {
			t.Errorf("%q", rec.Headers)
		}
		back := &Record{Headers: rec.Headers}
		if got := c.RecordContext(t.Context(), back).Value(traceKey{}); got != "first/next/next" || !slices.Equal(HeaderCarrier{back}.Keys(), []string{"traceparent"}) {
			t.Errorf("%v", got)
		}
	})
}

// TestMemberWaitsForBrokersThatDoNotKnowItsPartitionYet: what was assigned is there, however long others are behind. Who named the partition itself is told.
func TestMemberWaitsForBrokersThatDoNotKnowItsPartitionYet(t *testing.T) {
	c, err := New(Servers("127.0.0.1:1"))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	for _, opts := range [][]ConsumerOption{{Group("g"), Topics("t")}, nil} {
		k, err := c.NewConsumer(opts...)
		if err != nil {
			t.Fatal(err)
		}
		tp := TopicPartition{"t", 4}
		a := &assignment{tp: tp, stop: -1}
		k.mu.Lock()
		k.parts[tp] = a
		k.mu.Unlock()
		few := &quicproto.Topic{Name: "t", Partitions: make([]quicproto.Partition, 3)}
		for range 2 * unknownTries {
			_ = k.settle(t.Context(), a, few)
		}
		k.mu.Lock()
		if failed := a.failed; failed != (opts == nil) {
			t.Errorf("with %d options: failed: %v", len(opts), failed)
		}
		delete(k.parts, tp)
		k.mu.Unlock()
		if err := k.Close(); err != nil {
			t.Error(err)
		}
	}
}
