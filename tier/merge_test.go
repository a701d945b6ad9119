package tier

import (
	"fmt"
	"slices"
	"testing"

	"github.com/rustmq/rustmq/mq"
)

// rangesOf are ranges that follow each other, of so many KiB; those that are negative were rewritten once.
func rangesOf(kib ...int64) (ranges []Range) {
	at := mq.Offset(0)
	for _, n := range kib {
		r := Range{First: at, End: at + 10, Bytes: n << 10}
		if n < 0 {
			r.Bytes, r.Rewrites = -r.Bytes, 1
		}
		ranges = append(ranges, r)
		at = r.End
	}
	return ranges
}

func repeat(n int, kib int64) []int64 { return slices.Repeat([]int64{kib}, n) }

func TestPlanOfMerges(t *testing.T) {
	policy := mergePolicy{target: 64 << 20, count: 8, most: 100}
	const mib = 1024
	for _, c := range []struct {
		what    string
		ranges  []int64
		runs    string // the ranges of each, from and to
		settled int
	}{
		{"nothing", nil, "[]", 0},
		{"too little", repeat(7, 10), "[]", 0},
		{"many small ones", repeat(8, 10), "[[0 8]]", 0},
		{"what makes a target", []int64{20 * mib, 20 * mib, 20 * mib, 20 * mib, mib}, "[[0 4]]", 0},
		{"large ones stay", []int64{40 * mib, 40 * mib, mib}, "[]", 2},
		{"a few between large ones stay", []int64{40 * mib, mib, mib, mib, 40 * mib, mib}, "[]", 5},
		{"more between large ones go", []int64{40 * mib, mib, mib, mib, mib, 40 * mib, mib}, "[[1 5]]", 1},
		{"what was merged is not merged with what was not", append(repeat(7, -10), repeat(7, 10)...), "[]", 0},
		{"what was merged again and again", append(repeat(8, -10), 10), "[[0 8]]", 0},
		{"what was merged to much stays", append(repeat(8, -2*mib), repeat(8, 1)...), "[[8 16]]", 8},
		{"no more than fit into a command", repeat(250, 1), "[[0 100] [100 200] [200 208] [208 216] [216 224] [224 232] [232 240] [240 248]]", 0},
	} {
		ranges := rangesOf(c.ranges...)
		runs, settled := policy.plan(ranges)
		got := [][2]int{}
		for _, r := range runs {
			from := int(r[0].First) / 10
			got = append(got, [2]int{from, from + len(r)})
		}
		if fmt.Sprint(got) != c.runs || settled != c.settled {
			t.Errorf("%s: runs %v, settled %d; want %s and %d", c.what, got, settled, c.runs, c.settled)
		}
	}
	apart := rangesOf(repeat(8, 10)...)
	for i := 4; i < 8; i++ {
		apart[i].First++
		apart[i].End++
	}
	if runs, _ := policy.plan(apart); len(runs) != 1 || len(runs[0]) != 4 {
		t.Errorf("ranges with a gap between them: %v", runs)
	}
}

// TestWriteAmplificationOfADay plans for a day of flushes, one every ten seconds, as the compactor does. All that is written is counted: what is
// flushed, and what is written again.
func TestWriteAmplificationOfADay(t *testing.T) {
	const day, every = 24 * 3600, 10
	policy := mergePolicy{target: DefaultTargetBytes, count: DefaultMergeRanges, most: DefaultCommitRanges}
	var allFlushed, allWritten int64
	for _, rate := range []int64{20, 100, 400, 1 << 10, 10 << 10, 100 << 10, 1 << 20, 8 << 20} { // bytes a second of one partition
		var ranges []Range
		var flushed, rewritten int64
		at, settled, longest := mq.Offset(0), 0, 0
		for now := 0; now < day; now += every {
			for left := rate * every; left > 0; {
				r := Range{First: at, End: at + 1, Bytes: min(left, 32<<20)}
				ranges, at, left = append(ranges, r), r.End, left-r.Bytes
				flushed += r.Bytes
			}
			if now%60 != 0 {
				continue
			}
			runs, done := policy.plan(ranges[settled:])
			settled += done
			for i := len(runs) - 1; i >= 0; i-- {
				run := runs[i]
				from := slices.IndexFunc(ranges, func(r Range) bool { return r.First == run[0].First })
				merged := Range{First: run[0].First, End: run[len(run)-1].End, Bytes: bytesOf(run)}
				for _, r := range run {
					merged.Rewrites = max(merged.Rewrites, r.Rewrites+1)
				}
				rewritten += merged.Bytes
				ranges = slices.Replace(ranges, from, from+len(run), merged)
			}
			longest = max(longest, len(ranges)-settled)
		}
		amplification := float64(flushed+rewritten) / float64(flushed)
		t.Logf("%9d B/s: %9d KiB flushed, %9d written again, amplification %.2f; %d ranges, at most %d unsettled",
			rate, flushed>>10, rewritten>>10, amplification, len(ranges), longest)
		if amplification > 2 {
			t.Errorf("at %d B/s everything is written %.2f times", rate, amplification)
		}
		if most := 2*DefaultMergeRanges + int(flushed/(DefaultTargetBytes/settledShare)); len(ranges) > most {
			t.Errorf("at %d B/s there are %d ranges after a day", rate, len(ranges))
		}
		allFlushed, allWritten = allFlushed+flushed, allWritten+flushed+rewritten
	}
	t.Logf("all together: %.2f", float64(allWritten)/float64(allFlushed))
}
