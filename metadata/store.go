package metadata

import (
	"errors"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"

	"go.etcd.io/bbolt"
	bolterrors "go.etcd.io/bbolt/errors"

	"github.com/rustmq/rustmq/mq"
	"github.com/rustmq/rustmq/raft"
)

// Options are what a Store is opened with.
type Options struct {
	// Path of the database file. Files of the same name with a suffix are the store's too.
	Path string
	// NoSync leaves out every sync: for tests that do not cut the power.
	NoSync bool
	// AfterCommit, when set, is called after each durable change of the database file, before anything else changes it and
	// before anybody hears of the change: tests copy the file then, to have what a power cut would leave.
	AfterCommit func(path string)
	// BeforeCommit, when set, is called before the file of each commit is written, and of a new database or snapshot, or one is put in place of
	// another. Its error is taken for what the disk said: for tests.
	BeforeCommit func(path string) error
	// Planted is for tests only: nothing else sets it.
	Planted Planted
	// Logger may be nil.
	Logger *slog.Logger
}

// Planted are bugs that tests put in, to see that they would be found.
type Planted struct {
	EpochContinued     bool // a new run of a broker goes on in the leader epochs of the last one
	DamageIgnored      bool // a replica that lacks what it had promised keeps its place
	DiskIgnored        bool // so does one whose disk is another
	EligibleForgotten  bool // who left an in-sync set last is not eligible
	EligibleForEver    bool // who was eligible is so while others go on to commit
	CompareIgnored     bool // a change of what is not so any more is decided
	IncarnationIgnored bool // a run joins an in-sync set for what an earlier one had
	FencedJoins        bool // who is declared dead joins an in-sync set
	UncleanElected     bool // anybody is elected when nobody in sync is alive, whatever the topic says
}

// Store is the metadata on disk: a raft.StateMachine over one bbolt database, and the Image of it in memory. Its methods may be
// called at the same time, but for Apply, Install and Close, of which one may run.
type Store struct {
	opts  Options
	known uint32 // the highest feature level that commands may be of
	bolt  atomic.Pointer[bbolt.DB]
	state atomic.Pointer[state]

	watchers watchers
}

// state is what belongs together: what one transaction left.
type state struct {
	image    *Image
	position raft.Position
}

var _ raft.StateMachine = (*Store)(nil)

// Open opens the database, which is created when missing, and loads the Image. Corrupt or WrongDataDir when the file is not
// one of ours, damaged, or of a newer format.
func Open(opts Options) (*Store, error) { return open(opts, FeatureLevel) }

// open is Open for code that claims to know a feature level.
func open(opts Options, known uint32) (*Store, error) {
	if opts.Logger == nil {
		opts.Logger = slog.New(slog.DiscardHandler)
	}
	if opts.AfterCommit == nil {
		opts.AfterCommit = func(string) {}
	}
	if opts.BeforeCommit == nil {
		opts.BeforeCommit = func(string) error { return nil }
	}
	if err := sweep(opts.Path); err != nil {
		return nil, mq.Errorf(mq.KafkaStorageError, "open metadata database %s: %w", opts.Path, err)
	}
	if _, err := os.Stat(opts.Path); errors.Is(err, fs.ErrNotExist) {
		if err := create(&opts); err != nil {
			return nil, mq.Wrapf(storageError(err), "create metadata database %s", opts.Path)
		}
	}
	b, err := openBolt(opts.Path, opts.NoSync)
	if err != nil {
		return nil, err
	}
	if err := prepare(b, opts.Path); err != nil {
		closeBolt(b, opts.Logger)
		return nil, err
	}
	loaded, err := load(b, known)
	if err != nil {
		closeBolt(b, opts.Logger)
		return nil, err
	}
	s := &Store{opts: opts, known: known}
	s.bolt.Store(b)
	s.state.Store(loaded)
	opts.AfterCommit(opts.Path)
	return s, nil
}

// create makes a database under another name, which sweep knows, and gives it its own when it is whole: a file that is half a
// database, for want of room or of power, could not be told from a damaged one.
func create(opts *Options) error {
	path := opts.Path + spoolSuffix + "new"
	err := func() error {
		if err := opts.BeforeCommit(path); err != nil {
			return err
		}
		b, err := openBolt(path, opts.NoSync)
		if err != nil {
			return err
		}
		return errors.Join(prepare(b, path), b.Close())
	}()
	if err == nil {
		err = os.Rename(path, opts.Path)
	}
	if err != nil {
		if gone := os.Remove(path); gone != nil && !errors.Is(gone, fs.ErrNotExist) {
			err = errors.Join(err, gone)
		}
		return err
	}
	if opts.NoSync {
		return nil
	}
	return syncDir(filepath.Dir(opts.Path))
}

// sweep removes what a crash left of snapshots.
func sweep(path string) error {
	entries, err := os.ReadDir(filepath.Dir(path))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), filepath.Base(path)+spoolSuffix) {
			err = errors.Join(err, os.Remove(filepath.Join(filepath.Dir(path), e.Name())))
		}
	}
	return err
}

func syncDir(path string) error {
	dir, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}

// Close closes the database. Image goes on giving the last image.
func (s *Store) Close() error {
	if err := s.bolt.Load().Close(); err != nil {
		return mq.Errorf(mq.KafkaStorageError, "close metadata database %s: %w", s.opts.Path, err)
	}
	return nil
}

// Image is the present image. It never waits.
func (s *Store) Image() *Image { return s.state.Load().image }

// Position implements raft.StateMachine.
func (s *Store) Position() raft.Position { return s.state.Load().position }

// Apply implements raft.StateMachine: all entries in one transaction, synced on return. StorageFull means that the disk had no room
// for it, and that it may be tried again; any other error, that this replica cannot go on. Nothing of the batch was applied then.
func (s *Store) Apply(entries []raft.Entry, at raft.Position) (results [][]byte, err error) {
	before := s.state.Load()
	if at.Index < before.position.Index || len(entries) > 0 && entries[0].Index <= before.position.Index {
		return nil, mq.Errorf(mq.Internal, "apply metadata commands up to index %d: index %d is applied already", at.Index, before.position.Index)
	}
	var image *Image
	b := s.bolt.Load()
	err = guard(s.opts.Path, func() error {
		return b.Update(func(tx *bbolt.Tx) (err error) {
			var most int64
			if image, results, most, err = applyIn(tx, before.image, s.known, s.opts.Planted, entries, at); err != nil {
				return err
			}
			if err := s.opts.BeforeCommit(s.opts.Path); err != nil {
				return err
			}
			return grow(s.opts.Path, most, s.opts.NoSync)
		})
	})
	if err != nil {
		return nil, mq.Wrapf(storageError(err), "apply metadata commands up to index %d", at.Index)
	}
	s.opts.AfterCommit(s.opts.Path)
	s.publish(&state{image, at})
	return results, nil
}

// storageError gives a code to what bbolt reports: it could not write its file.
func storageError(err error) error {
	if _, ok := errors.AsType[*mq.Error](err); ok {
		return err
	}
	if noRoom(err) {
		return mq.Errorf(mq.StorageFull, "%w", err)
	}
	return mq.Errorf(mq.KafkaStorageError, "%w", err)
}

// noRoom says whether something else than a sync found no room on the disk: bbolt has undone the transaction then, and its last commit is
// whole, for the page that names it is written last. A sync that reports it is another matter: nobody knows what it wrote, and trying again
// proves nothing.
func noRoom(err error) bool {
	if !errors.Is(err, syscall.ENOSPC) && !errors.Is(err, syscall.EDQUOT) {
		return false
	}
	if _, renamed := errors.AsType[*os.LinkError](err); renamed {
		return true
	}
	call, ok := errors.AsType[*fs.PathError](err)
	return ok && call.Op != "sync"
}

func applyIn(tx *bbolt.Tx, base *Image, known uint32, bugs Planted, entries []raft.Entry, at raft.Position) (*Image, [][]byte, int64, error) {
	kv := &boltKV{tx: tx}
	database := &db{r: kv, w: kv}
	m := newMachine(database, base, known)
	m.planted = bugs
	results := make([][]byte, len(entries))
	for i, e := range entries {
		result, err := m.apply(e.Index, e.Data)
		if err != nil {
			return nil, nil, 0, err
		}
		results[i] = result
	}
	database.putPosition(at)
	return m.finish(at.Index), results, kv.most(), errors.Join(database.err, kv.err)
}

func (s *Store) publish(next *state) {
	s.state.Store(next)
	s.watchers.tell()
}

// view runs f over a consistent state of the database.
func (s *Store) view(f func(*db)) error {
	err := s.viewTx(func(tx *bbolt.Tx) error {
		d := &db{r: &boltKV{tx: tx}}
		f(d)
		return d.err
	})
	if err != nil {
		return mq.Wrapf(storageError(err), "read metadata database %s", s.opts.Path)
	}
	return nil
}

// viewTx is view for what needs the transaction itself. Install may close the database under a reader that is about to begin;
// the next one is in its place then.
func (s *Store) viewTx(f func(*bbolt.Tx) error) error {
	for {
		b := s.bolt.Load()
		err := guard(s.opts.Path, func() error { return b.View(f) })
		if errors.Is(err, bolterrors.ErrDatabaseNotOpen) && b != s.bolt.Load() {
			continue
		}
		return err
	}
}
