package kafkaproto

import "github.com/rustmq/rustmq/mq"

// leaders gathers, for one response, who leads partitions that this node does not (any more), so that clients need not ask (KIP-951).
type leaders struct {
	broker Broker
	named  map[mq.NodeID]bool
}

// hint is who leads the partition, if an error has the client look for that.
func (l *leaders) hint(code int16, topic string, partition int32) (mq.NodeID, mq.Epoch, bool) {
	if code != int16(mq.NotLeaderOrFollower) && code != int16(mq.FencedLeaderEpoch) {
		return 0, 0, false
	}
	id, epoch := l.broker.Leader(topic, partition)
	if id == mq.NoNode {
		return 0, 0, false
	}
	if l.named == nil {
		l.named = make(map[mq.NodeID]bool)
	}
	l.named[id] = true
	return id, epoch, true
}

// nodes are where those are reached that were named.
func (l *leaders) nodes() (list []Node) {
	if len(l.named) == 0 {
		return nil
	}
	for _, n := range l.broker.Nodes() {
		if l.named[n.ID] {
			list = append(list, n)
		}
	}
	return list
}

// rack is null for none.
func rack(name string) *string {
	if name == "" {
		return nil
	}
	return &name
}
