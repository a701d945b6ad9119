package node

import (
	"context"
	"errors"
	"log/slog"

	"github.com/rustmq/rustmq/mq"
)

// MadeMount says what a mount shows to begin with.
type MadeMount struct {
	Source, Cluster mq.ClusterID
	// Copied is when the copy of the metadata was written, milliseconds since 1970.
	Copied             int64
	Topics, Partitions int
	// Objects are beyond the copy.
	Objects int
}

// MountCluster makes the data directory of a configuration, which must be empty, that of a single node which is a read-only view of what an object store has of a cluster. That cluster may
// live and write: nothing of it is touched, not a byte is written into the store, now or by the node. source names the cluster; zero: the only one that the store has. The mount has a cluster id of
// its own.
//
// Errors are those of [RestoreCluster].
func MountCluster(ctx context.Context, cfg Config, source mq.ClusterID, seams Seams, logger *slog.Logger) (_ *MadeMount, err error) {
	n := offline(cfg, seams, logger)
	defer func() { err = errors.Join(err, n.Close(context.WithoutCancel(ctx))) }()
	if n.objects, err = objectsOf(ctx, cfg, n.seams, true); err != nil {
		return nil, err
	}
	n.onClose(func(context.Context) error { return n.objects.Close() })
	if source.IsZero() {
		if source, err = onlyCluster(ctx, n.objects); err != nil {
			return nil, err
		}
	}
	if err := n.beginDataDir(); err != nil {
		return nil, err
	}
	if n.id.Cluster == source {
		return nil, mq.Errorf(mq.InvalidConfig, "the certificates in %s are of cluster %s, which is the one that is mounted: the mount needs an authority of its own (rustmq ctl ca init)",
			cfg.PKIDir(), source)
	}
	n.id.Format, n.id.Mount, n.id.Formed, n.id.Roles = mountFormat, &source, true, []string{RoleMount}
	if err := n.openStore(); err != nil {
		return nil, err
	}
	m := n.newMount()
	if err := m.refresh(ctx); err != nil {
		return nil, mq.Wrapf(err, "mount cluster %s", source)
	}
	made := &MadeMount{Source: source, Cluster: n.id.Cluster, Copied: m.viewing.Written, Objects: len(m.strays)}
	for t := range n.store.Image().Topics() {
		made.Topics, made.Partitions = made.Topics+1, made.Partitions+int(t.Partitions())
	}
	return made, n.id.write(n.seams.FS, cfg.Node.DataDir)
}
