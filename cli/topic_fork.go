package cli

import (
	"context"
	"io"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/rustmq/rustmq/client"
	"github.com/rustmq/rustmq/mq"
)

// forkedLine is where the copy of a partition ends.
type forkedLine struct {
	Topic     string `json:"topic"`
	Source    string `json:"source"`
	Partition int32  `json:"partition"`
	// ForkOffset is the first offset that the two do not share.
	ForkOffset int64 `json:"fork_offset"`
	// AskedOffset is what --at came to, -1: the end.
	AskedOffset int64 `json:"asked_offset"`
}

func (a *app) topicFork(c *cli.Context) error {
	if err := checkOutput(c); err != nil {
		return err
	}
	if err := arguments(c, 2, 2); err != nil {
		return err
	}
	source, name := c.Args().Get(0), c.Args().Get(1)
	for _, n := range []string{source, name} {
		if err := mq.ValidTopicName(n); err != nil {
			return usagef("fork: %v", err)
		}
	}
	at := place{Position: client.End(), isEnd: true}
	if c.IsSet("at") {
		var err error
		if at, err = parsePlace("at", c.String("at"), time.Now()); err != nil {
			return err
		}
	}
	return a.withClient(c, func(ctx context.Context, cl *client.Client) error {
		asked, err := forkOffsets(ctx, cl, source, at)
		if err != nil {
			return err
		}
		forked, err := cl.ForkTopic(ctx, source, name, asked)
		if err != nil {
			return err
		}
		lines := []forkedLine{}
		for i, point := range forked.Points {
			line := forkedLine{name, source, int32(i), int64(point), -1}
			if asked != nil {
				line.AskedOffset = int64(asked[i])
			}
			lines = append(lines, line)
		}
		return a.show(c, lines, func(w io.Writer) {
			row(w, "TOPIC", "PARTITION", "FORKED AT", "")
			for _, l := range lines {
				note := ""
				if l.AskedOffset > l.ForkOffset {
					note = "where the batch with the offset begins"
				}
				row(w, l.Topic, l.Partition, l.ForkOffset, note)
			}
		})
	})
}

// forkOffsets are the offsets of a place in all partitions, nil for their ends. Where no record is as new as a time it is the end.
func forkOffsets(ctx context.Context, cl *client.Client, topic string, at place) ([]mq.Offset, error) {
	if at.isEnd {
		return nil, nil
	}
	places, err := trimPlaces(ctx, cl, topic, at, nil)
	if err != nil {
		return nil, err
	}
	offsets := make([]mq.Offset, len(places))
	for i, p := range places {
		offsets[i] = p.Offset
	}
	return offsets, nil
}
