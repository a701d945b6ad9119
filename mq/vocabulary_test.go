package mq

import (
	"encoding"
	"fmt"
	"math"
	"testing"

	"pgregory.net/rapid"
)

// checkNames wants each name to parse to its number, a name for no other
// number, and an error of the code for any other word.
func checkNames[T interface {
	~uint8
	fmt.Stringer
}](t *testing.T, names []string, parse func(string) (T, error), code Code,
) {
	t.Helper()
	for i, name := range names {
		if v, err := parse(name); err != nil || v != T(i) || v.String() != name {
			t.Errorf("%q parsed as %v, %v", name, v, err)
		}
	}
	for i := len(names); i < 256; i++ {
		if _, err := parse(T(i).String()); err == nil {
			t.Errorf("%d has the name of another: %s", i, T(i))
		}
	}
	for _, word := range []string{"", "ALL", "leader ", "0"} {
		_, err := parse(word)
		requireCode(t, err, code)
	}
}

func TestNamesAreParsedBack(t *testing.T) {
	checkNames(t, []string{"none", "leader", "all", "object"}, ParseDurability, InvalidRequiredAcks)
	checkNames(t, []string{"none", "local", "replicated", "object"}, ParseMark, InvalidRequest)
	checkNames(t, []string{"committed", "object"}, ParseIsolation, InvalidRequest)
	checkNames(t, []string{"none", "gzip", "snappy", "lz4", "zstd"}, ParseCompression, UnsupportedCompression)
	checkNames(t, []string{"CreateTime", "LogAppendTime"}, ParseTimestampType, InvalidConfig)
	for v := range 256 {
		if Durability(v).Valid() != (v < 4) || Mark(v).Valid() != (v < 4) || Isolation(v).Valid() != (v < 2) || Compression(v).Valid() != (v < 5) {
			t.Errorf("Valid of %d", v)
		}
	}
}

func TestEachDurabilityAsksForItsMark(t *testing.T) {
	for d, m := range map[Durability]Mark{
		DurabilityNone: MarkNone, DurabilityLeader: MarkLocal, DurabilityAll: MarkReplicated, DurabilityObject: MarkObject,
	} {
		if d.Mark() != m {
			t.Errorf("%s asks for %s", d, d.Mark())
		}
	}
	if !(MarkNone < MarkLocal && MarkLocal < MarkReplicated && MarkReplicated < MarkObject) {
		t.Error("marks are not ordered")
	}
}

func TestSequencesWrapToZero(t *testing.T) {
	for _, c := range []struct{ seq, n, want int32 }{
		{0, 0, 0}, {0, 1, 1}, {math.MaxInt32, 1, 0}, {math.MaxInt32 - 1, 1, math.MaxInt32}, {math.MaxInt32, math.MaxInt32, math.MaxInt32 - 1},
	} {
		if got := AddSequence(c.seq, c.n); got != c.want {
			t.Errorf("%d + %d = %d, want %d", c.seq, c.n, got, c.want)
		}
	}
	rapid.Check(t, func(t *rapid.T) {
		seq, n := rapid.Int32Min(0).Draw(t, "seq"), rapid.Int32Min(0).Draw(t, "n")
		got := AddSequence(seq, n)
		if int64(got) != (int64(seq)+int64(n))%(1<<31) || SequenceDistance(seq, got) != n {
			t.Fatalf("%d + %d = %d, distance %d", seq, n, got, SequenceDistance(seq, got))
		}
	})
}

// A log as a list: the epoch of the record at each offset.
func TestEpochHistoryAgreesWithTheLogItDescribes(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var log []Epoch
		var history EpochHistory
		start, next := 0, Epoch(0)
		for range rapid.IntRange(1, 40).Draw(t, "steps") {
			before := append(EpochHistory(nil), history...)
			was := history
			switch rapid.SampledFrom([]string{"append", "append", "append", "elect", "truncate", "retain"}).Draw(t, "step") {
			case "append":
				n := rapid.IntRange(1, 3).Draw(t, "records")
				var err error
				if history, err = history.Assign(next, Offset(len(log))); err != nil {
					t.Fatal(err)
				}
				for range n {
					log = append(log, next)
				}
			case "elect":
				next += Epoch(rapid.IntRange(1, 3).Draw(t, "epochs"))
			case "truncate":
				end := rapid.IntRange(start, len(log)).Draw(t, "end")
				log = log[:end]
				history = history.TruncateEnd(Offset(end))
				next++ // a follower: the next leader's epoch is newer
			case "retain":
				start = rapid.IntRange(start, len(log)).Draw(t, "start")
				history = history.TruncateStart(Offset(start))
			}
			for i := range before {
				if was[i] != before[i] {
					t.Fatalf("a history was changed in place: %v became %v", before, was)
				}
			}
			if err := history.Valid(); err != nil {
				t.Fatal(err)
			}
			for o := start; o < len(log); o++ {
				if history.At(Offset(o)) != log[o] {
					t.Fatalf("offset %d is of epoch %d, the history says %d: %v", o, log[o], history.At(Offset(o)), history)
				}
			}
			checkEndOffsets(t, history, log, start)
		}
	})
}

// checkEndOffsets compares with a search through the records that are there.
func checkEndOffsets(t *rapid.T, history EpochHistory, log []Epoch, start int) {
	if start == len(log) {
		return // which epochs are remembered then is not what matters
	}
	for epoch := log[start]; epoch <= log[len(log)-1]; epoch++ {
		want, end := NoEpoch, Offset(-1)
		for o := start; o < len(log); o++ {
			if log[o] <= epoch {
				want, end = log[o], Offset(o+1)
			}
		}
		if e, o := history.EndOffset(epoch, Offset(len(log))); e != want || o != end {
			t.Fatalf("epoch %d ends as %d at %d, the history says %d at %d: %v", epoch, want, end, e, o, history)
		}
	}
	for _, epoch := range []Epoch{log[start] - 1, log[len(log)-1] + 1} {
		if e, o := history.EndOffset(epoch, Offset(len(log))); e != NoEpoch || o != -1 {
			t.Fatalf("of epoch %d nothing is known, the history says %d at %d: %v", epoch, e, o, history)
		}
	}
}

func TestEpochHistoryRefusesToGoBack(t *testing.T) {
	h := EpochHistory{{2, 10}, {5, 20}}
	for _, e := range []EpochStart{{4, 30}, {6, 19}, {5, 19}, {-1, 30}, {6, -1}} {
		_, err := h.Assign(e.Epoch, e.Start)
		requireCode(t, err, Internal)
	}
	for _, bad := range []EpochHistory{{{1, 0}, {1, 5}}, {{2, 0}, {1, 5}}, {{1, 5}, {2, 5}}, {{1, 5}, {2, 4}}, {{-1, 0}}, {{0, -1}}} {
		requireCode(t, bad.Valid(), InvalidRequest)
	}
	// A leader that wrote nothing leaves no trace.
	if got, err := h.Assign(7, 20); err != nil || len(got) != 2 || got[1] != (EpochStart{7, 20}) || h[1].Epoch != 5 {
		t.Errorf("%v, %v", got, err)
	}
	if _, ok := (EpochHistory{}).Latest(); ok {
		t.Error("an empty history has a latest epoch")
	}
}

var (
	_ encoding.TextMarshaler   = TopicID{}
	_ encoding.TextUnmarshaler = (*TopicID)(nil)
)

func TestHistoriesAgreeUnlessTheyNameDifferentEpochs(t *testing.T) {
	long := EpochHistory{{1, 0}, {3, 10}}
	for _, c := range []struct {
		other  EpochHistory
		offset Offset
		want   bool
	}{
		{EpochHistory{{1, 0}, {3, 10}}, 9, true},
		{EpochHistory{{1, 0}, {3, 12}}, 10, false},
		{EpochHistory{{2, 0}}, 0, false},
		{EpochHistory{{3, 10}}, 9, true}, // which begins behind it
		{EpochHistory{}, 20, true},
		{EpochHistory{{2, 0}}, -1, true},
	} {
		if got := long.Agrees(c.other, c.offset); got != c.want || c.other.Agrees(long, c.offset) != got {
			t.Errorf("%v and %v at %d: %v", long, c.other, c.offset, got)
		}
	}
}
