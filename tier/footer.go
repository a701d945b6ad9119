package tier

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"io"

	"github.com/rustmq/rustmq/mq"
)

// Footer is what an object says about itself: enough to rebuild the catalogue
// from the bucket alone.
type Footer struct {
	ObjectID uint64
	Cluster  mq.ClusterID // that wrote it; zero if not known
	Node     mq.NodeID    // that wrote it
	Created  int64        // milliseconds since 1970, by the writer's clock
	Ranges   []RangeInfo  // by partition, then offset
}

// RangeInfo is one range of an object: a run of a partition's batches, called a
// section, and the index behind it.
type RangeInfo struct {
	Partition        mq.PartitionID
	LeaderEpoch      mq.Epoch  // of the leader that wrote the object
	First, End       mq.Offset // half-open
	MinTime, MaxTime int64     // least base and greatest maximum timestamp of the batches, in milliseconds since 1970
	Position, Bytes  int64     // of the batches
	IndexBytes       int64     // of the index, which begins at Position+Bytes
	CRC              uint32    // CRC-32C of the batches
	Batches          uint32
	Records          uint64
	State            []byte          // producer state at End
	Epochs           []mq.EpochStart // epoch history at End
}

// compare orders ranges by partition, then offset.
func (r *RangeInfo) compare(s *RangeInfo) int {
	return cmp.Or(comparePartitions(r.Partition, s.Partition), cmp.Compare(r.First, s.First))
}

func comparePartitions(a, b mq.PartitionID) int {
	return cmp.Or(bytes.Compare(a.Topic[:], b.Topic[:]), cmp.Compare(a.Index, b.Index))
}

func (f *Footer) appendTo(dst []byte) []byte {
	dst = binary.BigEndian.AppendUint32(dst, footerMagic)
	dst = binary.BigEndian.AppendUint32(dst, 0) // flags
	dst = binary.BigEndian.AppendUint64(dst, f.ObjectID)
	dst = append(dst, f.Cluster[:]...)
	dst = binary.BigEndian.AppendUint32(dst, uint32(f.Node))
	dst = binary.BigEndian.AppendUint64(dst, uint64(f.Created))
	dst = binary.BigEndian.AppendUint32(dst, uint32(len(f.Ranges)))
	for i := range f.Ranges {
		dst = f.Ranges[i].appendTo(dst)
	}
	return dst
}

// size is how many bytes of the footer the range takes.
func (r *RangeInfo) size() int64 {
	return rangeFixed + int64(len(r.State)) + epochSize*int64(len(r.Epochs))
}

func (r *RangeInfo) appendTo(dst []byte) []byte {
	dst = append(dst, r.Partition.Topic[:]...)
	dst = binary.BigEndian.AppendUint32(dst, uint32(r.Partition.Index))
	dst = binary.BigEndian.AppendUint32(dst, uint32(r.LeaderEpoch))
	dst = binary.BigEndian.AppendUint32(dst, 0) // flags
	for _, v := range [...]int64{int64(r.First), int64(r.End), r.MinTime, r.MaxTime, r.Position, r.Bytes} {
		dst = binary.BigEndian.AppendUint64(dst, uint64(v))
	}
	dst = binary.BigEndian.AppendUint32(dst, uint32(r.IndexBytes))
	dst = binary.BigEndian.AppendUint32(dst, r.CRC)
	dst = binary.BigEndian.AppendUint32(dst, r.Batches)
	dst = binary.BigEndian.AppendUint64(dst, r.Records)
	dst = binary.BigEndian.AppendUint32(dst, uint32(len(r.State)))
	dst = binary.BigEndian.AppendUint32(dst, uint32(len(r.Epochs)))
	dst = append(dst, r.State...)
	for _, e := range r.Epochs {
		dst = binary.BigEndian.AppendUint32(dst, uint32(e.Epoch))
		dst = binary.BigEndian.AppendUint64(dst, uint64(e.Start))
	}
	return dst
}

// parseFooter reads a footer whose checksum was verified and that begins at
// position at of its object. The ranges' states alias b.
func parseFooter(b []byte, at int64) (*Footer, error) {
	d := decoder{b: b}
	if d.u32() != footerMagic {
		return nil, corrupt("footer: not where it should be")
	}
	if err := checkFlags("footer", d.u32()); err != nil {
		return nil, err
	}
	f := &Footer{ObjectID: d.u64()}
	copy(f.Cluster[:], d.take(len(f.Cluster)))
	f.Node = mq.NodeID(d.u32())
	f.Created = int64(d.u64())
	count := int(d.u32())
	if d.failed || count == 0 || count > len(d.b)/rangeFixed {
		return nil, corrupt("footer: %d ranges in %d bytes", count, len(b))
	}
	f.Ranges = make([]RangeInfo, count)
	position := int64(headerSize)
	for i := range f.Ranges {
		r := &f.Ranges[i]
		if err := r.parse(&d); err != nil {
			return nil, err
		}
		if err := r.check(position, at); err != nil {
			return nil, corrupt("footer: range %d: %w", i, err)
		}
		if i > 0 && (f.Ranges[i-1].compare(r) >= 0 || f.Ranges[i-1].Partition == r.Partition && f.Ranges[i-1].End > r.First) {
			return nil, corrupt("footer: range %d is out of order", i)
		}
		position = r.Position + r.Bytes + r.IndexBytes
	}
	if position != at {
		return nil, corrupt("footer: the ranges end at %d, the footer begins at %d", position, at)
	}
	if len(d.b) != 0 {
		return nil, corrupt("footer: %d bytes too many", len(d.b))
	}
	return f, nil
}

func (r *RangeInfo) parse(d *decoder) error {
	copy(r.Partition.Topic[:], d.take(len(r.Partition.Topic)))
	r.Partition.Index = int32(d.u32())
	r.LeaderEpoch = mq.Epoch(d.u32())
	flags := d.u32()
	r.First, r.End = mq.Offset(d.u64()), mq.Offset(d.u64())
	r.MinTime, r.MaxTime = int64(d.u64()), int64(d.u64())
	r.Position, r.Bytes = int64(d.u64()), int64(d.u64())
	r.IndexBytes = int64(d.u32())
	r.CRC = d.u32()
	r.Batches = d.u32()
	r.Records = d.u64()
	state, epochs := int(d.u32()), int(d.u32())
	if d.failed || state > MaxStateBytes || epochs > MaxEpochs || state+epochs*epochSize > len(d.b) {
		return corrupt("footer: a range with %d bytes of state and %d epochs in what is left of it", state, epochs)
	}
	if err := checkFlags("range", flags); err != nil {
		return err
	}
	r.State = d.take(state)
	r.Epochs = make([]mq.EpochStart, epochs)
	for i := range r.Epochs {
		r.Epochs[i] = mq.EpochStart{Epoch: mq.Epoch(d.u32()), Start: mq.Offset(d.u64())}
	}
	return nil
}

// check verifies what a range says against itself, against where it must begin,
// and against end, which no section reaches beyond.
func (r *RangeInfo) check(position, end int64) *mq.Error {
	switch {
	case r.First < 0 || r.End <= r.First:
		return corrupt("offsets [%d,%d)", r.First, r.End)
	case r.Partition.Index < 0 || r.LeaderEpoch < 0:
		return corrupt("partition %d, epoch %d", r.Partition.Index, r.LeaderEpoch)
	case r.Position != position:
		return corrupt("begins at %d, the one before ends at %d", r.Position, position)
	case r.Bytes < mq.BatchHeaderSize || r.IndexBytes <= indexFixed || r.IndexBytes > MaxIndexBytes ||
		addOverflows(r.Bytes, r.IndexBytes) || r.Bytes+r.IndexBytes > end-position:
		return corrupt("%d bytes and an index of %d at %d, before %d", r.Bytes, r.IndexBytes, position, end)
	case r.Batches == 0 || int64(r.Batches) > r.Bytes/mq.BatchHeaderSize:
		return corrupt("%d batches in %d bytes", r.Batches, r.Bytes)
	}
	if err := mq.EpochHistory(r.Epochs).Valid(); err != nil {
		return corrupt("%w", err)
	}
	return nil
}

// decoder takes numbers off the front of b; what is not there is zero and
// remembered.
type decoder struct {
	b      []byte
	failed bool
}

func (d *decoder) take(n int) []byte {
	if n < 0 || n > len(d.b) {
		d.failed, d.b = true, nil
		return nil
	}
	p := d.b[:n:n]
	d.b = d.b[n:]
	return p
}

func (d *decoder) u32() uint32 {
	if p := d.take(4); p != nil {
		return binary.BigEndian.Uint32(p)
	}
	return 0
}

func (d *decoder) u64() uint64 {
	if p := d.take(8); p != nil {
		return binary.BigEndian.Uint64(p)
	}
	return 0
}

// footerGuess is how much of an object's end is read at first: most footers are
// smaller, and need no second read.
const footerGuess = 64 << 10

// ReadFooter reads and verifies the footer of an object of size bytes. Codes:
// Corrupt, UnsupportedVersion, and whatever r fails with.
func ReadFooter(r io.ReaderAt, size int64) (*Footer, error) {
	t, tail, err := readTrailer(r, size)
	if err != nil {
		return nil, err
	}
	return readFooter(r, size, t, tail)
}

// readTrailer also returns the end of the object that it read.
func readTrailer(r io.ReaderAt, size int64) (t trailer, tail []byte, err error) {
	if size < headerSize+footerFixed+trailerSize {
		return t, nil, corrupt("trailer: %d bytes are too few for an object", size)
	}
	tail = make([]byte, min(size, footerGuess))
	if err := readFull(r, tail, size-int64(len(tail))); err != nil {
		return t, nil, err
	}
	t, err = parseTrailer(tail[len(tail)-trailerSize:], size)
	return t, tail, err
}

func readFooter(r io.ReaderAt, size int64, t trailer, tail []byte) (*Footer, error) {
	var body []byte
	if from := t.footerAt - (size - int64(len(tail))); from >= 0 {
		body = tail[from : len(tail)-trailerSize]
	} else {
		body = make([]byte, t.footerBytes)
		if err := readFull(r, body, t.footerAt); err != nil {
			return nil, err
		}
	}
	if got := checksum(body); got != t.footerCRC {
		return nil, corrupt("footer: CRC32C is %08x, the trailer says %08x", got, t.footerCRC)
	}
	return parseFooter(body, t.footerAt)
}

// readFull reads exactly len(p) bytes.
func readFull(r io.ReaderAt, p []byte, at int64) error {
	n, err := r.ReadAt(p, at)
	if n == len(p) {
		return nil
	}
	if err == nil || err == io.EOF {
		err = io.ErrUnexpectedEOF
	}
	return mq.Wrapf(err, "read %d bytes at %d", len(p), at)
}
