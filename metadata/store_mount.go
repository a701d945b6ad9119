package metadata

import (
	"errors"
	"io"
	"os"

	"go.etcd.io/bbolt"

	metadatapb "github.com/rustmq/rustmq/api/metadata/v1"
	"github.com/rustmq/rustmq/mq"
	"github.com/rustmq/rustmq/raft"
)

// Beside receives a snapshot into a file beside the database and opens it, for [Store.View] and then [Store.TakePlace]; or [Store.Discard] it. Errors are those of Stage.
func (s *Store) Beside(body io.Reader) (*Store, error) {
	path, err := s.receive(body)
	if err != nil {
		return nil, mq.Wrapf(storageError(err), "receive a copy of the metadata")
	}
	opts := s.opts
	opts.Path = path
	next, err := open(opts, s.known)
	if err != nil {
		return nil, errors.Join(mq.Wrapf(err, "receive a copy of the metadata"), os.Remove(path))
	}
	return next, nil
}

// TakePlace has another store, which came of Beside, take the place of this one. After an error the other one is gone, and this one is unusable, but for StorageFull.
func (s *Store) TakePlace(next *Store) error {
	staged := &staged{store: s, path: next.opts.Path, position: next.Position()}
	err := next.Close()
	if err == nil {
		err = staged.Install()
	}
	if err != nil {
		staged.Discard()
	}
	return err
}

// Discard closes a store that came of Beside, and removes it.
func (s *Store) Discard() error { return errors.Join(s.Close(), os.Remove(s.opts.Path)) }

// Viewed is what [Viewing] said last of the copy that this is a view of.
func (s *Store) Viewed() (copied uint64, written int64, err error) {
	err = s.view(func(d *db) { copied, written = d.number(keyCopied), int64(d.number(keyCopyWritten)) })
	return copied, written, err
}

// View makes a copy of another cluster's metadata a view, or adds to a view, in one durable transaction: the mount's broker leads all partitions, in the epochs that they are in. Brokers,
// controllers and join tokens of the other cluster are left out; what it has as garbage stays, for that is known not to be its data. more gives ranges that continue the tiered ends, as for [Store.Refound].
func (s *Store) View(v Viewing, more func(commit func(*metadatapb.CommitObject) ([]error, error)) error) error {
	before := s.state.Load()
	at := raft.Position{Index: max(v.Above, before.position.Index) + 1, Term: before.position.Term, Conf: before.position.Conf}
	var image *Image
	err := guard(s.opts.Path, func() error {
		return s.bolt.Load().Update(func(tx *bbolt.Tx) error {
			kv := &boltKV{tx: tx}
			m := newMachine(&db{r: kv, w: kv}, before.image, s.known)
			m.index = at.Index
			if before.image.ClusterID != v.Cluster {
				if err := clearBuckets(tx, bucketControllers, bucketJoinTokens); err != nil {
					return err
				}
				m.view(v)
			}
			m.db.putNumber(keyCopied, v.Copied)
			m.db.putNumber(keyCopyWritten, uint64(v.Written))
			m.putBroker(&Broker{ID: v.Node, Epoch: 1, Dir: v.Dir, Rack: v.Rack, Endpoints: v.Endpoints, MaxFeatureLevel: m.img.FeatureLevel})
			if err := more(func(c *metadatapb.CommitObject) ([]error, error) { return m.adopt(v.Node, c) }); err != nil {
				return err
			}
			m.db.putPosition(at)
			image = m.finish(at.Index)
			return errors.Join(m.db.err, kv.err)
		})
	})
	if err != nil {
		return mq.Wrapf(storageError(err), "make a view of a copy of the metadata")
	}
	s.opts.AfterCommit(s.opts.Path)
	s.publish(&state{image, at})
	return nil
}
