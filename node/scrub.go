package node

import (
	"context"
	"errors"
	"time"

	adminpb "github.com/rustmq/rustmq/api/admin/v1"
	metadatapb "github.com/rustmq/rustmq/api/metadata/v1"
	"github.com/rustmq/rustmq/mq"
	"github.com/rustmq/rustmq/tier"
)

// scrub compares one page of what lies in the object store with the metadata of this controller, which leads. Orphans that are to go are not deleted here: their ids
// become garbage by a commit without a range, which refuses any commit that may still be on its way, and the collector deletes them when they have waited. Only a key whose
// id belongs to another key is deleted at once: it can never be committed.
func (k *keeper) scrub(ctx context.Context, req *adminpb.ScrubObjectsRequest) (*adminpb.ScrubObjectsResponse, error) {
	if k.objects == nil {
		return nil, mq.Errorf(mq.InvalidConfig, "the leading controller has no object_store.url")
	}
	if !k.raft.Status().Leading {
		return nil, mq.Errorf(mq.NotController, "the controller of node %d does not lead", k.node)
	}
	age := max(k.cfg.DeleteDelay, time.Duration(req.GetOlderThanMs())*time.Millisecond)
	c := census{store: k.store, objects: k.objects, prefix: k.prefix()}
	page, err := c.page(ctx, req.GetPage())
	if err != nil {
		return nil, mq.Wrapf(err, "compare the object store with the metadata")
	}
	resp := &adminpb.ScrubObjectsResponse{Objects: page.objects, Bytes: page.bytes, Garbage: page.garbage, Missing: page.missing, NextPage: page.next}
	now := time.Now()
	for _, o := range page.unknown {
		if now.Sub(o.ModTime) < age {
			resp.Young++
			continue
		}
		orphan := &adminpb.OrphanObject{Key: o.Key, SizeBytes: o.Size, AgeMs: now.Sub(o.ModTime).Milliseconds()}
		if req.GetDelete() {
			err := k.disown(ctx, o)
			if orphan.Deleted = err == nil; err != nil {
				orphan.Message = err.Error()
			}
		}
		resp.Orphans = append(resp.Orphans, orphan)
	}
	return resp, nil
}

// disown sees to it that an orphan is deleted.
func (k *keeper) disown(ctx context.Context, o tier.Info) error {
	id, ok := tier.KeyID(k.prefix(), o.Key)
	if !ok {
		return mq.Errorf(mq.InvalidRequest, "it is no object of ours: delete it yourself if nobody needs it")
	}
	known, _, taken, err := k.store.Object(id)
	if err != nil {
		return err
	}
	if taken {
		if known.Key == o.Key {
			return mq.Errorf(mq.InvalidRequest, "it was committed meanwhile")
		}
		return errors.Join(tier.DeleteObjects(ctx, k.objects, []string{o.Key})...)
	}
	_, err = k.decide(ctx, &metadatapb.Command{Kind: &metadatapb.Command_CommitObject{CommitObject: &metadatapb.CommitObject{
		ObjectId: id, Key: o.Key, Size: max(1, o.Size), NodeId: int32(k.node),
	}}})
	if err != nil {
		return err
	}
	if _, garbage, _, err := k.store.Object(id); err != nil || !garbage {
		return errors.Join(err, mq.Errorf(mq.InvalidRequest, "it may hold records that controllers had committed which are lost: it stays"))
	}
	return nil
}
