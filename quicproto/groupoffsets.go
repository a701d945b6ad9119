package quicproto

import "github.com/rustmq/rustmq/mq"

// CommittedOffset is the offset that a group goes on at in one partition.
type CommittedOffset struct {
	Partition   int32
	Offset      mq.Offset // the next to consume; -1 in an answer: none is committed
	LeaderEpoch mq.Epoch  // of the last record that was consumed, or mq.NoEpoch
	Metadata    string    // the committer's own, at most MaxValue bytes
}

// TopicOffsets are offsets of partitions of one topic.
type TopicOffsets struct {
	Topic   string
	TopicID mq.TopicID // zero: whichever has the name now
	Offsets []CommittedOffset
}

const (
	committedOffsetMinSize = 4 + 8 + 4 + 2
	topicOffsetsMinSize    = 2 + 16 + 4
)

func appendTopicOffsets(dst []byte, list []TopicOffsets) []byte {
	dst = appendUint32(dst, uint32(len(list)))
	for i := range list {
		t := &list[i]
		dst = appendTopicID(appendText(dst, t.Topic, MaxTopicName), t.TopicID)
		dst = appendUint32(dst, uint32(len(t.Offsets)))
		for _, o := range t.Offsets {
			dst = appendOffset(appendInt32(dst, o.Partition), o.Offset)
			dst = appendText(appendInt32(dst, o.LeaderEpoch), o.Metadata, MaxValue)
		}
	}
	return dst
}

func (d *decoder) topicOffsets() []TopicOffsets {
	return decodeList(d, topicOffsetsMinSize, func(d *decoder) TopicOffsets {
		return TopicOffsets{
			Topic: d.text(MaxTopicName), TopicID: d.topicID(),
			Offsets: decodeList(d, committedOffsetMinSize, func(d *decoder) CommittedOffset {
				return CommittedOffset{Partition: d.int32(), Offset: d.offset(), LeaderEpoch: d.epoch(), Metadata: d.text(MaxValue)}
			}),
		}
	})
}

// TopicPartitions name partitions of one topic.
type TopicPartitions struct {
	Topic      string
	TopicID    mq.TopicID // zero: whichever has the name now
	Partitions []int32
}

func appendTopicPartitions(dst []byte, list []TopicPartitions) []byte {
	dst = appendUint32(dst, uint32(len(list)))
	for i := range list {
		dst = appendTopicID(appendText(dst, list[i].Topic, MaxTopicName), list[i].TopicID)
		dst = appendIndexes(dst, list[i].Partitions)
	}
	return dst
}

func (d *decoder) topicPartitions() []TopicPartitions {
	return decodeList(d, topicOffsetsMinSize, func(d *decoder) TopicPartitions {
		return TopicPartitions{Topic: d.text(MaxTopicName), TopicID: d.topicID(), Partitions: d.indexes()}
	})
}

func appendCodes(dst []byte, list []mq.Code) []byte {
	dst = appendUint32(dst, uint32(len(list)))
	for _, c := range list {
		dst = appendCode(dst, c)
	}
	return dst
}

func (d *decoder) codes() []mq.Code { return decodeList(d, 2, (*decoder).code) }

// CommitOffsetsRequest commits offsets for a group, durably.
type CommitOffsetsRequest struct {
	Group    string
	Member   string // empty for one who is no member, which is taken while the group has none
	Instance string // of a static member
	Epoch    int32  // the member's, -1 for one who is no member
	Topics   []TopicOffsets
}

// API implements RequestBody.
func (*CommitOffsetsRequest) API() API { return APICommitOffsets }

// AppendTo implements Body.
func (m *CommitOffsetsRequest) AppendTo(dst []byte) []byte {
	dst = appendText(appendGroup(dst, m.Group), m.Member, MaxText)
	dst = appendInt32(appendText(dst, m.Instance, MaxText), m.Epoch)
	return appendTopicOffsets(dst, m.Topics)
}

// Decode implements Body.
func (m *CommitOffsetsRequest) Decode(body []byte) error {
	d := decoder{frame: "CommitOffsetsRequest", rest: body}
	d.reserved8()
	*m = CommitOffsetsRequest{
		Group: d.text(MaxText), Member: d.text(MaxText), Instance: d.text(MaxText), Epoch: d.int32(), Topics: d.topicOffsets(),
	}
	return d.end()
}

// CommitOffsetsResponse has a code for each partition, in the request's order. Those that are none are committed.
type CommitOffsetsResponse struct {
	Topics [][]mq.Code
}

// AppendTo implements Body.
func (m *CommitOffsetsResponse) AppendTo(dst []byte) []byte {
	dst = appendUint32(dst, uint32(len(m.Topics)))
	for _, codes := range m.Topics {
		dst = appendCodes(dst, codes)
	}
	return dst
}

// Decode implements Body.
func (m *CommitOffsetsResponse) Decode(body []byte) error {
	d := decoder{frame: "CommitOffsetsResponse", rest: body}
	m.Topics = decodeList(&d, 4, (*decoder).codes)
	return d.end()
}

const flagAll = 0x01

// FetchOffsetsRequest asks what is committed for a group.
type FetchOffsetsRequest struct {
	All    bool // of all topics; Topics is empty then
	Group  string
	Member string // empty: not said; else it is refused when it is no member with this epoch
	Epoch  int32  // the member's, -1 without one
	Topics []TopicPartitions
}

// API implements RequestBody.
func (*FetchOffsetsRequest) API() API { return APIFetchOffsets }

// AppendTo implements Body.
func (m *FetchOffsetsRequest) AppendTo(dst []byte) []byte {
	flags := uint8(0)
	if m.All {
		flags = flagAll
	}
	dst = appendText(appendText(append(dst, flags), m.Group, MaxText), m.Member, MaxText)
	return appendTopicPartitions(appendInt32(dst, m.Epoch), m.Topics)
}

// Decode implements Body.
func (m *FetchOffsetsRequest) Decode(body []byte) error {
	d := decoder{frame: "FetchOffsetsRequest", rest: body}
	*m = FetchOffsetsRequest{
		All: d.flags(flagAll) != 0, Group: d.text(MaxText), Member: d.text(MaxText), Epoch: d.int32(), Topics: d.topicPartitions(),
	}
	return d.end()
}

// FetchOffsetsResponse has what is committed: of the partitions that were asked for, in the request's order, or of all that there are. A group that is not known has
// committed nothing.
type FetchOffsetsResponse struct {
	Topics []TopicOffsets
}

// AppendTo implements Body.
func (m *FetchOffsetsResponse) AppendTo(dst []byte) []byte { return appendTopicOffsets(dst, m.Topics) }

// Decode implements Body.
func (m *FetchOffsetsResponse) Decode(body []byte) error {
	d := decoder{frame: "FetchOffsetsResponse", rest: body}
	m.Topics = d.topicOffsets()
	return d.end()
}
