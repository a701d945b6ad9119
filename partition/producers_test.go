package partition

import (
	"bytes"
	"encoding/hex"
	"math"
	"os"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/rustmq/rustmq/mq"
)

// codeWanted fails unless err has the code.
func codeWanted(t *testing.T, err error, want mq.Code) {
	t.Helper()
	if got := mq.CodeOf(err); got != want {
		t.Fatalf("got %v (%v), want %v", got, err, want)
	}
}

// fed is a state into which batches of one producer were applied, each of count records, at offsets without gaps.
func fed(t *testing.T, stable mq.Offset, counts ...int32) *producers {
	t.Helper()
	ps := newProducers(0, 0)
	seq, base := int32(0), mq.Offset(0)
	for _, n := range counts {
		s := sequence{7, 0, seq, n}
		if _, dup, err := ps.check(s); dup || err != nil {
			t.Fatalf("check %+v: duplicate %v, %v", s, dup, err)
		}
		ps.apply(s, base, stable, 0)
		seq, base = mq.AddSequence(seq, n), base+mq.Offset(n)
	}
	return ps
}

func TestProducerSequencesAreJudged(t *testing.T) {
	for name, c := range map[string]struct {
		s    sequence
		code mq.Code
		dup  mq.Offset // -1: none
	}{
		"next":                             {sequence{7, 0, 30, 5}, mq.None, -1},
		"gap":                              {sequence{7, 0, 31, 5}, mq.OutOfOrderSequence, -1},
		"repeat of the last":               {sequence{7, 0, 20, 10}, mq.None, 20},
		"repeat of the first":              {sequence{7, 0, 0, 10}, mq.None, 0},
		"begins inside, ends beyond":       {sequence{7, 0, 25, 10}, mq.InvalidRequest, -1},
		"begins alike, shorter":            {sequence{7, 0, 20, 5}, mq.InvalidRequest, -1},
		"begins alike, longer":             {sequence{7, 0, 20, 11}, mq.InvalidRequest, -1},
		"spans two":                        {sequence{7, 0, 10, 20}, mq.InvalidRequest, -1},
		"inside one":                       {sequence{7, 0, 12, 3}, mq.InvalidRequest, -1},
		"older than anything":              {sequence{7, 0, math.MaxInt32 - 10, 5}, mq.DuplicateSequence, -1},
		"from before into the oldest":      {sequence{7, 0, math.MaxInt32 - 2, 5}, mq.InvalidRequest, -1},
		"older producer epoch":             {sequence{7, -1, 30, 5}, mq.InvalidProducerEpoch, -1},
		"newer producer epoch from 0":      {sequence{7, 1, 0, 5}, mq.None, -1},
		"newer producer epoch from beyond": {sequence{7, 1, 30, 5}, mq.OutOfOrderSequence, -1},
		"unknown producer from 0":          {sequence{8, 3, 0, 5}, mq.None, -1},
		"unknown producer from beyond":     {sequence{8, 0, 1, 5}, mq.UnknownProducerID, -1},
	} {
		t.Run(name, func(t *testing.T) {
			ps := fed(t, 0, 10, 10, 10)
			dup, duplicate, err := ps.check(c.s)
			codeWanted(t, err, c.code)
			if duplicate != (c.dup >= 0) || duplicate && dup.base != c.dup {
				t.Fatalf("duplicate %v at %d, want %d", duplicate, dup.base, c.dup)
			}
		})
	}
}

func TestSequencesWrapToZero(t *testing.T) {
	ps := newProducers(0, 0)
	ps.apply(sequence{1, 0, math.MaxInt32 - 4, 3}, 100, 0, 0)
	next := sequence{1, 0, math.MaxInt32 - 1, 4} // MaxInt32-1, MaxInt32, 0, 1
	if _, dup, err := ps.check(next); dup || err != nil {
		t.Fatal(dup, err)
	}
	ps.apply(next, 103, 0, 0)
	if _, dup, err := ps.check(sequence{1, 0, 2, 1}); dup || err != nil {
		t.Fatal(dup, err)
	}
	if e, dup, err := ps.check(next); !dup || err != nil || e.base != 103 {
		t.Fatal(e, dup, err)
	}
	_, _, err := ps.check(sequence{1, 0, 0, 1})
	codeWanted(t, err, mq.InvalidRequest)
}

func TestWindowHoldsTheLastBatchesAndNoMore(t *testing.T) {
	ps := newProducers(0, 0)
	const total = 3 * mq.MaxProducerWindow
	for i := range total {
		ps.apply(sequence{7, 0, int32(i), 1}, mq.Offset(i), mq.Offset(i), 0)
	}
	oldest := int32(total - mq.MaxProducerWindow)
	if e, dup, err := ps.check(sequence{7, 0, oldest, 1}); !dup || err != nil || e.base != mq.Offset(oldest) {
		t.Fatalf("oldest of the window: %+v %v %v", e, dup, err)
	}
	_, _, err := ps.check(sequence{7, 0, oldest - 1, 1})
	codeWanted(t, err, mq.DuplicateSequence)
	if n := len(ps.byID[7].window.ring); n > mq.MaxProducerWindow {
		t.Fatalf("window takes %d places", n)
	}
}

// A rollback must bring back exactly what was there before, also when a new producer epoch or more than a window of batches is
// what goes.
func TestRollbackRestoresTheStateBefore(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		type applied struct {
			s    sequence
			base mq.Offset
		}
		var log []applied
		ps := newProducers(0, 0)
		stable, end := mq.Offset(0), mq.Offset(0)
		next := map[mq.ProducerID]sequence{}
		for range rapid.IntRange(1, 40).Draw(t, "runs") {
			id := mq.ProducerID(rapid.IntRange(0, 3).Draw(t, "id"))
			s, known := next[id]
			s.id = id
			if known && rapid.IntRange(0, 4).Draw(t, "bump") == 0 {
				s.epoch, s.first = s.epoch+1, 0
			}
			for range rapid.SampledFrom([]int{1, 2, 5, 600}).Draw(t, "batches") {
				s.count = int32(1 + end%3)
				ps.apply(s, end, stable, 0)
				log = append(log, applied{s, end})
				end += mq.Offset(s.count)
				s.first = mq.AddSequence(s.first, s.count)
			}
			next[id] = s
			if rapid.Bool().Draw(t, "advance") {
				stable = max(stable, log[rapid.IntRange(0, len(log)-1).Draw(t, "stable")].base)
			}
		}
		cut := len(log)
		for i, a := range log {
			if a.base >= stable {
				cut = rapid.IntRange(i, len(log)).Draw(t, "cut")
				break
			}
		}
		to := end
		if cut < len(log) {
			to = log[cut].base
		}
		ps.rollback(to)

		want := map[mq.ProducerID]sequence{}
		for _, a := range log[:cut] {
			want[a.s.id] = a.s
		}
		if len(ps.byID) != len(want) {
			t.Fatalf("%d producers after the rollback, want %d", len(ps.byID), len(want))
		}
		for id, s := range want {
			follow := sequence{id, s.epoch, mq.AddSequence(s.first, s.count), 1}
			if _, dup, err := ps.check(follow); dup || err != nil {
				t.Fatalf("producer %d must go on with %d: %v %v", id, follow.first, dup, err)
			}
			if _, dup, err := ps.check(s); !dup || err != nil {
				t.Fatalf("producer %d: its last batch is no duplicate: %v", id, err)
			}
		}
	})
}

func TestIdleProducersAreForgotten(t *testing.T) {
	ps := newProducers(time.Second, 3)
	ps.apply(sequence{1, 0, 0, 1}, 0, 0, 0)
	ps.apply(sequence{2, 0, 0, 1}, 1, 0, 500)
	ps.apply(sequence{3, 0, 0, 1}, 2, 0, 1000)
	if len(ps.byID) != 2 || ps.byID[1] != nil {
		t.Fatalf("producer 1 was idle for the whole time to live: %v", ps.byID)
	}
	ps.apply(sequence{2, 0, 1, 1}, 3, 0, 1001)
	ps.apply(sequence{4, 0, 0, 1}, 4, 0, 1002)
	ps.apply(sequence{5, 0, 0, 1}, 5, 0, 1003)
	if len(ps.byID) != 3 || ps.byID[3] != nil {
		t.Fatal("the longest idle must go when there are too many")
	}
	ps.expire(5000, nil)
	if len(ps.byID) != 0 || ps.oldest != nil || ps.newest != nil {
		t.Fatal("all are idle")
	}
}

// sample is a state with all that the format knows: two producers, runs, gaps, an epoch.
func sample() *producers {
	ps := newProducers(0, 0)
	ps.apply(sequence{300, 2, 0, 10}, 5, 0, 1_700_000_000_000)
	ps.apply(sequence{4, 0, 0, 1}, 15, 0, 1_700_000_000_001)
	ps.apply(sequence{300, 2, 10, 200}, 16, 0, 1_700_000_000_002)
	ps.apply(sequence{300, 2, 210, 1}, 1000, 0, 1_700_000_000_003)
	return ps
}

func TestProducerStateGolden(t *testing.T) {
	got := hex.EncodeToString(sample().encode(math.MaxInt64, maxProducersBytes))
	const path = "testdata/producers.v1.hex"
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if got != strings.TrimSpace(string(want)) {
		t.Fatalf("%s is\n%s, now\n%s: what is in the metadata could not be read any more", path, want, got)
	}
}

func TestProducerStateIsExactAtAnEarlierOffset(t *testing.T) {
	ps := sample()
	at, err := decodeProducers(ps.encode(16, maxProducersBytes), 0, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, dup, err := at.check(sequence{300, 2, 10, 200}); dup || err != nil {
		t.Fatalf("the batch at 16 is not part of the state at 16: %v %v", dup, err)
	}
	if e, dup, _ := at.check(sequence{300, 2, 0, 10}); !dup || e.base != 5 {
		t.Fatal("the batch at 5 is")
	}
}

func TestProducerStateRefusesWhatItIsNot(t *testing.T) {
	good := sample().encode(math.MaxInt64, maxProducersBytes)
	for i := range good {
		for bit := range 8 {
			bad := bytes.Clone(good)
			bad[i] ^= 1 << bit
			want := mq.Corrupt
			if i == 0 {
				want = mq.UnsupportedVersion
			}
			_, err := decodeProducers(bad, 0, 0)
			codeWanted(t, err, want)
		}
	}
	for n := 1; n < len(good); n++ {
		_, err := decodeProducers(good[:n], 0, 0)
		codeWanted(t, err, mq.Corrupt)
	}
}

func TestProducerStateStaysWithinItsBytes(t *testing.T) {
	ps := newProducers(0, 5000)
	base := mq.Offset(0)
	for i := range 5000 {
		for j := range 3 {
			ps.apply(sequence{mq.ProducerID(i), 0, int32(j), 1}, base, 0, int64(i)+1)
			base++
		}
	}
	data := ps.encode(math.MaxInt64, maxProducersBytes/4)
	if len(data) > maxProducersBytes/4 || len(data) < maxProducersBytes/5 {
		t.Fatalf("%d bytes", len(data))
	}
	back, err := decodeProducers(data, 0, 5000)
	if err != nil {
		t.Fatal(err)
	}
	if back.byID[4999] == nil || back.byID[0] != nil {
		t.Fatal("the longest idle are what is left out")
	}
	if _, dup, err := back.check(sequence{4999, 0, 2, 1}); !dup || err != nil {
		t.Fatal("the last batch of a producer that stays is there", err)
	}
}

func FuzzDecodeProducers(f *testing.F) {
	f.Add(sample().encode(math.MaxInt64, maxProducersBytes))
	f.Add(newProducers(0, 0).encode(0, maxProducersBytes))
	f.Add([]byte{})
	f.Add([]byte{1, 0, 0, 0, 0, 0})
	f.Fuzz(func(t *testing.T, data []byte) {
		ps, err := decodeProducers(data, 0, math.MaxInt)
		if err != nil {
			if c := mq.CodeOf(err); c != mq.Corrupt && c != mq.UnsupportedVersion {
				t.Fatal(err)
			}
			return
		}
		again := ps.encode(math.MaxInt64, math.MaxInt)
		if len(data) > 0 && !bytes.Equal(again, data) {
			t.Fatalf("%x came back as %x", data, again)
		}
	})
}

func FuzzDecodeState(f *testing.F) {
	f.Add(replicaState{epoch: 3, logStart: 5, tieredEnd: 1000, high: 1 << 40}.encode())
	f.Add(replicaState{epoch: mq.NoEpoch}.encode())
	f.Fuzz(func(t *testing.T, data []byte) {
		s, err := decodeState(data)
		if err != nil {
			if c := mq.CodeOf(err); c != mq.Corrupt && c != mq.UnsupportedVersion {
				t.Fatal(err)
			}
			return
		}
		if !bytes.Equal(s.encode(), data) {
			t.Fatalf("%x came back as %x", data, s.encode())
		}
	})
}

func TestStateEntryGolden(t *testing.T) {
	got := hex.EncodeToString(replicaState{epoch: 7, logStart: 300, tieredEnd: 70000, high: 1 << 33}.encode())
	if want := "0108ac02f0a20480808080" + "20"; got != want {
		t.Fatalf("state entry is %s, was %s: old logs could not be read any more", got, want)
	}
}
