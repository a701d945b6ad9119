package broker

import (
	"context"
	"encoding/hex"
	"io"
	"strings"

	"github.com/rustmq/rustmq/group"
	"github.com/rustmq/rustmq/kafkaproto"
	"github.com/rustmq/rustmq/mq"
)

// Coordinator implements kafkaproto.Broker.
func (k *Kafka) Coordinator(ctx context.Context, s *kafkaproto.Session, group string) (mq.NodeID, error) {
	resp, err := k.b.FindCoordinator(ctx, as(s), group)
	if err != nil {
		return mq.NoNode, err
	}
	return resp.Node, nil
}

// memberID draws an id for a member that has none.
func (k *Kafka) memberID(s *kafkaproto.Session) (string, error) {
	var random [16]byte
	if _, err := io.ReadFull(k.b.cfg.Random, random[:]); err != nil {
		return "", mq.Errorf(mq.Internal, "draw an id: %w", err)
	}
	const rest = 1 + 2*len(random)
	return text(s.ClientID, mq.MaxMemberIDBytes-rest) + "-" + hex.EncodeToString(random[:]), nil
}

// text is what of a client's name for itself can be kept: it says nothing but who it is, so it is not a reason to refuse anything.
func text(s string, most int) string {
	s = strings.ToValidUTF8(s, "?")
	return strings.ToValidUTF8(s[:min(len(s), most)], "")
}

// JoinGroup implements kafkaproto.Broker.
func (k *Kafka) JoinGroup(ctx context.Context, s *kafkaproto.Session, j *kafkaproto.JoinGroup) (kafkaproto.Joined, error) {
	id, err := k.memberID(s)
	if err != nil {
		return kafkaproto.Joined{}, err
	}
	request := &group.JoinRequest{
		Group: j.Group, Member: j.Member, NewMember: id, RequireMember: j.RequireMember, SkipAssignment: j.SkipAssignment, Instance: j.Instance,
		ClientID: text(s.ClientID, mq.MaxMemberIDBytes), ClientHost: hostOf(s.Remote),
		SessionTimeout: j.SessionTimeout, RebalanceTimeout: j.RebalanceTimeout, ProtocolType: j.ProtocolType,
	}
	for _, p := range j.Protocols {
		request.Protocols = append(request.Protocols, group.ClassicProtocol(p))
	}
	r, err := ask[*group.JoinResponse](ctx, k.b, as(s), OpRead, j.Group, request)
	if r == nil {
		return kafkaproto.Joined{}, err
	}
	joined := kafkaproto.Joined{
		Generation: r.Generation, ProtocolType: r.ProtocolType, Protocol: r.Protocol, Leader: r.Leader, Member: r.Member, SkipAssignment: r.SkipAssignment,
	}
	for _, m := range r.Members {
		joined.Members = append(joined.Members, kafkaproto.GroupMember{Member: m.Member, Instance: m.Instance, Metadata: m.Metadata})
	}
	return joined, err
}

// SyncGroup implements kafkaproto.Broker.
func (k *Kafka) SyncGroup(ctx context.Context, s *kafkaproto.Session, y *kafkaproto.SyncGroup) (kafkaproto.Synced, error) {
	request := &group.SyncRequest{
		Group: y.Group, Generation: y.Epoch, Member: y.Member, Instance: y.Instance, ProtocolType: y.ProtocolType, Protocol: y.Protocol,
	}
	for _, m := range y.Assignments {
		request.Assignments = append(request.Assignments, group.ClassicAssignment{Member: m.Member, Assignment: m.Assignment})
	}
	got, err := ask[*group.SyncResponse](ctx, k.b, as(s), OpRead, y.Group, request)
	if err != nil {
		return kafkaproto.Synced{}, err
	}
	return kafkaproto.Synced{ProtocolType: got.ProtocolType, Protocol: got.Protocol, Assignment: got.Assignment}, nil
}

// Heartbeat implements kafkaproto.Broker.
func (k *Kafka) Heartbeat(ctx context.Context, s *kafkaproto.Session, m kafkaproto.Membership) error {
	_, err := ask[*group.DoneResponse](ctx, k.b, as(s), OpRead, m.Group, &group.ClassicHeartbeatRequest{
		Group: m.Group, Generation: m.Epoch, Member: m.Member, Instance: m.Instance,
	})
	return err
}

// LeaveGroup implements kafkaproto.Broker.
func (k *Kafka) LeaveGroup(ctx context.Context, s *kafkaproto.Session, name string, members []kafkaproto.Membership) ([]error, error) {
	request := &group.LeaveRequest{Group: name}
	for _, m := range members {
		request.Members = append(request.Members, group.LeavingMember{Member: m.Member, Instance: m.Instance})
	}
	got, err := ask[*group.LeaveResponse](ctx, k.b, as(s), OpRead, name, request)
	if err != nil {
		return nil, err
	}
	return got.Errors, nil
}

// ConsumerHeartbeat implements kafkaproto.Broker.
func (k *Kafka) ConsumerHeartbeat(ctx context.Context, s *kafkaproto.Session, h *kafkaproto.ConsumerHeartbeat) (kafkaproto.ConsumerAssigned, error) {
	if err := k.b.mayWant(as(s), h.Topics); err != nil {
		return kafkaproto.ConsumerAssigned{}, err
	}
	id := h.Member
	if id == "" {
		var err error
		if id, err = k.memberID(s); err != nil {
			return kafkaproto.ConsumerAssigned{}, err
		}
	}
	request := &group.HeartbeatRequest{
		Group: h.Group, Member: id, Epoch: h.Epoch, Instance: h.Instance, Rack: h.Rack, ClientID: text(s.ClientID, mq.MaxMemberIDBytes), ClientHost: hostOf(s.Remote),
		RebalanceTimeout: h.RebalanceTimeout, Topics: h.Topics, Pattern: h.Pattern, Assignor: h.Assignor,
	}
	if h.Owned != nil {
		request.Owned = make(group.Partitions, len(h.Owned))
		for i, t := range h.Owned {
			request.Owned[i] = group.TopicPartitions{Topic: t.ID, Partitions: t.Partitions}
		}
	}
	got, err := ask[*group.HeartbeatResponse](ctx, k.b, as(s), OpRead, h.Group, request)
	if err != nil {
		return kafkaproto.ConsumerAssigned{}, err
	}
	return kafkaproto.ConsumerAssigned{
		Member: got.Member, Epoch: got.Epoch, HeartbeatInterval: got.HeartbeatInterval, Changed: got.Changed, Assigned: k.ownedTopics(got.Assigned),
	}, nil
}

// ownedTopics are partitions in the listener's words.
func (k *Kafka) ownedTopics(set group.Partitions) []kafkaproto.OwnedTopic {
	named := k.b.groupPartitions(set)
	out := make([]kafkaproto.OwnedTopic, len(named))
	for i, t := range named {
		out[i] = kafkaproto.OwnedTopic{ID: t.TopicID, Name: t.Topic, Partitions: t.Partitions}
	}
	return out
}

// ListGroups implements kafkaproto.Broker.
func (k *Kafka) ListGroups(ctx context.Context, s *kafkaproto.Session) (groups []kafkaproto.Group, loading bool, err error) {
	got, err := k.b.ListGroups(ctx, as(s))
	if err != nil {
		return nil, false, err
	}
	for _, g := range got.Groups {
		groups = append(groups, kafkaproto.Group{Name: g.Group, Consumer: g.Protocol == group.ProtocolConsumer.String(), ProtocolType: g.Type, State: g.State})
	}
	return groups, len(got.Loading) > 0, nil
}

// DescribeGroup implements kafkaproto.Broker.
func (k *Kafka) DescribeGroup(ctx context.Context, s *kafkaproto.Session, name string) (*kafkaproto.GroupDescription, error) {
	got, err := ask[*group.DescribeResponse](ctx, k.b, as(s), OpDescribe, name, &group.DescribeRequest{Group: name})
	if err != nil {
		return nil, err
	}
	d := &kafkaproto.GroupDescription{
		Group:    kafkaproto.Group{Name: got.Group, Consumer: got.Listed.Protocol == group.ProtocolConsumer, ProtocolType: got.ProtocolType, State: string(got.State)},
		Protocol: got.Assignor, Epoch: got.Epoch, AssignmentEpoch: got.TargetEpoch,
	}
	for i := range got.Members {
		m := &got.Members[i]
		d.Members = append(d.Members, kafkaproto.GroupMember{
			Member: m.Member, Instance: m.Instance, Rack: m.Rack, ClientID: m.ClientID, ClientHost: m.ClientHost, Epoch: m.Epoch, Classic: m.Classic,
			Metadata: m.Metadata, Assignment: m.Assignment, Topics: m.Topics, Pattern: m.Pattern, Assigned: k.ownedTopics(m.Assigned), Target: k.ownedTopics(m.Target),
		})
	}
	return d, nil
}

// DeleteGroup implements kafkaproto.Broker.
func (k *Kafka) DeleteGroup(ctx context.Context, s *kafkaproto.Session, name string) error {
	return k.b.DeleteGroup(ctx, as(s), name)
}
