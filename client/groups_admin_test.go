package client

import (
	"sync/atomic"
	"testing"
	"time"

	"github.com/rustmq/rustmq/mq"
	"github.com/rustmq/rustmq/quicproto"
)

// TestGroupsAreListedBesideThoseThatLoad: a node that reads is waited for, and what the others say is not lost when that takes too long.
func TestGroupsAreListedBesideThoseThatLoad(t *testing.T) {
	inGroup(t, 1, func(t *testing.T, g *group) {
		var asked atomic.Int64
		until := int64(3)
		for i, b := range g.brokers {
			b.listing = func() *quicproto.ListGroupsResponse {
				resp := &quicproto.ListGroupsResponse{Groups: []quicproto.ListedGroup{{Group: string(rune('a' + i))}}}
				if i == 1 && asked.Add(1) < until {
					resp.Groups, resp.Loading = nil, []int32{7}
				}
				return resp
			}
		}
		c := g.client(RequestTimeout(10 * time.Second))
		defer c.Close()
		if list, err := c.ListGroups(t.Context()); err != nil || len(list) != 3 {
			t.Errorf("%+v, %v", list, err)
		}
		until = 1 << 40
		began := time.Now()
		list, err := c.ListGroups(t.Context())
		if mq.CodeOf(err) != mq.CoordinatorLoadInProgress || len(list) != 2 || list[0].Group != "a" || list[1].Group != "c" {
			t.Errorf("%+v, %v", list, err)
		}
		if took := time.Since(began); took > 11*time.Second {
			t.Errorf("it took %v", took)
		}
	})
}
