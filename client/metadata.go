package client

import (
	"context"
	"maps"
	"slices"
	"time"

	"github.com/rustmq/rustmq/mq"
	"github.com/rustmq/rustmq/quicproto"
)

// olderTries is how many answers in succession may be older than one that came before: then the cluster itself has gone back, as after
// it was restored.
const olderTries = 5

// metadata fetches metadata and keeps what it says of nodes. It asks one of avoid only if nobody else answers, and does not believe who lags
// behind another: a broker that is cut off from the controllers still says that it leads what it led.
func (c *Client) metadata(ctx context.Context, req *quicproto.MetadataRequest, avoid ...mq.NodeID) (*quicproto.MetadataResponse, error) {
	resp, _, err := c.metadataFrom(ctx, req, avoid...)
	return resp, err
}

// metadataFrom is metadata, and says who answered.
func (c *Client) metadataFrom(ctx context.Context, req *quicproto.MetadataRequest, avoid ...mq.NodeID) (_ *quicproto.MetadataResponse, from mq.NodeID, _ error) {
	var resp quicproto.MetadataResponse
	older := 0
	q := inquiry{c: c, req: req, resp: &resp, how: urgent, avoid: avoid, accept: func(node mq.NodeID) bool {
		from = node
		if c.pool.learn(node, &resp, older >= olderTries) {
			return true
		}
		older++
		return false
	}}
	if err := q.run(ctx); err != nil {
		return nil, mq.NoNode, mq.Wrapf(err, "fetch metadata")
	}
	return &resp, from, nil
}

// refresh has the topic's metadata fetched soon.
func (c *Client) refresh(t *topic) { c.refreshFor([]*topic{t}) }

// refreshFor has the metadata of topics fetched soon, and rather not from those in avoid.
func (c *Client) refreshFor(topics []*topic, avoid ...mq.NodeID) {
	if len(topics) == 0 {
		return
	}
	c.refreshMu.Lock()
	defer c.refreshMu.Unlock()
	select {
	case c.prompt <- struct{}{}:
	default:
	}
	for _, t := range topics {
		c.stale[t] = struct{}{}
	}
	for _, node := range avoid {
		c.avoid[node] = struct{}{}
	}
	if !c.refreshing {
		c.refreshing = c.spawn(c.refreshLoop)
	}
}

// refreshLoop fetches metadata until no topic needs it: often at first, and again after somebody new wants it, for an election takes less than a
// second.
func (c *Client) refreshLoop() {
	wait := newEagerBackoff()
	for {
		topics, avoid := c.takeStale()
		if len(topics) == 0 {
			return
		}
		again := c.refreshOnce(topics, avoid)
		if !c.rest(wait) {
			return
		}
		c.refreshMu.Lock()
		for _, t := range again {
			c.stale[t] = struct{}{}
		}
		c.refreshMu.Unlock()
	}
}

// rest waits before metadata is asked for again, not long if somebody new wants it; false if the client was closed.
func (c *Client) rest(wait *eagerBackoff) bool {
	pause := wait.next()
	if !c.sleep(min(pause, eagerPause)) {
		return false
	}
	more := time.NewTimer(max(pause-eagerPause, 0))
	defer more.Stop()
	select {
	case <-c.prompt:
		wait.times = 0
	case <-more.C:
	case <-c.ctx.Done():
	}
	return c.ctx.Err() == nil
}

// takeStale takes the topics to refresh, and who had better not be asked; without topics the loop is over.
func (c *Client) takeStale() ([]*topic, []mq.NodeID) {
	c.refreshMu.Lock()
	defer c.refreshMu.Unlock()
	topics := slices.Collect(maps.Keys(c.stale))
	avoid := slices.Collect(maps.Keys(c.avoid))
	clear(c.stale)
	clear(c.avoid)
	select {
	case <-c.prompt: // it is met
	default:
	}
	c.refreshing = len(topics) > 0
	return topics, avoid
}

// refreshOnce fetches the topics' metadata and returns those that need it again.
func (c *Client) refreshOnce(topics []*topic, avoid []mq.NodeID) []*topic {
	req := quicproto.MetadataRequest{}
	byName := make(map[string]*topic, len(topics))
	for _, t := range topics {
		req.Topics = append(req.Topics, t.name)
		byName[t.name] = t
	}
	ctx, cancel := context.WithTimeout(c.ctx, c.cfg.requestTimeout)
	defer cancel()
	resp, err := c.metadata(ctx, &req, avoid...)
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
	// lookEvery is how often produce streams are looked at.
	lookEvery = 50 * time.Millisecond
	// expireEvery is how often records are looked for that have waited too long.
	expireEvery = 500 * time.Millisecond
	// refreshEvery is how often metadata is fetched in any case, so that new partitions are noticed.
	refreshEvery = 5 * time.Minute
)

// watch is the goroutine that looks for what takes too long. There is one while the client produces. Time is counted in looks, so that a process
// that was stopped blames nobody else.
func (c *Client) watch() {
	expiry := min(expireEvery, c.cfg.deliveryTimeout/4+1)
	look := min(lookEvery, expiry)
	tick := time.NewTicker(look)
	defer tick.Stop()
	for looks := 1; ; looks++ {
		select {
		case <-c.ctx.Done():
			return
		case now := <-tick.C:
			if c.count.recordsBuffered.Load() > 0 {
				if looks%int(expiry/look) == 0 {
					c.eachPartition(func(p *partition) { p.expire(now) })
				}
				c.watchLinks()
			}
			if looks%int(refreshEvery/look) == 0 {
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
		if topics := l.watch(); !c.pool.alone(l.key.node) {
			c.refreshFor(topics, l.key.node)
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
