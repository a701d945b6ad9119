package quicproto

import "github.com/rustmq/rustmq/mq"

// Timestamps that name a place in ListOffsets (Kafka's).
const (
	TimestampLatest   int64 = -1 // the end of what the isolation lets be read
	TimestampEarliest int64 = -2 // the log start
)

// OffsetQuery asks for the first offset of one partition whose record is not older than Timestamp.
type OffsetQuery struct {
	Partition int32
	Timestamp int64 // ms since 1970, or a named place
}

// ListOffsetsRequest asks for offsets by time.
type ListOffsetsRequest struct {
	Topic     string
	Isolation mq.Isolation
	Queries   []OffsetQuery // at most MaxQueries
}

// API implements RequestBody.
func (*ListOffsetsRequest) API() API { return APIListOffsets }

// AppendTo implements Body.
func (m *ListOffsetsRequest) AppendTo(dst []byte) []byte {
	dst = append(dst, byte(m.Isolation), 0)
	dst = appendText(dst, m.Topic, MaxTopicName)
	dst = appendUint32(dst, uint32(len(m.Queries)))
	for _, q := range m.Queries {
		dst = appendUint64(appendInt32(dst, q.Partition), uint64(q.Timestamp))
	}
	return dst
}

// Decode implements Body.
func (m *ListOffsetsRequest) Decode(body []byte) error {
	d := decoder{frame: "ListOffsetsRequest", rest: body}
	*m = ListOffsetsRequest{Isolation: mq.Isolation(d.uint8())}
	if m.Isolation > mq.IsolationObject {
		d.fail(mq.UnsupportedVersion, "unknown isolation")
	}
	d.reserved8()
	m.Topic = d.text(MaxTopicName)
	m.Queries = decodeShortList(&d, MaxQueries, 4+8, func(d *decoder) OffsetQuery {
		return OffsetQuery{Partition: d.int32(), Timestamp: d.int64()}
	})
	return d.end()
}

// OffsetAnswer answers one OffsetQuery.
type OffsetAnswer struct {
	Partition   int32
	Code        mq.Code
	Msg         string
	Offset      mq.Offset // -1 if no record is that young
	Timestamp   int64     // of the record at Offset, -1 for named places
	LeaderEpoch mq.Epoch
}

// Err is the failure as an error, nil if there is none.
func (a *OffsetAnswer) Err() error { return errOf(a.Code, a.Msg) }

// ListOffsetsResponse has one answer for each query, in their order.
type ListOffsetsResponse struct {
	Answers []OffsetAnswer
}

// AppendTo implements Body.
func (m *ListOffsetsResponse) AppendTo(dst []byte) []byte {
	dst = appendUint32(dst, uint32(len(m.Answers)))
	for i := range m.Answers {
		a := &m.Answers[i]
		dst = appendInt32(dst, a.Partition)
		dst = appendCode(dst, a.Code)
		dst = appendText(dst, a.Msg, MaxMessage)
		dst = appendOffset(dst, a.Offset)
		dst = appendUint64(dst, uint64(a.Timestamp))
		dst = appendInt32(dst, a.LeaderEpoch)
	}
	return dst
}

// Decode implements Body.
func (m *ListOffsetsResponse) Decode(body []byte) error {
	d := decoder{frame: "ListOffsetsResponse", rest: body}
	m.Answers = decodeList(&d, 4+2+2+8+8+4, func(d *decoder) OffsetAnswer {
		return OffsetAnswer{
			Partition: d.int32(), Code: d.code(), Msg: d.text(MaxMessage),
			Offset: d.offset(), Timestamp: d.int64(), LeaderEpoch: d.epoch(),
		}
	})
	return d.end()
}

// InitProducerIDRequest asks for an id for an idempotent producer.
type InitProducerIDRequest struct {
	ProducerID    mq.ProducerID    // -1, or the one to go on with under the next epoch
	ProducerEpoch mq.ProducerEpoch // -1, or the present one
}

// API implements RequestBody.
func (*InitProducerIDRequest) API() API { return APIInitProducerID }

// AppendTo implements Body.
func (m *InitProducerIDRequest) AppendTo(dst []byte) []byte {
	return appendProducer(append(dst, 0), m.ProducerID, m.ProducerEpoch)
}

// Decode implements Body.
func (m *InitProducerIDRequest) Decode(body []byte) error {
	d := decoder{frame: "InitProducerIDRequest", rest: body}
	d.reserved8()
	m.ProducerID, m.ProducerEpoch = d.producer()
	return d.end()
}

// InitProducerIDResponse is the id to produce with.
type InitProducerIDResponse struct {
	ProducerID    mq.ProducerID
	ProducerEpoch mq.ProducerEpoch
}

// AppendTo implements Body.
func (m *InitProducerIDResponse) AppendTo(dst []byte) []byte {
	return appendProducer(dst, m.ProducerID, m.ProducerEpoch)
}

// Decode implements Body.
func (m *InitProducerIDResponse) Decode(body []byte) error {
	d := decoder{frame: "InitProducerIDResponse", rest: body}
	m.ProducerID, m.ProducerEpoch = d.producer()
	return d.end()
}

func appendProducer(dst []byte, id mq.ProducerID, epoch mq.ProducerEpoch) []byte {
	return appendUint16(appendUint64(dst, uint64(id)), uint16(epoch))
}

func (d *decoder) producer() (mq.ProducerID, mq.ProducerEpoch) {
	return mq.ProducerID(d.uint64()), mq.ProducerEpoch(d.uint16())
}
