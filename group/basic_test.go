package group

import (
	"testing"
	"time"

	"github.com/rustmq/rustmq/mq"
)

var start = time.UnixMilli(1_800_000_000_000)

func testTopic(name string, n int32) Topic {
	var id mq.TopicID
	copy(id[:], name)
	return Topic{Name: name, ID: id, Partitions: n}
}

func newShard(t *testing.T, topics ...Topic) *Shard {
	t.Helper()
	s := NewShard(DefaultConfig(), nil)
	if err := s.Loaded(start); err != nil {
		t.Fatal(err)
	}
	s.SetTopics(start, NewTopics(1, topics))
	return s
}

func TestPartitionGoesToItsNextOwnerInThreeSteps(t *testing.T) {
	s := newShard(t, testTopic("orders", 4))
	beat := func(member string, epoch int32, owned Partitions) *HeartbeatResponse {
		t.Helper()
		r := &HeartbeatRequest{Group: "g", Member: member, Epoch: epoch, Owned: owned}
		if epoch == EpochJoin {
			r.Topics, r.RebalanceTimeout = []string{"orders"}, time.Minute
		}
		fx := s.Handle(start, 1, r)
		if len(fx.Replies) != 1 || fx.Replies[0].Err != nil {
			t.Fatalf("%+v", fx.Replies)
		}
		return fx.Replies[0].Response.(*HeartbeatResponse)
	}
	a := beat("a", EpochJoin, nil)
	if a.Assigned.Len() != 4 {
		t.Fatalf("%+v", a)
	}
	b := beat("b", EpochJoin, nil)
	if b.Assigned.Len() != 0 || b.Epoch != a.Epoch+1 {
		t.Fatalf("%+v", b)
	}
	less := beat("a", a.Epoch, nil)
	if less.Assigned.Len() != 2 || less.Epoch != a.Epoch {
		t.Fatalf("%+v", less)
	}
	if b = beat("b", b.Epoch, nil); b.Changed {
		t.Fatalf("given before it was given up: %+v", b)
	}
	if a = beat("a", a.Epoch, less.Assigned); a.Epoch != b.Epoch {
		t.Fatalf("%+v", a)
	}
	if b = beat("b", b.Epoch, nil); b.Assigned.Len() != 2 {
		t.Fatalf("%+v", b)
	}
}
