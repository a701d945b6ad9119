package gateway

import (
	"context"
	"maps"
	"slices"

	"connectrpc.com/connect"

	rustmqpb "github.com/rustmq/rustmq/api/rustmq/v1"
	"github.com/rustmq/rustmq/client"
	"github.com/rustmq/rustmq/mq"
)

// groups is rustmq.v1.GroupService.
type groups struct{ g *Gateway }

// checkGroup refuses what is no name of a group.
func checkGroup(name string) error {
	if name == "" || len(name) > mq.MaxGroupIDBytes {
		return mq.Errorf(mq.InvalidGroupID, "a group name of %d bytes: 1 to %d are allowed", len(name), mq.MaxGroupIDBytes)
	}
	return nil
}

// ListGroups implements the service.
func (s groups) ListGroups(ctx context.Context, _ *connect.Request[rustmqpb.ListGroupsRequest]) (*connect.Response[rustmqpb.ListGroupsResponse], error) {
	list, err := s.g.client.ListGroups(ctx)
	resp, err := listing(list, err)
	if err != nil {
		return nil, err
	}
	return connect.NewResponse(resp), nil
}

// listing is what is known of groups. What is beside an error goes with it; without anything the call fails.
func listing(list []client.GroupListing, err error) (*rustmqpb.ListGroupsResponse, error) {
	resp := &rustmqpb.ListGroupsResponse{}
	switch {
	case err == nil:
	case len(list) == 0:
		return nil, err
	default:
		resp.Error = failure(err)
	}
	for _, g := range list {
		resp.Groups = append(resp.Groups, &rustmqpb.GroupListing{Group: text(g.Group), Protocol: g.Protocol, State: g.State, Members: int32(g.Members)})
	}
	return resp, nil
}

// DescribeGroup implements the service.
func (s groups) DescribeGroup(ctx context.Context, req *connect.Request[rustmqpb.DescribeGroupRequest]) (*connect.Response[rustmqpb.DescribeGroupResponse], error) {
	if err := checkGroup(req.Msg.GetGroup()); err != nil {
		return nil, err
	}
	d, err := s.g.client.DescribeGroup(ctx, req.Msg.GetGroup())
	if err != nil {
		return nil, err
	}
	resp := &rustmqpb.DescribeGroupResponse{Group: text(d.Group), Protocol: d.Protocol, State: d.State, Epoch: d.Epoch, Assignor: text(d.Assignor)}
	for i := range d.Members {
		resp.Members = append(resp.Members, member(&d.Members[i]))
	}
	for i := range d.Partitions {
		p := &d.Partitions[i]
		resp.Partitions = append(resp.Partitions, &rustmqpb.GroupPartition{
			Topic: p.Topic, Partition: p.Partition, CommittedOffset: int64(p.Committed), EndOffset: int64(p.End), LagRecords: p.Lag(), MemberId: text(p.Member),
		})
	}
	return connect.NewResponse(resp), nil
}

func member(m *client.GroupMember) *rustmqpb.GroupMember {
	out := &rustmqpb.GroupMember{
		MemberId: text(m.Member), InstanceId: text(m.Instance), ClientId: text(m.ClientID), Host: text(m.Host), Epoch: m.Epoch, TopicPattern: text(m.Pattern),
	}
	for _, name := range m.Topics {
		out.Topics = append(out.Topics, text(name))
	}
	for _, t := range m.Assigned {
		for _, p := range t.Partitions {
			out.Assigned = append(out.Assigned, &rustmqpb.TopicPartition{Topic: t.Topic, Partition: p})
		}
	}
	return out
}

// ResetOffsets implements the service.
func (s groups) ResetOffsets(ctx context.Context, req *connect.Request[rustmqpb.ResetOffsetsRequest]) (*connect.Response[rustmqpb.ResetOffsetsResponse], error) {
	m := req.Msg
	if err := checkGroup(m.GetGroup()); err != nil {
		return nil, err
	}
	if err := checkPartitions(m.GetTopic(), m.GetPartitions()); err != nil {
		return nil, err
	}
	if m.GetPosition().GetAt() == nil {
		return nil, invalid("reset group %.60q: say where to", m.GetGroup())
	}
	offsets, err := s.g.offsets(ctx, m.GetTopic(), m.GetPartitions(), m.GetPosition(), mq.IsolationCommitted)
	if err != nil {
		return nil, err
	}
	ends, err := s.g.listed(ctx, m.GetTopic(), m.GetPartitions(), client.End(), mq.IsolationCommitted)
	if err != nil {
		return nil, err
	}
	resp := &rustmqpb.ResetOffsetsResponse{}
	for _, p := range slices.Sorted(maps.Keys(offsets)) {
		offsets[p] = min(offsets[p], ends[p])
		resp.Offsets = append(resp.Offsets, &rustmqpb.PartitionOffset{Topic: m.GetTopic(), Partition: p, NextOffset: int64(offsets[p])})
	}
	if !m.GetDryRun() {
		if err := s.g.client.ResetOffsets(ctx, m.GetGroup(), m.GetTopic(), offsets); err != nil {
			return nil, err
		}
	}
	return connect.NewResponse(resp), nil
}

// CommitOffsets implements the service.
func (s groups) CommitOffsets(ctx context.Context, req *connect.Request[rustmqpb.CommitOffsetsRequest]) (*connect.Response[rustmqpb.CommitOffsetsResponse], error) {
	m := req.Msg
	if err := checkGroup(m.GetGroup()); err != nil {
		return nil, err
	}
	if n := len(m.GetOffsets()); n == 0 || n > maxPartitions {
		return nil, invalid("%d offsets: from 1 to %d are allowed", n, maxPartitions)
	}
	byTopic := make(map[string]map[int32]mq.Offset)
	for _, o := range m.GetOffsets() {
		if err := checkPartition(o.GetTopic(), o.GetPartition()); err != nil {
			return nil, err
		}
		if o.GetNextOffset() < 0 {
			return nil, invalid("next_offset %d of %s/%d: it is at least 0", o.GetNextOffset(), o.GetTopic(), o.GetPartition())
		}
		if byTopic[o.GetTopic()] == nil {
			byTopic[o.GetTopic()] = make(map[int32]mq.Offset)
		}
		byTopic[o.GetTopic()][o.GetPartition()] = mq.Offset(o.GetNextOffset())
	}
	for _, topic := range slices.Sorted(maps.Keys(byTopic)) {
		if err := s.g.client.CommitOffsets(ctx, m.GetGroup(), topic, byTopic[topic]); err != nil {
			return nil, err
		}
	}
	return connect.NewResponse(&rustmqpb.CommitOffsetsResponse{}), nil
}

// DeleteOffsets implements the service.
func (s groups) DeleteOffsets(ctx context.Context, req *connect.Request[rustmqpb.DeleteOffsetsRequest]) (*connect.Response[rustmqpb.DeleteOffsetsResponse], error) {
	m := req.Msg
	if err := checkGroup(m.GetGroup()); err != nil {
		return nil, err
	}
	if err := checkPartitions(m.GetTopic(), m.GetPartitions()); err != nil {
		return nil, err
	}
	if len(m.GetPartitions()) == 0 {
		return nil, invalid("delete offsets of group %.60q: name partitions", m.GetGroup())
	}
	if err := s.g.client.DeleteOffsets(ctx, m.GetGroup(), m.GetTopic(), m.GetPartitions()...); err != nil {
		return nil, err
	}
	return connect.NewResponse(&rustmqpb.DeleteOffsetsResponse{}), nil
}

// DescribeGroupConfigs implements the service.
func (s groups) DescribeGroupConfigs(ctx context.Context, req *connect.Request[rustmqpb.DescribeGroupConfigsRequest]) (*connect.Response[rustmqpb.DescribeGroupConfigsResponse], error) {
	if err := checkGroup(req.Msg.GetGroup()); err != nil {
		return nil, err
	}
	list, err := s.g.client.GroupConfigs(ctx, req.Msg.GetGroup())
	if err != nil {
		return nil, err
	}
	resp := &rustmqpb.DescribeGroupConfigsResponse{}
	for _, c := range list {
		resp.Configs = append(resp.Configs, &rustmqpb.GroupConfig{Key: c.Key, Value: text(c.Value), IsDefault: c.Default})
	}
	return connect.NewResponse(resp), nil
}

// AlterGroupConfigs implements the service.
func (s groups) AlterGroupConfigs(ctx context.Context, req *connect.Request[rustmqpb.AlterGroupConfigsRequest]) (*connect.Response[rustmqpb.AlterGroupConfigsResponse], error) {
	m := req.Msg
	if err := checkGroup(m.GetGroup()); err != nil {
		return nil, err
	}
	if len(m.GetSet())+len(m.GetUnset()) == 0 {
		return nil, invalid("alter group %.60q: nothing to set or to unset", m.GetGroup())
	}
	if err := s.g.client.AlterGroupConfigs(ctx, m.GetGroup(), m.GetSet(), m.GetUnset()); err != nil {
		return nil, err
	}
	return connect.NewResponse(&rustmqpb.AlterGroupConfigsResponse{}), nil
}

// DeleteGroup implements the service.
func (s groups) DeleteGroup(ctx context.Context, req *connect.Request[rustmqpb.DeleteGroupRequest]) (*connect.Response[rustmqpb.DeleteGroupResponse], error) {
	if err := checkGroup(req.Msg.GetGroup()); err != nil {
		return nil, err
	}
	if err := s.g.client.DeleteGroup(ctx, req.Msg.GetGroup()); err != nil {
		return nil, err
	}
	return connect.NewResponse(&rustmqpb.DeleteGroupResponse{}), nil
}
