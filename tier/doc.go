// Package tier moves committed batches of many partitions into an object store
// and reads them back. It is the only package that talks to the store.
//
// The [Uploader] asks partitions ([Source]) what they have pending, writes
// objects of many partitions each, and commits them in the [Catalog], which is
// the metadata behind raft and the only authority on what the store holds. The
// [Reader] finds a partition's ranges in the catalogue and serves verified
// batches through a block cache. [Check], [Dump] and [ReadFooter] look at single
// objects without a catalogue.
//
// [OpenStore] opens a [Store], through which all bucket I/O goes: Put (create
// only, and verified), Open (a ranged read), Stat, Delete and List. A Store is a
// handle for requests of one [Class], and [Store.For] gives that of another: who
// makes requests is given its handle once, where it is composed, and needs to
// know no more. Requests under way are bounded, by class, and so are the bytes
// per second, each way: uploads go before consumers' reads, then compaction, then
// what nobody waits for; see [Limits]. Read-ahead happens only while the store is
// [Store.Idle].
//
// Not here: the partition's log and marks, the catalogue, what is deleted and
// when.
//
// # Invariants
//
//   - An object's key is used once. What lies under it is exactly the object or
//     was never committed.
//   - Order: lease an object id, upload, verify, commit, and only then tell the
//     source, which may release its log. A crash between any two leaves an object
//     that nobody refers to, or a committed one.
//   - Only what the source says is below the high watermark is uploaded. So every
//     object, committed or refused, is a true part of the log.
//   - Ranges of one partition are committed in offset order. Each range has its
//     own verdict.
//   - Trouble with the store, and an object that the store says it does not have,
//     are ObjectStoreUnavailable; never "there is nothing". Only [ErrAbsent] says
//     that an object is not there, and only when the store also lists what is
//     around it.
//   - No byte of a batch is served that a checksum did not vouch for. Damage is
//     Corrupt, with the object's key and the position, and is not remembered:
//     the next read looks again.
//   - No credentials are in a URL, an error, or a log.
//   - Memory is bounded: an object per upload under way, the block cache's
//     budget, and read-ahead times ranged reads under way.
//
// # Object format, version 1
//
// An object is sections, sorted by partition and then offset, between a header
// and a footer. All numbers are big-endian; there is no padding; every byte is
// covered by a checksum (CRC-32C). Flags are zero; a flag or version that is
// not known is UnsupportedVersion.
//
//	object   header (24) | section ... | footer | trailer (32)
//
//	header    0  "RMQTIER\n"
//	          8  u16 version   10 u16 flags
//	         12  u64 object id
//	         20  u32 crc of bytes 0-19
//
//	section  batches | index
//
//	batches  whole record batches (see package mq) as the producer made and the
//	         leader stamped them, one after the other, without a gap in offsets;
//	         of a partition that is compacted by key, some have lost records,
//	         or all, and hold their offsets still
//
//	index     0  u32 magic f2494458
//	          4  u32 flags
//	          8  u64 object id
//	         16  u64 position of the section in the object
//	         24  u64 bytes of the batches
//	         32  i64 end: the offset behind the last record
//	         40  u32 crc of the batches
//	         44  u32 number of entries
//	         48  entries (28 each)
//	             u32 crc of the index so far
//
//	entry     0  i64 base offset of the run's first batch
//	          8  u64 position of the run in the section
//	         16  i64 greatest timestamp in the run, milliseconds since 1970
//	         24  u32 crc of the run
//
// A run is as many batches as make 64 KiB, or one batch more. Its checksum also
// covers the 21 bytes of each batch that the batch's own leaves out. Offsets are
// found by the entries' base offsets, times by their greatest timestamps.
//
//	footer    0  u32 magic f2465452
//	          4  u32 flags
//	          8  u64 object id
//	         16  16 bytes cluster id
//	         32  i32 node id
//	         36  i64 time of writing, milliseconds since 1970
//	         44  u32 number of ranges
//	         48  ranges
//
//	range     0  16 bytes topic id
//	         16  i32 partition   20 i32 leader epoch   24 u32 flags
//	         28  i64 first offset   36 i64 end offset (half-open)
//	         44  i64 least base timestamp   52 i64 greatest timestamp
//	         60  u64 position   68 u64 bytes of the batches
//	         76  u32 bytes of the index, which follows them
//	         80  u32 crc of the batches
//	         84  u32 batches   88 u64 records
//	         96  u32 bytes of state   100 u32 number of epochs
//	        104  state: of the idempotent producers at the end offset, opaque
//	             epochs (12 each): i32 epoch, i64 start offset, as at the end offset
//
//	trailer   0  u64 position of the footer   8 u32 its bytes   12 u32 its crc
//	         16  u16 version   18 u16 flags
//	         20  u32 crc of bytes 0-19
//	         24  "RMQTEND\n"
//
// The footers of all objects of a generation are enough to rebuild the
// catalogue: state and epochs are there so that they can. [MaxFooterBytes],
// [MaxIndexBytes], [MaxStateBytes] and [MaxEpochs] bound what a decoder believes.
//
// # Keys
//
//	PREFIX objects/ID>>12 (13 hex digits)/ID (16)-RANDOM.rmq
//
// PREFIX names cluster and generation. Keys sort by id, 4,096 to a directory.
package tier
