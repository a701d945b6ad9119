package broker

import (
	"context"
	"slices"
	"strings"

	"github.com/rustmq/rustmq/kafkaproto"
	"github.com/rustmq/rustmq/metadata"
	"github.com/rustmq/rustmq/mq"
	"github.com/rustmq/rustmq/quicproto"
)

// Nodes implements kafkaproto.Broker.
func (k *Kafka) Nodes() []kafkaproto.Node {
	return slices.DeleteFunc(k.AllNodes(), func(n kafkaproto.Node) bool { return n.Fenced })
}

// AllNodes implements kafkaproto.Broker.
func (k *Kafka) AllNodes() (nodes []kafkaproto.Node) {
	for _, b := range k.b.cfg.Controller.Image().Brokers() {
		if e, ok := b.Endpoint(ListenerKafka); ok {
			nodes = append(nodes, kafkaproto.Node{ID: b.ID, Host: e.Host, Port: e.Port, Rack: b.Rack, Fenced: b.Fenced})
		}
	}
	return nodes
}

// Topics implements kafkaproto.Broker.
func (k *Kafka) Topics(s *kafkaproto.Session) (topics []kafkaproto.Topic) {
	img := k.b.cfg.Controller.Image()
	for t := range img.Topics() {
		if k.b.authorise(as(s), OpDescribe, Resource{Topic: t.Name}) == nil {
			topics = append(topics, kafkaTopic(img, t))
		}
	}
	slices.SortFunc(topics, func(x, y kafkaproto.Topic) int { return strings.Compare(x.Name, y.Name) })
	return topics
}

// Topic implements kafkaproto.Broker.
func (k *Kafka) Topic(s *kafkaproto.Session, name string) (*kafkaproto.Topic, error) {
	if err := k.b.authorise(as(s), OpDescribe, Resource{Topic: name}); err != nil {
		return nil, err
	}
	t, err := k.b.topic(name)
	if err != nil {
		return nil, err
	}
	out := kafkaTopic(k.b.cfg.Controller.Image(), t)
	return &out, nil
}

// TopicByID implements kafkaproto.Broker. Who may not know of the topic is told what he would be told if it were not there.
func (k *Kafka) TopicByID(s *kafkaproto.Session, id mq.TopicID) (*kafkaproto.Topic, error) {
	if name, ok := k.TopicName(id); ok {
		if t, err := k.Topic(s, name); err == nil && t.ID == id {
			return t, nil
		}
	}
	return nil, mq.Errorf(mq.UnknownTopicID, "there is no topic with id %s", id)
}

// TopicName implements kafkaproto.Broker.
func (k *Kafka) TopicName(id mq.TopicID) (name string, ok bool) {
	t := k.b.cfg.Controller.Image().Topic(id)
	if t == nil {
		return "", false
	}
	return t.Name, true
}

// MakeTopic implements kafkaproto.Broker.
func (k *Kafka) MakeTopic(ctx context.Context, s *kafkaproto.Session, name string) error {
	_, err := k.b.CreateTopic(ctx, as(s), &quicproto.CreateTopicRequest{Name: name, Partitions: -1, Replicas: -1})
	return err
}

// Leader implements kafkaproto.Broker.
func (k *Kafka) Leader(topic string, index int32) (mq.NodeID, mq.Epoch) {
	if t := k.b.cfg.Controller.Image().TopicByName(topic); t != nil {
		if p := t.Partition(index); p != nil {
			return p.Leader, p.LeaderEpoch
		}
	}
	return mq.NoNode, mq.NoEpoch
}

// kafkaTopic is a topic as Kafka's clients are told of it.
func kafkaTopic(img *metadata.Image, t *metadata.Topic) kafkaproto.Topic {
	out := kafkaproto.Topic{ID: t.ID, Name: t.Name, Internal: mq.InternalTopic(t.Name), Partitions: make([]kafkaproto.Partition, 0, t.Partitions())}
	for _, p := range t.All() {
		part := kafkaproto.Partition{Leader: p.Leader, LeaderEpoch: p.LeaderEpoch, Replicas: p.Replicas, InSync: p.ISR, Eligible: p.Eligible}
		for _, id := range p.Replicas {
			if b := img.Broker(id); b == nil || b.Fenced {
				part.Offline = append(part.Offline, id)
			}
		}
		out.Partitions = append(out.Partitions, part)
	}
	return out
}
