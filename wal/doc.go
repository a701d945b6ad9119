// Package wal is a segmented write-ahead log of many streams with group commit.
// It is used twice by a node: for the data of all partitions (a stream each)
// and for the raft log (one stream). It knows nothing of what it stores.
//
// # What it promises
//
//   - An entry whose Done was told nil is there after any crash, in the order
//     of the log, and no half of one is. What was not acknowledged may be there or not.
//   - After the first error of a write or sync nothing is acknowledged. A disk
//     without room is no error: Reserve refuses, and heals.
//   - What was promised and cannot be read any more is reported with its place
//     and never served. Only the streams concerned are quarantined.
//
// It does not replicate, does not know time, and does not repair damage.
// A release is no entry: after a crash a stream may begin earlier than it was released.
//
// # Who does what
//
// Append puts an entry into a queue. One goroutine, the writer, takes all that
// waits, makes frames of it, writes and syncs them together and tells
// everybody in order. While it waits for the disk, an Append that finds many waiting
// frames some of them behind what the disk has, and neither writes nor tells. Another one, the keeper, prepares segments ahead of
// need, at the pace at which the active one is used, copies small leftovers of the
// oldest one forward, and takes free files away, oldest first. The index in memory, at most 24 bytes per stream and
// 64 KiB of log, says where the entries are; reads are positional.
//
// # The directory
//
//	0000000000000001.wal   a segment: in use, or prepared for use (its header is not valid yet)
//	prepare.tmp            one that is being prepared; removed by Open
//
// A segment is allocated and zeroed before it gets its name, or is a free one
// renamed. Checksums are seeded with the log's salt, the segment's number
// and the position, so old bytes cannot pass for new ones, nor a record's for a frame.
//
//	0       header                     64 bytes, drawn at segmentHead
//	4096    the same header again
//	8192    checkpoint                 all streams: bounds, entry numbers, states, quarantines
//	...     the same checkpoint again, in another block
//	...     frames                     drawn at header: entries, copies, promises, free frames
//	...     seal                       the streams written here, when it is full
//
// The payloads of checkpoint, seal and free frames are drawn at streamRecord.
//
// # Recovery
//
// Each frame says up to where its segment had been synced before: the
// promise. What is amiss above the highest promise found is a torn write and is cut;
// below it, and anywhere in a segment that another follows, it is damage. When
// nothing comes for a while a promise of its own is written, twice, the second
// time in the next block of 4 KiB.
//
// Behind a header that cannot be read the next one is searched for. It names
// the frame before it, so that one lost frame is blamed on its stream; a longer hole puts
// all streams in doubt. The entries of a stream are numbered: it is proven
// whole by its next entry, or by what the next seal or checkpoint says of it. What is not
// is quarantined, and that is written into every checkpoint from then on.
//
// What is found above the last promise is written and synced once more before
// Open returns: it may be in the kernel's memory only, after an error that
// nobody will hear of again.
//
// Two goroutines read and check the files, a piece each in turn; the entries
// are taken in by one of them, in the order of the log.
//
// # What is noticed, and what is not
//
// Any change of bytes below a promise is noticed, and so is any one block of
// 4 KiB that is lost there or has gone back to what it held before: header,
// checkpoint and promise have their second copy in another block, so that once
// the queue ran dry what vouches for an entry is never in its block alone.
//
// These look like the end of the log, and are cut without a word:
//
//   - damage to the last group, or to the block that it begins in, if the log
//     died before the promise behind it: within Options.PromiseDelay of its sync;
//   - two neighbouring blocks lost at the very end, which held the last entries
//     and both promises;
//   - a last segment whose file is gone, or whose every block is, and a
//     directory that was put back to how it was earlier: nothing in it says so.
//
// Who must know of these has a copy elsewhere: a replica, or the object store.
//
// # Freeing
//
// A free frame, with what was released, is synced before a file is touched;
// copies are synced before that. A copy carries its offsets and is put where
// they belong, whatever was cut before it stays cut. A truncation goes only
// after all that it cut has gone.
package wal
