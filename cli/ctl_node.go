package cli

import (
	"context"
	"fmt"
	"io"
	"strconv"
	"time"

	"github.com/urfave/cli/v2"

	adminpb "github.com/rustmq/rustmq/api/admin/v1"
	"github.com/rustmq/rustmq/client"
)

// drainPoll is how often a drain that is waited for is looked at.
const drainPoll = time.Second

func (a *app) nodeDrainCommand() *cli.Command {
	return &cli.Command{
		Name: "drain", ArgsUsage: "NODE", Usage: "have all replicas of a broker moved to others", Action: a.nodeDrain,
		Description: "The controllers move them in the background, and place no new ones there. Asking again says how far that is.\n" +
			"Example: rustmq ctl node drain 3 --wait 10m",
		Flags: append([]cli.Flag{
			&cli.DurationFlag{Name: "wait", Usage: "wait until it has none any more, for this `TIME` at most"},
			&cli.BoolFlag{Name: "cancel", Usage: "end it: what has moved stays where it is"},
			outputFlag(),
		}, connectFlags("key", "key-file")...),
	}
}

func (a *app) nodeRemoveCommand() *cli.Command {
	return &cli.Command{
		Name: "remove", ArgsUsage: "NODE", Usage: "forget a broker that was drained and is stopped", Action: a.nodeRemove,
		Description: "Example: rustmq ctl node remove 3",
		Flags:       connectFlags("key", "key-file"),
	}
}

// nodeArgument is a command's only argument: a node id.
func nodeArgument(c *cli.Context) (int32, error) {
	if err := arguments(c, 1, 1); err != nil {
		return 0, err
	}
	id, err := strconv.ParseInt(c.Args().First(), 10, 32)
	if err != nil || id < 0 {
		return 0, usagef("%s: %q is not a node id", c.Command.Name, c.Args().First())
	}
	return int32(id), nil
}

// drainState is what a node that is drained has left.
type drainState struct {
	Node     int32 `json:"node_id"`
	Replicas int32 `json:"replicas"`
	Moving   int32 `json:"moving_replicas"`
	Stuck    int32 `json:"stuck_replicas"`
}

func (s drainState) table(w io.Writer) {
	row(w, "NODE", "REPLICAS", "MOVING", "STUCK")
	row(w, s.Node, s.Replicas, s.Moving, s.Stuck)
}

func (a *app) nodeDrain(c *cli.Context) error {
	if err := checkOutput(c); err != nil {
		return err
	}
	id, err := nodeArgument(c)
	if err != nil {
		return err
	}
	if c.Bool("cancel") && c.IsSet("wait") {
		return usagef("drain: --cancel has nothing to wait for")
	}
	return a.withClient(c, func(ctx context.Context, cl *client.Client) error {
		state, err := a.drain(ctx, cl, id, c.Bool("cancel"), c.Duration("wait"))
		if err != nil {
			return err
		}
		if err := a.show(c, state, state.table); err != nil {
			return err
		}
		switch {
		case state.Stuck > 0 && !c.Bool("cancel"):
			return fmt.Errorf("drain node %d: no other node can take %d of its replicas: add a node, or give these topics fewer replicas", id, state.Stuck)
		case state.Replicas > 0 && c.Duration("wait") > 0:
			return fmt.Errorf("drain node %d: it still has %d replicas; that goes on in the background", id, state.Replicas)
		}
		return nil
	})
}

// drain asks until a node has nothing left that can be moved, or the time is over.
func (a *app) drain(ctx context.Context, cl *client.Client, id int32, cancel bool, wait time.Duration) (state drainState, err error) {
	deadline := time.Now().Add(wait)
	for {
		resp, err := a.operate(ctx, cl, &adminpb.Request{Kind: &adminpb.Request_DrainNode{DrainNode: &adminpb.DrainNodeRequest{NodeId: id, Cancel: cancel}}}, true)
		if err != nil {
			return state, err
		}
		d := resp.GetDrainNode()
		state = drainState{Node: id, Replicas: d.GetReplicas(), Moving: d.GetMoving(), Stuck: d.GetStuck()}
		if state.Replicas == state.Stuck || time.Now().After(deadline) {
			return state, nil
		}
		if err := pause(ctx, min(drainPoll, max(wait/10, time.Millisecond))); err != nil {
			return state, err
		}
	}
}

func (a *app) nodeRemove(c *cli.Context) error {
	id, err := nodeArgument(c)
	if err != nil {
		return err
	}
	return a.withClient(c, func(ctx context.Context, cl *client.Client) error {
		_, err := a.operate(ctx, cl, &adminpb.Request{Kind: &adminpb.Request_RemoveNode{RemoveNode: &adminpb.RemoveNodeRequest{NodeId: id}}}, true)
		return err
	})
}
