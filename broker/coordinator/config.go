package coordinator

import (
	"time"

	"github.com/rustmq/rustmq/group"
	"github.com/rustmq/rustmq/metadata"
	"github.com/rustmq/rustmq/mq"
)

// Bounds are what groups may set for themselves on this node. Zero values are no bounds.
type Bounds struct {
	MinSessionTimeout    time.Duration // group.consumer.min.session.timeout.ms
	MaxSessionTimeout    time.Duration // group.consumer.max.session.timeout.ms
	MinHeartbeatInterval time.Duration // group.consumer.min.heartbeat.interval.ms
	MaxHeartbeatInterval time.Duration // group.consumer.max.heartbeat.interval.ms
}

// CheckConfig refuses settings of a group that are out of this node's bounds. INVALID_CONFIG
func (c *Coordinator) CheckConfig(g *metadata.GroupConfig) error {
	b := &c.cfg.Bounds
	if err := within("consumer.session.timeout.ms", millis(g.SessionTimeoutMs), b.MinSessionTimeout, b.MaxSessionTimeout); err != nil {
		return err
	}
	return within("consumer.heartbeat.interval.ms", millis(g.HeartbeatIntervalMs), b.MinHeartbeatInterval, b.MaxHeartbeatInterval)
}

// within is for a setting that is zero when it is not set.
func within(key string, v, low, high time.Duration) error {
	if v == 0 || v >= low && (high == 0 || v <= high) {
		return nil
	}
	return mq.Errorf(mq.InvalidConfig, "setting %s: %d is not between %d and %d, the bounds of groups of this node", key, v.Milliseconds(), low.Milliseconds(), high.Milliseconds())
}

func millis(n int32) time.Duration { return time.Duration(n) * time.Millisecond }

// Timeouts are what holds for a group's members with the consumer protocol: what the group sets for itself, within this node's bounds, else the node's. A member
// is told to speak twice in its session timeout, at least.
func (c *Coordinator) Timeouts(g *metadata.GroupConfig) (session, heartbeat time.Duration) {
	b := &c.cfg.Bounds
	session = bounded(millis(g.SessionTimeoutMs), c.cfg.Groups.SessionTimeout, b.MinSessionTimeout, b.MaxSessionTimeout)
	heartbeat = bounded(millis(g.HeartbeatIntervalMs), c.cfg.Groups.HeartbeatInterval, b.MinHeartbeatInterval, b.MaxHeartbeatInterval)
	return session, min(heartbeat, session/2)
}

func bounded(set, otherwise, low, high time.Duration) time.Duration {
	if set == 0 {
		return otherwise
	}
	if high > 0 {
		set = min(set, high)
	}
	return max(set, low)
}

// override is what a group sets for itself now.
func (c *Coordinator) override(name string) group.Override {
	session, heartbeat := c.Timeouts(c.cfg.Image().GroupConfig(name))
	return group.Override{SessionTimeout: session, HeartbeatInterval: heartbeat}
}

// heldUpAfter is how long it takes until a coordinator that could not hear its members counts as held up: a quarter of the shortest session that a member may have here.
func (c *Coordinator) heldUpAfter() time.Duration {
	shortest := min(c.cfg.Groups.SessionTimeout, c.cfg.Groups.MinSessionTimeout, max(c.cfg.Bounds.MinSessionTimeout, time.Second))
	return max(shortest/4, lookEvery/2)
}
