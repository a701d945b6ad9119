package cli

import (
	"io"

	"github.com/urfave/cli/v2"

	"github.com/rustmq/rustmq/mq"
	"github.com/rustmq/rustmq/node"
)

func (a *app) partitionSalvageCommand() *cli.Command {
	return &cli.Command{
		Name: "salvage", ArgsUsage: "TOPIC_ID.PARTITION", Usage: "write the records of a partition that is set aside", Action: a.partitionSalvage,
		Description: "It is for a stopped node, offline. After `ctl raft recover` a node sets aside what the recovered controllers do not know of: the argument is the name of a\n" +
			"file in DIR/set-aside. The records that the node's log has are written in order, and before them those that the object store has of the same log. Without\n" +
			"--format each is a line, as `rustmq produce` reads them. The last ones may never have been acknowledged.\n\n" +
			"Example: rustmq ctl partition salvage mDOC0zL1Rvq7oZ0gk2n1yQ.0 --data-dir /var/lib/rustmq | rustmq produce orders-again",
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "data-dir", Usage: "`DIR` of the node (default: as the configuration says)"},
			&cli.StringFlag{Name: "config", Usage: "`FILE` that the node is configured with"},
			&cli.StringFlag{Name: "format", Aliases: []string{"f"}, Value: `%s\n`, Usage: "how a record is written, see `consume`"},
		},
	}
}

func (a *app) partitionSalvage(c *cli.Context) error {
	if err := arguments(c, 1, 1); err != nil {
		return err
	}
	id, ok := node.SetAsidePartition(c.Args().First())
	if !ok {
		return usagef("salvage: %q is not a topic id and a partition, as in mDOC0zL1Rvq7oZ0gk2n1yQ.0", c.Args().First())
	}
	format, err := parseFormat(c.String("format"))
	if err != nil {
		return err
	}
	loaded, err := a.loadConfig(c)
	if err != nil {
		return err
	}
	topic := id.Topic.String()
	return a.buffered(func(out io.Writer) error {
		var decode mq.DecodeBuffer
		var line []byte
		return node.Salvage(c.Context, loaded.Config, node.Seams{}, newLogger(a.stderr, loaded.Log), id, func(b mq.Batch) error {
			for r, err := range b.Records(&decode) {
				if err != nil {
					return err
				}
				line = line[:0]
				for _, piece := range format {
					line = piece(line, topic, id.Index, &r)
				}
				if _, err := out.Write(line); err != nil {
					return err
				}
			}
			return nil
		})
	})
}
