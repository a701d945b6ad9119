package tier

import (
	"context"
	"errors"

	"github.com/cenkalti/backoff/v5"

	"github.com/rustmq/rustmq/mq"
)

const (
	// fetchTries is how often a ranged read is tried before those who wait are
	// told; they will come again by themselves.
	fetchTries = 3
)

// flight is a block on its way. It belongs to no request: whoever needs the
// block waits for it as long as he likes, and nobody's leaving ends it.
type flight struct {
	done  chan struct{}
	block *block // when done, unless err
	err   error
}

// object is what a fetch needs to know.
type object struct {
	key  string
	size int64
}

// lastBlock is the index of the last block that holds bytes below end.
func (r *Reader) lastBlock(o object, end int64) int64 {
	return (min(end, o.size) - 1) / r.cfg.BlockBytes
}

// block is the index-th block of an object, from memory or from the store.
func (r *Reader) block(ctx context.Context, o object, index int64) (*block, error) {
	if b := r.cache.get(blockKey{o.key, index}); b != nil {
		r.counters.hits.Add(1)
		return b, nil
	}
	f := r.start(o, index, index)
	select {
	case <-f.done:
		r.counters.hits.Add(1)
		return f.block, f.err
	default:
		r.counters.misses.Add(1)
	}
	return f.wait(ctx)
}

// ahead sees to it that blocks [first, last] are in memory or on their way, by
// one request for all from the first that is not to the next that is. When that
// first one is far away, it leaves it for later and a larger request. needed is
// the block that is not asked for ahead of its time. Where requests or bandwidth
// are short nothing is read ahead: what is on its way may be waited for any
// moment, so it could not be put off later.
func (r *Reader) ahead(o object, first, last, needed int64) {
	if !r.cfg.Store.Idle() {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for i := first; i <= last && i-first <= (last-first+1)/2; i++ {
		if !r.has(o, i) {
			n := len(r.launch(o, i, last))
			if i == needed {
				n--
			}
			r.counters.readAhead.Add(int64(n))
			return
		}
	}
}

func (f *flight) wait(ctx context.Context) (*block, error) {
	select {
	case <-f.done:
		return f.block, f.err
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// start is the flight of a block, which it begins if need be, together with
// those up to last. It may have landed already.
func (r *Reader) start(o object, index, last int64) *flight {
	r.mu.Lock()
	defer r.mu.Unlock()
	if f := r.flights[blockKey{o.key, index}]; f != nil {
		return f
	}
	if b := r.cache.get(blockKey{o.key, index}); b != nil { // landed since the caller looked
		return landed(b, nil)
	}
	if flights := r.launch(o, index, last); flights != nil {
		return flights[0]
	}
	return landed(nil, errReaderClosed())
}

// has says whether a block is in memory or on its way. The lock is held.
func (r *Reader) has(o object, index int64) bool {
	key := blockKey{o.key, index}
	return r.flights[key] != nil || r.cache.get(key) != nil
}

// launch begins one request for the block index, which is missing, and those
// after it up to last, as far as they are missing too. The lock is held. Nil:
// the reader is closed.
func (r *Reader) launch(o object, index, last int64) []*flight {
	if r.closed {
		return nil
	}
	var flights []*flight
	for i := index; i == index || i <= min(last, r.lastBlock(o, o.size)) && !r.has(o, i); i++ {
		f := &flight{done: make(chan struct{})}
		r.flights[blockKey{o.key, i}] = f
		flights = append(flights, f)
	}
	r.fetches.Go(func() { r.fetch(o, index, flights) })
	return flights
}

func landed(b *block, err error) *flight {
	f := &flight{done: make(chan struct{}), block: b, err: err}
	close(f.done)
	return f
}

func errReaderClosed() error { return mq.Errorf(mq.ShuttingDown, "the reader is closed") }

// fetch gets the blocks of flights, the first of which has the given index, by
// one ranged read, and lands each as soon as it is there.
func (r *Reader) fetch(o object, index int64, flights []*flight) {
	err := r.fetchAll(o, &index, &flights)
	for ; len(flights) > 0; flights, index = flights[1:], index+1 {
		r.land(blockKey{o.key, index}, flights[0], nil, err)
	}
}

func (r *Reader) fetchAll(o object, index *int64, flights *[]*flight) error {
	select {
	case r.slots <- struct{}{}:
		defer func() { <-r.slots }()
	case <-r.ctx.Done():
		return errReaderClosed()
	}
	_, err := backoff.Retry(r.ctx, func() (struct{}, error) {
		err := r.fetchOnce(o, index, flights)
		if err != nil && r.ctx.Err() == nil {
			r.counters.fetchErrors.Add(1)
		}
		if code := mq.CodeOf(err); code == mq.Corrupt || errors.Is(err, ErrAbsent) {
			err = backoff.Permanent(err)
		}
		return struct{}{}, err
	}, backoff.WithBackOff(newBackOff()), backoff.WithMaxTries(fetchTries), backoff.WithMaxElapsedTime(0))
	if r.ctx.Err() != nil {
		return errReaderClosed()
	}
	return err
}

// fetchOnce reads on where the try before it failed.
func (r *Reader) fetchOnce(o object, index *int64, flights *[]*flight) error {
	if len(*flights) == 0 {
		return nil
	}
	at := *index * r.cfg.BlockBytes
	end := min(at+int64(len(*flights))*r.cfg.BlockBytes, o.size)
	r.counters.fetches.Add(1)
	body, err := r.cfg.Store.openCommitted(r.ctx, o, at, end)
	if err != nil {
		return err
	}
	defer body.Close()
	for len(*flights) > 0 {
		buf := make([]byte, min(r.cfg.BlockBytes, end-at))
		n, err := body.fill(buf)
		r.counters.fetchedBytes.Add(int64(n))
		if err != nil {
			return err
		}
		key := blockKey{o.key, *index}
		r.land(key, (*flights)[0], &block{key, buf}, nil)
		*index, *flights = *index+1, (*flights)[1:]
		at += int64(n)
	}
	return nil
}

// land ends a flight.
func (r *Reader) land(key blockKey, f *flight, b *block, err error) {
	f.block, f.err = b, err
	if b != nil {
		r.cache.put(b) // before the flight is forgotten, so that nobody fetches it again
	}
	r.mu.Lock()
	delete(r.flights, key)
	r.mu.Unlock()
	close(f.done)
}

// span is the bytes [from, to) of an object: a part of a block if they lie in
// one, else a copy.
func (r *Reader) span(ctx context.Context, o object, from, to int64) ([]byte, error) {
	size := r.cfg.BlockBytes
	first, last := from/size, (to-1)/size
	var out []byte
	for i := first; i <= last; i++ {
		b, err := r.block(ctx, o, i)
		if err != nil {
			return nil, err
		}
		piece := b.data[max(from-i*size, 0):min(to-i*size, int64(len(b.data)))]
		if first == last {
			return piece[:len(piece):len(piece)], nil
		}
		if out == nil {
			out = make([]byte, 0, to-from)
		}
		out = append(out, piece...)
	}
	return out, nil
}

// forget drops the blocks that hold [from, to): what is in them is not what it
// should be.
func (r *Reader) forget(o object, from, to int64) {
	for i := from / r.cfg.BlockBytes; i*r.cfg.BlockBytes < to; i++ {
		r.cache.drop(blockKey{o.key, i})
	}
}
