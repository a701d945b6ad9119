package nodetest

import (
	"context"
	"testing"
	"time"

	"github.com/rustmq/rustmq/client"
	"github.com/rustmq/rustmq/mq"
	"github.com/rustmq/rustmq/tier/faultstore"
)

// put produces one batch of records of a time to partition 0, and waits until the object store has it.
func put(ctx context.Context, t *testing.T, cl *client.Client, topic string, records int, at time.Time) {
	t.Helper()
	recs := make([]*client.Record, records)
	for i := range recs {
		recs[i] = &client.Record{Topic: topic, Value: []byte("value"), Timestamp: at, Acks: client.AcksObject}
	}
	for _, r := range cl.ProduceSync(ctx, recs...) {
		if r.Err != nil {
			t.Fatal(r.Err)
		}
	}
}

func createTopic(ctx context.Context, t *testing.T, cl *client.Client, name string, configs map[string]string) {
	t.Helper()
	makeTopic(ctx, t, cl, client.NewTopic{Name: name, Partitions: 1, Configs: configs})
}

func startOf(ctx context.Context, t *testing.T, cl *client.Client, topic string) mq.Offset {
	t.Helper()
	found, err := cl.ListOffsets(ctx, topic, client.Start(), mq.IsolationCommitted)
	if err != nil || found[0].Err != nil {
		t.Fatal(err, found[0].Err)
	}
	return found[0].Offset
}

// A record from the future (rule 16) goes when the object that it was written in is old enough, and holds back nothing that follows it.
func TestRetentionMovesTheLogStart(t *testing.T) {
	t.Parallel()
	n, cl := keepingOn(t, faultstore.New())
	ctx := soon(t)
	createTopic(ctx, t, cl, "kept", nil)
	createTopic(ctx, t, cl, "short", map[string]string{"retention.ms": "1"})
	createTopic(ctx, t, cl, "small", map[string]string{"retention.bytes": "1"})
	now := time.Now()
	for _, topic := range []string{"kept", "short", "small"} {
		put(ctx, t, cl, topic, 3, now.Add(10*365*24*time.Hour))
		put(ctx, t, cl, topic, 4, now)
	}
	until(t, "all of what lives shortly is gone", func() bool { return startOf(ctx, t, cl, "short") == 7 })
	// Of the small one the last range stays, for without it there would be less than a byte.
	until(t, "all but the last of what is small is gone", func() bool { return startOf(ctx, t, cl, "small") >= 3 })
	if start := startOf(ctx, t, cl, "small"); start == 7 {
		t.Error("nothing was kept of the small one")
	}
	if start := startOf(ctx, t, cl, "kept"); start != 0 {
		t.Errorf("the log start of what is kept moved to %d", start)
	}
	if moved := n.metric(t, "rustmq_retention_log_starts_total"); moved < 2 {
		t.Errorf("%v log starts were moved", moved)
	}
	put(ctx, t, cl, "short", 1, now)
	until(t, "the next one is gone", func() bool { return startOf(ctx, t, cl, "short") == 8 })
}

func TestRecordsAreDeletedUpToTheWatermark(t *testing.T) {
	t.Parallel()
	_, cl := keepingOn(t, faultstore.New())
	ctx := soon(t)
	createTopic(ctx, t, cl, "orders", nil)
	put(ctx, t, cl, "orders", 10, time.Now())
	for _, step := range []struct {
		below mq.Offset
		code  mq.Code
		start mq.Offset
	}{
		{4, mq.None, 4},
		{2, mq.None, 4}, // it never goes back
		{11, mq.OffsetOutOfRange, 4},
		{-2, mq.OffsetOutOfRange, 4},
		{-1, mq.None, 10},
		{-1, mq.None, 10},
	} {
		start, err := cl.DeleteRecords(ctx, "orders", 0, step.below)
		if mq.CodeOf(err) != step.code || err == nil && start != step.start {
			t.Errorf("below %d: start %d, %v; want %d, %v", step.below, start, err, step.start, step.code)
		}
		if now := startOf(ctx, t, cl, "orders"); now != step.start {
			t.Errorf("below %d: the log starts at %d, want %d", step.below, now, step.start)
		}
	}
	if _, err := cl.DeleteRecords(ctx, "orders", 1, 0); mq.CodeOf(err) != mq.UnknownTopicOrPartition {
		t.Errorf("of a partition that is not there: %v", err)
	}
	put(ctx, t, cl, "orders", 1, time.Now())
	if start, err := cl.DeleteRecords(ctx, "orders", 0, 11); err != nil || start != 11 {
		t.Errorf("start %d, %v", start, err)
	}
}

// Whichever node leads is asked, and the others' replicas follow.
func TestRecordsAreDeletedInAClusterOfSeveral(t *testing.T) {
	t.Parallel()
	c, ctx := startCluster(t, 3)
	l, cl := smallLedger(ctx, t, c, 3)
	ends, err := cl.ListOffsets(ctx, l.Topic, client.End(), mq.IsolationCommitted)
	if err != nil {
		t.Fatal(err)
	}
	for i := range l.Partitions {
		start, err := cl.DeleteRecords(ctx, l.Topic, i, -1)
		if err != nil || start != ends[i].Offset {
			t.Fatalf("partition %d: start %d, %v, want %d", i, start, err, ends[i].Offset)
		}
		found, err := cl.ListOffsets(ctx, l.Topic, client.Start(), mq.IsolationCommitted, i)
		if err != nil || found[i].Err != nil || found[i].Offset != start {
			t.Errorf("partition %d: %+v, %v, want %d", i, found[i], err, start)
		}
	}
}
