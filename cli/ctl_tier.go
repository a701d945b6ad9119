package cli

import (
	"context"
	"fmt"
	"io"
	"time"

	"github.com/urfave/cli/v2"

	adminpb "github.com/rustmq/rustmq/api/admin/v1"
	"github.com/rustmq/rustmq/client"
	"github.com/rustmq/rustmq/mq"
	"github.com/rustmq/rustmq/node"
)

func (a *app) ctlTierCommand() *cli.Command {
	return &cli.Command{
		Name: "tier", Usage: "what lies in the object store",
		Subcommands: []*cli.Command{a.tierStatusCommand(), {
			Name: "scrub", Usage: "compare the bucket's listing with the metadata; exit status 1 if something is missing", Action: a.tierScrub,
			Description: "It lists objects that nothing refers to and that are older than object_store.delete_delay: what was uploaded and never committed. With --delete they\n" +
				"are deleted, after that delay, by the leading controller. Objects that are committed and not there are listed, too.\n\n" +
				"Examples:\n  rustmq ctl tier scrub\n  rustmq ctl tier scrub --older-than 24h --delete",
			Flags: append([]cli.Flag{
				&cli.BoolFlag{Name: "delete", Usage: "delete what nothing refers to; without it only say what it is"},
				&cli.DurationFlag{Name: "older-than", Usage: "leave what is younger than this `TIME` alone (default and least: object_store.delete_delay)"},
				outputFlag(),
			}, connectFlags("key", "key-file")...),
		}, {
			Name: "verify", Usage: "read all objects and verify every byte; exit status 1 and the places if there is damage", Action: a.tierVerify,
			Description: "It is offline: it reads the bucket alone, by the newest copy of the metadata there, and shows what a restore would find. It costs a read of everything.\n\n" +
				"Example: rustmq ctl tier verify --object-store file:///mnt/objects",
			Flags: []cli.Flag{
				&cli.StringFlag{Name: "object-store", Usage: "`URL` of the bucket (default: as the configuration says)"},
				&cli.StringFlag{Name: "cluster", Usage: "`ID` of the cluster (default: the only one in the bucket)"},
				&cli.StringFlag{Name: "config", Usage: "`FILE` that a node is configured with"},
				outputFlag(),
			},
		}},
	}
}

// orphanLine is an object that nothing refers to.
type orphanLine struct {
	Key       string `json:"key"`
	SizeBytes int64  `json:"size_bytes"`
	AgeMs     int64  `json:"age_ms"`
	Deleted   bool   `json:"deleted"`
	Note      string `json:"note"`
}

// scrubbed is what a scrub found.
type scrubbed struct {
	Objects   int64        `json:"objects"`
	SizeBytes int64        `json:"size_bytes"`
	Garbage   int64        `json:"garbage"`
	Young     int64        `json:"young"`
	Orphans   []orphanLine `json:"orphans"`
	Missing   []string     `json:"missing"`
}

func (a *app) tierScrub(c *cli.Context) error {
	if err := checkOutput(c); err != nil {
		return err
	}
	if err := arguments(c, 0, 0); err != nil {
		return err
	}
	if c.Duration("older-than") < 0 {
		return usagef("scrub: --older-than %v: it must not be negative", c.Duration("older-than"))
	}
	found := scrubbed{Orphans: []orphanLine{}, Missing: []string{}}
	return a.withClient(c, func(ctx context.Context, cl *client.Client) error {
		req := &adminpb.ScrubObjectsRequest{Delete: c.Bool("delete"), OlderThanMs: c.Duration("older-than").Milliseconds()}
		for {
			resp, err := a.operate(ctx, cl, &adminpb.Request{Kind: &adminpb.Request_ScrubObjects{ScrubObjects: req}}, true)
			if err != nil {
				return err
			}
			found.add(resp.GetScrubObjects())
			if req.Page = resp.GetScrubObjects().GetNextPage(); req.GetPage() == "" {
				break
			}
		}
		if err := a.show(c, found, found.table); err != nil {
			return err
		}
		if n := len(found.Missing); n > 0 {
			return mq.Errorf(mq.Corrupt, "%d committed objects are not in the store: what they held cannot be read", n)
		}
		return nil
	})
}

func (s *scrubbed) add(r *adminpb.ScrubObjectsResponse) {
	s.Objects, s.SizeBytes = s.Objects+r.GetObjects(), s.SizeBytes+r.GetBytes()
	s.Garbage, s.Young = s.Garbage+r.GetGarbage(), s.Young+r.GetYoung()
	s.Missing = append(s.Missing, r.GetMissing()...)
	for _, o := range r.GetOrphans() {
		s.Orphans = append(s.Orphans, orphanLine{o.GetKey(), o.GetSizeBytes(), o.GetAgeMs(), o.GetDeleted(), o.GetMessage()})
	}
}

func (s *scrubbed) table(w io.Writer) {
	row(w, "OBJECTS", s.Objects)
	row(w, "BYTES", s.SizeBytes)
	row(w, "GARBAGE", s.Garbage)
	row(w, "YOUNG", s.Young)
	row(w, "ORPHANS", len(s.Orphans))
	row(w, "MISSING", len(s.Missing))
	for _, o := range s.Orphans {
		state := "orphan"
		if o.Deleted {
			state = "to be deleted"
		}
		row(w, state, o.Key, o.SizeBytes, (time.Duration(o.AgeMs) * time.Millisecond).Round(time.Second), o.Note)
	}
	for _, key := range s.Missing {
		row(w, "missing", key)
	}
}

// badObject is one that is damaged or missing.
type badObject struct {
	Key     string   `json:"key"`
	Reasons []string `json:"reasons"`
}

// verifiedStore is what was read.
type verifiedStore struct {
	Cluster   string      `json:"cluster_id"`
	Written   time.Time   `json:"metadata_written"`
	Objects   int         `json:"objects"`
	SizeBytes int64       `json:"size_bytes"`
	Ranges    int         `json:"ranges"`
	Gone      int         `json:"gone_meanwhile"`
	Bad       []badObject `json:"bad"`
}

func (a *app) tierVerify(c *cli.Context) error {
	if err := checkOutput(c); err != nil {
		return err
	}
	if err := arguments(c, 0, 0); err != nil {
		return err
	}
	from, err := clusterFlag(c)
	if err != nil {
		return err
	}
	loaded, err := a.loadConfig(c)
	if err != nil {
		return err
	}
	line := verifiedStore{Bad: []badObject{}}
	found, err := node.VerifyStore(c.Context, loaded.Config, from, newLogger(a.stderr, loaded.Log), func(key string, reasons []string) {
		line.Bad = append(line.Bad, badObject{key, reasons})
	})
	if err != nil {
		return err
	}
	line.Cluster, line.Written = found.Cluster.String(), time.UnixMilli(found.Checkpoint.Written).UTC()
	line.Objects, line.SizeBytes, line.Ranges, line.Gone = found.Objects, found.Bytes, found.Ranges, found.Gone
	if err := a.show(c, line, line.table); err != nil {
		return err
	}
	if len(line.Bad) > 0 {
		return mq.Errorf(mq.Corrupt, "%d objects are damaged or missing", len(line.Bad))
	}
	return nil
}

func (v verifiedStore) table(w io.Writer) {
	row(w, "CLUSTER", v.Cluster)
	row(w, "METADATA AS OF", v.Written.Format(time.RFC3339))
	row(w, "OBJECTS", v.Objects)
	row(w, "BYTES", v.SizeBytes)
	row(w, "RANGES", v.Ranges)
	row(w, "GONE MEANWHILE", v.Gone)
	row(w, "BAD", len(v.Bad))
	for _, b := range v.Bad {
		for _, reason := range b.Reasons {
			row(w, fmt.Sprintf("! %s", b.Key), reason)
		}
	}
}

// clusterFlag is the cluster that --cluster names; zero: none.
func clusterFlag(c *cli.Context) (id mq.ClusterID, err error) {
	if !c.IsSet("cluster") {
		return id, nil
	}
	if id, err = mq.ParseClusterID(c.String("cluster")); err != nil {
		err = usagef("%s: --cluster: %v", c.Command.Name, err)
	}
	return id, err
}
