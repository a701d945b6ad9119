package wal

import (
	"encoding/binary"
	"errors"
	"io"
	"path/filepath"
	"slices"

	"github.com/rustmq/rustmq/mq"
)

// recovered is a log as its files were found.
type recovered struct {
	report   *Recovery
	index    *index
	salt     uint64
	ready    []*segment // not in use, in the order of their ids
	leftover []*segment // free already, but the files are still there
	nextID   uint64
	copied   []StreamID // to be visited again, from the index

	// The last segment in use; nil: there is none that can be continued.
	active     *segment
	last       extentOfUse
	block      []byte // of the file's last block, up to the end of the frames
	unpromised bool   // there are frames that no promise covers, other than promises
	reseal     bool   // what is in doubt must be written down before what comes next could seem to prove it
	prevEnd    int64  // without an active segment: where the last one ended
}

// recovery is the work of finding out.
type recovery struct {
	o        *Options
	readOnly bool
	replay   *replay
	out      *recovered
	files    []*segment // all of them, ascending
	heads    []segmentHead
	copies   []int // good copies of each header
	used     int   // how many of files are in use: the first ones
}

// recoverLog reads the log in o.Dir. Unless readOnly it also repairs it: it
// cuts what was torn, and makes durable what it found beyond the last promise.
func recoverLog(o *Options, visit func(Entry) error, readOnly bool) (_ *recovered, err error) {
	r := &recovery{o: o, readOnly: readOnly, out: &recovered{report: &Recovery{}}}
	r.replay = newReplay(visit, r.out.report)
	r.out.index = r.replay.index
	defer func() {
		if err != nil {
			for _, s := range r.files {
				err = errors.Join(err, s.file.Close())
			}
		}
	}()
	if err := r.list(); err != nil {
		return nil, err
	}
	if r.used == 0 {
		return r.out, r.begin()
	}
	for _, s := range r.files {
		s.seed = segmentSeed(r.out.salt, s.id)
	}
	if err := r.read(); err != nil {
		return nil, err
	}
	r.out.reseal = len(r.replay.doubt) > 0 || r.replay.unknown != 0
	r.replay.finish()
	return r.out, r.settle()
}

func (r *recovered) close() error {
	var errs []error
	for _, list := range [][]*segment{r.index.segs, r.ready, r.leftover} {
		for _, s := range list {
			errs = append(errs, s.file.Close())
		}
	}
	return errors.Join(errs...)
}

// list opens the files and reads their headers.
func (r *recovery) list() error {
	names, err := r.o.FS.ReadDir(r.o.Dir)
	if err != nil {
		return mq.Errorf(mq.KafkaStorageError, "list the segments: %w", err)
	}
	for _, name := range names {
		if name == preparingName && !r.readOnly {
			if err := r.o.FS.Remove(filepath.Join(r.o.Dir, name)); err != nil {
				return mq.Errorf(mq.KafkaStorageError, "remove a half prepared segment: %w", err)
			}
		}
		id, ok := parseSegmentName(name)
		if !ok {
			continue
		}
		s, err := openSegment(r.o.FS, r.o.Dir, id, r.readOnly)
		if err != nil {
			return mq.Errorf(mq.KafkaStorageError, "open segment %s: %w", name, err)
		}
		r.files = append(r.files, s)
	}
	if !r.readOnly {
		// A name may be here that a crash of the machine would take away again.
		if err := r.o.FS.SyncDir(r.o.Dir); err != nil {
			return mq.Errorf(mq.KafkaStorageError, "sync the directory: %w", err)
		}
	}
	slices.SortFunc(r.files, func(a, b *segment) int { return int(int64(a.id) - int64(b.id)) })
	return r.readHeads()
}

func (r *recovery) readHeads() error {
	salted := false
	for i, s := range r.files {
		h, copies, err := s.readHead()
		if err != nil {
			return err
		}
		r.heads, r.copies = append(r.heads, h), append(r.copies, copies)
		if copies == 0 {
			continue
		}
		if salted && h.salt != r.out.salt {
			return mq.Errorf(mq.WrongDataDir, "%s is of another log than the segments before it", s.path)
		}
		r.out.salt, salted, r.used = h.salt, true, i+1
	}
	return nil
}

// begin is for a directory without a segment in use: a new log, or one whose
// first write was torn. Anything else is too badly damaged to be guessed at.
func (r *recovery) begin() error {
	var salt [8]byte
	if _, err := io.ReadFull(r.o.Rand, salt[:]); err != nil {
		return mq.Errorf(mq.Internal, "make a salt: %w", err)
	}
	r.out.salt = binary.LittleEndian.Uint64(salt[:])
	for i, s := range r.files {
		skip := int64(0)
		if i == 0 {
			// The first segment's header was synced before anything else was written.
			skip = segmentHeader
		}
		if err := onlyZeros(s, skip); err != nil {
			return err
		}
		if skip > 0 && !r.readOnly {
			if err := scrub(s, 0, skip); err != nil {
				return err
			}
		}
	}
	return r.spare(r.files, 1)
}

func onlyZeros(s *segment, from int64) error {
	buf := make([]byte, min(1<<20, s.size))
	for pos := from; pos < s.size; pos += int64(len(buf)) {
		n, err := s.file.ReadAt(buf[:min(int64(len(buf)), s.size-pos)], pos)
		if err != nil && !errors.Is(err, io.EOF) {
			return mq.Errorf(mq.KafkaStorageError, "read %s at %d: %w", s.path, pos, err)
		}
		for i, c := range buf[:n] {
			if c != 0 {
				return mq.Errorf(mq.Corrupt, "%s at %d: there is data, and no header of any segment can be read", s.path, pos+int64(i))
			}
		}
	}
	return nil
}

// spare takes files that are not in use as prepared segments: those whose ids
// follow on each other from next on, and that are big enough.
func (r *recovery) spare(files []*segment, next uint64) error {
	r.out.nextID = next
	for _, s := range slices.Clone(files) {
		if s.id == r.out.nextID && s.size >= min(r.o.SegmentBytes, youngBytes) && s.size <= MaxSegmentBytes && s.size%blockSize == 0 {
			s.seed = segmentSeed(r.out.salt, s.id)
			r.out.ready = append(r.out.ready, s)
			r.out.nextID++
			continue
		}
		r.files = slices.DeleteFunc(r.files, func(f *segment) bool { return f == s })
		if err := s.file.Close(); err != nil {
			return mq.Errorf(mq.KafkaStorageError, "close %s: %w", s.path, err)
		}
		if r.readOnly {
			continue
		}
		if err := r.o.FS.Remove(s.path); err != nil {
			return mq.Errorf(mq.KafkaStorageError, "remove unused segment %s: %w", s.path, err)
		}
	}
	return nil
}

// read replays the segments in use.
func (r *recovery) read() error {
	p := r.replay
	p.first = r.files[0].id
	ahead := newReadAhead(r.stretches())
	defer func() { ahead.close() }()
	base := 0
	for i := 0; i < r.used; i++ {
		ahead.start(i - base)
		if err := r.readSegment(ahead, i); err != nil {
			return err
		}
		if i+1 < r.used || !r.mayHideOne() {
			continue
		}
		// The last one is full, so the next may have been begun. Its header says not; but that may be damaged.
		found, err := lookAhead(r.files[i+1], firstFrame)
		if err != nil {
			return err
		}
		if found.end > 0 {
			r.used++
			ahead.close()
			base = i + 1
			ahead = newReadAhead(r.stretches()[base:])
		}
	}
	return nil
}

// mayHideOne says whether the file behind the last segment in use could be in
// use too.
func (r *recovery) mayHideOne() bool {
	u := r.out.last
	return r.used < len(r.files) && r.files[r.used].id == r.files[r.used-1].id+1 && (u.sealed || u.torn > 0)
}

// stretches are what is to be read of each segment in use.
func (r *recovery) stretches() []stretch {
	list := make([]stretch, r.used)
	for i := range list {
		list[i] = stretch{seg: r.files[i], end: r.files[i].size}
		if end := r.endOf(i); end > 0 {
			list[i].end = min(list[i].end, end)
		}
	}
	return list
}

// endOf is where a segment ended as the one behind it says; 0: it does not.
func (r *recovery) endOf(i int) int64 {
	if i+1 < r.used && r.copies[i+1] > 0 && r.files[i+1].id == r.files[i].id+1 {
		return r.heads[i+1].prevEnd
	}
	return 0
}

func (r *recovery) readSegment(ahead *readAhead, i int) error {
	p, seg, last := r.replay, r.files[i], i+1 == r.used
	if i > 0 && r.files[i-1].id+1 != seg.id {
		n := p.damage(seg, 0, 0, "segments before this one are missing")
		p.everything(n)
	}
	p.head = firstFrame
	if r.copies[i] > 0 {
		p.head = r.heads[i].checkpointEnd
	}
	p.index.segs = append(p.index.segs, seg)
	u, err := scanSegment(ahead, seg, r.endOf(i), last, p)
	if err != nil {
		return err
	}
	seg.end = u.end
	r.out.report.Segments++
	r.out.report.Bytes += u.bytes
	r.out.last = u
	if r.copies[i] < 2 && u.promised > 0 {
		n := p.damage(seg, 0, 2*blockSize, "a copy of the segment's header")
		if r.copies[i] == 0 {
			r.out.report.Damage[n].Reason = "both copies of the segment's header"
		}
	}
	return nil
}

// settle decides how the log goes on.
func (r *recovery) settle() error {
	p, out := r.replay, r.out
	segs := p.index.segs
	if p.oldest != 0 && p.oldest < segs[0].id && !p.freeLost {
		n := p.damage(segs[0], 0, 0, "segments before this one are missing")
		out.report.Damage[n].Segment = p.oldest
		out.report.Damage[n].Path = segmentPath(r.o.Dir, p.oldest)
	}
	for len(segs) > 1 && segs[0].id < p.oldest && segs[0].extents == 0 {
		out.leftover = append(out.leftover, segs[0])
		segs = segs[1:]
	}
	for id := range p.copied {
		out.copied = append(out.copied, id)
	}
	slices.SortFunc(out.copied, func(a, b StreamID) int { return slices.Compare(a[:], b[:]) })
	out.report.TornBytes = out.last.torn

	tail := segs[len(segs)-1]
	h := r.heads[r.used-1]
	begun := out.last.promised > 0 || r.copies[r.used-1] == 2 && out.last.end >= h.checkpointEnd
	if !begun {
		// Its own head was torn: nothing was ever in it.
		segs = segs[:len(segs)-1]
		r.used--
		out.report.Segments--
		if len(segs) > 0 {
			out.prevEnd = segs[len(segs)-1].end
		}
		if !r.readOnly {
			if err := unbegin(tail, out.last.end+out.last.torn); err != nil {
				return err
			}
		}
	}
	p.index.segs = segs
	if begun {
		if err := r.settleTail(tail); err != nil {
			return err
		}
	}
	next := r.files[0].id
	if r.used > 0 {
		next = r.files[r.used-1].id + 1
	}
	return r.spare(r.files[r.used:], next)
}

// settleTail cuts what was torn off, and writes once more and syncs what no
// promise covers: it is here, but perhaps in the kernel's memory only, and
// perhaps after an error that the process before this one died of. That holds
// for a promise at the end, too: it says so of what is before it, not of itself.
func (r *recovery) settleTail(tail *segment) error {
	out, u := r.out, &r.out.last
	out.unpromised = u.last.kind != typePromise // there is nothing but promises behind one at the end
	if !r.readOnly {
		if u.torn > 0 {
			if err := scrub(tail, u.end, u.torn); err != nil {
				return err
			}
		}
		if err := rewrite(tail, min(u.promised, u.end)&^(blockSize-1), u.end); err != nil {
			return err
		}
	}
	if u.sealed {
		out.prevEnd = u.end
		return nil
	}
	out.active = tail
	out.block = make([]byte, u.end%blockSize)
	if _, err := tail.file.ReadAt(out.block, u.end-int64(len(out.block))); err != nil && !errors.Is(err, io.EOF) {
		return mq.Errorf(mq.KafkaStorageError, "read the end of %s: %w", tail.path, err)
	}
	return nil
}

// unbegin zeroes the torn head of a segment, up to end, and its header last, one copy and then the other: as long as that can be read, the
// next recovery does this again when the power is cut in it. Without it, what is left behind it would look like data of a lost segment.
func unbegin(s *segment, end int64) error {
	parts := [][2]int64{{firstFrame, end}, {blockSize, firstFrame}, {0, blockSize}}
	for _, p := range parts {
		if p[0] >= p[1] {
			continue
		}
		if err := scrub(s, p[0], p[1]-p[0]); err != nil {
			return err
		}
	}
	return nil
}

// scrub zeroes bytes of a segment that never were part of the log. Nothing
// of them may be found when the log ends near them another time.
func scrub(s *segment, pos, n int64) error {
	zeros := make([]byte, min(n, 1<<20))
	for end := pos + n; pos < end; {
		part := zeros[:min(int64(len(zeros)), end-pos)]
		if _, err := s.file.WriteAt(part, pos); err != nil {
			return mq.Errorf(mq.KafkaStorageError, "cut the torn end of %s: %w", s.path, err)
		}
		pos += int64(len(part))
	}
	if err := s.file.Sync(); err != nil {
		return mq.Errorf(mq.KafkaStorageError, "cut the torn end of %s: %w", s.path, err)
	}
	return nil
}

func rewrite(s *segment, pos, end int64) error {
	buf := make([]byte, min(end-pos, 1<<20))
	for pos < end {
		part := buf[:min(int64(len(buf)), end-pos)]
		if _, err := s.file.ReadAt(part, pos); err != nil {
			return mq.Errorf(mq.KafkaStorageError, "write the end of %s again: %w", s.path, err)
		}
		if _, err := s.file.WriteAt(part, pos); err != nil {
			return mq.Errorf(mq.KafkaStorageError, "write the end of %s again: %w", s.path, err)
		}
		pos += int64(len(part))
	}
	if err := s.file.Sync(); err != nil {
		return mq.Errorf(mq.KafkaStorageError, "write the end of %s again: %w", s.path, err)
	}
	return nil
}

// replayCopied gives visit what is live of the streams that were in part copied forward.
func (l *Log) replayCopied(found *recovered, visit func(Entry) error) error {
	if visit == nil {
		return nil
	}
	for _, id := range found.copied {
		s := l.streams[id]
		if s == nil {
			continue
		}
		if s.state != nil {
			if err := visit(*s.state); err != nil {
				return err
			}
		}
		from, end := s.first, s.end
		if q := s.bad.Load(); q != nil {
			end = min(end, q.from)
		}
		for from < end {
			next, err := l.ReadEntries(id, from, readBytes, visit)
			if err != nil {
				return err
			}
			from = next
		}
	}
	return nil
}
