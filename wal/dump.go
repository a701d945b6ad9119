package wal

import (
	"errors"
	"fmt"
	"path/filepath"
	"strings"

	"github.com/rustmq/rustmq/mq"
)

// Frame is what a log's files hold at one place: a frame, a stretch where none
// can be read, or how a file begins or ends.
type Frame struct {
	Path     string // of the segment's file
	Position int64
	Bytes    int64    // of the payload, or of the stretch
	Kind     string   // an entry's type, one of the log's own, "segment", "end", or "unreadable"
	Copied   bool     // forward, from a segment that was to be freed
	Entry    bool     // of a stream: the fields up to End mean something
	Stream   StreamID // whose
	Number   uint32   // of the entry in its stream
	First    uint64   // offset
	End      uint64   // offset behind the last
	Promised uint32   // up to where the file had been synced before
	Damaged  bool
	Note     string // more about it, for people
}

// String is the frame as one line. That of a damaged one begins with "!".
func (f Frame) String() string {
	mark := " "
	if f.Damaged {
		mark = "!"
	}
	kind := f.Kind
	if f.Copied {
		kind += "+copy"
	}
	note := ""
	if f.Note != "" {
		note = "  " + f.Note
	}
	switch {
	case f.Kind == kindSegment:
		return fmt.Sprintf("%s: %s", f.Path, f.Note)
	case f.Kind == kindEnd:
		return fmt.Sprintf("end at %d, %s", f.Position, f.Note)
	case f.Kind == kindUnreadable:
		return fmt.Sprintf("%s %10d  %s in %d bytes", mark, f.Position, f.Note, f.Bytes)
	case f.Entry:
		return fmt.Sprintf("%s %10d  %-10s  %x  #%d  [%d, %d)  %d bytes  promised %d%s", mark, f.Position, kind, f.Stream, f.Number, f.First, f.End, f.Bytes, f.Promised, note)
	}
	return fmt.Sprintf("%s %10d  %-10s  %d of %d  %d bytes  promised %d%s", mark, f.Position, kind, f.First, f.End-f.First, f.Bytes, f.Promised, note)
}

// Kinds of what is no frame.
const (
	kindSegment    = "segment"
	kindEnd        = "end"
	kindUnreadable = "unreadable"
)

// Frames gives visit what there is in a log's directory, or in one segment
// file, in the order of the log. It changes nothing, and may read a log that is in use. An error of
// visit ends it and is returned as it is.
func Frames(fs FS, path string, visit func(Frame) error) error {
	dir := path
	var names []string
	if strings.HasSuffix(path, segmentSuffix) {
		dir, names = filepath.Dir(path), []string{filepath.Base(path)}
	} else {
		var err error
		if names, err = segmentNames(fs, path); err != nil {
			return err
		}
	}
	for _, name := range names {
		id, ok := parseSegmentName(name)
		if !ok {
			return mq.Errorf(mq.InvalidRequest, "%s is no segment's name", name)
		}
		seg, err := openSegment(fs, dir, id, true)
		if err != nil {
			return mq.Errorf(mq.KafkaStorageError, "open segment %s: %w", name, err)
		}
		if err := errors.Join(segmentFrames(seg, visit), seg.file.Close()); err != nil {
			return mq.Wrapf(err, "dump %s", seg.path)
		}
	}
	return nil
}

func segmentFrames(seg *segment, visit func(Frame) error) error {
	h, copies, err := seg.readHead()
	if err != nil {
		return err
	}
	begin := Frame{Path: seg.path, Bytes: seg.size, Kind: kindSegment, Damaged: copies == 1}
	if copies == 0 {
		begin.Note = "no header: prepared and not in use, or damaged"
		return visit(begin)
	}
	begin.Note = fmt.Sprintf("segment %d, version %d, %d of 2 headers, %d bytes, the one before ended at %d, checkpoint up to %d",
		seg.id, segmentVersion, copies, seg.size, h.prevEnd, h.checkpointEnd)
	if err := visit(begin); err != nil {
		return err
	}
	seg.seed = segmentSeed(h.salt, seg.id)
	ahead := newReadAhead([]stretch{{seg: seg, end: seg.size}})
	defer ahead.close()
	ahead.start(0)
	v := &frameVisitor{visit: visit}
	u, err := scanSegment(ahead, seg, 0, true, v)
	if err = errors.Join(err, v.err); err != nil {
		return err
	}
	return visit(Frame{
		Path: seg.path, Position: u.end, Bytes: u.torn, Kind: kindEnd, Promised: uint32(u.promised),
		Note: fmt.Sprintf("promised up to %d, %d bytes torn, sealed %t", u.promised, u.torn, u.sealed),
	})
}

// frameVisitor is a sink.
type frameVisitor struct {
	visit func(Frame) error
	err   error
}

func (v *frameVisitor) frame(seg *segment, pos int64, h *header, _ []byte) error {
	return v.visit(frameOf(seg, pos, h))
}

func (v *frameVisitor) rotten(seg *segment, pos int64, h *header) error {
	f := frameOf(seg, pos, h)
	f.Damaged, f.Note = true, "payload damaged"
	return v.visit(f)
}

func (v *frameVisitor) hole(seg *segment, from, to int64, _ *header) {
	if v.err == nil {
		v.err = v.visit(Frame{Path: seg.path, Position: from, Bytes: to - from, Kind: kindUnreadable, Damaged: true, Note: "no header that can be read"})
	}
}

func frameOf(seg *segment, pos int64, h *header) Frame {
	return Frame{
		Path: seg.path, Position: pos, Bytes: int64(h.length), Kind: h.kind.String(), Copied: h.copied(), Entry: !h.kind.internal(),
		Stream: h.stream, Number: h.seq, First: h.first, End: h.end(), Promised: h.promised,
	}
}
