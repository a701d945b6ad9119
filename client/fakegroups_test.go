package client

import (
	"context"

	"github.com/rustmq/rustmq/mq"
	"github.com/rustmq/rustmq/quicproto"
	"github.com/rustmq/rustmq/quicproto/server"
)

// noGroups is the part of a fake broker that is about consumer groups: it has none.
type noGroups struct{}

func (noGroups) refuse() error { return mq.Errorf(mq.InvalidRequest, "a fake broker has no groups") }

func (g noGroups) OpenGroup(context.Context, *server.Session, *quicproto.OpenGroup, server.MemberWatcher) (server.Member, error) {
	return nil, g.refuse()
}

func (g noGroups) FindCoordinator(context.Context, *server.Session, string) (*quicproto.FindCoordinatorResponse, error) {
	return nil, g.refuse()
}

func (g noGroups) CommitOffsets(context.Context, *server.Session, *quicproto.CommitOffsetsRequest) (*quicproto.CommitOffsetsResponse, error) {
	return nil, g.refuse()
}

func (g noGroups) FetchOffsets(context.Context, *server.Session, *quicproto.FetchOffsetsRequest) (*quicproto.FetchOffsetsResponse, error) {
	return nil, g.refuse()
}

func (g noGroups) ListGroups(context.Context, *server.Session) (*quicproto.ListGroupsResponse, error) {
	return nil, g.refuse()
}

func (g noGroups) DescribeGroup(context.Context, *server.Session, string) (*quicproto.DescribeGroupResponse, error) {
	return nil, g.refuse()
}

func (g noGroups) DeleteGroup(context.Context, *server.Session, string) error { return g.refuse() }

func (g noGroups) DeleteOffsets(context.Context, *server.Session, *quicproto.DeleteOffsetsRequest) (*quicproto.DeleteOffsetsResponse, error) {
	return nil, g.refuse()
}

func (g noGroups) ResetOffsets(context.Context, *server.Session, *quicproto.ResetOffsetsRequest) error {
	return g.refuse()
}

// ListGroups implements server.Broker.
func (f *fakeBroker) ListGroups(ctx context.Context, s *server.Session) (*quicproto.ListGroupsResponse, error) {
	if f.listing == nil {
		return f.noGroups.ListGroups(ctx, s)
	}
	return f.listing(), nil
}
