package server_test

import (
	"errors"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/rustmq/rustmq/mq"
	"github.com/rustmq/rustmq/quicproto"
	"github.com/rustmq/rustmq/quicproto/server"
)

func (m *fakeMember) wantSaid(t *testing.T, want string) {
	t.Helper()
	select {
	case got := <-m.said:
		if got != want {
			t.Errorf("the member %s, want that it %s", got, want)
		}
	case <-time.After(testTimeout):
		t.Fatalf("nothing was said of the member, want that it %s", want)
	}
}

// openGroup opens a group stream as a fake member, which change may prepare.
func openGroup(f *fixture, c *client, change ...func(*fakeMember)) (*channel, *fakeMember) {
	m := newFakeMember()
	for _, prepare := range change {
		prepare(m)
	}
	f.broker.mu.Lock()
	f.broker.member = m
	f.broker.mu.Unlock()
	return c.open(&quicproto.OpenGroup{Group: "g", Member: "m"}), m
}

func TestMemberIsPushedItsAssignments(t *testing.T) {
	f := start(t, server.Limits{})
	s, m := openGroup(f, f.dial(t))
	if a := recv[*quicproto.Assignment](s); a.Epoch != 1 || !a.Changed {
		t.Errorf("%+v", a)
	}
	with := <-m.opened
	if with.open.Group != "g" || with.open.Member != "m" {
		t.Errorf("opened %+v", with.open)
	}
	before := with.watcher.Heard()
	s.send(&quicproto.Heartbeat{Number: 1, Owns: true})
	if h := <-m.beats; h.Number != 1 || !h.Owns {
		t.Errorf("%+v", h)
	}
	if with.watcher.Heard() == before {
		t.Error("nothing was heard of a client that spoke")
	}
	with.watcher.Assigned(&quicproto.Assignment{Epoch: 2})
	if a := recv[*quicproto.Assignment](s); a.Epoch != 2 {
		t.Errorf("%+v", a)
	}
}

// A client that ends its stream or its session has left; the stream ends when that is durable. Whatever else ends them leaves the member where it was.
func TestWhoEndsInOrderHasLeft(t *testing.T) {
	f := start(t, server.Limits{})
	t.Run("stream", func(t *testing.T) {
		s, m := openGroup(f, f.dial(t))
		recv[*quicproto.Assignment](s)
		must(t, s.st.Close())
		m.wantSaid(t, "left")
		if _, err := s.next(); !errors.Is(err, io.EOF) {
			t.Errorf("then %v", err)
		}
	})
	t.Run("session", func(t *testing.T) {
		c := f.dial(t)
		s, m := openGroup(f, c)
		recv[*quicproto.Assignment](s)
		c.conn.Close(mq.None, "done")
		m.wantSaid(t, "left")
	})
	t.Run("control stream", func(t *testing.T) {
		c := f.dial(t)
		s, m := openGroup(f, c)
		recv[*quicproto.Assignment](s)
		must(t, c.control.st.Close())
		m.wantSaid(t, "left")
	})
	t.Run("reset", func(t *testing.T) {
		s, m := openGroup(f, f.dial(t))
		recv[*quicproto.Assignment](s)
		s.st.Abort(mq.Canceled)
		m.wantSaid(t, "detached")
	})
	t.Run("broken session", func(t *testing.T) {
		c := f.dial(t)
		s, m := openGroup(f, c)
		recv[*quicproto.Assignment](s)
		c.conn.Close(mq.Canceled, "lost")
		m.wantSaid(t, "detached")
	})
	t.Run("violation", func(t *testing.T) {
		c := f.dial(t)
		s, m := openGroup(f, c)
		recv[*quicproto.Assignment](s)
		s.send(&quicproto.Pause{})
		m.wantSaid(t, "detached")
		if code, _ := c.closedWith(); code != mq.ProtocolViolation {
			t.Errorf("closed with %v", code)
		}
	})
	t.Run("server closes", func(t *testing.T) {
		f := start(t, server.Limits{})
		s, m := openGroup(f, f.dial(t))
		recv[*quicproto.Assignment](s)
		f.Close()
		m.wantSaid(t, "detached")
	})
}

func TestMemberHearsWhyItsStreamEnds(t *testing.T) {
	f := start(t, server.Limits{})
	c := f.dial(t)
	s, m := openGroup(f, c)
	recv[*quicproto.Assignment](s)
	(<-m.opened).watcher.Ended(mq.Errorf(mq.FencedMemberEpoch, "another"))
	if e := recv[*quicproto.Close](s); e.Code != mq.FencedMemberEpoch || e.Msg != "another" {
		t.Errorf("%+v", e)
	}
	m.wantSaid(t, "detached")
	// The session goes on.
	s, _ = openGroup(f, c, func(m *fakeMember) { m.leave = mq.Errorf(mq.NotCoordinator, "elsewhere") })
	recv[*quicproto.Assignment](s)
	must(t, s.st.Close())
	if e := recv[*quicproto.Close](s); e.Code != mq.NotCoordinator {
		t.Errorf("%+v", e)
	}
	s, _ = openGroup(f, c, func(m *fakeMember) { m.refuse = mq.Errorf(mq.GroupAuthorizationFailed, "no") })
	if e := recv[*quicproto.Close](s); e.Code != mq.GroupAuthorizationFailed {
		t.Errorf("%+v", e)
	}
}

func TestEveryRequestAboutGroupsReachesTheBroker(t *testing.T) {
	f := start(t, server.Limits{})
	c := f.dial(t)
	var found quicproto.FindCoordinatorResponse
	must(t, c.request(&quicproto.FindCoordinatorRequest{Group: "abc"}, &found))
	var committed quicproto.CommitOffsetsResponse
	must(t, c.request(&quicproto.CommitOffsetsRequest{Topics: []quicproto.TopicOffsets{{Topic: "t"}}}, &committed))
	var fetched quicproto.FetchOffsetsResponse
	must(t, c.request(&quicproto.FetchOffsetsRequest{Group: "g"}, &fetched))
	var list quicproto.ListGroupsResponse
	must(t, c.request(&quicproto.ListGroupsRequest{}, &list))
	var described quicproto.DescribeGroupResponse
	must(t, c.request(&quicproto.DescribeGroupRequest{Group: "g"}, &described))
	var deleted quicproto.DeleteOffsetsResponse
	must(t, c.request(&quicproto.DeleteOffsetsRequest{Topics: []quicproto.TopicPartitions{{Topic: "t"}}}, &deleted))
	if found.Partition != 3 || len(committed.Topics) != 1 || len(fetched.Topics) != 1 || len(list.Groups) != 1 || described.Group != "g" || len(deleted.Topics) != 1 {
		t.Errorf("%+v %+v %+v %+v %+v %+v", found, committed, fetched, list, described, deleted)
	}
	must(t, c.request(&quicproto.DeleteGroupRequest{Group: "g"}, nil))
	if err := c.request(&quicproto.DeleteGroupRequest{Group: "h"}, nil); mq.CodeOf(err) != mq.GroupIDNotFound {
		t.Errorf("delete: %v", err)
	}
	if err := c.request(&quicproto.ResetOffsetsRequest{Group: "g"}, nil); mq.CodeOf(err) != mq.NonEmptyGroup {
		t.Errorf("reset: %v", err)
	}
}

// What does not fit into a message is refused by a name, and the session goes on.
func TestAssignmentThatIsTooLargeEndsTheMemberClearly(t *testing.T) {
	f := start(t, server.Limits{})
	c := f.dial(t)
	s, m := openGroup(f, c)
	recv[*quicproto.Assignment](s)
	with := <-m.opened
	large := &quicproto.Assignment{Epoch: 2, Changed: true, Partitions: []quicproto.GroupPartitions{{Topic: "orders", Partitions: make([]int32, 1<<18)}}}
	if got := len(large.AppendTo(nil)); got != large.PayloadSize() || got <= large.Type().MaxPayload() {
		t.Fatalf("a payload of %d bytes, said to have %d", got, large.PayloadSize())
	}
	with.watcher.Assigned(large)
	if e := recv[*quicproto.Close](s); e.Code != mq.MessageTooLarge || !strings.Contains(e.Msg, "more members") {
		t.Errorf("%+v", e)
	}
	var list quicproto.ListGroupsResponse
	must(t, c.request(&quicproto.ListGroupsRequest{}, &list))
}
