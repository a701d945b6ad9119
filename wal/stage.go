package wal

import (
	"sync"
	"sync/atomic"
)

// stage is where the next group is begun while the disk has one. As long as it
// is open, what the writer gathers into (its group, the tail, what streams will be, and the head
// of the queue) belongs to whoever holds the mutex: appenders make frames there
// of what waits, in its order. Otherwise all of that is the writer's alone. It opens the stage only with
// nothing in its hands: whatever was taken from the queue is in the group that the disk gets.
//
// Nobody is told anything by an appender, and nothing that it frames is
// written before the group ahead of it is durable.
type stage struct {
	inviting atomic.Bool // it is worth an attempt

	mu    sync.Mutex // never held across I/O; appenders do not wait for it
	open  bool       // changed by the writer only
	heads []stagedHead
}

// stagedHead is the header of a frame that is whole but for it: what it
// promises is known once the group ahead is durable.
type stagedHead struct {
	header
	pos int64
}

func (s *stage) enter() {
	s.mu.Lock()
	s.open = true
	s.mu.Unlock()
	s.inviting.Store(true)
}

// leave waits for an appender that is in the middle of it: for a few
// microseconds, stageBytes at most.
func (s *stage) leave() {
	s.inviting.Store(false)
	s.mu.Lock()
	s.open = false
	s.mu.Unlock()
}

// stageAhead frames some of what waits, if the writer is busy with the disk.
// Any goroutine may call it, and does not wait.
func (w *writer) stageAhead() {
	if !w.stage.inviting.Load() || !w.stage.mu.TryLock() {
		return
	}
	defer w.stage.mu.Unlock()
	if !w.stage.open {
		return
	}
	items := w.l.queue.waiting()
	n := 0
	for left := int64(stageBytes); n < len(items); n++ {
		size := frameSize(int64(len(items[n].Payload)))
		if !w.stageable(&items[n], size) {
			w.stage.inviting.Store(false)
			break
		}
		if left -= size; left < 0 {
			break
		}
		w.do(&items[n])
	}
	w.l.queue.frame(n)
}

// stageable says whether an item can be framed without I/O, without a new
// segment, and without what the group ahead will do to the index.
func (w *writer) stageable(it *item, size int64) bool {
	if it.Type != EntryData || size > stageBytes || !w.fits(size) || !w.tail.fits(size) {
		return false
	}
	s := w.l.streams[it.Stream] // the map is changed while the stage is closed
	return s != nil && s.bad.Load() == nil
}

// endStaged makes the headers of what was framed ahead: the group before is durable.
func (w *writer) endStaged() {
	for i := range w.stage.heads {
		h := &w.stage.heads[i]
		h.promised = uint32(w.synced)
		h.encode(w.tail.at(h.pos, headerSize), w.active.seed, h.pos)
	}
	w.stage.heads = w.stage.heads[:0]
}
