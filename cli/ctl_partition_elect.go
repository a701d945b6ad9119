package cli

import (
	"context"
	"fmt"
	"io"
	"strconv"

	"github.com/urfave/cli/v2"

	adminpb "github.com/rustmq/rustmq/api/admin/v1"
	"github.com/rustmq/rustmq/client"
	"github.com/rustmq/rustmq/mq"
)

func (a *app) partitionElectCommand() *cli.Command {
	return &cli.Command{
		Name: "elect", ArgsUsage: "[TOPIC [PARTITION ...]]", Usage: "have partitions led by their preferred leaders", Action: a.partitionElect,
		Description: "The preferred leader is the first of a partition's replicas. It leads when it is in sync; others lead on where it is not.\n" +
			"With --unclean one partition that has no leader is led by a replica that is alive and may lack what was acknowledged: records may be\n" +
			"lost, and its log says which. Use it when those who have them are gone for good.\n" +
			"Examples:\n  rustmq ctl partition elect --all\n  rustmq ctl partition elect orders 0 1\n" +
			"  rustmq ctl partition elect orders 0 --unclean",
		Flags: append([]cli.Flag{
			&cli.BoolFlag{Name: "all", Usage: "of all topics"},
			&cli.BoolFlag{Name: "unclean", Usage: "give one partition a leader though records may be lost"},
			&cli.IntFlag{Name: "leader", Usage: "`NODE` that is to lead, with --unclean (default: the first replica that is alive)"},
			&cli.BoolFlag{Name: "dry-run", Usage: "change nothing, only say who would lead"},
			outputFlag(),
		}, connectFlags("key", "key-file")...),
	}
}

// electionLine is who leads a partition now, and did before.
type electionLine struct {
	Topic     string `json:"topic"`
	Partition int32  `json:"partition"`
	Before    int32  `json:"leader_before"`
	Leader    int32  `json:"leader"`
	Error     string `json:"error"`
}

func (a *app) partitionElect(c *cli.Context) error {
	req, err := electionOf(c)
	if err != nil {
		return err
	}
	return a.withClient(c, func(ctx context.Context, cl *client.Client) error {
		lines := []electionLine{}
		var failed error
		for more := true; more; {
			// Who elects uncleanly twice is told that there is a leader.
			resp, err := a.operate(ctx, cl, &adminpb.Request{Kind: &adminpb.Request_ElectLeaders{ElectLeaders: req}}, !req.GetUnclean())
			if err != nil {
				return err
			}
			for _, o := range resp.GetElectLeaders().GetOutcomes() {
				line := electionLine{Topic: o.GetTopic(), Partition: o.GetPartition(), Before: o.GetBefore(), Leader: o.GetAfter()}
				if o.GetCode() != 0 {
					line.Error = mq.Errorf(mq.Code(o.GetCode()), "%s", o.GetMessage()).Error()
					if failed == nil {
						failed = mq.Errorf(mq.Code(o.GetCode()), "%s %d: %s", o.GetTopic(), o.GetPartition(), o.GetMessage())
					}
				}
				lines = append(lines, line)
			}
			// What could not be elected would be the same again.
			more = resp.GetElectLeaders().GetMore() && failed == nil && !req.GetDryRun()
		}
		if req.GetUnclean() && len(lines) > 0 {
			fmt.Fprintf(a.stderr, "%s %d: node %d leads, and may lack what was acknowledged: its log says which records are lost\n",
				lines[0].Topic, lines[0].Partition, lines[0].Leader)
		}
		err := a.show(c, lines, func(w io.Writer) {
			row(w, "TOPIC", "PARTITION", "BEFORE", "LEADER", "ERROR")
			for _, l := range lines {
				row(w, l.Topic, l.Partition, nodeOrNone(l.Before), nodeOrNone(l.Leader), l.Error)
			}
		})
		if err == nil {
			err = failed
		}
		return err
	})
}

// electionOf reads what the command line asks for.
func electionOf(c *cli.Context) (*adminpb.ElectLeadersRequest, error) {
	if err := checkOutput(c); err != nil {
		return nil, err
	}
	args := c.Args().Slice()
	req := &adminpb.ElectLeadersRequest{Unclean: c.Bool("unclean"), DryRun: c.Bool("dry-run")}
	switch {
	case c.Bool("all") == (len(args) > 0):
		return nil, usagef("elect: name a topic, or give --all")
	case req.GetUnclean() && len(args) != 2:
		return nil, usagef("elect: --unclean is for one partition: name its topic and its number")
	case req.GetUnclean() && req.GetDryRun():
		return nil, usagef("elect: --unclean cannot be tried: `ctl partition list` shows who is in sync and eligible")
	case c.IsSet("leader") && !req.GetUnclean():
		return nil, usagef("elect: --leader is for --unclean: else the first of the replicas leads (change them with ctl partition move)")
	}
	if c.IsSet("leader") {
		node := c.Int("leader")
		if node < 0 || int(mq.NodeID(node)) != node {
			return nil, usagef("elect: --leader is %d: it is no node id", node)
		}
		req.Leader = new(int32(node))
	}
	if len(args) == 0 {
		return req, nil
	}
	req.Topic = args[0]
	for _, text := range args[1:] {
		i, err := strconv.ParseInt(text, 10, 32)
		if err != nil || i < 0 {
			return nil, usagef("elect: %q is not the number of a partition", text)
		}
		req.Partitions = append(req.Partitions, int32(i))
	}
	return req, nil
}
