package broker

import (
	"cmp"
	"context"
	"slices"
	"strings"

	"github.com/rustmq/rustmq/group"
	"github.com/rustmq/rustmq/mq"
	"github.com/rustmq/rustmq/quicproto"
	"github.com/rustmq/rustmq/quicproto/server"
)

// ListGroups implements server.Broker. Groups that s may not describe are left out.
func (b *Broker) ListGroups(ctx context.Context, s *server.Session) (*quicproto.ListGroupsResponse, error) {
	resp := &quicproto.ListGroupsResponse{}
	if b.cfg.Groups == nil {
		return resp, nil
	}
	all, loading, err := b.cfg.Groups.All(ctx, &group.ListRequest{})
	if err != nil {
		return nil, err
	}
	resp.Loading = loading
	for _, one := range all {
		list, ok := one.(*group.ListResponse)
		if !ok {
			return nil, mq.Errorf(mq.Internal, "a coordinator listed its groups by a %T", one)
		}
		for _, g := range list.Groups {
			if b.authorise(s, OpDescribe, Resource{Group: g.Group}) == nil {
				resp.Groups = append(resp.Groups, listed(&g))
			}
		}
	}
	slices.SortFunc(resp.Groups, func(x, y quicproto.ListedGroup) int { return strings.Compare(x.Group, y.Group) })
	return resp, nil
}

func listed(g *group.Listed) quicproto.ListedGroup {
	return quicproto.ListedGroup{Group: g.Group, Protocol: g.Protocol.String(), Type: g.ProtocolType, State: string(g.State), Members: int32(g.Members)}
}

// DescribeGroup implements server.Broker.
func (b *Broker) DescribeGroup(ctx context.Context, s *server.Session, name string) (*quicproto.DescribeGroupResponse, error) {
	d, err := ask[*group.DescribeResponse](ctx, b, s, OpDescribe, name, &group.DescribeRequest{Group: name})
	if err != nil {
		return nil, err
	}
	offsets, err := ask[*group.FetchResponse](ctx, b, s, OpDescribe, name, &group.FetchRequest{Group: name, Generation: group.NoGeneration})
	if err != nil {
		return nil, err
	}
	resp := &quicproto.DescribeGroupResponse{ListedGroup: listed(&d.Listed), Epoch: d.Epoch, Assignor: d.Assignor}
	rows := make(map[mq.PartitionID]*quicproto.GroupPartition)
	for i := range d.Members {
		m := &d.Members[i]
		out := quicproto.GroupMember{
			Member: m.Member, Instance: m.Instance, ClientID: m.ClientID, Host: m.ClientHost, Rack: m.Rack, Epoch: m.Epoch, Topics: m.Topics, Pattern: m.Pattern,
			Assigned: b.groupPartitions(m.Assigned),
		}
		resp.Members = append(resp.Members, out)
		for _, t := range out.Assigned {
			for _, p := range t.Partitions {
				rows[mq.PartitionID{Topic: t.TopicID, Index: p}] = &quicproto.GroupPartition{Topic: t.Topic, Partition: p, Committed: -1, Member: m.Member}
			}
		}
	}
	img := b.cfg.Controller.Image()
	for _, t := range offsets.Topics {
		for _, o := range t.Offsets {
			id := mq.PartitionID{Topic: t.ID, Index: o.Partition}
			if known := img.TopicByName(t.Topic); known != nil && id.Topic == (mq.TopicID{}) {
				id.Topic = known.ID
			}
			row := rows[id]
			if row == nil {
				row = &quicproto.GroupPartition{Topic: t.Topic, Partition: o.Partition}
				rows[id] = row
			}
			row.Committed, row.Metadata = o.Offset, o.Metadata
		}
	}
	for id, row := range rows {
		row.End = b.endOf(id)
		resp.Partitions = append(resp.Partitions, *row)
	}
	slices.SortFunc(resp.Partitions, func(x, y quicproto.GroupPartition) int {
		return cmp.Or(strings.Compare(x.Topic, y.Topic), cmp.Compare(x.Partition, y.Partition))
	})
	return resp, nil
}

// endOf is where the committed records of a partition end that this node leads, else -1.
func (b *Broker) endOf(id mq.PartitionID) mq.Offset {
	part := b.cfg.Partitions.Table().Get(id)
	if part == nil {
		return -1
	}
	end, err := part.VisibleEnd(mq.IsolationCommitted)
	if err != nil {
		return -1
	}
	return end
}

// groupPartitions are partitions with the names of their topics, which are empty for topics that are gone.
func (b *Broker) groupPartitions(set group.Partitions) []quicproto.GroupPartitions {
	img := b.cfg.Controller.Image()
	out := make([]quicproto.GroupPartitions, len(set))
	for i, t := range set {
		out[i] = quicproto.GroupPartitions{TopicID: t.Topic, Partitions: t.Partitions}
		if known := img.Topic(t.Topic); known != nil {
			out[i].Topic = known.Name
		}
	}
	return out
}

// DeleteGroup implements server.Broker.
func (b *Broker) DeleteGroup(ctx context.Context, s *server.Session, name string) error {
	_, err := ask[*group.DoneResponse](ctx, b, s, OpDelete, name, &group.DeleteGroupRequest{Group: name})
	return err
}
