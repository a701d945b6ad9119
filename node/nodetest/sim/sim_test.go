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
	"path/filepath"
	"runtime"
	"runtime/debug"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rustmq/rustmq/node/nodetest"
)

var (
	seeds = flag.Uint64("sim-seeds", 5, "how many seeds of the simulation to run")
	seed  = flag.Uint64("sim-seed", 0, "the only seed to run; 0: from 1 on")
	state = flag.String("sim-state", "", "file with the last seed that was run: go on behind it")
	kept  = flag.String("sim-reports", "", "directory for a file with all that is known of each seed that failed; none: it is shown")
	loud  = flag.Bool("sim-log", false, "have nodes log all they say, and show it whatever happens")
)

// simulate runs a configuration in a bubble.
func simulate(t *testing.T, cfg Config) (result *Result, err error) {
	t.Helper()
	cfg.Scratch, cfg.Certs = t.TempDir(), certs
	synctest.Test(t, func(t *testing.T) { result, err = Run(t.Context(), cfg) })
	return result, err
}

// memoryAtMost is what a process of many runs should take, in bytes. Each needs a tenth.
const memoryAtMost = 1 << 30

// certs are of all runs.
var certs *Certs

// TestMain has memory save time.
func TestMain(m *testing.M) {
	debug.SetGCPercent(1000)
	debug.SetMemoryLimit(memoryAtMost)
	nodetest.KeepInMemory()
	dir, err := os.MkdirTemp("", "certs")
	if err == nil {
		certs, err = NewCerts(dir, time.Date(2000, time.January, 1, 0, 0, 0, 0, time.UTC)) // when bubbles begin
	}
	status := 1
	if err == nil {
		status = m.Run()
	}
	if err = errors.Join(err, os.RemoveAll(dir)); err != nil {
		fmt.Fprintln(os.Stderr, err)
	}
	os.Exit(status)
}

func TestSimulation(t *testing.T) {
	first, last := resume(t)
	done := &progress{next: first, over: make(map[uint64]bool)}
	seeds := make(chan uint64)
	var running sync.WaitGroup
	for range runtime.GOMAXPROCS(0) {
		running.Go(func() {
			for s := range seeds {
				done.note(t, s, t.Run(fmt.Sprintf("seed=%d", s), func(t *testing.T) { run(t, s) }))
			}
		})
	}
	for s := first; s <= last; s++ {
		seeds <- s
	}
	close(seeds)
	running.Wait()
	t.Logf("seeds %d to %d: %d failed %v", first, last, len(done.failed), done.failed)
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
		tell(t, s, failed, report(t, result, err))
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
	mu     sync.Mutex
	next   uint64 // all before it were run
	over   map[uint64]bool
	failed []uint64
}

// note keeps that a seed was run: the state's file names the last of which that is so for all before it, too. It is whole whenever the run is broken off.
func (p *progress) note(t *testing.T, s uint64, passed bool) {
	t.Helper()
	p.mu.Lock()
	defer p.mu.Unlock()
	if !passed {
		p.failed = append(p.failed, s)
	}
	if *state == "" || *seed != 0 {
		return
	}
	for p.over[s] = true; p.over[p.next]; p.next++ {
		delete(p.over, p.next)
	}
	fresh := *state + ".new"
	if err := errors.Join(os.WriteFile(fresh, fmt.Appendln(nil, p.next-1), 0o600), os.Rename(fresh, *state)); err != nil {
		t.Error(err)
	}
}

// report shows what is wrong, and is all that there is to say about it.
func report(t *testing.T, result *Result, err error) string {
	t.Helper()
	var all strings.Builder
	wrong := func(what any) {
		t.Error(what)
		fmt.Fprintln(&all, what)
	}
	if err != nil {
		wrong(err)
	}
	if result == nil {
		return all.String()
	}
	if result.Report != nil {
		for _, a := range result.Anomalies {
			wrong(a)
		}
	}
	fmt.Fprintf(&all, "what was done:\n%s\n", strings.Join(result.Events, "\n"))
	for i, log := range result.Logs {
		fmt.Fprintf(&all, "node %d says:\n%s\n", i+1, log)
	}
	return all.String()
}

// tell shows a report, or keeps that of a seed that failed.
func tell(t *testing.T, s uint64, failed bool, text string) {
	t.Helper()
	if *kept == "" || !failed {
		t.Log(text)
		return
	}
	path := filepath.Join(*kept, fmt.Sprintf("seed-%d-%s.txt", s, time.Now().UTC().Format("20060102T150405")))
	if err := errors.Join(os.MkdirAll(*kept, 0o755), os.WriteFile(path, []byte(text), 0o600)); err != nil {
		t.Log(err, "\n", text)
		return
	}
	t.Log("all that is known: ", path)
}
