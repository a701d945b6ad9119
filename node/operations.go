package node

import (
	"context"
	"time"

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
	if n.mounted() {
		return nil, mq.Errorf(mq.ReadOnly, "a mount has no controllers: %w", n.mount.Refusal())
	}
	if client == nil {
		return n.askOwnController(ctx, req)
	}
	asked, cancel := ctx, context.CancelFunc(func() {})
	if req.GetRaftStatus() != nil {
		asked, cancel = context.WithTimeout(ctx, leaderPatience)
	}
	defer cancel()
	resp, err := adminpb.Ask(req, func(message []byte) ([]byte, error) { return client.Operate(asked, message) })
	if err != nil && asked.Err() != nil && ctx.Err() == nil && n.raft != nil { // nobody leads
		return n.askOwnController(ctx, req)
	}
	return resp, err
}
