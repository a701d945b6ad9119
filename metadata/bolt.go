package metadata

import (
	"log/slog"

	"go.etcd.io/bbolt"

	"github.com/rustmq/rustmq/mq"
)

// boltKV is one transaction of the database.
type boltKV struct {
	tx  *bbolt.Tx
	err error // the first failure to write
}

func (k *boltKV) get(b bucket, key []byte) []byte { return k.tx.Bucket([]byte(b)).Get(key) }

func (k *boltKV) seek(b bucket, from []byte) (key, value []byte) {
	cursor := k.tx.Bucket([]byte(b)).Cursor()
	return cursor.Seek(from)
}

func (k *boltKV) put(b bucket, key, value []byte) { k.note(k.tx.Bucket([]byte(b)).Put(key, value)) }

func (k *boltKV) del(b bucket, key []byte) { k.note(k.tx.Bucket([]byte(b)).Delete(key)) }

func (k *boltKV) note(err error) {
	if err != nil && k.err == nil {
		k.err = err
	}
}

const (
	// initialMapBytes is address space, not memory. bbolt cannot grow the map while a reader has a transaction open, so it is
	// made large enough that a copy of the database for a snapshot does not stop the writer.
	initialMapBytes = 256 << 20
	// lockTimeout is how long to wait for another process that has the file open, in nanoseconds: it is a mistake, the
	// data directory is locked already.
	lockTimeout = 1_000_000_000
)

// openBolt opens a database file. What bbolt finds wrong with the file is reported as damage: it panics on some of that.
func openBolt(path string, noSync bool) (b *bbolt.DB, err error) {
	defer damaged(path, &err)
	b, err = bbolt.Open(path, 0o600, &bbolt.Options{
		Timeout: lockTimeout, NoSync: noSync, FreelistType: bbolt.FreelistMapType, InitialMmapSize: initialMapBytes, NoStatistics: true,
	})
	if err != nil {
		return nil, mq.Errorf(mq.Corrupt, "open metadata database %s: %w", path, err)
	}
	return b, nil
}

// damaged turns a panic of bbolt over a damaged page into an error. Deferred by whatever reads a file that was at rest.
func damaged(path string, err *error) {
	if p := recover(); p != nil {
		*err = mq.Errorf(mq.Corrupt, "metadata database %s is damaged: %v", path, p)
	}
}

func closeBolt(b *bbolt.DB, logger *slog.Logger) {
	if err := b.Close(); err != nil {
		logger.Warn("close the metadata database", "path", b.Path(), "err", err)
	}
}
