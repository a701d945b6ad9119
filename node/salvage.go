package node

import (
	"context"
	"errors"
	"log/slog"
	"path/filepath"
	"time"

	"github.com/rustmq/rustmq/mq"
	"github.com/rustmq/rustmq/partition"
	"github.com/rustmq/rustmq/tier"
	"github.com/rustmq/rustmq/wal"
)

// salvageBytes is how much of a log is read at once.
const salvageBytes = 1 << 20

// Salvage gives visit, in offset order, every record batch of a partition that the log of a node which does not run has, and below that what objects in its object store have of the
// same log: for one that is set aside. The last ones may never have been acknowledged. A hole is warned of, and passed. A batch is valid during the call. It changes no more than a
// start of the node does: a torn end of the log is cut.
//
// Errors: WrongDataDir for a directory that a process uses, those of the log and the object store, Corrupt for a batch that is damaged, and those of visit.
func Salvage(ctx context.Context, cfg Config, seams Seams, logger *slog.Logger, id mq.PartitionID, visit func(mq.Batch) error) (err error) {
	seams = seams.forRecovery()
	identity, lock, err := lockStopped(seams.FS, cfg.Node.DataDir, RoleBroker)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, lock.Close()) }()
	recovery := partition.NewRecovery(time.Now())
	log, _, err := wal.Open(wal.Options{
		FS: seams.FS, Dir: filepath.Join(cfg.Node.DataDir, walDir),
		SegmentBytes: int64(cfg.WAL.SegmentSize), MaxBytes: int64(cfg.WAL.MaxSize), QueueBytes: int64(cfg.WAL.QueueSize), Logger: logger, Rand: seams.Random,
	}, func(e wal.Entry) error {
		if e.Stream != wal.StreamID(id.Key()) {
			return nil
		}
		return recovery.Visit(e)
	})
	if err != nil {
		return mq.Wrapf(err, "open the data log")
	}
	defer func() { err = errors.Join(err, log.Close()) }()
	held, ok := recovery.Held(id, log)
	if !ok {
		return mq.Errorf(mq.UnknownTopicOrPartition, "the log in %s has nothing of partition %s", cfg.Node.DataDir, id)
	}
	s := &salvage{id: id, logger: logger, visit: visit}
	if held.First > 0 {
		if err := s.fromObjects(ctx, cfg, seams, identity.Cluster, held); err != nil {
			return err
		}
	}
	return s.fromLog(log, held)
}

// salvage goes through a partition once, from its lowest offset up.
type salvage struct {
	id     mq.PartitionID
	logger *slog.Logger
	visit  func(mq.Batch) error
	next   mq.Offset
}

// batch passes on one that was not there before.
func (s *salvage) batch(b mq.Batch) error {
	if b.NextOffset() <= s.next {
		return nil
	}
	if err := mq.VerifyCRC(b); err != nil {
		return mq.Wrapf(err, "partition %s: batch at %d", s.id, b.BaseOffset())
	}
	if b.BaseOffset() > s.next {
		s.logger.Warn("records are not there", "partition", s.id.String(), "from", int64(s.next), "to", int64(b.BaseOffset()))
	}
	s.next = b.NextOffset()
	return s.visit(b)
}

// fromObjects passes on what lies below the log.
func (s *salvage) fromObjects(ctx context.Context, cfg Config, seams Seams, cluster mq.ClusterID, held partition.Held) error {
	store, err := objectsOf(ctx, cfg, seams, false)
	if err != nil {
		return err
	}
	defer store.Close()
	var found []tier.Stray
	all := func(uint64) bool { return true }
	err = tier.Survey(ctx, store, bucketPrefix(cluster), s.logger, all, func(strays []tier.Stray) {
		for _, stray := range strays {
			if stray.Partition == s.id && len(found) < maxStrays {
				found = append(found, stray)
			}
		}
	})
	if err != nil {
		return err
	}
	gap := tier.Gap{Partition: s.id, Log: held.Epochs, LogFirst: held.First, LogEnd: held.End}
	for _, link := range gap.Fill(found) {
		if link.First >= held.First && held.First < held.End {
			break // the log has that
		}
		o, err := tier.OpenObject(ctx, store, link.Key)
		if err != nil {
			return err
		}
		if err := errors.Join(tier.Batches(o, &link.RangeInfo, func(_ int64, b mq.Batch) error { return s.batch(b) }), o.Close()); err != nil {
			return err
		}
	}
	return nil
}

func (s *salvage) fromLog(log *wal.Log, held partition.Held) error {
	for at := max(held.First, s.next); at < held.End; {
		next, err := log.ReadEntries(wal.StreamID(s.id.Key()), uint64(at), salvageBytes, func(e wal.Entry) error {
			for rest := e.Payload; len(rest) > 0; {
				b, after, err := mq.NextBatch(rest)
				if err != nil {
					return err
				}
				if err := s.batch(b); err != nil {
					return err
				}
				rest = after
			}
			return nil
		})
		if err == nil && mq.Offset(next) <= at {
			err = mq.Errorf(mq.Internal, "it goes no further")
		}
		if err != nil {
			return mq.Wrapf(err, "partition %s: read the log at %d", s.id, at)
		}
		at = mq.Offset(next)
	}
	return nil
}
