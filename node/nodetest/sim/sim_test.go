// Keys that withstand quantum computers cost a run a tenth of its time.
//
//go:debug tlsmlkem=0
package sim

import (
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"runtime"
	"runtime/debug"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

var (
	seeds = flag.Uint64("sim-seeds", 5, "how many seeds of the simulation to run")
	seed  = flag.Uint64("sim-seed", 0, "the only seed to run; 0: from 1 on")
	state = flag.String("sim-state", "", "file with the last seed that was run: go on behind it")
	loud  = flag.Bool("sim-log", false, "have nodes log all they say, and show it whatever happens")
)

// simulate runs a configuration in a bubble.
func simulate(t *testing.T, cfg Config) (result *Result, err error) {
	t.Helper()
	cfg.Scratch = t.TempDir()
	synctest.Test(t, func(t *testing.T) { result, err = Run(t.Context(), cfg) })
	return result, err
}

// memoryAtMost is what a process of many runs should take, in bytes. Each needs a tenth; without a bound it was 2 GB after a hundred.
const memoryAtMost = 1 << 30

// TestMain has memory save time.
func TestMain(m *testing.M) {
	debug.SetGCPercent(400)
	debug.SetMemoryLimit(memoryAtMost)
	os.Exit(m.Run())
}

func TestSimulation(t *testing.T) {
	first, last := resume(t)
	done := &progress{next: first, over: make(map[uint64]bool)}
	seeds := make(chan uint64)
	var running sync.WaitGroup
	for range runtime.GOMAXPROCS(0) {
		running.Go(func() {
			for s := range seeds {
				t.Run(fmt.Sprintf("seed=%d", s), func(t *testing.T) { run(t, s) })
				done.note(t, s)
			}
		})
	}
	for s := first; s <= last; s++ {
		seeds <- s
	}
	close(seeds)
	running.Wait()
}

// run runs a seed.
func run(t *testing.T, s uint64) {
	t.Helper()
	began, cfg := time.Now(), Config{Seed: s, Level: slog.LevelWarn}
	if *loud {
		cfg.Level = slog.LevelDebug
	}
	result, err := simulate(t, cfg)
	if failed := err != nil || len(result.Anomalies) > 0; failed || *loud {
		if failed {
			t.Errorf("see it again with: go test ./node/nodetest/sim -run TestSimulation -sim-log -sim-seed %d", s)
		}
		report(t, result, err)
		return
	}
	t.Logf("%d sent, %d acknowledged, %d read, %d events, %v", result.Sent, result.Acked, result.Read, len(result.Events),
		time.Since(began).Round(time.Millisecond))
}

// resume says which seeds to run.
func resume(t *testing.T) (first, last uint64) {
	t.Helper()
	if *seed != 0 {
		return *seed, *seed
	}
	if *state != "" {
		text, err := os.ReadFile(*state)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			t.Fatal(err)
		}
		if err == nil {
			if first, err = strconv.ParseUint(strings.TrimSpace(string(text)), 10, 64); err != nil {
				t.Fatal(err)
			}
		}
	}
	if testing.Short() {
		return first + 1, first + min(*seeds, 2)
	}
	return first + 1, first + *seeds
}

// progress keeps which seeds were run.
type progress struct {
	mu   sync.Mutex
	next uint64 // all before it were run
	over map[uint64]bool
}

// note keeps that a seed was run: the state's file names the last of which that is so for all before it, too.
func (p *progress) note(t *testing.T, s uint64) {
	t.Helper()
	if *state == "" || *seed != 0 {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	for p.over[s] = true; p.over[p.next]; p.next++ {
		delete(p.over, p.next)
	}
	if err := os.WriteFile(*state, fmt.Appendln(nil, p.next-1), 0o600); err != nil {
		t.Error(err)
	}
}

func report(t *testing.T, result *Result, err error) {
	t.Helper()
	if err != nil {
		t.Error(err)
	}
	if result == nil {
		return
	}
	if result.Report != nil {
		for _, a := range result.Anomalies {
			t.Error(a)
		}
	}
	t.Logf("what was done:\n%s", strings.Join(result.Events, "\n"))
	for i, log := range result.Logs {
		t.Logf("node %d says:\n%s", i+1, log)
	}
}
