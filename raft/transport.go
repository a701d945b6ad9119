package raft

import (
	"context"
	"io"

	"go.etcd.io/raft/v3/raftpb"

	"github.com/rustmq/rustmq/mq"
)

// Transport carries messages to the other voters. With one voter there is none.
type Transport interface {
	// Send must not block; it may drop any message, and a message must not be changed afterwards.
	Send(messages []*raftpb.Message)

	// SendSnapshot carries a MsgSnap and the body that belongs to it, and returns when the receiver's
	// ReceiveSnapshot has returned, with its error.
	SendSnapshot(ctx context.Context, message *raftpb.Message, body io.Reader) error
}

// noTransport is the transport of a voter without peers.
type noTransport struct{}

// Send implements Transport.
func (noTransport) Send([]*raftpb.Message) {}

// SendSnapshot implements Transport.
func (noTransport) SendSnapshot(context.Context, *raftpb.Message, io.Reader) error {
	return mq.Errorf(mq.NetworkException, "there is no transport to peers")
}
