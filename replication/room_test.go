package replication

import (
	"context"
	"log/slog"
	"testing"
	"time"

	replicationpb "github.com/rustmq/rustmq/api/replication/v1"
	"github.com/rustmq/rustmq/mq"
	"github.com/rustmq/rustmq/partition"
	"github.com/rustmq/rustmq/wal"
	"github.com/rustmq/rustmq/wal/crashfs"
)

// A follower whose log is full makes room by what the leader confirms, though the leader has batches for it as well: the same message brings both.
func TestFollowerWithAFullLogLetsGoOfWhatTheLeaderConfirms(t *testing.T) {
	bubble(t, func(t *testing.T) {
		log, _, err := wal.Open(wal.Options{FS: crashfs.New(1), Dir: "wal", SegmentBytes: 64 << 10, MaxBytes: 256 << 10}, func(wal.Entry) error { return nil })
		if err != nil {
			t.Fatal(err)
		}
		defer log.Close()
		p, err := partition.Open(partition.Config{
			ID: id(0), Node: 2, Log: log, Tail: partition.NewTailBudget(1 << 20), Now: time.Now, Settings: func() partition.Settings { return partition.Settings{} },
		}, nil, partition.Checkpoint{})
		if err != nil {
			t.Fatal(err)
		}
		defer p.Close()
		if err := p.Follow(1, 1); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		s := newSession(ctx, NewFollower(FollowerConfig{Logger: slog.New(slog.DiscardHandler)}), cancel, 1)
		// round is a message that goes on where the log ends, with what the leader has in the object store.
		round := func(tiered mq.Offset) (ok bool) {
			_, _, end, _ := p.Offsets()
			b := batch(t, 5, 0, int32(end), 8<<10)
			b.SetBaseOffset(end)
			b.SetLeaderEpoch(1)
			r := &replica{session: s, epoch: 1, partition: p}
			r.replicate(ctx, &replicationpb.Part{HighWatermark: int64(end), TieredEnd: int64(tiered)}, [][]byte{b})
			return !r.over.Load()
		}
		for round(0) {
		}
		_, _, end, _ := p.Offsets()
		time.Sleep(10 * time.Second)
		if round(0) {
			t.Fatal("the log is not full")
		}
		for range 10 {
			if round(end) {
				return
			}
			time.Sleep(time.Second)
		}
		t.Fatal("the log stays full, though all of it is in the object store")
	})
}

// A replica that can not go on says so by itself: what it was sent and does not acknowledge any more would take up the window that others need.
func TestReplicaThatIsQuarantinedGivesUpItsWindow(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c := newCluster(t, 2, 2, 1, 5)
		c.cfg.Window = 4 << 10
		c.diskDelay = func() time.Duration { return time.Millisecond }
		c.start()
		defer c.close()
		c.ctl.take(id(1), 1)
		settle()
		c.acked(0, 5, 0, 1)
		c.acked(1, 6, 0, 1)
		follower := c.brokers[2]
		follower.slow.Store(true)
		for seq := range int32(10) {
			c.brokers[1].send(1, batch(t, 6, 0, 1+seq, 1000), mq.DurabilityLeader, make(future, 1))
		}
		time.Sleep(20 * time.Millisecond) // all that the window has room for is at the follower
		follower.partition(id(1)).Quarantine(mq.Errorf(mq.Corrupt, "found just now"))
		follower.slow.Store(false)
		c.acked(0, 5, 1, 20)
		time.Sleep(time.Second)
		if _, _, end, _ := follower.partition(id(0)).Offsets(); end != 21 {
			t.Fatalf("the follower has %d records of 21", end)
		}
	})
}
