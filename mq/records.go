package mq

import "iter"

// DecodeBuffer is memory that [Batch.Records] uses again: keep one per
// goroutine that reads records. The zero value is ready and bounds what one
// batch decompresses to by [MaxDecompressedBatchBytes].
type DecodeBuffer struct {
	max int
}

// NewDecodeBuffer makes a buffer that refuses batches that decompress to more
// than max bytes (at most [MaxDecompressedBatchBytes], which 0 stands for).
func NewDecodeBuffer(max int) *DecodeBuffer { return &DecodeBuffer{max: max} }

// Records iterates over the records, decompressing them first if need be. It
// ends with the first error, which comes with a zero Record: [InvalidRecord]
// for bytes that are not what the header or the lengths claim,
// [RecordListTooLarge] for more bytes or headers than the limits allow,
// [UnsupportedForMessageFormat] for record attributes. The CRC is not checked.
//
// Memory: keys, values and header keys alias the batch when it is not
// compressed, else buf; Headers is buf's. All of buf's lasts until its next
// use, and Headers only until the next record. With nil a buffer is made.
func (b Batch) Records(buf *DecodeBuffer) iter.Seq2[Record, error] { panic("not yet") }
