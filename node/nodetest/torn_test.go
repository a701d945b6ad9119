package nodetest

import (
	"context"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"testing"
	"time"

	"github.com/rustmq/rustmq/mq"
	"github.com/rustmq/rustmq/wal"
	"github.com/rustmq/rustmq/wal/crashfs"
)

// leaveTorn leaves what a power cut tore as it is: nothing that is only zeros is written to a segment that is in use.
func leaveTorn(disk wal.FS) wal.FS {
	return &liar{FS: disk, write: func(f wal.File, path string, data []byte, at int64) (int, error) {
		if in(walName, path) && filepath.Ext(path) == ".wal" && allZero(data) {
			return len(data), nil
		}
		return f.WriteAt(data, at)
	}}
}

// TestTornEndStaysCut tears the last write of a log in two: the first batch is lost, and the second one is whole
// behind the hole. It must not come back when the next life fills exactly that hole, and loses its power right then.
func TestTornEndStaysCut(t *testing.T) {
	if err := tornEnd(t, func(*machine) {}); err != nil {
		t.Fatal(err)
	}
}

// tornEnd is three lives. A frame's checksum knows segment and position, so an old one passes for a new one only where a new one might be:
// right behind what was written last, in a block that nothing was written to since. If it is not cut it is there again, as the next
// batch of a partition that has another in its place.
func tornEnd(t *testing.T, plant func(*machine)) error {
	t.Helper()
	first := newMachine(1, scratchDir(t))
	defer first.Close()
	first.Config.WAL.SegmentSize = 256 << 10 // everything is in one
	first.Config.ObjectStore.FlushAge, first.Config.ObjectStore.FlushSize = time.Hour, 1<<30
	plant(first)
	tear := &tear{}
	if err := first.live(t.Context(), 0, tear.write); err != nil {
		return fmt.Errorf("the life that is cut: %w", err)
	}
	second := tear.next
	defer second.Close()
	plant(second)
	second.FS.CrashWith(crashfs.Fate{
		Write: func(path string, off int64, data []byte) []crashfs.Span {
			if !in(walName, path) {
				return []crashfs.Span{{From: 0, To: len(data)}}
			}
			return []crashfs.Span{{From: int(min(max(0, tear.behind-off), int64(len(data)))), To: len(data)}}
		},
		Resize: func(string, int64) bool { return true },
		Names:  func(_ string, n int) int { return n },
	})
	if err := second.live(t.Context(), 0, tear.fill); err != nil {
		return fmt.Errorf("the life that fills the hole: %w", err)
	}
	third := tear.next
	defer third.Close()
	plant(third)
	third.FS.CrashWith(crashfs.Lose())
	if err := third.survive(t.Context(), 0); err != nil {
		return fmt.Errorf("what lay behind the hole: %w", err)
	}
	return nil
}

// tear is the place where the log was torn, and the machine as the power cut found it.
type tear struct {
	behind int64 // where the batch is that was not lost, at the beginning of a block
	next   *machine
}

// write has a group of two batches under way when the power goes: the first one ends where the second one's block begins.
func (x *tear) write(ctx context.Context, c *clients) error {
	orders, err := c.create(ctx, "orders", 3)
	if err != nil {
		return err
	}
	for p := range int32(3) {
		if err := c.sendLoose(ctx, orders, p, 100); err != nil {
			return err
		}
	}
	if err := c.wait(ctx); err != nil {
		return err
	}
	g := newGate(c.rig.FS)
	defer close(g.open)
	if err := c.sendLoose(ctx, orders, 0, 100); err != nil {
		return err
	}
	end, err := g.untilSync(ctx, 1)
	if err != nil {
		return err
	}
	x.behind = end&^4095 + 32<<10 // room for what the next life writes at its start
	if err := c.sendUpTo(ctx, orders, 0, end, x.behind); err != nil {
		return err
	}
	if err := c.sendLoose(ctx, orders, 1, 100); err != nil {
		return err
	}
	g.pass <- struct{}{}
	if _, err := g.untilSync(ctx, 2); err != nil {
		return err
	}
	x.next = c.copyMachine(2)
	return nil
}

// fill writes up to where the other batch is, in its partition.
func (x *tear) fill(ctx context.Context, c *clients) error {
	if err := c.settle(ctx); err != nil {
		return err
	}
	orders := c.h.latest("orders")
	g := newGate(c.rig.FS)
	defer close(g.open)
	if err := c.sendLoose(ctx, orders, 2, 100); err != nil {
		return err
	}
	end, err := g.untilSync(ctx, 1)
	if err != nil {
		return err
	}
	if err := c.sendUpTo(ctx, orders, 1, end, x.behind); err != nil {
		return err
	}
	g.pass <- struct{}{}
	if end, err = g.untilSync(ctx, 1); err != nil {
		return err
	}
	if end < x.behind {
		return fmt.Errorf("the log ends at %d, and is to end at %d", end, x.behind)
	}
	g.pass <- struct{}{}
	if err := c.wait(ctx); err != nil { // acknowledged, and the writer stands before the promise
		return err
	}
	x.next = c.copyMachine(3)
	return nil
}

func (c *clients) copyMachine(seed uint64) *machine {
	return &machine{Rig: c.rig.Clone(seed), h: c.h.clone(), rand: rand.New(rand.NewPCG(seed, 1))}
}

// sendLoose sends a batch of one record that is sent once.
func (c *clients) sendLoose(ctx context.Context, topic int, partition int32, bytes int) error {
	return c.send(ctx, c.h.add(batch{topic: topic, partition: partition, producer: loose, records: 1, bytes: bytes, acks: mq.DurabilityAll}), false)
}

// sendUpTo is sendLoose of a batch whose frame in the log reaches from one place to another.
func (c *clients) sendUpTo(ctx context.Context, topic int, partition int32, from, to int64) error {
	const frameHeader = 64
	want := to - from - frameHeader
	for bytes := max(0, want-100); bytes < want; bytes++ {
		b := batch{number: len(c.h.batches), producer: loose, records: 1, bytes: int(bytes)}
		data, err := b.build(nil)
		if err != nil {
			return err
		}
		if int64(len(data)) == want {
			return c.sendLoose(ctx, topic, partition, int(bytes))
		}
	}
	return fmt.Errorf("no batch reaches from %d to %d", from, to)
}
