package metadata

import (
	"log/slog"
	"runtime/debug"

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

// openBolt opens a database file.
func openBolt(path string, noSync bool) (b *bbolt.DB, err error) {
	err = guard(path, func() (err error) {
		b, err = bbolt.Open(path, 0o600, &bbolt.Options{
			Timeout: lockTimeout, NoSync: noSync, FreelistType: bbolt.FreelistMapType, InitialMmapSize: initialMapBytes, NoStatistics: true,
		})
		return err
	})
	if err != nil {
		return nil, mq.Errorf(mq.Corrupt, "open metadata database %s: %w", path, err)
	}
	return b, nil
}

// guard runs f, which reads or writes a database. bbolt has no checksums of its own pages: over a damaged one it panics, or follows a
// pointer to where there is no memory. Both are reported as damage.
func guard(path string, f func() error) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = mq.Errorf(mq.Corrupt, "metadata database %s is damaged: %v", path, p)
		}
	}()
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	return f()
}

func closeBolt(b *bbolt.DB, logger *slog.Logger) {
	if err := b.Close(); err != nil {
		logger.Warn("close the metadata database", "path", b.Path(), "err", err)
	}
}
