package mq

import (
	"bytes"
	"math"
	"testing"

	"pgregory.net/rapid"
)

func TestBuilderAndReaderAgreeWithTheRecordsThemselves(t *testing.T) {
	builders := map[Compression]*BatchBuilder{}
	for _, c := range allCompressions {
		builders[c] = newBuilder(t, c)
	}
	buf := new(DecodeBuffer)
	var spare []byte
	rapid.Check(t, func(t *rapid.T) {
		c := rapid.SampledFrom(allCompressions).Draw(t, "codec")
		w := builders[c] // used again and again, as clients do
		w.Reset()
		recs := rapid.SliceOfN(anyRecord(2000), 1, 40).Draw(t, "records")
		latest := recs[0].Timestamp
		for i, r := range recs {
			want := w.SizeWith(r)
			if err := w.Append(r); err != nil {
				t.Fatal(err)
			}
			if w.Size() != want || w.Len() != i+1 {
				t.Fatalf("size %d and length %d, want %d and %d", w.Size(), w.Len(), want, i+1)
			}
			latest = max(latest, r.Timestamp)
		}
		size := w.Size()
		sequence := rapid.OneOf(rapid.Int32Range(0, 100), rapid.Int32Range(math.MaxInt32-50, math.MaxInt32)).Draw(t, "sequence")
		b, err := w.Build(spare, 5, 6, sequence)
		if err != nil {
			t.Fatal(err)
		}
		spare = b
		if len(b) > size || c == CompressionNone && len(b) != size || b.Length() != len(b) {
			t.Fatalf("%d bytes, %d by its header, size was %d", len(b), b.Length(), size)
		}
		if w.Len() != 0 || w.Size() != BatchHeaderSize {
			t.Fatalf("the builder is not empty: %d records, %d bytes", w.Len(), w.Size())
		}
		if _, err := CheckBatch(b, MaxBatchBytes); err != nil {
			t.Fatal(err)
		}
		n := int32(len(recs))
		if b.RecordCount() != n || b.LastOffsetDelta() != n-1 || b.BaseOffset() != 0 || b.NextOffset() != Offset(n) || b.LeaderEpoch() != NoEpoch ||
			b.BaseTimestamp() != recs[0].Timestamp || b.MaxTimestamp() != latest ||
			b.ProducerID() != 5 || b.ProducerEpoch() != 6 || b.BaseSequence() != sequence ||
			b.LastSequence() != int32((int64(sequence)+int64(n)-1)%(1<<31)) {
			t.Fatalf("header %x", b[:BatchHeaderSize])
		}
		b.SetBaseOffset(1000)
		b.SetLeaderEpoch(9)
		if err := VerifyCRC(b); err != nil {
			t.Fatalf("stamping broke the CRC: %v", err)
		}
		got, err := collect(b, buf)
		if err != nil {
			t.Fatal(err)
		}
		want := numbered(recs)
		for i := range want {
			want[i].Offset += 1000
		}
		requireRecords(t, got, want)
	})
}

func TestBatchThatCompressionDoesNotShrinkIsLeftUncompressed(t *testing.T) {
	for _, c := range allCompressions {
		b := buildBatch(t, c, []Record{{Value: []byte("v")}})
		if b.Compression() != CompressionNone {
			t.Errorf("%s: 1 byte of value compressed into %d bytes", c, len(b))
		}
	}
}

func TestBuiltBatchIsNotTouchedByTheNextOne(t *testing.T) {
	for _, c := range allCompressions {
		w := newBuilder(t, c)
		var batches []Batch
		for i := range 5 {
			if err := w.Append(Record{Value: bytes.Repeat([]byte{byte(i)}, 5000)}); err != nil {
				t.Fatal(err)
			}
			b, err := w.Build(nil, NoProducerID, NoProducerEpoch, NoSequence)
			if err != nil {
				t.Fatal(err)
			}
			batches = append(batches, b)
		}
		for i, b := range batches {
			if err := VerifyCRC(b); err != nil {
				t.Fatalf("%s: batch %d: %v", c, i, err)
			}
			got, err := collect(b, nil)
			if err != nil || len(got) != 1 || got[0].Value[0] != byte(i) {
				t.Fatalf("%s: batch %d: %v %v", c, i, got, err)
			}
		}
	}
}

func TestBuilderEnforcesTheLimits(t *testing.T) {
	w := newBuilder(t, CompressionNone)
	requireCode(t, w.Append(Record{Headers: make([]Header, MaxHeadersPerRecord+1)}), InvalidRecord)
	requireCode(t, w.Append(Record{Value: make([]byte, MaxBatchBytes)}), MessageTooLarge)
	if w.Len() != 0 || w.Size() != BatchHeaderSize {
		t.Fatal("a refused record left something behind")
	}
	if _, err := w.Build(nil, 1, 1, 1); CodeOf(err) != InvalidRequest {
		t.Fatalf("building an empty batch gave %v", err)
	}

	// The largest record fits exactly, and nothing behind it.
	overhead := w.SizeWith(Record{Value: make([]byte, MaxBatchBytes-100)}) - (MaxBatchBytes - 100)
	if err := w.Append(Record{Value: make([]byte, MaxBatchBytes-overhead)}); err != nil {
		t.Fatal(err)
	}
	requireCode(t, w.Append(Record{}), RecordListTooLarge)
	b, err := w.Build(nil, 1, 1, 1)
	if err != nil || len(b) != MaxBatchBytes {
		t.Fatalf("batch of %d bytes, %v", len(b), err)
	}
	if _, err := CheckBatch(b, MaxBatchBytes); err != nil {
		t.Fatal(err)
	}

	for range MaxRecordsPerBatch {
		if err := w.Append(Record{}); err != nil {
			t.Fatal(err)
		}
	}
	requireCode(t, w.Append(Record{}), RecordListTooLarge)
	if b, err = w.Build(nil, 1, 1, 1); err != nil || b.RecordCount() != MaxRecordsPerBatch {
		t.Fatalf("%s, %v", b, err)
	}
	if _, err := CheckBatch(b, MaxBatchBytes); err != nil {
		t.Fatal(err)
	}
}

func TestBuilderTakesEveryLevelOfEachCodecAndNoOther(t *testing.T) {
	highest := map[Compression]int{CompressionGzip: 9, CompressionLZ4: 9, CompressionZstd: 22}
	for _, c := range allCompressions {
		for level := -1; level <= 23; level++ {
			w, err := NewBatchBuilder(c, level)
			if level < 0 || level > highest[c] {
				requireCode(t, err, InvalidConfig)
				continue
			}
			if err != nil {
				t.Fatal(err)
			}
			for _, r := range sampleRecords() {
				if err := w.Append(r); err != nil {
					t.Fatal(err)
				}
			}
			b, err := w.Build(nil, 1, 1, 1)
			if err != nil {
				t.Fatalf("%s level %d: %v", c, level, err)
			}
			requireRecords(t, kmsgRecords(t, b), numbered(sampleRecords()))
		}
	}
	_, err := NewBatchBuilder(5, 0)
	requireCode(t, err, UnsupportedCompression)
}

func TestBuilderAllocatesNothingOnceWarm(t *testing.T) {
	for _, c := range allCompressions {
		t.Run(c.String(), func(t *testing.T) {
			w := newBuilder(t, c)
			recs := sampleRecords()
			var spare []byte
			allocs := testing.AllocsPerRun(200, func() {
				for _, r := range recs {
					if err := w.Append(r); err != nil {
						t.Fatal(err)
					}
				}
				b, err := w.Build(spare, 1, 1, 1)
				if err != nil {
					t.Fatal(err)
				}
				spare = b
			})
			if allocs > 0 {
				t.Errorf("%v allocations per batch", allocs)
			}
		})
	}
}

func TestRenumberedBatchHasAValidCRC(t *testing.T) {
	b := buildBatch(t, CompressionLZ4, sampleRecords())
	b.Renumber(1<<40, 12, math.MaxInt32)
	if _, err := CheckBatch(b, MaxBatchBytes); err != nil {
		t.Fatal(err)
	}
	if b.ProducerID() != 1<<40 || b.ProducerEpoch() != 12 || b.BaseSequence() != math.MaxInt32 || b.LastSequence() != 2 {
		t.Fatalf("%s", b)
	}
}

func TestAppendTimeIsTheTimestampOfEveryRecord(t *testing.T) {
	b := buildBatch(t, CompressionZstd, sampleRecords())
	b.StampAppendTime(1_800_000_000_000)
	if err := VerifyCRC(b); err != nil {
		t.Fatal(err)
	}
	if b.TimestampType() != TimestampAppend || b.MaxTimestamp() != 1_800_000_000_000 || b.Compression() != CompressionZstd {
		t.Fatalf("attributes %#x, max timestamp %d", b.Attributes(), b.MaxTimestamp())
	}
	for r, err := range b.Records(nil) {
		if err != nil || r.Timestamp != 1_800_000_000_000 {
			t.Fatalf("record at %d has timestamp %d, %v", r.Offset, r.Timestamp, err)
		}
	}
}
