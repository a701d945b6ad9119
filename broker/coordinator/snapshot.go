package coordinator

import (
	"sync/atomic"
	"time"

	metadatapb "github.com/rustmq/rustmq/api/metadata/v1"
	"github.com/rustmq/rustmq/group"
	"github.com/rustmq/rustmq/metadata"
	"github.com/rustmq/rustmq/mq"
)

// snapshotPiece is about how many bytes of a snapshot are written at a time. The next ones follow when they are replicated, and requests come in between.
const snapshotPiece = 256 << 10

// snapshot is the one that is being written.
type snapshot struct {
	running bool        // the loop's own
	busy    atomic.Bool // a piece is on its way
	ended   atomic.Bool // the last piece is replicated; the object store is waited for
	begin   mq.Offset   // where it begins, and where its last piece does; written before busy ends
	end     mq.Offset
}

// beginSnapshot begins a snapshot if the log behind the last one is long enough: longer than the snapshot itself, so that all snapshots together are no more than is
// written otherwise.
func (s *shard) beginSnapshot() {
	if s.snapshot.running {
		return
	}
	f, ok := s.figures()
	s.snapshot.running = ok && f.SinceSnapshot > s.c.cfg.SnapshotBytes && f.SinceSnapshot > 2*f.Snapshot
}

// goOn writes the next piece of the snapshot that is under way.
func (s *shard) goOn() {
	n := &s.snapshot
	if !n.running || n.busy.Load() {
		return
	}
	if n.ended.Load() {
		// A cluster may have to be restored from what the object store has by then: that is to begin with a whole snapshot, too.
		if _, _, _, tiered := s.part.Offsets(); tiered <= n.end { // which is whole batches
			return
		}
		n.running = false
		n.ended.Store(false)
		s.trim(n.begin)
		return
	}
	n.busy.Store(true)
	var step group.SnapshotStep
	err := s.run(func(time.Time) (effects group.Effects) {
		effects, step = s.groups.Snapshot(snapshotPiece)
		return effects
	}, func(base mq.Offset) {
		switch step {
		case group.SnapshotBegun:
			n.begin = base
		case group.SnapshotEnded:
			n.end = base
			n.ended.Store(true)
		case group.SnapshotWrites:
		}
		n.busy.Store(false)
		signal(s.c.wake)
	})
	if err != nil {
		n.busy.Store(false) // it is tried again
	}
}

// trim moves the log start to where a snapshot begins that is replicated.
func (s *shard) trim(to mq.Offset) {
	s.c.wg.Go(func() {
		select {
		case s.c.work <- struct{}{}:
			defer func() { <-s.c.work }()
		case <-s.c.ctx.Done():
			return
		}
		id := s.part.ID()
		result, err := s.c.cfg.Propose(s.c.ctx, &metadatapb.Command{Kind: &metadatapb.Command_SetLogStarts{SetLogStarts: &metadatapb.SetLogStarts{
			Starts: []*metadatapb.LogStart{{Partition: metadata.PartitionRecord(id), LeaderEpoch: int32(s.epoch), Offset: int64(to)}},
		}}})
		if err == nil && len(result.GetSetLogStarts().GetVerdicts()) == 1 {
			err = metadata.VerdictError(result.GetSetLogStarts().GetVerdicts()[0])
		}
		if err != nil { // the next snapshot moves it further
			s.c.cfg.Logger.Warn("the log of groups could not be cut at its snapshot", "partition", s.index, "to", int64(to), "err", err)
		}
	})
}
