package kafkaproto

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/rustmq/rustmq/mq"
)

// outcome is a code with its name, and what is said beside it.
func outcome(code int16, text *string) string {
	name := mq.Code(code).String()
	if own, ok := kafkaNames[code]; ok {
		name = own
	}
	if text == nil {
		return name
	}
	if !strings.HasPrefix(*text, name) {
		return name + " is told as " + *text
	}
	return name + " (" + *text + ")"
}

func topicOf(name string, partitions int32, replicas int16, configs ...string) kmsg.CreateTopicsRequestTopic {
	t := kmsg.NewCreateTopicsRequestTopic()
	t.Topic, t.NumPartitions, t.ReplicationFactor = name, partitions, replicas
	for i := 0; i < len(configs); i += 2 {
		t.Configs = append(t.Configs, kmsg.CreateTopicsRequestTopicConfig{Name: configs[i], Value: &configs[i+1]})
	}
	return t
}

func placedAt(name string, replicas ...[]int32) kmsg.CreateTopicsRequestTopic {
	t := topicOf(name, -1, -1)
	for i, list := range replicas {
		t.ReplicaAssignment = append(t.ReplicaAssignment, kmsg.CreateTopicsRequestTopicReplicaAssignment{Partition: int32(i), Replicas: list})
	}
	return t
}

func TestTopicsAreCreatedEachByItself(t *testing.T) {
	r := newRig(t)
	r.broker.make("there", 1)
	p := r.connect()
	q := kmsg.NewPtrCreateTopicsRequest()
	hole := placedAt("hole", []int32{1}, []int32{1})
	hole.ReplicaAssignment[1].Partition = 2
	both := placedAt("both", []int32{1})
	both.NumPartitions = 1
	novalue := topicOf("novalue", 1, 1)
	novalue.Configs = []kmsg.CreateTopicsRequestTopicConfig{{Name: "retention.ms"}}
	q.Topics = []kmsg.CreateTopicsRequestTopic{
		topicOf("plain", 3, 1, "retention.ms", "1000", "cleanup.policy", " compact , delete", "flush.messages", "10000", "remote.storage.enable", "TRUE"),
		topicOf("default", -1, -1), topicOf("there", 1, 1), topicOf("bad name", 1, 1), topicOf("none", 0, 1), topicOf("many", 1, 9),
		topicOf("twice", 1, 1), topicOf("twice", 2, 1), topicOf("segments", 1, 1, "segment.bytes", "52428800"), topicOf("unknown", 1, 1, "retention.mss", "1"),
		topicOf("value", 1, 1, "remote.storage.enable", "false"), topicOf("zstd", 1, 1, "flush.ms", "soon"), novalue, both, hole,
		placedAt("placed", []int32{1}, []int32{1}), placedAt("elsewhere", []int32{7}), placedAt("empty", []int32{}),
	}
	q.Version = 7
	got := ask[*kmsg.CreateTopicsResponse](p, q)
	want := []struct{ name, code, text string }{
		{"plain", "NONE", ""},
		{"default", "NONE", ""},
		{"there", "TOPIC_ALREADY_EXISTS", "there"},
		{"bad name", "INVALID_TOPIC_EXCEPTION", "bad name"},
		{"none", "INVALID_PARTITIONS", "partitions"},
		{"many", "INVALID_REPLICATION_FACTOR", "one broker"},
		{"twice", "INVALID_REQUEST", "2 times"},
		{"segments", "INVALID_CONFIG", "segment.bytes"},
		{"unknown", "INVALID_CONFIG", `"retention.ms"`},
		{"value", "INVALID_CONFIG", "always true"},
		{"zstd", "INVALID_CONFIG", "flush.ms"},
		{"novalue", "INVALID_CONFIG", "retention.ms"},
		{"both", "INVALID_REQUEST", "have to be -1"},
		{"hole", "INVALID_REPLICA_ASSIGNMENT", "partition 2"},
		{"placed", "NONE", ""},
		{"elsewhere", "INVALID_REPLICA_ASSIGNMENT", "one broker"},
		{"empty", "INVALID_REPLICA_ASSIGNMENT", "no replicas"},
	}
	if len(got.Topics) != len(want) {
		t.Fatalf("%d answers, want %d", len(got.Topics), len(want))
	}
	for i, w := range want {
		topic := got.Topics[i]
		if said := outcome(topic.ErrorCode, topic.ErrorMessage); topic.Topic != w.name || !strings.HasPrefix(said, w.code) || !strings.Contains(said, w.text) {
			t.Errorf("%s: %s, want %s with %q", topic.Topic, said, w.code, w.text)
		}
		if topic.Configs == nil {
			t.Errorf("%s: the configs are null: Java's client fails on that", topic.Topic)
		}
	}
	if plain := got.Topics[0]; plain.NumPartitions != 3 || plain.ReplicationFactor != 1 || plain.TopicID == [16]byte{} || len(plain.Configs) < 20 {
		t.Errorf("%+v", plain)
	}
	want0 := []Change{{Name: "retention.ms", Value: "1000"}, {Name: "cleanup.policy", Value: "compact,delete"}}
	if made := r.broker.state().created[0]; !slices.Equal(made.Settings, want0) {
		t.Errorf("what there is anyway is no setting: %+v", made.Settings)
	}
	if made := r.broker.state().created[2]; len(made.Assignments) != 2 {
		t.Errorf("%+v", made)
	}
}

func TestValidateOnlyCreatesNothing(t *testing.T) {
	r := newRig(t)
	p := r.connect()
	for version := int16(2); version <= 7; version++ {
		q := kmsg.NewPtrCreateTopicsRequest()
		q.Version, q.ValidateOnly, q.Topics = version, true, []kmsg.CreateTopicsRequestTopic{topicOf("t", 2, 1)}
		got := ask[*kmsg.CreateTopicsResponse](p, q).Topics[0]
		if got.ErrorCode != 0 || version >= 5 && got.NumPartitions != 2 || version >= 7 && got.TopicID != [16]byte{} {
			t.Errorf("version %d: %+v", version, got)
		}
	}
	if _, err := r.broker.Topic(nil, "t"); err == nil {
		t.Error("the topic was made")
	}
}

func TestCreateTopicsKeepsToItsTime(t *testing.T) {
	r := newRig(t)
	r.broker.alter(func(a *fakeAdmin) { a.stall = make(chan struct{}) })
	q := kmsg.NewPtrCreateTopicsRequest()
	q.Version, q.TimeoutMillis = 7, 30
	for i := range 3 {
		q.Topics = append(q.Topics, topicOf(fmt.Sprint("t", i), 1, 1))
	}
	for _, topic := range ask[*kmsg.CreateTopicsResponse](r.connect(), q).Topics {
		if topic.ErrorCode != int16(mq.RequestTimedOut) {
			t.Errorf("%s: %s", topic.Topic, outcome(topic.ErrorCode, topic.ErrorMessage))
		}
	}
}

// Each topic of a request is a command for the controllers.
func TestARequestNamesNotMoreThanItMay(t *testing.T) {
	r := newRig(t)
	q := kmsg.NewPtrDeleteTopicsRequest()
	q.Version = 5
	for i := range maxNamed + 2 {
		q.TopicNames = append(q.TopicNames, fmt.Sprint(i))
	}
	got := ask[*kmsg.DeleteTopicsResponse](r.connect(), q).Topics
	for i, want := range map[int]mq.Code{0: mq.UnknownTopicOrPartition, maxNamed - 1: mq.UnknownTopicOrPartition, maxNamed: mq.PolicyViolation, maxNamed + 1: mq.PolicyViolation} {
		if mq.Code(got[i].ErrorCode) != want {
			t.Errorf("topic %d: %s, want %s", i, outcome(got[i].ErrorCode, got[i].ErrorMessage), want)
		}
	}
}

// And each of their partitions is a part of it.
func TestARequestMakesNotMorePartitionsThanItMay(t *testing.T) {
	r := newRig(t)
	p := r.connect()
	q := kmsg.NewPtrCreateTopicsRequest()
	q.Version, q.ValidateOnly = 7, true
	q.Topics = []kmsg.CreateTopicsRequestTopic{topicOf("a", 6000, 1), topicOf("b", 4001, 1)}
	got := ask[*kmsg.CreateTopicsResponse](p, q).Topics
	if mq.Code(got[0].ErrorCode) != mq.None || mq.Code(got[1].ErrorCode) != mq.PolicyViolation {
		t.Errorf("%s, %s", outcome(got[0].ErrorCode, got[0].ErrorMessage), outcome(got[1].ErrorCode, got[1].ErrorMessage))
	}
	q.Topics = nil
	for i := range maxNewTopics + 1 {
		q.Topics = append(q.Topics, topicOf(fmt.Sprint("t", i), 1, 1))
	}
	got = ask[*kmsg.CreateTopicsResponse](p, q).Topics
	if mq.Code(got[maxNewTopics-1].ErrorCode) != mq.None || mq.Code(got[maxNewTopics].ErrorCode) != mq.PolicyViolation {
		t.Errorf("%+v", got[maxNewTopics])
	}
}

func TestTopicsAreDeletedByNameAndById(t *testing.T) {
	r := newRig(t)
	p := r.connect()
	for version := int16(1); version <= 5; version++ {
		r.broker.make("t", 1)
		q := kmsg.NewPtrDeleteTopicsRequest()
		q.Version, q.TopicNames = version, []string{"t", "nobodys", "twice", "twice"}
		got := ask[*kmsg.DeleteTopicsResponse](p, q).Topics
		if len(got) != 3 || got[0].ErrorCode != 0 || *got[0].Topic != "t" || mq.Code(got[1].ErrorCode) != mq.UnknownTopicOrPartition || mq.Code(got[2].ErrorCode) != mq.InvalidRequest {
			t.Errorf("version %d: %+v", version, got)
		}
	}
	byName, byID := r.broker.make("name", 1), r.broker.make("id", 1)
	q := kmsg.NewPtrDeleteTopicsRequest()
	q.Version = 6
	q.Topics = []kmsg.DeleteTopicsRequestTopic{
		{Topic: kmsg.StringPtr("name")},
		{TopicID: byID.id},
		{TopicID: [16]byte{9}},
		{},
		{Topic: kmsg.StringPtr("name"), TopicID: byID.id},
		{TopicID: [16]byte{8}},
		{TopicID: [16]byte{8}},
	}
	// A name that is there with an id and without comes twice.
	q.Topics[4].Topic = kmsg.StringPtr("other")
	got := ask[*kmsg.DeleteTopicsResponse](p, q).Topics
	want := []mq.Code{mq.None, mq.None, mq.UnknownTopicID, mq.InvalidRequest, mq.InvalidRequest, mq.InvalidRequest}
	if len(got) != len(want) {
		t.Fatalf("%d answers", len(got))
	}
	for i, code := range want {
		if mq.Code(got[i].ErrorCode) != code {
			t.Errorf("%d: %s, want %s", i, outcome(got[i].ErrorCode, got[i].ErrorMessage), code)
		}
	}
	if got[0].TopicID != byName.id || *got[1].Topic != "id" || got[2].Topic != nil {
		t.Errorf("name and id are told of each that is deleted, and of no other: %+v", got[:3])
	}
	if len(r.broker.Topics(nil)) != 0 {
		t.Error("topics are left")
	}
}

func TestPartitionsAreCreated(t *testing.T) {
	r := newRig(t)
	r.broker.make("t", 2)
	r.broker.make("u", 2)
	p := r.connect()
	of := func(topic string, count int32, replicas ...[]int32) kmsg.CreatePartitionsRequestTopic {
		q := kmsg.NewCreatePartitionsRequestTopic()
		q.Topic, q.Count = topic, count
		for _, list := range replicas {
			q.Assignment = append(q.Assignment, kmsg.CreatePartitionsRequestTopicAssignment{Replicas: list})
		}
		return q
	}
	for _, c := range []struct {
		topics []kmsg.CreatePartitionsRequestTopic
		dry    bool
		want   string
	}{
		{[]kmsg.CreatePartitionsRequestTopic{of("t", 5)}, true, "NONE"},
		{[]kmsg.CreatePartitionsRequestTopic{of("t", 3)}, false, "NONE"},
		{[]kmsg.CreatePartitionsRequestTopic{of("t", 3)}, false, "INVALID_PARTITIONS"},
		{[]kmsg.CreatePartitionsRequestTopic{of("t", -1)}, false, "INVALID_PARTITIONS"},
		{[]kmsg.CreatePartitionsRequestTopic{of("t", 4), of("t", 5)}, false, "INVALID_REQUEST"},
		{[]kmsg.CreatePartitionsRequestTopic{of("nobodys", 4)}, false, "UNKNOWN_TOPIC_OR_PARTITION"},
		{[]kmsg.CreatePartitionsRequestTopic{of("u", 3, []int32{1}, []int32{1})}, false, "INVALID_REPLICA_ASSIGNMENT"},
		{[]kmsg.CreatePartitionsRequestTopic{of("u", 3, []int32{})}, false, "INVALID_REPLICA_ASSIGNMENT"},
		{[]kmsg.CreatePartitionsRequestTopic{of("u", 3, []int32{1})}, false, "NONE"},
	} {
		q := kmsg.NewPtrCreatePartitionsRequest()
		q.Version, q.Topics, q.ValidateOnly = 3, c.topics, c.dry
		got := ask[*kmsg.CreatePartitionsResponse](p, q).Topics
		if len(got) != 1 || !strings.HasPrefix(outcome(got[0].ErrorCode, got[0].ErrorMessage), c.want) {
			t.Errorf("%+v: %+v, want %s", c.topics, got, c.want)
		}
	}
	for _, name := range []string{"t", "u"} {
		if topic, _ := r.broker.Topic(nil, name); len(topic.Partitions) != 3 {
			t.Errorf("%s has %d partitions", name, len(topic.Partitions))
		}
	}
}

func TestRecordsAreDeleted(t *testing.T) {
	r := newRig(t)
	r.broker.make("t", 2)
	p := r.connect()
	ask[*kmsg.ProduceResponse](p, produceOf(9, -1, "t", 0, batchOf(t, 5, nil)))
	for version := range int16(3) {
		q := kmsg.NewPtrDeleteRecordsRequest()
		q.Version, q.TimeoutMillis = version, 1000
		q.Topics = []kmsg.DeleteRecordsRequestTopic{
			{Topic: "t", Partitions: []kmsg.DeleteRecordsRequestTopicPartition{{Offset: 3}, {Offset: -1}, {Offset: 6}, {Partition: 9, Offset: 1}}},
			{Topic: "nobodys", Partitions: []kmsg.DeleteRecordsRequestTopicPartition{{}}},
			{Topic: "t"},
		}
		got := ask[*kmsg.DeleteRecordsResponse](p, q).Topics
		var said []string
		for _, topic := range got {
			for _, part := range topic.Partitions {
				said = append(said, fmt.Sprintf("%s %d: %s %d", topic.Topic, part.Partition, mq.Code(part.ErrorCode), part.LowWatermark))
			}
		}
		want := []string{"t 0: NONE 3", "t 0: NONE 5", "t 0: OFFSET_OUT_OF_RANGE -1", "t 9: UNKNOWN_TOPIC_OR_PARTITION -1", "nobodys 0: UNKNOWN_TOPIC_OR_PARTITION -1"}
		if !slices.Equal(said, want) || len(got) != 3 {
			t.Errorf("version %d: %q", version, said)
		}
	}
}
