package wal

import (
	"errors"
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
	l    *Log
	r    *frameReader
	part *part // nil: nothing is being prepared

	mu      sync.Mutex
	waiting bool // for the writer to be done with what the keeper asked for
}

func newKeeper(l *Log) *keeper { return &keeper{l: l, r: &frameReader{}} }

func (k *keeper) run() {
	timer := time.NewTimer(time.Hour)
	timer.Stop()
	defer func() { _ = k.discard() }() // of what cannot be removed, Open says so
	for {
		did, wait, err := k.step()
		if errors.Is(err, errStopped) {
			return
		}
		if err != nil {
			_ = k.l.fail(err)
			return
		}
		if wait > 0 {
			timer.Reset(wait)
		}
		if did {
			continue
		}
		select {
		case <-k.l.kick:
		case <-timer.C:
		case <-k.l.failed:
			return
		case <-k.l.stop:
			return
		}
		timer.Stop()
	}
}

// step does the most urgent thing. wait is after which time there is something to go on with, or to be tried again; 0: none.
func (k *keeper) step() (did bool, wait time.Duration, err error) {
	if seg := k.retired(); seg != nil {
		err := k.reuse(seg)
		if noSpace(err) {
			k.l.mu.Lock()
			k.l.retired = slices.Insert(k.l.retired, 0, seg)
			k.l.mu.Unlock()
			k.block(err, true)
			return false, k.l.opts.RetryDelay, nil
		}
		return true, 0, err
	}
	did, wait, err = k.prepare()
	if did || err != nil {
		return did, wait, err
	}
	return k.shrink(), wait, nil
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
	l.room.add(usable, l.headroom(s))
	signal(l.prepared)
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
