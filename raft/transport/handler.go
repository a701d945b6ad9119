package transport

import (
	"context"
	"net/http"

	"connectrpc.com/connect"
	etcdpb "go.etcd.io/raft/v3/raftpb"
	"google.golang.org/protobuf/proto"

	raftpb "github.com/rustmq/rustmq/api/raft/v1"
	"github.com/rustmq/rustmq/api/raft/v1/raftpbconnect"
	"github.com/rustmq/rustmq/api/rpcerr"
	"github.com/rustmq/rustmq/mq"
	"github.com/rustmq/rustmq/raft/form"
)

// HandlerConfig is what the served side is made of. It is served before there is a group, since it answers those who want to found one.
type HandlerConfig struct {
	// Peer is the node that a request's connection proves to be from.
	Peer func(context.Context) (mq.NodeID, bool)
	// Form is what this controller answers to those who found a group: what it has durably. False while it is not known.
	Form func() (form.Answer, bool)
	// Transport is that of the node that runs, nil while none does.
	Transport func() *Transport
}

// NewHandler makes the handler of the RaftService and says at which path it goes.
func NewHandler(cfg HandlerConfig) (path string, h http.Handler) {
	return raftpbconnect.NewRaftServiceHandler(&handler{cfg: cfg}, connect.WithReadMaxBytes(maxRequestBytes))
}

type handler struct{ cfg HandlerConfig }

var _ raftpbconnect.RaftServiceHandler = (*handler)(nil)

// Messages implements the service: it hands on what one member sends.
func (h *handler) Messages(
	ctx context.Context, stream *connect.ClientStream[raftpb.MessagesRequest],
) (*connect.Response[raftpb.MessagesResponse], error) {
	var t *Transport
	var from uint64
	for stream.Receive() {
		request := stream.Msg()
		if t == nil {
			var err error
			if t, err = h.greet(ctx, request.GetHello()); err != nil {
				return nil, rpcerr.ToConnect(err)
			}
			from = request.GetHello().GetFrom()
			defer t.called(from)()
		}
		if t.ctx.Err() != nil {
			return nil, rpcerr.ToConnect(mq.Errorf(mq.ShuttingDown, "raft: this controller is closing"))
		}
		for _, b := range request.GetMessages() {
			m, err := decodeMessage(b, from, t.cfg.ID)
			if err != nil {
				return nil, rpcerr.ToConnect(err)
			}
			(*t.receiver.Load()).Step(m)
		}
	}
	if err := stream.Err(); err != nil {
		return nil, err
	}
	return connect.NewResponse(&raftpb.MessagesResponse{}), nil
}

// decodeMessage checks that a message is one that members send to each other, from the one that sends it, to this one.
func decodeMessage(b []byte, from, to uint64) (*etcdpb.Message, error) {
	m := &etcdpb.Message{}
	if err := proto.Unmarshal(b, m); err != nil {
		return nil, mq.Errorf(mq.ProtocolViolation, "raft: a message of %d bytes: %w", len(b), err)
	}
	switch m.GetType() {
	case etcdpb.MsgApp, etcdpb.MsgAppResp, etcdpb.MsgVote, etcdpb.MsgVoteResp, etcdpb.MsgPreVote, etcdpb.MsgPreVoteResp,
		etcdpb.MsgHeartbeat, etcdpb.MsgHeartbeatResp, etcdpb.MsgTimeoutNow, etcdpb.MsgReadIndex, etcdpb.MsgReadIndexResp, etcdpb.MsgTransferLeader:
	default:
		return nil, mq.Errorf(mq.ProtocolViolation, "raft: a message of type %s among members", m.GetType())
	}
	if m.GetFrom() != from || m.GetTo() != to {
		return nil, mq.Errorf(mq.ProtocolViolation, "raft: a message from %d to %d came from %d to %d", m.GetFrom(), m.GetTo(), from, to)
	}
	next := m.GetIndex()
	for _, e := range m.GetEntries() {
		next++
		if m.GetType() == etcdpb.MsgApp && e.GetIndex() != next {
			return nil, mq.Errorf(mq.ProtocolViolation, "raft: entry %d behind %d", e.GetIndex(), next-1)
		}
	}
	return m, nil
}
