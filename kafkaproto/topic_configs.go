package kafkaproto

import (
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/rustmq/rustmq/mq"
)

// topicConfig is a config of topics by the name that Kafka gives it. It is one of three: a setting of ours; a config that always has one value, which may be set; or one that there is not.
type topicConfig struct {
	name   string
	typ    kmsg.ConfigType
	broker string            // the config of brokers that gives it its default; empty: none
	fixed  string            // the value that it always has, if it has no setting and is not absent
	keeps  func(string) bool // which other values that keeps to, or of a setting which the broker is asked for; nil: none of the one, all of the other
	absent bool
	doc    string // what it is, or why there is nothing of it
}

// setting says whether the config is one of our settings.
func (c *topicConfig) setting() bool { return c.fixed == "" && !c.absent }

// anyFrom takes every number from low on: a bound that is kept to whatever it is.
func anyFrom(low int64) func(string) bool {
	return func(text string) bool {
		n, err := strconv.ParseInt(text, 10, 64)
		return err == nil && n >= low
	}
}

// Why some configs are not there.
const (
	oneLog   = "A node has one log for all its partitions, in segments of wal.segment_size, and no segments of a topic."
	noCodec  = "Batches are stored as their producer compressed them."
	diskOnly = "What a node's disk keeps of records that are in the object store is a matter of wal.max_size, for all topics."
	noQuota  = "Replication is not throttled by topic."
)

// never is the greatest number there is, as a config.
const never = "9223372036854775807"

// topicConfigs are all configs of topics that Kafka 4.1 has, and ours, by name. Nobody changes them.
var topicConfigs = sync.OnceValue(func() []topicConfig {
	return []topicConfig{
		{name: "cleanup.policy", typ: kmsg.ConfigTypeList, broker: "log.cleanup.policy", doc: "What happens to old records: delete, by retention.ms and retention.bytes; compact, which keeps the newest of each key; both."},
		{name: "compression.gzip.level", typ: kmsg.ConfigTypeInt, absent: true, doc: noCodec},
		{name: "compression.lz4.level", typ: kmsg.ConfigTypeInt, absent: true, doc: noCodec},
		{name: "compression.type", typ: kmsg.ConfigTypeString, broker: "compression.type", doc: noCodec + " Always producer."},
		{name: "compression.zstd.level", typ: kmsg.ConfigTypeInt, absent: true, doc: noCodec},
		{name: "delete.retention.ms", typ: kmsg.ConfigTypeLong, broker: "log.cleaner.delete.retention.ms", doc: "Milliseconds that a tombstone is kept after compaction first met it."},
		{name: "durability", typ: kmsg.ConfigTypeString, doc: "What acks=all waits for: replicated (all in-sync replicas), or object (the object store, too). Not one of Kafka's."},
		{name: "file.delete.delay.ms", typ: kmsg.ConfigTypeLong, absent: true, doc: oneLog},
		{name: "flush.messages", typ: kmsg.ConfigTypeLong, fixed: "1", keeps: anyFrom(1), doc: "Every record is synced to disk before it is acknowledged: any number is kept to."},
		{name: "flush.ms", typ: kmsg.ConfigTypeLong, fixed: "0", keeps: anyFrom(0), doc: "Every record is synced to disk at once: any number is kept to."},
		{name: "follower.replication.throttled.replicas", typ: kmsg.ConfigTypeList, absent: true, doc: noQuota},
		{name: "index.interval.bytes", typ: kmsg.ConfigTypeInt, absent: true, doc: oneLog},
		{name: "leader.replication.throttled.replicas", typ: kmsg.ConfigTypeList, absent: true, doc: noQuota},
		{name: "local.retention.bytes", typ: kmsg.ConfigTypeLong, absent: true, doc: diskOnly},
		{name: "local.retention.ms", typ: kmsg.ConfigTypeLong, absent: true, doc: diskOnly},
		{name: "max.compaction.lag.ms", typ: kmsg.ConfigTypeLong, fixed: never, doc: "Nothing is compacted for its age alone."},
		{name: "max.message.bytes", typ: kmsg.ConfigTypeInt, broker: "message.max.bytes", doc: "Largest record batch, bytes as stored."},
		{name: "message.timestamp.after.max.ms", typ: kmsg.ConfigTypeLong, fixed: never, doc: "Timestamps may be as new as their producer has them."},
		{name: "message.timestamp.before.max.ms", typ: kmsg.ConfigTypeLong, fixed: never, doc: "Timestamps may be as old as their producer has them."},
		{name: "message.timestamp.type", typ: kmsg.ConfigTypeString, broker: "log.message.timestamp.type", doc: "Whose clock stamps records: CreateTime (the producer's) or LogAppendTime (the broker's)."},
		{name: "min.cleanable.dirty.ratio", typ: kmsg.ConfigTypeDouble, broker: "log.cleaner.min.cleanable.ratio", doc: "Part of a partition's bytes that compaction has not seen, at least, when it begins: 0 to 1."},
		{name: "min.compaction.lag.ms", typ: kmsg.ConfigTypeLong, broker: "log.cleaner.min.compaction.lag.ms", doc: "Milliseconds of age at which compaction looks at a record."},
		{name: "min.insync.replicas", typ: kmsg.ConfigTypeInt, broker: "min.insync.replicas", keeps: anyFrom(1), doc: "In-sync replicas that acks=all needs, 1 or more. Where nobody sets it 2 of 3 or more replicas, else 1, and that is told."},
		{name: "preallocate", typ: kmsg.ConfigTypeBoolean, fixed: "true", doc: "Segments of the log are written before they are used."},
		{name: "remote.log.copy.disable", typ: kmsg.ConfigTypeBoolean, fixed: "false", doc: "Every topic moves on to the object store."},
		{name: "remote.log.delete.on.disable", typ: kmsg.ConfigTypeBoolean, fixed: "false", doc: "Every topic moves on to the object store."},
		{name: "remote.storage.enable", typ: kmsg.ConfigTypeBoolean, fixed: "true", doc: "Every topic moves on to the object store."},
		{name: "retention.bytes", typ: kmsg.ConfigTypeLong, broker: "log.retention.bytes", doc: "Bytes of a partition that are kept; -1: all."},
		{name: "retention.ms", typ: kmsg.ConfigTypeLong, broker: "log.retention.ms", doc: "Milliseconds that a record is kept; -1: for ever."},
		{name: "segment.bytes", typ: kmsg.ConfigTypeInt, absent: true, doc: oneLog},
		{name: "segment.index.bytes", typ: kmsg.ConfigTypeInt, absent: true, doc: oneLog},
		{name: "segment.jitter.ms", typ: kmsg.ConfigTypeLong, absent: true, doc: oneLog},
		{name: "segment.ms", typ: kmsg.ConfigTypeLong, absent: true, doc: oneLog},
		{name: "unclean.leader.election.enable", typ: kmsg.ConfigTypeBoolean, broker: "unclean.leader.election.enable", doc: "Whether a replica that may lack acknowledged records can lead when nobody is alive who has them all."},
	}
})

// TopicSettings are the names of the settings that Kafka clients are told of, in order. The broker has to have each, and no others.
func TopicSettings() (names []string) {
	for _, c := range topicConfigs() {
		if c.setting() {
			names = append(names, c.name)
		}
	}
	return names
}

// findTopicConfig finds a config by its name: INVALID_CONFIG with the nearest one.
func findTopicConfig(name string) (*topicConfig, error) {
	all := topicConfigs()
	at, ok := slices.BinarySearchFunc(all, name, func(c topicConfig, name string) int { return strings.Compare(c.name, name) })
	if ok {
		return &all[at], nil
	}
	names := make([]string, len(all))
	for i := range all {
		names[i] = all[i].name
	}
	return nil, mq.Errorf(mq.InvalidConfig, "there is no config %.60q of topics: did you mean %q?", name, mq.Nearest(name, names))
}

// checkTopicConfig says what has to be set for a config to have a value: a setting, or nothing if it has that anyway. InvalidConfig: it cannot.
func checkTopicConfig(name, value string) ([]Change, error) {
	c, err := findTopicConfig(name)
	if err != nil {
		return nil, err
	}
	value = c.plain(value)
	switch {
	case c.absent:
		return nil, mq.Errorf(mq.InvalidConfig, "there is no config %s: %s", name, c.doc)
	case c.setting() && c.keeps != nil && !c.keeps(value):
		return nil, mq.Errorf(mq.InvalidConfig, "config %s cannot be %.40q: %s", name, value, c.doc)
	case c.setting():
		return []Change{{Name: name, Value: value}}, nil
	case value == c.fixed || c.keeps != nil && c.keeps(value):
		return nil, nil
	}
	return nil, mq.Errorf(mq.InvalidConfig, "config %s is always %s, not %.40q: %s", name, c.fixed, value, c.doc)
}

// plain is a value as Kafka reads it: without what is around it, or around the elements of a list.
func (c *topicConfig) plain(value string) string {
	value = strings.TrimSpace(value)
	switch c.typ {
	case kmsg.ConfigTypeBoolean:
		return strings.ToLower(value)
	case kmsg.ConfigTypeList:
		return strings.Join(listOf(value), ",")
	}
	return value
}

// listOf are the elements of a list.
func listOf(value string) []string {
	if strings.TrimSpace(value) == "" {
		return nil
	}
	list := strings.Split(value, ",")
	for i := range list {
		list[i] = strings.TrimSpace(list[i])
	}
	return list
}
