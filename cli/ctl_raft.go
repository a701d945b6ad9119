package cli

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"github.com/urfave/cli/v2"

	adminpb "github.com/rustmq/rustmq/api/admin/v1"
	"github.com/rustmq/rustmq/client"
)

// raftPoll is how often a controller that is to catch up is looked at.
const raftPoll = 200 * time.Millisecond

// memberVoter is the role of a controller that votes.
const memberVoter = "voter"

func (a *app) raftAddCommand() *cli.Command {
	return &cli.Command{
		Name: "add", ArgsUsage: "NODE", Usage: "wait until a node's controller is a member that votes", Action: a.raftAdd,
		Description: "A controller that is started with --controllers and an empty data directory asks for a place by itself, and learns until it has caught up.\n" +
			"Example: rustmq ctl raft add 4 --wait 5m",
		Flags: append([]cli.Flag{
			&cli.DurationFlag{Name: "wait", Value: time.Minute, Usage: "wait for this `TIME` at most"},
		}, connectFlags("key", "key-file")...),
	}
}

func (a *app) raftRemoveCommand() *cli.Command {
	return &cli.Command{
		Name: "remove", ArgsUsage: "RAFT_ID", Usage: "take a controller out of the group, for good", Action: a.raftRemove,
		Description: "It is refused when the controllers that are left and can be reached would be no majority. `ctl raft status` has the ids.\n" +
			"Example: rustmq ctl raft remove 3",
		Flags: connectFlags("key", "key-file"),
	}
}

func (a *app) raftAdd(c *cli.Context) error {
	id, err := nodeArgument(c)
	if err != nil {
		return err
	}
	return a.withClient(c, func(ctx context.Context, cl *client.Client) error {
		deadline := time.Now().Add(c.Duration("wait"))
		for {
			resp, err := a.operate(ctx, cl, &adminpb.Request{Kind: &adminpb.Request_AddRaftMember{AddRaftMember: &adminpb.AddRaftMemberRequest{NodeId: id}}}, true)
			if err != nil {
				return err
			}
			m := resp.GetAddRaftMember().GetMember()
			switch {
			case m.GetRole() == memberVoter && m.GetActive(): // one that is not is the member of before, whose place is to be taken
				fmt.Fprintf(a.stdout, "raft id %d\n", m.GetRaftId())
				return nil
			case time.Now().After(deadline):
				return fmt.Errorf("raft add %d: raft id %d is a %s and has the log up to %d: it votes as soon as it has caught up, look at `ctl raft status`",
					id, m.GetRaftId(), m.GetRole(), m.GetMatch())
			}
			if err := pause(ctx, raftPoll); err != nil {
				return err
			}
		}
	})
}

func (a *app) raftRemove(c *cli.Context) error {
	if err := arguments(c, 1, 1); err != nil {
		return err
	}
	id, err := strconv.ParseUint(c.Args().First(), 10, 64)
	if err != nil || id == 0 {
		return usagef("remove: %q is not a raft id", c.Args().First())
	}
	return a.withClient(c, func(ctx context.Context, cl *client.Client) error {
		_, err := a.operate(ctx, cl, &adminpb.Request{Kind: &adminpb.Request_RemoveRaftMember{
			RemoveRaftMember: &adminpb.RemoveRaftMemberRequest{RaftId: id},
		}}, false)
		return err
	})
}
