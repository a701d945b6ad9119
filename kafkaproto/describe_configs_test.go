package kafkaproto

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/rustmq/rustmq/mq"
)

// describe asks for configs of one resource.
func describe(p *peer, kind kmsg.ConfigResourceType, name string, change ...func(*kmsg.DescribeConfigsRequest)) kmsg.DescribeConfigsResponseResource {
	p.t.Helper()
	q := kmsg.NewPtrDescribeConfigsRequest()
	q.Version, q.IncludeSynonyms, q.IncludeDocumentation = 4, true, true
	q.Resources = []kmsg.DescribeConfigsRequestResource{{ResourceType: kind, ResourceName: name}}
	for _, f := range change {
		f(q)
	}
	return ask[*kmsg.DescribeConfigsResponse](p, q).Resources[0]
}

func TestTopicConfigsAreSorted(t *testing.T) {
	names := make([]string, 0, 40)
	for _, c := range topicConfigs() {
		names = append(names, c.name)
		if c.doc == "" || c.absent && (c.fixed != "" || c.keeps != nil || c.broker != "") || c.fixed != "" && c.broker != "" {
			t.Errorf("%+v", c)
		}
	}
	if !slices.IsSorted(names) || len(slices.Compact(slices.Clone(names))) != len(names) {
		t.Errorf("%q", names)
	}
}

func TestAllConfigsOfATopicAreTold(t *testing.T) {
	r := newRig(t)
	r.broker.make("t", 1)
	r.broker.alter(func(a *fakeAdmin) { a.settings = map[string]string{"t retention.ms": "7", "t durability": "object"} })
	r.broker.alter(func(a *fakeAdmin) { a.cluster = map[string]string{"retention.ms": "8", "retention.bytes": "9"} })
	p := r.connect()
	got := describe(p, kmsg.ConfigResourceTypeTopic, "t")
	if got.ErrorCode != 0 {
		t.Fatal(outcome(got.ErrorCode, got.ErrorMessage))
	}
	told := make(map[string]string)
	for _, c := range got.Configs {
		text := fmt.Sprintf("%s %s readonly=%t %s:", *c.Value, c.Source, c.ReadOnly, c.ConfigType)
		for _, s := range c.ConfigSynonyms {
			text += fmt.Sprintf(" %s=%s %s", s.Name, *s.Value, s.Source)
		}
		told[c.Name] = text
		if c.Documentation == nil || *c.Documentation == "" || len(c.ConfigSynonyms) == 0 {
			t.Errorf("%s has no documentation, or comes from nowhere", c.Name)
		}
	}
	for name, want := range map[string]string{
		"retention.ms":          "7 DYNAMIC_TOPIC_CONFIG readonly=false LONG: retention.ms=7 DYNAMIC_TOPIC_CONFIG log.retention.ms=8 DYNAMIC_DEFAULT_BROKER_CONFIG log.retention.ms=d DEFAULT_CONFIG",
		"retention.bytes":       "9 DYNAMIC_DEFAULT_BROKER_CONFIG readonly=false LONG: log.retention.bytes=9 DYNAMIC_DEFAULT_BROKER_CONFIG log.retention.bytes=d DEFAULT_CONFIG",
		"durability":            "object DYNAMIC_TOPIC_CONFIG readonly=false STRING: durability=object DYNAMIC_TOPIC_CONFIG durability=d DEFAULT_CONFIG",
		"max.message.bytes":     "d DEFAULT_CONFIG readonly=false INT: message.max.bytes=d DEFAULT_CONFIG",
		"remote.storage.enable": "true DEFAULT_CONFIG readonly=true BOOLEAN: remote.storage.enable=true DEFAULT_CONFIG",
	} {
		if told[name] != want {
			t.Errorf("%s: %s\nwant %s", name, told[name], want)
		}
	}
	for _, c := range topicConfigs() {
		if _, there := told[c.name]; there == c.absent {
			t.Errorf("%s: told %t, absent %t", c.name, there, c.absent)
		}
	}
	if !slices.Contains(TopicSettings(), "cleanup.policy") || slices.Contains(TopicSettings(), "segment.bytes") {
		t.Error(TopicSettings())
	}
}

func TestConfigsAreToldInEveryVersionAsMuchAsIsWanted(t *testing.T) {
	r := newRig(t)
	r.broker.make("t", 1)
	p := r.connect()
	for version := int16(1); version <= 4; version++ {
		got := describe(p, kmsg.ConfigResourceTypeTopic, "t", func(q *kmsg.DescribeConfigsRequest) {
			q.Version, q.IncludeSynonyms, q.IncludeDocumentation = version, false, false
			q.Resources[0].ConfigNames = []string{"retention.ms", "segment.bytes", "nonsense"}
		})
		if len(got.Configs) != 1 || got.Configs[0].Name != "retention.ms" || got.Configs[0].Documentation != nil || len(got.Configs[0].ConfigSynonyms) != 0 {
			t.Errorf("version %d: %+v", version, got)
		}
	}
}

func TestConfigsOfBrokersAndOthers(t *testing.T) {
	r := newRig(t)
	p := r.connect()
	values := func(name string) map[string]string {
		told := make(map[string]string)
		got := describe(p, kmsg.ConfigResourceTypeBroker, name)
		for _, c := range got.Configs {
			if !c.ReadOnly {
				t.Errorf("%s can be changed", c.Name)
			}
			told[c.Name] = *c.Value
		}
		return told
	}
	all, one := values(""), values("1")
	if all["num.partitions"] != "4" || all["log.retention.ms"] != "d" || all["node.id"] != "" {
		t.Errorf("of all: %v", all)
	}
	if one["num.partitions"] != "4" || one["node.id"] != "1" || one["auto.create.topics.enable"] != "true" || one["advertised.listeners"] != "one:9092" {
		t.Errorf("of one: %v", one)
	}
	if names := slices.Collect(maps.Keys(one)); len(names) < 20 {
		t.Errorf("%q", names)
	}
	for _, c := range []struct {
		kind kmsg.ConfigResourceType
		name string
		code mq.Code
	}{
		{kmsg.ConfigResourceTypeBroker, "2", mq.InvalidRequest},
		{kmsg.ConfigResourceTypeBroker, "one", mq.InvalidRequest},
		{kmsg.ConfigResourceTypeBrokerLogger, "1", mq.InvalidRequest},
		{kmsg.ConfigResourceTypeTopic, "nobodys", mq.UnknownTopicOrPartition},
		{kmsg.ConfigResourceTypeTopic, "", mq.InvalidTopic},
		{99, "", mq.InvalidRequest},
	} {
		if got := describe(p, c.kind, c.name); mq.Code(got.ErrorCode) != c.code || got.ErrorMessage == nil || len(got.Configs) != 0 {
			t.Errorf("%v %q: %s", c.kind, c.name, outcome(got.ErrorCode, got.ErrorMessage))
		}
	}
}

// A resource is some bytes in a request, and a hundred times as many in the response.
func TestAResponseDoesNotGrowBeyondItsBound(t *testing.T) {
	r := newRig(t, func(c *Config) { c.Limits.AdminBytes = 100_000 })
	r.broker.make("t", 1)
	r.broker.alter(func(a *fakeAdmin) { a.producers = make([]ProducerState, 500) })
	p := r.connect()
	q := kmsg.NewPtrDescribeConfigsRequest()
	q.Version, q.IncludeDocumentation = 4, true
	producers := kmsg.NewPtrDescribeProducersRequest()
	producers.Topics = []kmsg.DescribeProducersRequestTopic{{Topic: "t"}}
	for range 100 {
		q.Resources = append(q.Resources, kmsg.DescribeConfigsRequestResource{ResourceType: kmsg.ConfigResourceTypeTopic, ResourceName: "t"})
		producers.Topics[0].Partitions = append(producers.Topics[0].Partitions, 0)
	}
	told := 0
	for i, got := range ask[*kmsg.DescribeConfigsResponse](p, q).Resources {
		switch mq.Code(got.ErrorCode) {
		case mq.None:
			if told++; told != i+1 || len(got.Configs) < 20 {
				t.Fatalf("%d: %+v", i, got)
			}
		case mq.PolicyViolation:
			if len(got.Configs) != 0 {
				t.Fatalf("%d has half of its configs", i)
			}
		default:
			t.Fatalf("%d: %s", i, outcome(got.ErrorCode, got.ErrorMessage))
		}
	}
	if told < 2 || told > 20 {
		t.Errorf("%d resources are told", told)
	}
	told = 0
	for _, got := range ask[*kmsg.DescribeProducersResponse](p, producers).Topics[0].Partitions {
		if told += len(got.ActiveProducers); (got.ErrorCode == 0) != (len(got.ActiveProducers) == 500) {
			t.Fatalf("%+v", got)
		}
	}
	if told == 0 || told > 2000 {
		t.Errorf("%d producers are told", told)
	}
}

// Responses that nobody reads are in memory.
func TestAllResponsesTogetherDoNotGrowBeyondTheirBound(t *testing.T) {
	r := newRig(t, func(c *Config) { c.Limits.AnswersBytes = 60_000 })
	r.broker.make("t", 1)
	p := r.connect()
	for try := range 3 {
		q := kmsg.NewPtrDescribeConfigsRequest()
		q.Version = 4
		for range 20 {
			q.Resources = append(q.Resources, kmsg.DescribeConfigsRequestResource{ResourceType: kmsg.ConfigResourceTypeTopic, ResourceName: "t"})
		}
		got := ask[*kmsg.DescribeConfigsResponse](p, q).Resources
		if first, last := mq.Code(got[0].ErrorCode), mq.Code(got[19].ErrorCode); first != mq.None || last != mq.ThrottlingQuotaExceeded {
			t.Errorf("try %d: %s, %s", try, first, last)
		}
	}
	until(t, func() bool { return r.server.answers.TryAcquire(60_000) })
	topics := kmsg.NewPtrCreateTopicsRequest()
	topics.Version, topics.Topics = 7, []kmsg.CreateTopicsRequestTopic{topicOf("new", 1, 1)}
	if got := ask[*kmsg.CreateTopicsResponse](p, topics).Topics[0]; got.ErrorCode != 0 || got.TopicID == [16]byte{} || mq.Code(got.ConfigErrorCode) != mq.ThrottlingQuotaExceeded || len(got.Configs) != 0 {
		t.Errorf("a topic is made all the same, and half of its configs is none: %+v", got)
	}
}

func TestConfigsAreReplaced(t *testing.T) {
	r := newRig(t)
	r.broker.make("t", 1)
	p := r.connect()
	for version := range int16(3) {
		r.broker.alter(func(a *fakeAdmin) { a.settings = map[string]string{"t retention.ms": "7", "t retention.bytes": "7"} })
		alter := func(dry bool, kind kmsg.ConfigResourceType, name string, configs ...string) string {
			q := kmsg.NewPtrAlterConfigsRequest()
			q.Version, q.ValidateOnly = version, dry
			q.Resources = []kmsg.AlterConfigsRequestResource{{ResourceType: kind, ResourceName: name}}
			for i := 0; i < len(configs); i += 2 {
				q.Resources[0].Configs = append(q.Resources[0].Configs, kmsg.AlterConfigsRequestResourceConfig{Name: configs[i], Value: &configs[i+1]})
			}
			got := ask[*kmsg.AlterConfigsResponse](p, q).Resources
			return outcome(got[0].ErrorCode, got[0].ErrorMessage)
		}
		const topic = kmsg.ConfigResourceTypeTopic
		for _, c := range []struct{ got, want string }{
			{alter(true, topic, "t", "retention.ms", "8"), "NONE"},
			{alter(false, topic, "t", "retention.ms", "bad"), "INVALID_CONFIG"},
			{alter(false, topic, "t", "segment.ms", "8"), "INVALID_CONFIG"},
			{alter(false, topic, "t", "retention.ms", "8", "retention.ms", "8"), "INVALID_REQUEST"},
			{alter(false, topic, "nobodys", "retention.ms", "8"), "UNKNOWN_TOPIC"},
			{alter(false, kmsg.ConfigResourceTypeBroker, "1", "log.retention.ms", "8"), "INVALID_CONFIG"},
			{alter(false, kmsg.ConfigResourceTypeBrokerLogger, "1"), "INVALID_REQUEST"},
		} {
			if !strings.HasPrefix(c.got, c.want) {
				t.Errorf("version %d: %s, want %s", version, c.got, c.want)
			}
		}
		if len(r.broker.state().settings) != 2 {
			t.Fatalf("something was changed: %v", r.broker.state().settings)
		}
		if got := alter(false, topic, "t", "retention.ms", "8", "flush.messages", "1"); got != "NONE" || !maps.Equal(r.broker.state().settings, map[string]string{"t retention.ms": "8"}) {
			t.Errorf("version %d: %s, %v", version, got, r.broker.state().settings)
		}
	}
}

func TestConfigsAreChangedOneByOne(t *testing.T) {
	r := newRig(t)
	r.broker.make("t", 1)
	p := r.connect()
	const set, remove, appendTo, subtract = kmsg.IncrementalAlterConfigOpSet, kmsg.IncrementalAlterConfigOpDelete, kmsg.IncrementalAlterConfigOpAppend, kmsg.IncrementalAlterConfigOpSubtract
	type change struct {
		op          kmsg.IncrementalAlterConfigOp
		name, value string
	}
	alter := func(kind kmsg.ConfigResourceType, name string, changes ...change) string {
		q := kmsg.NewPtrIncrementalAlterConfigsRequest()
		q.Version = 1
		resource := kmsg.IncrementalAlterConfigsRequestResource{ResourceType: kind, ResourceName: name}
		for _, c := range changes {
			cfg := kmsg.IncrementalAlterConfigsRequestResourceConfig{Name: c.name, Op: c.op}
			if c.value != "null" {
				cfg.Value = &c.value
			}
			resource.Configs = append(resource.Configs, cfg)
		}
		q.Resources = append(q.Resources, resource)
		got := ask[*kmsg.IncrementalAlterConfigsResponse](p, q).Resources
		return outcome(got[0].ErrorCode, got[0].ErrorMessage)
	}
	const topic, broker = kmsg.ConfigResourceTypeTopic, kmsg.ConfigResourceTypeBroker
	for i, c := range []struct {
		got, want string
	}{
		{alter(topic, "t", change{set, "retention.ms", " 8 "}, change{set, "compression.type", "producer"}), "NONE"},
		{alter(topic, "t", change{appendTo, "cleanup.policy", "compact"}), "NONE"},
		{alter(topic, "t", change{subtract, "cleanup.policy", "delete"}, change{remove, "retention.ms", "null"}), "NONE"},
		{alter(topic, "t", change{remove, "segment.bytes", "null"}, change{remove, "flush.ms", "null"}), "NONE"},
		{alter(topic, "t", change{remove, "nonsense", "null"}), "INVALID_CONFIG"},
		{alter(topic, "t", change{set, "retention.ms", "null"}), "INVALID_REQUEST"},
		{alter(topic, "t", change{set, "min.insync.replicas", "0"}), "INVALID_CONFIG"},
		{alter(topic, "t", change{set, "retention.ms", "1"}, change{remove, "retention.ms", ""}), "INVALID_REQUEST"},
		{alter(topic, "t", change{appendTo, "retention.ms", "1"}), "INVALID_REQUEST"},
		{alter(topic, "t", change{appendTo, "cleanup.policy", strings.Repeat("a,", 1000)}), "INVALID_CONFIG"},
		{alter(topic, "t", change{appendTo, "leader.replication.throttled.replicas", "*"}), "INVALID_CONFIG"},
		{alter(topic, "t", change{7, "retention.ms", "1"}), "INVALID_REQUEST"},
		{alter(topic, "nobodys", change{appendTo, "cleanup.policy", "compact"}), "UNKNOWN_TOPIC"},
		{alter(broker, "1", change{set, "log.retention.ms", "1"}), "INVALID_CONFIG"},
		{alter(broker, "1", change{remove, "leader.replication.throttled.rate", "null"}, change{remove, "follower.replication.throttled.rate", "null"}), "NONE"},
		{alter(broker, "1", change{set, "leader.replication.throttled.rate", "1"}), "INVALID_CONFIG"},
		{alter(kmsg.ConfigResourceTypeGroupConfig, "g", change{set, "x", "1"}), "INVALID_REQUEST"},
	} {
		if !strings.HasPrefix(c.got, c.want) {
			t.Errorf("%d: %s, want %s", i, c.got, c.want)
		}
	}
	if want := map[string]string{"t compression.type": "producer", "t cleanup.policy": "compact"}; !maps.Equal(r.broker.state().settings, want) {
		t.Errorf("%v", r.broker.state().settings)
	}
	q := kmsg.NewPtrIncrementalAlterConfigsRequest()
	resource := kmsg.IncrementalAlterConfigsRequestResource{ResourceType: topic, ResourceName: "t"}
	q.Resources = append(q.Resources, resource, resource)
	if got := ask[*kmsg.IncrementalAlterConfigsResponse](p, q).Resources; len(got) != 1 || mq.Code(got[0].ErrorCode) != mq.InvalidRequest {
		t.Errorf("twice: %+v", got)
	}
}
