package quicproto

import "github.com/rustmq/rustmq/mq"

const flagDryRun = 0x01

func appendDryRun(dst []byte, dryRun bool) []byte {
	if dryRun {
		return append(dst, flagDryRun)
	}
	return append(dst, 0)
}

// CreateTopicRequest creates a topic.
type CreateTopicRequest struct {
	Name       string
	Partitions int32    // -1 for the cluster's default
	Replicas   int16    // -1 for the cluster's default
	Configs    []Config // Default must be false
	DryRun     bool     // check only
}

// API implements RequestBody.
func (*CreateTopicRequest) API() API { return APICreateTopic }

// AppendTo implements Body.
func (m *CreateTopicRequest) AppendTo(dst []byte) []byte {
	dst = appendDryRun(dst, m.DryRun)
	dst = appendText(dst, m.Name, MaxTopicName)
	dst = appendInt32(dst, m.Partitions)
	dst = appendUint16(dst, uint16(m.Replicas))
	return appendConfigs(dst, m.Configs)
}

// Decode implements Body.
func (m *CreateTopicRequest) Decode(body []byte) error {
	d := decoder{frame: "CreateTopicRequest", rest: body}
	*m = CreateTopicRequest{DryRun: d.flags(flagDryRun) != 0, Name: d.text(MaxTopicName), Partitions: d.int32()}
	m.Replicas, m.Configs = int16(d.uint16()), d.configs()
	return d.end()
}

// CreateTopicResponse tells what was created.
type CreateTopicResponse struct {
	ID         mq.TopicID // zero after a dry run
	Partitions int32
	Replicas   int16
}

// AppendTo implements Body.
func (m *CreateTopicResponse) AppendTo(dst []byte) []byte {
	return appendUint16(appendInt32(appendTopicID(dst, m.ID), m.Partitions), uint16(m.Replicas))
}

// Decode implements Body.
func (m *CreateTopicResponse) Decode(body []byte) error {
	d := decoder{frame: "CreateTopicResponse", rest: body}
	*m = CreateTopicResponse{ID: d.topicID(), Partitions: d.int32(), Replicas: int16(d.uint16())}
	return d.end()
}

// DeleteTopicRequest deletes a topic and all that is in it. Its Response has an empty body.
type DeleteTopicRequest struct {
	Name string
}

// API implements RequestBody.
func (*DeleteTopicRequest) API() API { return APIDeleteTopic }

// AppendTo implements Body.
func (m *DeleteTopicRequest) AppendTo(dst []byte) []byte {
	return appendText(append(dst, 0), m.Name, MaxTopicName)
}

// Decode implements Body.
func (m *DeleteTopicRequest) Decode(body []byte) error {
	d := decoder{frame: "DeleteTopicRequest", rest: body}
	d.reserved8()
	m.Name = d.text(MaxTopicName)
	return d.end()
}

// AlterTopicRequest changes a topic's configs or adds partitions, all of it or nothing. Its Response has an empty body.
type AlterTopicRequest struct {
	Name       string
	Partitions int32    // new total, 0 to leave as it is
	Set        []Config // Default must be false
	Unset      []string // back to the default
	DryRun     bool     // check only
}

// API implements RequestBody.
func (*AlterTopicRequest) API() API { return APIAlterTopic }

// AppendTo implements Body.
func (m *AlterTopicRequest) AppendTo(dst []byte) []byte {
	dst = appendDryRun(dst, m.DryRun)
	dst = appendText(dst, m.Name, MaxTopicName)
	dst = appendInt32(dst, m.Partitions)
	dst = appendConfigs(dst, m.Set)
	return appendNames(dst, m.Unset, MaxText)
}

// Decode implements Body.
func (m *AlterTopicRequest) Decode(body []byte) error {
	d := decoder{frame: "AlterTopicRequest", rest: body}
	*m = AlterTopicRequest{
		DryRun: d.flags(flagDryRun) != 0, Name: d.text(MaxTopicName), Partitions: d.int32(),
		Set: d.configs(), Unset: d.names(MaxConfigs, MaxText),
	}
	return d.end()
}

// DescribeTopicRequest asks for all there is to know about one topic.
type DescribeTopicRequest struct {
	Name string
}

// API implements RequestBody.
func (*DescribeTopicRequest) API() API { return APIDescribeTopic }

// AppendTo implements Body.
func (m *DescribeTopicRequest) AppendTo(dst []byte) []byte {
	return appendText(append(dst, 0), m.Name, MaxTopicName)
}

// Decode implements Body.
func (m *DescribeTopicRequest) Decode(body []byte) error {
	d := decoder{frame: "DescribeTopicRequest", rest: body}
	d.reserved8()
	m.Name = d.text(MaxTopicName)
	return d.end()
}

// DescribeTopicResponse answers DescribeTopicRequest.
type DescribeTopicResponse struct {
	Name       string
	ID         mq.TopicID
	Configs    []Config // all that a topic can have, by key
	Partitions []PartitionDetail
}

// AppendTo implements Body.
func (m *DescribeTopicResponse) AppendTo(dst []byte) []byte {
	dst = appendText(dst, m.Name, MaxTopicName)
	dst = appendTopicID(dst, m.ID)
	dst = appendConfigs(dst, m.Configs)
	dst = appendUint32(dst, uint32(len(m.Partitions)))
	for i := range m.Partitions {
		dst = m.Partitions[i].append(dst)
	}
	return dst
}

// Decode implements Body.
func (m *DescribeTopicResponse) Decode(body []byte) error {
	d := decoder{frame: "DescribeTopicResponse", rest: body}
	*m = DescribeTopicResponse{
		Name: d.text(MaxTopicName), ID: d.topicID(), Configs: d.configs(),
		Partitions: decodeList(&d, partitionDetailMinSize, (*decoder).partitionDetail),
	}
	return d.end()
}
