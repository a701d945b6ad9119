package sim

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/rustmq/rustmq/client"
	"github.com/rustmq/rustmq/history"
	"github.com/rustmq/rustmq/mq"
	"github.com/rustmq/rustmq/wal"
)

// notice is how long a broker that was cut off may take to notice: until then it tells of topics what it knew before.
const notice = 2 * time.Second

// settle waits until every replica of each topic is in sync, and describes the topics.
func (c *cluster) settle(ctx context.Context) (out []*client.TopicDescription, err error) {
	cl, err := c.client()
	if err != nil {
		return nil, err
	}
	defer cl.Close()
	time.Sleep(notice)
	over := time.Now().Add(heal)
	for _, name := range slices.Sorted(maps.Keys(c.topics)) {
		d, err := c.settled(ctx, cl, name, over)
		if err != nil {
			return nil, err
		}
		out = append(out, d)
	}
	return out, nil
}

// settled waits until every replica of a topic is in sync.
func (c *cluster) settled(ctx context.Context, cl *client.Client, name string, over time.Time) (*client.TopicDescription, error) {
	for ; ; time.Sleep(100 * time.Millisecond) {
		d, err := cl.DescribeTopic(ctx, name)
		behind := ""
		if err == nil {
			for _, p := range d.Partitions {
				if told := c.claims.epoch(mq.PartitionID{Topic: d.ID, Index: p.Partition}); p.LeaderEpoch < told {
					behind = fmt.Sprintf("partition %d is said to be led in epoch %d, and was in epoch %d", p.Partition, p.LeaderEpoch, told)
				}
				if len(p.InSync) < len(p.Replicas) || p.HighWatermark < p.LogEnd {
					behind = fmt.Sprintf("of partition %d the replicas %v are in sync, and %d of %d offsets are replicated", p.Partition, p.InSync, p.HighWatermark, p.LogEnd)
				}
			}
		}
		switch {
		case err == nil && behind == "":
			return d, nil
		case time.Now().After(over):
			return nil, errors.Join(fmt.Errorf("topic %s: not all replicas are in sync %v after all was healed: %s", name, heal, behind), err)
		}
	}
}

// compare compares the replicas, as the disks of the brokers have them when none runs any more, with each other and with what was claimed of them.
func (c *cluster) compare(ctx context.Context, topics []*client.TopicDescription) ([]history.Anomaly, error) {
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
			r.Node = mq.NodeID(m.id)
			replicas[id] = append(replicas[id], *r)
		}
	}
	found := c.claims.wrong
	for _, d := range topics {
		found = append(found, c.topics[d.Name].check(d)...)
		for i, p := range d.Partitions {
			id := mq.PartitionID{Topic: d.ID, Index: int32(i)}
			list := replicas[id]
			for i := range list {
				list[i].HighWatermark = p.HighWatermark
			}
			h.CompareReplicas(history.Partition{Topic: d.Name, Index: id.Index}, list)
			if len(list) > 0 {
				found = append(found, c.claims.checkLocal(id, list[0], p.LeaderEpoch)...)
			}
		}
	}
	missing, err := c.claims.checkObjects(ctx, c.store)
	return append(append(found, missing...), h.Check()...), err
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
