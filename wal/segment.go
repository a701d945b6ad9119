package wal

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/rustmq/rustmq/mq"
)

// A segment's header, little-endian, at the start of each of its first two
// blocks of 4,096 bytes, the rest of which is zero:
//
//	 0  [8]byte   "RUSTMQWL"
//	 8  u32       CRC32C of bytes 12..63
//	12  u32       version: 1
//	16  u64       features that a reader must know: none yet, so 0
//	24  u64       salt of the log
//	32  u64       segment id, the same as in the file's name
//	40  u32       where the segment before this one ended, behind its seal; 0 for the first
//	44  u32       where the checkpoint ends
//	48  u64       reserved, 0
//	56  u64       reserved, 0
const (
	segmentMagic   = "RUSTMQWL"
	segmentVersion = 1
	segmentHeader  = 64
)

// segmentHead is a segment's header, decoded.
type segmentHead struct {
	salt          uint64
	id            uint64
	prevEnd       int64
	checkpointEnd int64
}

func (h segmentHead) encode(b []byte) {
	le := binary.LittleEndian
	clear(b[:segmentHeader])
	copy(b, segmentMagic)
	le.PutUint32(b[12:], segmentVersion)
	le.PutUint64(b[24:], h.salt)
	le.PutUint64(b[32:], h.id)
	le.PutUint32(b[40:], uint32(h.prevEnd))
	le.PutUint32(b[44:], uint32(h.checkpointEnd))
	le.PutUint32(b[8:], crc32.Checksum(b[12:segmentHeader], castagnoli))
}

// decodeSegmentHead reads one copy of a header. It is not ok when the copy is
// damaged or is that of another segment, which is what a segment that is
// prepared for reuse holds.
func decodeSegmentHead(b []byte, id uint64) (h segmentHead, ok bool, err error) {
	le := binary.LittleEndian
	if len(b) < segmentHeader || string(b[:8]) != segmentMagic ||
		le.Uint32(b[8:]) != crc32.Checksum(b[12:segmentHeader], castagnoli) || le.Uint64(b[32:]) != id {
		return h, false, nil
	}
	if v := le.Uint32(b[12:]); v != segmentVersion {
		return h, false, mq.Errorf(mq.UnsupportedVersion, "segment header: version %d, only %d is known", v, segmentVersion)
	}
	if le.Uint64(b[16:])|le.Uint64(b[48:])|le.Uint64(b[56:]) != 0 {
		return h, false, mq.Errorf(mq.UnsupportedVersion, "segment header: it asks for features that this version does not have")
	}
	h.salt, h.id = le.Uint64(b[24:]), id
	h.prevEnd, h.checkpointEnd = int64(le.Uint32(b[40:])), int64(le.Uint32(b[44:]))
	return h, true, nil
}

// segment is one file of the log.
type segment struct {
	id   uint64
	path string
	file File
	size int64 // of the file
	seed uint32

	// Guarded by the index's mutex.
	end     int64 // of its frames, when sealed
	extents int   // of the index that lie in it: it may go when there are none
	live    int64 // bytes of their frames, too many rather than too few
	readers int
	freed   bool
	bad     bool // damaged somewhere: what is lost here is not to be reused unseen
}

const (
	segmentSuffix = ".wal"
	preparingName = "prepare.tmp"
)

func segmentName(id uint64) string { return fmt.Sprintf("%016x%s", id, segmentSuffix) }

func segmentPath(dir string, id uint64) string { return filepath.Join(dir, segmentName(id)) }

// parseSegmentName is the id in a segment file's name.
func parseSegmentName(name string) (id uint64, ok bool) {
	hex, ok := strings.CutSuffix(name, segmentSuffix)
	if !ok || len(hex) != 16 {
		return 0, false
	}
	id, err := strconv.ParseUint(hex, 16, 64)
	return id, err == nil && id > 0 && id < 1<<32 && segmentName(id) == name
}

// openSegment opens a segment's file.
func openSegment(fs FS, dir string, id uint64, readOnly bool) (*segment, error) {
	s := &segment{id: id, path: segmentPath(dir, id)}
	open := fs.Open
	if readOnly {
		open = fs.OpenRead
	}
	var err error
	if s.file, err = open(s.path); err != nil {
		return nil, err
	}
	if s.size, err = s.file.Size(); err != nil {
		return nil, errors.Join(err, s.file.Close())
	}
	return s, nil
}

// readHead reads both copies of the segment's header. copies is how many are
// good: with none the segment is not in use, or badly damaged. One that the
// disk cannot read is as bad as a damaged one, but nothing follows from both.
func (s *segment) readHead() (h segmentHead, copies int, err error) {
	var b [segmentHeader]byte
	var failed error
	for i := range int64(2) {
		n, err := s.file.ReadAt(b[:], i*blockSize)
		if err != nil && !errors.Is(err, io.EOF) {
			failed = err
			continue
		}
		got, ok, err := decodeSegmentHead(b[:n], s.id)
		if err != nil {
			return h, 0, mq.Wrapf(err, "open %s", s.path)
		}
		if ok {
			h = got
			copies++
		}
	}
	if copies == 0 && failed != nil {
		return h, 0, mq.Errorf(mq.KafkaStorageError, "read the header of %s: %w", s.path, failed)
	}
	return h, copies, nil
}
