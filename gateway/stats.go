package gateway

import (
	"maps"
	"sync"

	"github.com/rustmq/rustmq/mq"
)

// Outcome is how a call ended.
type Outcome struct {
	Procedure string // such as "/rustmq.v1.ProduceService/Produce"
	Code      string // of mq.Code, "NONE" for success
}

// Stats are counts since the gateway was made, and the present state where a comment says so.
type Stats struct {
	Calls           map[Outcome]int64
	Active          int   // calls now, streams included
	Consumers       int64 // Fetch and Consume calls now
	RequestBytes    int64 // that are held now of requests and of answers of Fetch
	PrefetchedBytes int64 // read ahead now for Fetch and Consume calls
	BufferedRecords int64 // that are being produced now
	BufferedBytes   int64 // of them
	RecordsProduced int64
	RecordsFailed   int64
}

type stats struct {
	mu    sync.Mutex
	calls map[Outcome]int64
}

// ended counts a call. One that reached no procedure is not one.
func (s *stats) ended(procedure string, code mq.Code) {
	if procedure == "" {
		return
	}
	if !code.Valid() {
		code = mq.Unknown
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.calls[Outcome{procedure, code.String()}]++
}

// Stats is for any goroutine.
func (g *Gateway) Stats() Stats {
	g.stats.mu.Lock()
	s := Stats{Calls: maps.Clone(g.stats.calls)}
	g.stats.mu.Unlock()
	g.mu.Lock()
	s.Active = len(g.calls)
	g.mu.Unlock()
	s.Consumers, s.RequestBytes = g.consumers.Load(), g.requestBytes.Load()
	c := g.client.Stats()
	s.RecordsProduced, s.RecordsFailed, s.PrefetchedBytes = c.RecordsProduced, c.RecordsFailed, c.BytesPrefetched
	s.BufferedRecords, s.BufferedBytes = c.RecordsBuffered, c.BytesBuffered
	return s
}
