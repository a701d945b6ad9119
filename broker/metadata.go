package broker

import (
	"context"
	"net"
	"slices"
	"strconv"
	"strings"

	"github.com/rustmq/rustmq/metadata"
	"github.com/rustmq/rustmq/mq"
	"github.com/rustmq/rustmq/quicproto"
	"github.com/rustmq/rustmq/quicproto/server"
)

// ListenerQUIC is the name of the endpoint at which clients reach a broker.
const ListenerQUIC = "quic"

// Metadata implements server.Broker. Topics that s may not describe are left
// out of a list of all, and refused one by one when asked for by name. Which cluster this is and where its
// brokers are every session is told: without that it could not do what it may.
func (b *Broker) Metadata(_ context.Context, s *server.Session, req *quicproto.MetadataRequest) (*quicproto.MetadataResponse, error) {
	img := b.cfg.Controller.Image()
	resp := &quicproto.MetadataResponse{
		ClusterID: img.ClusterID, Controller: b.cfg.Controller.Leader(), Version: img.Index, Brokers: clientBrokers(img),
	}
	if req.All {
		for t := range img.Topics() {
			if b.authorise(s, OpDescribe, Resource{Topic: t.Name}) == nil {
				resp.Topics = append(resp.Topics, clientTopic(t))
			}
		}
		slices.SortFunc(resp.Topics, func(x, y quicproto.Topic) int { return strings.Compare(x.Name, y.Name) })
		return resp, nil
	}
	for _, name := range req.Topics {
		resp.Topics = append(resp.Topics, b.topicAnswer(s, name))
	}
	return resp, nil
}

func (b *Broker) topicAnswer(s *server.Session, name string) quicproto.Topic {
	err := b.authorise(s, OpDescribe, Resource{Topic: name})
	if err == nil {
		var t *metadata.Topic
		if t, err = b.topic(name); err == nil {
			return clientTopic(t)
		}
	}
	code, text := quicproto.CodeAndText(err)
	return quicproto.Topic{Name: name, Code: code, Msg: text}
}

func clientBrokers(img *metadata.Image) []quicproto.Broker {
	var out []quicproto.Broker
	for _, broker := range img.Brokers() {
		e, ok := broker.Endpoint(ListenerQUIC)
		if broker.Fenced || !ok {
			continue
		}
		out = append(out, quicproto.Broker{ID: broker.ID, Addr: net.JoinHostPort(e.Host, strconv.Itoa(int(e.Port))), Rack: broker.Rack})
	}
	return out
}

func clientTopic(t *metadata.Topic) quicproto.Topic {
	out := quicproto.Topic{Name: t.Name, ID: t.ID, Internal: mq.InternalTopic(t.Name), Partitions: make([]quicproto.Partition, 0, t.Partitions())}
	for i, p := range t.All() {
		out.Partitions = append(out.Partitions, clientPartition(i, p))
	}
	return out
}

func clientPartition(index int32, p *metadata.Partition) quicproto.Partition {
	out := quicproto.Partition{Index: index, Leader: p.Leader, LeaderEpoch: p.LeaderEpoch, Replicas: p.Replicas, InSync: p.ISR}
	if p.Leader == mq.NoNode {
		out.Code = mq.LeaderNotAvailable
	}
	return out
}

// DescribeCluster implements server.Broker.
func (b *Broker) DescribeCluster(_ context.Context, s *server.Session) (*quicproto.DescribeClusterResponse, error) {
	if err := b.authorise(s, OpDescribe, Resource{}); err != nil {
		return nil, err
	}
	img := b.cfg.Controller.Image()
	return &quicproto.DescribeClusterResponse{
		ClusterID: img.ClusterID, NodeID: b.cfg.Node, Controller: b.cfg.Controller.Leader(),
		FeatureLevel: img.FeatureLevel, Software: b.cfg.Software, Brokers: clientBrokers(img),
	}, nil
}

// DescribeTopic implements server.Broker. Offsets are those of the partitions that run on this node.
func (b *Broker) DescribeTopic(_ context.Context, s *server.Session, name string) (*quicproto.DescribeTopicResponse, error) {
	if err := b.authorise(s, OpDescribe, Resource{Topic: name}); err != nil {
		return nil, err
	}
	t, err := b.topic(name)
	if err != nil {
		return nil, err
	}
	resp := &quicproto.DescribeTopicResponse{Name: t.Name, ID: t.ID, Configs: clientConfigs(t)}
	for i, p := range t.All() {
		d := quicproto.PartitionDetail{
			Partition: clientPartition(i, p),
			LogStart:  -1, HighWatermark: -1, LogEnd: -1, ObjectEnd: -1, Bytes: -1,
		}
		b.detail(mq.PartitionID{Topic: t.ID, Index: i}, p, &d)
		resp.Partitions = append(resp.Partitions, d)
	}
	return resp, nil
}

// detail adds what this node knows of a partition beyond the image's word.
func (b *Broker) detail(id mq.PartitionID, p *metadata.Partition, d *quicproto.PartitionDetail) {
	if b.cfg.Mount != nil {
		d.LogStart, d.HighWatermark, d.LogEnd, d.ObjectEnd, d.Bytes = p.LogStart, viewOf(p), viewOf(p), p.TieredEnd, 0
		return
	}
	part := b.cfg.Partitions.Table().Get(id)
	if part == nil {
		return
	}
	d.LogStart, d.HighWatermark, d.LogEnd, d.ObjectEnd = part.Offsets()
	d.Bytes = part.Pending().Bytes
	if _, err := part.State(); err != nil {
		d.Code = mq.CodeOf(err)
	}
}

func clientConfigs(t *metadata.Topic) []quicproto.Config {
	entries := t.Config.Entries()
	out := make([]quicproto.Config, len(entries))
	for i, e := range entries {
		set := slices.ContainsFunc(t.Overrides, func(o metadata.ConfigEntry) bool { return o.Key == e.Key })
		out[i] = quicproto.Config{Key: e.Key, Value: e.Value, Default: !set}
	}
	return out
}
