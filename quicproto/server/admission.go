package server

import (
	"context"
	"net"
	"sync"
	"sync/atomic"

	"github.com/quic-go/quic-go"

	"github.com/rustmq/rustmq/mq"
)

// admission counts what clients hold before and after they are known: handshakes, sessions, receive windows.
type admission struct {
	limits   Limits
	halfOpen atomic.Int64
	failed   atomic.Uint64 // handshakes that came to nothing
	refused  atomic.Uint64 // connection attempts that were not let in
	sessions atomic.Int64

	mu     sync.Mutex
	grown  uint64                // by how much all receive windows have grown
	growth map[*quic.Conn]uint64 // and each one's
}

func newAdmission(l Limits) *admission {
	return &admission{limits: l, growth: make(map[*quic.Conn]uint64)}
}

// ticket is one connection's place among the half-open ones.
type ticket struct {
	admission *admission
	done      atomic.Bool
	entered   bool
}

type ticketKey struct{}

// knock takes a place among the half-open connections.
func (a *admission) knock() (*ticket, error) {
	if a.halfOpen.Add(1) > int64(a.limits.HalfOpen) {
		a.halfOpen.Add(-1)
		a.refused.Add(1)
		return nil, mq.Errorf(mq.TooManyRequests, "too many handshakes at a time")
	}
	return &ticket{admission: a}, nil
}

// connContext is called for the first packet of each connection, before anything is kept for it.
func (a *admission) connContext(ctx context.Context, _ *quic.ClientInfo) (context.Context, error) {
	t, err := a.knock()
	if err != nil {
		return nil, err
	}
	context.AfterFunc(ctx, func() {
		if t.finish() {
			a.failed.Add(1)
		}
	})
	return context.WithValue(ctx, ticketKey{}, t), nil
}

// finish gives the place back, once.
func (t *ticket) finish() bool {
	if t.done.Swap(true) {
		return false
	}
	t.admission.halfOpen.Add(-1)
	return true
}

// verifyAddress makes clients prove their address at the price of a round trip when half of the places are taken, so
// that forged addresses cannot take the rest.
func (a *admission) verifyAddress(net.Addr) bool {
	return a.halfOpen.Load() >= int64(a.limits.HalfOpen+1)/2
}

func admissionOf(conn *quic.Conn) *ticket {
	t, _ := conn.Context().Value(ticketKey{}).(*ticket)
	return t
}

// enter counts a finished handshake as a session, or refuses it.
func (a *admission) enter(t *ticket) error {
	t.finish()
	if a.sessions.Add(1) > int64(a.limits.Sessions) {
		a.sessions.Add(-1)
		return mq.Errorf(mq.TooManyRequests, "this server has its %d sessions; try another, or later", a.limits.Sessions)
	}
	t.entered = true
	return nil
}

// leave undoes enter.
func (a *admission) leave(t *ticket) {
	if t.entered {
		a.sessions.Add(-1)
	}
}

// forget gives back what conn's receive window had grown by.
func (a *admission) forget(conn *quic.Conn) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.grown -= a.growth[conn]
	delete(a.growth, conn)
}

// growWindow lets a connection's receive window grow while all together stay within bounds.
func (a *admission) growWindow(conn *quic.Conn, delta uint64) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.grown+delta > uint64(a.limits.TotalWindowGrowth) {
		return false
	}
	a.grown += delta
	a.growth[conn] += delta
	return true
}
