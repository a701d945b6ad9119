package kafkaproto

import (
	"time"

	"github.com/rustmq/rustmq/mq"
)

// A client that was sent to another node and came back with nothing reads here for as long as stayLeast, and four times as long each time it does so again, up to stayMost: the other node may only
// not have heard yet what there is, or be unable to read for hours.
const (
	stayLeast = 100 * time.Millisecond
	stayMost  = time.Minute
)

// sentAway is when a client was sent to another node.
type sentAway struct {
	at    mq.Offset
	vain  int       // how often it came back with nothing, one time after the other
	back  bool      // it did so from this one
	stays time.Time // until when it reads here since then
}

// staysHere says whether the client reads a partition here wherever it should read it. One that was sent away and asks for the same offset again has got nothing there: that node cannot
// read it, or not be reached. To send it there again at once would be for ever.
func (c *conn) staysHere(p *fetchPartition) bool {
	asked := p.asked
	p.asked = false
	sent, ok := c.away[p.key()]
	if !ok {
		return false
	}
	if asked && !sent.back && sent.at == p.offset {
		sent.stays = time.Now().Add(min(stayLeast<<(2*min(sent.vain, 5)), stayMost))
		sent.vain, sent.back = sent.vain+1, true
		c.away[p.key()] = sent
		return true
	}
	return time.Now().Before(sent.stays)
}

// sendAway notes that the client is sent to another node. It is false when there is no room for that.
func (c *conn) sendAway(p *fetchPartition) bool {
	key := p.key()
	before, ok := c.away[key]
	if !ok {
		if len(c.away) >= c.srv.limits.SessionPartitions {
			c.forgetAway()
		}
		if !c.roomForFetches(1, len(c.away)+1) {
			return false
		}
		if c.away == nil {
			c.away = make(map[fetchKey]sentAway)
		}
	}
	now := sentAway{at: p.offset}
	if before.back {
		now.vain = before.vain
	}
	c.away[key] = now
	return true
}

// forgetAway forgets all that were sent away.
func (c *conn) forgetAway() {
	c.srv.cached.Add(-int64(len(c.away)))
	c.away = nil
}
