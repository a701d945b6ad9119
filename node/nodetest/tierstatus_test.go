package nodetest

import (
	"errors"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	adminpb "github.com/rustmq/rustmq/api/admin/v1"
	"github.com/rustmq/rustmq/client"
	"github.com/rustmq/rustmq/mq"
	"github.com/rustmq/rustmq/tier/faultstore"
)

// What an operator is told of the object store: per topic what is there and what is not yet, of the cluster what is garbage and how old the copy of the metadata
// is, and what fails, with the words of the store.
func TestStatusOfTheObjectStore(t *testing.T) {
	t.Parallel()
	store := faultstore.New()
	var away atomic.Bool
	store.SetHook(func(op faultstore.Op) (f faultstore.Fault) {
		if away.Load() && op.Kind == faultstore.Write {
			f.Before = errors.New("the store is on holiday")
		}
		return f
	})
	n, cl := keepingOn(t, store)
	ctx := soon(t)
	began := time.Now().Truncate(time.Millisecond)
	createTopic(ctx, t, cl, "orders", nil)
	createTopic(ctx, t, cl, "empty", nil)
	for range 3 {
		put(ctx, t, cl, "orders", 2, time.Now())
	}
	if _, err := cl.DeleteRecords(ctx, "orders", 0, 2); err != nil {
		t.Fatal(err)
	}
	status := func(topic string) *adminpb.TierStatusResponse {
		return operate(ctx, t, cl, &adminpb.Request{Kind: &adminpb.Request_TierStatus{TierStatus: &adminpb.TierStatusRequest{Topic: topic}}}).GetTierStatus()
	}
	until(t, "the copy of the metadata has everything, and the garbage is gone", func() bool {
		c := status("").GetCluster()
		return c.GetCopy() != nil && c.GetCopy().GetBehind() == 0 && c.GetGarbageObjects() == 0 && c.GetDeletedObjects() >= 1
	})
	s := status("")
	if len(s.GetTopics()) != 2 || s.GetNextPage() != "" {
		t.Fatalf("%v", s)
	}
	empty, orders, c := s.GetTopics()[0], s.GetTopics()[1], s.GetCluster()
	if empty.GetTopic() != "empty" || empty.GetObjects()+empty.GetBytes()+empty.GetRecords() != 0 || empty.GetOldestMs() != -1 || empty.GetNewestMs() != -1 {
		t.Errorf("%v", empty)
	}
	if orders.GetTopic() != "orders" || orders.GetPartitions() != 1 || orders.GetObjects() < 2 || orders.GetRanges() != orders.GetObjects() || orders.GetRecords() != 4 || orders.GetBytes() == 0 ||
		orders.GetOldestMs() < began.UnixMilli() || orders.GetNewestMs() < orders.GetOldestMs() || orders.GetLeaderless() != 0 {
		t.Errorf("%v", orders)
	}
	if c.GetObjects() != orders.GetObjects() || c.GetRanges() != orders.GetRanges() || c.GetBytes() < orders.GetBytes() || c.GetGraceMs() != 50 || len(c.GetFailing()) != 0 || c.GetCopy().GetBytes() == 0 {
		t.Errorf("%v", c)
	}

	uploaded := orders.GetObjects() + c.GetDeletedObjects() // 3, unless a slow machine parted what was put together
	away.Store(true)
	for range 5 {
		if err := cl.ProduceSync(ctx, &client.Record{Topic: "orders", Value: []byte("later")}).FirstErr(); err != nil {
			t.Fatal(err)
		}
	}
	createTopic(ctx, t, cl, "later", nil)
	node := func() *adminpb.TierNodeResponse {
		return operate(ctx, t, cl, &adminpb.Request{Kind: &adminpb.Request_TierNode{TierNode: &adminpb.TierNodeRequest{}}}).GetTierNode()
	}
	until(t, "the broker says what the store says", func() bool {
		b := node()
		return b.GetFailing() && b.GetFailedRequests() > 0 && strings.Contains(b.GetLastError(), "on holiday")
	})
	if b := node(); len(b.GetLags()) != 1 || b.GetLags()[0].GetTopic() != "orders" || b.GetLags()[0].GetRecords() != 5 || b.GetLags()[0].GetBytes() == 0 || b.GetUploadedObjects() != uploaded {
		t.Errorf("%v", b)
	}
	until(t, "the controller says that it cannot copy", func() bool {
		c := status("orders").GetCluster()
		return c.GetCopy().GetBehind() > 0 && len(c.GetFailing()) == 1 && c.GetFailing()[0].GetChore() == "checkpoint" && strings.Contains(c.GetFailing()[0].GetError(), "on holiday")
	})
	if s := status("orders"); len(s.GetTopics()) != 1 || s.GetTopics()[0].GetTopic() != "orders" {
		t.Errorf("%v", s)
	}
	_, err := adminpb.Ask(&adminpb.Request{Kind: &adminpb.Request_TierStatus{TierStatus: &adminpb.TierStatusRequest{Topic: "none"}}}, func(message []byte) ([]byte, error) {
		return cl.OperateAt(ctx, 1, message)
	})
	if mq.CodeOf(err) != mq.UnknownTopicOrPartition {
		t.Errorf("of a topic that is not there: %v", err)
	}
	away.Store(false)
	until(t, "all is well again", func() bool { return len(node().GetLags()) == 0 && len(status("").GetCluster().GetFailing()) == 0 })
	if n.Log.String() == "" {
		t.Error("the trouble is not in the log")
	}
}
