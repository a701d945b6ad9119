package cli

import (
	"fmt"
	"io"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/rustmq/rustmq/node"
)

func (a *app) clusterMountCommand() *cli.Command {
	return &cli.Command{
		Name: "mount", Usage: "make a node that is a read-only view of what a bucket has of a cluster, which may live", Action: a.clusterMount,
		Description: "It is offline, and reads the bucket only: not a byte is written there, now or by the node, for which permission to read and to list is enough. Start it\n" +
			"with `rustmq serve --data-dir DIR --object-store URL`: consumers read all that is in the object store, at the same offsets, and it follows what comes\n" +
			"(object_store.mount_interval). What would change anything is refused. The mount is a cluster of its own, with one node.\n\n" +
			"Example: rustmq ctl cluster mount --object-store 's3://rustmq-prod?region=eu-central-1' --data-dir /var/lib/rustmq-view",
		Flags: bucketFlags(),
	}
}

// mountedCluster is what came of it.
type mountedCluster struct {
	Source     string    `json:"mount_of"`
	Cluster    string    `json:"cluster_id"`
	Written    time.Time `json:"metadata_written"`
	Topics     int       `json:"topics"`
	Partitions int       `json:"partitions"`
	Objects    int       `json:"objects_since"`
}

func (a *app) clusterMount(c *cli.Context) error {
	source, loaded, err := a.ofBucket(c)
	if err != nil {
		return err
	}
	made, err := node.MountCluster(c.Context, loaded.Config, source, node.Seams{}, newLogger(a.stderr, loaded.Log))
	if err != nil {
		return err
	}
	line := mountedCluster{
		Source: made.Source.String(), Cluster: made.Cluster.String(), Written: time.UnixMilli(made.Copied).UTC(), Topics: made.Topics, Partitions: made.Partitions, Objects: made.Objects,
	}
	if err := a.show(c, line, line.table); err != nil {
		return err
	}
	fmt.Fprintf(a.stderr, "start it: rustmq serve --data-dir %s --object-store %s\n", loaded.Node.DataDir, loaded.ObjectStore.URL)
	return nil
}

func (l mountedCluster) table(w io.Writer) {
	row(w, "MOUNT OF", l.Source)
	row(w, "CLUSTER", l.Cluster)
	row(w, "METADATA AS OF", l.Written.Format(time.RFC3339))
	row(w, "TOPICS", l.Topics)
	row(w, "PARTITIONS", l.Partitions)
	row(w, "OBJECTS WRITTEN SINCE", l.Objects)
}
