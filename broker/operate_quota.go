package broker

import (
	"context"
	"encoding/base64"
	"maps"
	"slices"

	"google.golang.org/protobuf/proto"

	adminpb "github.com/rustmq/rustmq/api/admin/v1"
	metadatapb "github.com/rustmq/rustmq/api/metadata/v1"
	"github.com/rustmq/rustmq/metadata"
	"github.com/rustmq/rustmq/mq"
)

// quotasPerPage is the most quotas in one answer: a few MiB, whatever their names.
const quotasPerPage = 1000

// sortedQuotas are all quotas, by user and client id.
func sortedQuotas(img *metadata.Image) []*metadata.Quota {
	return slices.SortedFunc(img.Quotas(), func(a, b *metadata.Quota) int { return a.Entity.Compare(b.Entity) })
}

// listQuotas is one page. A page's mark is whose quota it begins with, which need not be there any more.
func listQuotas(img *metadata.Image, req *adminpb.ListQuotasRequest) (*adminpb.ListQuotasResponse, error) {
	list := sortedQuotas(img)
	if page := req.GetPage(); page != "" {
		var first metadatapb.QuotaEntity
		raw, err := base64.RawURLEncoding.DecodeString(page)
		if err != nil || proto.Unmarshal(raw, &first) != nil {
			return nil, mq.Errorf(mq.InvalidRequest, "page %.40q is not the next_page of an answer", page)
		}
		at, _ := slices.BinarySearchFunc(list, metadata.EntityFrom(&first), func(q *metadata.Quota, e metadata.QuotaEntity) int { return q.Entity.Compare(e) })
		list = list[at:]
	}
	out := &adminpb.ListQuotasResponse{}
	for i, q := range list {
		if i == quotasPerPage {
			raw, err := proto.Marshal(metadata.EntityRecord(q.Entity))
			out.NextPage = base64.RawURLEncoding.EncodeToString(raw)
			return out, mq.Wrapf(err, "list the quotas")
		}
		out.Quotas = append(out.Quotas, &adminpb.Quota{
			User: quotaName(q.Entity.OfUser, q.Entity.User), ClientId: quotaName(q.Entity.OfClient, q.Entity.ClientID), Limits: maps.Collect(q.Limits()),
		})
	}
	return out, nil
}

func quotaName(of bool, name string) *adminpb.QuotaName {
	if !of {
		return nil
	}
	return &adminpb.QuotaName{Name: name}
}

// setQuota changes the limits that an operator names: at least one, and each once.
func (b *Broker) setQuota(ctx context.Context, req *adminpb.AlterQuotaRequest) error {
	var changes []*metadatapb.QuotaChange
	for _, key := range slices.Sorted(maps.Keys(req.GetSet())) {
		changes = append(changes, &metadatapb.QuotaChange{Key: key, Value: req.GetSet()[key]})
	}
	for _, key := range req.GetUnset() {
		changes = append(changes, &metadatapb.QuotaChange{Key: key, Delete: true})
	}
	if len(changes) == 0 {
		return mq.Errorf(mq.InvalidRequest, "there is nothing to change")
	}
	e := metadata.QuotaEntity{OfUser: req.GetUser() != nil, User: req.GetUser().GetName(), OfClient: req.GetClientId() != nil, ClientID: req.GetClientId().GetName()}
	return b.alterQuota(ctx, e, changes, false)
}

// alterQuota changes a quota or, with dry, only says whether it would.
func (b *Broker) alterQuota(ctx context.Context, e metadata.QuotaEntity, changes []*metadatapb.QuotaChange, dry bool) error {
	img := b.cfg.Controller.Image()
	if _, err := img.QuotaWith(e, changes); err != nil {
		return err
	}
	if dry {
		if img.FeatureLevel < metadata.QuotaLevel {
			return mq.Errorf(mq.UnsupportedVersion, "quotas need feature level %d, the cluster is at %d: upgrade it first", metadata.QuotaLevel, img.FeatureLevel)
		}
		return nil
	}
	_, err := b.cfg.Controller.Propose(ctx, &metadatapb.Command{Kind: &metadatapb.Command_AlterQuota{
		AlterQuota: &metadatapb.AlterQuota{Entity: metadata.EntityRecord(e), Changes: changes},
	}})
	return mq.Wrapf(err, "change the quota of %s", e)
}
