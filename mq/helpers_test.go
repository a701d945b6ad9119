package mq

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

var allCompressions = []Compression{CompressionNone, CompressionGzip, CompressionSnappy, CompressionLZ4, CompressionZstd}

// sampleRecords has what a record can have; testdata/java/Golden.java has the same.
func sampleRecords() []Record {
	return []Record{
		{Key: []byte("k"), Value: []byte("v"), Timestamp: 1_700_000_000_000},
		{Value: []byte{}, Timestamp: 1_699_999_999_999, Headers: []Header{{"a", []byte("1")}, {"a", nil}, {"", []byte{}}}},
		{Key: []byte{}, Timestamp: 1_700_000_000_500},
		{Key: []byte("long"), Value: bytes.Repeat([]byte("abcdefgh"), 1000), Timestamp: 1_700_000_001_000},
	}
}

// numbered is recs with the offsets that a new batch gives them.
func numbered(recs []Record) []Record {
	recs = slices.Clone(recs)
	for i := range recs {
		recs[i].Offset = Offset(i)
	}
	return recs
}

func newBuilder(t testing.TB, c Compression) *BatchBuilder {
	t.Helper()
	w, err := NewBatchBuilder(c, 0)
	if err != nil {
		t.Fatal(err)
	}
	return w
}

// buildBatch builds as producer 7, epoch 3, from sequence 11.
func buildBatch(t testing.TB, c Compression, recs []Record) Batch {
	t.Helper()
	w := newBuilder(t, c)
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

// collect gives the records with headers of their own.
func collect(b Batch, buf *DecodeBuffer) (recs []Record, err error) {
	for r, err := range b.Records(buf) {
		if err != nil {
			return recs, err
		}
		r.Headers = slices.Clone(r.Headers)
		recs = append(recs, r)
	}
	return recs, nil
}

// describe is one record on a line, as Golden.java prints it; null and empty differ.
func describe(r Record) string {
	null := func(b []byte) string {
		if b == nil {
			return "null"
		}
		return fmt.Sprintf("%x", b)
	}
	var s strings.Builder
	fmt.Fprintf(&s, "%d %d %s %s", r.Offset, r.Timestamp, null(r.Key), null(r.Value))
	for _, h := range r.Headers {
		fmt.Fprintf(&s, " %x=%s", h.Key, null(h.Value))
	}
	return s.String()
}

func describeAll(recs []Record) string {
	var s strings.Builder
	for _, r := range recs {
		s.WriteString(describe(r) + "\n")
	}
	return s.String()
}

func requireRecords(t interface {
	Helper()
	Fatalf(string, ...any)
}, got, want []Record,
) {
	t.Helper()
	if g, w := describeAll(got), describeAll(want); g != w {
		t.Fatalf("records differ\n got %.2000s\nwant %.2000s", g, w)
	}
}

// requireCode fails unless err has the code.
func requireCode(t testing.TB, err error, want Code) {
	t.Helper()
	if got := CodeOf(err); got != want {
		t.Fatalf("got %v (%s), want %s", err, got, want)
	}
}

// seal makes a batch of whatever bytes are said to be records, with a header
// and a CRC that fit them.
func seal(c Compression, count int32, records []byte) Batch {
	b := make(Batch, BatchHeaderSize, BatchHeaderSize+len(records))
	b = append(b, records...)
	b[atMagic] = batchMagic
	b.putInt32At(atBatchLength, int32(len(b)-beforeLength))
	binary.BigEndian.PutUint16(b[atAttributes:], uint16(c))
	b.putInt32At(atRecordCount, count)
	b.putInt32At(atLastOffsetDelta, count-1)
	binary.BigEndian.PutUint64(b[atProducerID:], 1<<64-1)
	binary.BigEndian.PutUint16(b[atProducerEpoch:], 1<<16-1)
	b.putInt32At(atBaseSequence, NoSequence)
	b.putCRC()
	return b
}

// payload is what the records of n zero bytes of value look like: one record.
func payloadOfSize(n int) []byte {
	for value := n; ; value-- {
		rec := Record{Value: make([]byte, value)}
		body := recordBodySize(&rec, 0, 0)
		if size := varintSize(int64(body)) + body; size == n {
			out := make([]byte, n)
			putRecord(out, &rec, body, 0, 0)
			return out
		}
	}
}

// allocated is how many bytes f allocates.
func allocated(f func()) uint64 {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	f()
	runtime.ReadMemStats(&after)
	return after.TotalAlloc - before.TotalAlloc
}

// anyBytes draws null, empty or some bytes, compressible ones too.
func anyBytes(longest int) *rapid.Generator[[]byte] {
	return rapid.OneOf(
		rapid.Just[[]byte](nil),
		rapid.SliceOfN(rapid.Byte(), 0, longest),
		rapid.Map(rapid.IntRange(0, longest), func(n int) []byte { return bytes.Repeat([]byte("ab"), n/2) }),
	)
}

func anyRecord(longest int) *rapid.Generator[Record] {
	return rapid.Custom(func(t *rapid.T) Record {
		r := Record{
			Key:   anyBytes(longest).Draw(t, "key"),
			Value: anyBytes(longest).Draw(t, "value"),
			Timestamp: rapid.OneOf(
				rapid.Int64Range(1_700_000_000_000, 1_700_000_010_000),
				rapid.SampledFrom([]int64{-1, 0, 1 << 40, -1 << 40}),
				rapid.Int64(),
			).Draw(t, "timestamp"),
		}
		for range rapid.SampledFrom([]int{0, 0, 0, 1, 3, 70}).Draw(t, "headers") {
			r.Headers = append(r.Headers, Header{
				Key:   rapid.StringN(0, 10, 40).Draw(t, "header key"),
				Value: anyBytes(40).Draw(t, "header value"),
			})
		}
		return r
	})
}

func put64(b []byte, at int, v int64) { binary.BigEndian.PutUint64(b[at:], uint64(v)) }

func put16(b []byte, at int, v uint16) { binary.BigEndian.PutUint16(b[at:], v) }
