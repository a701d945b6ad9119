package metadata

import (
	"log/slog"
	"os"
	"runtime/debug"

	"go.etcd.io/bbolt"

	"github.com/rustmq/rustmq/mq"
)

// boltKV is one transaction of the database.
type boltKV struct {
	tx    *bbolt.Tx
	err   error // the first failure to write
	puts  int   // changes so far
	bytes int   // of them
}

func (k *boltKV) get(b bucket, key []byte) []byte { return k.tx.Bucket([]byte(b)).Get(key) }

func (k *boltKV) seek(b bucket, from []byte) (key, value []byte) {
	cursor := k.tx.Bucket([]byte(b)).Cursor()
	return cursor.Seek(from)
}

func (k *boltKV) put(b bucket, key, value []byte) {
	k.bytes += len(key) + len(value)
	k.note(k.tx.Bucket([]byte(b)).Put(key, value))
}

func (k *boltKV) del(b bucket, key []byte) { k.note(k.tx.Bucket([]byte(b)).Delete(key)) }

func (k *boltKV) note(err error) {
	k.puts++
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

// treeDepth is more pages than lie above a value in any database that we make, its own included.
const treeDepth = 8

// most is the length that the file may have after the transaction: bbolt copies the pages on the way to what changed, at most all of them.
func (k *boltKV) most() int64 {
	page, now := int64(k.tx.DB().Info().PageSize), k.tx.Size()
	return now + min(now, int64(k.puts+1)*treeDepth*page) + 4*int64(k.bytes) + growBytes
}

// growBytes is by how much a file is made longer than it need be: a sync goes with it.
const growBytes = 16 << 20

// grow makes a database's file long enough for what comes, so that bbolt finds it so and does not do it: it would make a text of a disk
// without room that nobody can tell from other trouble. Nothing has been written of the transaction yet.
func grow(path string, size int64, noSync bool) error {
	info, err := os.Stat(path)
	if err != nil || info.Size() >= size {
		return err
	}
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := f.Truncate(size); err != nil || noSync {
		return err
	}
	return f.Sync()
}

// openBolt opens a database file.
func openBolt(path string, noSync bool) (b *bbolt.DB, err error) {
	err = guard(path, func() (err error) {
		b, err = bbolt.Open(path, 0o600, &bbolt.Options{
			Timeout: lockTimeout, NoSync: noSync, FreelistType: bbolt.FreelistMapType, InitialMmapSize: initialMapBytes, NoStatistics: true,
		})
		return err
	})
	switch {
	case noRoom(err):
		return nil, mq.Errorf(mq.StorageFull, "open metadata database %s: %w", path, err)
	case err != nil:
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
