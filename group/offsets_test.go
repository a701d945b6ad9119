package group

import (
	"strings"
	"testing"
	"time"

	"github.com/rustmq/rustmq/mq"
)

// ask gives the reply to a request that is answered at once.
func ask[R Response](t *testing.T, s *Shard, now time.Time, r Request) (R, mq.Code) {
	t.Helper()
	fx := s.Handle(now, 7, r)
	if len(fx.Replies) != 1 || fx.Replies[0].Token != 7 {
		t.Fatalf("%T: replies %+v", r, fx.Replies)
	}
	var none R
	if err := fx.Replies[0].Err; err != nil {
		return none, err.Code
	}
	return fx.Replies[0].Response.(R), mq.None
}

func commitOf(topic Topic, index int32, offset mq.Offset) *CommitRequest {
	return &CommitRequest{Group: "g", Generation: NoGeneration, Topics: []TopicOffsets{{
		Topic: topic.Name, ID: topic.ID, Offsets: []Offset{{Partition: index, Offset: offset, LeaderEpoch: 3, Metadata: "here"}},
	}}}
}

// committedAt is what is committed of one partition, -1 for nothing.
func committedAt(t *testing.T, s *Shard, topic Topic, index int32) mq.Offset {
	t.Helper()
	r, code := ask[*FetchResponse](t, s, start, &FetchRequest{Group: "g", Generation: NoGeneration, Topics: []TopicIndexes{{
		Topic: topic.Name, ID: topic.ID, Partitions: []int32{index},
	}}})
	if code != mq.None {
		t.Fatal(code)
	}
	return r.Topics[0].Offsets[0].Offset
}

func TestCommittedOffsetIsOfOneIncarnationOfATopic(t *testing.T) {
	s := newShard(t)
	old, young := testTopic("t", 2), testTopic("t", 2)
	young.ID[15] = 1
	for _, c := range []struct {
		topic Topic
		index int32
	}{{old, 0}, {old, 1}} {
		if _, code := ask[*CommitResponse](t, s, start, commitOf(c.topic, c.index, 10)); code != mq.None {
			t.Fatal(code)
		}
	}
	if got := committedAt(t, s, old, 1); got != 10 {
		t.Errorf("committed at %d", got)
	}
	if got := committedAt(t, s, young, 1); got != -1 {
		t.Errorf("the next topic of the name is committed at %d", got)
	}
	if _, code := ask[*CommitResponse](t, s, start, commitOf(young, 0, 1)); code != mq.None {
		t.Fatal(code)
	}
	if zero, one := committedAt(t, s, young, 0), committedAt(t, s, young, 1); zero != 1 || one != -1 {
		t.Errorf("committed at %d and %d", zero, one)
	}
	nameless := old
	nameless.ID = mq.TopicID{}
	if got := committedAt(t, s, nameless, 0); got != 1 {
		t.Errorf("by name it is committed at %d", got)
	}
	ask[*DoneResponse](t, s, start, &TopicsDeletedRequest{Topics: []mq.TopicID{old.ID, {}}})
	if got := committedAt(t, s, young, 0); got != 1 {
		t.Errorf("another topic was deleted, and now it is committed at %d", got)
	}
	ask[*DoneResponse](t, s, start, &TopicsDeletedRequest{Topics: []mq.TopicID{young.ID}})
	if got := committedAt(t, s, young, 0); got != -1 {
		t.Errorf("its topic was deleted, and it is committed at %d", got)
	}
}

func TestUnknownGroupHasNothingCommitted(t *testing.T) {
	s := newShard(t)
	if got := committedAt(t, s, testTopic("t", 1), 0); got != -1 {
		t.Errorf("committed at %d", got)
	}
	r, code := ask[*FetchResponse](t, s, start, &FetchRequest{Group: "g", Generation: NoGeneration})
	if code != mq.None || len(r.Topics) != 0 {
		t.Errorf("%+v, %v", r, code)
	}
	if list, _ := ask[*ListResponse](t, s, start, &ListRequest{}); len(list.Groups) != 0 {
		t.Errorf("who asks makes %+v", list.Groups)
	}
}

func TestCommitsAreChecked(t *testing.T) {
	s := newShard(t)
	topic := testTopic("t", 1)
	with := func(change func(*CommitRequest)) *CommitRequest {
		r := commitOf(topic, 0, 1)
		change(r)
		return r
	}
	for _, c := range []struct {
		what string
		r    *CommitRequest
		want mq.Code
	}{
		{"no group", with(func(r *CommitRequest) { r.Group = "" }), mq.InvalidGroupID},
		{"no text", with(func(r *CommitRequest) { r.Group = "\xff" }), mq.InvalidGroupID},
		{"long group", with(func(r *CommitRequest) { r.Group = strings.Repeat("g", mq.MaxGroupIDBytes+1) }), mq.InvalidGroupID},
		{"no topic", with(func(r *CommitRequest) { r.Topics[0].Topic = "" }), mq.InvalidRequest},
		{"negative", with(func(r *CommitRequest) { r.Topics[0].Offsets[0].Offset = -1 }), mq.InvalidRequest},
		{"metadata", with(func(r *CommitRequest) { r.Topics[0].Offsets[0].Metadata = "\xff" }), mq.InvalidRequest},
		{"many", with(func(r *CommitRequest) { r.Topics[0].Offsets = make([]Offset, mq.MaxOffsetsPerCommit+1) }), mq.InvalidRequest},
		{"generation", with(func(r *CommitRequest) { r.Generation = 1 }), mq.IllegalGeneration},
		{"member", with(func(r *CommitRequest) { r.Member = "m" }), mq.IllegalGeneration},
	} {
		if _, code := ask[*CommitResponse](t, s, start, c.r); code != c.want {
			t.Errorf("%s: %v, want %v", c.what, code, c.want)
		}
	}
	long := commitOf(topic, 0, 1)
	long.Topics[0].Offsets = append(long.Topics[0].Offsets, Offset{Partition: 1, Offset: 5, Metadata: strings.Repeat("x", 4097)})
	r, code := ask[*CommitResponse](t, s, start, long)
	if code != mq.None || r.Topics[0][0] != mq.None || r.Topics[0][1] != mq.OffsetMetadataTooLarge {
		t.Errorf("%+v, %v", r, code)
	}
	if zero, one := committedAt(t, s, topic, 0), committedAt(t, s, topic, 1); zero != 1 || one != -1 {
		t.Errorf("committed at %d and %d", zero, one)
	}
}

func TestOffsetsAreForgottenARetentionAfterTheLastMember(t *testing.T) {
	topic, other := testTopic("t", 1), testTopic("other", 1)
	s := newShard(t, topic, other)
	join, code := ask[*HeartbeatResponse](t, s, start, &HeartbeatRequest{Group: "g", Member: "m", Topics: []string{"t"}, RebalanceTimeout: time.Minute})
	if code != mq.None {
		t.Fatal(code)
	}
	for _, of := range []Topic{topic, other} {
		r := commitOf(of, 0, 9)
		r.Member, r.Generation = "m", join.Epoch
		if _, code := ask[*CommitResponse](t, s, start, r); code != mq.None {
			t.Fatal(code)
		}
	}
	now := start
	pass := func(d time.Duration, alive bool) {
		for end := now.Add(d); now.Before(end); {
			now = now.Add(30 * time.Second)
			if alive {
				s.Handle(now, 1, &HeartbeatRequest{Group: "g", Member: "m", Epoch: join.Epoch})
			}
			s.Tick(now)
		}
	}
	pass(8*24*time.Hour, true)
	if mine, others := committedAt(t, s, topic, 0), committedAt(t, s, other, 0); mine != 9 || others != -1 {
		t.Errorf("with a member that consumes the one and not the other they are committed at %d and %d", mine, others)
	}
	pass(6*24*time.Hour, false)
	if got := committedAt(t, s, topic, 0); got != 9 {
		t.Errorf("before its time it is committed at %d", got)
	}
	pass(2*24*time.Hour, false)
	if list, _ := ask[*ListResponse](t, s, now, &ListRequest{}); len(list.Groups) != 0 {
		t.Errorf("of %+v nothing should be left", list.Groups)
	}
}

func TestOffsetsAreResetOnlyWhereNobodyConsumes(t *testing.T) {
	topic := testTopic("t", 1)
	s := newShard(t, topic)
	reset := &ResetRequest{Group: "g", Topics: []TopicOffsets{{Topic: "t", ID: topic.ID, Offsets: []Offset{{Offset: 100, LeaderEpoch: mq.NoEpoch}}}}}
	if _, code := ask[*DoneResponse](t, s, start, reset); code != mq.None || committedAt(t, s, topic, 0) != 100 {
		t.Errorf("a group that was not there: %v", code)
	}
	if _, code := ask[*HeartbeatResponse](t, s, start, &HeartbeatRequest{Group: "g", Member: "m", Topics: []string{"t"}, RebalanceTimeout: time.Minute}); code != mq.None {
		t.Fatal(code)
	}
	reset.Topics[0].Offsets[0].Offset = 5
	if _, code := ask[*DoneResponse](t, s, start, reset); code != mq.GroupSubscribedToTopic || committedAt(t, s, topic, 0) != 100 {
		t.Errorf("with a consumer: %v", code)
	}
	if _, code := ask[*HeartbeatResponse](t, s, start, &HeartbeatRequest{Group: "g", Member: "m", Epoch: EpochLeave}); code != mq.None {
		t.Fatal(code)
	}
	if _, code := ask[*DoneResponse](t, s, start, reset); code != mq.None || committedAt(t, s, topic, 0) != 5 {
		t.Errorf("without: %v", code)
	}
	reset.Topics[0].Offsets[0].Metadata = strings.Repeat("x", 4097)
	if _, code := ask[*DoneResponse](t, s, start, reset); code != mq.OffsetMetadataTooLarge {
		t.Errorf("long metadata: %v", code)
	}
	unknown := &JoinRequest{
		Group: "g", NewMember: "c", ProtocolType: "workers", Protocols: []ClassicProtocol{{Name: "p"}}, SessionTimeout: time.Minute, RebalanceTimeout: time.Minute,
	}
	s.Handle(start, 9, unknown)
	reset.Topics[0].Offsets[0].Metadata = ""
	if _, code := ask[*DoneResponse](t, s, start, reset); code != mq.NonEmptyGroup {
		t.Errorf("with members of which it is not known what they consume: %v", code)
	}
	if f := s.Figures(); f.Groups != 1 || f.Members != 1 || f.Offsets != 1 {
		t.Errorf("%+v", f)
	}
}

// A coordinator that knows no topics yet must not take everything from everybody.
func TestNothingIsTakenBeforeTopicsAreKnown(t *testing.T) {
	topic := testTopic("t", 2)
	first := newShard(t, topic)
	var log []Record
	for _, r := range []*HeartbeatRequest{
		{Group: "g", Member: "a", Topics: []string{"t"}, RebalanceTimeout: time.Minute},
		{Group: "g", Member: "b", Topics: []string{"t"}, RebalanceTimeout: time.Minute},
	} {
		log = append(log, first.Handle(start, 1, r).Records...)
	}
	s := NewShard(DefaultConfig(), nil)
	for i, r := range log {
		if err := s.Replay(mq.Offset(i), r); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Loaded(start); err != nil {
		t.Fatal(err)
	}
	s.Tick(start)
	if _, code := ask[*HeartbeatResponse](t, s, start, &HeartbeatRequest{Group: "g", Member: "a", Epoch: 1}); code != mq.CoordinatorLoadInProgress {
		t.Errorf("a heartbeat: %v", code)
	}
	if _, code := ask[*HeartbeatResponse](t, s, start, &HeartbeatRequest{Group: "g", Member: "b", Epoch: EpochLeave}); code != mq.None {
		t.Errorf("one that leaves: %v", code)
	}
	s.SetTopics(start, NewTopics(1, []Topic{topic}))
	s.Tick(start)
	d, code := ask[*DescribeResponse](t, s, start, &DescribeRequest{Group: "g"})
	if code != mq.None || len(d.Members) != 1 || d.Members[0].Assigned.Len() != 2 || d.Members[0].Target.Len() != 2 || d.TargetEpoch != d.Epoch {
		t.Errorf("%+v, %v", d, code)
	}
}

func TestPartsOfALongChangeAreRecordsOfOneBatch(t *testing.T) {
	s := newShard(t)
	r := commitOf(testTopic("t", 1), 0, 1)
	r.Topics[0].Offsets = nil
	for index := range int32(1000) {
		r.Topics[0].Offsets = append(r.Topics[0].Offsets, Offset{Partition: index, Offset: 1, Metadata: strings.Repeat("x", 4000)})
	}
	fx := s.Handle(start, 1, r)
	if len(fx.Records) < 10 {
		t.Errorf("%d records", len(fx.Records))
	}
	again := NewShard(DefaultConfig(), nil)
	for i, r := range fx.Records {
		if len(r.Value) > 2*pieceBytes || string(r.Key) != "g" {
			t.Errorf("record %d of %q: %d bytes", i, r.Key, len(r.Value))
		}
		if err := again.Replay(mq.Offset(i), r); err != nil {
			t.Fatal(err)
		}
	}
	if string(durable(again)) != string(durable(s)) {
		t.Error("it is another group after a replay")
	}
}
