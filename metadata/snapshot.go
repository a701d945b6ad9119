package metadata

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"os"
	"path/filepath"

	"go.etcd.io/bbolt"

	"github.com/rustmq/rustmq/mq"
	"github.com/rustmq/rustmq/raft"
)

const (
	snapshotMagic = "RMQMETA1"
	// spoolSuffix follows the database's name in names of files that are swept away at the next start.
	spoolSuffix = ".spool-"
	// maxSnapshotBytes is beyond any database that bbolt could map.
	maxSnapshotBytes = 1 << 46
)

// Snapshot implements raft.StateMachine. It copies the database to a file first: a transaction that waited for a slow
// receiver would keep bbolt from reusing pages, and in the end from growing.
func (s *Store) Snapshot() (body io.ReadCloser, at raft.Position, err error) {
	file, err := os.CreateTemp(filepath.Dir(s.opts.Path), filepath.Base(s.opts.Path)+spoolSuffix+"out-*")
	if err != nil {
		return nil, at, mq.Errorf(mq.KafkaStorageError, "snapshot of the metadata: %w", err)
	}
	spool := &spoolFile{File: file}
	sum := crc32.New(castagnoli)
	var size int64
	buffered := bufio.NewWriterSize(io.MultiWriter(file, sum), 1<<20)
	err = s.viewTx(func(tx *bbolt.Tx) error {
		d := &db{r: &boltKV{tx: tx}}
		at = d.position()
		n, err := tx.WriteTo(buffered)
		size = n
		return errors.Join(d.err, err)
	})
	if err == nil {
		err = buffered.Flush()
	}
	if err == nil {
		_, err = file.Seek(0, io.SeekStart)
	}
	if err != nil {
		return nil, at, mq.Errorf(mq.KafkaStorageError, "snapshot of the metadata: %w", errors.Join(err, spool.Close()))
	}
	header := binary.BigEndian.AppendUint64([]byte(snapshotMagic), uint64(size))
	trailer := binary.BigEndian.AppendUint32(nil, sum.Sum32())
	return &snapshotBody{io.MultiReader(bytes.NewReader(header), file, bytes.NewReader(trailer)), spool}, at, nil
}

type snapshotBody struct {
	io.Reader
	io.Closer
}

// spoolFile is a file that is gone once it is closed.
type spoolFile struct{ *os.File }

func (f *spoolFile) Close() error { return errors.Join(f.File.Close(), os.Remove(f.Name())) }

// Stage implements raft.StateMachine. It reads a whole snapshot into a file beside the database and checks it.
func (s *Store) Stage(body io.Reader) (raft.Staged, error) {
	path, err := s.receive(body)
	if err != nil {
		return nil, mq.Wrapf(storageError(err), "receive a snapshot of the metadata")
	}
	loaded, err := inspect(path, s.known)
	if err != nil {
		return nil, errors.Join(mq.Wrapf(err, "receive a snapshot of the metadata"), os.Remove(path))
	}
	return &staged{store: s, path: path, position: loaded.position}, nil
}

// receive spools a snapshot, synced, and gives the path of the file.
func (s *Store) receive(body io.Reader) (path string, err error) {
	header := make([]byte, len(snapshotMagic)+8)
	if _, err := io.ReadFull(body, header); err != nil {
		return "", mq.Errorf(cutShort(err), "the header: %w", err)
	}
	size := binary.BigEndian.Uint64(header[len(snapshotMagic):])
	if string(header[:len(snapshotMagic)]) != snapshotMagic || size > maxSnapshotBytes {
		return "", mq.Errorf(mq.ProtocolViolation, "this is not a snapshot of metadata in a format that this program knows")
	}
	file, err := os.CreateTemp(filepath.Dir(s.opts.Path), filepath.Base(s.opts.Path)+spoolSuffix+"in-*")
	if err != nil {
		return "", err
	}
	defer func() {
		err = errors.Join(err, file.Close())
		if err != nil {
			err = errors.Join(err, os.Remove(file.Name()))
		}
	}()
	if err := s.opts.BeforeCommit(file.Name()); err != nil {
		return "", err
	}
	sum, disk := crc32.New(castagnoli), &diskWriter{w: file}
	if _, err := io.CopyN(io.MultiWriter(disk, sum), body, int64(size)); err != nil {
		if disk.err != nil {
			return "", disk.err
		}
		return "", mq.Errorf(cutShort(err), "%d bytes were announced: %w", size, err)
	}
	var trailer [4]byte
	if _, err := io.ReadFull(body, trailer[:]); err != nil {
		return "", mq.Errorf(cutShort(err), "the checksum: %w", err)
	}
	if binary.BigEndian.Uint32(trailer[:]) != sum.Sum32() {
		return "", mq.Errorf(mq.Corrupt, "the checksum over %d bytes does not match", size)
	}
	if s.opts.NoSync {
		return file.Name(), nil
	}
	return file.Name(), file.Sync()
}

// cutShort is the code of an error of where a snapshot comes from: what that says, if it says anything.
func cutShort(err error) mq.Code {
	if coded, ok := errors.AsType[*mq.Error](err); ok {
		return coded.Code
	}
	return mq.NetworkException
}

// diskWriter remembers what went wrong with it, and not with where the bytes came from.
type diskWriter struct {
	w   io.Writer
	err error
}

func (d *diskWriter) Write(p []byte) (n int, err error) {
	n, err = d.w.Write(p)
	d.err = errors.Join(d.err, err)
	return n, err
}

// inspect opens a received database, checks that it loads, and closes it.
func inspect(path string, known uint32) (*state, error) {
	b, err := openBolt(path, false)
	if err != nil {
		return nil, err
	}
	err = prepare(b, path)
	var loaded *state
	if err == nil {
		loaded, err = load(b, known)
	}
	if err := errors.Join(err, b.Close()); err != nil {
		return nil, err
	}
	return loaded, nil
}

// staged is a received database beside the one in use.
type staged struct {
	store    *Store
	path     string
	position raft.Position
}

// Position implements raft.Staged.
func (g *staged) Position() raft.Position { return g.position }

// Discard implements raft.Staged.
func (g *staged) Discard() {
	if g.path == "" {
		return
	}
	if err := os.Remove(g.path); err != nil {
		g.store.opts.Logger.Warn("discard a snapshot of the metadata", "err", err)
	}
	g.path = ""
}

// Install implements raft.Staged. The rename is what decides: before it a crash leaves the old database, after it the new one. An error
// leaves the store unusable, but for StorageFull.
func (g *staged) Install() error {
	s := g.store
	old := s.bolt.Load()
	err := s.opts.BeforeCommit(s.opts.Path)
	if err == nil {
		err = os.Rename(g.path, s.opts.Path)
	}
	if err != nil {
		return mq.Wrapf(storageError(err), "install a snapshot of the metadata")
	}
	g.path = ""
	if !s.opts.NoSync {
		if err := syncDir(filepath.Dir(s.opts.Path)); err != nil {
			return mq.Errorf(mq.KafkaStorageError, "install a snapshot of the metadata: %w", err)
		}
	}
	b, err := openBolt(s.opts.Path, s.opts.NoSync)
	if err != nil {
		return err
	}
	loaded, err := load(b, s.known)
	if err != nil {
		return errors.Join(err, b.Close())
	}
	s.bolt.Store(b)
	closeBolt(old, s.opts.Logger)
	s.opts.AfterCommit(s.opts.Path)
	s.publish(loaded)
	return nil
}

// Digest is a checksum over all keys and values but the format: equal on all replicas that stand at the same position.
func (s *Store) Digest() (at raft.Position, sum uint32, err error) {
	err = s.viewTx(func(tx *bbolt.Tx) error {
		d := &db{r: &boltKV{tx: tx}}
		at = d.position()
		h := crc32.New(castagnoli)
		for _, name := range allBuckets() {
			if err := tx.Bucket([]byte(name)).ForEach(func(k, v []byte) error {
				_, err := fmt.Fprintf(h, "%s/%d/%s/%d/%s", name, len(k), k, len(v), v)
				return err
			}); err != nil {
				return err
			}
		}
		sum = h.Sum32()
		return d.err
	})
	return at, sum, err
}
