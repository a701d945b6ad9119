// Package udp makes sockets for QUIC that take what the kernel has gathered.
//
// A sender with segmentation offload (GSO) hands the kernel many packets as one
// piece. Without more the kernel cuts that piece into packets again before the
// receiver's socket, on loopback on the sender's time, and the receiver fetches
// them one by one. A socket with UDP_GRO is given the piece whole, with the size of its
// packets beside it: one system call, one wake-up, one checksum for all.
//
//	sender     [p p p p p p p] one sendmsg, UDP_SEGMENT
//	kernel          | whole
//	Conn       [p p p p p p p] one recvmsg, UDP_GRO
//	ReadBatch  [p] [p] [p] ...  copied apart into QUIC's packet buffers
//
// # What it does not do
//
// It knows nothing of QUIC, and sends nothing by itself: writes go to the
// socket as they are. Where the system has no UDP_GRO (it is Linux's, since 5.0) a socket is a plain one.
//
// # Invariants
//
// A datagram is given out exactly once, in the order of arrival, with its source
// and the control messages that came with it. Reading is for one goroutine.
package udp
