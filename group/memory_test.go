package group

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"github.com/rustmq/rustmq/mq"
)

// checkBytes counts all that is held from the beginning.
func (l *life) checkBytes() {
	var all int64
	for id, g := range l.shard.groups {
		all += groupOverhead + int64(len(id)) + g.weighMembers()
		for name, t := range g.offsets.topics {
			all += int64(topicOverhead + len(name))
			for _, c := range t.at {
				all += c.weight()
			}
		}
	}
	if got := l.shard.Bytes(); got != all {
		l.failf("the groups hold %d bytes, and %d were counted", all, got)
	}
}

func joinOfBytes(member string, n int) *JoinRequest {
	return &JoinRequest{
		Group: "classic", NewMember: member, Instance: member, ProtocolType: consumerType, SessionTimeout: time.Minute, RebalanceTimeout: time.Minute,
		Protocols: []ClassicProtocol{{Name: "p", Metadata: make([]byte, n)}},
	}
}

func heartbeatOfTopics(member string, n int) *HeartbeatRequest {
	r := &HeartbeatRequest{Group: "consumer", Member: member, Epoch: EpochJoin, RebalanceTimeout: time.Minute, Owned: Partitions{}}
	for i := range n {
		r.Topics = append(r.Topics, strings.Repeat("t", 100)+string(rune('a'+i)))
	}
	return r
}

func commitOfBytes(group string, n int) *CommitRequest {
	return &CommitRequest{Group: group, Generation: NoGeneration, Topics: []TopicOffsets{{Topic: "t", Offsets: []Offset{{Metadata: strings.Repeat("x", n)}}}}}
}

// TestWhatGroupsHoldIsLimited: what would go beyond the limit is refused, whoever wants it, and nothing of it is kept. Who is there already goes on, and what is given up can be had by others.
func TestWhatGroupsHoldIsLimited(t *testing.T) {
	const many = 4000
	s := newShard(t)
	now := start
	token := Token(0)
	take := func(what string, r Request, want mq.Code) { // that it is taken may be told later
		t.Helper()
		before, got := s.Bytes(), mq.None
		token++
		for _, reply := range s.Handle(now, token, r).Replies {
			if reply.Token == token && reply.Err != nil {
				got = reply.Err.Code
			}
		}
		if got != want {
			t.Errorf("%s: %v, want %v", what, got, want)
		}
		if want == mq.PolicyViolation && s.Bytes() != before {
			t.Errorf("%s: refused, and %d bytes became %d", what, before, s.Bytes())
		}
	}
	take("a classic member", joinOfBytes("m1", many), mq.None)
	take("a consumer", heartbeatOfTopics("c1", 10), mq.None)
	take("a commit", commitOfBytes("offsets", many), mq.None)
	s.Limit(s.Bytes() + many)
	take("a second classic member", joinOfBytes("m2", many), mq.PolicyViolation)
	take("a second consumer", heartbeatOfTopics("c2", 20), mq.PolicyViolation)
	take("a larger subscription", heartbeatOfTopics("c1", 50), mq.PolicyViolation)
	take("another group's commit", commitOfBytes("other", many), mq.PolicyViolation)
	take("an operator's offsets", &ResetRequest{Group: "other", Topics: commitOfBytes("", many).Topics}, mq.PolicyViolation)
	take("the same commit again", commitOfBytes("offsets", many), mq.None)
	take("the consumer again", heartbeatOfTopics("c1", 10), mq.None)
	again := joinOfBytes("m1", many)
	again.Member, again.NewMember = "m1", ""
	take("the classic member again", again, mq.None)
	s.Tick(now.Add(time.Minute)) // its generation is formed
	now = now.Add(time.Minute)
	assignments := &SyncRequest{Group: "classic", Member: "m1", Instance: "m1", Generation: 1, Assignments: []ClassicAssignment{{"m1", bytes.Repeat([]byte("a"), 2*many)}}}
	take("a large assignment", assignments, mq.PolicyViolation)
	assignments.Assignments[0].Assignment = assignments.Assignments[0].Assignment[:many/2]
	take("a smaller one", assignments, mq.None)
	take("a group is deleted", &DeleteGroupRequest{Group: "offsets"}, mq.None)
	take("and there is room for another one", commitOfBytes("other", many), mq.None)
}
