package transport

import (
	"context"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	etcdpb "go.etcd.io/raft/v3/raftpb"

	"github.com/rustmq/rustmq/mq"
)

// TestMemberIsReportedGoneWhenItsStreamBrokeAndNothingListens is of a process that ends, whose listener may close after its connections; and of streams that end while
// their process goes on.
func TestMemberIsReportedGoneWhenItsStreamBrokeAndNothingListens(t *testing.T) {
	for _, c := range []struct {
		what  string
		dials []error // the answers, the last for all that follow
		gone  bool
	}{
		{"its process has ended", []error{syscall.ECONNREFUSED}, true},
		{"its process is ending", []error{nil, nil, syscall.ECONNREFUSED}, true},
		{"it lives", []error{nil}, false},
		{"it is silent", []error{context.DeadlineExceeded}, false},
	} {
		t.Run(c.what, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newFabric()
				var dials atomic.Int64
				two := newEnd(t, f, 2, func(cfg *Config) {
					cfg.Dial = func(_ context.Context, node mq.NodeID) error {
						if node != 1 {
							t.Errorf("node %d is dialed", node)
						}
						n := int(dials.Add(1)) - 1
						if err := c.dials[min(n, len(c.dials)-1)]; err != nil {
							return &net.OpError{Op: "dial", Net: "tcp", Err: err}
						}
						return nil
					}
				})
				one := newEnd(t, f, 1, nil)
				one.Send([]*etcdpb.Message{appMessage(1, 2, 1, "a")})
				time.Sleep(time.Second)
				if len(two.inbox.got()) != 1 || dials.Load() != 0 {
					t.Fatalf("%d messages arrived, %d dials", len(two.inbox.got()), dials.Load())
				}
				_ = one.Close()
				time.Sleep(time.Second)
				if got := two.inbox.dead(); slices.Equal(got, []uint64{1}) != c.gone {
					t.Errorf("reported %v after %d dials", got, dials.Load())
				}
				if most := int64(len(lookPauses)); dials.Load() > most {
					t.Errorf("%d dials", dials.Load())
				}
			})
		})
	}
}

// TestMemberThatSpeaksAgainIsNotGone has a member come back over a new stream while it is looked after.
func TestMemberThatSpeaksAgainIsNotGone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFabric()
		hold := make(chan struct{})
		two := newEnd(t, f, 2, func(cfg *Config) {
			cfg.Dial = func(context.Context, mq.NodeID) error {
				<-hold
				return syscall.ECONNREFUSED
			}
		})
		one := newEnd(t, f, 1, nil)
		one.Send([]*etcdpb.Message{appMessage(1, 2, 1, "a")})
		time.Sleep(time.Second)
		one.mu.Lock()
		p := one.peers[2]
		one.mu.Unlock()
		synctest.Wait()
		p.stream.cancel()
		time.Sleep(time.Millisecond)
		for i := range uint64(5) {
			one.Send([]*etcdpb.Message{appMessage(1, 2, i, "b")})
			time.Sleep(100 * time.Millisecond)
		}
		close(hold)
		time.Sleep(time.Second)
		if got := two.inbox.dead(); len(got) != 0 {
			t.Errorf("reported %v", got)
		}
	})
}

// TestMessageIsNotLostToAStreamThatBrokeLongAgo is of two followers, who have nothing to say to each other until they elect: one was restarted since.
func TestMessageIsNotLostToAStreamThatBrokeLongAgo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFabric()
		one := newEnd(t, f, 1, nil)
		one.Send([]*etcdpb.Message{appMessage(1, 2, 1, "lost")}) // there is nobody yet
		time.Sleep(time.Second)
		var mu sync.Mutex
		var conns []net.Conn
		f.made = func(c net.Conn) {
			mu.Lock()
			defer mu.Unlock()
			conns = append(conns, c)
		}
		two := newEnd(t, f, 2, nil)
		one.Send([]*etcdpb.Message{appMessage(1, 2, 1, "a")})
		time.Sleep(time.Second)
		mu.Lock()
		for _, c := range conns {
			_ = c.Close()
		}
		mu.Unlock()
		time.Sleep(time.Second)
		one.Send([]*etcdpb.Message{appMessage(1, 2, 2, "b")})
		time.Sleep(10 * time.Millisecond)
		if got := two.inbox.got(); len(got) != 2 {
			t.Errorf("%d messages arrived", len(got))
		}
	})
}
