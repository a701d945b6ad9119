package cli

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"strconv"
	"strings"

	"github.com/urfave/cli/v2"

	adminpb "github.com/rustmq/rustmq/api/admin/v1"
	"github.com/rustmq/rustmq/client"
	"github.com/rustmq/rustmq/mq"
)

// maxMoves is the most moves of one command, as many as a node takes at once.
const maxMoves = 1000

func (a *app) partitionMoveCommand() *cli.Command {
	return &cli.Command{
		Name: "move", ArgsUsage: "TOPIC PARTITION [PARTITION ...]", Usage: "give partitions other replicas", Action: a.partitionMove,
		Description: "It goes on in the background: new replicas are added, and when they are in sync the others go. `ctl partition list` shows it.\n" +
			"Examples:\n  rustmq ctl partition move orders 0 --to 1,2,3\n  rustmq ctl partition move orders 0 --cancel\n" +
			"  rustmq ctl partition move --file moves.txt      lines like: orders 0 1,2,3",
		Flags: append([]cli.Flag{
			&cli.StringFlag{Name: "to", Usage: "`NODES` that are to have replicas, separated by commas, the preferred leader first"},
			&cli.BoolFlag{Name: "cancel", Usage: "end what is under way: the partition keeps the replicas that it had"},
			&cli.StringFlag{Name: "file", Usage: "read moves from `FILE`, - for stdin: a line for each, TOPIC PARTITION NODES"},
		}, connectFlags("key", "key-file")...),
	}
}

func (a *app) partitionMove(c *cli.Context) error {
	moves, err := a.movesOf(c)
	if err != nil {
		return err
	}
	return a.withClient(c, func(ctx context.Context, cl *client.Client) error {
		resp, err := a.operate(ctx, cl, &adminpb.Request{Kind: &adminpb.Request_MovePartitions{
			MovePartitions: &adminpb.MovePartitionsRequest{Moves: moves},
		}}, !c.Bool("cancel")) // who cancels twice is told that there is nothing to cancel
		if err != nil {
			return err
		}
		failed := 0
		var first error
		for i, o := range resp.GetMovePartitions().GetOutcomes() {
			if o.GetCode() == 0 || i >= len(moves) {
				continue
			}
			if failed++; first == nil {
				first = mq.Errorf(mq.Code(o.GetCode()), "%s %d: %s", moves[i].GetTopic(), moves[i].GetPartition(), o.GetMessage())
			}
		}
		if failed > 1 {
			return fmt.Errorf("%d of %d partitions are not moved, the first: %w", failed, len(moves), first)
		}
		return first
	})
}

// movesOf reads what the command line, or the file, asks for.
func (a *app) movesOf(c *cli.Context) ([]*adminpb.PartitionMove, error) {
	args := c.Args().Slice()
	switch name := c.String("file"); {
	case name != "" && (len(args) > 0 || c.IsSet("to") || c.Bool("cancel")):
		return nil, usagef("move: --file says all that there is to move")
	case name == "-":
		return readMoves(bufio.NewScanner(a.stdin), "stdin")
	case name != "":
		f, err := os.Open(name)
		if err != nil {
			return nil, err
		}
		defer f.Close()
		return readMoves(bufio.NewScanner(f), name)
	case len(args) < 2:
		return nil, usagef("move: name a topic and its partitions")
	case c.IsSet("to") == c.Bool("cancel"):
		return nil, usagef("move: give either --to NODES or --cancel")
	}
	var moves []*adminpb.PartitionMove
	for _, partition := range args[1:] {
		move, err := moveOf(args[0], partition, c.String("to"), c.Bool("cancel"))
		if err != nil {
			return nil, usagef("move: %v", err)
		}
		moves = append(moves, move)
	}
	if len(moves) > maxMoves {
		return nil, usagef("move: %d partitions: at most %d at once", len(moves), maxMoves)
	}
	return moves, nil
}

func readMoves(lines *bufio.Scanner, name string) (moves []*adminpb.PartitionMove, err error) {
	for n := 1; lines.Scan(); n++ {
		fields := strings.Fields(lines.Text())
		if len(fields) == 0 || strings.HasPrefix(fields[0], "#") {
			continue
		}
		if len(fields) != 3 {
			return nil, usagef("move: line %d of %s: write TOPIC PARTITION NODES, as in `orders 0 1,2,3`", n, name)
		}
		move, err := moveOf(fields[0], fields[1], fields[2], false)
		if err != nil {
			return nil, usagef("move: line %d of %s: %v", n, name, err)
		}
		if moves = append(moves, move); len(moves) > maxMoves {
			return nil, usagef("move: %s has more than %d moves: move fewer at once", name, maxMoves)
		}
	}
	if err := lines.Err(); err != nil {
		return nil, fmt.Errorf("read %s: %w", name, err)
	}
	if len(moves) == 0 {
		return nil, usagef("move: there is nothing to move in %s", name)
	}
	return moves, nil
}

func moveOf(topic, partition, nodes string, cancel bool) (*adminpb.PartitionMove, error) {
	index, err := strconv.ParseInt(partition, 10, 32)
	if err != nil || index < 0 {
		return nil, fmt.Errorf("%q is not the number of a partition", partition)
	}
	move := &adminpb.PartitionMove{Topic: topic, Partition: int32(index)}
	if cancel {
		return move, nil
	}
	for _, text := range strings.Split(nodes, ",") {
		id, err := strconv.ParseInt(text, 10, 32)
		if err != nil || id < 0 {
			return nil, fmt.Errorf("%q is not a node id: write nodes as 1,2,3", text)
		}
		move.Replicas = append(move.Replicas, int32(id))
	}
	return move, nil
}
