package group

import (
	"bytes"
	"testing"
	"time"

	"github.com/rustmq/rustmq/mq"
)

// What members with the classic protocol bring and assign is read when the group becomes a mixed one, whatever it is.
func FuzzBytesOfClassicMembers(f *testing.F) {
	s := newShard(&testing.T{}, testTopic("t", 3))
	f.Add(subscriptionOf([]string{"t"}, map[string][]int32{"t": {0, 2}}), s.writeAssignment(Partitions{{Topic: testTopic("t", 3).ID, Partitions: []int32{0, 2}}}))
	f.Add([]byte{}, []byte{})
	f.Fuzz(func(t *testing.T, metadata, assignment []byte) {
		s := newShard(t, testTopic("t", 3))
		join := &JoinRequest{
			Group: "g", NewMember: "a", ProtocolType: consumerType, Protocols: []ClassicProtocol{{Name: "p", Metadata: metadata}},
			SessionTimeout: 10 * time.Second, RebalanceTimeout: time.Minute,
		}
		s.Handle(start, 1, join)
		now := start.Add(5 * time.Second)
		s.Tick(now)
		if fx := s.Handle(now, 2, &SyncRequest{
			Group: "g", Member: "a", Generation: 1, Assignments: []ClassicAssignment{{Member: "a", Assignment: assignment}},
		}); len(fx.Replies) != 1 || fx.Replies[0].Err != nil {
			t.Fatalf("%+v", fx.Replies)
		}
		fx := s.Handle(now, 3, &HeartbeatRequest{Group: "g", Member: "c", Topics: []string{"t"}, RebalanceTimeout: time.Minute})
		if len(fx.Replies) != 1 {
			t.Fatalf("%+v", fx.Replies)
		}
		join.Member = "a"
		s.Handle(now, 4, join)
		s.Handle(now, 5, &HeartbeatRequest{Group: "g", Member: "c", Epoch: EpochLeave})
		s.Tick(now.Add(time.Hour))
		durable(s)
	})
}

// The same calls give the same effects, byte for byte.
func TestSameLifeIsLivedAgain(t *testing.T) {
	for seed := range uint64(5) {
		first, second := newLife(seed, planted{}), newLife(seed, planted{})
		if fail := first.run(lifeSteps); fail != "" {
			t.Fatal(fail)
		}
		if fail := second.run(lifeSteps); fail != "" {
			t.Fatal(fail)
		}
		if len(first.log) != len(second.log) {
			t.Fatalf("seed %d: logs of %d and %d batches", seed, len(first.log), len(second.log))
		}
		for i, b := range first.log {
			for j, r := range b.records {
				if !bytes.Equal(r.Value, second.log[i].records[j].Value) {
					t.Fatalf("seed %d: batch %d, record %d is another one", seed, i, j)
				}
			}
		}
	}
}

// A group goes to the other protocol and back while nobody loses its place: see testdata/mixed.script for how.
func TestGroupWithoutMembersGoesToTheOtherProtocolAndItsEpochsGoOn(t *testing.T) {
	s := newShard(t, testTopic("t", 1))
	epoch := int32(0)
	now := start
	for range 3 {
		beat, code := ask[*HeartbeatResponse](t, s, now, &HeartbeatRequest{Group: "g", Member: "m", Topics: []string{"t"}, RebalanceTimeout: time.Minute})
		if code != mq.None || beat.Epoch <= epoch {
			t.Fatalf("epoch %d after %d, %v", beat.Epoch, epoch, code)
		}
		epoch = beat.Epoch
		ask[*HeartbeatResponse](t, s, now, &HeartbeatRequest{Group: "g", Member: "m", Epoch: EpochLeave})
		s.Handle(now, 1, &JoinRequest{
			Group: "g", NewMember: "c", ProtocolType: consumerType, Protocols: []ClassicProtocol{{Name: "p"}}, SessionTimeout: 10 * time.Second,
		})
		now = now.Add(10 * time.Second)
		fx := s.Tick(now)
		if len(fx.Replies) != 1 || fx.Replies[0].Response.(*JoinResponse).Generation <= epoch {
			t.Fatalf("after epoch %d: %+v", epoch, fx.Replies)
		}
		epoch = fx.Replies[0].Response.(*JoinResponse).Generation
		ask[*LeaveResponse](t, s, now, &LeaveRequest{Group: "g", Members: []LeavingMember{{Member: "c"}}})
	}
}
