package mq

// BatchBuilder gathers records into a batch. It is meant to be kept and used
// again: after the first few batches it allocates nothing. Not for concurrent
// use.
type BatchBuilder struct {
	buf        []byte
}

// NewBatchBuilder makes a builder. level is the codec's own (gzip 1-9, lz4
// 1-9, zstd 1-22), 0 its default; another one is an error (code
// [InvalidConfig]), and so is a codec that does not exist (code
// [UnsupportedCompression]).
func NewBatchBuilder(c Compression, level int) (*BatchBuilder, error) { panic("not yet") }

// Append adds a record at the end; it copies all of it. The error leaves the
// builder as it was: [MessageTooLarge] for a record that fits no batch at all, [RecordListTooLarge]
// for one that does not fit this one any more, [InvalidRecord] for too many headers.
func (w *BatchBuilder) Append(rec Record) error { panic("not yet") }

// Len is the number of records appended.
func (w *BatchBuilder) Len() int { panic("not yet") }

// Size is the size in bytes of the batch if it were built now and not compressed: it
// never comes out larger.
func (w *BatchBuilder) Size() int { panic("not yet") }

// SizeWith is what [BatchBuilder.Size] would be after appending rec.
func (w *BatchBuilder) SizeWith(rec Record) int { panic("not yet") }

// Build makes the batch of the records appended and leaves the builder empty.
// The batch belongs to the caller. dst belongs to the builder from now on: its
// memory either became the batch or is what the builder appends to next, so a
// caller that gives the memory of batches it is done with allocates nothing.
// Base offset is 0 and leader epoch [NoEpoch]: the leader's to stamp. A batch
// that does not become smaller by compression is left uncompressed.
//
// For a producer that is not idempotent give [NoProducerID],
// [NoProducerEpoch], [NoSequence]. The error's code is [InvalidRequest] for an
// empty builder.
func (w *BatchBuilder) Build(dst []byte, id ProducerID, epoch ProducerEpoch, baseSequence int32) (Batch, error) {
	panic("not yet")
}

// Reset drops what was appended.
func (w *BatchBuilder) Reset() { panic("not yet") }

