package nodetest

import (
	"context"
	"fmt"
	"maps"
	"sync"
	"testing"
	"time"

	"github.com/rustmq/rustmq/client"
)

// audience is what the members of a group have seen: records by their values.
type audience struct {
	mu     sync.Mutex
	owners map[client.TopicPartition]string
	seen   map[string]int
	lost   int
	twice  []string // partitions that were assigned while somebody else had them
	gaveUp int      // members that left without having been heard
}

// leaveWithin is for how long a consumer that is closed waits for its coordinator.
const leaveWithin = 10 * time.Second

func (a *audience) count() int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return len(a.seen)
}

// join has a member join on a client of its own; leave has it stop, commit and go.
func (a *audience) join(t *testing.T, c *Cluster, name string) (leave func()) {
	t.Helper()
	cl, err := c.Client(client.ClientID(name))
	if err != nil {
		t.Fatal(err)
	}
	k, err := cl.NewConsumer(client.Group("readers"), client.Topics("orders"), client.AutoCommit(100*time.Millisecond),
		client.OnAssigned(func(_ context.Context, _ *client.Consumer, list []client.TopicPartition) {
			a.mu.Lock()
			defer a.mu.Unlock()
			for _, tp := range list {
				if other := a.owners[tp]; other != "" {
					a.twice = append(a.twice, fmt.Sprintf("%s was assigned %v, which is %s's", name, tp, other))
				}
				a.owners[tp] = name
			}
		}),
		client.OnRevoked(func(_ context.Context, _ *client.Consumer, list []client.TopicPartition) {
			a.mu.Lock()
			defer a.mu.Unlock()
			for _, tp := range list {
				delete(a.owners, tp)
			}
		}),
		client.OnLost(func(_ context.Context, _ *client.Consumer, list []client.TopicPartition) {
			a.mu.Lock()
			defer a.mu.Unlock()
			a.lost += len(list)
		}))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		for rec, err := range k.Records(ctx) {
			if err != nil {
				if ctx.Err() == nil {
					t.Errorf("%s: %v", name, err)
				}
				break
			}
			a.mu.Lock()
			a.seen[string(rec.Value)]++
			a.mu.Unlock()
		}
		began := time.Now()
		_ = k.Close()
		if time.Since(began) >= leaveWithin {
			a.mu.Lock()
			a.gaveUp++
			a.mu.Unlock()
		}
		_ = cl.Close()
	}()
	return sync.OnceFunc(func() {
		cancel()
		<-done
	})
}

// Members come and go while each node, and so each coordinator and leader, is killed in turn: no record is missed, and none is seen twice, for no member dies.
func TestMembersOfAGroupSeeEachRecordOnceWhileNodesAreKilled(t *testing.T) {
	t.Parallel()
	c, ctx := newCluster(t, 3, fewPartitions)
	if err := c.Start(ctx); err != nil {
		t.Fatal(err)
	}
	awaitBrokers(t, c, 3)
	cl, err := c.Client()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cl.Close() })
	makeTopic(ctx, t, cl, client.NewTopic{Name: "orders", Partitions: 6, Replicas: 3})
	a := &audience{owners: map[client.TopicPartition]string{}, seen: map[string]int{}}
	produced := 0
	produce := func() {
		var list []*client.Record
		for range 300 {
			list = append(list, &client.Record{Topic: "orders", Key: fmt.Append(nil, produced), Value: fmt.Append(nil, produced)})
			produced++
		}
		if err := cl.ProduceSync(ctx, list...).FirstErr(); err != nil {
			t.Fatal(err)
		}
	}
	leaves := []func(){a.join(t, c, "a"), a.join(t, c, "b")}
	defer func() {
		for _, leave := range leaves {
			leave()
		}
	}()
	produce()
	until(t, "all is seen", func() bool { return a.count() == produced })
	for i, victim := range c.Nodes {
		victim.Kill()
		leaves = append(leaves, a.join(t, c, fmt.Sprint("c", i)))
		produce()
		until(t, "all is seen while a node is away", func() bool { return a.count() == produced })
		leaves[i]() // one of those who came first
		if err := c.Start(ctx, victim); err != nil {
			t.Fatal(err)
		}
		awaitBrokers(t, c, 3)
		produce()
		until(t, "all is seen by who stays", func() bool { return a.count() == produced })
	}
	for _, leave := range leaves {
		leave()
	}
	a.mu.Lock()
	if a.gaveUp > 0 { // then what it had processed is processed again, when its session is over
		t.Logf("%d members left without their coordinator, which did not answer for %v", a.gaveUp, leaveWithin)
	} else {
		for value, times := range maps.All(a.seen) {
			if times != 1 {
				t.Errorf("record %s was seen %d times", value, times)
			}
		}
		for _, text := range a.twice {
			t.Error(text)
		}
	}
	if a.lost > 0 {
		t.Errorf("%d partitions were lost", a.lost)
	}
	a.mu.Unlock()
	var d *client.GroupDescription
	until(t, "all have left", func() bool {
		d, err = cl.DescribeGroup(ctx, "readers")
		return err == nil && len(d.Members) == 0
	})
	var lag int64
	for i := range d.Partitions {
		lag += d.Partitions[i].Lag()
	}
	if len(d.Members) != 0 || lag != 0 {
		t.Errorf("after all have left: %+v", d)
	}
}
