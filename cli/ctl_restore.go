package cli

import (
	"fmt"
	"io"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/rustmq/rustmq/mq"
	"github.com/rustmq/rustmq/node"
)

func (a *app) clusterRestoreCommand() *cli.Command {
	return &cli.Command{
		Name: "restore", Usage: "make the first node of a new cluster out of a bucket, when all nodes of the old one are gone", Action: a.clusterRestore,
		Description: "It is offline: it needs nothing but the bucket. Topics, settings and group offsets are as of the last copy of the metadata there (see\n" +
			"object_store.checkpoint_interval), records up to the last object. The new cluster has an id of its own, writes under a prefix of its own, and never deletes\n" +
			"what the old one wrote: it reads that on. Start it then with `rustmq serve --data-dir DIR --object-store URL`.\n" +
			"The old cluster must not run any more: it would delete objects that the new one reads.\n\n" +
			"Example: rustmq ctl cluster restore --object-store file:///mnt/objects --data-dir /var/lib/rustmq",
		Flags: bucketFlags(),
	}
}

// bucketFlags say out of which bucket which node is made.
func bucketFlags() []cli.Flag {
	return []cli.Flag{
		&cli.StringFlag{Name: "object-store", Usage: "`URL` of the bucket"},
		&cli.StringFlag{Name: "data-dir", Usage: "`DIR` of the new node, which is empty or not there (default: as the configuration says)"},
		&cli.IntFlag{Name: "node-id", Usage: "`NUMBER` of the new node (default: as the configuration says)"},
		&cli.StringFlag{Name: "cluster", Usage: "`ID` of the cluster in the bucket (default: the only one)"},
		&cli.StringFlag{Name: "config", Usage: "`FILE` that the node is configured with"},
		outputFlag(),
	}
}

// ofBucket reads bucketFlags.
func (a *app) ofBucket(c *cli.Context) (from mq.ClusterID, loaded *node.Loaded, err error) {
	if err := checkOutput(c); err != nil {
		return from, nil, err
	}
	if err := arguments(c, 0, 0); err != nil {
		return from, nil, err
	}
	if from, err = clusterFlag(c); err != nil {
		return from, nil, err
	}
	if loaded, err = a.loadConfig(c); err != nil {
		return from, nil, err
	}
	if loaded.ObjectStore.URL == "" {
		err = usagef("%s: say --object-store: the bucket must not lie in the data directory that is made", c.Command.Name)
	}
	return from, loaded, err
}

// restoredCluster is what came of it.
type restoredCluster struct {
	From           string    `json:"from_cluster_id"`
	Cluster        string    `json:"cluster_id"`
	Written        time.Time `json:"metadata_written"`
	Index          uint64    `json:"metadata_index"`
	Topics         int       `json:"topics"`
	Partitions     int       `json:"partitions"`
	Replicated     int       `json:"partitions_with_fewer_replicas"`
	Objects        int       `json:"objects_since"`
	Ranges         int       `json:"ranges_since"`
	Left           int       `json:"ranges_left"`
	Lowered        int       `json:"log_starts_lowered"`
	MissingObjects []string  `json:"missing_objects"`
	DamagedCopies  []string  `json:"damaged_copies"`
}

func (a *app) clusterRestore(c *cli.Context) error {
	from, loaded, err := a.ofBucket(c)
	if err != nil {
		return err
	}
	found, err := node.RestoreCluster(c.Context, loaded.Config, from, node.Seams{}, newLogger(a.stderr, loaded.Log))
	if err != nil {
		return err
	}
	line := restoredCluster{
		From: found.From.String(), Cluster: found.Cluster.String(), Written: time.UnixMilli(found.Checkpoint.Written).UTC(), Index: found.Checkpoint.Index,
		Topics: found.Topics, Partitions: found.Partitions, Replicated: found.Replicated, Objects: found.Objects, Ranges: found.Ranges, Left: found.Left,
		Lowered: len(found.Lowered), MissingObjects: append([]string{}, found.Missing...), DamagedCopies: append([]string{}, found.Damaged...),
	}
	if err := a.show(c, line, line.table); err != nil {
		return err
	}
	fmt.Fprintf(a.stderr, "start it: rustmq serve --data-dir %s --object-store %s\n", loaded.Node.DataDir, loaded.ObjectStore.URL)
	if len(found.Missing) > 0 {
		return mq.Errorf(mq.Corrupt, "%d objects that the metadata names are not in the store: what they held cannot be read", len(found.Missing))
	}
	return nil
}

func (l restoredCluster) table(w io.Writer) {
	row(w, "RESTORED FROM", l.From)
	row(w, "NEW CLUSTER", l.Cluster)
	row(w, "METADATA AS OF", l.Written.Format(time.RFC3339))
	row(w, "TOPICS", l.Topics)
	row(w, "PARTITIONS", l.Partitions)
	row(w, "HAD MORE REPLICAS", l.Replicated)
	row(w, "OBJECTS WRITTEN SINCE", l.Objects)
	row(w, "RANGES IN THEM", l.Ranges)
	row(w, "RANGES NOT USED", l.Left)
	row(w, "LOG STARTS LOWERED", l.Lowered)
	row(w, "COPIES DAMAGED", len(l.DamagedCopies))
	row(w, "OBJECTS MISSING", len(l.MissingObjects))
	for _, key := range l.MissingObjects {
		row(w, "  missing", key)
	}
}
