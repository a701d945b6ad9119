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

// A shard that has as many groups as it may makes no more, whoever asks, and serves those that it has.
func TestGroupsOfAShardAreBounded(t *testing.T) {
	cfg := DefaultConfig()
	cfg.MaxGroups = 2
	s, now := NewShard(cfg, nil), time.Unix(1_800_000_000, 0)
	if err := s.Loaded(now); err != nil {
		t.Fatal(err)
	}
	s.SetTopics(now, NewTopics(1, []Topic{{Name: "orders", ID: mq.TopicID{1}, Partitions: 1}}))
	pattern := ""
	offsets := []TopicOffsets{{Topic: "orders", Offsets: []Offset{{Offset: 1}}}}
	requests := func(name string) map[string]Request {
		return map[string]Request{
			"a commit":          &CommitRequest{Group: name, Generation: NoGeneration, Topics: offsets},
			"a reset":           &ResetRequest{Group: name, Topics: offsets},
			"a heartbeat":       &HeartbeatRequest{Group: name, Member: "m", RebalanceTimeout: time.Minute, Topics: []string{"orders"}, Pattern: &pattern},
			"a join of classic": &JoinRequest{Group: name, NewMember: "m", SessionTimeout: 10 * time.Second, RebalanceTimeout: time.Minute, ProtocolType: "consumer", Protocols: []ClassicProtocol{{Name: "range"}}},
		}
	}
	ask := func(r Request) mq.Code {
		t.Helper()
		for _, reply := range s.Handle(now, 1, r).Replies {
			if reply.Err != nil {
				return reply.Err.Code
			}
		}
		return mq.None
	}
	for _, name := range []string{"one", "two"} {
		if code := ask(requests(name)["a commit"]); code != mq.None {
			t.Fatalf("group %s: %v", name, code)
		}
	}
	for what, r := range requests("three") {
		if code := ask(r); code != mq.PolicyViolation {
			t.Errorf("%s for one more group: %v", what, code)
		}
	}
	if code := ask(requests("two")["a commit"]); code != mq.None {
		t.Errorf("a commit of a group that is there: %v", code)
	}
	if code := ask(&DeleteGroupRequest{Group: "one"}); code != mq.None {
		t.Errorf("delete: %v", code)
	}
	if code := ask(requests("three")["a heartbeat"]); code != mq.None {
		t.Errorf("a group in place of another: %v", code)
	}
}
