package group

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/rustmq/rustmq/mq"
)

// crowd are members that do at once what they are told.
type crowd struct {
	t       *testing.T
	s       *Shard
	random  *rand.Rand
	members []*crowdMember
	asked   int
}

type crowdMember struct {
	id    string
	epoch int32
	owned Partitions
	tell  bool
}

func (c *crowd) beat(m *crowdMember) {
	r := &HeartbeatRequest{Group: "g", Member: m.id, Epoch: m.epoch}
	if m.epoch == EpochJoin {
		r.Topics, r.RebalanceTimeout = []string{"t"}, time.Minute
	} else if m.tell {
		r.Owned = m.owned.normal()
		if r.Owned == nil {
			r.Owned = Partitions{}
		}
	}
	c.asked++
	answer, code := ask[*HeartbeatResponse](c.t, c.s, start, r)
	if code != mq.None {
		c.t.Fatalf("%s: %v", m.id, code)
	}
	m.epoch, m.tell = answer.Epoch, answer.Changed
	if answer.Changed {
		m.owned = answer.Assigned
	}
}

func (c *crowd) join(n int) {
	for range n {
		m := &crowdMember{id: fmt.Sprintf("m%04d", c.random.IntN(1<<30))}
		c.members = append(c.members, m)
		c.beat(m)
	}
}

// rounds is how often everybody has to heartbeat, in any order, until everybody has what it should.
func (c *crowd) rounds() int {
	for n := range 100 {
		if d, _ := ask[*DescribeResponse](c.t, c.s, start, &DescribeRequest{Group: "g"}); d.State == StateStable {
			return n
		}
		c.random.Shuffle(len(c.members), func(i, j int) { c.members[i], c.members[j] = c.members[j], c.members[i] })
		for _, m := range c.members {
			c.beat(m)
		}
	}
	return 100
}

// Whatever changed, and however much at once, it is over after three heartbeats of everybody.
func TestChangeIsOverAfterThreeHeartbeats(t *testing.T) {
	most := 0
	for seed := range uint64(50) {
		random := rand.New(rand.NewPCG(seed, 3))
		partitions := 1 + random.Int32N(200)
		c := &crowd{t: t, s: newShard(t, testTopic("t", partitions)), random: random}
		c.join(1 + random.IntN(25))
		version := uint64(1)
		for range 5 {
			most = max(most, c.rounds())
			switch random.IntN(4) {
			case 0:
				c.join(1 + random.IntN(25))
			case 1: // leave
				for range random.IntN(len(c.members)) {
					last := c.members[len(c.members)-1]
					c.members = c.members[:len(c.members)-1]
					ask[*HeartbeatResponse](t, c.s, start, &HeartbeatRequest{Group: "g", Member: last.id, Epoch: EpochLeave})
				}
			case 2: // partitions come
				version++
				partitions += random.Int32N(20)
				c.s.SetTopics(start, NewTopics(version, []Topic{testTopic("t", partitions)}))
				c.s.Tick(start)
			case 3: // in the middle of a change, another one
				c.join(3)
				for _, m := range slices.Clone(c.members)[:len(c.members)/2] {
					c.beat(m)
				}
				c.join(3)
			}
		}
	}
	t.Logf("at most %d heartbeats", most)
	if most > 3 {
		t.Errorf("%d heartbeats of everybody", most)
	}
}
