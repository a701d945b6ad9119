package client

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/rustmq/rustmq/mq"
	"github.com/rustmq/rustmq/quicproto"
)

// ask sends a request to whichever server, and again while that is useful and ctx lasts. With repeatable the request may be carried out
// more than once; otherwise one whose answer was lost is not sent again.
func (c *Client) ask(ctx context.Context, req quicproto.RequestBody, resp quicproto.Body, repeatable bool) error {
	wait := newBackoff()
	var refusal error
	for {
		sess, err := c.pool.any(ctx)
		if err != nil {
			return outOfTime(ctx, err, refusal)
		}
		sent, err := sess.request(ctx, req, resp)
		if err == nil || ctx.Err() != nil {
			return outOfTime(ctx, err, refusal)
		}
		switch code := mq.CodeOf(err); {
		case !code.Retriable(), code == mq.UnknownTopicOrPartition, code == mq.UnknownTopicID:
			return err
		case sent && !repeatable && maybeDone(code):
			return err
		}
		c.noteTrouble(err)
		refusal = err
		if !sleep(ctx, wait.NextBackOff()) {
			return outOfTime(ctx, ctx.Err(), refusal)
		}
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

// metadata fetches metadata and keeps what it says of nodes.
func (c *Client) metadata(ctx context.Context, req *quicproto.MetadataRequest) (*quicproto.MetadataResponse, error) {
	var resp quicproto.MetadataResponse
	if err := c.ask(ctx, req, &resp, true); err != nil {
		return nil, mq.Wrapf(err, "fetch metadata")
	}
	addrs := make(map[mq.NodeID]string, len(resp.Brokers))
	for _, b := range resp.Brokers {
		addrs[b.ID] = b.Addr
	}
	c.pool.learn(addrs)
	return &resp, nil
}

// refresh has the topic's metadata fetched soon.
func (c *Client) refresh(t *topic) { c.refreshFor([]*topic{t}) }

func (c *Client) refreshFor(topics []*topic) {
	if len(topics) == 0 {
		return
	}
	c.refreshMu.Lock()
	defer c.refreshMu.Unlock()
	for _, t := range topics {
		c.stale[t] = struct{}{}
	}
	if !c.refreshing {
		c.refreshing = c.spawn(c.refreshLoop)
	}
}

// refreshLoop fetches metadata until no topic needs it.
func (c *Client) refreshLoop() {
	wait := newBackoff()
	for {
		topics := c.takeStale()
		if len(topics) == 0 {
			return
		}
		again := c.refreshOnce(topics)
		if !c.sleep(wait.NextBackOff()) {
			return
		}
		c.refreshFor(again)
	}
}

// takeStale takes the topics to refresh; without any the loop is over.
func (c *Client) takeStale() []*topic {
	c.refreshMu.Lock()
	defer c.refreshMu.Unlock()
	topics := make([]*topic, 0, len(c.stale))
	for t := range c.stale {
		topics = append(topics, t)
	}
	clear(c.stale)
	c.refreshing = len(topics) > 0
	return topics
}

// refreshOnce fetches the topics' metadata and returns those that need it again.
func (c *Client) refreshOnce(topics []*topic) []*topic {
	req := quicproto.MetadataRequest{}
	byName := make(map[string]*topic, len(topics))
	for _, t := range topics {
		req.Topics = append(req.Topics, t.name)
		byName[t.name] = t
	}
	ctx, cancel := context.WithTimeout(c.ctx, c.cfg.requestTimeout)
	defer cancel()
	resp, err := c.metadata(ctx, &req)
	if err != nil {
		c.noteTrouble(err)
		return topics
	}
	var again []*topic
	for i := range resp.Topics {
		m := &resp.Topics[i]
		t := byName[m.Name]
		if t == nil {
			continue
		}
		if err := t.apply(m); err != nil {
			c.noteTrouble(err)
		}
		if t.homeless() {
			again = append(again, t)
		}
	}
	return again
}

// linkTo is the link for key.
func (c *Client) linkTo(key slotKey) *link {
	c.linksMu.Lock()
	defer c.linksMu.Unlock()
	l := c.links[key]
	if l == nil {
		l = &link{c: c, key: key, parts: make(map[*partition]*produceStream)}
		c.links[key] = l
	}
	return l
}

const (
	// watchEvery is how often timeouts and silent servers are looked for.
	watchEvery = 500 * time.Millisecond
	// refreshEvery is how many looks later metadata is fetched in any case, so that new partitions are noticed: 5 minutes.
	refreshEvery = 600
)

// watch is the goroutine that looks for what takes too long. There is one while the client produces.
func (c *Client) watch() {
	tick := time.NewTicker(min(watchEvery, c.cfg.deliveryTimeout/4+1))
	defer tick.Stop()
	for looks := 1; ; looks++ {
		select {
		case <-c.ctx.Done():
			return
		case now := <-tick.C:
			if c.count.recordsBuffered.Load() > 0 {
				c.eachPartition(func(p *partition) { p.expire(now) })
				c.watchLinks()
			}
			if looks%refreshEvery == 0 {
				c.refreshFor(c.allTopics())
			}
		}
	}
}

func (c *Client) allLinks() []*link {
	c.linksMu.Lock()
	defer c.linksMu.Unlock()
	return slices.Collect(maps.Values(c.links))
}

// leaving is called when the server of sess asks its clients to go.
func (c *Client) leaving(sess *session) {
	for _, l := range c.allLinks() {
		l.retire(sess)
	}
}

func (c *Client) watchLinks() {
	for _, l := range c.allLinks() {
		l.mu.Lock()
		st := l.stream
		l.mu.Unlock()
		if st != nil {
			st.watch()
		}
	}
}

func (c *Client) allTopics() []*topic {
	var list []*topic
	c.topics.Range(func(_, v any) bool {
		if t := v.(*topic); t.parts.Load() != nil {
			list = append(list, t)
		}
		return true
	})
	return list
}

func (c *Client) eachPartition(visit func(*partition)) {
	c.topics.Range(func(_, v any) bool {
		t := v.(*topic)
		t.mu.Lock()
		known := t.known
		t.mu.Unlock()
		for _, p := range known {
			visit(p)
		}
		return true
	})
}
