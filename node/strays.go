package node

import (
	"cmp"
	"log/slog"
	"maps"
	"slices"

	metadatapb "github.com/rustmq/rustmq/api/metadata/v1"
	"github.com/rustmq/rustmq/metadata"
	"github.com/rustmq/rustmq/mq"
	"github.com/rustmq/rustmq/tier"
)

// chainsOf chooses of ranges that objects have and the metadata does not those that continue partitions behind it, in the order of each. Of partitions that it does not know there are none.
func chainsOf(store *metadata.Store, strays map[mq.PartitionID][]tier.Stray) (map[mq.PartitionID][]tier.Stray, error) {
	img, chains := store.Image(), make(map[mq.PartitionID][]tier.Stray)
	for id, all := range strays {
		p := img.Partition(id)
		if p == nil {
			continue
		}
		c, _, err := store.Checkpoint(id)
		if err != nil {
			return nil, err
		}
		gap := tier.Gap{Partition: id, From: p.TieredEnd, Start: p.LogStart, Epochs: c.Epochs}
		if chain := gap.Fill(all); len(chain) > 0 {
			chains[id] = chain
		}
	}
	return chains, nil
}

// adoptStrays has ranges of one object committed to a copy of the metadata.
func adoptStrays(ranges []tier.Stray, commit func(*metadatapb.CommitObject) ([]error, error), logger *slog.Logger) (taken map[mq.PartitionID]bool, err error) {
	command := &metadatapb.CommitObject{ObjectId: ranges[0].ObjectID, Key: ranges[0].Key, Size: ranges[0].Size}
	for i := range ranges {
		command.Ranges = append(command.Ranges, rangeCommand(ranges[i].Commit(mq.NoEpoch)))
	}
	taken = make(map[mq.PartitionID]bool)
	verdicts, err := commit(command)
	switch {
	case mq.CodeOf(err) == mq.InvalidRequest: // its id is another object's, say
		logger.Warn("an object of the store cannot be taken", "object", ranges[0].Key, "error", err)
		return taken, nil
	case err != nil:
		return nil, err
	}
	for i := range ranges {
		if verdicts[i] != nil {
			logger.Warn("a range of the object store cannot be taken", "object", ranges[i].Key, "partition", ranges[i].Partition.String(), "error", verdicts[i])
			continue
		}
		taken[ranges[i].Partition] = true
	}
	return taken, nil
}

// commitStrays has chains of ranges committed that objects have and the metadata does not, object by object, those of one partition in order. commit gets ranges of one object,
// by position and at most one of a partition, and says of which partitions they were taken: one that was refused goes no further. chains is used up.
func commitStrays(chains map[mq.PartitionID][]tier.Stray, commit func([]tier.Stray) (taken map[mq.PartitionID]bool, err error)) error {
	for len(chains) > 0 {
		heads := make(map[uint64][]tier.Stray)
		for _, chain := range chains {
			heads[chain[0].ObjectID] = append(heads[chain[0].ObjectID], chain[0])
		}
		for _, object := range slices.Sorted(maps.Keys(heads)) {
			ranges := heads[object]
			slices.SortFunc(ranges, func(a, b tier.Stray) int { return cmp.Compare(a.Position, b.Position) })
			taken, err := commit(ranges)
			if err != nil {
				return err
			}
			for i := range ranges {
				id := ranges[i].Partition
				if chains[id] = chains[id][1:]; len(chains[id]) == 0 || !taken[id] {
					delete(chains, id)
				}
			}
		}
	}
	return nil
}
