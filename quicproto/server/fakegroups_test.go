package server_test

import (
	"context"

	"github.com/rustmq/rustmq/mq"
	"github.com/rustmq/rustmq/quicproto"
	"github.com/rustmq/rustmq/quicproto/server"
)

// fakeMember notes what the server does with it.
type fakeMember struct {
	opened chan opening
	said   chan string
	beats  chan *quicproto.Heartbeat
	refuse error // that it is opened
	leave  error // what it gets when it leaves
}

// opening is what a member was opened with.
type opening struct {
	open    *quicproto.OpenGroup
	watcher server.MemberWatcher
}

func newFakeMember() *fakeMember {
	return &fakeMember{opened: make(chan opening, 1), said: make(chan string, 16), beats: make(chan *quicproto.Heartbeat, 16)}
}

func (m *fakeMember) Heartbeat(h *quicproto.Heartbeat) { m.beats <- h }

func (m *fakeMember) Leave(ctx context.Context) error {
	if ctx.Err() != nil {
		m.said <- "left too late"
	}
	m.said <- "left"
	return m.leave
}

func (m *fakeMember) Detach() { m.said <- "detached" }

func (b *fakeBroker) OpenGroup(_ context.Context, s *server.Session, open *quicproto.OpenGroup, w server.MemberWatcher) (server.Member, error) {
	b.mu.Lock()
	m := b.member
	b.mu.Unlock()
	if m.refuse != nil {
		return nil, m.refuse
	}
	m.opened <- opening{open, w}
	w.Assigned(&quicproto.Assignment{Epoch: 1, Changed: true})
	return m, b.allowed(s)
}

func (b *fakeBroker) FindCoordinator(_ context.Context, s *server.Session, group string) (*quicproto.FindCoordinatorResponse, error) {
	return &quicproto.FindCoordinatorResponse{Partition: int32(len(group)), Node: 7}, b.allowed(s)
}

func (b *fakeBroker) CommitOffsets(_ context.Context, s *server.Session, req *quicproto.CommitOffsetsRequest) (*quicproto.CommitOffsetsResponse, error) {
	return &quicproto.CommitOffsetsResponse{Topics: make([][]mq.Code, len(req.Topics))}, b.allowed(s)
}

func (b *fakeBroker) FetchOffsets(_ context.Context, s *server.Session, req *quicproto.FetchOffsetsRequest) (*quicproto.FetchOffsetsResponse, error) {
	return &quicproto.FetchOffsetsResponse{Topics: []quicproto.TopicOffsets{{Topic: req.Group}}}, b.allowed(s)
}

func (b *fakeBroker) ListGroups(_ context.Context, s *server.Session) (*quicproto.ListGroupsResponse, error) {
	return &quicproto.ListGroupsResponse{Groups: []quicproto.ListedGroup{{Group: "g"}}}, b.allowed(s)
}

func (b *fakeBroker) DescribeGroup(_ context.Context, s *server.Session, group string) (*quicproto.DescribeGroupResponse, error) {
	return &quicproto.DescribeGroupResponse{ListedGroup: quicproto.ListedGroup{Group: group}}, b.allowed(s)
}

func (b *fakeBroker) DeleteGroup(_ context.Context, s *server.Session, group string) error {
	if group != "g" {
		return mq.Errorf(mq.GroupIDNotFound, "group %q", group)
	}
	return b.allowed(s)
}

func (b *fakeBroker) DeleteOffsets(_ context.Context, s *server.Session, req *quicproto.DeleteOffsetsRequest) (*quicproto.DeleteOffsetsResponse, error) {
	return &quicproto.DeleteOffsetsResponse{Topics: make([]mq.Code, len(req.Topics))}, b.allowed(s)
}

func (b *fakeBroker) ResetOffsets(_ context.Context, _ *server.Session, req *quicproto.ResetOffsetsRequest) error {
	return mq.Errorf(mq.NonEmptyGroup, "group %q", req.Group)
}
