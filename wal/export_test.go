package wal

// MadeFrame is a frame for tests to make: its checksums will be right,
// whatever it says.
type MadeFrame struct {
	Kind       EntryType
	Flags      uint8
	Stream     StreamID
	Seq        uint32
	First, End uint64
	Promised   uint32
	Payload    []byte
}

// Types of the log's own frames, for tests.
const (
	TypeCheckpoint = typeCheckpoint
	TypeSeal       = typeSeal
	TypeFree       = typeFree
)

// MakeSegment makes the first segment of a log out of frames.
func MakeSegment(frames []MadeFrame) []byte {
	const salt, id, size = 77, 1, MinSegmentBytes
	b := make([]byte, size)
	checkpoint := encodeCheckpoint(1, nil)[0]
	segmentHead{salt: salt, id: id, checkpointEnd: firstFrame + 2*frameSize(int64(len(checkpoint)))}.encode(b)
	copy(b[blockSize:], b[:segmentHeader])
	seed := segmentSeed(salt, id)
	pos, prevTag, prevSize := int64(firstFrame), uint32(0), uint32(0)
	for again := range uint32(2) {
		frames = append([]MadeFrame{{Kind: typeCheckpoint, Seq: again, End: 1, Payload: checkpoint}}, frames...)
	}
	for _, f := range frames {
		h := header{
			kind: f.Kind, flags: f.Flags, stream: f.Stream, seq: f.Seq, first: f.First, count: uint32(f.End - f.First), promised: f.Promised,
			length: uint32(len(f.Payload)), payloadCRC: payloadCRC(seed, pos, f.Payload), prevTag: prevTag, prevSize: prevSize,
		}
		if pos+h.size() > size {
			break
		}
		h.encode(b[pos:], seed, pos)
		copy(b[pos+headerSize:], f.Payload)
		pos += h.size()
		if prevTag, prevSize = streamTag(f.Stream), uint32(h.size()); h.kind.internal() {
			prevTag = 0
		}
	}
	return b
}

// MakeCheckpoint, MakeSeal and MakeFree are payloads about one stream.
func MakeCheckpoint(id StreamID, seq uint32, first, end uint64) []byte {
	return encodeCheckpoint(1, []streamRecord{{id: id, seq: seq, first: first, end: max(first, end), started: true}})[0]
}

func MakeSeal(id StreamID, seq uint32, end uint64) []byte {
	return encodeSeal([]sealRecord{{id: id, seq: seq, end: end}})[0]
}

func MakeFree(id StreamID, first uint64) []byte {
	return encodeFree([]freeRecord{{id: id, first: first}})[0]
}

// PutCopy has an entry of a segment copied forward as the keeper would, which
// read it a while ago.
func PutCopy(l *Log, stream StreamID, first, end uint64, payload []byte, segment uint64, done Done) {
	l.put(item{Entry: Entry{Stream: stream, Type: workCopy, First: first, End: end, Payload: payload}, origin: segment, done: done})
}

// FramedAhead is how many entries of the next group are framed already.
func FramedAhead(l *Log) int {
	l.queue.mu.Lock()
	defer l.queue.mu.Unlock()
	return l.queue.framed
}

// Enlarges says whether the keeper would make a prepared segment of a size bigger for a writer that waits for least bytes, while segments are to have
// wanted. The log must be idle.
func Enlarges(l *Log, size, least, wanted int64) bool {
	set := func(ready []*segment, starved bool, least, wanted int64) {
		l.mu.Lock()
		defer l.mu.Unlock()
		l.ready, l.starved, l.least, l.wanted = ready, starved, least, wanted
	}
	l.mu.Lock()
	ready, starved, before, want := l.ready, l.starved, l.least, l.wanted
	l.mu.Unlock()
	set([]*segment{{size: size}}, true, least, wanted)
	n := newKeeper(l).need()
	set(ready, starved, before, want)
	return n.enlarge != nil
}

// GathersInHugePage says whether what a closed log wrote lay in a huge page.
func GathersInHugePage(l *Log) bool { return l.writer.tail.huge }
