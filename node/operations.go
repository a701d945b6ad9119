package node

import (
	"context"
	"time"

	"google.golang.org/protobuf/proto"

	adminpb "github.com/rustmq/rustmq/api/admin/v1"
	"github.com/rustmq/rustmq/broker"
	"github.com/rustmq/rustmq/mq"
)

// leaderPatience is how long the status of raft waits for the leading controller, before this node tells what its own controller knows.
const leaderPatience = 2 * time.Second

var _ broker.Operations = (*Node)(nil)

// AskController implements broker.Operations.
func (n *Node) AskController(ctx context.Context, req *adminpb.Request) (*adminpb.Response, error) {
	client := n.client.Load()
	if client == nil {
		return n.askOwnController(ctx, req)
	}
	message, err := proto.Marshal(req)
	if err != nil {
		return nil, mq.Errorf(mq.Internal, "encode the operation: %w", err)
	}
	asked, cancel := ctx, context.CancelFunc(func() {})
	if req.GetRaftStatus() != nil {
		asked, cancel = context.WithTimeout(ctx, leaderPatience)
	}
	defer cancel()
	answer, err := client.Operate(asked, message)
	if err != nil && asked.Err() != nil && ctx.Err() == nil && n.raft != nil { // nobody leads
		return n.askOwnController(ctx, req)
	}
	if err != nil {
		return nil, err
	}
	resp := new(adminpb.Response)
	if err := proto.Unmarshal(answer, resp); err != nil {
		return nil, mq.Errorf(mq.Internal, "decode the answer of the leading controller: %w", err)
	}
	return resp, nil
}
