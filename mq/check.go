package mq

import "math"

// CheckBatch is the door: it makes b a [Batch] if it is exactly one batch that
// a client may append. It reads the header and the CRC, allocates nothing and
// keeps no copy; the Batch is b. max is the topic's max.message.bytes (in
// bytes); [MaxBatchBytes] holds beside it.
//
// The codes: [MessageTooLarge] beyond max; [CorruptMessage] for a wrong length
// or CRC; [UnsupportedForMessageFormat] for another magic or reserved bits;
// [UnsupportedCompression]; [RecordListTooLarge] for more than
// [MaxRecordsPerBatch]; [InvalidTimestamp] when the producer claims the
// leader's timestamp type; [InvalidRecord] for what contradicts itself, for a
// control batch, and for anything after the first batch.
//
// The records themselves are not looked at: see [CheckRecords]. Whether a
// transaction is open for a transactional batch is the caller's to know.
func CheckBatch(b []byte, max int) (Batch, error) {
	batch, rest, err := splitBatch(b, min(max, MaxBatchBytes))
	if err != nil {
		return nil, err
	}
	if len(rest) != 0 {
		return nil, Errorf(InvalidRecord, "%d bytes after the batch: one batch at a time", len(rest))
	}
	if err := VerifyCRC(batch); err != nil {
		return nil, err
	}
	if err := checkHeader(batch); err != nil {
		return nil, err
	}
	if err := checkProduced(batch); err != nil {
		return nil, err
	}
	return batch, nil
}

// NextBatch takes the first batch off a concatenation of stored batches. It
// checks the header against itself and against the bytes that are there, but
// not the CRC ([VerifyCRC]); a batch may have lost records to compaction. The
// results alias b. The codes are those of [CheckBatch].
func NextBatch(b []byte) (batch Batch, rest []byte, err error) {
	batch, rest, err = splitBatch(b, MaxBatchBytes)
	if err != nil {
		return nil, nil, err
	}
	if err := checkHeader(batch); err != nil {
		return nil, nil, err
	}
	return batch, rest, nil
}

// VerifyCRC compares the CRC32C of the batch, which covers all but its first
// 21 bytes, with the one it carries. The code is [CorruptMessage].
func VerifyCRC(b Batch) error {
	if got, want := b.computeCRC(), b.CRC(); got != want {
		return Errorf(CorruptMessage, "%s: CRC32C is %08x, the batch says %08x", b, got, want)
	}
	return nil
}

// CheckRecords walks all records, decompressing them into buf (nil allocates
// one), and says whether a consumer will be able to read them: lengths, counts,
// and offset deltas that lie inside the batch and ascend; dense if the batch
// still has all the records it was produced with. The codes are those of
// [Batch.Records].
func CheckRecords(b Batch, buf *DecodeBuffer) error {
	for _, err := range b.Records(buf) {
		if err != nil {
			return err
		}
	}
	return nil
}

// splitBatch cuts the first batch off b by its length, which it trusts only
// as far as max and b go.
func splitBatch(b []byte, max int) (Batch, []byte, error) {
	if len(b) < BatchHeaderSize {
		return nil, nil, Errorf(CorruptMessage, "%d bytes are too few for a batch: its header has %d", len(b), BatchHeaderSize)
	}
	if magic := b[atMagic]; magic != batchMagic {
		return nil, nil, Errorf(UnsupportedForMessageFormat, "batch with magic %d, only %d is supported", magic, batchMagic)
	}
	claimed := int64(Batch(b).int32At(atBatchLength)) + beforeLength
	switch {
	case claimed < BatchHeaderSize:
		return nil, nil, Errorf(CorruptMessage, "batch claims %d bytes: fewer than its header has", claimed)
	case claimed > int64(max):
		return nil, nil, Errorf(MessageTooLarge, "batch of %d bytes: at most %d are allowed", claimed, max)
	case claimed > int64(len(b)):
		return nil, nil, Errorf(CorruptMessage, "batch claims %d bytes, %d are there", claimed, len(b))
	}
	return Batch(b[:claimed:claimed]), b[claimed:], nil
}

// checkHeader finds what no stored batch may have.
func checkHeader(b Batch) error {
	attributes := b.attributes()
	count, lastDelta := b.RecordCount(), b.LastOffsetDelta()
	payload := len(b) - BatchHeaderSize
	switch {
	case attributes&attrReserved != 0:
		return Errorf(UnsupportedForMessageFormat, "batch attributes %#04x: reserved bits are set", attributes)
	case !b.Compression().Valid():
		return Errorf(UnsupportedCompression, "compression %d", uint8(b.Compression()))
	case b.BaseOffset() < 0:
		return Errorf(InvalidRecord, "base offset %d", b.BaseOffset())
	case lastDelta < 0 || int64(b.BaseOffset()) > math.MaxInt64-1-int64(lastDelta):
		return Errorf(InvalidRecord, "last offset delta %d from base offset %d", lastDelta, b.BaseOffset())
	case lastDelta >= MaxRecordsPerBatch:
		return Errorf(RecordListTooLarge, "batch of %d records: at most %d are allowed", int64(lastDelta)+1, MaxRecordsPerBatch)
	case count < 0 || count > lastDelta+1:
		return Errorf(InvalidRecord, "%d records, but last offset delta %d", count, lastDelta)
	case count > 0 && payload == 0:
		return Errorf(InvalidRecord, "%d records in no bytes", count)
	case b.Compression() == CompressionNone && int64(count)*MinRecordBytes > int64(payload):
		return Errorf(InvalidRecord, "%d records in %d bytes: the shortest takes %d", count, payload, MinRecordBytes)
	}
	return nil
}

// checkProduced finds what only brokers may write, and what makes no sense
// before compaction.
func checkProduced(b Batch) error {
	switch {
	case b.IsControl():
		return Errorf(InvalidRecord, "clients may not write control batches")
	case b.attributes()&attrDeleteHorizon != 0:
		return Errorf(InvalidRecord, "clients may not set a delete horizon")
	case b.TimestampType() != TimestampCreate:
		return Errorf(InvalidTimestamp, "clients may not set timestamp type %s", b.TimestampType())
	case b.RecordCount() != b.LastOffsetDelta()+1:
		return Errorf(InvalidRecord, "%d records, but last offset delta %d", b.RecordCount(), b.LastOffsetDelta())
	case b.ProducerID() < NoProducerID:
		return Errorf(InvalidRecord, "producer id %d", b.ProducerID())
	case b.ProducerID() >= 0 && (b.ProducerEpoch() < 0 || b.BaseSequence() < 0):
		return Errorf(InvalidRecord, "producer id %d with epoch %d and sequence %d", b.ProducerID(), b.ProducerEpoch(), b.BaseSequence())
	case b.ProducerID() < 0 && b.IsTransactional():
		return Errorf(InvalidRecord, "transactional batch without a producer id")
	}
	return nil
}
