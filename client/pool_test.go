package client

import (
	"testing"

	"github.com/rustmq/rustmq/mq"
)

// TestCloseEndsSessionsWhosePlaceAnotherTook has the session that any server serves fall silent and be replaced, while that server's own place is another's: it is in no
// slot then, but may be in use.
func TestCloseEndsSessionsWhosePlaceAnotherTook(t *testing.T) {
	h := startCluster(t)
	c := h.client()
	get := func(node mq.NodeID) *session {
		t.Helper()
		sess, err := c.pool.get(soon(t), slotKey{node: node}, 1<<20)
		if err != nil {
			t.Fatal(err)
		}
		return sess
	}
	_, node := h.broker.Identity()
	own := get(node)
	silent := get(mq.NoNode)
	for !silent.doubt(silent.packets()) { // whatever still comes
	}
	if other := get(mq.NoNode); other == silent || other == own || get(node) != own {
		t.Fatal("the silent session was not replaced")
	}
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	for _, sess := range []*session{own, silent} {
		<-sess.done
	}
}
