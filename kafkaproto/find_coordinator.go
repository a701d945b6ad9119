// FindCoordinator (10), versions 0 to 6.
//
// Says which node coordinates consumer groups, one in each request or, from version 4 on, several. The first one to be asked for makes the topic that the state of groups is in.
// COORDINATOR_NOT_AVAILABLE has clients ask again.
//
// Not supported: coordinators of transactions and of share groups (INVALID_REQUEST).

package kafkaproto

import (
	"context"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/rustmq/rustmq/mq"
)

func findCoordinatorAPI() api {
	return api{key: kmsg.FindCoordinator, min: 0, max: 6, start: inTurn(findCoordinator)}
}

func findCoordinator(ctx context.Context, c *call, q *kmsg.FindCoordinatorRequest, r *kmsg.FindCoordinatorResponse) error {
	if q.Version < 4 {
		n, err := c.coordinator(ctx, c.broker().Nodes(), q.CoordinatorType, q.CoordinatorKey)
		r.NodeID, r.Host, r.Port = int32(n.ID), n.Host, int32(n.Port)
		if err != nil {
			r.ErrorCode, r.ErrorMessage = coordinatorCodeOf(err), textOf(err)
		}
		return nil
	}
	nodes := c.broker().Nodes()
	r.Coordinators = make([]kmsg.FindCoordinatorResponseCoordinator, len(q.CoordinatorKeys))
	for i, key := range q.CoordinatorKeys {
		out := kmsg.NewFindCoordinatorResponseCoordinator()
		n, err := c.coordinator(ctx, nodes, q.CoordinatorType, key)
		out.Key, out.NodeID, out.Host, out.Port = key, int32(n.ID), n.Host, int32(n.Port)
		if err != nil {
			out.ErrorCode, out.ErrorMessage = coordinatorCodeOf(err), textOf(err)
		}
		r.Coordinators[i] = out
	}
	return nil
}

// coordinator finds one of nodes; with an error it is none.
func (c *call) coordinator(ctx context.Context, nodes []Node, kind int8, key string) (Node, error) {
	none := Node{ID: mq.NoNode}
	if err := timeLeft(ctx); err != nil {
		return none, err
	}
	if kind != 0 {
		return none, mq.Errorf(mq.InvalidRequest, "there are no coordinators of type %d: only consumer groups (0) have one", kind)
	}
	id, err := c.broker().Coordinator(ctx, c.session, key)
	if err != nil {
		return none, err
	}
	for _, n := range nodes {
		if n.ID == id {
			return n, nil
		}
	}
	return none, mq.Errorf(mq.CoordinatorNotAvailable, "node %d, which coordinates group %q, is not in service for Kafka clients", id, key)
}
