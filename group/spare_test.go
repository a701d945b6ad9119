package group

import (
	"testing"
	"time"

	"github.com/rustmq/rustmq/mq"
)

func TestSparedMembersHaveTheirWholeSessionsAgain(t *testing.T) {
	s := newShard(t, testTopic("orders", 4))
	session := DefaultConfig().SessionTimeout
	s.Handle(start, 1, &HeartbeatRequest{Group: "new", Member: "m", RebalanceTimeout: time.Minute, Topics: []string{"orders"}})
	s.Handle(start, 2, &JoinRequest{
		Group: "old", NewMember: "m", SessionTimeout: session, RebalanceTimeout: time.Minute, ProtocolType: "consumer",
		Protocols: []ClassicProtocol{{Name: "range", Metadata: subscriptionOf([]string{"orders"}, nil)}},
	})
	s.Tick(start.Add(10 * time.Second)) // the first generation is formed
	s.Handle(start.Add(10*time.Second), 3, &SyncRequest{Group: "old", Member: "m", Generation: 1})
	held := start.Add(10 * session)
	s.Spare(held)
	for _, c := range []struct {
		after   time.Duration
		members int
	}{{0, 2}, {session - time.Second, 2}, {session, 0}} {
		s.Tick(held.Add(c.after))
		if got := s.Figures().Members; got != c.members {
			t.Errorf("%v after: %d members, want %d", c.after, got, c.members)
		}
	}
	if fx := s.Handle(held.Add(session), 4, &HeartbeatRequest{Group: "new", Member: "m", Epoch: 1}); mq.CodeOf(fx.Replies[0].Err) != mq.UnknownMemberID {
		t.Errorf("%+v", fx.Replies)
	}
}
