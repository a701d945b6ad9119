package client

import (
	"context"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/rustmq/rustmq/mq"
)

// Client is a connection to a cluster: producer, admin, and maker of consumers. It is for any number of goroutines
// at once; a process needs one. Make it with [New].
type Client struct {
	cfg         config
	log         *slog.Logger
	count       counters
	pool        *pool
	budget      budget
	holding     holding
	supplies    supplies
	identities  identities
	ctx         context.Context // ends with Close
	cancel      context.CancelFunc
	nextLane    atomic.Uint32
	topics      sync.Map // name -> *topic
	lastTrouble atomic.Pointer[trouble]

	mu        sync.Mutex // guards the joining of wg against Close
	closed    bool
	wg        sync.WaitGroup
	watching  bool
	consumers map[*Consumer]struct{}
	lanes     int // given to consumers

	linksMu sync.Mutex
	links   map[slotKey]*link

	refreshMu  sync.Mutex
	stale      map[*topic]struct{}    // metadata is wanted
	avoid      map[mq.NodeID]struct{} // and had better not be asked of these
	prompt     chan struct{}          // somebody new wants it
	refreshing bool
}

// trouble is something that went wrong and is being tried again.
type trouble struct {
	err    error
	at     time.Time
	logged time.Time // when trouble was last logged
}

// New makes a client. It opens no connection (those are made when needed, and remade when lost): it only fails for invalid options,
// with INVALID_CONFIG in most cases.
func New(opts ...Option) (*Client, error) {
	cfg, err := build(opts)
	if err != nil {
		return nil, err
	}
	if _, err := mq.NewBatchBuilder(cfg.compression, cfg.level); err != nil {
		return nil, err
	}
	c := &Client{
		cfg:       cfg,
		log:       cfg.logger,
		supplies:  supplies{codec: cfg.compression, level: cfg.level, keep: 2 * cfg.batchBytes},
		links:     make(map[slotKey]*link),
		stale:     make(map[*topic]struct{}),
		avoid:     make(map[mq.NodeID]struct{}),
		prompt:    make(chan struct{}, 1),
		consumers: make(map[*Consumer]struct{}),
	}
	c.ctx, c.cancel = context.WithCancel(context.Background())
	c.pool = newPool(&c.cfg, &c.count, c.leaving)
	c.budget.max, c.budget.count = cfg.maxBufferedBytes, &c.count
	c.identities.c = c
	return c, nil
}

// Close closes all consumers, each as [Consumer.Close] does, and connections, and fails what is still buffered with [ErrClosed] (whether it was delivered is then
// unknown, if it had been sent): call [Client.Flush] before. When Close returns, all promises have been called and no goroutine of the client is left.
// It must not be called from a promise.
func (c *Client) Close() error {
	c.mu.Lock()
	first := !c.closed
	c.closed = true
	consumers := c.consumers
	c.consumers = nil
	c.mu.Unlock()
	if first {
		c.budget.close()
		var stopping sync.WaitGroup // members of groups take leave, each of its coordinator
		for k := range consumers {
			stopping.Go(k.stop)
		}
		stopping.Wait()
		c.eachPartition(func(p *partition) { p.fail(ErrClosed, true) })
		c.cancel()
		c.pool.close()
	}
	c.wg.Wait()
	return nil
}

// spawn runs f on a goroutine that Close waits for; false if the client is closed.
func (c *Client) spawn(f func()) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return false
	}
	c.wg.Go(f)
	return true
}

// startWatch starts the watchdog once.
func (c *Client) startWatch() {
	c.mu.Lock()
	start := !c.watching && !c.closed
	c.watching = c.watching || start
	if start {
		c.wg.Go(c.watch)
	}
	c.mu.Unlock()
}

// tell tells outcomes. No lock may be held.
func (c *Client) tell(list []verdict) {
	for i := range list {
		list[i].tell(c)
		list[i].b.part.told(list[i].b)
	}
}

// sleep waits; false if the client was closed before d had passed.
func (c *Client) sleep(d time.Duration) bool { return sleep(c.ctx, d) }

// sleep waits; false if ctx ended before d had passed.
func sleep(ctx context.Context, d time.Duration) bool { return sleepUnless(ctx, nil, d) }

// sleepUnless waits; false if stop was closed, or ctx ended, before d had passed.
func sleepUnless(ctx context.Context, stop <-chan struct{}, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-stop:
		return false
	case <-ctx.Done():
		return false
	}
}

// troubleEvery is how often trouble that lasts is logged at most.
const troubleEvery = 5 * time.Second

// noteTrouble keeps err, which is being retried, for the log and for the error that it may end in.
func (c *Client) noteTrouble(err error) {
	if c.ctx.Err() != nil {
		return
	}
	now := time.Now()
	old := c.lastTrouble.Load()
	next := &trouble{err: err, at: now}
	if old == nil || now.Sub(old.logged) >= troubleEvery {
		next.logged = now
		if c.lastTrouble.CompareAndSwap(old, next) {
			c.log.Warn("trying again", "err", err)
		}
		return
	}
	next.logged = old.logged
	c.lastTrouble.CompareAndSwap(old, next)
}

// timeoutError is what records fail with that took too long.
func (c *Client) timeoutError() error {
	const text = "not acknowledged within %v"
	t := c.lastTrouble.Load()
	if t == nil || time.Since(t.at) > c.cfg.deliveryTimeout {
		return mq.Errorf(mq.RequestTimedOut, text, c.cfg.deliveryTimeout)
	}
	return mq.Errorf(mq.RequestTimedOut, text+"; last trouble: %w", c.cfg.deliveryTimeout, t.err)
}
