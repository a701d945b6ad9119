package metadata

import (
	"iter"
	"slices"
	"strconv"
	"unicode/utf8"

	metadatapb "github.com/rustmq/rustmq/api/metadata/v1"
	"github.com/rustmq/rustmq/mq"
)

// MaxGroupConfigs is how many consumer groups may set something for themselves: each broker has all of it in memory.
const MaxGroupConfigs = 10_000

// GroupConfig is what a consumer group sets for itself, whether anybody knows the group or not. Keys are Kafka's. Immutable.
type GroupConfig struct {
	Group string
	// SessionTimeoutMs is for how long a member may be silent that is assigned its partitions by the coordinator, in milliseconds; 0: as
	// its coordinator has it. "consumer.session.timeout.ms"
	SessionTimeoutMs int32
	// HeartbeatIntervalMs is how often such a member is told to speak, in milliseconds; 0: as its coordinator has it. "consumer.heartbeat.interval.ms"
	HeartbeatIntervalMs int32
	// Overrides is what was set, sorted by key.
	Overrides []ConfigEntry
}

// GroupConfigKey describes a setting of consumer groups: a number of milliseconds.
type GroupConfigKey struct {
	Name, Doc string
	low, high int32
	field     func(*GroupConfig) *int32
}

// GroupConfigKeys lists the settings of consumer groups by name.
func GroupConfigKeys() []GroupConfigKey {
	const hour = 60 * 60 * 1000
	return []GroupConfigKey{
		{
			"consumer.heartbeat.interval.ms", "Milliseconds after which a member is told to heartbeat that speaks Kafka's consumer protocol.", 100, hour / 2,
			func(c *GroupConfig) *int32 { return &c.HeartbeatIntervalMs },
		},
		{
			"consumer.session.timeout.ms", "Milliseconds after which a member is put out that has vanished, if the coordinator assigns its partitions.", 1000, hour,
			func(c *GroupConfig) *int32 { return &c.SessionTimeoutMs },
		},
	}
}

// Value is the setting of a group in milliseconds; 0: it does not set it.
func (k GroupConfigKey) Value(c *GroupConfig) int32 { return *k.field(c) }

// ParseGroupConfig gives a group's settings. The error's code is InvalidGroupID for what is no name of a group, else InvalidConfig; for an unknown key it
// names the nearest known one.
func ParseGroupConfig(group string, overrides []ConfigEntry) (*GroupConfig, error) {
	if group == "" || len(group) > mq.MaxGroupIDBytes || !utf8.ValidString(group) {
		return nil, mq.Errorf(mq.InvalidGroupID, "group %.40q: want 1 to %d bytes of UTF-8", group, mq.MaxGroupIDBytes)
	}
	c := &GroupConfig{Group: group, Overrides: overrides}
	keys := GroupConfigKeys()
	for _, e := range overrides {
		at := slices.IndexFunc(keys, func(k GroupConfigKey) bool { return k.Name == e.Key })
		if at < 0 {
			names := make([]string, len(keys))
			for i, k := range keys {
				names[i] = k.Name
			}
			return nil, mq.Errorf(mq.InvalidConfig, "unknown setting %.60q of groups: did you mean %q?", e.Key, mq.Nearest(e.Key, names))
		}
		k := keys[at]
		v, err := strconv.ParseInt(e.Value, 10, 32)
		if err != nil || len(e.Value) > MaxConfigText || int32(v) < k.low || int32(v) > k.high {
			return nil, mq.Errorf(mq.InvalidConfig, "setting %s: %.40q is not a number from %d to %d", k.Name, e.Value, k.low, k.high)
		}
		*k.field(c) = int32(v)
	}
	if c.SessionTimeoutMs != 0 && c.HeartbeatIntervalMs > c.SessionTimeoutMs/2 {
		return nil, mq.Errorf(mq.InvalidConfig, "setting consumer.heartbeat.interval.ms: %d is more than half of consumer.session.timeout.ms, which is %d",
			c.HeartbeatIntervalMs, c.SessionTimeoutMs)
	}
	return c, nil
}

// with are the settings with changes made. Errors as of [ParseGroupConfig].
func (c *GroupConfig) with(changes []*metadatapb.ConfigChange) (*GroupConfig, error) {
	overrides, err := changeConfigs(c.Overrides, configChangesFrom(changes))
	if err != nil {
		return nil, err
	}
	return ParseGroupConfig(c.Group, overrides)
}

// GroupConfig is what a consumer group sets for itself: nothing, for most.
func (img *Image) GroupConfig(group string) *GroupConfig {
	if c, ok := img.groups.get(group); ok {
		return c
	}
	return &GroupConfig{Group: group}
}

// GroupConfigs goes over all groups that set something for themselves, in no useful order.
func (img *Image) GroupConfigs() iter.Seq[*GroupConfig] { return img.groups.values() }

// GroupConfigWith is what [Image.GroupConfig] is after changes, which are not made. Errors as of [ParseGroupConfig].
func (img *Image) GroupConfigWith(group string, changes []*metadatapb.ConfigChange) (*GroupConfig, error) {
	return img.GroupConfig(group).with(changes)
}

func (m *machine) alterGroupConfigs(c *metadatapb.AlterGroupConfigs) error {
	before, there := m.groups.t.get(c.GetGroup())
	if !there {
		before = &GroupConfig{Group: c.GetGroup()}
	}
	config, err := before.with(c.GetChanges())
	if err != nil {
		return err
	}
	if !there && len(config.Overrides) > 0 && m.groups.t.len() >= MaxGroupConfigs {
		return mq.Errorf(mq.PolicyViolation, "%d groups have settings of their own already: unset those of one that does not need them any more", MaxGroupConfigs)
	}
	m.setGroupConfig(config)
	return nil
}

// setGroupConfig notes what a group sets. A group that sets nothing is forgotten.
func (d *draft) setGroupConfig(c *GroupConfig) {
	if len(c.Overrides) == 0 {
		d.groups.remove(c.Group)
		d.db.del(bucketGroups, []byte(c.Group))
		return
	}
	d.groups.set(c.Group, c)
	d.db.put(bucketGroups, []byte(c.Group), groupRecord(c))
}

func groupRecord(c *GroupConfig) *metadatapb.GroupConfig {
	return &metadatapb.GroupConfig{Group: c.Group, Configs: configRecords(c.Overrides)}
}
