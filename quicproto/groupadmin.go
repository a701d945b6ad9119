package quicproto

import "github.com/rustmq/rustmq/mq"

// ListGroupsRequest asks a node which groups it coordinates.
type ListGroupsRequest struct{}

// API implements RequestBody.
func (*ListGroupsRequest) API() API { return APIListGroups }

// AppendTo implements Body.
func (m *ListGroupsRequest) AppendTo(dst []byte) []byte { return append(dst, 0) }

// Decode implements Body.
func (m *ListGroupsRequest) Decode(body []byte) error {
	d := decoder{frame: "ListGroupsRequest", rest: body}
	d.reserved8()
	return d.end()
}

// ListedGroup is a group in a list.
type ListedGroup struct {
	Group    string
	Protocol string // "consumer" or "classic"
	Type     string // the protocol type of a classic group, else empty
	State    string // Kafka's names: Empty, Assigning, Reconciling, Stable, PreparingRebalance, CompletingRebalance
	Members  int32
}

const listedGroupMinSize = 4*2 + 4

func (g *ListedGroup) append(dst []byte) []byte {
	for _, s := range [...]string{g.Group, g.Protocol, g.Type, g.State} {
		dst = appendText(dst, s, MaxText)
	}
	return appendInt32(dst, g.Members)
}

func (d *decoder) listedGroup() ListedGroup {
	return ListedGroup{Group: d.text(MaxText), Protocol: d.text(MaxText), Type: d.text(MaxText), State: d.text(MaxText), Members: d.int32()}
}

// ListGroupsResponse has the groups that the node coordinates, by name.
type ListGroupsResponse struct {
	Groups  []ListedGroup
	Loading []int32 // partitions of the groups' topic that the node leads and is not done reading: their groups are not among Groups
}

// AppendTo implements Body.
func (m *ListGroupsResponse) AppendTo(dst []byte) []byte {
	dst = appendUint32(dst, uint32(len(m.Groups)))
	for i := range m.Groups {
		dst = m.Groups[i].append(dst)
	}
	return appendIndexes(dst, m.Loading)
}

// Decode implements Body.
func (m *ListGroupsResponse) Decode(body []byte) error {
	d := decoder{frame: "ListGroupsResponse", rest: body}
	m.Groups, m.Loading = decodeList(&d, listedGroupMinSize, (*decoder).listedGroup), d.indexes()
	return d.end()
}

// DescribeGroupRequest asks for all there is to know about one group.
type DescribeGroupRequest struct {
	Group string
}

// API implements RequestBody.
func (*DescribeGroupRequest) API() API { return APIDescribeGroup }

// AppendTo implements Body.
func (m *DescribeGroupRequest) AppendTo(dst []byte) []byte { return appendGroup(dst, m.Group) }

// Decode implements Body.
func (m *DescribeGroupRequest) Decode(body []byte) error {
	return decodeGroup("DescribeGroupRequest", body, &m.Group)
}

// GroupMember is a member of a group.
type GroupMember struct {
	Member   string
	Instance string // empty for a dynamic one
	ClientID string
	Host     string
	Rack     string
	Epoch    int32 // of the member, or the generation of a classic group
	Topics   []string
	Pattern  string
	Assigned []GroupPartitions
}

const groupMemberMinSize = 5*2 + 4 + 4 + 2 + 4

func (g *GroupMember) append(dst []byte) []byte {
	for _, s := range [...]string{g.Member, g.Instance, g.ClientID, g.Host, g.Rack} {
		dst = appendText(dst, s, MaxText)
	}
	dst = appendNames(appendInt32(dst, g.Epoch), g.Topics, MaxTopicName)
	return appendGroupPartitions(appendText(dst, g.Pattern, MaxValue), g.Assigned)
}

func (d *decoder) groupMember() GroupMember {
	return GroupMember{
		Member: d.text(MaxText), Instance: d.text(MaxText), ClientID: d.text(MaxText), Host: d.text(MaxText), Rack: d.text(MaxText),
		Epoch: d.int32(), Topics: d.names(MaxTopics, MaxTopicName), Pattern: d.text(MaxValue), Assigned: d.groupPartitions(),
	}
}

// GroupPartition is how far a group has come in one partition.
type GroupPartition struct {
	Topic     string
	Partition int32
	Committed mq.Offset // -1: nothing is committed
	End       mq.Offset // of what consumers may read; -1 if the answering node does not know it: the partition's leader does
	Metadata  string    // beside the committed offset
	Member    string    // that it is assigned to; empty: nobody
}

const groupPartitionMinSize = 2 + 4 + 8 + 8 + 2 + 2

func (p *GroupPartition) append(dst []byte) []byte {
	dst = appendInt32(appendText(dst, p.Topic, MaxTopicName), p.Partition)
	dst = appendOffset(appendOffset(dst, p.Committed), p.End)
	return appendText(appendText(dst, p.Metadata, MaxValue), p.Member, MaxText)
}

func (d *decoder) groupPartition() GroupPartition {
	return GroupPartition{
		Topic: d.text(MaxTopicName), Partition: d.int32(), Committed: d.offset(), End: d.offset(), Metadata: d.text(MaxValue), Member: d.text(MaxText),
	}
}

// DescribeGroupResponse describes a group.
type DescribeGroupResponse struct {
	ListedGroup
	Epoch      int32  // of the group, or its generation
	Assignor   string // or the protocol of a classic group
	Members    []GroupMember
	Partitions []GroupPartition // that have a committed offset or are assigned, by topic and number
}

// AppendTo implements Body.
func (m *DescribeGroupResponse) AppendTo(dst []byte) []byte {
	dst = appendText(appendInt32(m.ListedGroup.append(dst), m.Epoch), m.Assignor, MaxText)
	dst = appendUint32(dst, uint32(len(m.Members)))
	for i := range m.Members {
		dst = m.Members[i].append(dst)
	}
	dst = appendUint32(dst, uint32(len(m.Partitions)))
	for i := range m.Partitions {
		dst = m.Partitions[i].append(dst)
	}
	return dst
}

// Decode implements Body.
func (m *DescribeGroupResponse) Decode(body []byte) error {
	d := decoder{frame: "DescribeGroupResponse", rest: body}
	*m = DescribeGroupResponse{
		ListedGroup: d.listedGroup(), Epoch: d.int32(), Assignor: d.text(MaxText),
		Members:    decodeList(&d, groupMemberMinSize, (*decoder).groupMember),
		Partitions: decodeList(&d, groupPartitionMinSize, (*decoder).groupPartition),
	}
	return d.end()
}

// DeleteGroupRequest has a group without members and all its offsets forgotten. Its Response has an empty body.
type DeleteGroupRequest struct {
	Group string
}

// API implements RequestBody.
func (*DeleteGroupRequest) API() API { return APIDeleteGroup }

// AppendTo implements Body.
func (m *DeleteGroupRequest) AppendTo(dst []byte) []byte { return appendGroup(dst, m.Group) }

// Decode implements Body.
func (m *DeleteGroupRequest) Decode(body []byte) error {
	return decodeGroup("DeleteGroupRequest", body, &m.Group)
}

// DeleteOffsetsRequest has committed offsets of topics forgotten that no member of the group subscribes to.
type DeleteOffsetsRequest struct {
	Group  string
	Topics []TopicPartitions
}

// API implements RequestBody.
func (*DeleteOffsetsRequest) API() API { return APIDeleteOffsets }

// AppendTo implements Body.
func (m *DeleteOffsetsRequest) AppendTo(dst []byte) []byte {
	return appendTopicPartitions(appendGroup(dst, m.Group), m.Topics)
}

// Decode implements Body.
func (m *DeleteOffsetsRequest) Decode(body []byte) error {
	d := decoder{frame: "DeleteOffsetsRequest", rest: body}
	d.reserved8()
	*m = DeleteOffsetsRequest{Group: d.text(MaxText), Topics: d.topicPartitions()}
	return d.end()
}

// DeleteOffsetsResponse has a code for each topic, in the request's order.
type DeleteOffsetsResponse struct {
	Topics []mq.Code
}

// AppendTo implements Body.
func (m *DeleteOffsetsResponse) AppendTo(dst []byte) []byte { return appendCodes(dst, m.Topics) }

// Decode implements Body.
func (m *DeleteOffsetsResponse) Decode(body []byte) error {
	d := decoder{frame: "DeleteOffsetsResponse", rest: body}
	m.Topics = d.codes()
	return d.end()
}

// ResetOffsetsRequest sets committed offsets of topics that no member of the group subscribes to, all or none. A group that is not known is made. Its Response has an
// empty body.
type ResetOffsetsRequest struct {
	Group  string
	Topics []TopicOffsets
}

// API implements RequestBody.
func (*ResetOffsetsRequest) API() API { return APIResetOffsets }

// AppendTo implements Body.
func (m *ResetOffsetsRequest) AppendTo(dst []byte) []byte {
	return appendTopicOffsets(appendGroup(dst, m.Group), m.Topics)
}

// Decode implements Body.
func (m *ResetOffsetsRequest) Decode(body []byte) error {
	d := decoder{frame: "ResetOffsetsRequest", rest: body}
	d.reserved8()
	*m = ResetOffsetsRequest{Group: d.text(MaxText), Topics: d.topicOffsets()}
	return d.end()
}
