package broker_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	adminpb "github.com/rustmq/rustmq/api/admin/v1"
	metadatapb "github.com/rustmq/rustmq/api/metadata/v1"
	"github.com/rustmq/rustmq/broker"
	"github.com/rustmq/rustmq/kafkaproto"
	"github.com/rustmq/rustmq/metadata"
	"github.com/rustmq/rustmq/mq"
)

var asker = &kafkaproto.Session{ID: 1, Principal: "alice"}

// Settings that topics have and Kafka's clients would not be told of, or the other way round, could be neither seen nor set.
func TestKafkaClientsAreToldOfAllSettingsOfTopics(t *testing.T) {
	var names []string
	for _, key := range metadata.TopicConfigKeys() {
		names = append(names, key.Name)
	}
	if told := kafkaproto.TopicSettings(); !slices.Equal(told, names) {
		t.Errorf("they are told of %q, there are %q", told, names)
	}
}

func TestKafkaTopicsAreMadeWithReplicasThatAreGiven(t *testing.T) {
	f := newFixture(t, 2)
	k := f.kafka()
	ids := func(lists ...[]mq.NodeID) [][]mq.NodeID { return lists }
	for name, c := range map[string]struct {
		assignments [][]mq.NodeID
		code        mq.Code
		about       string
	}{
		"unknown": {ids([]mq.NodeID{1, 9}), mq.InvalidReplicationFactor, "broker 9"},
		"double":  {ids([]mq.NodeID{1, 1}), mq.InvalidReplicationFactor, "twice"},
		"uneven":  {ids([]mq.NodeID{1, 2}, []mq.NodeID{1}), mq.InvalidReplicationFactor, "partition 1"},
		"good":    {ids([]mq.NodeID{2, 1}, []mq.NodeID{1, 2}), mq.None, ""},
	} {
		topic := &kafkaproto.NewTopic{Name: name, Partitions: -1, Replicas: -1, Assignments: c.assignments, Settings: []kafkaproto.Change{{Name: "retention.ms", Value: "77"}}}
		for _, dry := range []bool{true, false} {
			before := f.proposals()
			made, err := k.CreateTopic(t.Context(), asker, topic, dry)
			if wantCode(t, fmt.Sprint(name, dry), err, c.code); err != nil && !strings.Contains(err.Error(), c.about) {
				t.Errorf("%v does not say %q", err, c.about)
			}
			if proposed := f.proposals() - before; proposed != 0 && (dry || err != nil) {
				t.Errorf("%s: something was proposed that was refused, or tried", name)
			}
			if err != nil {
				continue
			}
			if made.Partitions != 2 || made.Replicas != 2 || (made.ID == mq.TopicID{}) != dry || len(made.Settings) != len(kafkaproto.TopicSettings()) {
				t.Errorf("dry %t: %+v", dry, made)
			}
			at := slices.IndexFunc(made.Settings, func(s kafkaproto.Setting) bool { return s.Name == "retention.ms" })
			if s := made.Settings[at]; s.Value != "77" || s.Topic == nil || s.Cluster != nil || s.Default != "604800000" || s.Doc == "" {
				t.Errorf("dry %t: %+v", dry, s)
			}
		}
	}
	made := f.Image().TopicByName("good")
	if got := made.Partition(0).Replicas; !slices.Equal(got, []mq.NodeID{2, 1}) {
		t.Errorf("%v", got)
	}
	f.decide(fence(other, f.Image()))
	_, err := k.CreateTopic(t.Context(), asker, &kafkaproto.NewTopic{Name: "dead", Assignments: ids([]mq.NodeID{2})}, true)
	wantCode(t, "fenced", err, mq.InvalidReplicationFactor, "alive")
}

func TestKafkaTopicsAreDeletedByTheirId(t *testing.T) {
	f := newFixture(t, 1)
	k := f.kafka()
	f.create("t", 1)
	first := f.Image().TopicByName("t").ID
	f.must(k.DeleteTopic(t.Context(), asker, "t", first))
	f.create("t", 1)
	wantCode(t, "of that name is another one", k.DeleteTopic(t.Context(), asker, "t", first), mq.UnknownTopicID, "t")
	f.must(k.DeleteTopic(t.Context(), asker, "t", mq.TopicID{}))
	wantCode(t, "gone", k.DeleteTopic(t.Context(), asker, "t", mq.TopicID{}), mq.UnknownTopicOrPartition)
}

func TestKafkaTopicsGrow(t *testing.T) {
	f := newFixture(t, 2)
	k := f.kafka()
	f.replicated("t", 1, 2)
	grow := func(total int32, dry bool, chosen ...[]mq.NodeID) error {
		return k.CreatePartitions(t.Context(), asker, "t", total, chosen, dry)
	}
	both, one := []mq.NodeID{2, 1}, []mq.NodeID{1}
	wantCode(t, "no more", grow(1, false), mq.InvalidPartitions, "has 1")
	wantCode(t, "fewer", grow(-5, false), mq.InvalidPartitions)
	wantCode(t, "too many", grow(mq.MaxPartitionsPerTopic+1, true), mq.InvalidPartitions)
	wantCode(t, "too many given", grow(2, true, both, both), mq.InvalidReplicationFactor, "2 partitions, 1")
	wantCode(t, "too few replicas", grow(2, true, one), mq.InvalidReplicationFactor)
	wantCode(t, "nobody's", k.CreatePartitions(t.Context(), asker, "nobodys", 4, nil, false), mq.UnknownTopicOrPartition)
	f.must(grow(2, true))
	f.must(grow(2, true, both))
	if n := f.Image().TopicByName("t").Partitions(); n != 1 {
		t.Fatalf("%d partitions, and nothing was to be done", n)
	}
	f.must(grow(2, false, both))
	f.must(grow(4, false))
	topic := f.Image().TopicByName("t")
	if topic.Partitions() != 4 || !slices.Equal(topic.Partition(1).Replicas, both) {
		t.Errorf("%d partitions, %v", topic.Partitions(), topic.Partition(1).Replicas)
	}
}

func TestKafkaRecordsAreDeletedInOneCommand(t *testing.T) {
	f := newFixtureAt(t, metadata.CompactionLevel, 1)
	k := f.kafka()
	f.create("t", 3)
	f.create("keyed", 1, "cleanup.policy", "compact")
	for i := range int32(2) {
		f.must(f.produce("t", i, batch(t, 5, 1), mq.DurabilityAll).Err)
	}
	f.hide("t", 2)
	before := f.proposals()
	got := k.DeleteRecords(t.Context(), asker, "t", []kafkaproto.Trim{{Partition: 0, Before: 3}, {Partition: 2}, {Partition: 1, Before: -1}, {Partition: 1, Before: 6}, {Partition: 9}})
	if n := f.proposals() - before; n != 1 {
		t.Errorf("%d commands", n)
	}
	for i, want := range []struct {
		start mq.Offset
		code  mq.Code
	}{{3, mq.None}, {0, mq.NotLeaderOrFollower}, {5, mq.None}, {0, mq.OffsetOutOfRange}, {0, mq.UnknownTopicOrPartition}} {
		wantCode(t, fmt.Sprint(i), got[i].Err, want.code)
		if got[i].Err == nil && got[i].LogStart != want.start {
			t.Errorf("%d: the log starts at %d", i, got[i].LogStart)
		}
	}
	again := k.DeleteRecords(t.Context(), asker, "t", []kafkaproto.Trim{{Partition: 0, Before: 1}})
	if again[0].Err != nil || again[0].LogStart != 3 {
		t.Errorf("below the log start: %+v", again)
	}
	wantCode(t, "compacted", k.DeleteRecords(t.Context(), asker, "keyed", []kafkaproto.Trim{{}})[0].Err, mq.PolicyViolation, "compact")
	f.refuse = mq.Errorf(mq.RequestTimedOut, "nobody leads")
	wantCode(t, "no controller", k.DeleteRecords(t.Context(), asker, "t", []kafkaproto.Trim{{Partition: 0, Before: 4}})[0].Err, mq.RequestTimedOut)
}

// settingsOf is what holds of a topic, and where it comes from.
func settingsOf(list []kafkaproto.Setting, name string) string {
	at := slices.IndexFunc(list, func(s kafkaproto.Setting) bool { return s.Name == name })
	if at < 0 {
		return "not there"
	}
	text := func(s *string) string {
		if s == nil {
			return "-"
		}
		return *s
	}
	s := list[at]
	return fmt.Sprintf("%s: topic %s, cluster %s, default %s", s.Value, text(s.Topic), text(s.Cluster), s.Default)
}

func TestKafkaSettingsComeFromTopicThenClusterThenDefault(t *testing.T) {
	f := newFixtureAt(t, metadata.CompactionLevel, 2)
	k := f.kafka()
	f.replicated("t", 1, 2, "retention.ms", "5", "cleanup.policy", "delete,compact")
	f.decide(&metadatapb.Command{Kind: &metadatapb.Command_SetClusterConfigs{SetClusterConfigs: &metadatapb.SetClusterConfigs{Changes: []*metadatapb.ConfigChange{
		{Key: "retention.ms", Value: "6"}, {Key: "retention.bytes", Value: "7"}, {Key: "num.partitions", Value: "3"},
	}}}})
	list, err := k.TopicSettings(asker, "t")
	f.must(err)
	for name, want := range map[string]string{
		"retention.ms":        "5: topic 5, cluster 6, default 604800000",
		"retention.bytes":     "7: topic -, cluster 7, default -1",
		"cleanup.policy":      "delete,compact: topic delete,compact, cluster -, default delete",
		"min.insync.replicas": "1: topic -, cluster -, default 1", // 0 would be none
		"num.partitions":      "not there",
	} {
		if got := settingsOf(list, name); got != want {
			t.Errorf("%s is %s, want %s", name, got, want)
		}
	}
	list, err = k.ClusterSettings(asker)
	f.must(err)
	for name, want := range map[string]string{
		"retention.ms": "6: topic -, cluster 6, default 604800000", "num.partitions": "3: topic -, cluster 3, default 1", "default.replication.factor": "2: topic -, cluster -, default 2",
	} {
		if got := settingsOf(list, name); got != want {
			t.Errorf("%s of the cluster is %s, want %s", name, got, want)
		}
	}
}

func TestKafkaSettingsAreChanged(t *testing.T) {
	f := newFixtureAt(t, metadata.CompactionLevel, 1)
	k := f.kafka()
	f.create("t", 1, "retention.ms", "5", "retention.bytes", "6")
	alter := func(all, dry bool, changes ...kafkaproto.Change) error {
		return k.AlterTopic(t.Context(), asker, "t", changes, all, dry)
	}
	has := func() string { return fmt.Sprint(f.Image().TopicByName("t").Overrides) }
	f.must(alter(false, true, kafkaproto.Change{Name: "retention.ms", Value: "9"}))
	wantCode(t, "a value", alter(false, false, kafkaproto.Change{Name: "retention.ms", Remove: true}, kafkaproto.Change{Name: "max.message.bytes", Value: "1"}), mq.InvalidConfig, "max.message.bytes")
	wantCode(t, "nobody's", k.AlterTopic(t.Context(), asker, "nobodys", nil, true, false), mq.UnknownTopicOrPartition)
	if got := has(); got != "[retention.bytes=6 retention.ms=5]" {
		t.Fatalf("something was changed: %s", got)
	}
	f.must(alter(false, false, kafkaproto.Change{Name: "retention.ms", Remove: true}, kafkaproto.Change{Name: "cleanup.policy", Value: "compact"}))
	if got := has(); got != "[cleanup.policy=compact retention.bytes=6]" {
		t.Errorf("%s", got)
	}
	f.must(alter(true, false, kafkaproto.Change{Name: "retention.bytes", Value: "8"}))
	if got := has(); got != "[retention.bytes=8]" {
		t.Errorf("replaced: %s", got)
	}
	f.must(alter(true, false))
	f.must(alter(false, false))
	if got := has(); got != "[]" {
		t.Errorf("without any: %s", got)
	}
}

func TestKafkaLogsAndProducersAreTold(t *testing.T) {
	f := newFixture(t, 1)
	k := f.kafka()
	f.create("b", 2)
	f.create("a", 1)
	for i := range int32(3) {
		f.must(f.produce("b", 1, batchBy(t, 7, 2, i*4, 4, 1), mq.DurabilityAll).Err)
	}
	all := k.LogSizes(asker, func(string, int32) bool { return true })
	if len(all) != 3 || all[0].Topic != "a" || all[1].Partition != 0 || all[1].Bytes != 0 || all[2].Partition != 1 || all[2].Bytes < 3*61 || all[2].Lag != 0 {
		t.Errorf("%+v", all)
	}
	if one := k.LogSizes(asker, func(topic string, i int32) bool { return topic == "b" && i == 1 }); len(one) != 1 || one[0] != all[2] {
		t.Errorf("%+v", one)
	}
	got, err := k.Producers(asker, "b", 1)
	f.must(err)
	if len(got) != 1 || got[0].ID != 7 || got[0].Epoch != 2 || got[0].LastSequence != 11 || got[0].LastTime == 0 {
		t.Errorf("%+v", got)
	}
	none, err := k.Producers(asker, "a", 0)
	if err != nil || len(none) != 0 {
		t.Errorf("%+v, %v", none, err)
	}
	part := f.partition("b", 1)
	f.must(part.Follow(part.LeaderEpoch()+1, other))
	_, err = k.Producers(asker, "b", 1)
	wantCode(t, "of a follower", err, mq.NotLeaderOrFollower)
	_, err = k.Producers(asker, "b", 9)
	wantCode(t, "of nothing", err, mq.UnknownTopicOrPartition)
	if dir := k.LogDir(); dir.Path != "/data/wal" {
		t.Errorf("%+v", dir)
	}
}

func TestKafkaLeadersAreElected(t *testing.T) {
	f := fencedAt(t, metadata.CompactionLevel)
	k := f.kafka()
	img := f.Image()
	var theirs, ours int32 = -1, -1
	for i, p := range img.TopicByName("a").All() {
		if p.Replicas[0] == other {
			theirs = i
		} else {
			ours = i
		}
	}
	got := k.ElectLeaders(t.Context(), asker, "a", []int32{theirs, ours, 9}, false)
	wantCode(t, "preferred is fenced", got[0].Err, mq.LeaderNotAvailable)
	if got[1].Err != nil || got[1].Before != self || got[1].After != self {
		t.Errorf("%+v", got[1])
	}
	wantCode(t, "no partition", got[2].Err, mq.UnknownTopicOrPartition)
	wantCode(t, "no topic", k.ElectLeaders(t.Context(), asker, "nobodys", []int32{0}, false)[0].Err, mq.UnknownTopicOrPartition)
	// Uncleanly: somebody leads; nobody could.
	unclean := k.ElectLeaders(t.Context(), asker, "a", []int32{theirs, 9}, true)
	if unclean[0].Err != nil || unclean[0].Before != self || unclean[0].After != self {
		t.Errorf("%+v", unclean[0])
	}
	wantCode(t, "no partition", unclean[1].Err, mq.UnknownTopicOrPartition)
	single := k.ElectLeaders(t.Context(), asker, "single", []int32{0}, true)
	if lone := img.TopicByName("single").Partition(0); lone.Leader == mq.NoNode {
		wantCode(t, "nobody is alive", single[0].Err, mq.LeaderNotAvailable)
		list, err := k.Unelected(asker, true)
		if err != nil || len(list) != 1 || list[0].Topic != "single" {
			t.Errorf("%+v, %v", list, err)
		}
	} else {
		t.Fatal("the fixture has no leaderless partition")
	}
	if list, err := k.Unelected(asker, false); err != nil || len(list) != 0 {
		t.Errorf("%+v, %v", list, err)
	}
}

func TestKafkaPartitionsAreReassigned(t *testing.T) {
	f := newFixture(t, 2)
	k := f.kafka()
	f.create("t", 2)
	f.create("u", 1)
	from := f.Image().TopicByName("t").Partition(0).Replicas[0]
	to := self + other - from
	move := func(moves ...kafkaproto.Reassignment) []error { return k.Reassign(t.Context(), asker, "t", moves) }
	got := move(
		kafkaproto.Reassignment{Partition: 0, Replicas: []mq.NodeID{to}, SameCount: true}, kafkaproto.Reassignment{Partition: 1}, kafkaproto.Reassignment{Partition: 1, Replicas: []mq.NodeID{1, 2}, SameCount: true},
		kafkaproto.Reassignment{Partition: 1, Replicas: []mq.NodeID{9}}, kafkaproto.Reassignment{Partition: 7, Replicas: []mq.NodeID{1}},
	)
	f.must(got[0])
	if !errors.Is(got[1], kafkaproto.ErrNoReassignment) {
		t.Errorf("nothing to cancel: %v", got[1])
	}
	if !errors.Is(got[2], kafkaproto.ErrReplicaCount) {
		t.Errorf("another number: %v", got[2])
	}
	wantCode(t, "no broker", got[3], mq.InvalidReplicationFactor, "broker 9", `topic "t"`)
	if text := got[3].Error(); strings.Count(text, "INVALID_REPLICATION_FACTOR") != 1 {
		t.Errorf("the code is said twice: %s", text)
	}
	wantCode(t, "no partition", got[4], mq.UnknownTopicOrPartition)
	wantCode(t, "no topic", k.Reassign(t.Context(), asker, "nobodys", []kafkaproto.Reassignment{{}})[0], mq.UnknownTopicOrPartition)
	list, err := k.Reassignments(asker)
	f.must(err)
	if len(list) != 1 || list[0].Topic != "t" || !slices.Equal(list[0].Adding, []mq.NodeID{to}) || !slices.Equal(list[0].Removing, []mq.NodeID{from}) || len(list[0].Replicas) != 2 {
		t.Errorf("%+v", list)
	}
	// The replicas that are being added do not count.
	if err := move(kafkaproto.Reassignment{Partition: 0, Replicas: []mq.NodeID{1, 2}, SameCount: true})[0]; !errors.Is(err, kafkaproto.ErrReplicaCount) {
		t.Errorf("two meanwhile: %v", err)
	}
	f.must(move(kafkaproto.Reassignment{Partition: 0})[0])
	if list, err := k.Reassignments(asker); err != nil || len(list) != 0 {
		t.Errorf("cancelled: %+v, %v", list, err)
	}
}

func TestKafkaQuorumKnowsWhatItsLeaderKnows(t *testing.T) {
	f := newFixture(t, 1)
	f.raft = &adminpb.RaftStatusResponse{AnsweredBy: 2, Term: 5, Leader: 20, Commit: 9, Members: []*adminpb.RaftMember{
		{RaftId: 20, NodeId: 2, Address: "two:9093", Role: "voter", Match: 9}, {RaftId: 30, NodeId: 1, Role: "learner", Match: 3},
	}}
	got, err := f.kafka().Quorum(t.Context(), asker)
	f.must(err)
	if got.Leader != 2 || got.Term != 5 || got.Committed != 9 || len(got.Members) != 2 || got.Members[0].Voter || got.Members[0].End != 3 || !got.Members[1].Voter || got.Members[1].End != 9 {
		t.Errorf("%+v", got)
	}
	f.raft.AnsweredBy = 1
	if got, err = f.kafka().Quorum(t.Context(), asker); err != nil || got.Members[1].End != -1 {
		t.Errorf("of who does not lead: %+v, %v", got, err)
	}
	f.raft.Leader = 0
	if got, err = f.kafka().Quorum(t.Context(), asker); err != nil || got.Leader != mq.NoNode {
		t.Errorf("nobody leads: %+v, %v", got, err)
	}
}

// Nothing is told or done before the policy was asked.
func TestKafkaAdministrationIsAuthorised(t *testing.T) {
	f := newFixture(t, 1)
	k := f.kafka()
	f.create("t", 1)
	f.policy.questions()
	f.policy.deny(true)
	before := f.proposals()
	ctx := t.Context()
	_, created := k.CreateTopic(ctx, asker, &kafkaproto.NewTopic{Name: "new", Partitions: 1, Replicas: 1}, false)
	_, settings := k.TopicSettings(asker, "t")
	_, cluster := k.ClusterSettings(asker)
	_, producers := k.Producers(asker, "t", 0)
	_, unelected := k.Unelected(asker, false)
	_, reassignments := k.Reassignments(asker)
	_, quorum := k.Quorum(ctx, asker)
	_, quotas := k.ClientQuotas(asker)
	for _, c := range []struct {
		what string
		err  error
		code mq.Code
	}{
		{"create", created, mq.TopicAuthorizationFailed},
		{"settings", settings, mq.TopicAuthorizationFailed},
		{"cluster settings", cluster, mq.ClusterAuthorizationFailed},
		{"producers", producers, mq.TopicAuthorizationFailed},
		{"unelected", unelected, mq.ClusterAuthorizationFailed},
		{"reassignments", reassignments, mq.ClusterAuthorizationFailed},
		{"quorum", quorum, mq.ClusterAuthorizationFailed},
		{"delete", k.DeleteTopic(ctx, asker, "t", mq.TopicID{}), mq.TopicAuthorizationFailed},
		{"grow", k.CreatePartitions(ctx, asker, "t", 2, nil, false), mq.TopicAuthorizationFailed},
		{"trim", k.DeleteRecords(ctx, asker, "t", []kafkaproto.Trim{{}})[0].Err, mq.TopicAuthorizationFailed},
		{"alter", k.AlterTopic(ctx, asker, "t", nil, true, false), mq.TopicAuthorizationFailed},
		{"elect", k.ElectLeaders(ctx, asker, "t", []int32{0}, false)[0].Err, mq.ClusterAuthorizationFailed},
		{"reassign", k.Reassign(ctx, asker, "t", []kafkaproto.Reassignment{{}})[0], mq.ClusterAuthorizationFailed},
		{"look", k.AuthoriseCluster(asker, false), mq.ClusterAuthorizationFailed},
		{"change", k.AuthoriseCluster(asker, true), mq.ClusterAuthorizationFailed},
		{"quotas", quotas, mq.ClusterAuthorizationFailed},
		{"limit", k.AlterQuota(ctx, asker, kafkaproto.QuotaEntity{OfUser: true}, []kafkaproto.QuotaChange{{QuotaLimit: kafkaproto.QuotaLimit{Name: "producer_byte_rate", Rate: 1}}}, false), mq.ClusterAuthorizationFailed},
	} {
		wantCode(t, c.what, c.err, c.code)
	}
	questions := f.policy.questions()
	for _, want := range []asked{
		{"alice", broker.OpCreate, "new"}, {"alice", broker.OpDelete, "t"}, {"alice", broker.OpRead, "t"}, {"alice", broker.OpAlter, "t"}, {"alice", broker.OpDescribe, "t"}, {"alice", broker.OpAlter, ""},
	} {
		if !slices.Contains(questions, want) {
			t.Errorf("%+v was not asked", want)
		}
	}
	if names, sizes := k.TopicNames(asker), k.LogSizes(asker, func(string, int32) bool { return true }); len(names) != 0 || len(sizes) != 0 {
		t.Errorf("%q, %v", names, sizes)
	}
	if f.proposals() != before {
		t.Error("something was proposed")
	}
}
