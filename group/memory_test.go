package group

import (
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
		Group: "classic", NewMember: member, Instance: member, ProtocolType: consumerType, SessionTimeout: 10 * time.Minute, RebalanceTimeout: 5 * time.Minute,
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

// limited is a shard whose requests are judged by their codes.
type limited struct {
	*testing.T
	s     *Shard
	now   time.Time
	token Token
}

// take hands a request in, which may be answered later if it is taken.
func (l *limited) take(what string, r Request, want mq.Code) {
	l.Helper()
	before, got := l.s.Bytes(), mq.None
	l.token++
	for _, reply := range l.s.Handle(l.now, l.token, r).Replies {
		if reply.Token == l.token && reply.Err != nil {
			got = reply.Err.Code
		}
	}
	if got != want {
		l.Errorf("%s: %v, want %v", what, got, want)
	}
	if want == mq.PolicyViolation && l.s.Bytes() != before {
		l.Errorf("%s: refused, and %d bytes became %d", what, before, l.s.Bytes())
	}
}

// tick lets time pass until the next timers are due, so often.
func (l *limited) tick(times int) {
	for range times {
		l.now = l.now.Add(5 * time.Second)
		l.s.Tick(l.now)
	}
}

func assign(generation int32, to ...ClassicAssignment) *SyncRequest {
	return &SyncRequest{Group: "classic", Member: to[0].Member, Instance: to[0].Member, Generation: generation, Assignments: to}
}

// rejoin is a join of a member that is there, with so many bytes.
func rejoin(member string, n int) *JoinRequest {
	r := joinOfBytes(member, n)
	r.Member, r.NewMember = member, ""
	return r
}

// TestWhatGroupsHoldIsLimited: what would go beyond the limit is refused, whoever wants it, and nothing of it is kept. What is given up can be had by others.
func TestWhatGroupsHoldIsLimited(t *testing.T) {
	const many = 4000
	l := &limited{T: t, s: newShard(t), now: start}
	l.take("a classic member", joinOfBytes("m1", many), mq.None)
	l.take("a consumer", heartbeatOfTopics("c1", 10), mq.None)
	l.take("a commit", commitOfBytes("offsets", many), mq.None)
	held := l.s.Bytes()
	l.s.Limit(held+many/2, held+3*many)
	l.take("a second classic member", joinOfBytes("m2", many), mq.PolicyViolation)
	l.take("a second consumer", heartbeatOfTopics("c2", 20), mq.PolicyViolation)
	l.take("another group's commit", commitOfBytes("other", many), mq.PolicyViolation)
	l.take("an operator's offsets", &ResetRequest{Group: "other", Topics: commitOfBytes("", many).Topics}, mq.PolicyViolation)
	l.take("a much larger subscription", heartbeatOfTopics("c1", 100), mq.PolicyViolation)
	stranger := commitOfBytes("offsets", 4*many)
	stranger.Member, stranger.Generation = "stranger", 3
	l.take("a commit of no member", stranger, mq.UnknownMemberID)
	l.take("metadata that is too long anyway", commitOfBytes("offsets", 5000), mq.None)
	l.take("a join of no member", rejoin("stranger", many), mq.UnknownMemberID)
	nowhere := rejoin("stranger", many)
	nowhere.Group = "nowhere"
	l.take("a join of no member of no group", nowhere, mq.UnknownMemberID)
	more := commitOfBytes("offsets", many)
	more.Topics[0].Offsets[0].Partition = 1
	l.take("a commit of one more partition", more, mq.None)
	l.tick(3) // the classic generation is formed
	l.take("a large assignment", assign(1, ClassicAssignment{"m1", make([]byte, 2*many)}), mq.PolicyViolation)
	l.take("a smaller one", assign(1, ClassicAssignment{"m1", make([]byte, many/2)}), mq.None)
	l.take("a group is deleted", &DeleteGroupRequest{Group: "offsets"}, mq.None)
	l.s.Limit(held+many, held+many)
	l.take("and there is room for another one", commitOfBytes("other", many), mq.None)
}

// TestWhoIsThereGoesOnAtTheLimit, as after a fail-over that brought more groups than there is room for: with what it had, and with what follows from that.
func TestWhoIsThereGoesOnAtTheLimit(t *testing.T) {
	l := &limited{T: t, s: newShard(t, testTopic("t", 1), testTopic("large", mq.MaxPartitionsPerTopic)), now: start}
	full := func() { l.s.Limit(l.s.Bytes(), l.s.Bytes()+6000) }
	l.take("a classic member", joinOfBytes("m1", 100), mq.None)
	l.take("a second one", joinOfBytes("m2", 100), mq.None)
	consumer := &HeartbeatRequest{Group: "consumer", Member: "c1", Instance: "i", ClientHost: "10.0.0.9", Epoch: EpochJoin, RebalanceTimeout: time.Minute, Topics: []string{"t"}, Owned: Partitions{}}
	l.take("a consumer", consumer, mq.None)
	l.tick(3)
	l.take("they are assigned", assign(1, ClassicAssignment{"m1", make([]byte, 2000)}, ClassicAssignment{"m2", make([]byte, 2000)}), mq.None)

	full()
	l.take("a member with what it owns", rejoin("m2", 140), mq.None)
	full()
	l.take("one leaves", &LeaveRequest{Group: "classic", Members: []LeavingMember{{Member: "m2", Instance: "m2"}}}, mq.None)
	full()
	l.take("the other one joins again", rejoin("m1", 100), mq.None)
	full()
	l.take("and takes over", assign(2, ClassicAssignment{"m1", make([]byte, 3900)}), mq.None)

	full()
	again := *consumer
	again.ClientHost, again.Topics = "10.0.0.10", []string{"t", "t"}
	l.take("a consumer from a longer address, which names its topic twice", &again, mq.None)
	again.Epoch, again.Owned = 1, nil
	again.Topics = []string{"large"}
	l.take("a consumer that wants ten thousand partitions for its one", &again, mq.PolicyViolation)
	again.Epoch, again.Instance, again.Member, again.Topics = EpochLeaveStatic, "i", "c1", nil
	l.take("it goes away", &again, mq.None)
	full()
	next := *consumer
	next.Member = "another-and-longer-name"
	l.take("its next life", &next, mq.None)
}

// TestClassicMemberGoesOverAtTheLimit to the consumer protocol.
func TestClassicMemberGoesOverAtTheLimit(t *testing.T) {
	l := &limited{T: t, s: newShard(t, testTopic("t", 1)), now: start}
	join := joinOfBytes("m1", 0)
	join.Protocols[0].Metadata = []byte{0, 1, 0, 0, 0, 1, 0, 1, 't', 0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0} // it subscribes to t
	l.take("a classic member", join, mq.None)
	l.tick(3)
	l.s.Limit(0, l.s.Bytes()+1000)
	l.take("its next life", &HeartbeatRequest{Group: "classic", Member: "m2", Instance: "m1", Epoch: EpochJoin, RebalanceTimeout: time.Minute, Topics: []string{"t"}, Owned: Partitions{}}, mq.None)
	join.NewMember, join.Group = "m3", "classic"
	l.take("and back", join, mq.None)
}
