package cli

import (
	"cmp"
	"context"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/rustmq/rustmq/client"
	"github.com/rustmq/rustmq/mq"
)

func (a *app) groupCommand() *cli.Command {
	with := func(flags ...cli.Flag) []cli.Flag { return append(flags, connectFlags("key", "key-file")...) }
	return &cli.Command{
		Name:  "group",
		Usage: "list, describe, alter, reset and delete consumer groups",
		Subcommands: []*cli.Command{
			{
				Name: "list", Usage: "list all consumer groups", Action: a.groupList,
				Description: "Example: rustmq group list",
				Flags:       with(outputFlag()),
			},
			{
				Name: "describe", ArgsUsage: "GROUP", Usage: "show a group's members, what they consume, and how far they have come", Action: a.groupDescribe,
				Description: "Example: rustmq group describe billing -o json",
				Flags:       with(outputFlag()),
			},
			{
				Name: "alter", ArgsUsage: "GROUP", Usage: "change a group's settings, all or none", Action: a.groupAlter,
				Description: "Example: rustmq group alter billing --config consumer.session.timeout.ms=10000",
				Flags: with(
					configFlag("`KEY=VALUE` to set; may be repeated"),
					&cli.StringSliceFlag{Name: "unset", Usage: "`KEY` to put back to its default; may be repeated"},
				),
			},
			{
				Name: "reset", ArgsUsage: "GROUP", Usage: "set where a group goes on in a topic that none of its members consumes", Action: a.groupReset,
				Description: "Examples:\n  rustmq group reset billing --topic orders --to -1h --dry-run\n  rustmq group reset billing --topic orders --partition 0 --to 12345",
				Flags: with(
					&cli.StringFlag{Name: "topic", Usage: "`NAME` of the topic"},
					&cli.StringFlag{Name: "to", Usage: "`PLACE` of the next record to consume: start, end, OFFSET, TIMESTAMP, or -1h"},
					&cli.IntSliceFlag{Name: "partition", Usage: "only this `NUMBER`; may be repeated (default: all)"},
					&cli.BoolFlag{Name: "dry-run", Usage: "show where it would go on, and change nothing"},
					outputFlag(),
				),
			},
			{
				Name: "delete", ArgsUsage: "GROUP", Usage: "delete a group without members, with all that it has committed", Action: a.groupDelete,
				Description: "Example: rustmq group delete billing",
				Flags:       with(),
			},
		},
	}
}

// groupName is the one argument.
func groupName(c *cli.Context) (string, error) {
	if err := arguments(c, 1, 1); err != nil {
		return "", err
	}
	name := c.Args().First()
	if name == "" || len(name) > mq.MaxGroupIDBytes {
		return "", usagef("%s: a group's name has 1 to %d bytes", c.Command.Name, mq.MaxGroupIDBytes)
	}
	return name, nil
}

// groupLine is a group in a list.
type groupLine struct {
	Group    string `json:"group"`
	Protocol string `json:"protocol"`
	State    string `json:"state"`
	Members  int    `json:"members"`
}

func (a *app) groupList(c *cli.Context) error {
	if err := arguments(c, 0, 0); err != nil {
		return err
	}
	if err := checkOutput(c); err != nil {
		return err
	}
	return a.withClient(c, func(ctx context.Context, cl *client.Client) error {
		groups, failed := cl.ListGroups(ctx) // what is there is shown all the same
		if failed != nil && len(groups) == 0 {
			return failed
		}
		lines := []groupLine{}
		for _, g := range groups {
			lines = append(lines, groupLine{g.Group, g.Protocol, g.State, g.Members})
		}
		err := a.show(c, lines, func(w io.Writer) {
			row(w, "GROUP", "PROTOCOL", "STATE", "MEMBERS")
			for _, l := range lines {
				row(w, l.Group, l.Protocol, l.State, l.Members)
			}
		})
		return cmp.Or(failed, err)
	})
}

// groupText is a described group.
type groupText struct {
	Group      string               `json:"group"`
	Protocol   string               `json:"protocol"`
	State      string               `json:"state"`
	Epoch      int32                `json:"epoch"`
	Assignor   string               `json:"assignor"`
	Configs    []configLine         `json:"configs"`
	Members    []groupMemberText    `json:"members"`
	Partitions []groupPartitionText `json:"partitions"`
}

type groupMemberText struct {
	Member   string   `json:"member"`
	Instance string   `json:"instance"`
	Client   string   `json:"client"`
	Host     string   `json:"host"`
	Rack     string   `json:"rack"`
	Epoch    int32    `json:"epoch"`
	Topics   []string `json:"topics"`
	Pattern  string   `json:"pattern"`
	Assigned int      `json:"assigned_partitions"`
}

type groupPartitionText struct {
	Topic     string `json:"topic"`
	Partition int32  `json:"partition"`
	Committed *int64 `json:"committed_offset"`
	End       *int64 `json:"end_offset"`
	Lag       *int64 `json:"lag_records"`
	Member    string `json:"member"`
}

// known is a number, or nil for one that is not.
func known(n int64) *int64 {
	if n < 0 {
		return nil
	}
	return &n
}

func (a *app) groupDescribe(c *cli.Context) error {
	name, err := groupName(c)
	if err != nil {
		return err
	}
	if err := checkOutput(c); err != nil {
		return err
	}
	return a.withClient(c, func(ctx context.Context, cl *client.Client) error {
		d, err := cl.DescribeGroup(ctx, name)
		if err != nil {
			return err
		}
		text := describedGroup(d)
		configs, err := cl.GroupConfigs(ctx, name)
		if err != nil && mq.CodeOf(err) != mq.UnsupportedVersion { // a node of before there were any
			return err
		}
		for _, s := range configs {
			text.Configs = append(text.Configs, configLine(s))
		}
		return a.show(c, text, func(w io.Writer) { text.table(w) })
	})
}

func describedGroup(d *client.GroupDescription) groupText {
	text := groupText{
		Group: d.Group, Protocol: d.Protocol, State: d.State, Epoch: d.Epoch, Assignor: d.Assignor,
		Configs: []configLine{}, Members: []groupMemberText{}, Partitions: []groupPartitionText{},
	}
	for _, m := range d.Members {
		line := groupMemberText{
			Member: m.Member, Instance: m.Instance, Client: m.ClientID, Host: m.Host, Rack: m.Rack, Epoch: m.Epoch, Topics: slices.Concat([]string{}, m.Topics), Pattern: m.Pattern,
		}
		for _, t := range m.Assigned {
			line.Assigned += len(t.Partitions)
		}
		text.Members = append(text.Members, line)
	}
	for i := range d.Partitions {
		p := &d.Partitions[i]
		text.Partitions = append(text.Partitions, groupPartitionText{
			p.Topic, p.Partition, known(int64(p.Committed)), known(int64(p.End)), known(p.Lag()), p.Member,
		})
	}
	return text
}

func (t *groupText) table(w io.Writer) {
	row(w, "GROUP", "PROTOCOL", "STATE", "EPOCH", "ASSIGNOR")
	row(w, t.Group, t.Protocol, t.State, t.Epoch, t.Assignor)
	row(w)
	row(w, "MEMBER", "INSTANCE", "CLIENT", "HOST", "EPOCH", "PARTITIONS", "SUBSCRIPTION")
	for _, m := range t.Members {
		wants := strings.Join(m.Topics, ",")
		if m.Pattern != "" {
			wants = strings.TrimPrefix(wants+",~"+m.Pattern, ",")
		}
		row(w, m.Member, m.Instance, m.Client, m.Host, m.Epoch, m.Assigned, wants)
	}
	row(w)
	row(w, "TOPIC", "PARTITION", "COMMITTED", "END", "LAG", "MEMBER")
	for _, p := range t.Partitions {
		row(w, p.Topic, p.Partition, orDash(p.Committed), orDash(p.End), orDash(p.Lag), p.Member)
	}
	row(w)
	row(w, "SETTING", "VALUE", "")
	for _, l := range t.Configs {
		note := ""
		if l.Default {
			note = "(default)"
		}
		row(w, l.Key, l.Value, note)
	}
}

func orDash(n *int64) string {
	if n == nil {
		return "-"
	}
	return strconv.FormatInt(*n, 10)
}

func (a *app) groupAlter(c *cli.Context) error {
	name, err := groupName(c)
	if err != nil {
		return err
	}
	set, err := pairs(c, "config")
	if err != nil {
		return err
	}
	unset := c.StringSlice("unset")
	if len(set) == 0 && len(unset) == 0 {
		return usagef("alter: nothing to change: give --config or --unset")
	}
	return a.withClient(c, func(ctx context.Context, cl *client.Client) error { return cl.AlterGroupConfigs(ctx, name, set, unset) })
}

// resetLine is where a group goes on, and where it would have.
type resetLine struct {
	Topic     string `json:"topic"`
	Partition int32  `json:"partition"`
	From      *int64 `json:"from_offset"`
	To        int64  `json:"to_offset"`
}

func (a *app) groupReset(c *cli.Context) error {
	name, err := groupName(c)
	if err != nil {
		return err
	}
	if err := checkOutput(c); err != nil {
		return err
	}
	topic := c.String("topic")
	if topic == "" || !c.IsSet("to") {
		return usagef("reset: say --topic, and --to: the place of the next record to consume")
	}
	if err := mq.ValidTopicName(topic); err != nil {
		return usagef("reset: %v", err)
	}
	to, err := parsePlace("to", c.String("to"), time.Now())
	if err != nil {
		return err
	}
	return a.withClient(c, func(ctx context.Context, cl *client.Client) error {
		places, err := resetPlaces(ctx, cl, topic, to, c.IntSlice("partition"))
		if err != nil {
			return err
		}
		before, err := cl.CommittedOffsets(ctx, name, topic)
		if err != nil {
			return err
		}
		lines, offsets := []resetLine{}, make(map[int32]mq.Offset)
		for _, p := range places {
			from, ok := before[p.Partition]
			if !ok {
				from = -1
			}
			lines = append(lines, resetLine{topic, p.Partition, known(int64(from)), int64(p.Offset)})
			offsets[p.Partition] = p.Offset
		}
		if !c.Bool("dry-run") {
			if err := cl.ResetOffsets(ctx, name, topic, offsets); err != nil {
				return err
			}
		}
		return a.show(c, lines, func(w io.Writer) {
			row(w, "TOPIC", "PARTITION", "FROM", "TO")
			for _, l := range lines {
				row(w, l.Topic, l.Partition, orDash(l.From), l.To)
			}
		})
	})
}

// resetPlaces are the offsets of a place in partitions, all of them if none are named. A time that no record is as new as is the end, and so is an offset behind it.
func resetPlaces(ctx context.Context, cl *client.Client, topic string, to place, chosen []int) ([]trimPlace, error) {
	places, err := trimPlaces(ctx, cl, topic, to, chosen)
	if err != nil {
		return nil, err
	}
	ends, err := trimPlaces(ctx, cl, topic, place{Position: client.End(), isEnd: true}, chosen)
	if err != nil {
		return nil, err
	}
	for i := range places {
		if end := ends[i].Offset; places[i].Offset < 0 || places[i].Offset > end {
			places[i].Offset = end
		}
	}
	return places, nil
}

func (a *app) groupDelete(c *cli.Context) error {
	name, err := groupName(c)
	if err != nil {
		return err
	}
	return a.withClient(c, func(ctx context.Context, cl *client.Client) error { return cl.DeleteGroup(ctx, name) })
}
