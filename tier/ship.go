package tier

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"github.com/cenkalti/backoff/v5"

	"github.com/rustmq/rustmq/mq"
)

// shipment is one object on its way.
type shipment struct {
	id      uint64
	key     string
	data    []byte // aliases slot.buf
	crc     uint32 // of data
	written int64  // milliseconds since 1970
	parts   []*part
	slot    *slot
}

// ship starts the goroutine that brings an object into the store and the
// catalogue. Objects are uploaded beside each other and committed one after the
// other, in the order in which they were gathered: so ranges of one partition
// are committed in theirs.
func (u *Uploader) ship(s *shipment) {
	before, done := u.lastDone, make(chan struct{})
	u.lastDone = done
	u.counters.inFlightObjects.Add(1)
	u.counters.inFlightBytes.Add(int64(len(s.data)))
	u.ships.Go(func() {
		defer close(done)
		if u.deliver(s, before) == nil {
			u.results <- s // has room for all
		}
	})
}

// deliver fails only when the uploader is closed.
func (u *Uploader) deliver(s *shipment, before <-chan struct{}) error {
	if err := u.upload(s); err != nil {
		return err
	}
	if before != nil {
		select {
		case <-before:
		case <-u.ctx.Done():
		}
		if u.ctx.Err() != nil {
			return u.ctx.Err() // before may have ended without a verdict
		}
	}
	if err := u.commit(s); err != nil {
		return err
	}
	for _, p := range s.parts {
		p.source.Tiered(p.End, p.verdict)
	}
	return nil
}

// upload puts the object into the store, however long that takes.
func (u *Uploader) upload(s *shipment) error {
	s.key = objectKey(u.cfg.Prefix, s.id)
	_, err := retry(u.ctx, u, &u.store, func(ctx context.Context) (struct{}, error) {
		err := u.cfg.Store.Put(ctx, s.key, s.data, s.crc)
		if errors.Is(err, ErrOther) {
			s.key = objectKey(u.cfg.Prefix, s.id)
		}
		return struct{}{}, err
	})
	return err
}

// commit asks the catalogue for the verdicts.
func (u *Uploader) commit(s *shipment) error {
	c := ObjectCommit{ID: s.id, Key: s.key, Size: int64(len(s.data)), Written: s.written, Ranges: make([]RangeCommit, len(s.parts))}
	for i, p := range s.parts {
		c.Ranges[i] = p.RangeCommit
	}
	verdicts, err := retry(u.ctx, u, &u.catalog, func(ctx context.Context) ([]error, error) {
		ctx, cancel := context.WithTimeout(ctx, catalogTimeout)
		defer cancel()
		verdicts, err := u.cfg.Catalog.CommitObject(ctx, c)
		if err == nil && len(verdicts) != len(c.Ranges) {
			err = mq.Errorf(mq.Internal, "%d verdicts on %d ranges", len(verdicts), len(c.Ranges))
		}
		if isFinal(err) {
			err = backoff.Permanent(err)
		}
		return verdicts, err
	})
	if u.ctx.Err() != nil && err != nil {
		return err
	}
	for i, p := range s.parts {
		if p.verdict = err; err == nil {
			p.verdict = verdicts[i]
		}
	}
	return nil
}

// isFinal says whether an error of the catalogue is its decision, so that
// asking again is of no use. Everything else may mean that it was done and only
// the reply was lost.
func isFinal(err error) bool {
	code := mq.CodeOf(err)
	switch code {
	case mq.None, mq.Unknown, mq.Canceled, mq.RequestTimedOut, mq.NetworkException, mq.NotController, mq.ShuttingDown:
		return false
	}
	return !code.Retriable()
}

// settle notes the verdicts on an object.
func (u *Uploader) settle(s *shipment) {
	u.counters.inFlightObjects.Add(-1)
	u.counters.inFlightBytes.Add(-int64(len(s.data)))
	u.free = append(u.free, s.slot)
	now := time.Now()
	var committed int64
	var refusal error
	for _, p := range s.parts {
		state := p.state
		state.inFlight--
		state.inFlightBytes -= p.Bytes
		if p.verdict == nil {
			committed++
			u.counters.bytes.Add(p.Bytes)
			state.retry, state.lastErr, state.holdUntil = nil, nil, time.Time{}
		} else {
			refusal = p.verdict
			state.broken = true
			state.hold(p.verdict, now)
		}
		if state.inFlight == 0 && state.broken {
			state.broken = false
			state.next = 0
		}
		state.pending = p.source.Pending()
	}
	refused := int64(len(s.parts)) - committed
	u.counters.ranges.Add(committed)
	u.counters.refused.Add(refused)
	if committed > 0 {
		u.counters.objects.Add(1)
	} else {
		u.counters.orphans.Add(1)
	}
	if refused > 0 {
		u.log.Info("ranges of an uploaded object were refused", "object", s.key, "refused", refused, "of", len(s.parts), "one", refusal)
	}
	s.data = nil
}

// newBackOff is how long we wait between tries: 0.1 s, doubling up to 5 s, all
// half more or less by chance. It stays short so that we heal soon after the
// store does.
func newBackOff() *backoff.ExponentialBackOff {
	b := backoff.NewExponentialBackOff()
	b.InitialInterval = 100 * time.Millisecond
	b.Multiplier = 2
	b.MaxInterval = 5 * time.Second
	return b
}

// retry tries until it succeeds, fails for good (backoff.Permanent), or ctx
// ends. Each try sees to it that it ends.
func retry[T any](ctx context.Context, u *Uploader, h *health, try func(context.Context) (T, error)) (T, error) {
	return backoff.Retry(ctx, func() (T, error) {
		got, err := try(ctx)
		switch _, final := errors.AsType[*backoff.PermanentError](err); {
		case ctx.Err() != nil: // closing says nothing
		case err == nil, final:
			h.note(nil)
		default:
			h.note(err)
			u.counters.retries.Add(1)
		}
		return got, err
	}, backoff.WithBackOff(newBackOff()), backoff.WithMaxElapsedTime(0))
}

// health logs when something begins to fail and when it is well again, and not
// each time.
type health struct {
	what string
	log  *slog.Logger

	mu    sync.Mutex
	since time.Time // zero: well
}

func (h *health) failing() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return !h.since.IsZero()
}

func (h *health) note(err error) {
	h.mu.Lock()
	was := h.since
	switch {
	case err != nil && was.IsZero():
		h.since = time.Now()
	case err == nil:
		h.since = time.Time{}
	}
	h.mu.Unlock()
	switch {
	case err != nil && was.IsZero():
		h.log.Warn("the "+h.what+" fails; trying until it works", "error", err)
	case err == nil && !was.IsZero():
		h.log.Info("the "+h.what+" works again", "failed_for", time.Since(was))
	}
}
