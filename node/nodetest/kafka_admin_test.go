package nodetest

import (
	"errors"
	"fmt"
	"slices"
	"testing"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// An administration client finds topics, configs, records and the cluster as on Kafka.
func TestKafkaAdministration(t *testing.T) {
	n, ctx := startKafka(t)
	cl := kafkaClient(t, n, kgo.DefaultProduceTopic("orders"), kgo.RecordPartitioner(kgo.ManualPartitioner()))
	adm := kadm.NewClient(cl)
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	text := func(s string) *string { return &s }

	tried, err := adm.ValidateCreateTopics(ctx, 2, 1, nil, "orders")
	must(err)
	must(tried["orders"].Err)
	made, err := adm.CreateTopic(ctx, 2, 1, map[string]*string{"retention.ms": text("3600000"), "remote.storage.enable": text("true")}, "orders")
	must(err)
	if made.NumPartitions != 2 || made.ID == (kadm.TopicID{}) || *made.Configs["retention.ms"].Value != "3600000" {
		t.Errorf("%+v", made)
	}
	if again, err := adm.CreateTopic(ctx, 2, 1, nil, "orders"); !errors.Is(err, kerr.TopicAlreadyExists) {
		t.Errorf("%+v, %v", again, err)
	}
	refused, err := adm.CreateTopics(ctx, 1, 1, map[string]*string{"segment.bytes": text("1048576")}, "segments")
	must(err)
	if r := refused["segments"]; !errors.Is(r.Err, kerr.InvalidConfig) || r.ErrMessage == "" {
		t.Errorf("%+v", r)
	}

	config := func(name string) string {
		t.Helper()
		all, err := adm.DescribeTopicConfigs(ctx, "orders")
		must(err)
		must(all[0].Err)
		at := slices.IndexFunc(all[0].Configs, func(c kadm.Config) bool { return c.Key == name })
		if at < 0 || len(all[0].Configs) < 20 {
			t.Fatalf("%s is not there, of %d", name, len(all[0].Configs))
		}
		return all[0].Configs[at].MaybeValue() + " " + all[0].Configs[at].Source.String()
	}
	if got := config("retention.ms"); got != "3600000 DYNAMIC_TOPIC_CONFIG" {
		t.Errorf("retention.ms: %s", got)
	}
	altered, err := adm.AlterTopicConfigs(ctx, []kadm.AlterConfig{{Op: kadm.DeleteConfig, Name: "retention.ms"}, {Op: kadm.AppendConfig, Name: "cleanup.policy", Value: text("compact")}}, "orders")
	must(err)
	must(altered[0].Err)
	if got := config("retention.ms"); got != "604800000 DEFAULT_CONFIG" {
		t.Errorf("retention.ms: %s", got)
	}
	if got := config("cleanup.policy"); got != "delete,compact DYNAMIC_TOPIC_CONFIG" {
		t.Errorf("cleanup.policy: %s", got)
	}
	whole, err := adm.AlterTopicConfigsState(ctx, []kadm.AlterConfig{{Name: "retention.bytes", Value: text("1000000")}}, "orders")
	must(err)
	must(whole[0].Err)
	if got := config("cleanup.policy"); got != "delete DEFAULT_CONFIG" {
		t.Errorf("cleanup.policy, when all was replaced: %s", got)
	}
	brokers, err := adm.DescribeBrokerConfigs(ctx, 1)
	must(err)
	must(brokers[0].Err)

	grown, err := adm.UpdatePartitions(ctx, 3, "orders")
	must(err)
	must(grown["orders"].Err)
	for range 10 {
		must(cl.ProduceSync(ctx, &kgo.Record{Value: []byte("v"), Partition: 2}).FirstErr())
	}
	before := make(kadm.Offsets)
	before.AddOffset("orders", 2, 4, -1)
	before.AddOffset("orders", 0, -1, -1)
	deleted, err := adm.DeleteRecords(ctx, before)
	must(err)
	if two, _ := deleted.Lookup("orders", 2); two.Err != nil || two.LowWatermark != 4 {
		t.Errorf("%+v", two)
	}
	starts, err := adm.ListStartOffsets(ctx, "orders")
	must(err)
	if two, _ := starts.Lookup("orders", 2); two.Offset != 4 {
		t.Errorf("%+v", two)
	}
	describeTheRest(t, adm)
	gone, err := adm.DeleteTopic(ctx, "orders")
	must(err)
	if topics, err := adm.ListTopics(ctx); err != nil || topics.Has("orders") || gone.Topic != "orders" {
		t.Errorf("%+v, %v", topics, err)
	}
}

// describeTheRest looks at what is there of partition 2 of orders, and of the cluster.
func describeTheRest(t *testing.T, adm *kadm.Client) {
	t.Helper()
	ctx := t.Context()
	dirs, err := adm.DescribeAllLogDirs(ctx, nil)
	if err != nil {
		t.Fatal(err)
	}
	if size := dirs[1].Size(); size < 10*61 {
		t.Errorf("the log of the node has %d bytes: %+v", size, dirs)
	}
	producers, err := adm.DescribeProducers(ctx, kadm.TopicsList{{Topic: "orders", Partitions: []int32{2}}}.IntoSet())
	if err != nil {
		t.Fatal(err)
	}
	if told := producers.SortedProducers(); len(told) != 1 || told[0].LastSequence != 9 {
		t.Errorf("%+v", told)
	}
	elected, err := adm.ElectLeaders(ctx, kadm.ElectPreferredReplica, kadm.TopicsList{{Topic: "orders", Partitions: []int32{2}}}.IntoSet())
	if err != nil || !errors.Is(elected["orders"][2].Err, kerr.ElectionNotNeeded) {
		t.Errorf("%+v, %v", elected, err)
	}
	var moves kadm.AlterPartitionAssignmentsReq
	moves.Assign("orders", 2, []int32{1})
	moved, err := adm.AlterPartitionAssignments(ctx, moves)
	if err != nil || moved.Error() != nil {
		t.Errorf("%+v, %v", moved, err)
	}
	if under, err := adm.ListPartitionReassignments(ctx, nil); err != nil || len(under.Sorted()) != 0 {
		t.Errorf("%+v, %v", under, err)
	}
	if quotas, err := adm.DescribeClientQuotas(ctx, false, nil); err != nil || len(quotas) != 0 {
		t.Errorf("%+v, %v", quotas, err)
	}
	rules, err := adm.DescribeACLs(ctx, kadm.NewACLs().AnyResource().Allow().AllowHosts().Deny().DenyHosts().Operations(kadm.OpAny).ResourcePatternType(kadm.ACLPatternAny))
	if err != nil || len(rules) == 0 {
		t.Fatal(rules, err)
	}
	for _, r := range rules {
		if !errors.Is(r.Err, kerr.SecurityDisabled) {
			t.Errorf("%+v", r)
		}
	}
	if meta, err := adm.BrokerMetadata(ctx); err != nil || len(meta.Brokers) != 1 {
		t.Errorf("%+v, %v", meta, err)
	}
}

// TestKafkaAdministrationIsTheSameOnAllNodes: each knows what was decided through another one when that is answered.
func TestKafkaAdministrationIsTheSameOnAllNodes(t *testing.T) {
	c, ctx := newCluster(t, 3, kafkaOn)
	if err := c.Start(ctx); err != nil {
		t.Fatal(err)
	}
	awaitBrokers(t, c, 3)
	cl, err := kgo.NewClient(kgo.SeedBrokers(c.servers()...))
	if err != nil {
		t.Fatal(err)
	}
	defer cl.Close()
	for i := range 30 {
		name := fmt.Sprint("topic-", i)
		made := kmsg.NewPtrCreateTopicsRequest()
		topic := kmsg.NewCreateTopicsRequestTopic()
		topic.Topic, topic.NumPartitions, topic.ReplicationFactor = name, 1, 1
		made.Topics = append(made.Topics, topic)
		if resp, err := made.RequestWith(ctx, cl.Broker(1+i%3)); err != nil || resp.Topics[0].ErrorCode != 0 {
			t.Fatalf("make %s: %+v, %v", name, resp, err)
		}
		asked := kmsg.NewPtrDescribeConfigsRequest()
		resource := kmsg.NewDescribeConfigsRequestResource()
		resource.ResourceType, resource.ResourceName = kmsg.ConfigResourceTypeTopic, name
		asked.Resources = append(asked.Resources, resource)
		if resp, err := asked.RequestWith(ctx, cl.Broker(1+(i+1)%3)); err != nil || resp.Resources[0].ErrorCode != 0 {
			t.Errorf("configs of %s: %+v, %v", name, resp, err)
		}
		deleted := kmsg.NewPtrDeleteTopicsRequest()
		deleted.Topics = append(deleted.Topics, kmsg.DeleteTopicsRequestTopic{Topic: &name})
		if resp, err := deleted.RequestWith(ctx, cl.Broker(1+(i+2)%3)); err != nil || resp.Topics[0].ErrorCode != 0 {
			t.Errorf("delete %s: %+v, %v", name, resp, err)
		}
	}
}
