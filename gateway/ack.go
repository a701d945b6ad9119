package gateway

import (
	"context"
	"strconv"
	"strings"

	"connectrpc.com/connect"

	rustmqpb "github.com/rustmq/rustmq/api/rustmq/v1"
	"github.com/rustmq/rustmq/client"
	"github.com/rustmq/rustmq/mq"
)

// Ack implements the service.
func (s consuming) Ack(ctx context.Context, req *connect.Request[rustmqpb.AckRequest]) (*connect.Response[rustmqpb.AckResponse], error) {
	st, err := s.g.stream(req.Msg.GetSessionId())
	if err != nil {
		return nil, err
	}
	list := req.Msg.GetOffsets()
	if len(list) > maxPartitions {
		return nil, invalid("%d offsets: at most %d are allowed", len(list), maxPartitions)
	}
	outcomes := make([]chan error, len(list))
	for i, o := range list {
		outcomes[i] = st.ack(o)
	}
	resp := &rustmqpb.AckResponse{}
	for _, outcome := range outcomes {
		result := &rustmqpb.AckResult{}
		select {
		case err := <-outcome:
			if err != nil {
				result.Error = failure(err)
			}
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-st.ctx.Done():
			return nil, gone(req.Msg.GetSessionId())
		}
		resp.Results = append(resp.Results, result)
	}
	return connect.NewResponse(resp), nil
}

// stream finds the stream of a member.
func (g *Gateway) stream(id string) (*stream, error) {
	if owner, _, ok := strings.Cut(id, "-"); ok && owner != strconv.Itoa(int(g.node)) {
		return nil, mq.Errorf(mq.UnknownMemberID, "session %.60q is not one of node %d, which this is: acknowledge at the node that serves the stream", id, g.node)
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if st := g.streams[id]; st != nil {
		return st, nil
	}
	return nil, gone(id)
}

func gone(id string) error {
	return mq.Errorf(mq.UnknownMemberID, "session %.60q has ended, or is of no group: what was not acknowledged will be consumed again", id)
}

// ack has an offset committed. The channel gets the outcome.
func (st *stream) ack(o *rustmqpb.PartitionOffset) chan error {
	tp, next := client.TopicPartition{Topic: o.GetTopic(), Partition: o.GetPartition()}, mq.Offset(o.GetNextOffset())
	outcome := make(chan error, 1)
	st.mu.Lock()
	defer st.mu.Unlock()
	p := st.parts[tp]
	switch {
	case p == nil:
		outcome <- &client.PartitionError{Topic: tp.Topic, Partition: tp.Partition, Err: invalid("the partition is not this member's, or not any more")}
	case next < 0 || next > p.sent:
		outcome <- &client.PartitionError{Topic: tp.Topic, Partition: tp.Partition, Err: invalid("next_offset %d: what was sent ends at %d", next, p.sent)}
	default:
		st.commit(tp, p, next, func(err error) { outcome <- err })
	}
	return outcome
}
