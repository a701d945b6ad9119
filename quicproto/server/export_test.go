package server

import "github.com/quic-go/quic-go"

// Kill ends the server as kill -9 would: without a word to anybody.
func (s *Server) Kill() {
	s.transport.Close()
	s.conn.Close()
	<-s.done
	s.closeTCP()
	s.wg.Wait()
}

// GSO tells whether all sessions send with segmentation offload.
func (s *Server) GSO() bool {
	for _, ss := range s.all() {
		if c, ok := ss.conn.(interface{ ConnectionState() quic.ConnectionState }); ok && !c.ConnectionState().GSO {
			return false
		}
	}
	return true
}

// Growth is by how much receive windows have grown, in bytes, and of how many sessions that is kept.
func (s *Server) Growth() (bytes uint64, sessions int) {
	s.admission.mu.Lock()
	defer s.admission.mu.Unlock()
	return s.admission.grown, len(s.admission.growth)
}
