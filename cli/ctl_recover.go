package cli

import (
	"fmt"
	"io"

	"github.com/urfave/cli/v2"

	"github.com/rustmq/rustmq/node"
)

func (a *app) raftRecoverCommand() *cli.Command {
	return &cli.Command{
		Name: "recover", Usage: "make one controller the only one, when a majority of them is lost for good", Action: a.raftRecover,
		Description: "It is for a stopped node, offline. Without --yes it only says how far this controller has come: of those that are left recover the one with the\n" +
			"highest term, and in that the highest index. What only the lost ones had is lost, though it was acknowledged. The others must never start\n" +
			"again with their old data directories: empty them, and they take places anew.\n\n" +
			"Example: rustmq ctl raft recover --data-dir /var/lib/rustmq --yes",
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "data-dir", Usage: "`DIR` of the node (default: as the configuration says)"},
			&cli.StringFlag{Name: "config", Usage: "`FILE` that the node is configured with"},
			&cli.BoolFlag{Name: "yes", Usage: "do it"},
			outputFlag(),
		},
	}
}

func (a *app) raftRejoinCommand() *cli.Command {
	return &cli.Command{
		Name: "rejoin", Usage: "have a controller that was removed ask for a place again", Action: a.raftRejoin,
		Description: "It is for a stopped node, offline, whose controller was removed by `ctl raft remove` and has said so in the log. What that one had is deleted; partitions\n" +
			"stay. At its next start the node asks the controllers for a place, as a new member with another raft id.\n\n" +
			"Example: rustmq ctl raft rejoin --data-dir /var/lib/rustmq",
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "data-dir", Usage: "`DIR` of the node (default: as the configuration says)"},
			&cli.StringFlag{Name: "config", Usage: "`FILE` that the node is configured with"},
		},
	}
}

func (a *app) raftRejoin(c *cli.Context) error {
	if err := arguments(c, 0, 0); err != nil {
		return err
	}
	loaded, err := a.loadConfig(c)
	if err != nil {
		return err
	}
	if err := node.RejoinController(loaded.Config, node.Seams{}); err != nil {
		return err
	}
	fmt.Fprintln(a.stdout, "at its next start the node asks for a place among the controllers")
	return nil
}

// controllerLast is how far a controller has come.
type controllerLast struct {
	ClusterID string `json:"cluster_id"`
	Node      int32  `json:"node_id"`
	RaftID    uint64 `json:"raft_id"`
	Term      uint64 `json:"term"`
	Index     uint64 `json:"index"`
	Commit    uint64 `json:"commit_index"`
}

func (l controllerLast) table(w io.Writer) {
	row(w, "CLUSTER", "NODE", "RAFT ID", "TERM", "INDEX", "COMMITTED UP TO")
	row(w, l.ClusterID, l.Node, l.RaftID, l.Term, l.Index, l.Commit)
}

func (a *app) raftRecover(c *cli.Context) error {
	if err := checkOutput(c); err != nil {
		return err
	}
	if err := arguments(c, 0, 0); err != nil {
		return err
	}
	loaded, err := a.loadConfig(c)
	if err != nil {
		return err
	}
	last, err := node.InspectController(loaded.Config, node.Seams{})
	if err != nil {
		return err
	}
	if !c.Bool("yes") {
		line := controllerLast{last.Cluster.String(), int32(last.Node), last.RaftID, last.Term, last.Index, last.Commit}
		if err := a.show(c, line, line.table); err != nil {
			return err
		}
		return fmt.Errorf("nothing was changed: if a majority of the controllers is lost for good, and of those that are left none has a higher term and index, " +
			"say --yes; what the lost ones had committed behind this index is lost then: leaders, and topics, which brokers set aside; objects in the bucket are found again")
	}
	recovery, err := node.RecoverController(loaded.Config, node.Seams{}, newLogger(a.stderr, loaded.Log))
	if err != nil {
		return err
	}
	fmt.Fprintf(a.stdout, "controller %d is the only one now: %v\n", last.Node, recovery)
	return nil
}
