// Package mq is the vocabulary of RustMQ: the words that every other package
// speaks, and nothing else. It imports no other package of the module.
//
// # What is here
//
//   - identities: [NodeID], [ClusterID], [TopicID], [PartitionID], [DirID]
//   - positions: [Offset], [Epoch], [EpochHistory], producer sequences
//   - promises: [Durability], [Mark], [Isolation]
//   - errors: [Error] with a closed, wire-stable set of [Code]
//   - limits: every bound that more than one package must agree on
//   - the record batch: [Batch], [CheckBatch], [BatchBuilder], [Batch.Records]
//
// # What is not here
//
// No I/O, no clock, no goroutine, no lock, no logging. Randomness comes in as
// an io.Reader.
//
// # The record batch
//
// The unit of data is the Kafka record batch, version 2 ("magic 2"). It is
// encoded and compressed once, by the producer, and stored and forwarded
// verbatim. All integers are big-endian; varints are zigzag as in protobuf.
//
//	 0        8        12            16    17       21
//	+--------+--------+-------------+-----+--------+------------+
//	| base   | length | leader      | mag | CRC32C | attributes |
//	| offset | i32    | epoch i32   | i8  | u32    | i16        |
//	+--------+--------+-------------+-----+--------+------------+
//	 23          27         35         43        51      53         57     61
//	+-----------+----------+----------+---------+-------+----------+------+---------
//	| last      | base     | max      | produ-  | prod. | base     | rec- | records
//	| offset    | timest.  | timest.  | cer id  | epoch | sequence | ords | (maybe
//	| delta i32 | i64 ms   | i64 ms   | i64     | i16   | i32      | i32  | compressed)
//	+-----------+----------+----------+---------+-------+----------+------+---------
//
// length counts the bytes after itself. The CRC (Castagnoli) covers everything
// from the attributes on, so the leader can stamp base offset and leader epoch
// without touching it; whoever stores a batch must therefore protect the first
// 21 bytes itself.
//
//	attributes: bits 0-2 compression, 3 timestamp type, 4 transactional,
//	            5 control, 6 delete horizon (log cleaner only), 7-15 reserved
//
// A record, all lengths and deltas as varints:
//
//	length | attributes i8 (0) | timestamp delta | offset delta |
//	key length (-1 null) | key | value length (-1 null) | value |
//	header count | { key length | key | value length (-1 null) | value } ...
//
// # Invariants
//
//   - Nothing read from a batch is believed before it is checked, and nothing is
//     allocated in proportion to a number that a batch merely claims.
//   - A [Batch] that [CheckBatch] returned may be stamped and stored as it is.
//   - A reserved bit that is set is "unsupported", never "corrupt".
package mq
