package nodetest

import (
	"context"
	"slices"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	adminpb "github.com/rustmq/rustmq/api/admin/v1"
	"github.com/rustmq/rustmq/client"
	"github.com/rustmq/rustmq/mq"
	"github.com/rustmq/rustmq/wal/crashfs"
)

// operate asks the cluster for an operation, as `rustmq ctl` does.
func operate(ctx context.Context, t *testing.T, cl *client.Client, req *adminpb.Request) *adminpb.Response {
	t.Helper()
	resp, err := tryOperate(ctx, cl, req)
	if err != nil {
		t.Fatalf("%v: %v", req, err)
	}
	return resp
}

func tryOperate(ctx context.Context, cl *client.Client, req *adminpb.Request) (*adminpb.Response, error) {
	message, err := proto.Marshal(req)
	if err != nil {
		return nil, err
	}
	answer, err := cl.Operate(ctx, message, true)
	if err != nil {
		return nil, err
	}
	resp := new(adminpb.Response)
	return resp, proto.Unmarshal(answer, resp)
}

func partitionsOf(ctx context.Context, t *testing.T, cl *client.Client) []*adminpb.Partition {
	t.Helper()
	return operate(ctx, t, cl, &adminpb.Request{Kind: &adminpb.Request_ListPartitions{}}).GetListPartitions().GetPartitions()
}

// smallLedger is a topic of so many replicas, with records in it.
func smallLedger(ctx context.Context, t *testing.T, c *Cluster, replicas int16) (*Ledger, *client.Client) {
	t.Helper()
	cl, err := c.Client(client.DeliveryTimeout(2 * time.Minute))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cl.Close() })
	l := &Ledger{Topic: "orders", Partitions: 3}
	makeTopic(ctx, t, cl, client.NewTopic{Name: l.Topic, Partitions: l.Partitions, Replicas: replicas})
	l.Produce(ctx, cl, 100, 100)
	if err := l.allAcked(); err != nil {
		t.Fatal(err)
	}
	return l, cl
}

func TestPartitionsMoveWhileTheyAreProducedTo(t *testing.T) {
	t.Parallel()
	c, ctx := startCluster(t, 3)
	l, cl := smallLedger(ctx, t, c, 1)
	l.Produce(ctx, cl, 300, 100)
	moves := &adminpb.MovePartitionsRequest{}
	for _, p := range partitionsOf(ctx, t, cl) {
		moves.Moves = append(moves.Moves, &adminpb.PartitionMove{
			Topic: p.GetTopic(), Partition: p.GetPartition(), Replicas: []int32{p.GetLeader()%3 + 1, (p.GetLeader()+1)%3 + 1},
		})
	}
	for _, o := range operate(ctx, t, cl, &adminpb.Request{Kind: &adminpb.Request_MovePartitions{MovePartitions: moves}}).GetMovePartitions().GetOutcomes() {
		if o.GetCode() != 0 {
			t.Fatal(o.GetMessage())
		}
	}
	l.Produce(ctx, cl, 300, 100)
	until(t, "the moves", func() bool {
		for i, p := range partitionsOf(ctx, t, cl) {
			if len(p.GetAdding())+len(p.GetRemoving()) > 0 || !slices.Equal(p.GetReplicas(), moves.GetMoves()[i].GetReplicas()) || len(p.GetInSync()) != 2 {
				return false
			}
		}
		return true
	})
	l.Produce(ctx, cl, 100, 100)
	if err := l.allAcked(); err != nil {
		t.Fatal(err)
	}
	if err := l.Check(ctx, cl); err != nil {
		t.Fatal(err)
	}
	// Who gave its replica away has nothing of it any more, after a restart either: one that is added anew begins with nothing.
	for _, m := range c.Nodes {
		until(t, "the old replicas to go", func() bool { return m.Replicas() == 2 })
	}
}

// TestReplicaThatIsGivenBackHasToCopyFirst takes a partition from a node and gives it back, with nothing in it, while the node's disk hangs: what the node acknowledged
// before it gave the partition away does not make the new replica one in sync, which could lead when the other one dies, and has nothing.
func TestReplicaThatIsGivenBackHasToCopyFirst(t *testing.T) {
	t.Parallel()
	c, ctx := startCluster(t, 3)
	l, cl := smallLedger(ctx, t, c, 2)
	awaitInSync(ctx, t, cl, l.Topic, 2)
	at := partitionsOf(ctx, t, cl)[0]
	stays, goes := at.GetLeader(), at.GetReplicas()[0]
	if goes == stays {
		goes = at.GetReplicas()[1]
	}
	move := func(replicas ...int32) {
		t.Helper()
		req := &adminpb.MovePartitionsRequest{Moves: []*adminpb.PartitionMove{{Topic: at.GetTopic(), Partition: at.GetPartition(), Replicas: replicas}}}
		for _, o := range operate(ctx, t, cl, &adminpb.Request{Kind: &adminpb.Request_MovePartitions{MovePartitions: req}}).GetMovePartitions().GetOutcomes() {
			if o.GetCode() != 0 {
				t.Fatal(o.GetMessage())
			}
		}
	}
	m := c.Nodes[goes-1]
	before := m.Replicas()
	move(stays)
	until(t, "the replica to go", func() bool { return m.Replicas() == before-1 })
	answers := make(chan struct{})
	m.FS.Hook(func(call crashfs.Call) error {
		if call.Op == crashfs.OpSync {
			<-answers
		}
		return nil
	})
	move(stays, goes)
	for began := time.Now(); time.Since(began) < time.Second; time.Sleep(20 * time.Millisecond) { // a leader looks four times
		if p := partitionsOf(ctx, t, cl)[0]; len(p.GetInSync()) != 1 {
			t.Errorf("in sync are %v, and node %d has synced nothing", p.GetInSync(), goes)
			break
		}
	}
	m.FS.Hook(nil)
	close(answers)
	awaitInSync(ctx, t, cl, l.Topic, 2)
	if err := l.Check(ctx, cl); err != nil {
		t.Fatal(err)
	}
}

// The disk of the leading controller hangs. Others decide soon, but what they decide does not come to that node's image: who asks there is told so, and goes elsewhere.
func TestNodeWhoseDiskHangsAnswersWhatItCannotShow(t *testing.T) {
	t.Parallel()
	c, ctx := startCluster(t, 3)
	_, cl := smallLedger(ctx, t, c, 2)
	m := c.Nodes[raftStatusOf(ctx, t, cl).GetLeader()-1]
	there, err := m.Client()
	must(t, err)
	defer there.Close()
	if _, err := there.DescribeTopic(ctx, "nobodys"); mq.CodeOf(err) != mq.UnknownTopicOrPartition { // it is connected
		t.Fatal(err)
	}
	answers := make(chan struct{})
	m.FS.Hook(func(call crashfs.Call) error {
		if call.Op == crashfs.OpSync {
			<-answers
		}
		return nil
	})
	began := time.Now()
	_, err = there.CreateTopic(ctx, client.NewTopic{Name: "late", Partitions: 1})
	took := time.Since(began)
	m.FS.Hook(nil)
	close(answers)
	if took > 30*time.Second {
		t.Errorf("an answer came after %s: %v", took, err)
	}
	if code := mq.CodeOf(err); err != nil && code != mq.TopicAlreadyExists {
		t.Error(err)
	}
	until(t, "the topic", func() bool { _, err := cl.DescribeTopic(ctx, "late"); return err == nil })
}

func TestNodeIsDrainedStoppedAndRemoved(t *testing.T) {
	t.Parallel()
	c, ctx := startCluster(t, 3)
	l, cl := smallLedger(ctx, t, c, 2)
	drain := &adminpb.Request{Kind: &adminpb.Request_DrainNode{DrainNode: &adminpb.DrainNodeRequest{NodeId: 3}}}
	l.Produce(ctx, cl, 200, 100)
	until(t, "node 3 to be empty", func() bool { return operate(ctx, t, cl, drain).GetDrainNode().GetReplicas() == 0 })
	remove := &adminpb.Request{Kind: &adminpb.Request_RemoveNode{RemoveNode: &adminpb.RemoveNodeRequest{NodeId: 3}}}
	if _, err := tryOperate(ctx, cl, remove); err == nil {
		t.Fatal("a node that runs was removed")
	}
	if err := c.Nodes[2].Stop(ctx); err != nil {
		t.Fatal(err)
	}
	until(t, "node 3 to be removed", func() bool {
		_, err := tryOperate(ctx, cl, remove)
		return err == nil
	})
	until(t, "it is listed nowhere any more", func() bool {
		return len(operate(ctx, t, cl, &adminpb.Request{Kind: &adminpb.Request_ListNodes{}}).GetListNodes().GetNodes()) == 2
	})
	if err := l.allAcked(); err != nil {
		t.Fatal(err)
	}
	if err := l.Check(ctx, cl); err != nil {
		t.Fatal(err)
	}
}
