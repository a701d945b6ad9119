package node

import (
	"context"
	"errors"
	"log/slog"
	"path/filepath"
	"slices"
	"strings"

	metadatapb "github.com/rustmq/rustmq/api/metadata/v1"
	"github.com/rustmq/rustmq/metadata"
	"github.com/rustmq/rustmq/mq"
	"github.com/rustmq/rustmq/raft"
	"github.com/rustmq/rustmq/tier"
)

// Restored says what a cluster was restored from, and what it has.
type Restored struct {
	From, Cluster mq.ClusterID
	// Checkpoint is the copy of the metadata: what was decided after it, but for records, is lost.
	Checkpoint tier.Checkpoint
	metadata.Refounded
	// Objects and Ranges were found beyond the copy, and are part of their partitions.
	Objects, Ranges int
	// Left are ranges beyond the copy that do not continue their partitions: their topics are not known, or something before them is missing, or they are of a log that gave way to
	// another.
	Left int
	// Missing are keys of objects that the copy names and the store does not have: reading them fails.
	Missing []string
	// Damaged are checkpoints that are newer and cannot be used.
	Damaged []string
}

// RestoreCluster makes the data directory of a configuration, which must be empty, that of the first node of a new cluster, out of an object store alone: the newest copy of a
// cluster's metadata there, and what its objects say that are not in it. from names the cluster; zero: the only one that the store has. The new one has another id and writes
// under another prefix; it reads the old objects where they are, and never deletes one of them.
//
// Errors: InvalidConfig where several clusters could be meant, or none; WrongDataDir for a directory that is not empty; ObjectStoreUnavailable; Corrupt when no copy is whole. After an
// error, or a crash, the directory is to be emptied: it is refused otherwise.
func RestoreCluster(ctx context.Context, cfg Config, from mq.ClusterID, seams Seams, logger *slog.Logger) (_ *Restored, err error) {
	n := offline(cfg, seams, logger)
	defer func() { err = errors.Join(err, n.Close(context.WithoutCancel(ctx))) }()
	if from, err = n.openObjectsOf(ctx, from); err != nil {
		return nil, err
	}
	if err := n.beginDataDir(); err != nil {
		return nil, err
	}
	if n.id.Cluster == from {
		return nil, mq.Errorf(mq.InvalidConfig, "the certificates in %s are of cluster %s, which is the one that is restored: the new one needs an authority of its own (rustmq ctl ca init)",
			cfg.PKIDir(), from)
	}
	r := &restore{node: n, found: &Restored{From: from, Cluster: n.id.Cluster}}
	if err := r.run(ctx); err != nil {
		return nil, mq.Wrapf(err, "restore cluster %s", from)
	}
	n.id.Formed, n.id.Roles = true, []string{RoleController}
	return r.found, n.id.write(n.seams.FS, cfg.Node.DataDir)
}

// offline is a node of which nothing is open, for what is done without one that runs. Close it.
func offline(cfg Config, seams Seams, logger *slog.Logger) *Node {
	return &Node{cfg: cfg, seams: seams.forRecovery(), logger: logger, done: make(chan error, 1)}
}

// openObjectsOf opens the object store, and gives the cluster there that is meant: the zero value means the only one.
func (n *Node) openObjectsOf(ctx context.Context, from mq.ClusterID) (mq.ClusterID, error) {
	err := n.openObjects(ctx)
	if err == nil && from.IsZero() {
		from, err = onlyCluster(ctx, n.objects)
	}
	return from, err
}

// onlyCluster is the cluster that has written into a bucket, if there is but one.
func onlyCluster(ctx context.Context, objects *tier.Store) (mq.ClusterID, error) {
	clusters, err := tier.Clusters(ctx, objects)
	if err != nil {
		return mq.ClusterID{}, err
	}
	var names []string
	for _, id := range clusters {
		names = append(names, id.String())
	}
	switch len(clusters) {
	case 0:
		return mq.ClusterID{}, mq.Errorf(mq.InvalidConfig, "no cluster has written into %s", objects)
	case 1:
		return clusters[0], nil
	}
	return mq.ClusterID{}, mq.Errorf(mq.InvalidConfig, "%d clusters have written into %s: say which one is meant: %s", len(names), objects, strings.Join(names, ", "))
}

// beginDataDir takes an empty directory, and decides whose it is. Its name is written last: until then it is half a copy, and refused.
func (n *Node) beginDataDir() error {
	fsys, dir := n.seams.FS, n.cfg.Node.DataDir
	cluster, err := n.certified()
	if err != nil {
		return err
	}
	if err := fsys.MkdirAll(dir); err != nil {
		return mq.Errorf(mq.KafkaStorageError, "make the data directory %s: %w", dir, err)
	}
	lock, err := fsys.Lock(filepath.Join(dir, lockFile))
	if err != nil {
		return mq.Errorf(mq.WrongDataDir, "data directory %s is in use: %w", dir, err)
	}
	n.onClose(func(context.Context) error { return lock.Close() })
	names, err := fsys.ReadDir(dir)
	if err != nil {
		return mq.Errorf(mq.KafkaStorageError, "list the data directory %s: %w", dir, err)
	}
	for _, name := range []string{identityFile, walDir, raftDir, metadataFile} {
		if slices.Contains(names, name) {
			return mq.Errorf(mq.WrongDataDir, "data directory %s is not empty: it has %s; name another one, or empty it", dir, name)
		}
	}
	n.id, err = drawIdentity(mq.NodeID(n.cfg.Node.ID), cluster, n.seams.Random)
	return err
}

// restore is one restore under way.
type restore struct {
	node  *Node
	found *Restored
}

func (r *restore) run(ctx context.Context) error {
	n := r.node
	if err := n.openStore(); err != nil {
		return err
	}
	if err := r.loadCheckpoint(ctx); err != nil {
		return err
	}
	if err := r.findMissing(ctx); err != nil {
		return err
	}
	chains, err := r.beyond(ctx)
	if err != nil {
		return err
	}
	conf, err := raft.AloneConf(n.raftID())
	if err != nil {
		return err
	}
	r.found.Refounded, err = n.store.Refound(metadata.Refounding{Cluster: n.id.Cluster, Node: n.id.Node, Dir: n.id.Dir, Conf: conf},
		func(commit func(*metadatapb.CommitObject) ([]error, error)) error {
			return r.adopt(ctx, chains, commit)
		})
	if err != nil {
		return err
	}
	if err := n.openRaftLog(); err != nil {
		return err
	}
	return raft.Refound(n.raftConfig(nil, nil))
}

// loadCheckpoint puts the newest copy of the metadata that is whole in the place of the database.
func (r *restore) loadCheckpoint(ctx context.Context) error {
	n := r.node
	all, _, err := tier.ListCheckpoints(ctx, n.objects, bucketPrefix(r.found.From))
	if err != nil {
		return err
	}
	for _, c := range slices.Backward(all) {
		err := r.install(ctx, c)
		if err == nil {
			r.found.Checkpoint = *c
			return nil
		}
		if !spoilt(err) {
			return err
		}
		n.logger.Error("a copy of the metadata cannot be used: the one before is tried", "key", c.Key, "error", err)
		r.found.Damaged = append(r.found.Damaged, c.Key)
	}
	return mq.Errorf(mq.Corrupt, "%s has no copy of its metadata that is whole: %d are damaged", n.objects, len(all))
}

// spoilt says that a copy of the metadata cannot be used for what is wrong with itself: the one before it may be whole.
func spoilt(err error) bool { return mq.CodeOf(err) == mq.Corrupt || errors.Is(err, tier.ErrAbsent) }

func (r *restore) install(ctx context.Context, c *tier.Checkpoint) error {
	n := r.node
	if err := c.Load(ctx, n.objects); err != nil {
		return err
	}
	staged, err := n.store.Stage(c.Open(ctx, n.objects))
	if err != nil {
		return err
	}
	if staged.Position().Index != c.Index || c.Cluster != r.found.From {
		staged.Discard()
		return mq.Errorf(mq.Corrupt, "checkpoint %s says index %d of cluster %s, and holds index %d", c.Key, c.Index, c.Cluster, staged.Position().Index)
	}
	if err := staged.Install(); err != nil {
		return err
	}
	if id := n.store.Image().ClusterID; id != r.found.From {
		return mq.Errorf(mq.WrongDataDir, "checkpoint %s holds the metadata of cluster %s", c.Key, id)
	}
	return nil
}

// findMissing notes what the copy names under the old cluster's prefix and the store does not have.
func (r *restore) findMissing(ctx context.Context) error {
	c := census{store: r.node.store, objects: r.node.objects, prefix: bucketPrefix(r.found.From)}
	for page := ""; ; {
		p, err := c.page(ctx, page)
		if err != nil {
			return err
		}
		r.found.Missing = append(r.found.Missing, p.missing...)
		if page = p.next; page == "" {
			return nil
		}
	}
}

// beyond finds the ranges that continue partitions behind the copy, in the order of each.
func (r *restore) beyond(ctx context.Context) (map[mq.PartitionID][]tier.Stray, error) {
	n := r.node
	strays, failed := make(map[mq.PartitionID][]tier.Stray), error(nil)
	unknown := func(id uint64) bool {
		_, _, known, err := n.store.Object(id)
		failed = errors.Join(failed, err)
		return !known
	}
	err := tier.Survey(ctx, n.objects, bucketPrefix(r.found.From), n.logger, unknown, func(of []tier.Stray) {
		for _, s := range of {
			strays[s.Partition] = append(strays[s.Partition], s)
		}
	})
	if err := errors.Join(err, failed); err != nil {
		return nil, err
	}
	for _, all := range strays {
		r.found.Left += len(all)
	}
	return chainsOf(n.store, strays)
}

// adopt has chains of ranges committed.
func (r *restore) adopt(ctx context.Context, chains map[mq.PartitionID][]tier.Stray, commit func(*metadatapb.CommitObject) ([]error, error)) error {
	objects := make(map[uint64]bool)
	err := commitStrays(chains, func(ranges []tier.Stray) (map[mq.PartitionID]bool, error) {
		if err := tier.FillStates(ctx, r.node.objects, ranges); err != nil {
			return nil, err
		}
		taken, err := adoptStrays(ranges, commit, r.node.logger)
		if len(taken) > 0 {
			objects[ranges[0].ObjectID] = true
		}
		r.found.Ranges, r.found.Left = r.found.Ranges+len(taken), r.found.Left-len(taken)
		return taken, err
	})
	r.found.Objects = len(objects)
	return err
}
