package wal

import (
	"runtime"
	"slices"
	"time"

	"github.com/rustmq/rustmq/mq"
)

// writer is the log's one goroutine that writes: it gathers what is queued
// into frames, writes and syncs them together, and then tells everyone. While
// it waits for the disk, appenders begin the next group on its stage.
type writer struct {
	l    *Log
	tail tail
	err  error // after the first error of a write or sync nothing is done any more

	active   *segment // nil: the next frame begins one
	synced   int64    // all of the active segment below is durable
	dry      bool     // a promise is due when nothing comes
	prevTag  uint32   // of the last frame
	prevSize uint32
	prevEnd  int64     // where the segment before the active one ended
	touched  []*stream // written in the active segment
	reseal   bool      // the active segment is to be ended before anything else

	group      // what was gathered and is not being written yet
	spare []op // emptied, for the next group
	stage stage

	head [headerSize]byte
}

// group is what is made durable together.
type group struct {
	ops     []op
	bytes   int64
	cuts    bool
	payload uint64
	entries int
}

// op is what an item does to the index once it is durable.
type op struct {
	stream *stream
	kind   EntryType
	copied bool
	empty  bool // of a truncation: nothing is left
	seq    uint32
	first  uint64
	end    uint64
	seg    uint64
	pos    int64
	size   int64
	state  *Entry
	freed  []freeRecord
	cost   int64 // reserved for it
	done   Done
	err    error // it was refused, for this
}

var padding [frameAlign]byte

func newWriter(l *Log, found *recovered) (*writer, error) {
	w := &writer{l: l, prevEnd: found.prevEnd}
	w.tail.written = func(n int) { l.counters.written.Add(uint64(n)) }
	seg := found.active
	if seg == nil {
		return w, nil
	}
	w.active, w.synced, w.dry, w.reseal = seg, found.last.end, found.unpromised, found.reseal
	w.prevSize = uint32(found.last.last.size())
	if h := &found.last.last; !h.kind.internal() {
		w.prevTag = streamTag(h.stream)
	}
	for _, s := range l.sorted() {
		if s.touched == seg.id {
			w.touched = append(w.touched, s)
		}
	}
	w.tail.open(seg, found.last.end, found.block)
	l.room.resume(w.left(), l.usable(seg), l.headroom(seg))
	return w, nil
}

// run is the writer's goroutine. It ends when the queue is closed and empty.
func (w *writer) run() {
	var items []item
	timer := time.NewTimer(time.Hour)
	timer.Stop()
	for {
		var framed int
		var closed bool
		if items, framed, closed = w.l.queue.take(items); len(items) > 0 {
			for i := range items[framed:] {
				w.do(&items[framed+i])
			}
			w.finish(true)
			w.linger(len(items))
			continue
		}
		if closed {
			w.promise()
			return
		}
		if !w.dry || w.err != nil {
			<-w.l.queue.wake
			continue
		}
		timer.Reset(w.l.opts.PromiseDelay)
		select {
		case <-w.l.queue.wake:
			timer.Stop()
		case <-timer.C:
			w.promise()
		}
	}
}

// linger lets those that were just told of told items go on before the writer
// looks at the queue: what they append next then shares one sync, where it
// would have been spread over two. It ends as soon as that brings nothing
// more, and is not for many.
func (w *writer) linger(told int) {
	if told > lingerEntries {
		return
	}
	for before := -1; ; {
		n := w.l.queue.length()
		if n >= told || n == before {
			return
		}
		before = n
		runtime.Gosched()
	}
}

// do gathers one item.
func (w *writer) do(it *item) {
	o := op{kind: it.Type, first: it.First, end: it.End, done: it.done}
	if it.Type == EntryData {
		o.cost = frameSize(int64(len(it.Payload)))
	}
	if w.err != nil {
		o.err = w.err
	} else {
		switch it.Type {
		case workSync:
		case workFree:
			o.err = w.free(it, &o)
		case workCopy:
			o.err = w.copy(it, &o)
		case EntryData, EntryState, EntryTruncate, EntryReset, EntryDrop:
			o.err = w.entry(it, &o)
		default:
			o.err = mq.Errorf(mq.InvalidRequest, "append an entry of type %d", it.Type)
		}
	}
	w.ops = append(w.ops, o)
	if w.bytes >= maxGroupBytes {
		w.commit()
	}
}

// entry gathers an entry of the log's user.
func (w *writer) entry(it *item, o *op) error {
	s := w.l.streams[it.Stream] // only this goroutine changes the map
	if err := w.check(it, s); err != nil {
		return err
	}
	if s == nil {
		if it.Type == EntryDrop {
			return nil
		}
		s = newStream(it.Stream)
		w.l.mu.Lock()
		w.l.streams[it.Stream] = s
		w.l.mu.Unlock()
	}
	h := header{kind: it.Type, stream: it.Stream, seq: s.tailSeq + 1, first: it.First, count: uint32(it.End - it.First)}
	if it.Type == EntryTruncate && w.empties(it, s) {
		h.flags = flagEmpty
	}
	h.payloadCRC = it.CRC
	if err := w.frame(&h, it.Payload, s, o); err != nil {
		return err
	}
	o.stream, o.seq, o.empty = s, h.seq, h.flags&flagEmpty != 0
	s.tailSeq = h.seq
	switch it.Type {
	case EntryData:
		s.tailEnd, s.tailStarted = it.End, true
	case EntryTruncate, EntryReset:
		s.tailEnd, s.tailStarted, w.cuts = it.First, true, true
	case EntryState:
		e := it.Entry
		e.Payload = slices.Clone(e.Payload)
		o.state = &e
	case EntryDrop:
		s.dropped, w.cuts = true, true
		w.l.mu.Lock()
		delete(w.l.streams, it.Stream)
		w.l.mu.Unlock()
	}
	w.entries++
	w.payload += uint64(len(it.Payload))
	return nil
}

// check refuses an entry that its stream or the log cannot take.
func (w *writer) check(it *item, s *stream) error {
	n := int64(len(it.Payload))
	switch {
	case it.End < it.First || it.End-it.First > 1<<32-1:
		return mq.Errorf(mq.InvalidRequest, "append to stream %x: offsets [%d, %d)", it.Stream, it.First, it.End)
	case n > w.l.opts.MaxPayload():
		return mq.Errorf(mq.MessageTooLarge, "append to stream %x: an entry of %d bytes: the log takes %d", it.Stream, n, w.l.opts.MaxPayload())
	}
	switch it.Type {
	case EntryData:
		if it.End == it.First {
			return mq.Errorf(mq.InvalidRequest, "append to stream %x: data without an offset, at %d", it.Stream, it.First)
		}
		if s == nil {
			return nil
		}
		if s.bad.Load() != nil && w.cuts { // what a reset makes well is so when it is durable
			if w.commit(); w.err != nil {
				return w.err
			}
		}
		if q := s.bad.Load(); q != nil {
			return mq.Errorf(mq.PartitionQuarantined, "append to stream %x: %w", it.Stream, w.l.quarantineError(it.Stream, q))
		}
		if s.tailStarted && it.First != s.tailEnd {
			return mq.Errorf(mq.InvalidRequest, "append to stream %x: data at %d, and the stream ends at %d", it.Stream, it.First, s.tailEnd)
		}
	case EntryState:
		if n > MaxState {
			return mq.Errorf(mq.MessageTooLarge, "append to stream %x: a state of %d bytes: the log takes %d", it.Stream, n, MaxState)
		}
	case EntryTruncate, EntryReset:
		if it.First != it.End {
			return mq.Errorf(mq.InvalidRequest, "cut stream %x: it would end at %d and at %d", it.Stream, it.First, it.End)
		}
		if it.Type == EntryTruncate {
			return w.checkBoundary(it, s)
		}
	}
	return nil
}

// checkBoundary refuses a truncation that would cut an entry in two. It needs
// what was gathered to be durable.
func (w *writer) checkBoundary(it *item, s *stream) error {
	if s == nil || !s.tailStarted || it.First == s.tailEnd {
		return nil
	}
	if it.First > s.tailEnd {
		return mq.Errorf(mq.InvalidRequest, "truncate stream %x to %d: it ends at %d", it.Stream, it.First, s.tailEnd)
	}
	if w.commit(); w.err != nil {
		return w.err
	}
	w.l.mu.Lock()
	i := s.find(it.First)
	fine := it.First <= s.first || i >= 0 && s.extents[i].first == it.First
	w.l.mu.Unlock()
	if fine {
		return nil
	}
	_, err := w.l.scan(it.Stream, it.First, 1, func(_ *frameReader, h *header, _ []byte) error {
		if h.first != it.First {
			return mq.Errorf(mq.InvalidRequest, "truncate stream %x to %d: inside the entry [%d, %d)", it.Stream, it.First, h.first, h.end())
		}
		return nil
	})
	return mq.Wrapf(err, "truncate")
}

// empties says whether a truncation leaves nothing of the stream. A recovery
// could not tell: it may find more of the stream, that was released.
func (w *writer) empties(it *item, s *stream) bool {
	if !s.tailStarted || it.First == s.tailEnd {
		return !s.tailStarted
	}
	w.l.mu.Lock() // all that was gathered of the stream is durable: its boundary was looked for
	defer w.l.mu.Unlock()
	return it.First <= s.first
}

// copy gathers an entry of the oldest segment once more, if it still counts.
func (w *writer) copy(it *item, o *op) error {
	if w.cuts {
		if w.commit(); w.err != nil {
			return w.err
		}
	}
	s := w.l.streams[it.Stream]
	if s == nil {
		return nil
	}
	w.l.mu.Lock()
	at := max(it.First, s.first)
	i := s.find(at)
	live := it.End <= s.end && at < it.End && i >= 0 && uint64(s.extents[i].seg) == it.origin
	w.l.mu.Unlock()
	if !live {
		return nil
	}
	h := header{kind: EntryData, flags: flagCopy, stream: it.Stream, first: it.First, count: uint32(it.End - it.First)}
	if err := w.frame(&h, it.Payload, s, o); err != nil {
		return err
	}
	o.stream, o.kind, o.copied = s, EntryData, true
	w.l.counters.copied.Add(uint64(h.size()))
	return nil
}

// free gathers that the oldest segment is needed no more.
func (w *writer) free(it *item, o *op) error {
	if w.cuts {
		if w.commit(); w.err != nil {
			return w.err
		}
	}
	w.l.mu.Lock()
	oldest := w.l.segs[0]
	fine := oldest.id == it.origin && oldest.extents == 0 && len(w.l.segs) > 1
	if fine {
		for _, s := range w.l.sorted() {
			if s.first > s.freed {
				o.freed = append(o.freed, freeRecord{id: s.id, first: s.first})
			}
		}
	}
	w.l.mu.Unlock()
	if !fine {
		return mq.Errorf(mq.Internal, "free segment %d: it is in use", it.origin)
	}
	list := encodeFree(o.freed)
	for i, b := range list {
		h := header{kind: typeFree, seq: uint32(it.origin + 1), first: uint64(i), count: uint32(len(list))}
		if err := w.frame(&h, b, nil, nil); err != nil {
			return err
		}
	}
	return nil
}

// frame gathers one frame, in the next segment if it does not fit in this one. The header's payloadCRC is that of the payload by itself, or 0.
func (w *writer) frame(h *header, payload []byte, s *stream, o *op) error {
	size := frameSize(int64(len(payload)))
	if !w.fits(size) {
		if err := w.rotate(size); err != nil {
			return err
		}
	}
	pos, tag := w.tail.pos(), uint32(0)
	if s != nil {
		tag = s.tag
	}
	if err := w.put(h, tag, payload); err != nil {
		return err
	}
	if s != nil && s.touched != w.active.id {
		s.touched = w.active.id
		w.touched = append(w.touched, s)
	}
	if o != nil {
		o.seg, o.pos, o.size = w.active.id, pos, size
	}
	return nil
}

// put gathers a frame at the tail. tag is its stream's, 0 for the log's own. The header's payloadCRC is that of the
// payload by itself, or 0, and becomes the frame's.
func (w *writer) put(h *header, tag uint32, payload []byte) error {
	pos := w.tail.pos()
	h.length = uint32(len(payload))
	h.payloadCRC = seededCRC(w.active.seed, pos, payload, h.payloadCRC)
	h.promised = uint32(w.synced)
	h.prevTag, h.prevSize = w.prevTag, w.prevSize
	if w.stage.open {
		w.stage.heads = append(w.stage.heads, stagedHead{*h, pos})
	} else {
		h.encode(w.head[:], w.active.seed, pos)
	}
	size := h.size()
	err := w.tail.append(w.head[:])
	if err == nil {
		err = w.tail.append(payload)
	}
	if err == nil {
		err = w.tail.append(padding[:size-headerSize-int64(len(payload))])
	}
	if err != nil {
		w.err = w.l.fail(err)
		return w.err
	}
	w.prevTag, w.prevSize = tag, uint32(size)
	w.bytes += size
	return nil
}

// seededCRC is payloadCRC of a payload whose own CRC32C may be known, else it is 0.
func seededCRC(seed uint32, pos int64, payload []byte, known uint32) uint32 {
	if known == 0 || len(payload) < mq.CombineCRCFrom {
		return payloadCRC(seed, pos, payload)
	}
	return mq.CombineCRC(positionSeed(seed, pos), known, int64(len(payload)))
}

// fits says whether a frame fits in the active segment and leaves room for
// what must follow at its end: a promise, and the seal.
func (w *writer) fits(size int64) bool {
	return w.active != nil && !w.reseal && w.tail.pos()+size+promiseBytes+chunkedSize(len(w.touched)+1, sealRecordBytes) <= w.active.size
}

// left is how many bytes of frames fit in the active segment.
func (w *writer) left() int64 {
	if w.active == nil {
		return 0
	}
	return max(0, w.active.size-w.tail.pos()-promiseBytes-chunkedSize(len(w.touched)+1, sealRecordBytes))
}

// commit makes durable what was gathered, and completes it.
func (w *writer) commit() { w.finish(false) }

// finish is commit. With ahead, which is for when the writer has nothing else in its hands, the next group is begun meanwhile.
func (w *writer) finish(ahead bool) {
	g, left := w.group, w.left()
	w.group = group{ops: w.spare}
	if w.err == nil && g.bytes > 0 {
		w.sync(g.entries, ahead)
		w.dry = w.err == nil
	}
	if len(g.ops) == 0 {
		w.spare = g.ops
		return
	}
	var cost int64
	if w.err == nil {
		w.l.mu.Lock()
		for i := range g.ops {
			if o := &g.ops[i]; o.err == nil {
				w.apply(o)
			}
		}
		w.l.mu.Unlock()
		w.l.counters.entries.Add(uint64(g.entries))
		w.l.counters.payload.Add(g.payload)
	}
	for i := range g.ops {
		cost += g.ops[i].cost
	}
	w.l.room.written(cost, left)
	for i := range g.ops {
		if o := &g.ops[i]; o.done != nil {
			if o.err == nil {
				o.err = w.err
			}
			o.done.Appended(o.err)
		}
	}
	if g.cuts {
		w.l.nudge() // what was cut may have been the last of a segment
	}
	clear(g.ops)
	w.spare = g.ops[:0]
}

// sync writes and syncs what is at the tail. Meanwhile, if ahead, what comes is framed behind it.
func (w *writer) sync(entries int, ahead bool) {
	start := time.Now()
	blocks, at := w.tail.cut()
	end := w.tail.pos()
	if ahead {
		w.stage.enter()
	}
	err := w.tail.write(blocks, at)
	if err == nil {
		err = w.active.file.Sync()
	}
	if ahead {
		w.stage.leave()
	}
	if err != nil {
		w.err = w.l.fail(err)
		return
	}
	w.synced = end
	w.endStaged()
	w.l.counters.syncs.Add(1)
	w.l.counters.syncSeconds.observe(time.Since(start).Seconds())
	if entries > 0 {
		w.l.counters.groupEntries.observe(float64(entries))
	}
}

// promise writes that all is durable. Without it, damage to the last group
// would look like a write that was torn by a crash.
func (w *writer) promise() {
	if !w.dry || w.err != nil || w.active == nil {
		return
	}
	w.dry = false
	if w.tail.pos()+promiseBytes+chunkedSize(len(w.touched), sealRecordBytes) > w.active.size {
		return // there will be a seal instead
	}
	pos := w.tail.pos()
	next := roundUp(pos+headerSize, blockSize)
	if w.put(&header{kind: typePromise}, 0, make([]byte, next-pos-headerSize)) != nil || w.put(&header{kind: typePromise}, 0, nil) != nil {
		return
	}
	w.bytes = 0
	w.sync(0, false)
	w.l.counters.promises.Add(1)
	w.l.room.written(0, w.left())
}

// apply makes the index know what is durable now. The caller holds the mutex.
func (w *writer) apply(o *op) {
	s, x := o.stream, w.l.index
	for _, f := range o.freed {
		if s := x.streams[f.id]; s != nil {
			s.freed = max(s.freed, f.first)
		}
	}
	if s == nil {
		return
	}
	if o.copied {
		x.replace(s, o.first, o.end, o.seg, o.pos, o.size)
		return
	}
	s.known, s.seq = true, o.seq
	switch o.kind {
	case EntryData:
		s.start(o.first)
		x.place(s, o.seg, o.pos, o.size, o.end)
	case EntryTruncate:
		s.start(o.first)
		x.cut(s, o.first, o.seg, o.pos, o.empty)
	case EntryReset:
		x.reset(s, o.first, o.seg, o.pos)
	case EntryState:
		s.setState(o.state)
	case EntryDrop:
		x.clear(s, s.end)
	}
}
