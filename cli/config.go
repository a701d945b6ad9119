package cli

import (
	"fmt"
	"runtime"
	"runtime/debug"

	"github.com/urfave/cli/v2"

	"github.com/rustmq/rustmq/node"
)

func (a *app) configCommand() *cli.Command {
	return &cli.Command{
		Name:  "config",
		Usage: "print, check and document a node's settings",
		Subcommands: []*cli.Command{
			{
				Name: "print", Usage: "write the settings that serve would use, and where each was set",
				Description: "Takes the flags of serve. The output is a file that --config takes.\n\nExample: rustmq config print --config rustmq.toml",
				Flags: append([]cli.Flag{
					&cli.BoolFlag{Name: "defaults", Usage: "nothing but the defaults"},
					&cli.StringFlag{Name: "output", Aliases: []string{"o"}, Value: "toml", Usage: "`FORMAT`: toml (table is the same), json or yaml"},
					configFileFlag(),
				}, settingFlags()...),
				Action: a.configPrint,
			},
			{
				Name: "validate", ArgsUsage: "FILE", Usage: "check a file of settings; exit status 1 and what is wrong if it is not right",
				Description: "The environment is left out.\n\nExample: rustmq config validate rustmq.toml",
				Action:      a.configValidate,
			},
			{
				Name: "docs", Usage: "write the documentation of all settings",
				Description: "Example: rustmq config docs > docs/configuration.md",
				Action: func(c *cli.Context) error {
					if err := arguments(c, 0, 0); err != nil {
						return err
					}
					return node.WriteDocs(a.stdout)
				},
			},
		},
	}
}

func (a *app) configPrint(c *cli.Context) error {
	if err := arguments(c, 0, 0); err != nil {
		return err
	}
	format := c.String("output")
	if format == formatTable {
		format = "toml"
	}
	if format != "toml" && format != formatJSON && format != formatYAML {
		return usagef("print: there is no output format %q: it may be toml, json or yaml", format)
	}
	loaded := &node.Loaded{Config: node.Default()}
	if !c.Bool("defaults") {
		var err error
		if loaded, err = a.loadConfig(c); err != nil {
			return err
		}
	}
	if format == "toml" {
		return loaded.WriteTOML(a.stdout)
	}
	return a.show(c, loaded.Tree(), nil)
}

func (a *app) configValidate(c *cli.Context) error {
	if err := arguments(c, 1, 1); err != nil {
		return err
	}
	if _, err := node.Load(node.Sources{File: c.Args().First()}); err != nil {
		return err
	}
	return nil
}

type versionLine struct {
	Version  string `json:"version"`
	Revision string `json:"revision"`
	Modified bool   `json:"modified"`
	Go       string `json:"go"`
	Platform string `json:"platform"`
}

func (a *app) versionCommand() *cli.Command {
	return &cli.Command{
		Name: "version", Usage: "say which version this is",
		Description: "Example: rustmq version",
		Flags:       []cli.Flag{outputFlag()},
		Action: func(c *cli.Context) error {
			if err := arguments(c, 0, 0); err != nil {
				return err
			}
			if c.String("output") != formatTable {
				if err := checkOutput(c); err != nil {
					return err
				}
				return a.show(c, buildVersion(), nil)
			}
			v := buildVersion()
			_, err := fmt.Fprintf(a.stdout, "rustmq %s %s %s\n", v.Version, v.Go, v.Platform)
			return err
		},
	}
}

func buildVersion() versionLine {
	v := versionLine{Version: node.Version(), Go: runtime.Version(), Platform: runtime.GOOS + "/" + runtime.GOARCH}
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, s := range info.Settings {
			switch s.Key {
			case "vcs.revision":
				v.Revision = s.Value
			case "vcs.modified":
				v.Modified = s.Value == "true"
			}
		}
	}
	return v
}
