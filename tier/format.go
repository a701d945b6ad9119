package tier

import (
	"cmp"
	"encoding/binary"
	"hash/crc32"
	"math"
	"slices"

	"github.com/rustmq/rustmq/mq"
)

// The format is drawn in doc.go. All numbers are big-endian, as in a batch.
const (
	formatVersion = 1

	headerMagic  = "RMQTIER\n"
	trailerMagic = "RMQTEND\n"
	indexMagic   = 0xf2494458 // no batch begins with such a byte: offsets are positive
	footerMagic  = 0xf2465452

	headerSize     = 24
	trailerSize    = 32
	indexFixed     = 52 // without entries
	indexEntrySize = 28
	footerFixed    = 48  // without ranges
	rangeFixed     = 104 // without state and epochs
	epochSize      = 12
)

// Limits of the format, all checked before memory is taken for what an object
// claims. An encoder refuses to go beyond them.
const (
	// MaxFooterBytes bounds what opening an object takes: 64 MiB are about
	// 300,000 ranges with small states, more than a broker leads.
	MaxFooterBytes = 64 << 20

	// MaxIndexBytes bounds the index of one range: at one entry of 28 bytes for
	// 64 KiB, 16 MiB index 37 GiB.
	MaxIndexBytes = 16 << 20

	// MaxStateBytes bounds the producer state of one range. It travels in one
	// raft entry with the states of the object's other ranges.
	MaxStateBytes = 16 << 20

	// MaxEpochs bounds the epoch history of one range, in epochs.
	MaxEpochs = 1 << 16

	// IndexInterval is how many bytes of batches make a run, at least: what is
	// verified, and skipped at most, beside one batch, to read an offset.
	IndexInterval = 64 << 10
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

func checksum(b []byte) uint32 { return crc32.Checksum(b, castagnoli) }

func corrupt(format string, args ...any) *mq.Error { return mq.Errorf(mq.Corrupt, format, args...) }

// seal appends the checksum of dst[from:].
func seal(dst []byte, from int) []byte {
	return binary.BigEndian.AppendUint32(dst, checksum(dst[from:]))
}

func appendHeader(dst []byte, objectID uint64) []byte {
	from := len(dst)
	dst = append(dst, headerMagic...)
	dst = binary.BigEndian.AppendUint16(dst, formatVersion)
	dst = binary.BigEndian.AppendUint16(dst, 0) // flags
	dst = binary.BigEndian.AppendUint64(dst, objectID)
	return seal(dst, from)
}

// parseHeader reads the first headerSize bytes of an object.
func parseHeader(b []byte) (objectID uint64, err error) {
	if len(b) != headerSize || string(b[:8]) != headerMagic {
		return 0, corrupt("header: not an object of this format")
	}
	if got, want := checksum(b[:20]), binary.BigEndian.Uint32(b[20:]); got != want {
		return 0, corrupt("header: CRC32C is %08x, it says %08x", got, want)
	}
	if err := checkVersion("header", binary.BigEndian.Uint16(b[8:]), binary.BigEndian.Uint16(b[10:])); err != nil {
		return 0, err
	}
	return binary.BigEndian.Uint64(b[12:]), nil
}

// checkVersion is for a version and flags that a checksum has vouched for: what
// is unknown is newer, not damaged.
func checkVersion(what string, version, flags uint16) error {
	if version != formatVersion {
		return mq.Errorf(mq.UnsupportedVersion, "%s: format version %d, only %d is supported", what, version, formatVersion)
	}
	return checkFlags(what, uint32(flags))
}

func checkFlags(what string, flags uint32) error {
	if flags != 0 {
		return mq.Errorf(mq.UnsupportedVersion, "%s: flags %#x are not supported", what, flags)
	}
	return nil
}

// trailer is the fixed end of an object, from which all else is found.
type trailer struct {
	footerAt    int64
	footerBytes int64
	footerCRC   uint32
}

func (t trailer) appendTo(dst []byte) []byte {
	from := len(dst)
	dst = binary.BigEndian.AppendUint64(dst, uint64(t.footerAt))
	dst = binary.BigEndian.AppendUint32(dst, uint32(t.footerBytes))
	dst = binary.BigEndian.AppendUint32(dst, t.footerCRC)
	dst = binary.BigEndian.AppendUint16(dst, formatVersion)
	dst = binary.BigEndian.AppendUint16(dst, 0) // flags
	dst = seal(dst, from)
	return append(dst, trailerMagic...)
}

// parseTrailer reads the last trailerSize bytes of an object of size bytes.
func parseTrailer(b []byte, size int64) (trailer, error) {
	if len(b) != trailerSize || string(b[24:]) != trailerMagic {
		return trailer{}, corrupt("trailer: not an object of this format, or cut short")
	}
	if got, want := checksum(b[:20]), binary.BigEndian.Uint32(b[20:]); got != want {
		return trailer{}, corrupt("trailer: CRC32C is %08x, it says %08x", got, want)
	}
	if err := checkVersion("trailer", binary.BigEndian.Uint16(b[16:]), binary.BigEndian.Uint16(b[18:])); err != nil {
		return trailer{}, err
	}
	t := trailer{
		footerAt:    int64(binary.BigEndian.Uint64(b)),
		footerBytes: int64(binary.BigEndian.Uint32(b[8:])),
		footerCRC:   binary.BigEndian.Uint32(b[12:]),
	}
	if t.footerBytes < footerFixed || t.footerBytes > MaxFooterBytes || t.footerAt < headerSize || t.footerAt != size-trailerSize-t.footerBytes {
		return trailer{}, corrupt("trailer: a footer of %d bytes at %d in an object of %d", t.footerBytes, t.footerAt, size)
	}
	return t, nil
}

// indexEntry describes a run: the unit of a section that is verified and
// found by offset or time.
type indexEntry struct {
	offset   mq.Offset // base offset of the first batch
	position int64     // from the start of the section
	maxTime  int64     // greatest timestamp in the run
	crc      uint32    // CRC-32C of the run's bytes, which cover what a batch's own CRC does not
}

// sectionIndex is the block behind a section's batches.
type sectionIndex struct {
	objectID uint64
	position int64 // of the section
	bytes    int64 // of its batches
	end      mq.Offset
	crc      uint32
	entries  []indexEntry
}

func (x *sectionIndex) size() int64 { return indexFixed + indexEntrySize*int64(len(x.entries)) }

// run is where the i-th run lies in the section, and one past its last offset.
func (x *sectionIndex) run(i int) (position, bytes int64, end mq.Offset) {
	e := x.entries[i]
	if i+1 < len(x.entries) {
		return e.position, x.entries[i+1].position - e.position, x.entries[i+1].offset
	}
	return e.position, x.bytes - e.position, x.end
}

// find is the run that holds the offset, which must not lie before the first.
func (x *sectionIndex) find(offset mq.Offset) int {
	i, exact := slices.BinarySearchFunc(x.entries, offset, func(e indexEntry, o mq.Offset) int { return cmp.Compare(e.offset, o) })
	if exact {
		return i
	}
	return i - 1
}

func (x *sectionIndex) appendTo(dst []byte) []byte {
	from := len(dst)
	dst = binary.BigEndian.AppendUint32(dst, indexMagic)
	dst = binary.BigEndian.AppendUint32(dst, 0) // flags
	dst = binary.BigEndian.AppendUint64(dst, x.objectID)
	dst = binary.BigEndian.AppendUint64(dst, uint64(x.position))
	dst = binary.BigEndian.AppendUint64(dst, uint64(x.bytes))
	dst = binary.BigEndian.AppendUint64(dst, uint64(x.end))
	dst = binary.BigEndian.AppendUint32(dst, x.crc)
	dst = binary.BigEndian.AppendUint32(dst, uint32(len(x.entries)))
	for _, e := range x.entries {
		dst = binary.BigEndian.AppendUint64(dst, uint64(e.offset))
		dst = binary.BigEndian.AppendUint64(dst, uint64(e.position))
		dst = binary.BigEndian.AppendUint64(dst, uint64(e.maxTime))
		dst = binary.BigEndian.AppendUint32(dst, e.crc)
	}
	return seal(dst, from)
}

// indexHead is how much of an index tells its size.
const indexHead = indexFixed - 4

// indexSize is how long the index is that begins with b, of which the head must
// be there.
func indexSize(b []byte) (int64, error) {
	if len(b) < indexHead || binary.BigEndian.Uint32(b) != indexMagic {
		return 0, corrupt("index: not where it should be")
	}
	size := indexFixed + indexEntrySize*int64(binary.BigEndian.Uint32(b[indexHead-4:]))
	if size > MaxIndexBytes || size == indexFixed {
		return 0, corrupt("index: of %d bytes", size)
	}
	return size, nil
}

// parseIndex reads an index that is exactly b.
func parseIndex(b []byte) (*sectionIndex, error) {
	size, err := indexSize(b)
	if err != nil {
		return nil, err
	}
	if size != int64(len(b)) {
		return nil, corrupt("index: claims %d bytes, %d are there", size, len(b))
	}
	body := b[:size-4]
	if got, want := checksum(body), binary.BigEndian.Uint32(b[size-4:]); got != want {
		return nil, corrupt("index: CRC32C is %08x, it says %08x", got, want)
	}
	if err := checkFlags("index", binary.BigEndian.Uint32(b[4:])); err != nil {
		return nil, err
	}
	x := &sectionIndex{
		objectID: binary.BigEndian.Uint64(b[8:]),
		position: int64(binary.BigEndian.Uint64(b[16:])),
		bytes:    int64(binary.BigEndian.Uint64(b[24:])),
		end:      mq.Offset(binary.BigEndian.Uint64(b[32:])),
		crc:      binary.BigEndian.Uint32(b[40:]),
		entries:  make([]indexEntry, 0, (size-indexFixed)/indexEntrySize),
	}
	last := indexEntry{offset: -1, position: -1}
	for body = body[indexHead:]; len(body) > 0; body = body[indexEntrySize:] {
		e := indexEntry{
			offset:   mq.Offset(binary.BigEndian.Uint64(body)),
			position: int64(binary.BigEndian.Uint64(body[8:])),
			maxTime:  int64(binary.BigEndian.Uint64(body[16:])),
			crc:      binary.BigEndian.Uint32(body[24:]),
		}
		first := len(x.entries) == 0
		if e.offset <= last.offset || e.offset >= x.end || e.position <= last.position || e.position >= x.bytes || first && e.position != 0 {
			return nil, corrupt("index: entry %d is out of order", len(x.entries))
		}
		x.entries = append(x.entries, e)
		last = e
	}
	return x, nil
}

// addOverflows says whether a+b, both at least 0, is no int64.
func addOverflows(a, b int64) bool { return a > math.MaxInt64-b }
