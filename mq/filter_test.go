package mq

import (
	"bytes"
	"fmt"
	"testing"

	"pgregory.net/rapid"
)

// storedBatch is a batch as a leader stored it.
func storedBatch(t testing.TB, c Compression, recs []Record, base Offset) Batch {
	b := buildBatch(t, c, recs)
	b.SetBaseOffset(base)
	b.SetLeaderEpoch(5)
	return b
}

// recordsOf copies the records of a batch.
func recordsOf(t testing.TB, b Batch) (recs []Record) {
	t.Helper()
	for rec, err := range b.Records(nil) {
		if err != nil {
			t.Fatal(err)
		}
		rec.Key, rec.Value = bytes.Clone(rec.Key), bytes.Clone(rec.Value)
		recs = append(recs, rec)
	}
	return recs
}

// TestFilterKeepsWhatIsWantedWhereItWas filters batches again and again.
func TestFilterKeepsWhatIsWantedWhereItWas(t *testing.T) {
	var filter BatchFilter
	rapid.Check(t, func(rt *rapid.T) {
		var recs []Record
		for i := range rapid.IntRange(1, 20).Draw(rt, "records") {
			rec := Record{Key: fmt.Append(nil, "key", i), Timestamp: 1_000_000 + rapid.Int64Range(-5000, 5000).Draw(rt, "time")}
			if !rapid.Bool().Draw(rt, "tombstone") {
				rec.Value = bytes.Repeat([]byte{byte(i)}, rapid.IntRange(0, 300).Draw(rt, "size"))
			}
			recs = append(recs, rec)
		}
		b := storedBatch(t, rapid.SampledFrom(allCompressions).Draw(rt, "codec"), recs, 1000)
		if rapid.IntRange(0, 3).Draw(rt, "append time") == 0 {
			b.StampAppendTime(2_000_000)
		}
		want, horizon, has := recordsOf(t, b), int64(0), false
		for round := range 3 {
			var kept []Record
			wanted := map[Offset]bool{}
			tombstones := false
			for _, rec := range want {
				if rapid.IntRange(0, 3).Draw(rt, "keep") > 0 {
					kept = append(kept, rec)
					wanted[rec.Offset] = true
					tombstones = tombstones || rec.Value == nil
				}
			}
			next := int64(9_000_000 + round)
			out, err := filter.Filter(b, next, func(rec Record) bool { return wanted[rec.Offset] })
			if err != nil {
				rt.Fatal(err)
			}
			if tombstones && !has {
				horizon = next
			}
			has = tombstones
			if got, there := out.DeleteHorizon(); there != has || there && got != horizon {
				rt.Fatalf("delete horizon %d, %v; want %d, %v", got, there, horizon, has)
			}
			checkFiltered(rt, b, out)
			if got := recordsOf(t, out); fmt.Sprint(got) != fmt.Sprint(kept) {
				rt.Fatalf("records %v, want %v", got, kept)
			}
			b, want = out, kept
		}
	})
}

// checkFiltered sees that all but the records is as it was.
func checkFiltered(t *rapid.T, b, out Batch) {
	t.Helper()
	if stored, rest, err := NextBatch(out); err != nil || len(rest) != 0 || VerifyCRC(stored) != nil {
		t.Fatalf("%s is no batch: %v", out, err)
	}
	if out.BaseOffset() != b.BaseOffset() || out.NextOffset() != b.NextOffset() || out.LeaderEpoch() != b.LeaderEpoch() || out.ProducerID() != b.ProducerID() ||
		out.ProducerEpoch() != b.ProducerEpoch() || out.BaseSequence() != b.BaseSequence() || out.LastSequence() != b.LastSequence() || out.TimestampType() != b.TimestampType() {
		t.Fatalf("%s became %s", b, out)
	}
}

func TestFilterOfNothingIsTheBatchItself(t *testing.T) {
	var filter BatchFilter
	recs := []Record{{Key: []byte("a"), Value: []byte("1")}, {Key: []byte("b"), Value: []byte("2")}}
	b := storedBatch(t, CompressionZstd, recs, 7)
	out, err := filter.Filter(b, 99, func(Record) bool { return true })
	if err != nil || &out[0] != &b[0] {
		t.Errorf("%s, %v", out, err)
	}
}

func TestEmptyBatchesAreJoined(t *testing.T) {
	var filter BatchFilter
	none := func(Record) bool { return false }
	recs := []Record{{Key: []byte("a"), Value: []byte("1")}, {Key: []byte("b"), Value: []byte("2")}}
	empty := func(base Offset, sequence int32, epoch Epoch) Batch {
		b := storedBatch(t, CompressionNone, recs, base)
		b.Renumber(7, 3, sequence)
		b.SetLeaderEpoch(epoch)
		out, err := filter.Filter(b, 0, none)
		if err != nil || out.RecordCount() != 0 || len(out) != BatchHeaderSize {
			t.Fatal(out, err)
		}
		return out
	}
	a, b := empty(10, 1<<31-2, 5), empty(12, 0, 5)
	out, ok := JoinEmpty(a, b)
	if !ok || out.BaseOffset() != 10 || out.NextOffset() != 14 || out.BaseSequence() != 1<<31-2 || out.LastSequence() != 1 || VerifyCRC(out) != nil {
		t.Errorf("%s, last sequence %d, %v", out, out.LastSequence(), ok)
	}
	if len(recordsOf(t, out)) != 0 {
		t.Error("it has records")
	}
	for what, other := range map[string]Batch{"not next to it": empty(13, 0, 5), "another epoch": empty(12, 0, 6), "not empty": storedBatch(t, CompressionNone, recs, 12)} {
		if _, ok := JoinEmpty(a, other); ok {
			t.Errorf("joined with one that is %s", what)
		}
	}
	long := a
	for n := Offset(12); ; n += 2 {
		next, ok := JoinEmpty(long, empty(n, 0, 5))
		if !ok {
			break
		}
		if long = next; long.LastOffsetDelta() >= MaxRecordsPerBatch {
			t.Fatal("it is longer than a batch can be")
		}
		if long.LastOffsetDelta() == 3 { // a leap: as if many had been joined
			long.putInt32At(atLastOffsetDelta, MaxRecordsPerBatch-4)
			n = long.LastOffset() - 1
		}
	}
	if _, _, err := NextBatch(long); err != nil {
		t.Error(err)
	}
}
