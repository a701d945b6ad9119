package client

import (
	"context"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/rustmq/rustmq/mq"
	"github.com/rustmq/rustmq/quicproto"
)

// manner says how often a request may be carried out.
type manner uint8

const (
	once       manner = iota // one whose answer was lost is not sent again
	repeatable               // again after a failure, and by another node too when the one that was asked has fallen silent
	urgent                   // by another node too as soon as the one that was asked takes long: it is cheap for servers
)

const (
	// attemptTime is how long an answer may take until another node is asked too. It doubles with each.
	attemptTime = 300 * time.Millisecond
	// maxAttempts is how many nodes are asked at a time.
	maxAttempts = 4
)

// inquiry is one request to whichever server answers it. It belongs to one goroutine.
type inquiry struct {
	c     *Client
	req   quicproto.RequestBody
	resp  quicproto.Body // nil if the answer does not matter
	how   manner
	avoid []mq.NodeID // asked when nobody else is left
	// accept, if set, judges an answer that was decoded into resp; false: another node may know better.
	accept func(node mq.NodeID) bool

	tried   map[mq.NodeID]bool // in this round
	running map[*attempt]struct{}
	answers chan *attempt
}

// attempt is one node that is asked.
type attempt struct {
	key     slotKey
	sess    atomic.Pointer[session] // nil while it is being connected to
	packets uint64                  // that had come on sess before

	// Set when it is over.
	body []byte
	sent bool
	err  error
}

// ask sends a request to whichever server, and again while that is useful and ctx lasts.
func (c *Client) ask(ctx context.Context, req quicproto.RequestBody, resp quicproto.Body, how manner) error {
	q := inquiry{c: c, req: req, resp: resp, how: how}
	return q.run(ctx)
}

// run asks until there is an answer, or there is no use in asking on. A node that is dead costs attemptTime: then another one is asked beside
// it, and the first answer holds.
func (q *inquiry) run(outer context.Context) error {
	ctx, cancel := context.WithCancel(outer)
	defer cancel() // ends the attempts that nobody waits for any more
	q.tried, q.running = make(map[mq.NodeID]bool), make(map[*attempt]struct{})
	q.answers = make(chan *attempt, maxAttempts)
	pause, patience := newBackoff(), attemptTime
	next := time.NewTimer(0)
	defer next.Stop()
	var refusal error
	for {
		select {
		case <-next.C:
			if q.another() && !q.start(ctx) {
				return ErrClosed
			}
			next.Reset(patience)
			patience = min(2*patience, maxBackoff)
		case a := <-q.answers:
			delete(q.running, a)
			done, err := q.judge(a)
			if done || outer.Err() != nil {
				return outOfTime(outer, err, refusal)
			}
			if err != nil {
				q.c.noteTrouble(err)
				refusal = err
			}
			next.Reset(pause.NextBackOff())
		case <-outer.Done():
			return outOfTime(outer, transportError(outer, outer.Err()), refusal)
		}
	}
}

// another reports whether one more node is to be asked now.
func (q *inquiry) another() bool {
	silent := true
	for a := range q.running {
		silent = a.silent() && silent
	}
	switch {
	case len(q.running) == 0:
		return true
	case len(q.running) >= maxAttempts:
		return false
	default:
		return q.how == urgent || q.how == repeatable && silent
	}
}

// silent reports whether nothing has come from the node since it was asked, and has others prefer another one then.
func (a *attempt) silent() bool {
	sess := a.sess.Load()
	return sess == nil || sess.doubt(a.packets)
}

// start asks the next node, if there is one that has not been asked; false if the client is closed.
func (q *inquiry) start(ctx context.Context) bool {
	key, ok := q.c.pool.next(q.tried, q.avoid)
	if !ok {
		if len(q.running) > 0 {
			return true
		}
		clear(q.tried)
		key, _ = q.c.pool.next(q.tried, q.avoid)
	}
	q.tried[key.node] = true
	a := &attempt{key: key}
	q.running[a] = struct{}{}
	return q.c.spawn(func() {
		a.run(ctx, q.c.pool, q.req)
		q.answers <- a // has room for all that run
	})
}

// run asks one node.
func (a *attempt) run(ctx context.Context, p *pool, req quicproto.RequestBody) {
	sess, err := p.get(ctx, a.key, controlWindow)
	if err != nil {
		a.err = err
		return
	}
	a.packets = sess.packets()
	a.sess.Store(sess)
	a.body, a.sent, a.err = sess.exchange(ctx, req)
}

// judge decides if the inquiry is over, with err. Otherwise err is trouble to be told of, if there was any.
func (q *inquiry) judge(a *attempt) (done bool, err error) {
	sess := a.sess.Load()
	if a.err == nil {
		node := sess.welcome.NodeID
		q.tried[node] = true
		if q.resp != nil {
			if err := q.resp.Decode(a.body); err != nil {
				return true, err
			}
		}
		return q.accept == nil || q.accept(node), nil
	}
	code := mq.CodeOf(a.err)
	switch {
	case sess == nil: // nobody was asked
		_, more := q.c.pool.next(q.tried, nil)
		return len(q.running) == 0 && !more || a.err == ErrClosed, a.err //nolint:errorlint // it is never wrapped
	case !code.Retriable(), code == mq.UnknownTopicOrPartition, code == mq.UnknownTopicID:
		return true, a.err
	default:
		return q.how == once && a.sent && maybeDone(code), a.err
	}
}

// outOfTime is what a request ends with for which there was no more time: it says why the last attempt came to nothing, if one did.
func outOfTime(ctx context.Context, err, refusal error) error {
	if err == nil || ctx.Err() == nil || refusal == nil {
		return err
	}
	return mq.Errorf(mq.CodeOf(ctx.Err()), "%w", &timeIsUp{context.Cause(ctx), refusal})
}

// timeIsUp is why there was no more time, and what the last attempt had met: errors.Is finds both.
type timeIsUp struct{ cause, trouble error }

func (e *timeIsUp) Error() string   { return fmt.Sprintf("%v; last trouble: %v", e.cause, e.trouble) }
func (e *timeIsUp) Unwrap() []error { return []error{e.cause, e.trouble} }

// maybeDone reports whether a request that failed with code may have been carried out all the same.
func maybeDone(code mq.Code) bool {
	switch code {
	case mq.NotController, mq.TooManyRequests, mq.ThrottlingQuotaExceeded, mq.LeaderNotAvailable, mq.StorageFull:
		return false
	default:
		return true
	}
}
