package raft

import (
	"encoding/binary"

	"go.etcd.io/raft/v3/raftpb"

	"github.com/rustmq/rustmq/mq"
	"github.com/rustmq/rustmq/wal"
)

// What the log's entries contain, big-endian. An entry of the log, at its index as the offset, is one of raft:
//
//	 0  u8   format: 1
//	 1  u8   raft's type: 0 proposals, 1 and 2 a change of the membership
//	 2  u16  reserved, 0
//	 4  u64  index
//	12  u64  term
//	20  data: for proposals a batch of them, or nothing (a new leader's first entry)
//
// A batch of proposals:
//
//	 0  u8        format: 1
//	 1  [8]byte   mark of the node's run that made it
//	 9  u64       its number there
//	17  proposals, each a uvarint with its length, and its bytes
//
// The sticky state:
//
//	 0  u8   format: 1
//	 1  u24  reserved, 0
//	 4  u64  term   u64 vote   u64 commit
//	28  u64  index up to which entries are gone, or may be   u64 its term
//	44  u64  index of a snapshot that is about to take the state machine's place, 0: none

const (
	recordFormat   = 1
	entryHeader    = 1 + 1 + 2 + 8 + 8
	stateSize      = 1 + 1 + 2 + 6*8
	batchFormat    = 1
	batchHeader    = 1 + markSize + 8
	markSize       = 8
	maxBatchHeader = batchHeader + binary.MaxVarintLen32
)

// logState is the sticky state of the stream.
type logState struct {
	term, vote, commit uint64
	// Entries up to compacted are gone, or may be; its term is kept to match the next one.
	compacted, compactedTerm uint64
	// installing is the index of a snapshot that is about to replace the state machine, 0 for none.
	installing uint64
}

func (s logState) encode() []byte {
	b := append(make([]byte, 0, stateSize), recordFormat, 0, 0, 0)
	for _, v := range [...]uint64{s.term, s.vote, s.commit, s.compacted, s.compactedTerm, s.installing} {
		b = binary.BigEndian.AppendUint64(b, v)
	}
	return b
}

func decodeState(b []byte) (s logState, err error) {
	if err := checkRecord(b, stateSize); err != nil {
		return s, mq.Wrapf(err, "raft log: state")
	}
	if len(b) != stateSize || b[1] != 0 {
		return s, mq.Errorf(mq.UnsupportedVersion, "raft log: state: %d bytes with flags %#x", len(b), b[1])
	}
	for i, field := range [...]*uint64{&s.term, &s.vote, &s.commit, &s.compacted, &s.compactedTerm, &s.installing} {
		*field = binary.BigEndian.Uint64(b[4+8*i:])
	}
	return s, nil
}

func encodeEntry(e *raftpb.Entry) []byte {
	b := make([]byte, 0, entryHeader+len(e.GetData()))
	b = append(b, recordFormat, byte(e.GetType()), 0, 0)
	b = binary.BigEndian.AppendUint64(b, e.GetIndex())
	b = binary.BigEndian.AppendUint64(b, e.GetTerm())
	return append(b, e.GetData()...)
}

// decodeEntry copies what it needs of b.
func decodeEntry(b []byte) (*raftpb.Entry, error) {
	if err := checkRecord(b, entryHeader); err != nil {
		return nil, mq.Wrapf(err, "raft log: entry")
	}
	kind := raftpb.EntryType(b[1])
	if kind > raftpb.EntryConfChangeV2 {
		return nil, mq.Errorf(mq.UnsupportedVersion, "raft log: an entry of type %d", kind)
	}
	e := &raftpb.Entry{
		Type: kind.Enum(), Index: new(binary.BigEndian.Uint64(b[4:])), Term: new(binary.BigEndian.Uint64(b[12:])),
	}
	if len(b) > entryHeader {
		e.Data = append([]byte(nil), b[entryHeader:]...)
	}
	return e, nil
}

// checkRecord checks what both records begin with.
func checkRecord(b []byte, size int) error {
	switch {
	case len(b) < size:
		return mq.Errorf(mq.Corrupt, "%d bytes, want %d", len(b), size)
	case b[0] != recordFormat:
		return mq.Errorf(mq.UnsupportedVersion, "format %d, this program knows %d", b[0], recordFormat)
	case b[2] != 0 || b[3] != 0:
		return mq.Errorf(mq.UnsupportedVersion, "reserved bits are set: %#x%02x", b[2], b[3])
	}
	return nil
}

// decodeLogEntry is decodeEntry that also compares with where the log says the entry is.
func decodeLogEntry(e wal.Entry) (*raftpb.Entry, error) {
	entry, err := decodeEntry(e.Payload)
	if err != nil {
		return nil, err
	}
	if entry.GetIndex() != e.First || e.End != e.First+1 {
		return nil, mq.Errorf(mq.Corrupt, "raft log: entry %d lies at [%d, %d)", entry.GetIndex(), e.First, e.End)
	}
	return entry, nil
}

// mark tells a node's own proposals from others', and one run's from the next's. It is drawn at Open.
type mark [markSize]byte

// batchOf is the data of an entry that carries proposals.
func batchOf(m mark, number uint64, proposals []*proposal) []byte {
	size := batchHeader
	for _, p := range proposals {
		size += binary.MaxVarintLen32 + len(p.data)
	}
	b := append(make([]byte, 0, size), batchFormat)
	b = append(b, m[:]...)
	b = binary.BigEndian.AppendUint64(b, number)
	for _, p := range proposals {
		b = binary.AppendUvarint(b, uint64(len(p.data)))
		b = append(b, p.data...)
	}
	return b
}

// batch is a decoded batch of proposals. It aliases the entry's data.
type batch struct {
	mark   mark
	number uint64
	rest   []byte
}

func openBatch(data []byte) (batch, error) {
	if len(data) < batchHeader {
		return batch{}, mq.Errorf(mq.Corrupt, "a batch of proposals with %d bytes", len(data))
	}
	if data[0] != batchFormat {
		return batch{}, mq.Errorf(mq.UnsupportedVersion, "a batch of proposals in format %d, this program knows %d", data[0], batchFormat)
	}
	return batch{mark(data[1:]), binary.BigEndian.Uint64(data[1+markSize:]), data[batchHeader:]}, nil
}

// next takes the next proposal off; ok is false at the end.
func (b *batch) next() (data []byte, ok bool, err error) {
	if len(b.rest) == 0 {
		return nil, false, nil
	}
	size, n := binary.Uvarint(b.rest)
	if n <= 0 || size > uint64(len(b.rest)-n) {
		return nil, false, mq.Errorf(mq.Corrupt, "a proposal goes beyond its batch")
	}
	data, b.rest = b.rest[n:n+int(size)], b.rest[n+int(size):]
	return data, true, nil
}
