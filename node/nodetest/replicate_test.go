package nodetest

import (
	"fmt"
	"slices"
	"testing"

	adminpb "github.com/rustmq/rustmq/api/admin/v1"
	"github.com/rustmq/rustmq/client"
	"github.com/rustmq/rustmq/mq"
)

// TestOneCommandGivesAllPartitionsTheirReplicas has topics of one replica, as they are after a restore, replicated: all of their partitions come into sync in all racks,
// each broker leads as many, and all that was acknowledged is there.
func TestOneCommandGivesAllPartitionsTheirReplicas(t *testing.T) {
	t.Parallel()
	r := startRacked(t)
	makeTopic(r.ctx, r.t, r.cl, client.NewTopic{Name: "payments", Partitions: 5, Replicas: 1})
	r.produce(50)
	ask := func(req *adminpb.ReplicatePartitionsRequest) *adminpb.ReplicatePartitionsResponse {
		return operate(r.ctx, t, r.cl, &adminpb.Request{Kind: &adminpb.Request_ReplicatePartitions{ReplicatePartitions: req}}).GetReplicatePartitions()
	}
	for _, req := range []*adminpb.ReplicatePartitionsRequest{{Topics: []string{"nobody"}}, {Replicas: -1}, {Replicas: mq.MaxReplicationFactor + 1}} {
		if _, err := tryOperate(r.ctx, r.cl, &adminpb.Request{Kind: &adminpb.Request_ReplicatePartitions{ReplicatePartitions: req}}); err == nil {
			t.Errorf("%v: it was taken", req)
		}
	}
	if got := ask(&adminpb.ReplicatePartitionsRequest{}); len(got.GetMoves()) != 0 || got.GetShort() != 0 {
		t.Errorf("all have one replica, and are to have one: %v", got)
	}
	if got := ask(&adminpb.ReplicatePartitionsRequest{Replicas: 3, DryRun: true}); len(got.GetMoves()) != 6 || got.GetMoving() != 0 {
		t.Errorf("only planned: %v", got)
	}
	if got := ask(&adminpb.ReplicatePartitionsRequest{Replicas: 3, Topics: []string{"orders"}}); len(got.GetMoves()) != 1 {
		t.Errorf("of one topic: %v", got)
	}
	if got := ask(&adminpb.ReplicatePartitionsRequest{Replicas: 3}); len(got.GetMoves()) != 5 {
		t.Errorf("of the others: %v", got)
	}
	until(t, "all are in sync, and led by turns", func() bool {
		if got := ask(&adminpb.ReplicatePartitionsRequest{Replicas: 3}); got.GetMoving() > 0 || len(got.GetMoves()) > 0 {
			return false
		}
		preferred := map[int32]int{}
		list := operate(r.ctx, t, r.cl, &adminpb.Request{Kind: &adminpb.Request_ListPartitions{ListPartitions: &adminpb.ListPartitionsRequest{}}}).GetListPartitions()
		for _, p := range list.GetPartitions() {
			preferred[p.GetReplicas()[0]]++
			if len(p.GetInSync()) != 3 {
				return false
			}
		}
		return fmt.Sprint(preferred) == "map[1:2 2:2 3:2]"
	})
	if got := ask(&adminpb.ReplicatePartitionsRequest{Replicas: 4}); got.GetShort() != 6 || len(got.GetMoves()) != 0 {
		t.Errorf("there are three brokers: %v", got)
	}
	if values := valuesOf(r.ctx, t, r.cl, "orders", 50); !slices.IsSorted(values) {
		t.Errorf("got %v", values)
	}
}
