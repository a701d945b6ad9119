package kafkaproto

import "context"

// Quotas is what is asked of the broker about quotas. What it says of a Session, and of errors, holds as for Broker.
type Quotas interface {
	// Quota is how many bytes per second clients like s may produce or consume through this node together, and which clients these are; 0: as many as they like.
	Quota(s *Session, k QuotaKind) (rate int64, shared QuotaEntity)
	// ClientQuotas lists all quotas, by user and client id.
	ClientQuotas(s *Session) ([]ClientQuota, error)
	// AlterQuota changes limits of a quota, all or none, each of them once. With dry it only says whether it would.
	AlterQuota(ctx context.Context, s *Session, e QuotaEntity, changes []QuotaChange, dry bool) error
}

// QuotaKind is what a quota limits.
type QuotaKind uint8

// The kinds of quotas.
const (
	ProduceQuota QuotaKind = iota // producer_byte_rate
	ConsumeQuota                  // consumer_byte_rate
)

// QuotaEntity is whom a quota is for: a user (OfUser), who calls itself by a client id (OfClient), or both together. An empty name stands for all those of which no other quota is.
type QuotaEntity struct {
	OfUser, OfClient bool
	User, ClientID   string
}

// ClientQuota is a quota, with its limits in bytes per second by name.
type ClientQuota struct {
	Entity QuotaEntity
	Limits []QuotaLimit
}

// QuotaLimit is one limit.
type QuotaLimit struct {
	Name string
	Rate int64
}

// QuotaChange is one limit that is set, or removed.
type QuotaChange struct {
	QuotaLimit
	Remove bool
}
