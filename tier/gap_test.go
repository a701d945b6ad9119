package tier

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"testing"

	"gocloud.dev/blob"
	"gocloud.dev/blob/memblob"

	"github.com/rustmq/rustmq/mq"
)

// history makes one of pairs of an epoch and where it starts.
func history(pairs ...int) (h mq.EpochHistory) {
	for i := 0; i < len(pairs); i += 2 {
		h = append(h, mq.EpochStart{Epoch: mq.Epoch(pairs[i]), Start: mq.Offset(pairs[i+1])})
	}
	return h
}

func stray(object uint64, first, end mq.Offset, epochs mq.EpochHistory) Stray {
	return Stray{ObjectID: object, RangeInfo: RangeInfo{Partition: testPartition(1), First: first, End: end, Epochs: epochs}}
}

// links are what was chosen: object, first and end.
func links(chain []Stray) (list []string) {
	for _, s := range chain {
		list = append(list, fmt.Sprintf("%d[%d,%d)", s.ObjectID, s.First, s.End))
	}
	return list
}

func TestGapIsFilledWithWhatContinuesTheLog(t *testing.T) {
	one := history(1, 0)
	both := history(1, 0, 4, 120)
	for _, c := range []struct {
		name   string
		gap    Gap
		strays []Stray
		want   string
	}{
		{"in order, from the tiered end on", Gap{From: 100, Epochs: one}, []Stray{
			stray(3, 130, 150, both), stray(2, 100, 130, both), stray(1, 90, 100, one), stray(9, 100, 110, one),
		}, "2[100,130) 3[130,150)"},
		{"up to a hole", Gap{From: 100, Epochs: one}, []Stray{stray(1, 100, 110, one), stray(2, 115, 120, one)}, "1[100,110)"},
		{"a hole below the log start is none", Gap{From: 100, Start: 116, Epochs: one}, []Stray{stray(1, 100, 110, one), stray(2, 115, 120, one)}, "2[115,120)"},
		{
			"a range that began before is taken from the tiered end on",
			Gap{From: 100, Epochs: one},
			[]Stray{stray(1, 80, 140, one), stray(2, 140, 150, one)},
			"1[100,140) 2[140,150)",
		},
		{"of a partition of which nothing is known", Gap{}, []Stray{stray(1, 0, 10, one), stray(2, 10, 20, one)}, "1[0,10) 2[10,20)"},
		// Epoch 3 ended in an unclean election: what it wrote from 110 on is no part of the log of epoch 4.
		{"of logs that parted the newer one", Gap{From: 100, Epochs: one}, []Stray{
			stray(1, 100, 150, history(1, 0, 3, 100)), stray(2, 100, 110, history(1, 0, 3, 100)), stray(3, 110, 120, history(1, 0, 3, 100, 4, 110)),
		}, "2[100,110) 3[110,120)"},
		{"nothing of a log that parted below the tiered end", Gap{From: 100, Epochs: history(1, 0, 5, 90)}, []Stray{stray(1, 100, 150, history(1, 0, 3, 80))}, ""},
		{"nothing that the replica's log has otherwise", Gap{From: 100, Epochs: one, Log: history(1, 0, 7, 105), LogEnd: 140}, []Stray{
			stray(1, 100, 105, one), stray(2, 105, 160, history(1, 0, 3, 104)),
		}, "1[100,105)"},
		{"beyond the replica's log where that is the same", Gap{From: 100, Epochs: one, Log: both, LogFirst: 110, LogEnd: 140}, []Stray{
			stray(1, 100, 160, both),
		}, "1[100,160)"},
		{"not beyond it where that leads", Gap{From: 100, Epochs: one, Log: both, LogEnd: 140, Bounded: true}, []Stray{
			stray(1, 100, 130, both), stray(2, 130, 160, both),
		}, "1[100,130)"},
	} {
		c.gap.Partition = testPartition(1)
		other := stray(77, c.gap.From, 1000, one)
		other.Partition = testPartition(2)
		if got := strings.Join(links(c.gap.Fill(append(c.strays, other))), " "); got != c.want {
			t.Errorf("%s: %s, want %s", c.name, got, c.want)
		}
	}
}

// twoRanges is an object with a range of each of two partitions.
func twoRanges(t *testing.T, id uint64) []byte {
	t.Helper()
	var out bytes.Buffer
	enc := NewEncoder(&out, ObjectInfo{ID: id})
	for i := range 2 {
		if err := enc.Begin(testPartition(i), 10, 2); err != nil {
			t.Fatal(err)
		}
		if err := enc.Append(testBatch(10, 2, 1_700_000_000_100, []byte("ten"))); err != nil {
			t.Fatal(err)
		}
		if _, err := enc.End([]byte("state"), history(2, 0)); err != nil {
			t.Fatal(err)
		}
	}
	must[*Footer](t)(enc.Close())
	return out.Bytes()
}

func TestSurveyFindsWhatObjectsSay(t *testing.T) {
	bucket := memblob.OpenBucket(nil)
	defer bucket.Close()
	put := func(key string, data []byte) {
		t.Helper()
		if err := bucket.Upload(t.Context(), key, bytes.NewReader(data), &blob.WriterOptions{ContentType: ContentType}); err != nil {
			t.Fatal(err)
		}
	}
	for id := uint64(1); id <= 40; id++ {
		data := twoRanges(t, id)
		if id == 7 {
			data[len(data)-40] ^= 1 // in the footer
		}
		put(objectKey("c/", id), data)
	}
	put("c/objects/0000000000000/README", []byte("not an object"))
	put("d/objects/0000000000000/0000000000000001-x.rmq", []byte("of another cluster"))
	var ids []uint64
	var last []Stray
	survey := func(ctx context.Context) error {
		ids = nil
		return Survey(ctx, NewStore(bucket, Limits{}), "c/", slog.New(slog.DiscardHandler), func(id uint64) bool { return id != 9 }, func(strays []Stray) {
			ids = append(ids, strays[0].ObjectID)
			if s := strays[0]; s.Size == 0 || s.Key == "" || len(strays) != 2 || s.Commit(5).LeaderEpoch != 5 || s.Commit(5).End != s.End {
				t.Errorf("%+v", s)
			}
			if strays[0].State != nil || strays[1].State != nil {
				t.Error("a survey holds the states of all producers")
			}
			last = strays
		})
	}
	if err := survey(t.Context()); err != nil {
		t.Fatal(err)
	}
	slices.Sort(ids)
	if len(ids) != 38 || slices.Contains(ids, 7) || slices.Contains(ids, 9) {
		t.Errorf("found %v", ids)
	}
	if err := FillStates(t.Context(), NewStore(bucket, Limits{}), last); err != nil || string(last[0].State) != "state" || string(last[1].State) != "state" {
		t.Errorf("states %q and %q: %v", last[0].State, last[1].State, err)
	}
	over, cancel := context.WithCancel(t.Context())
	cancel()
	if err := survey(over); err == nil {
		t.Error("a survey that was ended is said to be whole")
	}
}
