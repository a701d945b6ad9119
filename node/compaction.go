package node

import (
	"context"
	"time"

	metadatapb "github.com/rustmq/rustmq/api/metadata/v1"
	"github.com/rustmq/rustmq/metadata"
	"github.com/rustmq/rustmq/mq"
	"github.com/rustmq/rustmq/tier"
)

// mergedRangeBytes bounds what one range that is replaced takes of a command, and what stands in its place.
const mergedRangeBytes = 256

// openCompactor merges the objects of what this node leads, unless that is turned off.
func (n *Node) openCompactor(context.Context) error {
	if !n.hasRole(RoleBroker) || n.cfg.ObjectStore.CompactSize == 0 {
		return nil
	}
	compactor, err := tier.NewCompactor(tier.CompactorConfig{
		Store: n.objects, Catalog: n.catalog(), Partitions: n.compactable,
		Cluster: n.id.Cluster, Node: n.id.Node, Prefix: n.objectPrefix(),
		TargetBytes: int64(n.cfg.ObjectStore.CompactSize), MergeRanges: n.cfg.ObjectStore.CompactRanges, Interval: n.cfg.ObjectStore.CompactInterval,
		CommitRanges: max(n.cfg.ObjectStore.CompactRanges, min(metadata.MaxReplaced, maxProposal(n.cfg.Raft.SegmentSize)/mergedRangeBytes)), Logger: n.logger,
	})
	if err != nil {
		return err
	}
	n.compactor = compactor
	n.onClose(func(context.Context) error { return compactor.Close() })
	return nil
}

// compactable lists what this node leads, once the cluster's level allows that objects are merged.
func (n *Node) compactable() (list []tier.Compactable) {
	img := n.cluster.Image()
	if img.FeatureLevel < metadata.CompactionLevel {
		return nil
	}
	for t := range img.Topics() {
		keyed := keyPolicy(t.Config)
		for i, p := range t.All() {
			if p.Leader == n.id.Node {
				list = append(list, tier.Compactable{
					Partition: mq.PartitionID{Topic: t.ID, Index: i}, LogStart: p.LogStart, TieredEnd: p.TieredEnd, Keyed: keyed,
				})
			}
		}
	}
	return list
}

// keyPolicy is nil for a topic that is not compacted by key.
func keyPolicy(c metadata.TopicConfig) *tier.KeyPolicy {
	if !c.Cleanup.Compacts() {
		return nil
	}
	return &tier.KeyPolicy{
		MinDirtyRatio: float64(c.MinDirtyRatio) / 1000, MinLag: milliseconds(c.MinLagMs), DeleteRetention: milliseconds(c.DeleteRetentionMs),
	}
}

// milliseconds is at most a hundred years, which can be added to a time.
func milliseconds(ms int64) time.Duration {
	const century = 100 * 365 * 24 * time.Hour
	return time.Duration(min(ms, century.Milliseconds())) * time.Millisecond
}

// ReplaceRanges implements tier.CompactorCatalog.
func (c *catalog) ReplaceRanges(ctx context.Context, m tier.ObjectMerge) ([]error, error) {
	command := &metadatapb.ReplaceRanges{ObjectId: m.ID, Key: m.Key, Size: m.Size, Replacements: make([]*metadatapb.Replacement, len(m.Replacements))}
	for i, r := range m.Replacements {
		command.Replacements[i] = replacementCommand(r)
	}
	result, err := c.cluster.decide(ctx, &metadatapb.Command{Kind: &metadatapb.Command_ReplaceRanges{ReplaceRanges: command}})
	if err != nil {
		return nil, mq.Wrapf(err, "replace ranges by object %s", m.Key)
	}
	return metadata.VerdictErrors(result.GetReplaceRanges().GetVerdicts()), nil
}

func replacementCommand(r tier.Replacement) *metadatapb.Replacement {
	command := &metadatapb.Replacement{
		Partition: metadata.PartitionRecord(r.Partition), First: int64(r.First), End: int64(r.End),
		MinTime: r.MinTime, MaxTime: r.MaxTime, Position: r.Position, Bytes: r.Bytes, Crc: r.CRC, ByKey: r.ByKey,
		Old: make([]*metadatapb.RangeRef, len(r.Old)),
	}
	for i, o := range r.Old {
		command.Old[i] = &metadatapb.RangeRef{First: int64(o.First), End: int64(o.End), ObjectId: o.ObjectID}
	}
	return command
}
