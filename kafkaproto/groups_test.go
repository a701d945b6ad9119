package kafkaproto

import (
	"context"
	"fmt"
	"reflect"
	"slices"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/rustmq/rustmq/mq"
)

// joinOf makes a request of a member that may be nobody yet.
func joinOf(group, member string) *kmsg.JoinGroupRequest {
	j := kmsg.NewPtrJoinGroupRequest()
	j.Group, j.MemberID, j.InstanceID, j.ProtocolType, j.SessionTimeoutMillis, j.RebalanceTimeoutMillis = group, member, kmsg.StringPtr("i"), "consumer", 6000, 9000
	j.Protocols = []kmsg.JoinGroupRequestProtocol{{Name: "range", Metadata: []byte("brought")}, {Name: "empty"}}
	return j
}

func commitOf(group, topic string, index int32, offset int64) *kmsg.OffsetCommitRequest {
	c := kmsg.NewPtrOffsetCommitRequest()
	c.Group, c.MemberID, c.Generation, c.RetentionTimeMillis = group, "m", 7, -1
	p := kmsg.NewOffsetCommitRequestTopicPartition()
	p.Partition, p.Offset, p.LeaderEpoch, p.Metadata = index, offset, 3, kmsg.StringPtr("here")
	c.Topics = []kmsg.OffsetCommitRequestTopic{{Topic: topic, TopicID: mq.TopicID{1}, Partitions: []kmsg.OffsetCommitRequestTopicPartition{p}}}
	return c
}

func offsetsOf(group, topic string, indices ...int32) *kmsg.OffsetFetchRequest {
	f := kmsg.NewPtrOffsetFetchRequest()
	f.Group, f.Topics = group, []kmsg.OffsetFetchRequestTopic{{Topic: topic, Partitions: indices}}
	g := kmsg.NewOffsetFetchRequestGroup()
	g.Group, g.Topics = group, []kmsg.OffsetFetchRequestGroupTopic{{Topic: topic, TopicID: mq.TopicID{1}, Partitions: indices}}
	f.Groups = append(f.Groups, g)
	return f
}

// versions calls f for each version of an API.
func (r *rig) versions(key kmsg.Key, f func(version int16)) {
	r.t.Helper()
	a := r.server.find(key.Int16())
	for version := a.min; version <= a.max; version++ {
		f(version)
	}
}

func TestJoinGroup(t *testing.T) {
	r := newRig(t)
	p := r.connect()
	r.versions(kmsg.JoinGroup, func(version int16) {
		q := joinOf("g", "m")
		q.Version = version
		got := ask[*kmsg.JoinGroupResponse](p, q)
		want := &JoinGroup{
			Group: "g", Member: "m", RequireMember: version >= 4, SkipAssignment: version >= 9, SessionTimeout: 6 * time.Second, RebalanceTimeout: 9 * time.Second,
			ProtocolType: "consumer", Protocols: []GroupProtocol{{"range", []byte("brought")}, {"empty", []byte{}}},
		}
		if version < 1 {
			want.RebalanceTimeout = want.SessionTimeout
		}
		if version >= 5 {
			want.Instance = "i"
		}
		if asked := r.broker.last(); !reflect.DeepEqual(asked, want) {
			t.Errorf("version %d asked %+v, want %+v", version, asked, want)
		}
		if got.ErrorCode != 0 || got.Generation != 7 || text(got.Protocol) != "range" || got.LeaderID != "m" || got.MemberID != "m" || len(got.Members) != 2 ||
			string(got.Members[0].ProtocolMetadata) != "of m" || got.Members[1].InstanceID != nil ||
			(version >= 5) != (text(got.Members[0].InstanceID) == "i") || (version >= 7) != (text(got.ProtocolType) == "consumer") || (version >= 9) != got.SkipAssignment {
			t.Errorf("version %d got %+v", version, got)
		}
	})
	r.broker.tell(func(a *fakeAnswers) {
		a.groupErr, a.joined = mq.Errorf(mq.MemberIDRequired, "again"), Joined{Member: "new"}
	})
	if got := ask[*kmsg.JoinGroupResponse](p, joinOf("g", "")); got.ErrorCode != int16(mq.MemberIDRequired) || got.MemberID != "new" || got.Generation != -1 {
		t.Errorf("without an id: %+v", got)
	}
	r.broker.tell(func(a *fakeAnswers) { a.groupErr = mq.Errorf(mq.UnknownMemberID, "who?") })
	if got := ask[*kmsg.JoinGroupResponse](p, joinOf("g", "m")); got.ErrorCode != int16(mq.UnknownMemberID) || got.MemberID != "m" {
		t.Errorf("unknown: %+v", got)
	}
}

// What a member brings outlives its request: it must not keep the whole of it in memory.
func TestWhatMembersBringIsNotTheFrame(t *testing.T) {
	r := newRig(t)
	p := r.connect()
	ask[*kmsg.JoinGroupResponse](p, joinOf("g", "m"))
	j, _ := r.broker.last().(*JoinGroup)
	y, _ := groupSampleOf(kmsg.SyncGroup).(*kmsg.SyncGroupRequest)
	ask[*kmsg.SyncGroupResponse](p, y)
	s, _ := r.broker.last().(*SyncGroup)
	for _, b := range [][]byte{j.Protocols[0].Metadata, s.Assignments[0].Assignment} {
		if cap(b) > 2*len(b)+16 {
			t.Errorf("%q has %d bytes behind it", b, cap(b))
		}
	}
}

// A member that waits for others keeps nobody from shutting down, and is not waited for when its connection is gone.
func TestJoinThatWaitsEnds(t *testing.T) {
	for name, end := range map[string]func(*rig, *peer) error{
		"shutdown": func(r *rig, _ *peer) error {
			ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
			defer cancel()
			return r.server.Shutdown(ctx)
		},
		"connection": func(_ *rig, p *peer) error { return p.conn.Close() },
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t)
			joins, ended := make(chan struct{}), make(chan struct{})
			wait := func(ctx context.Context) {
				close(joins)
				<-ctx.Done()
				close(ended)
			}
			r.broker.tell(func(a *fakeAnswers) { a.joining = wait })
			r.broker.tell(func(a *fakeAnswers) { a.groupErr = mq.Errorf(mq.RequestTimedOut, "nobody else came") })
			p := r.connect()
			p.send(joinOf("g", "m"))
			<-joins
			if err := end(r, p); err != nil {
				t.Fatal(err)
			}
			<-ended
			if name != "shutdown" {
				return
			}
			if _, rest, err := p.receive(); err != nil || rest == nil {
				t.Errorf("it got no answer: %v", err)
			}
		})
	}
}

// Who waits for other members holds nothing that these need to join, and nothing is read behind it, which would: both for longer than any other request.
func TestJoinThatWaitsHoldsNoRoom(t *testing.T) {
	r := newRig(t, func(c *Config) {
		c.Limits.RequestTimeout, c.Limits.TotalBytes, c.Limits.AddressBytes = 50*time.Millisecond, 12<<20, 12<<20
	})
	r.broker.make("t", 1)
	full, joins := make(chan struct{}), make(chan struct{}, 3)
	r.broker.tell(func(a *fakeAnswers) {
		a.joining = func(ctx context.Context) {
			joins <- struct{}{}
			select {
			case <-full:
			case <-ctx.Done():
			}
		}
	})
	q := joinOf("g", "m")
	q.Protocols[0].Metadata = make([]byte, 200<<10) // 9.6 MiB of room
	var members []*peer
	for range 3 {
		p := r.connect()
		p.send(q)
		select {
		case <-joins:
		case <-time.After(5 * time.Second):
			t.Fatal("a member does not get in")
		}
		members = append(members, p)
		go func() { _, _ = p.conn.Write(frame(produceOf(9, -1, "t", 0, batchOf(t, 1, make([]byte, 900<<10))), 2)) }()
	}
	time.Sleep(100 * time.Millisecond)
	if !r.server.memory.try(12 << 20) {
		t.Error("those who wait hold room")
	} else {
		r.server.memory.give(12<<20, false)
	}
	close(full)
	for _, p := range members {
		if got := response[*kmsg.JoinGroupResponse](p, q, 1); got.ErrorCode != 0 {
			t.Errorf("%+v", got)
		}
		if _, _, err := p.receive(); err != nil {
			t.Errorf("what came behind it: %v", err)
		}
	}
}

func TestSyncHeartbeatLeave(t *testing.T) {
	r := newRig(t)
	p := r.connect()
	r.versions(kmsg.SyncGroup, func(version int16) {
		q, _ := groupSampleOf(kmsg.SyncGroup).(*kmsg.SyncGroupRequest)
		q.Version, q.Protocol, q.ProtocolType, q.InstanceID = version, kmsg.StringPtr("range"), kmsg.StringPtr("consumer"), kmsg.StringPtr("i")
		got := ask[*kmsg.SyncGroupResponse](p, q)
		if got.ErrorCode != 0 || string(got.MemberAssignment) != "got" || (version >= 5) != (text(got.Protocol) == "range") {
			t.Errorf("sync, version %d: %+v", version, got)
		}
		if y, _ := r.broker.last().(*SyncGroup); y.Epoch != 7 || y.Member != "m" || y.Group != "classic" || (version >= 3) != (y.Instance == "i") {
			t.Errorf("sync, version %d asked %+v", version, y)
		}
	})
	r.versions(kmsg.Heartbeat, func(version int16) {
		q := kmsg.NewPtrHeartbeatRequest()
		q.Version, q.Group, q.MemberID, q.Generation, q.InstanceID = version, "g", "m", 7, kmsg.StringPtr("i")
		got := ask[*kmsg.HeartbeatResponse](p, q)
		if m, _ := r.broker.last().(Membership); got.ErrorCode != 0 || m.Group != "g" || m.Member != "m" || m.Epoch != 7 || (version >= 3) != (m.Instance == "i") {
			t.Errorf("heartbeat, version %d: %+v of %+v", version, got, m)
		}
	})
	r.broker.tell(func(a *fakeAnswers) { a.each = mq.Errorf(mq.UnknownMemberID, "who?") })
	r.versions(kmsg.LeaveGroup, func(version int16) {
		q, _ := groupSampleOf(kmsg.LeaveGroup).(*kmsg.LeaveGroupRequest)
		q.Version = version
		got := ask[*kmsg.LeaveGroupResponse](p, q)
		members, _ := r.broker.last().([]Membership)
		if version < 3 {
			if got.ErrorCode != int16(mq.UnknownMemberID) || len(members) != 1 || members[0].Member != "m" {
				t.Errorf("leave, version %d: %+v of %+v", version, got, members)
			}
			return
		}
		if got.ErrorCode != 0 || len(members) != 2 || members[1].Instance != "i" || len(got.Members) != 2 || got.Members[1].ErrorCode != int16(mq.UnknownMemberID) ||
			got.Members[0].MemberID != "m" || text(got.Members[1].InstanceID) != "i" {
			t.Errorf("leave, version %d: %+v of %+v", version, got, members)
		}
	})
	// Java's consumer ends by a code that it does not expect in these.
	r.broker.tell(func(a *fakeAnswers) { a.groupErr = mq.Errorf(mq.CoordinatorLoadInProgress, "reading") })
	if got := ask[*kmsg.HeartbeatResponse](p, kmsg.NewPtrHeartbeatRequest()); got.ErrorCode != 0 {
		t.Errorf("heartbeat while the coordinator loads: %s", mq.Code(got.ErrorCode))
	}
	if got := ask[*kmsg.SyncGroupResponse](p, groupSampleOf(kmsg.SyncGroup)); got.ErrorCode != int16(mq.RebalanceInProgress) {
		t.Errorf("sync while the coordinator loads: %s", mq.Code(got.ErrorCode))
	}
	r.broker.tell(func(a *fakeAnswers) { a.groupErr = mq.Errorf(mq.NotLeaderOrFollower, "elsewhere") })
	if got := ask[*kmsg.HeartbeatResponse](p, kmsg.NewPtrHeartbeatRequest()); got.ErrorCode != int16(mq.NotCoordinator) {
		t.Errorf("heartbeat to another node: %s", mq.Code(got.ErrorCode))
	}
	if got := ask[*kmsg.SyncGroupResponse](p, groupSampleOf(kmsg.SyncGroup)); got.ErrorCode != int16(mq.NotCoordinator) || len(got.MemberAssignment) != 0 {
		t.Errorf("sync with another node: %+v", got)
	}
	if got := ask[*kmsg.LeaveGroupResponse](p, groupSampleOf(kmsg.LeaveGroup)); got.ErrorCode != int16(mq.NotCoordinator) {
		t.Errorf("leave at another node: %+v", got)
	}
}

func TestConsumerGroupHeartbeat(t *testing.T) {
	r := newRig(t)
	p := r.connect()
	q := kmsg.NewPtrConsumerGroupHeartbeatRequest()
	q.Group, q.MemberID, q.MemberEpoch, q.RebalanceTimeoutMillis = "g", "m", 2, -1
	got := ask[*kmsg.ConsumerGroupHeartbeatResponse](p, q)
	want := &ConsumerHeartbeat{Membership: Membership{Group: "g", Member: "m", Epoch: 2}}
	if asked := r.broker.last(); !reflect.DeepEqual(asked, want) {
		t.Errorf("nothing new is %+v", asked)
	}
	if got.ErrorCode != 0 || text(got.MemberID) != "m" || got.MemberEpoch != 3 || got.HeartbeatIntervalMillis != 1000 || got.Assignment == nil ||
		!reflect.DeepEqual(got.Assignment.Topics[0].Partitions, []int32{4}) {
		t.Errorf("got %+v", got)
	}
	q.MemberEpoch, q.RebalanceTimeoutMillis, q.SubscribedTopicNames, q.Topics = 0, 5000, []string{}, []kmsg.ConsumerGroupHeartbeatRequestTopic{}
	q.Version, q.SubscribedTopicRegex, q.InstanceID, q.RackID, q.ServerAssignor = 1, kmsg.StringPtr("t.*"), kmsg.StringPtr("i"), kmsg.StringPtr("r"), kmsg.StringPtr("range")
	r.broker.tell(func(a *fakeAnswers) { a.assigned.Changed = false })
	if got := ask[*kmsg.ConsumerGroupHeartbeatResponse](p, q); got.Assignment != nil {
		t.Errorf("without a change there is %+v", got.Assignment)
	}
	h, _ := r.broker.last().(*ConsumerHeartbeat)
	if h.Topics == nil || h.Owned == nil || text(h.Pattern) != "t.*" || h.Instance != "i" || h.Rack != "r" || text(h.Assignor) != "range" || h.RebalanceTimeout != 5*time.Second {
		t.Errorf("empty, and not null, is %+v", h)
	}
	q.MemberID = ""
	if got := ask[*kmsg.ConsumerGroupHeartbeatResponse](p, q); got.ErrorCode != int16(mq.InvalidRequest) || text(got.ErrorMessage) == "" {
		t.Errorf("without an id, version 1: %+v", got)
	}
	q.Version = 0
	if got := ask[*kmsg.ConsumerGroupHeartbeatResponse](p, q); got.ErrorCode != 0 || text(got.MemberID) != "m" {
		t.Errorf("without an id, version 0: %+v", got)
	}
	r.broker.tell(func(a *fakeAnswers) { a.groupErr = mq.Errorf(mq.FencedMemberEpoch, "epoch 2") })
	if got := ask[*kmsg.ConsumerGroupHeartbeatResponse](p, q); got.ErrorCode != int16(mq.FencedMemberEpoch) || text(got.ErrorMessage) == "" {
		t.Errorf("fenced: %+v", got)
	}
}

// committed are the offsets of a response of any version, for one topic.
func committed(r *kmsg.OffsetFetchResponse) (text string) {
	for _, t := range r.Topics {
		for _, p := range t.Partitions {
			text += fmt.Sprintf("%s/%d: %d %q %d;", t.Topic, p.Partition, p.Offset, *p.Metadata, p.ErrorCode)
		}
	}
	for _, g := range r.Groups {
		for _, t := range g.Topics {
			for _, p := range t.Partitions {
				text += fmt.Sprintf("%s/%d: %d %q %d;", t.Topic, p.Partition, p.Offset, *p.Metadata, p.ErrorCode)
			}
		}
	}
	return text
}

func TestOffsetsAreCommittedAndFetched(t *testing.T) {
	r := newRig(t)
	p := r.connect()
	r.versions(kmsg.OffsetCommit, func(version int16) {
		q := commitOf("g", "t", 1, 42)
		q.Version = version
		got := ask[*kmsg.OffsetCommitResponse](p, q)
		if len(got.Topics) != 1 || got.Topics[0].Partitions[0].ErrorCode != 0 || got.Topics[0].Partitions[0].Partition != 1 || (version < 10) != (got.Topics[0].Topic == "t") {
			t.Errorf("commit, version %d: %+v", version, got)
		}
		want := TopicOffsets{Name: "t", Offsets: []CommittedOffset{{Partition: 1, Offset: 42, LeaderEpoch: mq.NoEpoch, Metadata: "here"}}}
		if version >= 6 {
			want.Offsets[0].LeaderEpoch = 3
		}
		if version >= 10 {
			want.Name, want.ID = "", mq.TopicID{1}
		}
		if !reflect.DeepEqual(r.broker.committed(), []TopicOffsets{want}) {
			t.Errorf("version %d committed %+v, want %+v", version, r.broker.committed(), want)
		}
	})
	r.versions(kmsg.OffsetFetch, func(version int16) {
		r.broker.tell(func(a *fakeAnswers) {
			a.offsets = []TopicOffsets{{Name: "t", Offsets: []CommittedOffset{{Partition: 1, Offset: 42, Metadata: "here"}}}}
		})
		name := "t"
		if version >= 10 {
			r.broker.tell(func(a *fakeAnswers) { a.offsets[0].Name, a.offsets[0].ID, name = "", mq.TopicID{1}, "" })
		}
		q := offsetsOf("g", "t", 0, 1)
		q.Version = version
		if got, want := committed(ask[*kmsg.OffsetFetchResponse](p, q)), name+`/0: -1 "" 0;`+name+`/1: 42 "here" 0;`; got != want {
			t.Errorf("fetch, version %d: %s, want %s", version, got, want)
		}
		if version < 2 {
			return
		}
		q.Topics, q.Groups[0].Topics = nil, nil
		if got, want := committed(ask[*kmsg.OffsetFetchResponse](p, q)), name+`/1: 42 "here" 0;`; got != want {
			t.Errorf("fetch all, version %d: %s, want %s", version, got, want)
		}
		q.Topics = []kmsg.OffsetFetchRequestTopic{}
		q.Groups[0].Topics = []kmsg.OffsetFetchRequestGroupTopic{}
		if got := committed(ask[*kmsg.OffsetFetchResponse](p, q)); got != "" {
			t.Errorf("fetch none, version %d: %s", version, got)
		}
	})
}

func TestOffsetsOfOthersAreRefused(t *testing.T) {
	r := newRig(t)
	p := r.connect()
	stale := mq.Errorf(mq.StaleMemberEpoch, "epoch 3")
	r.broker.tell(func(a *fakeAnswers) { a.groupErr = stale })
	r.versions(kmsg.OffsetCommit, func(version int16) {
		q := commitOf("g", "t", 1, 42)
		q.Version = version
		want := mq.StaleMemberEpoch
		if version < 9 {
			want = mq.UnsupportedVersion
		}
		if got := ask[*kmsg.OffsetCommitResponse](p, q); got.Topics[0].Partitions[0].ErrorCode != int16(want) {
			t.Errorf("commit, version %d: %+v, want %s", version, got, want)
		}
	})
	r.versions(kmsg.OffsetFetch, func(version int16) {
		q := offsetsOf("g", "t", 1)
		q.Version = version
		got := ask[*kmsg.OffsetFetchResponse](p, q)
		switch {
		case version < 2 && got.Topics[0].Partitions[0].ErrorCode == unsupportedVersion:
		case version >= 2 && version < 8 && got.ErrorCode == unsupportedVersion:
		case version == 8 && got.Groups[0].ErrorCode == unsupportedVersion:
		case version > 8 && got.Groups[0].ErrorCode == int16(mq.StaleMemberEpoch):
		default:
			t.Errorf("fetch, version %d: %+v", version, got)
		}
	})
	for _, code := range []mq.Code{mq.CoordinatorNotAvailable, mq.RequestTimedOut, mq.ShuttingDown} {
		r.broker.tell(func(a *fakeAnswers) { a.groupErr = mq.Errorf(code, "not now") })
		q := offsetsOf("g", "t", 1)
		q.Version = 8
		if got := ask[*kmsg.OffsetFetchResponse](p, q).Groups[0]; got.ErrorCode != int16(mq.NotCoordinator) {
			t.Errorf("%s is told as %s", code, mq.Code(got.ErrorCode))
		}
	}
	r.broker.tell(func(a *fakeAnswers) { a.groupErr, a.each = nil, mq.Errorf(mq.TopicAuthorizationFailed, "no") })
	q := commitOf("g", "t", 1, 42)
	q.Version = 9
	if got := ask[*kmsg.OffsetCommitResponse](p, q); got.Topics[0].Partitions[0].ErrorCode != int16(mq.TopicAuthorizationFailed) {
		t.Errorf("a topic that is not allowed: %+v", got)
	}
	q.Version, q.RetentionTimeMillis = 3, 1000
	r.broker.tell(func(a *fakeAnswers) { a.each = nil })
	if got := ask[*kmsg.OffsetCommitResponse](p, q); got.Topics[0].Partitions[0].ErrorCode != int16(mq.InvalidRequest) {
		t.Errorf("a retention time: %+v", got)
	}
}

func TestGroupsAreListedDescribedDeleted(t *testing.T) {
	r := newRig(t)
	p := r.connect()
	list := func(states, types []string) (names []string) {
		q := kmsg.NewPtrListGroupsRequest()
		q.Version, q.StatesFilter, q.TypesFilter = 5, states, types
		got := ask[*kmsg.ListGroupsResponse](p, q)
		for _, g := range got.Groups {
			names = append(names, g.Group+" "+g.GroupState+" "+g.GroupType)
		}
		return append(names, mq.Code(got.ErrorCode).String())
	}
	none := mq.None.String()
	if got := list(nil, nil); !slices.Equal(got, []string{"classic Stable classic", "modern Empty consumer", none}) {
		t.Errorf("all: %q", got)
	}
	if got := list([]string{"empty"}, nil); !slices.Equal(got, []string{"modern Empty consumer", none}) {
		t.Errorf("empty: %q", got)
	}
	r.broker.tell(func(a *fakeAnswers) { a.loading = true })
	if got := list(nil, []string{"Classic"}); !slices.Equal(got, []string{"classic Stable classic", mq.CoordinatorLoadInProgress.String()}) {
		t.Errorf("classic ones while others load: %q", got)
	}
	r.versions(kmsg.DescribeGroups, func(version int16) {
		q := groupSampleOf(kmsg.DescribeGroups)
		q.SetVersion(version)
		got := ask[*kmsg.DescribeGroupsResponse](p, q).Groups
		one, dead := got[0], got[1:]
		if one.ErrorCode != 0 || one.State != "Stable" || one.Protocol != "range" || len(one.Members) != 2 || string(one.Members[0].ProtocolMetadata) != "brought" ||
			string(one.Members[0].MemberAssignment) != "got" || one.Members[0].ClientHost != "h" || (version >= 4) != (text(one.Members[0].InstanceID) == "i") {
			t.Errorf("version %d: %+v", version, one)
		}
		for _, g := range dead {
			if g.State != deadGroup || (version >= 6) != (g.ErrorCode == int16(mq.GroupIDNotFound)) || len(g.Members) > 0 {
				t.Errorf("version %d: %+v", version, g)
			}
		}
	})
	got := ask[*kmsg.ConsumerGroupDescribeResponse](p, groupSampleOf(kmsg.ConsumerGroupDescribe)).Groups
	if m := got[1].Members[0]; got[1].State != "Stable" || got[1].Epoch != 8 || got[1].AssignorName != "uniform" || text(m.RackID) != "r" || text(m.SubscribedTopicRegex) != "t.*" ||
		len(m.Assignment.TopicPartitions) != 1 || m.Assignment.TopicPartitions[0].Topic != "t" || len(m.TargetAssignment.TopicPartitions[0].Partitions) != 2 || m.InstanceID != nil {
		t.Errorf("%+v", got[1])
	}
	if got[0].ErrorCode != int16(mq.GroupIDNotFound) || got[2].ErrorCode != int16(mq.GroupIDNotFound) {
		t.Errorf("%+v, %+v", got[0], got[2])
	}
	r.broker.tell(func(a *fakeAnswers) { a.groupErr = mq.Errorf(mq.NonEmptyGroup, "two members") })
	d := kmsg.NewPtrDeleteGroupsRequest()
	d.Groups = []string{"classic"}
	if got := ask[*kmsg.DeleteGroupsResponse](p, d); got.Groups[0].ErrorCode != int16(mq.NonEmptyGroup) || got.Groups[0].Group != "classic" {
		t.Errorf("%+v", got)
	}
	if got := ask[*kmsg.OffsetDeleteResponse](p, groupSampleOf(kmsg.OffsetDelete)); got.ErrorCode != int16(mq.NonEmptyGroup) || len(got.Topics) > 0 {
		t.Errorf("%+v", got)
	}
	r.broker.tell(func(a *fakeAnswers) { a.groupErr, a.each = nil, mq.Errorf(mq.GroupSubscribedToTopic, "in use") })
	if got := ask[*kmsg.OffsetDeleteResponse](p, groupSampleOf(kmsg.OffsetDelete)); got.ErrorCode != 0 || got.Topics[0].Partitions[0].ErrorCode != int16(mq.GroupSubscribedToTopic) ||
		got.Topics[0].Partitions[0].Partition != 1 {
		t.Errorf("%+v", got)
	}
}

// A request may name the same group, or partition, as often as it has room for: what the answer repeats of it is bounded.
func TestAnswersAboutGroupsAreBounded(t *testing.T) {
	r := newRig(t, func(c *Config) { c.Limits.AdminBytes = 100_000 })
	p := r.connect()
	r.broker.tell(func(a *fakeAnswers) {
		for _, name := range []string{"classic", "modern"} {
			a.groups[name].Members = []GroupMember{{Metadata: make([]byte, 10_000), Topics: []string{string(make([]byte, 10_000))}}}
		}
		a.offsets = []TopicOffsets{{Name: "t", Offsets: []CommittedOffset{{Partition: 1, Offset: 42, Metadata: string(make([]byte, 4000))}}}}
	})
	refused := func(what string, n int, code func(i int) int16) {
		t.Helper()
		if first, last := mq.Code(code(0)), mq.Code(code(n-1)); first != mq.None || last != mq.PolicyViolation {
			t.Errorf("%s: %s first, %s last", what, first, last)
		}
	}
	d := kmsg.NewPtrDescribeGroupsRequest()
	d.Version, d.Groups = 6, slices.Repeat([]string{"classic"}, 100)
	described := ask[*kmsg.DescribeGroupsResponse](p, d)
	refused("describe", 100, func(i int) int16 { return described.Groups[i].ErrorCode })
	c := kmsg.NewPtrConsumerGroupDescribeRequest()
	c.Groups = slices.Repeat([]string{"modern"}, 100)
	modern := ask[*kmsg.ConsumerGroupDescribeResponse](p, c)
	refused("describe consumers", 100, func(i int) int16 { return modern.Groups[i].ErrorCode })

	all := kmsg.NewPtrListGroupsRequest()
	if got := ask[*kmsg.ListGroupsResponse](p, all); got.ErrorCode != 0 || len(got.Groups) != 2 {
		t.Errorf("%+v", got)
	}
	r.broker.tell(func(a *fakeAnswers) { a.listed = slices.Repeat(a.listed, 500) })
	if got := ask[*kmsg.ListGroupsResponse](p, all); got.ErrorCode != int16(mq.PolicyViolation) || len(got.Groups) > 0 {
		t.Errorf("list: %s, %d groups", mq.Code(got.ErrorCode), len(got.Groups))
	}
	f := offsetsOf("g", "t", 1)
	f.Version, f.Groups[0].Topics = 9, nil
	f.Groups = slices.Repeat(f.Groups, 100)
	fetched := ask[*kmsg.OffsetFetchResponse](p, f)
	refused("offsets", 100, func(i int) int16 { return fetched.Groups[i].ErrorCode })
	f = offsetsOf("g", "t", slices.Repeat([]int32{1}, 100)...)
	f.Version = 7
	if got := ask[*kmsg.OffsetFetchResponse](p, f); got.ErrorCode != int16(mq.PolicyViolation) || len(got.Topics) > 0 {
		t.Errorf("a partition 100 times: %s, %d topics", mq.Code(got.ErrorCode), len(got.Topics))
	}
	until(t, func() bool { return r.server.answers.TryAcquire(int64(r.server.limits.AnswersBytes)) })
	// A leader that does not read what its members have brought can ask for it again on each of its connections; so can a member for its assignment.
	r.broker.tell(func(a *fakeAnswers) { a.joined.Members = []GroupMember{{Metadata: make([]byte, 70_000)}} })
	if got := ask[*kmsg.JoinGroupResponse](p, joinOf("g", "m")); got.ErrorCode != int16(mq.CoordinatorLoadInProgress) || got.Generation != -1 || len(got.Members) > 0 {
		t.Errorf("join while there is no room: %s, %d members", mq.Code(got.ErrorCode), len(got.Members))
	}
	y, _ := groupSampleOf(kmsg.SyncGroup).(*kmsg.SyncGroupRequest)
	y.GroupAssignment[0].MemberAssignment = make([]byte, 70_000)
	if got := ask[*kmsg.SyncGroupResponse](p, y); got.ErrorCode != int16(mq.RebalanceInProgress) || len(got.MemberAssignment) > 0 {
		t.Errorf("sync while there is no room: %s", mq.Code(got.ErrorCode))
	}
	r.broker.tell(func(a *fakeAnswers) { a.joined.Members = nil })
	if got := ask[*kmsg.JoinGroupResponse](p, joinOf("g", "m")); got.ErrorCode != 0 {
		t.Errorf("a small join while there is no room: %s", mq.Code(got.ErrorCode))
	}
	// Who asks for much is to ask again, of the same node; who asks for little is not behind others.
	for n, want := range map[int]mq.Code{1: mq.None, 20: mq.CoordinatorLoadInProgress} {
		f := offsetsOf("g", "t", slices.Repeat([]int32{1}, n)...)
		f.Version = 7
		if got := ask[*kmsg.OffsetFetchResponse](p, f); got.ErrorCode != int16(want) {
			t.Errorf("%d partitions while there is no room: %s", n, mq.Code(got.ErrorCode))
		}
	}
}
