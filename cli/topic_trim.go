package cli

import (
	"context"
	"io"
	"slices"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/rustmq/rustmq/client"
	"github.com/rustmq/rustmq/mq"
)

// trimmedLine is where the log of a partition starts now.
type trimmedLine struct {
	Topic     string `json:"topic"`
	Partition int32  `json:"partition"`
	LogStart  int64  `json:"log_start"`
}

func (a *app) topicTrim(c *cli.Context) error {
	name, err := topicName(c)
	if err != nil {
		return err
	}
	if err := checkOutput(c); err != nil {
		return err
	}
	if !c.IsSet("before") {
		return usagef("trim: say --before: the place of the oldest record that is to stay, such as -24h")
	}
	before, err := parsePlace("before", c.String("before"), time.Now())
	if err != nil {
		return err
	}
	return a.withClient(c, func(ctx context.Context, cl *client.Client) error {
		places, err := trimPlaces(ctx, cl, name, before, c.IntSlice("partition"))
		if err != nil {
			return err
		}
		lines := []trimmedLine{}
		for _, p := range places {
			start, err := cl.DeleteRecords(ctx, name, p.Partition, p.Offset)
			if err != nil {
				return err
			}
			lines = append(lines, trimmedLine{name, p.Partition, int64(start)})
		}
		return a.show(c, lines, func(w io.Writer) {
			row(w, "TOPIC", "PARTITION", "LOG START")
			for _, l := range lines {
				row(w, l.Topic, l.Partition, l.LogStart)
			}
		})
	})
}

// trimPlace is below where the records of a partition go.
type trimPlace struct {
	Partition int32
	Offset    mq.Offset
}

// trimPlaces finds the offsets of a place in partitions, all of them if none are named. Where no record is as new as a time all go that are there now.
func trimPlaces(ctx context.Context, cl *client.Client, topic string, before place, chosen []int) (places []trimPlace, err error) {
	var partitions []int32
	for _, i := range chosen {
		if i < 0 || int(int32(i)) != i {
			return nil, usagef("trim: --partition %d is not the number of a partition", i)
		}
		partitions = append(partitions, int32(i))
	}
	at := before.Position
	if before.isOffset { // it is asked for all the same, for which partitions there are
		at = client.End()
	}
	found, err := cl.ListOffsets(ctx, topic, at, mq.IsolationCommitted, partitions...)
	if err != nil {
		return nil, err
	}
	for i, o := range found {
		switch {
		case o.Err != nil:
			return nil, mq.Wrapf(o.Err, "%s/%d", topic, i)
		case before.isOffset:
			o.Offset = before.offset
		}
		places = append(places, trimPlace{i, o.Offset}) // -1: the end
	}
	slices.SortFunc(places, func(a, b trimPlace) int { return int(a.Partition - b.Partition) })
	return places, nil
}
