package kafkaproto

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/rustmq/rustmq/mq"
)

// maxNamed is the most topics, partitions or resources that one request of administration may name: those beyond get POLICY_VIOLATION. Each is a command of its own, or part of one, for
// the controllers, or a part of the response that is much larger than its name.
const maxNamed = 10_000

// Kafka's codes that only administration needs.
const (
	unsupportedSASLMechanism    = 33
	illegalSASLState            = 34
	invalidReplicaAssignment    = 39
	securityDisabled            = 54
	preferredLeaderNotAvailable = 80
	eligibleLeadersNotAvailable = 83
	electionNotNeeded           = 84
	noReassignmentInProgress    = 85
)

// kafkaNames are their names.
var kafkaNames = map[int16]string{
	int16(mq.InvalidReplicationFactor): mq.InvalidReplicationFactor.String(), illegalSASLState: "ILLEGAL_SASL_STATE", invalidReplicaAssignment: "INVALID_REPLICA_ASSIGNMENT", securityDisabled: "SECURITY_DISABLED", preferredLeaderNotAvailable: "PREFERRED_LEADER_NOT_AVAILABLE",
	eligibleLeadersNotAvailable: "ELIGIBLE_LEADERS_NOT_AVAILABLE", electionNotNeeded: "ELECTION_NOT_NEEDED", noReassignmentInProgress: "NO_REASSIGNMENT_IN_PROGRESS",
}

// kafkaError is an error with a code that only Kafka has.
type kafkaError struct {
	code int16
	msg  string
}

func (e *kafkaError) Error() string { return kafkaNames[e.code] + ": " + e.msg }

func kafkaErrorf(code int16, format string, args ...any) error {
	return &kafkaError{code, fmt.Sprintf(format, args...)}
}

// recoded is err with one of Kafka's own codes where it has the code that stands for that.
func recoded(err error, from mq.Code, to int16) error {
	if e, ok := errors.AsType[*mq.Error](err); ok && e.Code == from {
		return &kafkaError{to, e.Msg}
	}
	return err
}

// adminCodeOf is codeOf with the codes that only Kafka has.
func adminCodeOf(err error) int16 {
	if e, ok := errors.AsType[*kafkaError](err); ok {
		return e.code
	}
	return codeOf(err)
}

// failure is an error as responses have it.
func failure(err error) (code int16, text *string) { return adminCodeOf(err), textOf(err) }

// within is a context that ends after the time that a request gives, if it gives one.
func within(ctx context.Context, millis int32) (context.Context, context.CancelFunc) {
	if millis <= 0 {
		return context.WithCancel(ctx)
	}
	return context.WithTimeout(ctx, time.Duration(millis)*time.Millisecond)
}

// maxNewTopics is the same for topics that are made or grow: whatever their size, all partitions of the cluster are looked at to place those of each.
const maxNewTopics = 1000

// entries are what a request of administration names, as it is gone through.
type entries struct {
	ctx  context.Context
	done int
}

// next says whether there is time for another one, and whether there may be one.
func (e *entries) next() error { return e.take(1) }

// nextTopic is next for a topic that gets so many partitions.
func (e *entries) nextTopic(partitions int) error {
	if partitions > mq.MaxPartitionsPerTopic {
		partitions = 1 // it is refused for that
	}
	return e.take(max(partitions, maxNamed/maxNewTopics))
}

func (e *entries) take(n int) error {
	if e.done += n; e.done > maxNamed {
		return mq.Errorf(mq.PolicyViolation, "it is too much for one request: ask for less at once")
	}
	return timeLeft(e.ctx)
}

// timeLeft says whether there is time for one more of what a request asks for.
func timeLeft(ctx context.Context) error {
	if ctx.Err() != nil {
		return mq.Errorf(mq.RequestTimedOut, "there was no time left for it")
	}
	return nil
}

// newest has this node hear what the cluster has decided, once, if a topic that a request of administration names is not known here: it may have been made a moment ago, on another node. Kafka asks its
// controller. What named gives neither name nor id of is no topic.
func newest[T any](ctx context.Context, c *call, asked []T, named func(*T) (name string, id mq.TopicID)) {
	for i := range asked {
		if name, id := named(&asked[i]); (name != "" || !id.IsZero()) && !c.broker().Knows(c.session, name, id) {
			c.broker().CatchUp(ctx)
			return
		}
	}
}

// allowance is what a response may still grow by, in bytes as they are in memory, about. What was taken of it comes back when the response is written.
type allowance struct {
	call *call
	left int
	free int   // the first bytes, which are not counted with all responses together
	err  error // why there is no more; nothing is given from then on
}

// allowance is what the response to a request of administration may take.
func (c *call) allowance() *allowance { return &allowance{call: c, left: c.conn.srv.limits.AdminBytes} }

// memberAllowance is the same for what consumers ask for: as long as that is little it is not behind administration.
func (c *call) memberAllowance() *allowance {
	left := c.allowance()
	left.free = smallWeight
	return left
}

// take takes so many bytes, if they are there: PolicyViolation where the response has no room for them, TooManyRequests where all responses together have none.
func (a *allowance) take(n int) error {
	switch {
	case a.err != nil:
	case n <= a.free:
		a.free -= n
	case n > a.left:
		a.err = mq.Errorf(mq.PolicyViolation, "the response has no room for it: ask for less at once")
	case !a.call.conn.srv.answers.TryAcquire(int64(n)):
		a.err = mq.Errorf(mq.TooManyRequests, "this node answers too much at the moment: ask again")
	default:
		a.left -= n
		a.call.answered += int64(n)
	}
	return a.err
}

// twice are those of names that are there more than once.
type twice map[string]int

func countOf[T any](list []T, name func(*T) string) twice {
	times := make(twice, len(list))
	for i := range list {
		times[name(&list[i])]++
	}
	return times
}

// first says whether the name comes for the first time, and how often it is there. Later calls say no.
func (t twice) first(name string) (count int, first bool) {
	count = t[name]
	if count > 0 {
		t[name] = -count
	}
	return count, count > 0
}

// assignmentOf is who has each of a topic's new partitions. The message's list gives them in any order; each has to be there once, from 0 on.
func assignmentOf(count int, at func(int) (partition int32, replicas []int32)) ([][]mq.NodeID, error) {
	list := make([][]mq.NodeID, count)
	for i := range count {
		partition, replicas := at(i)
		switch {
		case partition < 0 || int(partition) >= count || list[partition] != nil:
			return nil, kafkaErrorf(invalidReplicaAssignment, "replicas are given for partition %d: there have to be some for each partition from 0 to %d, once", partition, count-1)
		case len(replicas) == 0:
			return nil, kafkaErrorf(invalidReplicaAssignment, "partition %d has no replicas", partition)
		}
		list[partition] = nodeIDs(replicas)
	}
	return list, nil
}

func nodeIDs(numbers []int32) []mq.NodeID {
	ids := make([]mq.NodeID, len(numbers))
	for i, n := range numbers {
		ids[i] = mq.NodeID(n)
	}
	return ids
}
