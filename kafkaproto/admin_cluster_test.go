package kafkaproto

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/rustmq/rustmq/mq"
)

var errDenied = mq.Errorf(mq.ClusterAuthorizationFailed, "somebody may not")

func TestTopicPartitionsComePageByPage(t *testing.T) {
	r := newRig(t)
	for i, name := range []string{"a", "b", "c"} {
		r.broker.make(name, i+1)
	}
	p := r.connect()
	pages := func(limit int32, names ...string) (told []string) {
		q := kmsg.NewPtrDescribeTopicPartitionsRequest()
		q.ResponsePartitionLimit = limit
		for _, name := range names {
			q.Topics = append(q.Topics, kmsg.DescribeTopicPartitionsRequestTopic{Topic: name})
		}
		for range 20 {
			got := ask[*kmsg.DescribeTopicPartitionsResponse](p, q)
			count := 0
			for _, topic := range got.Topics {
				if topic.ErrorCode != 0 {
					told = append(told, *topic.Topic+" "+mq.Code(topic.ErrorCode).String())
				}
				for _, part := range topic.Partitions {
					if told = append(told, fmt.Sprint(*topic.Topic, part.Partition)); part.EligibleLeaderReplicas == nil || part.LeaderID != 1 {
						t.Errorf("%+v", part)
					}
					count++
				}
			}
			if limit > 0 && count > int(limit) {
				t.Errorf("%d partitions in a page of %d", count, limit)
			}
			if got.NextCursor == nil {
				return told
			}
			q.Cursor = &kmsg.DescribeTopicPartitionsRequestCursor{Topic: got.NextCursor.Topic, Partition: got.NextCursor.Partition}
		}
		t.Fatalf("there is no end to it: %q", told)
		return nil
	}
	all := []string{"a0", "b0", "b1", "c0", "c1", "c2"}
	for _, limit := range []int32{-1, 0, 1, 2, 3, 6, 100} {
		if got := pages(limit); !slices.Equal(got, all) {
			t.Errorf("limit %d: %q", limit, got)
		}
		if got, want := pages(limit, "c", "nobodys", "a", "c"), []string{"a0", "c0", "c1", "c2", "nobodys UNKNOWN_TOPIC_OR_PARTITION"}; !slices.Equal(got, want) {
			t.Errorf("limit %d, by name: %q", limit, got)
		}
	}
	q := kmsg.NewPtrDescribeTopicPartitionsRequest()
	q.Cursor = &kmsg.DescribeTopicPartitionsRequestCursor{Topic: "bb", Partition: 2} // of a topic that is gone
	if got := ask[*kmsg.DescribeTopicPartitionsResponse](p, q).Topics; len(got) != 1 || len(got[0].Partitions) != 3 {
		t.Errorf("%+v", got)
	}
}

func TestLogDirsAreTold(t *testing.T) {
	r := newRig(t)
	r.broker.make("a", 2)
	r.broker.make("b", 1)
	p := r.connect()
	for version := int16(1); version <= 4; version++ {
		q := kmsg.NewPtrDescribeLogDirsRequest()
		q.Version = version
		told := func() (all []string) {
			got := ask[*kmsg.DescribeLogDirsResponse](p, q)
			if len(got.Dirs) != 1 || got.Dirs[0].Dir != "/data/wal" || version >= 4 && (got.Dirs[0].TotalBytes != 1000 || got.Dirs[0].UsableBytes != 10) {
				t.Fatalf("version %d: %+v", version, got)
			}
			for _, topic := range got.Dirs[0].Topics {
				for _, part := range topic.Partitions {
					all = append(all, fmt.Sprintf("%s%d %d", topic.Topic, part.Partition, part.Size))
				}
			}
			return all
		}
		if got := told(); !slices.Equal(got, []string{"a0 100", "a1 101", "b0 100"}) {
			t.Errorf("version %d: %q", version, got)
		}
		q.Topics = []kmsg.DescribeLogDirsRequestTopic{{Topic: "a", Partitions: []int32{1, 1, 7}}, {Topic: "nobodys", Partitions: []int32{0}}}
		if got := told(); !slices.Equal(got, []string{"a1 101"}) {
			t.Errorf("version %d: %q", version, got)
		}
		q.Topics = []kmsg.DescribeLogDirsRequestTopic{}
		if got := told(); len(got) != 0 {
			t.Errorf("version %d, of nothing: %q", version, got)
		}
	}
	r.broker.alter(func(a *fakeAdmin) { a.denied = errDenied })
	q := kmsg.NewPtrDescribeLogDirsRequest()
	q.Version = 4
	if got := ask[*kmsg.DescribeLogDirsResponse](p, q); mq.Code(got.ErrorCode) != mq.ClusterAuthorizationFailed || len(got.Dirs) != 0 {
		t.Errorf("%+v", got)
	}
}

func TestProducersAreTold(t *testing.T) {
	r := newRig(t)
	r.broker.make("t", 1)
	r.broker.alter(func(a *fakeAdmin) { a.producers = []ProducerState{{ID: 7, Epoch: 2, LastSequence: 41, LastTime: 99}} })
	q := kmsg.NewPtrDescribeProducersRequest()
	q.Topics = []kmsg.DescribeProducersRequestTopic{{Topic: "t", Partitions: []int32{0, 1}}}
	got := ask[*kmsg.DescribeProducersResponse](r.connect(), q).Topics[0].Partitions
	want := kmsg.NewDescribeProducersResponseTopicPartitionActiveProducer()
	want.ProducerID, want.ProducerEpoch, want.LastSequence, want.LastTimestamp, want.CoordinatorEpoch, want.CurrentTxnStartOffset = 7, 2, 41, 99, -1, -1
	if len(got[0].ActiveProducers) != 1 || fmt.Sprint(got[0].ActiveProducers[0]) != fmt.Sprint(want) || mq.Code(got[1].ErrorCode) != mq.UnknownTopicOrPartition {
		t.Errorf("%+v", got)
	}
}

func TestLeadersAreElected(t *testing.T) {
	r := newRig(t)
	r.broker.make("t", 2)
	r.broker.make("u", 1)
	p := r.connect()
	elect := func(version int16, kind int8, named bool) (told []string) {
		q := kmsg.NewPtrElectLeadersRequest()
		q.Version, q.ElectionType = version, kind
		if named {
			q.Topics = []kmsg.ElectLeadersRequestTopic{{Topic: "t", Partitions: []int32{0}}, {Topic: "nobodys", Partitions: []int32{3}}, {Topic: "u"}}
		}
		got := ask[*kmsg.ElectLeadersResponse](p, q)
		if got.ErrorCode != 0 {
			told = append(told, mq.Code(got.ErrorCode).String())
		}
		for _, topic := range got.Topics {
			for _, part := range topic.Partitions {
				said, _, _ := strings.Cut(outcome(part.ErrorCode, part.ErrorMessage), " ")
				told = append(told, fmt.Sprintf("%s%d %s", topic.Topic, part.Partition, said))
			}
		}
		return told
	}
	unavailable := mq.Errorf(mq.LeaderNotAvailable, "broker 1 is fenced")
	for _, c := range []struct {
		elected Elected
		kind    int8
		want    string
	}{
		{Elected{Before: 2, After: 1}, 0, "NONE"},
		{Elected{Before: 1, After: 1}, 0, "ELECTION_NOT_NEEDED"},
		{Elected{Before: 2, After: 2, Err: unavailable}, 0, "PREFERRED_LEADER_NOT_AVAILABLE"},
		{Elected{Before: mq.NoNode, After: mq.NoNode, Err: unavailable}, 1, "ELIGIBLE_LEADERS_NOT_AVAILABLE"},
		{Elected{Before: mq.NoNode, After: 1}, 1, "NONE"},
	} {
		r.broker.alter(func(a *fakeAdmin) { a.elected = c.elected })
		for version := int16(c.kind); version < 3; version++ {
			if got, want := elect(version, c.kind, true), []string{"t0 " + c.want, "nobodys3 UNKNOWN_TOPIC_OR_PARTITION"}; !slices.Equal(got, want) {
				t.Errorf("version %d: %q, want %q", version, got, want)
			}
			if got, want := elect(version, c.kind, false), []string{"t0 " + c.want, "t1 " + c.want, "u0 " + c.want}; !slices.Equal(got, want) {
				t.Errorf("version %d, all: %q, want %q", version, got, want)
			}
		}
	}
	if got := elect(2, 2, true); !slices.Equal(got, []string{"INVALID_REQUEST"}) {
		t.Errorf("a type that does not exist: %q", got)
	}
	r.broker.alter(func(a *fakeAdmin) { a.denied = errDenied })
	// Version 0 has no place for an error of the whole, and silence would be success.
	if got := elect(0, 0, true); !slices.Equal(got, []string{"t0 CLUSTER_AUTHORIZATION_FAILED", "nobodys3 CLUSTER_AUTHORIZATION_FAILED"}) {
		t.Errorf("denied: %q", got)
	}
	if got := elect(1, 0, true); !slices.Equal(got, []string{"CLUSTER_AUTHORIZATION_FAILED"}) {
		t.Errorf("denied: %q", got)
	}
}

func TestPartitionsAreReassigned(t *testing.T) {
	r := newRig(t)
	r.broker.make("t", 2)
	p := r.connect()
	q := kmsg.NewPtrAlterPartitionAssignmentsRequest()
	q.Version, q.AllowReplicationFactorChange = 1, false
	q.Topics = []kmsg.AlterPartitionAssignmentsRequestTopic{{Topic: "t", Partitions: []kmsg.AlterPartitionAssignmentsRequestTopicPartition{
		{Partition: 0, Replicas: []int32{1}}, {Partition: 1, Replicas: []int32{}}, {Partition: 1}, {Partition: 7, Replicas: []int32{1}},
	}}}
	told := func() (all []string) {
		got := ask[*kmsg.AlterPartitionAssignmentsResponse](p, q)
		if got.ErrorCode != 0 {
			all = append(all, mq.Code(got.ErrorCode).String())
		}
		for _, topic := range got.Topics {
			for _, part := range topic.Partitions {
				said, _, _ := strings.Cut(outcome(part.ErrorCode, part.ErrorMessage), " ")
				all = append(all, fmt.Sprintf("%d %s", part.Partition, said))
			}
		}
		return all
	}
	// An empty list is no cancellation.
	if got, want := told(), []string{"0 NONE", "1 INVALID_REPLICA_ASSIGNMENT", "1 NO_REASSIGNMENT_IN_PROGRESS", "7 UNKNOWN_TOPIC_OR_PARTITION"}; !slices.Equal(got, want) {
		t.Errorf("%q", got)
	}
	if moves := r.broker.state().moves; len(moves) != 3 || !moves[0].SameCount || moves[1].Replicas != nil {
		t.Errorf("%+v", moves)
	}
	q.AllowReplicationFactorChange = true
	q.Topics[0].Partitions = []kmsg.AlterPartitionAssignmentsRequestTopicPartition{{Replicas: []int32{1, 2}}}
	if got := told(); !slices.Equal(got, []string{"0 INVALID_REPLICA_ASSIGNMENT"}) || r.broker.state().moves[3].SameCount {
		t.Errorf("%q, %+v", got, r.broker.state().moves)
	}
	q.Version = 0
	if told(); r.broker.state().moves[4].SameCount {
		t.Errorf("version 0: %+v", r.broker.state().moves)
	}
	r.broker.alter(func(a *fakeAdmin) { a.denied = errDenied })
	if got := told(); !slices.Equal(got, []string{"CLUSTER_AUTHORIZATION_FAILED"}) {
		t.Errorf("denied: %q", got)
	}
}

func TestReassignmentsAreListed(t *testing.T) {
	r := newRig(t)
	r.broker.alter(func(a *fakeAdmin) {
		a.reassigning = []Reassigning{
			{TopicPartition{"a", 0}, []mq.NodeID{1, 2}, []mq.NodeID{2}, nil}, {TopicPartition{"a", 3}, []mq.NodeID{1, 2}, nil, []mq.NodeID{1}}, {TopicPartition{"b", 0}, nil, nil, nil},
		}
	})
	p := r.connect()
	q := kmsg.NewPtrListPartitionReassignmentsRequest()
	told := func() (all []string) {
		for _, topic := range ask[*kmsg.ListPartitionReassignmentsResponse](p, q).Topics {
			for _, part := range topic.Partitions {
				all = append(all, fmt.Sprint(topic.Topic, part.Partition, part.Replicas, part.AddingReplicas, part.RemovingReplicas))
			}
		}
		return all
	}
	if got := told(); !slices.Equal(got, []string{"a0 [1 2] [2] []", "a3 [1 2] [] [1]", "b0 [] [] []"}) {
		t.Errorf("%q", got)
	}
	q.Topics = []kmsg.ListPartitionReassignmentsRequestTopic{{Topic: "a", Partitions: []int32{3, 3, 4}}}
	if got := told(); !slices.Equal(got, []string{"a3 [1 2] [] [1]"}) {
		t.Errorf("%q", got)
	}
}

func TestTheQuorumIsTold(t *testing.T) {
	r := newRig(t)
	r.broker.alter(func(a *fakeAdmin) {
		a.quorum = Quorum{Leader: 2, Term: 5, Committed: 99, Members: []QuorumMember{
			{Node: 1, Address: "one:9093", Voter: true, End: 98}, {Node: 2, Address: "two:9093", Voter: true, Dir: mq.DirID{1}, End: 99}, {Node: 3, Address: "", End: -1},
		}}
	})
	p := r.connect()
	for version := range int16(3) {
		q := kmsg.NewPtrDescribeQuorumRequest()
		q.Version = version
		q.Topics = []kmsg.DescribeQuorumRequestTopic{{Topic: controllersTopic, Partitions: []kmsg.DescribeQuorumRequestTopicPartition{{}, {Partition: 1}}}}
		got := ask[*kmsg.DescribeQuorumResponse](p, q)
		part := got.Topics[0].Partitions[0]
		if part.ErrorCode != 0 || part.LeaderID != 2 || part.LeaderEpoch != 5 || part.HighWatermark != 99 || len(part.CurrentVoters) != 2 || part.CurrentVoters[0].LogEndOffset != 98 || len(part.Observers) != 1 {
			t.Errorf("version %d: %+v", version, part)
		}
		if mq.Code(got.Topics[0].Partitions[1].ErrorCode) != mq.UnknownTopicOrPartition {
			t.Errorf("version %d: %+v", version, got.Topics[0].Partitions[1])
		}
		if version == 2 && (len(got.Nodes) != 2 || got.Nodes[1].Listeners[0].Host != "two" || got.Nodes[1].Listeners[0].Port != 9093 || part.CurrentVoters[1].ReplicaDirectoryID != [16]byte{1}) {
			t.Errorf("%+v", got.Nodes)
		}
	}
	r.broker.alter(func(a *fakeAdmin) { a.quorumErr = mq.Errorf(mq.RequestTimedOut, "nobody leads") })
	if got := ask[*kmsg.DescribeQuorumResponse](p, kmsg.NewPtrDescribeQuorumRequest()); mq.Code(got.ErrorCode) != mq.RequestTimedOut {
		t.Errorf("%+v", got)
	}
}

func TestTheClusterIsDescribedToWhoMaySeeIt(t *testing.T) {
	r := newRig(t)
	p := r.connect()
	r.broker.alter(func(a *fakeAdmin) { a.denied = errDenied })
	q := kmsg.NewPtrDescribeClusterRequest()
	if got := ask[*kmsg.DescribeClusterResponse](p, q); mq.Code(got.ErrorCode) != mq.ClusterAuthorizationFailed || got.ClusterID != "" || len(got.Brokers) != 0 {
		t.Errorf("%+v", got)
	}
	// Metadata everybody needs.
	if got := ask[*kmsg.MetadataResponse](p, kmsg.NewPtrMetadataRequest()); len(got.Brokers) != 1 {
		t.Errorf("%+v", got)
	}
}

func TestThereAreNoAccessRulesAndCredentials(t *testing.T) {
	r := newRig(t)
	p := r.connect()
	codes := func() (told []string) {
		add := func(code int16, text *string) {
			said, _, _ := strings.Cut(outcome(code, text), " ")
			told = append(told, said)
		}
		of := func(key kmsg.Key, version int16) kmsg.Request {
			q := securitySample(key)
			if q == nil {
				q = key.Request()
			}
			q.SetVersion(version)
			return q
		}
		rules := ask[*kmsg.DescribeACLsResponse](p, of(kmsg.DescribeACLs, 3))
		add(rules.ErrorCode, rules.ErrorMessage)
		for _, x := range ask[*kmsg.CreateACLsResponse](p, of(kmsg.CreateACLs, 3)).Results {
			add(x.ErrorCode, x.ErrorMessage)
		}
		for _, x := range ask[*kmsg.DeleteACLsResponse](p, of(kmsg.DeleteACLs, 3)).Results {
			add(x.ErrorCode, x.ErrorMessage)
		}
		users := ask[*kmsg.DescribeUserSCRAMCredentialsResponse](p, of(kmsg.DescribeUserSCRAMCredentials, 0))
		add(users.ErrorCode, users.ErrorMessage)
		for _, x := range ask[*kmsg.AlterUserSCRAMCredentialsResponse](p, of(kmsg.AlterUserSCRAMCredentials, 0)).Results {
			add(x.ErrorCode, x.ErrorMessage)
		}
		quotas := ask[*kmsg.DescribeClientQuotasResponse](p, of(kmsg.DescribeClientQuotas, 1))
		add(quotas.ErrorCode, quotas.ErrorMessage)
		for _, x := range ask[*kmsg.AlterClientQuotasResponse](p, of(kmsg.AlterClientQuotas, 1)).Entries {
			add(x.ErrorCode, x.ErrorMessage)
		}
		return told
	}
	none := "SECURITY_DISABLED"
	if got, want := codes(), []string{none, none, none, none, none, none, "NONE", "NONE", "NONE"}; !slices.Equal(got, want) {
		t.Errorf("%q", got)
	}
	r.broker.alter(func(a *fakeAdmin) { a.denied = errDenied })
	for i, got := range codes() {
		if got != "CLUSTER_AUTHORIZATION_FAILED" {
			t.Errorf("%d: %s to who may not ask", i, got)
		}
	}
	shake := kmsg.NewPtrSASLHandshakeRequest()
	for version := range int16(2) {
		shake.Version, shake.Mechanism = version, "SCRAM-SHA-256"
		if got := ask[*kmsg.SASLHandshakeResponse](p, shake); got.ErrorCode != unsupportedSASLMechanism || len(got.SupportedMechanisms) != 0 {
			t.Errorf("%+v", got)
		}
	}
	if got := ask[*kmsg.SASLAuthenticateResponse](p, kmsg.NewPtrSASLAuthenticateRequest()); got.ErrorCode != illegalSASLState {
		t.Errorf("%+v", got)
	}
}
