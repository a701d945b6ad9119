package node

import (
	"context"

	metadatapb "github.com/rustmq/rustmq/api/metadata/v1"
	"github.com/rustmq/rustmq/metadata"
	"github.com/rustmq/rustmq/mq"
	"github.com/rustmq/rustmq/tier"
)

// catalog is the object index as tier sees it: commits go up through the
// controllers, look-ups are answered by this node's copy of the metadata or by theirs.
type catalog struct {
	cluster cluster
	node    mq.NodeID
}

var (
	_ tier.Catalog          = (*catalog)(nil)
	_ tier.CompactorCatalog = (*catalog)(nil)
)

// LeaseObjectIDs implements tier.Catalog.
func (c *catalog) LeaseObjectIDs(ctx context.Context, n int) (uint64, error) {
	result, err := c.cluster.decide(ctx, &metadatapb.Command{Kind: &metadatapb.Command_AllocateObjectIds{
		AllocateObjectIds: &metadatapb.AllocateObjectIDs{Count: int32(n)},
	}})
	if err != nil {
		return 0, mq.Wrapf(err, "lease a block of object ids")
	}
	return result.GetAllocate().GetFirst(), nil
}

// CommitObject implements tier.Catalog.
func (c *catalog) CommitObject(ctx context.Context, commit tier.ObjectCommit) ([]error, error) {
	command := &metadatapb.CommitObject{
		ObjectId: commit.ID, Key: commit.Key, Size: commit.Size, NodeId: int32(c.node),
		Ranges: make([]*metadatapb.RangeCommit, len(commit.Ranges)),
	}
	if c.cluster.Image().FeatureLevel >= metadata.KeepingLevel {
		command.WrittenMs = commit.Written
	}
	for i, r := range commit.Ranges {
		command.Ranges[i] = rangeCommand(r)
	}
	result, err := c.cluster.decide(ctx, &metadatapb.Command{Kind: &metadatapb.Command_CommitObject{CommitObject: command}})
	if err != nil {
		return nil, mq.Wrapf(err, "commit object %s", commit.Key)
	}
	verdicts := result.GetCommitObject().GetVerdicts()
	if len(verdicts) != len(commit.Ranges) {
		return nil, mq.Errorf(mq.Internal, "commit object %s: %d verdicts for %d ranges", commit.Key, len(verdicts), len(commit.Ranges))
	}
	return metadata.VerdictErrors(verdicts), nil
}

func rangeCommand(r tier.RangeCommit) *metadatapb.RangeCommit {
	return &metadatapb.RangeCommit{
		Partition:   metadata.PartitionRecord(r.Partition),
		LeaderEpoch: int32(r.LeaderEpoch), First: int64(r.First), End: int64(r.End),
		MinTime: r.MinTime, MaxTime: r.MaxTime, Position: r.Position, Bytes: r.Bytes, Crc: r.CRC,
		ProducerState: r.State, Epochs: metadata.EpochRecords(r.Epochs),
	}
}

// Ranges implements tier.Catalog.
func (c *catalog) Ranges(ctx context.Context, p mq.PartitionID, from mq.Offset, limit int) ([]tier.Range, error) {
	found, err := c.cluster.Ranges(ctx, p, from, limit)
	if err != nil {
		return nil, mq.Wrapf(err, "look up the objects of partition %s", p)
	}
	out := make([]tier.Range, len(found))
	for i, r := range found {
		out[i] = tier.Range{
			Partition: p, First: r.First, End: r.End, LeaderEpoch: r.LeaderEpoch, MinTime: r.MinTime, MaxTime: r.MaxTime,
			Position: r.Position, Bytes: r.Bytes, CRC: r.CRC, Rewrites: r.Rewrites, Written: r.Written, ByKey: r.ByKey, ObjectID: r.ObjectID, Key: r.Key, ObjectSize: r.ObjectSize,
		}
	}
	return out, nil
}
