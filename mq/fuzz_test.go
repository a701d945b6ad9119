package mq

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"
)

// fuzzLimit keeps bombs from slowing the fuzzer down.
const fuzzLimit = 1 << 20

func seedBatches(f *testing.F) (seeds [][]byte) {
	for _, c := range allCompressions {
		seeds = append(seeds, buildBatch(f, c, sampleRecords()))
	}
	files, err := filepath.Glob("testdata/java/*.bin")
	if err != nil || len(files) == 0 {
		f.Fatalf("no seeds of Kafka's: %v", err)
	}
	for _, file := range files {
		b, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		seeds = append(seeds, b)
	}
	return seeds
}

// FuzzCheckBatch: whatever comes to the door gives a batch that is
// consistent, or an error with a code of the closed set; and what the header
// methods, the splitting and the iteration make of it never panics.
func FuzzCheckBatch(f *testing.F) {
	for _, b := range seedBatches(f) {
		f.Add(b, true)
		f.Add(b[:len(b)-1], false)
		f.Add(append(bytes.Clone(b), b...), false)
	}
	f.Fuzz(func(t *testing.T, raw []byte, fixCRC bool) {
		if fixCRC && len(raw) >= BatchHeaderSize {
			raw = bytes.Clone(raw)
			Batch(raw).putCRC()
		}
		for rest := raw; len(rest) > 0; {
			b, more, err := NextBatch(rest)
			if err != nil {
				requireTyped(t, err)
				break
			}
			if len(b) != b.Length() || len(b)+len(more) != len(rest) || b.NextOffset() <= b.BaseOffset() || b.String() == "" {
				t.Fatalf("%s with %d bytes out of %d", b, len(b), len(rest))
			}
			rest = more
		}
		b, err := CheckBatch(raw, MaxBatchBytes)
		if err != nil {
			requireTyped(t, err)
			return
		}
		if !bytes.Equal(b, raw) || b.RecordCount() < 1 || b.NextOffset() != b.BaseOffset()+Offset(b.RecordCount()) ||
			!b.Compression().Valid() || b.IsControl() || b.LastSequence() < NoSequence {
			t.Fatalf("%s passed the door", b)
		}
		checkIteration(t, b)
	})
}

// FuzzRecords: any bytes as records, under a header that is right. What can be
// read can be written again, and reads the same; what cannot has an error.
func FuzzRecords(f *testing.F) {
	for _, seed := range seedBatches(f) {
		b := Batch(seed)
		f.Add([]byte(b[BatchHeaderSize:]), uint8(b.Compression()), b.RecordCount(), b.BaseTimestamp(), false)
	}
	f.Add(record(start, null, null, none), uint8(0), int32(1), int64(-1), true)
	f.Add(append(record(start, huge, null, none), lowest...), uint8(0), int32(2), int64(0), false)
	f.Add(record(start, null, null, varint(2), none, null, none, none), uint8(0), int32(1), int64(1)<<62, false)
	f.Fuzz(func(t *testing.T, payload []byte, codec uint8, count int32, base int64, appendTime bool) {
		b := seal(Compression(codec&attrCompression), count, payload)
		put64(b, atBaseTimestamp, base)
		put64(b, atMaxTimestamp, base)
		if appendTime {
			b.StampAppendTime(base)
		}
		recs := checkIteration(t, b)
		if recs == nil {
			return
		}
		w := newBuilder(t, Compression(codec&attrCompression))
		for _, r := range recs {
			if err := w.Append(r); err != nil {
				t.Fatal(err)
			}
		}
		again, err := w.Build(nil, NoProducerID, NoProducerEpoch, NoSequence)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := CheckBatch(again, MaxBatchBytes); err != nil {
			t.Fatal(err)
		}
		got, err := collect(again, NewDecodeBuffer(2*fuzzLimit))
		if err != nil {
			t.Fatal(err)
		}
		requireRecords(t, got, recs)
	})
}

// checkIteration gives the records, or nil when there was an error.
func checkIteration(t *testing.T, b Batch) []Record {
	t.Helper()
	buf := NewDecodeBuffer(fuzzLimit)
	recs, err := collect(b, buf)
	if cap(buf.data) > fuzzLimit+zstdSlack {
		t.Fatalf("the buffer grew to %d bytes", cap(buf.data))
	}
	if err != nil {
		requireTyped(t, err)
		return nil
	}
	if len(recs) != int(b.RecordCount()) {
		t.Fatalf("%d records, the header says %d", len(recs), b.RecordCount())
	}
	last := b.BaseOffset() - 1
	for _, r := range recs {
		if r.Offset <= last || r.Offset > b.LastOffset() {
			t.Fatalf("offset %d behind %d in %s", r.Offset, last, b)
		}
		last = r.Offset
	}
	return recs
}

func requireTyped(t *testing.T, err error) {
	t.Helper()
	switch CodeOf(err) {
	case CorruptMessage, MessageTooLarge, RecordListTooLarge, InvalidRecord, InvalidTimestamp,
		UnsupportedForMessageFormat, UnsupportedCompression:
	default:
		t.Fatalf("untyped: %v", err)
	}
}
