package quicproto

import "github.com/rustmq/rustmq/mq"

// OpenProduce is the first frame of a produce stream.
type OpenProduce struct{}

// Type implements Frame.
func (*OpenProduce) Type() Type { return TypeOpenProduce }

// AppendTo implements Frame.
func (f *OpenProduce) AppendTo(dst []byte) []byte { return append(dst, 0) }

// Decode implements Frame.
func (f *OpenProduce) Decode(payload []byte) error {
	d := decoder{frame: "OpenProduce", rest: payload}
	d.reserved8()
	return d.end()
}

// Bind names a topic for this produce stream by a handle that the client picks. The topic is found and the principal's
// right to write to it decided here, once. Binding a handle anew replaces what it meant for all frames that follow.
// A client may send Produce frames right behind Bind; should Bound refuse, each of them is acked with Bound's code.
type Bind struct {
	Handle uint32 // below Limits.Handles
	Topic  string
}

// Type implements Frame.
func (*Bind) Type() Type { return TypeBind }

// AppendTo implements Frame.
func (f *Bind) AppendTo(dst []byte) []byte {
	dst = appendUint32(dst, f.Handle)
	dst = append(dst, 0)
	return appendText(dst, f.Topic, MaxTopicName)
}

// Decode implements Frame.
func (f *Bind) Decode(payload []byte) error {
	d := decoder{frame: "Bind", rest: payload}
	f.Handle = d.handle()
	d.reserved8()
	f.Topic = d.text(MaxTopicName)
	return d.end()
}

// Bound answers Bind. Answers come in the order of the Binds.
type Bound struct {
	Handle     uint32
	Code       mq.Code // none: the handle may be used
	TopicID    mq.TopicID
	Partitions int32  // how many there are now
	BatchBytes uint32 // largest batch that the topic takes at present
	Msg        string // with a code other than none
}

// Type implements Frame.
func (*Bound) Type() Type { return TypeBound }

// AppendTo implements Frame.
func (f *Bound) AppendTo(dst []byte) []byte {
	dst = appendUint32(dst, f.Handle)
	dst = appendCode(dst, f.Code)
	dst = appendTopicID(dst, f.TopicID)
	dst = appendInt32(dst, f.Partitions)
	dst = appendUint32(dst, f.BatchBytes)
	return appendText(dst, f.Msg, MaxMessage)
}

// Decode implements Frame.
func (f *Bound) Decode(payload []byte) error {
	d := decoder{frame: "Bound", rest: payload}
	*f = Bound{
		Handle: d.handle(), Code: d.code(), TopicID: d.topicID(), Partitions: d.int32(), BatchBytes: d.uint32(),
		Msg: d.text(MaxMessage),
	}
	return d.end()
}

// Err is the refusal as an error, nil if there is none.
func (f *Bound) Err() error { return errOf(f.Code, f.Msg) }

// ProducePrefixSize is the length in bytes of a Produce payload before its batch.
const ProducePrefixSize = 8 + 4 + 4 + 1 + 1 + 2

// Produce carries one record batch to one partition.
type Produce struct {
	Request    uint64 // greater than that of the frame before on this stream; the ack names it
	Handle     uint32
	Partition  int32
	Durability mq.Durability // the mark at which the ack is wanted; with DurabilityNone it is sent on acceptance
	Batch      []byte        // exactly one record batch v2; unchecked here
}

// Type implements Frame.
func (*Produce) Type() Type { return TypeProduce }

// AppendTo implements Frame. To write without copying the batch use AppendPrefix.
func (f *Produce) AppendTo(dst []byte) []byte { return append(f.appendPrefix(dst), f.Batch...) }

func (f *Produce) appendPrefix(dst []byte) []byte {
	dst = appendUint64(dst, f.Request)
	dst = appendUint32(dst, f.Handle)
	dst = appendInt32(dst, f.Partition)
	return append(dst, byte(f.Durability), 0, 0, 0)
}

// AppendPrefix appends the frame's header and all of its payload but the batch, which has to follow on the wire.
func (f *Produce) AppendPrefix(dst []byte) []byte {
	return f.appendPrefix(AppendHeader(dst, TypeProduce, ProducePrefixSize+len(f.Batch)))
}

// DecodePrefix sets all but Batch from the first ProducePrefixSize bytes of the payload, which is what a receiver
// reads before it allocates the batch.
func (f *Produce) DecodePrefix(prefix []byte) error {
	d := decoder{frame: "Produce", rest: prefix}
	*f = Produce{Request: d.uint64(), Handle: d.handle(), Partition: d.int32(), Durability: mq.Durability(d.uint8())}
	if f.Durability > mq.DurabilityObject {
		d.fail(mq.UnsupportedVersion, "unknown durability")
	}
	d.reserved8()
	d.reserved16()
	return d.end()
}

// Decode implements Frame.
func (f *Produce) Decode(payload []byte) error {
	if err := f.DecodePrefix(payload[:min(len(payload), ProducePrefixSize)]); err != nil {
		return err
	}
	f.Batch = payload[ProducePrefixSize:]
	return nil
}

// Ack is the outcome of one Produce frame.
type Ack struct {
	Request   uint64
	Code      mq.Code
	Mark      mq.Mark   // the durability that was reached
	Duplicate bool      // the batch had been appended before; Base is where
	Base      mq.Offset // offset of the batch's first record, -1 with an error
	Timestamp int64     // log append time in ms since 1970 if the topic stamps it, else -1
	LogStart  mq.Offset // first offset that the partition still has, -1 if not known
	Msg       string    // with a code other than none
}

// Err is the failure as an error, nil if there is none.
func (a *Ack) Err() error { return errOf(a.Code, a.Msg) }

const (
	ackMinSize       = 8 + 2 + 1 + 1 + 8 + 8 + 8 + 2
	ackFlagDuplicate = 0x01
)

// AckSize is the number of bytes that a takes in a ProduceAcks payload, at most.
func AckSize(a *Ack) int { return ackMinSize + min(len(a.Msg), MaxMessage) }

// ProduceAcks carries the outcomes that became known since the last one, at least one and at most MaxAcks. Those of one
// partition come in the order of its Produce frames, those of different partitions in any order.
type ProduceAcks struct {
	Acks []Ack // Decode reuses the slice
}

// Type implements Frame.
func (*ProduceAcks) Type() Type { return TypeProduceAcks }

// AppendTo implements Frame.
func (f *ProduceAcks) AppendTo(dst []byte) []byte {
	dst = appendUint32(dst, uint32(len(f.Acks)))
	for i := range f.Acks {
		a := &f.Acks[i]
		var flags uint8
		if a.Duplicate {
			flags = ackFlagDuplicate
		}
		dst = appendUint64(dst, a.Request)
		dst = appendCode(dst, a.Code)
		dst = append(dst, byte(a.Mark), flags)
		dst = appendOffset(dst, a.Base)
		dst = appendUint64(dst, uint64(a.Timestamp))
		dst = appendOffset(dst, a.LogStart)
		dst = appendText(dst, a.Msg, MaxMessage)
	}
	return dst
}

// Decode implements Frame.
func (f *ProduceAcks) Decode(payload []byte) error {
	d := decoder{frame: "ProduceAcks", rest: payload}
	n := d.count(MaxAcks, ackMinSize)
	f.Acks = f.Acks[:0]
	for range n {
		a := Ack{Request: d.uint64(), Code: d.code(), Mark: mq.Mark(d.uint8())}
		if a.Mark > mq.MarkObject {
			d.fail(mq.UnsupportedVersion, "unknown mark")
		}
		a.Duplicate = d.flags(ackFlagDuplicate) != 0
		a.Base, a.Timestamp, a.LogStart, a.Msg = d.offset(), d.int64(), d.offset(), d.text(MaxMessage)
		if d.err != nil {
			break
		}
		f.Acks = append(f.Acks, a)
	}
	if n == 0 {
		d.fail(mq.ProtocolViolation, "no acks")
	}
	return d.end()
}
