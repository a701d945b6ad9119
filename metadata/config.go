package metadata

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/rustmq/rustmq/mq"
)

// ConfigEntry is one setting as text, as people and clients give it.
type ConfigEntry struct {
	Key, Value string
}

// TopicConfig is a topic's settings. Keys are Kafka's.
type TopicConfig struct {
	// RetentionMs is how long records are kept, in milliseconds since their timestamp; -1: for ever. "retention.ms"
	RetentionMs int64
	// RetentionBytes is how many bytes of a partition are kept; -1: all. "retention.bytes"
	RetentionBytes int64
	// MaxMessageBytes bounds a record batch, in bytes as stored. "max.message.bytes"
	MaxMessageBytes int32
	// MinISR is how many replicas must have a record before it counts as replicated; 0: 2 where there are 3 replicas or more,
	// else 1. Use MinInSync. "min.insync.replicas"
	MinISR int32
	// LogAppendTime says that the leader stamps the time. "message.timestamp.type": CreateTime or LogAppendTime
	LogAppendTime bool
	// ObjectAcks says that what was sent with acks=all is acknowledged when the object store has it, too. "durability": replicated or object
	ObjectAcks bool
	// UncleanElection lets a replica lead that may lack committed records, when nobody is alive who has them all.
	// "unclean.leader.election.enable"
	UncleanElection bool
	// Cleanup says what happens to old records. "cleanup.policy"
	Cleanup CleanupPolicy
	// MinDirtyRatio is which part of a partition's bytes was not compacted by key yet, at least, when that begins; in thousandths.
	// "min.cleanable.dirty.ratio"
	MinDirtyRatio int32
	// MinLagMs is how old a record is at least that compaction by key looks at, in milliseconds. "min.compaction.lag.ms"
	MinLagMs int64
	// DeleteRetentionMs is how long a tombstone stays after compaction by key first met it, in milliseconds. "delete.retention.ms"
	DeleteRetentionMs int64
}

// CleanupPolicy says what happens to old records.
type CleanupPolicy uint8

// The policies, as Kafka has them.
const (
	CleanupDelete           CleanupPolicy = 0 // what is old enough, or too much, is deleted
	CleanupCompact          CleanupPolicy = 1 // what a newer record with the same key supersedes is left out
	CleanupCompactAndDelete CleanupPolicy = 2 // both
)

// Compacts says whether only the newest record of a key is kept.
func (p CleanupPolicy) Compacts() bool { return p != CleanupDelete }

// Deletes says whether retention.ms and retention.bytes hold.
func (p CleanupPolicy) Deletes() bool { return p != CleanupCompact }

// MinInSync is the number of in-sync replicas below which a partition with so many replicas takes nothing for DurabilityAll.
func (c TopicConfig) MinInSync(replicas int) int {
	switch {
	case c.MinISR > 0:
		return int(c.MinISR)
	case replicas >= 3:
		return 2
	}
	return 1
}

// ClusterConfig is the cluster's settings: defaults for new topics, and the topic settings that a topic does not set itself.
type ClusterConfig struct {
	// Partitions of a topic that is created without saying how many. "num.partitions"
	Partitions int32
	// ReplicationFactor of a topic that is created without saying; 0: 3, or as many as there are brokers if these are fewer.
	// "default.replication.factor"
	ReplicationFactor int32
	// Topic holds the defaults of topic settings. They have the keys of these.
	Topic TopicConfig
	// Overrides is what was set, sorted by key.
	Overrides []ConfigEntry
}

// Replicas is the replication factor for a topic that is created without saying, with so many brokers that could take it.
func (c ClusterConfig) Replicas(brokers int) int {
	want := int(c.ReplicationFactor)
	if want == 0 {
		want = 3
	}
	return min(want, brokers)
}

// MaxConfigText bounds the value of a setting, in bytes: a number with zeros before it is one, however many, and a topic with its settings has to fit into a
// page of an image.
const MaxConfigText = 64

const (
	minMessageBytes = 1 << 10 // below this not even one record with its batch header is of use
	day             = 24 * 60 * 60 * 1000
	week            = 7 * day
)

// DefaultClusterConfig is the settings of a cluster in which nobody set any.
func DefaultClusterConfig() ClusterConfig { return defaultClusterConfig() }

func defaultClusterConfig() ClusterConfig {
	return ClusterConfig{
		Partitions: 1,
		Topic:      TopicConfig{RetentionMs: week, RetentionBytes: -1, MaxMessageBytes: mq.DefaultMaxBatchBytes, MinDirtyRatio: 500, DeleteRetentionMs: day},
	}
}

// ConfigKey describes a setting.
type ConfigKey struct {
	Name string
	Doc  string
	set  func(*ClusterConfig, string) error
	get  func(*ClusterConfig) string
}

// topicKeys and clusterKeys are sorted by name.
func topicKeys() []ConfigKey {
	return []ConfigKey{
		cleanupKey(),
		choiceKey("compression.type", "Batches are stored as the producer compressed them: producer.", []string{"producer"}, nil),
		intKey("delete.retention.ms", "Milliseconds that a tombstone is kept after compaction by key first met it.", 0, math.MaxInt64,
			func(c *ClusterConfig) *int64 { return &c.Topic.DeleteRetentionMs }),
		choiceKey("durability", "What acks=all waits for: replicated (all in-sync replicas), or object (the object store, too).",
			[]string{"replicated", "object"}, func(c *ClusterConfig) *bool { return &c.Topic.ObjectAcks }),
		intKey("max.message.bytes", "Largest record batch, bytes as stored.", minMessageBytes, mq.MaxBatchBytes,
			func(c *ClusterConfig) *int32 { return &c.Topic.MaxMessageBytes }),
		choiceKey("message.timestamp.type", "Whose clock stamps records: CreateTime (the producer's) or LogAppendTime (the broker's).",
			[]string{"CreateTime", "LogAppendTime"}, func(c *ClusterConfig) *bool { return &c.Topic.LogAppendTime }),
		dirtyRatioKey(),
		intKey("min.compaction.lag.ms", "Milliseconds of age at which compaction by key looks at a record.", 0, math.MaxInt64,
			func(c *ClusterConfig) *int64 { return &c.Topic.MinLagMs }),
		intKey("min.insync.replicas", "In-sync replicas that acks=all needs; 0: 2 of 3 or more replicas, else 1.", 0, mq.MaxReplicationFactor,
			func(c *ClusterConfig) *int32 { return &c.Topic.MinISR }),
		intKey("retention.bytes", "Bytes of a partition that are kept; -1: all.", -1, math.MaxInt64,
			func(c *ClusterConfig) *int64 { return &c.Topic.RetentionBytes }),
		intKey("retention.ms", "Milliseconds that a record is kept; -1: for ever.", -1, math.MaxInt64,
			func(c *ClusterConfig) *int64 { return &c.Topic.RetentionMs }),
		choiceKey("unclean.leader.election.enable",
			"Whether a replica that may lack acknowledged records can lead when nobody is alive who has them all: false or true.",
			[]string{"false", "true"}, func(c *ClusterConfig) *bool { return &c.Topic.UncleanElection }),
	}
}

func clusterKeys() []ConfigKey {
	keys := append(topicKeys(),
		intKey("default.replication.factor", "Replicas of a new topic; 0: 3, or fewer where there are fewer brokers.", 0, mq.MaxReplicationFactor,
			func(c *ClusterConfig) *int32 { return &c.ReplicationFactor }),
		intKey("num.partitions", "Partitions of a new topic.", 1, mq.MaxPartitionsPerTopic,
			func(c *ClusterConfig) *int32 { return &c.Partitions }),
	)
	slices.SortFunc(keys, func(a, b ConfigKey) int { return cmp.Compare(a.Name, b.Name) })
	return keys
}

// TopicConfigKeys lists the settings of topics by name.
func TopicConfigKeys() []ConfigKey { return topicKeys() }

// ClusterConfigKeys lists the settings of the cluster by name.
func ClusterConfigKeys() []ConfigKey { return clusterKeys() }

// Entries lists every setting of a topic with its effective value, sorted by key.
func (c TopicConfig) Entries() []ConfigEntry {
	all := ClusterConfig{Topic: c}
	return render(topicKeys(), &all)
}

// Entries lists every setting of the cluster with its effective value, sorted by key.
func (c ClusterConfig) Entries() []ConfigEntry { return render(clusterKeys(), &c) }

func render(keys []ConfigKey, c *ClusterConfig) []ConfigEntry {
	entries := make([]ConfigEntry, len(keys))
	for i, key := range keys {
		entries[i] = ConfigEntry{key.Name, key.get(c)}
	}
	return entries
}

// ParseTopicConfig gives the settings of a topic that overrides the cluster's defaults. The error's code is InvalidConfig; for an
// unknown key it names the nearest known one.
func ParseTopicConfig(defaults ClusterConfig, overrides []ConfigEntry) (TopicConfig, error) {
	if err := setAll(topicKeys(), &defaults, overrides); err != nil {
		return TopicConfig{}, err
	}
	return defaults.Topic, nil
}

// ParseClusterConfig gives the cluster's settings.
func ParseClusterConfig(overrides []ConfigEntry) (ClusterConfig, error) {
	c := defaultClusterConfig()
	if err := setAll(clusterKeys(), &c, overrides); err != nil {
		return ClusterConfig{}, err
	}
	c.Overrides = overrides
	return c, nil
}

func setAll(keys []ConfigKey, c *ClusterConfig, entries []ConfigEntry) error {
	for _, entry := range entries {
		key, err := findKey(keys, entry.Key)
		if err != nil {
			return err
		}
		if len(entry.Value) > MaxConfigText {
			return mq.Errorf(mq.InvalidConfig, "setting %s: %d bytes, at most %d are possible", entry.Key, len(entry.Value), MaxConfigText)
		}
		if err := key.set(c, entry.Value); err != nil {
			return err
		}
	}
	return nil
}

func findKey(keys []ConfigKey, name string) (ConfigKey, error) {
	names := make([]string, len(keys))
	for i, key := range keys {
		if key.Name == name {
			return key, nil
		}
		names[i] = key.Name
	}
	return ConfigKey{}, mq.Errorf(mq.InvalidConfig, "unknown setting %.60q: did you mean %q?", name, mq.Nearest(name, names))
}

func intKey[T int32 | int64](name, doc string, low, high int64, field func(*ClusterConfig) *T) ConfigKey {
	return ConfigKey{
		Name: name, Doc: doc,
		set: func(c *ClusterConfig, text string) error {
			v, err := strconv.ParseInt(text, 10, 64)
			if err != nil || v < low || v > high {
				return mq.Errorf(mq.InvalidConfig, "setting %s: %.40q is not a number from %d to %d", name, text, low, high)
			}
			*field(c) = T(v)
			return nil
		},
		get: func(c *ClusterConfig) string { return strconv.FormatInt(int64(*field(c)), 10) },
	}
}

// cleanupKey takes Kafka's list of policies in any order.
func cleanupKey() ConfigKey {
	names := []string{CleanupDelete: "delete", CleanupCompact: "compact", CleanupCompactAndDelete: "compact,delete"}
	return ConfigKey{
		Name: "cleanup.policy",
		Doc:  "What happens to old records: delete, by retention.ms and retention.bytes; compact, which keeps the newest of each key; compact,delete.",
		set: func(c *ClusterConfig, text string) error {
			if text == "delete,compact" {
				text = names[CleanupCompactAndDelete]
			}
			i := slices.Index(names, text)
			if i < 0 {
				return mq.Errorf(mq.InvalidConfig, "setting cleanup.policy: %.40q is not %s", text, strings.Join(names, " or "))
			}
			c.Topic.Cleanup = CleanupPolicy(i)
			return nil
		},
		get: func(c *ClusterConfig) string { return names[c.Topic.Cleanup] },
	}
}

// dirtyRatioKey takes a fraction, to a thousandth.
func dirtyRatioKey() ConfigKey {
	const name = "min.cleanable.dirty.ratio"
	return ConfigKey{
		Name: name,
		Doc:  "Part of a partition's bytes in the object store that compaction by key has not seen, at least, when it begins: 0 to 1.",
		set: func(c *ClusterConfig, text string) error {
			v, err := strconv.ParseFloat(text, 64)
			if err != nil || !(v >= 0 && v <= 1) { // NaN is neither
				return mq.Errorf(mq.InvalidConfig, "setting %s: %.40q is not a number from 0 to 1", name, text)
			}
			c.Topic.MinDirtyRatio = int32(math.Round(1000 * v))
			return nil
		},
		get: func(c *ClusterConfig) string {
			return strconv.FormatFloat(float64(c.Topic.MinDirtyRatio)/1000, 'f', -1, 64)
		},
	}
}

// choiceKey takes one of at most two values; field is true for the second. Without a field there is but one.
func choiceKey(name, doc string, choices []string, field func(*ClusterConfig) *bool) ConfigKey {
	return ConfigKey{
		Name: name, Doc: doc,
		set: func(c *ClusterConfig, text string) error {
			i := slices.Index(choices, text)
			if i < 0 {
				return mq.Errorf(mq.InvalidConfig, "setting %s: %.40q is not %s", name, text, strings.Join(choices, " or "))
			}
			if field != nil {
				*field(c) = i == 1
			}
			return nil
		},
		get: func(c *ClusterConfig) string {
			if field != nil && *field(c) {
				return choices[1]
			}
			return choices[0]
		},
	}
}

// changeConfigs applies changes to overrides that are sorted by key, and gives a new sorted list.
func changeConfigs(overrides []ConfigEntry, changes []configChange) ([]ConfigEntry, error) {
	out := slices.Clone(overrides)
	for i, change := range changes {
		for _, earlier := range changes[:i] {
			if earlier.key == change.key {
				return nil, mq.Errorf(mq.InvalidConfig, "setting %.60q is changed twice", change.key)
			}
		}
		at, found := slices.BinarySearchFunc(out, change.key, func(e ConfigEntry, key string) int { return cmp.Compare(e.Key, key) })
		switch {
		case change.remove && found:
			out = slices.Delete(out, at, at+1)
		case change.remove:
			// Nothing was set: as it should be.
		case found:
			out[at].Value = change.value
		default:
			out = slices.Insert(out, at, ConfigEntry{change.key, change.value})
		}
	}
	return out, nil
}

type configChange struct {
	key, value string
	remove     bool
}

// String is "key=value".
func (e ConfigEntry) String() string { return fmt.Sprintf("%s=%s", e.Key, e.Value) }

// FindTopicConfigKey is the setting of topics with this name. The error's code is InvalidConfig, and it names the nearest known one.
func FindTopicConfigKey(name string) (ConfigKey, error) { return findKey(topicKeys(), name) }
