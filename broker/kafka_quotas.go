package broker

import (
	"context"

	metadatapb "github.com/rustmq/rustmq/api/metadata/v1"
	"github.com/rustmq/rustmq/kafkaproto"
	"github.com/rustmq/rustmq/metadata"
)

var quotaKeys = [...]metadata.QuotaKey{kafkaproto.ProduceQuota: metadata.ProducerByteRate(), kafkaproto.ConsumeQuota: metadata.ConsumerByteRate()}

// Quota implements kafkaproto.Quotas.
func (k *Kafka) Quota(s *kafkaproto.Session, kind kafkaproto.QuotaKind) (int64, kafkaproto.QuotaEntity) {
	rate, shared := k.b.cfg.Controller.Image().QuotaOf(quotaKeys[kind], s.Principal, s.ClientID)
	return rate, kafkaproto.QuotaEntity(shared)
}

// ClientQuotas implements kafkaproto.Quotas.
func (k *Kafka) ClientQuotas(s *kafkaproto.Session) ([]kafkaproto.ClientQuota, error) {
	if err := k.AuthoriseCluster(s, false); err != nil {
		return nil, err
	}
	var list []kafkaproto.ClientQuota
	for _, q := range sortedQuotas(k.b.cfg.Controller.Image()) {
		out := kafkaproto.ClientQuota{Entity: kafkaproto.QuotaEntity(q.Entity)}
		for name, rate := range q.Limits() {
			out.Limits = append(out.Limits, kafkaproto.QuotaLimit{Name: name, Rate: rate})
		}
		list = append(list, out)
	}
	return list, nil
}

// AlterQuota implements kafkaproto.Quotas.
func (k *Kafka) AlterQuota(ctx context.Context, s *kafkaproto.Session, e kafkaproto.QuotaEntity, changes []kafkaproto.QuotaChange, dry bool) error {
	if err := k.AuthoriseCluster(s, true); err != nil {
		return err
	}
	out := make([]*metadatapb.QuotaChange, len(changes))
	for i, c := range changes {
		out[i] = &metadatapb.QuotaChange{Key: c.Name, Value: c.Rate, Delete: c.Remove}
	}
	return k.b.alterQuota(ctx, metadata.QuotaEntity(e), out, dry)
}
