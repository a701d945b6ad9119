package broker_test

import (
	"slices"
	"strings"
	"testing"

	metadatapb "github.com/rustmq/rustmq/api/metadata/v1"
	"github.com/rustmq/rustmq/mq"
	"github.com/rustmq/rustmq/quicproto"
)

// configOf is a topic's settings as they are described, and which of them are set.
func (f *fixture) configOf(topic string) (values map[string]string, set []string) {
	f.t.Helper()
	d, err := f.DescribeTopic(f.t.Context(), alice, topic)
	f.must(err)
	values = make(map[string]string)
	for _, c := range d.Configs {
		values[c.Key] = c.Value
		if !c.Default {
			set = append(set, c.Key)
		}
	}
	return values, set
}

// Others may add partitions at the same time, or have added some that this node did not know of: what was asked for is a total.
func TestPartitionsAreAddedBesideOthers(t *testing.T) {
	for _, c := range []struct {
		name   string
		others int // that somebody adds to three
		code   mq.Code
		want   int32
	}{
		{"one of two", 1, mq.None, 5},
		{"both", 2, mq.None, 5},
		{"more than both", 3, mq.InvalidPartitions, 6},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := newFixture(t, 2)
			f.create("orders", 3)
			there := f.Image().TopicByName("orders")
			added := make([]*metadatapb.ReplicaAssignment, c.others)
			for i := range added {
				added[i] = &metadatapb.ReplicaAssignment{Replicas: []int32{int32(self)}}
			}
			f.rival = &metadatapb.Command{Kind: &metadatapb.Command_CreatePartitions{CreatePartitions: &metadatapb.CreatePartitions{Id: there.ID[:], Current: 3, Assignments: added}}}
			if err := f.AlterTopic(t.Context(), alice, &quicproto.AlterTopicRequest{Name: "orders", Partitions: 5}); mq.CodeOf(err) != c.code {
				t.Fatal(err)
			}
			if n := f.Image().TopicByName("orders").Partitions(); n != c.want {
				t.Errorf("%d partitions, want %d", n, c.want)
			}
		})
	}
}

func TestCreateTopicNamesWhatIsWrong(t *testing.T) {
	f := newFixture(t, 2)
	f.create("orders", 1)
	for _, c := range []struct {
		name  string
		req   quicproto.CreateTopicRequest
		code  mq.Code
		about string
	}{
		{"no name", quicproto.CreateTopicRequest{Partitions: 1, Replicas: 1}, mq.InvalidTopic, ""},
		{"a path", quicproto.CreateTopicRequest{Name: "../../etc", Partitions: 1, Replicas: 1}, mq.InvalidTopic, ""},
		{"a dot", quicproto.CreateTopicRequest{Name: ".", Partitions: 1, Replicas: 1}, mq.InvalidTopic, ""},
		{"a long name", quicproto.CreateTopicRequest{Name: strings.Repeat("x", 250), Partitions: 1, Replicas: 1}, mq.InvalidTopic, ""},
		{"taken", quicproto.CreateTopicRequest{Name: "orders", Partitions: 1, Replicas: 1}, mq.TopicAlreadyExists, `"orders"`},
		{"no partitions", quicproto.CreateTopicRequest{Name: "new", Partitions: 0, Replicas: 1}, mq.InvalidPartitions, "0"},
		{"fewer than none", quicproto.CreateTopicRequest{Name: "new", Partitions: -2, Replicas: 1}, mq.InvalidPartitions, "-2"},
		{"too many partitions", quicproto.CreateTopicRequest{Name: "new", Partitions: mq.MaxPartitionsPerTopic + 1, Replicas: 1}, mq.InvalidPartitions, ""},
		{"no replicas", quicproto.CreateTopicRequest{Name: "new", Partitions: 1, Replicas: 0}, mq.InvalidReplicationFactor, "0 replicas"},
		{"fewer replicas than none", quicproto.CreateTopicRequest{Name: "new", Partitions: 1, Replicas: -2}, mq.InvalidReplicationFactor, "-2"},
		{"more replicas than brokers", quicproto.CreateTopicRequest{Name: "new", Partitions: 1, Replicas: 3}, mq.InvalidReplicationFactor, "2 live brokers"},
		{
			"an unknown setting",
			quicproto.CreateTopicRequest{Name: "new", Partitions: 1, Replicas: 1, Configs: pairs("retention.msec", "1")},
			mq.InvalidConfig, `"retention.msec": did you mean "retention.ms"`,
		},
		{
			"a value that cannot be",
			quicproto.CreateTopicRequest{Name: "new", Partitions: 1, Replicas: 1, Configs: pairs("retention.ms", "-2")},
			mq.InvalidConfig, "retention.ms",
		},
		{
			"a setting twice",
			quicproto.CreateTopicRequest{Name: "new", Partitions: 1, Replicas: 1, Configs: pairs("retention.ms", "1", "retention.ms", "2")},
			mq.InvalidConfig, `"retention.ms"`,
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			for _, dry := range []bool{true, false} { // a dry run finds the same
				before := f.Image().TopicCount()
				c.req.DryRun = dry
				_, err := f.CreateTopic(t.Context(), alice, &c.req)
				wantCode(t, c.name, err, c.code, c.about)
				if f.Image().TopicCount() != before {
					t.Error("it was refused and is there")
				}
			}
		})
	}
}

func TestCreatedTopicCanBeUsedAtOnce(t *testing.T) {
	f := newFixture(t, 1)
	before := f.proposals()
	dry, err := f.CreateTopic(t.Context(), alice, &quicproto.CreateTopicRequest{Name: "orders", Partitions: -1, Replicas: -1, DryRun: true})
	if err != nil || !dry.ID.IsZero() || dry.Partitions != 1 || dry.Replicas != 1 || f.proposals() != before || f.Image().TopicCount() != 0 {
		t.Errorf("dry run: %+v, %v", dry, err)
	}
	made, err := f.CreateTopic(t.Context(), alice, &quicproto.CreateTopicRequest{
		Name: "orders", Partitions: -1, Replicas: -1, Configs: pairs("retention.ms", "5", "max.message.bytes", "2048"),
	})
	if err != nil || made.ID.IsZero() || made.Partitions != 1 || made.Replicas != 1 {
		t.Fatalf("got %+v, %v", made, err)
	}
	f.must(f.produce("orders", 0, batch(t, 1, 1), mq.DurabilityAll).Err)
	resp, err := f.Metadata(t.Context(), alice, &quicproto.MetadataRequest{Topics: []string{"orders", "nowhere", "no name"}})
	f.must(err)
	want := quicproto.Topic{Name: "orders", ID: made.ID, Partitions: []quicproto.Partition{
		{Leader: self, Replicas: []mq.NodeID{self}, InSync: []mq.NodeID{self}},
	}}
	if got := resp.Topics[0]; got.Name != want.Name || got.ID != want.ID || len(got.Partitions) != 1 || got.Partitions[0].Leader != self {
		t.Errorf("got %+v, want %+v", got, want)
	}
	if got := resp.Topics[1]; got.Name != "nowhere" || got.Code != mq.UnknownTopicOrPartition {
		t.Errorf("got %+v", got)
	}
	if got := resp.Topics[2]; got.Code != mq.InvalidTopic {
		t.Errorf("got %+v", got)
	}
	values, set := f.configOf("orders")
	if values["retention.ms"] != "5" || values["max.message.bytes"] != "2048" || !slices.Equal(set, []string{"max.message.bytes", "retention.ms"}) {
		t.Errorf("settings %v, set are %v", values, set)
	}
	d, err := f.DescribeTopic(t.Context(), alice, "orders")
	f.must(err)
	if p := d.Partitions[0]; p.LogStart != 0 || p.HighWatermark != 1 || p.LogEnd != 1 || p.ObjectEnd != 0 || p.Bytes <= 0 {
		t.Errorf("described as %+v", p)
	}
	f.hide("orders", 0)
	d, err = f.DescribeTopic(t.Context(), alice, "orders")
	f.must(err)
	if p := d.Partitions[0]; p.LogStart != -1 || p.HighWatermark != -1 || p.LogEnd != -1 || p.ObjectEnd != -1 || p.Bytes != -1 {
		t.Errorf("this node does not know its offsets, and says %+v", p)
	}
}

func TestTopicsAreListedByName(t *testing.T) {
	f := newFixture(t, 1)
	for _, name := range []string{"b", "c", "a"} {
		f.create(name, 1)
	}
	resp, err := f.Metadata(t.Context(), alice, &quicproto.MetadataRequest{All: true})
	f.must(err)
	var names []string
	for _, topic := range resp.Topics {
		names = append(names, topic.Name)
	}
	if !slices.Equal(names, []string{"a", "b", "c"}) {
		t.Errorf("got %v", names)
	}
	if resp.Controller != self || resp.ClusterID != clusterID || resp.Version != f.Image().Index {
		t.Errorf("got %+v", resp)
	}
}

func TestAlterTopicNamesWhatIsWrong(t *testing.T) {
	f := newFixture(t, 1)
	f.create("orders", 2, "retention.ms", "5")
	for _, c := range []struct {
		name  string
		req   quicproto.AlterTopicRequest
		code  mq.Code
		about string
	}{
		{"no such topic", quicproto.AlterTopicRequest{Name: "nowhere"}, mq.UnknownTopicOrPartition, `"nowhere"`},
		{"no topic's name", quicproto.AlterTopicRequest{Name: "a b"}, mq.InvalidTopic, ""},
		{"fewer partitions", quicproto.AlterTopicRequest{Name: "orders", Partitions: 1}, mq.InvalidPartitions, "has 2 partitions"},
		{"a negative number of them", quicproto.AlterTopicRequest{Name: "orders", Partitions: -1}, mq.InvalidPartitions, "has 2 partitions"},
		{"too many", quicproto.AlterTopicRequest{Name: "orders", Partitions: mq.MaxPartitionsPerTopic + 1}, mq.InvalidPartitions, ""},
		{"set what does not exist", quicproto.AlterTopicRequest{Name: "orders", Set: pairs("retention.byte", "1")}, mq.InvalidConfig, `did you mean "retention.bytes"`},
		{"unset what does not exist", quicproto.AlterTopicRequest{Name: "orders", Unset: []string{"retentionms"}}, mq.InvalidConfig, `did you mean "retention.ms"`},
		{"a value that cannot be", quicproto.AlterTopicRequest{Name: "orders", Set: pairs("min.insync.replicas", "many")}, mq.InvalidConfig, "min.insync.replicas"},
		{"set twice", quicproto.AlterTopicRequest{Name: "orders", Set: pairs("retention.ms", "1", "retention.ms", "2")}, mq.InvalidConfig, `"retention.ms" is given twice`},
		{"set and unset", quicproto.AlterTopicRequest{Name: "orders", Set: pairs("retention.ms", "1"), Unset: []string{"retention.ms"}}, mq.InvalidConfig, `"retention.ms" is given twice`},
		{"good settings, too few partitions", quicproto.AlterTopicRequest{Name: "orders", Set: pairs("retention.ms", "1"), Partitions: 1}, mq.InvalidPartitions, ""},
		{"more partitions, a bad setting", quicproto.AlterTopicRequest{Name: "orders", Set: pairs("retention", "1"), Partitions: 3}, mq.InvalidConfig, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			for _, dry := range []bool{true, false} { // a dry run finds the same
				before := f.Image().Index
				c.req.DryRun = dry
				wantCode(t, c.name, f.AlterTopic(t.Context(), alice, &c.req), c.code, c.about)
				if f.Image().Index != before {
					t.Error("it was refused, and something was decided before")
				}
			}
		})
	}
}

func TestAlteredTopicIsWhatWasAskedFor(t *testing.T) {
	f := newFixture(t, 2)
	f.create("orders", 1, "retention.ms", "5")
	req := &quicproto.AlterTopicRequest{
		Name: "orders", Partitions: 4, Set: pairs("retention.bytes", "7"), Unset: []string{"retention.ms"}, DryRun: true,
	}
	before := f.proposals()
	f.must(f.AlterTopic(t.Context(), alice, req))
	if f.proposals() != before {
		t.Error("a dry run proposed something")
	}
	req.DryRun = false
	f.must(f.AlterTopic(t.Context(), alice, req))
	if values, set := f.configOf("orders"); !slices.Equal(set, []string{"retention.bytes"}) || values["retention.bytes"] != "7" || values["retention.ms"] == "5" {
		t.Errorf("settings %v, set are %v", values, set)
	}
	before = f.proposals()
	f.must(f.AlterTopic(t.Context(), alice, &quicproto.AlterTopicRequest{Name: "orders", Partitions: 4}))
	if f.proposals() != before {
		t.Error("there was nothing to change, and something was proposed")
	}
	// New partitions go where the fewest are: there was one on the first broker.
	leaders := map[mq.NodeID]int{}
	for _, p := range f.Image().TopicByName("orders").All() {
		leaders[p.Leader]++
	}
	if leaders[self] != 2 || leaders[other] != 2 {
		t.Errorf("partitions are spread as %v", leaders)
	}
}

func TestFirstPartitionThatIsAddedGoesToTheOtherBroker(t *testing.T) {
	f := newFixture(t, 2)
	f.create("orders", 1)
	f.must(f.AlterTopic(t.Context(), alice, &quicproto.AlterTopicRequest{Name: "orders", Partitions: 2}))
	topic := f.Image().TopicByName("orders")
	if a, b := topic.Partition(0).Leader, topic.Partition(1).Leader; a == b {
		t.Errorf("both partitions are on broker %d", a)
	}
}

func TestDeletedTopicIsGone(t *testing.T) {
	f := newFixture(t, 1)
	f.create("orders", 1)
	f.must(f.DeleteTopic(t.Context(), alice, "orders"))
	wantCode(t, "again", f.DeleteTopic(t.Context(), alice, "orders"), mq.UnknownTopicOrPartition, `"orders"`)
	wantCode(t, "no topic's name", f.DeleteTopic(t.Context(), alice, "/"), mq.InvalidTopic)
	_, err := f.DescribeTopic(t.Context(), alice, "orders")
	wantCode(t, "describe", err, mq.UnknownTopicOrPartition)
	_, err = f.OpenFetch(t.Context(), alice, "orders", 0, mq.NoEpoch, mq.IsolationCommitted)
	wantCode(t, "fetch", err, mq.UnknownTopicOrPartition)
}

func TestControllersRefusalReachesTheClientWithItsCode(t *testing.T) {
	f := newFixture(t, 1)
	f.create("orders", 1)
	f.refuse = mq.Errorf(mq.NotController, "node 3 leads")
	_, err := f.CreateTopic(t.Context(), alice, &quicproto.CreateTopicRequest{Name: "new", Partitions: 1, Replicas: 1})
	wantCode(t, "create", err, mq.NotController, `create topic "new"`, "node 3 leads")
	wantCode(t, "delete", f.DeleteTopic(t.Context(), alice, "orders"), mq.NotController, `delete topic "orders"`)
	wantCode(t, "alter", f.AlterTopic(t.Context(), alice, &quicproto.AlterTopicRequest{Name: "orders", Set: pairs("retention.ms", "1")}), mq.NotController, "settings")
	wantCode(t, "grow", f.AlterTopic(t.Context(), alice, &quicproto.AlterTopicRequest{Name: "orders", Partitions: 2}), mq.NotController, "partitions")
	_, err = f.InitProducerID(t.Context(), alice, &quicproto.InitProducerIDRequest{ProducerID: mq.NoProducerID, ProducerEpoch: mq.NoProducerEpoch})
	wantCode(t, "producer id", err, mq.NotController, "block of producer ids")
}
