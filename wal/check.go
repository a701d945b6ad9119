package wal

import (
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"strings"

	"github.com/rustmq/rustmq/mq"
)

// Check reads a log's directory as Open would, and changes nothing. The error
// is for what is no log or cannot be read; damage is in the Recovery. On a
// running log what is just being written at its end is counted as torn.
func Check(fs FS, dir string) (*Recovery, error) {
	for try := 0; ; try++ {
		before, err := segmentNames(fs, dir)
		if err != nil {
			return nil, err
		}
		opts, err := Options{FS: fs, Dir: dir, SegmentBytes: MinSegmentBytes}.withDefaults()
		if err != nil {
			return nil, err
		}
		found, err := recoverLog(&opts, nil, true)
		var report *Recovery
		if err == nil {
			report = found.report
			err = found.close()
		}
		// On a running log a segment may have been freed and used again meanwhile.
		after, listErr := segmentNames(fs, dir)
		if listErr != nil {
			return nil, listErr
		}
		if try < 3 && (err != nil || len(report.Damage) > 0) && !slices.Equal(before, after) {
			continue
		}
		return report, mq.Wrapf(err, "check wal %s", dir)
	}
}

func segmentNames(fs FS, dir string) ([]string, error) {
	names, err := fs.ReadDir(dir)
	if err != nil {
		return nil, mq.Errorf(mq.KafkaStorageError, "list the segments in %s: %w", dir, err)
	}
	return slices.DeleteFunc(names, func(name string) bool {
		_, ok := parseSegmentName(name)
		return !ok
	}), nil
}

// Dump writes a line for each frame of a log's directory, or of one segment
// file. What is damaged has a line that begins with "!". It changes nothing.
func Dump(fs FS, path string, w io.Writer) error {
	if strings.HasSuffix(path, segmentSuffix) {
		return dumpFiles(fs, filepath.Dir(path), []string{filepath.Base(path)}, w)
	}
	names, err := segmentNames(fs, path)
	if err != nil {
		return err
	}
	return dumpFiles(fs, path, names, w)
}

func dumpFiles(fs FS, dir string, names []string, w io.Writer) error {
	for _, name := range names {
		id, ok := parseSegmentName(name)
		if !ok {
			return mq.Errorf(mq.InvalidRequest, "%s is no segment's name", name)
		}
		seg, err := openSegment(fs, dir, id, true)
		if err != nil {
			return mq.Errorf(mq.KafkaStorageError, "open segment %s: %w", name, err)
		}
		if err := errors.Join(dumpSegment(seg, w), seg.file.Close()); err != nil {
			return mq.Wrapf(err, "dump %s", seg.path)
		}
	}
	return nil
}

func dumpSegment(seg *segment, w io.Writer) error {
	h, copies, err := seg.readHead()
	if err != nil {
		return err
	}
	if copies == 0 {
		_, err := fmt.Fprintf(w, "%s: no header: prepared and not in use, or damaged\n", seg.path)
		return err
	}
	if _, err := fmt.Fprintf(w, "%s: segment %d, version %d, %d of 2 headers, %d bytes, the one before ended at %d, checkpoint up to %d\n",
		seg.path, seg.id, segmentVersion, copies, seg.size, h.prevEnd, h.checkpointEnd); err != nil {
		return err
	}
	seg.seed = segmentSeed(h.salt, seg.id)
	ahead := newReadAhead([]stretch{{seg: seg, end: seg.size}})
	defer ahead.close()
	ahead.start(0)
	d := &dumper{w: w}
	u, err := scanSegment(ahead, seg, 0, true, d)
	if err = errors.Join(err, d.err); err != nil {
		return err
	}
	_, err = fmt.Fprintf(w, "end at %d, promised up to %d, %d bytes torn, sealed %t\n", u.end, u.promised, u.torn, u.sealed)
	return err
}

// dumper prints what a scan finds.
type dumper struct {
	w   io.Writer
	err error
}

func (d *dumper) printf(format string, args ...any) {
	if d.err == nil {
		_, d.err = fmt.Fprintf(d.w, format, args...)
	}
}

func (d *dumper) frame(_ *segment, pos int64, h *header, _ []byte) error {
	d.line(" ", pos, h, "")
	return d.err
}

func (d *dumper) rotten(_ *segment, pos int64, h *header) error {
	d.line("!", pos, h, "  payload damaged")
	return d.err
}

func (d *dumper) hole(_ *segment, from, to int64, _ *header) {
	d.printf("! %10d  no header that can be read in %d bytes\n", from, to-from)
}

func (d *dumper) line(mark string, pos int64, h *header, note string) {
	kind := h.kind.String()
	if h.copied() {
		kind += "+copy"
	}
	if h.kind.internal() {
		d.printf("%s %10d  %-10s  %d of %d  %d bytes  promised %d%s\n", mark, pos, kind, h.first, h.count, h.length, h.promised, note)
		return
	}
	d.printf("%s %10d  %-10s  %x  #%d  [%d, %d)  %d bytes  promised %d%s\n", mark, pos, kind, h.stream, h.seq, h.first, h.end(), h.length, h.promised, note)
}
