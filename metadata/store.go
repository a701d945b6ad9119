package metadata

import (
	"io"
	"log/slog"

	"github.com/rustmq/rustmq/mq"
	"github.com/rustmq/rustmq/raft"
)

// Options are what a Store is opened with.
type Options struct {
	// Path of the database file. Files of the same name with a suffix are the store's too.
	Path string
	// NoSync leaves out every sync: for tests that do not cut the power.
	NoSync bool
	// AfterCommit, when set, is called after each durable change of the database file, before anything else changes it: tests
	// copy the file then, to have what a power cut would leave.
	AfterCommit func(path string)
	Logger      *slog.Logger
}

// Store is the metadata on disk: a raft.StateMachine over one bbolt database, and the Image of it in memory.
type Store struct{}

// Open opens the database, which is created when missing, and loads the Image. Corrupt or WrongDataDir when the file is not
// one of ours, damaged, or of a newer format.
func Open(opts Options) (*Store, error) { panic("not yet") }

// Close closes the database. No other call may be running or follow but Image.
func (s *Store) Close() error { panic("not yet") }

// Image is the present image. It never waits.
func (s *Store) Image() *Image { panic("not yet") }

// Watch subscribes to changes of the Image.
func (s *Store) Watch() *Watch { panic("not yet") }

// Position implements raft.StateMachine.
func (s *Store) Position() raft.Position { panic("not yet") }

// Apply implements raft.StateMachine.
func (s *Store) Apply(entries []raft.Entry, at raft.Position) ([][]byte, error) { panic("not yet") }

// Snapshot implements raft.StateMachine.
func (s *Store) Snapshot() (io.ReadCloser, raft.Position, error) { panic("not yet") }

// Stage implements raft.StateMachine.
func (s *Store) Stage(body io.Reader) (raft.Staged, error) { panic("not yet") }

// Range is one run of a partition's offsets inside an object.
type Range struct {
	First, End       mq.Offset // half-open
	LeaderEpoch      mq.Epoch
	MinTime, MaxTime int64 // milliseconds since 1970
	Position, Bytes  int64 // inside the object
	CRC              uint32
	ObjectID         uint64
	Key              string
	ObjectSize       int64
}

// Ranges lists, in order, at most limit ranges of a partition that end above from. Empty: nothing of that is in the object
// store. Ranges below the log start may be missing.
func (s *Store) Ranges(id mq.PartitionID, from mq.Offset, limit int) ([]Range, error) {
	panic("not yet")
}

// Checkpoint is what a replica starts from at a partition's tiered end.
type Checkpoint struct {
	End           mq.Offset
	ProducerState []byte
	Epochs        []EpochStart
}

// EpochStart is the offset at which a leader epoch begins.
type EpochStart struct {
	Epoch mq.Epoch
	Start mq.Offset
}

// Checkpoint is the checkpoint of a partition; ok is false while nothing of it is in the object store.
func (s *Store) Checkpoint(id mq.PartitionID) (c Checkpoint, ok bool, err error) { panic("not yet") }

// Object is an object that was committed.
type Object struct {
	ID   uint64
	Key  string
	Size int64
}

// Garbage lists, by id, at most limit objects above after that nothing refers to any more.
func (s *Store) Garbage(after uint64, limit int) ([]Object, error) { panic("not yet") }
