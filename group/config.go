package group

import "time"

// Config is what an operator decides about groups. [DefaultConfig] has the defaults; zero values are none.
type Config struct {
	// SessionTimeout is for how long a member with the consumer protocol may be silent, and HeartbeatInterval how often it is told
	// to speak.
	SessionTimeout    time.Duration // group.consumer.session.timeout.ms
	HeartbeatInterval time.Duration // group.consumer.heartbeat.interval.ms
	// Assignors are those that members may name, at least one; the first is that of groups in which no member names one.
	Assignors []string // group.consumer.assignors; "uniform" and "range", each once at most

	// MinSessionTimeout and MaxSessionTimeout bound what members with the classic protocol may ask for.
	MinSessionTimeout time.Duration // group.min.session.timeout.ms
	MaxSessionTimeout time.Duration // group.max.session.timeout.ms
	// InitialRebalanceDelay is for how long the first generation of a classic group waits for more members.
	InitialRebalanceDelay time.Duration // group.initial.rebalance.delay.ms

	MaxGroups           int           // of a shard: no more are made; what a replay finds is kept
	MaxSize             int           // members of a group; group.max.size
	OffsetMetadataBytes int           // of the text beside a committed offset; offset.metadata.max.bytes
	OffsetsRetention    time.Duration // after the commit and after the group became empty; offsets.retention.minutes
	OffsetsCheck        time.Duration // how often it is looked for offsets to forget; offsets.retention.check.interval.ms
}

// DefaultConfig is Kafka's, with bounds on the number and size of groups.
func DefaultConfig() Config {
	return Config{
		SessionTimeout: 45 * time.Second, HeartbeatInterval: 5 * time.Second, Assignors: []string{AssignorUniform, AssignorRange},
		MinSessionTimeout: 6 * time.Second, MaxSessionTimeout: 30 * time.Minute, InitialRebalanceDelay: 3 * time.Second,
		MaxGroups: 20_000, MaxSize: 1000, OffsetMetadataBytes: 4096, OffsetsRetention: 7 * 24 * time.Hour, OffsetsCheck: 10 * time.Minute,
	}
}

// The assignors that the coordinator has.
const (
	AssignorUniform = "uniform" // as even as can be, moving as little as can be
	AssignorRange   = "range"   // topic by topic, partitions of the same number to the same member
)

// Override is what a group has instead of the [Config]'s. Zero values are the Config's.
type Override struct {
	SessionTimeout    time.Duration
	HeartbeatInterval time.Duration
}
