package nodetest

import (
	"context"
	"flag"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/rustmq/rustmq/client"
	"github.com/rustmq/rustmq/mq"
	"github.com/rustmq/rustmq/node"
	"github.com/rustmq/rustmq/tier/faultstore"
)

// committer commits for one group, one offset after the other.
type committer struct {
	group string
	acked atomic.Int64 // the last one that was acknowledged
	asked atomic.Int64 // the last one that was asked for
}

// run commits until ctx ends, and looks that no offset ever goes back behind one that was acknowledged.
func (c *committer) run(ctx context.Context, t *testing.T, cl *client.Client) {
	for i := int64(1); ctx.Err() == nil; i++ {
		c.asked.Store(i)
		if err := cl.CommitOffsets(ctx, c.group, "orders", map[int32]mq.Offset{0: mq.Offset(i)}); err == nil {
			c.acked.Store(i)
		}
		if i%5 == 0 {
			c.check(ctx, t, cl)
		}
	}
}

// check fetches what is committed.
func (c *committer) check(ctx context.Context, t *testing.T, cl *client.Client) {
	acked := c.acked.Load()
	found, err := cl.CommittedOffsets(ctx, c.group, "orders", 0)
	if err != nil {
		if ctx.Err() == nil {
			t.Errorf("%s: %v", c.group, err)
		}
		return
	}
	if got := int64(found[0]); got < acked && acked > 0 || got > c.asked.Load() {
		t.Errorf("%s: %d is committed, %d was acknowledged and %d asked for", c.group, got, acked, c.asked.Load())
	}
}

// groupsOf is a client and a topic, and a committer for each of so many groups.
func groupsOf(ctx context.Context, t *testing.T, c *Cluster, count int) (*client.Client, []*committer) {
	t.Helper()
	cl, err := c.Client(client.RequestTimeout(time.Minute))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cl.Close() })
	makeTopic(ctx, t, cl, client.NewTopic{Name: "orders", Partitions: 1, Replicas: int16(len(c.Nodes))})
	var all []*committer
	for i := range count {
		all = append(all, &committer{group: fmt.Sprint("group-", i)})
	}
	return cl, all
}

func fewPartitions(cfg *node.Config) { cfg.Groups.OffsetsPartitions = 3 }

var groupKills = flag.Int("group-kills", 9, "how often a coordinator is killed during commits")

// Kill the coordinators during commits, again and again: committed offsets are those acknowledged, and none ever goes back.
func TestCommittedOffsetsSurviveKillsOfTheirCoordinators(t *testing.T) {
	t.Parallel()
	c, ctx := newCluster(t, 3, fewPartitions)
	if err := c.Start(ctx); err != nil {
		t.Fatal(err)
	}
	awaitBrokers(t, c, 3)
	cl, groups := groupsOf(ctx, t, c, 6)
	committing, stop := context.WithCancel(ctx)
	var work sync.WaitGroup
	for _, g := range groups {
		work.Go(func() { g.run(committing, t, cl) })
	}
	for _, g := range groups { // with brokers away the topic of the groups' state is not made
		until(t, "the first commits are acknowledged", func() bool { return g.acked.Load() > 0 })
	}
	kills := *groupKills
	if testing.Short() {
		kills = min(kills, 3)
	}
	for i := range kills {
		before := make([]int64, len(groups))
		for j, g := range groups {
			before[j] = g.acked.Load()
		}
		victim := c.Nodes[i%3] // each coordinates some of the groups
		victim.Kill()
		for j, g := range groups {
			until(t, "commits go on at the next coordinator", func() bool { return g.acked.Load() > before[j]+3 })
		}
		if err := c.Start(ctx, victim); err != nil {
			t.Fatal(err)
		}
		awaitBrokers(t, c, 3)
	}
	stop()
	work.Wait()
	for _, g := range groups {
		g.check(ctx, t, cl)
	}
	// All at once, and then one after the other is read from.
	for _, m := range c.Nodes {
		m.Kill()
	}
	if err := c.Start(ctx); err != nil {
		t.Fatal(err)
	}
	for _, g := range groups {
		g.check(ctx, t, cl)
	}
	list, err := cl.ListGroups(ctx)
	if err != nil || len(list) != len(groups) {
		t.Errorf("%+v, %v", list, err)
	}
}

func TestGroupsOutliveTheOnlyNodesLives(t *testing.T) {
	t.Parallel()
	c, ctx := newCluster(t, 1, fewPartitions)
	if err := c.Start(ctx); err != nil {
		t.Fatal(err)
	}
	awaitBrokers(t, c, 1)
	cl, groups := groupsOf(ctx, t, c, 4)
	for i := range 4 {
		for _, g := range groups {
			at := mq.Offset(100 + i)
			g.asked.Store(int64(at))
			if err := cl.CommitOffsets(ctx, g.group, "orders", map[int32]mq.Offset{0: at}); err != nil {
				t.Fatal(err)
			}
			g.acked.Store(int64(at))
		}
		if i%2 == 0 {
			c.Nodes[0].Kill()
		} else if err := c.Nodes[0].Stop(ctx); err != nil {
			t.Fatal(err)
		}
		if err := c.Start(ctx); err != nil {
			t.Fatal(err)
		}
		for _, g := range groups {
			g.check(ctx, t, cl)
		}
	}
}

// Rule 20: everything is in the object store, which is away when the coordinator dies. The next one knows all all the same.
func TestCoordinatorFailsOverWhileTheObjectStoreIsAway(t *testing.T) {
	t.Parallel()
	c, ctx := newCluster(t, 3, func(cfg *node.Config) {
		fewPartitions(cfg)
		cfg.ObjectStore.FlushAge = 50 * time.Millisecond
	})
	store := faultstore.New()
	_ = c.bucket.Close()
	c.bucket = store.Bucket()
	if err := c.Start(ctx); err != nil {
		t.Fatal(err)
	}
	awaitBrokers(t, c, 3)
	cl, groups := groupsOf(ctx, t, c, 6)
	for _, g := range groups {
		g.asked.Store(42)
		if err := cl.CommitOffsets(ctx, g.group, "orders", map[int32]mq.Offset{0: 42}); err != nil {
			t.Fatal(err)
		}
		g.acked.Store(42)
	}
	until(t, "all that coordinators know is in the object store", func() bool {
		d, err := cl.DescribeTopic(ctx, mq.OffsetsTopic)
		if err != nil {
			t.Fatal(err)
		}
		for _, p := range d.Partitions {
			if p.LogEnd < 0 || p.ObjectEnd < p.LogEnd {
				return false
			}
		}
		return true
	})
	store.SetHook(func(faultstore.Op) (f faultstore.Fault) {
		f.Before = unavailable
		return f
	})
	for _, victim := range c.Nodes {
		victim.Kill()
		for _, g := range groups {
			g.check(ctx, t, cl)
		}
		if err := c.Start(ctx, victim); err != nil {
			t.Fatal(err)
		}
		awaitBrokers(t, c, 3)
	}
}

func TestLagOfAGroupIsAMetric(t *testing.T) {
	t.Parallel()
	c, ctx := newCluster(t, 1, fewPartitions)
	if err := c.Start(ctx); err != nil {
		t.Fatal(err)
	}
	awaitBrokers(t, c, 1)
	cl, _ := groupsOf(ctx, t, c, 0)
	produce := func(count int, age time.Duration) {
		t.Helper()
		at := time.Now().Add(-age)
		for range count {
			if err := cl.ProduceSync(ctx, &client.Record{Topic: "orders", Value: []byte("v"), Timestamp: at}).FirstErr(); err != nil {
				t.Fatal(err)
			}
		}
	}
	produce(20, 5*time.Hour)
	produce(10, 3*time.Hour)
	produce(20, time.Hour)
	metrics := func(records, hours float64) {
		t.Helper()
		if got := c.Nodes[0].metric(t, `rustmq_group_lag_records{group="billing"}`); got != records {
			t.Errorf("%v records behind, want %v", got, records)
		}
		if got := c.Nodes[0].metric(t, `rustmq_group_lag_seconds{group="billing"}`) / 3600; got < hours || got > hours+0.1 {
			t.Errorf("%v hours behind, want %v", got, hours)
		}
	}
	commit := func(at mq.Offset) {
		t.Helper()
		if err := cl.CommitOffsets(ctx, "billing", "orders", map[int32]mq.Offset{0: at}); err != nil {
			t.Fatal(err)
		}
	}
	commit(20)
	for name, want := range map[string]float64{"rustmq_groups": 1, "rustmq_group_members": 0, "rustmq_group_offsets": 1} {
		if got := c.Nodes[0].metric(t, name); got != want {
			t.Errorf("%s is %v, want %v", name, got, want)
		}
	}
	metrics(30, 3)
	commit(30)
	metrics(20, 1)
	commit(50)
	metrics(0, 0)
	// What is not in memory any more is read from the log.
	commit(3)
	if err := c.Nodes[0].Stop(ctx); err != nil {
		t.Fatal(err)
	}
	if err := c.Start(ctx); err != nil {
		t.Fatal(err)
	}
	awaitBrokers(t, c, 1)
	until(t, "the group is coordinated again", func() bool { return c.Nodes[0].metric(t, "rustmq_group_offsets") == 1 })
	metrics(47, 5)
}
