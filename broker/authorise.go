package broker

import (
	"fmt"

	"github.com/rustmq/rustmq/mq"
	"github.com/rustmq/rustmq/quicproto/server"
)

// Operation is what a principal wants to do. The words are Kafka's.
type Operation uint8

// The operations.
const (
	OpRead Operation = iota + 1
	OpWrite
	OpCreate
	OpDelete
	OpAlter
	OpDescribe
	OpIdempotentWrite
)

// String is the operation's name in messages.
func (o Operation) String() string {
	switch o {
	case OpRead:
		return "read"
	case OpWrite:
		return "write"
	case OpCreate:
		return "create"
	case OpDelete:
		return "delete"
	case OpAlter:
		return "alter"
	case OpDescribe:
		return "describe"
	case OpIdempotentWrite:
		return "idempotent-write"
	default:
		return fmt.Sprintf("Operation(%d)", uint8(o))
	}
}

// Resource is what an operation is about: a topic, a consumer group, or the cluster when neither is named.
type Resource struct {
	Topic string
	Group string
}

// Policy decides who may do what. Its methods are safe for concurrent use and
// cheap: Epoch is one atomic load.
type Policy interface {
	// Epoch moves whenever a decision may have changed.
	Epoch() uint64
	// Allow says whether principal may do op to r.
	Allow(principal string, op Operation, r Resource) bool
}

// AllowAll is the policy of a cluster without access rules.
type AllowAll struct{}

// Epoch implements Policy.
func (AllowAll) Epoch() uint64 { return 1 }

// Allow implements Policy.
func (AllowAll) Allow(string, Operation, Resource) bool { return true }

// authorise is the one point that every operation passes.
func (b *Broker) authorise(s *server.Session, op Operation, r Resource) error {
	if b.cfg.Policy.Allow(s.Principal, op, r) {
		if b.cfg.Mount != nil && op.changes() {
			return b.cfg.Mount.Refusal()
		}
		return nil
	}
	switch {
	case r.Group != "":
		return mq.Errorf(mq.GroupAuthorizationFailed, "%s may not %s group %q", s.Principal, op, r.Group)
	case r.Topic == "":
		return mq.Errorf(mq.ClusterAuthorizationFailed, "%s may not %s on the cluster", s.Principal, op)
	}
	return mq.Errorf(mq.TopicAuthorizationFailed, "%s may not %s topic %q", s.Principal, op, r.Topic)
}

// grant is a decision that a stream's handle holds, with the policy epoch in
// which it was taken. It is used by one goroutine at a time.
type grant struct {
	broker  *Broker
	session *server.Session
	op      Operation
	topic   string
	epoch   uint64
}

func (b *Broker) grant(s *server.Session, op Operation, topic string) (grant, error) {
	g := grant{broker: b, session: s, op: op, topic: topic}
	g.epoch = b.cfg.Policy.Epoch()
	return g, b.authorise(s, op, Resource{Topic: topic})
}

// check takes the decision again if the policy moved since.
func (g *grant) check() error {
	epoch := g.broker.cfg.Policy.Epoch()
	if epoch == g.epoch {
		return nil
	}
	if err := g.broker.authorise(g.session, g.op, Resource{Topic: g.topic}); err != nil {
		return err
	}
	g.epoch = epoch
	return nil
}
