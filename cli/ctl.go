package cli

import "github.com/urfave/cli/v2"

// ctlCommand is what operators do to a cluster. Each group of commands is in a file of its own, ctl_*.go.
func (a *app) ctlCommand() *cli.Command {
	return &cli.Command{
		Name:  "ctl",
		Usage: "operate a cluster",
		Subcommands: []*cli.Command{
			a.ctlClusterCommand(),
			a.ctlNodeCommand(),
			a.ctlPartitionCommand(),
			a.ctlRaftCommand(),
			a.ctlTierCommand(),
			a.ctlConfigCommand(),
			a.ctlQuotaCommand(),
			a.ctlCACommand(),
		},
	}
}
