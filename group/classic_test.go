package group

import (
	"testing"
	"time"

	"github.com/rustmq/rustmq/mq"
)

// The coordinator goes after members heard of a generation, and before their leader has assigned. The next one forms another generation, with another
// number: who slept meanwhile, as a static member may, must not pass for one of it.
func TestGenerationComesOnceThoughItsCoordinatorGoes(t *testing.T) {
	join := func(member, instance string) *JoinRequest {
		r := &JoinRequest{
			Group: "g", NewMember: member, Instance: instance, ProtocolType: consumerType, Protocols: []ClassicProtocol{{Name: "p"}},
			SessionTimeout: time.Minute, RebalanceTimeout: 10 * time.Second,
		}
		if instance == "" {
			r.Member, r.NewMember = member, ""
		}
		return r
	}
	s := newShard(t)
	log := s.Handle(start, 1, join("static", "i")).Records
	now := start.Add(3 * time.Second)
	fx := s.Tick(now)
	log = append(log, fx.Records...)
	if len(fx.Replies) != 1 || fx.Replies[0].Response.(*JoinResponse).Generation != 1 {
		t.Fatalf("%+v", fx.Replies)
	}
	s = NewShard(DefaultConfig(), nil)
	for i, r := range log {
		if err := s.Replay(mq.Offset(i), r); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Loaded(now); err != nil {
		t.Fatal(err)
	}
	other := join("other", "")
	other.Member, other.NewMember = "", "other"
	s.Handle(now, 2, other)
	now = now.Add(20 * time.Second)
	fx = s.Tick(now)
	if len(fx.Replies) != 1 || fx.Replies[0].Response.(*JoinResponse).Generation != 2 {
		t.Fatalf("%+v", fx.Replies)
	}
	ask[*SyncResponse](t, s, now, &SyncRequest{Group: "g", Member: "other", Generation: 2})
	r := commitOf(testTopic("t", 1), 0, 5)
	r.Member, r.Instance, r.Generation = "static", "i", 1
	if _, code := ask[*CommitResponse](t, s, now, r); code != mq.IllegalGeneration {
		t.Errorf("a commit in the generation that was never complete: %v", code)
	}
}
