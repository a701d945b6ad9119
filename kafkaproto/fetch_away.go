package kafkaproto

import (
	"time"

	"github.com/rustmq/rustmq/mq"
)

// stayFor is for how long a client reads a partition here that was sent to another node and came back with nothing.
const stayFor = time.Minute

// sentAway is when a client was sent to another node: at which offset, and until when it stays since it came back with that.
type sentAway struct {
	at    mq.Offset
	stays time.Time
}

// staysHere says whether the client reads a partition here wherever it should read it. One that was sent away and asks for the same offset again has got nothing there: that node cannot
// read it, or not be reached. To send it there again would be for ever.
func (c *conn) staysHere(p *fetchPartition) bool {
	asked := p.asked
	p.asked = false
	sent, ok := c.away[p.key()]
	if !ok {
		return false
	}
	if asked && sent.at == p.offset && time.Now().After(sent.stays) {
		sent.stays = time.Now().Add(stayFor)
		c.away[p.key()] = sent
	}
	return time.Now().Before(sent.stays)
}

// sendAway notes that the client is sent to another node. It is false when there is no room for that.
func (c *conn) sendAway(p *fetchPartition) bool {
	key := p.key()
	if _, ok := c.away[key]; !ok {
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
	c.away[key] = sentAway{at: p.offset}
	return true
}

// forgetAway forgets all that were sent away.
func (c *conn) forgetAway() {
	c.srv.cached.Add(-int64(len(c.away)))
	c.away = nil
}
