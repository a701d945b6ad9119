package nodetest

import (
	"cmp"
	"context"
	"errors"
	"flag"
	"fmt"
	"hash/fnv"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	adminpb "github.com/rustmq/rustmq/api/admin/v1"
	"github.com/rustmq/rustmq/broker"
	"github.com/rustmq/rustmq/mq"
	"github.com/rustmq/rustmq/quicproto"
	"github.com/rustmq/rustmq/tier/faultstore"
)

// lateness is how much later something happens that happens late.
const lateness = 15 * time.Millisecond

// storeFault is one way in which a call of the object store goes wrong.
type storeFault struct {
	name  string
	kinds []faultstore.Kind // of calls that it can befall; nil: all
	noMD5 bool              // the store does not look at what arrives
	fault faultstore.Fault
}

var storeFaults = []storeFault{
	{name: "fails", fault: faultstore.Fault{Before: faultstore.ErrConnection}},
	{name: "throttles", fault: faultstore.Fault{Before: faultstore.Throttled()}},
	{name: "takes its time", fault: faultstore.Fault{Delay: lateness}},
	{name: "says that it failed", fault: faultstore.Fault{After: faultstore.ErrConnection}},
	{name: "cuts short", kinds: []faultstore.Kind{faultstore.Read, faultstore.Write}, fault: faultstore.Fault{Cut: new(int64(100))}},
	{name: "keeps a part", kinds: []faultstore.Kind{faultstore.Write}, noMD5: true, fault: faultstore.Fault{Cut: new(int64(100))}},
	{name: "flips a bit", kinds: []faultstore.Kind{faultstore.Read, faultstore.Write}, fault: faultstore.Fault{Flip: new(int64(8 * 90))}},
	{name: "keeps a flipped bit", kinds: []faultstore.Kind{faultstore.Write}, noMD5: true, fault: faultstore.Fault{Flip: new(int64(8 * 90))}},
	{name: "does it later, and says that it failed", kinds: []faultstore.Kind{faultstore.Write}, fault: faultstore.Fault{Late: true, Delay: lateness, After: faultstore.ErrConnection}},
	{name: "does it twice", kinds: []faultstore.Kind{faultstore.Write, faultstore.Delete}, fault: faultstore.Fault{Again: lateness}},
}

func (f *storeFault) befalls(k faultstore.Kind) bool {
	for _, of := range f.kinds {
		if of == k {
			return true
		}
	}
	return f.kinds == nil
}

// storeCall is one call of a run: the n-th of those that do the same to the same sort of object.
type storeCall struct {
	kind faultstore.Kind
	what string // objects, meta, ...
	n    int
}

func (c storeCall) String() string { return fmt.Sprintf("%s %d of %s", c.kind, c.n, c.what) }

// callOf says what a call is for, without its number.
func callOf(op faultstore.Op) storeCall {
	what := "something else"
	for _, part := range []string{"objects", "meta"} {
		if strings.Contains(op.Key, "/"+part+"/") {
			what = part
		}
	}
	return storeCall{kind: op.Kind, what: what}
}

// troubled counts the calls of a machine's object store, and has one of them go wrong.
type troubled struct {
	befalls func(storeCall, faultstore.Op) faultstore.Fault // nil: nothing does

	orphans int // that were found when all was over

	mu    sync.Mutex
	calls map[storeCall]int // by those without a number
	late  time.Time         // until then something may still happen
}

// trouble begins to count, and to harm.
func trouble(m *machine, befalls func(storeCall, faultstore.Op) faultstore.Fault) *troubled {
	s := &troubled{befalls: befalls, calls: make(map[storeCall]int)}
	m.store.SetHook(s.hook)
	return s
}

func (s *troubled) hook(op faultstore.Op) (f faultstore.Fault) {
	call := callOf(op)
	s.mu.Lock()
	s.calls[call]++
	call.n = s.calls[call]
	s.mu.Unlock()
	if s.befalls == nil {
		return f
	}
	f = s.befalls(call, op)
	if again := max(f.Again, f.Delay); again > 0 {
		s.mu.Lock()
		s.late = time.Now().Add(2 * again)
		s.mu.Unlock()
	}
	return f
}

// count is how many calls of a kind there were.
func (s *troubled) count(kind faultstore.Kind, what string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.calls[storeCall{kind: kind, what: what}]
}

// settled waits until nothing is late any more.
func (s *troubled) settled(ctx context.Context) error {
	s.mu.Lock()
	left := time.Until(s.late)
	s.mu.Unlock()
	select {
	case <-time.After(left):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// storeConfig has the node do all that it does to an object store, all the time.
func storeConfig(m *machine) {
	c := &m.Config.ObjectStore
	c.RetentionInterval, c.CheckpointInterval, c.DeleteDelay = 10*time.Millisecond, 10*time.Millisecond, 20*time.Millisecond
	c.CompactRanges, c.CompactInterval = 3, 5*time.Millisecond
}

// storeRun is a run in which the node flushes, commits, merges, lets retention pass, deletes, and writes copies of its metadata: until it has.
func (s *troubled) storeRun(ctx context.Context, c *clients) error {
	orders, err := c.create(ctx, "orders", 2)
	if err != nil {
		return err
	}
	if err := c.addProducer(ctx); err != nil {
		return err
	}
	payments, err := c.create(ctx, "payments", 1)
	if err != nil {
		return err
	}
	for range 3 {
		if err := errors.Join(c.burst(ctx, orders, 2), c.burst(ctx, payments, 1)); err != nil {
			return err
		}
		if err := c.wait(ctx); err != nil {
			return err
		}
	}
	if err := c.passing(ctx); err != nil {
		return err
	}
	if err := c.remove(ctx, payments); err != nil {
		return err
	}
	done := func() bool {
		return s.count(faultstore.Delete, "objects") >= 4 && s.count(faultstore.Write, "meta") >= 4
	}
	for !done() {
		if err := c.burst(ctx, orders, 1); err != nil {
			return err
		}
		if err := c.wait(ctx); err != nil {
			return err
		}
		select {
		case <-time.After(5 * time.Millisecond):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

// passing produces what retention is to delete at once. It is no part of the history.
func (c *clients) passing(ctx context.Context) error {
	_, err := c.broker().CreateTopic(ctx, &session, &quicproto.CreateTopicRequest{
		Name: "passing", Partitions: 1, Replicas: 1, Configs: []quicproto.Config{{Key: "retention.ms", Value: "1"}},
	})
	if err != nil && mq.CodeOf(err) != mq.TopicAlreadyExists {
		return err
	}
	stream, err := c.broker().OpenProduce(ctx, &session, "passing")
	if err != nil {
		return err
	}
	for i := range 2 {
		b := batch{number: i, records: 1, bytes: 100}
		data, err := b.build(nil)
		if err != nil {
			return err
		}
		w := &Workload{}
		w.wg.Add(1)
		stream.Append(ctx, 0, data, mq.DurabilityAll, &told{w, &Sent{}})
	}
	return nil
}

// scrubbed has orphans deleted until there is nothing in the bucket that the metadata does not know, and nothing missing. It says how many it found.
func scrubbed(ctx context.Context, b *broker.Broker) (orphans int, err error) {
	for {
		resp, err := adminpb.Ask(&adminpb.Request{Kind: &adminpb.Request_ScrubObjects{ScrubObjects: &adminpb.ScrubObjectsRequest{Delete: true}}},
			func(message []byte) ([]byte, error) { return b.Operate(ctx, &session, message) })
		if err != nil {
			return orphans, fmt.Errorf("scrub: %w", err)
		}
		page := resp.GetScrubObjects()
		for _, o := range page.GetOrphans() {
			if o.GetDeleted() {
				orphans++
			}
		}
		switch {
		case len(page.GetMissing()) > 0:
			return orphans, broken("missing object", "%v are committed, and not there", page.GetMissing())
		case len(page.GetOrphans()) == 0 && page.GetYoung() == 0 && page.GetGarbage() == 0:
			return orphans, nil
		}
		select {
		case <-time.After(5 * time.Millisecond):
		case <-ctx.Done():
			return orphans, broken("orphans", "%d orphans, %d too young to tell and %d garbage stay: %v", len(page.GetOrphans()), page.GetYoung(), page.GetGarbage(), page.GetOrphans())
		}
	}
}

// recovered is what comes after trouble: the store is well, the node starts again and has everything, takes records, and nothing is left in the bucket that is not the
// metadata's. And that once more, out of what the node has kept then.
func (s *troubled) recovered(ctx context.Context, m *machine) error {
	m.store.SetHook(nil)
	if err := s.settled(ctx); err != nil {
		return err
	}
	if err := m.survive(ctx, 0); err != nil {
		return err
	}
	err := m.live(ctx, 0, func(ctx context.Context, c *clients) error {
		ctx, cancel := context.WithTimeout(ctx, scrubAtMost)
		defer cancel()
		orphans, err := scrubbed(ctx, c.broker())
		if err != nil {
			return err
		}
		s.orphans += orphans
		return c.check(ctx)
	})
	if err != nil {
		return err
	}
	return m.live(ctx, 0, func(ctx context.Context, c *clients) error { return c.check(ctx) })
}

// scrubAtMost is long enough for all that waits for the store and for a slow machine.
const scrubAtMost = 2 * time.Minute

// seedOf is a number for a case.
func seedOf(name string) uint64 {
	h := fnv.New64a()
	_, _ = h.Write([]byte(name))
	return h.Sum64()
}

// crash says when the power goes, after a call of the object store that went wrong.
type crash int

const (
	noCrash    crash = iota
	crashNow         // the node never hears what became of the call
	crashLater       // in one of the next calls of the disk
)

func (c crash) String() string { return [...]string{"no crash", "a crash at once", "a crash soon"}[c] }

// crashWithin is how many calls of the disk later crashLater is, at most.
const crashWithin = 30

// storeCase is a run in which one call of the object store goes wrong.
type storeCase struct {
	call  storeCall
	fault *storeFault
	crash crash
}

func (c storeCase) String() string {
	return fmt.Sprintf("the store %s at %v, and %v", c.fault.name, c.call, c.crash)
}

// run says whether the run had such a call, and how many orphans it left.
func (c storeCase) run(ctx context.Context, scratch string) (hit bool, orphans int, err error) {
	seed := seedOf(c.String())
	m := newMachine(seed, scratch)
	defer m.Close()
	storeConfig(m)
	m.store.NoMD5 = c.fault.noMD5
	var once atomic.Bool
	s := trouble(m, func(call storeCall, _ faultstore.Op) (f faultstore.Fault) {
		if call != c.call || once.Swap(true) {
			return f
		}
		switch c.crash {
		case crashNow:
			m.cutNow()
		case crashLater:
			m.FS.CutAt(1 + int(seed%crashWithin))
		}
		return c.fault.fault
	})
	if err := m.liveUntilCut(ctx, s.storeRun); err != nil {
		return once.Load(), 0, err
	}
	err = s.recovered(ctx, m)
	return once.Load(), s.orphans, err
}

// liveUntilCut is a life that something else may cut. Without power the node does not go on waiting for the object store, as it would for as long as it needs nothing of
// its disk.
func (m *machine) liveUntilCut(ctx context.Context, work func(context.Context, *clients) error) error {
	const never = 1 << 30
	powered, off := context.WithCancel(ctx)
	defer off()
	var watch sync.WaitGroup
	watch.Go(func() {
		for ; powered.Err() == nil; time.Sleep(time.Millisecond) {
			if m.FS.Cut() {
				off()
			}
		}
	})
	cuts := m.cuts
	err := m.live(powered, never, work)
	off()
	watch.Wait()
	if m.cuts > cuts && errors.Is(err, context.Canceled) {
		return ctx.Err()
	}
	return err
}

// cutNow cuts the power in this moment.
func (m *machine) cutNow() {
	m.FS.CutAt(1)
	_ = m.FS.MkdirAll("/cut") // the call in which it is cut
}

// TestStoreTroubleAndCrashesLoseNothing has each call of the object store that a short run makes go wrong in each way, with the power cut at that moment, soon after, and
// not at all: everything that was acknowledged is there, once and in order, whatever is not referred to goes, and nothing else does.
func TestStoreTroubleAndCrashesLoseNothing(t *testing.T) {
	t.Parallel()
	scratch := scratchDir(t)
	calls, err := callsOf(t.Context(), scratch)
	if err != nil {
		t.Fatal(err)
	}
	of := 1
	if raceEnabled || testing.Short() {
		of = 13
	}
	var cases []storeCase
	for _, call := range calls {
		for i := range storeFaults {
			for _, crash := range []crash{noCrash, crashNow, crashLater} {
				if storeFaults[i].befalls(call.kind) {
					cases = append(cases, storeCase{call, &storeFaults[i], crash})
				}
			}
		}
	}
	hits, orphans := make(map[string]int), 0
	var mu sync.Mutex
	group, ctx := errgroup.WithContext(t.Context())
	group.SetLimit(48) // a node mostly waits, here for what it tries again
	for i, c := range cases {
		if i%of != 0 {
			continue
		}
		group.Go(func() error {
			hit, left, err := c.run(ctx, scratch)
			if err != nil {
				return fmt.Errorf("%v: %w", c, err)
			}
			mu.Lock()
			defer mu.Unlock()
			if orphans += left; hit {
				hits[c.fault.name]++
			}
			return nil
		})
	}
	if err := group.Wait(); err != nil {
		t.Fatal(err)
	}
	for _, f := range storeFaults {
		if hits[f.name] == 0 {
			t.Errorf("in no run the store %s", f.name)
		}
	}
	if orphans == 0 {
		t.Error("no run left an orphan: nothing was seen of how they go")
	}
	t.Logf("%d calls, %d cases, %d orphans: %v", len(calls), len(cases), orphans, hits)
}

// callsOf are the calls of a run in which nothing goes wrong.
func callsOf(ctx context.Context, scratch string) (calls []storeCall, err error) {
	m := newMachine(1, scratch)
	defer m.Close()
	storeConfig(m)
	s := trouble(m, nil)
	if err := m.live(ctx, 0, s.storeRun); err != nil {
		return nil, err
	}
	for call, n := range s.calls {
		for call.n = 1; call.n <= n; call.n++ {
			calls = append(calls, call)
		}
	}
	slices.SortFunc(calls, func(a, b storeCall) int {
		return cmp.Or(cmp.Compare(a.kind, b.kind), cmp.Compare(a.what, b.what), cmp.Compare(a.n, b.n))
	})
	return calls, s.recovered(ctx, m)
}

var storeSeeds = flag.Int("store.seeds", 4, "how many long runs with a troubled object store to do, by seed")

// TestStoreTroubleOfALongRunLosesNothing lets machines live many lives, by seed, while a part of all calls of the object store go wrong, in any way: some end as they
// should, most by a power cut, while clients do everything at once.
func TestStoreTroubleOfALongRunLosesNothing(t *testing.T) {
	t.Parallel()
	seeds, lives := *storeSeeds, 12
	if raceEnabled || testing.Short() {
		seeds, lives = min(seeds, 2), 5
	}
	scratch := scratchDir(t)
	var cuts, records, faults, orphans atomic.Int64
	group, ctx := errgroup.WithContext(t.Context())
	group.SetLimit(8)
	for seed := range seeds {
		group.Go(func() error {
			m := newMachine(uint64(seed), scratch)
			defer m.Close()
			storeConfig(m)
			s, err := m.agedInTrouble(ctx, uint64(seed), lives, &faults)
			if err != nil {
				return fmt.Errorf("seed %d: %w", seed, err)
			}
			cuts.Add(int64(m.cuts))
			records.Add(int64(m.h.acknowledged()))
			orphans.Add(int64(s.orphans))
			return nil
		})
	}
	if err := group.Wait(); err != nil {
		t.Fatal(err)
	}
	t.Logf("%d records acknowledged, %d cuts, %d calls of the store that went wrong, %d orphans", records.Load(), cuts.Load(), faults.Load(), orphans.Load())
	if cuts.Load() == 0 || faults.Load() == 0 {
		t.Error("nothing happened")
	}
}

// agedInTrouble is a number of lives with a troubled store, and the proof at the end. What can be read meanwhile is right, and all that is there is looked at while the store
// is well.
func (m *machine) agedInTrouble(ctx context.Context, seed uint64, lives int, faults *atomic.Int64) (*troubled, error) {
	var mu sync.Mutex
	rng := rand.New(rand.NewPCG(seed, 3))
	m.store.NoMD5 = seed%2 == 1
	percent := 2 + rng.IntN(20)
	s := trouble(m, func(call storeCall, _ faultstore.Op) (f faultstore.Fault) {
		mu.Lock()
		defer mu.Unlock()
		chosen := &storeFaults[rng.IntN(len(storeFaults))]
		if rng.IntN(100) >= percent || !chosen.befalls(call.kind) {
			return f
		}
		faults.Add(1)
		return chosen.fault
	})
	for life := range lives {
		m.store.SetHook(s.hook)
		err := m.liveUntilCut(ctx, func(ctx context.Context, c *clients) error {
			if wrong, ok := errors.AsType[*violation](c.check(ctx)); ok { // else it cannot be read just now
				return wrong
			}
			m.store.SetHook(nil)
			if err := c.settle(ctx); err != nil {
				return err
			}
			m.store.SetHook(s.hook)
			if chance := m.rand.IntN(10); chance < 7 {
				m.FS.CutAt(1 + m.rand.IntN(400))
			}
			return errors.Join(c.passing(ctx), c.work(ctx, 30))
		})
		if err != nil {
			return s, fmt.Errorf("life %d: %w", life, err)
		}
	}
	return s, s.recovered(ctx, m)
}
