package node

import (
	"context"
	"crypto/rand"
	"errors"
	"io"
	"log/slog"
	"path/filepath"
	"time"

	"github.com/rustmq/rustmq/metadata"
	"github.com/rustmq/rustmq/mq"
	"github.com/rustmq/rustmq/raft"
	"github.com/rustmq/rustmq/raft/form"
	"github.com/rustmq/rustmq/wal"
)

// LastOf is how far the controller in a data directory has come.
type LastOf struct {
	Node    mq.NodeID
	Cluster mq.ClusterID
	RaftID  uint64
	// Term and Index of its last entry: of several controllers that are left the one with the highest pair has the most.
	Term, Index uint64
	// Commit is the index up to which it knew that entries were committed.
	Commit uint64
}

// InspectController reads how far the controller in the data directory of a configuration has come. Nothing is changed. Errors: WrongDataDir for a directory
// that a process uses, or that has no controller.
func InspectController(cfg Config, seams Seams) (LastOf, error) {
	seams = seams.forRecovery()
	id, lock, err := lockStopped(seams.FS, cfg.Node.DataDir, RoleController)
	if err != nil {
		return LastOf{}, err
	}
	defer lock.Close()
	return lastOf(seams.FS, cfg.Node.DataDir, id)
}

// RecoverController makes the controller in the data directory of a configuration the only one that votes: see [raft.RecoverAlone], which says what may be lost. It
// is for a node that does not run. Errors are those of InspectController and RecoverAlone.
func RecoverController(cfg Config, seams Seams, logger *slog.Logger) (_ *raft.Recovery, err error) {
	seams = seams.forRecovery()
	id, lock, err := lockStopped(seams.FS, cfg.Node.DataDir, RoleController)
	if err != nil {
		return nil, err
	}
	n := &Node{cfg: cfg, seams: seams, logger: logger, id: id, done: make(chan error, 1)}
	n.onClose(func(context.Context) error { return lock.Close() })
	defer func() { err = errors.Join(err, n.Close(context.Background())) }()
	if _, err := lastOf(seams.FS, cfg.Node.DataDir, id); err != nil {
		return nil, err
	}
	if err := n.openRaftLog(); err != nil {
		return nil, err
	}
	if err := n.openStore(); err != nil {
		return nil, err
	}
	begin, err := metadata.RecoverCommand()
	if err != nil {
		return nil, err
	}
	recovery, err := raft.RecoverAlone(n.raftConfig(nil, nil), begin)
	return recovery, mq.Wrapf(err, "recover the controller in %s", cfg.Node.DataDir)
}

func (s Seams) forRecovery() Seams {
	if s.FS == nil {
		s.FS = wal.OS()
	}
	if s.Random == nil {
		s.Random = rand.Reader
	}
	if s.Wall == nil {
		s.Wall = time.Now
	}
	return s
}

// lockStopped is the identity of a data directory that no process uses and where a role has run, as long as the lock is held.
func lockStopped(fsys wal.FS, dir, role string) (id identity, lock io.Closer, err error) {
	if !hasFiles(fsys, dir) {
		return id, nil, mq.Errorf(mq.WrongDataDir, "%s is no data directory", dir)
	}
	lock, err = fsys.Lock(filepath.Join(dir, lockFile))
	if err != nil {
		return id, nil, mq.Errorf(mq.WrongDataDir, "data directory %s is in use: stop the node first: %w", dir, err)
	}
	id, err = readIdentity(fsys, filepath.Join(dir, identityFile))
	if err == nil {
		err = id.check(fsys, dir, id.Node, id.Cluster)
	}
	if err == nil && !id.ran(role) {
		err = mq.Errorf(mq.WrongDataDir, "no %s has run in %s", role, dir)
	}
	if err != nil {
		return id, nil, errors.Join(err, lock.Close())
	}
	return id, lock, nil
}

func lastOf(fsys wal.FS, dir string, id identity) (LastOf, error) {
	last := LastOf{Node: id.Node, Cluster: id.Cluster, RaftID: id.RaftID}
	if last.RaftID == 0 {
		last.RaftID = form.RaftID(id.Node)
	}
	path := filepath.Join(dir, raftDir)
	d, err := raft.ReadDump(fsys, path)
	if err != nil {
		return last, mq.Wrapf(err, "read %s", path)
	}
	if len(d.Found.Damage) > 0 {
		at := d.Found.Damage[0]
		return last, mq.Errorf(mq.Corrupt, "the controller's log is damaged: %s, position %d: %s; recover another controller, or see `rustmq raft check %s`",
			at.Path, at.Position, at.Reason, path)
	}
	last.Commit, last.Index, last.Term = d.Commit, d.SnapshotIndex, d.SnapshotTerm
	if n := len(d.Entries); n > 0 {
		last.Index, last.Term = d.Entries[n-1].Index, d.Entries[n-1].Term
	}
	return last, nil
}

// openStore opens the metadata.
func (n *Node) openStore() (err error) {
	opts := n.seams.Metadata
	if opts.Path == "" {
		opts.Path = filepath.Join(n.cfg.Node.DataDir, metadataFile)
	}
	opts.Logger = n.logger
	if n.store, err = metadata.Open(opts); err != nil {
		return err
	}
	n.onClose(func(context.Context) error { return n.store.Close() })
	return nil
}
