package node

import (
	"context"
	"errors"
	"math"
	"slices"
	"strings"
	"time"

	adminpb "github.com/rustmq/rustmq/api/admin/v1"
	"github.com/rustmq/rustmq/metadata"
	"github.com/rustmq/rustmq/mq"
)

const (
	// statusRanges is about how many ranges are looked at for one page of the status: a second's work.
	statusRanges = 200_000
	// statusTopics is how many topics one page has at most.
	statusTopics = 1000
)

// tierStatus adds up what the index of this controller, which leads, has in the object store: one page of topics, on the first one the cluster.
func (k *keeper) tierStatus(ctx context.Context, req *adminpb.TierStatusRequest) (*adminpb.TierStatusResponse, error) {
	if !k.raft.Status().Leading {
		return nil, mq.Errorf(mq.NotController, "the controller of node %d does not lead", k.node)
	}
	img, resp := k.store.Image(), &adminpb.TierStatusResponse{}
	topics, err := topicsOnPage(img, req.GetTopic(), req.GetPage())
	if err != nil {
		return nil, err
	}
	if req.GetPage() == "" {
		if resp.Cluster, err = k.tieredCluster(ctx); err != nil {
			return nil, err
		}
	}
	looked := int64(0)
	for _, t := range topics {
		if len(resp.Topics) == statusTopics || looked >= statusRanges {
			resp.NextPage = t.Name
			break
		}
		row, err := k.tieredTopic(ctx, t)
		if err != nil {
			return nil, mq.Wrapf(err, "what the object store has of topic %s", t.Name)
		}
		looked += row.GetRanges()
		resp.Topics = append(resp.Topics, row)
	}
	return resp, nil
}

// topicsOnPage are topics by name, from the one that a page begins with on; it need not be there any more.
func topicsOnPage(img *metadata.Image, only, page string) ([]*metadata.Topic, error) {
	if only != "" {
		t := img.TopicByName(only)
		if t == nil {
			return nil, mq.Errorf(mq.UnknownTopicOrPartition, "there is no topic %q", only)
		}
		return []*metadata.Topic{t}, nil
	}
	topics := slices.SortedFunc(img.Topics(), func(a, b *metadata.Topic) int { return strings.Compare(a.Name, b.Name) })
	return slices.DeleteFunc(topics, func(t *metadata.Topic) bool { return t.Name < page }), nil
}

// tieredTopic adds up the ranges of a topic.
func (k *keeper) tieredTopic(ctx context.Context, t *metadata.Topic) (*adminpb.TieredTopic, error) {
	row := &adminpb.TieredTopic{Topic: t.Name, Partitions: t.Partitions(), OldestMs: math.MaxInt64, NewestMs: -1}
	objects := make(map[uint64]struct{})
	for i, p := range t.All() {
		row.Leaderless += int32(one(p.Leader == mq.NoNode))
		row.Records += max(0, int64(p.TieredEnd-p.LogStart))
		for from := p.LogStart; from < p.TieredEnd; {
			page, err := k.store.Ranges(mq.PartitionID{Topic: t.ID, Index: i}, from, keepPage)
			if err := errors.Join(err, ctx.Err()); err != nil {
				return nil, err
			}
			if len(page) == 0 {
				break // the topic was deleted meanwhile
			}
			for _, r := range page {
				objects[r.ObjectID] = struct{}{}
				row.Ranges, row.Bytes = row.Ranges+1, row.Bytes+r.Bytes
				row.OldestMs, row.NewestMs = min(row.OldestMs, r.MinTime), max(row.NewestMs, r.MaxTime)
			}
			from = page[len(page)-1].End
		}
	}
	row.Objects = int64(len(objects))
	if row.Ranges == 0 {
		row.OldestMs = -1
	}
	return row, nil
}

// tieredCluster is what the object store has of the whole cluster, and what the housekeeping does there.
func (k *keeper) tieredCluster(ctx context.Context) (*adminpb.TieredCluster, error) {
	held, err := k.addUp(ctx, func() bool { return true })
	if err != nil {
		return nil, mq.Wrapf(err, "add up what the object store has")
	}
	out := &adminpb.TieredCluster{
		AnsweredBy: int32(k.node), Objects: held.live.objects, Bytes: held.live.bytes, Ranges: held.live.ranges,
		GarbageObjects: held.garbage.objects, GarbageBytes: held.garbage.bytes, GraceMs: k.cfg.DeleteDelay.Milliseconds(),
		DeletedObjects: k.counts.deleted.Load(), DeletedBytes: k.counts.deletedBytes.Load(),
	}
	if c := k.counts.copied.Load(); c != nil {
		out.Copy = &adminpb.MetadataCopy{Index: c.Index, AgeMs: max(0, time.Now().UnixMilli()-c.Written), Bytes: c.Bytes()}
		if at := k.store.Position().Index; at > c.Index {
			out.Copy.Behind = at - c.Index
		}
	}
	for i := range k.chores {
		if err := k.chores[i].ill.Load(); err != nil {
			out.Failing = append(out.Failing, &adminpb.FailingChore{Chore: k.chores[i].name, Error: (*err).Error()})
		}
	}
	return out, nil
}

// TierNode implements broker.Operations.
func (n *Node) TierNode(req *adminpb.TierNodeRequest) (*adminpb.TierNodeResponse, error) {
	if n.mounted() {
		return nil, mq.Errorf(mq.ReadOnly, "a mount uploads nothing: %w", n.mount.Refusal())
	}
	topics, err := topicsOnPage(n.cluster.Image(), req.GetTopic(), req.GetPage())
	if err != nil {
		return nil, err
	}
	up, store := n.uploader.Stats(), n.objects.Stats()
	resp := &adminpb.TierNodeResponse{
		NodeId: int32(n.id.Node), UploadedObjects: up.Objects, UploadedBytes: up.Bytes, UploadingObjects: up.InFlightObjects, UploadingBytes: up.InFlightBytes,
		OrphanedObjects: up.Orphans, FailedRequests: store.Denied + store.Throttled + store.Failed, Failing: up.StoreFailing,
	}
	if n.compactor != nil {
		c := n.compactor.Stats()
		resp.MergedRanges, resp.MergedObjects, resp.MergeReadBytes, resp.MergeWrittenBytes = c.Ranges, c.Objects, c.ReadBytes, c.WrittenBytes
	}
	if f := store.Last; f != nil {
		resp.LastError, resp.LastErrorAgeMs = f.Err.Error(), time.Since(f.At).Milliseconds()
	}
	for _, t := range topics {
		if len(resp.Lags) == statusTopics {
			resp.NextPage = t.Name
			break
		}
		if lag := n.tierLag(t); lag.GetRecords() > 0 {
			resp.Lags = append(resp.Lags, lag)
		}
	}
	return resp, nil
}

// tierLag adds up what of a topic waits for the object store here.
func (n *Node) tierLag(t *metadata.Topic) *adminpb.TierLag {
	lag, table, now := &adminpb.TierLag{Topic: t.Name}, n.partitions.Table(), n.seams.Wall()
	for i := range t.All() {
		part := table.Get(mq.PartitionID{Topic: t.ID, Index: i})
		if part == nil {
			continue
		}
		waits := part.Pending()
		lag.Records, lag.Bytes = lag.Records+max(0, int64(waits.End-waits.First)), lag.Bytes+waits.Bytes
		if !waits.Since.IsZero() {
			lag.AgeMs = max(lag.AgeMs, now.Sub(waits.Since).Milliseconds())
		}
	}
	return lag
}
