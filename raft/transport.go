package raft

import (
	"context"
	"io"

	"go.etcd.io/raft/v3/raftpb"

	"github.com/rustmq/rustmq/mq"
)

// Transport carries messages to the other members. With one voter there is none. Package raft/transport has the one over Connect.
type Transport interface {
	// Start is called once, by Open, before any other method: r takes what is received from then on, and reports of what is lost.
	Start(r Receiver)

	// Send must not block; it may drop any message, and a message must not be changed afterwards.
	Send(messages []*raftpb.Message)

	// SendSnapshot carries a MsgSnap and the body that belongs to it, and returns when the receiver's
	// ReceiveSnapshot has returned, with its error.
	SendSnapshot(ctx context.Context, message *raftpb.Message, body io.Reader) error
}

// Receiver is what a Transport gives to: a *Node.
type Receiver interface {
	Step(m *raftpb.Message)
	ReceiveSnapshot(ctx context.Context, m *raftpb.Message, body io.Reader) error
	ReportUnreachable(id uint64)
	ReportGone(id uint64)
}

var _ Receiver = (*Node)(nil)

// noTransport is the transport of a voter without peers.
type noTransport struct{}

// Start implements Transport.
func (noTransport) Start(Receiver) {}

// Send implements Transport.
func (noTransport) Send([]*raftpb.Message) {}

// SendSnapshot implements Transport.
func (noTransport) SendSnapshot(context.Context, *raftpb.Message, io.Reader) error {
	return mq.Errorf(mq.NetworkException, "there is no transport to peers")
}
