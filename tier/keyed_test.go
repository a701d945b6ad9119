package tier

import (
	"bytes"
	"fmt"
	"maps"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rustmq/rustmq/mq"
)

// keyedLog is what was produced to a partition that is compacted by key.
type keyedLog struct {
	source  *testSource
	records []mq.Record // by offset
}

// produce appends one batch to a source.
func (l *keyedLog) produce(t testing.TB, c mq.Compression, recs ...mq.Record) {
	t.Helper()
	w := must[*mq.BatchBuilder](t)(mq.NewBatchBuilder(c, 0))
	for _, rec := range recs {
		rec.Timestamp = time.Now().UnixMilli()
		rec.Offset = mq.Offset(len(l.records))
		l.records = append(l.records, rec)
		if err := w.Append(rec); err != nil {
			t.Fatal(err)
		}
	}
	b := must[mq.Batch](t)(w.Build(nil, mq.ProducerID(len(recs)%2), 0, int32(len(l.records))))
	l.source.appendBatch(b)
}

// keyed makes one of so many keys, with a value or as a tombstone.
func keyed(n, keys int, tombstone bool) mq.Record {
	rec := mq.Record{Key: fmt.Append(nil, "key-", n%keys)}
	if !tombstone {
		rec.Value = fmt.Append(nil, "value-", n)
	}
	return rec
}

// view is what somebody has who has read all records in order.
func view(recs []mq.Record) map[string]string {
	v := map[string]string{}
	for _, rec := range recs {
		if rec.Value == nil {
			delete(v, string(rec.Key))
		} else {
			v[string(rec.Key)] = string(rec.Value)
		}
	}
	return v
}

// check reads the partition from an offset on: the batches hold all offsets, what is there is what was produced there, and whoever reads it all comes to know
// the same.
func (l *keyedLog) check(t testing.TB, r *rig) (left []mq.Record) {
	t.Helper()
	reader := must[*Reader](t)(NewReader(ReaderConfig{Store: NewStore(r.store.Bucket(), Limits{}), Catalog: r.catalog}))
	defer reader.Close()
	data, next := readAll(t, reader, l.source.id, 0, l.source.end)
	at := mq.Offset(0)
	for len(data) > 0 {
		b, rest, err := mq.NextBatch(data)
		if err != nil || b.BaseOffset() != at || mq.VerifyCRC(b) != nil {
			t.Fatalf("%s at offset %d: %v", b, at, err)
		}
		at, data = b.NextOffset(), rest
		for rec, err := range b.Records(nil) {
			if err != nil {
				t.Fatal(err)
			}
			was := l.records[rec.Offset]
			if !bytes.Equal(rec.Key, was.Key) || !bytes.Equal(rec.Value, was.Value) || (rec.Value == nil) != (was.Value == nil) || rec.Timestamp != was.Timestamp {
				t.Fatalf("offset %d: %+v, was %+v", rec.Offset, rec, was)
			}
			left = append(left, was)
		}
	}
	if at != next || at != mq.Offset(len(l.records)) {
		t.Errorf("batches up to %d, read up to %d, there are %d", at, next, len(l.records))
	}
	if got, want := view(left), view(l.records); !maps.Equal(got, want) {
		t.Errorf("whoever reads it comes to know\n%v\nand not\n%v", got, want)
	}
	return left
}

// compactKeyed is compact of partitions that are compacted by key.
func (r *rig) compactKeyed(policy KeyPolicy, change func(*CompactorConfig)) *Compactor {
	return r.compact(func(c *CompactorConfig) {
		all := c.Partitions
		c.Partitions = func() []Compactable {
			list := all()
			for i := range list {
				list[i].Keyed = &policy
			}
			return list
		}
		if change != nil {
			change(c)
		}
	})
}

func (r *rig) flushNow() {
	r.t.Helper()
	for _, s := range r.sources {
		r.up.Notify(s)
	}
	if err := r.up.Flush(r.t.Context()); err != nil {
		r.t.Fatal(err)
	}
}

func TestNewestOfEachKeyIsKept(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, 1)
		defer r.start(nil).Close()
		l := &keyedLog{source: r.sources[0]}
		for i := range 40 {
			l.produce(t, mq.Compression(i%5), keyed(2*i, 7, false), keyed(2*i+1, 7, false))
			if i%5 == 4 {
				r.flushNow()
			}
		}
		c := r.compactKeyed(KeyPolicy{MinDirtyRatio: 0.5}, nil)
		time.Sleep(70 * time.Second)
		c.Close()
		if left := l.check(t, r); len(left) != 7 {
			t.Errorf("%d records of 7 keys are left", len(left))
		}
		if list := r.catalog.ranges[l.source.id]; len(list) != 1 || !list[0].ByKey {
			t.Errorf("ranges %+v", list)
		}
		if st := c.Stats(); st.Passes != 1 {
			t.Errorf("stats %+v", st)
		}
		last := r.catalog.ranges[l.source.id][0]
		o := must[Object](t)(OpenObject(t.Context(), NewStore(r.store.Bucket(), Limits{}), last.Key))
		if f := must[*Footer](t)(ReadFooter(o, o.Size())); !bytes.Equal(f.Ranges[0].State, testState(l.source.id, last.End)) {
			t.Error("the state of the producers at the range's end is lost")
		}
		if report := must[Report](t)(Check(o)); len(report.Damage) > 0 {
			t.Errorf("%v", report.Damage)
		}
	})
}

// TestTombstonesGoLast has a tombstone stay for its time, counted from when it was met, and then go without what it hid coming back.
func TestTombstonesGoLast(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, 1)
		defer r.start(nil).Close()
		l := &keyedLog{source: r.sources[0]}
		policy := KeyPolicy{MinDirtyRatio: 0.01, DeleteRetention: 10 * time.Minute}
		c := r.compactKeyed(policy, nil)
		defer c.Close()
		tombstones := func() (n int) {
			for _, rec := range l.check(t, r) {
				if rec.Value == nil {
					n++
				}
			}
			return n
		}
		l.produce(t, mq.CompressionNone, keyed(0, 3, false), keyed(1, 3, false), keyed(2, 3, false))
		r.flushNow()
		time.Sleep(2 * time.Minute)
		l.produce(t, mq.CompressionNone, keyed(3, 3, true), keyed(4, 3, false))
		r.flushNow()
		for minute := range 9 { // passes come and go
			l.produce(t, mq.CompressionNone, keyed(7+3*minute, 3, false))
			r.flushNow()
			time.Sleep(time.Minute)
			if n := tombstones(); n != 1 {
				t.Fatalf("after %d minutes there are %d tombstones", minute+1, n)
			}
		}
		for range 5 {
			time.Sleep(time.Minute)
			l.produce(t, mq.CompressionNone, keyed(10, 3, false))
			r.flushNow()
		}
		time.Sleep(2 * time.Minute)
		if n := tombstones(); n != 0 {
			t.Errorf("%d tombstones are left", n)
		}
	})
}

func TestPlanOfAPass(t *testing.T) {
	now := time.UnixMilli(1_000_000)
	r := func(kib, time int64, byKey bool) Range { return Range{Bytes: kib << 10, MaxTime: time, ByKey: byKey} }
	for _, c := range []struct {
		what     string
		ranges   []Range
		policy   KeyPolicy
		from, to int
		due      bool
	}{
		{"nothing", nil, KeyPolicy{}, 0, 0, false},
		{"all is clean", []Range{r(1, 0, true)}, KeyPolicy{}, 1, 1, false},
		{"all is dirty", []Range{r(1, 0, false)}, KeyPolicy{MinDirtyRatio: 1}, 0, 1, true},
		{"too little", []Range{r(3, 0, true), r(1, 0, false)}, KeyPolicy{MinDirtyRatio: 0.5}, 1, 2, false},
		{"enough", []Range{r(3, 0, true), r(3, 0, false)}, KeyPolicy{MinDirtyRatio: 0.5}, 1, 2, true},
		{"too young", []Range{r(1, 0, true), r(1, 900_000, false)}, KeyPolicy{MinLag: 101 * time.Second}, 1, 1, false},
		{"old enough", []Range{r(1, 0, true), r(1, 900_000, false), r(9, 950_000, false)}, KeyPolicy{MinLag: 100 * time.Second, MinDirtyRatio: 0.5}, 1, 2, true},
		{"from the future", []Range{{Bytes: 1, MaxTime: 1 << 50, Written: 1000}}, KeyPolicy{MinLag: 100 * time.Second}, 0, 1, true},
		{"clean behind dirty is dirty", []Range{r(1, 0, true), r(1, 0, false), r(1, 0, true)}, KeyPolicy{MinDirtyRatio: 0.6}, 1, 3, true},
	} {
		if from, to, due := c.policy.plan(c.ranges, now); from != c.from || to != c.to || due != c.due {
			t.Errorf("%s: %d, %d, %v", c.what, from, to, due)
		}
	}
}

// TestPassCrashesAtEveryStep stops the compactor at each call of the store and the catalogue in a pass that has to replace several ranges, and another one goes on.
func TestPassCrashesAtEveryStep(t *testing.T) { crashEverywhere(t, 20, passCrashes) }

func passCrashes(t *testing.T, c *crash) {
	r := newRig(t, 1)
	defer r.start(nil).Close()
	l := &keyedLog{source: r.sources[0]}
	produce := func(from, to int) {
		for i := from; i < to; i++ {
			l.produce(t, mq.CompressionNone, keyed(3*i, 11, i%4 == 3), keyed(3*i+1, 11, i%5 == 4), keyed(3*i+2, 11, false))
			if i%3 == 2 {
				r.flushNow()
			}
		}
		r.flushNow()
	}
	small := func(c *CompactorConfig) { c.TargetBytes, c.MergeRanges = 700, 3 } // a few ranges each
	policy := KeyPolicy{MinDirtyRatio: 0.1, DeleteRetention: time.Minute}
	produce(0, 9)
	first := r.compactKeyed(policy, small)
	time.Sleep(70 * time.Second)
	first.Close()
	time.Sleep(2 * time.Minute) // the tombstones' time is over
	produce(9, 15)
	var second *Compactor
	c.begin(r, func() func() {
		second = r.compactKeyed(policy, small)
		return second.cancel
	})
	time.Sleep(70 * time.Second)
	second.Close()
	r.heal()
	r.collect()
	r.checkIndex()
	l.check(t, r)
	third := r.compactKeyed(policy, small)
	time.Sleep(5 * time.Minute)
	third.Close()
	r.collect()
	r.checkIndex()
	l.check(t, r)
}

// TestPassesUnderSeededFaults has two compactors over the same partitions, and everything fail in every way.
func TestPassesUnderSeededFaults(t *testing.T) { throughSeeds(t, 60, 8, 9, passesUnderFaults) }

func passesUnderFaults(t *testing.T, _ uint64, d *dice) {
	r := newRig(t, 2)
	r.fail(d, 7, 5)
	r.start(func(c *UploaderConfig) { c.FlushAge, c.FlushBytes = 2*time.Second, 8<<10 })
	logs := []*keyedLog{{source: r.sources[0]}, {source: r.sources[1]}}
	policy := KeyPolicy{MinDirtyRatio: 0.2, DeleteRetention: 8 * time.Second}
	start := func() *Compactor {
		return r.compactKeyed(policy, func(c *CompactorConfig) { c.Interval, c.TargetBytes = time.Duration(2+d.draw(9))*time.Second, 1<<10 })
	}
	compactors := []*Compactor{start(), start()}
	for range 300 {
		l := logs[d.draw(2)]
		r.learn()
		l.produce(t, mq.Compression(d.draw(5)), keyed(d.draw(1000), 13, d.chance(30)), keyed(d.draw(1000), 13, false))
		r.up.Notify(l.source)
		time.Sleep(time.Duration(d.draw(400)) * time.Millisecond)
		switch {
		case d.chance(3):
			k := d.draw(len(compactors))
			compactors[k].Close()
			compactors[k] = start()
		case d.chance(3):
			r.collectCommitted()
		}
	}
	r.heal()
	time.Sleep(2 * time.Minute)
	r.learn()
	r.flushNow()
	passes := int64(0)
	for _, c := range compactors {
		c.Close()
		passes += c.Stats().Passes
	}
	r.up.Close()
	if passes == 0 {
		t.Error("there was no pass")
	}
	r.checkIndex()
	r.collect()
	for _, l := range logs {
		l.check(t, r)
	}
}
