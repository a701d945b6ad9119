package coordinator

import (
	"context"
	"time"

	"github.com/rustmq/rustmq/group"
	"github.com/rustmq/rustmq/mq"
	"github.com/rustmq/rustmq/partition"
)

// loadBytes is how much of a log a load reads at a time.
const loadBytes = 1 << 20

// load is how far the loading of a shard has come. It is the loop's own.
type load struct {
	begun  bool      // end is known
	end    mq.Offset // up to which the log is read: nobody appends to it meanwhile
	wait   *partition.Wait
	asked  bool       // the worker runs
	result chan error // of the worker, buffered
	done   bool
}

// Wake implements partition.Waiter.
func (c *Coordinator) Wake() { signal(c.wake) }

// load goes on with the loading of a shard, and says when to look again.
func (l *loop) load(h *hosted, now time.Time) time.Time {
	later := now.Add(lookEvery)
	if !h.load.begun {
		progress, ok := h.part.Progress()
		if !ok || progress.Epoch != h.epoch {
			return later // it leads no more: the image will say so
		}
		h.load.begun, h.load.end = true, progress.LogEnd
	}
	if h.load.asked {
		return l.loaded(h, later)
	}
	if _, high, _, _ := h.part.Offsets(); high < h.load.end {
		h.part.Cancel(h.load.wait)
		var waits bool
		if h.load.wait, waits = h.part.Await(h.load.end-1, mq.IsolationCommitted, l.c); waits {
			return later
		}
		return now // the watermark has moved meanwhile, or the leadership is over
	}
	select {
	case l.c.work <- struct{}{}:
	default:
		return now.Add(roomEvery)
	}
	h.load.asked, h.load.result = true, make(chan error, 1)
	s, end, result := h.shard, h.load.end, h.load.result
	l.c.wg.Go(func() {
		result <- s.read(l.c.ctx, end)
		<-l.c.work
		signal(l.c.wake)
	})
	return later
}

// loaded has a shard serve that has been read.
func (l *loop) loaded(h *hosted, later time.Time) time.Time {
	var err error
	select {
	case err = <-h.load.result:
	default:
		return later
	}
	if err == nil {
		err = h.serve(l.c.topics.Load())
	}
	if err != nil {
		l.c.cfg.Logger.Error("the groups of a partition cannot be read", "partition", h.index, "leader_epoch", int32(h.epoch), "err", err)
		h.die(err)
	}
	h.load.done = err == nil
	signal(l.c.wake)
	return later
}

// serve begins to take requests, after everything was replayed.
func (s *shard) serve(topics *group.Topics) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	if err := s.groups.Loaded(now); err != nil {
		return err
	}
	s.groups.SetTopics(now, topics)
	s.count(s.groups.Bytes())
	s.serving = true
	return nil
}

// read replays the log of the shard's partition up to end. Nobody else has the group.Shard meanwhile.
func (s *shard) read(ctx context.Context, end mq.Offset) error {
	var buf partition.ReadBuffer
	var decode mq.DecodeBuffer
	at, _, _, _ := s.part.Offsets()
	for at < end && !s.dead.Load() {
		got, err := s.part.Read(ctx, at, loadBytes, mq.IsolationCommitted, &buf)
		if err != nil {
			return err
		}
		if got.Next == at {
			return mq.Errorf(mq.OffsetNotAvailable, "read at %d: nothing, and the log ends at %d", at, end)
		}
		for _, piece := range got.Batches {
			for len(piece) > 0 {
				b, rest, err := mq.NextBatch(piece)
				if err != nil {
					return err
				}
				if err := s.replay(b, at, &decode); err != nil {
					return err
				}
				piece = rest
			}
		}
		at = got.Next
	}
	return nil
}

// replay replays the records of a batch from an offset on. What they hold is the buffer's.
func (s *shard) replay(b mq.Batch, from mq.Offset, buf *mq.DecodeBuffer) error {
	for rec, err := range b.Records(buf) {
		if err != nil {
			return err
		}
		if rec.Offset < from {
			continue
		}
		if err := s.groups.Replay(rec.Offset, group.Record{Key: rec.Key, Value: rec.Value}); err != nil {
			return err
		}
	}
	return nil
}
