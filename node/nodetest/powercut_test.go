package nodetest

import (
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/rustmq/rustmq/wal/crashfs"
)

// scratchDir is a directory for databases: in memory where the machine has such, for bbolt syncs what the tests have no use for.
func scratchDir(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp(inMemory, "rustmq-nodetest-")
	if err != nil {
		return t.TempDir()
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}

// cutter cuts the power of a machine at every moment of a run: each time it lets copies of the machine live on.
type cutter struct {
	*machine
	ctx    context.Context
	group  *errgroup.Group
	copies int            // per moment
	plant  func(*machine) // puts a bug into a copy

	mu   sync.Mutex
	seen map[string]int // moments by kind
	done int            // cuts that were survived
	want int            // the run goes on until there were so many
}

func newCutter(ctx context.Context, m *machine, copies int) *cutter {
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(16) // a node mostly waits
	c := &cutter{machine: m, ctx: ctx, group: group, copies: copies, seen: make(map[string]int)}
	m.moment = c.cut
	m.FS.Hook(func(call crashfs.Call) error {
		c.cut(kind(call))
		return nil
	})
	return c
}

// kind is what a call does to what sort of file.
func kind(c crashfs.Call) string {
	dir, name := filepath.Base(filepath.Dir(c.Path)), filepath.Base(c.Path)
	if ext := filepath.Ext(name); ext == ".wal" {
		name = "a segment"
	}
	if c.Op == crashfs.OpRename && filepath.Base(c.Path) != "preparing" && name == "a segment" {
		return fmt.Sprintf("%s of %s/%s for use again", c.Op, dir, name)
	}
	return fmt.Sprintf("%s of %s/%s", c.Op, dir, name)
}

// cut cuts the power of copies of the machine as it is just now. It is called by the node's goroutines, which wait meanwhile.
func (c *cutter) cut(what string) {
	c.mu.Lock()
	c.seen[what]++
	moment := 0
	for _, n := range c.seen {
		moment += n
	}
	c.mu.Unlock()
	before := c.h.clone()
	for k := range c.copies {
		seed := uint64(moment*c.copies + k)
		m := &machine{Rig: c.Clone(seed), rand: rand.New(rand.NewPCG(seed, 2))}
		m.h = during(before, c.h)
		if c.plant != nil {
			c.plant(m)
		}
		c.group.Go(func() error {
			if over := c.ctx.Err(); over != nil {
				return nil //nolint:nilerr // what ended the run is said already
			}
			switch k {
			case 0:
				m.FS.CrashWith(crashfs.Lose())
			case 1:
				m.FS.Kill() // and the power is cut when the process is back
			default:
				m.FS.Crash()
			}
			m.store.forget()
			m.cuts = 1
			if err := m.survive(c.ctx, k%3); err != nil {
				return fmt.Errorf("cut before %s, moment %d, copy %d (seed %d): %w", what, moment, k, seed, err)
			}
			c.mu.Lock()
			c.done += m.cuts
			c.mu.Unlock()
			return m.Close()
		})
	}
}

// more says whether there were not enough cuts yet. How many a run has is a matter of time: of how much waits together for a sync.
func (c *cutter) more() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.done < c.want && c.ctx.Err() == nil
}

// short is a run that does everything once: topics come and go, segments are filled, uploaded, freed and used again. It goes on as long as
// there were not enough cuts.
func (c *cutter) short(ctx context.Context, all *clients) error {
	orders, err := all.create(ctx, "orders", 2)
	if err != nil {
		return err
	}
	for range 2 {
		if err := all.addProducer(ctx); err != nil {
			return err
		}
	}
	bursts := func(topic, n int) error {
		for range n {
			if err := all.burst(ctx, topic, 3); err != nil {
				return err
			}
		}
		return all.wait(ctx)
	}
	if err := bursts(orders, 8); err != nil {
		return err
	}
	payments, err := all.create(ctx, "payments", 1)
	if err != nil {
		return err
	}
	if err := bursts(payments, 6); err != nil {
		return err
	}
	if err := all.remove(ctx, orders); err != nil {
		return err
	}
	if err := bursts(payments, 4); err != nil {
		return err
	}
	if orders, err = all.create(ctx, "orders", 1); err != nil {
		return err
	}
	if err := bursts(orders, 8); err != nil {
		return err
	}
	for c.more() {
		if err := bursts(payments, 2); err != nil {
			return err
		}
	}
	return all.check(ctx)
}

// cutEverywhere is a short run of a node, cut at each of its moments, and at least so many times if none does harm.
func cutEverywhere(t *testing.T, copies, want int, plant func(*machine)) (c *cutter, err error) {
	t.Helper()
	m := newMachine(1, scratchDir(t))
	defer m.Close()
	plant(m)
	c = newCutter(t.Context(), m, copies)
	c.plant, c.want = plant, want
	err = m.live(t.Context(), 0, c.short)
	if lost := c.group.Wait(); lost != nil {
		return c, lost
	}
	if err != nil {
		return c, fmt.Errorf("without a cut: %w", err)
	}
	return c, nil
}

// TestPowerCutAtEveryCallLosesNothing cuts the power before and behind every call that changes a file, every commit of the database and
// every object of a short run, several times each: what survives of the last calls, how writes are torn, and whether the recovery is
// cut as well, is another each time.
func TestPowerCutAtEveryCallLosesNothing(t *testing.T) {
	t.Parallel()
	copies, want := 5, 2000
	if raceEnabled || testing.Short() {
		copies, want = 1, 200
	}
	c, err := cutEverywhere(t, copies, want, func(*machine) {})
	if err != nil {
		t.Fatal(err)
	}
	for _, what := range slices.Sorted(maps.Keys(c.seen)) {
		t.Logf("%4d %s", c.seen[what], what)
	}
	t.Logf("%d records acknowledged, %d cuts", c.h.acknowledged(), c.done)
	for _, what := range []string{"rename of wal/a segment for use again", "sync of wal/a segment", "sync of raft/a segment", "database committed", "object arrived"} {
		if c.seen[what] == 0 {
			t.Errorf("the run had no %s", what)
		}
	}
	if c.done < want {
		t.Errorf("%d cuts, want %d", c.done, want)
	}
}

// TestPowerCutsOfALongRunLoseNothing lets machines live many lives, by seed: some end as they should, most by a power cut, early in the
// recovery of the last cut or late, while clients do everything at once.
func TestPowerCutsOfALongRunLoseNothing(t *testing.T) {
	t.Parallel()
	machines := 12
	if raceEnabled || testing.Short() {
		machines = 2
	}
	scratch := scratchDir(t)
	var cuts, records atomic.Int64
	group, ctx := errgroup.WithContext(t.Context())
	group.SetLimit(8)
	for seed := range machines {
		group.Go(func() error {
			m := newMachine(uint64(seed), scratch)
			defer m.Close()
			m.Config.ObjectStore.FlushAge = time.Duration(1+m.rand.IntN(20)) * time.Millisecond
			if err := m.age(ctx, 30); err != nil {
				return fmt.Errorf("seed %d: %w", seed, err)
			}
			cuts.Add(int64(m.cuts))
			records.Add(int64(m.h.acknowledged()))
			return nil
		})
	}
	if err := group.Wait(); err != nil {
		t.Fatal(err)
	}
	t.Logf("%d records acknowledged, %d cuts", records.Load(), cuts.Load())
	if want := int64(machines * 15); cuts.Load() < want {
		t.Errorf("%d cuts, want %d", cuts.Load(), want)
	}
}

// age is a number of lives, and the proof at the end.
func (m *machine) age(ctx context.Context, lives int) error {
	for life := range lives {
		cutAt := 0
		switch chance := m.rand.IntN(10); {
		case chance < 3:
			cutAt = 1 + m.rand.IntN(40) // while it starts
		case chance < 9:
			cutAt = 1 + m.rand.IntN(300)
		}
		if err := m.live(ctx, cutAt, goOn(40)); err != nil {
			return fmt.Errorf("life %d, to be cut in call %d: %w", life, cutAt, err)
		}
	}
	return m.survive(ctx, 2)
}
