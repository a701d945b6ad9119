package history

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/rustmq/rustmq/mq"
)

// world is a cluster that keeps every promise, and clients that tell a history of it.
type world struct {
	h      *History
	rand   *rand.Rand
	logs   map[Partition][]entry
	reader *Reader
	at     map[Partition]int // where the reader is
}

// entry is a record in a log.
type entry struct {
	number uint64
	value  []byte
}

var worldPartitions = []Partition{{"t", 0}, {"t", 1}, {"u", 0}}

func newWorld(seed uint64) *world {
	h := New(7)
	return &world{h: h, rand: rand.New(rand.NewPCG(seed, 1)), logs: make(map[Partition][]entry), reader: h.Reader("tail"), at: make(map[Partition]int)}
}

// work sends, answers and reads by chance. Everything that is appended stays.
func (w *world) work(steps int) {
	for range steps {
		p := worldPartitions[w.rand.IntN(len(worldPartitions))]
		switch w.rand.IntN(10) {
		case 0:
			w.read(p, w.rand.IntN(5))
		case 1:
			w.reader.Seek(p)
			w.at[p] = w.rand.IntN(len(w.logs[p]) + 1)
		default:
			w.send(p)
		}
	}
	for _, p := range worldPartitions {
		w.read(p, len(w.logs[p]))
	}
}

func (w *world) send(p Partition) {
	number, value := w.h.Send(nil, w.rand.IntN(3), p, mq.Durability(1+w.rand.IntN(3)), 40+w.rand.IntN(100))
	switch w.rand.IntN(6) {
	case 0: // refused
		w.h.Refused(number)
	case 1: // lost on its way, and nobody knows
	case 2: // appended, and nobody knows
		w.logs[p] = append(w.logs[p], entry{number, value})
	default:
		w.logs[p] = append(w.logs[p], entry{number, value})
		w.h.Acked(number, mq.Offset(len(w.logs[p])-1))
	}
}

func (w *world) read(p Partition, most int) {
	for ; most > 0 && w.at[p] < len(w.logs[p]); most-- {
		w.h.Watermark(p, mq.Offset(w.at[p]+1))
		w.reader.Got(p, mq.Offset(w.at[p]), w.logs[p][w.at[p]].value)
		w.at[p]++
	}
}

// end is the last reading of what the logs have now.
func (w *world) end() {
	for _, p := range worldPartitions {
		w.h.Begin(p, 0)
		for i, e := range w.logs[p] {
			w.h.Last(p, mq.Offset(i), e.value)
		}
	}
}

func TestKeptPromisesHaveNoAnomaly(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := newWorld(rapid.Uint64().Draw(t, "seed"))
		w.work(rapid.IntRange(0, 300).Draw(t, "steps"))
		w.end()
		if found := w.h.Check(); len(found) > 0 {
			t.Fatalf("%v", found)
		}
	})
}

func kinds(found []Anomaly) (out []string) {
	for _, a := range found {
		if !slices.Contains(out, a.Kind) {
			out = append(out, a.Kind)
		}
	}
	return out
}

// promisedAt is a place in the middle of p whose record and its neighbours were acknowledged as replicated and which the reader has read.
func (w *world) promisedAt(p Partition) int {
	log := w.logs[p]
	for i := 1; i < len(log)-1; i++ {
		if w.h.sends[log[i].number].promised() && w.h.sends[log[i-1].number].promised() && w.h.sends[log[i+1].number].promised() {
			return i
		}
	}
	panic("the history is too short")
}

func TestEachBrokenPromiseIsFound(t *testing.T) {
	p := worldPartitions[0]
	for _, broken := range []struct {
		kind string
		do   func(w *world)
	}{
		{"lost", func(w *world) { // the newest is gone
			number, _ := w.h.Send(nil, 0, p, mq.DurabilityAll, 0)
			w.h.Acked(number, mq.Offset(len(w.logs[p])))
		}},
		{"lost", func(w *world) { // from the middle, and others took its place
			i := w.promisedAt(p)
			w.logs[p] = slices.Delete(slices.Clone(w.logs[p]), i, i+1)
		}},
		{"moved", func(w *world) {
			i := w.promisedAt(p)
			w.logs[p][i], w.logs[p][i+1] = w.logs[p][i+1], w.logs[p][i]
		}},
		{"reordered", func(w *world) { // answered truly, but behind what came later
			a, va := w.h.Send(nil, 5, p, mq.DurabilityAll, 0)
			n := mq.Offset(len(w.logs[p]))
			w.h.Acked(a, n+1)
			b, vb := w.h.Send(nil, 6, p, mq.DurabilityAll, 0)
			w.h.Acked(b, n)
			w.logs[p] = append(w.logs[p], entry{b, vb}, entry{a, va})
		}},
		{"reordered", func(w *world) { // both on their way at once, from one producer
			a, va := w.h.Send(nil, 5, p, mq.DurabilityAll, 0)
			b, vb := w.h.Send(nil, 5, p, mq.DurabilityAll, 0)
			n := mq.Offset(len(w.logs[p]))
			w.logs[p] = append(w.logs[p], entry{b, vb}, entry{a, va})
			w.h.Acked(a, n+1)
			w.h.Acked(b, n)
		}},
		{"duplicate", func(w *world) { w.logs[p] = append(w.logs[p], w.logs[p][w.promisedAt(p)]) }},
		{"vanished", func(w *world) { // what a reader saw was never acknowledged, and is gone
			number, value := w.h.Send(nil, 0, p, mq.DurabilityAll, 0)
			w.logs[p] = append(w.logs[p], entry{number, value})
			w.read(p, 1)
			w.logs[p] = w.logs[p][:len(w.logs[p])-1]
		}},
		{"inconsistent", func(w *world) { // the reader saw an unacknowledged record where another one is now
			number, value := w.h.Send(nil, 0, p, mq.DurabilityLeader, 0)
			other, otherValue := w.h.Send(nil, 1, p, mq.DurabilityLeader, 0)
			w.logs[p] = append(w.logs[p], entry{number, value})
			w.read(p, 1)
			w.logs[p][len(w.logs[p])-1] = entry{other, otherValue}
			w.logs[p] = append(w.logs[p], entry{number, value})
		}},
		{"inconsistent", func(w *world) {
			a, _ := w.h.Send(nil, 0, p, mq.DurabilityAll, 0)
			b, _ := w.h.Send(nil, 1, p, mq.DurabilityAll, 0)
			w.h.Acked(a, 3)
			w.h.Acked(b, 3)
		}},
		{"phantom", func(w *world) {
			number, value := w.h.Send(nil, 0, p, mq.DurabilityAll, 0)
			w.h.Refused(number)
			w.logs[p] = append(w.logs[p], entry{number, value})
		}},
		{"phantom", func(w *world) {
			w.logs[p] = append(w.logs[p], entry{0, appendValue(nil, 8, 0, 0, 50)})
		}},
		{"phantom", func(w *world) {
			w.logs[p] = append(w.logs[p], entry{0, []byte("something else")})
		}},
		{"phantom", func(w *world) {
			w.logs[p] = append(w.logs[p], entry{0, appendValue(nil, 7, 1<<40, 0, 50)})
		}},
		{"misplaced", func(w *world) {
			number, value := w.h.Send(nil, 0, worldPartitions[1], mq.DurabilityAll, 0)
			w.logs[p] = append(w.logs[p], entry{number, value})
		}},
		{"corrupt", func(w *world) {
			e := &w.logs[p][w.promisedAt(p)]
			e.value = slices.Clone(e.value)
			e.value[len(e.value)/2] ^= 1
		}},
		{"skip", func(w *world) {
			w.send(p)
			w.reader.Seek(p)
			w.reader.Got(p, 0, w.logs[p][0].value)
			w.reader.Got(p, 2, w.logs[p][2].value)
		}},
		{"above", func(w *world) { // it will be replicated, and is not when it is read
			number, value := w.h.Send(nil, 0, p, mq.DurabilityAll, 0)
			w.logs[p] = append(w.logs[p], entry{number, value})
			w.reader.Got(p, mq.Offset(len(w.logs[p])-1), value)
			w.h.Watermark(p, mq.Offset(len(w.logs[p])))
		}},
		{"nonmonotonic", func(w *world) {
			w.reader.Got(p, 0, w.logs[p][0].value)
			w.reader.Got(p, 0, w.logs[p][0].value)
		}},
		{"two leaders", func(w *world) {
			w.h.Leads(p, 3, 1)
			w.h.Leads(p, 4, 2)
			w.h.Leads(p, 3, 2)
		}},
	} {
		t.Run(broken.kind, func(t *testing.T) {
			for seed := range uint64(20) {
				w := newWorld(seed)
				w.work(400)
				broken.do(w)
				w.end()
				if found := w.h.Check(); !slices.Contains(kinds(found), broken.kind) {
					t.Fatalf("seed %d: found %v", seed, found)
				}
			}
		})
	}
}

func TestHoleIsFound(t *testing.T) {
	h := New(1)
	p := worldPartitions[0]
	h.Begin(p, 0)
	for _, offset := range []mq.Offset{0, 1, 3} {
		number, value := h.Send(nil, 0, p, mq.DurabilityAll, 0)
		h.Acked(number, offset)
		h.Last(p, offset, value)
	}
	if got := kinds(h.Check()); !slices.Equal(got, []string{"hole"}) {
		t.Fatalf("found %v", got)
	}
}

func TestPartitionThatWasNotReadIsNoted(t *testing.T) {
	h := New(1)
	h.Send(nil, 0, worldPartitions[0], mq.DurabilityAll, 0)
	if got := kinds(h.Check()); !slices.Equal(got, []string{"unread"}) {
		t.Fatalf("found %v", got)
	}
}

func TestWhatRetentionTookIsNotLost(t *testing.T) {
	h := New(1)
	p := worldPartitions[0]
	r := h.Reader("tail")
	var values [][]byte
	for i := range 4 {
		number, value := h.Send(nil, 0, p, mq.DurabilityAll, 0)
		h.Acked(number, mq.Offset(i))
		r.Got(p, mq.Offset(i), value)
		values = append(values, value)
	}
	h.Begin(p, 2)
	for i := 2; i < 4; i++ {
		h.Last(p, mq.Offset(i), values[i])
	}
	if found := h.Check(); len(found) > 0 {
		t.Fatalf("found %v", found)
	}
}

func TestReplicasThatDifferAreFound(t *testing.T) {
	build := func(base mq.Offset, text string) mq.Batch {
		w, err := mq.NewBatchBuilder(mq.CompressionNone, 0)
		if err != nil {
			t.Fatal(err)
		}
		if err := w.Append(mq.Record{Value: []byte(text), Timestamp: 1}); err != nil {
			t.Fatal(err)
		}
		b, err := w.Build(nil, mq.NoProducerID, mq.NoProducerEpoch, -1)
		if err != nil {
			t.Fatal(err)
		}
		b.SetBaseOffset(base)
		return b
	}
	log := []mq.Batch{build(0, "a"), build(1, "b"), build(2, "c")}
	other := []mq.Batch{log[0], build(1, "x"), log[2]}
	for _, tc := range []struct {
		name     string
		replicas []Replica
		differs  bool
	}{
		{"same", []Replica{{1, 0, 3, log}, {2, 0, 3, log}}, false},
		{"another first offset", []Replica{{1, 0, 3, log}, {2, 1, 3, log[1:]}}, false},
		{"above the watermark of one", []Replica{{1, 0, 3, log}, {2, 0, 1, other}}, false},
		{"below it", []Replica{{1, 0, 3, log}, {2, 0, 2, other}}, true},
		{"one is short", []Replica{{1, 0, 3, log}, {2, 0, 3, log[:2]}}, true},
		{"alone", []Replica{{1, 0, 3, log}}, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			h := New(1)
			h.CompareReplicas(worldPartitions[0], tc.replicas)
			if found := h.Check(); (len(found) > 0) != tc.differs {
				t.Fatalf("found %v", found)
			}
		})
	}
}

func TestManyAnomaliesOfOneKindAreCutShort(t *testing.T) {
	h := New(1)
	p := worldPartitions[0]
	for i := range 1000 {
		number, _ := h.Send(nil, 0, p, mq.DurabilityAll, 0)
		h.Acked(number, mq.Offset(i))
	}
	h.Begin(p, 0)
	if found := h.Check(); len(found) != maxPerKind || !strings.Contains(fmt.Sprint(found[0]), "lost: t/0") {
		t.Fatalf("%d anomalies, the first %v", len(found), found[0])
	}
}

func FuzzParseValue(f *testing.F) {
	f.Add(appendValue(nil, 7, 3, 1, 64))
	f.Add([]byte("RMQv"))
	f.Fuzz(func(t *testing.T, data []byte) {
		number, partition, err := parseValue(data, 7)
		if err == nil && string(appendValue(nil, 7, number, partition, len(data))[:valueHead]) != string(data[:valueHead]) {
			t.Fatal("another value would be taken for it")
		}
	})
}
