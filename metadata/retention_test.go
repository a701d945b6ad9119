package metadata

import (
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/rustmq/rustmq/mq"
)

// pagesOf gives ranges as a Store does, a few at a time.
func pagesOf(all []Range, size int) func(mq.Offset) ([]Range, error) {
	return func(from mq.Offset) ([]Range, error) {
		i := slices.IndexFunc(all, func(r Range) bool { return r.End > from })
		if i < 0 {
			return nil, nil
		}
		return all[i:min(len(all), i+size)], nil
	}
}

func TestRetentionIsNotForWhatIsOnlyCompacted(t *testing.T) {
	old := []Range{{First: 0, End: 10, Bytes: 100, MaxTime: 1, Written: 1}}
	for cleanup, want := range map[CleanupPolicy]mq.Offset{CleanupDelete: 10, CleanupCompact: 0, CleanupCompactAndDelete: 10} {
		if got, err := RetentionStart(TopicConfig{RetentionMs: 1, RetentionBytes: 0, Cleanup: cleanup}, 0, 1000, pagesOf(old, 5)); got != want || err != nil {
			t.Errorf("policy %d: log start %d, %v", cleanup, got, err)
		}
	}
}

func TestRetentionDropsWhatItsTopicHasOutlived(t *testing.T) {
	const now, hour = 100 * 3_600_000, 3_600_000
	of := func(first, end mq.Offset, maxTime, written int64) Range {
		return Range{First: first, End: end, MaxTime: maxTime, Written: written, Bytes: 100}
	}
	old, older := int64(now-3*hour), int64(now-4*hour)
	for _, tc := range []struct {
		name     string
		ms, size int64
		start    mq.Offset
		ranges   []Range
		want     mq.Offset
	}{
		{"nothing tiered", hour, 0, 5, nil, 5},
		{"for ever", -1, -1, 0, []Range{of(0, 10, older, older)}, 0},
		{"all", hour, -1, 0, []Range{of(0, 10, older, older), of(10, 20, old, old)}, 20},
		{"exactly as old", 3 * hour, -1, 0, []Range{of(0, 10, old, old)}, 0},
		{"up to a young one", hour, -1, 0, []Range{of(0, 10, older, older), of(10, 20, now, now), of(20, 30, older, now)}, 10},
		{"one that begins below the start", hour, -1, 7, []Range{of(0, 10, older, older), of(10, 20, now, now)}, 10},
		{"from the future", hour, -1, 0, []Range{of(0, 10, 10*now, old), of(10, 20, old, old)}, 20},
		{"from the future, when nobody knows when it was written", hour, -1, 0, []Range{of(0, 10, 10*now, 0)}, 0},
		{"from the past, and just written", hour, -1, 0, []Range{of(0, 10, older, now)}, 10},
		{"without timestamps", hour, -1, 0, []Range{of(0, 10, -1, old)}, 10},
		{"without timestamps, and nobody knows", hour, -1, 0, []Range{of(0, 10, -1, 0)}, 0},
		{"at once", 0, -1, 0, []Range{of(0, 10, now-1, now)}, 10},
		{"more than enough", -1, 200, 0, []Range{of(0, 10, now, now), of(10, 20, now, now), of(20, 30, now, now)}, 10},
		{"not less than is wanted", -1, 201, 0, []Range{of(0, 10, now, now), of(10, 20, now, now), of(20, 30, now, now)}, 0},
		{"of any size", -1, 0, 0, []Range{of(0, 10, now, now), of(10, 20, now, now)}, 20},
		{"by either", hour, 200, 0, []Range{of(0, 10, now, now), of(10, 20, older, older), of(20, 30, now, now)}, 20},
		{"never so long ago", 1<<63 - 1, -1, 0, []Range{of(0, 10, 0, 0)}, 0},
	} {
		config := TopicConfig{RetentionMs: tc.ms, RetentionBytes: tc.size}
		for _, page := range []int{1, 2, 100} {
			got, err := RetentionStart(config, tc.start, now, pagesOf(tc.ranges, page))
			if err != nil || got != tc.want {
				t.Errorf("%s, in pages of %d: start %d, %v; want %d", tc.name, page, got, err, tc.want)
			}
		}
	}
}

func TestRetentionStopsWhereTheIndexCannotBeRead(t *testing.T) {
	trouble := mq.Errorf(mq.Corrupt, "trouble")
	for _, config := range []TopicConfig{{RetentionMs: 1, RetentionBytes: -1}, {RetentionMs: -1, RetentionBytes: 1}} {
		first := true
		got, err := RetentionStart(config, 0, 1000, func(mq.Offset) ([]Range, error) {
			if !first {
				return nil, trouble
			}
			first = false
			return []Range{{First: 0, End: 10, Bytes: 100}}, nil
		})
		if mq.CodeOf(err) != mq.Corrupt || got > 10 {
			t.Errorf("start %d, %v", got, err)
		}
	}
}

// Whatever there is: what stays is what both settings want, the start is where a range ends, and nothing goes before what is in front of it.
func TestRetentionIsWhatThePlainRuleSays(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		var all []Range
		at := mq.Offset(0)
		for range rapid.IntRange(0, 12).Draw(rt, "ranges") {
			end := at + mq.Offset(rapid.IntRange(1, 5).Draw(rt, "records"))
			all = append(all, Range{
				First: at, End: end, Bytes: rapid.Int64Range(1, 5).Draw(rt, "bytes"), MaxTime: rapid.Int64Range(-1, 30).Draw(rt, "time"),
				Written: rapid.Int64Range(0, 30).Draw(rt, "written"),
			})
			at = end
		}
		config := TopicConfig{RetentionMs: rapid.Int64Range(-1, 20).Draw(rt, "ms"), RetentionBytes: rapid.Int64Range(-1, 20).Draw(rt, "size")}
		now := rapid.Int64Range(15, 40).Draw(rt, "now")
		got, err := RetentionStart(config, 0, now, pagesOf(all, rapid.IntRange(1, 4).Draw(rt, "page")))
		if err != nil {
			rt.Fatal(err)
		}
		want := mq.Offset(0)
		for i, r := range all {
			rest := int64(0)
			for _, s := range all[i+1:] {
				rest += s.Bytes
			}
			born := r.MaxTime
			if r.Written > 0 && (born < 0 || r.Written < born) {
				born = r.Written
			}
			tooOld := config.RetentionMs >= 0 && born >= 0 && born < now-config.RetentionMs
			if tooMuch := config.RetentionBytes >= 0 && rest >= config.RetentionBytes; !tooOld && !tooMuch {
				break
			}
			want = r.End
		}
		if got != want {
			rt.Fatalf("start %d, want %d", got, want)
		}
	})
}

// What retention goes by comes with the commit, and garbage says since when it is.
func TestRangesSayWhenTheyWereWrittenAndGarbageSinceWhen(t *testing.T) {
	b := newCluster(t, 1)
	b.must(createCommand(1, "t", []int32{1}))
	b.must(objectIDsCommand(10))
	commit := commitCommand(1, 1, rangeOf(partitionOf(1, 0), 0, 0, 10))
	commit.GetCommitObject().WrittenMs = 77
	b.must(commit)
	b.must(commitCommand(1, 2, rangeOf(partitionOf(1, 0), 0, 10, 20)))
	if list := b.ranges(partitionOf(1, 0), 0, 10); len(list) != 2 || list[0].Written != 77 || list[1].Written != 0 {
		t.Errorf("%+v", list)
	}
	b.must(logStartCommand(partitionOf(1, 0), 10))
	b.must(reclaimCommand(10))
	since := b.index
	b.must(commitCommand(1, 3))
	garbage, err := b.store.Garbage(0, 10)
	if err != nil || len(garbage) != 2 || garbage[0].Garbage != since || garbage[1].Garbage != since+1 {
		t.Errorf("%+v since %d, %v", garbage, since, err)
	}
	for id, want := range map[uint64][2]bool{1: {true, true}, 2: {false, true}, 3: {true, true}, 4: {false, false}} {
		if o, garbage, ok, err := b.store.Object(id); err != nil || garbage != want[0] || ok != want[1] || ok && o.ID != id {
			t.Errorf("object %d: %+v, garbage %v, known %v, %v", id, o, garbage, ok, err)
		}
	}
	if live, err := b.store.Objects(0, 10); err != nil || len(live) != 1 || live[0].ID != 2 {
		t.Errorf("%+v, %v", live, err)
	}
	checkReload(t, b.store)
}

// Below its level nothing of that is stored, by old and new code alike.
func TestGarbageBelowItsLevelDoesNotSaySinceWhen(t *testing.T) {
	b := benchAt(t, KeepingLevel)
	form := formCommand()
	form.GetFormCluster().FeatureLevel = KeepingLevel - 1
	b.must(form)
	b.must(registerCommand(1, 1))
	b.must(createCommand(1, "t", []int32{1}))
	b.must(objectIDsCommand(10))
	commit := commitCommand(1, 1)
	commit.GetCommitObject().WrittenMs = 77
	b.refuse(mq.UnsupportedVersion, commit)
	b.must(commitCommand(1, 1))
	if garbage, err := b.store.Garbage(0, 10); err != nil || len(garbage) != 1 || garbage[0].Garbage != 0 {
		t.Errorf("%+v, %v", garbage, err)
	}
	b.must(levelCommand(KeepingLevel))
	b.must(commitCommand(1, 2))
	if garbage, err := b.store.Garbage(1, 10); err != nil || len(garbage) != 1 || garbage[0].Garbage != b.index {
		t.Errorf("%+v, %v", garbage, err)
	}
}

// What ranges are merged into was written when the youngest of them was, if that is known of all: else retention would be put off by each merge.
func TestMergedRangeWasWrittenWhenTheYoungestWas(t *testing.T) {
	b := newCluster(t, 1)
	b.must(createCommand(1, "t", []int32{1}))
	b.must(objectIDsCommand(100))
	for i, written := range []int64{70, 90, 80, 50, 0} {
		commit := commitCommand(1, uint64(i+1), rangeOf(partitionOf(1, 0), 0, int64(10*i), int64(10*i+10)))
		commit.GetCommitObject().WrittenMs = written
		b.must(commit)
	}
	b.replace(50, replacementOf(partitionOf(1, 0), b.refs(partitionOf(1, 0), 0, 3)...))
	b.replace(51, replacementOf(partitionOf(1, 0), b.refs(partitionOf(1, 0), 30, 2)...))
	if list := b.ranges(partitionOf(1, 0), 0, 10); len(list) != 2 || list[0].Written != 90 || list[1].Written != 0 {
		t.Errorf("%+v", list)
	}
}
