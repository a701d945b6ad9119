package nodetest

import (
	"context"
	"fmt"
	"strings"
	"testing"

	adminpb "github.com/rustmq/rustmq/api/admin/v1"
	"github.com/rustmq/rustmq/client"
	"github.com/rustmq/rustmq/mq"
)

// TestUncleanLeaderSaysWhatIsLost: of two replicas the one that is in sync dies, with records that the other does not have, which leads all the same: the topic
// allows it, or an operator wants it.
func TestUncleanLeaderSaysWhatIsLost(t *testing.T) {
	t.Parallel()
	t.Run("by the topic's setting", func(t *testing.T) { uncleanElection(t, "true") })
	t.Run("by an operator", func(t *testing.T) { uncleanElection(t, "false") })
}

func uncleanElection(t *testing.T, allowed string) {
	c, ctx := startCluster(t, 3)
	admin, err := c.Client()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = admin.Close() })
	makeTopic(ctx, t, admin, client.NewTopic{
		Name: "lossy", Partitions: 1, Replicas: 2, Configs: map[string]string{"unclean.leader.election.enable": allowed},
	})
	produce := func(n int) {
		t.Helper()
		cl, err := c.Client()
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = cl.Close() }()
		for i := range n {
			if err := cl.ProduceSync(ctx, &client.Record{Topic: "lossy", Value: fmt.Append(nil, i)}).FirstErr(); err != nil {
				t.Fatal(err)
			}
		}
	}
	produce(5)
	awaitInSync(ctx, t, admin, "lossy", 2)
	at := partitionOf(ctx, t, admin)
	leader := c.Nodes[at.Leader-1]
	other := c.Nodes[at.Replicas[0]-1]
	if other == leader {
		other = c.Nodes[at.Replicas[1]-1]
	}
	other.Kill()
	produce(7)
	leader.Kill()
	if err := c.Start(ctx, other); err != nil {
		t.Fatal(err)
	}
	if allowed == "false" {
		elect := &adminpb.Request{Kind: &adminpb.Request_ElectLeaders{ElectLeaders: &adminpb.ElectLeadersRequest{
			Topic: "lossy", Partitions: []int32{0}, Unclean: true,
		}}}
		outcomes := operate(ctx, t, admin, elect).GetElectLeaders().GetOutcomes()
		if len(outcomes) != 1 || outcomes[0].GetBefore() != -1 || int(outcomes[0].GetAfter()) != other.id {
			t.Fatalf("elected: %v", outcomes)
		}
		if _, err := tryOperate(ctx, admin, elect); mq.CodeOf(err) != mq.InvalidRequest {
			t.Errorf("elected again: %v", err)
		}
	}
	produce(1)
	if said := other.Log.String(); !strings.Contains(said, "unclean election") || !strings.Contains(said, "log_end=5 ") {
		t.Errorf("it does not say what is lost:\n%s", said)
	}
	if err := c.Start(ctx, leader); err != nil {
		t.Fatal(err)
	}
	awaitInSync(ctx, t, admin, "lossy", 2)
}

func partitionOf(ctx context.Context, t *testing.T, cl *client.Client) client.PartitionDescription {
	t.Helper()
	d, err := cl.DescribeTopic(ctx, "lossy")
	if err != nil {
		t.Fatal(err)
	}
	return d.Partitions[0]
}
