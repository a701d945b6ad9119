package metadata

import (
	"errors"

	"go.etcd.io/bbolt"

	metadatapb "github.com/rustmq/rustmq/api/metadata/v1"
	"github.com/rustmq/rustmq/mq"
	"github.com/rustmq/rustmq/raft"
)

// Refound makes the metadata, a copy of another cluster's, those of a new one, in one durable transaction, and sets its raft position. It begins another generation: all that
// is counted goes on above what the old cluster can have handed out. Brokers, controllers, join tokens and garbage of the old one are forgotten: nothing of it is ever
// deleted from here. All partitions are led by the one broker of the new cluster, in new epochs.
//
// more gives objects beyond the copy that the object store has, each with ranges that continue the tiered ends, to be committed before anything else is; their epochs
// and node are not looked at. What it is given back are the verdicts. May be nil.
func (s *Store) Refound(r Refounding, more func(commit func(*metadatapb.CommitObject) ([]error, error)) error) (found Refounded, err error) {
	before := s.state.Load()
	at := raft.Position{Index: raft.NextGeneration(before.position.Index), Term: before.position.Term + 1, Conf: r.Conf}
	var image *Image
	err = guard(s.opts.Path, func() error {
		return s.bolt.Load().Update(func(tx *bbolt.Tx) error {
			if err := clearBuckets(tx, bucketGarbage, bucketControllers, bucketJoinTokens); err != nil {
				return err
			}
			kv := &boltKV{tx: tx}
			m := newMachine(&db{r: kv, w: kv}, before.image, s.known)
			m.index = at.Index
			found = m.refound(r)
			if more != nil {
				if err := more(func(c *metadatapb.CommitObject) ([]error, error) { return m.adopt(r.Node, c) }); err != nil {
					return err
				}
			}
			found.Lowered = m.lowerLogStarts()
			m.db.putPosition(at)
			image = m.finish(at.Index)
			return errors.Join(m.db.err, kv.err)
		})
	})
	if err != nil {
		return Refounded{}, mq.Wrapf(storageError(err), "make a new cluster of a copy of the metadata")
	}
	s.opts.AfterCommit(s.opts.Path)
	s.publish(&state{image, at})
	return found, nil
}

// clearBuckets drops all that is in buckets.
func clearBuckets(tx *bbolt.Tx, buckets ...bucket) error {
	for _, b := range buckets {
		if err := tx.DeleteBucket([]byte(b)); err != nil {
			return err
		}
		if _, err := tx.CreateBucket([]byte(b)); err != nil {
			return err
		}
	}
	return nil
}
