package broker

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/rustmq/rustmq/metadata"
	"github.com/rustmq/rustmq/mq"
	"github.com/rustmq/rustmq/partition"
	"github.com/rustmq/rustmq/quicproto"
	"github.com/rustmq/rustmq/quicproto/server"
	"github.com/rustmq/rustmq/tier"
)

// Mount is the view of another cluster's object store that a broker may be of. Such a broker runs no partition: it reads what its image says that the store has, and changes nothing.
type Mount interface {
	// Refusal is the error of whatever would change something.
	Refusal() error
	// Missing asks for a newer view soon: an object was not there that this one names.
	Missing()
	// Mounted says what is seen.
	Mounted() Mounted
}

// Mounted says how new a view is.
type Mounted struct {
	Source mq.ClusterID
	Seen   time.Time     // when the object store was last looked at; zero: not since the process began
	Age    time.Duration // since then
	Copied time.Time     // when the copy of the metadata was written that it is of; zero: it is not known
	Err    error         // of the last look
}

// changes says whether an operation is one that a mount refuses. A producer's id is none: see InitProducerID.
func (o Operation) changes() bool { return o != OpRead && o != OpDescribe && o != OpIdempotentWrite }

// Viewed has those look who wait for something new in a mount: its image is another one.
func (b *Broker) Viewed() {
	b.views.mu.Lock()
	defer b.views.mu.Unlock()
	for r, w := range b.views.waiting {
		delete(b.views.waiting, r)
		w.Wake()
	}
}

// views are who waits for something new in a mount.
type views struct {
	mu      sync.Mutex
	waiting map[*viewReader]server.Waiter
}

// viewOf is what a mount shows of a partition: [LogStart, end).
func viewOf(p *metadata.Partition) (end mq.Offset) { return max(p.LogStart, p.TieredEnd) }

// openView is OpenFetch in a mount.
func (b *Broker) openView(g grant, index int32, epoch mq.Epoch) (server.Reader, error) {
	id, p, err := b.recorded(g.topic, index)
	if err != nil {
		return nil, err
	}
	if err := checkEpoch(p.LeaderEpoch, g.topic, index, epoch); err != nil {
		return nil, err
	}
	return &viewReader{grant: g, id: id}, nil
}

// viewReader reads a partition of a mount. All isolations end where the object store does.
type viewReader struct {
	grant grant
	id    mq.PartitionID
}

var _ server.Reader = (*viewReader)(nil)

func (r *viewReader) partition() *metadata.Partition {
	return r.grant.broker.cfg.Controller.Image().Partition(r.id)
}

// Offsets implements server.Reader.
func (r *viewReader) Offsets() (topic mq.TopicID, logStart, highWatermark, end mq.Offset) {
	p := r.partition()
	if p == nil {
		return r.id.Topic, -1, -1, -1
	}
	return r.id.Topic, p.LogStart, viewOf(p), viewOf(p)
}

// Source implements server.Reader.
func (r *viewReader) Source(from mq.Offset) server.Source {
	if p := r.partition(); p != nil && from >= p.LogStart && from < p.TieredEnd {
		return server.FromStore
	}
	return server.FromMemory // there is nothing, or an error
}

// Read implements server.Reader.
func (r *viewReader) Read(ctx context.Context, from mq.Offset, maxBytes int, _ []byte) (server.Fetched, error) {
	if err := r.grant.check(); err != nil {
		return server.Fetched{}, err
	}
	b, p := r.grant.broker, r.partition()
	if p == nil {
		return server.Fetched{}, unknownTopic(r.grant.topic)
	}
	end := viewOf(p)
	switch {
	case from < p.LogStart || from > end:
		return server.Fetched{}, mq.Errorf(mq.OffsetOutOfRange, "partition %d of topic %q: read at %d, the object store has [%d, %d)", r.id.Index, r.grant.topic, from, p.LogStart, end)
	case from == end:
		return server.Fetched{Next: from, End: end, HighWatermark: end, LogStart: p.LogStart, LogEnd: end}, nil
	}
	got, err := partition.ReadTiered(ctx, b.cfg.Cold, r.id, from, p.LogStart, p.TieredEnd, maxBytes, &partition.ReadBuffer{})
	if err != nil {
		return server.Fetched{}, b.outdated(err)
	}
	return server.Fetched{
		Batches: got.Batches, Next: got.Next, End: end, HighWatermark: end, LogStart: p.LogStart, LogEnd: end,
	}, nil
}

// outdated asks for a newer view where an object is not there any more: the other cluster has put another one in its place. Who reads tries again meanwhile.
func (b *Broker) outdated(err error) error {
	if errors.Is(err, tier.ErrAbsent) {
		b.cfg.Mount.Missing()
	}
	return err
}

// Await implements server.Reader.
func (r *viewReader) Await(from mq.Offset, w server.Waiter) bool {
	v := &r.grant.broker.views
	v.mu.Lock()
	defer v.mu.Unlock()
	v.waiting[r] = w
	// Looked at after it waits: a view that changes now wakes it.
	if p := r.partition(); p != nil && from == viewOf(p) {
		return true
	}
	delete(v.waiting, r)
	return false
}

// Close implements server.Reader.
func (r *viewReader) Close() {
	v := &r.grant.broker.views
	v.mu.Lock()
	defer v.mu.Unlock()
	delete(v.waiting, r)
}

// viewOffset is offset in a mount.
func (b *Broker) viewOffset(ctx context.Context, t *metadata.Topic, q quicproto.OffsetQuery) (quicproto.OffsetAnswer, error) {
	p := t.Partition(q.Partition)
	a := quicproto.OffsetAnswer{Timestamp: -1, LeaderEpoch: p.LeaderEpoch, Offset: -1}
	switch end := viewOf(p); {
	case q.Timestamp == quicproto.TimestampLatest:
		a.Offset = end
	case q.Timestamp == quicproto.TimestampEarliest:
		a.Offset = p.LogStart
	case q.Timestamp < 0:
		return a, noPlace(q.Timestamp)
	case p.LogStart < p.TieredEnd:
		offset, at, ok, err := b.cfg.Cold.OffsetByTime(ctx, mq.PartitionID{Topic: t.ID, Index: q.Partition}, p.LogStart, q.Timestamp)
		if err != nil {
			return a, mq.Wrapf(b.outdated(err), "partition %d of topic %q: find time %d in the object store", q.Partition, t.Name, q.Timestamp)
		}
		if ok && offset < end {
			a.Offset, a.Timestamp = offset, at
		}
	}
	return a, nil
}
