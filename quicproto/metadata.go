package quicproto

import "github.com/rustmq/rustmq/mq"

// MetadataRequest asks for brokers and topics.
type MetadataRequest struct {
	All    bool     // every topic that the principal may see
	Topics []string // otherwise these, at most MaxTopics
}

const metadataFlagAll = 0x01

// API implements RequestBody.
func (*MetadataRequest) API() API { return APIMetadata }

// AppendTo implements Body.
func (m *MetadataRequest) AppendTo(dst []byte) []byte {
	var flags uint8
	if m.All {
		flags = metadataFlagAll
	}
	return appendNames(append(dst, flags), m.Topics, MaxTopicName)
}

// Decode implements Body.
func (m *MetadataRequest) Decode(body []byte) error {
	d := decoder{frame: "MetadataRequest", rest: body}
	*m = MetadataRequest{All: d.flags(metadataFlagAll) != 0, Topics: d.names(MaxTopics, MaxTopicName)}
	return d.end()
}

// MetadataResponse is one consistent view of the cluster.
type MetadataResponse struct {
	ClusterID  mq.ClusterID
	Controller mq.NodeID // -1 while there is none
	Version    uint64    // of the metadata: never goes back on one broker; an answer with a lower one is older
	Brokers    []Broker
	Topics     []Topic // in the order asked for, by name if all were
}

// AppendTo implements Body.
func (m *MetadataResponse) AppendTo(dst []byte) []byte {
	dst = append(dst, m.ClusterID[:]...)
	dst = appendInt32(dst, m.Controller)
	dst = appendUint64(dst, m.Version)
	dst = appendBrokers(dst, m.Brokers)
	dst = appendUint32(dst, uint32(len(m.Topics)))
	for i := range m.Topics {
		dst = m.Topics[i].append(dst)
	}
	return dst
}

// Decode implements Body.
func (m *MetadataResponse) Decode(body []byte) error {
	d := decoder{frame: "MetadataResponse", rest: body}
	*m = MetadataResponse{
		ClusterID: d.clusterID(), Controller: d.node(), Version: d.uint64(), Brokers: d.brokers(),
		Topics: decodeList(&d, topicMinSize, (*decoder).topic),
	}
	return d.end()
}

// DescribeClusterRequest asks about the cluster and the answering node.
type DescribeClusterRequest struct{}

// API implements RequestBody.
func (*DescribeClusterRequest) API() API { return APIDescribeCluster }

// AppendTo implements Body.
func (m *DescribeClusterRequest) AppendTo(dst []byte) []byte { return append(dst, 0) }

// Decode implements Body.
func (m *DescribeClusterRequest) Decode(body []byte) error {
	d := decoder{frame: "DescribeClusterRequest", rest: body}
	d.reserved8()
	return d.end()
}

// DescribeClusterResponse answers DescribeClusterRequest.
type DescribeClusterResponse struct {
	ClusterID    mq.ClusterID
	NodeID       mq.NodeID // who answers
	Controller   mq.NodeID // -1 while there is none
	FeatureLevel uint32
	Software     string // of the answering node
	Brokers      []Broker
}

// AppendTo implements Body.
func (m *DescribeClusterResponse) AppendTo(dst []byte) []byte {
	dst = append(dst, m.ClusterID[:]...)
	dst = appendInt32(dst, m.NodeID)
	dst = appendInt32(dst, m.Controller)
	dst = appendUint32(dst, m.FeatureLevel)
	dst = appendText(dst, m.Software, MaxText)
	return appendBrokers(dst, m.Brokers)
}

// Decode implements Body.
func (m *DescribeClusterResponse) Decode(body []byte) error {
	d := decoder{frame: "DescribeClusterResponse", rest: body}
	*m = DescribeClusterResponse{
		ClusterID: d.clusterID(), NodeID: d.node(), Controller: d.node(), FeatureLevel: d.uint32(),
		Software: d.text(MaxText), Brokers: d.brokers(),
	}
	return d.end()
}
