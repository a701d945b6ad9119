package wal

import (
	"encoding/binary"

	"github.com/rustmq/rustmq/mq"
)

// The payloads of the log's own frames, little-endian. Each kind is a list cut
// into chunks of about 256 KiB, one frame each: the frame's first offset is the
// chunk's number from 0, its count is how many chunks there are.
//
// Checkpoint, all streams; written twice, the second time with the frame's seq 1
// and, behind a promise frame of zeros, in another block:
//
//	u64 oldest segment in use   u32 items
//	item: [20]stream  u32 entries so far  u64 first  u64 end  u8 flags: 1 state, 2 quarantine, 4 quarantine for a lost state, 8 has offsets
//	      state:      u64 first  u32 count  u32 length  payload
//	      quarantine: u64 segment  u32 position  u64 from  u64 to  u8 length  reason
//
// Seal, the streams written in this segment:
//
//	u32 items   item: [20]stream  u32 entries so far  u64 end
//
// Free, the streams released further than the last checkpoint or free frame says; the
// number of the oldest segment still in use is in the frame's seq:
//
//	u32 items   item: [20]stream  u64 first
const (
	itemState      = 1 << 0
	itemQuarantine = 1 << 1
	itemStateLost  = 1 << 2
	itemStarted    = 1 << 3
)

// streamRecord is what a checkpoint says of one stream.
type streamRecord struct {
	id         StreamID
	seq        uint32
	first, end uint64
	started    bool
	state      *Entry // nil: none
	bad        *quarantine
}

// sealRecord is what a seal says of one stream.
type sealRecord struct {
	id  StreamID
	seq uint32
	end uint64
}

// freeRecord is what a free frame says of one stream.
type freeRecord struct {
	id    StreamID
	first uint64
}

const (
	recordBytes     = 20 + 4 + 8 + 8 + 1
	sealRecordBytes = 20 + 4 + 8
	freeRecordBytes = 20 + 8
)

// chunks collects items into chunks with a head each.
type chunks struct {
	head  []byte // at the start of each chunk, before the number of items
	list  [][]byte
	items uint32
}

// item returns the chunk that the next item is to be appended to.
func (c *chunks) item() *[]byte {
	if len(c.list) == 0 || len(c.list[len(c.list)-1]) >= chunkBytes {
		c.finish()
		c.list = append(c.list, append(append([]byte(nil), c.head...), 0, 0, 0, 0))
		c.items = 0
	}
	c.items++
	return &c.list[len(c.list)-1]
}

func (c *chunks) finish() {
	if n := len(c.list); n > 0 {
		binary.LittleEndian.PutUint32(c.list[n-1][len(c.head):], c.items)
	}
}

// done returns the chunks; there is always one.
func (c *chunks) done() [][]byte {
	if len(c.list) == 0 {
		return [][]byte{append(append([]byte(nil), c.head...), 0, 0, 0, 0)}
	}
	c.finish()
	return c.list
}

func encodeCheckpoint(oldest uint64, records []streamRecord) [][]byte {
	le := binary.LittleEndian
	c := chunks{head: le.AppendUint64(nil, oldest)}
	for i := range records {
		r, b := &records[i], c.item()
		*b = append(*b, r.id[:]...)
		*b = le.AppendUint32(*b, r.seq)
		*b = le.AppendUint64(*b, r.first)
		*b = le.AppendUint64(*b, r.end)
		var flags byte
		if r.state != nil {
			flags |= itemState
		}
		if r.started {
			flags |= itemStarted
		}
		if r.bad != nil {
			flags |= itemQuarantine
			if r.bad.stateLost {
				flags |= itemStateLost
			}
		}
		*b = append(*b, flags)
		if s := r.state; s != nil {
			*b = le.AppendUint64(*b, s.First)
			*b = le.AppendUint32(*b, uint32(s.End-s.First))
			*b = le.AppendUint32(*b, uint32(len(s.Payload)))
			*b = append(*b, s.Payload...)
		}
		if q := r.bad; q != nil {
			*b = le.AppendUint64(*b, q.segment)
			*b = le.AppendUint32(*b, uint32(q.pos))
			*b = le.AppendUint64(*b, q.from)
			*b = le.AppendUint64(*b, q.to)
			reason := q.reason[:min(len(q.reason), 255)]
			*b = append(append(*b, byte(len(reason))), reason...)
		}
	}
	return c.done()
}

func encodeSeal(records []sealRecord) [][]byte {
	le := binary.LittleEndian
	var c chunks
	for i := range records {
		b := c.item()
		*b = append(*b, records[i].id[:]...)
		*b = le.AppendUint32(*b, records[i].seq)
		*b = le.AppendUint64(*b, records[i].end)
	}
	return c.done()
}

func encodeFree(records []freeRecord) [][]byte {
	le := binary.LittleEndian
	var c chunks
	for i := range records {
		b := c.item()
		*b = append(*b, records[i].id[:]...)
		*b = le.AppendUint64(*b, records[i].first)
	}
	return c.done()
}

// chunkedSize is at most what n items of the given size take as frames.
func chunkedSize(n, itemBytes int) int64 {
	bytes := int64(n) * int64(itemBytes)
	frames := 1 + bytes/chunkBytes
	return bytes + frames*(headerSize+frameAlign+16)
}

// reader takes apart a chunk; after a read beyond its end it is bad and gives zeros.
type reader struct {
	b   []byte
	bad bool
}

func (r *reader) take(n int) []byte {
	if n > len(r.b) {
		r.bad, r.b = true, nil
		return make([]byte, min(n, 64))
	}
	b := r.b[:n:n]
	r.b = r.b[n:]
	return b
}

func (r *reader) u8() byte              { return r.take(1)[0] }
func (r *reader) u32() uint32           { return binary.LittleEndian.Uint32(r.take(4)) }
func (r *reader) u64() uint64           { return binary.LittleEndian.Uint64(r.take(8)) }
func (r *reader) stream() (id StreamID) { copy(id[:], r.take(len(id))); return id }

// items is the number of items to come, each of at least size bytes.
func (r *reader) items(size int) int {
	n := int(r.u32())
	if n > len(r.b)/size {
		r.bad = true
		return 0
	}
	return n
}

func (r *reader) done(what string) error {
	if r.bad || len(r.b) != 0 {
		return mq.Errorf(mq.Corrupt, "%s: its checksum is right and its content is not", what)
	}
	return nil
}

// decodeCheckpoint reads one chunk. The records' payloads are parts of b.
func decodeCheckpoint(b []byte) (oldest uint64, records []streamRecord, err error) {
	r := reader{b: b}
	oldest = r.u64()
	records = make([]streamRecord, r.items(recordBytes))
	for i := range records {
		rec := &records[i]
		rec.id, rec.seq, rec.first, rec.end = r.stream(), r.u32(), r.u64(), r.u64()
		flags := r.u8()
		if flags&^(itemState|itemQuarantine|itemStateLost|itemStarted) != 0 {
			return 0, nil, mq.Errorf(mq.UnsupportedVersion, "checkpoint: flags %#x of stream %x are not known", flags, rec.id)
		}
		rec.started = flags&itemStarted != 0
		if flags&itemState != 0 {
			s := &Entry{Stream: rec.id, Type: EntryState, First: r.u64()}
			s.End = s.First + uint64(r.u32())
			s.Payload = r.take(int(min(r.u32(), MaxState+1)))
			rec.state = s
		}
		if flags&itemQuarantine != 0 {
			q := &quarantine{segment: r.u64(), pos: int64(r.u32()), from: r.u64(), to: r.u64(), stateLost: flags&itemStateLost != 0}
			q.reason = string(r.take(int(r.u8())))
			rec.bad = q
		}
		if rec.first > rec.end || r.bad {
			r.bad = true
			break
		}
	}
	return oldest, records, r.done("checkpoint")
}

func decodeSeal(b []byte) ([]sealRecord, error) {
	r := reader{b: b}
	records := make([]sealRecord, r.items(sealRecordBytes))
	for i := range records {
		records[i] = sealRecord{id: r.stream(), seq: r.u32(), end: r.u64()}
	}
	return records, r.done("seal")
}

func decodeFree(b []byte) ([]freeRecord, error) {
	r := reader{b: b}
	records := make([]freeRecord, r.items(freeRecordBytes))
	for i := range records {
		records[i] = freeRecord{id: r.stream(), first: r.u64()}
	}
	return records, r.done("free")
}
