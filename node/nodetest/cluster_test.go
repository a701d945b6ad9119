package nodetest

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/rustmq/rustmq/client"
	"github.com/rustmq/rustmq/node"
	"github.com/rustmq/rustmq/wal/crashfs"
)

// startCluster starts so many nodes. They end with the test.
func startCluster(t *testing.T, nodes int) (*Cluster, context.Context) {
	t.Helper()
	c, ctx := newCluster(t, nodes, nil)
	if err := c.Start(ctx); err != nil {
		t.Fatal(err)
	}
	awaitBrokers(t, c, nodes)
	return c, ctx
}

// awaitBrokers waits until each node knows of so many brokers that are alive: one that has just started is not known to all of them at once, and who asks a node that does not know it yet
// is refused a topic with as many replicas.
func awaitBrokers(t *testing.T, c *Cluster, brokers int) {
	t.Helper()
	for _, m := range c.Nodes {
		until(t, "all brokers are known", func() bool { return m.metric(t, `rustmq_brokers{state="alive"}`) == float64(brokers) })
	}
}

// newCluster is NewCluster for a test, with whose end the nodes end.
func newCluster(t *testing.T, nodes int, change func(*node.Config)) (*Cluster, context.Context) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 4*time.Minute)
	c, err := NewCluster(nodes, t.TempDir(), change)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		var logs []*LogLines
		for _, m := range c.Nodes {
			if m.Live != nil {
				logs = append(logs, m.Log)
			}
		}
		stopping, done := context.WithTimeout(context.Background(), 30*time.Second)
		defer done()
		if err := c.Close(stopping); err != nil {
			t.Logf("close the cluster: %v", err)
		}
		cancel()
		if t.Failed() {
			for _, lines := range logs {
				t.Logf("a node that ran at the end:\n%s", lines)
			}
		}
	})
	return c, ctx
}

// ledgerOf is a topic of three replicas, with a client of the cluster.
func ledgerOf(ctx context.Context, t *testing.T, c *Cluster) (*Ledger, *client.Client) {
	t.Helper()
	cl, err := c.Client(client.DeliveryTimeout(2 * time.Minute))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cl.Close() })
	l := &Ledger{Topic: "orders", Partitions: 3}
	makeTopic(ctx, t, cl, client.NewTopic{Name: l.Topic, Partitions: l.Partitions, Replicas: 3})
	return l, cl
}

// makeTopic makes a topic that nobody else makes.
func makeTopic(ctx context.Context, t *testing.T, cl *client.Client, topic client.NewTopic) {
	t.Helper()
	if err := ensureTopic(ctx, cl, topic); err != nil {
		t.Fatal(err)
	}
}

// allAcked waits for the outcome of all and reports what failed.
func (l *Ledger) allAcked() error {
	l.Wait()
	if acked, sent, err := l.Acked(); acked != sent {
		return errors.Join(errors.New("records were not acknowledged"), err)
	}
	return nil
}

func TestThreeNodesFormOneClusterOnce(t *testing.T) {
	t.Parallel()
	c, ctx := startCluster(t, 3)
	id := c.Nodes[0].ClusterID()
	for round := range 2 {
		for _, m := range c.Nodes {
			if m.ClusterID() != id {
				t.Fatalf("round %d: node %d is of cluster %s, others of %s", round, m.id, m.ClusterID(), id)
			}
		}
		for _, m := range c.Nodes {
			m.Kill()
		}
		if err := c.Start(ctx); err != nil {
			t.Fatal(err)
		}
	}
	_, cl := ledgerOf(ctx, t, c)
	cluster, err := cl.DescribeCluster(ctx)
	if err != nil || len(cluster.Brokers) != 3 || cluster.ID != id {
		t.Fatalf("%+v, %v", cluster, err)
	}
}

func TestNothingAcknowledgedIsLostWhenNodesLosePowerOneByOneAndAllAtOnce(t *testing.T) {
	t.Parallel()
	c, ctx := startCluster(t, 3)
	l, cl := ledgerOf(ctx, t, c)
	for _, victims := range [][]*Member{c.Nodes[:1], c.Nodes[1:2], c.Nodes[2:], c.Nodes} {
		l.Produce(ctx, cl, 200, 100)
		for _, m := range victims {
			m.Kill()
		}
		l.Produce(ctx, cl, 100, 100)
		if err := c.Start(ctx); err != nil {
			t.Fatal(err)
		}
		if err := l.allAcked(); err != nil {
			t.Fatal(err)
		}
		if err := l.Check(ctx, cl); err != nil {
			t.Fatal(err)
		}
	}
}

func TestNodesThatStopInOrderAreNotMissed(t *testing.T) {
	t.Parallel()
	c, ctx := startCluster(t, 3)
	l, cl := ledgerOf(ctx, t, c)
	for _, m := range c.Nodes {
		l.Produce(ctx, cl, 100, 100)
		if err := m.Stop(ctx); err != nil {
			t.Fatal(err)
		}
		l.Produce(ctx, cl, 100, 100)
		if err := l.allAcked(); err != nil {
			t.Fatal(err)
		}
		if err := c.Start(ctx, m); err != nil {
			t.Fatal(err)
		}
	}
	if err := l.Check(ctx, cl); err != nil {
		t.Fatal(err)
	}
}

// TestNodeWhoseDiskHangsIsReplacedUntilItAnswersAgain is rule 8: the disk of one node takes writes and answers no sync, while the node is there for everybody.
func TestNodeWhoseDiskHangsIsReplacedUntilItAnswersAgain(t *testing.T) {
	t.Parallel()
	c, ctx := startCluster(t, 3)
	l, cl := ledgerOf(ctx, t, c)
	l.Produce(ctx, cl, 100, 100)
	if err := l.allAcked(); err != nil {
		t.Fatal(err)
	}
	for _, m := range c.Nodes[:2] {
		answers := make(chan struct{})
		m.FS.Hook(func(call crashfs.Call) error {
			if call.Op == crashfs.OpSync {
				<-answers
			}
			return nil
		})
		l.Produce(ctx, cl, 100, 100) // some of it at the node that hangs: the others have it all in the end, and nothing twice
		err := l.allAcked()
		m.FS.Hook(nil)
		close(answers)
		if err != nil {
			t.Fatal(err)
		}
		awaitInSync(ctx, t, cl, l.Topic, 3)
	}
	if err := l.Check(ctx, cl); err != nil {
		t.Fatal(err)
	}
}

// awaitInSync waits until all partitions of a topic have so many replicas in sync.
func awaitInSync(ctx context.Context, t *testing.T, cl *client.Client, topic string, replicas int) {
	t.Helper()
	for in := false; !in; time.Sleep(50 * time.Millisecond) {
		d, err := cl.DescribeTopic(ctx, topic)
		if err != nil {
			t.Fatal(err)
		}
		in = true
		for _, p := range d.Partitions {
			in = in && len(p.InSync) == replicas
		}
	}
}
