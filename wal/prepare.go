package wal

import (
	"errors"
	"path/filepath"
	"time"

	"github.com/rustmq/rustmq/mq"
)

// part is a segment that is being prepared: a file without a segment's name, allocated, and zeroed up to pos.
//
// Its zeros go to the disk that the writer's syncs wait for. So they are written in pieces, each when so much of the active segment is used that
// this one is ready in time ([room.due]), or after paceDelay: a log that has just begun, or where little is written, is not held up by
// what it needs much later. When the writer waits, or a reservation does, there is no pause.
type part struct {
	file  File // nil: nothing was done yet
	size  int64
	pos   int64
	zeros []byte
	next  time.Time // when the next piece is due, however little of the active segment is used
}

// need is what the log needs of the keeper: nothing (all zero), a prepared segment made bigger, or one more.
type need struct {
	enlarge *segment
	size    int64
	bounded bool // it would be one more than the log may have
	urgent  bool // the writer waits for it
}

// need looks whether there is a segment that can be used next.
func (k *keeper) need() need {
	l := k.l
	short := l.room.short()
	l.mu.Lock()
	defer l.mu.Unlock()
	n := len(l.streams)
	heads := 2*chunkedSize(n, recordBytes+64) + blockSize + headerSize + chunkedSize(n, sealRecordBytes)
	// What is to be reserved may be too long for what a young log begins with.
	base := min(max(l.wanted, roundUp(4*short, blockSize)), l.opts.SegmentBytes)
	size := max(base, l.wanted, roundUp(firstFrame+heads+base*3/4, blockSize))
	if ready := len(l.ready); ready > 0 {
		// One that is large enough is the writer's at any moment.
		if l.starved && l.ready[0].size < l.least {
			return need{enlarge: l.ready[0], size: size, urgent: true}
		}
		if short == 0 || l.ready[ready-1].size >= base {
			return need{}
		}
	}
	if l.closed && !l.starved {
		return need{}
	}
	var total int64
	for _, list := range [][]*segment{l.segs, l.ready, l.leaving, l.retired} {
		for _, s := range list {
			total += s.size
		}
	}
	// A writer that is stuck gets one more than the bound: it may be about to free one.
	bounded := l.opts.MaxBytes > 0 && total+size > l.opts.MaxBytes && !l.starved
	return need{size: size, bounded: bounded, urgent: l.starved}
}

// prepare does the next piece of work for having a segment ready. wait is when to go on, unless it is needed before; 0: there is nothing to go on with.
func (k *keeper) prepare() (did bool, wait time.Duration, err error) {
	n := k.need()
	switch {
	case n.enlarge != nil:
		err = k.enlarge(n.enlarge, n.size)
	case n.size == 0 && (k.part == nil || k.part.file == nil):
		k.part = nil
		return false, 0, nil
	case k.part == nil && n.bounded:
		k.block(mq.Errorf(mq.StorageFull, "wal %s is at its bound of %d bytes", k.l.dir, k.l.opts.MaxBytes), false)
		return false, 0, nil
	case k.part == nil:
		k.part = &part{size: n.size, zeros: make([]byte, min(n.size, writeBytes)), next: time.Now().Add(paceDelay)}
		return true, 0, nil
	default:
		// With a freed segment instead there is no hurry; but there is one too few, or this one would not have been begun.
		if n.size == 0 || !n.urgent && !k.l.room.due(k.part.pos, k.part.size) {
			if wait := time.Until(k.part.next); wait > 0 {
				return false, wait, nil
			}
		}
		if err = k.piece(); err != nil {
			err = errors.Join(err, k.discard()) // what it holds is given back to the disk, and never looked at again
		}
	}
	if noSpace(err) {
		k.block(err, true)
		return false, k.l.opts.RetryDelay, nil
	}
	return err == nil, 0, err
}

// piece allocates the part's file, or writes some of its zeros; with the last of them it becomes a segment.
func (k *keeper) piece() error {
	select {
	case <-k.l.stop:
		return errStopped
	default:
	}
	p := k.part
	if p.file == nil {
		f, err := k.l.fs.Create(k.preparing())
		if err != nil {
			return err // whatever f is: there is nothing to close
		}
		p.file = f
		if err := p.file.Allocate(p.size); err != nil {
			return err
		}
	}
	n, err := p.file.WriteAt(p.zeros[:min(int64(len(p.zeros)), p.size-p.pos)], p.pos)
	if err != nil {
		return err
	}
	p.pos, p.next = p.pos+int64(n), time.Now().Add(paceDelay)
	if p.pos == p.size || p.pos%zeroBytes == 0 || !k.l.room.due(p.pos, p.size) {
		if err := p.file.Sync(); err != nil {
			return err
		}
	}
	if p.pos < p.size {
		return nil
	}
	return k.finish()
}

// finish gives the part the name of a segment.
func (k *keeper) finish() error {
	l, p := k.l, k.part
	k.part = nil
	l.mu.Lock()
	id := l.nextID
	l.mu.Unlock()
	s := &segment{id: id, path: segmentPath(l.dir, id), file: p.file, size: p.size, seed: segmentSeed(l.salt, id)}
	if err := l.fs.Rename(k.preparing(), s.path); err != nil {
		return errors.Join(err, p.file.Close())
	}
	if err := l.fs.SyncDir(l.dir); err != nil {
		return errors.Join(hide(err), p.file.Close())
	}
	l.mu.Lock()
	l.wanted = max(l.wanted, min(2*s.size, l.opts.SegmentBytes)) // a young log grows
	l.mu.Unlock()
	k.add(s)
	return nil
}

// discard gives up what is being prepared.
func (k *keeper) discard() error {
	p := k.part
	k.part = nil
	if p == nil || p.file == nil {
		return nil
	}
	return hide(errors.Join(p.file.Close(), k.l.fs.Remove(k.preparing())))
}

func (k *keeper) preparing() string { return filepath.Join(k.l.dir, preparingName) }

// enlarge makes a prepared segment as big as the writer, which waits, needs it.
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
