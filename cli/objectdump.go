package cli

import (
	"fmt"
	"io"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/rustmq/rustmq/mq"
	"github.com/rustmq/rustmq/tier"
)

// objectDetails is what an object says about itself.
type objectDetails struct {
	Object    string        `json:"object"`
	ID        uint64        `json:"id"`
	SizeBytes int64         `json:"size_bytes"`
	Written   string        `json:"written"`
	Node      mq.NodeID     `json:"node"`
	Cluster   string        `json:"cluster"`
	Ranges    []objectRange `json:"ranges"`
}

type objectRange struct {
	Topic       string        `json:"topic_id"`
	Partition   int32         `json:"partition"`
	LeaderEpoch mq.Epoch      `json:"leader_epoch"`
	First       mq.Offset     `json:"first_offset"`
	End         mq.Offset     `json:"end_offset"`
	From        string        `json:"first_time,omitempty"`
	To          string        `json:"last_time,omitempty"`
	Records     uint64        `json:"records"`
	Batches     uint32        `json:"batches"`
	Position    int64         `json:"position"`
	SizeBytes   int64         `json:"size_bytes"`
	CRC         string        `json:"crc32c"`
	StateBytes  int           `json:"producer_state_bytes"`
	Epochs      []epochLine   `json:"epochs"`
	List        []objectBatch `json:"record_batches,omitempty"`
}

type epochLine struct {
	Epoch mq.Epoch  `json:"leader_epoch"`
	Start mq.Offset `json:"start_offset"`
}

type objectBatch struct {
	Position  int64     `json:"position"`
	SizeBytes int       `json:"size_bytes"`
	First     mq.Offset `json:"first_offset"`
	Last      mq.Offset `json:"last_offset"`
	Records   int       `json:"records"`
	Codec     string    `json:"compression"`
	To        string    `json:"last_time,omitempty"`
}

func (a *app) objectDump(c *cli.Context) error {
	if err := checkOutput(c); err != nil {
		return err
	}
	return withObject(c, func(o tier.Object) error {
		if c.String("output") == formatTable {
			return a.buffered(func(w io.Writer) error { return tier.Dump(o, w, c.Bool("batches")) })
		}
		d, err := detailsOf(o, c.Bool("batches"))
		if err != nil {
			return err
		}
		return a.show(c, d, nil)
	})
}

func detailsOf(o tier.Object, batches bool) (*objectDetails, error) {
	f, err := tier.ReadFooter(o, o.Size())
	if err != nil {
		return nil, mq.Wrapf(err, "object %s", o.Name())
	}
	d := &objectDetails{
		Object: o.Name(), ID: f.ObjectID, SizeBytes: o.Size(), Written: timeText(f.Created), Node: f.Node, Cluster: f.Cluster.String(), Ranges: []objectRange{},
	}
	for i := range f.Ranges {
		r := &f.Ranges[i]
		line := objectRange{
			Topic: r.Partition.Topic.String(), Partition: r.Partition.Index, LeaderEpoch: r.LeaderEpoch, First: r.First, End: r.End,
			From: timeText(r.MinTime), To: timeText(r.MaxTime), Records: r.Records, Batches: r.Batches,
			Position: r.Position, SizeBytes: r.Bytes, CRC: fmt.Sprintf("%08x", r.CRC), StateBytes: len(r.State), Epochs: []epochLine{},
		}
		for _, e := range r.Epochs {
			line.Epochs = append(line.Epochs, epochLine(e))
		}
		if batches {
			err := tier.Batches(o, r, func(at int64, b mq.Batch) error {
				line.List = append(line.List, objectBatch{
					Position: at, SizeBytes: b.Length(), First: b.BaseOffset(), Last: b.LastOffset(), Records: int(b.RecordCount()),
					Codec: b.Compression().String(), To: timeText(b.MaxTimestamp()),
				})
				return nil
			})
			if err != nil {
				return nil, err
			}
		}
		d.Ranges = append(d.Ranges, line)
	}
	return d, nil
}

// timeText is a record's time, in milliseconds since 1970, as RFC 3339; "" when there is none.
func timeText(ms int64) string {
	if ms < 0 {
		return ""
	}
	return time.UnixMilli(ms).UTC().Format("2006-01-02T15:04:05.000Z07:00")
}
