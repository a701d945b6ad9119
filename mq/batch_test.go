package mq

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"hash/crc32"
	"math"
	"math/rand/v2"
	"os"
	"reflect"
	"runtime"
	"strings"
	"testing"

	"github.com/klauspost/compress/gzip"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
	"pgregory.net/rapid"
)

var codecs = []Compression{CompressionNone, CompressionGzip, CompressionSnappy, CompressionLZ4, CompressionZstd}

func build(t testing.TB, c Compression, recs []Record) Batch {
	t.Helper()
	w, err := NewBatchBuilder(c, 0)
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range recs {
		if err := w.Append(r); err != nil {
			t.Fatal(err)
		}
	}
	b, err := w.Build(nil, 7, 3, 11)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func decode(b Batch) (recs []Record, err error) {
	for r, err := range b.Records(nil) {
		if err != nil {
			return recs, err
		}
		r.Headers = append([]Header(nil), r.Headers...)
		recs = append(recs, r)
	}
	return recs, nil
}

func sampleRecords() []Record {
	return []Record{
		{Key: []byte("k"), Value: []byte("v"), Timestamp: 1_700_000_000_000},
		{Value: []byte{}, Timestamp: 1_699_999_999_999, Headers: []Header{{"a", []byte("1")}, {"a", nil}, {"", []byte{}}}},
		{Key: []byte{}, Timestamp: 1_700_000_000_500},
		{Key: []byte("long"), Value: bytes.Repeat([]byte("abcdefgh"), 1000), Timestamp: 1_700_000_001_000},
	}
}

// kmsgBatch encodes records as franz-go's generated code does.
func kmsgBatch(recs []Record) []byte {
	var body []byte
	maxTime := int64(math.MinInt64)
	for i, r := range recs {
		k := kmsg.Record{
			TimestampDelta64: r.Timestamp - recs[0].Timestamp, OffsetDelta: int32(i), Key: r.Key, Value: r.Value,
		}
		for _, h := range r.Headers {
			k.Headers = append(k.Headers, kmsg.Header{Key: h.Key, Value: h.Value})
		}
		k.Length = int32(len(k.AppendTo(nil)) - 1) // a length of 0 takes one byte
		body = k.AppendTo(body)
		maxTime = max(maxTime, r.Timestamp)
	}
	k := kmsg.RecordBatch{
		PartitionLeaderEpoch: -1, Magic: 2, LastOffsetDelta: int32(len(recs) - 1), FirstTimestamp: recs[0].Timestamp, MaxTimestamp: maxTime,
		ProducerID: 7, ProducerEpoch: 3, FirstSequence: 11, NumRecords: int32(len(recs)), Records: body,
	}
	k.Length = int32(BatchHeaderSize + len(body) - beforeLength)
	b := k.AppendTo(nil)
	binary.BigEndian.PutUint32(b[atCRC:], crc32.Checksum(b[crcFrom:], crc32.MakeTable(crc32.Castagnoli)))
	return b
}

func TestUncompressedBatchIsByteForByteWhatFranzGoEncodes(t *testing.T) {
	ours, theirs := build(t, CompressionNone, sampleRecords()), kmsgBatch(sampleRecords())
	if !bytes.Equal(ours, theirs) {
		t.Fatalf("ours\n%s\ntheirs\n%s", hex.Dump(ours), hex.Dump(theirs))
	}
}

func TestEveryCodecIsReadByFranzGoAndBack(t *testing.T) {
	for _, c := range codecs {
		t.Run(c.String(), func(t *testing.T) {
			b := build(t, c, sampleRecords())
			if _, err := CheckBatch(b, MaxBatchBytes); err != nil {
				t.Fatal(err)
			}
			if c != CompressionNone && b.Compression() != c {
				t.Fatalf("batch has compression %s", b.Compression())
			}
			var k kmsg.RecordBatch
			if err := k.ReadFrom(b); err != nil {
				t.Fatal(err)
			}
			got, err := decode(b)
			if err != nil {
				t.Fatal(err)
			}
			want := sampleRecords()
			for i := range want {
				want[i].Offset = Offset(i)
			}
			if !reflect.DeepEqual(got, want) {
				t.Fatalf("got  %v\nwant %v", got, want)
			}
		})
	}
}

// The golden bytes pin what is on disks and in buckets.
func TestGoldenBatch(t *testing.T) {
	const file = "testdata/batch.hex"
	got := hex.EncodeToString(build(t, CompressionNone, sampleRecords()[:3])) + "\n"
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatalf("%v; it should be\n%s", err, got)
	}
	if got != string(want) {
		t.Fatalf("the format changed:\ngot  %s\nwant %s", got, want)
	}
}

func TestRecordsRoundTrip(t *testing.T) {
	maybe := rapid.Custom(func(t *rapid.T) []byte {
		if rapid.Bool().Draw(t, "null") {
			return nil
		}
		return rapid.SliceOfN(rapid.Byte(), 0, 300).Draw(t, "bytes")
	})
	record := rapid.Custom(func(t *rapid.T) Record {
		r := Record{Key: maybe.Draw(t, "key"), Value: maybe.Draw(t, "value"), Timestamp: rapid.Int64Range(0, 1<<50).Draw(t, "time")}
		for i := range rapid.IntRange(0, 3).Draw(t, "headers") {
			r.Headers = append(r.Headers, Header{fmt.Sprint("h", i), maybe.Draw(t, "header")})
		}
		return r
	})
	rapid.Check(t, func(t *rapid.T) {
		w, err := NewBatchBuilder(rapid.SampledFrom(codecs).Draw(t, "codec"), 0)
		if err != nil {
			t.Fatal(err)
		}
		for range 2 { // the builder is used again
			want := rapid.SliceOfN(record, 1, 20).Draw(t, "records")
			for i := range want {
				size := w.SizeWith(want[i])
				if err := w.Append(want[i]); err != nil {
					t.Fatal(err)
				}
				if w.Size() != size {
					t.Fatalf("SizeWith said %d, it is %d", size, w.Size())
				}
				want[i].Offset = Offset(i)
			}
			size := w.Size()
			b, err := w.Build(nil, NoProducerID, NoProducerEpoch, NoSequence)
			if err != nil {
				t.Fatal(err)
			}
			if len(b) > size {
				t.Fatalf("Size said %d, the batch has %d bytes", size, len(b))
			}
			if _, err := CheckBatch(b, MaxBatchBytes); err != nil {
				t.Fatal(err)
			}
			got, err := decode(b)
			if err != nil || !reflect.DeepEqual(got, want) {
				t.Fatalf("got %v %v\nwant %v", got, err, want)
			}
		}
	})
}

// seal makes header and CRC of b fit its records, whatever these are.
func seal(b Batch, c Compression, count int32, records []byte) Batch {
	out := append(append(Batch(nil), b[:BatchHeaderSize]...), records...)
	binary.BigEndian.PutUint32(out[atBatchLength:], uint32(len(out)-beforeLength))
	binary.BigEndian.PutUint16(out[atAttributes:], uint16(c))
	out.putInt32At(atRecordCount, count)
	out.putInt32At(atLastOffsetDelta, count-1)
	out.putCRC()
	return out
}

func allocated(f func()) uint64 {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	f()
	runtime.ReadMemStats(&after)
	return after.TotalAlloc - before.TotalAlloc
}

func TestDecompressionBombIsRefusedWithinTheLimit(t *testing.T) {
	const limit = 1 << 20
	zeros := bytes.Repeat([]byte{0}, 64<<20)
	for _, c := range codecs[1:] {
		t.Run(c.String(), func(t *testing.T) {
			codec, err := newCompressor(c, 0)
			if err != nil {
				t.Fatal(err)
			}
			bomb, err := codec(nil, zeros)
			if err != nil {
				t.Fatal(err)
			}
			b := seal(build(t, CompressionNone, sampleRecords()), c, 1, bomb)
			bytes := allocated(func() {
				for _, err = range b.Records(NewDecodeBuffer(limit)) {
				}
			})
			if CodeOf(err) != RecordListTooLarge {
				t.Fatalf("got %v, want RECORD_LIST_TOO_LARGE", err)
			}
			if bytes > 32<<20 {
				t.Errorf("%d bytes were allocated to refuse it", bytes)
			}
		})
	}
}

func TestLyingRecordsAreRefusedBeforeAllocation(t *testing.T) {
	huge := binary.AppendVarint(nil, math.MaxInt32)
	rec := func(body ...[]byte) []byte {
		all := bytes.Join(body, nil)
		return append(binary.AppendVarint(nil, int64(len(all))), all...)
	}
	null := []byte{1} // -1 as a varint
	for name, records := range map[string][]byte{
		"a record longer than the batch": huge,
		"a negative record length":       binary.AppendVarint(nil, -5),
		"a key longer than the record":   rec([]byte{0, 0, 0}, huge, null, []byte{0}),
		"a negative key length":          rec([]byte{0, 0, 0}, binary.AppendVarint(nil, -2), null, []byte{0}),
		"a negative value length":        rec([]byte{0, 0, 0}, null, binary.AppendVarint(nil, -2), []byte{0}),
		"more headers than bytes":        rec([]byte{0, 0, 0}, null, null, huge),
		"a negative header count":        rec([]byte{0, 0, 0}, null, null, binary.AppendVarint(nil, -1)),
		"a header without a key":         rec([]byte{0, 0, 0}, null, null, []byte{2}, null, null),
		"an overlong varint":             rec([]byte{0}, bytes.Repeat([]byte{0x80}, 11), []byte{0}, null, null, []byte{0}),
		"a length of six bytes":          append(bytes.Repeat([]byte{0x80}, 5), 0),
		"an offset out of order":         rec([]byte{0, 0, 4}, null, null, []byte{0}),
		"a byte too many in a record":    rec([]byte{0, 0, 0}, null, null, []byte{0, 0}),
		"a byte too many in the batch":   append(rec([]byte{0, 0, 0}, null, null, []byte{0}), 0),
		"nothing at all":                 {},
	} {
		t.Run(name, func(t *testing.T) {
			b := seal(build(t, CompressionNone, sampleRecords()), CompressionNone, 1, records)
			var err error
			n := allocated(func() {
				for _, err = range b.Records(nil) {
				}
			})
			if CodeOf(err) != InvalidRecord {
				t.Fatalf("got %v, want INVALID_RECORD", err)
			}
			if n > 64<<10 {
				t.Errorf("%d bytes were allocated to refuse it", n)
			}
		})
	}
}

func TestDoorRefusesWhatIsNotABatch(t *testing.T) {
	good := build(t, CompressionNone, sampleRecords())
	change := func(f func(b Batch)) []byte {
		b := append(Batch(nil), good...)
		f(b)
		return b
	}
	sealed := func(f func(b Batch)) []byte {
		return change(func(b Batch) { f(b); b.putCRC() })
	}
	for name, c := range map[string]struct {
		b    []byte
		code Code
	}{
		"empty":                  {nil, CorruptMessage},
		"short":                  {good[:60], CorruptMessage},
		"cut":                    {good[:len(good)-1], CorruptMessage},
		"a byte more":            {append(append([]byte(nil), good...), 0), InvalidRecord},
		"negative length":        {change(func(b Batch) { b.putInt32At(atBatchLength, -1) }), CorruptMessage},
		"largest length":         {change(func(b Batch) { b.putInt32At(atBatchLength, math.MaxInt32) }), MessageTooLarge},
		"a flipped bit":          {change(func(b Batch) { b[len(b)-1] ^= 1 }), CorruptMessage},
		"count of 0":             {sealed(func(b Batch) { b.putInt32At(atRecordCount, 0) }), InvalidRecord},
		"negative count":         {sealed(func(b Batch) { b.putInt32At(atRecordCount, -1) }), InvalidRecord},
		"count beside the delta": {sealed(func(b Batch) { b.putInt32At(atRecordCount, 5) }), InvalidRecord},
		"more than the bytes": {sealed(func(b Batch) {
			b.putInt32At(atRecordCount, 1<<20)
			b.putInt32At(atLastOffsetDelta, 1<<20-1)
		}), InvalidRecord},
		"reserved attribute": {sealed(func(b Batch) { b[atAttributes] = 0x80 }), UnsupportedForMessageFormat},
		"unknown codec":      {sealed(func(b Batch) { b[atAttributes+1] = 7 }), UnsupportedCompression},
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := CheckBatch(c.b, MaxBatchBytes); CodeOf(err) != c.code {
				t.Fatalf("got %v (%s), want %s", err, CodeOf(err), c.code)
			}
		})
	}
}

func TestXerialSnappyIsRead(t *testing.T) {
	plain := build(t, CompressionNone, sampleRecords())
	framed := append([]byte(xerialMagic), 0, 0, 0, 1, 0, 0, 0, 1)
	for rest := []byte(plain[BatchHeaderSize:]); len(rest) > 0; {
		n := min(len(rest), 1000)
		block, err := compressSnappy(nil, rest[:n])
		if err != nil {
			t.Fatal(err)
		}
		framed = append(binary.BigEndian.AppendUint32(framed, uint32(len(block))), block...)
		rest = rest[n:]
	}
	got, err := decode(seal(plain, CompressionSnappy, 4, framed))
	if err != nil || len(got) != 4 {
		t.Fatalf("got %d records, %v", len(got), err)
	}
}

func TestConcatenatedGzipMembersAreRead(t *testing.T) {
	plain := build(t, CompressionNone, sampleRecords())
	var out bytes.Buffer
	for _, part := range [][]byte{plain[BatchHeaderSize:100], plain[100:]} {
		z := gzip.NewWriter(&out)
		_, _ = z.Write(part)
		_ = z.Close()
	}
	if got, err := decode(seal(plain, CompressionGzip, 4, out.Bytes())); err != nil || len(got) != 4 {
		t.Fatalf("got %d records, %v", len(got), err)
	}
}

func TestCodesAreKafkasWhereKafkaHasThem(t *testing.T) {
	for _, c := range Codes() {
		if c.String() == "" || strings.Contains(c.String(), "Code(") {
			t.Errorf("code %d has no name", c)
		}
		if c == None || c >= 1000 {
			continue
		}
		theirs := kerr.TypedErrorForCode(int16(c))
		if theirs == nil {
			t.Errorf("%s: Kafka has no code %d", c, c)
			continue
		}
		if theirs.Message != c.String() && c != NotLeaderOrFollower { // franz-go keeps the name from before KIP-392

			t.Errorf("code %d is %s, Kafka calls it %s", c, c, theirs.Message)
		}
	}
}

func FuzzCheckBatch(f *testing.F) {
	for _, c := range codecs {
		f.Add([]byte(build(f, c, sampleRecords())))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		if len(data) >= BatchHeaderSize { // let the fuzzer past the CRC
			data = append([]byte(nil), data...)
			Batch(data).putCRC()
		}
		b, err := CheckBatch(data, MaxBatchBytes)
		if err != nil {
			if CodeOf(err) == Unknown {
				t.Fatalf("an untyped error: %v", err)
			}
			return
		}
		n := int32(0)
		for _, err := range b.Records(NewDecodeBuffer(1 << 20)) {
			if err != nil {
				if CodeOf(err) == Unknown {
					t.Fatalf("an untyped error: %v", err)
				}
				return
			}
			n++
		}
		if n != b.RecordCount() {
			t.Fatalf("%d records, the header says %d", n, b.RecordCount())
		}
	})
}

func BenchmarkBuild(b *testing.B) {
	for _, size := range []int{128, 1024} {
		b.Run(fmt.Sprint(size), func(b *testing.B) {
			w, err := NewBatchBuilder(CompressionNone, 0)
			if err != nil {
				b.Fatal(err)
			}
			value := make([]byte, size)
			for i := range value {
				value[i] = byte(rand.Int())
			}
			rec := Record{Value: value, Timestamp: 1_700_000_000_000}
			var dst []byte
			b.SetBytes(int64(size))
			b.ReportAllocs()
			for b.Loop() {
				if w.SizeWith(rec) > 64<<10 {
					batch, err := w.Build(dst, 1, 1, 1)
					if err != nil {
						b.Fatal(err)
					}
					dst = batch
				}
				if err := w.Append(rec); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
