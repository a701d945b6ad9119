package tier

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rustmq/rustmq/mq"
	"github.com/rustmq/rustmq/tier/faultstore"
)

// rig is an uploader over partitions in memory and a store that may fail.
type rig struct {
	t       testing.TB
	store   *faultstore.Store
	catalog *testCatalog
	sources []*testSource
	up      *Uploader
}

func newRig(t testing.TB, partitions int) *rig {
	r := &rig{t: t, store: faultstore.New(), catalog: newTestCatalog()}
	for i := range partitions {
		r.sources = append(r.sources, newTestSource(i))
	}
	return r
}

func (r *rig) start(change func(*UploaderConfig)) *Uploader {
	r.t.Helper()
	cfg := UploaderConfig{
		Store: NewStore(r.store.Bucket(), Limits{}), Catalog: r.catalog, Prefix: "c/g1/", FlushBytes: 64 << 10, FlushAge: 10 * time.Second,
		Sources: func() (list []Source) {
			for _, s := range r.sources {
				list = append(list, s)
			}
			return list
		},
	}
	if change != nil {
		change(&cfg)
	}
	r.up = must[*Uploader](r.t)(NewUploader(cfg))
	return r.up
}

func (r *rig) append(n int, values ...[]byte) {
	r.sources[n].append(values...)
	r.up.Notify(r.sources[n])
}

// checkAll sees that the catalogue has all of each partition, and that a reader
// gets exactly its log.
func (r *rig) checkAll() {
	r.t.Helper()
	r.store.SetHook(nil)
	reader := r.reader()
	defer reader.Close()
	for _, s := range r.sources {
		if s.tieredEnd() != s.end {
			r.t.Errorf("%s: tiered up to %d of %d", s.id, s.tieredEnd(), s.end)
		}
		if got, next := readAll(r.t, reader, s.id, 0, s.end); next != s.end || !bytes.Equal(got, s.log) {
			r.t.Errorf("%s: read %d bytes up to %d, the log has %d up to %d", s.id, len(got), next, len(s.log), s.end)
		}
	}
}

func readAll(t testing.TB, reader *Reader, p mq.PartitionID, from, end mq.Offset) ([]byte, mq.Offset) {
	t.Helper()
	var all []byte
	for from < end {
		got, next, err := reader.Read(context.Background(), p, from, 10_000)
		if err != nil {
			t.Fatalf("read %s at %d: %v", p, from, err)
		}
		all = append(all, got...)
		from = next
	}
	return all, from
}

// checkObjects sees that whatever lies in the store, committed or not, is a true
// part of the log with the state that belongs to it.
func (r *rig) checkObjects() (objects int) {
	r.t.Helper()
	for _, key := range r.store.Keys() {
		o := must[Object](r.t)(OpenObject(context.Background(), NewStore(r.store.Bucket(), Limits{}), key))
		report := must[Report](r.t)(Check(o))
		if len(report.Damage) > 0 {
			r.t.Errorf("%s: %v", key, report.Damage)
			continue
		}
		f := must[*Footer](r.t)(ReadFooter(o, o.Size()))
		for _, g := range f.Ranges {
			i := slices.IndexFunc(r.sources, func(s *testSource) bool { return s.id == g.Partition })
			s := r.sources[i]
			data := r.store.Content(key)[g.Position : g.Position+g.Bytes]
			if !bytes.Equal(data, s.part(g.First, g.End)) || !bytes.Equal(g.State, testState(s.id, g.End)) {
				r.t.Errorf("%s: %s [%d,%d) is not what the log has", key, g.Partition, g.First, g.End)
			}
		}
		objects++
	}
	return objects
}

func value(n int) []byte { return bytes.Repeat([]byte{byte(n)}, 100+n%900) }

func TestUploadByAge(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, 5)
		defer r.start(nil).Close()
		for i := range 50 {
			r.append(i%5, value(i))
		}
		time.Sleep(9 * time.Second)
		synctest.Wait()
		if n := len(r.store.Keys()); n != 0 {
			t.Fatalf("%d objects before their time", n)
		}
		time.Sleep(2 * time.Second)
		synctest.Wait()
		if n := r.checkObjects(); n != 1 {
			t.Errorf("%d objects for 5 partitions", n)
		}
		r.checkAll()
		if st := r.up.Stats(); st.Objects != 1 || st.Ranges != 5 || st.InFlightObjects != 0 || st.DirtySources != 0 || !st.OldestPending.IsZero() {
			t.Errorf("stats %+v", st)
		}
		if key := r.store.Keys()[0]; !strings.HasPrefix(key, "c/g1/objects/0000000000000/0000000000000001-") || !strings.HasSuffix(key, ".rmq") {
			t.Errorf("key %s", key)
		}
	})
}

// What a source says of the age of a batch is of some batch before it, as long as there is always something pending.
func TestTrickleIsUploadedByAge(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, 1)
		r.sources[0].coarse = true
		r.store.SetHook(func(faultstore.Op) faultstore.Fault { return faultstore.Fault{Delay: 30 * time.Millisecond} })
		defer r.start(nil).Close()
		for range 60_000 / 20 {
			r.append(0, []byte("a crumb"))
			time.Sleep(20 * time.Millisecond)
		}
		time.Sleep(11 * time.Second)
		synctest.Wait()
		if n, most := r.checkObjects(), 7+len(r.sources[0].log)/(64<<10); n > most {
			t.Errorf("%d objects", n)
		}
		r.checkAll()
	})
}

func TestUploadBySize(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, 2)
		defer r.start(nil).Close()
		for range 100 {
			r.append(0, make([]byte, 1000))
		}
		r.append(1, []byte("a crumb"))
		time.Sleep(200 * time.Millisecond)
		synctest.Wait()
		if s := r.sources[0]; s.tieredEnd() < 60 {
			t.Errorf("tiered up to %d", s.tieredEnd())
		}
		if s := r.sources[1]; s.tieredEnd() != 0 {
			t.Error("the crumb went along")
		}
		time.Sleep(11 * time.Second)
		synctest.Wait()
		r.checkAll()
		r.checkObjects()
	})
}

func TestPressureUploadsEverything(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, 3)
		pressure := make(chan struct{})
		defer r.start(func(c *UploaderConfig) { c.Pressure = pressure }).Close()
		for i := range 3 {
			r.append(i, value(i))
		}
		pressure <- struct{}{}
		synctest.Wait()
		r.checkAll()
	})
}

func TestUrgentSourceIsUploadedInTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, 2)
		r.sources[0].awaited = true
		defer r.start(nil).Close()
		r.append(0, value(1))
		r.append(1, value(1))
		time.Sleep(400 * time.Millisecond)
		synctest.Wait()
		if a, b := r.sources[0].tieredEnd(), r.sources[1].tieredEnd(); a != 1 || b != 0 {
			t.Errorf("tiered %d and %d", a, b)
		}
	})
}

func TestMissedNotifyHeals(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, 1)
		defer r.start(nil).Close()
		synctest.Wait()
		r.sources[0].append(value(1)) // and nobody is told
		time.Sleep(rescanInterval + 11*time.Second)
		synctest.Wait()
		r.checkAll()
	})
}

// TestNothingIsReleasedBeforeCommit looks at each commit, before and after it is
// decided, and at each verdict.
func TestNothingIsReleasedBeforeCommit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, 3)
		r.start(nil)
		defer r.up.Close()
		r.catalog.fault = func(op string) (error, error) {
			if op == "commit" {
				for _, s := range r.sources {
					have := r.catalog.ranges[s.id]
					var end mq.Offset
					if len(have) > 0 {
						end = have[len(have)-1].End
					}
					if s.tieredEnd() > end {
						t.Errorf("%s: released up to %d, committed up to %d", s.id, s.tieredEnd(), end)
					}
				}
				if r.checkObjects() == 0 {
					t.Error("commit before the object is in the store")
				}
			}
			return nil, nil
		}
		for i := range 300 {
			r.append(i%3, value(i))
			time.Sleep(50 * time.Millisecond)
		}
		if err := r.up.Flush(t.Context()); err != nil {
			t.Fatal(err)
		}
		r.checkAll()
	})
}

// TestStalePartitionDoesNotSinkTheObject is rule 12.
func TestStalePartitionDoesNotSinkTheObject(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, 3)
		defer r.start(nil).Close()
		r.catalog.setEpoch(r.sources[1].id, 9)
		for i := range 3 {
			r.append(i, value(i))
		}
		if err := r.up.Flush(t.Context()); mq.CodeOf(err) != mq.FencedLeaderEpoch {
			t.Errorf("flush: %v", err)
		}
		for i, want := range []mq.Offset{1, 0, 1} {
			if got := r.sources[i].tieredEnd(); got != want {
				t.Errorf("partition %d tiered up to %d, want %d", i, got, want)
			}
		}
		if v := r.sources[1].verdicts; len(v) != 1 || mq.CodeOf(v[0]) != mq.FencedLeaderEpoch {
			t.Errorf("verdicts %v", v)
		}
		// It hears of its new epoch, and goes on from the same offset.
		r.sources[1].setEpoch(9)
		time.Sleep(time.Minute)
		synctest.Wait()
		r.checkAll()
		r.checkObjects()
		if st := r.up.Stats(); st.RangesRefused == 0 || st.RangesRefused > 10 {
			t.Errorf("%d refusals", st.RangesRefused)
		}
	})
}

func TestRefusedRangeTakesItsSuccessorsAlong(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, 1)
		hold := make(chan struct{})
		r.store.SetHook(func(op faultstore.Op) faultstore.Fault {
			<-hold
			return faultstore.Fault{}
		})
		defer r.start(nil).Close()
		r.catalog.setEpoch(r.sources[0].id, 2)
		for range 200 {
			r.append(0, make([]byte, 1000)) // three objects, all on their way at once
		}
		time.Sleep(time.Second)
		synctest.Wait()
		if st := r.up.Stats(); st.InFlightObjects < 2 {
			t.Fatalf("%d objects in flight", st.InFlightObjects)
		}
		close(hold)
		r.sources[0].setEpoch(2)
		time.Sleep(time.Minute)
		synctest.Wait()
		r.checkAll()
		first := r.catalog.ranges[r.sources[0].id][0]
		if first.First != 0 || first.LeaderEpoch != 2 {
			t.Errorf("first range %+v", first)
		}
	})
}

// TestRangesOfOnePartitionAreCommittedInOrder lets later uploads overtake.
func TestRangesOfOnePartitionAreCommittedInOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, 2)
		delay := 10 * time.Second
		var mu sync.Mutex
		r.store.SetHook(func(op faultstore.Op) faultstore.Fault {
			mu.Lock()
			defer mu.Unlock()
			if op.Kind == faultstore.Write {
				delay = max(delay-2*time.Second, 0)
			}
			return faultstore.Fault{Delay: delay}
		})
		defer r.start(nil).Close()
		for i := range 400 {
			r.append(i%2, make([]byte, 1000))
		}
		if err := r.up.Flush(t.Context()); err != nil {
			t.Fatal(err)
		}
		r.checkAll()
		if r.up.Stats().RangesRefused != 0 {
			t.Error("ranges were refused, so they came out of order")
		}
	})
}

func TestOutageHoldsMemoryAndHeals(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, 4)
		logs := &logCounter{}
		down := errors.New("the store is down")
		r.store.SetHook(func(op faultstore.Op) faultstore.Fault { return faultstore.Fault{Before: down} })
		defer r.start(func(c *UploaderConfig) { c.Concurrency = 2; c.Logger = slog.New(logs) }).Close()
		for range 60 { // ten minutes
			for i := range 40 {
				r.append(i%4, make([]byte, 1000))
			}
			time.Sleep(10 * time.Second)
			if st := r.up.Stats(); st.InFlightObjects > 2 || st.InFlightBytes > 2*(80<<10) {
				t.Fatalf("in flight: %+v", st)
			}
		}
		st := r.up.Stats()
		if !st.StoreFailing || st.Retries < 100 || st.OldestPending.IsZero() || st.PendingBytes < 2_000_000 {
			t.Errorf("stats %+v", st)
		}
		if n := logs.count(slog.LevelWarn); n != 1 {
			t.Errorf("%d warnings in an outage", n)
		}
		r.store.SetHook(nil)
		time.Sleep(30 * time.Second)
		synctest.Wait()
		r.checkAll()
		if n := logs.count(slog.LevelInfo); n != 1 || r.up.Stats().StoreFailing {
			t.Errorf("%d lines about its end, failing %v", n, r.up.Stats().StoreFailing)
		}
	})
}

type logCounter struct {
	slog.Handler
	mu    sync.Mutex
	lines map[slog.Level]int
}

func (l *logCounter) Enabled(context.Context, slog.Level) bool { return true }
func (l *logCounter) Handle(_ context.Context, r slog.Record) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.lines == nil {
		l.lines = map[slog.Level]int{}
	}
	l.lines[r.Level]++
	return nil
}

func (l *logCounter) count(level slog.Level) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.lines[level]
}

func TestLostReplyIsNotASecondObject(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, 1)
		failed := false
		r.store.SetHook(func(op faultstore.Op) faultstore.Fault {
			if op.Kind == faultstore.Write && !failed {
				failed = true
				return faultstore.Fault{After: faultstore.ErrConnection}
			}
			return faultstore.Fault{}
		})
		lost := 0
		r.catalog.fault = func(op string) (error, error) {
			if lost++; op == "commit" && lost < 4 {
				return nil, mq.Errorf(mq.NetworkException, "the reply was lost")
			}
			return nil, nil
		}
		defer r.start(nil).Close()
		r.append(0, value(1))
		if err := r.up.Flush(t.Context()); err != nil {
			t.Fatal(err)
		}
		r.checkAll()
		if keys := r.store.Keys(); len(keys) != 1 || len(r.catalog.commits) != 1 {
			t.Errorf("objects %v, %d commits", keys, len(r.catalog.commits))
		}
	})
}

func TestDamagedUploadIsDoneAgainUnderAnotherKey(t *testing.T) {
	for _, noMD5 := range []bool{false, true} {
		for name, fault := range map[string]faultstore.Fault{
			"flipped on the way": {Flip: ptr(3000)},
			"cut short":          {Cut: ptr(500)},
			"cut and late":       {Cut: ptr(500), Late: true, Delay: time.Second},
		} {
			t.Run(fmt.Sprintf("%s, store without MD5 %v", name, noMD5), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					r := newRig(t, 1)
					r.store.NoMD5 = noMD5
					var mu sync.Mutex
					writes := 0
					r.store.SetHook(func(op faultstore.Op) faultstore.Fault {
						mu.Lock()
						defer mu.Unlock()
						if op.Kind == faultstore.Write {
							if writes++; writes == 1 {
								return fault
							}
						}
						return faultstore.Fault{}
					})
					defer r.start(nil).Close()
					r.append(0, value(800), value(900))
					if err := r.up.Flush(t.Context()); err != nil {
						t.Fatal(err)
					}
					time.Sleep(2 * time.Second)
					r.checkAll()
				})
			})
		}
	}
}

func ptr(n int64) *int64 { return &n }

func TestFailingSourceDoesNotStopOthers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, 3)
		r.sources[1].fail = mq.Errorf(mq.Corrupt, "segment 7 at 4096")
		r.sources[1].failAt = 1
		logs := &logCounter{}
		defer r.start(func(c *UploaderConfig) { c.Logger = slog.New(logs) }).Close()
		for i := range 30 {
			r.append(i%3, value(i))
		}
		if err := r.up.Flush(t.Context()); mq.CodeOf(err) != mq.Corrupt {
			t.Errorf("flush: %v", err)
		}
		for i, want := range []mq.Offset{10, 0, 10} {
			if got := r.sources[i].tieredEnd(); got != want {
				t.Errorf("partition %d tiered up to %d", i, got)
			}
		}
		time.Sleep(time.Minute)
		if n := logs.count(slog.LevelWarn); n != 1 {
			t.Errorf("%d warnings", n)
		}
		r.sources[1].mu.Lock()
		if n := r.sources[1].reads; n > 40 {
			t.Errorf("tried %d times in a minute", n)
		}
		r.sources[1].fail = nil
		r.sources[1].mu.Unlock()
		time.Sleep(20 * time.Second)
		synctest.Wait()
		r.checkAll()
		r.checkObjects()
	})
}

// overreach gives more than was asked for: records above the high watermark.
type overreach struct{ *testSource }

func (o overreach) ReadUpload(ctx context.Context, first, end mq.Offset, maxBytes int, dst []byte) ([]byte, mq.Offset, error) {
	return o.testSource.ReadUpload(ctx, first, o.end, maxBytes, dst)
}

func (o overreach) Pending() Pending {
	p := o.testSource.Pending()
	p.End = o.starts[len(o.starts)-1].offset // one batch is not committed yet
	return p
}

// TestNothingAboveTheHighWatermarkIsUploaded is rule 11, for a source that
// breaks its promise.
func TestNothingAboveTheHighWatermarkIsUploaded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, 1)
		s := overreach{r.sources[0]}
		s.append(value(1))
		s.append(value(2))
		defer r.start(func(c *UploaderConfig) { c.Sources = func() []Source { return []Source{s} } }).Close()
		if err := r.up.Flush(t.Context()); mq.CodeOf(err) != mq.Internal {
			t.Errorf("flush: %v", err)
		}
		if keys := r.store.Keys(); len(keys) != 0 {
			t.Errorf("uploaded %v", keys)
		}
	})
}

func TestCloseDuringOutageIsPrompt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, 1)
		r.store.SetHook(func(op faultstore.Op) faultstore.Fault { return faultstore.Fault{Delay: time.Hour} })
		r.start(nil)
		r.append(0, make([]byte, 100<<10))
		flushed := make(chan error)
		go func() { flushed <- r.up.Flush(context.Background()) }()
		time.Sleep(time.Minute)
		before := time.Now()
		r.up.Close()
		if took := time.Since(before); took > time.Second {
			t.Errorf("took %s", took)
		}
		if err := <-flushed; mq.CodeOf(err) != mq.ShuttingDown {
			t.Errorf("flush: %v", err)
		}
		if err := r.up.Flush(context.Background()); mq.CodeOf(err) != mq.ShuttingDown {
			t.Errorf("flush after close: %v", err)
		}
		if len(r.sources[0].verdicts) != 0 {
			t.Errorf("verdicts %v", r.sources[0].verdicts)
		}
	})
}

func TestFlushEndsWithItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, 1)
		r.store.SetHook(func(op faultstore.Op) faultstore.Fault { return faultstore.Fault{Before: faultstore.ErrConnection} })
		defer r.start(nil).Close()
		r.append(0, value(1))
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := r.up.Flush(ctx); mq.CodeOf(err) != mq.RequestTimedOut {
			t.Errorf("flush: %v", err)
		}
		r.store.SetHook(nil)
		if err := r.up.Flush(t.Context()); err != nil {
			t.Error(err)
		}
		r.checkAll()
	})
}

// TestIdlePartitionsCostNothing has one busy partition among 10,000.
func TestIdlePartitionsCostNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, 10_000)
		var asked int
		r.start(func(c *UploaderConfig) {
			sources := c.Sources
			c.Sources = func() []Source { asked++; return sources() }
		})
		defer r.up.Close()
		time.Sleep(time.Second)
		synctest.Wait()
		if n := len(r.up.states); n != 0 {
			t.Errorf("%d states of idle partitions", n)
		}
		for range 300 {
			r.append(7777, make([]byte, 2000))
			time.Sleep(100 * time.Millisecond)
			if n := r.up.Stats().DirtySources; n > 1 {
				t.Fatalf("%d dirty sources", n)
			}
		}
		if asked > 1 {
			t.Errorf("all sources were listed %d times in half a minute", asked)
		}
		if st := r.up.Stats(); st.Objects < 5 || st.Objects > 15 {
			t.Errorf("%d objects for 600 kB in 30 s", st.Objects)
		}
	})
}

func BenchmarkNotify(b *testing.B) {
	r := newRig(b, 1)
	m := marks{wake: make(chan struct{}, 1)}
	var s Source = r.sources[0]
	b.ReportAllocs()
	for b.Loop() {
		m.add(s)
	}
}

// BenchmarkLook is one look of the uploader at one dirty partition, with 10,000
// that have something pending but are not of age.
func BenchmarkLook(b *testing.B) {
	r := newRig(b, 10_000)
	r.start(func(c *UploaderConfig) { c.Sources = nil })
	r.up.Close()
	for i := range r.sources {
		r.append(i, value(1))
	}
	u := r.up
	u.ctx, u.cancel = context.WithCancel(context.Background())
	u.look()
	b.ReportAllocs()
	for b.Loop() {
		u.Notify(r.sources[5])
		u.look()
		u.dispatch()
	}
}

// TestFinalRefusalOfTheCatalogueDoesNotBlockTheRest: an object that the
// catalogue will never take is given up, and others behind it are committed.
func TestFinalRefusalOfTheCatalogueDoesNotBlockTheRest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, 1)
		commits := 0
		r.catalog.fault = func(op string) (error, error) {
			if op == "commit" {
				if commits++; commits < 3 {
					return mq.Errorf(mq.InvalidRequest, "the command is too large"), nil
				}
			}
			return nil, nil
		}
		defer r.start(nil).Close()
		r.append(0, value(1))
		if err := r.up.Flush(t.Context()); mq.CodeOf(err) != mq.InvalidRequest {
			t.Errorf("flush: %v", err)
		}
		time.Sleep(time.Minute)
		synctest.Wait()
		r.checkAll()
		if st := r.up.Stats(); st.Orphans != 2 || st.Objects != 1 || st.CatalogFailing {
			t.Errorf("stats %+v", st)
		}
	})
}
