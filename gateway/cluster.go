package gateway

import (
	"context"

	"connectrpc.com/connect"

	rustmqpb "github.com/rustmq/rustmq/api/rustmq/v1"
)

// cluster is rustmq.v1.ClusterService.
type cluster struct{ g *Gateway }

// DescribeCluster implements the service.
func (s cluster) DescribeCluster(ctx context.Context, _ *connect.Request[rustmqpb.DescribeClusterRequest]) (*connect.Response[rustmqpb.DescribeClusterResponse], error) {
	d, err := s.g.client.DescribeCluster(ctx)
	if err != nil {
		return nil, err
	}
	resp := &rustmqpb.DescribeClusterResponse{
		ClusterId: d.ID.String(), NodeId: int32(s.g.node), ControllerId: int32(d.Controller), FeatureLevel: d.FeatureLevel, Software: s.g.software,
	}
	for _, b := range d.Brokers {
		resp.Brokers = append(resp.Brokers, &rustmqpb.Broker{NodeId: int32(b.ID), Address: b.Addr, Rack: text(b.Rack)})
	}
	return connect.NewResponse(resp), nil
}
