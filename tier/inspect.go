package tier

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"text/tabwriter"
	"time"

	"github.com/rustmq/rustmq/mq"
)

// Object is an object opened for inspection.
type Object interface {
	io.ReaderAt
	io.Closer
	Name() string // key or path
	Size() int64  // in bytes
}

// OpenObject opens an object of a store for reading with requests of the
// store's class. ctx holds for all reads. The store stays the caller's.
func OpenObject(ctx context.Context, store *Store, key string) (Object, error) {
	info, err := store.Stat(ctx, key)
	if errors.Is(err, ErrAbsent) {
		return nil, mq.Errorf(mq.InvalidRequest, "the store says that it has no object %s", key)
	}
	if err != nil {
		return nil, err
	}
	return &storeObject{ctx: ctx, store: store, info: info}, nil
}

type storeObject struct {
	ctx   context.Context // of OpenObject
	store *Store
	info  Info
}

func (o *storeObject) Name() string { return o.info.Key }
func (o *storeObject) Size() int64  { return o.info.Size }
func (o *storeObject) Close() error { return nil }

// ReadAt is one ranged read.
func (o *storeObject) ReadAt(p []byte, at int64) (int, error) {
	r, err := o.store.Open(o.ctx, o.info.Key, at, int64(len(p)))
	if err != nil {
		return 0, err
	}
	defer r.Close()
	n, err := io.ReadFull(r, p)
	if errors.Is(err, io.ErrUnexpectedEOF) {
		err = io.EOF
	}
	return n, err
}

// OpenObjectFile opens an object that is a file.
func OpenObjectFile(path string) (Object, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, mq.Errorf(mq.InvalidRequest, "open object: %w", err)
	}
	st, err := f.Stat()
	if err == nil && !st.Mode().IsRegular() {
		err = fmt.Errorf("%s is not a file", path)
	}
	if err != nil {
		_ = f.Close()
		return nil, mq.Errorf(mq.InvalidRequest, "open object: %w", err)
	}
	return fileObject{f, st.Size()}, nil
}

type fileObject struct {
	*os.File
	size int64
}

func (o fileObject) Size() int64 { return o.size }

// Dump writes what an object says about itself, for people: its ranges, and on
// request each batch. It reads the footer, and with batches everything.
func Dump(o Object, w io.Writer, batches bool) error {
	f, err := ReadFooter(o, o.Size())
	if err != nil {
		return mq.Wrapf(err, "object %s", o.Name())
	}
	fmt.Fprintf(w, "object   %s\nid       %d\nsize     %d bytes, format version %d\n", o.Name(), f.ObjectID, o.Size(), formatVersion)
	fmt.Fprintf(w, "written  %s by node %d of cluster %s\n\n", formatTime(f.Created), f.Node, f.Cluster)
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(t, "TOPIC ID\tPARTITION\tEPOCH\tFIRST\tEND\tRECORDS\tBATCHES\tPOSITION\tBYTES\tCRC32C\tSTATE\tEPOCHS\tFROM\tTO\t")
	for i := range f.Ranges {
		r := &f.Ranges[i]
		fmt.Fprintf(t, "%s\t%d\t%d\t%d\t%d\t%d\t%d\t%d\t%d\t%08x\t%d\t%d\t%s\t%s\t\n",
			r.Partition.Topic, r.Partition.Index, r.LeaderEpoch, r.First, r.End, r.Records, r.Batches,
			r.Position, r.Bytes, r.CRC, len(r.State), len(r.Epochs), formatTime(r.MinTime), formatTime(r.MaxTime))
	}
	if err := t.Flush(); err != nil {
		return err
	}
	if !batches {
		return nil
	}
	for i := range f.Ranges {
		r := &f.Ranges[i]
		fmt.Fprintf(w, "\n%s\n", r.Partition)
		err := Batches(o, r, func(at int64, b mq.Batch) error {
			_, err := fmt.Fprintf(w, "%12d  %s  %s\n", at, b, formatTime(b.MaxTimestamp()))
			return err
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// Batches calls visit for each batch of a range with its position in the object.
// Only their headers are checked. The batch is valid during the call.
func Batches(o Object, r *RangeInfo, visit func(at int64, b mq.Batch) error) error {
	return mq.Wrapf(walk(o, r, visit), "object %s", o.Name())
}

func formatTime(ms int64) string {
	if ms < 0 {
		return "-"
	}
	return time.UnixMilli(ms).UTC().Format("2006-01-02T15:04:05.000Z")
}

// walk calls visit for each batch of a range with its position in the object.
// Batches are checked for sane headers; the first that is not ends it with
// Corrupt. The batch is valid during the call.
func walk(o Object, r *RangeInfo, visit func(at int64, b mq.Batch) error) error {
	in := bufio.NewReaderSize(io.NewSectionReader(o, r.Position, r.Bytes), int(min(r.Bytes, 1<<20)))
	var buf []byte
	for left := r.Bytes; left > 0; {
		at := r.Position + r.Bytes - left
		head, err := in.Peek(int(min(left, mq.BatchHeaderSize)))
		if err != nil {
			return mq.Wrapf(err, "read at %d", at)
		}
		if len(head) < mq.BatchHeaderSize {
			return corrupt("at %d: %d bytes are left, too few for a batch", at, left)
		}
		size := mq.Batch(head).Length()
		if size < mq.BatchHeaderSize || size > mq.MaxBatchBytes || int64(size) > left {
			return corrupt("at %d: a batch of %d bytes, where %d are left", at, size, left)
		}
		buf = append(buf[:0], make([]byte, size)...)
		if _, err := io.ReadFull(in, buf); err != nil {
			return mq.Wrapf(err, "read at %d", at)
		}
		b, _, err := mq.NextBatch(buf)
		if err != nil {
			return mq.Errorf(mq.Corrupt, "at %d: %w", at, err)
		}
		if err := visit(at, b); err != nil {
			return err
		}
		left -= int64(size)
	}
	return nil
}

// Damage is one place where an object is not what it should be.
type Damage struct {
	Position int64  // in bytes from the start of the object
	Section  string // "header", "footer", "trailer", or the partition and offsets of a range
	Reason   string
}

// String is one line.
func (d Damage) String() string {
	return fmt.Sprintf("at %d (%s): %s", d.Position, d.Section, d.Reason)
}

// Report is what Check found.
type Report struct {
	Object  string
	ID      uint64 // 0 when the footer cannot be read
	Size    int64
	Ranges  int
	Batches int64
	Records int64
	Damage  []Damage // empty: every byte is as it was written
}

func (r *Report) note(position int64, section, format string, args ...any) {
	r.Damage = append(r.Damage, Damage{position, section, fmt.Sprintf(format, args...)})
}

// Check reads all of an object and verifies every byte of it. The error is for
// what could not be read, or is of a newer format; damage is in the report.
func Check(o Object) (Report, error) {
	report := Report{Object: o.Name(), Size: o.Size()}
	err := report.check(o)
	return report, mq.Wrapf(err, "check object %s", o.Name())
}

func (r *Report) check(o Object) error {
	head := make([]byte, headerSize)
	if err := readFull(o, head[:min(headerSize, r.Size)], 0); err != nil {
		return err
	}
	id, err := parseHeader(head[:min(headerSize, r.Size)])
	if err := r.take(err, 0, "header"); err != nil {
		return err
	}
	t, tail, err := readTrailer(o, r.Size)
	if err != nil {
		return r.take(err, max(0, r.Size-trailerSize), "trailer")
	}
	f, err := readFooter(o, r.Size, t, tail)
	if err != nil {
		return r.take(err, t.footerAt, "footer")
	}
	if r.ID = f.ObjectID; len(r.Damage) == 0 && id != f.ObjectID {
		r.note(0, "header", "object %d, the footer says %d", id, f.ObjectID)
	}
	r.Ranges = len(f.Ranges)
	for i := range f.Ranges {
		if err := r.checkRange(o, f, &f.Ranges[i]); err != nil {
			return err
		}
	}
	return nil
}

// take notes an error that is damage, and returns any other.
func (r *Report) take(err error, position int64, section string) error {
	if mq.CodeOf(err) != mq.Corrupt {
		return err
	}
	r.note(position, section, "%v", err)
	return nil
}

func (r *Report) checkRange(o Object, f *Footer, want *RangeInfo) error {
	name := fmt.Sprintf("%s [%d,%d)", want.Partition, want.First, want.End)
	before := len(r.Damage)
	got := newSection(f.ObjectID, want.Partition, want.First, want.LeaderEpoch, want.Position, nil)
	err := walk(o, want, func(at int64, b mq.Batch) error {
		r.Batches++
		r.Records += int64(b.RecordCount())
		if b.BaseOffset() != got.End {
			r.note(at, name, "%s where offset %d should follow", b, got.End)
		}
		if err := mq.VerifyCRC(b); err != nil {
			r.note(at, name, "%v", err)
		}
		got.note(b, checksum(b))
		return nil
	})
	if err := r.take(err, want.Position, name); err != nil {
		return err
	}
	walked := err == nil
	got.seal()
	got.State, got.Epochs = want.State, want.Epochs

	raw := make([]byte, want.IndexBytes)
	at := want.Position + want.Bytes
	if err := readFull(o, raw, at); err != nil {
		return err
	}
	x, err := parseIndex(raw)
	if err != nil {
		return r.take(err, at, name+" index")
	}
	if !walked {
		return nil
	}
	// What the batches' own checksums leave out shows in their run's.
	for i := range min(len(x.entries), len(got.index.entries)) {
		if g, w := got.index.entries[i], x.entries[i]; g != w {
			r.note(want.Position+w.position, name, "run of batches from offset %d has CRC32C %08x, the index says %08x from offset %d", g.offset, g.crc, w.crc, w.offset)
		}
	}
	if len(r.Damage) > before {
		return nil
	}
	if !bytes.Equal(got.index.appendTo(nil), raw) {
		r.note(at, name+" index", "it is not the index of these batches")
	}
	if w, g := want.appendTo(nil), got.RangeInfo.appendTo(nil); !bytes.Equal(w, g) {
		r.note(want.Position, name, "offsets [%d,%d), times [%d,%d], %d records in %d batches, CRC32C %08x; the footer says [%d,%d), [%d,%d], %d in %d, %08x",
			got.First, got.End, got.MinTime, got.MaxTime, got.Records, got.Batches, got.CRC,
			want.First, want.End, want.MinTime, want.MaxTime, want.Records, want.Batches, want.CRC)
	}
	return nil
}
