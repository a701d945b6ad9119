package wal

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/rustmq/rustmq/directio"
	"github.com/rustmq/rustmq/mq"
)

// Log is one multi-stream log. All its methods may be called by any goroutine.
type Log struct {
	opts     Options
	fs       FS
	dir      string
	log      *slog.Logger
	salt     uint64
	counters *counters
	queue    *queue
	room     *room
	writer   *writer
	frames   *sync.Pool           // of *frameReader
	queues   chan *directio.Queue // that are free, nil for one to be made

	mu      sync.Mutex // guards what follows, and is never held across I/O
	*index             // what is durable
	ready   []*segment // prepared, in the order of use
	leaving []*segment // free, in the order of their ids; a reader may still be in one
	retired []*segment // not in use any more, to be reused or removed, in this order
	nextID  uint64     // of the next segment to be prepared
	wanted  int64      // least size of the next segment to be prepared, bytes
	starved bool       // the writer waits for a segment
	least   int64      // the size that it waits for, bytes
	closed  bool       // no reads any more
	ended   bool       // whoever lets go of a segment last closes its file
	blocked error      // why no segment can be prepared; nil: one will be

	prepared chan struct{} // a segment became ready; buffered
	kick     chan struct{} // the keeper has something to look at; buffered
	stop     chan struct{} // closed by Close
	failed   chan struct{} // closed at the first error
	failOnce sync.Once
	err      error // what poisoned the log; written before failed is closed
	joined   sync.WaitGroup
	writing  sync.WaitGroup
}

// Open recovers the log in opts.Dir, or makes a new one, and starts it. Before
// it returns, visit (nil: nobody) is given the entries that the log holds: those of one
// stream in the order of their offsets, each valid during the call only. What
// was released or cut and is not freed yet may be among them; an EntryTruncate
// or EntryReset comes after what it cut. A stream that was in part copied forward
// comes again at the end, after an EntryDrop, as its state and what is live
// of its data. Of a stream that is quarantined no data comes that lies behind the damage.
// An error of visit ends Open.
//
// Damage is no error: it is in the Recovery, and only the streams concerned
// are quarantined. An error is a directory that cannot be read or written, that
// is of a newer version, or where nothing can be read that should be there.
func Open(opts Options, visit func(Entry) error) (*Log, *Recovery, error) {
	opts, err := opts.withDefaults()
	if err != nil {
		return nil, nil, err
	}
	if err := opts.FS.MkdirAll(opts.Dir); err != nil {
		return nil, nil, mq.Errorf(mq.KafkaStorageError, "open wal %s: %w", opts.Dir, err)
	}
	start := time.Now()
	found, err := recoverLog(&opts, visit, false)
	if err != nil {
		return nil, nil, mq.Wrapf(err, "open wal %s", opts.Dir)
	}
	l := newLog(opts, found)
	if err := l.replayCopied(found, visit); err != nil {
		return nil, nil, errors.Join(err, found.close())
	}
	w, err := newWriter(l, found)
	if err != nil {
		return nil, nil, errors.Join(mq.Errorf(mq.KafkaStorageError, "open wal %s: %w", opts.Dir, err), found.close())
	}
	l.writer = w
	found.report.Elapsed = time.Since(start)
	k := newKeeper(l)
	l.writing.Go(w.run)
	l.joined.Go(k.run)
	return l, found.report, nil
}

func newLog(opts Options, found *recovered) *Log {
	l := &Log{
		opts: opts, fs: opts.FS, dir: opts.Dir, log: opts.Logger, salt: found.salt,
		counters: newCounters(),
		queue:    newQueue(),
		frames:   newFramePool(),
		queues:   make(chan *directio.Queue, readQueues),
		index:    found.index,
		ready:    found.ready,
		retired:  found.leftover,
		nextID:   found.nextID,
		prepared: make(chan struct{}, 1),
		kick:     make(chan struct{}, 1),
		stop:     make(chan struct{}),
		failed:   make(chan struct{}),
	}
	for range cap(l.queues) {
		l.queues <- nil
	}
	l.room = newRoom(opts.QueueBytes, opts.FullDelay, l.kick)
	var newest int64
	for _, s := range slices.Concat(l.segs, l.ready) {
		newest = s.size
	}
	l.wanted = min(opts.SegmentBytes, max(youngBytes, 2*newest))
	for _, s := range l.ready {
		l.room.add(l.usable(s), l.headroom(s))
	}
	return l
}

// headroom is what of the newest segment is left to the log's own needs.
func (l *Log) headroom(newest *segment) int64 {
	return min(newest.size, l.opts.SegmentBytes) / copyFraction
}

// usable is about how many bytes of entries a fresh segment takes. The caller
// holds the mutex, or is alone.
func (l *Log) usable(s *segment) int64 {
	n := len(l.streams)
	return s.size - firstFrame - 2*chunkedSize(n, recordBytes+64) - blockSize - headerSize - chunkedSize(n, sealRecordBytes)
}

// Reserve waits for room for one EntryData with a payload of the given bytes.
// One Reserve goes before each Append of an EntryData, and none before other types; what is not
// appended in the end is given back by Unreserve. Errors: StorageFull
// (retriable) at once when the disk is full, and after Options.FullDelay when the
// log is at Options.MaxBytes; MessageTooLarge above Options.MaxPayload; those
// of the context; that of a log that failed or is closed.
func (l *Log) Reserve(ctx context.Context, bytes int64) error {
	if bytes > l.opts.MaxPayload() {
		return mq.Errorf(mq.MessageTooLarge, "an entry of %d bytes: the log takes %d", bytes, l.opts.MaxPayload())
	}
	return l.room.reserve(ctx, frameSize(bytes))
}

// Unreserve gives back what Reserve gave for one entry of the given bytes.
func (l *Log) Unreserve(bytes int64) { l.room.giveBack(frameSize(bytes)) }

// Append queues an entry, and frames some of what waits while the writer waits for the disk. It does no I/O, does not wait and does not call done
// itself, so that it may be called with the caller's mutex held. Entries are in the log
// in the order of the calls. done may be nil. Refused, which concerns no other
// entry, are data that does not continue its stream or is of a quarantined one
// (PartitionQuarantined), a truncation that is no boundary, and sizes above the limits.
func (l *Log) Append(e Entry, done Done) {
	if e.Type > EntryDrop {
		e.Type = 0 // not the caller's to use; the writer refuses it
	}
	if l.put(item{Entry: e, done: done}) >= stageEntries {
		l.writer.stageAhead()
	}
}

// put queues an item, and returns how many wait to be framed.
func (l *Log) put(it item) int {
	waiting, ok := l.queue.put(it)
	if !ok && it.done != nil {
		go it.done.Appended(errClosed(l.dir))
	}
	return waiting
}

// Bounds is what the log holds of the stream, live and durable: offsets
// [first, end). ok is false
// for a stream of which it knows no offsets.
func (l *Log) Bounds(stream StreamID) (first, end uint64, ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	s := l.streams[stream]
	if s == nil || !s.known || !s.started {
		return 0, 0, false
	}
	return s.first, s.end, true
}

// State is the stream's latest durable EntryState. The payload is the caller's to read only.
func (l *Log) State(stream StreamID) (Entry, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	s := l.streams[stream]
	if s == nil || s.state == nil {
		return Entry{}, false
	}
	return *s.state, true
}

// Streams are those that the log knows, in the order of their ids.
func (l *Log) Streams() []StreamID {
	l.mu.Lock()
	defer l.mu.Unlock()
	ids := make([]StreamID, 0, len(l.streams))
	for _, s := range l.sorted() {
		if s.known {
			ids = append(ids, s.id)
		}
	}
	return ids
}

// Quarantined is why the stream cannot be continued (code Corrupt, with the
// place), or nil. It ends with an EntryReset or EntryDrop, with a truncation
// to the damage or below, and when all that was lost is released.
func (l *Log) Quarantined(stream StreamID) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if s := l.streams[stream]; s != nil {
		if q := s.bad.Load(); q != nil {
			return l.quarantineError(stream, q)
		}
	}
	return nil
}

// Release says that what the stream has below upTo is needed no more. It
// takes effect on what the log holds at once, and is durable when something is freed
// by it: after a crash the stream may begin earlier than it was released.
func (l *Log) Release(stream StreamID, upTo uint64) {
	l.mu.Lock()
	s := l.streams[stream]
	if s != nil {
		l.release(s, upTo)
	}
	look := len(l.segs) > 1 && (l.segs[0].extents == 0 || l.worthCopying(l.segs[0]))
	l.mu.Unlock()
	if look {
		l.nudge()
	}
}

// Drop forgets the stream: an Append of an EntryDrop.
func (l *Log) Drop(stream StreamID) { l.Append(Entry{Stream: stream, Type: EntryDrop}, nil) }

// Sync returns when all that was appended before the call is durable.
func (l *Log) Sync(ctx context.Context) error {
	done := make(waitDone, 1)
	l.put(item{Entry: Entry{Type: workSync}, done: done})
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		return mq.Wrapf(ctx.Err(), "sync wal %s", l.dir)
	}
}

// waitDone is a Done that can be waited for.
type waitDone chan error

func (d waitDone) Appended(err error) { d <- err }

// Close makes what is queued durable, ends the log's goroutines and closes its
// files. It returns the error that poisoned the log, if one did.
func (l *Log) Close() error {
	l.mu.Lock()
	again := l.closed
	l.closed = true
	l.mu.Unlock()
	if again {
		return nil
	}
	l.room.fail(errClosed(l.dir))
	l.queue.close()
	signal(l.prepared) // the writer need not wait for a segment that will not come
	l.writing.Wait()
	close(l.stop)
	l.joined.Wait()

	l.mu.Lock()
	l.ended = true
	var idle []*segment
	for _, list := range [][]*segment{l.segs, l.ready, l.leaving, l.retired} {
		for _, s := range list {
			if s.readers == 0 {
				idle = append(idle, s)
			}
		}
	}
	l.mu.Unlock()
	err := l.Err()
	for _, s := range idle {
		err = errors.Join(err, s.file.Close())
	}
	return err
}

// Failed is closed at the first error of a write or sync. From then on
// nothing is acknowledged, and the process should end: what the disk holds is
// known again after Open only.
func (l *Log) Failed() <-chan struct{} { return l.failed }

// Err is the error that poisoned the log, or nil.
func (l *Log) Err() error {
	select {
	case <-l.failed:
		return l.err
	default:
		return nil
	}
}

// fail poisons the log.
func (l *Log) fail(err error) error {
	l.failOnce.Do(func() {
		l.err = mq.Errorf(mq.KafkaStorageError, "wal %s failed and acknowledges nothing more: %w", l.dir, err)
		close(l.failed)
		l.room.fail(l.err)
		l.log.Error("the log failed; nothing is acknowledged any more", "dir", l.dir, "err", err)
	})
	<-l.failed
	return l.err
}

// nudge makes the keeper look around.
func (l *Log) nudge() { signal(l.kick) }

// signal wakes whoever waits on a channel with a buffer of one.
func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

func errClosed(dir string) error { return mq.Errorf(mq.ShuttingDown, "wal %s is closed", dir) }
