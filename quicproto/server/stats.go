package server

import "sync/atomic"

// counters only ever go up.
type counters struct {
	sessionsTotal  atomic.Uint64
	refused        atomic.Uint64
	violations     atomic.Uint64
	streamsTotal   atomic.Uint64
	produceBatches atomic.Uint64
	produceBytes   atomic.Uint64
	produceErrors  atomic.Uint64
	fetchFrames    atomic.Uint64
	fetchBytes     atomic.Uint64
	referrals      atomic.Uint64
	requests       atomic.Uint64
	inFlightBytes  atomic.Int64 // this one goes down too
	streams        atomic.Int64 // and this
}

// Stats is a snapshot for metrics. The names ending in Total, Batches, Bytes (but InFlightBytes), Frames, Referrals, Errors and Requests are counters.
type Stats struct {
	Sessions, HalfOpen, Streams int64  // now
	InFlightBytes               int64  // of batches taken from streams and not completed, now
	SessionsTotal               uint64 // that got past the handshake and its limits
	HandshakesFailedTotal       uint64
	RefusedTotal                uint64 // by a limit or for their certificate
	ViolationsTotal             uint64 // sessions closed because the client broke the protocol
	StreamsTotal                uint64
	ProduceBatches              uint64
	ProduceBytes                uint64
	ProduceErrors               uint64 // batches acked with an error
	FetchFrames                 uint64
	FetchBytes                  uint64
	FetchReferrals              uint64 // partitions of a subscription of which the client was told that another node has what comes next
	Requests                    uint64
}

// Stats tells how the server is doing.
func (s *Server) Stats() Stats {
	c, a := &s.counters, s.admission
	return Stats{
		Sessions:              a.sessions.Load(),
		HalfOpen:              a.halfOpen.Load(),
		Streams:               c.streams.Load(),
		InFlightBytes:         c.inFlightBytes.Load(),
		SessionsTotal:         c.sessionsTotal.Load(),
		HandshakesFailedTotal: a.failed.Load(),
		RefusedTotal:          c.refused.Load() + a.refused.Load(),
		ViolationsTotal:       c.violations.Load(),
		StreamsTotal:          c.streamsTotal.Load(),
		ProduceBatches:        c.produceBatches.Load(),
		ProduceBytes:          c.produceBytes.Load(),
		ProduceErrors:         c.produceErrors.Load(),
		FetchFrames:           c.fetchFrames.Load(),
		FetchBytes:            c.fetchBytes.Load(),
		FetchReferrals:        c.referrals.Load(),
		Requests:              c.requests.Load(),
	}
}
