package cli

import (
	"context"
	"fmt"
	"io"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/rustmq/rustmq/client"
	"github.com/rustmq/rustmq/mq"
	"github.com/rustmq/rustmq/node"
)

func configFlag(usage string) cli.Flag { return &cli.StringSliceFlag{Name: "config", Usage: usage} }

func (a *app) topicCommand() *cli.Command {
	with := func(flags ...cli.Flag) []cli.Flag { return append(flags, connectFlags("key", "key-file")...) }
	return &cli.Command{
		Name:  "topic",
		Usage: "create, list, describe, alter, fork, trim and delete topics",
		Subcommands: []*cli.Command{
			{
				Name: "create", ArgsUsage: "NAME", Usage: "create a topic", Action: a.topicCreate,
				Description: "Example: rustmq topic create orders --partitions 6 --config retention.ms=86400000",
				Flags: with(
					&cli.IntFlag{Name: "partitions", Usage: "`NUMBER` of partitions (default: the cluster's)"},
					&cli.IntFlag{Name: "replicas", Usage: "`NUMBER` of replicas of each partition (default: the cluster's)"},
					configFlag("`KEY=VALUE` of the topic, such as retention.ms=86400000; may be repeated"),
				),
			},
			{
				Name: "list", Usage: "list all topics", Action: a.topicList,
				Description: "Example: rustmq topic list -o json",
				Flags:       with(outputFlag()),
			},
			{
				Name: "describe", ArgsUsage: "NAME", Usage: "show a topic's settings, partitions and offsets", Action: a.topicDescribe,
				Description: "Example: rustmq topic describe orders",
				Flags:       with(outputFlag()),
			},
			{
				Name: "alter", ArgsUsage: "NAME", Usage: "change a topic's settings, all or none", Action: a.topicAlter,
				Description: "Example: rustmq topic alter orders --config retention.bytes=1073741824 --unset retention.ms",
				Flags: with(
					configFlag("`KEY=VALUE` to set; may be repeated"),
					&cli.StringSliceFlag{Name: "unset", Usage: "`KEY` to put back to its default; may be repeated"},
					&cli.IntFlag{Name: "partitions", Usage: "total `NUMBER` of partitions to grow to; records of one key may go elsewhere from then on"},
				),
			},
			{
				Name: "fork", ArgsUsage: "SRC DST", Usage: "make a topic that begins as another one is, without copying a record", Action: a.topicFork,
				Description: "DST has the settings and partitions of SRC, and its records up to a place in each partition. Both refer to the same objects for these, and go on by\n" +
					"themselves then. What is not in the object store yet is brought there first. Where a batch holds the place, the copy ends before that batch.\n" +
					"Examples:\n  rustmq topic fork orders orders-test\n  rustmq topic fork orders orders-of-this-morning --at 2026-11-24T08:00:00Z",
				Flags: with(
					&cli.StringFlag{Name: "at", Usage: "`PLACE` of the first record that is not in DST: OFFSET, TIMESTAMP, -1h, or end", Value: "end"},
					outputFlag(),
				),
			},
			{
				Name: "trim", ArgsUsage: "NAME", Usage: "delete the oldest records of a topic, for good", Action: a.topicTrim,
				Description: "The log of each partition starts at the given place then. Readers below it are told OFFSET_OUT_OF_RANGE and go on at the start.\n" +
					"Examples:\n  rustmq topic trim orders --before -24h\n  rustmq topic trim orders --partition 0 --before 12345\n  rustmq topic trim orders --before end",
				Flags: with(
					&cli.StringFlag{Name: "before", Usage: "`PLACE` of the oldest record that stays: OFFSET, TIMESTAMP, -24h, or end"},
					&cli.IntSliceFlag{Name: "partition", Usage: "only this `NUMBER`; may be repeated (default: all)"},
					outputFlag(),
				),
			},
			{
				Name: "delete", ArgsUsage: "NAME", Usage: "delete a topic with all its records", Action: a.topicDelete,
				Description: "Example: rustmq topic delete orders",
				Flags:       with(),
			},
		},
	}
}

// topicName is the one argument, checked.
func topicName(c *cli.Context) (string, error) {
	if err := arguments(c, 1, 1); err != nil {
		return "", err
	}
	name := c.Args().First()
	if err := mq.ValidTopicName(name); err != nil {
		return "", usagef("%s: %v", c.Command.Name, err)
	}
	return name, nil
}

// pairs splits KEY=VALUE each.
func pairs(c *cli.Context, flag string) (map[string]string, error) {
	set := map[string]string{}
	for _, text := range c.StringSlice(flag) {
		key, value, ok := strings.Cut(text, "=")
		if !ok || key == "" {
			return nil, usagef("%s: --%s %q: write KEY=VALUE", c.Command.Name, flag, text)
		}
		set[key] = value
	}
	return set, nil
}

func (a *app) topicCreate(c *cli.Context) error {
	name, err := topicName(c)
	if err != nil {
		return err
	}
	configs, err := pairs(c, "config")
	if err != nil {
		return err
	}
	for _, flag := range []string{"partitions", "replicas"} {
		if n := c.Int(flag); c.IsSet(flag) && (n < 1 || n > 32767) {
			return usagef("create: --%s %d: it must be from 1 to 32767", flag, n)
		}
	}
	return a.withClient(c, func(ctx context.Context, cl *client.Client) error {
		_, err := cl.CreateTopic(ctx, client.NewTopic{
			Name: name, Partitions: int32(c.Int("partitions")), Replicas: int16(c.Int("replicas")), Configs: configs,
		})
		return err
	})
}

func (a *app) topicDelete(c *cli.Context) error {
	name, err := topicName(c)
	if err != nil {
		return err
	}
	return a.withClient(c, func(ctx context.Context, cl *client.Client) error {
		return mq.Wrapf(cl.DeleteTopic(ctx, name), "delete topic %s", name)
	})
}

func (a *app) topicAlter(c *cli.Context) error {
	name, err := topicName(c)
	if err != nil {
		return err
	}
	set, err := pairs(c, "config")
	if err != nil {
		return err
	}
	unset, partitions := c.StringSlice("unset"), c.Int("partitions")
	if len(set) == 0 && len(unset) == 0 && !c.IsSet("partitions") {
		return usagef("alter: nothing to change: give --config, --unset or --partitions")
	}
	return a.withClient(c, func(ctx context.Context, cl *client.Client) error {
		if len(set) > 0 || len(unset) > 0 {
			if err := cl.AlterTopicConfigs(ctx, name, client.ConfigChanges{Set: set, Unset: unset}); err != nil {
				return err
			}
		}
		if c.IsSet("partitions") {
			return mq.Wrapf(cl.CreatePartitions(ctx, name, int32(partitions)), "grow topic %s to %d partitions", name, partitions)
		}
		return nil
	})
}

type topicLine struct {
	Name       string `json:"name"`
	ID         string `json:"id"`
	Partitions int    `json:"partitions"`
	Replicas   int    `json:"replicas"`
}

func (a *app) topicList(c *cli.Context) error {
	if err := checkOutput(c); err != nil {
		return err
	}
	if err := arguments(c, 0, 0); err != nil {
		return err
	}
	return a.withClient(c, func(ctx context.Context, cl *client.Client) error {
		topics, err := cl.ListTopics(ctx)
		if err != nil {
			return mq.Wrapf(err, "list topics")
		}
		lines := []topicLine{}
		for _, t := range topics {
			line := topicLine{Name: t.Name, ID: t.ID.String(), Partitions: len(t.Partitions)}
			if len(t.Partitions) > 0 {
				line.Replicas = len(t.Partitions[0].Replicas)
			}
			lines = append(lines, line)
		}
		return a.show(c, lines, func(w io.Writer) {
			row(w, "NAME", "PARTITIONS", "REPLICAS")
			for _, l := range lines {
				row(w, l.Name, l.Partitions, l.Replicas)
			}
		})
	})
}

type topicDetails struct {
	Name       string             `json:"name"`
	ID         string             `json:"id"`
	Configs    []configLine       `json:"configs"`
	Partitions []partitionDetails `json:"partitions"`
}

type configLine struct {
	Key     string `json:"key"`
	Value   string `json:"value"`
	Default bool   `json:"default"`
}

type partitionDetails struct {
	Partition      int32     `json:"partition"`
	Leader         mq.NodeID `json:"leader"`
	LeaderEpoch    mq.Epoch  `json:"leader_epoch"`
	Replicas       []int32   `json:"replicas"`
	InSync         []int32   `json:"in_sync_replicas"`
	LogStart       mq.Offset `json:"log_start_offset"`
	HighWatermark  mq.Offset `json:"high_watermark"`
	LogEnd         mq.Offset `json:"log_end_offset"`
	ObjectEnd      mq.Offset `json:"object_end_offset"`
	LocalSizeBytes int64     `json:"local_size_bytes"`
	Error          string    `json:"error,omitempty"`
}

func (a *app) topicDescribe(c *cli.Context) error {
	if err := checkOutput(c); err != nil {
		return err
	}
	name, err := topicName(c)
	if err != nil {
		return err
	}
	return a.withClient(c, func(ctx context.Context, cl *client.Client) error {
		t, err := cl.DescribeTopic(ctx, name)
		if err != nil {
			return err
		}
		details := describe(t)
		return a.show(c, details, details.table)
	})
}

func describe(t *client.TopicDescription) topicDetails {
	d := topicDetails{Name: t.Name, ID: t.ID.String(), Configs: []configLine{}, Partitions: []partitionDetails{}}
	for _, setting := range t.Configs {
		d.Configs = append(d.Configs, configLine(setting))
	}
	for _, p := range t.Partitions {
		line := partitionDetails{
			Partition: p.Partition, Leader: p.Leader, LeaderEpoch: p.LeaderEpoch, Replicas: numbers(p.Replicas), InSync: numbers(p.InSync),
			LogStart: p.LogStart, HighWatermark: p.HighWatermark, LogEnd: p.LogEnd, ObjectEnd: p.ObjectEnd, LocalSizeBytes: p.LocalBytes,
		}
		if p.Err != nil {
			line.Error = p.Err.Error()
		}
		d.Partitions = append(d.Partitions, line)
	}
	return d
}

func (d topicDetails) table(w io.Writer) {
	fmt.Fprintf(w, "Topic %s, id %s, %d partitions\n\n", d.Name, d.ID, len(d.Partitions))
	row(w, "PARTITION", "LEADER", "EPOCH", "REPLICAS", "IN SYNC", "START", "HIGH WATERMARK", "END", "IN OBJECTS", "LOCAL", "STATE")
	for _, p := range d.Partitions {
		state := "ok"
		if p.Error != "" {
			state = p.Error
		}
		row(w, p.Partition, p.Leader, p.LeaderEpoch, list(p.Replicas), list(p.InSync), p.LogStart, p.HighWatermark, p.LogEnd, p.ObjectEnd, humanBytes(p.LocalSizeBytes), state)
	}
	fmt.Fprintln(w)
	row(w, "SETTING", "VALUE", "")
	for _, s := range d.Configs {
		note := ""
		if s.Default {
			note = "(default)"
		}
		row(w, s.Key, s.Value, note)
	}
}

func numbers(ids []mq.NodeID) []int32 {
	out := make([]int32, len(ids))
	for i, id := range ids {
		out[i] = int32(id)
	}
	return out
}

func list(ids []int32) string {
	return strings.Trim(strings.ReplaceAll(fmt.Sprint(ids), " ", ","), "[]")
}

// humanBytes is a size with three digits or so; -1 is not known.
func humanBytes(n int64) string {
	if n < 0 {
		return "?"
	}
	return humanSize(float64(n))
}

func humanSize(n float64) string {
	for _, u := range []struct {
		size node.Size
		name string
	}{{node.TiB, "TiB"}, {node.GiB, "GiB"}, {node.MiB, "MiB"}, {node.KiB, "KiB"}} {
		if n >= float64(u.size) {
			return fmt.Sprintf("%.1f %s", n/float64(u.size), u.name)
		}
	}
	return fmt.Sprintf("%.0f B", n)
}
