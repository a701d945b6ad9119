package node

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"path/filepath"
	"slices"
	"syscall"

	"github.com/pelletier/go-toml/v2"

	"github.com/rustmq/rustmq/mq"
	"github.com/rustmq/rustmq/raft/form"
	"github.com/rustmq/rustmq/wal"
)

// mountFormat is the version of the layout of a mount, which has neither log: older code refuses it.
const mountFormat = 2

// FormatVersion is the version of the data directory's layout that this code
// reads and writes. A directory of another version is refused: a newer one
// because this code cannot know what it means, an older one because there is none.
const FormatVersion = 1

// What lies in a data directory.
const (
	identityFile = "node.toml"
	lockFile     = "LOCK"
	walDir       = "wal"
	raftDir      = "raft"
	metadataFile = "metadata.db"
)

// identity says whose data directory it is. It is written before anything else
// is made, with Formed false, and again once the cluster was formed: a directory
// with an identity that is formed but without its log is half a copy.
type identity struct {
	Format  int          `toml:"format" comment:"Layout of this directory. Written by rustmq; do not edit."`
	Cluster mq.ClusterID `toml:"cluster_id"`
	Node    mq.NodeID    `toml:"node_id"`
	Dir     mq.DirID     `toml:"dir_id"`
	Formed  bool         `toml:"formed"`
	// Roles that have run here; none: broker and controller.
	Roles []string `toml:"roles,omitempty"`
	// RaftID of the controller here; 0: the node id.
	RaftID uint64 `toml:"raft_id,omitempty"`
	// Removed says that the controller here has heard that it was removed.
	Removed bool `toml:"removed,omitempty"`
	// Rejoins says that a controller that was removed is to ask for another place: it has nothing here any more, and founds nothing.
	Rejoins bool `toml:"rejoins,omitempty"`
	// Mount is the cluster of which this directory has a read-only view; nil: it is no mount.
	Mount *mq.ClusterID `toml:"mount_of,omitempty"`
	// Founding is what the controller here has agreed to with the others.
	Founding founding `toml:"founding,omitempty"`
}

// founding is a form.State in the identity's file.
type founding struct {
	Phase   form.Phase      `toml:"phase,omitempty"`
	Members []foundingPlace `toml:"members,omitempty"`
}

type foundingPlace struct {
	Node    mq.NodeID `toml:"node_id"`
	Dir     mq.DirID  `toml:"dir_id"`
	Address string    `toml:"address"`
}

func foundingOf(s form.State) founding {
	f := founding{Phase: s.Phase}
	for _, m := range s.View.Members {
		f.Members = append(f.Members, foundingPlace{m.Node, m.Dir, m.Address})
	}
	return f
}

// state is what the founding says, for the identity's cluster.
func (id identity) state() form.State {
	s := form.State{Phase: id.Founding.Phase}
	if s.Phase == form.Unformed {
		return s
	}
	s.View.Cluster = id.Cluster
	for _, m := range id.Founding.Members {
		s.View.Members = append(s.View.Members, form.Member{Controller: form.Controller{Node: m.Node, Address: m.Address}, Dir: m.Dir})
	}
	return s
}

// ran says whether a role has run here.
func (id identity) ran(role string) bool {
	return id.Formed && (len(id.Roles) == 0 || slices.Contains(id.Roles, role))
}

// openDataDir locks the data directory and finds out, or decides, whose it is.
// The lock is held until the returned closer is closed.
// A new one is of the given cluster, or of one that is drawn when that is the zero value.
func openDataDir(fsys wal.FS, dir string, node mq.NodeID, cluster mq.ClusterID, random io.Reader) (identity, io.Closer, error) {
	if err := fsys.MkdirAll(dir); err != nil {
		return identity{}, nil, mq.Errorf(mq.KafkaStorageError, "make the data directory %s: %w", dir, err)
	}
	lock, err := fsys.Lock(filepath.Join(dir, lockFile))
	if err != nil {
		return identity{}, nil, mq.Errorf(mq.WrongDataDir, "data directory %s is in use: one process at a time may have it: %w", dir, err)
	}
	id, err := identify(fsys, dir, node, cluster, random)
	if err != nil {
		return identity{}, nil, errors.Join(err, lock.Close())
	}
	return id, lock, nil
}

func identify(fsys wal.FS, dir string, node mq.NodeID, cluster mq.ClusterID, random io.Reader) (identity, error) {
	names, err := fsys.ReadDir(dir)
	if err != nil {
		return identity{}, mq.Errorf(mq.KafkaStorageError, "list the data directory %s: %w", dir, err)
	}
	if !slices.Contains(names, identityFile) {
		return newIdentity(fsys, dir, node, cluster, random, names)
	}
	id, err := readIdentity(fsys, filepath.Join(dir, identityFile))
	if err != nil {
		return identity{}, err
	}
	// Its name may be one that a crash of the machine would take away again, from what is made beside it now: whoever wrote it may
	// have been killed before the sync.
	if err := fsys.SyncDir(dir); err != nil {
		return identity{}, mq.Errorf(mq.KafkaStorageError, "sync the data directory %s: %w", dir, err)
	}
	return id, id.check(fsys, dir, node, cluster)
}

// newIdentity makes the identity of an empty directory.
func newIdentity(fsys wal.FS, dir string, node mq.NodeID, cluster mq.ClusterID, random io.Reader, names []string) (identity, error) {
	for _, name := range []string{walDir, raftDir, metadataFile} {
		if slices.Contains(names, name) || hasFiles(fsys, filepath.Join(dir, name)) {
			return identity{}, mq.Errorf(mq.WrongDataDir,
				"data directory %s has %s but no %s: it is half a copy, or not ours; restore the whole directory or name an empty one", dir, name, identityFile)
		}
	}
	id, err := drawIdentity(node, cluster, random)
	if err != nil {
		return identity{}, err
	}
	return id, id.write(fsys, dir)
}

// drawIdentity is that of a directory that is new. A cluster that is the zero value is drawn, too.
func drawIdentity(node mq.NodeID, cluster mq.ClusterID, random io.Reader) (_ identity, err error) {
	if cluster.IsZero() {
		if cluster, err = mq.NewClusterID(random); err != nil {
			return identity{}, mq.Errorf(mq.Internal, "draw a cluster id: %w", err)
		}
	}
	dirID, err := mq.NewDirID(random)
	if err != nil {
		return identity{}, mq.Errorf(mq.Internal, "draw a directory id: %w", err)
	}
	return identity{Format: FormatVersion, Cluster: cluster, Node: node, Dir: dirID}, nil
}

// check refuses a directory that is newer, another node's, another cluster's than the certificates, or incomplete.
func (id identity) check(fsys wal.FS, dir string, node mq.NodeID, certified mq.ClusterID) error {
	switch {
	case id.Format == mountFormat && id.Mount != nil, id.Format == FormatVersion && id.Mount == nil:
	case id.Format > FormatVersion:
		return mq.Errorf(mq.WrongDataDir, "data directory %s has format %d, this rustmq knows %d: it was written by a newer version; use that one", dir, id.Format, FormatVersion)
	default:
		return mq.Errorf(mq.WrongDataDir, "%s in data directory %s is damaged: it has format %d", identityFile, dir, id.Format)
	}
	switch {
	case id.Cluster.IsZero() || id.Dir.IsZero():
		return mq.Errorf(mq.WrongDataDir, "%s in data directory %s is damaged: format, cluster_id or dir_id is missing", identityFile, dir)
	case id.Node != node:
		return mq.Errorf(mq.WrongDataDir, "data directory %s belongs to node %d of cluster %s, not to node %d: start with --node-id %d or name another directory",
			dir, id.Node, id.Cluster, node, id.Node)
	case !certified.IsZero() && certified != id.Cluster:
		return mq.Errorf(mq.WrongDataDir, "data directory %s belongs to cluster %s, and the certificates of this node are of cluster %s: name those, or that directory, which belongs to the other",
			dir, id.Cluster, certified)
	}
	if err := id.state().Check(); err != nil {
		return mq.Errorf(mq.WrongDataDir, "%s in data directory %s is damaged: %w", identityFile, dir, err)
	}
	for role, name := range map[string]string{RoleBroker: walDir, RoleController: raftDir} {
		if id.ran(role) && !hasFiles(fsys, filepath.Join(dir, name)) {
			return mq.Errorf(mq.WrongDataDir, "data directory %s has lost its %s: it is half a copy; restore the whole directory", dir, name)
		}
	}
	return nil
}

// hasFiles tells whether dir is a directory with a file in it.
func hasFiles(fsys wal.FS, dir string) bool {
	names, err := fsys.ReadDir(dir)
	return err == nil && len(names) > 0
}

func readIdentity(fsys wal.FS, path string) (identity, error) {
	f, err := fsys.OpenRead(path)
	if err != nil {
		return identity{}, mq.Errorf(mq.KafkaStorageError, "open %s: %w", path, err)
	}
	defer f.Close()
	size, err := f.Size()
	if err != nil {
		return identity{}, mq.Errorf(mq.KafkaStorageError, "read %s: %w", path, err)
	}
	const most = 64 << 10
	if size > most {
		return identity{}, mq.Errorf(mq.WrongDataDir, "%s has %d bytes: it is not a node's identity", path, size)
	}
	data := make([]byte, size)
	if _, err := f.ReadAt(data, 0); err != nil && !errors.Is(err, io.EOF) {
		return identity{}, mq.Errorf(mq.KafkaStorageError, "read %s: %w", path, err)
	}
	var id identity
	if err := toml.Unmarshal(data, &id); err != nil {
		return identity{}, mq.Errorf(mq.WrongDataDir, "%s is not a node's identity: %w", path, err)
	}
	return id, nil
}

// write replaces the identity: the old or the new one is there after a crash.
func (id identity) write(fsys wal.FS, dir string) error {
	data, err := toml.Marshal(id)
	if err != nil {
		return mq.Errorf(mq.Internal, "encode the node's identity: %w", err)
	}
	path := filepath.Join(dir, identityFile)
	err = writeFileDurably(fsys, path, data)
	switch {
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT):
		return mq.Errorf(mq.StorageFull, "write %s: %w", path, err)
	case err != nil:
		return mq.Errorf(mq.KafkaStorageError, "write %s: %w", path, err)
	}
	return nil
}

func writeFileDurably(fsys wal.FS, path string, data []byte) error {
	tmp := path + ".tmp"
	f, err := fsys.Create(tmp)
	if err != nil {
		return err
	}
	_, err = f.WriteAt(data, 0)
	if err == nil {
		err = f.Sync()
	}
	if err := errors.Join(err, f.Close()); err != nil {
		return err
	}
	if err := fsys.Rename(tmp, path); err != nil {
		return err
	}
	return fsys.SyncDir(filepath.Dir(path))
}

// identityStream is the stream of the data log that binds it to its directory.
var identityStream = wal.StreamID{'n', 'o', 'd', 'e'}

// bindLog makes sure that the log in the directory is the directory's own: its
// sticky state names the directory's id. Where damage took the name it is
// written again: that must stop what it hit, and not the node.
func bindLog(ctx context.Context, log *wal.Log, found *wal.Recovery, id identity, dir string, logger *slog.Logger) error {
	state, ok := log.State(identityStream)
	if !ok {
		switch {
		case len(found.Damage) > 0:
			logger.Warn("damage took the log's name: it is taken for this directory's own", "dir", filepath.Join(dir, walDir))
		case id.ran(RoleBroker):
			return mq.Errorf(mq.WrongDataDir, "the log in %s names no directory: it is not the one that belongs to %s", filepath.Join(dir, walDir), identityFile)
		}
		done := make(waitDone, 1)
		log.Append(wal.Entry{Stream: identityStream, Type: wal.EntryState, Payload: id.Dir[:]}, done)
		select {
		case err := <-done:
			return err
		case <-ctx.Done():
			return mq.Wrapf(ctx.Err(), "name the log in %s", filepath.Join(dir, walDir))
		}
	}
	if !bytes.Equal(state.Payload, id.Dir[:]) {
		return mq.Errorf(mq.WrongDataDir, "the log in %s belongs to another data directory than %s: the two were mixed up in a copy",
			filepath.Join(dir, walDir), identityFile)
	}
	return nil
}

// waitDone is a wal.Done that somebody waits for.
type waitDone chan error

// Appended implements wal.Done.
func (d waitDone) Appended(err error) { d <- err }

// String names a node in messages.
func (id identity) String() string { return fmt.Sprintf("node %d of cluster %s", id.Node, id.Cluster) }
