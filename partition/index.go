package partition

import (
	"slices"
	"sort"

	"github.com/rustmq/rustmq/mq"
)

// indexStride is how many bytes of log one index point stands for: a lookup by time reads about so much, and 4 GiB of log take
// 2 MiB of memory.
const indexStride = 64 << 10

// indexPoint stands for the batches from offset up to the next point.
type indexPoint struct {
	offset   mq.Offset
	before   int64 // bytes of log before offset, counted from where the index began
	maxTime  int64 // greatest timestamp of these batches, milliseconds since 1970
	appended int64 // when the first of them was appended, milliseconds since 1970
}

// index is a sparse index of the log that is not tiered yet: by time, by size and by age. Its zero value is empty. Guarded by the
// partition's mutex.
type index struct {
	points []indexPoint
	end    mq.Offset
	total  int64 // bytes up to end
}

// add notes a batch at the end of the log.
func (x *index) add(b mq.Batch, base mq.Offset, now int64) {
	n := len(x.points)
	if n == 0 || x.total-x.points[n-1].before >= indexStride {
		x.points = append(x.points, indexPoint{offset: base, before: x.total, maxTime: b.MaxTimestamp(), appended: now})
	} else {
		x.points[n-1].maxTime = max(x.points[n-1].maxTime, b.MaxTimestamp())
	}
	x.end = base + mq.Offset(b.LastOffsetDelta()) + 1
	x.total += int64(len(b))
}

// point is the index of the point that stands for offset, or -1.
func (x *index) point(offset mq.Offset) int {
	if offset >= x.end {
		return -1
	}
	return sort.Search(len(x.points), func(i int) bool { return x.points[i].offset > offset }) - 1
}

// bytesBelow estimates, to a fraction of the stride, the bytes of log below offset.
func (x *index) bytesBelow(offset mq.Offset) int64 {
	if offset >= x.end {
		return x.total
	}
	i := x.point(offset)
	if i < 0 {
		if len(x.points) > 0 {
			return x.points[0].before
		}
		return x.total
	}
	from, to, until := x.points[i], x.total, x.end
	if i+1 < len(x.points) {
		to, until = x.points[i+1].before, x.points[i+1].offset
	}
	return from.before + (to-from.before)*int64(offset-from.offset)/int64(until-from.offset)
}

// appendedAt is when the batches around offset were appended, in milliseconds since 1970; 0 when unknown.
func (x *index) appendedAt(offset mq.Offset) int64 {
	if i := x.point(offset); i >= 0 {
		return x.points[i].appended
	}
	return 0
}

// afterTime is where to begin looking for the first record at or above from with timestamp ts or later; ok is false when
// there is none.
func (x *index) afterTime(from mq.Offset, ts int64) (offset mq.Offset, ok bool) {
	for i := max(x.point(from), 0); i < len(x.points); i++ {
		if x.points[i].maxTime >= ts {
			return max(x.points[i].offset, from), true
		}
	}
	return 0, false
}

// release forgets what lies wholly below offset.
func (x *index) release(offset mq.Offset) {
	n := 0
	for n < len(x.points) && (n+1 < len(x.points) && x.points[n+1].offset <= offset || x.end <= offset) {
		n++
	}
	switch {
	case n == len(x.points):
		x.points = nil
	case n > 0:
		x.points = slices.Clone(x.points[n:])
	}
}

// truncate cuts the index at offset. The last point's greatest time may then be that of a batch that is gone: a lookup finds
// nothing there and goes on.
func (x *index) truncate(offset mq.Offset) {
	if offset >= x.end {
		return
	}
	x.total = x.bytesBelow(offset)
	x.end = offset
	n := len(x.points)
	for n > 0 && x.points[n-1].offset >= offset {
		n--
	}
	x.points = x.points[:n]
}

// restart empties the index; the log goes on at offset.
func (x *index) restart(offset mq.Offset) { *x = index{end: offset} }
