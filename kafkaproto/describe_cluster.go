// DescribeCluster (60), versions 0 to 2.
//
// The cluster's id and its brokers, from version 2 on also those that are not in service if the client wants them; CLUSTER_AUTHORIZATION_FAILED for who may not describe the cluster. As the controller it tells the node that answers, as Metadata does.
//
// Not supported: controllers as endpoints (MISMATCHED_ENDPOINT_TYPE); authorized operations, which are told as unknown.

package kafkaproto

import (
	"context"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/rustmq/rustmq/mq"
)

func describeClusterAPI() api {
	return api{key: kmsg.DescribeCluster, min: 0, max: 2, start: inTurn(describeCluster)}
}

// Kafka's errors and types of endpoints, which only this API needs.
const (
	mismatchedEndpointType  = 114
	unsupportedEndpointType = 115
	endpointBrokers         = 1
	endpointControllers     = 2
)

func describeCluster(_ context.Context, c *call, q *kmsg.DescribeClusterRequest, r *kmsg.DescribeClusterResponse) error {
	if err := c.broker().AuthoriseCluster(c.session, false); err != nil {
		r.ErrorCode, r.ErrorMessage = failure(err)
		return nil
	}
	cluster, node := c.broker().Identity()
	r.ClusterID, r.ControllerID = cluster.String(), int32(node)
	if q.Version >= 1 && q.EndpointType != endpointBrokers {
		r.ErrorCode = unsupportedEndpointType
		if q.EndpointType == endpointControllers {
			r.ErrorCode = mismatchedEndpointType
		}
		r.ErrorMessage = textOf(mq.Errorf(mq.InvalidRequest, "endpoints of type %d: a broker tells those of brokers (%d)", q.EndpointType, endpointBrokers))
		r.ClusterID, r.ControllerID = "", -1
		return nil
	}
	nodes := c.broker().Nodes()
	if q.Version >= 2 && q.IncludeFencedBrokers {
		nodes = c.broker().AllNodes()
	}
	for _, n := range nodes {
		b := kmsg.NewDescribeClusterResponseBroker()
		b.NodeID, b.Host, b.Port, b.Rack, b.IsFenced = int32(n.ID), n.Host, int32(n.Port), rack(n.Rack), n.Fenced
		r.Brokers = append(r.Brokers, b)
	}
	return nil
}
