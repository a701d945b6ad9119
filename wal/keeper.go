package wal

import (
	"errors"
	"path/filepath"
	"slices"
	"sync"
	"syscall"
	"time"

	"github.com/rustmq/rustmq/mq"
)

// keeper is the log's goroutine that has segments ready before they are
// needed, and takes away those that are needed no more. A disk without room
// makes it try again later; any other error of a write poisons the log.
type keeper struct {
	l *Log
	r *frameReader

	mu      sync.Mutex
	waiting bool // for the writer to be done with what the keeper asked for
}

func newKeeper(l *Log) *keeper { return &keeper{l: l, r: &frameReader{}} }

func (k *keeper) run() {
	retry := time.NewTimer(time.Hour)
	retry.Stop()
	for {
		did, later, err := k.step()
		if errors.Is(err, errStopped) {
			return
		}
		if err != nil {
			_ = k.l.fail(err)
			return
		}
		if did {
			continue
		}
		if later {
			retry.Reset(k.l.opts.RetryDelay)
		}
		select {
		case <-k.l.kick:
		case <-retry.C:
		case <-k.l.failed:
			return
		case <-k.l.stop:
			return
		}
		retry.Stop()
	}
}

// step does the most urgent thing. later is true when there is something to do that must be tried again.
func (k *keeper) step() (did, later bool, err error) {
	if seg := k.retired(); seg != nil {
		err := k.reuse(seg)
		if noSpace(err) {
			k.l.mu.Lock()
			k.l.retired = slices.Insert(k.l.retired, 0, seg)
			k.l.mu.Unlock()
			k.block(err, true)
			return false, true, nil
		}
		return true, false, err
	}
	did, later, err = k.prepare()
	if did || err != nil {
		return did, later, err
	}
	return k.shrink(), later, nil
}

// retire hands over the free segments that nobody reads any more, oldest first:
// one that is still read holds up those behind it, since files that go out of
// order would look like lost ones to a recovery. The caller holds the mutex.
func (l *Log) retire() {
	for len(l.leaving) > 0 && l.leaving[0].readers == 0 {
		l.retired = append(l.retired, l.leaving[0])
		l.leaving = slices.Delete(l.leaving, 0, 1)
	}
	l.nudge()
}

func (k *keeper) retired() *segment {
	k.l.mu.Lock()
	defer k.l.mu.Unlock()
	if len(k.l.retired) == 0 {
		return nil
	}
	s := k.l.retired[0]
	k.l.retired = slices.Delete(k.l.retired, 0, 1)
	return s
}

// reuse makes a freed segment the next one to be used, or removes it.
func (k *keeper) reuse(old *segment) error {
	l := k.l
	l.mu.Lock()
	keep := len(l.ready) < max(1, l.opts.RecycleMax) && !old.bad && old.size >= l.wanted && old.size <= 2*l.wanted
	id := l.nextID
	l.mu.Unlock()
	if !keep {
		err := errors.Join(old.file.Close(), l.fs.Remove(old.path))
		if err != nil {
			return hide(err)
		}
		return hide(l.fs.SyncDir(l.dir))
	}
	s := &segment{id: id, path: segmentPath(l.dir, id), file: old.file, size: old.size, seed: segmentSeed(l.salt, id)}
	if err := l.fs.Rename(old.path, s.path); err != nil {
		return err
	}
	if err := l.fs.SyncDir(l.dir); err != nil {
		return hide(err)
	}
	l.counters.recycled.Add(1)
	k.add(s)
	return nil
}

// add makes a segment available to the writer.
func (k *keeper) add(s *segment) {
	l := k.l
	l.mu.Lock()
	l.ready = append(l.ready, s)
	l.nextID = s.id + 1
	l.blocked = nil
	usable := l.usable(s)
	l.mu.Unlock()
	l.room.add(usable)
	signal(l.prepared)
}

// prepare makes a segment ready if there is none.
func (k *keeper) prepare() (did, later bool, err error) {
	l := k.l
	l.mu.Lock()
	n := len(l.streams)
	heads := 2*chunkedSize(n, recordBytes+64) + blockSize + headerSize + chunkedSize(n, sealRecordBytes)
	size, id := max(l.wanted, roundUp(firstFrame+heads+l.opts.SegmentBytes*3/4, blockSize)), l.nextID
	var small *segment
	if len(l.ready) > 0 && l.ready[0].size < size && l.starved {
		small = l.ready[0]
	}
	enough := len(l.ready) > 0 && small == nil || l.closed && !l.starved
	var total int64
	for _, list := range [][]*segment{l.segs, l.ready, l.leaving, l.retired} {
		for _, s := range list {
			total += s.size
		}
	}
	// A writer that is stuck gets one more than the bound: it may be about to free one.
	bounded := l.opts.MaxBytes > 0 && total+size > l.opts.MaxBytes && !l.starved
	l.mu.Unlock()
	switch {
	case enough:
		return false, false, nil
	case bounded:
		k.block(mq.Errorf(mq.StorageFull, "wal %s is at its bound of %d bytes", l.dir, l.opts.MaxBytes), false)
		return false, false, nil
	case small != nil:
		err = k.enlarge(small, size)
	default:
		err = k.create(id, size)
	}
	if noSpace(err) {
		k.block(err, true)
		return false, true, nil
	}
	return err == nil, false, err
}

// block says that there is no room for another segment.
func (k *keeper) block(reason error, atOnce bool) {
	l := k.l
	l.mu.Lock()
	news := l.blocked == nil
	l.blocked = reason
	l.mu.Unlock()
	l.room.setFull(reason, atOnce)
	if news {
		l.log.Warn("no room for another segment; appends are refused when this one is full", "dir", l.dir, "reason", reason)
	}
	signal(l.prepared)
}

// noSpace says whether an error means that the disk is full.
func noSpace(err error) bool {
	return errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT)
}

// create makes a new segment: allocated, zeroed, synced, and only then named.
func (k *keeper) create(id uint64, size int64) (err error) {
	l := k.l
	tmp := filepath.Join(l.dir, preparingName)
	f, err := l.fs.Create(tmp)
	if err != nil {
		return err
	}
	if err := k.zero(f, 0, size); err != nil {
		// Whatever it holds is given back to the disk, and never looked at again.
		return errors.Join(err, f.Close(), l.fs.Remove(tmp))
	}
	s := &segment{id: id, path: segmentPath(l.dir, id), file: f, size: size, seed: segmentSeed(l.salt, id)}
	if err := l.fs.Rename(tmp, s.path); err != nil {
		return errors.Join(err, f.Close())
	}
	if err := l.fs.SyncDir(l.dir); err != nil {
		return errors.Join(hide(err), f.Close())
	}
	k.add(s)
	return nil
}

// errStopped ends the preparing of a segment when the log is closed.
var errStopped = errors.New("the log is closed")

// hide makes an error be none of lack of room, which would be tried again: a
// directory's sync must not be, and a closed file cannot.
func hide(err error) error {
	if err == nil {
		return nil
	}
	return mq.Errorf(mq.KafkaStorageError, "%v", err)
}

// zero allocates a file's bytes and writes them, so that later writes change data only.
func (k *keeper) zero(f File, from, to int64) error {
	if err := f.Allocate(to); err != nil {
		return err
	}
	zeros := make([]byte, min(to-from, writeBytes))
	for pos := from; pos < to; {
		select {
		case <-k.l.stop:
			return errStopped
		default:
		}
		n, err := f.WriteAt(zeros[:min(int64(len(zeros)), to-pos)], pos)
		if err != nil {
			return err
		}
		pos += int64(n)
		if pos == to || pos%zeroBytes == 0 {
			if err := f.Sync(); err != nil {
				return err
			}
		}
	}
	return nil
}

// enlarge makes a prepared segment as big as the writer needs it.
func (k *keeper) enlarge(s *segment, size int64) error {
	if err := k.zero(s.file, s.size, size); err != nil {
		return err
	}
	k.l.mu.Lock()
	s.size = size
	k.l.blocked = nil
	k.l.mu.Unlock()
	k.l.room.setFull(nil, false)
	signal(k.l.prepared)
	return nil
}
