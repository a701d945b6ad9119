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
)

// replicatePoll is how often what is waited for is looked at.
const replicatePoll = time.Second

func (a *app) partitionReplicateCommand() *cli.Command {
	return &cli.Command{
		Name: "replicate", ArgsUsage: "[TOPIC ...]", Usage: "give partitions as many replicas as they are to have", Action: a.partitionReplicate,
		Description: "Partitions with too few replicas, or with some on nodes that are not known any more, get others: in racks that have none of the partition as long as there are\n" +
			"such, and evenly. It goes on in the background, as after `ctl partition move`. How many: --replicas, else as many as the topic had before the cluster was\n" +
			"restored, or as that partition of it has that has the most. Exit status 1 if there are too few nodes for that.\n" +
			"Examples:\n  rustmq ctl partition replicate --dry-run\n  rustmq ctl partition replicate --wait 10m      after a restore, when the new nodes are there\n" +
			"  rustmq ctl partition replicate orders --replicas 3",
		Flags: append([]cli.Flag{
			&cli.IntFlag{Name: "replicas", Usage: "`NUMBER` of replicas that each partition is to have"},
			&cli.BoolFlag{Name: "dry-run", Usage: "only say what would be done"},
			&cli.DurationFlag{Name: "wait", Usage: "wait until all have their replicas, for this `TIME` at most"},
			outputFlag(),
		}, connectFlags("key", "key-file")...),
	}
}

// replicated is what becomes of one partition.
type replicated struct {
	Topic     string  `json:"topic"`
	Partition int32   `json:"partition"`
	From      []int32 `json:"from_replicas"`
	To        []int32 `json:"to_replicas"`
	Error     string  `json:"error,omitempty"`
}

// replication gathers what was planned and begun.
type replication struct {
	lines         []replicated
	moving, short int32
	failed        error // the first
}

func (a *app) partitionReplicate(c *cli.Context) error {
	if err := checkOutput(c); err != nil {
		return err
	}
	if n := c.Int("replicas"); n < 0 || n > mq.MaxReplicationFactor || n == 0 && c.IsSet("replicas") {
		return usagef("replicate: --replicas %d is not a number from 1 to %d", n, mq.MaxReplicationFactor)
	}
	if c.Bool("dry-run") && c.IsSet("wait") {
		return usagef("replicate: --dry-run has nothing to wait for")
	}
	return a.withClient(c, func(ctx context.Context, cl *client.Client) error {
		r := &replication{lines: []replicated{}}
		req := &adminpb.ReplicatePartitionsRequest{Topics: c.Args().Slice(), Replicas: int32(c.Int("replicas")), DryRun: c.Bool("dry-run")}
		if err := a.replicate(ctx, cl, req, r, time.Now().Add(c.Duration("wait"))); err != nil {
			return err
		}
		err := a.show(c, r.lines, func(w io.Writer) {
			row(w, "TOPIC", "PARTITION", "REPLICAS", "TO BE", "ERROR")
			for _, l := range r.lines {
				row(w, l.Topic, l.Partition, list(l.From), list(l.To), l.Error)
			}
		})
		switch {
		case err != nil:
			return err
		case r.failed != nil:
			return r.failed
		case r.short > 0:
			return fmt.Errorf("replicate: there are too few nodes that take replicas: %d partitions have, or will have, fewer than they are to have: add nodes, and ask again", r.short)
		case r.moving > 0 && c.Duration("wait") > 0:
			return fmt.Errorf("replicate: %d partitions do not have their replicas yet; that goes on in the background", r.moving)
		}
		return nil
	})
}

// replicate asks until there is nothing left to begin, and until all have what they are to have or it is too late to wait.
func (a *app) replicate(ctx context.Context, cl *client.Client, req *adminpb.ReplicatePartitionsRequest, r *replication, deadline time.Time) error {
	for {
		resp, err := a.operate(ctx, cl, &adminpb.Request{Kind: &adminpb.Request_ReplicatePartitions{ReplicatePartitions: req}}, true)
		if err != nil {
			return err
		}
		answer := resp.GetReplicatePartitions()
		r.moving, r.short = answer.GetMoving(), answer.GetShort()
		for _, m := range answer.GetMoves() {
			r.lines = append(r.lines, replicated{Topic: m.GetTopic(), Partition: m.GetPartition(), From: orEmpty(m.GetFrom()), To: orEmpty(m.GetTo()), Error: m.GetMessage()})
			if m.GetCode() != 0 && r.failed == nil {
				r.failed = mq.Errorf(mq.Code(m.GetCode()), "%s %d: %s", m.GetTopic(), m.GetPartition(), m.GetMessage())
			}
		}
		switch {
		case req.GetDryRun() || r.failed != nil:
			return nil //nolint:nilerr // it is told with what was begun
		case len(answer.GetMoves()) > 0:
			continue
		case r.moving == 0 || !time.Now().Before(deadline):
			return nil
		}
		if err := pause(ctx, min(replicatePoll, max(time.Until(deadline)/10, time.Millisecond))); err != nil {
			return err
		}
	}
}
