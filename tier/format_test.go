package tier

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"flag"
	"math/rand/v2"
	"os"
	"reflect"
	"strings"
	"testing"

	"github.com/rustmq/rustmq/mq"
)

var update = flag.Bool("update", false, "write testdata anew")

// smallObject has three ranges of two partitions.
func smallObject(t testing.TB) ([]byte, *Footer) {
	t.Helper()
	var out bytes.Buffer
	enc := NewEncoder(&out, ObjectInfo{ID: 0x0123456789, Cluster: mq.ClusterID{1, 2, 3}, Node: 4, Created: 1_700_000_000_000})
	add := func(p mq.PartitionID, epoch mq.Epoch, state string, batches ...mq.Batch) {
		t.Helper()
		if err := enc.Begin(p, batches[0].BaseOffset(), epoch); err != nil {
			t.Fatal(err)
		}
		if err := enc.Append(bytes.Join(asBytes(batches), nil)); err != nil {
			t.Fatal(err)
		}
		if _, err := enc.End([]byte(state), []mq.EpochStart{{Epoch: 1, Start: 0}, {Epoch: epoch, Start: 5}}); err != nil {
			t.Fatal(err)
		}
	}
	add(testPartition(0), 2, "state of p0",
		testBatch(10, 2, 1_700_000_000_100, []byte("ten"), []byte("eleven")), testBatch(12, 2, 1_700_000_000_050, []byte("twelve")))
	add(testPartition(0), 3, "", testBatch(20, 3, 1_700_000_000_200, []byte("twenty")))
	add(testPartition(5), 2, "state of p5", testBatch(7, 2, 1_700_000_000_300, []byte("seven"), nil))
	size := enc.Size()
	f := must[*Footer](t)(enc.Close())
	if size != int64(out.Len()) {
		t.Fatalf("Size said %d before Close, the object has %d bytes", size, out.Len())
	}
	return out.Bytes(), f
}

func asBytes(batches []mq.Batch) (list [][]byte) {
	for _, b := range batches {
		list = append(list, b)
	}
	return list
}

type memObject struct {
	*bytes.Reader
}

func (memObject) Name() string  { return "test object" }
func (o memObject) Size() int64 { return o.Reader.Size() }
func (memObject) Close() error  { return nil }
func inMemory(b []byte) Object  { return memObject{bytes.NewReader(b)} }

func TestFormatIsGolden(t *testing.T) {
	data, footer := smallObject(t)
	const path = "testdata/object.golden.hex"
	got := hex.Dump(data)
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want := must[[]byte](t)(os.ReadFile(path))
	if got != string(want) {
		t.Fatalf("the format changed: got\n%s", got)
	}
	back := must[*Footer](t)(ReadFooter(bytes.NewReader(data), int64(len(data))))
	if !reflect.DeepEqual(back, footer) {
		t.Errorf("footer comes back as\n%+v, was\n%+v", back, footer)
	}
	var dump bytes.Buffer
	if err := Dump(inMemory(data), &dump, true); err != nil {
		t.Fatal(err)
	}
	const dumpPath = "testdata/object.dump.golden"
	if *update {
		if err := os.WriteFile(dumpPath, dump.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if want := must[[]byte](t)(os.ReadFile(dumpPath)); dump.String() != string(want) {
		t.Errorf("dump:\n%s\nwant:\n%s", &dump, want)
	}
}

func TestCheckFindsEveryFlippedBit(t *testing.T) {
	data, _ := smallObject(t)
	report := must[Report](t)(Check(inMemory(data)))
	if len(report.Damage) != 0 || report.Ranges != 3 || report.Batches != 4 || report.Records != 6 || report.ID != 0x0123456789 {
		t.Fatalf("a sound object: %+v", report)
	}
	for i := range data {
		for bit := range 8 {
			flipped := bytes.Clone(data)
			flipped[i] ^= 1 << bit
			report, err := Check(inMemory(flipped))
			if err != nil {
				t.Fatalf("byte %d bit %d: %v", i, bit, err)
			}
			if len(report.Damage) == 0 {
				t.Fatalf("byte %d bit %d: not found", i, bit)
			}
			// What the operator is pointed at lies at or before the damage, and not
			// a range away (except where the footer is gone, which says where).
			d := report.Damage[0]
			if d.Position > int64(i) || !strings.Contains("header footer trailer", d.Section) && int64(i)-d.Position > 400 {
				t.Errorf("byte %d bit %d: reported %s", i, bit, d)
			}
		}
	}
	for n := range data {
		if report, err := Check(inMemory(data[:n])); err == nil && len(report.Damage) == 0 {
			t.Errorf("cut to %d bytes: not found", n)
		}
	}
}

// reseal makes the checksums right again after a change.
func reseal(data []byte, change func(header, footer, trailer []byte)) []byte {
	data = bytes.Clone(data)
	trailer := data[len(data)-trailerSize:]
	at, size := binary.BigEndian.Uint64(trailer), binary.BigEndian.Uint32(trailer[8:])
	footer := data[at : at+uint64(size)]
	change(data[:headerSize], footer, trailer)
	binary.BigEndian.PutUint32(data[20:], checksum(data[:20]))
	binary.BigEndian.PutUint32(trailer[12:], checksum(footer))
	binary.BigEndian.PutUint32(trailer[20:], checksum(trailer[:20]))
	return data
}

func TestNewerFormatIsUnsupportedNotDamaged(t *testing.T) {
	data, _ := smallObject(t)
	for name, change := range map[string]func(header, footer, trailer []byte){
		"version of header":  func(h, _, _ []byte) { h[9] = 2 },
		"flags of header":    func(h, _, _ []byte) { h[11] = 1 },
		"version of trailer": func(_, _, t []byte) { t[17] = 2 },
		"flags of trailer":   func(_, _, t []byte) { t[19] = 1 },
		"flags of footer":    func(_, f, _ []byte) { f[7] = 1 },
		"flags of a range":   func(_, f, _ []byte) { f[footerFixed+27] = 1 },
	} {
		if _, err := Check(inMemory(reseal(data, change))); mq.CodeOf(err) != mq.UnsupportedVersion {
			t.Errorf("%s: %v", name, err)
		}
	}
	if report, err := Check(inMemory(reseal(data, func(_, _, _ []byte) {}))); err != nil || len(report.Damage) > 0 {
		t.Errorf("nothing changed: %v, %v", report.Damage, err)
	}
}

func TestEncoderRefusesWhatIsNotALog(t *testing.T) {
	p := testPartition(1)
	good := testBatch(5, 1, 1, []byte("x"))
	bad := bytes.Clone(good)
	bad[len(bad)-1] ^= 1
	for name, use := range map[string]func(*Encoder) error{
		"damaged batch": func(e *Encoder) error { _ = e.Begin(p, 5, 1); return e.Append(bad) },
		"gap":           func(e *Encoder) error { _ = e.Begin(p, 4, 1); return e.Append(good) },
		"half a batch":  func(e *Encoder) error { _ = e.Begin(p, 5, 1); return e.Append(good[:len(good)-1]) },
		"no batches":    func(e *Encoder) error { _ = e.Begin(p, 5, 1); _, err := e.End(nil, nil); return err },
		"too much state": func(e *Encoder) error {
			_ = e.Begin(p, 5, 1)
			_ = e.Append(good)
			_, err := e.End(make([]byte, MaxStateBytes+1), nil)
			return err
		},
		"partitions out of order": func(e *Encoder) error {
			_ = e.Begin(p, 5, 1)
			_ = e.Append(good)
			_, _ = e.End(nil, nil)
			return e.Begin(testPartition(0), 5, 1)
		},
		"overlap": func(e *Encoder) error {
			_ = e.Begin(p, 5, 1)
			_ = e.Append(good)
			_, _ = e.End(nil, nil)
			return e.Begin(p, 5, 1)
		},
		"no ranges":  func(e *Encoder) error { _, err := e.Close(); return err },
		"open range": func(e *Encoder) error { _ = e.Begin(p, 5, 1); _ = e.Append(good); _, err := e.Close(); return err },
	} {
		if err := use(NewEncoder(&bytes.Buffer{}, ObjectInfo{ID: 1})); err == nil {
			t.Errorf("%s: taken", name)
		}
	}
}

// TestIndexFindsRuns compares the index with the batches themselves.
func TestIndexFindsRuns(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	log, end := testLog(rng, 100, 1, 400, 2000)
	var out bytes.Buffer
	enc := NewEncoder(&out, ObjectInfo{ID: 1})
	_ = enc.Begin(testPartition(0), 100, 1)
	_ = enc.Append(log)
	info := must[RangeInfo](t)(enc.End(nil, nil))
	must[*Footer](t)(enc.Close())
	at := info.Position + info.Bytes
	x := must[*sectionIndex](t)(parseIndex(out.Bytes()[at : at+info.IndexBytes]))
	if len(x.entries) < 5 {
		t.Fatalf("%d runs", len(x.entries))
	}
	for o := mq.Offset(100); o < end; o++ {
		i := x.find(o)
		start, size, runEnd := x.run(i)
		if o < x.entries[i].offset || o >= runEnd {
			t.Fatalf("offset %d: run [%d,%d)", o, x.entries[i].offset, runEnd)
		}
		if size < IndexInterval && i < len(x.entries)-1 {
			t.Fatalf("run %d has %d bytes", i, size)
		}
		if first := mq.Batch(log[start:]); first.BaseOffset() != x.entries[i].offset {
			t.Fatalf("run %d begins with %s", i, first)
		}
	}
}

func FuzzFooter(f *testing.F) {
	data, _ := smallObject(f)
	f.Add(data)
	f.Add(data[:len(data)-1])
	f.Add(reseal(data, func(_, footer, _ []byte) { binary.BigEndian.PutUint32(footer[footerFixed-4:], 1<<31) }))
	f.Add(reseal(data, func(_, footer, _ []byte) { binary.BigEndian.PutUint32(footer[footerFixed+96:], 1<<31) }))
	f.Add(reseal(data, func(_, footer, _ []byte) { binary.BigEndian.PutUint64(footer[footerFixed+68:], 1<<62) }))
	f.Fuzz(func(t *testing.T, data []byte) {
		// A fuzzer does not guess checksums: make them right where there is
		// something that claims a footer.
		if n := len(data); n >= headerSize+footerFixed+trailerSize {
			data = bytes.Clone(data)
			trailer := data[n-trailerSize:]
			if size := uint64(n) - trailerSize - uint64(binary.BigEndian.Uint32(trailer[8:])); size < uint64(n) {
				binary.BigEndian.PutUint64(trailer, size)
				data = reseal(data, func(_, _, _ []byte) {})
			}
		}
		footer, err := ReadFooter(bytes.NewReader(data), int64(len(data)))
		if _, checkErr := Check(inMemory(data)); checkErr != nil && mq.CodeOf(checkErr) != mq.UnsupportedVersion {
			t.Fatalf("check: %v", checkErr)
		}
		if err != nil {
			if code := mq.CodeOf(err); code != mq.Corrupt && code != mq.UnsupportedVersion {
				t.Fatalf("code %v: %v", code, err)
			}
			return
		}
		// What was understood says the same when it is written again.
		again, err := parseFooter(footer.appendTo(nil), int64(len(data))-trailerSize-int64(len(footer.appendTo(nil))))
		if err != nil || !reflect.DeepEqual(again, footer) {
			t.Fatalf("%+v comes back as %+v, %v", footer, again, err)
		}
	})
}

func FuzzIndex(f *testing.F) {
	data, footer := smallObject(f)
	r := footer.Ranges[0]
	f.Add(data[r.Position+r.Bytes : r.Position+r.Bytes+r.IndexBytes])
	f.Fuzz(func(t *testing.T, data []byte) {
		if len(data) > 4 {
			data = bytes.Clone(data)
			binary.BigEndian.PutUint32(data[len(data)-4:], checksum(data[:len(data)-4]))
		}
		x, err := parseIndex(data)
		if err != nil {
			return
		}
		if !bytes.Equal(x.appendTo(nil), data) {
			t.Fatalf("%+v was written by %x", x, data)
		}
		for i := range x.entries {
			at, size, end := x.run(i)
			if size <= 0 || at+size > x.bytes || end <= x.entries[i].offset || x.find(x.entries[i].offset) != i {
				t.Fatalf("run %d: %d bytes at %d up to %d", i, size, at, end)
			}
		}
	})
}

// What an upload is verified by is the checksum of the object's bytes, whatever was begun and taken back, read in place or copied.
func TestEncodersSumIsOfTheObjectsBytes(t *testing.T) {
	rng := rand.New(rand.NewPCG(8, 1))
	for _, size := range []int{64, 3000, 2 * mq.CombineCRCFrom} {
		out := &objectBuffer{b: make([]byte, 0, 1<<20)}
		enc := NewEncoder(out, ObjectInfo{ID: 7})
		for n := range 4 {
			if err := enc.Begin(testPartition(n), 100, 1); err != nil {
				t.Fatal(err)
			}
			at := mq.Offset(100)
			for piece := range 3 {
				batches, end := testLog(rng, at, 1, 5, size)
				if piece > 0 {
					batches = append(out.room(), batches...)
				}
				if err := enc.Append(batches); err != nil {
					t.Fatal(err)
				}
				at = end
			}
			if n == 1 {
				if enc.Append([]byte("no batch")) == nil {
					t.Fatal("the object takes what is no batch")
				}
				out.b = out.b[:enc.abandon()]
				continue
			}
			if _, err := enc.End([]byte("state"), nil); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := enc.Close(); err != nil {
			t.Fatal(err)
		}
		if got, want := enc.Sum(), checksum(out.b); got != want {
			t.Errorf("records of %d bytes, object of %d: %08x, want %08x", size, len(out.b), got, want)
		}
		if enc.position != int64(len(out.b)) {
			t.Errorf("the object has %d bytes, the encoder wrote %d", len(out.b), enc.position)
		}
	}
}
