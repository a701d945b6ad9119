package node

import (
	"context"
	"errors"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/rustmq/rustmq/control"
	"github.com/rustmq/rustmq/metadata"
	"github.com/rustmq/rustmq/mq"
)

// A controller that was removed hears of it from nobody: the others do not speak to it any more. It finds out by asking.

const (
	// lonelyAfter is for how long a controller knows of none that leads, before it asks whether it is one still, and how long it waits to ask again. An election takes less.
	lonelyAfter = 3 * time.Second
	// askRemovedTimeout is how long it asks each time.
	askRemovedTimeout = 5 * time.Second
)

// wasRemoved asks the others whether this controller was removed.
func (n *Node) wasRemoved(ctx context.Context) bool {
	status, own := n.raft.Status(), n.store.Image()
	if own.Controller(n.raftID()) == nil && (len(status.Voters) == 0 || roleIn(status, n.raftID()) != "") {
		return false // it is not one yet, or is and was never recorded
	}
	seeds := n.seeds(n.group.view)
	for _, c := range own.Controllers() {
		if c.Node != n.id.Node {
			seeds = append(seeds, hostPortOf(c.Endpoint))
		}
	}
	if len(seeds) == 0 {
		return false
	}
	client, err := control.NewClient(control.ClientConfig{
		Node: n.id.Node, Seeds: seeds, Connect: n.connect, Now: n.seams.Now, Logger: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		return false
	}
	defer client.Close()
	ctx, cancel := context.WithTimeout(ctx, askRemovedTimeout)
	defer cancel()
	if client.AwaitIndex(ctx, max(1, own.Index)) != nil {
		return false
	}
	now := client.Image()
	return now.ClusterID == n.id.Cluster && now.Controller(n.raftID()) == nil
}

// leaveGroup ends the controller of this node, which goes on as a broker if it is one.
func (n *Node) leaveGroup() {
	n.putOut.Store(true)
	n.logger.Error("the controller of this node was removed from the group, and has ended: to have one here again, stop the node, run `rustmq ctl raft rejoin` with its data "+
		"directory, and start it; to do without, start it with --roles broker and an empty data directory", "node", n.id.Node, "raft_id", n.raftID())
	id := n.id // which others read
	id.Removed = true
	if err := id.write(n.seams.FS, n.cfg.Node.DataDir); err != nil {
		n.logger.Warn("that this controller was removed cannot be noted: it finds out again at the next start", "error", err)
	}
	if client := n.client.Load(); client != nil {
		n.detach(client)
	}
	if err := n.raft.Close(); err != nil {
		n.logger.Warn("the removed controller did not end well", "error", err)
	}
}

// RejoinController readies the data directory of a configuration for its controller, which was removed from the group, to ask for a place in it again at the next start, as a new
// member with a raft id of its own. What the old member had is deleted; what the node has as a broker stays. It is for a node that does not run. After a crash it is to be called again.
//
// Errors: WrongDataDir for a directory that a process uses; InvalidRequest for one whose controller has not heard that it was removed.
func RejoinController(cfg Config, seams Seams) error {
	seams = seams.forRecovery()
	dir := cfg.Node.DataDir
	if !hasFiles(seams.FS, dir) {
		return mq.Errorf(mq.WrongDataDir, "%s is no data directory", dir)
	}
	lock, err := seams.FS.Lock(filepath.Join(dir, lockFile))
	if err != nil {
		return mq.Errorf(mq.WrongDataDir, "data directory %s is in use: stop the node first: %w", dir, err)
	}
	defer lock.Close()
	id, err := readIdentity(seams.FS, filepath.Join(dir, identityFile))
	if err != nil {
		return err
	}
	if !id.Removed {
		return mq.Errorf(mq.InvalidRequest, "the controller in %s has not heard that it was removed: start its node, which says so within seconds if it was", dir)
	}
	if err := deleteController(seams, dir); err != nil {
		return mq.Errorf(mq.KafkaStorageError, "delete what the removed controller has in %s: %w", dir, err)
	}
	id.Removed, id.Rejoins, id.RaftID, id.Founding = false, true, 0, founding{}
	if len(id.Roles) == 0 {
		id.Roles = []string{RoleBroker}
	}
	id.Roles = slices.DeleteFunc(id.Roles, func(role string) bool { return role == RoleController })
	id.Formed = len(id.Roles) > 0 // else nothing is left
	return id.write(seams.FS, dir)
}

// deleteController deletes a controller's log and its metadata, in this order: metadata of a log is never without it.
func deleteController(seams Seams, dir string) error {
	log := filepath.Join(dir, raftDir)
	names, err := seams.FS.ReadDir(log)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	for _, name := range names {
		if err := seams.FS.Remove(filepath.Join(log, name)); err != nil {
			return err
		}
	}
	if len(names) > 0 {
		if err := seams.FS.SyncDir(log); err != nil {
			return err
		}
	}
	path := seams.Metadata.Path
	if path == "" {
		path = filepath.Join(dir, metadataFile)
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return seams.FS.SyncDir(dir)
}

// detach has a client go on without this node's controller.
func (n *Node) detach(client *control.Client) { n.detached.Do(client.Detach) }

// ownImage is that of this node's controller, nil for a node without one that is a member.
func (n *Node) ownImage() *metadata.Image {
	if n.store == nil || n.putOut.Load() {
		return nil
	}
	return n.store.Image()
}
