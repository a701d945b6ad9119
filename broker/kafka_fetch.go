package broker

import (
	"context"

	"github.com/rustmq/rustmq/kafkaproto"
	"github.com/rustmq/rustmq/mq"
	"github.com/rustmq/rustmq/quicproto/server"
)

// OpenFetch implements kafkaproto.Broker. In the rack of the client a replica that does not lead the partition serves what the object store has.
func (k *Kafka) OpenFetch(ctx context.Context, s *kafkaproto.Session, topic string, index int32, epoch mq.Epoch, rack string) (kafkaproto.Reader, error) {
	r := &kafkaReader{k: k, topic: topic, index: index, rack: rack, leader: mq.NoNode}
	if rack != "" && k.b.cfg.Mount == nil {
		if rack != k.rack() {
			r.far = true
		} else if leader, _ := k.Leader(topic, index); leader != mq.NoNode && leader != k.b.cfg.Node {
			r.leader = leader
		}
	}
	var err error
	if r.leader == mq.NoNode {
		r.r, err = k.b.OpenFetch(ctx, as(s), topic, index, epoch, mq.IsolationCommitted)
	} else {
		r.r, err = k.b.OpenTiered(ctx, as(s), topic, index, epoch)
	}
	if err != nil {
		return nil, err
	}
	return r, nil
}

// rack is where this node stands.
func (k *Kafka) rack() string {
	if b := k.b.cfg.Controller.Image().Broker(k.b.cfg.Node); b != nil {
		return b.Rack
	}
	return ""
}

type kafkaReader struct {
	k      *Kafka
	r      server.Reader
	topic  string
	index  int32
	rack   string    // the client's
	far    bool      // which is not this node's
	leader mq.NodeID // of what is read here though this node does not lead it, else mq.NoNode
	failed bool      // and cannot be read here
}

// Elsewhere implements kafkaproto.Reader.
func (k *kafkaReader) Elsewhere(from mq.Offset) mq.NodeID {
	source := k.r.Source(from)
	switch {
	case k.leader != mq.NoNode && (k.failed || source != server.FromStore):
		return k.leader
	case !k.far || source != server.FromStore:
		return mq.NoNode
	}
	if start, _ := k.Offsets(); from < start { // it is nowhere, and a replica that does not lead cannot say so
		return mq.NoNode
	}
	img := k.k.b.cfg.Controller.Image()
	t := img.TopicByName(k.topic)
	if t == nil || t.Partition(k.index) == nil {
		return mq.NoNode
	}
	for _, id := range t.Partition(k.index).Replicas { // clients go nowhere else
		if b := img.Broker(id); b != nil && b.Rack == k.rack && !b.Fenced {
			if _, ok := b.Endpoint(ListenerKafka); ok {
				return id
			}
		}
	}
	return mq.NoNode
}

// Offsets implements kafkaproto.Reader.
func (k *kafkaReader) Offsets() (logStart, highWatermark mq.Offset) {
	_, logStart, highWatermark, _ = k.r.Offsets()
	return logStart, highWatermark
}

// InMemory implements kafkaproto.Reader.
func (k *kafkaReader) InMemory(from mq.Offset) bool { return k.r.Source(from) == server.FromMemory }

// Read implements kafkaproto.Reader. Each read has memory of its own.
func (k *kafkaReader) Read(ctx context.Context, from mq.Offset, most int) (kafkaproto.Fetched, error) {
	got, err := k.r.Read(ctx, from, most, nil)
	k.failed = k.leader != mq.NoNode && err != nil
	return kafkaproto.Fetched{Batches: got.Batches, Next: got.Next, HighWatermark: got.HighWatermark, LogStart: got.LogStart}, err
}

// EpochEnd implements kafkaproto.Reader. A replica that does not lead cannot tell: its log may be shorter than the leader's.
func (k *kafkaReader) EpochEnd(epoch mq.Epoch) (last mq.Epoch, end mq.Offset, err error) {
	r, ok := k.r.(*reader)
	if !ok {
		return mq.NoEpoch, -1, mq.Errorf(mq.NotLeaderOrFollower, "%T knows no leader epochs", k.r)
	}
	leads := r.part.LeaderEpoch()
	last, end = r.part.EndOffsetForEpoch(epoch)
	if leads == mq.NoEpoch || r.part.LeaderEpoch() != leads { // all the time, so while that was looked up
		return mq.NoEpoch, -1, mq.Errorf(mq.NotLeaderOrFollower, "partition %s is not led here, or not since the question", r.part.ID())
	}
	return last, end, nil
}

// Await implements kafkaproto.Reader.
func (k *kafkaReader) Await(from mq.Offset, w kafkaproto.Waiter) bool { return k.r.Await(from, w) }

// Close implements kafkaproto.Reader.
func (k *kafkaReader) Close() { k.r.Close() }
