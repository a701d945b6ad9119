package gateway

import (
	"net/netip"
	"sync"
	"sync/atomic"

	"golang.org/x/sync/semaphore"
)

// networkBits are those of an IPv6 address by which callers are told apart: who has one address of a network commonly has all of it.
const networkBits = 64

// shares is what those that share a gateway have of it, by where they come from, for as long as they have anything.
type shares struct {
	most int64 // bytes of requests, and as many of records, that one may have

	mu sync.Mutex
	of map[netip.Prefix]*share
}

// share is what one caller has.
type share struct {
	all  *shares
	from netip.Prefix
	uses int // by calls, and by requests whose records have no outcome yet; by the mutex of all

	requests atomic.Int64        // bytes of requests, and of answers, that are held
	records  *semaphore.Weighted // bytes of records in flight
}

func newShares(most int64) *shares { return &shares{most: most, of: make(map[netip.Prefix]*share)} }

// callerOf is whom an address is counted for. What is no address, as in tests, is one caller.
func callerOf(remote string) netip.Prefix {
	at, err := netip.ParseAddrPort(remote)
	if err != nil {
		return netip.Prefix{}
	}
	addr, bits := at.Addr().Unmap().WithZone(""), networkBits
	if addr.Is4() {
		bits = addr.BitLen()
	}
	network, _ := addr.Prefix(bits)
	return network
}

// enter gives the share of the caller at an address. It is to be left.
func (s *shares) enter(remote string) *share {
	from := callerOf(remote)
	s.mu.Lock()
	defer s.mu.Unlock()
	one := s.of[from]
	if one == nil {
		one = &share{all: s, from: from, records: semaphore.NewWeighted(s.most)}
		s.of[from] = one
	}
	one.uses++
	return one
}

// again is enter by one who has not left.
func (s *share) again() {
	s.all.mu.Lock()
	defer s.all.mu.Unlock()
	s.uses++
}

func (s *share) leave() {
	s.all.mu.Lock()
	defer s.all.mu.Unlock()
	if s.uses--; s.uses == 0 {
		delete(s.all.of, s.from)
	}
}

// hold counts bytes of requests; false if the caller has too many.
func (s *share) hold(n int64) bool {
	if s.requests.Add(n) > s.all.most && n > 0 {
		s.requests.Add(-n)
		return false
	}
	return true
}

// weight is what a record takes of the share: all of it, if it is larger than that.
func (s *share) weight(size int) int64 { return min(int64(size)+recordOverhead, s.all.most) }
