package sim

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/rustmq/rustmq/client"
	"github.com/rustmq/rustmq/history"
	"github.com/rustmq/rustmq/mq"
	"github.com/rustmq/rustmq/wal"
)

// settle waits until every replica of the topic is in sync, and gives the high watermarks.
func (c *cluster) settle(ctx context.Context) (*client.TopicDescription, error) {
	cl, err := c.client()
	if err != nil {
		return nil, err
	}
	defer cl.Close()
	for over := time.Now().Add(heal); ; time.Sleep(100 * time.Millisecond) {
		d, err := cl.DescribeTopic(ctx, topic)
		behind := ""
		if err == nil {
			for _, p := range d.Partitions {
				if len(p.InSync) < len(p.Replicas) || p.HighWatermark < p.LogEnd {
					behind = fmt.Sprintf("of partition %d the replicas %v are in sync, and %d of %d offsets are replicated", p.Partition, p.InSync, p.HighWatermark, p.LogEnd)
				}
			}
		}
		switch {
		case err == nil && behind == "":
			return d, nil
		case time.Now().After(over):
			return nil, errors.Join(fmt.Errorf("not all replicas are in sync %v after all was healed: %s", heal, behind), err)
		}
	}
}

// compare compares the replicas, as the disks of the brokers have them when none runs any more.
func (c *cluster) compare(d *client.TopicDescription) ([]history.Anomaly, error) {
	h := history.New(c.Seed)
	replicas := make(map[mq.PartitionID][]history.Replica)
	for _, m := range c.machines {
		if !m.broker() {
			continue
		}
		logs, err := m.replay()
		if err != nil {
			return nil, fmt.Errorf("node %d: %w", m.id, err)
		}
		for id, r := range logs {
			if id.Topic == d.ID {
				r.Node, r.HighWatermark = mq.NodeID(m.id), d.Partitions[id.Index].HighWatermark
				replicas[id] = append(replicas[id], *r)
			}
		}
	}
	for id, list := range replicas {
		h.CompareReplicas(history.Partition{Topic: topic, Index: id.Index}, list)
	}
	return h.Check(), nil
}

// replay reads what the data log of a machine has of each partition.
func (m *machine) replay() (map[mq.PartitionID]*history.Replica, error) {
	found := make(map[mq.PartitionID]*history.Replica)
	log, _, err := wal.Open(wal.Options{
		FS: m.fs, Dir: m.cfg.Node.DataDir + "/wal", SegmentBytes: int64(m.cfg.WAL.SegmentSize), MaxBytes: int64(m.cfg.WAL.MaxSize),
	}, func(e wal.Entry) error {
		id := mq.PartitionIDFromKey(e.Stream)
		r := found[id]
		switch {
		case e.Type == wal.EntryDrop || e.Type == wal.EntryReset:
			delete(found, id)
		case e.Type == wal.EntryTruncate && r != nil:
			for n := len(r.Batches); n > 0 && r.Batches[n-1].NextOffset() > mq.Offset(e.First); n-- {
				r.Batches = r.Batches[:n-1]
			}
		case e.Type == wal.EntryData:
			if r == nil {
				r = &history.Replica{First: mq.Offset(e.First)}
				found[id] = r
			}
			for rest := bytes.Clone(e.Payload); len(rest) > 0; {
				b, after, err := mq.NextBatch(rest)
				if err != nil {
					return err
				}
				r.Batches, rest = append(r.Batches, b), after
			}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return found, log.Close()
}
