package mq

import (
	"encoding/binary"
	"slices"
)

// BatchFilter makes batches out of stored ones without some of their records, as compaction by key does. The zero value is ready. Keep one: it keeps
// the codecs' memory. Not for concurrent use.
type BatchFilter struct {
	decode   DecodeBuffer
	builders [CompressionZstd + 1]*BatchBuilder
	kept     []bool
}

// Filter is b with those of its records only that keep wants, where they were: base offset and last offset delta, leader epoch, producer and
// sequences stay, and so do the records' offsets and timestamps. Of a batch without any the header is left, which holds the offsets and the
// producer's last sequence. When tombstones (records with a null value) are kept, and the batch has no delete horizon, it gets this one, in Unix
// milliseconds. A batch of which nothing changes, and a control batch, is b itself.
//
// The record is keep's until it returns. Errors are those of [Batch.Records], and RecordListTooLarge when what is left can not be made a batch.
func (f *BatchFilter) Filter(b Batch, horizon int64, keep func(Record) bool) (Batch, error) {
	if b.IsControl() {
		return b, nil
	}
	f.kept = f.kept[:0]
	count, tombstones := 0, false
	for rec, err := range b.Records(&f.decode) {
		if err != nil {
			return nil, err
		}
		wanted := keep(rec)
		f.kept = append(f.kept, wanted)
		if wanted {
			count++
			tombstones = tombstones || rec.Value == nil
		}
	}
	there, has := b.DeleteHorizon()
	switch {
	case count == len(f.kept) && has == tombstones:
		return b, nil
	case count == 0:
		return withoutRecords(b), nil
	case has:
		horizon = there
	}
	return f.rebuild(b, horizon, tombstones)
}

// rebuild encodes the records that are kept. With a horizon, timestamps are relative to it.
func (f *BatchFilter) rebuild(b Batch, horizon int64, withHorizon bool) (Batch, error) {
	w, err := f.builder(b.Compression())
	if err != nil {
		return nil, err
	}
	w.Reset()
	index := -1
	for rec, err := range b.Records(&f.decode) {
		if err != nil {
			return nil, err
		}
		if index++; !f.kept[index] {
			continue
		}
		base := horizon
		switch {
		case withHorizon:
		case w.count == 0:
			base = rec.Timestamp
		default:
			base = w.baseTimestamp
		}
		if err := w.append(&rec, base, int32(rec.Offset-b.BaseOffset()), MaxDecompressedBatchBytes); err != nil {
			return nil, Wrapf(err, "filter %s", b)
		}
	}
	out, err := w.Build(nil, b.ProducerID(), b.ProducerEpoch(), b.BaseSequence())
	if err != nil {
		return nil, Wrapf(err, "filter %s", b)
	}
	if len(out) > MaxBatchBytes {
		return nil, Errorf(RecordListTooLarge, "filter %s: %d bytes are left, at most %d make a batch", b, len(out), MaxBatchBytes)
	}
	attributes := b.attributes()&^(attrCompression|attrDeleteHorizon) | uint16(out.Compression())
	if withHorizon {
		attributes |= attrDeleteHorizon
	}
	out.inPlaceOf(b, attributes)
	if b.TimestampType() == TimestampAppend {
		binary.BigEndian.PutUint64(out[atMaxTimestamp:], uint64(b.MaxTimestamp()))
	}
	out.putCRC()
	return out, nil
}

func (f *BatchFilter) builder(c Compression) (*BatchBuilder, error) {
	if !c.Valid() {
		return nil, Errorf(UnsupportedCompression, "compression %d", uint8(c))
	}
	if f.builders[c] == nil {
		w, err := NewBatchBuilder(c, 0)
		if err != nil {
			return nil, err
		}
		f.builders[c] = w
	}
	return f.builders[c], nil
}

// inPlaceOf gives b what another batch is known by, but for the CRC.
func (b Batch) inPlaceOf(other Batch, attributes uint16) {
	b.SetBaseOffset(other.BaseOffset())
	b.SetLeaderEpoch(other.LeaderEpoch())
	binary.BigEndian.PutUint16(b[atAttributes:], attributes)
	b.putInt32At(atLastOffsetDelta, other.LastOffsetDelta())
}

// withoutRecords is the header of b alone.
func withoutRecords(b Batch) Batch {
	out := slices.Clone(b[:BatchHeaderSize])
	out.putInt32At(atBatchLength, BatchHeaderSize-beforeLength)
	out.putInt32At(atRecordCount, 0)
	out.inPlaceOf(b, b.attributes()&^(attrCompression|attrDeleteHorizon))
	binary.BigEndian.PutUint64(out[atBaseTimestamp:], uint64(b.MaxTimestamp()))
	out.putCRC()
	return out
}

// JoinEmpty makes one batch of two without records that follow each other. ok is false if they are not of one producer and leader epoch, or together too
// long: then both must stay.
func JoinEmpty(a, b Batch) (joined Batch, ok bool) {
	delta := int64(a.LastOffsetDelta()) + 1 + int64(b.LastOffsetDelta())
	switch {
	case a.RecordCount() != 0 || b.RecordCount() != 0 || a.NextOffset() != b.BaseOffset() || delta >= MaxRecordsPerBatch:
		return nil, false
	case a.ProducerID() != b.ProducerID() || a.ProducerEpoch() != b.ProducerEpoch() || a.LeaderEpoch() != b.LeaderEpoch() || a.attributes() != b.attributes():
		return nil, false
	}
	out := slices.Clone(b)
	out.SetBaseOffset(a.BaseOffset())
	out.putInt32At(atLastOffsetDelta, int32(delta))
	if last := b.LastSequence(); last >= 0 {
		out.putInt32At(atBaseSequence, (last-int32(delta))&(1<<31-1)) // it wraps at 2^31
	}
	last := max(a.MaxTimestamp(), b.MaxTimestamp())
	binary.BigEndian.PutUint64(out[atBaseTimestamp:], uint64(last))
	binary.BigEndian.PutUint64(out[atMaxTimestamp:], uint64(last))
	out.putCRC()
	return out, true
}
