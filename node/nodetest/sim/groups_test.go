package sim

import (
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rustmq/rustmq/client"
	"github.com/rustmq/rustmq/mq"
)

// simulateGroup runs a configuration with a group in a bubble.
func simulateGroup(t *testing.T, cfg Config, orderly bool) (result *GroupResult, err error) {
	t.Helper()
	cfg.Scratch, cfg.Certs = t.TempDir(), certs
	synctest.Test(t, func(t *testing.T) { result, err = RunGroup(t.Context(), cfg, orderly) })
	return result, err
}

// runGroup runs a seed with a group.
func runGroup(t *testing.T, cfg Config, orderly bool) *GroupResult {
	t.Helper()
	began := time.Now()
	cfg.Level = slog.LevelWarn
	if *loud {
		cfg.Level = slog.LevelDebug
	}
	result, err := simulateGroup(t, cfg, orderly)
	if err != nil {
		t.Error(err)
	}
	for _, w := range result.Wrong {
		t.Error(w)
	}
	if t.Failed() || *loud {
		t.Logf("what was done:\n%s", strings.Join(result.Events, "\n"))
		for i, log := range result.Logs {
			t.Logf("node %d says:\n%s", i+1, log)
		}
	}
	t.Logf("%d members, %d records produced, %d consumed, %d of them again, %d commits, %d refused, %v", result.Members, result.Produced, result.Consumed,
		result.Again, result.Commits, result.Refused, time.Since(began).Round(time.Millisecond))
	return result
}

// TestGroupUnderHarm has members of a group join, leave, die and stand still for longer than their session, partitions added, and nodes harmed in any way: no commit counts of who lost the
// partition, no committed offset goes back, and each record is consumed.
func TestGroupUnderHarm(t *testing.T) {
	first, last := uint64(1), *seeds
	if testing.Short() {
		last = min(last, 2)
	}
	if *seed != 0 {
		first, last = *seed, *seed
	}
	for s := first; s <= last; s++ {
		t.Run(fmt.Sprintf("seed=%d", s), func(t *testing.T) { runGroup(t, Config{Seed: s}, false) })
	}
}

// TestGroupThatNobodyHarmsConsumesOnce has members come and go in order: then each record is consumed exactly once.
func TestGroupThatNobodyHarmsConsumesOnce(t *testing.T) {
	if got := runGroup(t, Config{Seed: 1}, true); got.Again > 0 || got.Refused > 0 || got.Members < 4 {
		t.Errorf("%d records were consumed again, %d commits refused, by %d members", got.Again, got.Refused, got.Members)
	}
}

// TestGroupLedgerFindsWhatMustNotBe has the ledger told of histories with one thing wrong each.
func TestGroupLedgerFindsWhatMustNotBe(t *testing.T) {
	tp := []client.TopicPartition{{Topic: topic}}
	ends := map[int32]mq.Offset{0: 2}
	for _, c := range []struct {
		name, want string
		history    func(l *groupLedger)
	}{
		{"nothing", "", func(l *groupLedger) {
			l.assigned("a", tp)
			l.consumed("a", tp[0], 0)
			l.committed("a", tp[0], 1, l.tick(), nil)
			l.gone("a", tp)
			l.assigned("b", tp)
			l.consumed("b", tp[0], 1)
		}},
		{"a zombie's commit under way when another one was told", "", func(l *groupLedger) {
			l.assigned("a", tp)
			l.consumed("a", tp[0], 0)
			began := l.tick()
			l.assigned("b", tp)
			l.committed("a", tp[0], 1, began, nil)
			l.consumed("b", tp[0], 0)
			l.consumed("b", tp[0], 1)
		}},
		{"a zombie's commit counts", "which b had before", func(l *groupLedger) {
			l.assigned("a", tp)
			l.consumed("a", tp[0], 0)
			l.assigned("b", tp)
			l.consumed("b", tp[0], 0)
			l.consumed("b", tp[0], 1)
			l.committed("a", tp[0], 1, l.tick(), nil)
		}},
		{"the next owner goes on behind what was committed", "1 is next", func(l *groupLedger) {
			l.assigned("a", tp)
			l.consumed("a", tp[0], 0)
			l.committed("a", tp[0], 1, l.tick(), nil)
			l.assigned("b", tp)
			l.consumed("b", tp[0], 0)
			l.consumed("b", tp[0], 1)
		}},
		{"a committed offset goes back", "0 is committed, and 1 was", func(l *groupLedger) {
			l.assigned("a", tp)
			l.consumed("a", tp[0], 0)
			l.committed("a", tp[0], 1, l.tick(), nil)
			l.look(l.acknowledged(), map[int32]mq.Offset{0: 0})
			l.consumed("a", tp[0], 1)
		}},
		{"a record is left out", "record 1 of partition 0 was never consumed", func(l *groupLedger) {
			l.assigned("a", tp)
			l.consumed("a", tp[0], 0)
		}},
		{"a member consumes what it gave up", "not its own", func(l *groupLedger) {
			l.assigned("a", tp)
			l.consumed("a", tp[0], 0)
			l.gone("a", tp)
			l.consumed("a", tp[0], 1)
		}},
	} {
		l := newGroupLedger()
		c.history(l)
		l.finish(ends)
		got := strings.Join(l.result().Wrong, "\n")
		if c.want == "" && got != "" || !strings.Contains(got, c.want) {
			t.Errorf("%s: found %q, want %q", c.name, got, c.want)
		}
	}
}
