package metadata

import (
	"cmp"
	"iter"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	metadatapb "github.com/rustmq/rustmq/api/metadata/v1"
	"github.com/rustmq/rustmq/mq"
)

const (
	// MaxQuotas is how many quotas there may be: each broker has all of them in memory.
	MaxQuotas = 10_000
	// MaxQuotaName is how long the names in a quota may be, in bytes.
	MaxQuotaName = 1024
	// MaxQuotaRate is the highest limit, in bytes per second: all integers up to it are the same as the floating-point numbers that Kafka's protocol has for them.
	MaxQuotaRate = 1 << 53
)

// QuotaEntity is whom a quota is for (KIP-546): a user (OfUser), who calls itself by a client id (OfClient), or both together. An empty name stands for all those
// of which no other quota is. A name that is not part of it is empty.
type QuotaEntity struct {
	OfUser, OfClient bool
	User, ClientID   string
}

// Quota is what some clients may do through each broker: limits of bytes per second, 0 for those that there are not. Immutable.
type Quota struct {
	Entity           QuotaEntity
	ProducerByteRate int64
	ConsumerByteRate int64
}

// QuotaKey is one limit. The name is Kafka's.
type QuotaKey struct {
	Name  string
	field func(*Quota) *int64
}

// ConsumerByteRate is the limit of what may be fetched.
func ConsumerByteRate() QuotaKey {
	return QuotaKey{"consumer_byte_rate", func(q *Quota) *int64 { return &q.ConsumerByteRate }}
}

// ProducerByteRate is the limit of what may be produced.
func ProducerByteRate() QuotaKey {
	return QuotaKey{"producer_byte_rate", func(q *Quota) *int64 { return &q.ProducerByteRate }}
}

// quotaKeys lists the limits by name.
func quotaKeys() []QuotaKey { return []QuotaKey{ConsumerByteRate(), ProducerByteRate()} }

// findQuotaKey is the limit of that name. INVALID_CONFIG names the nearest one for a name that none has.
func findQuotaKey(name string) (QuotaKey, error) {
	var names []string
	for _, k := range quotaKeys() {
		if k.Name == name {
			return k, nil
		}
		names = append(names, k.Name)
	}
	return QuotaKey{}, mq.Errorf(mq.InvalidConfig, "unknown limit %.60q of a quota: did you mean %q?", name, mq.Nearest(name, names))
}

// Value is the limit in bytes per second; 0: there is none.
func (k QuotaKey) Value(q *Quota) int64 { return *k.field(q) }

// Limits goes over the limits that there are, by name, in bytes per second.
func (q *Quota) Limits() iter.Seq2[string, int64] {
	return func(yield func(string, int64) bool) {
		for _, k := range quotaKeys() {
			if rate := k.Value(q); rate != 0 && !yield(k.Name, rate) {
				return
			}
		}
	}
}

func (q *Quota) empty() bool { return *q == Quota{Entity: q.Entity} }

// String names the clients.
func (e QuotaEntity) String() string {
	var parts []string
	for _, part := range []struct {
		of   bool
		kind string
		name string
	}{{e.OfUser, "user", e.User}, {e.OfClient, "client id", e.ClientID}} {
		switch {
		case part.of && part.name == "":
			parts = append(parts, "any "+part.kind)
		case part.of:
			parts = append(parts, part.kind+" "+strconv.Quote(part.name))
		}
	}
	return strings.Join(parts, " with ")
}

// key is what the database knows it by: two different ones never have the same.
func (e QuotaEntity) key() string {
	kind := "c"
	switch {
	case e.OfUser && e.OfClient:
		kind = "b" + strconv.Itoa(len(e.User)) + ":"
	case e.OfUser:
		kind = "u"
	}
	return kind + e.User + e.ClientID
}

// Compare orders them by user and client id, in no useful order otherwise.
func (e QuotaEntity) Compare(other QuotaEntity) int {
	return cmp.Or(compareBools(e.OfUser, other.OfUser), cmp.Compare(e.User, other.User), compareBools(e.OfClient, other.OfClient), cmp.Compare(e.ClientID, other.ClientID))
}

func compareBools(a, b bool) int {
	switch {
	case a == b:
		return 0
	case b:
		return -1
	}
	return 1
}

// check says what is wrong with it: INVALID_CONFIG.
func (e QuotaEntity) check() error {
	if !e.OfUser && !e.OfClient {
		return mq.Errorf(mq.InvalidConfig, "a quota is of a user, of a client id, or of both")
	}
	for _, name := range []string{e.User, e.ClientID} {
		if len(name) > MaxQuotaName || !utf8.ValidString(name) {
			return mq.Errorf(mq.InvalidConfig, "a quota of %.60q: want a name of up to %d bytes of UTF-8", name, MaxQuotaName)
		}
	}
	return nil
}

// with is the quota with changes made. Errors are INVALID_CONFIG.
func (q *Quota) with(changes []*metadatapb.QuotaChange) (*Quota, error) {
	after := *q
	if err := after.Entity.check(); err != nil {
		return nil, err
	}
	for i, c := range changes {
		k, err := findQuotaKey(c.GetKey())
		switch {
		case err != nil:
			return nil, err
		case slices.ContainsFunc(changes[:i], func(earlier *metadatapb.QuotaChange) bool { return earlier.GetKey() == k.Name }):
			return nil, mq.Errorf(mq.InvalidConfig, "limit %s is given twice", k.Name)
		case c.GetDelete():
			*k.field(&after) = 0
		case c.GetValue() < 1 || c.GetValue() > MaxQuotaRate:
			return nil, mq.Errorf(mq.InvalidConfig, "limit %s: %d is not a number of bytes per second from 1 to %d", k.Name, c.GetValue(), int64(MaxQuotaRate))
		default:
			*k.field(&after) = c.GetValue()
		}
	}
	return &after, nil
}

// Quotas goes over all quotas, in no useful order.
func (img *Image) Quotas() iter.Seq[*Quota] { return img.quotas.values() }

// QuotaWith is the quota of an entity after changes, which are not made. Errors are INVALID_CONFIG, and POLICY_VIOLATION where there are [MaxQuotas] already.
func (img *Image) QuotaWith(e QuotaEntity, changes []*metadatapb.QuotaChange) (*Quota, error) {
	return changeQuota(img.quotas, e, changes)
}

// changeQuota is the quota of an entity after changes. Errors are INVALID_CONFIG, and POLICY_VIOLATION for one too many.
func changeQuota(all trie[QuotaEntity, *Quota], e QuotaEntity, changes []*metadatapb.QuotaChange) (*Quota, error) {
	before, there := all.get(e)
	if !there {
		before = &Quota{Entity: e}
	}
	after, err := before.with(changes)
	if err != nil {
		return nil, err
	}
	if !there && !after.empty() && all.len() >= MaxQuotas {
		return nil, mq.Errorf(mq.PolicyViolation, "there are %d quotas already: take away one that is not needed any more", MaxQuotas)
	}
	return after, nil
}

// QuotaOf is the limit that holds for a user who calls itself by a client id, in bytes per second, 0 for none; and who shares it. It is of the first of Kafka's order that has that limit: a
// user with a client id, the user with any, the user; then any user, likewise; then the client id, and any.
func (img *Image) QuotaOf(k QuotaKey, user, clientID string) (rate int64, shared QuotaEntity) {
	if img.quotas.len() == 0 {
		return 0, QuotaEntity{}
	}
	if len(clientID) > MaxQuotaName {
		clientID = "" // no quota can name it: all such share what is of any
	}
	for _, u := range []string{user, ""} {
		for _, e := range []QuotaEntity{{true, true, u, clientID}, {true, true, u, ""}, {true, false, u, ""}} {
			if q, ok := img.quotas.get(e); ok && k.Value(q) != 0 {
				shared = QuotaEntity{OfUser: true, OfClient: e.OfClient, User: user}
				if e.OfClient {
					shared.ClientID = clientID
				}
				return k.Value(q), shared
			}
		}
	}
	for _, name := range []string{clientID, ""} {
		if q, ok := img.quotas.get(QuotaEntity{OfClient: true, ClientID: name}); ok && k.Value(q) != 0 {
			return k.Value(q), QuotaEntity{OfClient: true, ClientID: clientID}
		}
	}
	return 0, QuotaEntity{}
}

func (m *machine) alterQuota(c *metadatapb.AlterQuota) error {
	q, err := changeQuota(m.quotas.t, EntityFrom(c.GetEntity()), c.GetChanges())
	if err != nil {
		return err
	}
	m.setQuota(q)
	return nil
}

// setQuota notes a quota. One without limits is forgotten.
func (d *draft) setQuota(q *Quota) {
	key := []byte(q.Entity.key())
	if q.empty() {
		d.quotas.remove(q.Entity)
		d.db.del(bucketQuotas, key)
		return
	}
	d.quotas.set(q.Entity, q)
	d.db.put(bucketQuotas, key, quotaRecord(q))
}

func quotaRecord(q *Quota) *metadatapb.Quota {
	r := &metadatapb.Quota{Entity: EntityRecord(q.Entity)}
	for name, rate := range q.Limits() {
		r.Limits = append(r.Limits, &metadatapb.QuotaLimit{Key: name, Value: rate})
	}
	return r
}

// quotaFrom reads a record. Errors are INVALID_CONFIG.
func quotaFrom(r *metadatapb.Quota) (*Quota, error) {
	q := &Quota{Entity: EntityFrom(r.GetEntity())}
	changes := make([]*metadatapb.QuotaChange, len(r.GetLimits()))
	for i, l := range r.GetLimits() {
		changes[i] = &metadatapb.QuotaChange{Key: l.GetKey(), Value: l.GetValue()}
	}
	return q.with(changes)
}

// EntityRecord is whom a quota is for, as commands have it.
func EntityRecord(e QuotaEntity) *metadatapb.QuotaEntity {
	r := &metadatapb.QuotaEntity{}
	if e.OfUser {
		r.User = &metadatapb.QuotaName{Name: e.User}
	}
	if e.OfClient {
		r.ClientId = &metadatapb.QuotaName{Name: e.ClientID}
	}
	return r
}

// EntityFrom reads one, as [EntityRecord] made it.
func EntityFrom(r *metadatapb.QuotaEntity) QuotaEntity {
	return QuotaEntity{OfUser: r.GetUser() != nil, OfClient: r.GetClientId() != nil, User: r.GetUser().GetName(), ClientID: r.GetClientId().GetName()}
}
