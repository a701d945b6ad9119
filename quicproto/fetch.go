package quicproto

import "github.com/rustmq/rustmq/mq"

// Offsets that name a place, where a frame says so.
const (
	OffsetLatest   mq.Offset = -1 // the end of what the stream's isolation lets be read
	OffsetEarliest mq.Offset = -2 // the log start
)

// OpenFetch is the first frame of a fetch stream: a subscription to any number of partitions.
type OpenFetch struct {
	Isolation    mq.Isolation
	RecordsBytes uint32 // wanted size of a Records frame's batches, 0 for the server's, which is also the most
}

// Type implements Frame.
func (*OpenFetch) Type() Type { return TypeOpenFetch }

// AppendTo implements Frame.
func (f *OpenFetch) AppendTo(dst []byte) []byte {
	return appendUint32(append(dst, byte(f.Isolation), 0), f.RecordsBytes)
}

// Decode implements Frame.
func (f *OpenFetch) Decode(payload []byte) error {
	d := decoder{frame: "OpenFetch", rest: payload}
	f.Isolation = mq.Isolation(d.uint8())
	if f.Isolation > mq.IsolationObject {
		d.fail(mq.UnsupportedVersion, "unknown isolation")
	}
	d.reserved8()
	f.RecordsBytes = d.uint32()
	return d.end()
}

// Assign adds a partition to the subscription by a handle that the client picks, and starts its delivery. It is answered by
// Assigned. Assigning a handle that is in use replaces what it meant.
type Assign struct {
	Handle      uint32 // below Limits.Handles
	Generation  uint32 // comes back in Assigned, Records and Status: what bears another is stale
	Topic       string
	Partition   int32
	LeaderEpoch mq.Epoch  // that the client knows of, -1 for none
	Offset      mq.Offset // of the first record wanted, or OffsetEarliest or OffsetLatest
	From        Origin    // other than FromLeader only with FeatureTieredReads
}

// Origin is where a client wants records from that only the object store has.
type Origin uint8

// The origins.
const (
	// FromLeader: all of it from the leader.
	FromLeader Origin = iota
	// FromLeaderUntilTiered: the leader is to stop, with a Status without an error, where it would have to read the object store:
	// the client reads that elsewhere.
	FromLeaderUntilTiered
	// FromTiered: what is in the object store from whoever is asked, and nothing else. It stops with a Status
	// without an error where that ends, as far as it knows. The offset names no place.
	FromTiered
)

// Type implements Frame.
func (*Assign) Type() Type { return TypeAssign }

// AppendTo implements Frame.
func (f *Assign) AppendTo(dst []byte) []byte {
	dst = appendUint32(dst, f.Handle)
	dst = appendUint32(dst, f.Generation)
	dst = append(dst, byte(f.From))
	dst = appendInt32(dst, f.Partition)
	dst = appendInt32(dst, f.LeaderEpoch)
	dst = appendOffset(dst, f.Offset)
	return appendText(dst, f.Topic, MaxTopicName)
}

// Decode implements Frame.
func (f *Assign) Decode(payload []byte) error {
	d := decoder{frame: "Assign", rest: payload}
	*f = Assign{Handle: d.handle(), Generation: d.uint32(), From: Origin(d.uint8())}
	if f.From > FromTiered {
		d.fail(mq.UnsupportedVersion, "unknown origin")
	}
	f.Partition, f.LeaderEpoch, f.Offset, f.Topic = d.int32(), d.epoch(), d.position(), d.text(MaxTopicName)
	return d.end()
}

// position reads an offset, or one of those that name a place.
func (d *decoder) position() mq.Offset {
	v := d.offset()
	if v < OffsetEarliest {
		d.fail(mq.UnsupportedVersion, "offset names no known place")
	}
	return v
}

// Assigned answers Assign and Seek, before any Records of that generation.
type Assigned struct {
	Handle        uint32
	Generation    uint32
	Code          mq.Code // none: delivery starts at Offset; otherwise nothing comes until a Seek or a new Assign
	TopicID       mq.TopicID
	Offset        mq.Offset // where delivery starts, with named places resolved
	LogStart      mq.Offset
	HighWatermark mq.Offset
	Msg           string // with a code other than none
}

// Type implements Frame.
func (*Assigned) Type() Type { return TypeAssigned }

// AppendTo implements Frame.
func (f *Assigned) AppendTo(dst []byte) []byte {
	dst = appendUint32(dst, f.Handle)
	dst = appendUint32(dst, f.Generation)
	dst = appendCode(dst, f.Code)
	dst = appendTopicID(dst, f.TopicID)
	dst = appendOffset(dst, f.Offset)
	dst = appendOffset(dst, f.LogStart)
	dst = appendOffset(dst, f.HighWatermark)
	return appendText(dst, f.Msg, MaxMessage)
}

// Decode implements Frame.
func (f *Assigned) Decode(payload []byte) error {
	d := decoder{frame: "Assigned", rest: payload}
	*f = Assigned{
		Handle: d.handle(), Generation: d.uint32(), Code: d.code(), TopicID: d.topicID(),
		Offset: d.offset(), LogStart: d.offset(), HighWatermark: d.offset(), Msg: d.text(MaxMessage),
	}
	return d.end()
}

// Err is the refusal as an error, nil if there is none.
func (f *Assigned) Err() error { return errOf(f.Code, f.Msg) }

// Unassign takes a partition out of the subscription. Records already on their way still arrive.
type Unassign struct {
	Handle uint32
}

// Type implements Frame.
func (*Unassign) Type() Type { return TypeUnassign }

// AppendTo implements Frame.
func (f *Unassign) AppendTo(dst []byte) []byte { return appendUint32(dst, f.Handle) }

// Decode implements Frame.
func (f *Unassign) Decode(payload []byte) error {
	d := decoder{frame: "Unassign", rest: payload}
	f.Handle = d.handle()
	return d.end()
}

// Seek moves an assigned partition to another place under a new generation. It is answered by Assigned.
type Seek struct {
	Handle     uint32
	Generation uint32
	Offset     mq.Offset // as in Assign
}

// Type implements Frame.
func (*Seek) Type() Type { return TypeSeek }

// AppendTo implements Frame.
func (f *Seek) AppendTo(dst []byte) []byte {
	return appendOffset(appendUint32(appendUint32(dst, f.Handle), f.Generation), f.Offset)
}

// Decode implements Frame.
func (f *Seek) Decode(payload []byte) error {
	d := decoder{frame: "Seek", rest: payload}
	*f = Seek{Handle: d.handle(), Generation: d.uint32(), Offset: d.position()}
	return d.end()
}

// Pause stops the delivery of some assigned partitions; what is on its way still arrives. Pausing what is paused, or not
// assigned, does nothing.
type Pause struct {
	Handles []uint32 // at most MaxHandles
}

// Type implements Frame.
func (*Pause) Type() Type { return TypePause }

// AppendTo implements Frame.
func (f *Pause) AppendTo(dst []byte) []byte { return appendHandles(dst, f.Handles) }

// Decode implements Frame.
func (f *Pause) Decode(payload []byte) (err error) {
	f.Handles, err = decodeHandles("Pause", payload)
	return err
}

// Resume continues the delivery of paused partitions where it stopped.
type Resume struct {
	Handles []uint32 // at most MaxHandles
}

// Type implements Frame.
func (*Resume) Type() Type { return TypeResume }

// AppendTo implements Frame.
func (f *Resume) AppendTo(dst []byte) []byte { return appendHandles(dst, f.Handles) }

// Decode implements Frame.
func (f *Resume) Decode(payload []byte) (err error) {
	f.Handles, err = decodeHandles("Resume", payload)
	return err
}

func appendHandles(dst []byte, handles []uint32) []byte {
	dst = appendUint32(dst, uint32(len(handles)))
	for _, h := range handles {
		dst = appendUint32(dst, h)
	}
	return dst
}

func decodeHandles(frame string, payload []byte) ([]uint32, error) {
	d := decoder{frame: frame, rest: payload}
	handles := make([]uint32, 0, d.count(MaxHandles, 4))
	for range cap(handles) {
		handles = append(handles, d.handle())
	}
	return handles, d.end()
}
