package broker

import (
	"context"
	"math"

	"github.com/rustmq/rustmq/kafkaproto"
	"github.com/rustmq/rustmq/metadata"
	"github.com/rustmq/rustmq/mq"
	"github.com/rustmq/rustmq/partition"
	"github.com/rustmq/rustmq/quicproto"
	"github.com/rustmq/rustmq/quicproto/server"
)

// ListenerKafka is the name of the endpoint at which Kafka clients reach a broker.
const ListenerKafka = "kafka"

// Kafka is the broker as the listener for Kafka clients sees it: the same operations, in that listener's words. It is safe for concurrent use.
type Kafka struct {
	b   *Broker
	log func() kafkaproto.LogDir
}

// NewKafka makes one of a broker. log says where the node's log is, and how full.
func NewKafka(b *Broker, log func() kafkaproto.LogDir) *Kafka { return &Kafka{b, log} }

var _ kafkaproto.Broker = (*Kafka)(nil)

// as is who asks, as the broker knows clients.
func as(s *kafkaproto.Session) *server.Session {
	return &server.Session{ID: s.ID, Principal: s.Principal, ClientID: s.ClientID, Software: s.Software, Remote: s.Remote}
}

// Identity implements kafkaproto.Broker.
func (k *Kafka) Identity() (mq.ClusterID, mq.NodeID) { return k.b.Identity() }

// OpenProduce implements kafkaproto.Broker.
func (k *Kafka) OpenProduce(ctx context.Context, s *kafkaproto.Session, topic string) (kafkaproto.Producer, error) {
	p, err := k.b.OpenProduce(ctx, as(s), topic)
	if err != nil {
		return nil, err
	}
	return kafkaProducer{p}, nil
}

type kafkaProducer struct{ server.Producer }

// MaxBatch implements kafkaproto.Producer.
func (p kafkaProducer) MaxBatch() int {
	_, _, most := p.Topic()
	return most
}

// Append implements kafkaproto.Producer.
func (p kafkaProducer) Append(ctx context.Context, index int32, b mq.Batch, d mq.Durability, done func(kafkaproto.Appended)) {
	p.Producer.Append(ctx, index, b, d, kafkaCompletion(done))
}

type kafkaCompletion func(kafkaproto.Appended)

// Complete implements server.Completion.
func (c kafkaCompletion) Complete(a server.Appended) {
	c(kafkaproto.Appended{Base: a.Base, LogStart: a.LogStart, Timestamp: a.Timestamp, Err: a.Err})
}

// InitProducerID implements kafkaproto.Broker.
func (k *Kafka) InitProducerID(ctx context.Context, s *kafkaproto.Session, id mq.ProducerID, epoch mq.ProducerEpoch) (mq.ProducerID, mq.ProducerEpoch, error) {
	resp, err := k.b.InitProducerID(ctx, as(s), &quicproto.InitProducerIDRequest{ProducerID: id, ProducerEpoch: epoch})
	if err != nil {
		return mq.NoProducerID, mq.NoProducerEpoch, err
	}
	return resp.ProducerID, resp.ProducerEpoch, nil
}

// Place implements kafkaproto.Broker.
func (k *Kafka) Place(ctx context.Context, s *kafkaproto.Session, topic string, index int32, epoch mq.Epoch, at kafkaproto.Place) (kafkaproto.Found, error) {
	if err := k.b.authorise(as(s), OpDescribe, Resource{Topic: topic}); err != nil {
		return kafkaproto.Found{}, err
	}
	t, err := k.b.topic(topic)
	if err != nil {
		return kafkaproto.Found{}, err
	}
	p := placing{b: k.b, topic: t, index: index}
	a, err := p.at(ctx, int64(kafkaproto.Latest)) // says whether it is there, and led from here
	if err != nil {
		return kafkaproto.Found{}, err
	}
	if err := checkEpoch(a.LeaderEpoch, topic, index, epoch); err != nil {
		return kafkaproto.Found{}, err
	}
	found := kafkaproto.Found{Offset: a.Offset, Timestamp: -1, Epoch: a.LeaderEpoch}
	switch end := a.Offset; at {
	case kafkaproto.Latest:
	case kafkaproto.MaxTimestamp:
		found.Offset, found.Timestamp, err = p.newest(ctx, end)
	case kafkaproto.EarliestLocal:
		found.Offset = p.local(end)
	case kafkaproto.LatestTiered:
		found.Offset = p.tiered()
	default: // Earliest, and times; others are refused
		a, err = p.at(ctx, int64(at))
		found.Offset, found.Timestamp = a.Offset, a.Timestamp
	}
	return found, err
}

// placing finds places in a partition.
type placing struct {
	b     *Broker
	topic *metadata.Topic
	index int32
}

// at finds a time, the log start, or the high watermark.
func (p *placing) at(ctx context.Context, timestamp int64) (quicproto.OffsetAnswer, error) {
	return p.b.offset(ctx, p.topic, quicproto.OffsetQuery{Partition: p.index, Timestamp: timestamp}, mq.IsolationCommitted)
}

// running is the partition on this node, nil on a mount.
func (p *placing) running() *partition.Partition {
	if p.b.cfg.Mount != nil {
		return nil
	}
	return p.b.cfg.Partitions.Table().Get(mq.PartitionID{Topic: p.topic.ID, Index: p.index})
}

// local is where the log of this node begins; a mount has none, so that is at the end.
func (p *placing) local(end mq.Offset) mq.Offset {
	if part := p.running(); part != nil {
		return min(end, part.LocalStart())
	}
	return end
}

// tiered is the last record in the object store, -1 for none.
func (p *placing) tiered() mq.Offset {
	start, object := p.topic.Partition(p.index).LogStart, p.topic.Partition(p.index).TieredEnd
	if part := p.running(); part != nil {
		start, _, _, object = part.Offsets()
	}
	if object <= start {
		return -1
	}
	return object - 1
}

// newest is the first record of those with the greatest timestamp. It begins with the last batch, which mostly has it, and goes on to later times, in steps that double and then are
// halved, as long as there are records: each is a look into the index.
func (p *placing) newest(ctx context.Context, end mq.Offset) (mq.Offset, int64, error) {
	from := int64(0)
	if part := p.running(); part != nil {
		if ms, ok, err := part.TimeAt(ctx, end-1, true); err == nil && ok {
			from = max(0, ms)
		}
	}
	best, err := p.at(ctx, from)
	if err != nil || best.Offset < 0 {
		return -1, -1, err
	}
	beyond := int64(math.MaxInt64) // nothing is known to be at or after it
	for step := int64(1); best.Timestamp < beyond-1; {
		ask := best.Timestamp + (beyond-best.Timestamp)/2
		if beyond == math.MaxInt64 {
			ask = best.Timestamp + min(step, beyond-1-best.Timestamp)
			step = min(2*step, math.MaxInt64/2)
		}
		a, err := p.at(ctx, ask)
		switch {
		case err != nil:
			return -1, -1, err
		case a.Offset < 0:
			beyond = ask
		default:
			best = a
		}
	}
	return best.Offset, best.Timestamp, nil
}
