package partition

import (
	"sync/atomic"

	"github.com/rustmq/rustmq/mq"
)

// marks are a log's cursors. They are written under the partition's mutex and read without it. Each is an end offset: what lies below
// has passed.
//
//	log start <= high watermark <= log end     local <= log end
//	object mark <= high watermark
//
// All but the log end only move up, as long as a follower is not reset or, by its leader's history, truncated.
type marks struct {
	start, localEnd, highEnd, objectEnd, end atomic.Int64
}

// logStart is the first offset that may be read.
func (m *marks) logStart() mq.Offset { return mq.Offset(m.start.Load()) }

// local is the end of what this node has synced.
func (m *marks) local() mq.Offset { return mq.Offset(m.localEnd.Load()) }

// high is the high watermark: the end of what the in-sync set has synced.
func (m *marks) high() mq.Offset { return mq.Offset(m.highEnd.Load()) }

// object is the end of what is committed to the object store.
func (m *marks) object() mq.Offset { return mq.Offset(m.objectEnd.Load()) }

// logEnd is the offset that the next record gets.
func (m *marks) logEnd() mq.Offset { return mq.Offset(m.end.Load()) }

func (m *marks) setLogStart(o mq.Offset) { m.start.Store(int64(o)) }
func (m *marks) setLocal(o mq.Offset)    { m.localEnd.Store(int64(o)) }
func (m *marks) setHigh(o mq.Offset)     { m.highEnd.Store(int64(o)) }
func (m *marks) setObject(o mq.Offset)   { m.objectEnd.Store(int64(o)) }
func (m *marks) setLogEnd(o mq.Offset)   { m.end.Store(int64(o)) }

// visible is where a reader's isolation ends.
func (m *marks) visible(iso mq.Isolation) mq.Offset {
	if iso == mq.IsolationObject {
		return min(m.object(), m.high())
	}
	return m.high()
}
