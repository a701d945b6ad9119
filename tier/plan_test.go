package tier

import (
	"testing"
	"time"

	"github.com/rustmq/rustmq/mq"
)

func TestPlan(t *testing.T) {
	now := time.Unix(1_000_000, 0)
	l := limits{flushBytes: 1 << 20, flushAge: 10 * time.Second, ackBytes: 10 << 10, ackAge: 250 * time.Millisecond}
	type c struct {
		n       int
		bytes   int64
		age     time.Duration
		awaited bool
		forced  bool
	}
	for _, test := range []struct {
		name string
		have []c
		want []int // in order
	}{
		{"nothing", nil, nil},
		{"little and young", []c{{n: 1, bytes: 100, age: time.Second}}, nil},
		{"little and of age", []c{{n: 1, bytes: 100, age: 10 * time.Second}}, []int{1}},
		{"enough", []c{{n: 1, bytes: 1 << 20}}, []int{1}},
		{"enough together", []c{{n: 1, bytes: 600 << 10, age: 1}, {n: 2, bytes: 600 << 10, age: 2}}, []int{2, 1}},
		{"a busy one leaves quiet ones alone", []c{{n: 1, bytes: 2 << 20}, {n: 2, bytes: 100, age: 9 * time.Second}}, []int{1}},
		{"many crumbs are not enough", []c{{n: 1, bytes: 8000}, {n: 2, bytes: 1<<20 - 1}}, nil},
		{
			"one of age takes those along that soon will be, and large ones",
			[]c{{n: 1, bytes: 100, age: 10 * time.Second}, {n: 2, bytes: 100, age: 5 * time.Second}, {n: 3, bytes: 100, age: 4 * time.Second}, {n: 4, bytes: 100 << 10}},
			[]int{1, 2, 4},
		},
		{"in a hurry", []c{{n: 1, bytes: 100, age: 250 * time.Millisecond, awaited: true}, {n: 2, bytes: 100, age: time.Second}}, []int{1}},
		{"awaited, not for long and not much", []c{{n: 1, bytes: 6000, age: 240 * time.Millisecond, awaited: true}, {n: 2, bytes: 8000, age: time.Second}}, nil},
		{"awaited, and together enough", []c{{n: 1, bytes: 6000, age: 1, awaited: true}, {n: 2, bytes: 8000, age: 3}, {n: 3, bytes: 6000, age: 2, awaited: true}}, []int{3, 1}},
		{"the clock was set back by an hour", []c{{n: 1, bytes: 100, age: -time.Hour}, {n: 2, bytes: 100, age: time.Second}}, []int{1}},
		{"forced", []c{{n: 1, bytes: 100, forced: true}, {n: 2, bytes: 100}}, []int{1}},
		{
			"oldest first, and what is too much waits",
			[]c{{n: 1, bytes: 700 << 10, age: 1}, {n: 2, bytes: 700 << 10, age: 3}, {n: 3, bytes: 700 << 10, age: 2}},
			[]int{2, 3},
		},
	} {
		var have []candidate
		for _, c := range test.have {
			have = append(have, candidate{id: testPartition(c.n), bytes: c.bytes, since: now.Add(-c.age), awaited: c.awaited, forced: c.forced})
		}
		var want, got []mq.PartitionID
		for _, n := range test.want {
			want = append(want, testPartition(n))
		}
		for _, c := range plan(have, now, l) {
			got = append(got, c.id)
		}
		if len(got) != len(want) {
			t.Errorf("%s: %v, want %v", test.name, got, want)
			continue
		}
		for i := range got {
			if got[i] != want[i] {
				t.Errorf("%s: %v, want %v", test.name, got, want)
				break
			}
		}
	}
}
