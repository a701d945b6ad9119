package mq

import (
	"encoding/binary"
	"hash/crc32"
	"strconv"
)

// BatchHeaderSize is the number of bytes before the first record.
const BatchHeaderSize = 61

// batchMagic is the version of the format.
const batchMagic = 2

// Where the fields of the header lie; doc.go has the drawing.
const (
	atBaseOffset      = 0
	atBatchLength     = 8
	atLeaderEpoch     = 12
	atMagic           = 16
	atCRC             = 17
	atAttributes      = 21
	atLastOffsetDelta = 23
	atBaseTimestamp   = 27
	atMaxTimestamp    = 35
	atProducerID      = 43
	atProducerEpoch   = 51
	atBaseSequence    = 53
	atRecordCount     = 57

	// beforeLength is what the length field does not count.
	beforeLength = atBatchLength + 4
	// crcFrom is the first byte that the CRC covers.
	crcFrom = atAttributes
)

// The bits of the attributes.
const (
	attrCompression   = 0x07
	attrAppendTime    = 0x08
	attrTransactional = 0x10
	attrControl       = 0x20
	attrDeleteHorizon = 0x40
	attrReserved      = 0xff80
)

// TimestampType says who set the timestamps of a batch.
type TimestampType uint8

const (
	// TimestampCreate is set by the producer, record by record.
	TimestampCreate TimestampType = 0
	// TimestampAppend is set by the leader: one for all records.
	TimestampAppend TimestampType = 1
)

var timestampTypeNames = [...]string{"CreateTime", "LogAppendTime"}

// String is the value of message.timestamp.type: "CreateTime" or "LogAppendTime".
func (t TimestampType) String() string {
	return enumName(timestampTypeNames[:], "TimestampType", uint8(t))
}

// ParseTimestampType reads what [TimestampType.String] wrote.
func ParseTimestampType(s string) (TimestampType, error) {
	i, ok := enumValue(timestampTypeNames[:], s)
	if !ok {
		return 0, Errorf(InvalidConfig, "timestamp type %.40q: want CreateTime or LogAppendTime", s)
	}
	return TimestampType(i), nil
}

// Batch is exactly one whole record batch. It is a view of bytes that
// [CheckBatch], [NextBatch] or [BatchBuilder.Build] gave; the methods read the
// header where it lies and panic on fewer bytes than a header has.
type Batch []byte

// BaseOffset is the offset of the first record. A producer sends 0.
func (b Batch) BaseOffset() Offset { return Offset(binary.BigEndian.Uint64(b[atBaseOffset:])) }

// SetBaseOffset stamps the offset of the first record in place. The CRC does
// not cover it and stays valid.
func (b Batch) SetBaseOffset(o Offset) { binary.BigEndian.PutUint64(b[atBaseOffset:], uint64(o)) }

// Length is the size of the whole batch in bytes, as its header claims.
func (b Batch) Length() int { return beforeLength + int(b.int32At(atBatchLength)) }

// LeaderEpoch is the epoch of the leader that appended the batch, or [NoEpoch].
func (b Batch) LeaderEpoch() Epoch { return Epoch(b.int32At(atLeaderEpoch)) }

// SetLeaderEpoch stamps the leader's epoch in place. The CRC does not cover it
// and stays valid.
func (b Batch) SetLeaderEpoch(e Epoch) { b.putInt32At(atLeaderEpoch, int32(e)) }

// Magic is the version of the format, 2.
func (b Batch) Magic() int8 { return int8(b[atMagic]) }

// CRC is the CRC32C that the header claims; [VerifyCRC] checks it.
func (b Batch) CRC() uint32 { return binary.BigEndian.Uint32(b[atCRC:]) }

// Attributes are all 16 bits; the methods below take them apart.
func (b Batch) Attributes() int16 { return int16(b.attributes()) }

// Compression is the codec of the records. It may be invalid in a batch that
// did not pass [CheckBatch].
func (b Batch) Compression() Compression { return Compression(b.attributes() & attrCompression) }

// TimestampType says who set the timestamps.
func (b Batch) TimestampType() TimestampType {
	return TimestampType(b.attributes() & attrAppendTime / attrAppendTime)
}

// IsTransactional says whether the batch is part of a transaction.
func (b Batch) IsTransactional() bool { return b.attributes()&attrTransactional != 0 }

// IsControl says whether the records are markers for the log itself, which no
// consumer is shown.
func (b Batch) IsControl() bool { return b.attributes()&attrControl != 0 }

// LastOffsetDelta is the distance of the last record from the base offset. It
// is what the batch was produced with, even when compaction took records out.
func (b Batch) LastOffsetDelta() int32 { return b.int32At(atLastOffsetDelta) }

// LastOffset is the offset of the last record.
func (b Batch) LastOffset() Offset { return b.BaseOffset() + Offset(b.LastOffsetDelta()) }

// NextOffset is the offset behind the batch.
func (b Batch) NextOffset() Offset { return b.LastOffset() + 1 }

// BaseTimestamp is what the records' timestamps are relative to, in Unix
// milliseconds.
func (b Batch) BaseTimestamp() int64 { return int64(binary.BigEndian.Uint64(b[atBaseTimestamp:])) }

// MaxTimestamp is the greatest timestamp of the records in Unix milliseconds,
// as the producer claims it, or the leader's when the type is [TimestampAppend].
func (b Batch) MaxTimestamp() int64 { return int64(binary.BigEndian.Uint64(b[atMaxTimestamp:])) }

// ProducerID is the idempotent producer's id, or [NoProducerID].
func (b Batch) ProducerID() ProducerID { return ProducerID(binary.BigEndian.Uint64(b[atProducerID:])) }

// ProducerEpoch is the idempotent producer's epoch, or -1.
func (b Batch) ProducerEpoch() ProducerEpoch {
	return int16(binary.BigEndian.Uint16(b[atProducerEpoch:]))
}

// BaseSequence is the producer's sequence of the first record, or -1.
func (b Batch) BaseSequence() int32 { return b.int32At(atBaseSequence) }

// LastSequence is the sequence of the last record, or -1 when the batch has
// none. It wraps from 2^31-1 to 0.
func (b Batch) LastSequence() int32 {
	first := b.BaseSequence()
	if first < 0 {
		return NoSequence
	}
	return AddSequence(first, b.LastOffsetDelta())
}

// DeleteHorizon is from when on, in Unix milliseconds, the tombstones in the batch may be left out; ok is false before compaction first met them.
func (b Batch) DeleteHorizon() (ms int64, ok bool) {
	return b.BaseTimestamp(), b.attributes()&attrDeleteHorizon != 0
}

// RecordCount is the number of records.
func (b Batch) RecordCount() int32 { return b.int32At(atRecordCount) }

// StampAppendTime makes ms the timestamp of all records, for a topic with
// message.timestamp.type=LogAppendTime, and renews the CRC over the whole
// batch (some 50 us for 1 MiB). Only the leader does this, before storing.
func (b Batch) StampAppendTime(ms int64) {
	b[atAttributes+1] |= attrAppendTime
	binary.BigEndian.PutUint64(b[atMaxTimestamp:], uint64(ms))
	b.putCRC()
}

// Renumber puts another producer id, epoch and first sequence into the batch
// and renews the CRC: for a batch that was definitely refused and is sent
// again under a new producer id or epoch. A batch that may have been appended
// must never be renumbered: it would no longer be seen to be a duplicate.
func (b Batch) Renumber(id ProducerID, epoch ProducerEpoch, baseSequence int32) {
	binary.BigEndian.PutUint64(b[atProducerID:], uint64(id))
	binary.BigEndian.PutUint16(b[atProducerEpoch:], uint16(epoch))
	b.putInt32At(atBaseSequence, baseSequence)
	b.putCRC()
}

// String describes the batch for logs and dumps, in one line.
func (b Batch) String() string {
	if len(b) < BatchHeaderSize {
		return "batch of " + strconv.Itoa(len(b)) + " bytes"
	}
	s := "batch [" + strconv.FormatInt(int64(b.BaseOffset()), 10) + "," +
		strconv.FormatInt(int64(b.NextOffset()), 10) + ") epoch " + strconv.Itoa(int(b.LeaderEpoch())) +
		" records " + strconv.Itoa(int(b.RecordCount())) + " bytes " + strconv.Itoa(len(b)) +
		" " + b.Compression().String()
	if id := b.ProducerID(); id >= 0 {
		s += " producer " + strconv.FormatInt(int64(id), 10) + "/" + strconv.Itoa(int(b.ProducerEpoch())) +
			" sequence " + strconv.Itoa(int(b.BaseSequence()))
	}
	return s
}

func (b Batch) attributes() uint16 { return binary.BigEndian.Uint16(b[atAttributes:]) }

func (b Batch) int32At(at int) int32 { return int32(binary.BigEndian.Uint32(b[at:])) }

func (b Batch) putInt32At(at int, v int32) { binary.BigEndian.PutUint32(b[at:], uint32(v)) }

func (b Batch) putCRC() { binary.BigEndian.PutUint32(b[atCRC:], b.computeCRC()) }

func (b Batch) computeCRC() uint32 { return crc32.Checksum(b[crcFrom:], castagnoli) }

// castagnoli is the table that the standard library computes in hardware.
var castagnoli = crc32.MakeTable(crc32.Castagnoli)
