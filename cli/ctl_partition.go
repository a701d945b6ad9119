package cli

import (
	"context"
	"io"

	"github.com/urfave/cli/v2"

	adminpb "github.com/rustmq/rustmq/api/admin/v1"
	"github.com/rustmq/rustmq/client"
)

func (a *app) ctlPartitionCommand() *cli.Command {
	return &cli.Command{
		Name: "partition", Usage: "replicas and leaders of partitions",
		Subcommands: []*cli.Command{a.partitionMoveCommand(), a.partitionReplicateCommand(), a.partitionElectCommand(), a.partitionSalvageCommand(), {
			Name: "list", Usage: "list partitions with their leaders and replicas", Action: a.partitionList,
			Description: "Example: rustmq ctl partition list --under-replicated",
			Flags: append([]cli.Flag{
				&cli.StringFlag{Name: "topic", Usage: "only those of this `TOPIC`"},
				&cli.BoolFlag{Name: "under-replicated", Usage: "only those with fewer replicas in sync than replicas"},
				outputFlag(),
			}, connectFlags("key", "key-file")...),
		}},
	}
}

type partitionLine struct {
	Topic          string  `json:"topic"`
	Partition      int32   `json:"partition"`
	Leader         int32   `json:"leader"`
	LeaderEpoch    int32   `json:"leader_epoch"`
	PartitionEpoch int32   `json:"partition_epoch"`
	Replicas       []int32 `json:"replicas"`
	InSync         []int32 `json:"in_sync_replicas"`
	LogStart       int64   `json:"log_start_offset"`
	TieredEnd      int64   `json:"tiered_end_offset"`
	Adding         []int32 `json:"adding_replicas"`
	Removing       []int32 `json:"removing_replicas"`
	Eligible       []int32 `json:"eligible_replicas"`
}

func (a *app) partitionList(c *cli.Context) error {
	if err := checkOutput(c); err != nil {
		return err
	}
	if err := arguments(c, 0, 0); err != nil {
		return err
	}
	return a.withClient(c, func(ctx context.Context, cl *client.Client) error {
		lines := []partitionLine{}
		req := &adminpb.ListPartitionsRequest{Topic: c.String("topic"), UnderReplicated: c.Bool("under-replicated")}
		for more := true; more; more = req.GetPage() != "" {
			resp, err := a.operate(ctx, cl, &adminpb.Request{Kind: &adminpb.Request_ListPartitions{ListPartitions: req}}, true)
			if err != nil {
				return err
			}
			for _, p := range resp.GetListPartitions().GetPartitions() {
				lines = append(lines, partitionLine{
					Topic: p.GetTopic(), Partition: p.GetPartition(), Leader: p.GetLeader(), LeaderEpoch: p.GetLeaderEpoch(),
					PartitionEpoch: p.GetPartitionEpoch(), Replicas: orEmpty(p.GetReplicas()), InSync: orEmpty(p.GetInSync()),
					LogStart: p.GetLogStart(), TieredEnd: p.GetTieredEnd(),
					Adding: orEmpty(p.GetAdding()), Removing: orEmpty(p.GetRemoving()), Eligible: orEmpty(p.GetEligible()),
				})
			}
			req.Page = resp.GetListPartitions().GetNextPage()
		}
		return a.show(c, lines, func(w io.Writer) {
			row(w, "TOPIC", "PARTITION", "LEADER", "EPOCH", "REPLICAS", "IN SYNC", "ADDING", "REMOVING", "ELIGIBLE", "START", "IN OBJECTS")
			for _, l := range lines {
				row(w, l.Topic, l.Partition, nodeOrNone(l.Leader), l.LeaderEpoch, list(l.Replicas), list(l.InSync), list(l.Adding), list(l.Removing), list(l.Eligible),
					l.LogStart, l.TieredEnd)
			}
		})
	})
}

// orEmpty is a list that JSON shows as one.
func orEmpty(ids []int32) []int32 { return append([]int32{}, ids...) }
