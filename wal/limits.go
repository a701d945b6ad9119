package wal

import (
	"time"

	"github.com/rustmq/rustmq/mq"
)

// The log's limits, with units and reasons.
const (
	// blockSize is the unit of writing, in bytes: whole blocks are written, so
	// that the kernel never reads a page in order to change a part of it. It is
	// also what a disk loses at least when it loses something: a sector of 512
	// bytes or of 4 KiB.
	blockSize = 4096

	// firstFrame is where a segment's frames begin: behind two copies of its
	// header, a block each, so that one bad block cannot take both.
	firstFrame = 2 * blockSize

	// MinSegmentBytes is the smallest segment: header, checkpoint, seal and a
	// few frames. For tests.
	MinSegmentBytes = 32 << 10

	// MaxSegmentBytes keeps positions in a segment within 32 bits.
	MaxSegmentBytes = 1 << 30

	defaultSegmentBytes = 128 << 20

	// defaultQueueBytes bounds what is reserved and not yet durable: it keeps a
	// slow disk from being hidden by memory.
	defaultQueueBytes = 64 << 20

	// creditBytes may be reserved by entries of up to creditEach bytes without taking a mutex, while more than twice as
	// much is left of the active segment: producers then do not meet there for each record.
	creditBytes = 1 << 20
	creditEach  = 64 << 10

	// maxEntryBytes is the longest payload whatever the segment's size.
	maxEntryBytes = mq.MaxBatchBytes

	// MaxState is the longest payload of an EntryState, in bytes: it is written
	// again into every segment, for every stream.
	MaxState = 64 << 10

	// maxGroupBytes ends a group, so that those at its head do not wait for
	// the whole queue to be written: 8 MiB take a good disk 10 ms.
	maxGroupBytes = 8 << 20

	// lingerEntries is the most entries for whose appenders the writer waits
	// before it begins the next group. To let more of them go on takes longer than a sync.
	lingerEntries = 64

	// stageEntries is how many entries wait to be framed before an appender frames them ahead: fewer are not worth the locks.
	// It frames stageBytes at most, frames included, which takes it about 10 us, and none that is longer.
	stageEntries = 16
	stageBytes   = 64 << 10

	// writeBytes is the most bytes of one write: the gathered bytes are still
	// in the processor's cache when the kernel copies them.
	writeBytes = 1 << 20

	// readQueues is how many readers have what they want from several places read by one request at a time. The system has some
	// 1,000 such queues for all its processes. Who finds none reads one place after the other.
	readQueues = 16

	// extentSpan is the stretch of a segment, in bytes, in which all entries of
	// one stream share one element of the index: it bounds the index to 24
	// bytes per stream and stretch, and what a read may have to skip.
	extentSpan = 64 << 10

	// chunkBytes is about the most bytes of a checkpoint, seal or free frame;
	// longer ones are several frames.
	chunkBytes = 256 << 10

	// zeroBytes is what the keeper writes at most between two syncs when it does not pause: little enough
	// for the writer's syncs not to queue behind it for long. A segment that is no longer is prepared without pauses.
	zeroBytes = 4 << 20

	// youngBytes is the length of a log's first segment, when its segments are not shorter anyway: what can be zeroed while
	// somebody waits for the first sync. Each segment is then at most twice as long as the one before.
	youngBytes = zeroBytes

	// paceDelay is the longest pause between two pieces (of writeBytes) of a segment that is being prepared: 10 MiB/s
	// disturb little, and an idle log has the next segment of 128 MiB ready after 13 s.
	paceDelay = 100 * time.Millisecond

	// copyFraction: the oldest segment's entries are copied forward when they
	// take no more than this part of a segment, so copying costs at most that
	// part of the disk's rate. The same part of the active segment is kept
	// for the log's own needs when space is short.
	copyFraction = 8

	// promiseBytes is at most what a promise takes. It is written twice, the
	// second time in the next block: else one lost block could take the last
	// entries and what vouches for them.
	promiseBytes = headerSize + blockSize + headerSize

	// defaultCopyBehind is how many segments must have been sealed after the
	// oldest before what is left in it is copied: mostly it is released before.
	defaultCopyBehind = 4

	// copyBatchBytes bounds what waits in memory to be copied forward.
	copyBatchBytes = 1 << 20
)

// Relations that the code relies on; each is a negative constant, and so an
// error, when it does not hold.
const (
	_ uint = MinSegmentBytes - 2*firstFrame        // a segment has room for frames
	_ uint = 1<<32 - 1 - MaxSegmentBytes           // positions fit in 32 bits
	_ uint = defaultSegmentBytes/2 - maxEntryBytes // the longest entry fits in a default segment
	_ uint = 0 - writeBytes%blockSize              // writes are whole blocks
	_ uint = 0 - firstFrame%blockSize
)
