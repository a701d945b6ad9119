package client

import (
	"context"
	"regexp"
	"time"

	"github.com/rustmq/rustmq/mq"
	"github.com/rustmq/rustmq/quicproto"
)

// Defaults of the options of the same name.
const (
	DefaultRebalanceTimeout   = 5 * time.Minute
	DefaultAutoCommitInterval = 5 * time.Second
)

// The assignors that coordinators have, for [Assignor].
const (
	AssignorUniform = "uniform" // as even as can be, moving as little as can be
	AssignorRange   = "range"   // topic by topic, partitions of the same number to the same member
)

// RebalanceFunc is told of partitions that a member of a group was assigned, is about to give up, or has lost. It runs on the goroutine that is in Poll or
// iterates ([OnRevoked] also on one in Close), so never while that works on records. ctx is the one that was given there. It may call all methods of the consumer but
// those that read, and Close.
type RebalanceFunc func(ctx context.Context, k *Consumer, partitions []TopicPartition)

// groupConfig is what options say of a member of a group.
type groupConfig struct {
	name       string
	topics     []string
	pattern    string
	instance   string
	assignor   string
	rebalance  time.Duration
	autoCommit time.Duration // 0: never
	required   bool          // a partition of which nothing is committed fails
	assigned   RebalanceFunc
	revoked    RebalanceFunc
	lost       RebalanceFunc
}

// member is the group's part of the configuration, made when the first option needs it.
func (c *consumerConfig) member() *groupConfig {
	if c.group == nil {
		c.group = &groupConfig{rebalance: DefaultRebalanceTimeout, autoCommit: DefaultAutoCommitInterval}
	}
	return c.group
}

func (c *consumerConfig) checkGroup() error {
	g := c.group
	switch {
	case g.name == "":
		return invalid("a consumer with options of a group needs Group")
	case len(c.assign) > 0:
		return invalid("Assign: the coordinator of group %q assigns", g.name)
	case len(g.topics) == 0 && g.pattern == "":
		return invalid("a member of group %q needs Topics or TopicPattern", g.name)
	case g.required && c.reset != nil:
		return invalid("RequireCommitted and ResetTo contradict each other")
	}
	return nil
}

// Group makes the consumer a member of a consumer group: the topics of its subscription ([Topics], [TopicPattern]) are shared out among the members of the group, each
// partition to one of them, and go on where the group has committed. Name is 1 to 1,024 bytes. The consumer joins with its first Poll or iteration.
func Group(name string) ConsumerOption {
	return func(c *consumerConfig) error {
		if name == "" || len(name) > mq.MaxGroupIDBytes {
			return invalid("Group: a name of %d bytes: 1 to %d are allowed", len(name), mq.MaxGroupIDBytes)
		}
		c.member().name = name
		return nil
	}
}

// Topics are those that a member of a group subscribes to by name. They need not exist yet. It may be given many times, and together with [TopicPattern].
func Topics(names ...string) ConsumerOption {
	return func(c *consumerConfig) error {
		for _, name := range names {
			if err := mq.ValidTopicName(name); err != nil {
				return err
			}
		}
		g := c.member()
		g.topics = append(g.topics, names...)
		if len(g.topics) > mq.MaxSubscribedTopics {
			return invalid("Topics: %d of them, at most %d", len(g.topics), mq.MaxSubscribedTopics)
		}
		return nil
	}
}

// TopicPattern subscribes a member of a group to all topics whose whole name matches, also to those that are made later. Internal ones have to be named in it:
// their whole name is part of the pattern. The syntax is RE2's (package regexp); the coordinator matches.
func TopicPattern(pattern string) ConsumerOption {
	return func(c *consumerConfig) error {
		if _, err := regexp.Compile(pattern); err != nil || pattern == "" || len(pattern) > mq.MaxPatternBytes {
			return mq.Errorf(mq.InvalidRegularExpression, "TopicPattern: %.80q of at most %d bytes: %v", pattern, mq.MaxPatternBytes, err)
		}
		c.member().pattern = pattern
		return nil
	}
}

// Subscribe has a member of a group subscribe to other topics from now on: those with these names, and with a pattern that is not empty those that match it, as of [Topics] and
// [TopicPattern]; what it had subscribed to before counts no more. It does not wait: partitions are revoked and assigned as ever, while the application asks for records. INVALID_REQUEST for one that is no
// member of a group, INVALID_CONFIG for nothing to subscribe to; a topic that the client may not know of ends the membership with TOPIC_AUTHORIZATION_FAILED.
func (k *Consumer) Subscribe(topics []string, pattern string) error {
	m := k.member
	if m == nil {
		return mq.Errorf(mq.InvalidRequest, "subscribe: the consumer is no member of a group")
	}
	wanted := consumerConfig{group: &groupConfig{name: m.cfg.name}}
	opts := []ConsumerOption{Topics(topics...)}
	if pattern != "" {
		opts = append(opts, TopicPattern(pattern))
	}
	for _, opt := range opts {
		if err := opt(&wanted); err != nil {
			return err
		}
	}
	if err := wanted.checkGroup(); err != nil {
		return err
	}
	k.mu.Lock()
	m.cfg.topics, m.cfg.pattern, m.wants = wanted.group.topics, wanted.group.pattern, true
	k.mu.Unlock()
	m.kick()
	return nil
}

// InstanceID makes the member a static one: when it is closed its partitions stay its own until the group's session timeout (45 s by default) is over, and
// whoever joins under the same instance id by then gets them without any rebalance. One instance at a time: a second one waits until the first has left. At most 1,024 bytes.
func InstanceID(id string) ConsumerOption {
	return func(c *consumerConfig) error {
		if id == "" || len(id) > mq.MaxMemberIDBytes {
			return invalid("InstanceID: %d bytes: 1 to %d are allowed", len(id), mq.MaxMemberIDBytes)
		}
		c.member().instance = id
		return nil
	}
}

// Assignor is how this member wants partitions to be shared out, [AssignorUniform] or [AssignorRange]: what most members want is done. One that the coordinator is not
// configured to take ends the membership with UNSUPPORTED_ASSIGNOR. Default: what the coordinator is configured to do.
func Assignor(name string) ConsumerOption {
	return func(c *consumerConfig) error {
		if name != AssignorUniform && name != AssignorRange {
			return invalid("Assignor: %q: there are %s and %s", name, AssignorUniform, AssignorRange)
		}
		c.member().assignor = name
		return nil
	}
}

// RebalanceTimeout is for how long a member may take to give up partitions when the coordinator wants them for another one: it does so when the application next
// asks for records. One that takes longer is put out of the group, and loses all that it has. From 1 s to 24 h. Default: [DefaultRebalanceTimeout].
func RebalanceTimeout(d time.Duration) ConsumerOption {
	return func(c *consumerConfig) error {
		if d < time.Second || d > 24*time.Hour {
			return invalid("RebalanceTimeout: %v is not in 1s..24h", d)
		}
		c.member().rebalance = d
		return nil
	}
}

// AutoCommit is how often a member of a group commits by itself what was processed. A record counts as processed when the application asks for the one after it (after Poll: for
// the next batch), so that what it is working on is consumed again if it dies; whoever hands records to other goroutines
// turns this off, and commits what these have done. It also commits before it gives partitions up, and when it is closed. 0 turns it off. Default: [DefaultAutoCommitInterval].
func AutoCommit(interval time.Duration) ConsumerOption {
	return func(c *consumerConfig) error {
		if interval < 0 || interval > 0 && interval < time.Millisecond {
			return invalid("AutoCommit: %v is neither 0 nor at least 1ms", interval)
		}
		c.member().autoCommit = interval
		return nil
	}
}

// RequireCommitted has a partition fail with OFFSET_OUT_OF_RANGE of which the group has committed nothing, until a [Consumer.Seek]: nothing is read by accident
// from where it should not. It excludes [ResetTo].
func RequireCommitted() ConsumerOption {
	return func(c *consumerConfig) error {
		c.member().required = true
		return nil
	}
}

// OnAssigned is called with partitions that the member has got, before their first record is handed out: a [Consumer.Seek] there takes effect.
func OnAssigned(f RebalanceFunc) ConsumerOption {
	return func(c *consumerConfig) error {
		c.member().assigned = f
		return nil
	}
}

// OnRevoked is called with partitions that the member is about to give up, while it may still commit for them. With [AutoCommit] on, what was processed is committed already.
func OnRevoked(f RebalanceFunc) ConsumerOption {
	return func(c *consumerConfig) error {
		c.member().revoked = f
		return nil
	}
}

// OnLost is called with partitions that the member has lost: it was put out of the group, because nothing was heard of it for the session timeout, or it did
// not give partitions up in time. Others may consume them already; nothing can be committed for them any more, and what was not committed is consumed again. The member joins
// the group again by itself.
func OnLost(f RebalanceFunc) ConsumerOption {
	return func(c *consumerConfig) error {
		c.member().lost = f
		return nil
	}
}

var _ uint = quicproto.MaxText - mq.MaxGroupIDBytes // a group's name fits into a frame
