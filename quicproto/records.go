package quicproto

import "github.com/rustmq/rustmq/mq"

// RecordsPrefixSize is the length in bytes of a Records payload before its batches.
const RecordsPrefixSize = 4 + 4 + 1 + 3 + 8 + 8 + 8 + 8

const recordsFlagEnd = 0x01

// Records carries batches of one assigned partition, in offset order and without a gap to the Records before it of the same
// generation. The first batch may begin before the offset that was asked for: batches are never cut.
type Records struct {
	Handle        uint32
	Generation    uint32
	End           bool      // Next was the end of what can be read when this was sent
	Next          mq.Offset // offset after the last record: what to ask for to continue
	HighWatermark mq.Offset
	LogStart      mq.Offset
	LogEnd        mq.Offset
	Batches       []byte // whole batches one after the other; may be empty, with End
}

// Type implements Frame.
func (*Records) Type() Type { return TypeRecords }

// AppendTo implements Frame. To write without copying the batches use AppendPrefix.
func (f *Records) AppendTo(dst []byte) []byte { return append(f.appendPrefix(dst), f.Batches...) }

func (f *Records) appendPrefix(dst []byte) []byte {
	var flags uint8
	if f.End {
		flags = recordsFlagEnd
	}
	dst = appendUint32(dst, f.Handle)
	dst = appendUint32(dst, f.Generation)
	dst = append(dst, flags, 0, 0, 0)
	dst = appendOffset(dst, f.Next)
	dst = appendOffset(dst, f.HighWatermark)
	dst = appendOffset(dst, f.LogStart)
	return appendOffset(dst, f.LogEnd)
}

// AppendPrefix appends the frame's header and all of its payload but the batches, of which n bytes have to follow on the
// wire; f.Batches is not looked at.
func (f *Records) AppendPrefix(dst []byte, n int) []byte {
	return f.appendPrefix(AppendHeader(dst, TypeRecords, RecordsPrefixSize+n))
}

// DecodePrefix sets all but Batches from the first RecordsPrefixSize bytes of the payload, which is what a receiver reads
// before it allocates the batches.
func (f *Records) DecodePrefix(prefix []byte) error {
	d := decoder{frame: "Records", rest: prefix}
	*f = Records{Handle: d.handle(), Generation: d.uint32(), End: d.flags(recordsFlagEnd) != 0}
	d.reserved8()
	d.reserved16()
	f.Next, f.HighWatermark, f.LogStart, f.LogEnd = d.offset(), d.offset(), d.offset(), d.offset()
	return d.end()
}

// Decode implements Frame.
func (f *Records) Decode(payload []byte) error {
	if err := f.DecodePrefix(payload[:min(len(payload), RecordsPrefixSize)]); err != nil {
		return err
	}
	f.Batches = payload[RecordsPrefixSize:]
	return nil
}

// Status tells that the delivery of an assigned partition has stopped. It stays assigned, and is silent until a Seek or a
// new Assign. A retriable trouble of the server's own (the object store is away) is waited out and not told. Without an error code, what comes next is to be
// had elsewhere: see Origin.
type Status struct {
	Handle     uint32
	Generation uint32
	Code       mq.Code
	Next       mq.Offset // what would have come next
	LogStart   mq.Offset // -1 if not known
	LogEnd     mq.Offset // -1 if not known
	Msg        string
}

// Type implements Frame.
func (*Status) Type() Type { return TypeStatus }

// AppendTo implements Frame.
func (f *Status) AppendTo(dst []byte) []byte {
	dst = appendUint32(dst, f.Handle)
	dst = appendUint32(dst, f.Generation)
	dst = appendCode(dst, f.Code)
	dst = appendOffset(dst, f.Next)
	dst = appendOffset(dst, f.LogStart)
	dst = appendOffset(dst, f.LogEnd)
	return appendText(dst, f.Msg, MaxMessage)
}

// Decode implements Frame.
func (f *Status) Decode(payload []byte) error {
	d := decoder{frame: "Status", rest: payload}
	*f = Status{
		Handle: d.handle(), Generation: d.uint32(), Code: d.code(),
		Next: d.offset(), LogStart: d.offset(), LogEnd: d.offset(), Msg: d.text(MaxMessage),
	}
	return d.end()
}

// Err is the status as an error, nil if its code is none.
func (f *Status) Err() error { return errOf(f.Code, f.Msg) }
