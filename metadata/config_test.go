package metadata

import (
	"slices"
	"strings"
	"testing"

	metadatapb "github.com/rustmq/rustmq/api/metadata/v1"
	"github.com/rustmq/rustmq/mq"
)

func TestUnknownSettingNamesTheNearest(t *testing.T) {
	_, err := ParseTopicConfig(defaultClusterConfig(), []ConfigEntry{{"retention.mss", "5"}})
	if mq.CodeOf(err) != mq.InvalidConfig || !strings.Contains(err.Error(), `"retention.ms"`) {
		t.Errorf("got %v", err)
	}
}

func TestSettingsAreChecked(t *testing.T) {
	for _, bad := range []ConfigEntry{
		{"retention.ms", "-2"},
		{"retention.ms", "1.5"},
		{"retention.ms", strings.Repeat("0", MaxConfigText) + "1"},
		{"retention.bytes", ""},
		{"max.message.bytes", "5"},
		{"max.message.bytes", "67108865"},
		{"min.insync.replicas", "16"},
		{"message.timestamp.type", "logappendtime"},
		{"cleanup.policy", "compact,compact"},
		{"cleanup.policy", ""},
		{"min.cleanable.dirty.ratio", "1.1"},
		{"min.cleanable.dirty.ratio", "-0.1"},
		{"min.cleanable.dirty.ratio", "NaN"},
		{"delete.retention.ms", "-1"},
		{"min.compaction.lag.ms", "-1"},
		{"compression.type", "zstd"},
		{"num.partitions", "3"}, // the cluster's
	} {
		if _, err := ParseTopicConfig(defaultClusterConfig(), []ConfigEntry{bad}); mq.CodeOf(err) != mq.InvalidConfig {
			t.Errorf("%v: got %v", bad, err)
		}
	}
}

func TestEverySettingReadsWhatItWrites(t *testing.T) {
	defaults := defaultClusterConfig()
	if keys := defaults.Entries(); !slices.IsSortedFunc(keys, func(a, b ConfigEntry) int { return strings.Compare(a.Key, b.Key) }) {
		t.Error("keys are not sorted")
	}
	again, err := ParseClusterConfig(defaults.Entries())
	if err != nil {
		t.Fatal(err)
	}
	again.Overrides = nil
	if !again.equal(&defaults) {
		t.Errorf("got %+v, want %+v", again, defaults)
	}
	for _, key := range ClusterConfigKeys() {
		if key.Doc == "" {
			t.Errorf("%s has no documentation", key.Name)
		}
	}
}

func TestTopicSettingsComeFromTopicThenClusterThenDefault(t *testing.T) {
	b := newCluster(t, 1)
	create := createCommand(1, "t", []int32{1})
	create.GetCreateTopic().Configs = []*metadatapb.ConfigEntry{{Key: "retention.ms", Value: "1000"}}
	b.must(create)
	id := topicOf(1)
	set := func(changes ...*metadatapb.ConfigChange) *metadatapb.Command {
		return &metadatapb.Command{Kind: &metadatapb.Command_SetClusterConfigs{SetClusterConfigs: &metadatapb.SetClusterConfigs{Changes: changes}}}
	}
	b.must(set(&metadatapb.ConfigChange{Key: "retention.ms", Value: "2000"}, &metadatapb.ConfigChange{Key: "retention.bytes", Value: "3000"}))
	config := b.store.Image().Topic(id).Config
	if config.RetentionMs != 1000 || config.RetentionBytes != 3000 || config.MaxMessageBytes != mq.DefaultMaxBatchBytes {
		t.Errorf("got %+v", config)
	}
	b.must(&metadatapb.Command{Kind: &metadatapb.Command_AlterTopicConfigs{AlterTopicConfigs: &metadatapb.AlterTopicConfigs{
		Id: id[:], Changes: []*metadatapb.ConfigChange{{Key: "retention.ms", Delete: true}},
	}}})
	if got := b.store.Image().Topic(id).Config.RetentionMs; got != 2000 {
		t.Errorf("retention %d after the topic's own was removed", got)
	}
	b.must(set(&metadatapb.ConfigChange{Key: "retention.ms", Delete: true}))
	if got := b.store.Image().Topic(id).Config.RetentionMs; got != week {
		t.Errorf("retention %d after the cluster's was removed", got)
	}
	b.refuse(mq.InvalidConfig, set(&metadatapb.ConfigChange{Key: "retention.ms", Value: "1"}, &metadatapb.ConfigChange{Key: "nonsense", Value: "1"}))
	b.refuse(mq.InvalidConfig, set(&metadatapb.ConfigChange{Key: "retention.ms", Value: "1"}, &metadatapb.ConfigChange{Key: "retention.ms", Value: "2"}))
	checkReload(t, b.store)
}

func TestMinimumInSyncFollowsTheReplicasUnlessSet(t *testing.T) {
	for replicas, want := range map[int]int{1: 1, 2: 1, 3: 2, 5: 2} {
		if got := (TopicConfig{}).MinInSync(replicas); got != want {
			t.Errorf("%d replicas: %d", replicas, got)
		}
	}
	if got := (TopicConfig{MinISR: 3}).MinInSync(1); got != 3 {
		t.Errorf("set to 3: %d", got)
	}
}

func TestTopicsGetUpToThreeReplicasAndKeepThem(t *testing.T) {
	b := newCluster(t, 1)
	for brokers, want := range [][2]int{1: {1, 1}, 2: {2, 1}, 3: {3, 2}, 4: {3, 2}} {
		if brokers == 0 {
			continue
		}
		if brokers > 1 {
			b.must(registerCommand(int32(brokers), 1))
		}
		placed, err := PlaceTopic(b.store.Image(), 1, 0)
		if err != nil {
			t.Fatal(err)
		}
		b.must(createCommand(byte(brokers), string(rune('a'+brokers)), nodeNumbers(placed[0])))
		topic := b.store.Image().TopicByName(string(rune('a' + brokers)))
		if got := [2]int{len(topic.Partition(0).Replicas), topic.MinInSync(topic.Partition(0))}; got != want {
			t.Errorf("%d brokers: %d replicas of which %d must be in sync, want %v", brokers, got[0], got[1], want)
		}
	}
	b.fence(4)
	b.must(drainCommand(3, true))
	for name, want := range map[string][2]int{"b": {1, 1}, "c": {2, 1}, "d": {3, 2}, "e": {3, 2}} {
		topic := b.store.Image().TopicByName(name)
		if got := [2]int{len(topic.Partition(0).Replicas), topic.MinInSync(topic.Partition(0))}; got != want {
			t.Errorf("%s after brokers came and went: %v, want %v", name, got, want)
		}
	}
}

func TestCompactionByKeyIsSet(t *testing.T) {
	for policy, want := range map[string]CleanupPolicy{
		"delete": CleanupDelete, "compact": CleanupCompact, "compact,delete": CleanupCompactAndDelete, "delete,compact": CleanupCompactAndDelete,
	} {
		c, err := ParseTopicConfig(defaultClusterConfig(), []ConfigEntry{{"cleanup.policy", policy}, {"min.cleanable.dirty.ratio", "0.25"}})
		if err != nil || c.Cleanup != want || c.MinDirtyRatio != 250 {
			t.Errorf("%s: %+v, %v", policy, c, err)
		}
		if c.Cleanup.Compacts() != strings.Contains(policy, "compact") || c.Cleanup.Deletes() != strings.Contains(policy, "delete") {
			t.Errorf("%s: compacts %v, deletes %v", policy, c.Cleanup.Compacts(), c.Cleanup.Deletes())
		}
	}
}

// Code of a lower level would refuse the settings where code of this level takes them.
func TestSettingsOfCompactionNeedTheirFeatureLevel(t *testing.T) {
	b := newBench(t)
	form := formCommand()
	form.GetFormCluster().FeatureLevel = CompactionLevel - 1
	b.must(form)
	b.must(registerCommand(1, 1))
	keyed := createCommand(1, "t", []int32{1})
	keyed.GetCreateTopic().Configs = []*metadatapb.ConfigEntry{{Key: "cleanup.policy", Value: "compact"}}
	b.refuse(mq.UnsupportedVersion, keyed)
	b.must(createCommand(1, "t", []int32{1}))
	id := topicOf(1)
	for _, key := range []string{"cleanup.policy", "delete.retention.ms", "durability", "min.cleanable.dirty.ratio", "min.compaction.lag.ms"} {
		change := []*metadatapb.ConfigChange{{Key: key, Value: "1"}}
		b.refuse(mq.UnsupportedVersion, &metadatapb.Command{Kind: &metadatapb.Command_AlterTopicConfigs{AlterTopicConfigs: &metadatapb.AlterTopicConfigs{Id: id[:], Changes: change}}})
		b.refuse(mq.UnsupportedVersion, &metadatapb.Command{Kind: &metadatapb.Command_SetClusterConfigs{SetClusterConfigs: &metadatapb.SetClusterConfigs{Changes: change}}})
	}
	b.must(levelCommand(CompactionLevel))
	keyed.GetCreateTopic().Name = "u"
	other := topicOf(2)
	keyed.GetCreateTopic().Id = other[:]
	b.must(keyed)
}
